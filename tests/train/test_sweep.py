import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.runs.digest import fingerprints
from interp_jax.runs.errors import StoreError
from interp_jax.runs.parts import Part
from interp_jax.runs.progress import Quiet
from interp_jax.train import table
from interp_jax.train.sweep import sweep
from tests import processes
from tests.train import study, toy

STEPS, CHUNK = 20, 10


def train(seeds=2, lrs=(0.01, 0.1), out=None, **options):
    settings = {"steps": STEPS, "chunk": CHUNK, "progress": Quiet(), "batch": 1} | options
    return sweep(toy.make, table.grid({"lr": lrs}, seeds), toy.data(), out=out, **settings)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(out=tmp_path_factory.mktemp("sweep") / "store")


def alone(one, data, seed, steps=STEPS):
    """Train one run by a plain loop of jitted steps."""
    state, step, losses = one.init(jax.random.key(seed)), jax.jit(one.step), []
    for t in range(steps):
        state, metrics = step(state, data, jnp.int32(t))
        losses.append(metrics["loss"])
    return state, np.array(losses)


def test_a_run_in_a_sweep_is_the_run_alone(trained):
    run = trained.runs[3]
    state, losses = alone(toy.make(run.hyperparameters["lr"]), toy.data(), run.seed)
    np.testing.assert_allclose(trained.state(run).params["w"], state.params["w"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(trained.history["loss"][3], losses.reshape(2, 10).mean(1), rtol=1e-5)


def test_sinks_are_told_the_means_that_the_history_holds(tmp_path):
    class Sink:
        def __init__(self):
            self.got = []

        def log(self, step, metrics):
            self.got.append((step, dict(metrics)))

    sink = Sink()
    done = train(out=tmp_path / "nets", sinks=(sink,))
    steps, told = zip(*sink.got, strict=True)
    assert steps == (10, 20)
    losses = [value for each in told for name, value in each.items() if name.startswith("nets/") and "loss" in name]
    np.testing.assert_allclose(losses, done.history["loss"].mean(0), rtol=1e-6)


def test_a_run_alone_and_in_a_sweep_begin_alike():
    begun = train(seeds=3, steps=1, chunk=1, lrs=(0.0,))
    for run in begun.runs:
        state, _ = alone(toy.make(0.0), toy.data(), run.seed, 0)
        np.testing.assert_array_equal(begun.state(run).params["w"], state.params["w"])


def test_a_run_alone_and_in_a_sweep_are_close_after_100_steps():
    done = train(seeds=2, steps=100)
    for run in done.runs:
        state, _ = alone(toy.make(run.hyperparameters["lr"]), toy.data(), run.seed, 100)
        np.testing.assert_allclose(done.state(run).params["w"], state.params["w"], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_studys_vae_alone_and_in_a_sweep_are_close_after_100_steps():
    """Adam turns the rounding of a gradient near zero into a full step (1e-4), so weights are held to three of them."""
    done = sweep(study.make, table.grid({"beta": [4.0]}, 2), study.data(), steps=100, chunk=50, progress=Quiet())
    state, losses = alone(study.make(4.0), study.data(), done.runs[1].seed, 100)
    np.testing.assert_allclose(done.history["loss"][1], losses.reshape(2, 50).mean(1), rtol=1e-5)
    for got, want in zip(jax.tree.leaves(done.state(done.runs[1]).params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_allclose(got, want, atol=3e-4)


def test_one_compilation_whatever_the_seeds_and_strengths():
    toy.TRACES.clear()
    train(seeds=1)
    once = len(toy.TRACES)
    toy.TRACES.clear()
    train(seeds=5, lrs=(0.01, 0.02, 0.03), width=4)
    assert len(toy.TRACES) == once


def test_rerunning_does_nothing_and_gives_the_same(trained):
    again = train(out=trained.store.root)
    assert fingerprints(again.history) == fingerprints(trained.history)
    assert [e for e in events(again) if e["kind"] == "commit"] == [e for e in events(trained) if e["kind"] == "commit"]


def events(done):
    from interp_jax.runs.events import read

    return read(done.store.root / "events.jsonl").records


def test_seeds_are_added_without_touching_what_is_there(tmp_path):
    before = train(seeds=1, out=tmp_path / "s")
    commits = len([e for e in events(before) if e["kind"] == "commit"])
    after = train(seeds=3, out=tmp_path / "s")
    assert len([e for e in events(after) if e["kind"] == "commit"]) == commits + 2
    fresh = train(seeds=3, width=2)
    np.testing.assert_array_equal(after.history["loss"], fresh.history["loss"])
    np.testing.assert_array_equal(after.history["loss"][:2], before.history["loss"])


def test_parts_of_a_job_array_join_into_the_whole(tmp_path):
    whole = train(seeds=3, width=2)
    for index in (1, 2, 3):
        share = train(seeds=3, width=2, out=tmp_path / "s", part=Part(index, 3))
        assert len(share.runs) == 2
    joined = train(seeds=3, out=tmp_path / "s")
    np.testing.assert_array_equal(joined.history["loss"], whole.history["loss"])


def test_uneven_parts_choose_one_width(tmp_path):
    for index in (1, 2, 3):
        train(seeds=7, lrs=(0.01,), out=tmp_path / "s", part=Part(index, 3))
    assert len(train(seeds=7, lrs=(0.01,), out=tmp_path / "s").runs) == 7


def test_diverged_runs_are_listed_and_leave_the_others_alone():
    mixed = train(seeds=1, lrs=(0.01, 3e38))
    assert mixed.diverged == {"lr=3e+38,seed=0": CHUNK}
    np.testing.assert_array_equal(mixed.history["loss"][0], train(seeds=1, lrs=(0.01, 0.02)).history["loss"][0])


def test_map_evaluates_every_run_in_the_tables_order(trained):
    def bias(state, data):
        return {"b": state.params["b"], "n": data["x"].sum()}

    found = trained.map(bias)
    assert found["b"].shape == (4, 3)
    for run, row in zip(trained.runs, found["b"], strict=True):
        np.testing.assert_array_equal(row, trained.state(run).params["b"])


def test_vectorised_runs_agree_with_runs_one_after_another(trained):
    together = train(batch=4)
    np.testing.assert_allclose(together.history["loss"], trained.history["loss"], rtol=1e-5)


def test_another_configuration_or_data_is_refused(trained):
    with pytest.raises(StoreError, match=r"another configuration .*steps: 20 there, 40 here"):
        train(out=trained.store.root, steps=40)
    other = {"x": toy.data()["x"] + 1, "y": toy.data()["y"]}
    with pytest.raises(StoreError, match=r"another configuration .*data"):
        sweep(toy.make, table.grid({"lr": [0.1]}, 1), other, steps=STEPS, chunk=CHUNK, out=trained.store.root)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "want an integer steps >= 1, got steps=0"),
        ({"steps": -5}, "want an integer steps >= 1"),
        ({"chunk": 8}, "want steps to be a multiple of chunk, got steps=20, chunk=8: chunk=5 would do"),
        ({"width": 3, "batch": 2}, "multiple of devices times batch = 1 x 2, got width=3"),
        ({"part": Part(1, 9)}, "at most as many parts as runs"),
        ({"batch": 0}, "want an integer batch >= 1"),
        ({"lrs": (float("nan"),)}, "want lr finite, .* got lr=nan"),
        ({"lrs": (2**24 + 1,)}, "exact in float32 if an integer, got lr=16777217"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        train(**options)


def test_a_group_that_does_not_fit_says_so(monkeypatch):
    monkeypatch.setattr("interp_jax.train.meshes.memory", lambda mesh: 100)
    with pytest.raises(ValueError, match=r"a group of width 4 needs .* GB on a device .* smaller width or batch"):
        train(width=4)


def test_the_width_follows_the_memory(monkeypatch):
    needed = train(seeds=4).program.bytes
    monkeypatch.setattr("interp_jax.train.meshes.memory", lambda mesh: needed - 1)
    narrow = train(seeds=4)
    assert narrow.chains[0].shape.width == 4
    assert len(narrow.chains) == 2


DEVICES = """
import jax, sys
from interp_jax.runs.digest import fingerprint
from tests.train.test_sweep import train
done = train(seeds=4, batch=int(sys.argv[1]))
group = done._group(done.chains[0])
assert all(leaf.sharding.spec == jax.P("runs") for leaf in jax.tree.leaves(group)), "not sharded"
text = done.program.advance.as_text()
assert not any(word in text for word in ("all-reduce", "all-gather", "collective", "all-to-all")), "collectives"
print(fingerprint((group.states, done.history)))
"""


@pytest.mark.parametrize("batch", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_devices_do_not_change_a_bit(batch):
    """8 runs: fingerprints of states and histories, from 1 to 8 devices."""
    counts = [1, 2, 4, 8] if batch == 1 else [1, 2, 4]
    prints = {processes.run(DEVICES, batch, devices=n).stdout for n in counts}
    assert len(prints) == 1, prints


MOVE = """
import sys
from interp_jax.runs.digest import fingerprint
from tests.train.test_sweep import train
done = train(seeds=3, lrs=(0.01,), out=sys.argv[1], steps=20)
print(done.chains[0].mesh.devices.size, fingerprint(done.history))
"""


def test_a_sweep_moves_to_a_machine_with_other_devices(tmp_path):
    first = processes.run(MOVE, tmp_path / "s", devices=3).stdout.split()
    second = processes.run(MOVE, tmp_path / "s", devices=2).stdout.split()
    assert (first[0], second[0]) == ("3", "1")
    assert first[1] == second[1]
