"""Weak supervision by pairs that share some factors: Ada-GVAE and ML-VAE (Locatello et al. 2020, and its sources).

Both images of a pair are encoded; in the latents that are taken to be shared, both posteriors are replaced by one
average; each image is then decoded from a sample of its own. Three choices, all functions:

    how far apart are two posteriors of a latent?   one_way (paper and disentanglement_lib), symmetric (disent)
    which latents are shared?                       adaptive, changed (their number known), labelled (all known)
    what is the average?                            arithmetic (GVAE), product (ML-VAE), geometric (the peers' ML-VAE)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.train.trainer import Loss, Metrics
from interp_jax.vae.objectives import Decode, Encode, Likelihood, Terms, bernoulli, bound, summary


class Posterior(NamedTuple):
    """Independent normals of one example's latents. mean, log_var: `[D]`."""

    mean: Array
    log_var: Array


class Pairs(NamedTuple):
    """A batch of pairs. first, second: `[B, ...]`. known: `[B, ...]`, what `share` is told of each pair, or ()."""

    first: Array
    second: Array
    known: PyTree = ()


Divergence = Callable[[Posterior, Posterior], Array]
"""`(first, second) -> [D]`."""
Share = Callable[[Array, PyTree], Array]
"""`(divergence [D], known) -> [D]` booleans, True where the pair shares a latent."""
Average = Callable[[Posterior, Posterior], Posterior]


def one_way(first: Posterior, second: Posterior) -> Array:
    """Give `KL(first || second)` of each latent, in nats `[D]`, as in Locatello et al. (2020, section 4).

    disentanglement_lib takes twice this, for the same threshold. Not symmetric: where the variances differ, exchanging
    the images of a pair can change which latents count as shared.
    """
    shift = first.log_var - second.log_var
    return 0.5 * (jnp.expm1(shift) - shift + jnp.square(first.mean - second.mean) * jnp.exp(-second.log_var))


def symmetric(first: Posterior, second: Posterior) -> Array:
    """Give the mean of the divergences both ways, `[D]`, disent's default."""
    return 0.5 * (one_way(first, second) + one_way(second, first))


def adaptive(divergence: Array, known: PyTree = ()) -> Array:
    """Share the latents whose divergence is less than half way between the least and the greatest, the group inferred.

    Locatello et al. (2020, section 4); at least one is shared and one is not, unless all are equal: then none is.

    >>> adaptive(jnp.array([0.1, 3.0, 0.2, 1.7])).tolist()
    [True, False, True, False]
    """
    del known
    return divergence < 0.5 * (divergence.min() + divergence.max())


def changed(divergence: Array, known: Array) -> Array:
    """Share all but the k = `known` latents of greatest divergence, the size of the group known; k may differ by pair.

    Of equal divergences the later latents count as greater.

    >>> changed(jnp.array([0.1, 3.0, 0.2, 1.7]), jnp.array(1)).tolist()
    [True, False, True, True]
    """
    chex.assert_rank(known, 0)
    rank = jnp.argsort(jnp.argsort(divergence, stable=True))
    return rank < divergence.shape[0] - known


def labelled(divergence: Array, known: Array) -> Array:
    """Share the latents that are `known` to be shared, `[D]` booleans; they tie each factor to a latent."""
    chex.assert_equal_shape([divergence, known])
    return known


def arithmetic(first: Posterior, second: Posterior) -> Posterior:
    """Average means and variances (GVAE: Hosoya 2019).

    disent 0.8 averages the second mean with itself; this is disentanglement_lib's.
    """
    log_var = jnp.logaddexp(first.log_var, second.log_var) - np.log(2)
    return Posterior(0.5 * (first.mean + second.mean), log_var)


def product(first: Posterior, second: Posterior) -> Posterior:
    """Multiply the densities and normalise: precisions add (ML-VAE: Bouchacourt et al. 2018)."""
    log_var = -jnp.logaddexp(-first.log_var, -second.log_var)
    weight, other = (jax.nn.sigmoid(sign * (second.log_var - first.log_var)) for sign in (1, -1))
    return Posterior(weight * first.mean + other * second.mean, log_var)


def geometric(first: Posterior, second: Posterior) -> Posterior:
    """Take the root of `product` and normalise: its mean, twice its variance.

    What disentanglement_lib and disent compute for ML-VAE. Of two equal posteriors it is that posterior; their product
    has half the variance.
    """
    both = product(first, second)
    return Posterior(both.mean, both.log_var + np.log(2))


def averaged(first: Posterior, second: Posterior, shared: Array, average: Average) -> tuple[Posterior, Posterior]:
    """Replace both posteriors by their average in the latents that are `shared`, booleans `[D]`."""
    both = average(first, second)

    def replace(own: Posterior) -> Posterior:
        return Posterior(*(jnp.where(shared, new, old) for new, old in zip(both, own, strict=True)))

    return replace(first), replace(second)


def group_vae(
    encode: Encode,
    decode: Decode,
    beta: ArrayLike,
    *,
    average: Average,
    share: Share = adaptive,
    divergence: Divergence = one_way,
    likelihood: Likelihood = bernoulli,
) -> Loss:
    """Make the loss of a VAE of pairs: mean over both images of reconstruction + beta KL, of the averaged posteriors.

    Takes `(params, Pairs, key)`. With nothing shared it is the mean of the two images' beta-VAE losses, with noise from
    the streams `first` and `second` of the key. A shared latent's KL counts for each image, and its two samples are
    independent, as in disentanglement_lib. No gradient passes through the choice of latents. Reports `reconstruction`,
    `kl`, `elbo`, means per image, and `shared`, the mean number of shared latents.
    """
    checks.not_negative(beta=beta)

    def one(params: PyTree, pair: Pairs, noise: tuple[Key, ...]) -> tuple[Terms, Terms, Array]:
        first, second = (Posterior(*encode(params, x)) for x in (pair.first, pair.second))
        shared = share(divergence(first, second), pair.known)
        a, b = averaged(first, second, shared, average)
        given = {"likelihood": likelihood}
        terms = bound(decode, params, pair.first, *a, noise[0], **given)
        return terms, bound(decode, params, pair.second, *b, noise[1], **given), shared

    def loss(params: PyTree, pairs: Pairs, key: Key) -> tuple[Array, Metrics]:
        chex.assert_equal_shape([pairs.first, pairs.second])
        count = len(pairs.first)
        noise = tuple(jax.random.split(keys.stream(key, name), count) for name in ("first", "second"))
        first, second, shared = jax.vmap(one, (None, 0, 0))(params, pairs, noise)
        metrics = jax.tree.map(lambda a, b: 0.5 * (a + b), summary(first), summary(second))
        metrics["shared"] = shared.sum(1, dtype=metrics["kl"].dtype).mean()
        return metrics["reconstruction"] + beta * metrics["kl"], metrics

    return loss


def ada_gvae(encode: Encode, decode: Decode, beta: ArrayLike = 1.0, **choices: Any) -> Loss:
    """Make the loss of Ada-GVAE: `group_vae` with the arithmetic average; `choices` are its other keywords."""
    return group_vae(encode, decode, beta, average=arithmetic, **choices)


def ml_vae(encode: Encode, decode: Decode, beta: ArrayLike = 1.0, **choices: Any) -> Loss:
    """Make the loss of (Ada-)ML-VAE: `group_vae` with the product of the posteriors.

    The peers' is `group_vae(..., average=geometric)`.
    """
    return group_vae(encode, decode, beta, average=product, **choices)
