"""FactorVAE (Kim and Mnih 2018): a VAE whose total correlation is estimated by a second player, a discriminator.

The discriminator tells codes from codes whose latents were permuted over the batch, one by one: samples of the product
of the marginals. At its best its log ratio is `log q(z) - log prod_d q(z_d)`, whose mean is the total correlation.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from interp_jax.core import checks, keys
from interp_jax.core.types import Apply, Array, ArrayLike, Key, PyTree
from interp_jax.models.nets import Net
from interp_jax.models.vae import VAE
from interp_jax.train.trainer import Metrics, Trainer
from interp_jax.vae.objectives import Encode, Likelihood, Terms, batch_elbo, bernoulli, reparameterise, summary

_STREAMS = {"init", "batch", "loss", "discriminator", "other_batch", "other_loss", "permutation"}


class FactorState(NamedTuple):
    """What `factor_vae` carries: weights and optimiser of the VAE and of its adversary, the run's key."""

    params: PyTree
    optimizer: PyTree
    discriminator: PyTree
    adversary: PyTree
    key: Key


def permute_latents(codes: Array, key: Key) -> Array:
    """Permute each column of codes `[B, D]` on its own (Kim and Mnih 2018, algorithm 1)."""
    chex.assert_rank(codes, 2)
    return jax.random.permutation(key, codes, axis=0, independent=True)


def density_ratio(logits: Array) -> Array:
    """Give `log D(z) / (1 - D(z))` of logits `[2]`, the first of which stands for codes as they are.

    >>> float(density_ratio(jnp.array([2.0, 0.5])))
    1.5
    """
    chex.assert_shape(logits, (2,))
    return logits[0] - logits[1]


def total_correlation(apply: Apply, weights: PyTree, codes: Array) -> Array:
    """Estimate the total correlation of codes `[B, D]`: the mean log ratio by the discriminator (eq. 3).

    It has no bound's direction: too low while the discriminator is not trained, and on few codes it can overfit.
    """
    return jax.vmap(lambda z: density_ratio(apply(weights, z)))(codes).mean()


def discriminate(apply: Apply, weights: PyTree, codes: Array, permuted: Array) -> tuple[Array, Metrics]:
    """Give the cross entropy of telling `codes [B, D]` from `permuted [B, D]`, and the accuracy; log 2 at chance.

    `-(mean log D(z) + mean log(1 - D(z'))) / 2` (algorithm 2), exact at any logits: disentanglement_lib clips D to
    [1e-6, 1 - 1e-6], where its gradient stops.
    """
    each = jax.vmap(lambda z: density_ratio(apply(weights, z)))
    real, fake = each(codes), each(permuted)
    cost = 0.5 * (jax.nn.softplus(-real).mean() + jax.nn.softplus(fake).mean())
    right = 0.5 * (jnp.mean(real > 0, dtype=real.dtype) + jnp.mean(fake < 0, dtype=real.dtype))
    return cost, {"discriminator_loss": cost, "discriminator_accuracy": right}


def factor_vae(
    model: VAE,
    discriminator: Net,
    batch: Callable[[PyTree, Key, Array], Array],
    optimizer: optax.GradientTransformation,
    adversary: optax.GradientTransformation,
    *,
    gamma: ArrayLike,
    one_batch: bool = False,
    likelihood: Likelihood = bernoulli,
    streams: Mapping[str, Key] | None = None,
) -> Trainer:
    """Make the Trainer of FactorVAE: reconstruction + KL + gamma TC, TC by `total_correlation` (Kim and Mnih, eq. 2).

    A step is one of algorithm 2. The VAE moves on a batch; then the discriminator moves, on that batch's codes and on
    the permuted codes of a SECOND batch, drawn from the stream `other_batch` and encoded by the VAE as it now is. The
    KL is in closed form, where the algorithm has its sampled value.

    With `one_batch` it is the step of disentanglement_lib: the codes of the one batch are permuted, and both players
    move from where they stood. There each optimiser also counts every step, so that its 300,000 are, as its code reads,
    150,000 of both.

    Args:
        model: init, encode and decode of the VAE, any functions of those forms.
        discriminator: `key -> weights` and `(weights, z [D]) -> logits [2]`; `models.discriminator.mlp` is the study's.
        batch: `(data, key, t) -> images [B, ...]`.
        optimizer: of the VAE, `optax.adam(1e-4)` in the study.
        adversary: of the discriminator, `optax.adam(1e-4, b1=0.5, b2=0.9)` in the study.
        gamma: the strength; may be traced. At 0 the VAE trains as by `trainer` with `beta_vae` of beta 1.
        one_batch: the peer's form of the step.
        likelihood: of an image given the decoder's output.
        streams: keys that replace the run's own streams: `init`, `batch`, `loss` as in `train.trainer`; `discriminator`
            (its start), `other_batch`, `other_loss`, `permutation`.

    Returns:
        The Trainer; metrics `loss`, `reconstruction`, `kl`, `elbo`, `total_correlation` (before the step, unweighted),
        `discriminator_loss` and `discriminator_accuracy`, of which .5 is chance.
    """
    checks.not_negative(gamma=gamma)
    fixed = dict(streams or {})
    if unknown := fixed.keys() - _STREAMS:
        raise ValueError(f"want streams among {sorted(_STREAMS)}, got {sorted(unknown)}")

    def stream(key: Key, name: str) -> Key:
        return fixed.get(name, keys.stream(key, name))

    def begin(key: Key) -> FactorState:
        params, weights = model.init(stream(key, "init")), discriminator.init(stream(key, "discriminator"))
        return FactorState(params, optimizer.init(params), weights, adversary.init(weights), key)

    def cost(params: PyTree, weights: PyTree, images: Array, key: Key) -> tuple[Array, tuple[Terms, Metrics]]:
        terms = batch_elbo(model.encode, model.decode, params, images, key, likelihood=likelihood)
        metrics = {**summary(terms), "total_correlation": total_correlation(discriminator.apply, weights, terms.sample)}
        value = metrics["reconstruction"] + metrics["kl"] + gamma * metrics["total_correlation"]
        return value, (terms, {"loss": value, **metrics})

    def others(params: PyTree, data: PyTree, key: Key, t: Array) -> Array:
        images = batch(data, stream(key, "other_batch"), t)
        return _codes(model.encode, params, images, keys.at(stream(key, "other_loss"), t))

    def step(state: FactorState, data: PyTree, t: Array) -> tuple[FactorState, Metrics]:
        images = batch(data, stream(state.key, "batch"), t)
        player = jax.value_and_grad(cost, has_aux=True)
        noise = keys.at(stream(state.key, "loss"), t)
        (_, (terms, metrics)), gradient = player(state.params, state.discriminator, images, noise)
        updates, moments = optimizer.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)

        codes = terms.sample if one_batch else others(params, data, state.key, t)
        permuted = permute_latents(codes, keys.at(stream(state.key, "permutation"), t))
        opponent = jax.value_and_grad(discriminate, 1, has_aux=True)
        (_, more), descent = opponent(discriminator.apply, state.discriminator, terms.sample, permuted)
        moves, momentum = adversary.update(descent, state.adversary, state.discriminator)
        weights = optax.apply_updates(state.discriminator, moves)
        return FactorState(params, moments, weights, momentum, state.key), {**metrics, **more}

    return Trainer(begin, step)


def _codes(encode: Encode, params: PyTree, images: Array, key: Key) -> Array:
    """Sample the codes `[B, D]` of images."""
    noise = jax.random.split(key, images.shape[0])
    return jax.vmap(lambda x, k: reparameterise(*encode(params, x), k))(images, noise)
