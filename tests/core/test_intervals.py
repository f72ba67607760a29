import numpy as np
import pytest
from scipy import stats

from interp_jax.core import intervals

SIZES = (5, 8, 10, 20)


def coverage(interval, truth):
    return np.mean((interval.low <= truth) & (truth <= interval.high))


def near(share, expected, simulations, slack=0.0):
    """Say whether a share lies within four standard errors (and slack) of what is expected."""
    return abs(share - expected) <= 4 * np.sqrt(expected * (1 - expected) / simulations) + slack


def check_coverage(simulations):
    rng = np.random.default_rng(0)
    skewed = {5: 0.822, 8: 0.829, 10: 0.840, 20: 0.867}
    for n in SIZES:
        shape = (n, simulations)
        assert near(coverage(intervals.student(rng.normal(size=shape)), 0.0), 0.95, simulations)
        assert near(coverage(intervals.student(rng.normal(size=shape), 0.8), 0.0), 0.8, simulations)
        seed = rng.normal(3, 5, shape)
        assert near(coverage(intervals.paired(seed + rng.normal(1, 1, shape), seed), 1.0), 0.95, simulations)
        wide = intervals.welch(rng.normal(2, 1, shape), rng.normal(0, 3, shape))
        assert near(coverage(wide, 2.0), 0.95, simulations, slack=0.004)
        unequal = intervals.welch(rng.normal(2, 1, shape), rng.normal(0, 3, (2 * n, simulations)))
        assert near(coverage(unequal, 2.0), 0.95, simulations, slack=0.006)
        lognormal = intervals.student(rng.lognormal(size=shape))
        assert near(coverage(lognormal, np.exp(0.5)), skewed[n], simulations, slack=0.002)  # what the docstring says
        assert np.mean(lognormal.high < np.exp(0.5)) > 9 * np.mean(lognormal.low > np.exp(0.5))


def test_coverage_is_nominal_for_normal_data_and_as_stated_for_log_normal():
    check_coverage(10_000)


@pytest.mark.slow
def test_coverage_200_000():
    check_coverage(200_000)


def test_equal_to_scipy():
    rng = np.random.default_rng(1)
    a, b = rng.normal(1, 2, 7), rng.normal(0, 1, 11)
    ours, theirs = intervals.student(a, 0.9), stats.ttest_1samp(a, 0.4)
    np.testing.assert_allclose((ours.low, ours.high), theirs.confidence_interval(0.9), rtol=1e-12)
    np.testing.assert_allclose(intervals.p_value(ours, 0.4), theirs.pvalue, rtol=1e-10)
    ours, theirs = intervals.welch(a, b), stats.ttest_ind(a, b, equal_var=False)
    np.testing.assert_allclose((ours.low, ours.high), theirs.confidence_interval(0.95), rtol=1e-12)
    np.testing.assert_allclose((ours.df, intervals.p_value(ours)), (theirs.df, theirs.pvalue), rtol=1e-10)
    ours, theirs = intervals.paired(a, b[:7]), stats.ttest_rel(a, b[:7])
    np.testing.assert_allclose((ours.low, ours.high), theirs.confidence_interval(0.95), rtol=1e-12)
    np.testing.assert_allclose(intervals.at_level(ours, 0.5)[:3], intervals.paired(a, b[:7], 0.5)[:3], rtol=1e-12)


def test_batch_equals_columns():
    x = np.random.default_rng(2).normal(size=(6, 4, 3))
    batch = intervals.student(x)
    for i in range(4):
        for j in range(3):
            one = intervals.student(x[:, i, j])
            np.testing.assert_allclose([f[i, j] for f in batch[:6]], one[:6], rtol=1e-12)


def test_shift_and_scale():
    """An interval moves with its data, and no digits are lost to a large common offset."""
    x = np.random.default_rng(3).normal(size=9)
    base, moved = intervals.student(x), intervals.student(-1e9 + 2.0**-10 * x)
    np.testing.assert_allclose(moved.low + 1e9, base.low * 2.0**-10, atol=2e-7)
    np.testing.assert_allclose(moved.se, base.se * 2.0**-10, rtol=1e-3)
    np.testing.assert_allclose(intervals.student(-x).low, -base.high)


def test_masked_replicates_do_not_matter():
    x = np.array([1.0, np.nan, 3.0, 2.0, np.inf])
    mask = np.isfinite(x)
    np.testing.assert_allclose(intervals.student(x, mask=mask)[:6], intervals.student(x[mask])[:6])
    grid = np.stack([x, np.arange(5.0)], axis=1)
    found = intervals.student(grid, mask=np.isfinite(grid))
    assert found.n.tolist() == [3, 5]
    np.testing.assert_allclose(found.low, [intervals.student(x[mask]).low, intervals.student(np.arange(5.0)).low])
    y = np.zeros(5)
    np.testing.assert_allclose(intervals.paired(x, y, mask=mask)[:6], intervals.student(x[mask])[:6])
    np.testing.assert_allclose(
        intervals.welch(x, [1.0, 2.0], mask_a=mask)[:6], intervals.welch(x[mask], [1.0, 2.0])[:6]
    )


