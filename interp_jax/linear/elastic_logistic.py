"""Logistic regression, binary and softmax, with an elastic-net penalty and a free intercept: proximal gradients.

The objective has the scale of `elastic_net` and of scikit-learn's SGDClassifier, a mean over rows (weights are
relative):

    sum_n weights_n loss(y_n, x_n weight + bias) / sum weights
        + alpha (l1_ratio |weight|_1 + (1 - l1_ratio) / 2 |weight|^2)

so that `logistic.fit(x, y, N alpha)` equals `l1_ratio=0`, and scikit-learn's `LogisticRegression(C=1 / (N alpha),
l1_ratio=...)` the same `l1_ratio`. The solver is FISTA (Beck and Teboulle 2009) with O'Donoghue and Candes' restarts,
on columns scaled to variance one: the penalty is separable, so scaling it along leaves the objective as it was.
Zeros are exact. With features that are nearly combinations of each other and little penalty it is slow, and says so
(`converged`).

`gap` is |gradient mapping| over the value, in coordinates of curvature at most one; `converged` is `gap < tol`. A class
without rows, or without any others, has its minimum at infinity: its level is -inf (or inf), its weight 0, and
`converged` False.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.core.checks import between, not_negative, positive, whole
from interp_jax.core.linalg import add_row, centre_rows, eigh, matmul
from interp_jax.core.types import Array, ArrayLike
from interp_jax.linear.elastic_net import soft
from interp_jax.linear.fits import LinearFit, Rows, prepare, seal


def fit(
    x: Array,
    y: Array,
    alpha: ArrayLike,
    *,
    l1_ratio: ArrayLike = 1.0,
    weights: Array | None = None,
    steps: int = 2000,
    tol: float = 1e-5,
) -> LinearFit:
    """Fit the logit of one label `y [N]`, or of independent labels `[N, K]`: 0 and 1, or probabilities.

    x: `[N, D]`. alpha, l1_ratio: `[]`. weights: `[N]`, not negative; zero deletes the row. Labels outside [0, 1] make
    the fit NaN. Classes against the rest (`jax.nn.one_hot`) are the objective of scikit-learn's SGDClassifier.

    >>> x = jnp.array([[-2.0, 1.0], [-1.0, 0.0], [1.0, 1.0], [2.0, 0.0]])
    >>> found = jax.jit(fit)(x, jnp.array([0, 1, 0, 1]), 0.1)
    >>> found.converged.item(), found.weight[0].item(), round(found.weight[1].item(), 1)
    (True, 0.0, -2.8)
    """
    rows, ratio = _labels(x, y, alpha, l1_ratio, weights, steps, tol)
    mean = matmul(rows.weights, rows.y) / jnp.sum(rows.weights)
    inside = (mean > 0) & (mean < 1)
    kept = jnp.where(inside, mean, 0.5)

    def view(z: Array) -> tuple[Array, Array]:
        loss = rows.y * jax.nn.softplus(-z) + (1 - rows.y) * jax.nn.softplus(z)
        return jnp.where(inside[None], loss, 0), jnp.where(inside[None], jax.nn.sigmoid(z) - rows.y, 0)

    found = _minimise(rows, alpha, ratio, view, jnp.log(kept) - jnp.log1p(-kept), 0.25, steps, tol)
    at_infinity = jnp.where(mean > 0.5, jnp.inf, -jnp.inf)
    return _sealed(found, inside, at_infinity, rows.valid & ((rows.y >= 0) & (rows.y <= 1)).all())


def fit_softmax(
    x: Array,
    y: Array,
    alpha: ArrayLike,
    *,
    l1_ratio: ArrayLike = 1.0,
    weights: Array | None = None,
    steps: int = 2000,
    tol: float = 1e-5,
) -> LinearFit:
    """Fit the logits of one class out of K: `y [N, K]`, rows that sum to 1 (`jax.nn.one_hot(classes, K)`), else NaN.

    The rest is as in `fit`. Levels sum to zero over classes at the start, and stay so; with alpha = 0 only differences
    between classes are determined.
    """
    rows, ratio = _labels(x, y, alpha, l1_ratio, weights, steps, tol)
    if rows.y.shape[1] < 2:
        raise ValueError(f"want y of shape [N, K >= 2] (jax.nn.one_hot), got {jnp.shape(y)}")
    full = (jnp.abs(jnp.sum(rows.y, 1) - 1) < 1e-3) | (rows.weights == 0)
    mean = matmul(rows.weights, rows.y) / jnp.sum(rows.weights)
    inside = mean > 0

    def view(z: Array) -> tuple[Array, Array]:
        log = jax.nn.log_softmax(jnp.where(inside[None], z, -jnp.inf), 1)
        return -jnp.where(rows.y > 0, rows.y * log, 0), jnp.where(inside[None], jnp.exp(log) - rows.y, 0)

    prior = jnp.log(jnp.where(inside, mean, 1))
    start = jnp.where(inside, prior - jnp.sum(prior) / jnp.sum(inside), 0)
    found = _minimise(rows, alpha, ratio, view, start, 0.5, steps, tol)
    valid = rows.valid & (rows.y >= 0).all() & full.all()
    return _sealed(found, inside, jnp.full_like(start, -jnp.inf), valid)


class _State(NamedTuple):
    """weight `[D, K]` and level `[K]`, the point looked at ahead of them, momentum, gap, steps."""

    weight: Array
    level: Array
    ahead: tuple[Array, Array]
    momentum: Array
    gap: Array
    steps: Array


View = Callable[[Array], tuple[Array, Array]]
"""`outputs [N, K] -> (losses [N, K], their derivatives [N, K])`."""


def _minimise(
    rows: Rows, alpha: ArrayLike, ratio: Array, view: View, start: Array, curvature: float, steps: int, tol: float
) -> LinearFit:
    share = rows.weights / jnp.sum(rows.weights)
    x, centre, rest = centre_rows(rows.x, rows.weights)
    deviation = jnp.sqrt(matmul(share, x**2))
    varies = deviation > 1e-6 * jnp.max(deviation)
    scale = jnp.where(varies, 1 / jnp.where(varies, deviation, 1), 0)
    x = x * jnp.broadcast_to(scale, x.shape)
    stiff = curvature * jnp.maximum(eigh(matmul((share[:, None] * x).T, x))[0][-1], 1e-6)
    strength = jnp.asarray(alpha, x.dtype)
    lasso, square = (strength * ratio * scale)[:, None], (strength * (1 - ratio) * scale**2)[:, None]

    def look(weight: Array, level: Array) -> tuple[Array, Array, Array]:
        loss, slope = view(add_row(matmul(x, weight), level))
        slope = share[:, None] * slope
        value = jnp.sum(matmul(share, loss)) + jnp.sum(lasso * jnp.abs(weight) + square * weight**2 / 2)
        return value, matmul(x.T, slope), jnp.sum(slope, 0)

    def step(state: _State) -> _State:
        weight, level = state.ahead
        value, slope, tilt = look(weight, level)
        to_weight = soft(stiff * weight - slope, lasso) / (stiff + square)
        to_level = level - tilt / curvature
        moved = stiff * jnp.sum((weight - to_weight) ** 2) + curvature * jnp.sum((level - to_level) ** 2)
        gone = to_weight - state.weight, to_level - state.level
        uphill = stiff * jnp.sum((weight - to_weight) * gone[0]) + curvature * jnp.sum((level - to_level) * gone[1])
        old = jnp.where(uphill > 0, 1.0, state.momentum)
        new = (1 + jnp.sqrt(1 + 4 * old**2)) / 2
        ahead = to_weight + (old - 1) / new * gone[0], to_level + (old - 1) / new * gone[1]
        return _State(to_weight, to_level, ahead, new, jnp.sqrt(moved) / value, state.steps + 1)

    def unfinished(state: _State) -> Array:
        return (state.gap >= tol) & (state.steps < steps)

    zero = jnp.zeros((x.shape[1], len(start)), x.dtype)
    one = jnp.ones((), x.dtype)
    first = _State(zero, start, (zero, start), one, jnp.inf * one, jnp.int32(0))
    last = jax.lax.while_loop(unfinished, step, first)
    weight = last.weight * scale[:, None]
    level = last.level - matmul(rest, weight)
    return LinearFit(weight, level, centre, last.gap < tol, last.steps, last.gap)


def _labels(
    x: Array, y: Array, alpha: ArrayLike, l1_ratio: ArrayLike, weights: Array | None, steps: int, tol: float
) -> tuple[Rows, Array]:
    not_negative(alpha=alpha)
    between(0, 1, l1_ratio=l1_ratio)
    positive(tol=tol)
    whole(1, steps=steps)
    chex.assert_rank([alpha, l1_ratio], 0)
    rows = prepare(x, y, alpha, weights)
    ratio = jnp.asarray(l1_ratio, rows.x.dtype)
    valid = rows.valid & (ratio >= 0) & (ratio <= 1)
    return rows._replace(y=jnp.where((rows.weights > 0)[:, None], rows.y, 0), valid=valid), ratio


def _sealed(found: LinearFit, inside: Array, at_infinity: Array, valid: Array) -> LinearFit:
    """Put the minimum of a class that has no rows, or no others, where it is: at infinity."""
    weight = jnp.where(jnp.broadcast_to(inside, found.weight.shape), found.weight, 0)
    level = jnp.where(inside, found.level, at_infinity)
    return seal(found._replace(weight=weight, level=level, converged=found.converged & inside.all()), valid)
