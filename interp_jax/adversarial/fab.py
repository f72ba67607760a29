"""FAB: project onto the linearised boundary inside the bounds, with a bias towards the clean example."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from interp_jax.adversarial import hyperplane, norms, objectives
from interp_jax.adversarial.attack import UNIT, Attack, Bounds, Region, guarded, region
from interp_jax.adversarial.minimal import (
    Minimal,
    Nearest,
    closest,
    finish,
    in_ball,
    leaders,
    linearise,
    shorten,
    smallest,
)
from interp_jax.adversarial.norms import Norm
from interp_jax.adversarial.objectives import Objective, Predict
from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key


def _rivals(predict: Predict, x: Array, label: ArrayLike, target: ArrayLike | None) -> tuple[Array, Array]:
    """Give the target, or all classes but the label; and whether they are classes."""
    classes = jax.eval_shape(predict, x).size
    if target is None:
        return (jnp.asarray(label) + 1 + jnp.arange(classes - 1)) % classes, jnp.bool_(True)
    rivals = jnp.asarray(target)[None]
    return rivals, jnp.all((rivals >= 0) & (rivals < classes))


def _draw(where: Region, key: Key, radius: Array) -> Array:
    """Draw a point at the radius from x, which the bounds may bring nearer."""
    d = where.norm.sample(key, where.x.shape, jnp.ones(())).astype(where.x.dtype)
    size = where.norm.size(d)
    return where.point(d * radius / jnp.where(size > 0, size, 1.0))


class _Mix(NamedTuple):
    """The numbers alpha_max, eta and beta of the paper."""

    bias: Array
    extrapolation: Array
    backward: Array

    @classmethod
    def checked(cls, bias: ArrayLike, extrapolation: ArrayLike, backward: ArrayLike, dtype: jnp.dtype) -> "_Mix":
        """Refuse shares outside [0, 1], and an extrapolation outside [1, 2]."""
        checks.between(0, 1, bias=bias, backward=backward)
        checks.between(1, 2, extrapolation=extrapolation)
        return cls(*(jnp.asarray(value, dtype) for value in (bias, extrapolation, backward)))

    def between(self, point: Array, clean: Array, d: Array, d_clean: Array, norm: Norm) -> Array:
        """Mix both extrapolated projections, the clean one's share being its relative nearness."""
        size, size_clean = norm.size(d), norm.size(d_clean)
        total = size + size_clean
        share = jnp.minimum(jnp.where(total > 0, size / jnp.where(total > 0, total, 1.0), 0.0), self.bias)
        return (1 - share) * (point + self.extrapolation * d) + share * (clean + self.extrapolation * d_clean)


def _step(predict: Predict, judged: Objective, label: ArrayLike, rivals: Array, where: Region, mix: _Mix) -> Callable:
    """Make the step of a scan over `(point, nearest)`."""
    x, norm = where.x, where.norm

    def step(carry: tuple[Array, Nearest], _: None) -> tuple[tuple[Array, Nearest], tuple[Array, Array, Array]]:
        point, nearest = carry
        planes = linearise(predict, point, label, rivals)
        gap, normal, _distance = closest(planes, norm)

        def project(at: Array) -> Array:
            away = gap + jnp.sum(normal * (at - point))
            return hyperplane.reach(normal, -away, where.low - at, where.high - at, norm=norm)

        d, d_clean = jax.vmap(project)(jnp.stack([point, x]))
        moved = jnp.clip(mix.between(point, x, d, d_clean, norm), where.low, where.high)
        fooled = judged(moved).fooled
        nearest = nearest.keep(moved, fooled, norm.size)
        drawn_back = where.point(mix.backward * (moved - x))
        return (jnp.where(fooled, drawn_back, moved), nearest), (moved, nearest.size, planes.flat)

    return step


def _start(step: Callable, where: Region, key: Key, steps: int) -> Callable:
    """Make the step of a scan over starts: the first from x, the others from a draw."""

    def start(nearest: Nearest, i: Array) -> tuple[Nearest, tuple[Array, Array, Array]]:
        radius = jnp.where(nearest.size < where.eps, nearest.size, where.eps) / 2
        drawn = _draw(where, jax.random.fold_in(keys.stream(key, "start"), i), radius)
        carry = jnp.where(i == 0, where.x, drawn), nearest
        (_, nearest), (points, sizes, flat) = jax.lax.scan(step, carry, length=steps)
        return nearest, (points[-1], sizes, flat)

    return start


