"""A kernel machine taken apart into the features that its eigenvectors are (Tsilivis and Kempe 2022, section 3).

Kernel regression `f(x) = k(x, X) K^-1 y` is a sum over the eigenvectors of `K = V diag(values) V'`:

    f(x) = sum_i f_i(x)        f_i(x) = values_i^-1  k(x, X) v_i  v_i' y

Each `f_i` is a function of x of its own, differentiable where the kernel is. The accuracy of its sign is how useful it
is, that under attack how robust.
"""

import chex
import jax.numpy as jnp

from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array, ArrayLike
from interp_jax.ntk.predictions import Spectrum


def loadings(spectrum: Spectrum, targets: Array) -> Array:
    """Give `a_i = v_i (v_i' y) / values_i` in columns, `[M, M]`, the largest eigenvalue first: `f_i(x) = k(x, X) a_i`.

    Directions whose eigenvalue is within rounding of zero have none, and get zero.

    Args:
        spectrum: of the training kernel, by `predictions.decompose`.
        targets: `[M]`, -1 and 1 for two classes.
    """
    chex.assert_shape(targets, spectrum.values.shape)
    values, vectors = spectrum.values[::-1], spectrum.vectors[:, ::-1]
    least = jnp.finfo(values.dtype).eps * values.shape[0] * values[0]
    inverse = jnp.where(values > least, 1 / jnp.where(values > least, values, 1), 0)
    return vectors * (inverse * matmul(vectors.T, targets))[None]


def features(spectrum: Spectrum, cross: Array, targets: Array) -> Array:
    """Give every feature of every example, `[N, M]`, the largest eigenvalue first; rows sum to the prediction.

    cross: `[N, M]`, the kernel of N examples with the training examples.
    """
    return matmul(cross, loadings(spectrum, targets))


def group(spectrum: Spectrum, targets: Array, start: ArrayLike, stop: ArrayLike) -> Array:
    """Give the weights of the features `start` to `stop - 1` together, `[M]`: `f(x) = k(x, X) weights`.

    start and stop may be traced: one program for all groups.
    """
    places = jnp.arange(spectrum.values.shape[0])
    chosen = (places >= start) & (places < stop)
    return jnp.sum(loadings(spectrum, targets) * chosen[None], 1)
