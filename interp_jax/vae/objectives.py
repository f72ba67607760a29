"""Losses of variational autoencoders, each with its terms, in nats.

A model here is two functions of ONE example: `encode(params, x [...]) -> (mean [D], log_var [D])` and
`decode(params, z [D]) -> output`, where a likelihood reads the output: logits `[...]` for `bernoulli`.

    loss               regulariser, added to the reconstruction                        where
    beta_vae           beta KL                                                         here
    annealed_vae       gamma |KL - C(t)|                                               here
    dip_vae_i, _ii     KL + lambda_od sum cov_ij^2 + lambda_d sum (cov_ii - 1)^2       here
    beta_tc_vae        KL + (beta - 1) TC, the TC estimated on the batch               vae.total_correlation
    factor_vae         KL + gamma TC, the TC estimated by a discriminator              vae.factor
    ada_gvae, ml_vae   beta KL of posteriors averaged over what a pair shares          vae.weak

Reconstruction and KL are sums over pixels and latents, means over the batch, as in disentanglement_lib; the KL is in
closed form. Every loss reports `reconstruction`, `kl`, `elbo` and its own terms, unweighted. Strengths may be traced.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks
from interp_jax.core.information import standard_normal_kl
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.train.trainer import Loss, Metrics

Encode = Callable[[PyTree, Array], tuple[Array, Array]]
Decode = Callable[[PyTree, Array], Any]
Likelihood = Callable[[Any, Array], Array]
"""`(output, x) -> scalar`, minus the log likelihood of ONE example under what `decode` gave."""


class Terms(NamedTuple):
    """One example's part of the evidence lower bound; a batch has a leading axis on each.

    reconstruction: scalar, minus the log likelihood, summed over pixels. kl: `[D]`, of the posterior of each latent
    from the standard normal. mean, log_var, sample: `[D]`.
    """

    reconstruction: Array
    kl: Array
    mean: Array
    log_var: Array
    sample: Array


Penalty = Callable[[Terms], tuple[Array, Metrics]]
"""`(terms of a batch) -> (scalar, metrics)`, what a loss adds to the reconstruction."""


def bernoulli(logits: Array, x: Array) -> Array:
    """Minus the log likelihood of pixels `x` in [0, 1] under independent Bernoullis, summed (no entropy subtracted).

    `log(1 + exp(logit)) - logit x` has half the exponentials of two log sigmoids, and on a CPU half their time; each
    pixel is exact to a rounding of its logit.
    """
    chex.assert_equal_shape([logits, x])
    return jnp.sum(jax.nn.softplus(logits) - logits * x)


def gaussian(output: tuple[Array, ArrayLike], x: Array) -> Array:
    """Minus the log density of `x` under independent normals, summed, constants included.

    output: the mean `[...]` and the log variance, `[...]` or a scalar, learned or not.

    >>> round(float(gaussian((jnp.zeros(2), 0.0), jnp.array([0.0, 2.0]))), 4)
    3.8379
    """
    mean, log_var = output[0], jnp.asarray(output[1], x.dtype)
    chex.assert_equal_shape([mean, x])
    log_var = jnp.broadcast_to(log_var, x.shape)
    return 0.5 * jnp.sum(jnp.square(x - mean) * jnp.exp(-log_var) + log_var + np.log(2 * np.pi))


def gaussian_of(variance: ArrayLike) -> Likelihood:
    """Make the likelihood of a decoder that gives the mean alone: normals of this variance.

    disentanglement_lib's `l2` is variance 1/2 without its constant.
    """
    checks.positive(variance=variance)
    return lambda mean, x: gaussian((mean, jnp.log(variance)), x)


def bound(
    decode: Decode,
    params: PyTree,
    x: Array,
    mean: Array,
    log_var: Array,
    key: Key,
    *,
    likelihood: Likelihood = bernoulli,
) -> Terms:
    """Compute the terms of one example whose posterior is `N(mean, exp(log_var))`, with one sample of it."""
    chex.assert_rank([mean, log_var], 1)
    sample = reparameterise(mean, log_var, key)
    reconstruction = likelihood(decode(params, sample), x)
    return Terms(reconstruction, standard_normal_kl(mean, log_var), mean, log_var, sample)


def reparameterise(mean: Array, log_var: Array, key: Key) -> Array:
    """Draw `mean + sd * noise` `[D]`, through which the gradient passes to both (Kingma and Welling 2014)."""
    return mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape, mean.dtype)


def elbo(
    encode: Encode, decode: Decode, params: PyTree, x: Array, key: Key, *, likelihood: Likelihood = bernoulli
) -> Terms:
    """Compute the two terms of minus the evidence lower bound of one example, with one sample of its posterior."""
    return bound(decode, params, x, *encode(params, x), key, likelihood=likelihood)


def batch_elbo(
    encode: Encode, decode: Decode, params: PyTree, images: Array, key: Key, *, likelihood: Likelihood = bernoulli
) -> Terms:
    """Compute the terms of every example of a batch `[B, ...]`, each with noise of its own."""
    noise = jax.random.split(key, images.shape[0])
    return jax.vmap(lambda x, k: elbo(encode, decode, params, x, k, likelihood=likelihood))(images, noise)


def summary(terms: Terms) -> Metrics:
    """Give `reconstruction`, `kl` and `elbo` of a batch's terms, means in nats an image."""
    reconstruction, kl = terms.reconstruction.mean(), terms.kl.sum(1).mean()
    return {"reconstruction": reconstruction, "kl": kl, "elbo": -(reconstruction + kl)}


