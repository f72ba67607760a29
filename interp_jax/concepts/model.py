"""What a concept model is: it predicts k concepts of ONE example and decides the task from them.

    x --encode--> logits of the concepts, and the rest --values--> what the head is told --head--> the task

An intervention replaces what the head is told of some concepts. It enters inside `values`, so that a model whose
concepts depend on each other can let the others follow.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike, Key, PyTree

Groups = Sequence[Sequence[int]]
"""Categorical concepts: sets of indices of which exactly one is true. They do not overlap; others are binary."""


class Encoded(NamedTuple):
    """logits: `[k]`, of the concepts. rest: what else a kind of model gives its head (units, embeddings), or ().

    hidden: what concepts are made of and the head is not told (a covariance, features), or ().
    """

    logits: Array
    rest: PyTree = ()
    hidden: PyTree = ()


class Given(NamedTuple):
    """mask: `[k]` bool, True where somebody intervenes. concepts: `[k]` in [0, 1], what they say; ignored elsewhere."""

    mask: Array
    concepts: Array


class Output(NamedTuple):
    """concepts: `[k]`, predicted probabilities before any intervention. values: `[k]`, what the head is told, after it.

    Models that average over samples of their concepts have values `[S, k]`.
    task: `[C]` logits; C = 1 is the one logit of a binary task.
    """

    concepts: Array
    values: Array
    task: Array


class Levels(NamedTuple):
    """What the head is told of a concept that is known: low for false, high for true, `[k]` or `[]`."""

    low: ArrayLike
    high: ArrayLike


UNIT = Levels(0.0, 1.0)


def probabilities(logits: Array, groups: Groups = ()) -> Array:
    """Give the probability of each concept `[k]`: a sigmoid, and within each group a softmax.

    >>> probabilities(jnp.zeros(3), [(1, 2)]).tolist()
    [0.5, 0.5, 0.5]
    """
    chex.assert_rank(logits, 1)
    found = jax.nn.sigmoid(logits)
    for group in check_groups(groups, logits.size):
        places = jnp.array(group)
        found = found.at[places].set(jax.nn.softmax(logits[places]))
    return found


@dataclasses.dataclass(frozen=True)
class ConceptModel:
    """A kind of concept model, as functions of its params and of one example.

    concepts: k.
    init: `key -> params`, a dict with "encoder" and "head", so that training can hold a part still.
    encode: `(params, x) -> Encoded`.
    values: `(params, encoded, given, key) -> [k]` or `[S, k]`, what the head is told; `given.concepts` come as levels.
    head: `(params, values, rest) -> [C]`.
    predict: `(params, encoded, key) -> [k]`, the probabilities of the concepts.
    update: `(params, encoded, given, key) -> [k]`, those probabilities once some are known; None where they stay.
    likelihood: `(params, encoded, concepts [k], key) -> (loss, weight)`, the model's own loss of concept labels as
        `losses.Terms`, in place of a recipe's loss of each logit; None for that.
    groups: of categorical concepts.
    levels: what stands for false and true in `values`; arrays, so a model may differ from seed to seed in them.
    """

    concepts: int
    init: Callable[[Key], PyTree]
    encode: Callable[[PyTree, Array], Encoded]
    values: Callable[[PyTree, Encoded, Given, Key | None], Array]
    head: Callable[[PyTree, Array, PyTree], Array]
    predict: Callable[[PyTree, Encoded, Key | None], Array]
    update: Callable[[PyTree, Encoded, Given, Key | None], Array] | None = None
    likelihood: Callable[[PyTree, Encoded, Array, Key], tuple[Array, Array]] | None = None
    groups: tuple[tuple[int, ...], ...] = ()
    levels: Levels = UNIT

    def __post_init__(self) -> None:
        """Refuse k = 0 and groups that overlap or do not exist."""
        checks.whole(1, concepts=self.concepts)
        check_groups(self.groups, self.concepts)


jax.tree_util.register_dataclass(
    ConceptModel,
    data_fields=["levels"],
    meta_fields=["concepts", "init", "encode", "values", "head", "predict", "update", "likelihood", "groups"],
)


def apply(model: ConceptModel, params: PyTree, x: Array, given: Given | None = None, key: Key | None = None) -> Output:
    """Predict the concepts of one example, and its task from them or from what is given instead.

    key: for models that sample their concepts.
    """
    return decide(model, params, model.encode(params, x), given, key)


def decide(
    model: ConceptModel, params: PyTree, encoded: Encoded, given: Given | None = None, key: Key | None = None
) -> Output:
    """Go on from the encoder, as `apply`: one encoding serves any number of interventions."""
    chex.assert_shape(encoded.logits, (model.concepts,))
    values = model.values(params, encoded, _at_levels(model, given), key)
    return Output(model.predict(params, encoded, key), values, model.head(params, values, encoded.rest))


def beliefs(
    model: ConceptModel, params: PyTree, encoded: Encoded, given: Given | None = None, key: Key | None = None
) -> Array:
    """Give the probability of each concept once some are known, `[k]`: what was said of these, what is left of others.

    Only models whose concepts depend on each other change their mind about the others.
    """
    told = nothing(model.concepts) if given is None else given
    if model.update is None:
        others = model.predict(params, encoded, key)
    else:
        others = model.update(params, encoded, _at_levels(model, told), key)
    return jnp.where(told.mask, told.concepts, others)


def sampling_key(key: Key | None) -> Key:
    """Give a key back.

    Raises:
        ValueError: None, where a model draws samples.
    """
    if key is None:
        raise ValueError("want a key for a model that samples its concepts, got key=None")
    return key


def _at_levels(model: ConceptModel, given: Given | None) -> Given:
    """Give what is said as the levels that the model's head knows; 0 where nobody intervenes, at low."""
    told = nothing(model.concepts) if given is None else given
    chex.assert_shape([told.mask, told.concepts], (model.concepts,))
    low, high = (jnp.asarray(level) for level in model.levels)
    # Where nobody intervenes a label may be NaN, and NaN times zero would reach the gradient.
    return Given(told.mask, low + jnp.where(told.mask, told.concepts, 0.0) * (high - low))


