"""A whole set of black-and-white images on the device, one bit a pixel: dSprites' 737,280 images take 377 MB.

A CPU core looks up some 1,000,000 images a second and draws some 60,000; drawing
takes no memory. The packed set serves passes over everything: exact metrics, nearest neighbours. Bits are in numpy's
order, the first pixel in the highest bit. Pass the array as an argument of a jitted function, never by closure: a
closure is copied into the program.
"""

import chex
import jax
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike
from interp_jax.data import factors as sets


def pack_image(image: Array) -> Array:
    """Pack one image of 0 and 1, `[H, W]` or `[H, W, 1]`, into uint8 `[H W / 8]`."""
    if image.size % 8:
        raise ValueError(f"want a multiple of 8 pixels, got an image of {image.shape}")
    return jnp.packbits(image.reshape(-1) > 0.5)


def unpack(bits: Array, shape: tuple[int, ...]) -> Array:
    """Give the float32 image of this shape from its bits `[size / 8]`.

    >>> image = jnp.eye(4)
    >>> bool((unpack(pack_image(image), (4, 4)) == image).all())
    True
    """
    chex.assert_rank(bits, 1)
    chex.assert_type(bits, jnp.uint8)
    return jnp.unpackbits(bits).reshape(shape).astype(jnp.float32)


def pack(data: sets.FactorSet, indices: Array | None = None, *, chunk: int = 4096) -> Array:
    """Draw and pack the images with these indices (all, in order, if None). Gives uint8 `[N, H W / 8]`.

    data: a set of black-and-white images without nuisance. chunk: images drawn at a time, which bounds the memory
    beyond the result (16 KiB an image of 64 x 64).
    """
    checks.whole(1, chunk=chunk)
    if data.shape[2] != 1:
        raise ValueError(f"want a set of one channel, got images of {data.shape}")
    which = jnp.arange(sets.count(data.sizes)) if indices is None else indices
    return jax.lax.map(lambda i: pack_image(data.render(sets.factors(data.sizes, i))), which, batch_size=chunk)


def lookup(bits: Array, index: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Give image number `index` `[]` of a packed set `[N, size / 8]`; NaN where there is no such image."""
    chex.assert_rank(bits, 2)
    number = jnp.asarray(index)
    image = unpack(jax.lax.dynamic_index_in_dim(bits, number, keepdims=False), shape)
    return jnp.where((number >= 0) & (number < bits.shape[0]), image, jnp.nan)
