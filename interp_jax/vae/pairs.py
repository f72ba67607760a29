"""The methods of a study of weak supervision, each trained on pairs of images at one beta (Locatello et al. 2020).

    method                  what it is told of a pair     the average of what is shared
    beta_vae                nothing                       none: the beta-VAE of the images of both
    ada_gvae                that some factors are shared  arithmetic
    ada_ml_vae              the same                      product of the densities
    ada_ml_vae_geometric    the same                      its root, as in disentanglement_lib and disent
    gvae                    how many factors differ       arithmetic
    labelled_gvae           which factors differ          arithmetic

A group whose size is not known is inferred by `weak.adaptive`; where the number is known so many latents, those
farthest apart, are not shared; where the factors are known each has a latent, in their order, and further latents
are always shared. What differs is a factor's class: the paper counts the factors drawn again, which may fall on their
old class. `Training.scale` gives beta the meaning that it has at 64 x 64 pixels; Adam takes no notice of the size.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.data.named import Couples
from interp_jax.models.vae import VAE
from interp_jax.train.trainer import Loss, Metrics, Trainer, trainer
from interp_jax.vae import objectives, weak
from interp_jax.vae.objectives import Encode

Told = Callable[[Array, int], PyTree]
"""`(differ [F] bool, latents) -> known`, what `weak.Share` is given of one pair."""


def nothing(differ: Array, latents: int) -> tuple[()]:
    """Tell nothing."""
    del differ, latents
    return ()


def how_many(differ: Array, latents: int) -> Array:
    """Tell how many factors differ, `[]` int32."""
    del latents
    return differ.sum(dtype=jnp.int32)


def which(differ: Array, latents: int) -> Array:
    """Tell of each latent whether it is shared, `[latents]` bool: the first have the factors, the rest always are.

    >>> which(jnp.array([True, False]), 3).tolist()
    [False, True, True]
    """
    if latents < len(differ):
        raise ValueError(f"want a latent for each of {len(differ)} factors, got {latents=}")
    return jnp.concatenate([~differ, jnp.ones(latents - len(differ), bool)])


def apart(divergence: Array, known: PyTree) -> Array:
    """Share no latent."""
    del known
    return jnp.zeros_like(divergence, bool)


class Method(NamedTuple):
    """title: as in figures. share, average: see `vae.weak`. told: what the method is told of a pair."""

    title: str
    share: weak.Share
    average: weak.Average = weak.arithmetic
    told: Told = nothing


METHODS: dict[str, Method] = {
    "beta_vae": Method("beta-VAE", apart),
    "ada_gvae": Method("Ada-GVAE", weak.adaptive),
    "ada_ml_vae": Method("Ada-ML-VAE", weak.adaptive, weak.product),
    "ada_ml_vae_geometric": Method("Ada-ML-VAE, geometric", weak.adaptive, weak.geometric),
    "gvae": Method("GVAE, number known", weak.changed, told=how_many),
    "labelled_gvae": Method("GVAE, factors known", weak.labelled, told=which),
}


class Training(NamedTuple):
    """What all methods share. couples: `(data, key, t) -> Couples`. lr: Adam's. scale: of the reconstruction."""

    model: VAE
    latents: int
    couples: Callable[[PyTree, Key, Array], Couples]
    lr: float = 1e-4
    scale: float = 1.0


def method(name: str, given: Training) -> Callable[[ArrayLike], Trainer]:
    """Make the factory `beta -> Trainer` of a method; of one seed all begin from the same weights, on the same images.

    Raises:
        ValueError: an unknown name.
    """
    if name not in METHODS:
        raise ValueError(f"want a method among {[*METHODS]}, got {name!r}")
    checks.positive(lr=given.lr, scale=given.scale)

    def batch(data: PyTree, key: Key, t: Array) -> weak.Pairs:
        return told(name, given.couples(data, key, t), given.latents)

    return lambda beta: trainer(given.model.init, loss(name, beta, given), batch, optax.adam(given.lr))


def loss(name: str, beta: ArrayLike, given: Training) -> Loss:
    """Make the loss of a method, of `weak.Pairs` with what it is told; its reconstruction is scaled."""
    return weak.group_vae(
        given.model.encode, given.model.decode, beta, average=METHODS[name].average, share=METHODS[name].share,
        likelihood=lambda logits, x: objectives.bernoulli(logits, x) * given.scale,
    )  # fmt: skip


def told(name: str, couples: Couples, latents: int) -> weak.Pairs:
    """Give the pairs with what this method is told of each."""
    known = jax.vmap(lambda differ: METHODS[name].told(differ, latents))(couples.differ)
    return weak.Pairs(couples.first, couples.second, known)


def terms(name: str, params: PyTree, couples: Couples, key: Key, given: Training) -> Metrics:
    """Give the terms of a method's loss on these pairs, in nats of the images as they are: see `weak.group_vae`."""
    pairs = told(name, couples, given.latents)
    return loss(name, 1.0, given._replace(scale=1.0))(params, pairs, key)[1]


def set_apart(encode: Encode, params: PyTree, couples: Couples) -> Array:
    """Give how many latents of each pair `weak.adaptive` would not share, `[B]`: its guess of what differs."""

    def one(first: Array, second: Array) -> Array:
        divergence = weak.one_way(*(weak.Posterior(*encode(params, x)) for x in (first, second)))
        return jnp.sum(~weak.adaptive(divergence), dtype=jnp.int32)

    return jax.vmap(one)(couples.first, couples.second)


class HeldOut(NamedTuple):
    """One model on pairs. terms: of the losses of K methods, by name, `[K]`. set_apart, differ: of N pairs, `[N]` int.

    set_apart: the latents that `weak.adaptive` would not share. differ: the factors that differ.
    """

    terms: Metrics
    set_apart: Array
    differ: Array


def held_out(
    names: Sequence[str], params: PyTree, draw: Callable[[Array], Couples], blocks: int, key: Key, given: Training
) -> HeldOut:
    """Evaluate one model on `draw(0)`, `draw(1)`, ...: by the loss of each method, and by what it would set apart."""

    def block(t: Array) -> HeldOut:
        couples, noise = draw(t), keys.at(key, t)
        losses = [terms(name, params, couples, noise, given) for name in names]
        stacked = jax.tree.map(lambda *each: jnp.stack(each), *losses)
        return HeldOut(stacked, set_apart(given.model.encode, params, couples), couples.differ.sum(1))

    every = jax.lax.map(block, jnp.arange(blocks))
    means = {name: values.mean(0) for name, values in every.terms.items()}
    return HeldOut(means, every.set_apart.ravel(), every.differ.ravel())


class Number(NamedTuple):
    """How well a model's latents tell how many factors differ, of pairs in which some do.

    right: the share of pairs with as many latents set apart. constant: the share that the best constant has. found:
    `[F - 1]`, the mean number set apart where 1, 2, ... factors differ; NaN where no pair has so many.
    """

    right: Array
    constant: Array
    found: Array


def number_found(held: HeldOut, factors: int) -> Number:
    """Compare the number of latents set apart with that of the factors that differ, of at most F - 1."""
    at = held.differ[None] == jnp.arange(1, factors)[:, None]
    right = jnp.sum(at & (held.set_apart == held.differ)[None])
    return Number(right / at.sum(), at.sum(1).max() / at.sum(), (at * held.set_apart[None]).sum(1) / at.sum(1))
