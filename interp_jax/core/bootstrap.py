"""A bootstrap clustered by the replication unit, from 20 of them up, in numpy on the host.

The interval is BCa (Efron 1987) with its normal quantiles widened to `sqrt(n / (n - 1)) t(n - 1)` (Hesterberg 2015),
for n clusters. Measured coverage of nominal 95% intervals in per cent (1,000 simulations of 999 draws, standard error
0.7; tests/core/test_bootstrap.py):

    clusters                                    20    50
    mean, normal                               95.7  95.4
    mean, log-normal (sigma 1)                 89.7  93.4
    median, normal                             95.7  94.9
    correlation of 0.6, normal                 94.0  96.2
    standard deviation, normal                 92.0  93.3
    mean, normal, 5 rows a cluster             94.0         (78.0 if the rows are taken for the units)

At 20 clusters plain BCa lay 1.5 to 2 points lower (400 simulations). A studentised bootstrap with jackknife errors, the
other candidate, covered 90 and 94 for the log-normal mean and the standard deviation, but its intervals for a median
were infinitely wide, and it costs n times as much. For a plain mean use `intervals.student`, exact for normal data.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy import stats

from interp_jax.core import checks
from interp_jax.core.intervals import Data, Interval, student
from interp_jax.core.types import Numpy

FEWEST = 20
"""Clusters below which resampling knows too little: a percentile bootstrap of 5 covers 84%, not 95%."""


def bootstrap(
    statistic: Callable[[Any], Any],
    data: Data,
    clusters: Any = None,
    *,
    seed: int | np.random.Generator,
    level: float = 0.95,
    draws: int = 9_999,
    batched: bool = False,
) -> Interval:
    """Give `statistic(data)` with an interval from resampling whole clusters.

    Args:
        statistic: maps rows `[n, ...]` to a number or an array; with `batched`, `[B, n, ...]` to `[B, ...]`.
        data: `[N, ...]`, the rows. To resample several arrays in step, give `np.arange(N)` and index inside.
        clusters: `[N]`, the replication unit of each row (seed, country, teacher); None: each row is one.
        seed: an integer, so that the same call gives the same interval, or a generator.
        level: nominal coverage.
        draws: resamples; at least 5 must lie beyond each bound, or the bound would be noise.
        batched: call the statistic on many resamples at once (needs clusters of equal size).

    Returns:
        Interval; `n` counts clusters, `se` and `df` are NaN (another level needs another call with the same seed).

    Raises:
        ValueError: fewer than 20 clusters, too few draws for the level, rows that are not finite, a statistic that is
            not finite on the data or on some resample.

    >>> interval = bootstrap(np.median, np.arange(25.0), seed=0, draws=999)
    >>> float(interval.estimate), bool(interval.low < 12 < interval.high)
    (12.0, True)
    """
    data = np.asarray(data)
    groups = _groups(len(data), clusters)
    n = len(groups)
    _check(data, n, level, draws)
    estimate = _evaluate(statistic, data, [np.arange(len(data))], batched)[0]
    chosen = np.random.default_rng(seed).integers(0, n, (draws, n))
    resamples = chosen if clusters is None else (np.concatenate([groups[i] for i in row]) for row in chosen)
    drawn = _evaluate(statistic, data, resamples, batched)
    others = (np.concatenate(groups[:i] + groups[i + 1 :]) for i in range(n))
    jackknife = _evaluate(statistic, data, others, batched)
    for name, values in (("the data", estimate[None]), ("a resample", drawn), ("the data less a cluster", jackknife)):
        if not np.all(np.isfinite(values)):
            bad = int(np.sum(~np.isfinite(values.reshape(len(values), -1)).all(1)))
            raise ValueError(
                f"the statistic is not finite on {name} ({bad} of {len(values)}): its interval is undefined"
            )
    low, high = _bounds(estimate, drawn, jackknife, level)
    nan, true = np.full(estimate.shape, np.nan)[()], np.ones(estimate.shape, bool)[()]
    constant = np.all(drawn == estimate, axis=0)[()]
    return Interval(estimate[()], low[()], high[()], nan, nan, np.full(estimate.shape, n)[()], level, true, constant)


def jackknife(statistic: Callable[[Any], Any], data: Data, clusters: Any = None, *, level: float = 0.95) -> Interval:
    """Give `statistic(data)` with Student's interval over its `pseudo_values` (Tukey 1958).

    For few clusters and smooth statistics of a whole table: correlations, shares of variance. Of a mean over clusters
    of equal size it is `intervals.student`. A median, an extreme or a chosen best is not smooth, and its interval would
    be wrong. The estimate is the mean of the pseudo-values, free of the bias of order 1 / n.
    """
    return student(pseudo_values(statistic, data, clusters), level)


def pseudo_values(statistic: Callable[[Any], Any], data: Data, clusters: Any = None) -> Numpy:
    """Give what each of n clusters adds, `n theta - (n - 1) theta_without`: `[n, ...]`, in the clusters' sorted order.

    They may be averaged, added and subtracted as values of the clusters are.

    Args:
        statistic: maps rows `[n, ...]` to a number or an array.
        data: `[N, ...]`, the rows.
        clusters: `[N]`, the replication unit of each row; None: each row is one.

    Raises:
        ValueError: fewer than two clusters, a statistic that is not finite on the data or without some cluster.
    """
    rows = np.asarray(data)
    members = _groups(len(rows), clusters)
    n = len(members)
    if n < 2:
        raise ValueError(f"want two clusters or more, to leave one out, got {n}")
    whole = np.asarray(statistic(rows), float)
    without = np.stack([np.asarray(statistic(np.delete(rows, index, 0)), float) for index in members])
    if not (np.all(np.isfinite(whole)) and np.all(np.isfinite(without))):
        raise ValueError("the statistic is not finite on the data, or without some cluster")
    return n * whole - (n - 1) * without


def _bounds(estimate: Numpy, drawn: Numpy, jackknife: Numpy, level: float) -> tuple[Numpy, Numpy]:
    """Give `low, high` of the expanded BCa: quantiles of the draws at `Phi(z0 + (z0 + q) / (1 - a (z0 + q)))`."""
    n, draws = len(jackknife), len(drawn)
    share = (drawn < estimate).mean(0) + 0.5 * (drawn == estimate).mean(0)
    bias = stats.norm.ppf(np.clip(share, 0.5 / draws, 1 - 0.5 / draws))
    pull = jackknife.mean(0) - jackknife
    cubes, squares = (pull**3).sum(0), (pull**2).sum(0)
    acceleration = np.where(squares > 0, cubes / (6 * np.where(squares > 0, squares, 1.0) ** 1.5), 0.0)
    q = np.sqrt(n / (n - 1)) * stats.t.ppf((1 + level) / 2, n - 1)
    bounds = []
    for z in (bias - q, bias + q):
        at = stats.norm.cdf(bias + z / (1 - acceleration * z))
        flat = drawn.reshape(draws, -1)
        picked = [np.quantile(flat[:, i], p) for i, p in enumerate(np.ravel(at))]
        bounds.append(np.reshape(picked, estimate.shape))
    return bounds[0], bounds[1]


def _evaluate(statistic: Callable[[Any], Any], data: Numpy, rows: Iterable[Numpy], batched: bool) -> Numpy:
    if not batched:
        return np.stack([np.asarray(statistic(data[index]), float) for index in rows])
    rows = list(rows)
    if len({len(index) for index in rows}) > 1:
        raise ValueError("batched needs clusters of equal size; pass batched=False")
    return np.asarray(statistic(data[np.stack(rows)]), float)


def _groups(rows: int, clusters: Any) -> list[Numpy]:
    if clusters is None:
        return [np.array([i]) for i in range(rows)]
    labels = np.asarray(clusters)
    if labels.shape != (rows,):
        raise ValueError(f"want one cluster label a row, [{rows}], got {labels.shape}")
    values, inverse = np.unique(labels, return_inverse=True)
    return [np.flatnonzero(inverse == i) for i in range(len(values))]


def _check(data: Numpy, n: int, level: float, draws: int) -> None:
    if n < FEWEST:
        raise ValueError(
            f"want at least {FEWEST} clusters to resample, got {n}: a percentile bootstrap of 5 covers 84%, not 95%. "
            "Use intervals.student on one value a cluster"
        )
    checks.whole(1, draws=draws)
    if not 0 < level < 1:
        raise ValueError(f"want 0 < level < 1, got {level}")
    if draws * (1 - level) / 2 < 5:
        raise ValueError(f"want at least {int(np.ceil(10 / (1 - level)))} draws for a level of {level:g}, got {draws=}")
    if np.issubdtype(data.dtype, np.inexact) and not np.all(np.isfinite(data)):
        bad = np.unique(np.nonzero(~np.isfinite(data))[0])
        raise ValueError(f"data is not finite at rows {bad[:10].tolist()}: leave out what diverged, and list it")
