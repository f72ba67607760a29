"""Deterministic k-medoids for every number of clusters, where equal points are one point with a weight.

Each starts from medoids that differ, as many as there are different points at most, and then takes turns: every point
goes to its nearest medoid, every cluster to the member with the least sum of distances. That ends in a local minimum of
the sum of distances. The start is a function of the points alone: the point with the least sum of distances, then
always the point furthest from those before (Gonzalez 1985); on a line also the different values at even ranks. With as
many clusters as different points, each is a cluster. On lines of 60 points the sum is within 2% of the least, as a rule
(tests/concepts/metrics/test_medoids.py).

(The peer, `sklearn_extra.cluster.KMedoids`, starts from the points with the least sums of distances. Where points
repeat these are one point many times over: two clusters of a hard concept come out as one.)
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.ranking import bisect
from interp_jax.core.types import Array, ArrayLike

TURNS = 100
MOST = 32_000  # points, so that ranks times clusters are int32


class Seeds(NamedTuple):
    """order: `[N]` int, points by turns, each the furthest from those before. reach: `[N]`, how far; 0 for repeats."""

    order: Array
    reach: Array


def on_line(values: Array, start: Seeds, count: ArrayLike) -> Array:
    """Cluster rising values `[N]` into `count` (`[]`) clusters; give where the cluster of each begins, `[N]` int.

    Clusters of sorted values are runs of them, medoids their middles: a turn costs N log N. Equal values share a
    cluster, so there are as many as different values, at most. Of the two starts the better end is taken: even ranks
    are good for few clusters, `start` (of `line_seeds`) for many.
    """
    chex.assert_rank(values, 1)
    n = values.shape[0]
    if n > MOST:
        raise ValueError(f"want at most {MOST} points, got {n}: take a sample")
    values = jnp.asarray(values)
    new = jnp.concatenate([jnp.ones(1, bool), values[1:] > values[:-1]])
    first = jnp.nonzero(new, size=n, fill_value=n)[0].astype(jnp.int32)
    different = jnp.sum(new).astype(jnp.int32)
    count = jnp.minimum(jnp.asarray(count, jnp.int32), different)
    slot = jnp.arange(n, dtype=jnp.int32)
    used = slot < count
    even = jnp.where(used, first[jnp.where(used, (2 * slot + 1) * different // (2 * count), 0)], n)
    apart = jnp.sort(jnp.where(used, start.order, n))
    begin, spread = jax.vmap(lambda medoids: _settle(values, used, medoids))(jnp.stack([even, apart]))
    best = begin[jnp.argmin(spread)]
    return best[jnp.searchsorted(best, slot, side="right") - 1]


def _settle(values: Array, used: Array, medoids: Array) -> tuple[Array, Array]:
    """Take turns from rising medoids `[N]` on; give where clusters begin, `[N]`, n where not used, and the spread."""
    n = values.shape[0]
    end = jnp.full(1, n, jnp.int32)

    def runs(medoids: Array) -> Array:
        left, right = jnp.minimum(medoids[:-1], n - 1), jnp.where(used[1:], medoids[1:], n - 1)
        before, after = values[left], values[right]
        nearer = bisect(lambda i: after - values[i] >= values[i] - before, left, right, n)
        return jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.where(used[1:], nearer, n)])

    def turn(state: tuple) -> tuple:
        medoids, _, count = state
        begin = runs(medoids)
        return jnp.where(used, (begin + jnp.concatenate([begin[1:], end]) - 1) // 2, n), medoids, count + 1

    def moving(state: tuple) -> Array:
        medoids, before, count = state
        return jnp.any(medoids != before) & (count < TURNS)

    medoids = jax.lax.while_loop(moving, turn, turn((medoids, medoids, jnp.int32(0))))[0]
    begin = runs(medoids)
    own = medoids[jnp.searchsorted(begin, jnp.arange(n), side="right") - 1]
    return begin, jnp.sum(jnp.abs(values - values[own]))


def distances(x: Array, *, block: int = 64) -> Array:
    """Give the Euclidean distances `[N, N]` of points `[N, m]`, from differences: 0 between equal points, exactly."""
    n = x.shape[0]

    def row(point: Array) -> Array:
        return jnp.sqrt(jnp.sum((x - jnp.broadcast_to(point, x.shape)) ** 2, 1))

    return jax.lax.map(row, x, batch_size=min(block, n))


def seeds(row: Callable[[Array], Array], start: ArrayLike, n: int) -> Seeds:
    """Order n points by turns from `start` on, each the furthest from those before it.

    row: `i -> [N]`, the distances of all points to point i.
    """
    start = jnp.asarray(start, jnp.int32)

    def step(nearest: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        point = jnp.argmax(nearest).astype(jnp.int32)
        return jnp.minimum(nearest, row(point)), (point, nearest[point])

    first = row(start)
    _, (order, reach) = jax.lax.scan(step, first, None, length=n - 1)
    top = jnp.full(1, jnp.inf, first.dtype)
    return Seeds(jnp.concatenate([start[None], order]), jnp.concatenate([top, reach]))


def line_seeds(values: Array) -> Seeds:
    """Order rising values `[N]` from their middle on; N^2 in all, without a matrix."""
    values = jnp.asarray(values)
    return seeds(lambda i: jnp.abs(values - values[i]), (values.shape[0] - 1) // 2, values.shape[0])


def cloud_seeds(distance: Array) -> Seeds:
    """Order points from that of least total distance on. distance: `[N, N]`."""
    return seeds(lambda i: distance[i], jnp.argmin(jnp.sum(distance, 1)), distance.shape[0])


def among(distance: Array, start: Seeds, count: ArrayLike) -> Array:
    """Cluster points of `distance [N, N]` into `count` (`[]`) clusters; give the medoid of each point, `[N]` int.

    A turn costs N^2. Ties go to the point that comes first, so equal points share a cluster.
    """
    n = distance.shape[0]
    index = jnp.arange(n, dtype=jnp.int32)
    medoid = jnp.zeros(n, bool).at[start.order].max((index < count) & (start.reach > 0))

    def nearest(medoid: Array) -> Array:
        return jnp.argmin(jnp.where(medoid[None, :], distance, jnp.inf), 1).astype(jnp.int32)

    def turn(state: tuple) -> tuple:
        medoid, _, count = state
        own = nearest(medoid)
        spread = jnp.sum(jnp.where(own[:, None] == own[None, :], distance, 0), 1)
        least = jax.ops.segment_min(spread, own, n)
        best = (spread == least[own]) & ((spread[own] > least[own]) | medoid)  # stays where it is as good
        first = jax.ops.segment_min(jnp.where(best, index, n), own, n)
        return jnp.zeros(n, bool).at[first].set(True, mode="drop"), medoid, count + 1

    def moving(state: tuple) -> Array:
        medoid, before, count = state
        return jnp.any(medoid != before) & (count < TURNS)

    return nearest(jax.lax.while_loop(moving, turn, turn((medoid, medoid, jnp.int32(0))))[0])


def counts(n: int, steps: int) -> Array:
    """Give `steps` numbers of clusters from 2 to n, evenly, `[steps]` int32."""
    checks.whole(2, steps=steps)
    return 2 + jnp.arange(steps, dtype=jnp.int32) * (n - 2) // (steps - 1)
