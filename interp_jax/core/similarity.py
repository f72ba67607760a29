"""How alike two representations of the same examples are."""

import chex
import jax.numpy as jnp

from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array


def linear_cka(x: Array, y: Array) -> Array:
    """Give the centred kernel alignment `|X'Y|_F^2 / (|X'X|_F |Y'Y|_F)` of linear kernels (Kornblith et al. 2019).

    1 if one is a rotation and scaling of the other, whatever their widths; 0 if they are uncorrelated. With few
    examples for their widths it is biased upwards: of independent Gaussians it is about `sqrt(P Q) / N` where N is much
    larger, and towards 1 where it is not. NaN where one of them is constant.

    >>> x = jnp.array([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]])
    >>> round(float(linear_cka(x, 3 * x[:, ::-1])), 6)
    1.0

    Args:
        x: `[N, P]`, one row an example.
        y: `[N, Q]`, the same examples.
    """
    chex.assert_rank([x, y], 2)
    chex.assert_equal_shape_prefix([x, y], 1)
    x, y = (_scaled(a - jnp.broadcast_to(a.mean(0), a.shape)) for a in (x, y))
    across, of_x, of_y = (jnp.sum(matmul(a.T, b) ** 2) for a, b in ((x, y), (x, x), (y, y)))
    own = jnp.sqrt(of_x) * jnp.sqrt(of_y)
    return jnp.where(own > 0, across / jnp.where(own > 0, own, 1.0), jnp.nan)


def _scaled(a: Array) -> Array:
    """Divide by the largest entry: fourth powers overflow early."""
    top = jnp.max(jnp.abs(a))
    return a / jnp.where(top > 0, top, 1.0)
