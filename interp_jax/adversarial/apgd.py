"""Auto-PGD: projected gradient ascent that sets its own step size, and its targeted form."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.adversarial import norms, objectives
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
from interp_jax.adversarial.objectives import Objective, Predict, Scored
from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike, Key, Numpy

AnyObjective = Callable[[Array], Scored | Array]
MOMENTUM = 0.75
"""Alpha, the share of the new step in a move; the rest is the move before."""
Radii = Sequence[tuple[float, int]]
"""Balls searched one after the other: radius in units of eps, and percent of the steps."""
AT_ONCE: Radii = ((1.0, 100),)
NARROWING: Radii = ((3.0, 30), (2.0, 30), (1.0, 40))
"""Croce and Hein's (2021, section 4), for L1: the best of a larger ball is a place to enter the smaller one from.

It is on images and convolutions: of Fashion-MNIST, adversarially trained, at L1 10, 41.5% stood APGD-CE and 37.0% it
and APGD-T, against 47.5 and 40.8% at one radius (4 Wong-Kolter nets, 50 steps). It need not be: of digits, L1 2, 23.8
and 18.9%, against 21.5 and 18.6% (8 MLPs, 100 steps); AutoAttack's own code, too, loses by it there, 28 against 23.5%.
"""


class _Top(NamedTuple):
    """The iterate of the largest objective, fooled or not: searches restart from it."""

    d: Array
    gradient: Array
    value: Array

    def keep(self, new: "_Top") -> "_Top":
        return _choose(new.value > self.value, new, self)


class _Search(NamedTuple):
    """d: the iterate. before, value: the one before it and its objective. size: of a step. notes: of the rule."""

    d: Array
    before: Array
    value: Array
    top: _Top
    best: Best
    size: Array
    notes: Any


class _Rule(NamedTuple):
    """How a search moves, and adapts.

    windows: `[steps]`, at a checkpoint the number of steps since the one before, elsewhere 0. size, notes: to begin
    with. adapt: `(search, rose, t, window) -> (restart, size, notes)`. move: `(search, gradient, t) -> d`.
    """

    windows: Numpy
    size: Array
    notes: Any
    adapt: Callable[[_Search, Array, Array, Array], tuple[Array, Array, Any]]
    move: Callable[[_Search, Array, Array], Array]


def _choose(flag: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(flag, a, b), new, old)


def checkpoints(steps: int) -> list[int]:
    """Give the iterations below `steps` at which the step size is reconsidered (Croce and Hein 2020, section 3.1).

    `w_j = ceil(p_j steps)`, `p_0 = 0`, `p_1 = .22`, `p_{j+1} = p_j + max(p_j - p_{j-1} - .03, .06)`, counted in
    hundredths, which rounding does not move.

    >>> checkpoints(100)
    [0, 22, 41, 57, 70, 80, 87, 93, 99]
    """
    checks.whole(1, steps=steps)
    places, gap = [0, 22], 22
    while places[-1] < 100:
        gap = max(gap - 3, 6)
        places.append(places[-1] + gap)
    return sorted({-(-place * steps // 100) for place in places if place * steps <= 100 * (steps - 1)})


def _windows(points: list[int], steps: int) -> Numpy:
    windows = np.zeros(steps, np.int32)
    for early, late in itertools.pairwise(points):
        windows[late] = late - early
    return windows


def _halving(where: Region, steps: int, rho: ArrayLike) -> _Rule:
    """Step along the steepest ascent with momentum; halve and restart where few steps rise or none sets a record."""

    def adapt(search: _Search, rose: Array, t: Array, window: Array) -> tuple[Array, Array, Any]:
        rises, record, halved = search.notes
        rises, due = rises + rose, window > 0
        few = rises < jnp.asarray(rho, where.eps.dtype) * window
        stuck = ~halved & (search.top.value == record)
        halve = due & (few | stuck)
        notes = (
            jnp.where(due, 0, rises),
            jnp.where(due | (t == 0), search.top.value, record),
            jnp.where(due, halve, halved),
        )
        return halve, jnp.where(halve, 0.5 * search.size, search.size), notes

    def move(search: _Search, gradient: Array, t: Array) -> Array:
        d = search.d
        alpha = jnp.where(t == 0, 1.0, MOMENTUM).astype(d.dtype)
        ahead = where.confine(d + search.size * where.norm.ascend(gradient)) - d
        return where.confine(d + alpha * ahead + (1 - alpha) * (d - search.before))

    notes = jnp.int32(0), jnp.zeros_like(where.eps), jnp.bool_(False)
    return _Rule(_windows(checkpoints(steps), steps), 2 * where.eps, notes, adapt, move)


def _two_thirds(count: Array) -> Array:
    return jnp.maximum((2 * count + 2) // 3, 1)


def _support(d: Array) -> Array:
    return jnp.sum(d != 0, dtype=jnp.int32)


def _sparse(where: Region, steps: int, warm: Array | None) -> _Rule:
    """Step along the largest entries of the gradient, two thirds as many as the best perturbation has.

    (Croce and Hein 2021, section 4: a fifth of the entries, or two thirds of those of a warm start, and steps of eps at
    first; at every 4% of the steps, back to eps and to the best if its support has shrunk by a twentieth, else steps
    shorter by 1.5, down to eps / 10.)
    """
    places = where.x.size

    def adapt(search: _Search, rose: Array, t: Array, window: Array) -> tuple[Array, Array, Any]:
        del rose, t
        count, support = search.notes
        now, due = _support(search.top.d), window > 0
        shrunk = now < 0.95 * support
        shorter = jnp.clip(search.size / 1.5, 0.1 * where.eps, where.eps)
        size = jnp.where(due, jnp.where(shrunk, where.eps, shorter), search.size)
        return due & shrunk, size, _choose(due, (_two_thirds(now), now), (count, support))

    def move(search: _Search, gradient: Array, t: Array) -> Array:
        del t
        sizes = jnp.abs(gradient)
        least = jnp.sort(sizes.reshape(-1))[places - search.notes[0]]
        signs = jnp.where(sizes >= least, jnp.sign(gradient), 0.0)
        return where.confine(search.d + search.size * signs / jnp.maximum(jnp.sum(jnp.abs(signs)), 1.0))

    every = max(steps * 4 // 100, 1)
    notes = jnp.int32((places + 4) // 5), jnp.int32(places)
    if warm is not None:
        notes = _two_thirds(_support(warm)), _support(warm)
    return _Rule(_windows(list(range(0, steps, every)), steps), where.eps, notes, adapt, move)


def _step(where: Region, judged: Objective, rule: _Rule) -> Callable[[_Search, tuple], tuple[_Search, tuple]]:
    """Make the body of the scan: look, keep, adapt, move."""

    def step(search: _Search, now: tuple[Array, Array]) -> tuple[_Search, tuple[Array, Array]]:
        t, window = now
        point = where.point(search.d)
        seen, gradient, flat = value_and_gradient(judged, point)
        here = _Top(search.d, gradient, seen.value)
        search = search._replace(top=search.top.keep(here), best=search.best.keep(point, seen))
        restart, size, notes = rule.adapt(search, seen.value > search.value, t, window)
        d, gradient, value = _choose(restart, search.top, here)
        search = search._replace(d=d, size=size, notes=notes)
        moved = rule.move(search, gradient, t)
        return search._replace(d=moved, before=d, value=value), (seen.value, flat)

    return step


def _phases(radii: Radii, steps: int) -> list[tuple[float, int]]:
    """Give the radii with whole numbers of steps, `steps` in all; all but the last are rounded up."""
    counts = [-(-percent * steps // 100) for _, percent in radii[:-1]]
    counts.append(steps - sum(counts))
    if not radii or radii[-1][0] != 1 or min(counts) < 1 or sum(percent for _, percent in radii) != 100:
        raise ValueError(
            f"want radii that end at 1, with 100 percent of at least as many steps, got {radii=}, {steps=}"
        )
    return [(factor, count) for (factor, _), count in zip(radii, counts, strict=True)]


def _ascend(judged: Objective, where: Region, rule: _Rule, start: Array) -> tuple[_Search, tuple[Array, Array]]:
    """Run one search; give its end, the objectives and whether gradients were flat."""
    infinity = jnp.full((), jnp.inf, start.dtype)
    top = _Top(start, jnp.zeros_like(start), -infinity)
    search = _Search(start, start, infinity, top, Best.none(start), rule.size, rule.notes)
    schedule = jnp.arange(len(rule.windows)), jnp.asarray(rule.windows)
    return jax.lax.scan(_step(where, judged, rule), search, schedule)


def _narrow(
    judged: Objective, where: Region, phases: list[tuple[float, int]], start: Array, rho: ArrayLike
) -> tuple[_Search, Array, Array]:
    """Search ball after ball, from the best of the one before; give the last one's end, all values, all flat."""
    done = []
    for factor, count in phases:
        ball = where._replace(eps=factor * where.eps)
        warm = ball.confine(done[-1][0].top.d) if done else None
        rule = _sparse(ball, count, warm) if where.norm == norms.l1 else _halving(ball, count, rho)
        done.append(_ascend(judged, ball, rule, start if warm is None else warm))
    curve, flat = (jnp.concatenate(parts) for parts in zip(*(seen for _, seen in done), strict=True))
    return done[-1][0], curve, flat


