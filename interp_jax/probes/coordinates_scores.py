"""Scores of held-out predictions as sums over clusters (countries, decades), so that resampling clusters is cheap.

    more, less = (r2(told, found[name], cluster, count) for name in ("late", "early"))     # found: [S, N, K], S splits
    interval(more, less, level=0.95)                    # of the difference, averaged over splits, on the same rows

In numpy float64 on the host. Fits are not repeated: intervals are for these probes, in other countries.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from interp_jax.core.bootstrap import bootstrap, pseudo_values
from interp_jax.core.intervals import Interval
from interp_jax.core.types import Numpy

DRAWS = 9_999


@dataclasses.dataclass(frozen=True)
class Tally:
    """A score of sums over clusters. rows: `[C, S, Q]`, of each cluster and split. score: sums `[..., Q] -> [...]`."""

    rows: Numpy
    score: Callable[[Numpy], Numpy]

    @property
    def by_split(self) -> Numpy:
        """Give the score of every split, `[S]`."""
        return self.score(self.rows.sum(0))

    @property
    def value(self) -> float:
        """Give the mean over splits."""
        return float(self.by_split.mean())

    @property
    def clusters(self) -> int:
        """Count the clusters with rows in them."""
        return len(_filled(self.rows))

    @property
    def pseudo(self) -> Numpy:
        """Give the jackknife's pseudo-values, `[C]` of clusters with rows in them, about `value` (`core.bootstrap`).

        Their own mean lacks the bias of order 1 / C, which is rough where a few clusters hold most of the rows.
        """
        found = pseudo_values(lambda rows: self.score(rows.sum(0)).mean(), _filled(self.rows))
        return found - found.mean() + self.value


def _filled(rows: Numpy) -> Numpy:
    return rows[np.abs(rows).sum((1, 2)) > 0]


def interval(more: Tally, less: Tally | float, *, level: float = 0.95, draws: int | None = None) -> Interval:
    """Give a score less another of the same rows, or a number, with a bootstrap over clusters.

    Raises:
        ValueError: fewer than 20 clusters, or a score that is not defined on some resample.
    """
    other = less if isinstance(less, Tally) else dataclasses.replace(more, rows=more.rows[:, :, :0])
    rows = np.concatenate([more.rows, other.rows], 2)
    cut = more.rows.shape[2]

    def difference(rows: Numpy) -> Numpy:
        sums = rows.sum(1)
        base = other.score(sums[..., cut:]).mean(-1) if isinstance(less, Tally) else less
        return more.score(sums[..., :cut]).mean(-1) - base

    return bootstrap(difference, _filled(rows), seed=0, level=level, draws=draws or DRAWS, batched=True)


def by_cluster(values: Numpy, cluster: Numpy, count: int) -> Numpy:
    """Sum `[S, N, Q]` over the rows of each cluster: `[C, S, Q]`."""
    found = np.zeros((count, values.shape[0], values.shape[2]))
    np.add.at(found, cluster, np.moveaxis(values, 1, 0))
    return found


def r2(true: Numpy, predicted: Numpy, cluster: Numpy, count: int) -> Tally:
    """Give the R2 of all targets together, `1 - sum |y - p|^2 / sum |y - mean|^2`.

    The mean is that of all rows, also where clusters are resampled: about their own mean, predictions that know nothing
    but the mean of all would fall below zero in every resample.

    true: `[N, K]`. predicted: `[S, N, K]`; rows that are NaN are left out of their split. cluster: `[N]`, under
    `count`.
    """
    return within(true, predicted, np.zeros(len(true)), cluster, count, shift=False)


def within(true: Numpy, predicted: Numpy, group: Numpy, cluster: Numpy, count: int, *, shift: bool = True) -> Tally:
    """Give the R2 of what is left of targets and predictions without their means by group (`space.within`).

    group: `[N]`, any whole numbers. shift: False leaves the predictions as they are; the others as in `r2`.
    """
    _, which, sizes = np.unique(group, return_inverse=True, return_counts=True)

    def rest(x: Numpy) -> Numpy:
        return x - (by_cluster(x, which, len(sizes)) / sizes[:, None, None])[which].swapaxes(0, 1)

    y = np.asarray(true, float)[None]
    missed = y - predicted
    lost = ((rest(missed) if shift else missed) ** 2).sum(2)
    spread = np.where(np.isfinite(lost), (rest(y) ** 2).sum(2), 0)
    sums = np.stack([spread, np.where(np.isfinite(lost), lost, 0)], 2)
    return Tally(by_cluster(sums, cluster, count), _explained)


def _explained(sums: Numpy) -> Numpy:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(sums[..., 0] > 0, 1 - sums[..., 1] / sums[..., 0], np.nan)


def mean(values: Numpy, cluster: Numpy, count: int) -> Tally:
    """Give the mean of a value of every row, `[S, N]`; rows that are NaN are left out."""
    known = np.isfinite(values)
    pair = np.stack([np.where(known, values, 0.0), known.astype(float)], 2)
    return Tally(by_cluster(pair, cluster, count), lambda sums: sums[..., 0] / sums[..., 1])
