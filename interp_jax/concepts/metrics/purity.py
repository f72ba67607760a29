"""What the representation of one concept tells of the others: purity matrix, oracle and niche impurity.

Purity matrix of Mahinpei et al. (2021), impurity scores of Espinosa Zarlenga et al. (2023). Rows fit or score: every
fifth row is scored and not fitted. The predictor is a logistic regression on standardised representations unless
another is given; a scalar then has the area of its own order, either way up, and what it tells by the middle of its
range is not seen.

The peers' defects that are not followed: their networks have random splits and no seed; the niche score of embeddings
kept the niche and removed the rest (completeness, not impurity), flattened `[units, concepts]` and masked `[concepts,
units]`, and took the largest signed correlation for the largest absolute one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from interp_jax.concepts.metrics import inputs
from interp_jax.concepts.metrics.predictors import Predictor, logistic
from interp_jax.core.linalg import matmul
from interp_jax.core.ranking import roc_auc
from interp_jax.core.types import Array


class OracleImpurity(NamedTuple):
    """score: `[]`. purity: `[k, k]`, of the representations. oracle: `[k, k]`, of the concepts themselves."""

    score: Array
    purity: Array
    oracle: Array


class NicheImpurity(NamedTuple):
    """score: `[]`, area under the mean curve. each: `[k]`, of each concept's curve. curves: `[B, k]`, at the betas."""

    score: Array
    each: Array
    curves: Array


def purity_matrix(
    representations: Array, concepts: Array, *, predictor: Predictor | None = None, folds: int = 5
) -> Array:
    """Give the areas `[k', k]` under the ROC curve of telling concept j from representation i alone.

    representations: `[N, k']` or `[N, k', m]`. concepts: `[N, k]`, 0 or 1. predictor: `logistic()` if None;
    `predictors.mlp(key)` is the papers' (fitted here to all k concepts of a row of the matrix at once, as the peer's
    `jointly_learnt`).

    About 1/2 where nothing can be told, up to the noise of N / folds rows; NaN in the column of a concept that does not
    vary (among the rows scored), and everywhere if a representation is not finite or a concept not 0 or 1.
    """
    x, valid = inputs.checked(representations, concepts)
    return jnp.where(valid, _matrix(jnp.swapaxes(x, 0, 1), concepts, predictor, folds), jnp.nan)


def oracle_matrix(concepts: Array, *, predictor: Predictor | None = None, folds: int = 5) -> Array:
    """Give the purity matrix `[k, k]` of the concepts themselves; its diagonal is 1, NaN for one that is constant."""
    return _known(purity_matrix(concepts, concepts, predictor=predictor, folds=folds))


def oracle_impurity(
    representations: Array, concepts: Array, *, predictor: Predictor | None = None, folds: int = 5
) -> OracleImpurity:
    """Give the oracle impurity score, `2 / k |purity - oracle|_F`: 0 where all tell what the concepts would, to 1.

    (Espinosa Zarlenga et al. 2023, definition 3.2.) representations: `[N, k]` or `[N, k, m]`. concepts: `[N, k]`, 0 or
    1. Exactly 0 for hard concepts that are right. NaN if a concept does not vary. Not the least informative score is
    pure: noise has about `k^-1/2`, for a diagonal of 1/2 where the oracle has 1. Above 1 only if areas fall below 1/2.

    The papers' networks find what is not there: on hard concepts theirs scored .15 to .70 over three seeds.
    """
    inputs.paired(representations, concepts)
    x, valid = inputs.checked(representations, concepts)
    true = jnp.zeros_like(x).at[:, :, 0].set(concepts.astype(x.dtype))  # of the same width: one program for both
    rows = jnp.swapaxes(jnp.concatenate([x, true], 1), 0, 1)
    purity, oracle = jnp.split(jnp.where(valid, _matrix(rows, concepts, predictor, folds), jnp.nan), 2)
    oracle = _known(oracle)
    score = 2 / concepts.shape[1] * jnp.sqrt(jnp.sum((purity - oracle) ** 2))
    return OracleImpurity(score, purity, oracle)


def niche_impurity(
    representations: Array,
    concepts: Array,
    *,
    predictor: Predictor | None = None,
    betas: Array | None = None,
    folds: int = 5,
) -> NicheImpurity:
    """Give the niche impurity score: how well each concept is told from representations not correlated with it.

    (Espinosa Zarlenga et al. 2023, definition 3.4.) One predictor is fitted from all representations to all concepts.
    At each beta the representations in the niche of a concept, those with `|correlation| > beta` (of any unit), are
    set to their mean, and the score is the area under the curve of area against beta (trapezoids), the mean over
    concepts. betas: `[B]`, rising; 0 to .95 by .05 if None, as the peer, so that chance is .475 and the most .95.

    representations: `[N, k']` or `[N, k', m]`. NaN in `each` for a concept that does not vary, and then in `score` (the
    peer leaves it out). A niche of everything leaves exactly 1/2. The peer sets to 0 what we set to the mean, which
    differs for networks only. Not monotone in leakage: concepts that are correlated in truth raise it, and Parisini et
    al. (2025) find it falls with leakage.
    """
    x, valid = inputs.checked(representations, concepts)
    concepts = concepts.astype(x.dtype)
    n, count, units = x.shape
    scored = inputs.held_out(n, folds)
    weights = (~scored).astype(x.dtype)
    flat = inputs.standardised(x.reshape(n, -1), weights)
    apply = (logistic() if predictor is None else predictor)(flat, concepts, weights)
    betas = jnp.arange(20) * 0.05 if betas is None else betas

    outside = (weights / jnp.sum(weights))[:, None] * inputs.standardised(concepts, weights)
    niche = jnp.max(jnp.abs(matmul(flat.T, outside)).reshape(count, units, -1), 1)

    def one(beta: Array, i: Array) -> Array:
        kept = jnp.repeat(niche[:, i] <= beta, units)
        left = jnp.where(jnp.broadcast_to(kept, flat.shape), flat, 0)
        return roc_auc(apply(left)[:, i], concepts[:, i], mask=scored)

    each = jnp.arange(concepts.shape[1])
    curves = jax.lax.map(lambda beta: jax.lax.map(lambda i: one(beta, i), each), betas)
    curves = jnp.where(valid, curves, jnp.nan)
    areas = matmul(jnp.diff(betas), (curves[1:] + curves[:-1]) / 2)
    return NicheImpurity(jnp.mean(areas), areas, curves)


def _matrix(rows: Array, concepts: Array, predictor: Predictor | None, folds: int) -> Array:
    """Give the areas `[R, k]` of telling each concept from each of R representations `[R, N, m]`."""
    concepts = concepts.astype(rows.dtype)
    scored = inputs.held_out(rows.shape[1], folds)
    weights = (~scored).astype(rows.dtype)
    fit = logistic() if predictor is None else predictor

    def row(x: Array) -> Array:
        x = inputs.standardised(x, weights)
        each = jax.vmap(lambda score, label: roc_auc(score, label, mask=scored), 1)
        return each(fit(x, concepts, weights)(x), concepts)

    # one representation after the other: the slowest fit would hold the others up
    return jax.lax.map(row, rows)


def _known(matrix: Array) -> Array:
    """Set the diagonal of the concepts' own matrix to 1, where it is defined."""
    own = jnp.where(jnp.isnan(jnp.diag(matrix)), jnp.nan, 1)
    return jnp.where(jnp.eye(len(own), dtype=bool), jnp.diag(own), matrix)
