"""Losses of concepts and of the task for ONE example, as sums with the weight they count for; `mean` of a batch.

Concept labels may be missing (NaN): such a term has loss 0 and weight 0, so that it is never averaged in. A label
outside [0, 1], or a class that does not exist, gives NaN: under jit nobody could be told.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.concepts.model import Groups, check_groups
from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike, Numpy


class Terms(NamedTuple):
    """loss: `[U]` nats, 0 where a label is missing. weight: `[U]`, what each term counts for in a mean."""

    loss: Array
    weight: Array


ConceptLoss = Callable[[Array, Array], Terms]
TaskLoss = Callable[[Array, Array], Terms]


def mean(terms: Terms) -> Array:
    """Average over all terms of all axes by weight: NaN labels drop out. 0 where nothing is known.

    >>> float(mean(Terms(jnp.array([1.0, 3.0, 0.0]), jnp.array([1.0, 1.0, 0.0]))))
    2.0
    """
    known = terms.weight.sum()
    return terms.loss.sum() / jnp.where(known > 0, known, 1.0)


def cross_entropy(logits: Array, truth: Array, positive: ArrayLike = 1.0) -> Array:
    """Give `-positive c log p - (1 - c) log(1 - p)` in nats, elementwise, of `p = sigmoid(logits)`.

    The peer takes the log of p in float32, cut at -100: its gradient vanishes where p rounds to 0 or 1, this one does
    not.

    >>> round(float(cross_entropy(jnp.array(0.0), jnp.array(1.0))), 4)
    0.6931
    """
    return jnp.asarray(positive) * truth * jax.nn.softplus(-logits) + (1 - truth) * jax.nn.softplus(logits)


def concept_loss(*, groups: Groups = (), weight: ArrayLike = 1.0, positive: ArrayLike = 1.0) -> ConceptLoss:
    """Make the loss `(logits [k], concepts [k]) -> Terms`: a term for each binary concept, then one for each group.

    In a group of categorical concepts it is the cross-entropy of their softmax; one missing label hides the group.

    Args:
        groups: of categorical concepts.
        weight: of each concept's loss, `[k]` or a number (a group takes the mean of its members'). The peer's
            `weight_loss` is `weight=imbalance(concepts)`, the mean not divided by the weights.
        positive: of the part of a true binary concept, `[k]` or a number: `imbalance(concepts)` balances the classes.
    """
    checks.not_negative(weight=weight, positive=positive)

    def loss(logits: Array, concepts: Array) -> Terms:
        chex.assert_rank([logits, concepts], 1)
        chex.assert_equal_shape([logits, concepts])
        fixed = check_groups(groups, logits.size)
        weights = jnp.broadcast_to(jnp.asarray(weight, logits.dtype), logits.shape)
        known = ~jnp.isnan(concepts)
        truth = jnp.where(known, concepts, 0.0)
        each = weights * cross_entropy(logits, truth, jnp.asarray(positive, logits.dtype))
        each = jnp.where((truth < 0) | (truth > 1), jnp.nan, jnp.where(known, each, 0.0))
        if not fixed:
            return Terms(each, known.astype(logits.dtype))
        alone = np.setdiff1d(np.arange(logits.size), np.concatenate(fixed))
        found = [Terms(each[alone], known[alone].astype(logits.dtype))]
        found += [_categorical(logits, truth, known, weights, jnp.array(group)) for group in fixed]
        return Terms(*(jnp.concatenate(parts) for parts in zip(*found, strict=True)))

    return loss


def _categorical(logits: Array, truth: Array, known: Array, weights: Array, group: Array) -> Terms:
    """Give the one term of a group: `- sum c log softmax`."""
    bad = (truth[group] < 0) | (truth[group] > 1)
    value = -weights[group].mean() * (truth[group] * jax.nn.log_softmax(logits[group])).sum()
    there = known[group].all()
    return Terms(jnp.where(bad.any(), jnp.nan, jnp.where(there, value, 0.0))[None], there.astype(logits.dtype)[None])


def task_loss(*, weight: ArrayLike = 1.0) -> TaskLoss:
    """Make the loss `(logits [C], label []) -> Terms` of a task: binary for one logit, a softmax for more.

    weight: binary, a number that multiplies the part of the positive class; else `[C]`, of each class, by which a mean
    is divided, as PyTorch does in both.
    """
    checks.not_negative(weight=weight)

    def loss(logits: Array, label: Array) -> Terms:
        chex.assert_rank([logits, label], [1, 0])
        if logits.size == 1:
            value = cross_entropy(logits, label.astype(logits.dtype)[None], jnp.asarray(weight, logits.dtype))
            return Terms(jnp.where((label == 0) | (label == 1), value, jnp.nan), jnp.ones(1, logits.dtype))
        weights = jnp.broadcast_to(jnp.asarray(weight, logits.dtype), logits.shape)
        there = (label >= 0) & (label < logits.size)
        place = jnp.where(there, label, 0)
        value = -weights[place] * jax.nn.log_softmax(logits)[place]
        return Terms(jnp.where(there, value, jnp.nan)[None], weights[place][None])

    return loss


def imbalance(concepts: ArrayLike) -> Numpy:
    """Give false over true examples of each concept of a training set, `[k]`, where known.

    concepts: `[N, k]`, binary or NaN.

    >>> imbalance(np.array([[1.0], [0.0], [0.0], [np.nan]])).tolist()
    [2.0]

    Raises:
        ValueError: for a concept that is never true, or never false: leave its weight to be chosen.
    """
    labels = np.asarray(concepts, float)
    if labels.ndim != 2:
        raise ValueError(f"want concepts [N, k], got shape {labels.shape}")
    true, false = np.nansum(labels, 0), np.nansum(1 - labels, 0)
    if (constant := np.flatnonzero((true == 0) | (false == 0))).size:
        raise ValueError(f"want concepts that vary, got concept {constant[0]} always {int(true[constant[0]] > 0)}")
    return false / true
