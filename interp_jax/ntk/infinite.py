"""Kernels of infinitely wide ReLU networks, in closed form; finite ones approach them as 1 / sqrt(width).

In NTK parameterisation a layer is `z = sqrt(weight / n) W h + sqrt(bias) b`, n its inputs, W and b standard normal. As
the widths grow, outputs at first are Gaussian with covariance `nngp`, and the tangent kernel is `ntk` and stays so
(Jacot et al. 2018). For ReLU the expectations are those of Cho and Saul (2009, eq. 3 to 6).
"""

from typing import NamedTuple

import chex
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array, ArrayLike


class Kernels(NamedTuple):
    """nngp, ntk: `[N, M]`, of each output; different outputs have none."""

    nngp: Array
    ntk: Array


def relu_mlp(
    x1: Array, x2: Array | None = None, *, layers: int, weight: ArrayLike = 2.0, bias: ArrayLike = 0.0
) -> Kernels:
    """Give both kernels of a network of `layers` hidden layers of ReLU and a linear one.

    >>> relu_mlp(jnp.ones((1, 3)), layers=1).ntk.tolist()
    [[4.0]]

    Args:
        x1: `[N, D]`.
        x2: `[M, D]`, x1 if None.
        layers: hidden layers, 1 or more.
        weight: variance of a layer's weights times its inputs, one number for all layers; 2 keeps activations' size.
        bias: variance of its biases.

    Raises:
        ValueError: no layers, a weight or bias below zero.
    """
    checks.whole(1, layers=layers)
    checks.not_negative(weight=weight, bias=bias)
    other = x1 if x2 is None else x2
    chex.assert_rank([x1, other], 2)
    chex.assert_equal(x1.shape[1], other.shape[1])
    width = x1.shape[1]
    weight, bias = (jnp.asarray(number, x1.dtype) for number in (weight, bias))
    covariance = weight * matmul(x1, other.T) / width + bias
    rows, columns = (weight * jnp.sum(x**2, 1) / width + bias for x in (x1, other))
    tangent = covariance
    for _ in range(layers):
        size = jnp.sqrt(rows[:, None] * columns[None, :])
        safe = jnp.where(size > 0, size, 1)
        angle = jnp.arccos(jnp.clip(covariance / safe, -1, 1))
        slope = (jnp.pi - angle) / (2 * jnp.pi)
        product = size * (jnp.sin(angle) + (jnp.pi - angle) * jnp.cos(angle)) / (2 * jnp.pi)
        covariance = weight * product + bias
        tangent = covariance + weight * slope * tangent
        rows, columns = weight * rows / 2 + bias, weight * columns / 2 + bias
    return Kernels(covariance, tangent)
