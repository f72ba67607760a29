"""Sums over blocks against moments of all rows in float64; devices and the order of blocks change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.linear import paths, streaming
from tests import processes
from tests.linear.variants import at
from tests.oracles import ridge_paths as oracle

ROWS, DIMS, FOLDS = 1200, 48, 3


def problem():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, DIMS)) * np.geomspace(1, 1e-3, DIMS) @ np.linalg.qr(rng.normal(size=(DIMS, DIMS)))[0] + 3
    y = 30 * x[:, :2] + rng.normal(size=(ROWS, 2))
    return x.astype(np.float32), y.astype(np.float32), rng.integers(FOLDS, size=ROWS)


def cut(arrays, ends):
    return zip(*(np.split(a, ends) for a in arrays), strict=True)


def frame():
    x, y, _ = problem()
    return streaming.make_frame(jnp.asarray(x[::5]), jnp.asarray(y[::5]))


def square64(x, rows, frame):
    x = np.float64(x[rows])
    axes = np.eye(DIMS) - np.float64(frame.left) @ np.float64(frame.right).T
    turned = (x - x.mean(0)) @ axes
    return turned.T @ turned


def test_axes_are_orthogonal_and_begin_with_the_largest_directions():
    x, y, _ = problem()
    found = streaming.make_frame(jnp.asarray(x), jnp.asarray(y), rank=6)
    axes = np.eye(DIMS) - np.float64(found.left) @ np.float64(found.right).T
    np.testing.assert_allclose(axes @ axes.T, np.eye(DIMS), atol=2e-6)
    largest = np.linalg.svd(np.float64(x) - x.mean(0))[1][6]
    rest = np.linalg.norm(((np.float64(x) - x.mean(0)) @ axes)[:, 6:], 2)
    assert rest < 2 * largest
    weight = np.random.default_rng(1).normal(size=(DIMS, 2)).astype(np.float32)
    np.testing.assert_allclose(streaming.turn_back(found, weight), axes @ weight, atol=1e-5)


def test_blocks_give_the_moments_of_all_rows():
    arrays, view = problem(), frame()
    found = streaming.gather(cut(arrays, [7, 500, 501]), view, FOLDS, chunk=256)
    for fold in range(FOLDS):
        rows = arrays[2] == fold
        want = square64(arrays[0], rows, view)
        size = np.sqrt(np.diag(want))
        assert np.abs((found.square[fold] - want) / np.outer(size, size)).max() < 3e-6
        assert found.total[fold] == rows.sum()


def test_a_stream_gives_the_path_of_rows_in_memory():
    arrays, view = problem(), frame()
    alphas = np.float32([0.1, 1, 10])
    path = paths.from_moments(streaming.gather(cut(arrays, [800]), view, FOLDS), view, jnp.asarray(alphas))
    predicted = oracle.held_out(*arrays[:2], alphas, arrays[2], np.ones(ROWS))
    theirs = oracle.errors(predicted, arrays[1], arrays[2], np.ones(ROWS))
    np.testing.assert_allclose(path.errors, theirs, rtol=1e-4)
    weight, bias = oracle.fit(*arrays[:2], float(path.alpha[0]), np.ones(ROWS))
    apart = at(path.fit, np.float64(arrays[0]))[:, 0] - (arrays[0] @ weight + bias)[:, 0]
    assert np.abs(apart).max() < 1e-4 * arrays[1].std()


def test_sums_in_two_parts_do_not_drift():
    """Ten thousand equal blocks: plain float32 sums would be wrong by 1e-4 of themselves."""
    x, y, _ = problem()
    x, y = jnp.asarray(x[:16, :4]), jnp.asarray(y[:16])
    view = streaming.make_frame(x, y)

    @jax.jit
    def repeat(count):
        step = lambda _, sums: streaming.add(sums, view, x, y, 0)  # noqa: E731
        return streaming.fold_moments(jax.lax.fori_loop(0, count, step, streaming.empty(view, 1)))

    once, often = repeat(1), repeat(10_000)
    np.testing.assert_allclose(often.square[0] / 10_000, once.square[0], rtol=3e-6, atol=1e-6 * once.square[0].max())


def test_merging_is_adding():
    arrays, view = problem(), frame()
    x, y, assigned = map(jnp.asarray, arrays)

    @jax.jit
    def both(x, y, assigned):
        halves = [
            streaming.add_mixed(streaming.empty(view, FOLDS), view, x[rows], y[rows], assigned[rows])
            for rows in (slice(0, 500), slice(500, None))
        ]
        return [streaming.fold_moments(streaming.merge(*order)) for order in (halves, halves[::-1])]

    one, other = both(x, y, assigned)
    np.testing.assert_array_equal(one.total, np.bincount(arrays[2]))
    np.testing.assert_allclose(one.square, other.square, rtol=0, atol=1e-6 * float(one.square.max()))


SHARDED = """
import jax, numpy as np
from jax.sharding import Mesh, AxisType
from tests.linear import test_streaming as t
from interp_jax.linear import streaming
assert jax.device_count() == 4
arrays, view = t.problem(), t.frame()
mesh = Mesh(np.array(jax.devices()), ("rows",), axis_types=(AxisType.Auto,))
one = streaming.gather(t.cut(arrays, [700]), view, t.FOLDS, chunk=512)
four = streaming.gather(t.cut(arrays, [700]), view, t.FOLDS, chunk=512, mesh=mesh)
np.testing.assert_array_equal(one.total, four.total)
np.testing.assert_allclose(one.square, four.square, rtol=0, atol=1e-6 * float(one.square.max()))
np.testing.assert_allclose(one.cross, four.cross, rtol=0, atol=1e-6 * float(abs(one.cross).max()))
"""


def test_four_devices_share_the_rows():
    processes.run(SHARDED, devices=4)


HOSTS = """
import sys, jax, numpy as np
from interp_jax.runs import distributed
distributed.initialize(sys.argv[1])
from tests.linear import test_streaming as t
from interp_jax.linear import streaming
x, y, assigned = t.problem()
own, view = np.arange(len(x)) % 5 == 3, t.frame()
own = ~own if jax.process_index() else own
if jax.process_index():
    view = view._replace(origin=view.origin + 1)
