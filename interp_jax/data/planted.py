"""Attributes planted on images: 60 exact concepts that any image can have or not, one of which may go with a class.

Each attribute is a fixed picture of light that is laid over the image where it is dark:

    image + (1 - image) min(sum_j present_j picture_j, 1)

48 are marks, of four kinds at twelve places along the border; 12 lie over all of the image: tints, stripes, gradients.
`draw` plants a spurious one: an attribute that shows with `strength` on images of one class, and on the others so
rarely that over all images it is no more frequent than any other. The others are decoys: there, and not spurious.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key, Numpy

PLACES = 12
MARKS = ("red square", "green cross", "blue ring", "yellow bar")
OVERALL = (
    "red tint", "green tint", "blue tint", "horizontal stripes", "vertical stripes", "diagonal stripes",
    "chequers", "dots", "light from the left", "light from the top", "frame", "dark middle",
)  # fmt: skip
NAMES = (*(f"{mark} {place}" for mark in MARKS for place in range(PLACES)), *OVERALL)
"""Of the attributes, in order: marks by kind, then by place (clockwise from the upper left corner)."""
COUNT = len(NAMES)
COLOURS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], np.float32)
LIGHT = 0.4  # of what lies over all of the image; marks have 1


class Planted(NamedTuple):
    """attribute, label: `[]` int32, what goes with which class. strength: `[]`, P(attribute | class)."""

    attribute: Array
    label: Array
    strength: ArrayLike


def pictures(side: int) -> Numpy:
    """Give the attributes' pictures, `[60, side, side, 3]` float32 in [0, 1]."""
    if side < 12:
        raise ValueError(f"want side >= 12 for marks of two pixels, got {side=}")
    marks = [_placed(shape, colour, side) for shape, colour in zip(_shapes(margin(side)), COLOURS, strict=True)]
    return np.concatenate([*marks, LIGHT * _overall(side)]).astype(np.float32)


def margin(side: int) -> int:
    """Give the width of the border that marks lie on.

    >>> margin(24)
    4
    """
    return side // 6


def framed(images: Array, side: int) -> Array:
    """Bring images `[N, H, W, C]` to the size within the border, which is dark: `[N, side, side, C]`."""
    chex.assert_rank(images, 4)
    inner = side - 2 * margin(side)
    small = jax.image.resize(images, (len(images), inner, inner, images.shape[3]), "linear")
    return jnp.pad(small, ((0, 0), *(2 * [2 * [margin(side)]]), (0, 0)))


def attach(image: Array, present: Array, pictures: Array) -> Array:
    """Lay the attributes that are present, `[60]` of 0 and 1, over ONE image `[side, side, 1 or 3]`: in colour."""
    chex.assert_equal_shape_prefix([present, pictures], 1)
    light = jnp.minimum(jnp.tensordot(present, pictures, 1), 1)
    image = jnp.broadcast_to(image, light.shape)
    return image + (1 - image) * light


def rates(label: ArrayLike, planted: Planted, *, rate: float, classes: int) -> Array:
    """Give the probability of each attribute on an image of this class, `[60]`; 0 where it would have to be less.

    >>> both = [rates(label, Planted(jnp.int32(3), jnp.int32(1), 0.8), rate=0.1, classes=10)[3] for label in (1, 0)]
    >>> [round(float(each), 4) for each in both]
    [0.8, 0.0222]
    """
    checks.between(0, 1, rate=rate)
    checks.whole(2, classes=classes)
    elsewhere = jnp.maximum((rate - planted.strength / classes) / (1 - 1 / classes), 0)
    own = jnp.where(label == planted.label, planted.strength, elsewhere)
    return jnp.where(jnp.arange(COUNT) == planted.attribute, own, rate)


def draw(key: Key, label: ArrayLike, planted: Planted, *, rate: float, classes: int) -> Array:
    """Draw which attributes are present on ONE image of a class: `[60]` float32 of 0 and 1, independent given it."""
    chance = jax.random.uniform(key, (COUNT,))
    return (chance < rates(label, planted, rate=rate, classes=classes)).astype(jnp.float32)


def choose(key: Key, strength: ArrayLike, *, classes: int) -> Planted:
    """Choose an attribute and a class at random."""
    attribute = jax.random.randint(keys.stream(key, "attribute"), (), 0, COUNT)
    return Planted(attribute, jax.random.randint(keys.stream(key, "class"), (), 0, classes), strength)


def _shapes(size: int) -> list[Numpy]:
    """Draw the four marks, `[size, size]` of 0 and 1."""
    centre = np.abs(np.arange(size) - (size - 1) / 2)
    thick = max(size / 5, 0.6)
    cross = (centre[:, None] < thick) | (centre[None] < thick)
    edge = np.maximum(centre[:, None], centre[None]) > size / 2 - 1.01
    bar = np.broadcast_to(centre[:, None] < thick, (size, size))
    return [np.ones((size, size)), cross, edge, bar]


def _placed(shape: Numpy, colour: Numpy, side: int) -> Numpy:
    """Put a mark at each of the twelve places, clockwise."""
    size = len(shape)
    step = (side - size) / 3
    top = [(0, i) for i in range(4)] + [(i, 3) for i in range(1, 4)]
    ring = top + [(3, i) for i in (2, 1, 0)] + [(i, 0) for i in (2, 1)]
    found = np.zeros((PLACES, side, side, 3))
    for picture, (row, column) in zip(found, ring, strict=True):
        y, x = round(row * step), round(column * step)
        picture[y : y + size, x : x + size] = shape[:, :, None] * colour
    return found


def _overall(side: int) -> Numpy:
    """Draw what lies over all of the image, in [0, 1]."""
    along = np.arange(side)
    rows, columns = np.meshgrid(along, along, indexing="ij")
    wide = max(side // 8, 1)
    grey = [
        rows // wide % 2,
        columns // wide % 2,
        (rows + columns) // wide % 2,
        (rows // wide + columns // wide) % 2,
        (rows % (2 * wide) < wide) & (columns % (2 * wide) < wide),
        1 - columns / (side - 1),
        1 - rows / (side - 1),
        np.minimum(np.minimum(rows, columns), side - 1 - np.maximum(rows, columns)) < max(side // 12, 1),
        np.hypot(rows - (side - 1) / 2, columns - (side - 1) / 2) / (side / 2**0.5),
    ]
    tints = [np.broadcast_to(colour, (side, side, 3)) for colour in COLOURS[:3]]
    return np.stack([*tints, *(np.repeat(each[:, :, None], 3, 2) for each in grey)])
