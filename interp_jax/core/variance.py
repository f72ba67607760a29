"""Nested variance components: how much of a score is its objective, the strength within it, and the seed.

In a study of disentanglement the strengths {1, 2, 4, ...} of one objective have nothing to do with those of another:
strength nests in objective. The model is `y = mean + a_objective + b_strength(objective) + e_seed`. Raw eta squared
(the share of the sum of squares) credits a factor for having levels: with no effect at all its mean is the factor's
degrees of freedom over N - 1.

Coverage of the nominal 95% intervals in per cent, normal effects, 2,000 simulations (standard error 0.5;
tests/core/test_variance.py):

    6 objectives of 6 strengths, with n seeds    5     8     10    20    8, of which 40% are missing
    components 1, 0.5, 1: objective            96.0  94.4  95.6  94.7  95.8
                          strength             95.5  95.0  94.7  96.2  94.8
                          seed                 96.3  95.4  94.4  95.0  96.0
    components 0, 0, 1 (n = 5): 97.2, 97.4 and 95.1; raw eta squared is then 0.03 and 0.17 for no effect at all
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from interp_jax.core.intervals import Interval, Values
from interp_jax.core.types import Numpy


class Components(NamedTuple):
    """Variance components in squared units of the score.

    objective, strength, seed: intervals of the components; estimates are unbiased and may be below zero (then nothing
    was found above the noise), bounds are cut at zero. shares: `[3]` of the total, from estimates cut at zero.
    eta_squared: `[3]`, the raw shares of the sum of squares, biased as the module says. null_eta_squared: `[3]`, their
    expectation when neither objective nor strength does anything.
    """

    objective: Interval
    strength: Interval
    seed: Interval
    shares: Numpy
    eta_squared: Numpy
    null_eta_squared: Numpy


def nested_components(y: Any, objective: Any, strength: Any, level: float = 0.95) -> Components:
    """Estimate the components by the method of moments on the analysis of variance (Searle 1971, ch. 11).

    y: `[N]` scores. objective, strength: `[N]` labels of any kind; strengths of different objectives are different even
    where their labels agree. Cells may have different numbers of seeds.

    The seed's interval is chi-squared (exact). The others are modified large-sample intervals for differences of mean
    squares (Ting, Burdick, Graybill, Jeyaratnam and Lu 1990) of balanced designs; for unbalanced they approximate.
    Objectives and strengths count as drawn from a population: six objectives give wide intervals, and rightly so.

    Raises ValueError if a level of the design has no replication (one objective, one strength each, one seed each).

    >>> y = [1.0, 1.2, 2.0, 2.1, 5.0, 5.1, 7.0, 7.2]
    >>> found = nested_components(y, [0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 1, 1])
    >>> found.shares.round(3).tolist(), found.eta_squared.round(3).tolist()
    ([0.881, 0.118, 0.001], [0.887, 0.112, 0.001])
    """
    y, outer, cell, parent = _design(y, objective, strength)
    squares, degrees = _sums_of_squares(y, outer, cell, parent)
    mean_squares = squares / degrees
    k1, k2, k3 = _coefficients(outer, cell, parent, degrees)
    ms_a, ms_b, ms_e = mean_squares
    df_a, df_b, df_e = degrees
    ratio = k2 / k1  # 1 for a balanced design
    beneath = ratio * ms_b + (1 - ratio) * ms_e
    df_beneath = _satterthwaite([ratio * ms_b, (1 - ratio) * ms_e], [df_b, df_e])
    parts = (
        _difference(ms_a, beneath, df_a, df_beneath, k3, level),
        _difference(ms_b, ms_e, df_b, df_e, k1, level),
        _chi_squared(ms_e, df_e, level),
    )
    positive = np.maximum([part.estimate for part in parts], 0.0)
    with np.errstate(invalid="ignore"):
        return Components(*parts, positive / positive.sum(), squares / squares.sum(), degrees / degrees.sum())


def _design(y: Any, objective: Any, strength: Any) -> tuple[Numpy, Numpy, Numpy, Numpy]:
    """Give y, the objective and the cell of each row as integers, and the objective of each cell."""
    y = np.asarray(y, float)
    objective, strength = np.asarray(objective), np.asarray(strength)
    if y.ndim != 1 or objective.shape != y.shape or strength.shape != y.shape:
        raise ValueError(f"want y, objective, strength [N], got {y.shape}, {objective.shape}, {strength.shape}")
    if not np.all(np.isfinite(y)):
        raise ValueError(
            f"y is not finite at rows {np.flatnonzero(~np.isfinite(y))[:10].tolist()}: leave them out, and list them"
        )
    _, outer = np.unique(objective, return_inverse=True)
    _, inner = np.unique(strength, return_inverse=True)
    pairs, cell = np.unique(np.stack([outer, inner]), axis=1, return_inverse=True)
    parent, cells = pairs[0], pairs.shape[1]
    objectives = int(outer.max()) + 1
    if objectives < 2 or cells <= objectives or y.size <= cells:
        raise ValueError(
            "want two objectives, one with two strengths, and a cell with two seeds at least; "
            f"got {objectives} objectives, {cells} cells and {y.size} rows"
        )
    return y, outer, cell.ravel(), parent


def _sums_of_squares(y: Numpy, outer: Numpy, cell: Numpy, parent: Numpy) -> tuple[Numpy, Numpy]:
    """Give the three sums of squares and their degrees of freedom: objective, strength, seed."""
    y = y - y.mean()
    n_a, n_b = np.bincount(outer), np.bincount(cell)
    mean_a, mean_b = np.bincount(outer, y) / n_a, np.bincount(cell, y) / n_b
    squares = [n_a @ mean_a**2, n_b @ (mean_b - mean_a[parent]) ** 2, ((y - mean_b[cell]) ** 2).sum()]
    return np.array(squares), np.array([n_a.size - 1.0, n_b.size - n_a.size, y.size - n_b.size])


def _coefficients(outer: Numpy, cell: Numpy, parent: Numpy, degrees: Numpy) -> tuple[float, float, float]:
    """Give k1, k2, k3 of `E MS_b = e + k1 b`, `E MS_a = e + k2 b + k3 a` (e, b, a the components)."""
    n_a, n_b, n = np.bincount(outer), np.bincount(cell), outer.size
    within = np.sum(n_b**2 / n_a[parent])
    k1, k2 = (n - within) / degrees[1], (within - np.sum(n_b**2) / n) / degrees[0]
    return k1, k2, (n - np.sum(n_a**2) / n) / degrees[0]


def _satterthwaite(parts: list[float], degrees: list[float]) -> float:
    bottom = sum(part**2 / df for part, df in zip(parts, degrees, strict=True))
    return sum(parts) ** 2 / bottom if bottom > 0 else degrees[0]


def _chi_squared(ms: Values, df: Values, level: float) -> Interval:
    tail = (1 - level) / 2
    return _component(ms, df * ms / stats.chi2.isf(tail, df), df * ms / stats.chi2.isf(1 - tail, df), df, level)


def _difference(top: Values, beneath: Values, n: Values, m: Values, scale: Values, level: float) -> Interval:
    """Give the interval of `(E top - E beneath) / scale`, mean squares on n and m degrees of freedom."""
    tail = (1 - level) / 2
    upper, lower = stats.f.isf(tail, n, m), stats.f.isf(1 - tail, n, m)
    g1, g2 = 1 - n / stats.chi2.isf(tail, n), 1 - m / stats.chi2.isf(tail, m)
    h1, h2 = n / stats.chi2.isf(1 - tail, n) - 1, m / stats.chi2.isf(1 - tail, m) - 1
    g12 = ((upper - 1) ** 2 - g1**2 * upper**2 - h2**2) / upper
    h12 = ((1 - lower) ** 2 - h1**2 * lower**2 - g2**2) / lower
    down = g1**2 * top**2 + h2**2 * beneath**2 + g12 * top * beneath
    up = h1**2 * top**2 + g2**2 * beneath**2 + h12 * top * beneath
    gap = top - beneath
    low, high = gap - np.sqrt(max(down, 0.0)), gap + np.sqrt(max(up, 0.0))
    return _component(gap / scale, low / scale, high / scale, n, level)


def _component(estimate: Values, low: Values, high: Values, df: Values, level: float) -> Interval:
    low, high = (np.float64(max(bound, 0.0)) for bound in (low, high))
    nan, number = np.float64(np.nan), np.int64(df + 1)
    return Interval(np.float64(estimate), low, high, nan, nan, number, level, np.bool_(True), np.bool_(False))
