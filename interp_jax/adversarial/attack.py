"""What every attack shares: the set it searches, how it keeps its best iterate, and what it returns."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.adversarial.norms import Norm
from interp_jax.adversarial.objectives import Objective, Scored, scored
from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike, Key

Bounds = tuple[ArrayLike, ArrayLike]
UNIT: Bounds = (0.0, 1.0)


class Attack(NamedTuple):
    """What an attack found, for one example.

    x: `[...]`, its best iterate: of the fooled ones, or of all if none is fooled, that with the largest objective.
    objective, fooled: there. last, last_objective: its last iterate. curve: `[steps + 1]`, the objective of every
    iterate. flat: the share of steps at which the gradient was zero or not finite (such entries are taken as zero);
    NaN for `noise`, which takes no gradient, and 0 for `square`.

    Where eps is negative or NaN, or x lies outside the bounds, and tracing hides it from the checks, every objective
    is NaN and nothing is fooled; so too for an objective that is never finite.
    """

    x: Array
    objective: Array
    fooled: Array
    last: Array
    last_objective: Array
    curve: Array
    flat: Array


class Best(NamedTuple):
    """The best iterate so far."""

    x: Array
    value: Array
    fooled: Array

    @classmethod
    def none(cls, x: Array) -> "Best":
        """Begin with a value below all others."""
        return cls(x, jnp.full((), -jnp.inf, x.dtype), jnp.bool_(False))

    def keep(self, x: Array, seen: Scored) -> "Best":
        """Take `x` if it is fooled and the best is not, or if it ties in that and has the larger value; never a NaN."""
        larger = (seen.fooled == self.fooled) & (seen.value > self.value)
        wins = jnp.isfinite(seen.value) & ((seen.fooled & ~self.fooled) | larger)
        return jax.tree.map(lambda new, old: jnp.where(wins, new, old), Best(x, seen.value, seen.fooled), self)


class Region(NamedTuple):
    """The ball of radius eps around x, cut with the bounds of the input; perturbations are `d`, points `x + d`."""

    x: Array
    eps: Array
    low: Array
    high: Array
    norm: Norm

    def confine(self, d: Array) -> Array:
        """Give the nearest perturbation inside; a radius that is none, hidden by tracing, is taken as 0."""
        return self.norm.within(d, jnp.where(self.eps >= 0, self.eps, 0.0), self.low - self.x, self.high - self.x)

    def point(self, d: Array) -> Array:
        """Give `x + d`, which rounding does not take out of the bounds."""
        return jnp.clip(self.x + d, self.low, self.high)

    def draw(self, key: Key) -> Array:
        """Draw a perturbation from the ball, brought into the bounds."""
        return self.confine(self.norm.sample(key, self.x.shape, self.eps).astype(self.x.dtype))

    def sound(self) -> Array:
        """Tell whether eps is a radius and x within the bounds."""
        return (self.eps >= 0) & jnp.all((self.x >= self.low) & (self.x <= self.high))


def region(x: Array, eps: ArrayLike, norm: Norm, bounds: Bounds | None) -> Region:
    """Check the set that an attack searches. bounds: of the input, numbers or arrays; None for no bounds."""
    chex.assert_type(x, float)
    low, high = (-jnp.inf, jnp.inf) if bounds is None else bounds
    checks.not_negative(eps=eps)
    if isinstance(low, int | float) and isinstance(high, int | float) and not low < high:
        raise ValueError(f"want bounds (low, high) with low < high, got {bounds=}")
    checks.entries(low, high, x=x)
    return Region(x, jnp.asarray(eps, x.dtype), jnp.asarray(low, x.dtype), jnp.asarray(high, x.dtype), norm)


def guarded(objective: Callable[[Array], Scored | Array], where: Region) -> Objective:
    """Make the objective NaN, and nothing fooled, where the region is not sound or the value not finite."""
    complete, sound = scored(objective), where.sound()

    def checked(x: Array) -> Scored:
        seen = complete(x)
        chex.assert_rank(seen.value, 0)
        value = jnp.where(sound, seen.value, jnp.nan)
        return Scored(value, seen.fooled & jnp.isfinite(value))

    return checked


def value_and_gradient(objective: Objective, x: Array) -> tuple[Scored, Array, Array]:
    """Give the objective, its gradient with entries that are not finite as zero, and whether the gradient is flat."""

    def pair(x: Array) -> tuple[Array, Array]:
        seen = objective(x)
        return seen.value, seen.fooled

    (value, fooled), gradient = jax.value_and_grad(pair, has_aux=True)(x)
    usable = jnp.where(jnp.isfinite(gradient), gradient, 0.0)
    flat = ~jnp.any(usable != 0) | ~jnp.all(jnp.isfinite(gradient))
    return Scored(value, fooled), usable, flat


def finish(best: Best, last: Array, curve: Array, flat: Array) -> Attack:
    """Put an attack's outcome together. flat: `[steps]` booleans."""
    found = jnp.isfinite(best.value)
    return Attack(
        x=best.x,
        objective=jnp.where(found, best.value, jnp.nan),
        fooled=best.fooled,
        last=last,
        last_objective=curve[-1],
        curve=curve,
        flat=jnp.mean(flat, dtype=curve.dtype),
    )


def strongest(found: Attack) -> Attack:
    """Pick one of several outcomes, stacked along a new first axis: fooled first, then the largest objective."""
    value = jnp.where(jnp.isnan(found.objective), -jnp.inf, found.objective)
    return jax.tree.map(lambda leaf: leaf[jnp.lexsort((value, found.fooled))[-1]], found)
