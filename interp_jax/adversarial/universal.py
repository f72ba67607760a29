"""One perturbation for a whole set of examples."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.adversarial import norms
from interp_jax.adversarial.attack import UNIT, Bounds, Region, guarded, region, value_and_gradient
from interp_jax.adversarial.norms import Norm
from interp_jax.adversarial.objectives import Objective, Scored
from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key


class Universal(NamedTuple):
    """A perturbation and what it does to the set it was made for.

    d: `[...]`. objective, fooled: `[N]`, of `clip(x + d)` for every example; an example that was wrong without d counts
    as fooled too. curve: `[steps]`, each step's mean (capped) objective over its own minibatch, before the step. flat:
    the share of single gradients that were zero or not finite.
    """

    d: Array
    objective: Array
    fooled: Array
    curve: Array
    flat: Array


def _judge(make: Callable[[Array], Objective], where: Region, x: Array, label: Array) -> Objective:
    """Make the objective of d for one example; where: of the whole set."""
    checked = guarded(make(label), where)
    return lambda d: checked(jnp.clip(x + d, where.low, where.high))


def _capped(objective: Objective, cap: ArrayLike) -> Objective:
    def lower(d: Array) -> Scored:
        seen = objective(d)
        return seen._replace(value=jnp.minimum(seen.value, jnp.asarray(cap, seen.value.dtype)))

    return lower


Look = Callable[[Array, Array], tuple[Scored, Array, Array]]
"""`(d, t) -> ` values, gradients and flatness over the minibatch of step t."""


def _look(make: Callable, where: Region, labels: Array, key: Key, batch_size: int, cap: ArrayLike) -> Look:
    def look(d: Array, t: Array) -> tuple[Scored, Array, Array]:
        rows = jax.random.randint(keys.at(key, t), (batch_size,), 0, len(labels))

        def one(x: Array, label: Array) -> tuple[Scored, Array, Array]:
            return value_and_gradient(_capped(_judge(make, where, x, label), cap), d)

        return jax.vmap(one)(where.x[rows], labels[rows])

    return look


def universal(
    make: Callable[[Array], Objective],
    xs: Array,
    labels: Array,
    key: Key,
    *,
    eps: Array | float,
    step_size: Array | float,
    steps: int,
    batch_size: int,
    norm: Norm = norms.linf,
    cap: Array | float = float("inf"),
    bounds: Bounds | None = UNIT,
) -> Universal:
    """Ascend the mean of `min(objective, cap)` over minibatches inside a ball (Shafahi et al. 2020, algorithm 2).

    `d <- P(d + step_size ascend(mean gradient))`, from 0; minibatches are drawn with replacement. The cap keeps few
    examples from taking all of the ascent, since a cross entropy has no bound. What is not finite shows in the curve
    (NaN) and does not move d. The last d is given: telling which is best takes a pass over the whole set for each.

    Moosavi-Dezfooli et al. (2017) loop over the examples instead, add DeepFool's smallest step for each that is not yet
    fooled, and project: an order decides the outcome, there is no batch to run on, and no objective is maximised.

    >>> make = lambda label: lambda x: jnp.where(label == 0, 1.0, -1.0) * x.sum()
    >>> found = universal(make, jnp.zeros((8, 2)), jnp.zeros(8, int), jax.random.key(0), eps=0.3, step_size=0.1,
    ...                   steps=5, batch_size=4)
    >>> found.d.tolist(), found.fooled.shape
    ([0.30000001192092896, 0.30000001192092896], (8,))

    Args:
        make: label to the objective of one example, as `partial(objectives.cross_entropy, predict)`; or target to it.
        xs: `[N, ...]`, the set.
        labels: `[N]`.
        key: of the minibatches.
        eps: the ball's radius; it and the step's length may be traced.
        step_size: the length of a step.
        steps: minibatches taken.
        batch_size: examples in each; also how many are evaluated at once at the end.
        norm: of the ball and of the steps.
        cap: their beta, what an example counts for at most.
        bounds: of the input; `x + d` is clipped, d itself is not; None for none.

    Raises:
        ValueError: eps or a step below zero, bounds reversed, xs outside them, no steps.
    """
    checks.whole(1, steps=steps, batch_size=batch_size)
    checks.not_negative(step_size=step_size)
    chex.assert_rank(labels, 1)
    chex.assert_equal_shape_prefix([xs, labels], 1)
    where = region(xs, eps, norm, bounds)
    look = _look(make, where, labels, keys.stream(key, "batch"), batch_size, cap)

    def step(d: Array, t: Array) -> tuple[Array, tuple[Array, Array]]:
        seen, gradients, flat = look(d, t)
        moved = norm.project(d + step_size * norm.ascend(gradients.mean(0)), where.eps)
        return moved, (seen.value.mean(), flat.mean(dtype=d.dtype))

    d, (curve, flat) = jax.lax.scan(step, jnp.zeros_like(xs[0]), jnp.arange(steps))
    seen = jax.lax.map(lambda pair: _judge(make, where, *pair)(d), (xs, labels), batch_size=batch_size)
    return Universal(d, seen.value, seen.fooled, curve, flat.mean())
