"""Ray casting in closed form: a camera, solids as intervals along each ray, light, colour. What the scenes share.

A ray is `origin + t * direction`; a solid says for which t a ray is inside it. A convex solid is an intersection of
such intervals (`slab`, `ball`, `quadric`, put together by `first`), a union the least of several. Points and directions
are three arrays apart (`Vector`): arrays whose last axis is 3 are slow everywhere.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from interp_jax.core.types import Array, ArrayLike

Vector = tuple[Array, ...]  # x to the right, y away from the camera, z up
Part = tuple[Array, Array]  # where each ray enters and where it leaves; empty unless the first is less


def picture(cast: Callable[[Array], tuple[Array, Array]], colours: Array, *, size: int, samples: int) -> Array:
    """Average `samples` x `samples` rays a pixel. Gives `[size, size, 3]`.

    cast: the rays through one place `[2]` of every pixel (across and down, in (0, 1)), as `camera` makes them: their
    light `[size, size]` in [0, 1], and what it comes from, a row of colours `[size, size]`. colours: `[K, 3]`.
    """
    inner = (jnp.arange(samples, dtype=jnp.float32) + 0.5) / samples

    def scan(_: None, offset: Array) -> tuple[None, Array]:
        light, thing = cast(offset)
        return None, thing + light / 2

    # One array, out of a loop: XLA on CPUs would cast the rays again for each use of the result, ten times in all.
    offsets = jnp.stack(jnp.meshgrid(inner, inner), -1).reshape(-1, 2)
    _, cast_rays = jax.lax.scan(scan, None, offsets)
    thing = jnp.floor(cast_rays)
    light = 2 * (cast_rays - thing) / samples**2
    image = jnp.zeros((size, size, 3))
    for i in range(colours.shape[0]):
        parts = [jnp.where(thing[ray] == i, light[ray], 0.0) for ray in range(samples**2)]
        part = functools.reduce(jnp.add, parts)
        image += part[:, :, None] * colours[i][None, None, :]
    return image


def camera(
    angle: ArrayLike,
    tilt: tuple[ArrayLike, ArrayLike],
    size: int,
    offset: Array,
    *,
    distance: float,
    height: ArrayLike,
    view: float,
) -> tuple[Vector, Vector]:
    """Give the camera's place, three `[]`, and directions through a point of each pixel, three `[size, size]`.

    angle: how far it has walked around the middle, 0 in front. tilt: cosine and sine of how far it looks down. offset:
    `[2]`, the point's place in its pixel, across and down, in (0, 1). distance, height: its place. view: the tangent of
    half the field of view. Directions have the length 1 along the axis of view and more beside it.
    """
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    pixels = jnp.arange(size, dtype=jnp.float32)
    across = view * (2 * (pixels + offset[0]) / size - 1)[None, :]
    up = -view * (2 * (pixels + offset[1]) / size - 1)[:, None]
    ahead = tilt[0] + tilt[1] * up
    direction = (
        cosine * across - sine * ahead,
        sine * across + cosine * ahead,
        jnp.broadcast_to(tilt[0] * up - tilt[1], (size, size)),
    )
    return (distance * sine, -distance * cosine, jnp.asarray(height)), direction


def slab(origin: Array, direction: Array, low: ArrayLike, high: ArrayLike) -> Part:
    """Give the part of each ray with a coordinate between two planes."""
    safe = jnp.where(jnp.abs(direction) < 1e-9, 1e-9, direction)
    a, b = (low - origin) / safe, (high - origin) / safe
    return jnp.minimum(a, b), jnp.maximum(a, b)


def ball(axes: Sequence[tuple[Array, Array]], centre: Sequence[ArrayLike], radius: float) -> Part:
    """Give the part of each ray in a ball over these axes (two axes: an endless cylinder); empty where it misses."""
    from_centre = [(o - c, d) for (o, d), c in zip(axes, centre, strict=True)]
    dd = sum(d * d for _, d in from_centre)
    od = sum(o * d for o, d in from_centre)
    oo = sum(o * o for o, _ in from_centre)
    inside = od * od - dd * (oo - radius**2)
    root = jnp.sqrt(jnp.maximum(inside, 0))
    return jnp.where(inside > 0, (-od - root) / dd, jnp.inf), (-od + root) / dd


def quadric(origin: Vector, direction: Vector, form: Sequence[ArrayLike]) -> Part:
    """Give the part of each ray where `round (x^2 + y^2) + a z^2 + b z + c < 0`.

    form: round, a, b, c. A sphere is (1, 1, 0, -r^2), an upright cylinder (1, 0, 0, -r^2), a cone of slope m with its
    tip at height h (1, -m^2, 2 m^2 h, -m^2 h^2). A cone goes on above its tip: intersect it with a slab that ends
    there. Of a ray that is inside both ends the lower part is given. The roots are of the form that does not cancel.
    """
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    around, a, b, c = form
    second = around * (dx * dx + dy * dy) + a * dz * dz
    half = around * (ox * dx + oy * dy) + (a * oz + b / 2) * dz
    zeroth = around * (ox * ox + oy * oy) + (a * oz + b) * oz + c
    inside = half * half - second * zeroth
    root = jnp.sqrt(jnp.maximum(inside, 0))
    sum_ = -(half + jnp.where(half < 0, -root, root))
    one, other = sum_ / jnp.where(jnp.abs(second) < 1e-9, 1e-9, second), zeroth / jnp.where(sum_ == 0, 1e-9, sum_)
    low, high = jnp.where(half < 0, other, one), jnp.where(half < 0, one, other)
    steep = second < 0  # inside both ends of a double cone: the lower one is behind a ray that climbs
    enter = jnp.where(steep & (dz > 0), -jnp.inf, low)
    return jnp.where(inside > 0, enter, jnp.inf), jnp.where(steep & (dz <= 0), jnp.inf, high)


def first(*parts: Part) -> Array:
    """Give where a ray enters the intersection of parts, inf where that is empty."""
    enter = functools.reduce(jnp.maximum, [part[0] for part in parts])
    leave = functools.reduce(jnp.minimum, [part[1] for part in parts])
    return jnp.where(enter < leave, enter, jnp.inf)


def rod(origin: Vector, direction: Vector, start: Vector, end: Vector, radius: float) -> Array:
    """Give where a ray enters the cylinder of this radius around a segment, without the balls at its ends."""
    axis = minus(end, start)
    length = jnp.sqrt(dot(axis, axis))
    unit = tuple(a / length for a in axis)
    beside = minus(origin, start)
    along, climb = dot(beside, unit), dot(direction, unit)
    across = [(o - along * u, d - climb * u) for o, d, u in zip(beside, direction, unit, strict=True)]
    return first(ball(across, (0.0, 0.0, 0.0), radius), slab(along, climb, 0.0, length))


def from_segment(point: Vector, start: Vector, end: Vector) -> Vector:
    """Give the vector to a point from the nearest point of a segment: a capsule's normal, and its distance."""
    axis, beside = minus(end, start), minus(point, start)
    share = jnp.clip(dot(beside, axis) / dot(axis, axis), 0, 1)
    return tuple(b - share * a for a, b in zip(axis, beside, strict=True))


