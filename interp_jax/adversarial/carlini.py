"""Perturbation size plus a hinge on the margin, its weight found by binary search: C&W's L2 attack and EAD."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from interp_jax.adversarial import norms
from interp_jax.adversarial.attack import UNIT, Bounds, Region, value_and_gradient
from interp_jax.adversarial.minimal import Minimal, Nearest, Size, everywhere, finish
from interp_jax.adversarial.objectives import Objective, Scored, scored
from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike

AnyObjective = Callable[[Array], Scored | Array]
Run = Callable[[Array, Nearest], tuple[Nearest, Array, Array, Array, Array]]
"""`(weight, nearest) -> (nearest, whether any iterate fooled, last, sizes [steps], flat [steps])`."""


class Weight(NamedTuple):
    """The bracket of the hinge's weight: `low` was too small, `high` was enough (inf while none was)."""

    low: Array
    high: Array
    at: Array

    def narrow(self, enough: Array) -> "Weight":
        """Halve the bracket; below a first success, go up tenfold."""
        low = jnp.where(enough, self.low, self.at)
        high = jnp.where(enough, jnp.minimum(self.high, self.at), self.high)
        return Weight(low, high, jnp.where(jnp.isinf(high), 10 * self.at, 0.5 * (low + high)))


def _check(*, steps: int, searches: int, weight: ArrayLike, learning_rate: ArrayLike, confidence: ArrayLike) -> None:
    """Raise ValueError for what neither attack can take."""
    checks.whole(1, steps=steps, searches=searches)
    checks.positive(weight=weight, learning_rate=learning_rate)
    checks.not_negative(confidence=confidence)


def _confident(objective: AnyObjective, confidence: ArrayLike) -> Objective:
    """Fool only where the value is at least the confidence; the new value is what lies above it."""
    complete = scored(objective)

    def judge(x: Array) -> Scored:
        seen = complete(x)
        return Scored(seen.value - confidence, seen.fooled & (seen.value >= confidence))

    return judge


def _hinge_gradient(judged: Objective, x: Array) -> tuple[Scored, Array, Array]:
    """Give what is seen at x, the gradient of `max(-value, 0)`, and whether the value's own gradient is flat."""
    seen, gradient, flat = value_and_gradient(judged, x)
    return seen, jnp.where(seen.value < 0, -gradient, 0.0), flat


def _search(run: Run, nearest: Nearest, weight: ArrayLike, searches: int) -> Minimal:
    """Run with weight after weight, keeping the smallest of all that fools (Carlini and Wagner 2017)."""

    def attempt(carry: tuple[Weight, Nearest], _: None) -> tuple[tuple[Weight, Nearest], tuple[Array, Array, Array]]:
        weight, nearest = carry
        nearest, enough, last, sizes, flat = run(weight.at, nearest)
        return (weight.narrow(enough), nearest), (last, sizes, flat)

    dtype = nearest.size.dtype
    first = Weight(jnp.zeros((), dtype), jnp.full((), jnp.inf, dtype), jnp.asarray(weight, dtype))
    (_, found), (last, sizes, flat) = jax.lax.scan(attempt, (first, nearest), length=searches)
    return finish(found, last[-1], jnp.append(nearest.size, sizes.reshape(-1)), flat)


class _Box(NamedTuple):
    """The change of variables `x = middle + half tanh(w)`, which keeps x inside; without bounds `x = w`."""

    middle: Array
    half: Array
    inside: Array
    free: bool

    @classmethod
    def around(cls, where: Region, inside: Array, *, free: bool) -> "_Box":
        half, middle = (0.5 * (where.high + sign * where.low) for sign in (-1, 1))
        return cls(jnp.broadcast_to(middle, where.x.shape), jnp.broadcast_to(half, where.x.shape), inside, free)

    def point(self, w: Array) -> Array:
        return w if self.free else self.middle + self.half * jnp.tanh(w)

    def variable(self, x: Array) -> Array:
        """Invert `point`, first drawing x inside."""
        if self.free:
            return x
        share = jnp.where(self.half > 0, (x - self.middle) / jnp.where(self.half > 0, self.half, 1.0), 0.0)
        return jnp.arctanh(self.inside * jnp.clip(share, -1.0, 1.0))


