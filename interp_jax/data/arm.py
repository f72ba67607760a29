"""A jointed arm that carries an object over a table, ray-cast in closed form: in the spirit of MPI3D, and not it.

The factors and their numbers of classes are those of MPI3D (Gondal et al. 2019, table 1): object colour, shape and
size, camera height, background colour, and the two axes that move the arm: 1,036,800 images. MPI3D shows photographs
of a robot and renderings of its model; this scene has geometry, light and colours of its own, so pixels differ and
scores on the two are not comparable.

Coordinates: x to the right, y away from the camera, z up. A round table lies at z = 0. A post stands in its middle; on
it a tilted upper arm turns about the vertical through 180 degrees on the camera's side ("horizontal axis"), and a
forearm at the elbow rises and falls by 50 degrees ("vertical axis"). The object sits on the forearm's end and moves and
turns with it. Light is Lambert's, from one lamp; forearm and object throw soft shadows on the table. A ray that meets
nothing has the background's colour to the last bit.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike, Key
from interp_jax.data import factors as sets
from interp_jax.data import rays

FACTOR_NAMES = (
    "object colour", "object shape", "object size", "camera height", "background colour", "horizontal axis",
    "vertical axis",
)  # fmt: skip
FACTOR_SIZES = (6, 6, 2, 3, 3, 40, 40)
COLOURS = ("white", "green", "red", "blue", "brown", "olive")
SHAPES = ("cone", "cube", "cylinder", "hexagonal prism", "pyramid", "sphere")
BACKGROUNDS = ("purple", "sea green", "salmon")

OBJECT_RGB = ((0.95, 0.95, 0.95), (0.1, 0.75, 0.15), (0.9, 0.1, 0.1), (0.15, 0.25, 0.95), (0.5, 0.25, 0.08), (0.6, 0.6, 0.1))  # fmt: skip  # noqa: E501
BACKGROUND_RGB = ((0.5, 0.3, 0.65), (0.25, 0.6, 0.45), (0.98, 0.6, 0.5))
TABLE_RGB, ARM_RGB = (0.75, 0.75, 0.72), (0.35, 0.37, 0.42)
SCALES = (0.24, 0.36)  # of an object that is about as wide as a ball of radius 1
HEIGHTS = (3.6, 2.4, 1.2)  # of the camera: top, centre, bottom

TABLE = 2.3  # its radius
SHOULDER = (0.0, 0.0, 0.7)
ELBOW = (0.45, 1.3)  # how far out, how high
FOREARM = 0.75
RADIUS = 0.13  # of post, upper arm and forearm
TURN, RISE = 90.0, 50.0  # degrees to either side
DISTANCE, TARGET, VIEW = 4.6, 0.85, 0.48  # of the camera, height of the point looked at, tangent of half the view
LAMP = (-2.2, -3.6, 5.5)
AMBIENT = 0.35


class Pose(NamedTuple):
    """The arm and its object. elbow, wrist, centre (of the object): three `[]` each. axes: of the object, unit vectors.

    scale: `[]`. slabs: `[5, 5]`, rows of normal, low, high; quadric: `[4]`, see `rays.quadric`; the object at scale 1
    is what lies in all of them.
    """

    elbow: rays.Vector
    wrist: rays.Vector
    centre: rays.Vector
    axes: tuple[rays.Vector, ...]
    scale: Array
    slabs: Array
    quadric: Array


def render(factors: ArrayLike, *, size: int = 64, samples: int = 2) -> Array:
    """Draw one image. factors: `[7]` int classes. Gives `[size, size, 3]` float32 in [0, 1].

    size: pixels a side; the view is the same at every size. samples: rays along a pixel's side, averaged; 1 is jagged.
    Concrete factors out of range raise ValueError; traced ones give an image of NaN.

    >>> import jax
    >>> jax.eval_shape(render, jnp.array([0, 1, 1, 2, 0, 20, 39])).shape
    (64, 64, 3)
    """
    checks.whole(1, size=size, samples=samples)
    classes, valid = sets.checked(FACTOR_SIZES, factors, FACTOR_NAMES)
    scene, height = pose(classes), jnp.asarray(HEIGHTS)[classes[3]]
    down = jnp.arctan2(height - TARGET, DISTANCE)
    tilt = jnp.cos(down), jnp.sin(down)
    things = jnp.asarray([TABLE_RGB, ARM_RGB])
    background, own = jnp.asarray(BACKGROUND_RGB)[classes[4]], jnp.asarray(OBJECT_RGB)[classes[0]]
    colours = jnp.concatenate([background[None], things, own[None]])

    def cast(offset: Array) -> tuple[Array, Array]:
        return _light(*rays.camera(0.0, tilt, size, offset, distance=DISTANCE, height=height, view=VIEW), scene)

    return jnp.where(valid, rays.picture(cast, colours, size=size, samples=samples), jnp.nan)


def pose(classes: Array) -> Pose:
    """Place the arm and its object. classes: `[7]` int32, in range."""
    turn, rise = (jnp.asarray(_angles(most))[:, i] for most, i in ((TURN, classes[5]), (RISE, classes[6])))
    out, high = (turn[1], -turn[0]), rise[1]
    elbow = (ELBOW[0] * out[0], ELBOW[0] * out[1], jnp.asarray(ELBOW[1], jnp.float32))
    ahead = (rise[0] * out[0], rise[0] * out[1], high)
    beside = (turn[0], turn[1], jnp.zeros(()))
    lift = (-high * out[0], -high * out[1], rise[0])
    scale = jnp.asarray(SCALES)[classes[2]]
    wrist = rays.along(elbow, ahead, jnp.asarray(FOREARM))
    centre = rays.along(elbow, ahead, FOREARM + 0.8 * scale)
    slabs, quadrics = (jnp.asarray(table)[classes[1]] for table in _solids())
    return Pose(elbow, wrist, centre, (beside, lift, ahead), scale, slabs, quadrics)


@functools.cache
def data(size: int = 64, samples: int = 2) -> sets.FactorSet:
    """Make the factor set: images `[size, size, 3]`, no nuisance (a key is ignored)."""

    def draw(factors: ArrayLike, key: Key | None = None) -> Array:
        return render(factors, size=size, samples=samples)

    return sets.FactorSet(FACTOR_NAMES, FACTOR_SIZES, (size, size, 3), draw)


def _light(origin: rays.Vector, direction: rays.Vector, scene: Pose) -> tuple[Array, Array]:
    """Give each ray's light `[n, n]` and what it comes from `[n, n]`: background, table, arm, object."""
    to_table = _meet_table(origin, direction)
    to_arm = _meet_arm(origin, direction, scene)
    to_object, own = _meet_object(origin, direction, scene)
    solid = jnp.minimum(to_arm, to_object)
    nearest = jnp.minimum(to_table, solid)
    missed = ~jnp.isfinite(nearest)
    point = rays.along(origin, direction, jnp.where(missed, 1.0, nearest))
    on_object, on_table = to_object < jnp.minimum(to_arm, to_table), to_table < solid
    arm = _arm_normal(point, scene)
    normal = tuple(
        jnp.where(on_object, o, jnp.where(on_table, up, a)) for o, a, up in zip(own, arm, (0.0, 0.0, 1.0), strict=True)
    )
    light = rays.lambert(point, normal, LAMP, AMBIENT) * jnp.where(on_table, _shadow(point, scene), 1.0)
    thing = jnp.where(on_object, 3, jnp.where(on_table, 1, 2))
    return jnp.where(missed, 1.0, light), jnp.where(missed, 0, thing)


