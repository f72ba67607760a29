"""Student intervals over replicates (mostly seeds), equivalence tests and proportions, in numpy float64 on the host.

The replicates lie along axis 0, every other axis is a batch of estimates: `student(x)` for `x: [n]` or `[n, ...]`.

A replicate that is not finite is refused with its index: a diverged seed is masked by the caller, who then counts and
lists it, and is never averaged in or dropped in silence. `mask` is True where a replicate counts.

Coverage of nominal 95% intervals in per cent, 200,000 simulations (standard error 0.05 to 0.08;
tests/core/test_intervals.py):

    n                             5     8     10    20
    student, normal              95.0  95.0  95.0  95.0
    student, log-normal          82.2  82.9  84.0  86.7   (sigma 1, skewness 6: nearly every miss lies below the mean)
    paired, two log-normals      97.5  97.1  96.8  96.2   (the difference is symmetric)
    welch, normal                94.7  94.9  94.8  95.0   (standard deviations one to three)
    welch, two log-normals       98.1  97.5  97.3  96.5
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from interp_jax.core.types import Numpy

Data = ArrayLike
"""Numbers with replicates along axis 0, as numpy takes them."""
Values = Any
"""An array `[...]` of float64, one entry an estimate, or a numpy scalar for one."""


class Interval(NamedTuple):
    """An estimate with its two-sided interval; every field is `[...]`, one entry an estimate (a scalar for one).

    estimate, low, high: in the units of the estimand; low and high are NaN where the interval is undefined.
    se: the standard error; NaN where the interval is not `estimate -+ quantile * se`.
    df: degrees of freedom of Student's t; NaN like `se`. n: the replicates that counted. level: nominal coverage.
    valid: False where the interval is undefined (fewer than two replicates, ...).
    constant: True where all replicates are equal: no width says that no spread was seen, not that there is none.
    """

    estimate: Values
    low: Values
    high: Values
    se: Values
    df: Values
    n: Values
    level: float
    valid: Values
    constant: Values


class Equivalence(NamedTuple):
    """Two one-sided tests of `|effect| < delta`.

    p: the larger of the two one-sided p-values. low, high: the interval at level `1 - 2 alpha`.
    equivalent: `p < alpha`, which is `-delta < low` and `high < delta`. valid: as the interval's.
    """

    p: Values
    low: Values
    high: Values
    equivalent: Values
    valid: Values


def student(x: Data, level: float = 0.95, *, mask: Data | None = None) -> Interval:
    """Give the mean over replicates with Student's interval, `mean -+ t(n - 1) s / sqrt(n)`.

    x: `[n, ...]`. mask: `[n]` or `[n, ...]`, True where a replicate counts.

    Raises ValueError that names the replicates which count and are not finite.

    >>> interval = student([1.0, 2.0, 3.0, 4.0, 5.0])
    >>> round(float(interval.low), 3), round(float(interval.high), 3)
    (1.037, 4.963)
    >>> bool(student([1.0]).valid)
    False
    """
    n, mean, variance = moments(x, mask=mask)
    return _interval(mean, np.sqrt(variance / np.maximum(n, 1)), n - 1.0, n, level, n >= 2)


def paired(a: Data, b: Data, level: float = 0.95, *, mask: Data | None = None) -> Interval:
    """Give the mean of `a - b` over replicates that share what makes them vary (the same seed, the same data).

    a, b: `[n, ...]`. A replicate counts where `mask` does, which must therefore be False where either diverged.

    >>> float(paired([3.0, 5.0, 4.0], [1.0, 2.0, 3.0]).estimate)
    2.0
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape:
        raise ValueError(f"want a and b with the same shape, got {a.shape} and {b.shape}")
    with np.errstate(invalid="ignore"):  # inf - inf, which `moments` refuses or masks
        return student(a - b, level, mask=mask)


