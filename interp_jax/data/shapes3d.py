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

import jax
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike, Key
from interp_jax.data import factors as sets

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

Vector = tuple[Array, ...]  # x, y, z, apart: arrays whose last axis is 3 are slow everywhere


def render(factors: ArrayLike, *, size: int = 64, samples: int = 2) -> Array:
    """Draw one image. factors: `[6]` int classes. Gives `[size, size, 3]` float32 in [0, 1].

    size: pixels a side; the view is the same at every size. samples: rays along a pixel's side, averaged; 1 is jagged.
    Concrete factors out of range raise ValueError; traced ones give an image of NaN.

    >>> jax.eval_shape(render, jnp.array([0, 4, 6, 7, 0, 7])).shape
    (64, 64, 3)
    """
    checks.whole(1, size=size, samples=samples)
    classes, valid = sets.checked(FACTOR_SIZES, factors, FACTOR_NAMES)
    scale = 0.75 + 0.5 * classes[3].astype(jnp.float32) / 7
    angle = (classes[5].astype(jnp.float32) - 7) * math.radians(30 / 7)
    colours = hue_to_rgb(classes[:3].astype(jnp.float32) / 10)
    inner = (jnp.arange(samples, dtype=jnp.float32) + 0.5) / samples

    def cast(_: None, offset: Array) -> tuple[None, Array]:
        light, thing = _light(*_camera(angle, size, offset), classes[4], scale)
        return None, thing + light / 2

    # One array, out of a loop: XLA on CPUs would cast the rays again for each use of the result, ten times in all.
    offsets = jnp.stack(jnp.meshgrid(inner, inner), -1).reshape(-1, 2)
    _, cast_rays = jax.lax.scan(cast, None, offsets)
    thing = jnp.floor(cast_rays)
    light = 2 * (cast_rays - thing) / samples**2
    image = jnp.zeros((size, size, 3))
    for i in range(3):
        parts = [jnp.where(thing[ray] == i, light[ray], 0.0) for ray in range(samples**2)]
        part = functools.reduce(jnp.add, parts)
        image += part[:, :, None] * colours[i][None, None, :]
    return jnp.where(valid, image, jnp.nan)


def hue_to_rgb(hue: Array) -> Array:
    """Give the fully saturated colour `[..., 3]` of a hue `[...]` in [0, 1)."""
    six = 6 * hue[..., None] + jnp.array([0.0, 4.0, 2.0]).reshape((1,) * hue.ndim + (3,))
    return jnp.clip(jnp.abs(six % 6 - 3) - 1, 0, 1)


@functools.cache
def data(size: int = 64, samples: int = 2) -> sets.FactorSet:
    """Make the factor set: images `[size, size, 3]`, no nuisance (a key is ignored)."""

    def draw(factors: ArrayLike, key: Key | None = None) -> Array:
        return render(factors, size=size, samples=samples)

    return sets.FactorSet(FACTOR_NAMES, FACTOR_SIZES, (size, size, 3), draw)


def _camera(angle: Array, size: int, offset: Array) -> tuple[Vector, Vector]:
    """Give the camera's place, three `[]`, and directions through a point of each pixel, three `[size, size]`.

    offset: `[2]`, the point's place in its pixel, across and down, in (0, 1).
    """
    distance, height = CAMERA
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    down = math.atan2(height - TARGET, distance)
    pixels = jnp.arange(size, dtype=jnp.float32)
    across = VIEW * (2 * (pixels + offset[0]) / size - 1)[None, :]
    up = -VIEW * (2 * (pixels + offset[1]) / size - 1)[:, None]
    ahead = math.cos(down) + math.sin(down) * up
    direction = (
        cosine * across - sine * ahead,
        sine * across + cosine * ahead,
        jnp.broadcast_to(math.cos(down) * up - math.sin(down), (size, size)),
    )
    return (distance * sine, -distance * cosine, jnp.asarray(height)), direction


