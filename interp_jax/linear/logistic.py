"""Logistic regression, binary (or several independent labels) and softmax, with an L2 penalty and a free intercept.

The objective is a sum over rows, and alpha is one over scikit-learn's C (a penalty on the mean loss is `alpha / N`):

    sum_n weights_n loss(y_n, (x_n - centre) weight + level) + alpha / 2 |weight|^2

Two classes as a softmax at alpha equal the binary fit at alpha / 2, since `|w_1|^2 + |w_0|^2 = |w_1 - w_0|^2 / 2` at
the minimum.

`gap` is |gradient| over the value of the mean objective, in coordinates of curvature at most one; `converged` is `gap <
tol`. It is False for separable classes at alpha = 0. A class without rows, or without any others, has its minimum at
infinity: its level is
-inf (or inf), its weight 0, and `converged` False; the other classes are fitted as if it did not exist.
"""

import chex
import jax
import jax.numpy as jnp

from interp_jax.core.checks import not_negative, positive, whole
from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array, ArrayLike
from interp_jax.linear.fits import LinearFit, Rows, prepare, seal
from interp_jax.linear.smooth import Loss, fit_loss


def fit(
    x: Array, y: Array, alpha: ArrayLike, *, weights: Array | None = None, steps: int = 200, tol: float = 1e-5
) -> LinearFit:
    """Fit the logit of one label `y [N]`, or of independent labels `[N, K]`: 0 and 1, or probabilities.

    x: `[N, D]`. alpha: `[]`. weights: `[N]`, not negative; zero deletes the row. Labels outside [0, 1] make the fit
    NaN. Labels are minimised together: `vmap` over them instead lets each stop on its own.

    Largest error of a logit against float64 over nine small problems (badly scaled, collinear, 1e4 away from zero):
    2e-5;
    2e-4 for the softmax. At tol = 1e-6, which float32 reaches too, a tenth of that. With classes so well
    separated that logits reach 17 the softmax errs by 1e-3; scikit-learn's default, lbfgs at tol = 1e-4, by .3 on the
    same rows.

    >>> x = jnp.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> found = jax.jit(fit)(x, jnp.array([0, 1, 0, 1]), 1.0)
    >>> found.converged.item(), round(found.weight.item(), 3)
    (True, 0.291)
    """
    rows = _labels(x, y, alpha, weights, steps, tol)
    valid = rows.valid & ((rows.y >= 0) & (rows.y <= 1)).all()
    mean = matmul(rows.weights, rows.y) / jnp.sum(rows.weights)
    inside = (mean > 0) & (mean < 1)
    mean = jnp.where(inside, mean, 0.5)

    def loss(outputs: Array, y: Array) -> Array:
        # y (p - 1) + (1 - y) p keeps its relative precision where p - y would not
        terms = y * jax.nn.softplus(-outputs) + (1 - y) * jax.nn.softplus(outputs)
        return matmul(inside.astype(terms.dtype), terms)

    start = jnp.log(mean) - jnp.log1p(-mean)
    found = _fit(loss, 0.25, rows, alpha, start, steps, tol)
    at_infinity = jnp.where(jnp.mean(rows.y, 0) > 0.5, jnp.inf, -jnp.inf)
    return _send(found, inside, at_infinity, valid)


def fit_softmax(
    x: Array, y: Array, alpha: ArrayLike, *, weights: Array | None = None, steps: int = 200, tol: float = 1e-5
) -> LinearFit:
    """Fit the logits of one class out of K.

    y: `[N, K]`, rows sum to 1 (`jax.nn.one_hot(classes, K)`), else the fit is NaN. The rest is as in `fit`. Weights and
    levels sum to zero over classes, as in scikit-learn; with alpha = 0 only their differences are determined.
    """
    rows = _labels(x, y, alpha, weights, steps, tol)
    if rows.y.shape[1] < 2:
        raise ValueError(f"want y of shape [N, K >= 2] (jax.nn.one_hot), got {jnp.shape(y)}")
    full = (jnp.abs(jnp.sum(rows.y, 1) - 1) < 1e-3) | (rows.weights == 0)
    valid = rows.valid & (rows.y >= 0).all() & full.all()
    mean = matmul(rows.weights, rows.y) / jnp.sum(rows.weights)
    inside = mean > 0

    first = jax.nn.one_hot(jnp.argmax(rows.y, 1), rows.y.shape[1], dtype=rows.y.dtype, axis=0)
    others = (1 - first) * inside[:, None]

    def loss(outputs: Array, y: Array) -> Array:
        # logsumexp(z) - y z about the likeliest class: log(1 + sum of the others), whose gradient is not a difference
        # of two numbers near one, and so keeps its relative precision where the label is certain
        ahead = outputs - jnp.sum(first * outputs, 0, keepdims=True)
        top = jnp.maximum(jnp.max(jnp.where(others > 0, ahead, 0), 0, keepdims=True), 0)
        rest = jnp.sum(others * jnp.exp(jnp.where(others > 0, ahead - top, 0)), 0)
        top = top[0]
        return top + jnp.log1p(rest + jnp.expm1(-top)) - jnp.sum(y * ahead, 0)

    prior = jnp.log(jnp.where(inside, mean, 1))
    start = jnp.where(inside, prior - jnp.sum(prior) / jnp.sum(inside), 0)
    found = _fit(loss, 0.5, rows, alpha, start, steps, tol)
    return _send(found, inside, jnp.full_like(start, -jnp.inf), valid)


def log_likelihood(outputs: Array, y: Array) -> Array:
    """Give the log probability of each row's class in nats, `[N]`.

    outputs: logits `[N, K]`; one column is the logit of class 1. y: classes `[N]`, integers. A class out of range gives
    NaN.
    """
    chex.assert_rank([outputs, y], [2, 1])
    if outputs.shape[1] == 1:  # exact where the class is nearly certain, where log(1 + p) of a softmax is 0
        known = (y == 0) | (y == 1)
        return jnp.where(known, jax.nn.log_sigmoid(jnp.where(y == 1, outputs[:, 0], -outputs[:, 0])), jnp.nan)
    return jnp.take_along_axis(jax.nn.log_softmax(outputs, 1), y[:, None], 1, mode="fill", fill_value=jnp.nan)[:, 0]


def _labels(x: Array, y: Array, alpha: ArrayLike, weights: Array | None, steps: int, tol: float) -> Rows:
    not_negative(alpha=alpha)
    positive(tol=tol)
    whole(1, steps=steps)
    chex.assert_rank(alpha, 0)
    rows = prepare(x, y, alpha, weights)
    return rows._replace(y=jnp.where((rows.weights > 0)[:, None], rows.y, 0))


def _fit(loss: Loss, curvature: float, rows: Rows, alpha: ArrayLike, start: Array, steps: int, tol: float) -> LinearFit:
    alpha = jnp.asarray(alpha, rows.x.dtype)
    return fit_loss(loss, rows, alpha, curvature=curvature, start=start, centred=True, steps=steps, tol=tol)


def _send(found: LinearFit, inside: Array, at_infinity: Array, valid: Array) -> LinearFit:
    """Put the minimum of a class that has no rows, or no others, where it is: at infinity."""
    weight = jnp.where(jnp.broadcast_to(inside, found.weight.shape), found.weight, 0)
    level = jnp.where(inside, found.level, at_infinity)
    return seal(found._replace(weight=weight, level=level, converged=found.converged & inside.all()), valid)
