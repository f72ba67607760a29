import numpy as np
import pytest
from scipy import stats

from interp_jax.core.correlation import kendall, rank_correlations, slope, spearman
from interp_jax.core.intervals import student

TRUTH = {spearman: lambda rho: 6 / np.pi * np.arcsin(rho / 2), kendall: lambda rho: 2 / np.pi * np.arcsin(rho)}
STATED = {  # for correlations 0, 0.5, 0.8, 0.95, as in the module's docstring
    spearman: {
        5: (98.2, 98.7, 99.1, 97.9), 8: (96.5, 96.7, 94.0, 96.3), 10: (96.6, 96.3, 95.2, 94.3),
        20: (96.0, 95.7, 95.6, 94.1),
    },
    kendall: {
        5: (98.2, 99.2, 99.7, 100), 8: (94.1, 95.4, 95.0, 92.1), 10: (95.5, 95.4, 94.2, 90.7),
        20: (94.8, 94.6, 94.3, 92.3),
    },
}  # fmt: skip


def check_coverage(simulations):
    rng = np.random.default_rng(0)
    for measure, table in STATED.items():
        for n, stated in table.items():
            for rho, expected in zip((0.0, 0.5, 0.8, 0.95), stated, strict=True):
                x = rng.normal(size=(n, simulations))
                y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=x.shape)
                interval, truth = measure(x, np.exp(y)), TRUTH[measure](rho)  # any increasing map leaves ranks
                share = np.mean((interval.low <= truth) & (truth <= interval.high))
                assert abs(share - expected / 100) < 4 * np.sqrt(0.06 * 0.94 * (1 / simulations + 1 / 20_000))


def test_coverage_is_as_stated():
    check_coverage(2000)


@pytest.mark.slow
def test_coverage_20_000():
    check_coverage(20_000)


@pytest.mark.parametrize(("ours", "theirs"), [(spearman, stats.spearmanr), (kendall, stats.kendalltau)])
def test_equal_to_scipy_with_and_without_ties(ours, theirs):
    rng = np.random.default_rng(1)
    for n in (5, 9, 40):
        for x, y in (rng.normal(size=(2, n)), rng.integers(0, 4, (2, n)).astype(float)):
            np.testing.assert_allclose(ours(x, y).estimate, theirs(x, y).statistic, atol=1e-12)
            np.testing.assert_allclose(ours(x, -y).estimate, -ours(x, y).estimate, atol=1e-12)
            np.testing.assert_allclose(ours(x, -y).low, -ours(x, y).high, atol=1e-12)


@pytest.mark.parametrize(("measure", "least"), [(spearman, 4), (kendall, 5)])
def test_edges(measure, least):
    rising = np.arange(30.0)
    perfect = measure(rising[:6], rising[:6])
    assert perfect.estimate == perfect.high == 1
    assert 0 < perfect.low < 1
    assert measure(rising[:6], -rising[:6]).low == -1
    assert measure(rising[:least], rising[:least]).valid
    assert not measure(rising[: least - 1], rising[: least - 1]).valid
    flat = measure(rising, np.ones(30))
    assert not flat.valid
    assert np.isnan(flat.estimate)
    with pytest.raises(ValueError, match=r"y is not finite at replicates 2"):
        measure(rising[:4], [1.0, 2.0, np.nan, 1.0])
    with pytest.raises(ValueError, match="the same shape"):
        measure(rising[:4], rising[:5])
    with pytest.raises(ValueError, match="want 0 < level < 1"):
        measure(rising, rising, 1.0)


def test_batch_equals_columns():
    x, y = np.random.default_rng(2).normal(size=(2, 7, 3))
    for measure in (spearman, kendall):
        batch = measure(x, y)
        for i in range(3):
            np.testing.assert_allclose([f[i] for f in batch[:3]], measure(x[:, i], y[:, i])[:3], rtol=1e-12)


def test_slope_by_polyfit_and_its_coverage_over_seeds():
    """One slope a seed, Student over seeds: covers 95% though the points of a seed move together."""
    rng = np.random.default_rng(3)
    strength = np.log([1.0, 2.0, 4.0, 6.0, 8.0, 16.0])
    y = rng.normal(size=(4, 6))
    np.testing.assert_allclose(slope(strength, y), [np.polyfit(strength, row, 1)[0] for row in y], rtol=1e-10)
    assert np.ndim(slope(strength, y[0])) == 0
    for n in (5, 8, 10, 20):
        own = rng.normal(0.3, 0.2, (n, 10_000, 1))
        scores = own * strength + rng.normal(size=(n, 10_000, 1)) + 0.1 * rng.normal(size=(n, 10_000, 6))
        interval = student(slope(strength, scores))
        share = np.mean((interval.low <= 0.3) & (interval.high >= 0.3))
        assert abs(share - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 10_000)


def test_slope_refuses_no_spread_and_passes_nan_to_be_named():
    with pytest.raises(ValueError, match="two different finite x"):
        slope([1.0, 1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="want x"):
        slope([1.0, 2.0, 3.0], [1.0, 2.0])
    slopes = slope([0.0, 1.0], [[0.0, 1.0], [np.nan, 1.0], [0.0, 2.0]])
    with pytest.raises(ValueError, match="not finite at replicates 1"):
        student(slopes)


def test_rank_correlations_are_scipys_pair_by_pair_ties_too():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, (30, 3)), rng.standard_normal((30, 2))
    y[:, 1] += x[:, 2]
    known = [[stats.spearmanr(x[:, i], y[:, j]).statistic for j in range(2)] for i in range(3)]
    np.testing.assert_allclose(rank_correlations(x, y), known, atol=1e-12)
    assert np.isnan(rank_correlations(np.ones((4, 1)), y[:4])).all()
    with pytest.raises(ValueError, match="want x"):
        rank_correlations(x, y[:5])