def welch(a: Data, b: Data, level: float = 0.95, *, mask_a: Data | None = None, mask_b: Data | None = None) -> Interval:
    """Give the mean of `a` less the mean of `b`, independent groups of unequal variance (Welch 1947).

    a: `[n, ...]`, b: `[m, ...]`, with the same batch axes. The degrees of freedom are Satterthwaite's; `n` is n + m.

    >>> round(float(welch([1.0, 2.0, 3.0], [1.0, 3.0, 8.0, 4.0]).df), 2)
    3.86
    """
    (n, mean_a, var_a), (m, mean_b, var_b) = moments(a, "a", mask=mask_a), moments(b, "b", mask=mask_b)
    part_a, part_b = var_a / np.maximum(n, 1), var_b / np.maximum(m, 1)
    total = part_a + part_b
    with np.errstate(invalid="ignore", divide="ignore"):
        df = total**2 / (part_a**2 / (n - 1.0) + part_b**2 / (m - 1.0))
    df = np.where(total > 0, df, n + m - 2.0)[()]
    return _interval(mean_a - mean_b, np.sqrt(total), df, n + m, level, (n >= 2) & (m >= 2))


def at_level(interval: Interval, level: float) -> Interval:
    """Give the same Student interval at another level.

    Raises ValueError for an interval of another kind (bootstrap, correlation, proportion): make that one anew.

    >>> round(float(at_level(student([1.0, 2.0, 3.0]), 0.5).high), 3)
    2.471
    """
    if np.any(np.isnan(interval.df) & interval.valid):
        raise ValueError("only a Student interval knows its other levels; call the function that made it again")
    return _interval(interval.estimate, interval.se, interval.df, interval.n, level, interval.valid)


def p_value(interval: Interval, null: float = 0.0) -> Values:
    """Give the two-sided p-value of `effect = null` from a Student interval (NaN where the interval is undefined).

    >>> x = np.array([0.2, 1.1, 0.9, 1.6])
    >>> bool(np.isclose(p_value(student(x)), stats.ttest_1samp(x, 0).pvalue))
    True
    """
    return 2 * np.minimum(_tail(interval, null), _tail(interval, null, upper=False))


def equivalence(interval: Interval, delta: float, *, alpha: float = 0.05) -> Equivalence:
    """Test that the effect lies within `-+delta` by two one-sided tests at level alpha (Schuirmann 1987).

    interval: of `student`, `paired` or `welch`; its own level does not matter. delta: in the units of the estimate.
    "Not significantly different from zero" is no evidence of a null; this is.

    >>> bool(equivalence(student([0.1, -0.2, 0.05, 0.0, -0.1]), delta=0.5).equivalent)
    True
    """
    if not 0 < delta < np.inf:
        raise ValueError(f"want 0 < delta < inf, got {delta=}")
    _check_level(alpha, "alpha", high=0.5)
    inner = at_level(interval, 1 - 2 * alpha)
    p = np.maximum(_tail(interval, -delta), _tail(interval, delta, upper=False))
    return Equivalence(p, inner.low, inner.high, (inner.low > -delta) & (inner.high < delta), inner.valid)


def proportion(successes: Data | int, n: Data | int, level: float = 0.95) -> Interval:
    """Give a share of n independent trials with the interval of Clopper and Pearson (1934), from the binomial itself.

    Its coverage is never below the level, whatever the share (Wilson's is shorter and dips below it); `se` is NaN.

    >>> interval = proportion(10, 10)
    >>> round(float(interval.low), 3), float(interval.high)
    (0.692, 1.0)
    """
    _check_level(level)
    k, n = np.broadcast_arrays(np.asarray(successes, float), np.asarray(n, float))
    if not (np.all(k >= 0) and np.all(k <= n) and np.all(np.mod([k, n], 1) == 0)):
        raise ValueError(f"want whole counts with 0 <= successes <= n, got {successes=}, {n=}")
    valid, nan, tail = n > 0, np.full(k.shape, np.nan), (1 - level) / 2
    low = np.where(k > 0, stats.beta.ppf(tail, np.maximum(k, 1), n - k + 1), 0.0)
    high = np.where(k < n, stats.beta.ppf(1 - tail, k + 1, np.maximum(n - k, 1)), 1.0)
    estimate = np.where(valid, k / np.maximum(n, 1), np.nan)
    low, high = np.where(valid, low, np.nan), np.where(valid, high, np.nan)
    estimate, low, high, nan, n = (field[()] for field in (estimate, low, high, nan, n.astype(int)))
    return Interval(estimate, low, high, nan, nan, n, level, valid[()], np.zeros(k.shape, bool)[()])


