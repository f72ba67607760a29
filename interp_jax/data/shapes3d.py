"""A room with an object, ray-cast in closed form: like Shapes3D (Burgess and Kim 2018), and not it.

The factors and their numbers of classes are those of Shapes3D: floor, wall and object hue, scale, shape (cube,
cylinder, sphere, capsule), orientation, 480,000 images. The original was rendered with geometry and light that are
not published, so pixels differ, and scores on the two are not comparable. Light is Lambert's, from one lamp, with a
soft shadow; it scales a colour and keeps its hue.

Coordinates: x to the right, y away from the camera at the middle orientation, z up. The floor is z = 0; the object
stands on it at x = y = 0 and turns with the room, which is to say that the camera walks around it.
"""

import functools
import math

import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike, Key
from interp_jax.data import factors as sets
from interp_jax.data import rays

FACTOR_NAMES = ("floor hue", "wall hue", "object hue", "scale", "shape", "orientation")
FACTOR_SIZES = (10, 10, 10, 8, 4, 15)
SHAPES = ("cube", "cylinder", "sphere", "capsule")

ROOM = 4.0  # half a side of the square room
CAMERA = (3.7, 2.0)  # distance from the middle, height
TARGET = 0.75  # height of the point looked at
VIEW = 0.46  # tangent of half the field of view
LAMP = (-1.6, -2.2, 4.2)
AMBIENT = 0.35
# At scale 1: half a cube's side; a cylinder's radius and height; a sphere's radius; a capsule's radius and half axis.
CUBE, CYLINDER, SPHERE, CAPSULE = 0.5, (0.5, 1.1), 0.6, (0.38, 0.38)


def render(factors: ArrayLike, *, size: int = 64, samples: int = 2) -> Array:
    """Draw one image. factors: `[6]` int classes. Gives `[size, size, 3]` float32 in [0, 1].

    size: pixels a side; the view is the same at every size. samples: rays along a pixel's side, averaged; 1 is jagged.
    Concrete factors out of range raise ValueError; traced ones give an image of NaN.

    >>> import jax
    >>> jax.eval_shape(render, jnp.array([0, 4, 6, 7, 0, 7])).shape
    (64, 64, 3)
    """
    checks.whole(1, size=size, samples=samples)
    classes, valid = sets.checked(FACTOR_SIZES, factors, FACTOR_NAMES)
    scale = 0.75 + 0.5 * classes[3].astype(jnp.float32) / 7
    angle = (classes[5].astype(jnp.float32) - 7) * math.radians(30 / 7)
    colours = rays.hue_to_rgb(classes[:3].astype(jnp.float32) / 10)

    def cast(offset: Array) -> tuple[Array, Array]:
        return _light(*_camera(angle, size, offset), classes[4], scale)

    image = rays.picture(cast, colours, size=size, samples=samples)
    return jnp.where(valid, image, jnp.nan)


@functools.cache
def data(size: int = 64, samples: int = 2) -> sets.FactorSet:
    """Make the factor set: images `[size, size, 3]`, no nuisance (a key is ignored)."""

    def draw(factors: ArrayLike, key: Key | None = None) -> Array:
        return render(factors, size=size, samples=samples)

    return sets.FactorSet(FACTOR_NAMES, FACTOR_SIZES, (size, size, 3), draw)


def _camera(angle: Array, size: int, offset: Array) -> tuple[rays.Vector, rays.Vector]:
    distance, height = CAMERA
    down = math.atan2(height - TARGET, distance)
    tilt = math.cos(down), math.sin(down)
    return rays.camera(angle, tilt, size, offset, distance=distance, height=height, view=VIEW)


