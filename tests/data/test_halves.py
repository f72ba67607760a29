"""Halves are fair coins, correlated as asked, with classes uniform within them: frequencies against their laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.data import halves

SIZES = (3, 6, 5, 4)
N = 40_000
draw = jax.jit(lambda key, pair, correlation: halves.draw(key, SIZES, N, pair, correlation=correlation))


@pytest.mark.parametrize("correlation", [-1.0, 0.0, 0.9])
def test_halves_are_fair_and_only_the_pair_is_correlated(correlation):
    drawn = np.asarray(draw(jax.random.key(0), jnp.array([2, 0]), correlation))
    bits = np.stack([drawn[:, i] >= np.ceil(size / 2) for i, size in enumerate(SIZES)], 1)
    np.testing.assert_array_equal(halves.upper(SIZES, jnp.asarray(drawn)), bits)
    error = 5 / np.sqrt(N)
    np.testing.assert_allclose(bits.mean(0), 0.5, atol=error / 2)
    wanted = np.eye(4)
    wanted[0, 2] = wanted[2, 0] = correlation
    np.testing.assert_allclose(np.corrcoef(bits.T), wanted, atol=error)


def test_within_a_half_classes_are_uniform():
    drawn = np.asarray(draw(jax.random.key(1), jnp.array([0, 1]), 0.5))
    for i, size in enumerate(SIZES):
        lower = int(np.ceil(size / 2))
        law = np.where(np.arange(size) < lower, 0.5 / lower, 0.5 / (size - lower))
        found = np.bincount(drawn[:, i], minlength=size) / N
        np.testing.assert_allclose(found, law, atol=5 * np.sqrt(0.25 / N))


def test_another_correlation_moves_only_the_second_of_the_pair():
    one, other = (np.asarray(draw(jax.random.key(2), jnp.array([1, 3]), c)) for c in (0.0, 0.9))
    bits = [np.asarray(halves.upper(SIZES, jnp.asarray(each))) for each in (one, other)]
    np.testing.assert_array_equal(bits[0][:, :3], bits[1][:, :3])
    assert (bits[0][:, 3] != bits[1][:, 3]).any()


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (((3, 1), 4), {}, "2 classes or more"),
        ((SIZES, 4, (0, 4)), {}, "want 0 <= pair <= 3"),
        ((SIZES, 4, (1, 1)), {}, "two different factors"),
        ((SIZES, 4, (0, 1)), {"correlation": 1.5}, "correlation"),
        ((SIZES, -1), {}, "n=-1"),
    ],
)
def test_bad_values_are_named(arguments, options, said):
    with pytest.raises(ValueError, match=said):
        halves.draw(jax.random.key(0), *arguments, **options)