def _meet_table(origin: rays.Vector, direction: rays.Vector) -> Array:
    t = jnp.where(direction[2] < 0, -origin[2] / jnp.minimum(direction[2], -1e-9), jnp.inf)
    x, y, _ = rays.along(origin, direction, jnp.where(jnp.isfinite(t), t, 0.0))
    return jnp.where(x * x + y * y < TABLE**2, t, jnp.inf)


def _meet_arm(origin: rays.Vector, direction: rays.Vector, scene: Pose) -> Array:
    """Give where a ray meets the post or one of two capsules; they share their balls, at shoulder and elbow."""
    axes = tuple(zip(origin, direction, strict=True))
    shoulder = tuple(jnp.asarray(s) for s in SHOULDER)
    parts = [
        rays.first(rays.ball(axes[:2], (0.0, 0.0), RADIUS), rays.slab(*axes[2], 0.0, SHOULDER[2])),
        rays.rod(origin, direction, shoulder, scene.elbow, RADIUS),
        rays.rod(origin, direction, scene.elbow, scene.wrist, RADIUS),
        *(rays.first(rays.ball(axes, joint, RADIUS)) for joint in (shoulder, scene.elbow, scene.wrist)),
    ]
    return functools.reduce(jnp.minimum, parts)


def _arm_normal(point: rays.Vector, scene: Pose) -> rays.Vector:
    """Give the vector from the nearest of the three segments, a normal wherever the point is on their capsules."""
    shoulder = tuple(jnp.asarray(s) for s in SHOULDER)
    foot = tuple(jnp.zeros(()) for _ in SHOULDER)
    nearest, best = None, None
    for start, end in ((foot, shoulder), (shoulder, scene.elbow), (scene.elbow, scene.wrist)):
        away = rays.from_segment(point, start, end)
        square = rays.dot(away, away)
        if nearest is None or best is None:
            nearest, best = away, square
        else:
            nearest = tuple(jnp.where(square < best, a, b) for a, b in zip(away, nearest, strict=True))
            best = jnp.minimum(square, best)
    return nearest  # pyrefly: ignore


