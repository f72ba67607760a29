"""Choosing on some replicates what is scored on another, so that no choice profits from its own noise."""

import numpy as np

from interp_jax.core.intervals import Data
from interp_jax.core.types import Numpy


def best_of_others(values: Data) -> Numpy:
    """Give for each of n replicates which of K candidates is best on average over the others.

    values: `[K, n]`, larger is better. Gives `[n]` int, to pick with: `picked(values, best_of_others(values))`. A
    candidate that is not finite in one of the others is not chosen; -1 if that leaves none, and for a lone replicate.

    >>> best_of_others([[0.5, 0.1, 0.1], [0.0, 0.3, 0.3]]).tolist()
    [1, 0, 0]
    """
    table = np.asarray(values, float)
    if table.ndim != 2 or not len(table):
        raise ValueError(f"want values [K, n] of one candidate or more, got {table.shape}")
    best = []
    for i in range(table.shape[1]):
        others = np.delete(table, i, 1)
        means = others.mean(1) if others.size else np.full(len(table), np.nan)
        best.append(int(np.nanargmax(means)) if np.isfinite(means).any() else -1)
    return np.array(best, int)


def picked(values: Data, chosen: Data) -> Numpy:
    """Give `values[chosen[i], i]` of each replicate i; NaN where nothing was chosen (-1). values: `[K, n]`.

    >>> picked([[0.5, 0.1], [0.0, 0.3]], [1, -1]).tolist()
    [0.0, nan]
    """
    table, index = np.asarray(values, float), np.asarray(chosen, int)
    return np.where(index >= 0, table[index, np.arange(len(index))], np.nan)