def test_what_diverged_is_named():
    with pytest.raises(ValueError, match=r"x is not finite at replicates 1, 4 \(2 in all\)"):
        intervals.student([1.0, np.nan, 3.0, 2.0, np.inf])
    with pytest.raises(ValueError, match=r"b is not finite at replicates 0 \(1 in all\)"):
        intervals.welch([1.0, 2.0], [np.nan, 1.0])
    with pytest.raises(ValueError, match="want a boolean mask"):
        intervals.student([1.0, 2.0], mask=[1, 0])
    with pytest.raises(ValueError, match="the single number"):
        intervals.student(3.0)
    with pytest.raises(ValueError, match=r"same shape, got \(2,\) and \(3,\)"):
        intervals.paired([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"want 0 < level < 1, got 95"):
        intervals.student([1.0, 2.0], 95)


def test_too_few_replicates_are_undefined():
    for interval in (intervals.student([2.0]), intervals.student([]), intervals.welch([1.0, 2.0], [1.0])):
        assert not interval.valid
        assert np.isnan([interval.low, interval.high, interval.se]).all()
        assert np.isnan(intervals.p_value(interval))
        assert not intervals.equivalence(interval, 1.0).equivalent
    assert intervals.student([2.0]).estimate == 2.0
    assert np.isnan(intervals.student([np.nan], mask=[False]).estimate)


def test_equal_replicates_say_so():
    interval = intervals.student(np.full(5, 0.1))
    assert (interval.low, interval.high, interval.se) == (0.1, 0.1, 0.0)
    assert interval.valid
    assert interval.constant
    assert (intervals.p_value(interval), intervals.p_value(interval, 0.1)) == (0.0, 1.0)
    assert intervals.welch([1.0, 1.0], [2.0, 2.0]).constant
    assert not intervals.welch([1.0, 1.0], [2.0, 3.0]).constant
    assert intervals.equivalence(interval, 0.2).equivalent
    assert not intervals.equivalence(interval, 0.05).equivalent


def test_equivalence_agrees_with_its_interval_and_scipy():
    rng = np.random.default_rng(4)
    for _ in range(50):
        x = rng.normal(0.2, 0.5, 8)
        test = intervals.equivalence(intervals.student(x), 0.5)
        p = max(
            stats.ttest_1samp(x, -0.5, alternative="greater").pvalue,
            stats.ttest_1samp(x, 0.5, alternative="less").pvalue,
        )
        np.testing.assert_allclose(test.p, p, rtol=1e-9)
        assert test.equivalent == (p < 0.05) == (test.low > -0.5 and test.high < 0.5)


def test_equivalence_size_at_the_boundary():
    """At an effect of exactly delta the test says "equivalent" in at most 5%, whatever n; far inside, nearly always."""
    rng = np.random.default_rng(5)
    for n in SIZES:
        boundary = intervals.equivalence(intervals.student(rng.normal(3.0, 1.0, (n, 10_000))), 3.0)
        assert boundary.equivalent.mean() <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 10_000)
        inside = intervals.equivalence(intervals.student(rng.normal(0.0, 1.0, (n, 1000))), 3.0)
        assert inside.equivalent.mean() > 0.95
    with pytest.raises(ValueError, match="want 0 < delta < inf"):
        intervals.equivalence(intervals.student([1.0, 2.0]), 0.0)


def test_proportion_never_covers_less_than_stated():
    """Exactly, from the binomial itself: sum of P(k) over the k whose interval holds p."""
    for n in (*SIZES, 50):
        k = np.arange(n + 1)
        interval = intervals.proportion(k, n)
        for p in np.linspace(0.001, 0.999, 101):
            inside = (interval.low <= p) & (p <= interval.high)
            assert stats.binom.pmf(k, n, p)[inside].sum() >= 0.95 - 1e-12
    theirs = stats.binomtest(7, 20).proportion_ci()
    np.testing.assert_allclose(intervals.proportion(7, 20)[1:3], (theirs.low, theirs.high), rtol=1e-10)
    assert not intervals.proportion(0, 0).valid
    for k, n in ((3, 2), (-1, 2), (0.5, 2)):
        with pytest.raises(ValueError, match="want whole counts"):
            intervals.proportion(k, n)
    with pytest.raises(ValueError, match="only a Student interval"):
        intervals.at_level(intervals.proportion(1, 2), 0.9)
    with pytest.raises(ValueError, match="needs a Student interval"):
        intervals.p_value(intervals.proportion(1, 2))
