import numpy as np
import pytest
from scipy import stats

from interp_jax.core.bootstrap import bootstrap, jackknife
from interp_jax.core.intervals import student


def mean(rows):
    return rows.mean(1)


def deviation(rows):
    return rows.std(1, ddof=1)


def median(rows):
    return np.median(rows, 1)


def correlation(rows):
    a, b = np.moveaxis(rows - rows.mean(1, keepdims=True), -1, 0)
    return (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))


def pairs(rng, n):
    x = rng.normal(size=(n, 2))
    x[:, 1] = 0.6 * x[:, 0] + 0.8 * x[:, 1]
    return x


CASES = {  # statistic, draw, truth, coverage that the docstring states for 20 and 50 clusters
    "mean": (mean, lambda rng, n: rng.normal(size=n), 0.0, (0.957, 0.954)),
    "log-normal mean": (mean, lambda rng, n: rng.lognormal(size=n), np.exp(0.5), (0.897, 0.934)),
    "median": (median, lambda rng, n: rng.normal(size=n), 0.0, (0.957, 0.949)),
    "correlation": (correlation, pairs, 0.6, (0.940, 0.962)),
    "deviation": (deviation, lambda rng, n: rng.normal(size=n), 1.0, (0.920, 0.933)),
}


def check_coverage(case, clusters, simulations, draws):
    statistic, draw, truth, stated = CASES[case]
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(simulations):
        interval = bootstrap(statistic, draw(rng, clusters), seed=rng, draws=draws, batched=True)
        hits += interval.low <= truth <= interval.high
    expected = stated[(20, 50).index(clusters)]
    spread = np.sqrt(expected * (1 - expected) * (1 / simulations + 1 / 1000))  # the stated ones are estimates too
    assert abs(hits / simulations - expected) < 4 * spread


@pytest.mark.parametrize("case", ["mean", "log-normal mean", "correlation"])
def test_coverage_at_20_clusters(case):
    check_coverage(case, 20, 250, 399)


@pytest.mark.slow
@pytest.mark.parametrize("clusters", [20, 50])
@pytest.mark.parametrize("case", CASES)
def test_coverage(case, clusters):
    check_coverage(case, clusters, 1000, 999)


def test_clusters_are_the_unit():
    """Rows of one cluster move together: resampling rows would call 20 seeds 100."""
    rng = np.random.default_rng(1)
    units = np.repeat(np.arange(20), 5)
    hits = np.zeros(2)
    for _ in range(150):
        x = np.repeat(rng.normal(size=20), 5) + rng.normal(size=100)
        for i, clusters in enumerate((units, None)):
            interval = bootstrap(mean, x, clusters, seed=rng, draws=399, batched=True)
            hits[i] += interval.low <= 0 <= interval.high
    assert hits[0] / 150 > 0.88
    assert hits[1] / 150 < 0.88


def test_near_student_for_a_mean():
    x = np.random.default_rng(2).normal(size=200)
    ours, theirs = bootstrap(mean, x, seed=0, batched=True), student(x)
    np.testing.assert_allclose((ours.low, ours.high), (theirs.low, theirs.high), atol=0.03 * (theirs.high - theirs.low))


def test_near_scipy_s_bca_for_many_rows():
    x = np.random.default_rng(3).lognormal(size=400)
    theirs = stats.bootstrap((x,), np.std, rng=np.random.default_rng(0), method="BCa").confidence_interval
    ours = bootstrap(lambda rows: np.std(rows, axis=1), x, seed=0, batched=True)
    np.testing.assert_allclose((ours.low, ours.high), theirs, rtol=0.04)


