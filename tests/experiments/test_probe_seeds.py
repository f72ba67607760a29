"""The whole experiment at a size of seconds, its look at a network against NumPy; claims find what is put in."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import probe_seeds as experiment
from interp_jax.data import dsprites_tasks
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.runs import cli

TINY = ["quick", "--seeds", "24", "--twins", "8", "--width", "4", "--depth", "1", "--examples", "20", "--steps", "100",
        "--batch", "4", "--held", "40", "--test", "400", "--kernel", "8"]  # fmt: skip
QUICK = experiment.PRESETS["quick"]
draw = jax.jit(partial(dsprites_tasks.draw, size=16, tasks=experiment.TASKS), static_argnums=1)


def call(*words):
    cli.main(experiment.run, experiment.PRESETS, [str(word) for word in words], "probe_seeds")


@pytest.mark.slow
def test_rows_figures_and_a_second_call(tmp_path):
    call(*TINY, "--out", tmp_path)
    folder = tmp_path / "probe_seeds" / "quick"
    first = records.read(folder)
    assert first.manifest["finished"]
    rows = first.rows
    assert len(rows["seed"]) == 2 * 4 * 24
    assert np.isfinite(rows["forecast by all"]).all()
    assert np.isfinite(rows["twin"]).sum() == 2 * 4 * 8
    assert set(rows["task"]) == set(experiment.TASKS)
    assert {each.name for each in first.pictures} == {"explained_square", "explained_parity", "twins", "singles"}
    assert [each.claim.name for each in first.findings if each.claim.primary] == ["square_inside_at_1"]
    late, early = (rows["training loss"][rows["time"] == time] for time in ("50%", "start"))
    assert late.mean() < early.mean()
    began = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/manifest.json")}
    assert len(began) == 2
    call(*TINY, "--out", tmp_path)
    second = records.read(folder)
    assert second.findings == first.findings
    for name, column in rows.items():
        np.testing.assert_array_equal(second.rows[name], column)
    assert began == {path: path.stat().st_mtime_ns for path in began}


def jacobian(params, xs):
    """The Jacobian of the difference of two logits of a net of one hidden layer, `[N, P]`."""
    a, b, c = params["Dense_0"]["kernel"], params["Dense_0"]["bias"], params["Dense_1"]["kernel"]
    before = xs @ a + b
    open_ = (before > 0) * (c[:, 1] - c[:, 0])
    ones = np.ones((len(xs), 1))
    last = np.concatenate([np.maximum(before, 0), ones], 1)
    first = np.concatenate([xs, ones], 1)
    return np.concatenate([(first[:, :, None] * open_[:, None]).reshape(len(xs), -1), 2**0.5 * last], 1)


def test_what_is_seen_of_a_network_is_what_numpy_finds():
    s = dataclasses.replace(QUICK, width=5, depth=1, examples=30, held=60, kernel=12)
    net = experiment.network(s)
    train, held = (draw(jax.random.key(i), n) for i, n in enumerate((30, 60)))
    params = net.init(jax.random.key(2))
    found = jax.jit(lambda *given: experiment.look(s, net, *given))(params, jnp.int32(1), train, held)
    own = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

    def logits(rows):
        hidden = np.maximum(np.asarray(rows.xs).reshape(len(rows.xs), -1) @ own["Dense_0"]["kernel"], 0)
        return hidden @ own["Dense_1"]["kernel"]

    for rows, value in ((train, found.outside[0]), (held, found.outside[1])):
        out, labels = logits(rows), np.asarray(rows.labels[1])
        lost = np.log(np.exp(out).sum(1)) - out[np.arange(len(out)), labels]
        np.testing.assert_allclose(value, lost.mean(), rtol=1e-4)
    np.testing.assert_allclose(found.outside[2], (logits(held).argmax(1) == held.labels[1]).mean(), rtol=1e-6)
    jac = jacobian(own, np.asarray(train.xs[:12], np.float64).reshape(12, -1))
    kernel, middle = jac @ jac.T, np.eye(12) - 1 / 12
    np.testing.assert_allclose(found.sizes[1], np.log(np.trace(kernel)), rtol=1e-4)
    label = np.asarray(train.labels[1, :12], np.float64)
    centred, label = middle @ kernel @ middle, label - label.mean()
    want = label @ centred @ label / (np.linalg.norm(centred) * (label @ label))
    np.testing.assert_allclose(found.alignments[-1], want, rtol=1e-3)
    values = np.linalg.eigvalsh(centred).clip(1e-12)
    share = values / values.sum()
    np.testing.assert_allclose(found.sizes[2], np.exp(-(share * np.log(share)).sum()), rtol=1e-2)
    assert found.probes.shape == (1, 6)


def test_twins_share_the_course_until_they_part():
    s = dataclasses.replace(QUICK, width=3, depth=1, steps=100, batch=4, examples=20, kernel=8)
    rows = draw(jax.random.key(0), 20)
    net = experiment.network(s)

    @jax.jit
    def course(departs):
        made = experiment.training(s, net, rows, jnp.float32(0), departs)
        state, _ = jax.lax.scan(
            lambda state, t: made.step(state, rows, t), made.init(jax.random.key(1)), jnp.arange(100)
        )
        return state.taken["Dense_0"]["kernel"], state.state.params["Dense_0"]["kernel"]

    (taken, end), (twin, other), (late, third) = (course(jnp.float32(at)) for at in (100, 1, 50))
    np.testing.assert_array_equal(taken[:2], twin[:2])  # the start, and before step 1
    np.testing.assert_array_equal(taken, late)
    assert not np.array_equal(taken[2], twin[2])
    assert not np.array_equal(end, other)
    assert not np.array_equal(end, third)
    np.testing.assert_array_equal(
        taken[0], net.init(experiment.keys.stream(jax.random.key(1), "init"))["Dense_0"]["kernel"]
    )


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch):
    monkeypatch.setattr(experiment, "ROUNDS", 2)
    monkeypatch.setattr(experiment, "BLOCKS", 8)


def planted(s, inside=1.0, rng=None):
    """Make seeds whose score depends on what is inside by 1% and later, and on what the loss says from 1% on."""
    rng = rng or np.random.default_rng(0)
    kinds = np.array([*experiment.predictors(s).values()])
    shape, tasks = (2, s.seeds, 4), len(experiment.TASKS)
    sizes = {"outside": (3,), "probes": (s.depth, 6), "alignments": (6,), "sizes": (3,)}
    looked = experiment.Looked(**{name: rng.standard_normal((*shape, *size)) for name, size in sizes.items()})
    cause, known = rng.standard_normal((2, tasks, s.seeds))
    looked.alignments[:, :, 1:, -1] = cause[:, :, None]
    looked.outside[:, :, 1:, 0] = known[:, :, None]
    score = 0.7 + 0.01 * (inside * cause + known + 0.7 * rng.standard_normal((tasks, s.seeds)))
    halves = score[:, :, None] + 0.001 * rng.standard_normal((tasks, s.seeds, 2))
    twins = 0.7 + 0.01 * rng.standard_normal((tasks, s.twins, 4))
    twins[:, :, 1:] += (score[:, : s.twins, None] - 0.7) * 2
    assert len(kinds) == 3 + 6 * s.depth + 6 + 3
    return looked, halves, twins


def test_claims_find_what_was_put_in():
    s = dataclasses.replace(QUICK, seeds=320, twins=100)
    found = experiment.told(s, *planted(s))
    verdicts = {each.claim.name: judge(each).verdict for each in experiment.judge(s, found)}
    held = {name for name, verdict in verdicts.items() if verdict is Verdict.SUPPORTED}
    kinds = {"inside_at_1", "loss_at_1", "loss_at_half", "reliable", "decided_at_1"}
    main = {"inside_at_10", "alignments_beyond_probes", "label_alignment_leads"}
    wanted = {f"{task}_{kind}" for task in experiment.TASKS for kind in kinds} | {f"square_{kind}" for kind in main}
    assert held - {"square_others_tell_nothing"} == wanted
    assert verdicts["square_others_tell_nothing"] is not Verdict.CONTRADICTED
    assert {verdicts[f"{task}_inside_at_start"] for task in experiment.TASKS} == {Verdict.CONTRADICTED}
    notes = {each.claim.name: each.note for each in experiment.judge(s, found)}
    assert "most of all eNTK: label" in notes["square_label_alignment_leads"]
    assert "left out" not in "".join(notes.values())
    rows = experiment.tidy(s, found)
    assert len(rows["final"]) == 2 * 4 * 320


def test_seeds_that_are_not_finite_are_left_out_and_counted(monkeypatch):
    monkeypatch.setattr(experiment, "BLOCKS", 2)
    s = dataclasses.replace(QUICK, seeds=321, twins=100)
    looked, halves, twins = planted(s)
    looked.alignments[0, 3, 2] = looked.probes[1, 200, 0] = np.nan
    found = experiment.told(s, looked, halves, twins)
    assert len(found["square"].seeds) == 320
    assert 3 not in found["square"].seeds
    assert len(found["square"].pairs) == 99
    assert len(found["parity"].pairs) == 100
    assert any("left out: 1 seeds" in each.note for each in experiment.judge(s, found))
    rows = experiment.tidy(s, found)
    own = (rows["task"] == "square") & (rows["time"] == "start")
    np.testing.assert_array_equal(rows["twin"][own][:99], np.delete(twins[0, :, 0], 3))


@pytest.mark.parametrize(
    "words",
    [["--seeds", "10"], ["--steps", "150"], ["--twins", "600"], ["--kernel", "2000"], ["--held", "41"], ["--lr", "0"]],
)
def test_settings_are_checked(words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.read(experiment.PRESETS, ["quick", *words], "probe_seeds")
    assert end.value.code == 2
    assert words[0][2:] in capsys.readouterr().err