def nothing(concepts: int) -> Given:
    """Intervene nowhere."""
    checks.whole(1, concepts=concepts)
    return Given(jnp.zeros(concepts, bool), jnp.zeros(concepts))


def with_levels(model: ConceptModel, levels: Levels) -> ConceptModel:
    """Let interventions tell the head these levels, as `interventions.levels` finds for logits.

    Within `vmap` over seeds each seed's own: `jax.vmap(lambda params, levels: apply(with_levels(model, levels), ...))`.
    """
    for level in levels:
        if jnp.shape(level) not in ((), (model.concepts,)):
            raise ValueError(f"want levels of shape () or ({model.concepts},), got {jnp.shape(level)}")
    return dataclasses.replace(model, levels=levels)


def check_groups(groups: Groups, concepts: int) -> tuple[tuple[int, ...], ...]:
    """Give groups as tuples of integers.

    Raises:
        ValueError: a group of fewer than two, an index outside 0 .. k - 1, or one in two places.
    """
    found = tuple(tuple(int(i) for i in group) for group in groups)
    if small := [group for group in found if len(group) < 2]:
        raise ValueError(f"want groups of at least 2 concepts, got {small[0]}")
    members = [i for group in found for i in group]
    if outside := [i for i in members if not 0 <= i < concepts]:
        raise ValueError(f"want groups of concepts among 0 .. {concepts - 1}, got concept {outside[0]}")
    if twice := sorted({i for i in members if members.count(i) > 1}):
        raise ValueError(f"want groups that do not overlap, got concept {twice[0]} more than once")
    return found
