"""Scores without factors: Wasserstein correlation, active latents, agreement of models trained alike (UDR).

Total correlation is `core.information.gaussian_total_correlation`; the mean mutual information of latents is in
`histogram`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks
from interp_jax.core.information import standard_normal_kl
from interp_jax.core.linalg import compress_rows, matmul
from interp_jax.core.types import Array, ArrayLike
from interp_jax.linear import elastic_net


class Similarity(NamedTuple):
    """How alike two models' latents are, in two steps, of which the first is taken once.

    prepare: `codes [S, N, D] -> rows [S, R, D]`, of all models. compare: `(rows [R, D], rows [R, D]) -> [D, D]`, not
    negative.
    """

    prepare: Callable[[Array], Array]
    compare: Callable[[Array, Array], Array]


class Wasserstein(NamedTuple):
    """squared: the squared distance, in squared units of the code. normalised: that over the trace. `[...]` each."""

    squared: Any
    normalised: Any


def wasserstein_correlation(covariance: Any, active: Any = None) -> Wasserstein:
    """Give the squared 2-Wasserstein distance of `N(0, C)` from `N(0, diag C)` (Dowson and Landau 1982, eq. 16).

    `2 tr C - 2 tr (D^1/2 C D^1/2)^1/2` with D = diag C. covariance: `[..., D, D]`; a numpy one computes in float64.
    active: `[..., D]` booleans, the latents to keep. 0 for uncorrelated latents; constant ones count for nothing. The
    peer calls it a distance, reports it unrooted as here, and takes a general matrix root, which turns complex on
    singular covariances. Normalised, scale does not matter; 1 of a constant code is 0/0: NaN. float32 cancels to 1e-6
    of the trace. NaN where the covariance is not finite.

    >>> float(wasserstein_correlation(np.ones((2, 2))).squared.round(4))
    1.1716
    """
    xp = jnp if isinstance(covariance, jax.Array) else np
    covariance = xp.asarray(covariance) if xp is jnp else np.asarray(covariance, float)
    variance = xp.diagonal(covariance, axis1=-2, axis2=-1)
    active = xp.broadcast_to(xp.asarray(True if active is None else active, bool), variance.shape)
    root = xp.sqrt(xp.where(active & (variance > 0), variance, 0))
    fine = xp.all(xp.isfinite(covariance), axis=(-2, -1))
    inner = xp.where(fine[..., None, None], root[..., :, None] * covariance * root[..., None, :], 0)
    eigenvalues = xp.linalg.eigvalsh(inner)
    trace = xp.sum(root**2, axis=-1)
    squared = 2 * trace - 2 * xp.sum(xp.sqrt(xp.where(eigenvalues > 0, eigenvalues, 0)), axis=-1)
    squared = xp.where(fine, squared, xp.nan)
    whole = xp.where(trace > 0, trace, xp.nan)
    return Wasserstein(squared[()], (squared / whole)[()])


def active_by_kl(mean: Array, log_var: Array, *, smallest: ArrayLike = 0.01) -> Array:
    """Tell which latents have a mean KL from the prior above `smallest` nats, a bool `[D]`: the study's UDR filter.

    mean, log_var: `[N, D]`. NaN counts as not active.
    """
    chex.assert_equal_shape([mean, log_var])
    return jnp.mean(standard_normal_kl(mean, log_var), 0) > smallest


def active_by_variance(mean: Array, *, smallest: ArrayLike = 0.01) -> Array:
    """Tell which latents' means have a variance above `smallest`, a bool `[D]` (Burda et al. 2016, section 5.2)."""
    chex.assert_rank(mean, 2)
    return jnp.var(mean, 0, ddof=1) > smallest


class UDR(NamedTuple):
    """score: `[S]`, a model's median over the others. pairs: `[S, S]`, i predicts j; NaN on the diagonal.

    compared: `[S]` int32, how many pairs a median is of; S - 1 where all are defined.
    """

    score: Array
    pairs: Array
    compared: Array