def apgd(
    objective: AnyObjective,
    x: Array,
    key: Key,
    *,
    eps: ArrayLike,
    steps: int,
    norm: Norm = norms.linf,
    bounds: Bounds | None = UNIT,
    random_start: bool = True,
    rho: ArrayLike = 0.75,
    radii: Radii = AT_ONCE,
) -> Attack:
    """Ascend with a step that starts at 2 eps and halves by itself (Croce and Hein 2020, algorithm 1).

    `z = P(d + size ascend(g))`, `d <- P(d + alpha (z - d) + (1 - alpha) (d - d_before))`. At a checkpoint the size is
    halved, and the search goes on from the iterate of the largest objective, if fewer than `rho` of the steps since the
    last checkpoint rose, or if size and largest objective are what they were there. In the L1 ball steps are sparse and
    the rule is that of Croce and Hein (2021).

    The checkpoint comes before the move, as in the authors' code (the paper prints it one iterate later). That code
    projects on the L2 ball, then clips; starts on the sphere; halves at exactly `rho`; and gives x back for a failure.

    >>> attack = apgd(lambda x: -((x - 0.3) ** 2).sum(), jnp.zeros(2), jax.random.key(0), eps=0.5, steps=20)
    >>> bool(jnp.abs(attack.x - 0.3).max() < 0.01)
    True

    Args:
        objective: of one example, from `objectives` (cross_entropy: APGD-CE; dlr: APGD-DLR), or any scalar function.
        x: one example, floats of any shape.
        key: of the random start.
        eps: the ball's radius; it may be traced, and differ between examples.
        steps: gradients taken; the objective is evaluated once more, at the end. Checkpoints depend on it alone.
        norm: of the ball, linf, l2 or l1.
        bounds: of the input, None for none.
        random_start: begin at a uniform draw from the (first) ball, and not at x.
        rho: share of steps that must rise; it does not enter in L1.
        radii: `NARROWING` begins in larger balls; each search starts at the best of the one before, projected. Only the
            last counts for what is given back, but for the curve.

    Raises:
        ValueError: eps below zero, bounds reversed, x outside them, no steps, rho outside [0, 1] (where these are not
            traced), a norm whose balls are not convex, radii that do not end at 1.
    """
    checks.whole(1, steps=steps)
    checks.between(0, 1, rho=rho)
    if norm.dual is None:
        raise ValueError("want norm linf, l2 or l1, got one without a dual (l0), whose balls are not convex")
    where, phases = region(x, eps, norm, bounds), _phases(radii, steps)
    judged, widest = guarded(objective, where), where._replace(eps=phases[0][0] * where.eps)
    start = widest.draw(key) if random_start else jnp.zeros_like(x)
    search, curve, flat = _narrow(judged, where, phases, start, rho)
    last = where.point(search.d)
    seen = judged(last)
    return finish(search.best.keep(last, seen), last, jnp.append(curve, seen.value), flat)


