"""What a linearised model predicts: after training for some time or number of steps, or by ridge regression.

Training on squared error and ridge regression all do one thing to the kernel's eigenvectors: they weigh what the
targets hold of them by a function of the eigenvalue, a `Filter`:

    f(x) = f0(x) + Theta(x, X) V filter(values) V' (y - f0(X))        Theta(X, X) = V diag(values) V'

A kernel is `[N, M, K, K]`, or `[N, M]` for outputs that do not influence each other (`kernels.trace`).
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array, ArrayLike
from interp_jax.ntk.operators import flatten

Filter = Callable[[Array], Array]
"""`eigenvalues [M] -> [M]`; 1 / value would interpolate."""


class Spectrum(NamedTuple):
    """Of a training kernel. values: `[M]`, ascending. vectors: `[M, M]`, in columns; M is N K or N."""

    values: Array
    vectors: Array


def decompose(kernel: Array) -> Spectrum:
    """Decompose a training kernel, `[N, N, K, K]` or `[N, N]`; what rounding took below zero is zero."""
    matrix = _matrix(kernel)
    chex.assert_shape(matrix, (matrix.shape[0],) * 2)
    values, vectors = jnp.linalg.eigh((matrix + matrix.T) / 2)
    return Spectrum(jnp.maximum(values, 0), vectors)


def gradient_flow(time: ArrayLike, count: int) -> Filter:
    """Train for `time` by gradient flow on `|f - y|^2 / (2 count)`; `count` is N K for a mean over all entries.

    `(1 - exp(-value time / count)) / value`. An infinite time gives the minimum that is nearest to the start.
    """
    checks.whole(1, count=count)
    checks.not_negative(time=time)

    def weigh(values: Array) -> Array:
        return _ratio(values, lambda safe: -jnp.expm1(-safe * time / count), jnp.asarray(time) / count)

    return weigh


def gradient_descent(steps: ArrayLike, learning_rate: ArrayLike, count: int) -> Filter:
    """Take `steps` of gradient descent on `|f - y|^2 / (2 count)`: `(1 - (1 - rate value / count)^steps) / value`.

    It diverges, as training does, beyond `largest_learning_rate`.
    """
    checks.whole(1, count=count)
    checks.not_negative(steps=steps, learning_rate=learning_rate)
    rate = jnp.asarray(learning_rate) / count

    def weigh(values: Array) -> Array:
        return _ratio(values, lambda safe: 1 - (1 - rate * safe) ** steps, rate * steps)

    return weigh


def ridge(alpha: ArrayLike) -> Filter:
    """Minimise `|f - y|^2 + alpha |f|^2` in the kernel's norm, or take a GP's posterior mean: `1 / (value + alpha)`.

    An alpha of zero interpolates, by the pseudo-inverse.
    """
    checks.not_negative(alpha=alpha)

    def weigh(values: Array) -> Array:
        shifted = values + alpha
        tiny = jnp.finfo(values.dtype).eps * values.shape[0] * jnp.max(values)
        return jnp.where(shifted > tiny, 1 / jnp.where(shifted > tiny, shifted, 1), 0)

    return weigh


def coefficients(spectrum: Spectrum, residual: Array, weigh: Filter) -> Array:
    """Give the weight of every training example (and output), the shape of the residual `y - f0(X)`, `[N, K]`."""
    columns = residual.reshape(spectrum.values.shape[0], -1)
    inside = weigh(spectrum.values)[:, None] * matmul(spectrum.vectors.T, columns)
    return matmul(spectrum.vectors, inside).reshape(residual.shape)


def predict(
    spectrum: Spectrum, cross: Array, targets: Array, weigh: Filter, *, initial: Array | None = None,
    initial_cross: Array | None = None,
) -> Array:  # fmt: skip
    """Predict outputs `[M, K]` of examples whose kernel with the training examples is `cross`.

    Args:
        spectrum: of the training kernel.
        cross: `[M, N, K, K]` or `[M, N]`; the training kernel itself for predictions on the training examples.
        targets: `[N, K]`.
        weigh: how the model is trained: `gradient_flow`, `gradient_descent` or `ridge`.
        initial: the untrained model's outputs on the training examples, `[N, K]`; zero if None.
        initial_cross: and on the others, `[M, K]`.
    """
    chex.assert_rank(targets, 2)
    start = jnp.zeros_like(targets) if initial is None else initial
    chex.assert_equal_shape([targets, start])
    weights = coefficients(spectrum, targets - start, weigh)
    moved = matmul(_matrix(cross), weights.reshape(spectrum.values.shape[0], -1)).reshape(-1, targets.shape[1])
    return moved if initial_cross is None else initial_cross + moved


def leave_one_out(kernel: Array, targets: Array, alpha: ArrayLike) -> Array:
    """Predict each training example by ridge regression on all others, `[N, K]`, from one solve.

    `y_i - (C^-1)_ii^-1 (C^-1 y)_i` with C = kernel + alpha, and the K x K block of example i (Rasmussen and Williams
    2006, eq. 5.12). alpha: above zero, unless the kernel is well conditioned.
    """
    chex.assert_rank(targets, 2)
    checks.not_negative(alpha=alpha)
    count, outputs = targets.shape
    matrix = _matrix(kernel)
    inverse = jnp.linalg.inv(matrix + alpha * jnp.eye(matrix.shape[0], dtype=matrix.dtype))
    if kernel.ndim == 2:
        return targets - matmul(inverse, targets) / jnp.diagonal(inverse)[:, None]
    weights = matmul(inverse, targets.reshape(-1)).reshape(count, outputs, 1)
    places = jnp.arange(count)
    blocks = inverse.reshape(count, outputs, count, outputs)[places, :, places, :]
    return targets - jnp.linalg.solve(blocks, weights)[..., 0]


def posterior_covariance(spectrum: Spectrum, cross: Array, prior: Array, noise: ArrayLike) -> Array:
    """Give the posterior covariance of a Gaussian process whose prior covariance is the kernel.

    `prior - cross (Theta + noise)^-1 cross'`; its mean is `predict(..., ridge(noise))`.

    Args:
        spectrum: of the training kernel Theta.
        cross: `[M, N, K, K]` or `[M, N]`.
        prior: the kernel of the M examples, `[M, M, K, K]` or `[M, M]`.
        noise: variance of the targets' noise.

    Returns:
        A matrix, `[M K, M K]` or `[M, M]`.
    """
    rotated = matmul(_matrix(cross), spectrum.vectors)
    return _matrix(prior) - matmul(rotated * ridge(noise)(spectrum.values)[None], rotated.T)


def largest_learning_rate(spectrum: Spectrum, count: int, *, momentum: ArrayLike = 0.0) -> Array:
    """Give the rate at which gradient descent on `|f - y|^2 / (2 count)` stops to converge.

    `2 (1 + momentum) count / largest value`, with heavy-ball momentum (Polyak 1964).
    """
    checks.whole(1, count=count)
    checks.between(0, 1, momentum=momentum)
    return 2 * (1 + jnp.asarray(momentum)) * count / spectrum.values[-1]


def _matrix(kernel: Array) -> Array:
    chex.assert_rank(kernel, {2, 4})
    return flatten(kernel) if kernel.ndim == 4 else kernel


def _ratio(values: Array, numerator: Filter, limit: Array) -> Array:
    """Give `numerator(value) / value`, and its limit at zero."""
    safe = jnp.where(values > 0, values, 1)
    return jnp.where(values > 0, numerator(safe) / safe, limit)
