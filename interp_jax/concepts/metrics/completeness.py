"""How much of what decides the task the concepts hold: the completeness score of Yeh et al. (2020)."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.concepts.metrics import inputs
from interp_jax.concepts.metrics.predictors import Predictor, softmax
from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike
from interp_jax.linear.fits import accuracy


class Completeness(NamedTuple):
    """score: `[]`. concepts, model, chance: `[]`, the accuracies it is made of."""

    score: Array
    concepts: Array
    model: Array
    chance: Array


def completeness_score(concepts: ArrayLike, model: ArrayLike, chance: ArrayLike) -> Array:
    """Give `(concepts - chance) / (model - chance)` of accuracies, or areas (Yeh et al. 2020, definition 3.1).

    concepts: of the best head on concepts. model: of the whole model. chance: of a guess; .5 for areas. 1 where
    concepts do as well, above 1 where better, 0 at chance. NaN where the model is not better than chance.

    >>> float(completeness_score(0.75, 1.0, 0.5))
    0.5
    """
    concepts, model, chance = (jnp.asarray(each, jnp.float32) for each in (concepts, model, chance))
    gap = model - chance
    return jnp.where(gap > 0, (concepts - chance) / jnp.where(gap > 0, gap, 1), jnp.nan)


def completeness(
    representations: Array, task: Array, labels: Array, *, predictor: Predictor | None = None, folds: int = 5
) -> Completeness:
    """Fit a head on representations, every fifth row held out, and hold its accuracy there against the model's.

    representations: `[N, D]` (predicted or true concepts, or embeddings, flat). task: the model's logits `[N, C]`, one
    column for a binary task. labels: `[N]` int. predictor: `softmax()` if None, a linear head; a nonlinear one is
    `predictors.mlp(key, loss=exclusive)`. chance is the share of the commonest label: the paper's is 1 / C, the same
    where classes are alike in number. NaN if a representation is not finite or a label is not a class.
    """
    chex.assert_rank([representations, task, labels], [2, 2, 1])
    chex.assert_equal_shape_prefix([representations, task, labels], 1)
    classes = max(2, task.shape[1])
    checks.entries(0, classes - 1, labels=labels)
    scored = inputs.held_out(len(labels), folds)
    weights = (~scored).astype(representations.dtype)
    y = jax.nn.one_hot(labels, classes, dtype=representations.dtype)
    x = inputs.standardised(representations, weights)
    logits = (softmax() if predictor is None else predictor)(x, y, weights)(x)
    share = scored.astype(y.dtype)
    hits = accuracy(logits, labels, weights=share), accuracy(task, labels, weights=share)
    valid = jnp.all(jnp.isfinite(representations)) & jnp.all(jnp.sum(y, 1) == 1)
    concepts, model, chance = (jnp.where(valid, each, jnp.nan) for each in (*hits, jnp.max(share @ y) / jnp.sum(share)))
    return Completeness(completeness_score(concepts, model, chance), concepts, model, chance)
