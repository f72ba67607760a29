"""dSprites with nuisance that is no factor: colour, noise, a picture behind (Locatello et al. 2019, section 5.1).

Each makes a `FactorSet` of dSprites' factors with images `[size, size, 3]`; the nuisance is drawn anew from the key
of each image.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import keys
from interp_jax.core.types import Array, ArrayLike, Key
from interp_jax.data import dsprites
from interp_jax.data import factors as sets

# The picture behind the sprites has the size of the study's; a patch spans 64 of its pixels at every image size.
PICTURE = (274, 350)
_WAVES = 48


def coloured_sprite(sprite: Array, key: Key) -> Array:
    """Color-dSprites: a sprite `[H, W]` of 0 and 1 in a colour U(.5, 1)^3, on black. Gives `[H, W, 3]`."""
    return sprite[:, :, None] * jax.random.uniform(key, (1, 1, 3), minval=0.5)


def noisy_background(sprite: Array, key: Key) -> Array:
    """Noisy-dSprites: a white sprite on noise U(0, 1) in every pixel and channel, the sum cut off at 1."""
    return jnp.minimum(sprite[:, :, None] + jax.random.uniform(key, (*sprite.shape, 3)), 1)


def picture_background(sprite: Array, key: Key) -> Array:
    """After Scream-dSprites: the sprite inverts a random patch of a picture that is averaged with a random colour.

    The study's picture (Munch's Scream) is not shipped; `picture` is smooth and made of waves, so scores on the two are
    not comparable.
    """
    top, left = (
        jax.random.randint(keys.stream(key, name), (), 0, room - 64)
        for name, room in zip(("top", "left"), PICTURE, strict=True)
    )
    colour = jax.random.uniform(keys.stream(key, "colour"), (1, 1, 3))
    rows, columns = (_centres(n) + start for n, start in zip(sprite.shape, (top, left), strict=True))
    behind = (picture(rows, columns) + colour) / 2
    return jnp.where(sprite[:, :, None] == 1, 1 - behind, behind)


def picture(rows: Array, columns: Array) -> Array:
    """Give the picture's colours `[R, C, 3]` in [0, 1] at these rows `[R]` and columns `[C]`, in pixels.

    A fixed sum of waves whose amplitude is proportional to their length, as in natural pictures (power 1 / f^2).
    """
    down, across, amplitude, phase = (jnp.asarray(a) for a in _waves())
    i = rows[:, None] * down[None, :]
    j = (columns[:, None] * across[None, :])[:, :, None] + phase[None, :, :]
    # cos(i + j) = cos i cos j - sin i sin j: one product of small matrices instead of a cosine for each pixel and wave.
    first = jnp.concatenate([jnp.cos(i), -jnp.sin(i)], 1)
    second = jnp.concatenate([jnp.cos(j), jnp.sin(j)], 1)
    both = jnp.concatenate([amplitude, amplitude])
    return jnp.clip(0.5 + jnp.einsum("rk,ckd,k->rcd", first, second, both, precision="highest"), 0, 1)


@functools.cache
def data(variant: Callable[[Array, Key], Array], size: int = 64) -> sets.FactorSet:
    """Make the factor set of a variant: `data(noisy_background)` has images `[size, size, 3]` and needs a key."""

    def draw(factors: ArrayLike, key: Key | None = None) -> Array:
        nuisance = sets.need_key(key, variant.__name__)
        return variant(dsprites.render(factors, size=size), nuisance)

    return sets.FactorSet(dsprites.FACTOR_NAMES, dsprites.FACTOR_SIZES, (size, size, 3), draw)


def _centres(size: int) -> Array:
    return (jnp.arange(size, dtype=jnp.float32) + 0.5) * (64 / size) - 0.5


@functools.cache
def _waves() -> tuple[np.ndarray, ...]:
    """Give wave vectors down and across `[K]` (radians a pixel), amplitudes `[K]`, phases `[K, 3]`; no chance."""
    k = np.arange(_WAVES)
    golden = (np.sqrt(5) - 1) / 2
    length = np.geomspace(320, 8, _WAVES)
    angle = 2 * np.pi * golden * k
    amplitude = 0.22 * length / np.sqrt(np.sum(length**2) / 2)
    phase = 2 * np.pi * (golden * k**2)[:, None] + np.array([0.0, 0.9, 2.0])[None, :]
    waves = (2 * np.pi / length * np.sin(angle), 2 * np.pi / length * np.cos(angle), amplitude, phase % (2 * np.pi))
    return tuple(wave.astype(np.float32) for wave in waves)
