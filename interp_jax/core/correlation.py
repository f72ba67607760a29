"""Rank correlations with intervals, and a slope for each replicate, in numpy float64 on the host.

The pairs lie along axis 0, other axes are a batch. Coverage of nominal 95% intervals of bivariate normal pairs in per
cent, 20,000 simulations (standard error 0.15; tests/core/test_correlation.py), at a normal correlation of 0, 0.5, 0.8
and 0.95:

    n                  5                      8                      10                     20
    spearman   98.2 98.7 99.1 97.9    96.5 96.7 94.0 96.3    96.6 96.3 95.2 94.3    96.0 95.7 95.6 94.1
    kendall    98.2 99.2 99.7 100     94.1 95.4 95.0 92.1    95.5 95.4 94.2 90.7    94.8 94.6 94.3 92.3

Both depend on ranks only, so every pair of increasing transformations (log-normal data) has the same coverage.
"""

import numpy as np
from scipy import stats

from interp_jax.core.intervals import Data, Interval, counted
from interp_jax.core.types import Numpy


def spearman(x: Data, y: Data, level: float = 0.95) -> Interval:
    """Give Spearman's rank correlation (average ranks for ties) and an interval by Fisher's z.

    x, y: `[n, ...]`. The standard error of z is `sqrt((1 + r^2 / 2) / (n - 3))` (Bonett and Wright 2000). Undefined for
    n < 4 or where one side is constant. For a correlation of exactly 1 or -1, where z is infinite, the inner bound is
    that of half a step less: five pairs in perfect order do not show a correlation of one.

    >>> float(spearman([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 1.0, 4.0, 3.0, 5.0]).estimate)
    0.8
    """
    x, y = _pairs(x, y)
    ranks = [stats.rankdata(v, axis=0) - (len(v) + 1) / 2 for v in (x, y)]
    r = _cosine(*ranks)
    n = x.shape[0]
    return _fisher(r, 1 + r**2 / 2, n, level, lost=3, step=12 / max(n**3 - n, 1))


def rank_correlations(x: Data, y: Data) -> Numpy:
    """Give Spearman's correlation of every column of `[n, A]` with every column of `[n, B]`: `[A, B]`; NaN if constant.

    >>> rank_correlations([[1.0], [2.0], [4.0]], [[1.0, 9.0], [3.0, 8.0], [5.0, 1.0]]).tolist()
    [[1.0, -1.0]]
    """
    (x, _), (y, _) = counted(x, "x"), counted(y, "y")
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"want x [n, A] and y [n, B], got {x.shape} and {y.shape}")
    a, b = (stats.rankdata(v, axis=0) - (len(v) + 1) / 2 for v in (x, y))
    return _cosine(a[:, :, None], b[:, None, :])


def kendall(x: Data, y: Data, level: float = 0.95) -> Interval:
    """Give Kendall's tau-b (corrected for ties) and an interval by Fisher's z.

    x, y: `[n, ...]`. The standard error of z is `sqrt(0.437 / (n - 4))` (Fieller, Hartley and Pearson 1957), derived
    without ties. Undefined for n < 5 or where one side is constant. Exactly 1 or -1 as in `spearman`. O(n^2) memory.

    >>> round(float(kendall([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 1.0, 4.0, 3.0, 5.0]).estimate), 3)
    0.6
    """
    x, y = _pairs(x, y)
    upper = np.triu_indices(len(x), 1)
    signs = [np.sign(v[upper[0]] - v[upper[1]]) for v in (x, y)]
    tau = _cosine(*signs)
    n = x.shape[0]
    return _fisher(tau, 0.437, n, level, lost=4, step=4 / max(n * (n - 1), 1))


def slope(x: Data, y: Data) -> Numpy:
    """Give the least-squares slope of `y: [..., K]` on `x: [K]`, one for each replicate: `[...]`.

    The replication unit of a trend is the replicate (a seed run at every strength), so fit one slope in each and pass
    them to `student`; pooling all points would count the K strengths of a seed as independent. NaN in y passes through,
    so that `student` names the replicate.

    >>> slope(np.log([1.0, 2.0, 4.0]), np.log([[1.0, 2.0, 4.0], [1.0, 4.0, 16.0]])).round(6).tolist()
    [1.0, 2.0]
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 1 or y.ndim < 1 or y.shape[-1] != x.size:
        raise ValueError(f"want x [K] and y [..., K], got {x.shape} and {y.shape}")
    centred = x - x.mean() if x.size else x
    squares = centred @ centred
    if not 0 < squares < np.inf:
        raise ValueError(f"want at least two different finite x, got {x}")
    return (y @ centred / squares)[()]


def _pairs(x: Data, y: Data) -> tuple[Numpy, Numpy]:
    (x, _), (y, _) = counted(x, "x"), counted(y, "y")
    if x.shape != y.shape:
        raise ValueError(f"want x and y with the same shape, got {x.shape} and {y.shape}")
    return x, y


def _cosine(a: Numpy, b: Numpy) -> Numpy:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip((a * b).sum(0) / np.sqrt((a**2).sum(0) * (b**2).sum(0)), -1, 1)


def _fisher(r: Numpy, spread: Numpy | float, n: int, level: float, *, lost: int, step: float) -> Interval:
    """Give the interval `tanh(atanh(r) -+ z sqrt(spread / (n - lost)))`, undefined for n <= lost or r = NaN.

    step: the distance of the largest value under 1 from 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"want 0 < level < 1, got {level}")
    r = np.asarray(r)
    valid = np.isfinite(r) & (n > lost)
    half = stats.norm.ppf((1 + level) / 2) * np.sqrt(spread / max(n - lost, 1))
    z = np.arctanh(np.clip(r, -1 + step / 2, 1 - step / 2))
    low = np.where(r <= -1, -1.0, np.tanh(z - half))
    high = np.where(r >= 1, 1.0, np.tanh(z + half))
    low, high = (np.where(valid, bound, np.nan)[()] for bound in (low, high))
    nan, number = np.full(r.shape, np.nan)[()], np.full(r.shape, n)[()]
    return Interval(r[()], low, high, nan, nan, number, level, valid[()], np.zeros(r.shape, bool)[()])
