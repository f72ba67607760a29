"""Accuracy and area under the ROC curve of the task and of the concepts, at the thresholds where they belong."""

import chex
import jax
import jax.numpy as jnp

from interp_jax.core.ranking import roc_auc, roc_auc_one_versus_rest
from interp_jax.core.types import Array, ArrayLike
from interp_jax.linear.fits import accuracy


def task_accuracy(task: Array, labels: Array) -> Array:
    """Give the share of rows whose label is hit, `[]`: the largest logit, or with one column the class 1 above zero.

    task: logits `[N, C]`. labels: `[N]` int. The peer holds the one LOGIT of a binary task against .5, so that a head
    near zero is counted as always saying 0: that made the rows of its paper's table for scalar concepts on XOR (51.33)
    and Dot (48.00), which are the share of class 0.
    """
    return accuracy(task, labels)


def task_auc(task: Array, labels: Array) -> Array:
    """Give the area under the ROC curve of a binary task, or its mean over classes against the rest, `[]`.

    task: logits `[N, C]`; with more than two columns the score of a class is its log probability. labels: `[N]` int.
    NaN if a class does not occur.
    """
    chex.assert_rank([task, labels], [2, 1])
    if task.shape[1] <= 2:
        return roc_auc(task[:, -1] - (task[:, 0] if task.shape[1] == 2 else 0), labels)
    return jnp.mean(roc_auc_one_versus_rest(jax.nn.log_softmax(task, 1), labels))


def concept_accuracy(predicted: Array, concepts: Array, *, threshold: ArrayLike = 0.5) -> Array:
    """Give the share of rows where each concept is hit, `[k]`; its mean is the papers' concept accuracy.

    predicted: `[N, k]`, probabilities for `threshold=0.5`, logits for `threshold=0`. concepts: `[N, k]`, 0 or 1; one
    above 1/2 counts as true, NaN as missing. NaN for a concept that is always missing, or where a prediction is NaN.
    """
    chex.assert_rank([predicted, concepts], 2)
    chex.assert_equal_shape([predicted, concepts])
    known = ~jnp.isnan(concepts)
    hit = jnp.where(jnp.isnan(predicted), jnp.nan, (predicted > threshold) == (concepts > 0.5))
    return jnp.sum(jnp.where(known, hit, 0), 0) / jnp.sum(known, 0)


def concept_auc(predicted: Array, concepts: Array) -> Array:
    """Give the area under the ROC curve of each concept, `[k]`; NaN for one that does not vary.

    predicted: `[N, k]`, probabilities or logits. concepts: `[N, k]`, 0 or 1; NaN is missing and does not count.
    """
    chex.assert_rank([predicted, concepts], 2)
    chex.assert_equal_shape([predicted, concepts])
    each = jax.vmap(lambda score, label: roc_auc(score, label, mask=~jnp.isnan(label)), 1)
    return each(predicted, concepts.astype(predicted.dtype))


def intervention_score(true_task: Array, intervened_task: Array, labels: Array) -> Array:
    """Give the accuracy of a head of true concepts less that of the model told all concepts, `[]` (Parisini et al.).

    (2025.) true_task: logits `[N, C]` of a head trained on true concepts, at the true concepts. intervened_task: `[N,
    C]`, of the model whose concepts were all set to the truth. labels: `[N]` int. About 0 for a head that reads
    concepts as they are meant; the more it relies on what they leak, the larger. Below 0 where a hidden path (an
    embedding, extra units) lets the model do better than concepts can.
    """
    chex.assert_equal_shape_prefix([true_task, intervened_task], 1)
    return accuracy(true_task, labels) - accuracy(intervened_task, labels)