def test_unequal_clusters_labels_of_any_kind_and_arrays():
    rng = np.random.default_rng(4)
    labels = np.array([f"seed {i}" for i in range(24) for _ in range(1 + i % 3)])
    x = rng.normal(size=(len(labels), 2))
    interval = bootstrap(lambda rows: rows.mean(0), x, labels, seed=5, draws=499)
    assert interval.low.shape == (2,)
    assert interval.n.tolist() == [24, 24]
    first = bootstrap(lambda rows: rows[:, 0].mean(), x, labels, seed=5, draws=499)
    np.testing.assert_allclose((first.low, first.high), (interval.low[0], interval.high[0]))
    mixed = rng.permutation(len(labels))  # the order of rows does not matter
    again = bootstrap(lambda rows: rows.mean(0), x[mixed], labels[mixed], seed=5, draws=499)
    np.testing.assert_allclose((again.low, again.high), (interval.low, interval.high))
    index = bootstrap(lambda rows: x[rows].mean(0), np.arange(len(x)), labels, seed=5, draws=499)
    np.testing.assert_allclose((index.low, index.high), (interval.low, interval.high))


def test_levels_nest_and_a_seed_repeats():
    x = np.random.default_rng(6).normal(size=30)
    narrow, wide = (bootstrap(mean, x, seed=1, level=level, batched=True) for level in (0.9, 0.99))
    assert wide.low < narrow.low < narrow.estimate < narrow.high < wide.high
    assert bootstrap(mean, x, seed=1, level=0.9, batched=True)[:3] == narrow[:3]


def test_refused():
    x = np.arange(30.0)
    with pytest.raises(
        ValueError, match="at least 20 clusters to resample, got 19: a percentile bootstrap of 5 covers 84%"
    ):
        bootstrap(np.mean, x[:19], seed=0)
    with pytest.raises(ValueError, match="got 3: "):
        bootstrap(np.mean, x, np.arange(30) % 3, seed=0)
    with pytest.raises(ValueError, match=r"want at least 1000 draws for a level of 0\.99, got draws=999"):
        bootstrap(np.mean, x, seed=0, level=0.99, draws=999)
    with pytest.raises(ValueError, match="one cluster label a row"):
        bootstrap(np.mean, x, np.arange(29), seed=0)
    with pytest.raises(ValueError, match=r"data is not finite at rows \[4\]"):
        bootstrap(np.mean, np.where(x == 4, np.nan, x), seed=0)
    with pytest.raises(ValueError, match="clusters of equal size"):
        bootstrap(mean, x, np.minimum(np.arange(30), 25), seed=0, draws=399, batched=True)
    with pytest.raises(ValueError, match="the statistic is not finite on a resample"):
        bootstrap(lambda rows: 1.0 if 0 in rows else np.nan, x, seed=0, draws=399)


def test_equal_replicates_say_so():
    interval = bootstrap(mean, np.ones(20), seed=0, draws=399, batched=True)
    assert (interval.low, interval.high, interval.constant) == (1.0, 1.0, True)


def test_jackknife_of_a_mean_is_students_interval():
    data = np.random.default_rng(0).standard_normal((12, 2))
    clusters = np.repeat(np.arange(4), 3)
    found = jackknife(lambda rows: rows.mean(0), data, clusters)
    known = student(data.reshape(4, 3, 2).mean(1))
    for name in ("estimate", "low", "high", "n"):
        np.testing.assert_allclose(getattr(found, name), getattr(known, name), rtol=1e-12)


def test_jackknife_covers_a_correlation_over_few_clusters():
    """Pearson's of .5 in 6 clusters of 30 rows: 95% to a point and four standard errors of 1,000 simulations."""
    rng, hits = np.random.default_rng(1), 0
    for _ in range(1000):
        x = rng.standard_normal((180, 2))
        x[:, 1] = 0.5 * x[:, 0] + np.sqrt(0.75) * x[:, 1]
        found = jackknife(lambda rows: np.corrcoef(rows.T)[0, 1], x, np.arange(180) // 30)
        hits += found.low <= 0.5 <= found.high
    assert abs(hits / 1000 - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 1000) + 0.01


def test_jackknife_refuses_what_it_cannot_leave_out():
    with pytest.raises(ValueError, match="want two clusters or more"):
        jackknife(np.mean, np.ones(3), [0, 0, 0])
    with pytest.raises(ValueError, match="not finite"):
        jackknife(lambda rows: np.inf, np.ones(3))