def _adam(judged: Objective, where: Region, box: _Box, adam: optax.GradientTransformation, steps: int) -> Run:
    """Make the run of C&W: Adam on the variable w, from that of the clean example."""
    x = where.x

    def run(weight: Array, nearest: Nearest) -> tuple[Nearest, Array, Array, Array, Array]:
        def step(carry: tuple, _: None) -> tuple[tuple, tuple[Array, Array]]:
            w, moments, nearest, enough = carry
            point, back = jax.vjp(lambda w: where.point(box.point(w) - x), w)
            seen, hinge, flat = _hinge_gradient(judged, point)
            nearest = nearest.keep(point, seen.fooled, norms.l2.size)
            updates, moments = adam.update(back(2 * (point - x) + weight * hinge)[0], moments)
            return (w + updates, moments, nearest, enough | seen.fooled), (nearest.size, flat)

        w = box.variable(x)
        carry = w, adam.init(w), nearest, jnp.bool_(False)
        (w, _, nearest, enough), (sizes, flat) = jax.lax.scan(step, carry, length=steps)
        last = where.point(box.point(w) - x)
        fooled = judged(last).fooled
        nearest = nearest.keep(last, fooled, norms.l2.size)
        return nearest, enough | fooled, last, sizes.at[-1].set(nearest.size), flat

    return run


def carlini_wagner(
    objective: AnyObjective,
    x: Array,
    *,
    steps: int,
    searches: int = 9,
    weight: ArrayLike = 1e-3,
    learning_rate: ArrayLike = 1e-2,
    confidence: ArrayLike = 0.0,
    inside: ArrayLike = 0.999999,
    bounds: Bounds | None = UNIT,
) -> Minimal:
    """Minimise `||x' - x||_2^2 + c max(confidence - margin(x'), 0)` by Adam on w, x' = tanh(w) (Carlini, Wagner 2017).

    That is their L2 attack (section VI-A) with f6; c goes up tenfold until some iterate fools, then its bracket is
    halved. The objective must be positive where fooled: `objectives.margin`, or `target_margin` for the targeted attack
    (a cross entropy is not, and its hinge is never reached). Of every iterate of every run the smallest that fools is
    kept. The authors stop a run early where its loss stalls; under vmap that saves nothing and is left out. An entry at
    a bound begins far out in w, at arctanh(inside), and moves late: on handwritten digits 200 steps came to 1.43 times
    the smallest size known, 1.02 times with 1,000 steps, and as near with 200 and `inside=0.999`.

    >>> margin = lambda x: x.sum() - 1.0
    >>> found = carlini_wagner(margin, jnp.full(4, 0.2), steps=60, searches=6, learning_rate=0.05)
    >>> bool(0.1 <= found.size <= 0.102), bool(found.fooled)
    (True, True)

    Args:
        objective: of one example, positive where fooled.
        x: one example, floats of any shape.
        steps: of Adam a run, each a forward and a backward pass (the authors take 10,000, later 1,000).
        searches: values of c tried, one after the other.
        weight: the first c; it, the learning rate and the confidence may be traced.
        learning_rate: of Adam, in w: where the bounds are far apart, x moves farther.
        confidence: kappa, the margin that is asked for.
        inside: how far x is drawn towards the middle of the bounds at the start (the authors' value).
        bounds: of the input, finite; None for none (then w is x).

    Raises:
        ValueError: weight, rate or confidence below zero, bounds reversed, x outside them, no steps or searches.
    """
    _check(steps=steps, searches=searches, weight=weight, learning_rate=learning_rate, confidence=confidence)
    checks.between(0, 1, inside=inside)
    where, judged = everywhere(_confident(objective, confidence), x, norms.l2, bounds)
    adam = optax.adam(jnp.asarray(learning_rate, x.dtype))
    box = _Box.around(where, jnp.asarray(inside, x.dtype), free=bounds is None)
    return _search(_adam(judged, where, box, adam, steps), Nearest.begin(x, judged(x)), weight, searches)


def elastic(beta: ArrayLike) -> Size:
    """Make the elastic-net distance `beta ||d||_1 + ||d||_2^2`, EAD's EN rule.

    >>> round(float(elastic(0.1)(jnp.array([3.0, -4.0]))), 3)
    25.7
    """
    weight = jnp.asarray(beta)
    return lambda d: weight * norms.l1.size(d) + jnp.sum(d**2)


