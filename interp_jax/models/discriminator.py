"""The discriminator of FactorVAE (Kim and Mnih 2018): which of two distributions did a code come from?"""

from collections.abc import Sequence

import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.models.nets import LeakyMLP, Net, functional


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
    return functional(LeakyMLP((*hidden, 2), 0.2, param_dtype=param_dtype, dtype=dtype), jnp.zeros(latents))
