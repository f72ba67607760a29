"""Codes that nobody learned, beside learned ones: of an untrained network, pixels, their components, the factors.

All are `metrics.axes.Code`, functions of factors and a key, made image by image (`each_image`).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from interp_jax.core import checks, keys
from interp_jax.core.linalg import eigh, matmul
from interp_jax.core.types import Array, Key, PyTree
from interp_jax.data import factors as sets
from interp_jax.data.factors import Sizes
from interp_jax.data.named import Images
from interp_jax.train.trainer import Trainer
from interp_jax.vae.metrics.axes import Code

FINEST = 16
"""Pixels a side at most of images that are codes, or of which components are taken: finer ones are shrunk."""


class Begun(NamedTuple):
    """params: of a network before training."""

    params: PyTree


def begun(init: Callable[[Key], PyTree]) -> Trainer:
    """Make a run that is only begun, from the params that `train.trainer` would begin with, for a sweep beside others.

    >>> run = begun(lambda key: jnp.zeros(2))
    >>> run.step(run.init(jax.random.key(0)), None, 0)[0].params.tolist()
    [0.0, 0.0]
    """
    return Trainer(lambda key: Begun(init(keys.stream(key, "init"))), lambda state, data, t: (state, {}))


def each_image(images: Images, bits: PyTree, f: Callable[[Array, Array, Key], Array], *, batch: int = 1000) -> Code:
    """Make a code of `f(factors [F], image [H, W, C], key) -> [D]`, so many images at a time.

    Each has a key of its own for its nuisance, and another for what else is random in `f`.
    """
    checks.whole(1, batch=batch)

    def one(given: tuple[Array, Key]) -> Array:
        factors, key = given
        x = images.of(bits, sets.index(images.source.sizes, factors), keys.stream(key, "nuisance"))
        return f(factors, x, keys.stream(key, "latents"))

    return lambda factors, key: jax.lax.map(one, (factors, jax.random.split(key, len(factors))), batch_size=batch)


def pixels(x: Array) -> Array:
    """Give the pixels `[P]` of an image `[H, W, C]`, shrunk to 16 x 16 if there are more."""
    side = min(x.shape[0], FINEST)
    return jax.image.resize(x, (side, side, x.shape[2]), "linear").ravel()


class Principal(NamedTuple):
    """The first principal components of pixels. mean: `[P]`. directions: `[P, D]`, scaled to unit variance."""

    mean: Array
    directions: Array


def principal(images: Images, bits: PyTree, key: Key, count: int, *, n: int = 10_000) -> Principal:
    """Find the first `count` components of `n` images, uniform over the factors."""
    checks.whole(1, count=count)
    code = each_image(images, bits, lambda factors, x, own: pixels(x))
    x = code(sets.sample_factors(keys.stream(key, "factors"), images.source.sizes, n), keys.stream(key, "images"))
    if count > x.shape[1]:
        raise ValueError(f"want at most as many components as pixels, {x.shape[1]}, got {count=}")
    values, vectors = eigh(jnp.cov(x, rowvar=False))
    first = slice(-1, -1 - count, -1)
    return Principal(jnp.mean(x, 0), vectors[:, first] / jnp.sqrt(values[first])[None])


def project(components: Principal, x: Array) -> Array:
    """Give the components `[D]` of an image, each of variance 1."""
    return matmul(pixels(x) - components.mean, components.directions)


def told(sizes: Sizes, latents: int, factors: Array, key: Key) -> Array:
    """Give the perfect code of one combination: a latent `[D]` a factor, of variance 1; the others are normal noise.

    >>> told((3, 2), 2, jnp.array([1, 1]), jax.random.key(0)).tolist()
    [0.0, 1.0]
    """
    if latents < len(sizes):
        raise ValueError(f"want a latent for each of {len(sizes)} factors, got {latents=}")
    count = jnp.array(sizes)
    z = (factors - (count - 1) / 2) / jnp.sqrt((count**2 - 1) / 12)
    return jnp.concatenate([z, jax.random.normal(key, (latents - len(sizes),))])
