"""The area under the ROC curve, exact under ties, and the exact bisection that it and others look ranks up by.

Scores are compared as float32, by whole numbers in the same order, which a CPU sorts four times as fast as floats.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array


def roc_auc(scores: Array, positive: Array, *, mask: Array | None = None) -> Array:
    """Give the area under the ROC curve: `P(positive above negative) + P(equal) / 2`, of one label, `[]`.

    scores: `[N]`, larger for the positive; infinities are in order. positive: `[N]`, bool or 0 and 1. mask: `[N]` bool,
    the rows that count. It is scikit-learn's `roc_auc_score`; a score that is the same everywhere has exactly 1/2, and
    perfect order exactly 1.

    NaN where no row, or every row, is positive (scikit-learn warns), where a score that counts is NaN, and where a
    label that counts is neither 0 nor 1.

    >>> round(float(roc_auc(jnp.array([0.1, 0.4, 0.4, 0.8]), jnp.array([0, 0, 1, 1]))), 4)
    0.875
    """
    chex.assert_rank([scores, positive], 1)
    chex.assert_equal_shape([scores, positive])
    counts = jnp.ones(scores.shape, bool) if mask is None else mask
    chex.assert_equal_shape([scores, counts])
    above, below = counts & (positive == 1), counts & (positive == 0)
    keys = _ordered(scores)
    order = jnp.sort(jnp.where(below, keys, jnp.iinfo(keys.dtype).max))  # the largest is no float's
    n = scores.shape[0]
    zero, top = jnp.zeros(n, jnp.int32), jnp.full(n, n, jnp.int32)
    low = bisect(lambda i: order[i] < keys, zero, top, n)
    high = bisect(lambda i: order[i] <= keys, low, top, n)
    # shares, or sums of 10,000 ranks would be rounded; the half of low + high is exact
    share = 0.5 * (low + high).astype(jnp.float32) / jnp.sum(below)
    value = jnp.sum(jnp.where(above, share, 0)) / jnp.sum(above)
    known = jnp.all(~counts | (~jnp.isnan(scores) & (above | below)))
    return jnp.where(known & above.any() & below.any(), value, jnp.nan)


def roc_auc_one_versus_rest(scores: Array, classes: Array) -> Array:
    """Give the area under the ROC curve of each class against the rest, `[K]`; NaN for a class alone or not there.

    scores: `[N, K]`. classes: `[N]` int. `roc_auc(scores[:, k], classes == k)` for each k, where every row is looked up
    once only, in the scores of its own class. NaN for a class whose scores are not all finite.
    """
    chex.assert_rank([scores, classes], [2, 1])
    chex.assert_equal_shape_prefix([scores, classes], 1)
    n, count = scores.shape
    keys = _ordered(scores.T)
    own = keys[classes, jnp.arange(n)]
    order = jnp.sort(keys, 1)
    zero, top = jnp.zeros(n, jnp.int32), jnp.full(n, n, jnp.int32)
    low = bisect(lambda i: order[classes, i] < own, zero, top, n)
    high = bisect(lambda i: order[classes, i] <= own, zero, top, n)
    # ranks about their middle, or sums of 10,000 of them would be rounded
    rank = 0.5 * (low + high).astype(scores.dtype) / n - 0.5
    members = jax.nn.one_hot(classes, count, dtype=scores.dtype)
    ones = jnp.sum(members, 0)
    value = 0.5 + matmul(rank, members) / ones * (n / (n - ones))
    return jnp.where((ones > 0) & (ones < n) & jnp.all(jnp.isfinite(scores), 0), value, jnp.nan)


def bisect(below: Callable[[Array], Array], low: Array, high: Array, longest: int) -> Array:
    """Give the first index in `[low, high)` that is not below, or high; `below` of an index is true, then false.

    low, high: int arrays of one shape, at most `longest` apart. An exact search: `below` may compare distances as they
    are rounded, where `searchsorted(values, x + distance)` would round otherwise.
    """

    def step(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) // 2
        go = below(jnp.clip(middle, 0, longest - 1)) & (low < high)
        return jnp.where(go, middle + 1, low), jnp.where(go, high, middle)

    return jax.lax.fori_loop(0, longest.bit_length(), step, (low, high))[0]


def _ordered(x: Array) -> Array:
    """Give int32 in the order of float32 (the bits of a negative float fall as it rises; -0 is 0)."""
    bits = jax.lax.bitcast_convert_type(jnp.where(x == 0, 0, x).astype(jnp.float32), jnp.int32)
    return jnp.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