def moments(x: Data, name: str = "x", *, mask: Data | None = None) -> tuple[Values, Values, Values]:
    """Give the number, mean and unbiased variance of the replicates that count; exactly 0 for equal replicates.

    x: `[n, ...]`. Returns arrays `[...]`: mean is NaN for no replicate, variance for fewer than two.
    """
    x, keep = counted(x, name, mask=mask)
    n = keep.sum(0)
    if len(x) == 0:
        return n[()], np.full(n.shape, np.nan)[()], np.full(n.shape, np.nan)[()]
    pivot = np.take_along_axis(
        x, keep.argmax(0)[None], 0
    )  # centring on a value first keeps the digits of small spreads
    centred = np.where(keep, x - pivot, 0.0)
    shift = centred.sum(0) / np.maximum(n, 1)
    squares = np.where(keep, (centred - shift) ** 2, 0.0).sum(0)
    squares = np.where(np.any(centred != 0, axis=0), squares, 0.0)
    mean = np.where(n > 0, pivot[0] + shift, np.nan)
    return n[()], mean[()], np.where(n > 1, squares / np.maximum(n - 1, 1), np.nan)[()]


def counted(x: Data, name: str = "x", *, mask: Data | None = None) -> tuple[Numpy, Numpy]:
    """Give replicates as float64 (0 where masked) and the mask as booleans of the same shape.

    Raises ValueError that names the replicates which count and are not finite.
    """
    x = np.asarray(x, float)
    if x.ndim == 0:
        raise ValueError(f"want {name} with replicates along axis 0, got the single number {x}")
    keep = np.ones(x.shape, bool) if mask is None else np.asarray(mask)
    if keep.dtype != bool or keep.shape not in (x.shape, x.shape[:1]):
        raise ValueError(f"want a boolean mask [n] or [n, ...] for {name} {x.shape}, got {keep.dtype} {keep.shape}")
    keep = np.broadcast_to(keep.reshape(keep.shape + (1,) * (x.ndim - keep.ndim)), x.shape)
    bad = np.unique(np.nonzero(keep & ~np.isfinite(x))[0])
    if bad.size:
        shown = ", ".join(map(str, bad[:10])) + (", ..." if bad.size > 10 else "")
        raise ValueError(
            f"{name} is not finite at replicates {shown} ({bad.size} in all): mask what diverged, and list it"
        )
    return np.where(keep, x, 0.0), keep


def _interval(estimate: Values, se: Values, df: Values, n: Values, level: float, valid: Values) -> Interval:
    _check_level(level)
    se, df = np.where(valid, se, np.nan)[()], np.where(valid, df, np.nan)[()]
    half = stats.t.ppf((1 + level) / 2, df) * se
    return Interval(estimate, estimate - half, estimate + half, se, df, n, level, valid, valid & (se == 0))


def _tail(interval: Interval, null: float, *, upper: bool = True) -> Values:
    """Give the one-sided p-value of `effect <= null` (upper) or `effect >= null`; 1/2 for a constant on it."""
    if np.any(np.isnan(interval.df) & interval.valid):
        raise ValueError("a p-value needs a Student interval")
    difference = np.asarray(interval.estimate) - null
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(interval.constant & (difference == 0), 0.0, difference / interval.se)
    return (stats.t.sf(t, interval.df) if upper else stats.t.cdf(t, interval.df))[()]


def _check_level(level: float, name: str = "level", high: float = 1.0) -> None:
    if not 0 < level < high:
        raise ValueError(f"want 0 < {name} < {high:g}, got {level}")