def _clean(judged: Objective, x: Array, known: Array) -> Nearest:
    """Begin at x; where the target is no class, undefined for good."""
    seen = judged(x)
    return Nearest.begin(x, seen._replace(value=jnp.where(known, seen.value, jnp.nan)))


def fab(
    predict: Predict,
    x: Array,
    label: ArrayLike,
    key: Key,
    *,
    eps: ArrayLike,
    steps: int,
    restarts: int = 1,
    search: int = 6,
    norm: Norm = norms.linf,
    bounds: Bounds | None = UNIT,
    target: ArrayLike | None = None,
    bias: ArrayLike = 0.1,
    extrapolation: ArrayLike = 1.05,
    backward: ArrayLike = 0.9,
) -> Minimal:
    """Look for the smallest perturbation along the boundary (Croce and Hein 2020, algorithm 1).

    `x <- C((1 - a)(x + r d) + a (clean + r d_clean))`: d and d_clean lead from x and the clean example to the nearest
    linearised boundary inside the bounds, `a = min(|d| / (|d| + |d_clean|), bias)`, C clips. A point that fools is kept
    if nearer, and drawn back: `x <- clean + backward (x - clean)`. The first start is x, the others lie at
    `min(eps, smallest size so far) / 2` from it. Only they depend on eps: what is found beyond it is returned too.

    >>> predict = lambda x: jnp.stack([x.sum(), jnp.ones(())])
    >>> found = fab(predict, jnp.full(4, 0.5), 0, jax.random.key(0), eps=0.5, steps=5)
    >>> print(f"{found.size:.4f}", found.fooled)
    0.2500 True

    Args:
        predict: one example to logits.
        x: one example, floats of any shape.
        label: the class to be left; it and all numbers may be traced.
        key: of the restarts.
        eps: radius of the ball whose inside the restarts sample.
        steps: planes a start; each costs two forward passes and a backward pass a rival.
        restarts: number of starts, one after the other.
        search: cuts of the final search towards the clean example (the paper has 3); the curve's last entry.
        norm: l1, l2 or linf.
        bounds: of the input, None for none.
        target: the one rival approached (one backward pass a step); any wrong class will do. If it is none, NaN.
        bias: alpha_max.
        extrapolation: eta (r above), 1 or more.
        backward: beta.

    Raises:
        ValueError: eps below zero, bounds reversed, x outside them, no steps, a share outside [0, 1], another norm.
    """
    checks.whole(1, steps=steps, restarts=restarts)
    checks.whole(0, search=search)
    where = region(x, eps, norm, bounds)
    judged = guarded(objectives.margin(predict, label), where)
    rivals, known = _rivals(predict, x, label, target)
    mix = _Mix.checked(bias, extrapolation, backward, x.dtype)
    start = _start(_step(predict, judged, label, rivals, where, mix), where, key, steps)
    clean = _clean(judged, x, known)
    nearest, (last, sizes, flat) = jax.lax.scan(start, clean, jnp.arange(restarts))
    nearest = shorten(judged, where, nearest, steps=search)
    curve = jnp.concatenate([clean.size[None], sizes.reshape(-1), nearest.size[None]])
    return finish(nearest, last[-1], curve, flat)


def fab_t(
    predict: Predict,
    x: Array,
    label: ArrayLike,
    key: Key,
    *,
    eps: ArrayLike,
    targets: int = 9,
    norm: Norm = norms.linf,
    bounds: Bounds | None = UNIT,
    **settings: Any,
) -> Attack:
    """Run `fab` towards each of the likeliest other classes at x, and say what that means at one radius: FAB-T.

    One target follows the other, in the memory of one attack. For the sizes themselves, vmap `fab` over targets and
    take `minimal.smallest`.

    Args:
        predict: one example to logits.
        x: one example, floats of any shape.
        label: the class to be left.
        key: of the restarts.
        eps: the ball's radius.
        targets: how many classes to try, at most `K - 1` are.
        norm: l1, l2 or linf.
        bounds: of the input, None for none.
        **settings: of `fab`: steps, restarts, search, bias, extrapolation, backward.

    Raises:
        ValueError: as `fab`; no targets.
    """
    checks.whole(1, targets=targets)
    order = leaders(predict(x), label, targets)

    def one(i: Array) -> Minimal:
        own = jax.random.fold_in(key, i)
        return fab(predict, x, label, own, eps=eps, target=order[i], norm=norm, bounds=bounds, **settings)

    found = smallest(jax.lax.map(one, jnp.arange(order.size)))
    return in_ball(objectives.margin(predict, label), x, found, eps=eps, norm=norm, bounds=bounds)
