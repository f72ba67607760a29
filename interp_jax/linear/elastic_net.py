"""Lasso and elastic net by coordinate descent on a compressed design, stopped by the duality gap.

The objective is scikit-learn's (and glmnet's), a mean over rows (weights are relative):

    sum_n weights_n |y_n - (x_n - centre) weight - level|^2 / (2 sum weights) + alpha (l1_ratio |weight|_1 + (1 -
    l1_ratio) / 2 |weight|^2)

so that `ridge.fit(x, y, N alpha)` equals `l1_ratio=0`. The squared loss depends on the rows only through the triangle
of a QR of `[x, y]`: a sweep costs D^2 and not N D, and, unlike a descent on the Gram matrix, the condition number is
not squared.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.core.checks import between, not_negative, positive, whole
from interp_jax.core.linalg import centre_rows, compress_rows, matmul
from interp_jax.core.types import Array, ArrayLike
from interp_jax.linear.fits import LinearFit, prepare, seal


def fit(
    x: Array,
    y: Array,
    alpha: ArrayLike,
    *,
    l1_ratio: ArrayLike = 1.0,
    weights: Array | None = None,
    steps: int = 1000,
    tol: float = 1e-6,
) -> LinearFit:
    """Fit the elastic net (by default the lasso) with a free intercept.

    x: `[N, D]`. y: `[N]` or `[N, K]`; the penalty is separate for each target (not the group lasso). alpha, l1_ratio:
    `[]`. weights: `[N]`, not negative; zero deletes the row. steps: sweeps over all D coordinates, at most.

    `gap` is the largest duality gap of a target over its objective at weight zero; `converged` is `gap < tol`
    (scikit-learn's tol has the same scale, times two). Features are not standardised, as in scikit-learn and unlike
    glmnet: the penalty sees their units.

    >>> x = jnp.array([[0.0], [1.0], [2.0]])
    >>> found = jax.jit(fit)(x, 4 * x[:, 0] + 1, 1.0)
    >>> found.converged.item(), round(found.weight.item(), 3)
    (True, 2.5)
    """
    not_negative(alpha=alpha)
    between(0, 1, l1_ratio=l1_ratio)
    positive(tol=tol)
    whole(1, steps=steps)
    chex.assert_rank([alpha, l1_ratio], 0)
    rows = prepare(x, y, alpha, weights)
    ratio = jnp.asarray(l1_ratio, rows.x.dtype)
    valid = rows.valid & (ratio >= 0) & (ratio <= 1)
    x, centre, rest = centre_rows(rows.x, rows.weights)
    y, level, more = centre_rows(rows.y, rows.weights)
    root = jnp.sqrt(rows.weights / jnp.sum(rows.weights))[:, None]
    width = rows.x.shape[1]
    short = compress_rows(root * jnp.concatenate([x, y], 1))
    lasso, square = alpha * ratio, alpha * (1 - ratio)
    state = descend(
        short[:, :width], short[:, width:], jnp.where(valid, lasso, 1), jnp.where(valid, square, 1), steps, tol
    )
    level = level + (more - matmul(rest, state.weight))
    return seal(LinearFit(state.weight, level, centre, state.gap < tol, state.sweeps, state.gap), valid)


class State(NamedTuple):
    """weight: `[D, K]`. rest: `[R, K]`, `y - x @ weight`. gap: `[]`, relative. sweeps: `[]`."""

    weight: Array
    rest: Array
    gap: Array
    sweeps: Array


def descend(x: Array, y: Array, lasso: Array, square: Array, steps: int, tol: float) -> State:
    """Minimise `|y - x w|^2 / 2 + lasso |w|_1 + square / 2 |w|^2` for each column of y by cyclic coordinate descent.

    x: `[R, D]`. y: `[R, K]`. A column of zeros keeps its weight of zero.
    """
    size = jnp.sum(x**2, 0)
    null = 0.5 * jnp.sum(y**2, 0)

    def coordinate(d: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        weight, rest = carry
        column, old = x[:, d], weight[d]
        pull = matmul(column, rest) + size[d] * old
        new = jnp.where(size[d] > 0, soft(pull, lasso) / jnp.where(size[d] > 0, size[d] + square, 1), 0)
        return weight.at[d].set(new), rest - column[:, None] * (new - old)[None]

    def sweep(state: State) -> State:
        weight, _ = jax.lax.fori_loop(0, x.shape[1], coordinate, (state.weight, state.rest))
        # rounding of the running residual is not let add up
        rest = y - matmul(x, weight)
        gap = duality_gap(weight, rest, matmul(x.T, rest), lasso, square)
        worst = jnp.max(jnp.where(null > 0, gap / jnp.where(null > 0, null, 1), 0))
        return State(weight, rest, worst, state.sweeps + 1)

    def unfinished(state: State) -> Array:
        return (state.gap >= tol) & (state.sweeps < steps)

    weight = jnp.zeros((x.shape[1], y.shape[1]), x.dtype)
    return jax.lax.while_loop(unfinished, sweep, State(weight, y, jnp.full((), jnp.inf, x.dtype), jnp.int32(0)))


def soft(value: Array, threshold: Array) -> Array:
    """Move a value towards zero by `threshold`, not past it: the proximal map of `threshold |.|`."""
    return jnp.sign(value) * jax.nn.relu(jnp.abs(value) - threshold)


def duality_gap(weight: Array, rest: Array, pull: Array, lasso: Array, square: Array) -> Array:
    """Bound each target's objective from its minimum, `[K]`, without subtracting two objectives.

    weight, pull: `[D, K]`, `pull = x.T @ rest`. rest: `[R, K]`. The dual point is the residual scaled by s into `|pull
    - square w| <= lasso` (Kim et al. 2007, section III), which leaves `(1 - s)^2 (|rest|^2 + square |w|^2) / 2 + lasso
    |w|_1 - s w (pull - square w)`. For `lasso = 0` it is the residual as it is, which leaves `|pull - square w|^2 / (2
    square)`.
    """
    inner = pull - square * weight
    largest = jnp.max(jnp.abs(inner), 0)
    s = jnp.where(largest > lasso, lasso / jnp.where(largest > 0, largest, 1), 1)
    scaled = 0.5 * (1 - s) ** 2 * (jnp.sum(rest**2, 0) + square * jnp.sum(weight**2, 0))
    scaled += jnp.sum(lasso * jnp.abs(weight) - s[None] * weight * inner, 0)
    smooth = jnp.where(square > 0, 0.5 * jnp.sum(inner**2, 0) / jnp.where(square > 0, square, 1), jnp.inf)
    return jnp.where(lasso > 0, jnp.maximum(scaled, 0), smooth)