found = streaming.gather(t.cut((x[own], y[own], assigned[own]), [60]), view, t.FOLDS, chunk=64)
whole = streaming.gather(t.cut((x, y, assigned), [60]) if jax.process_index() else [], view, t.FOLDS, chunk=64)
for a, b in zip(found, whole):
    np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * float(abs(b).max()) + 1e-12)
np.testing.assert_array_equal(found.total, np.bincount(assigned))
try:
    streaming.gather([(x * np.nan, y, assigned)] if jax.process_index() else [], view, t.FOLDS)
except ValueError as error:
    sys.stdout.write(f"{error}")
"""


def test_two_processes_add_up_the_rows_that_each_has_read():
    port = processes.free_port()
    children = [processes.start(HOSTS, f"127.0.0.1:{port},2,{i}") for i in range(2)]
    said = [processes.finish(child) for child in children]
    assert all("process 1: want finite rows in folds 0 to 2, got one that is not: 0" in text for text in said)


def test_bad_blocks_are_named():
    x, y, assigned = problem()
    view = frame()
    x[5, 1] = np.nan
    with pytest.raises(ValueError, match="finite rows in folds 0 to 2, got one that is not: 5"):
        streaming.gather([(x, y, assigned)], view, FOLDS)
    with pytest.raises(ValueError, match="folds 0 to 1"):
        streaming.gather([(x[6:], y[6:], assigned[6:])], view, 2)
    with pytest.raises(ValueError, match="no blocks"):
        streaming.gather([], view, FOLDS)
