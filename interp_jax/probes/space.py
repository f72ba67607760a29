"""Where a probe puts places: coordinates on the sphere, distances, and scores that do not mistake a country for a map.

    told = sphere(latitude, longitude)                       # [N, 3], what to regress
    found = degrees(predicted)                               # [N, 2], latitude and longitude
    haversine(found, truth), proximity_error(predicted, told), within(predicted, told, country, count=190)

Gurnee and Tegmark (2024) regress longitude and latitude. Longitude wraps, so that 179 east and 179 west are far apart
in the loss and neighbours on the ground; here the target is the unit vector. Their code reads the two the wrong way
round in its distances (longitude for latitude), which changes proximity errors by half and more.

Knowing the country alone gives an R2 of .95 for the cities of the world. `within` asks for what is known beyond it.
"""

import chex
import jax
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.types import Array

RADIUS = 6371.0088
"""The mean radius of the earth in kilometres (IUGG)."""


def sphere(latitude: Array, longitude: Array) -> Array:
    """Give unit vectors `[..., 3]` of degrees `[...]`: x at (0, 0), y at 90 east, z at the north pole.

    >>> sphere(jnp.array([0.0, 90.0]), jnp.array([90.0, 0.0])).round(3).tolist()
    [[-0.0, 1.0, 0.0], [-0.0, -0.0, 1.0]]
    """
    north, east = jnp.radians(latitude), jnp.radians(longitude)
    return jnp.stack([jnp.cos(north) * jnp.cos(east), jnp.cos(north) * jnp.sin(east), jnp.sin(north)], -1)


def degrees(vectors: Array) -> Array:
    """Give latitude and longitude, `[..., 2]`, of vectors `[..., 3]` of any length."""
    chex.assert_axis_dimension(vectors, -1, 3)
    x, y, z = jnp.moveaxis(vectors, -1, 0)
    return jnp.degrees(jnp.stack([jnp.arctan2(z, jnp.hypot(x, y)), jnp.arctan2(y, x)], -1))


def haversine(a: Array, b: Array) -> Array:
    """Give the distance along the sphere in kilometres, `[...]`, of points `[..., 2]`: LATITUDE, then longitude.

    >>> haversine(jnp.array([51.5074, -0.1278]), jnp.array([48.8566, 2.3522])).round().item()
    344.0
    """
    chex.assert_axis_dimension(a, -1, 2)
    chex.assert_axis_dimension(b, -1, 2)
    (north, east), (other_north, other_east) = (jnp.moveaxis(jnp.radians(point), -1, 0) for point in (a, b))
    half = jnp.sin((other_north - north) / 2) ** 2
    half = half + jnp.cos(north) * jnp.cos(other_north) * jnp.sin((other_east - east) / 2) ** 2
    return 2 * RADIUS * jnp.arcsin(jnp.sqrt(jnp.clip(half, 0, 1)))


def proximity_error(predicted: Array, true: Array, *, block: int = 256) -> Array:
    """Give the share of other predictions that are nearer to the truth than a place's own, `[N]`.

    `mean over j != i of [d(true_i, predicted_j) < d(true_i, predicted_i)]` (Gurnee and Tegmark 2024, section 2.2): 1/2
    by chance, whatever the scale. d is the Euclidean distance: give degrees of one axis as `[N, 1]`, or points of the
    sphere brought to length 1, where it orders as the great circle does.

    block: places compared at once.
    """
    chex.assert_rank([predicted, true], 2)
    predicted, true = jnp.asarray(predicted), jnp.asarray(true)
    chex.assert_equal_shape([predicted, true])
    checks.whole(1, block=block)

    def one(i: Array) -> Array:
        distance = jnp.sum((predicted - true[i][None]) ** 2, 1)
        return jnp.sum(distance < distance[i]) / (len(predicted) - 1)

    found = jax.lax.map(one, jnp.arange(len(true)), batch_size=block)
    finite = jnp.isfinite(predicted).all(1) & jnp.isfinite(true).all(1)
    return jnp.where(finite, found, jnp.nan)


def within(predicted: Array, true: Array, group: Array, *, count: int) -> Array:
    """Give the R2 of what is left of targets and predictions without their group means, `[K]`.

        1 - sum ((y - mean_g y) - (p - mean_g p))^2 / sum (y - mean_g y)^2

    0 for a probe that knows each group's mean and nothing more; negative for one that scatters without sense. NaN where
    no group has two different places.

    predicted, true: `[N, K]`. group: `[N]`, 0 .. count - 1.
    """
    checks.whole(1, count=count)
    chex.assert_rank([predicted, true, group], [2, 2, 1])
    chex.assert_equal_shape([predicted, true])
    rest, missed = (_without_means(x, group, count) for x in (true, true - predicted))
    spread = jnp.sum(rest**2, 0)
    return jnp.where(spread > 0, 1 - jnp.sum(missed**2, 0) / jnp.where(spread > 0, spread, 1), jnp.nan)


def _without_means(x: Array, group: Array, count: int) -> Array:
    size = jax.ops.segment_sum(jnp.ones(len(x), x.dtype), group, count)
    means = jax.ops.segment_sum(x, group, count) / jnp.maximum(size, 1)[:, None]
    return x - means[group]
