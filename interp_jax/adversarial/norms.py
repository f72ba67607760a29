"""Balls of perturbations of one example: sizes, exact projections, steepest ascent, uniform draws.

A perturbation `d` has the example's shape. `within` projects onto the ball cut with a box around 0: projecting onto
one after the other stays inside both but is not the nearest point. Each exact projection is "shrink by a multiplier,
then clip"; the multiplier is the root of an increasing function that is piecewise linear, so Newton's steps end
exactly, after a few passes over `d`, where sorting would cost more. Derivatives pass through the last step and are
exact too.

`l0` counts entries; it is no norm: its balls are not convex, there is no dual, and "projection" is a nearest point
(hard thresholding) that may expand distances. Its `ascend` is a step of unit length in L2, and not of size 1: the best
of those has no bound, and moving one entry alone would never leave a support once chosen; thresholding makes it sparse.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from interp_jax.core import keys
from interp_jax.core.types import Array, Key

STEPS = 64


class Norm(NamedTuple):
    """The geometry of one family of balls, as functions of one perturbation.

    size: `d -> ||d||`. dual: `g -> max of <g, d> over size 1`, None if there is none. project: `(d, eps) -> ` the
    nearest point of the ball. within: `(d, eps, low, high) -> ` the nearest point of the ball and the box
    `low <= d <= high`, for `low <= 0 <= high`. ascend: `g -> ` a d of size 1 with the largest `<g, d>`, and 0 where g
    is 0. sample: `(key, shape, eps) -> ` a uniform draw from the ball.
    """

    size: Callable[[Array], Array]
    dual: Callable[[Array], Array] | None
    project: Callable[[Array, Array], Array]
    within: Callable[[Array, Array, Array, Array], Array]
    ascend: Callable[[Array], Array]
    sample: Callable[[Key, tuple[int, ...], Array], Array]


def safe_norm(d: Array) -> Array:
    """Give the Euclidean norm, with derivative 0 (and not NaN) at 0, and no overflow of squares."""
    top = lax.stop_gradient(jnp.max(jnp.abs(d), initial=0.0))
    scale = jnp.where(top > 0, top, 1.0)
    squares = jnp.sum((d / scale) ** 2)
    return scale * jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)


def _ratio(a: Array, b: Array) -> Array:
    """Divide, and give 0 where b is 0."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1.0), 0.0)


def _root(function: Callable[..., tuple[Array, Array]], known: tuple, low: Array, high: Array, start: Array) -> Array:
    """Find where an increasing piecewise linear function is 0 between `low` and `high`; `high` if it is below 0 there.

    function: `(at, *known) -> (value, slope)`. Newton's steps while each is at most half the one before and stays in
    the bracket, halves of the bracket otherwise. One more step is taken outside the loop; it carries the derivative
    by `known`, which the loop must not see: it has no reverse mode.
    """
    low, high, start, fixed = lax.stop_gradient((low, high, start, known))

    def go_on(state: tuple) -> Array:
        low, high, at, before, count = state
        return (jnp.abs(at - before) > 1e-6 * at) & (low < high) & (count < STEPS)

    def narrow(state: tuple) -> tuple:
        low, high, at, before, count = state
        value, slope = function(at, *fixed)
        low, high = jnp.where(value <= 0, at, low), jnp.where(value >= 0, at, high)
        newton = at - _ratio(value, slope)
        shrinks = 2 * jnp.abs(newton - at) <= jnp.abs(at - before)
        fine = (slope > 0) & (newton >= low) & (newton <= high) & shrinks
        return low, high, jnp.where(fine, newton, 0.5 * (low + high)), at, count + 1

    low = jnp.where(function(high, *fixed)[0] <= 0, high, low)
    at = lax.while_loop(go_on, narrow, (low, high, jnp.clip(start, low, high), -high, jnp.int32(0)))[2]
    value, slope = function(at, *known)
    return jnp.clip(at - _ratio(value, slope), low, high)


def _shrink_l1(d: Array, eps: Array, low: Array, high: Array) -> Array:
    """Soft-threshold, then clip: `sign(d) min(max(|d| - multiplier, 0), room)`.

    The unknown is how far the multiplier lies from the nearer of 0 and the largest entry, so that differences keep
    their digits however small or large the ball is. Where the box holds back larger entries than those left, the
    multiplier's rounding may still exceed eps: the last factor keeps the ball.
    """
    room = jnp.where(d > 0, high, -low)
    top = lax.stop_gradient(jnp.max(jnp.abs(d), initial=0.0))
    near_top = jnp.sum(jnp.clip(jnp.abs(d) - 0.5 * top, 0.0, room)) > eps
    base, sign = jnp.where(near_top, top, 0.0), jnp.where(near_top, 1.0, -1.0)

    def left(at: Array, d: Array) -> Array:
        return sign * at - (base - jnp.abs(d))

    def excess(at: Array, d: Array, room: Array, eps: Array) -> tuple[Array, Array]:
        free = (left(at, d) > 0) & (left(at, d) < room)
        return sign * (jnp.sum(jnp.clip(left(at, d), 0.0, room)) - eps), jnp.sum(free, dtype=d.dtype)

    at = _root(excess, (d, room, eps), jnp.zeros_like(top), 0.5 * top, jnp.where(near_top, 0.5 * top, 0.0))
    sizes = jnp.clip(left(at, d), 0.0, room)
    held = lax.stop_gradient(jnp.minimum(_ratio(eps, jnp.sum(sizes)), 1.0))
    inside = ~near_top & (at <= 0)
    return jnp.where(inside, jnp.clip(d, low, high), jnp.sign(d) * sizes * held)


