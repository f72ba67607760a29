"""Sets of images made of factors, by name, and images of theirs on a device: looked up where bits will do, else drawn.

    images = named.load("dsprites", 16)
    step(params, images.batch(64)(images.bits, key, t))           # inside jit, bits its argument

Black-and-white sets are packed (`data.packed`), others are drawn anew each time. Every draw is a function of
`(bits, key, t)`, as `train.trainer` wants its batches.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from interp_jax.core import keys
from interp_jax.core.types import Array, Key, PyTree
from interp_jax.data import arm, dsprites, dsprites_variants, packed, shapes3d
from interp_jax.data import factors as sets

SETS: dict[str, Callable[[int], sets.FactorSet]] = {
    "dsprites": dsprites.data,
    "colour-dsprites": partial(dsprites_variants.data, dsprites_variants.coloured_sprite),
    "noisy-dsprites": partial(dsprites_variants.data, dsprites_variants.noisy_background),
    "picture-dsprites": partial(dsprites_variants.data, dsprites_variants.picture_background),
    "room": shapes3d.data,
    "arm": arm.data,
}
"""By name, `size -> FactorSet` of so many pixels a side: room is like Shapes3D, arm in the spirit of MPI3D."""


class Couples(NamedTuple):
    """Pairs that share some factors. first, second: images `[B, H, W, C]`. differ: `[B, F]` bool, by factor."""

    first: Array
    second: Array
    differ: Array


class Images(NamedTuple):
    """Where images come from. bits: packed, for black-and-white sets; else () and they are drawn anew each time."""

    source: sets.FactorSet
    bits: PyTree

    def of(self, bits: PyTree, index: Array, key: Key) -> Array:
        """Give the image of one combination of factors, by its number; nuisance is drawn from the key."""
        if self.source.shape[2] == 1:
            return packed.lookup(bits, index, self.source.shape)
        return self.source.render(sets.factors(self.source.sizes, index), key)

    def each(self, f: Callable[[Array], PyTree], bits: PyTree, key: Key, *, batch: int = 1024) -> PyTree:
        """Apply `f` to all images in order, so many at a time: `[count, ...]`; image i draws nuisance from the key."""
        numbers = jnp.arange(sets.count(self.source.sizes))
        return jax.lax.map(lambda i: f(self.of(bits, i, keys.at(key, i))), numbers, batch_size=batch)

    def batch(self, size: int) -> Callable[[PyTree, Key, Array], Array]:
        """Make the batch function `(bits, key, t) -> [size, H, W, C]`: uniform over factors, with replacement."""

        def draw(bits: PyTree, key: Key, t: Array) -> Array:
            own = keys.at(key, t)
            rows = jax.random.randint(keys.stream(own, "rows"), (size,), 0, sets.count(self.source.sizes))
            noise = jax.random.split(keys.stream(own, "nuisance"), size)
            return jax.vmap(partial(self.of, bits))(rows, noise)

        return draw

    def couples(self, size: int, changes: int | None = None) -> Callable[[PyTree, Key, Array], Couples]:
        """Make the batch function of so many pairs whose second image has some factors drawn again.

        changes: how many, see `factors.sample_changes`; uniform from 1 to F - 1 if None. A factor that falls on its
        old class does not differ, so that fewer may, or none. Each image has nuisance of its own.
        """

        def draw(bits: PyTree, key: Key, t: Array) -> Couples:
            own = keys.at(key, t)
            first, second, _ = sets.sample_changes(keys.stream(own, "factors"), self.source.sizes, size, changes)
            noise = jax.random.split(keys.stream(own, "nuisance"), (2, size))
            number = jax.vmap(partial(sets.index, self.source.sizes))
            one, other = (
                jax.vmap(partial(self.of, bits))(number(rows), each)
                for rows, each in zip((first, second), noise, strict=True)
            )
            return Couples(one, other, first != second)

        return draw


def load(name: str, size: int) -> Images:
    """Prepare a set of `SETS` at so many pixels a side; a black-and-white one is drawn and packed.

    Raises:
        ValueError: an unknown name.
    """
    if name not in SETS:
        raise ValueError(f"want a set among {[*SETS]}, got {name!r}")
    source = SETS[name](size)
    return Images(source, jax.jit(lambda: packed.pack(source))() if source.shape[2] == 1 else ())