def regularised(encode: Encode, decode: Decode, penalty: Penalty, *, likelihood: Likelihood = bernoulli) -> Loss:
    """Make the loss `reconstruction + penalty(terms)` of `(params, images [B, ...], key)`.

    The penalty sees the terms of the whole batch, and its metrics join those of `summary`.

    >>> free_bits = lambda terms: (jnp.maximum(terms.kl.mean(0), 0.1).sum(), {})
    >>> loss = regularised(lambda p, x: (x, 0 * x), lambda p, z: z, free_bits)
    >>> sorted(loss(None, jnp.zeros((4, 2)), jax.random.key(0))[1])
    ['elbo', 'kl', 'reconstruction']
    """

    def loss(params: PyTree, images: Array, key: Key) -> tuple[Array, Metrics]:
        terms = batch_elbo(encode, decode, params, images, key, likelihood=likelihood)
        metrics = summary(terms)
        cost, more = penalty(terms)
        return metrics["reconstruction"] + cost, {**metrics, **more}

    return loss


def beta_vae(encode: Encode, decode: Decode, beta: ArrayLike, *, likelihood: Likelihood = bernoulli) -> Loss:
    """Make the loss of the beta-VAE (Higgins et al. 2017, eq. 4): reconstruction + beta KL, means over the batch.

    The loss takes `(params, images [B, ...], key)` and reports `reconstruction`, `kl` and `elbo`, in nats an image. Of
    beta 1 it is minus the evidence lower bound.
    """
    checks.not_negative(beta=beta)
    return regularised(encode, decode, lambda terms: (terms.kl.sum(1).mean() * beta, {}), likelihood=likelihood)


def annealed_vae(
    encode: Encode,
    decode: Decode,
    *,
    gamma: ArrayLike,
    capacity: ArrayLike,
    threshold: ArrayLike,
    likelihood: Likelihood = bernoulli,
) -> Loss:
    """Make the loss of AnnealedVAE: reconstruction + gamma |KL - C(t)| (Burgess et al. 2018, eq. 8).

    `C(t) = capacity min(t / threshold, 1)`, with the first step t = 0. The distance is of the batch's mean KL, as in
    disentanglement_lib, not the mean of the images' distances, which is never less.

    The loss takes a batch `(images, t)`: give `train.trainer` the batch function `timed(batch)`. Reports also
    `capacity`, C(t) in nats, and `distance`, |KL - C(t)|.

    Args:
        encode: the encoder.
        decode: the decoder.
        gamma: the strength, 1000 in the study.
        capacity: c_max, the final C in nats.
        threshold: the step at which C is reached, 100,000 in the study.
        likelihood: of an image given the decoder's output.
    """
    checks.not_negative(gamma=gamma, capacity=capacity)
    checks.positive(threshold=threshold)

    def loss(params: PyTree, batch: tuple[Array, Array], key: Key) -> tuple[Array, Metrics]:
        images, t = batch

        def penalty(terms: Terms) -> tuple[Array, Metrics]:
            now = jnp.minimum(jnp.asarray(t, terms.kl.dtype) / threshold, 1) * capacity
            distance = jnp.abs(terms.kl.sum(1).mean() - now)
            return distance * gamma, {"capacity": now, "distance": distance}

        return regularised(encode, decode, penalty, likelihood=likelihood)(params, images, key)

    return loss


