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

from interp_jax.core.linalg import add_row, centre_rows, matmul, reduce_columns
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
    turn = jnp.linalg.eigh(matmul(x.T, x))[1]
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


def minimise(objective: Callable[[PyTree], Array], start: PyTree, *, steps: int, tol: float) -> Outcome:
    """Minimise a positive function by L-BFGS until |gradient| < tol value, or for `steps`.

    The gradient is held against the value because where a positive loss runs to zero at infinity (separable classes, no
    penalty), the gradient goes to zero as fast as the loss: that is not a minimum, and here does not look like one. A
    value under eps^2 stops it with a gap of NaN, as NaN does.
    """
    search = optax.scale_by_zoom_linesearch(max_linesearch_steps=20, initial_guess_strategy="one")
    solver = optax.lbfgs(memory_size=10, linesearch=search)
    remembered = optax.value_and_grad_from_state(objective)

    def gap(state: PyTree) -> Array:
        value = optax.tree.get(state, "value")
        ratio = optax.tree.norm(optax.tree.get(state, "grad")) / value
        return jnp.where(value > jnp.finfo(value.dtype).eps ** 2, ratio, jnp.nan)

    def step(carry: tuple) -> tuple:
        point, state, count = carry
        value, gradient = remembered(point, state=state)
        update, state = solver.update(gradient, state, point, value=value, grad=gradient, value_fn=objective)
        return optax.apply_updates(point, update), state, count + 1

    def unfinished(carry: tuple) -> Array:
        _, state, count = carry
        return (count == 0) | ((count < steps) & (gap(state) >= tol))

    point, state, count = jax.lax.while_loop(unfinished, step, (start, solver.init(start), jnp.int32(0)))
    return Outcome(point, count, gap(state))


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

    def objective(point: tuple[Array, Array]) -> Array:
        u, v = point
        weight = view.scale[:, None] * u
        level = start + level_scale * v
        outputs = matmul(weight.T, view.x.T) + (level - matmul(view.middle, weight))[:, None]
        return matmul(share, loss(outputs, y)) + 0.5 * view.penalty * jnp.sum(weight**2)

    zero = jnp.zeros((view.x.shape[1], len(start)), view.x.dtype), jnp.zeros_like(start)
    (u, v), count, gap = minimise(objective, zero, steps=steps, tol=tol)
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