def shrink(z: Array, x: Array, beta: ArrayLike, low: Array, high: Array) -> Array:
    """Move z towards x by beta, to x itself if nearer, then clip (Chen et al. 2018)."""
    d = z - x
    return jnp.clip(x + jnp.sign(d) * jnp.maximum(jnp.abs(d) - beta, 0.0), low, high)


def _ista(judged: Objective, x: Array, forward: Callable, rule: Size, rates: Array, *, accelerated: bool) -> Run:
    """Make the run of EAD. forward: `(y, rate, weight) -> (the next x, whether the gradient was flat)`."""

    def run(weight: Array, nearest: Nearest) -> tuple[Nearest, Array, Array, Array, Array]:
        def step(carry: tuple, now: tuple[Array, Array]) -> tuple[tuple, tuple[Array, Array]]:
            (old, y, nearest, enough), (k, rate) = carry, now
            new, flat = forward(y, rate, weight)
            fooled = judged(new).fooled
            nearest = nearest.keep(new, fooled, rule)
            ahead = new + (k / (k + 3)) * (new - old) if accelerated else new
            return (new, ahead, nearest, enough | fooled), (nearest.size, flat)

        schedule = jnp.arange(len(rates), dtype=x.dtype), rates
        (last, _, nearest, enough), (sizes, flat) = jax.lax.scan(step, (x, x, nearest, jnp.bool_(False)), schedule)
        return nearest, enough, last, sizes, flat

    return run


def ead(
    objective: AnyObjective,
    x: Array,
    *,
    steps: int,
    beta: ArrayLike = 1e-3,
    searches: int = 9,
    weight: ArrayLike = 1e-3,
    learning_rate: ArrayLike = 1e-2,
    confidence: ArrayLike = 0.0,
    rule: Size = norms.l1.size,
    accelerated: bool = True,
    bounds: Bounds | None = UNIT,
) -> Minimal:
    """Minimise `c max(confidence - margin, 0) + beta ||x' - x||_1 + ||x' - x||_2^2` by (F)ISTA (Chen et al. 2018).

    `x_{k+1} = S_beta(y_k - rate_k gradient)`, `rate_k = rate sqrt(1 - k / steps)`; y is x, or with
    acceleration `x_{k+1} + k / (k + 3) (x_{k+1} - x_k)`. As published, and as the authors' code does, S_beta shrinks by
    beta itself; a proximal step would by `rate_k beta`. So the L1 weight that the iterates settle at is beta / rate_k
    (a tenth and more for the defaults), and the attack is sparser than its formula says. The search over c and what the
    objective must be are those of `carlini_wagner`.

    >>> margin = lambda x: 2 * x[0] + x[1] - 1.0
    >>> found = ead(margin, jnp.full(2, 0.2), steps=50, searches=6, beta=0.03)
    >>> bool(0.2 <= found.size < 0.202), bool(found.x[1] == 0.2)  # the second entry stays
    (True, True)

    Args:
        objective: of one example, positive where fooled.
        x: one example, floats of any shape.
        steps: of each run; a forward and a backward pass each, and one more forward pass with acceleration.
        beta: what is shrunk by; it, the weight, the rate and the confidence may be traced.
        searches: values of c tried, one after the other.
        weight: the first c.
        learning_rate: of the first step.
        confidence: kappa, the margin that is asked for.
        rule: what is kept smallest, and returned as size: `norms.l1.size`, or `elastic(beta)`.
        accelerated: FISTA, as the authors' code, or ISTA.
        bounds: of the input, None for none.

    Raises:
        ValueError: a number below zero, bounds reversed, x outside them, no steps or searches.
    """
    _check(steps=steps, searches=searches, weight=weight, learning_rate=learning_rate, confidence=confidence)
    checks.not_negative(beta=beta)
    where, judged = everywhere(_confident(objective, confidence), x, norms.l1, bounds)
    rates = jnp.asarray(learning_rate, x.dtype) * jnp.sqrt(1 - jnp.arange(steps, dtype=x.dtype) / steps)

    def forward(y: Array, rate: Array, weight: Array) -> tuple[Array, Array]:
        _, hinge, flat = _hinge_gradient(judged, y)
        return shrink(y - rate * (2 * (y - x) + weight * hinge), x, beta, where.low, where.high), flat

    run = _ista(judged, x, forward, rule, rates, accelerated=accelerated)
    return _search(run, Nearest.begin(x, judged(x)), weight, searches)