def _light(origin: Vector, direction: Vector, shape: Array, scale: Array) -> tuple[Array, Array]:
    """Give each ray's light `[n, n]` and what it comes from `[n, n]`: 0 the floor, 1 a wall, 2 the object."""
    to_floor = jnp.where(direction[2] < 0, -origin[2] / jnp.minimum(direction[2], -1e-9), jnp.inf)
    walls = [(ROOM - o * jnp.sign(d)) / jnp.maximum(jnp.abs(d), 1e-9) for o, d in zip(origin, direction, strict=True)][
        :2
    ]
    to_wall = jnp.minimum(*walls)
    to_object = scale * _meet_object(tuple(o / scale for o in origin), direction, shape)

    behind = jnp.minimum(to_floor, to_wall)
    point = tuple(o + jnp.minimum(behind, to_object) * d for o, d in zip(origin, direction, strict=True))
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
    light = _lambert(point, normal) * jnp.where(on_object, 1.0, _shadow(point, scale))
    return light, jnp.where(on_object, 2, jnp.where(on_floor, 0, 1))


def _lambert(point: Vector, normal: Vector) -> Array:
    to_lamp = tuple(lamp - p for lamp, p in zip(LAMP, point, strict=True))
    cosine = _dot(to_lamp, normal) / jnp.sqrt(_dot(to_lamp, to_lamp) * _dot(normal, normal))
    return AMBIENT + (1 - AMBIENT) * jnp.maximum(cosine, 0)


def _shadow(point: Vector, scale: Array) -> Array:
    """Darken the floor beside the object, on the side away from the lamp; a soft round patch that fades with height."""
    x, y = point[0] / scale - 0.16, point[1] / scale - 0.22
    return 1 - 0.6 * jnp.exp(-2.2 * (x * x + y * y) - 4 * point[2])


def _meet_object(origin: Vector, direction: Vector, shape: Array) -> Array:
    """Give how far along each ray the object of scale 1 begins, inf where it is missed.

    A convex solid is an intersection of intervals along the ray; the capsule is the union of a cylinder and two balls.
    """
    x, y, z = zip(origin, direction, strict=True)
    radius, height = CYLINDER
    width, half = CAPSULE
    cube = _first(_slab(*x, -CUBE, CUBE), _slab(*y, -CUBE, CUBE), _slab(*z, 0, 2 * CUBE))
    cylinder = _first(_ball((x, y), (0, 0), radius), _slab(*z, 0, height))
    sphere = _first(_ball((x, y, z), (0, 0, SPHERE), SPHERE))
    rod = _first(_ball((y, z), (0, width), width), _slab(*x, -half, half))
    ends = [_first(_ball((x, y, z), (end, 0, width), width)) for end in (-half, half)]
    capsule = functools.reduce(jnp.minimum, ends, rod)
    return jnp.select([shape == 0, shape == 1, shape == 2], [cube, cylinder, sphere], capsule)


def _slab(origin: Array, direction: Array, low: float, high: float) -> tuple[Array, Array]:
    """Give the part of each ray with a coordinate between two planes."""
    safe = jnp.where(jnp.abs(direction) < 1e-9, 1e-9, direction)
    a, b = (low - origin) / safe, (high - origin) / safe
    return jnp.minimum(a, b), jnp.maximum(a, b)


def _ball(axes: tuple[tuple[Array, Array], ...], centre: tuple[float, ...], radius: float) -> tuple[Array, Array]:
    """Give the part of each ray in a ball over these axes (two axes: an endless cylinder); empty where it misses."""
    from_centre = [(o - c, d) for (o, d), c in zip(axes, centre, strict=True)]
    dd = sum(d * d for _, d in from_centre)
    od = sum(o * d for o, d in from_centre)
    oo = sum(o * o for o, _ in from_centre)
    inside = od * od - dd * (oo - radius**2)
    root = jnp.sqrt(jnp.maximum(inside, 0))
    return jnp.where(inside > 0, (-od - root) / dd, jnp.inf), (-od + root) / dd


def _first(*parts: tuple[Array, Array]) -> Array:
    """Give where a ray enters the intersection of parts, inf where that is empty."""
    enter = functools.reduce(jnp.maximum, [part[0] for part in parts])
    leave = functools.reduce(jnp.minimum, [part[1] for part in parts])
    return jnp.where(enter < leave, enter, jnp.inf)


def _normal(point: Vector, shape: Array) -> Vector:
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


def _dot(a: Vector, b: Vector) -> Array:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