def timed(batch: Callable[[PyTree, Key, Array], PyTree]) -> Callable[[PyTree, Key, Array], tuple[PyTree, Array]]:
    """Make a batch function that gives `(batch, t)`, for a loss that depends on the step.

    >>> timed(lambda data, key, t: data)("images", None, 7)
    ('images', 7)
    """
    return lambda data, key, t: (batch(data, key, t), t)


def dip_vae_i(
    encode: Encode, decode: Decode, *, lambda_od: ArrayLike, lambda_d: ArrayLike, likelihood: Likelihood = bernoulli
) -> Loss:
    """Make the loss of DIP-VAE-I: the covariance of the posteriors' MEANS over the batch is drawn to the identity.

    Reconstruction + KL + `lambda_od * off_diagonal + lambda_d * diagonal` (Kumar et al. 2018, eq. 6), with those two
    of `distance_from_identity`. The study has lambda_d = 10 lambda_od.
    """
    return _dip(encode, decode, lambda terms: covariance(terms.mean), lambda_od, lambda_d, likelihood)


def dip_vae_ii(
    encode: Encode, decode: Decode, *, lambda_od: ArrayLike, lambda_d: ArrayLike, likelihood: Likelihood = bernoulli
) -> Loss:
    """Make the loss of DIP-VAE-II: the covariance of the SAMPLED codes is drawn to the identity.

    As `dip_vae_i` (Kumar et al. 2018, eq. 7), with `covariance(mean) + diag(mean variance)`, the law of total
    covariance, in closed form. The study has lambda_d = lambda_od.
    """
    of_samples = lambda terms: covariance(terms.mean) + jnp.diag(jnp.exp(terms.log_var).mean(0))  # noqa: E731
    return _dip(encode, decode, of_samples, lambda_od, lambda_d, likelihood)


def covariance(codes: Array) -> Array:
    """Give the covariance `[D, D]` of codes `[B, D]`, the sum of products divided by B, as in disentanglement_lib.

    Of a batch of B it is (B - 1) / B of the unbiased one: 1.6% less at 64. Centred first: the peer's mean of products
    minus product of means cancels in float32 when means are far from zero.
    """
    chex.assert_rank(codes, 2)
    centred = codes - codes.mean(0, keepdims=True)
    return centred.T @ centred / codes.shape[0]


def distance_from_identity(matrix: Array) -> Metrics:
    """Give `off_diagonal`, the sum over i != j of C_ij^2, and `diagonal`, the sum of (C_ii - 1)^2.

    >>> {k: float(v) for k, v in distance_from_identity(jnp.array([[3.0, 1.0], [1.0, 1.0]])).items()}
    {'off_diagonal': 2.0, 'diagonal': 4.0}
    """
    diagonal = jnp.diagonal(matrix)
    off = matrix * (1 - jnp.eye(matrix.shape[0], dtype=matrix.dtype))
    return {"off_diagonal": jnp.sum(jnp.square(off)), "diagonal": jnp.sum(jnp.square(diagonal - 1))}


def _dip(
    encode: Encode,
    decode: Decode,
    moments: Callable[[Terms], Array],
    lambda_od: ArrayLike,
    lambda_d: ArrayLike,
    likelihood: Likelihood,
) -> Loss:
    checks.not_negative(lambda_od=lambda_od, lambda_d=lambda_d)

    def penalty(terms: Terms) -> tuple[Array, Metrics]:
        distances = distance_from_identity(moments(terms))
        cost = lambda_od * distances["off_diagonal"] + lambda_d * distances["diagonal"]
        return terms.kl.sum(1).mean() + cost, distances

    return regularised(encode, decode, penalty, likelihood=likelihood)
