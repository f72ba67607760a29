"""Interventional robustness: how little a latent moves when all factors but its own do (Suter et al. 2019)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.information import discretise
from interp_jax.core.types import Array, ArrayLike
from interp_jax.data.factors import Sizes
from interp_jax.vae.metrics import inputs, order


class Robustness(NamedTuple):
    """score: `[]`. each: `[D]`, the best of a latent's row. factor: `[D]` int32, which one. matrix: `[D, F]`."""

    score: Array
    each: Array
    factor: Array
    matrix: Array


def irs(
    codes: Array,
    factors: Array,
    sizes: Sizes,
    *,
    quantile: ArrayLike = 0.99,
    bins: int | None = None,
    undefined: ArrayLike = jnp.nan,
) -> Robustness:
    """Give the interventional robustness score, for crossed factors without confounding.

    codes: `[N, D]`. factors: `[N, F]` int. Of each class of a factor, the `quantile` of the distances of a latent from
    its mean in that class; the mean over classes, over the largest distance from the overall mean; one minus that is
    the matrix. A latent's value is its best factor's, and the score weights latents by their largest distance, so that
    dead ones count for nothing. 1 in the paper is the quantile that it means; the study's is .99.

    Perfect codes have 1. So does any code in which every latent is a function of one factor, duplicates included.
    Random codes do not have 0: of 10,000 normal draws the .99 quantile is some 2.6 and the largest 3.9, which leaves
    .34. Permutation, sign, shift and a common scale change nothing.

    bins: None groups by the classes. The peer cuts the FACTORS into 20 bins, which throws dSprites' 40 orientations two
    by two: `bins=20` does so. undefined: the score of a code of dead latents; the peer gives 0. NaN if a code is not
    finite. What the peer reports as `num_active_dims` is the sum of the codes.
    """
    checks.between(0, 1, quantile=quantile)
    valid = inputs.checked(codes, factors, sizes)
    groups, count = factors, max(sizes)
    if bins is not None:
        groups = jax.vmap(lambda y: discretise(y.astype(codes.dtype), bins=bins), 1, 1)(factors)
        count = bins
    distance = jnp.abs(codes - jnp.broadcast_to(jnp.mean(codes, 0), codes.shape))
    largest = jnp.where(inputs.vary(codes), jnp.max(distance, 0), 0)

    def factor(y: Array) -> Array:
        each = jax.vmap(lambda x: _deviation(x, y, count, quantile), 1)(codes)
        return 1 - each / jnp.where(largest > 0, largest, jnp.nan)

    matrix = jax.lax.map(factor, groups.T).T
    each = jnp.where(largest > 0, jnp.max(matrix, 1), jnp.nan)
    total = jnp.sum(largest)
    score = jnp.sum(jnp.where(largest > 0, largest * each, 0)) / jnp.where(total > 0, total, 1)
    score = jnp.where(valid, jnp.where(total > 0, score, undefined), jnp.nan)
    return Robustness(score, each, jnp.argmax(matrix, 1).astype(jnp.int32), matrix)


def _deviation(x: Array, y: Array, count: int, quantile: ArrayLike) -> Array:
    """Give the mean over the classes of y `[N]` that occur of the quantile of `|x - mean of the class|`, `[]`.

    Between two order statistics it interpolates, as numpy does.
    """
    members = jax.nn.one_hot(y, count, dtype=x.dtype)
    size = jnp.sum(members, 0)
    # about the overall mean, or the sums lose the digits of latents far from zero
    centred = x - jnp.mean(x)
    means = jnp.matmul(centred, members, precision=jax.lax.Precision.HIGHEST) / jnp.maximum(size, 1)
    distance = jnp.abs(centred - means[y])
    places = jnp.argsort(distance)
    groups = order.group(distance[places], y[places], count)
    position = quantile * (groups.size - 1)
    low = jnp.clip(jnp.floor(position).astype(jnp.int32), 0)
    high = jnp.minimum(low + 1, jnp.maximum(groups.size - 1, 0))
    left, right = (groups.values[jnp.minimum(groups.start + place, x.shape[0] - 1)] for place in (low, high))
    at = left + (position - low) * (right - left)
    there = groups.size > 0
    return jnp.sum(jnp.where(there, at, 0)) / jnp.sum(there)
