"""The smallest step onto a hyperplane that stays in a box, in closed form (Croce and Hein 2020, eq. 4).

Minimise `||d||` subject to `<w, d> = c` and `low <= d <= high`, for `low <= 0 <= high`. Every entry moves towards the
plane, `d = sign(w) u` (for c > 0), by `u = min(t |w|, room)` in L2, `u = min(t, room)` in Linf, and in L1 by all its
room, steepest entries first, until c is reached. In L2 and Linf, t is the root of a concave piecewise linear
function: Newton's steps from the left only grow, with the set of full entries, and the loop ends, exactly, when that
set no longer does. It carries t alone: a pass over the entries then reads them and writes nothing.
"""

import jax
import jax.numpy as jnp

from interp_jax.adversarial import norms
from interp_jax.adversarial.norms import Norm
from interp_jax.core.types import Array, ArrayLike


def _raise_together(slope: Array, speed: Array, room: Array, amount: Array) -> Array:
    """Give `min(t speed, room)` with `<slope, that> = amount`, or all the room if that is too little."""
    idle = slope == 0
    room, speed = jnp.where(idle, 0.0, room), jnp.where(idle, 1.0, speed)

    def onward(t: Array) -> Array:
        full = t * speed >= room
        left = amount - jnp.sum(jnp.where(full, slope * room, 0.0))
        rate = jnp.sum(jnp.where(full, 0.0, slope * speed))
        return jnp.where(rate > 0, jnp.maximum(left, 0.0) / jnp.where(rate > 0, rate, 1.0), jnp.inf)

    def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
        return state[1], onward(state[1])

    start = jnp.zeros_like(amount)
    t = jnp.maximum(*jax.lax.while_loop(lambda state: state[1] > state[0], step, (start, onward(start))))  # keeps a NaN
    return jnp.where(t * speed >= room, room, t * speed)


def _raise_in_order(slope: Array, room: Array, amount: Array) -> Array:
    """Spend the room of the steepest entries first, until `<slope, u>` is the amount."""
    order = jnp.argsort(-slope)
    slope, room = slope[order], jnp.where(slope > 0, room, 0.0)[order]
    before = jnp.cumsum(jnp.concatenate([jnp.zeros(1, slope.dtype), (slope * room)[:-1]]))
    wanted = jnp.maximum(amount - before, 0.0) / jnp.where(slope > 0, slope, 1.0)
    return jnp.zeros_like(slope).at[order].set(jnp.minimum(wanted, room))


def _l2(slope: Array, room: Array, amount: Array) -> Array:
    return _raise_together(slope, slope, room, amount)


def _linf(slope: Array, room: Array, amount: Array) -> Array:
    return _raise_together(slope, jnp.ones_like(slope), room, amount)


_RAISE = {norms.l1: _raise_in_order, norms.l2: _l2, norms.linf: _linf}


def reach(weight: Array, amount: ArrayLike, low: Array, high: Array, *, norm: Norm) -> Array:
    """Give the smallest d in the box with `<weight, d> = amount`, or the d that comes nearest to it if there is none.

    Where it comes nearest only, every entry of nonzero weight is at its bound, as in the authors' code. Entries of
    zero weight stay.

    >>> half = jnp.full(3, 0.5)
    >>> reach(jnp.array([2.0, 1.0, 0.0]), 0.75, -half, half, norm=norms.linf).tolist()
    [0.25, 0.25, 0.0]
    >>> reach(jnp.array([2.0, 1.0, 0.0]), 1.25, -half, half, norm=norms.l1).tolist()
    [0.5, 0.25, 0.0]

    Args:
        weight: `[...]`, the plane's normal.
        amount: how far the plane is, of either sign; may be traced.
        low: `[...]`, at most 0; may be -inf.
        high: `[...]`, at least 0; may be inf.
        norm: l1, l2 or linf.

    Raises:
        ValueError: another norm.
    """
    if norm not in _RAISE:
        raise ValueError(f"want norm l1, l2 or linf, got {norm=}")
    top = jnp.max(jnp.abs(weight), initial=0.0)
    scale = jnp.where(top > 0, jnp.ldexp(jnp.ones_like(top), jnp.frexp(top)[1]), 1.0)  # a power of two rounds nothing
    towards = jnp.sign(weight) * jnp.where(jnp.asarray(amount) < 0, -1.0, 1.0)
    slope, room = jnp.abs(weight) / scale, jnp.where(towards > 0, high, -low)
    moved = _RAISE[norm](slope.reshape(-1), room.reshape(-1), jnp.abs(amount) / scale)
    return jnp.clip(towards * moved.reshape(weight.shape), low, high)
