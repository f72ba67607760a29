"""Losses of variational autoencoders, each with its terms, in nats.

A model here is two functions of ONE example: `encode(params, x [...]) -> (mean [D], log_var [D])` and
`decode(params, z [D]) -> logits [...]`.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.information import standard_normal_kl
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.train.trainer import Loss, Metrics

Encode = Callable[[PyTree, Array], tuple[Array, Array]]
Decode = Callable[[PyTree, Array], Array]


class Terms(NamedTuple):
    """One example's part of the evidence lower bound.

    reconstruction: scalar, minus the log likelihood, summed over pixels. kl: `[D]`, of the posterior of each latent
    from the standard normal. mean, log_var, sample: `[D]`.
    """

    reconstruction: Array
    kl: Array
    mean: Array
    log_var: Array
    sample: Array


def bernoulli(logits: Array, x: Array) -> Array:
    """Minus the log likelihood of pixels `x` in [0, 1] under independent Bernoullis, summed (no entropy subtracted).

    `log(1 + exp(logit)) - logit x` has half the exponentials of two log sigmoids, and on a CPU half their time; each
    pixel is exact to a rounding of its logit.
    """
    chex.assert_equal_shape([logits, x])
    return jnp.sum(jax.nn.softplus(logits) - logits * x)


def elbo(encode: Encode, decode: Decode, params: PyTree, x: Array, key: Key) -> Terms:
    """Compute the two terms of minus the evidence lower bound of one example, with one sample of its posterior."""
    mean, log_var = encode(params, x)
    chex.assert_rank([mean, log_var], 1)
    sample = mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape, mean.dtype)
    return Terms(bernoulli(decode(params, sample), x), standard_normal_kl(mean, log_var), mean, log_var, sample)


def beta_vae(encode: Encode, decode: Decode, beta: ArrayLike) -> Loss:
    """Make the loss of the beta-VAE (Higgins et al. 2017, eq. 4): reconstruction + beta KL, means over the batch.

    The loss takes `(params, images [B, ...], key)` and reports `reconstruction`, `kl` and `elbo`, in nats an image.
    """
    checks.not_negative(beta=beta)

    def loss(params: PyTree, images: Array, key: Key) -> tuple[Array, Metrics]:
        noise = jax.random.split(key, images.shape[0])
        terms = jax.vmap(lambda x, k: elbo(encode, decode, params, x, k))(images, noise)
        reconstruction, kl = terms.reconstruction.mean(), terms.kl.sum(1).mean()
        metrics = {"reconstruction": reconstruction, "kl": kl, "elbo": -(reconstruction + kl)}
        return reconstruction + beta * kl, metrics

    return loss
