"""What every linear fit gives back, how it predicts, and how its rows are made ready."""

from typing import NamedTuple

import chex
import jax.numpy as jnp

from interp_jax.core.linalg import HIGHEST, add_row, matmul
from interp_jax.core.types import Array, ArrayLike


class LinearFit(NamedTuple):
    """A fitted linear map: `(x - centre) @ weight + level`.

    weight: `[D, K]`, one column a target. level: `[K]`, the output at `centre [D]`, a point amid the training rows:
    features far from the origin would cost the digits of `x @ weight + bias`. converged: `[]` bool, False where the
    numbers are not to be used. steps: `[]` int32, iterations (0 in closed form). gap: `[]`, how far from the minimum,
    in the measure the method stops on.
    """

    weight: Array
    level: Array
    centre: Array
    converged: Array
    steps: Array
    gap: Array

    @property
    def bias(self) -> Array:
        """Give the output at the origin, `[K]` (leading axes of a stack of fits are kept)."""
        return self.level - jnp.einsum("...d,...dk->...k", self.centre, self.weight, precision=HIGHEST)


def predict(fit: LinearFit, x: Array) -> Array:
    """Give the outputs (for a classifier: the logits or margins), `[..., K]`, of one fit at `x [..., D]`."""
    chex.assert_rank(fit.weight, 2)
    output = matmul(add_row(x, -fit.centre), fit.weight)
    return add_row(output, fit.level)


def accuracy(outputs: Array, y: Array, *, weights: Array | None = None) -> Array:
    """Give the (weighted) share of rows whose class is hit, `[]`.

    outputs: logits or margins `[N, K]`; with one column the class is 1 above zero. y: classes `[N]`, integers.
    """
    chex.assert_rank([outputs, y], [2, 1])
    guess = outputs[:, 0] > 0 if outputs.shape[1] == 1 else jnp.argmax(outputs, 1)
    hit = jnp.where(jnp.isnan(outputs).any(1), jnp.nan, guess.astype(jnp.int32) == y.astype(jnp.int32))
    return jnp.mean(hit) if weights is None else jnp.sum(jnp.where(weights > 0, weights * hit, 0)) / jnp.sum(weights)


def r2(outputs: Array, y: Array, *, weights: Array | None = None) -> Array:
    """Give the share of variance explained, one a target `[K]`; NaN for a target that does not vary.

    outputs, y: `[N, K]`. The variance is about the (weighted) mean of these rows, as in scikit-learn.
    """
    chex.assert_rank([outputs, y], 2)
    chex.assert_equal_shape([outputs, y])
    weights = jnp.ones(y.shape[0], y.dtype) if weights is None else weights
    keep = (weights > 0)[:, None]
    y, outputs = jnp.where(keep, y, 0), jnp.where(keep, outputs, 0)
    spread = add_row(y, -matmul(weights, y) / jnp.sum(weights))
    left, all_ = matmul(weights, (y - outputs) ** 2), matmul(weights, spread**2)
    return jnp.where(all_ > 0, 1 - left / all_, jnp.nan)


class Rows(NamedTuple):
    """Rows made ready: `x [N, D]`, `y [N, K]`, `weights [N]` all finite, and `valid []`, whether they were."""

    x: Array
    y: Array
    weights: Array
    valid: Array


def prepare(x: Array, y: Array, alpha: ArrayLike, weights: Array | None) -> Rows:
    """Check ranks, give `y` a target axis, and take rows out that have no weight, whatever they hold.

    A row of weight zero may hold NaN (padding). A row with weight that holds NaN or infinity, a negative weight or
    alpha, or no weight at all makes `valid` False, and the fit NaN: the solvers themselves see finite numbers only.
    """
    chex.assert_rank(x, 2)
    chex.assert_rank(y, {1, 2})
    dtype = jnp.result_type(x, jnp.float32)
    weights = jnp.ones(x.shape[0], dtype) if weights is None else jnp.asarray(weights, dtype)
    y = jnp.reshape(y, (y.shape[0], -1)).astype(dtype)
    x = x.astype(dtype)
    chex.assert_rank(weights, 1)
    chex.assert_equal_shape_prefix([x, y, weights], 1)
    finite = jnp.isfinite(x).all(1) & jnp.isfinite(y).all(1)
    good = (weights == 0) | (finite & (weights > 0) & jnp.isfinite(weights))
    valid = good.all() & (weights > 0).any() & (jnp.asarray(alpha) >= 0).all() & jnp.isfinite(alpha).all()
    return Rows(
        jnp.where(finite[:, None], x, 0),
        jnp.where(finite[:, None], y, 0),
        jnp.where(valid, weights, 1),
        valid,
    )


def seal(fit: LinearFit, valid: Array) -> LinearFit:
    """Turn a fit of rows that were not valid into NaN, not converged."""
    valid &= jnp.isfinite(fit.weight).all()
    return fit._replace(
        weight=jnp.where(valid, fit.weight, jnp.nan),
        level=jnp.where(valid, fit.level, jnp.nan),
        converged=fit.converged & valid,
        gap=jnp.where(valid, fit.gap, jnp.nan),
    )
