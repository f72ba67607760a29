"""Concept embedding models: each concept is a vector, mixed from one for true and one for false (Espinosa 2022)."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from interp_jax.concepts.bottleneck import leaky_relu
from interp_jax.concepts.model import ConceptModel, Encoded, Given, Groups, check_groups, probabilities
from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.models.nets import Net

Giver = Callable[[Key, Array], Given]
"""Who intervenes while training: `(key, concepts [B, k]) -> Given` with a leading axis of B."""


def cem(
    backbone: Net,
    context: Net,
    score: Net,
    head: Net,
    concepts: int,
    *,
    activation: Callable[[Array], Array] = leaky_relu,
    groups: Groups = (),
) -> ConceptModel:
    """Make a concept embedding model (Espinosa Zarlenga et al. 2022, section 3).

        e = activation(context(backbone(x)))      [k, 2m]: for each concept m numbers for true, m for false
        p_i = sigmoid(score(e_i))                 one score for all concepts
        y = head(p_i e_i+ + (1 - p_i) e_i-)       on all k m numbers

    Here the k generators of embeddings are one layer with k 2m outputs, which is the same. `Encoded.rest` is e. What
    the head is told is p; its own input, `mixture(values, e)`, is what concept metrics take for the representation.

    Args:
        backbone: from x to `[h]`, without an activation at its end, as in the authors' code.
        context: from `[h]` to `[k 2m]`.
        score: from `[2m]` to `[1]`.
        head: from `[k m]` to `[C]`.
        concepts: k.
        activation: of the embeddings.
        groups: of categorical concepts.

    Raises:
        ValueError: k = 0, groups that overlap or do not exist, a context whose outputs are no multiple of 2k.
    """
    checks.whole(1, concepts=concepts)
    fixed = check_groups(groups, concepts)

    def init(key: Key) -> PyTree:
        keys = jax.random.split(key, 4)
        encoder = {"backbone": backbone.init(keys[0]), "context": context.init(keys[1]), "score": score.init(keys[2])}
        return {"encoder": encoder, "head": head.init(keys[3])}

    def encode(params: PyTree, x: Array) -> Encoded:
        parts = params["encoder"]
        units = activation(context.apply(parts["context"], backbone.apply(parts["backbone"], x)))
        if units.size % (2 * concepts):
            raise ValueError(f"want a context with a multiple of {2 * concepts} outputs, got {units.size}")
        embeddings = units.reshape(concepts, -1)
        logits = jax.vmap(score.apply, (None, 0))(parts["score"], embeddings)
        chex.assert_shape(logits, (concepts, 1))
        return Encoded(logits[:, 0], embeddings)

    def values(params: PyTree, encoded: Encoded, given: Given, key: Key | None) -> Array:
        return jnp.where(given.mask, given.concepts, probabilities(encoded.logits, fixed))

    def decide(params: PyTree, values: Array, rest: Array) -> Array:
        return head.apply(params["head"], mixture(values, rest).reshape(-1))

    def predict(params: PyTree, encoded: Encoded, key: Key | None) -> Array:
        return probabilities(encoded.logits, fixed)

    return ConceptModel(concepts, init, encode, values, decide, predict, groups=fixed)


def mixture(values: Array, embeddings: Array) -> Array:
    """Mix each concept's two embeddings, `[k, m]`: `p e+ + (1 - p) e-`. values: `[k]`. embeddings: `[k, 2m]`.

    >>> mixture(jnp.array([0.25]), jnp.array([[4.0, 8.0, 0.0, 0.0]])).tolist()
    [[1.0, 2.0]]
    """
    true, false = jnp.split(embeddings, 2, axis=1)
    return false + values[:, None] * (true - false)  # a quarter less to read and write than the sum of two products


def rand_int(probability: ArrayLike = 0.25, *, shared: bool = False) -> Giver:
    """Make RandInt: while training, each concept of each example is set to its label with this probability.

    In expectation the head is told `E[p + m (c - p)]` (Espinosa Zarlenga et al. 2022, section 3.2): where it is set,
    the task does not train the concept's own score. A concept without a label is never set.

    Args:
        probability: 0.25 in the paper. May be traced.
        shared: draw one mask for the whole batch, as the authors' code does, and not one for each example.
    """
    checks.between(0, 1, probability=probability)

    def give(key: Key, concepts: Array) -> Given:
        chex.assert_rank(concepts, 2)
        shape = concepts.shape[-1:] if shared else concepts.shape
        drawn = jax.random.bernoulli(key, probability, shape)
        return Given(jnp.broadcast_to(drawn, concepts.shape) & ~jnp.isnan(concepts), concepts)

    return give
