"""Concept bottlenecks: the task is decided from the concepts alone (Koh et al. 2020), or from extra units beside them.

A kind says what the head is told of each concept: its probability, its logit, or the decision.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from interp_jax.concepts.model import (
    ConceptModel,
    Encoded,
    Given,
    Groups,
    Levels,
    check_groups,
    probabilities,
)
from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.models.nets import Net

Activation = Callable[[Array], Array]


class Kind(NamedTuple):
    """tell: `(logits [k], groups) -> [k]`, what the head is told unless somebody intervenes. low, high: the levels."""

    tell: Callable[[Array, Groups], Array]
    low: ArrayLike = 0.0
    high: ArrayLike = 1.0


def decisions(logits: Array, groups: Groups = ()) -> Array:
    """Decide each concept: `1[logit > 0]`, within a group the largest; no gradient.

    The first of equal logits is the largest.

    >>> decisions(jnp.array([0.3, -2.0, -1.0]), [(1, 2)]).tolist()
    [1.0, 0.0, 1.0]
    """
    found = (logits > 0).astype(logits.dtype)
    for group in check_groups(groups, logits.size):
        places = jnp.array(group)
        found = found.at[places].set(jax.nn.one_hot(logits[places].argmax(), len(group), dtype=logits.dtype))
    return found


def straight_through(logits: Array, groups: Groups = ()) -> Array:
    """Decide each concept, with the gradient of its probability (Bengio et al. 2013)."""
    soft = probabilities(logits, groups)
    return decisions(logits, groups) + (soft - jax.lax.stop_gradient(soft))  # plus zero, exactly


SIGMOID = Kind(probabilities)
"""Fuzzy concepts: the head is told probabilities."""
LOGIT = Kind(lambda logits, groups: logits, -5.0, 5.0)
"""The head is told logits. Levels are -5 and 5 until `with_levels` gives those of the training data."""
HARD = Kind(decisions)
"""Binary concepts: the head is told 0 or 1, and the task does not train the encoder."""
STRAIGHT_THROUGH = Kind(straight_through)
"""Binary concepts through which the task trains the encoder all the same."""


def one_of(kinds: Sequence[Kind], which: ArrayLike) -> Kind:
    """Take one of several kinds by its number, which may be traced: a sweep over kinds is then one program.

    >>> one_of([SIGMOID, LOGIT], jnp.array(1)).tell(jnp.array([3.0]), ()).tolist()
    [3.0]

    Raises:
        ValueError: no kind. (A number that is none of theirs, where it is traced, is the nearest.)
    """
    if not kinds:
        raise ValueError("want at least one kind, got none")
    if len(kinds) == 1:
        return kinds[0]
    place = jnp.asarray(which).astype(jnp.int32)
    low, high = (jnp.array(levels, jnp.float32)[place] for levels in zip(*(kind[1:] for kind in kinds), strict=True))
    return Kind(lambda logits, groups: jnp.stack([kind.tell(logits, groups) for kind in kinds])[place], low, high)


def leaky_relu(x: Array) -> Array:
    """Give x, a hundredth of it where it is negative."""
    return jax.nn.leaky_relu(x, 0.01)


def bottleneck(
    encoder: Net,
    head: Net,
    concepts: int,
    *,
    kind: Kind = SIGMOID,
    groups: Groups = (),
    extra: int = 0,
    activation: Activation = leaky_relu,
) -> ConceptModel:
    """Make a bottleneck; with `extra` units a hybrid, whose head is told them too, unlabelled (Mahinpei et al. 2021).

    Interventions leave the extra units alone, which is why a hybrid may take no notice of them. In the CEM paper's
    code a hybrid with sigmoids has leaky ReLUs on its extra units, a hybrid with logits none: give it `activation=
    lambda x: x`.

    Args:
        encoder: from x to `[concepts + extra]`, logits first.
        head: from `[concepts + extra]` to `[C]`.
        concepts: k.
        kind: SIGMOID, LOGIT, HARD or STRAIGHT_THROUGH.
        groups: of categorical concepts.
        extra: units without labels.
        activation: of the extra units.

    Raises:
        ValueError: k = 0, or groups that overlap or do not exist.
    """
    checks.whole(1, concepts=concepts)
    checks.whole(0, extra=extra)
    fixed = check_groups(groups, concepts)

    def init(key: Key) -> PyTree:
        first, second = jax.random.split(key)
        return {"encoder": encoder.init(first), "head": head.init(second)}

    def encode(params: PyTree, x: Array) -> Encoded:
        units = encoder.apply(params["encoder"], x)
        if units.shape != (concepts + extra,):
            raise ValueError(f"want an encoder with {concepts + extra} outputs, got shape {units.shape}")
        return Encoded(units[:concepts], activation(units[concepts:]))

    def values(params: PyTree, encoded: Encoded, given: Given, key: Key | None) -> Array:
        return jnp.where(given.mask, given.concepts, kind.tell(encoded.logits, fixed))

    def decide(params: PyTree, values: Array, rest: Array) -> Array:
        return head.apply(params["head"], jnp.concatenate([values, rest]))

    def predict(params: PyTree, encoded: Encoded, key: Key | None) -> Array:
        return probabilities(encoded.logits, fixed)

    return ConceptModel(
        concepts, init, encode, values, decide, predict, groups=fixed, levels=Levels(kind.low, kind.high)
    )
