"""Toy data against what is true of it by definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.data import toys


def test_sparse_features_are_uniform_where_they_are_there():
    draw = jax.jit(jax.vmap(lambda key, density: toys.sparse_features(key, 20, density=density), (0, None)))
    xs = np.asarray(draw(jax.random.split(jax.random.key(0), 5000), 0.3))
    there = xs > 0
    assert abs(there.mean() - 0.3) < 4 * np.sqrt(0.21 / xs.size)
    assert abs(xs[there].mean() - 0.5) < 4 / np.sqrt(12 * there.sum())
    assert abs(xs[there].var() - 1 / 12) < 4 / np.sqrt(180 * there.sum())
    together = np.corrcoef(there.T.astype(float))[np.triu_indices(20, 1)]
    assert abs(together.mean()) < 4 / np.sqrt(5000 * len(together))
    assert (np.asarray(draw(jax.random.split(jax.random.key(0), 5), 1.0)) > 0).all()


def test_the_table_of_sums_is_whole_and_right():
    table = toys.modular_addition(7)
    assert len({tuple(pair) for pair in table.pairs.tolist()}) == 49
    np.testing.assert_array_equal((table.pairs[:, 0] + table.pairs[:, 1]) % 7, table.sums)
    assert table.pairs.dtype == table.sums.dtype == np.int32


@pytest.mark.parametrize("modulus", [2, 3, 8, 113])
def test_waves_are_an_orthonormal_basis_that_shifts_rotate(modulus):
    waves, frequencies = toys.waves(modulus), toys.frequencies(modulus)
    np.testing.assert_allclose(waves.T @ waves, np.eye(modulus - 1), atol=1e-12)
    np.testing.assert_allclose(waves.sum(0), 0, atol=1e-10)
    turn = waves.T @ np.roll(waves, -1, 0)  # x -> x + 1 mixes cosine and sine of one frequency, and no others
    same = frequencies[:, None] == frequencies[None, :]
    np.testing.assert_allclose(turn[~same], 0, atol=1e-10)
    np.testing.assert_allclose(np.diag(turn), np.cos(2 * np.pi * frequencies / modulus), atol=1e-10)


def test_bad_input():
    with pytest.raises(ValueError, match="size >= 1"):
        toys.sparse_features(jax.random.key(0), 0, density=0.1)
    with pytest.raises(ValueError, match="density"):
        toys.sparse_features(jax.random.key(0), 3, density=1.5)
    with pytest.raises(ValueError, match="modulus >= 2"):
        toys.modular_addition(1)
    assert toys.sparse_features(jax.random.key(0), 3, density=jnp.float32(0.5)).shape == (3,)
