"""Square Attack: random search over squares of an image, which asks for values of the objective and no gradient."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.adversarial import norms
from interp_jax.adversarial.attack import UNIT, Attack, Best, Bounds, Region, finish, guarded, region
from interp_jax.adversarial.norms import Norm
from interp_jax.adversarial.objectives import Scored
from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key, Numpy

AnyObjective = Callable[[Array], Scored | Array]
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Iterations of 10000 after which the share of changed pixels halves (section 4.1)."""
TINY = 1e-30


def halvings(steps: int) -> Numpy:
    """Count, for the proposals 0 to `steps - 1`, how often the share of changed pixels has halved.

    >>> halvings(10).tolist()
    [0, 4, 5, 6, 6, 7, 7, 8, 8, 9]
    """
    checks.whole(1, steps=steps)
    return np.searchsorted(HALVINGS, np.arange(steps) * 10000 // steps).astype(np.int32)


def _side(share: Array, height: int, width: int) -> Array:
    """Give the side of a square with that share of the image, at least one pixel."""
    return jnp.clip(jnp.round(jnp.sqrt(share * height * width)).astype(jnp.int32), 1, min(height, width))


def _odd(side: Array, most: int) -> Array:
    """Give the next odd side, at least three, as far as it fits."""
    side = jnp.maximum(side, 3)
    return jnp.minimum(side + 1 - side % 2, most - 1 + most % 2)


def _grid(shape: tuple[int, ...], corner: Array) -> tuple[Array, Array]:
    """Give rows `[H, 1, 1]` and columns `[1, W, 1]` of an image, counted from a corner `[2]`."""
    rows, columns = jnp.arange(shape[0])[:, None, None], jnp.arange(shape[1])[None, :, None]
    return rows - corner[0], columns - corner[1]


def _window(shape: tuple[int, ...], corner: Array, side: Array) -> Array:
    """Mark a square, `[H, W, 1]`."""
    rows, columns = _grid(shape, corner)
    return (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)


def _corner(key: Key, shape: tuple[int, ...], side: Array) -> Array:
    """Draw where a square begins, each place where it fits alike, `[2]`."""
    return jax.random.randint(key, (2,), 0, jnp.array(shape[:2]) - side + 1)


def _length(d: Array) -> Array:
    """Give each channel's Euclidean length, `[1, 1, C]`."""
    return jnp.sqrt(jnp.sum(d**2, (0, 1), keepdims=True))


def _peaks(rows: Array, columns: Array, side: Array) -> Array:
    """Give two pyramids of unit length in all, one up and one down, in the halves of a square (equation 2).

    A half's entry at Chebyshev distance m from its middle is `sum over j from m + 1 to n + 1 of 1 / j^2`, n half the
    side. rows, columns: counted from the square's corner; entries outside it are 0.
    """
    n = side // 2
    sums = jnp.cumsum(jnp.append(0.0, 1.0 / jnp.arange(1.0, rows.size + columns.size + 2) ** 2))
    inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
    upper = rows < n
    middle = jnp.where(upper, n // 2, n + (side - n) // 2)
    far = jnp.maximum(jnp.abs(rows - middle), jnp.abs(columns - n))
    height = sums[n + 1] - sums[jnp.clip(far, 0, n + 1)]

    def unit(where: Array) -> Array:
        part = jnp.where(where, height, 0.0)
        return part / jnp.maximum(jnp.sqrt(jnp.sum(part**2)), TINY)

    both = unit(inside & upper) - unit(inside & ~upper)
    return both / jnp.maximum(jnp.sqrt(jnp.sum(both**2)), TINY)


def _bumps(key: Key, shape: tuple[int, ...], corner: Array, side: Array) -> Array:
    """Draw the two pyramids at a corner, one above the other or side by side, with a sign a channel."""
    turn, sign = jax.random.split(key)
    rows, columns = _grid(shape, corner)
    upright, lying = _peaks(rows, columns, side), _peaks(columns, rows, side)
    chosen = jnp.where(jax.random.bernoulli(turn), upright, lying)
    return chosen * jax.random.rademacher(sign, (1, 1, shape[2]), chosen.dtype)


def _stripes(where: Region, key: Key) -> Array:
    """Begin in Linf with columns of -eps and eps, a sign for each column and channel."""
    shape = where.x.shape
    return jnp.broadcast_to(where.eps * jax.random.rademacher(key, (1, *shape[1:]), where.x.dtype), shape)


def _square_linf(where: Region, key: Key, d: Array, share: Array) -> Array:
    """Move one square by -2 eps or 2 eps in each channel, back into the ball (algorithm 2)."""
    shape = d.shape
    side = _side(share, *shape[:2])
    place, sign = jax.random.split(key)
    change = 2 * where.eps * jax.random.rademacher(sign, (1, 1, shape[2]), d.dtype)
    moved = d + jnp.where(_window(shape, _corner(place, shape, side), side), change, 0.0)
    return where.norm.project(moved, where.eps)


def _tiles(where: Region, key: Key) -> Array:
    """Begin in L2 with squares a fifth of the image wide, of two pyramids each, of length eps together."""
    shape = where.x.shape
    side = max(min(shape[:2]) // 5, 1)
    down, across = shape[0] // side, shape[1] // side
    rows, columns = _grid((side, side), jnp.zeros(2, jnp.int32))
    upright, lying = _peaks(rows, columns, jnp.int32(side)), _peaks(columns, rows, jnp.int32(side))
    turn, sign = jax.random.split(key)
    turned = jax.random.bernoulli(turn, shape=(down, 1, across, 1, 1))
    tiles = jnp.where(turned, upright[None, :, None], lying[None, :, None])
    tiles = tiles * jax.random.rademacher(sign, (down, 1, across, 1, shape[2]), tiles.dtype)
    rest = [(size % side // 2, size % side - size % side // 2) for size in shape[:2]]
    drawn = jnp.pad(tiles.reshape(down * side, across * side, shape[2]), [*rest, (0, 0)])
    return where.eps * norms.l2.ascend(drawn.astype(where.x.dtype))


def _square_l2(where: Region, key: Key, d: Array, share: Array) -> Array:
    """Give one square two pyramids and the length left over, and that of another square (algorithm 3)."""
    shape = d.shape
    side = _odd(_side(share, *shape[:2]), min(shape[:2]))
    first, second, bumps = jax.random.split(key, 3)
    corner = _corner(first, shape, side)
    to, source = _window(shape, corner, side), _window(shape, _corner(second, shape, side), side)
    old = jnp.where(to, d, 0.0)
    new = _bumps(bumps, shape, corner, side) + old / jnp.maximum(_length(old), TINY)
    unused = jnp.maximum(where.eps**2 - jnp.sum(d**2), 0.0)
    length = jnp.sqrt(_length(jnp.where(to | source, d, 0.0)) ** 2 + unused / shape[2])
    moved = jnp.where(to, new / jnp.maximum(_length(new), TINY) * length, jnp.where(source, 0.0, d))
    return where.norm.project(moved.astype(d.dtype), where.eps)


def square(
    objective: AnyObjective,
    x: Array,
    key: Key,
    *,
    eps: ArrayLike,
    steps: int,
    fraction: ArrayLike = 0.8,
    norm: Norm = norms.linf,
    bounds: Bounds | None = UNIT,
) -> Attack:
    """Propose changed squares of an image and keep what raises the objective (Andriushchenko et al. 2020, algorithm 1).

    The share of changed pixels begins at `fraction` and halves after proposals 10, 50, 200, 500, 1000, 2000, 4000,
    6000 and 8000 of 10000, rescaled to `steps`. The search stands at its best (fooled first), so `last` is `x`, the
    curve is that of the best so far, and `flat`, a matter of gradients, is 0.

    The authors' code leaves out the last row and column of places, draws one place for a whole batch, gives in L2 each
    channel the length of all (here its own: algorithm 3), and stops at success (here it goes on).

    >>> image = jnp.full((4, 4, 1), 0.5)
    >>> attack = square(lambda x: jnp.sum(jnp.round(8 * x)), image, jax.random.key(0), eps=0.25, steps=30)
    >>> float(attack.objective), attack.curve.shape
    (96.0, (31,))

    Args:
        objective: of one image, from `objectives` (margin in the paper), or any scalar function.
        x: one image `[H, W, C]`.
        key: of the proposals.
        eps: the ball's radius; it may be traced, and differ between examples.
        steps: proposals; the objective is evaluated once more, for the beginning.
        fraction: the share of pixels that the first squares change, in (0, 1]; may be traced.
        norm: of the ball, linf or l2.
        bounds: of the input, None for none.

    Raises:
        ValueError: eps below zero, bounds reversed, x outside them, no steps, a fraction outside (0, 1] (where these
            are not traced), another norm.
    """
    chex.assert_rank(x, 3)
    checks.positive(fraction=fraction)
    checks.between(0, 1, fraction=fraction)
    if norm not in (norms.linf, norms.l2):
        raise ValueError("want norm linf or l2, got another")
    where = region(x, eps, norm, bounds)
    judged = guarded(objective, where)
    begin, change = (_stripes, _square_linf) if norm == norms.linf else (_tiles, _square_l2)
    shares = jnp.asarray(fraction, x.dtype) * 0.5 ** jnp.asarray(halvings(steps), x.dtype)
    start, moves = begin(where, keys.stream(key, "start")), keys.stream(key, "square")

    def propose(best: Best, now: tuple[Array, Array]) -> tuple[Best, Array]:
        t, share = now
        d = change(where, keys.at(moves, t), best.x - x, share)
        point = where.point(jnp.where(t == 0, start, d))
        best = best.keep(point, judged(point))
        return best, jnp.where(jnp.isfinite(best.value), best.value, jnp.nan)

    shares = jnp.append(shares[:1], shares)  # the beginning is a proposal too, so the program holds the model once
    best, curve = jax.lax.scan(propose, Best.none(x), (jnp.arange(steps + 1), shares))
    return finish(best, best.x, curve, jnp.zeros(1, bool))
