"""Attacks that adapt the radius of a ball to the smallest at which they fool: DDN and FMN."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from interp_jax.adversarial import norms
from interp_jax.adversarial.attack import UNIT, Bounds, value_and_gradient
from interp_jax.adversarial.minimal import Minimal, Nearest, everywhere, finish
from interp_jax.adversarial.norms import Norm
from interp_jax.adversarial.objectives import Scored
from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike

AnyObjective = Callable[[Array], Scored | Array]


def cosine(first: Array, last: Array, k: Array, steps: int) -> Array:
    """Anneal from `first` at k = 0 towards `last` at k = steps along half a cosine."""
    return last + 0.5 * (first - last) * (1 + jnp.cos(jnp.pi * k / steps))


def ddn(
    objective: AnyObjective,
    x: Array,
    *,
    steps: int,
    gamma: ArrayLike = 0.05,
    eps: ArrayLike = 1.0,
    step_size: ArrayLike = 1.0,
    bounds: Bounds | None = UNIT,
) -> Minimal:
    """Step along the normalised gradient, then set the L2 norm to a radius that shrinks or grows (Rony et al. 2019).

    Algorithm 1: `d <- d + a_k g / ||g||`, `eps <- (1 -+ gamma) eps` as x + d fools or not, `d <- eps d / ||d||`, clip;
    a_k falls from step_size to a hundredth of it along a cosine. Their rounding to 8 bits is left out.

    The authors' objective is the cross entropy (`target_cross_entropy` for the targeted attack). Where logits differ
    little at the boundary it leads towards several rivals at once: on linear models of four classes with gaps of about
    1 the outcome is 1.1 to 1.4 times the smallest, with `margin` 1.00 to 1.01 times. On a trained net on digits the
    cross entropy is the better one, 1.007 times the smallest size known against 1.015.

    >>> found = ddn(lambda x: x.sum() - 1.0, jnp.full(4, 0.2), steps=100)
    >>> bool(0.1 <= found.size < 0.102), bool(found.fooled)
    (True, True)

    Args:
        objective: of one example.
        x: one example, floats of any shape.
        steps: gradients taken; the objective is evaluated once more, at the end.
        gamma: how fast the radius changes; it, eps and the step may be traced.
        eps: the first radius.
        step_size: the first step's length.
        bounds: of the input, None for none.

    Raises:
        ValueError: a number below zero, gamma above 1, bounds reversed, x outside them, no steps.
    """
    checks.whole(1, steps=steps)
    checks.positive(eps=eps, step_size=step_size)
    checks.between(0, 1, gamma=gamma)
    where, judged = everywhere(objective, x, norms.l2, bounds)
    gamma, step_size = jnp.asarray(gamma, x.dtype), jnp.asarray(step_size, x.dtype)

    def step(carry: tuple[Array, Array, Nearest], k: Array) -> tuple[tuple[Array, Array, Nearest], tuple[Array, Array]]:
        point, eps, nearest = carry
        seen, gradient, flat = value_and_gradient(judged, point)
        nearest = nearest.keep(point, seen.fooled, norms.l2.size)
        d = point - x + cosine(step_size, step_size / 100, k, steps) * norms.l2.ascend(gradient)
        eps = eps * jnp.where(seen.fooled, 1 - gamma, 1 + gamma)
        return (where.point(eps * norms.l2.ascend(d)), eps, nearest), (nearest.size, flat)

    carry = x, jnp.asarray(eps, x.dtype), Nearest.begin(x, judged(x))
    (last, _, nearest), (sizes, flat) = jax.lax.scan(step, carry, jnp.arange(steps, dtype=x.dtype))
    nearest = nearest.keep(last, judged(last).fooled, norms.l2.size)
    return finish(nearest, last, jnp.append(sizes, nearest.size), flat)


def _radius(norm: Norm, eps: Array, gamma: Array, seen: Scored, d: Array, gradient: Array, nearest: Nearest) -> Array:
    """Shrink the radius where fooled, grow it where not; before the first success, aim at the linearised boundary."""
    shrunk, grown = eps * (1 - gamma), eps * (1 + gamma)
    if norm.dual is None:
        whole = jnp.minimum(eps - 1, jnp.floor(shrunk)), jnp.maximum(eps + 1, jnp.floor(grown))
        return jnp.maximum(jnp.where(seen.fooled, jnp.minimum(whole[0], nearest.size), whole[1]), 0.0)
    size, slope = norm.size(d), norm.dual(gradient)
    known = (slope > 0) & jnp.isfinite(seen.value)
    away = jnp.where(known, jnp.abs(seen.value) / jnp.where(slope > 0, slope, 1.0), 0.0)
    aimed = jnp.maximum(size + away, size * (1 + gamma))  # rounding may hold a point at the boundary itself
    missed = jnp.where(jnp.isfinite(nearest.size), grown, aimed)
    return jnp.where(seen.fooled, jnp.minimum(shrunk, nearest.size), missed)


def fmn(
    objective: AnyObjective,
    x: Array,
    *,
    steps: int,
    step_size: ArrayLike = 1.0,
    last_step_size: ArrayLike | None = None,
    gamma: ArrayLike = 0.05,
    last_gamma: ArrayLike = 1e-3,
    norm: Norm = norms.l2,
    bounds: Bounds | None = UNIT,
) -> Minimal:
    """Step along the gradient, then project on a ball whose radius follows the boundary (Pintor et al. 2021, alg. 1).

    Where x + d fools, `eps <- min((1 - gamma_k) eps, smallest size)`; where not, `eps <- (1 + gamma_k) eps`, or before
    the first success `eps <- ||d|| + |margin| / dual(g)`. Then `d <- P(d + a_k g / ||g||_2)`; a_k and gamma_k fall
    along cosines. In L0 the radius is a whole number and begins at 1. The objective is `objectives.margin` or
    `target_margin`: its zero is taken for the boundary.

    Two things differ from the authors. P is the nearest point of ball and bounds together, not of one, then the other.
    Before the first success eps grows by (1 + gamma_k) at least: rounding can hold theirs at the very boundary.

    >>> found = fmn(lambda x: x.sum() - 1.0, jnp.full(4, 0.2), steps=60, norm=norms.linf)
    >>> bool(0.05 <= found.size < 0.051), bool(found.fooled)
    (True, True)

    Args:
        objective: of one example, positive where fooled.
        x: one example, floats of any shape.
        steps: gradients taken; the objective is evaluated once more, at the end.
        step_size: the first step's L2 length, in every norm; all numbers may be traced.
        last_step_size: the last step's; a hundredth of the first if not given.
        gamma: how fast the radius changes at first.
        last_gamma: how fast it changes at last.
        norm: l0, l1, l2 or linf.
        bounds: of the input, None for none.

    Raises:
        ValueError: a number below zero, gamma above 1, bounds reversed, x outside them, no steps.
    """
    checks.whole(1, steps=steps)
    checks.positive(step_size=step_size)
    checks.between(0, 1, gamma=gamma, last_gamma=last_gamma)
    where, judged = everywhere(objective, x, norm, bounds)
    first, last_rate = jnp.asarray(step_size, x.dtype), jnp.asarray(last_gamma, x.dtype)
    ending = first / 100 if last_step_size is None else jnp.asarray(last_step_size, x.dtype)

    def step(carry: tuple[Array, Array, Nearest], k: Array) -> tuple[tuple[Array, Array, Nearest], tuple[Array, Array]]:
        point, eps, nearest = carry
        seen, gradient, flat = value_and_gradient(judged, point)
        nearest = nearest.keep(point, seen.fooled, norm.size)
        rate = cosine(jnp.asarray(gamma, x.dtype), last_rate, k, steps)
        eps = _radius(norm, eps, rate, seen, point - x, gradient, nearest)
        d = point - x + cosine(first, ending, k, steps) * norms.l2.ascend(gradient)
        return (where.point(where._replace(eps=eps).confine(d)), eps, nearest), (nearest.size, flat)

    carry = x, jnp.full((), 1.0 if norm.dual is None else jnp.inf, x.dtype), Nearest.begin(x, judged(x))
    (last, _, nearest), (sizes, flat) = jax.lax.scan(step, carry, jnp.arange(steps, dtype=x.dtype))
    nearest = nearest.keep(last, judged(last).fooled, norm.size)
    return finish(nearest, last, jnp.append(sizes, nearest.size), flat)
