import itertools

import numpy as np
import pytest
from scipy import stats

from interp_jax.core.multiplicity import holm, max_t, max_t_two


def test_holm_by_its_definition():
    """The adjusted p-value is the smallest alpha at which the step-down procedure rejects."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        p = rng.uniform(size=6) ** 3
        adjusted = holm(p)
        for alpha in np.linspace(0.001, 0.999, 97):
            rejected = set()
            for j, i in enumerate(np.argsort(p)):
                if p[i] > alpha / (6 - j):
                    break
                rejected.add(int(i))
            assert rejected == set(np.flatnonzero(adjusted <= alpha).tolist())


def test_holm_edges():
    assert holm([]).size == 0
    assert holm([0.02]).tolist() == [0.02]
    assert holm(np.full((2, 2), 0.9)).tolist() == [[1.0, 1.0], [1.0, 1.0]]
    for bad in ([0.1, np.nan], [1.1], [-0.1]):
        with pytest.raises(ValueError, match="want p-values in"):
            holm(bad)


def slow_max_t(x):
    """Step-down max-T by plain loops over every flip, from Westfall and Young 1993, algorithm 4.1."""
    n, cells = x.shape
    seen = np.abs(stats.ttest_1samp(x, 0).statistic)
    order = np.argsort(-seen)
    counts, total = np.zeros(cells), 0
    for signs in itertools.product([1, -1], repeat=n):
        drawn = np.abs(stats.ttest_1samp(x * np.array(signs)[:, None], 0).statistic)
        for j in range(cells):
            counts[j] += max(drawn[order[j:]]) >= seen[order[j]] - 1e-9
        total += 1
    adjusted = np.empty(cells)
    adjusted[order] = np.maximum.accumulate(counts / total)
    return adjusted


def test_max_t_exact_by_enumeration():
    x = np.random.default_rng(1).normal([0, 0.5, 1, 1.5], 1, (6, 4))
    found = max_t(x)
    assert found.exact
    np.testing.assert_allclose(found.adjusted, slow_max_t(x), atol=1e-12)
    np.testing.assert_allclose(found.statistic, np.abs(stats.ttest_1samp(x, 0).statistic), rtol=1e-9)
    assert np.all(found.adjusted >= found.p)
    single = max_t(x[:, 2])
    np.testing.assert_allclose(single.adjusted, found.p[2])


def test_max_t_two_groups_exact_by_scipy():
    rng = np.random.default_rng(2)
    a, b = rng.normal(0.8, 1, 5), rng.normal(0, 2, 6)

    def welch(u, v, axis):
        return stats.ttest_ind(u, v, axis=axis, equal_var=False).statistic

    peer = stats.permutation_test((a, b), welch, vectorized=True, n_resamples=np.inf)
    counted = np.mean(np.abs(peer.null_distribution) >= abs(peer.statistic) - 1e-9)
    found = max_t_two(a, b)
    assert found.exact
    assert found.draws == 462
    np.testing.assert_allclose(found.p, counted, atol=1e-12)


def test_random_draws_agree_with_enumeration():
    rng = np.random.default_rng(3)
    x = rng.normal([0.3, 0.6, 0.9], 1, (12, 3))
    exact, drawn = max_t(x), max_t(x, seed=0, draws=2000)
    assert exact.exact
    assert not drawn.exact
    np.testing.assert_allclose(drawn.adjusted, exact.adjusted, atol=4 * np.sqrt(0.25 / 2000))
    a, b = rng.normal([0.5, 1.0], 1, (6, 2)), rng.normal(0, 1, (6, 2))
    np.testing.assert_allclose(
        max_t_two(a, b, draws=900).adjusted, max_t_two(a, b).adjusted, atol=4 * np.sqrt(0.25 / 900)
    )


def test_family_wise_error_and_use_of_dependence():
    """Any rejection in a true null grid is as rare as stated; strong dependence costs less than Holm takes."""
    rng = np.random.default_rng(4)
    grids, cells, n = 400, 12, 8
    errors = power_max = power_holm = 0
    for _ in range(grids):
        common = rng.normal(size=(n, 1))
        x = 0.95 * common + 0.3 * rng.normal(size=(n, cells))
        errors += bool(np.any(max_t(x).adjusted <= 0.05))
        found = max_t(x + 1.0)
        power_max += np.mean(found.adjusted <= 0.05)
        power_holm += np.mean(holm(found.p) <= 0.05)
    assert errors / grids <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / grids)
    assert power_max > 1.5 * power_holm


def test_two_group_error_under_unequal_variance():
    rng = np.random.default_rng(5)
    errors = sum(
        bool(np.any(max_t_two(rng.normal(0, 1, (5, 3)), rng.normal(0, 2, (5, 3))).adjusted <= 0.05)) for _ in range(400)
    )
    assert errors / 400 <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 400)


def test_edges():
    five = max_t(np.arange(1.0, 6.0))
    assert five.adjusted == 2**-4  # all agree, and still not below 0.05
    still = max_t(np.stack([np.zeros(8), np.ones(8), np.arange(8.0)], axis=1))
    assert still.p[0] == 1
    assert still.statistic[1] == np.inf
    assert still.p[1] == 2**-7
    grid = max_t(np.random.default_rng(6).normal(size=(7, 2, 3)))
    assert grid.adjusted.shape == (2, 3)
    with pytest.raises(ValueError, match="at least 2 replicates"):
        max_t(np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"not finite at replicates \[2\]"):
        max_t([1.0, 2.0, np.nan])
    with pytest.raises(ValueError, match="the same grid"):
        max_t_two(np.ones((3, 2)), np.ones((3, 4)))
