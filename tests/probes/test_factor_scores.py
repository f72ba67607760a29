"""Scores of factors against scikit-learn's definition in NumPy, what is planted, and layers that are dead."""

import jax
import numpy as np
import pytest

from interp_jax.probes.factor_scores import factor_r2

score = jax.jit(factor_r2)


def problem(n=400):
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((n, 3))
    acts = codes @ rng.standard_normal((3, 6)) * [1, 1, 1, 0, 1, 1] + 5
    acts[:, 0] += rng.standard_normal(n)
    return acts, np.concatenate([codes, rng.standard_normal((n, 1))], 1)


OWNER = np.array([[1, 0], [1, 0], [0, 1], [0, 1.0]])


def test_scores_are_those_of_ridge_fits_column_by_column():
    acts, codes = problem()
    first, second = slice(0, 200), slice(200, 400)
    x = acts - acts[first].mean(0)
    x /= np.sqrt((x[first] ** 2).mean())
    level = codes[first].mean(0)
    weight = np.linalg.solve(x[first].T @ x[first] + np.eye(6), x[first].T @ (codes[first] - level))
    lost = ((codes[second] - level - x[second] @ weight) ** 2).mean(0)
    r2 = 1 - lost / codes[second].var(0)
    found = score(acts, codes, OWNER)
    np.testing.assert_allclose(found, [r2[:2].mean(), r2[2:].mean()], atol=1e-4)
    assert found[0] > 0.9
    assert 0.3 < found[1] < 0.55  # one of its two codes is noise
    np.testing.assert_allclose(score(1000 * acts + 7, codes, OWNER), found, atol=2e-3)


def test_a_dead_layer_tells_nothing():
    acts, codes = problem()
    found = score(np.zeros_like(acts), codes, OWNER)
    assert (np.abs(found) < 0.05).all()


def test_odd_numbers_of_rows_are_refused():
    acts, codes = problem(399)
    with pytest.raises(ValueError, match="even number of rows"):
        factor_r2(acts, codes, OWNER)