def lambert(point: Vector, normal: Vector, lamp: tuple[float, ...], ambient: float) -> Array:
    """Give the light of a matt surface under one lamp: `ambient` in the dark, 1 where it faces the lamp.

    normal: of any length.
    """
    to_lamp = tuple(place - p for place, p in zip(lamp, point, strict=True))
    cosine = dot(to_lamp, normal) / jnp.sqrt(dot(to_lamp, to_lamp) * dot(normal, normal))
    return ambient + (1 - ambient) * jnp.maximum(cosine, 0)


def hue_to_rgb(hue: Array) -> Array:
    """Give the fully saturated colour `[..., 3]` of a hue `[...]` in [0, 1)."""
    six = 6 * hue[..., None] + jnp.array([0.0, 4.0, 2.0]).reshape((1,) * hue.ndim + (3,))
    return jnp.clip(jnp.abs(six % 6 - 3) - 1, 0, 1)


def along(origin: Vector, direction: Vector, t: Array) -> Vector:
    """Give the point of each ray at t."""
    return tuple(o + t * d for o, d in zip(origin, direction, strict=True))


def dot(a: Vector, b: Vector) -> Array:
    """Give the inner product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def minus(a: Vector, b: Vector) -> Vector:
    """Give the difference."""
    return tuple(p - q for p, q in zip(a, b, strict=True))
