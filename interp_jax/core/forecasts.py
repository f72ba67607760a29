"""How well replicates are foretold, and how well they could be: statistics of a table of them, in numpy float64.

Each is a smooth function of replicates, so `bootstrap.jackknife(gain, table)` gives its interval over them. The
forecasts are taken as they are: an interval says what other replicates would show of the same forecasts, and holds the
fits that made them (`linear.crossfit`) fixed.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from interp_jax.core.bootstrap import pseudo_values
from interp_jax.core.correlation import rank_correlations
from interp_jax.core.multiplicity import MaxT, max_t_drawn
from interp_jax.core.types import Numpy


def explained(table: ArrayLike) -> float:
    """Give `1 - mean squared error / variance of the target`. table: `[n, 2]`, target and squared error.

    Below zero for a forecast that is worse than the mean of these replicates.

    >>> explained([[1.0, 0.0], [2.0, 0.25], [3.0, 0.0], [4.0, 0.25]])
    0.9
    """
    target, lost = _columns(table, 2)
    return float(1 - lost.mean() / _variance(target))


def gain(table: ArrayLike) -> float:
    """Give how much more one forecast explains than another. table: `[n, 3]`, target, squared errors of one and other.

    >>> gain([[1.0, 0.0, 1.0], [2.0, 0.0, 0.5], [3.0, 0.0, 0.0], [4.0, 0.0, 1.0]])
    0.5
    """
    target, better, worse = _columns(table, 3)
    return float((worse - better).mean() / _variance(target))


def reliability(halves: ArrayLike) -> float:
    """Give how well a score would agree with itself on as many other test examples (Spearman 1910, Brown 1910).

    `2 r / (1 + r)` of the correlation r, over replicates, of the score on two halves of the test examples: the share of
    the whole score's variance over replicates that is not noise of the examples. halves: `[n, 2]`.

    >>> reliability([[1.0, 1.5], [2.0, 2.5], [3.0, 3.5]])
    1.0
    """
    r = agreement(halves)
    return 2 * r / (1 + r)


def agreement(pairs: ArrayLike) -> float:
    """Give the correlation of two columns `[n, 2]`.

    Where both are outcomes of one beginning, and what happens after it is drawn anew for each, it is the share of the
    outcome's variance that the beginning decides: the most that anything known then can explain of it.
    """
    first, second = _columns(pairs, 2)
    both = np.stack([first - first.mean(), second - second.mean()])
    return float(both[0] @ both[1] / np.sqrt(_variance(first) * _variance(second)) / len(first))


def lead(values: ArrayLike, target: ArrayLike) -> Numpy:
    """Give what each replicate adds to how much stronger the first predictor's rank correlation is than the best other.

    The best other (by the size of Spearman's correlation with the target), and the signs of both, are chosen on one
    half of the replicates (every second one) and compared on the other, and the halves change places: the best of many
    gains nothing by chance. Gives `bootstrap.pseudo_values` within halves, `[n]`, whose mean is the estimate.

    values: `[n, P]`, P at least 2. target: `[n]`.
    """
    rows, aim = np.asarray(values, float), np.asarray(target, float)
    if rows.ndim != 2 or rows.shape[1] < 2 or aim.shape != rows.shape[:1] or len(aim) < 8:
        raise ValueError(f"want values [n >= 8, P >= 2] and target [n], got {rows.shape} and {aim.shape}")
    found = np.empty(len(aim))
    for half, others in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        there = np.nan_to_num(rank_correlations(rows[others], aim[others, None])[:, 0])
        best = 1 + int(np.abs(there[1:]).argmax())
        signs = np.sign(there[[0, best]])

        def ahead(some: Numpy, signs: Numpy = signs) -> float:
            own, other = signs * np.nan_to_num(rank_correlations(some[:, :2], some[:, 2:])[:, 0])
            return float(own - other)

        found[half] = pseudo_values(ahead, np.stack([rows[half, 0], rows[half, best], aim[half]], 1))
    return found


class Singles(NamedTuple):
    """What single predictors foretell. correlations: `[P]`, Spearman's with the target. tests: of their sizes."""

    correlations: Numpy
    tests: MaxT


def singles(values: ArrayLike, target: ArrayLike, *, seed: int, draws: int = 999) -> Singles:
    """Correlate each predictor alone with the target, and test all by dealing the target out (step-down max-T).

    values: `[n, P]`. target: `[n]`. A predictor that does not vary counts as uncorrelated.
    """
    rng, aim = np.random.default_rng(seed), np.asarray(target, float)
    drawn = np.stack([aim, *(rng.permutation(aim) for _ in range(draws))], 1)
    found = np.nan_to_num(rank_correlations(values, drawn))
    return Singles(found[:, 0], max_t_drawn(np.abs(found[:, 0]), np.abs(found[:, 1:]).T))


def _variance(values: Numpy) -> float:
    found = values.var()
    if not found > 0:
        raise ValueError("want replicates that differ, got a target that is the same in all")
    return found


def _columns(table: ArrayLike, count: int) -> Numpy:
    rows = np.asarray(table, float)
    if rows.ndim != 2 or rows.shape[1] != count or len(rows) < 2:
        raise ValueError(f"want a table [n >= 2, {count}], got {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("want a table that is finite: leave out replicates that are not, and list them")
    return rows.T
