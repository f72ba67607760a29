"""Smooth losses of linear outputs with an L2 penalty, by L-BFGS in coordinates where the curvature is about one.

For a loss whose second derivative in the output is at most c, the Hessian of the mean loss in the weight is at most `c
cov(x)` (Boehning 1992 for the softmax, c = 1/2). With the axes V and variances of the features and `scale = (c variance
+ penalty)^(-1/2)`, the unknown `u = V.T weight / scale` sees a Hessian of at most one, however badly the features are
scaled or correlated. The objective stays as it was: only its coordinates change, and the fit is turned back at the end.
V is taken from all rows, weighted or not, so that folds (a vmap over weights) share it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from interp_jax.core.linalg import add_row, centre_rows, eigh, matmul, reduce_columns
from interp_jax.core.types import Array, PyTree
from interp_jax.linear.fits import LinearFit, Rows

Loss = Callable[[Array, Array], Array]
"""`loss(outputs [K, N], y [K, N]) -> [N]`, convex and at least once differentiable; CPUs vectorise over rows."""


class Frame(NamedTuple):
    """Features in the solver's coordinates: `outputs = (x - middle) @ (scale u) + level`, `weight = axes @ (scale u)`.

    x: `[N, R]`, about `origin + rest [D]` (`centre_rows`), along `axes [D, R]`, R = min(N, D). middle: `[R]`, the
    weighted mean. scale: `[R]`. penalty: `[]`, alpha over the total weight.
    """

    x: Array
    origin: Array
    rest: Array
    axes: Array
    middle: Array
    scale: Array
    penalty: Array


def frame(rows: Rows, alpha: Array, curvature: float, *, centred: bool = True) -> Frame:
    """Turn the features to their axes and scale them; without `centred` they stay about zero."""
    x, total = rows.x, jnp.sum(rows.weights)
    zero = jnp.zeros_like(x[0])
    x, origin, rest = centre_rows(x, jnp.ones_like(rows.weights)) if centred else (x, zero, zero)
    x, basis = reduce_columns(x)
    turn = eigh(matmul(x.T, x))[1]
    x, axes = matmul(x, turn), matmul(basis, turn)
    middle = matmul(rows.weights, x) / total if centred else jnp.zeros_like(x[0])
    variance = matmul(rows.weights, add_row(x, -middle) ** 2) / total
    penalty = alpha / total
    stiffness = curvature * variance + penalty
    kept = stiffness > curvature * jnp.max(variance) * (4 * jnp.finfo(x.dtype).eps) ** 2
    scale = jnp.where(kept, jax.lax.rsqrt(jnp.where(kept, stiffness, 1)), 0)
    return Frame(x, origin, rest, axes, middle, scale, penalty)


class Outcome(NamedTuple):
    """Where a minimisation stopped: the point, steps taken, and |gradient| / value."""

    point: PyTree
    steps: Array
    gap: Array


class _State(NamedTuple):
    point: PyTree
    gradient: PyTree
    memory: PyTree
    gap: Array
    steps: Array
    stalled: Array


def minimise(
    value: Callable[[PyTree], Array], image: Callable[[PyTree], PyTree], start: PyTree, *, steps: int, tol: float
) -> Outcome:
    """Minimise `value(image(point))`, value convex and positive, image affine, by L-BFGS until |gradient| < tol value.

    The line search runs on the image: along a ray that is affine too, so a trial costs no product with the features.
    (optax's zoom evaluates the whole objective, and under vmap both branches of each of its conditions: 50 softmax fits
    took 7.7 times as long with it.) The gradient is held against the value because where a positive loss runs to zero
    at infinity (separable classes, no penalty), the gradient goes to zero as fast as the loss: that is not a minimum,
    and here does not look like one. A value under eps^2 stops it with a gap of NaN, as NaN does; a direction that does
    not descend, for rounding, stops it too.
    """
    solver = optax.scale_by_lbfgs(memory_size=10)

    def look(point: PyTree) -> tuple[PyTree, Array]:
        height, gradient = jax.value_and_grad(lambda point: value(image(point)))(point)
        low = height <= jnp.finfo(height.dtype).eps ** 2
        return gradient, jnp.where(low, jnp.nan, optax.tree.norm(gradient) / height)

    def step(state: _State) -> _State:
        uphill, memory = solver.update(state.gradient, state.memory, state.point)
        direction = jax.tree.map(jnp.negative, uphill)
        origin, ray = jax.jvp(image, (state.point,), (direction,))
        size = line_search(lambda t: value(jax.tree.map(lambda a, b: a + t * b, origin, ray)))
        point = jax.tree.map(lambda a, b: a + size * b, state.point, direction)
        gradient, gap = look(point)
        return _State(point, gradient, memory, gap, state.steps + 1, size == 0)

    def unfinished(state: _State) -> Array:
        return (state.gap >= tol) & (state.steps < steps) & ~state.stalled

    gradient, gap = look(start)
    first = _State(start, gradient, solver.init(start), gap, jnp.int32(0), jnp.bool_(False))
    last = jax.lax.while_loop(unfinished, step, first)
    return Outcome(last.point, last.steps, last.gap)


def line_search(height: Callable[[Array], Array], *, steps: int = 20, share: float = 0.5) -> Array:
    """Step along a ray until a convex `height(t)` is lower and its slope a share of what it was; 0 if uphill.

    Newton on the slope from t = 1, inside the bracket that the signs of slopes leave. Lower means to rounding: near the
    minimum the slope can be told and the height cannot. Should no step do, the longest known to descend all the way is
    taken.
    """

    def look(t: Array) -> tuple[Array, Array, Array]:
        one = jnp.ones_like(t)
        (value, slope), (_, curvature) = jax.jvp(lambda t: jax.jvp(height, (t,), (one,)), (t,), (one,))
        return value, slope, curvature

    def accepted(view: tuple[Array, Array, Array]) -> Array:
        slack = 8 * jnp.finfo(top.dtype).eps * jnp.abs(top)
        return (view[0] <= top + slack) & (jnp.abs(view[1]) <= share * jnp.abs(steepest))

    def unfinished(state: tuple) -> Array:
        return ~accepted(state[3]) & (state[4] < steps)

    def step(state: tuple) -> tuple:
        t, low, high, (_, slope, curvature), count = state
        low, high = jnp.where(slope < 0, t, low), jnp.where(slope < 0, high, t)
        newton = jnp.minimum(t - slope / curvature, 10 * t)
        between = jnp.where(jnp.isinf(high), 4 * t, (low + high) / 2)
        t = jnp.where((newton > low) & (newton < high), newton, between)
        return t, low, high, look(t), count + 1

    dtype = jax.eval_shape(height, 0.0).dtype
    zero, one = jnp.zeros((), dtype), jnp.ones((), dtype)
    top, steepest, _ = look(zero)
    start = (one, zero, jnp.full((), jnp.inf, dtype), look(one), jnp.int32(0))
    t, low, _, view, _ = jax.lax.while_loop(unfinished, step, start)
    return jnp.where(steepest < 0, jnp.where(accepted(view), t, low), 0)


def fit_loss(
    loss: Loss, rows: Rows, alpha: Array, *, curvature: float, start: Array, centred: bool, steps: int, tol: float
) -> LinearFit:
    """Minimise `sum_n weights_n loss_n + alpha / 2 |weight|^2` over weight `[D, K]` and, if `centred`, a level `[K]`.

    Without `centred` there is no level: what the caller wants of one is a column of the features, and penalised.
    """
    view = frame(rows, alpha, curvature, centred=centred)
    share = rows.weights / jnp.sum(rows.weights)
    y = rows.y.T
    level_scale = curvature**-0.5 if centred else 0.0

    def image(point: tuple[Array, Array]) -> tuple[Array, Array]:
        weight, level = view.scale[:, None] * point[0], start + level_scale * point[1]
        return matmul(weight.T, view.x.T) + (level - matmul(view.middle, weight))[:, None], weight

    def value(image: tuple[Array, Array]) -> Array:
        outputs, weight = image
        return matmul(share, loss(outputs, y)) + 0.5 * view.penalty * jnp.sum(weight**2)

    zero = jnp.zeros((view.x.shape[1], len(start)), view.x.dtype), jnp.zeros_like(start)
    (u, v), count, gap = minimise(value, image, zero, steps=steps, tol=tol)
    turned = view.scale[:, None] * u
    weight = matmul(view.axes, turned)
    return LinearFit(
        weight=weight,
        level=start + level_scale * v - matmul(view.middle, turned) - matmul(view.rest, weight),
        centre=view.origin,
        converged=gap < tol,
        steps=count,
        gap=gap,
    )
