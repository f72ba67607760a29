"""Contrast pairs: normalisation by statistics of training rows, agreement with labels up to a sign, broken pairs.

A contrast pair is a statement and its negation; `pairs [N, 2, D]` holds their representations, the statement's first.
Paraphrases of one pair, where there are several, are `[N, V, 2, D]`. A label says which of the two is right: 1 the
first, 0 the second.

Every statement of one side ends alike ("... is true"), so that a probe could tell the sides apart without knowing
anything: each side is centred by its own mean first (Burns et al. 2022, section 2.2), and a direction is judged by how
the two sides of one pair differ.

    normal = statistics(train)
    score = differences(normalise(test, normal)) @ weight       # > 0: the first is right, up to a sign
    sign = orientation(score_of_others, y_of_others)            # labels enter here only
    accuracy(sign * score, y)
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array, Key

Spread = Callable[[Array], Array]
"""`variances [2, D] -> scales [2, D]`: what each centred side is divided by."""


class Normal(NamedTuple):
    """What a side is centred by and divided by. mean, scale: `[2, D]`."""

    mean: Array
    scale: Array


def unscaled(variance: Array) -> Array:
    """Divide by nothing, as Burns et al. do unless they are told otherwise."""
    return jnp.ones_like(variance)


def each(variance: Array) -> Array:
    """Divide each feature of each side by its standard deviation; a constant one by 1 (their `var_normalize`)."""
    return jnp.where(variance > 0, jnp.sqrt(variance), 1)


def whole(variance: Array) -> Array:
    """Divide each side by the root of its features' mean variance: the geometry stays, the step size fits any model."""
    mean = jnp.mean(variance, 1, keepdims=True)
    return jnp.broadcast_to(jnp.where(mean > 0, jnp.sqrt(mean), 1), variance.shape)


def statistics(pairs: Array, *, weights: Array | None = None, spread: Spread = unscaled) -> Normal:
    """Give the means (and scales) of the two sides over training rows.

    pairs: `[N, 2, D]`. weights: `[N]`, not negative, 0 where a row is held out. All zero gives NaN.
    """
    share = shares(pairs, weights)
    mean = jnp.einsum("n,nsd->sd", share, pairs, precision="highest")
    mean = mean + jnp.einsum("n,nsd->sd", share, pairs - mean[None], precision="highest")
    variance = jnp.einsum("n,nsd->sd", share, (pairs - mean[None]) ** 2, precision="highest")
    return Normal(mean, spread(variance))


def normalise(pairs: Array, normal: Normal) -> Array:
    """Centre and scale each side: `[N, 2, D]`. The peer takes the statistics of the rows at hand, tested ones too."""
    chex.assert_rank([pairs, normal.mean], [3, 2])
    return (pairs - normal.mean[None]) / normal.scale[None]


def differences(pairs: Array) -> Array:
    """Give the statement's representation less its negation's, `[N, D]`."""
    chex.assert_rank(pairs, 3)
    return pairs[:, 0] - pairs[:, 1]


def covariances(pairs: Array, weights: Array | None = None) -> tuple[Array, Array, Array]:
    """Give the covariances of the first side, of the second, and between them, `[D, D]` each, about weighted means.

    pairs: `[N, 2, D]`. weights: `[N]`. At full precision of the dtype; the divisor is the sum of weights.
    """
    share = shares(pairs, weights)
    first, second = jnp.moveaxis(pairs - statistics(pairs, weights=weights).mean[None], 1, 0)
    left = first * share[:, None]
    return matmul(left.T, first), matmul((second * share[:, None]).T, second), matmul(left.T, second)


def shares(pairs: Array, weights: Array | None) -> Array:
    """Give weights `[N]` that sum to 1, equal ones by default."""
    chex.assert_rank(pairs, 3)
    chex.assert_axis_dimension(pairs, 1, 2)
    weights = jnp.ones(len(pairs), pairs.dtype) if weights is None else weights.astype(pairs.dtype)
    chex.assert_shape(weights, (len(pairs),))
    return weights / jnp.sum(weights)


def accuracy(score: Array, y: Array, weights: Array | None = None) -> Array:
    """Give the share of rows whose score is above 0 exactly where the first statement is right, `[]`.

    score: `[N]`. y: `[N]`, 1 or 0. weights: `[N]`. A score of 0 counts half. NaN where a score or a label that counts
    is none, or no row counts.
    """
    chex.assert_rank([score, y], 1)
    chex.assert_equal_shape([score, y])
    weights = jnp.ones(score.shape, score.dtype) if weights is None else weights.astype(score.dtype)
    right = jnp.where(score == 0, 0.5, (score > 0) == (y == 1))
    known = ~jnp.isnan(score) & ((y == 0) | (y == 1))
    right = jnp.where(known | (weights == 0), right, jnp.nan)
    return jnp.sum(jnp.where(weights > 0, weights * right, 0)) / jnp.sum(weights)


def orientation(score: Array, y: Array, weights: Array | None = None) -> Array:
    """Give the sign, 1 or -1, that makes scores agree with labels more often than not; 1 if they agree half the time.

    Nothing without labels can tell a direction from its opposite. Chosen on the rows that are then scored it makes
    the expected accuracy of a random direction exceed 1/2: choose it on others.
    """
    return jnp.where(accuracy(score, y, weights) < 0.5, -1.0, 1.0).astype(score.dtype)


def broken(pairs: Array, key: Key, *, weights: Array | None = None) -> Array:
    """Deal the negations out at random: row i keeps its statement and gets the negation of another row, or its own.

    pairs: `[N, ...]` with the two sides along axis -2. weights: `[N]`; where given, rows of weight 0 keep their own,
    and the others exchange among themselves. What a method still finds does not come from the pairing.
    """
    count = len(pairs)
    deals = jnp.ones(count, bool) if weights is None else weights > 0
    # rows that deal come first, in a random order; the k-th that deals (in order) gets the k-th of those
    drawn = jnp.argsort(jnp.where(deals, jax.random.uniform(key, (count,)), 2))
    place = jnp.cumsum(deals) - 1
    source = jnp.where(deals, drawn[place], jnp.arange(count))
    return jnp.stack([pairs[..., 0, :], pairs[source][..., 1, :]], -2)
