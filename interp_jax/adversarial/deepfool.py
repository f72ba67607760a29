"""DeepFool: walk to the nearest linearised decision boundary until the prediction changes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from interp_jax.adversarial import hyperplane, norms, objectives
from interp_jax.adversarial.attack import UNIT, Bounds, Region
from interp_jax.adversarial.minimal import Minimal, Nearest, Planes, closest, everywhere, finish, leaders, linearise
from interp_jax.adversarial.norms import Norm
from interp_jax.adversarial.objectives import Objective, Predict
from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike


def _step(judged: Objective, where: Region, reach: Array, look: Callable[[Array], Planes]) -> Callable[[tuple], tuple]:
    """Make the body of the walk over `(i, sum of steps, nearest, curve, flat)`; look: gives the planes at a point."""

    def step(state: tuple) -> tuple:
        i, total, nearest, curve, flat = state
        before = where.point(reach * total)
        planes = look(before)
        gap, normal, _distance = closest(planes, where.norm)
        total = total + hyperplane.reach(normal, -gap, where.low - before, where.high - before, norm=where.norm)
        point = where.point(reach * total)
        nearest = nearest.keep(point, judged(point).fooled, where.norm.size)
        return i + 1, total, nearest, curve.at[i + 1].set(nearest.size), flat + planes.flat

    return step


def deepfool(
    predict: Predict,
    x: Array,
    label: ArrayLike,
    *,
    steps: int,
    overshoot: ArrayLike = 0.02,
    candidates: int = 9,
    norm: Norm = norms.l2,
    bounds: Bounds | None = UNIT,
) -> Minimal:
    """Sum the steps `|gap| / ||w||_q  ascend(w)` to the nearest plane (Moosavi-Dezfooli et al. 2016, algorithm 2).

    `w` and `gap` are the gradient and the value of the nearest rival's logit minus the label's. With two classes this
    is algorithm 1. As in the authors' code every point is `x + (1 + overshoot) sum`, the walk ends at the first one
    that fools, and the rivals are chosen at x; the 1e-4 that it adds to every distance is left out. Where the bounds
    cut a step, the smallest step onto the plane inside them is taken (`hyperplane.reach`). The paper has none; the
    peers clip afterwards, which in L1, where a step moves one entry, does not go on once that entry is at its bound.

    On a linear model without bounds the size is `(1 + overshoot)` times the smallest. Elsewhere it may be far from it:
    nothing draws the walk back to x, see `fab`.

    >>> found = deepfool(lambda x: jnp.stack([x.sum(), 1.0]), jnp.ones(4), 0, steps=3, overshoot=0.02)
    >>> print(f"{found.size:.3f}", found.fooled)
    1.530 True

    Args:
        predict: one example to logits.
        x: one example, floats of any shape.
        label: the class to be left; may be traced.
        steps: planes taken at most; each costs a forward pass and as many backward passes as there are rivals.
        overshoot: how far behind the plane, as a share of the way; at 0 rounding decides.
        candidates: rivals, those with the largest logits at x (the authors use 9 and the label).
        norm: whose steepest ascent is taken: l2, linf or l1.
        bounds: of the input, None for none.

    Raises:
        ValueError: overshoot below zero, bounds reversed, x outside them, no steps or candidates, a norm with no dual.
    """
    checks.whole(1, steps=steps, candidates=candidates)
    checks.not_negative(overshoot=overshoot)
    where, judged = everywhere(objectives.margin(predict, label), x, norm, bounds)
    reach = 1 + jnp.asarray(overshoot, x.dtype)
    rivals = leaders(predict(x), label, candidates)
    start = Nearest.begin(x, judged(x))
    step = _step(judged, where, reach, lambda point: linearise(predict, point, label, rivals))

    def go_on(state: tuple) -> Array:
        i, _, nearest, _, _ = state
        return (i < steps) & jnp.isinf(nearest.size)

    state = jnp.int32(0), jnp.zeros_like(x), start, jnp.full(steps + 1, start.size), jnp.int32(0)
    taken, total, nearest, curve, flat = jax.lax.while_loop(go_on, step, state)
    curve = jnp.where(jnp.arange(steps + 1) > taken, nearest.size, curve)
    return finish(nearest, where.point(reach * total), curve, flat / jnp.maximum(taken, 1))
