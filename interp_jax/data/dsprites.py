"""dSprites from its factors in closed form (Matthey et al. 2017): no file, any number of images a step, on the device.

The published set was drawn without antialiasing: a pixel is white iff its centre lies in the sprite. The constants were
fitted to the frames of the published animation; in that fit 57 of 64 held-out true images agreed in every pixel and 7
in all but one. The published file itself is not at hand, so the tests check the geometry, not the constants.

Factors, in the order of the published file: shape (square, ellipse, heart), scale (.5 to 1),
orientation (0 to 2 pi, both ends, so classes 0 and 39 are one angle), position x (column), position y (row).
Coordinates are indices of the 64 x 64 grid's pixels, x to the right, y down.
"""

import functools
import math

import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike, Key
from interp_jax.data import factors as sets

FACTOR_NAMES = ("shape", "scale", "orientation", "position x", "position y")
FACTOR_SIZES = (3, 6, 40, 32, 32)
SHAPES = ("square", "ellipse", "heart")

CODED = (0, 0, 0, 1, 2, 2, 2, 2, 3, 4)
"""Which factor each number of `code` belongs to."""

# Half side; half axes and corners of the polygon that draws the ellipse; the heart's half width, height and offset.
SQUARE = 9.598
ELLIPSE = (12.791, 7.223)
CORNERS = 50
HEART = (0.59966, 0.66218, 1.4369)
# A table made in float64: accurate on every device, and the two ends are one angle to the last bit.
_ANGLES = 2 * np.pi * (np.arange(40) % 39) / 39
_TURN = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)]).astype(np.float32)


def render(factors: ArrayLike, *, size: int = 64) -> Array:
    """Draw one sprite. factors: `[5]` int classes. Gives `[size, size]` float32, 1 in the sprite and 0 outside.

    size: pixels a side. Other sizes than 64 sample the same picture at the centres of a coarser (or finer) grid.
    Concrete factors out of range raise ValueError; traced ones give an image of NaN.

    >>> import jax
    >>> draw = jax.jit(lambda factors: render(factors, size=8))
    >>> draw(jnp.array([0, 5, 0, 16, 16])).astype(int).tolist()[4]
    [0, 0, 0, 1, 1, 0, 0, 0]
    """
    checks.whole(1, size=size)
    classes, valid = sets.checked(FACTOR_SIZES, factors, FACTOR_NAMES)
    u, v = _sprite_coordinates(classes, size)
    shape = classes[0]
    inside = jnp.where(shape == 0, in_square(u, v), jnp.where(shape == 1, in_ellipse(u, v), in_heart(u, v)))
    return jnp.where(valid, inside.astype(jnp.float32), jnp.nan)


def in_square(u: Array, v: Array) -> Array:
    """Tell which points lie in the square `max(|u|, |v|) < 9.598`."""
    return jnp.maximum(jnp.abs(u), jnp.abs(v)) < SQUARE


def in_ellipse(u: Array, v: Array) -> Array:
    """Tell which points lie in the ellipse, drawn as a polygon of 50 corners, one of them on the long axis.

    A true ellipse of the best axes is wrong in 4 pixels of 83 true frames, the polygon in none. Both reflections map
    the polygon to itself, so the 13 edges of one quadrant suffice.
    """
    p, q = jnp.abs(u) / ELLIPSE[0], jnp.abs(v) / ELLIPSE[1]
    normals = [(2 * j + 1) * math.pi / CORNERS for j in range(CORNERS // 4 + 1)]
    heights = [math.cos(angle) * p + math.sin(angle) * q for angle in normals]
    return functools.reduce(jnp.maximum, heights) < math.cos(math.pi / CORNERS)


def in_heart(u: Array, v: Array) -> Array:
    """Tell which points lie in the heart x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t.

    With c = cos t the height is y = (4 - 2c^2 - 8c^4) + c (19 - 8c^2), and x knows c^2 = 1 - (x/16)^(2/3) alone, so
    the two branches +c and -c are the upper and lower edge: inside iff (y - 4 + 2c^2 + 8c^4)^2 < c^2 (19 - 8c^2)^2.
    """
    width, height, offset = HEART
    sine = u / (16 * width)
    y = -(v + offset) / height
    c2 = 1 - jnp.exp(jnp.log(sine * sine) / 3)
    middle = y - 4 + c2 * (2 + 8 * c2)
    edge = 19 - 8 * c2
    return middle * middle < c2 * edge * edge


def code(factors: ArrayLike) -> Array:
    """Write factors `[5]` as numbers for a linear probe to find, `[10]` float32; `CODED` says whose each is.

    Shape as one of three; scale and positions from -1 to 1; the angle's cosine and sine, and those of twice the angle,
    which is what an ellipse has.
    """
    classes, valid = sets.checked(FACTOR_SIZES, factors, FACTOR_NAMES)
    shape = (jnp.arange(3) == classes[0]).astype(jnp.float32)
    scale, x, y = (2 * classes[i].astype(jnp.float32) / (FACTOR_SIZES[i] - 1) - 1 for i in (1, 3, 4))
    cosine, sine = jnp.asarray(_TURN)[:, classes[2]]
    turn = jnp.stack([cosine, sine, cosine**2 - sine**2, 2 * cosine * sine])
    return jnp.where(valid, jnp.concatenate([shape, scale[None], turn, x[None], y[None]]), jnp.nan)


@functools.cache
def data(size: int = 64) -> sets.FactorSet:
    """Make the factor set: images `[size, size, 1]`, no nuisance (a key is ignored)."""

    def draw(factors: ArrayLike, key: Key | None = None) -> Array:
        return render(factors, size=size)[:, :, None]

    return sets.FactorSet(FACTOR_NAMES, FACTOR_SIZES, (size, size, 1), draw)


def _sprite_coordinates(classes: Array, size: int) -> tuple[Array, Array]:
    """Give every pixel centre in the sprite's own frame: u, v `[size, size]`, unrotated and of scale 1."""
    turn = jnp.asarray(_TURN)[:, classes[2]] / (0.5 + 0.1 * classes[1].astype(jnp.float32))
    # The centre of class k is 15.5 + 32 k / 31; the grid's own 15.5 goes first, which is exact.
    centres = (jnp.arange(size, dtype=jnp.float32) + 0.5) * (64 / size) - 16
    shift = 32 * classes[3:].astype(jnp.float32) / 31
    dx, dy = centres - shift[0], centres - shift[1]
    u = (turn[0] * dx)[None, :] - (turn[1] * dy)[:, None]
    v = (turn[1] * dx)[None, :] + (turn[0] * dy)[:, None]
    return u, v