def _light(origin: rays.Vector, direction: rays.Vector, shape: Array, scale: Array) -> tuple[Array, Array]:
    """Give each ray's light `[n, n]` and what it comes from `[n, n]`: 0 the floor, 1 a wall, 2 the object."""
    to_floor = jnp.where(direction[2] < 0, -origin[2] / jnp.minimum(direction[2], -1e-9), jnp.inf)
    walls = [(ROOM - o * jnp.sign(d)) / jnp.maximum(jnp.abs(d), 1e-9) for o, d in zip(origin, direction, strict=True)][
        :2
    ]
    to_wall = jnp.minimum(*walls)
    to_object = scale * _meet_object(tuple(o / scale for o in origin), direction, shape)

    behind = jnp.minimum(to_floor, to_wall)
    point = rays.along(origin, direction, jnp.minimum(behind, to_object))
    on_floor, on_object = to_floor < to_wall, to_object < behind
    side = walls[0] < walls[1]
    zero = jnp.zeros_like(behind)
    room = (
        jnp.where(on_floor | ~side, zero, -jnp.sign(direction[0])),
        jnp.where(on_floor | side, zero, -jnp.sign(direction[1])),
        jnp.where(on_floor, 1.0, zero),
    )
    own = _normal(tuple(p / scale for p in point), shape)
    normal = tuple(jnp.where(on_object, a, b) for a, b in zip(own, room, strict=True))
    light = rays.lambert(point, normal, LAMP, AMBIENT) * jnp.where(on_object, 1.0, _shadow(point, scale))
    return light, jnp.where(on_object, 2, jnp.where(on_floor, 0, 1))


def _shadow(point: rays.Vector, scale: Array) -> Array:
    """Darken the floor beside the object, on the side away from the lamp; a soft round patch that fades with height."""
    x, y = point[0] / scale - 0.16, point[1] / scale - 0.22
    return 1 - 0.6 * jnp.exp(-2.2 * (x * x + y * y) - 4 * point[2])


def _meet_object(origin: rays.Vector, direction: rays.Vector, shape: Array) -> Array:
    """Give how far along each ray the object of scale 1 begins, inf where it is missed.

    A convex solid is an intersection of intervals along the ray; the capsule is the union of a cylinder and two balls.
    """
    x, y, z = zip(origin, direction, strict=True)
    radius, height = CYLINDER
    width, half = CAPSULE
    cube = rays.first(rays.slab(*x, -CUBE, CUBE), rays.slab(*y, -CUBE, CUBE), rays.slab(*z, 0, 2 * CUBE))
    cylinder = rays.first(rays.ball((x, y), (0, 0), radius), rays.slab(*z, 0, height))
    sphere = rays.first(rays.ball((x, y, z), (0, 0, SPHERE), SPHERE))
    rod = rays.first(rays.ball((y, z), (0, width), width), rays.slab(*x, -half, half))
    ends = [rays.first(rays.ball((x, y, z), (end, 0, width), width)) for end in (-half, half)]
    capsule = functools.reduce(jnp.minimum, ends, rod)
    return jnp.select([shape == 0, shape == 1, shape == 2], [cube, cylinder, sphere], capsule)


def _normal(point: rays.Vector, shape: Array) -> rays.Vector:
    """Give a normal, of any length, of the object of scale 1 at a point of its surface."""
    x, y, z = point
    radius, height = CYLINDER
    width, half = CAPSULE
    up = z - jnp.select([shape == 0, shape == 1, shape == 2], [CUBE, height / 2, SPHERE], width)
    furthest = jnp.maximum(jnp.maximum(jnp.abs(x), jnp.abs(y)), jnp.abs(up))
    cube = tuple(jnp.where(jnp.abs(c) == furthest, c, 0.0) for c in (x, y, up))
    cap = jnp.abs(up) * (2 / height) > jnp.sqrt(x * x + y * y) / radius
    cylinder = (jnp.where(cap, 0.0, x), jnp.where(cap, 0.0, y), jnp.where(cap, up, 0.0))
    capsule = (x - jnp.clip(x, -half, half), y, up)
    kinds = zip(cube, cylinder, (x, y, up), capsule, strict=True)
    return tuple(jnp.select([shape == 0, shape == 1, shape == 2], [a, b, c], d) for a, b, c, d in kinds)
