"""What attacks share that look for the smallest perturbation that fools, and not for the worst one in a ball.

One run gives the robust accuracy at every radius at once: an example falls at eps where its `size` is at most eps.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.adversarial.attack import UNIT, Attack, Bounds, Region, guarded, region
from interp_jax.adversarial.norms import Norm
from interp_jax.adversarial.objectives import Objective, Predict, Scored
from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike

Size = Callable[[Array], Array]
BEYOND = 1e-4
"""How much farther than the boundary a shortened outcome lies, as a share of its size."""


class Minimal(NamedTuple):
    """The smallest perturbation found that fools, for one example.

    x: `[...]`, the example perturbed so; the clean one if none was found. size: of `x - clean`, 0 where the clean
    example is fooled already, inf if none was found. fooled: whether one was. last: the last iterate. curve: the
    smallest size known after each step, first that of the clean example; it never rises. flat: the share of gradients
    that were zero or not finite.

    Where the objective of the clean example is not finite (a label out of range), or x lies outside the bounds, and
    tracing hides it from the checks, size and curve are NaN and nothing is fooled.
    """

    x: Array
    size: Array
    fooled: Array
    last: Array
    curve: Array
    flat: Array


class Nearest(NamedTuple):
    """The smallest perturbation so far. clean: what sizes are measured from."""

    clean: Array
    x: Array
    size: Array

    @classmethod
    def begin(cls, x: Array, seen: Scored) -> "Nearest":
        """Begin at the clean example: size 0 if it is fooled, inf if not, NaN (never to be replaced) if undefined."""
        size = jnp.where(seen.fooled, 0.0, jnp.inf).astype(x.dtype)
        return cls(x, x, jnp.where(jnp.isfinite(seen.value), size, jnp.nan))

    def keep(self, x: Array, fooled: Array, size: Size) -> "Nearest":
        """Take `x` if it fools and is smaller."""
        new = size(x - self.clean)
        wins = fooled & (new < self.size)
        return Nearest(self.clean, jnp.where(wins, x, self.x), jnp.where(wins, new, self.size))


def finish(nearest: Nearest, last: Array, sizes: Array, flat: Array) -> Minimal:
    """Put an outcome together. sizes: those known after each step, from the first. flat: booleans."""
    return Minimal(
        x=nearest.x,
        size=nearest.size,
        fooled=jnp.isfinite(nearest.size),
        last=last,
        curve=sizes,
        flat=jnp.mean(flat, dtype=sizes.dtype),
    )


def everywhere(
    objective: Callable[[Array], Scored | Array], x: Array, norm: Norm, bounds: Bounds | None
) -> tuple[Region, Objective]:
    """Check the set that is searched, all within the bounds; give it and the objective guarded there."""
    where = region(x, jnp.inf, norm, bounds)
    return where, guarded(objective, where)


def within(found: Minimal, eps: ArrayLike) -> Array:
    """Tell whether an example falls at radius eps. Undefined sizes do not count as fallen; see `Minimal.size`."""
    return found.fooled & (found.size <= eps)


def in_ball(
    objective: Callable[[Array], Scored | Array],
    x: Array,
    found: Minimal,
    *,
    eps: ArrayLike,
    norm: Norm,
    bounds: Bounds | None = UNIT,
) -> Attack:
    """Say what an outcome means at one radius, as other attacks do: the example found if it lies in the ball, or x.

    The curve holds the objective of x and of the outcome only, and the last iterate is the outcome.
    """
    judged = guarded(objective, region(x, eps, norm, bounds))
    held = jnp.where(within(found, eps), found.x, x)
    clean, seen = judged(x), judged(held)
    fooled = seen.fooled & within(found, eps)
    return Attack(held, seen.value, fooled, held, seen.value, jnp.stack([clean.value, seen.value]), found.flat)


def smallest(found: Minimal) -> Minimal:
    """Take the smallest of outcomes stacked on a leading axis, as of several targets, attacks or restarts.

    >>> attack = lambda target: fab(predict, x, label, key, eps=0.3, steps=20, target=target)  # doctest: +SKIP
    >>> smallest(jax.vmap(attack)(targets))  # doctest: +SKIP
    """
    size = jnp.where(jnp.isnan(found.size), jnp.inf, found.size)
    return jax.tree.map(lambda leaf: leaf[jnp.argmin(size)], found)


def shorten(judged: Objective, where: Region, nearest: Nearest, *, steps: int) -> Nearest:
    """Search the segment from the clean example to the nearest one for a nearer one, with `steps` cuts.

    The bracket `[low, high]` (not fooled, fooled) is cut by turns where the objective's secant crosses 0, moved by
    1e-4 of the bracket towards the fooled end, and in the middle, so it halves at least at every second step. What is
    taken lies BEYOND (a share of its length) outside the bracket: nearer to the boundary, rounding would decide, and
    the same model in another program might not be fooled.
    """
    if not steps:
        return nearest
    way = nearest.x - nearest.clean

    def cut(i: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        low, high, under, over = state
        secant = jnp.clip(-under / jnp.where(over > under, over - under, 1.0) + 1e-4, 1e-4, 1.0)
        share = jnp.where((i % 2 == 0) & (under < 0), secant, 0.5)
        at = low + share * (high - low)
        seen = judged(where.point(at * way))
        ends = (low, at, under, seen.value), (at, high, seen.value, over)
        return jax.tree.map(lambda a, b: jnp.where(seen.fooled, a, b), *ends)

    under, over = jax.vmap(judged)(jnp.stack([nearest.clean, nearest.x])).value
    high = jax.lax.fori_loop(0, steps, cut, (jnp.zeros_like(under), jnp.ones_like(over), under, over))[1]
    point = where.point((1 + BEYOND) * high * way)
    return nearest.keep(point, judged(point).fooled, where.norm.size)


def polish(
    objective: Callable[[Array], Scored | Array],
    x: Array,
    found: Minimal,
    *,
    steps: int = 10,
    norm: Norm,
    bounds: Bounds | None = UNIT,
) -> Minimal:
    """Shorten an outcome along the line to the clean example x; its size never grows.

    A finishing move for attacks that stop beyond the boundary (DeepFool's overshoot, the shells of DDN and FMN). Say
    so beside a number: what comes out is no longer the published attack.
    """
    checks.whole(1, steps=steps)
    chex.assert_equal_shape([x, found.x])
    where, judged = everywhere(objective, x, norm, bounds)
    nearest = shorten(judged, where, Nearest(x, found.x, found.size), steps=steps)
    return found._replace(x=nearest.x, size=nearest.size, curve=jnp.append(found.curve, nearest.size))


class Planes(NamedTuple):
    """The decision boundaries to some rivals, linearised: a rival leads at `z` where `gap + <normal, z - x>` > 0.

    gap: `[R]`, rival minus label at x. normal: `[R, ...]`, its gradient, with entries that are not finite as zero.
    flat: whether all of it is zero or some entry not finite.
    """

    gap: Array
    normal: Array
    flat: Array


def linearise(predict: Predict, x: Array, label: ArrayLike, rivals: Array) -> Planes:
    """Linearise `z_rival - z_label` at x, with one backward pass a rival.

    A gap within rounding of the logits is taken as one just short of a tie: a step of length 0 leads nowhere.
    """
    logits, back = jax.vjp(predict, x)
    chex.assert_rank(logits, 1)
    own = jax.nn.one_hot(label, logits.size, dtype=logits.dtype)
    normal = jax.vmap(lambda rival: back(jax.nn.one_hot(rival, logits.size, dtype=logits.dtype) - own)[0])(rivals)
    gap = logits[rivals] - logits[label]
    rounding = 8 * jnp.finfo(logits.dtype).eps * jnp.max(jnp.abs(logits))
    gap = jnp.where(jnp.abs(gap) < rounding, -rounding, gap)
    finite = jnp.isfinite(normal)
    usable = jnp.where(finite, normal, 0.0)
    return Planes(gap, usable, ~jnp.any(usable != 0) | ~jnp.all(finite))


def closest(planes: Planes, norm: Norm) -> tuple[Array, Array, Array]:
    """Give the plane nearest to x: its gap, its normal and its distance `|gap| / dual(normal)`, inf if all are flat."""
    if norm.dual is None:
        raise ValueError(f"want a norm with a dual (l1, l2 or linf), got {norm=}")
    slopes = jax.vmap(norm.dual)(planes.normal)
    distance = jnp.where(slopes > 0, jnp.abs(planes.gap) / jnp.where(slopes > 0, slopes, 1.0), jnp.inf)
    which = jnp.argmin(distance)
    return planes.gap[which], planes.normal[which], distance[which]


def leaders(logits: Array, label: ArrayLike, count: int) -> Array:
    """Give the `count` classes with the largest logits, the label left out."""
    others = jnp.where(jnp.arange(logits.size) == label, -jnp.inf, logits)
    return jax.lax.top_k(others, min(count, logits.size - 1))[1]
