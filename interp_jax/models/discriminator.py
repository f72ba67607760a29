"""The discriminator of FactorVAE (Kim and Mnih 2018): which of two distributions did a code come from?"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.types import Array
from interp_jax.models.nets import Dense, Net, functional


class LeakyMLP(nn.Module):
    """Dense layers of these widths, leaky ReLU of slope `slope` below zero between them."""

    widths: Sequence[int]
    slope: float = 0.2
    param_dtype: jnp.dtype = jnp.float32
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Give `[widths[-1]]`."""
        kinds = {"param_dtype": self.param_dtype, "dtype": self.dtype}
        for width in self.widths[:-1]:
            x = nn.leaky_relu(Dense(width, **kinds)(x), self.slope)
        return Dense(self.widths[-1], **kinds)(x)


def mlp(
    latents: int = 10,
    *,
    hidden: Sequence[int] = (1000,) * 6,
    param_dtype: jnp.dtype = jnp.float32,
    dtype: jnp.dtype | None = None,
) -> Net:
    """Make the study's discriminator of codes `[latents]`, logits `[2]`: 5,018,002 parameters at 10 latents.

    Six layers of 1000, leaky ReLU of slope 0.2, Glorot uniform kernels, zero biases, as disentanglement_lib's
    `fc_discriminator`.

    >>> import jax
    >>> net = mlp(3, hidden=(4,))
    >>> net.apply(net.init(jax.random.key(0)), jnp.zeros(3)).tolist()
    [0.0, 0.0]
    """
    checks.whole(1, latents=latents)
    return functional(LeakyMLP((*hidden, 2), param_dtype=param_dtype, dtype=dtype), jnp.zeros(latents))