def udr(
    codes: Array,
    kl: Array,
    *,
    similarity: Similarity | None = None,
    smallest: ArrayLike = 0.01,
    mean_of_means: bool = True,
) -> UDR:
    """Score models of one setting by how alike their latents are (Duan et al. 2020, eq. 3), from one pass.

    codes: `[S, N, D]`, of S models on the same N examples. kl: `[S, D]`, the mean KL of each latent; those at most
    `smallest` are left out. similarity: `lasso(.1)` if None, or `spearman`; of standardised latents.

    A pair's score is the mean over latents of both of `max^2 / sum` of the latent's similarities. For models that agree
    up to permutation and sign it is 1 with `spearman` and .9 with `lasso(.1)`, which shrinks. mean_of_means: the mean
    of the two models' means, as in the peer's code; else one mean over all `A_i + A_j` latents, as in the paper: they
    differ where the numbers of active latents do. A model's score is the median over models that predict it, as in the
    peer. A pair one of whose models has no active latent, or codes that are not finite, is NaN and left out of the
    median, which says of how many pairs it is (the peer stops; the paper's formula gives 0 for the former).
    """
    chex.assert_rank([codes, kl], [3, 2])
    number = codes.shape[0]
    if number < 2:
        raise ValueError(f"want at least 2 models, got {number}")
    similarity = similarity or lasso(0.1)
    active = kl > smallest
    centred = codes - jnp.mean(codes, 1, keepdims=True)
    spread = jnp.std(codes, 1, keepdims=True)
    active &= spread[:, 0] > 0
    scaled = jnp.where(active[:, None], centred / jnp.where(spread > 0, spread, 1), 0)
    fine = jnp.all(jnp.isfinite(codes), (1, 2))
    scaled = jnp.where(fine[:, None, None], scaled, 0)
    rows = similarity.prepare(scaled)
    one, two = (each.reshape(-1) for each in jnp.meshgrid(*[jnp.arange(number)] * 2, indexing="ij"))

    def pair(where: tuple[Array, Array]) -> Array:
        i, j = where
        value = relative_strength(
            similarity.compare(rows[i], rows[j]), active[i], active[j], mean_of_means=mean_of_means
        )
        return jnp.where((i != j) & fine[i] & fine[j], value, jnp.nan)

    pairs = jax.lax.map(pair, (one, two), batch_size=min(64, number**2)).reshape(number, number)
    return UDR(jnp.nanmedian(pairs, 0), pairs, jnp.sum(jnp.isfinite(pairs), 0, dtype=jnp.int32))


def relative_strength(matrix: Array, rows: Array, columns: Array, *, mean_of_means: bool = True) -> Array:
    """Give the mean over rows and columns of `max^2 / sum`, `[]`. matrix: `[D, E]`; rows `[D]`, columns `[E]`: kept.

    A latent without similarity to any other counts 0. NaN if no row or no column is kept.
    """
    kept = jnp.where(rows[:, None] & columns[None, :], matrix, 0)
    of_rows, of_columns = (
        jnp.where((total := jnp.sum(kept, axis)) > 0, jnp.max(kept, axis) ** 2 / jnp.where(total > 0, total, 1), 0)
        for axis in (1, 0)
    )
    counts = jnp.sum(rows), jnp.sum(columns)
    sums = jnp.sum(of_rows), jnp.sum(of_columns)
    means = (sums[0] / counts[0] + sums[1] / counts[1]) / 2
    value = means if mean_of_means else (sums[0] + sums[1]) / (counts[0] + counts[1])
    return jnp.where((counts[0] > 0) & (counts[1] > 0), value, jnp.nan)


def lasso(alpha: ArrayLike, *, steps: int = 1000, tol: float = 1e-6) -> Similarity:
    """Make the similarity `|coefficients|` of the lasso that predicts the second model's latents from the first's.

    alpha: in standard deviations (the study's is .1). The squared loss needs no more rows than all models have latents.
    """
    checks.not_negative(alpha=alpha)

    def prepare(codes: Array) -> Array:
        number, n, dims = codes.shape
        wide = jnp.swapaxes(codes, 0, 1).reshape(n, number * dims) / jnp.sqrt(float(n))
        short = compress_rows(wide)
        return jnp.swapaxes(short.reshape(-1, number, dims), 0, 1)

    def compare(a: Array, b: Array) -> Array:
        square = jnp.zeros((), a.dtype)
        return jnp.abs(elastic_net.descend(a, b, jnp.asarray(alpha, a.dtype), square, steps, tol).weight)

    return Similarity(prepare, compare)


def _spearman() -> Similarity:
    def prepare(codes: Array) -> Array:
        ranks = jax.vmap(jax.vmap(jax.scipy.stats.rankdata, 1, 1))(codes).astype(codes.dtype)
        centred = ranks - (codes.shape[1] + 1) / 2
        size = jnp.sqrt(jnp.sum((centred / codes.shape[1]) ** 2, 1, keepdims=True)) * codes.shape[1]
        return centred / jnp.where(size > 0, size, 1)

    return Similarity(prepare, lambda a, b: jnp.abs(matmul(a.T, b)))


spearman = _spearman()
"""The similarity `|rank correlation|`, ties at their mean rank; constant latents have 0."""
