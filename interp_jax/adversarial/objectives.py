"""What an attack maximises: functions of one example that give a value and whether the example is fooled.

`predict` maps one example to logits `[K]`. An untargeted objective is fooled when the arg max is not the label, a
targeted one when it is the target; the first of equal logits is the prediction. A label or target outside `0 .. K - 1`
gives NaN, never another class's number, and what is NaN fools nobody.

Any scalar function of one example is an objective too: it counts as fooled where it is positive.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.core.types import Array, ArrayLike

Predict = Callable[[Array], Array]


class Scored(NamedTuple):
    """value: scalar, to be maximised. fooled: boolean, whether the attack has what it wants."""

    value: Array
    fooled: Array


Objective = Callable[[Array], Scored]


def scored(objective: Callable[[Array], Scored | Array]) -> Objective:
    """Give any scalar function the form of an objective: fooled where it is positive."""

    def complete(x: Array) -> Scored:
        found = objective(x)
        return found if isinstance(found, Scored) else Scored(found, found > 0)

    return complete


def _judge(value: Array, wanted: Array) -> Scored:
    return Scored(value, wanted & ~jnp.isnan(value))


def _entry(logits: Array, index: ArrayLike) -> Array:
    """Give `logits[index]`, NaN outside."""
    index = jnp.asarray(index)
    return jnp.where((index >= 0) & (index < logits.size), logits[index], jnp.nan)


def _other(logits: Array, label: ArrayLike) -> Array:
    """Give the largest logit that is not the label's."""
    return jnp.max(jnp.where(jnp.arange(logits.size) == label, -jnp.inf, logits))


def _logits(predict: Predict, x: Array, classes: int, why: str) -> Array:
    logits = predict(x)
    chex.assert_rank(logits, 1)
    if logits.size < classes:
        raise ValueError(f"want at least {classes} classes for {why}, got logits of shape {logits.shape}")
    return logits


def _behind(logits: Array, index: ArrayLike) -> Array:
    """Give `-log p(index) = softplus(log of the sum over the others of exp(z_k - z_index))`, NaN outside.

    `log_softmax` rounds p to 1 where the entry leads by 17 or more in float32, and with it its derivative to 0; this
    keeps the digits of both up to a lead of 87, where they leave float32's range.
    """
    gaps = logits - _entry(logits, index)  # first: large logits lose the digits of their differences in a sum
    return jax.nn.softplus(jax.nn.logsumexp(jnp.where(jnp.arange(logits.size) == index, -jnp.inf, gaps)))


def cross_entropy(predict: Predict, label: ArrayLike) -> Objective:
    """Make `-log p(label)`: the objective of FGSM and PGD (Madry et al. 2018, eq. 1).

    Where the label leads by more than 87 in float32, it and its gradient are 0: there take `margin` or `dlr`.
    """

    def objective(x: Array) -> Scored:
        logits = _logits(predict, x, 2, "a cross entropy")
        return _judge(_behind(logits, label), jnp.argmax(logits) != label)

    return objective


def target_cross_entropy(predict: Predict, target: ArrayLike) -> Objective:
    """Make `log p(target)`; fooled when the prediction is the target."""

    def objective(x: Array) -> Scored:
        logits = _logits(predict, x, 2, "a cross entropy")
        return _judge(-_behind(logits, target), jnp.argmax(logits) == target)

    return objective


def difference(predict: Predict, label: ArrayLike, target: ArrayLike) -> Objective:
    """Make `z_t - z_y`, the targeted DLR's numerator; fooled when not the label, as there."""

    def objective(x: Array) -> Scored:
        logits = _logits(predict, x, 2, "a difference of logits")
        towards = _entry(logits, target) - _entry(logits, label)
        value = jnp.where(jnp.any(jnp.isnan(logits)), jnp.nan, towards)  # the two may be numbers where others are not
        return _judge(value, jnp.argmax(logits) != label)

    return objective


def margin(predict: Predict, label: ArrayLike) -> Objective:
    """Make the largest other logit minus the label's (Carlini and Wagner 2017, f6 unclipped).

    It is positive where fooled, and 0 at a tie.
    """

    def objective(x: Array) -> Scored:
        logits = _logits(predict, x, 2, "a margin")
        return _judge(_other(logits, label) - _entry(logits, label), jnp.argmax(logits) != label)

    return objective


def target_margin(predict: Predict, target: ArrayLike) -> Objective:
    """Make the target's logit minus the largest other: positive where the prediction is the target, 0 at a tie."""

    def objective(x: Array) -> Scored:
        logits = _logits(predict, x, 2, "a margin")
        return _judge(_entry(logits, target) - _other(logits, target), jnp.argmax(logits) == target)

    return objective


def dlr(predict: Predict, label: ArrayLike) -> Objective:
    """Make the difference of logits ratio: `(max other - z_y) / (z_1 - z_3)` (Croce and Hein 2020, eq. 6).

    `z_1 >= z_2 >= ...` are the sorted logits; the ratio does not change when logits are scaled or shifted. Undefined
    below three classes: there use `margin`, which orders examples alike. Where the three largest are equal it is 0
    (the reference adds 1e-12 to the denominator). Where the label ranks third it is 1 and constant, and its gradient
    is rounding: an example there is fooled already, so who falls does not depend on where that leads.
    """

    def objective(x: Array) -> Scored:
        logits = _logits(predict, x, 3, "the DLR objective (with two, use margin)")
        best = jax.lax.top_k(logits, 3)[0]
        ahead = _other(logits, label) - _entry(logits, label)
        return _judge(_divide(ahead, best[0] - best[2]), jnp.argmax(logits) != label)

    return objective


def target_dlr(predict: Predict, label: ArrayLike, target: ArrayLike) -> Objective:
    """Make `(z_t - z_y) / (z_1 - (z_3 + z_4) / 2)` (Croce and Hein 2020, eq. 7); fooled when not the label.

    It leads towards the target, and any wrong prediction will do: APGD-T. Undefined below four classes: there use
    `difference`.
    """

    def objective(x: Array) -> Scored:
        logits = _logits(predict, x, 4, "the targeted DLR objective (with fewer, use difference)")
        best = jax.lax.top_k(logits, 4)[0]
        towards = _entry(logits, target) - _entry(logits, label)
        spread = 0.5 * ((best[0] - best[2]) + (best[0] - best[3]))  # differences first: they keep their digits
        return _judge(_divide(towards, spread), jnp.argmax(logits) != label)

    return objective


def _divide(a: Array, b: Array) -> Array:
    """Divide, and give 0 (NaN if either is) where b is 0: with all logits equal no direction is better."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1.0), 0.0 * (a + b))
