"""Latent traversals: what each latent does to the image."""

import chex
import jax
import jax.numpy as jnp

from interp_jax.core.types import Array, PyTree
from interp_jax.vae.objectives import Decode


def traverse(decode: Decode, params: PyTree, code: Array, values: Array) -> Array:
    """Decode `code` with one latent at a time set to each of `values`, the others held.

    decode: `(params, z [D]) -> logits [...]`. code: `[D]`. values: `[T]`, in units of the prior's standard deviation.
    Gives probabilities `[D, T, ...]`.

    >>> traverse(lambda params, z: z, None, jnp.zeros(2), jnp.array([0.0, 100.0]))[0, 1].tolist()
    [1.0, 0.5]
    """
    chex.assert_rank([code, values], 1)

    def one(latent: Array, value: Array) -> Array:
        return jax.nn.sigmoid(decode(params, code.at[latent].set(value)))

    return jax.vmap(lambda k: jax.vmap(lambda v: one(k, v))(values))(jnp.arange(code.shape[0]))