def apgd_t(predict: Predict, x: Array, label: ArrayLike, key: Key, *, targets: int = 9, **settings: Any) -> Attack:
    """Run `apgd` towards each of the likeliest other classes at x, and keep the best outcome: APGD-T.

    The objective is the targeted DLR (Croce and Hein 2020, eq. 7) or, below four classes, where that is undefined,
    its numerator, the target's logit minus the label's. Any wrong prediction counts as fooled. One target follows
    the other, in the memory of one attack.

    Args:
        predict: maps one example to logits `[K]`.
        x: one example.
        label: its class, may be traced.
        key: of the random starts.
        targets: how many classes to try, at most `K - 1` are.
        **settings: of `apgd`: eps, steps, norm, bounds, random_start, rho.

    Raises:
        ValueError: as `apgd`; no targets; fewer than two classes.
    """
    checks.whole(1, targets=targets)
    logits = predict(x)
    chex.assert_rank(logits, 1)
    if logits.size < 2:
        raise ValueError(f"want at least 2 classes, got logits of shape {logits.shape}")
    others = jnp.where(jnp.arange(logits.size) == label, -jnp.inf, logits)
    order = jax.lax.top_k(others, min(targets, logits.size - 1))[1]
    towards = objectives.target_dlr if logits.size > 3 else objectives.difference

    def one(i: Array) -> Attack:
        return apgd(towards(predict, label, order[i]), x, jax.random.fold_in(key, i), **settings)

    return strongest(jax.lax.map(one, jnp.arange(order.size)))
