"""VINC: the direction in which statements vary, paraphrases agree and negations disagree, as one eigenproblem.

Variance, invariance, negative covariance: the probe of EleutherAI's elk (Belrose et al. 2023), which dropped it in
October 2023. Over pairs in V paraphrases, `[N, V, 2, D]`, each side centred by its own mean:

    Var     covariance of each side's means over paraphrases, averaged over the two sides
    Inv     covariance over the paraphrases of one statement, averaged over statements of both sides
    NegCov  covariance between the two sides' means over paraphrases, symmetrised

    weight = top eigenvector of  variance Var - (1 - negative) Inv - negative NegCov

Elk had other weights earlier (1, 5 and 5). Without paraphrases Inv is zero, and the probe another one, so one is an
error. We divide Inv by V where it is a mean over paraphrases, and all else by the sum of the rows' weights.
"""

import chex
import jax.numpy as jnp

from interp_jax.core.checks import between, not_negative
from interp_jax.core.linalg import eigh
from interp_jax.core.types import Array, ArrayLike
from interp_jax.probes.contrast import Spread, covariances, normalise, statistics, unscaled
from interp_jax.probes.crc import Direction


def fit(
    paraphrases: Array, *, weights: Array | None = None, spread: Spread = unscaled, variance: ArrayLike = 0.1,
    negative: ArrayLike = 0.5,
) -> Direction:  # fmt: skip
    """Fit the direction; `crc.score` scores pairs with it, one paraphrase or their means.

    paraphrases: `[N, V >= 2, 2, D]`. weights: `[N]`, 0 where a row is held out. variance: of Var, not negative.
    negative: in [0, 1], of NegCov; 1 less it is Inv's. value: the eigenvalue.

    Raises:
        ValueError: fewer than two paraphrases; weights of terms out of range.
    """
    matrix = terms_matrix(paraphrases, weights=weights, spread=spread, variance=variance, negative=negative)
    values, vectors = eigh(matrix)
    following = values[-2] if len(values) > 1 else jnp.full((), jnp.nan, values.dtype)
    normal = statistics(_flat(paraphrases), weights=_repeated(paraphrases, weights), spread=spread)
    return Direction(vectors[:, -1], normal, values[-1], following)


def terms_matrix(
    paraphrases: Array, *, weights: Array | None = None, spread: Spread = unscaled, variance: ArrayLike = 0.1,
    negative: ArrayLike = 0.5,
) -> Array:  # fmt: skip
    """Give the symmetric matrix whose top eigenvector `fit` takes, `[D, D]`."""
    if paraphrases.ndim != 4 or paraphrases.shape[1] < 2 or paraphrases.shape[2] != 2:
        raise ValueError(f"want paraphrases [N, V >= 2, 2, D], or invariance says nothing, got {paraphrases.shape}")
    not_negative(variance=variance)
    between(0, 1, negative=negative)
    count, many, _, width = paraphrases.shape
    repeated = _repeated(paraphrases, weights)
    rows = normalise(_flat(paraphrases), statistics(_flat(paraphrases), weights=repeated, spread=spread))
    rows = rows.reshape(count, many, 2, width)
    chex.assert_rank(rows, 4)
    centres = rows.mean(1)
    about = (rows - centres[:, None]).reshape(count * many, 2, width)
    first, second, cross = covariances(centres, weights)
    share = repeated / jnp.sum(repeated)
    inside = jnp.einsum("nsd,n,nse->de", about, share, about, precision="highest") / 2
    matrix = variance * (first + second) / 2 - (1 - negative) * inside - negative * (cross + cross.T) / 2
    return jnp.asarray(matrix)


def _flat(paraphrases: Array) -> Array:
    return paraphrases.reshape(-1, *paraphrases.shape[2:])


def _repeated(paraphrases: Array, weights: Array | None) -> Array:
    count, many = paraphrases.shape[:2]
    weights = jnp.ones(count) if weights is None else jnp.asarray(weights)
    return jnp.repeat(weights.astype(paraphrases.dtype), many)