def _project_l2(d: Array, eps: Array) -> Array:
    """Shorten to length eps."""
    size = safe_norm(d)
    return d * jnp.where(size > eps, _ratio(eps, size), 1.0)


def _within_l2(d: Array, eps: Array, low: Array, high: Array) -> Array:
    """Shorten by a factor, then clip; its square is the unknown of `sum min(unknown d^2, room^2) = eps^2`."""
    top = lax.stop_gradient(jnp.max(jnp.abs(d), initial=0.0))
    scale = jnp.where(top > 0, top, 1.0)
    # no entry is longer than `top`, so 2 stands for any more room: the square of infinity has no derivative
    room = jnp.minimum(jnp.where(d > 0, high, -low) / scale, 2.0)
    known = (d / scale) ** 2, room**2, (eps / scale) ** 2

    def excess(at: Array, squares: Array, room: Array, eps: Array) -> tuple[Array, Array]:
        free = at * squares < room
        return jnp.sum(jnp.where(free, at * squares, room)) - eps, jnp.sum(jnp.where(free, squares, 0.0))

    shortest = jnp.minimum(_ratio(known[2], known[0].sum()), 1.0)
    # 0 and not `shortest` for the bracket's end: at an end that is the root the derivative would be lost
    factor = _root(excess, known, jnp.zeros_like(top), jnp.ones_like(top), shortest)
    root = jnp.where(factor > 0, jnp.sqrt(jnp.where(factor > 0, factor, 1.0)), 0.0)
    return jnp.clip(root * d, low, high)


def _largest(d: Array, count: Array) -> Array:
    """Mark the `count` largest entries, earlier ones first among equals. count may be traced; 2.5 are two."""
    ranks = jnp.argsort(jnp.argsort(-d.reshape(-1), stable=True))
    return (ranks + 1 <= count).reshape(d.shape)


def _pick_one(gradient: Array) -> Array:
    """Give the sign of the largest entry there (the first among equals), and 0 elsewhere."""
    places = jnp.arange(gradient.size).reshape(gradient.shape)
    return jnp.where(places == jnp.argmax(jnp.abs(gradient)), jnp.sign(gradient), 0.0)


def _sample_linf(key: Key, shape: tuple[int, ...], eps: Array) -> Array:
    return eps * jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


def _sample_l1(key: Key, shape: tuple[int, ...], eps: Array) -> Array:
    """Draw exponential sizes with signs, shortened by one more exponential: uniform in the ball."""
    sizes = jax.random.exponential(keys.stream(key, "size"), shape)
    total = sizes.sum() + jax.random.exponential(keys.stream(key, "total"))
    return eps * jax.random.rademacher(keys.stream(key, "sign"), shape, sizes.dtype) * sizes / total


def _sample_l2(key: Key, shape: tuple[int, ...], eps: Array) -> Array:
    """Draw Gaussians and leave two out of the normalised vector: uniform in the ball of the others."""
    drawn = jax.random.normal(keys.stream(key, "direction"), shape)
    left_out = jax.random.normal(keys.stream(key, "length"), (2,))
    return eps * drawn / jnp.sqrt(jnp.sum(drawn**2) + jnp.sum(left_out**2))


def _sample_l0(key: Key, shape: tuple[int, ...], eps: Array) -> Array:
    """Draw entries in [-1, 1] on a uniform choice of places (the ball itself has no bound)."""
    values = jax.random.uniform(keys.stream(key, "value"), shape, minval=-1.0, maxval=1.0)
    return values * _largest(jax.random.uniform(keys.stream(key, "place"), shape), eps)


def _within_l0(d: Array, eps: Array, low: Array, high: Array) -> Array:
    """Clip the entries whose keeping gains most: `d^2 - (d - clip(d))^2`, in factors that keep its digits."""
    inside = jnp.clip(d, low, high)
    return inside * _largest(inside * (2 * d - inside), eps)


def _unit_l2(gradient: Array) -> Array:
    size = safe_norm(gradient)
    return gradient * _ratio(jnp.ones_like(size), size)


def _sum(d: Array) -> Array:
    return jnp.sum(jnp.abs(d))


def _max(d: Array) -> Array:
    return jnp.max(jnp.abs(d), initial=0.0)


linf = Norm(
    size=_max,
    dual=_sum,
    project=lambda d, eps: jnp.clip(d, -eps, eps),
    within=lambda d, eps, low, high: jnp.clip(d, jnp.maximum(low, -eps), jnp.minimum(high, eps)),
    ascend=jnp.sign,
    sample=_sample_linf,
)
l2 = Norm(safe_norm, safe_norm, _project_l2, _within_l2, _unit_l2, _sample_l2)
l1 = Norm(
    size=_sum,
    dual=_max,
    project=lambda d, eps: _shrink_l1(d, eps, jnp.full_like(d, -jnp.inf), jnp.full_like(d, jnp.inf)),
    within=_shrink_l1,
    ascend=_pick_one,
    sample=_sample_l1,
)
l0 = Norm(
    size=lambda d: jnp.sum(d != 0, dtype=d.dtype),
    dual=None,
    project=lambda d, eps: d * _largest(jnp.abs(d), eps),
    within=_within_l0,
    ascend=_unit_l2,
    sample=_sample_l0,
)
