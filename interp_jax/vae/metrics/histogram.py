"""Metrics from the mutual information of each latent with each factor, counted once in histograms.

`histogram_information(codes, factors, sizes)` counts; `mutual_information_gap` and `modularity` read the counts.
`mig(codes, factors, sizes)` is the first of these in one call; under `jit` calls side by side count once, since XLA
merges equal counts.

The study's settings (Locatello et al. 2019): 10,000 points, 20 bins of equal width over each dimension's own range, the
plug-in estimate. It is high by about `(bins - 1)(size - 1) / 2N` nats where a latent says nothing about a factor: .04
for 40 classes. One outlier stretches the range and empties the bins. The code is that of the mean, or of one sample;
Chen et al. (2018) integrate over the posterior instead.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.information import Entropy, discretise, entropy, pairwise_mutual_information
from interp_jax.core.types import Array, ArrayLike
from interp_jax.data.factors import Sizes
from interp_jax.vae.metrics import inputs


class Information(NamedTuple):
    """In nats. matrix: `[D, F]`, of latent d with factor f. entropy: `[F]`, of the factors."""

    matrix: Array
    entropy: Array


class Gap(NamedTuple):
    """score: `[]`, the mean over factors, NaN if one is undefined. each: `[F]`. latent: `[F]` int32, the best one."""

    score: Array
    each: Array
    latent: Array


class Modularity(NamedTuple):
    """score: `[]`, the mean over latents. each: `[D]`. factor: `[D]` int32, the one each latent knows best."""

    score: Array
    each: Array
    factor: Array


def histogram_information(
    codes: Array, factors: Array, sizes: Sizes, *, bins: int = 20, estimator: Entropy = entropy
) -> Information:
    """Estimate the mutual information of every latent with every factor.

    codes: `[N, D]`. factors: `[N, F]` int classes. sizes: the number of classes of each factor. estimator: `entropy`
    (plug-in, the study's) or `core.information.miller_madow`, whose bias is smaller.

    A constant dimension has exactly 0, a constant factor entropy 0; what is under 16 roundings is rounding, and 0. NaN
    if a code is not finite or a class out of range.
    """
    valid = inputs.checked(codes, factors, sizes)
    widest = max(sizes)
    matrix = pairwise_mutual_information(_cut(codes, bins), factors, sizes=(bins, widest), estimator=estimator)
    counts = jnp.sum(jax.nn.one_hot(factors, widest, dtype=codes.dtype), 0)
    of_factors = jax.vmap(estimator)(counts)
    constant = ~inputs.vary(codes)[:, None] | (of_factors == 0)[None, :]
    matrix = jnp.where(constant, 0, _without_rounding(matrix))
    return Information(jnp.where(valid, matrix, jnp.nan), jnp.where(valid, of_factors, jnp.nan))


def mutual_information_gap(information: Information) -> Gap:
    """Give the difference of the two largest informations about each factor over its entropy (Chen et al. 2018, eq. 6).

    `mean_f (I(z_1; f) - I(z_2; f)) / H(f)`. Perfect codes have 1, also when permuted, rescaled or joined by dead
    dimensions; a duplicated latent makes its factor's gap 0, and so does a code of dead dimensions. NaN for a constant
    factor (the peer's division gives NaN too), and for codes of one dimension.
    """
    matrix, of_factors = information
    if matrix.shape[0] < 2:
        raise ValueError(f"want at least 2 latents, for a gap, got {matrix.shape[0]}")
    top = jax.lax.top_k(matrix.T, 2)[0]
    each = (top[:, 0] - top[:, 1]) / jnp.where(of_factors > 0, of_factors, jnp.nan)
    return Gap(jnp.mean(each), each, jnp.argmax(matrix, 0).astype(jnp.int32))


def mig(codes: Array, factors: Array, sizes: Sizes, *, bins: int = 20, estimator: Entropy = entropy) -> Gap:
    """Give the mutual information gap (Chen et al. 2018) of codes `[N, D]` and factors `[N, F]`, as in the study.

    >>> grid = jnp.stack(jnp.meshgrid(jnp.arange(4), jnp.arange(4)), -1).reshape(-1, 2)
    >>> round(float(jax.jit(mig, static_argnums=2)(-3.0 * grid, grid, (4, 4)).score), 4)
    1.0
    """
    return mutual_information_gap(histogram_information(codes, factors, sizes, bins=bins, estimator=estimator))


def modularity(matrix: Array, *, active: Array | None = None, dead: ArrayLike = 0.0) -> Modularity:
    """Tell how far each latent knows one factor only (Ridgeway and Mozer 2018, eq. 1-2).

    `1 - (sum_f I^2 - max_f I^2) / (max_f I^2 (F - 1))`, the mean over latents. matrix: `[D, F]`, the `matrix` of
    `histogram_information`. active: `[D]` booleans, the latents to average over; NaN if there are none.

    dead: the value of a latent without information, which the paper leaves 0/0 and the peer sets to 0: NaN makes the
    score undefined. A latent of noise is not dead: its informations are the estimator's bias, alike for all factors,
    and pull the mean down (2 perfect latents and 3 of noise score .856 in the peer, not 1). That is not mended here but
    by `active`. NaN for one factor.
    """
    squares = matrix**2
    best = jnp.max(squares, 1)
    rest = (jnp.sum(squares, 1) - best) / jnp.where(best > 0, best, 1)
    spread = matrix.shape[1] - 1
    each = jnp.where(best > 0, 1 - rest / spread, dead) if spread else jnp.full_like(best, jnp.nan)
    each = jnp.where(jnp.isnan(best), jnp.nan, each)
    active = jnp.ones(best.shape, bool) if active is None else active
    score = jnp.sum(jnp.where(active, each, 0)) / jnp.sum(active)
    return Modularity(score, each, jnp.argmax(matrix, 1).astype(jnp.int32))


def mean_pairwise_information(codes: Array, *, bins: int = 20, estimator: Entropy = entropy) -> Array:
    """Give the mean mutual information of two latents in nats, over pairs, `[]`: the study's `mutual_info_score`.

    codes: `[N, D]`, D at least 2. Of independent latents it is the estimator's bias, `(bins - 1)^2 / 2N`: .018 at
    10,000 points. A constant dimension has 0 with every other; duplicates have their entropy. NaN if not finite.
    """
    dims = codes.shape[1]
    if dims < 2:
        raise ValueError(f"want at least 2 latents, for a pair, got {dims}")
    cut = _cut(codes, bins)
    matrix = pairwise_mutual_information(cut, cut, sizes=(bins, bins), estimator=estimator)
    varies = inputs.vary(codes)
    both = varies[:, None] & varies[None, :]
    matrix = jnp.where(both & ~jnp.eye(dims, dtype=bool), _without_rounding(matrix), 0)
    return jnp.where(jnp.all(jnp.isfinite(codes)), jnp.sum(matrix) / (dims * (dims - 1)), jnp.nan)


def _cut(codes: Array, bins: int) -> Array:
    checks.whole(2, bins=bins)
    return jax.vmap(lambda x: discretise(x, bins=bins), 1, 1)(codes)


def _without_rounding(matrix: Array) -> Array:
    """Set to 0 what three rounded entropies differ by, or the ratios of modularity would be made of it."""
    return jnp.where(jnp.abs(matrix) > 16 * jnp.finfo(matrix.dtype).eps, matrix, 0)
