"""Activations on disk against what they should be; kills, parts, damage, other features, many devices."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.runs import capture
from interp_jax.runs.errors import StoreError
from interp_jax.runs.parts import Part
from tests import processes
from tests.runs import capturing

WANT = capturing.want()
SUMS = np.stack([states.sum(0) for states in WANT])


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def pooled(tmp_path_factory):
    return capturing.store(tmp_path_factory.mktemp("pooled") / "a")


@pytest.fixture(scope="module")
def by_token(tmp_path_factory):
    return capturing.store(tmp_path_factory.mktemp("by_token") / "a", tokens=True)


def test_pooled_features_come_back_in_the_order_of_the_texts(pooled):
    assert pooled.names == ("sum", "width")
    assert pooled.shape("sum") == (capturing.LAYERS, capturing.D)
    close(pooled.load("sum"), SUMS)
    close(pooled.load("sum", layer=1), SUMS[:, 1])
    close(pooled.load("sum", layer=-1), SUMS[:, -1])
    close(pooled.load("width")[:, 0], [states.sum(1).max() for states in WANT])
    capture.verify(pooled.root)


def test_collecting_into_memory_gives_the_same_and_compiles_once(pooled):
    chex.clear_trace_counter()
    features = chex.assert_max_traces(n=3 + 2)(lambda params, x: capturing.pooled(params, x))
    options = {"group": capturing.GROUP, "lengths": 3, "tokens": 24}
    found = capture.collect(features, capturing.params(), capturing.rows(), **options)
    for name in pooled.names:
        assert np.array_equal(found[name], pooled.load(name))
    doubled = capture.collect(features, 2 * capturing.params(), capturing.rows(), **options)
    close(doubled["sum"], 4 * SUMS)
    few = capture.collect(capturing.pooled, capturing.params(), capturing.rows()[:2])
    close(few["sum"], SUMS[:2])


@pytest.mark.parametrize("size", [5, 8, 100])
def test_blocks_stream_what_is_stored(pooled, by_token, size):
    seen = []
    for block in pooled.blocks("sum", size, layer=2):
        close(block.values, SUMS[block.texts, 2])
        assert not block.places.any()
        seen += block.texts.tolist()
    assert sorted(seen) == list(range(capturing.COUNT))
    tokens = []
    for block in by_token.blocks("states", size):
        close(block.values, [WANT[i][t] for i, t in zip(block.texts, block.places, strict=True)])
        tokens += zip(block.texts.tolist(), block.places.tolist(), strict=True)
    assert sorted(tokens) == [(i, t) for i, states in enumerate(WANT) for t in range(len(states))]


def test_features_by_token_have_no_row_for_a_text(by_token):
    capture.verify(by_token.root)
    with pytest.raises(ValueError, match="by token: use blocks"):
        by_token.load("states")


def test_few_programs_and_little_padding():
    """Each unit is padded to a length that holds its longest text, one of three."""
    plan = capture._plan(capturing.rows(), 3, capturing.GROUP, False)
    sizes = [len(row) for row in capturing.rows()]
    for unit in range(capturing.UNITS):
        longest = max(sizes[i] for i in plan.index.order[unit * 8 : unit * 8 + 8])
        assert plan.tops[unit] >= longest
    assert len(set(plan.tops.tolist())) == 3
    assert plan.tops.sum() < 0.8 * max(sizes) * capturing.UNITS
    assert capture._plan(capturing.rows(), [13, 6], capturing.GROUP, False).tops.tolist() == [6] * 2 + [13] * 4


def test_parts_together_make_the_whole(pooled, tmp_path, monkeypatch):
    monkeypatch.setattr(capture, "_CHAIN", 2)
    assert capturing.store(tmp_path / "a", part=Part(1, 2)) is None
    with pytest.raises(StoreError, match="lacks 4 units: run capture again, all parts"):
        capture.open_captured(tmp_path / "a")
    found = capturing.store(tmp_path / "a", part=Part(2, 2))
    assert np.array_equal(found.load("sum"), pooled.load("sum"))
    capture.verify(tmp_path / "a")


def test_other_features_are_refused(tmp_path):
    rows, params = capturing.rows()[:3], capturing.params()

    def run(features=capturing.pooled, params=params, rows=rows, **options):
        return capture.capture(features, params, rows, tmp_path / "a", group=4, **options)

    scale = jnp.ones(2)
    run()
    with pytest.raises(StoreError, match=r"another configuration .*params"):
        run(params=2 * params)
    with pytest.raises(StoreError, match=r"another configuration .*texts"):
        run(rows=[*rows[:2], [0] * len(rows[2])])
    with pytest.raises(StoreError, match=r"another configuration .*features"):
        run(lambda params, x: {"sum": capturing.pooled(params, x)["sum"] * scale[0], "width": jnp.ones(1)})
    with pytest.raises(StoreError, match=r"another configuration .*lengths"):
        run(lengths=[20])


def test_what_is_closed_over_belongs_to_the_features(tmp_path):
    def run(scale):
        def features(params, x):
            return {"a": scale * params.sum((1, 2))}

        return capture.capture(features, capturing.params(), [[1], [2, 3]], tmp_path / "a", lengths=1)

    run(np.ones(3, np.float32))
    with pytest.raises(StoreError, match=r"another configuration .*constants"):
        run(2 * np.ones(3, np.float32))


def test_every_flipped_bit_is_found(tmp_path):
    found = capturing.store(tmp_path / "a")
    rng = np.random.default_rng(0)
    files = [path for path in (tmp_path / "a" / "arrays").rglob("*") if path.is_file() and path.name != "zarr.json"]
    assert len(files) == capturing.UNITS * (capturing.LAYERS + 1)
    for path in [*files[::5], tmp_path / "a" / "index.safetensors"]:
        sound = path.read_bytes()
        flipped = bytearray(sound)
        flipped[rng.integers(len(flipped))] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(StoreError):
            capture.verify(tmp_path / "a")
        path.unlink()
        with pytest.raises(StoreError, match=r"not what was committed|no sound index"):
            capture.verify(tmp_path / "a")
        path.write_bytes(sound)
    capture.verify(tmp_path / "a")
    assert found.names == ("sum", "width")


@pytest.mark.parametrize(("features", "message"), [
    (lambda params, x: params.sum(), "want features to give arrays by name"),
    (lambda params, x: {}, "want features to give arrays by name"),
    (lambda params, x: {"a": x.ids.sum()}, "want floating features named by"),
    (lambda params, x: {"../a": params.sum()}, "want floating features named by"),
    (lambda params, x: {"a": params[0, 0, 0] * x.mask}, "want features of one shape for every text"),
])  # fmt: skip
def test_features_that_cannot_be_stored(tmp_path, features, message):
    with pytest.raises(ValueError, match=message):
        capture.capture(features, capturing.params(), capturing.rows(), tmp_path / "a")


def test_bad_input(pooled, tmp_path):
    def run(rows, **options):
        capture.capture(capturing.pooled, capturing.params(), rows, tmp_path / "a", **options)

    with pytest.raises(ValueError, match="want texts of at least one token"):
        run([[1], []])
    with pytest.raises(ValueError, match="want texts of at least one token"):
        run([])
    with pytest.raises(ValueError, match="want lengths up to 3, the longest text's, got 2"):
        run([[1, 2, 3]], lengths=[2])
    with pytest.raises(ValueError, match="group >= 1"):
        run([[1]], group=0)
    with pytest.raises(ValueError, match="want a leading axis of 1 tokens, got sum of"):
        run([[1]], by_token=True)
    with pytest.raises(ValueError, match="want a feature among sum, width, got 'mean'"):
        pooled.load("mean")
    with pytest.raises(ValueError, match=r"want a layer of rows \(3, 4\), got layer=3"):
        pooled.load("sum", layer=3)
    with pytest.raises(StoreError, match="holds no activations"):
        capture.open_captured(tmp_path / "nothing")


def child(root, spec="off", devices=1, tokens=False, write=0, mode="-", simulated=None):
    module = "import sys, tests.runs.capturing as c; c.main(*sys.argv[1:])"
    return processes.start(module, root, spec, devices, tokens, write, mode, devices=simulated or devices)


def killed(root, **order):
    process = child(root, **order)
    process.communicate(timeout=240)
    return process.returncode


def same(root, want):
    found = capture.open_captured(root)
    capture.verify(root)
    for name in want.names:
        for one, other in zip(found.blocks(name, 100), want.blocks(name, 100), strict=True):
            assert np.array_equal(one.values, other.values)


def test_a_kill_leaves_the_same_bits(tmp_path, pooled):
    assert killed(tmp_path / "a", write=6, mode="inside") == -25
    capturing.store(tmp_path / "a")
    same(tmp_path / "a", pooled)


@pytest.mark.slow
@pytest.mark.parametrize("mode", capturing.MODES)
@pytest.mark.parametrize("tokens", [False, True])
def test_kills_leave_the_same_bits(tmp_path, pooled, by_token, tokens, mode):
    for write in (2, 3, 1, 5):
        assert killed(tmp_path / "a", write=write, mode=mode, tokens=tokens) == (-25 if mode == "inside" else -9)
    capturing.store(tmp_path / "a", tokens=tokens)
    same(tmp_path / "a", by_token if tokens else pooled)


def agrees(root, want):
    found = capture.open_captured(root)
    capture.verify(root)
    for name in want.names:
        for one, other in zip(found.blocks(name, 100), want.blocks(name, 100), strict=True):
            assert np.array_equal(one.texts, other.texts)
            close(one.values, other.values)


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [False, True])
def test_many_devices_store_what_one_does(tmp_path, pooled, by_token, tokens):
    processes.finish(child(tmp_path / "a", devices=4, tokens=tokens))
    agrees(tmp_path / "a", by_token if tokens else pooled)


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [False, True])
def test_two_processes_store_what_one_does(tmp_path, pooled, by_token, tokens):
    port = processes.free_port()
    both = [child(tmp_path / "a", f"127.0.0.1:{port},2,{i}", 4, tokens, simulated=2) for i in range(2)]
    for each in both:
        processes.finish(each)
    agrees(tmp_path / "a", by_token if tokens else pooled)


COLLECTED = """
import jax, numpy as np
from jax.sharding import AxisType
from interp_jax.runs.capture import TEXTS, collect
from tests.runs import capturing
mesh = jax.make_mesh((4,), (TEXTS,), axis_types=(AxisType.Auto,))
for rows in (capturing.rows(), capturing.rows()[:3]):
    plain, shared = (
        collect(capturing.pooled, capturing.params(), rows, group=4, lengths=3, tokens=24, mesh=m) for m in (None, mesh)
    )
    for name in plain:
        np.testing.assert_allclose(shared[name], plain[name], rtol=1e-5, atol=1e-5)
"""


def test_many_devices_collect_what_one_does():
    processes.run(COLLECTED, devices=4)


def test_precision_is_full(tmp_path):
    """A product of float32 is not rounded to bfloat16 on the way, whatever the default."""
    seen = []

    def features(params, x):
        seen.append(str(jax.make_jaxpr(lambda w: w @ w)(params[0, :4])))
        return {"a": params.sum((1, 2))}

    capture.capture(features, capturing.params(), [[1]], tmp_path / "a")
    assert "HIGHEST" in seen[-1]
