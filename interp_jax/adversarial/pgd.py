"""Projected gradient ascent on an objective of one example, its one-step forms, restarts, and the control of noise."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from interp_jax.adversarial import norms
from interp_jax.adversarial.attack import (
    UNIT,
    Attack,
    Best,
    Bounds,
    Region,
    finish,
    guarded,
    region,
    strongest,
    value_and_gradient,
)
from interp_jax.adversarial.norms import Norm
from interp_jax.adversarial.objectives import Objective, Scored
from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key

AnyObjective = Callable[[Array], Scored | Array]


def _step(judged: Objective, where: Region, step_size: ArrayLike, momentum: ArrayLike) -> Callable:
    """Make the step of a scan over `(d, velocity, best)`."""
    size, inertia = (jnp.asarray(number, where.x.dtype) for number in (step_size, momentum))
    plain = isinstance(momentum, int | float) and momentum == 0  # saves two passes over x a step

    def step(carry: tuple[Array, Array, Best], _: None) -> tuple[tuple[Array, Array, Best], tuple[Array, Array]]:
        d, velocity, best = carry
        point = where.point(d)
        seen, gradient, flat = value_and_gradient(judged, point)
        total = jnp.sum(jnp.abs(gradient))
        velocity = gradient if plain else inertia * velocity + gradient / jnp.where(total > 0, total, 1.0)
        moved = where.confine(d + size * where.norm.ascend(velocity))
        return (moved, velocity, best.keep(point, seen)), (seen.value, flat)

    return step


def _start(where: Region, key: Key) -> Array:
    if where.norm == norms.linf:
        return where.draw(key)
    return jax.random.uniform(keys.stream(key, "share"), (), where.x.dtype) * where.draw(key)


def pgd(
    objective: AnyObjective,
    x: Array,
    key: Key,
    *,
    eps: ArrayLike,
    step_size: ArrayLike,
    steps: int,
    norm: Norm = norms.linf,
    bounds: Bounds | None = UNIT,
    random_start: bool = True,
    start: Array | None = None,
    momentum: ArrayLike = 0.0,
) -> Attack:
    """Ascend the objective inside a ball: `d <- P(d + step_size ascend(g))` (Madry et al. 2018, eq. 2 and appendix).

    `P` is the nearest point of ball and bounds together. torchattacks and foolbox project on the ball, then clip, and
    return the last iterate; here the best is kept and the last reported beside it. In L1 a step moves one entry, which
    is weak: `apgd` has the sparse rule made for it.

    >>> attack = pgd(lambda x: x.sum(), jnp.zeros(3), jax.random.key(0), eps=0.5, step_size=0.2, steps=5)
    >>> attack.x.tolist(), bool(attack.fooled)
    ([0.5, 0.5, 0.5], True)

    Args:
        objective: of one example, from `objectives`, or any scalar function.
        x: one example, floats of any shape.
        key: of the random start.
        eps: the ball's radius; it and the step may be traced, and differ between examples.
        step_size: the length of a step, in the same units.
        steps: gradients taken; the objective is evaluated once more, at the end.
        norm: of the ball and of the steps.
        bounds: of the input, None for none.
        random_start: begin at a uniform draw from the ball, outside Linf at a uniform share of its distance from x,
            and not at x. Nearly all of an L2 ball lies at its sphere; begun there, 50 steps leave .2 to 1.8 points of
            digits more standing (torchattacks draws the radius like this too). In Linf the gain would be 0 to .3, and
            one-step training needs the whole cube (Wong et al. 2020).
        start: begin at the nearest point of ball and bounds to this perturbation instead, of x's shape.
        momentum: mu of `m <- mu m + g / ||g||_1` (Dong et al. 2018, eq. 6), whose direction is then ascended.

    Raises:
        ValueError: eps below zero, bounds reversed, x outside them, no steps (where these are not traced).
    """
    checks.whole(1, steps=steps)
    checks.not_negative(step_size=step_size, momentum=momentum)
    where = region(x, eps, norm, bounds)
    judged = guarded(objective, where)
    if start is None:
        begun = _start(where, key) if random_start else jnp.zeros_like(x)
    else:
        chex.assert_equal_shape([x, start])
        begun = where.confine(start)
    carry = begun, jnp.zeros_like(x), Best.none(x)
    (d, _, best), (curve, flat) = jax.lax.scan(_step(judged, where, step_size, momentum), carry, length=steps)
    last = where.point(d)
    seen = judged(last)
    return finish(best.keep(last, seen), last, jnp.append(curve, seen.value), flat)


def fgsm(
    objective: AnyObjective, x: Array, *, eps: ArrayLike, norm: Norm = norms.linf, bounds: Bounds | None = UNIT
) -> Attack:
    """Take one step of size eps from x (Goodfellow et al. 2015, section 4); the step is returned, better or not."""
    where = region(x, eps, norm, bounds)
    judged = guarded(objective, where)
    before, gradient, flat = value_and_gradient(judged, x)
    moved = where.point(where.confine(where.eps * norm.ascend(gradient)))
    seen = judged(moved)
    return finish(Best.none(x).keep(moved, seen), moved, jnp.stack([before.value, seen.value]), flat[None])


def noise(
    objective: AnyObjective,
    x: Array,
    key: Key,
    *,
    eps: ArrayLike,
    draws: int = 1,
    norm: Norm = norms.linf,
    bounds: Bounds | None = UNIT,
) -> Attack:
    """Take the best of uniform draws from the ball: what an attack with no gradient finds by luck."""
    checks.whole(1, draws=draws)
    where = region(x, eps, norm, bounds)
    judged = guarded(objective, where)

    def draw(best: Best, i: Array) -> tuple[Best, tuple[Array, Array]]:
        point = where.point(where.draw(keys.at(key, i)))
        seen = judged(point)
        return best.keep(point, seen), (point, seen.value)

    best, (points, values) = jax.lax.scan(draw, Best.none(x), jnp.arange(draws))
    return finish(best, points[-1], values, jnp.zeros(0, bool))


def restarts(attack: Callable[[Key], Attack], key: Key, *, count: int) -> Attack:
    """Run `attack(key)` from `count` keys at once and keep the best outcome; last and curve are its own.

    >>> loss = lambda x: -((x - 0.3) ** 2).sum()
    >>> once = lambda key: pgd(loss, jnp.zeros(2), key, eps=0.5, step_size=0.1, steps=3)
    >>> restarts(once, jax.random.key(0), count=4).curve.shape
    (4,)
    """
    checks.whole(1, count=count)
    return strongest(jax.vmap(lambda i: attack(keys.at(key, i)))(jnp.arange(count)))