def _meet_object(origin: rays.Vector, direction: rays.Vector, scene: Pose) -> tuple[Array, rays.Vector]:
    """Give where a ray meets the object, inf if nowhere, and a normal of any length there."""
    beside = rays.minus(origin, scene.centre)
    place = tuple(rays.dot(beside, axis) / scene.scale for axis in scene.axes)
    heading = tuple(rays.dot(direction, axis) / scene.scale for axis in scene.axes)
    parts, climbs = [rays.quadric(place, heading, tuple(scene.quadric))], []
    for k in range(scene.slabs.shape[0]):
        plane = tuple(scene.slabs[k, :3])
        climbs.append(rays.dot(heading, plane))
        parts.append(rays.slab(rays.dot(place, plane), climbs[-1], scene.slabs[k, 3], scene.slabs[k, 4]))
    t = rays.first(*parts)
    x, y, z = rays.along(place, heading, jnp.where(jnp.isfinite(t), t, 0.0))
    around, a, b, _ = scene.quadric
    # The face met is the one entered last; a ray enters a slab against its normal.
    own = [around * x, around * y, a * z + b / 2]
    for k, climb in enumerate(climbs):
        face = parts[k + 1][0] == t
        own = [jnp.where(face, -jnp.sign(climb) * scene.slabs[k, i], own[i]) for i in range(3)]
    beside, lift, ahead = scene.axes
    normal = tuple(own[0] * beside[i] + own[1] * lift[i] + own[2] * ahead[i] for i in range(3))
    return t, normal


def _shadow(point: rays.Vector, scene: Pose) -> Array:
    """Darken the table where the lamp's light passes near the object, the forearm or the upper arm: soft edges."""
    floor = [
        (LAMP[0] + (p[0] - LAMP[0]) * (g := LAMP[2] / (LAMP[2] - p[2])), LAMP[1] + (p[1] - LAMP[1]) * g, 0.0 * p[2])
        for p in (tuple(jnp.asarray(s) for s in SHOULDER), scene.elbow, scene.wrist, scene.centre)
    ]
    beside = rays.minus(point, floor[3])
    own = jnp.exp(-rays.dot(beside, beside) / (1.1 * scene.scale) ** 2)
    links = [rays.from_segment(point, *ends) for ends in ((floor[0], floor[1]), (floor[1], floor[2]))]
    arm = functools.reduce(jnp.minimum, [rays.dot(away, away) for away in links])
    return (1 - 0.45 * own) * (1 - 0.35 * jnp.exp(-arm / (1.3 * RADIUS) ** 2))


@functools.cache
def _angles(most: float) -> np.ndarray:
    """Give cosine and sine `[2, 40]` of the 40 angles from -most to most degrees, made in float64."""
    angles = np.radians(np.linspace(-most, most, 40))
    return np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


@functools.cache
def _solids() -> tuple[np.ndarray, np.ndarray]:
    """Give the slabs `[6, 5, 5]` and the quadric `[6, 4]` of each shape at scale 1, z along the forearm.

    A shape that needs fewer slabs, or no quadric, gets some that hold all of it.
    """
    wide, ball = 9.0, (1.0, 1.0, 0.0, -9.0)
    across = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0)]
    steep = [(np.cos(q), np.sin(q), 0.475) for q in np.arange(4) * np.pi / 2]
    hexagon = [(np.cos(q), np.sin(q), 0.0) for q in np.arange(3) * np.pi / 3]

    def upright(low: float, high: float) -> list[tuple[float, ...]]:
        return [(0.0, 0.0, 1.0, low, high)]

    shapes = [
        (upright(-0.8, 1.2), (1.0, -0.25, 0.6, -0.36)),  # slope 1/2, tip at 1.2
        ([(*n, -0.82, 0.82) for n in across] + upright(-0.82, 0.82), ball),
        (upright(-0.9, 0.9), (1.0, 0.0, 0.0, -0.72)),
        ([(*n, -0.8, 0.8) for n in hexagon] + upright(-0.9, 0.9), ball),
        ([(*n, -wide, 0.57) for n in steep] + upright(-0.8, 1.2), ball),  # sides 0.95 at the base, tip at 1.2
        ([], (1.0, 1.0, 0.0, -1.0)),
    ]
    filled = [slabs + upright(-wide, wide) * (5 - len(slabs)) for slabs, _ in shapes]
    return np.array(filled, np.float32), np.array([form for _, form in shapes], np.float32)
