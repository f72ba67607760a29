"""Kernels on disk against kernels in memory; kills, parts, damage, other kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.ntk import kernels, operators, solvers, stored
from interp_jax.runs.errors import StoreError
from interp_jax.runs.parts import Part
from tests.ntk.nets import CASES


@pytest.fixture(scope="module")
def problem():
    with jax.enable_x64(True):
        case = CASES["mlp"]()
    single = jax.tree.map(lambda a: np.asarray(a, np.float32), case.params)
    return case.apply, single, np.random.default_rng(1).standard_normal((11, 12)).astype(np.float32)


@pytest.mark.parametrize("kernel", [kernels.trace, kernels.pseudo, kernels.empirical])
def test_equals_the_kernel_in_memory(problem, tmp_path, kernel):
    found = stored.gram_to_store(*problem, tmp_path / "k", kernel=kernel, tile=4)
    want = jax.jit(lambda params, xs: kernel(problem[0], params, xs))(*problem[1:])
    want = np.asarray(operators.flatten(want) if want.ndim == 4 else want)
    whole = found.array.read([(0, n) for n in found.array.shape])
    np.testing.assert_allclose(whole, want, rtol=1e-5, atol=1e-5 * np.abs(want).max())
    assert np.array_equal(whole, whole.T)
    np.testing.assert_array_equal(found.rows(3, 5), whole[3 * found.outputs : 5 * found.outputs])
    stored.verify(tmp_path / "k")
    vector = np.linspace(-1, 1, whole.shape[0], dtype=np.float32)
    np.testing.assert_allclose(jax.jit(found.operator().matvec)(vector), whole @ vector, rtol=1e-4, atol=1e-3)


def test_parts_together_make_the_whole(problem, tmp_path):
    stored.gram_to_store(*problem, tmp_path / "whole", tile=2)
    assert stored.gram_to_store(*problem, tmp_path / "parts", tile=2, part=Part(1, 2)) is None
    with pytest.raises(StoreError, match="lacks 9 tiles"):
        stored.open_kernel(tmp_path / "parts")
    found = stored.gram_to_store(*problem, tmp_path / "parts", tile=2, part=Part(2, 2))
    want = stored.open_kernel(tmp_path / "whole")
    assert np.array_equal(found.rows(0, 11), want.rows(0, 11))


def test_another_kernel_is_refused(problem, tmp_path):
    apply, params, xs = problem
    stored.gram_to_store(apply, params, xs, tmp_path / "k", tile=4)
    with pytest.raises(StoreError, match=r"another configuration .*params"):
        stored.gram_to_store(apply, jax.tree.map(lambda a: 2 * a, params), xs, tmp_path / "k", tile=4)
    with pytest.raises(StoreError, match=r"another configuration .*xs"):
        stored.gram_to_store(apply, params, xs + 1, tmp_path / "k", tile=4)
    with pytest.raises(StoreError, match=r"another configuration .*model"):
        stored.gram_to_store(lambda p, x: jnp.sin(apply(p, x)), params, xs, tmp_path / "k", tile=4)


def test_every_flipped_bit_is_found(problem, tmp_path):
    stored.gram_to_store(*problem, tmp_path / "k", tile=4)
    rng = np.random.default_rng(0)
    files = [path for path in (tmp_path / "k" / "kernel").rglob("*") if path.is_file() and path.name != "zarr.json"]
    assert len(files) == 9
    for path in files:
        sound = path.read_bytes()
        flipped = bytearray(sound)
        flipped[rng.integers(len(flipped))] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(StoreError):
            stored.verify(tmp_path / "k")
        path.unlink()
        with pytest.raises(StoreError, match="not what was committed"):
            stored.verify(tmp_path / "k")
        path.write_bytes(sound)
    stored.verify(tmp_path / "k")


def test_solves_from_disk(problem, tmp_path):
    found = stored.gram_to_store(*problem, tmp_path / "k", tile=4)
    whole = found.rows(0, 11)
    solution = solvers.conjugate_gradients(found.operator(), jnp.ones(11), ridge=1.0, tolerance=1e-4)
    assert solution.converged
    np.testing.assert_allclose(solution.x, np.linalg.solve(whole + np.eye(11), np.ones(11)), rtol=1e-2, atol=1e-3)


def test_bad_input(problem, tmp_path):
    with pytest.raises(ValueError, match="tile >= 1"):
        stored.gram_to_store(*problem, tmp_path / "k", tile=0)
    with pytest.raises(ValueError, match="want kernel among empirical, trace and pseudo"):
        stored.gram_to_store(*problem, tmp_path / "k", kernel=kernels.diagonal)
