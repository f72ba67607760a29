"""Sums over rows that come in blocks, from which ridge is fitted as if all rows had been in memory.

    frame = make_frame(some_x, some_y)                  # where the sums are taken, from a sample of the rows
    parts = gather(blocks, frame, folds)                # `ridge.Moments` stacked over folds
    path = paths.from_moments(parts, frame, alphas)

A Gram matrix squares the condition number of its features, and in float32 that is too much for what networks compute: a
few directions hold most of the variance, and what is rounded off there exceeds all that is left. So the sums are taken
about a point amid the rows, along axes of which the first `rank` hold the largest directions, each by itself. Products
of two columns are wrong by roundings of the columns' own sizes, and all columns but these few are small: the variance
along any other axis is at most about `trace / rank`, whatever the features. What is added is added in two parts, high
and low, so that long streams lose nothing.

Sums in one frame add up: over blocks, devices and hosts. A poor frame costs digits, and
never more than plain sums would.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from itertools import pairwise
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from interp_jax.core import checks, hosts
from interp_jax.core.linalg import add_row, matmul, svd
from interp_jax.core.types import Array, ArrayLike, Numpy
from interp_jax.linear.ridge import Moments

BLOCK = 2000
"""Rows that are multiplied at once: they and their products fit a CPU's cache."""


class Frame(NamedTuple):
    """Rows as they are summed: `turned = (x - origin) (I - left right')`, an orthogonal map, and `y - level`.

    origin: `[D]`. level: `[K]`. left, right: `[D, R]`.
    """

    origin: Array
    level: Array
    left: Array
    right: Array


class Sums(NamedTuple):
    """Weighted sums over the rows of each fold, in a frame: total `[F]`, turned x `[F, D]`, y `[F, K]`, and products.

    square: `[F, D, D]`, of turned x, above the diagonal (below it anything). cross: `[F, D, K]`. spread: `[F, K]`.
    """

    total: Array
    x: Array
    y: Array
    square: Array
    cross: Array
    spread: Array


class Running(NamedTuple):
    """Sums in two parts: `high + low`, where `low` is what rounding took off `high`."""

    high: Sums
    low: Sums


def turn(frame: Frame, x: Array) -> Array:
    """Give rows `x [N, D]`, already about the origin, along the frame's axes."""
    return x - matmul(matmul(x, frame.left), frame.right.T)


def turn_back(frame: Frame, weight: Array) -> Array:
    """Give weights `[D, ...]` for x of weights for turned rows."""
    flat = jnp.reshape(weight, (weight.shape[0], -1))
    return jnp.reshape(flat - matmul(frame.left, matmul(frame.right.T, flat)), weight.shape)


def make_frame(x: Array, y: Array, *, weights: Array | None = None, rank: int | None = None) -> Frame:
    """Choose a frame from rows `x [N, D]`, `y [N, K]`: all there are, or a sample of them.

    rank: directions that get an axis of their own, `D // 24` by default. They are the leading ones of twice as many
    random combinations of the rows (Halko, Martinsson and Tropp 2011, algorithm 4.1), the same ones at each call.
    """
    chex.assert_rank([x, y], 2)
    rows, dims = x.shape
    rank = min(max(dims // 24, 1), dims, rows) if rank is None else rank
    checks.whole(0, rank=rank)
    weights = jnp.ones(rows, x.dtype) if weights is None else weights
    share = (weights / jnp.sum(weights))[None]
    signs = jax.random.rademacher(jax.random.key(0), (2 * rank, rows), x.dtype) * jnp.sqrt(share)
    found = matmul(jnp.concatenate([share, signs]), x)
    origin = found[0]
    sketch = found[1:] - jnp.sum(signs, 1)[:, None] * origin[None]
    leading = svd(sketch)[2][:rank].T
    left, right = _reflections(leading)
    return Frame(origin, matmul(share, y)[0], left, right)


def empty(frame: Frame, folds: int) -> Running:
    """Give the sums of no rows, for so many folds."""
    checks.whole(1, folds=folds)
    (dims,), (targets,), dtype = frame.origin.shape, frame.level.shape, frame.origin.dtype
    shapes = ((), (dims,), (targets,), (dims, dims), (dims, targets), (targets,))
    zero = Sums(*(jnp.zeros((folds, *shape), dtype) for shape in shapes))
    return Running(zero, zero)


def add(sums: Running, frame: Frame, x: Array, y: Array, fold: ArrayLike, *, weights: Array | None = None) -> Running:
    """Add a block of rows `x [B, D]`, `y [B, K]` to the sums of its fold.

    weights: `[B]`; rows of weight zero may hold anything. Blocks of some hundred rows or more run at the speed of
    matrix products.
    """
    chex.assert_rank([x, y], 2)
    chex.assert_equal_shape_prefix([x, y], 1)
    dtype = frame.origin.dtype
    x, y = add_row(x.astype(dtype), -frame.origin), add_row(y.astype(dtype), -frame.level)
    heavy = jnp.ones(len(x), dtype) if weights is None else weights.astype(dtype)
    if weights is not None:
        keep = (heavy != 0)[:, None]
        x, y = jnp.where(keep, x, 0), jnp.where(keep, y, 0)
    x = turn(frame, x)
    weighted = x if weights is None else heavy[:, None] * x
    other = jnp.concatenate([y, jnp.ones_like(y[:, :1])], 1)
    plain = matmul((heavy[:, None] * other).T, other)
    dims, targets = x.shape[1], y.shape[1]
    right = jnp.concatenate([x, other], 1)  # one product for both: narrow ones are slow
    parts = [matmul(weighted[:, first:last].T, right[:, first:]) for first, last in _panels(dims)]
    mixed = jnp.concatenate([part[:, -targets - 1 :] for part in parts])
    small = (plain[-1, -1], mixed[:, -1], plain[:-1, -1], mixed[:, :-1], jnp.diag(plain)[:targets])
    high, low = [*sums.high], [*sums.low]
    for at, part in zip((0, 1, 2, 4, 5), small, strict=True):
        high[at], low[at] = _add_at(high[at], low[at], (fold,), part)
    for (first, last), part in zip(_panels(dims), parts, strict=True):
        at = fold, slice(first, last), slice(first, None)
        high[3], low[3] = _add_at(high[3], low[3], at, part[:, : dims - first])
    return Running(Sums(*high), Sums(*low))


def add_mixed(
    sums: Running, frame: Frame, x: Array, y: Array, assigned: Array, *, weights: Array | None = None
) -> Running:
    """Add rows `x [N, D]`, `y [N, K]`, each to its fold `assigned [N]`.

    They are sorted by fold and added in blocks of one fold each, the last of a fold filled up with rows of no weight.
    """
    rows, folds = len(x), len(sums.high.total)
    size = min(BLOCK, -(-rows // folds))
    order = jnp.argsort(assigned)
    count = jnp.bincount(assigned, length=folds)
    first = jnp.cumsum(count) - count
    blocks = -(-count // size)
    until = jnp.cumsum(blocks)

    def step(k: Array, sums: Running) -> Running:
        fold = jnp.searchsorted(until, k, side="right")
        inside = (k - until[fold] + blocks[fold]) * size + jnp.arange(size)
        real = inside < count[fold]
        at = order[jnp.where(real, first[fold] + inside, 0)]
        heavy = real.astype(frame.origin.dtype) if weights is None else jnp.where(real, weights[at], 0)
        return add(sums, frame, x[at], y[at], fold, weights=heavy)

    return jax.lax.fori_loop(0, until[-1], step, sums)


def _panels(dims: int) -> list[tuple[int, int]]:
    """Cut columns into up to eight panels of at least 96: what lies under the diagonal need not be multiplied out."""
    count = min(max(dims // 96, 1), 8)
    ends = [round(i * dims / count) for i in range(count + 1)]
    return list(pairwise(ends))


def _add_at(high: Array, low: Array, at: tuple, part: Array) -> tuple[Array, Array]:
    """Add to one place of a sum in two parts; `low` takes what rounding takes off `high` (Knuth's two-sum)."""
    old = high[at]
    new = old + part
    kept = new - old
    return high.at[at].set(new), low.at[at].add((old - (new - kept)) + (part - kept))


def merge(a: Running, b: Running) -> Running:
    """Add the sums of two streams, taken in one frame; the order does not matter, to rounding of `low`."""

    def both(a: Array, b: Array, low: Array) -> tuple[Array, Array]:
        return _add_at(a, low, (...,), b)

    pairs = [both(*leaves) for leaves in zip(a.high, b.high, jax.tree.map(jnp.add, a.low, b.low), strict=True)]
    return Running(Sums(*(high for high, _ in pairs)), Sums(*(low for _, low in pairs)))


def fold_moments(sums: Running) -> Moments:
    """Give the moments of each fold's rows, stacked, of turned x and of y about the frame's level."""
    high = jax.tree.map(jnp.add, sums.high, sums.low)
    safe = jnp.where(high.total > 0, high.total, 1)[:, None]
    centre, level = high.x / safe, high.y / safe
    upper = jnp.triu(high.square)
    square = upper + jnp.swapaxes(jnp.triu(upper, 1), 1, 2)
    return Moments(
        total=high.total,
        centre=centre,
        rest=jnp.zeros_like(centre),
        level=level,
        square=square - high.x[:, :, None] * centre[:, None, :],
        cross=high.cross - centre[:, :, None] * high.y[:, None, :],
        spread=high.spread - level * high.y,
    )


def _reflections(a: Array) -> tuple[Array, Array]:
    """Give `left, right [D, R]` so that `I - left right'` is orthogonal and its columns begin as those of `a [D, R]`.

    Up to sign, for orthonormal `a`: Householder's vectors Y in turn, and `left = Y T` of the product's compact form
    (Schreiber and Van Loan 1989).
    """
    dims, rank = a.shape
    places = jnp.arange(dims)
    if rank == 0:
        return a, a

    def step(a: Array, j: Array) -> tuple[Array, Array]:
        column = jnp.where(places >= j, a[:, j], 0)
        size = jnp.linalg.norm(column)
        v = column + jnp.where(places == j, jnp.where(column[j] < 0, -size, size), 0)
        v = v / jnp.maximum(jnp.linalg.norm(v), jnp.finfo(a.dtype).tiny)
        return a - 2 * v[:, None] * matmul(v, a)[None], v

    vectors = jax.lax.scan(step, a, jnp.arange(rank))[1].T

    def extend(left: Array, j: Array) -> tuple[Array, None]:
        v = vectors[:, j]
        return left.at[:, j].set(2 * (v - matmul(left, matmul(vectors.T, v)))), None

    left = jax.lax.scan(extend, jnp.zeros_like(vectors), jnp.arange(rank))[0]
    return left, vectors


def gather(
    blocks: Iterable[tuple[Numpy, Numpy, Numpy]],
    frame: Frame,
    folds: int,
    *,
    chunk: int = 8192,
    mesh: Mesh | None = None,
) -> Moments:
    """Reduce blocks from disk to the moments of each fold; `paths.from_moments` finds the path.

    Of several processes each gives blocks of its own, perhaps none, and all get the moments of all rows, in the frame
    of process 0.

    Args:
        blocks: `(x [B, D], y [B, K], assigned [B])`, B and the float type as they come. (What `np.memmap` has read
            counts as resident memory until it is closed: read with `np.fromfile`, or from a store.)
        frame: `make_frame` of a sample of all rows, not of the first where rows have an order.
        folds: how many.
        chunk: rows of one step, over all devices, in float32 on them; the last is filled up.
        mesh: devices of this process that share the rows of a step, along its one axis. By default one device.

    Raises ValueError for a row that is not finite or has no such fold, on every process.
    """
    checks.whole(1, chunk=chunk)
    mesh = Mesh(np.array(jax.local_devices()[:1]), ("rows",), axis_types=(AxisType.Auto,)) if mesh is None else mesh
    frame = jax.tree.map(lambda leaf: jnp.asarray(hosts.gather(leaf)[0]), frame)
    wrong, local = "", None
    try:
        local = _local(blocks, frame, folds, chunk, mesh)
    except ValueError as error:
        wrong = str(error)
    if wrong := hosts.trouble(wrong):
        raise ValueError(wrong)
    every = jax.tree.map(hosts.gather, local)
    sums = reduce(merge, [jax.tree.map(lambda a, i=i: jnp.asarray(a[i]), every) for i in range(jax.process_count())])
    if not jnp.sum(sums.high.total) > 0:
        raise ValueError("want at least one row, got no blocks")
    return fold_moments(sums)


def _local(blocks: Iterable[tuple[Numpy, Numpy, Numpy]], frame: Frame, folds: int, chunk: int, mesh: Mesh) -> Running:
    """Give the sums of this process's blocks, as numpy."""
    rows = NamedSharding(mesh, PartitionSpec(*mesh.axis_names))
    chunk = -(-chunk // mesh.size) * mesh.size
    step = jax.jit(_add_shares(mesh), donate_argnums=0)
    empties = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (mesh.size, *leaf.shape)), empty(frame, folds))
    sums = jax.device_put(empties, rows)
    for part in _chunks(blocks, frame, folds, chunk):
        sums = jax.block_until_ready(step(sums, frame, *jax.device_put(part, rows)))
    parts = jax.tree.map(np.asarray, sums)
    total = reduce(merge, [jax.tree.map(lambda a, i=i: jnp.asarray(a[i]), parts) for i in range(mesh.size)])
    return jax.tree.map(np.asarray, total)


def _add_shares(mesh: Mesh) -> Callable[..., Running]:
    """Give the step in which each device adds its share of the rows to its own sums; nothing travels between them."""

    def one(sums: Running, frame: Frame, x: Array, y: Array, assigned: Array, weights: Array) -> Running:
        own = add_mixed(jax.tree.map(lambda leaf: leaf[0], sums), frame, x, y, assigned, weights=weights)
        return jax.tree.map(lambda leaf: leaf[None], own)

    rows, whole = PartitionSpec(*mesh.axis_names), PartitionSpec()
    return jax.shard_map(one, mesh=mesh, in_specs=(rows, whole, rows, rows, rows, rows), out_specs=rows)


def _chunks(blocks: Iterable[tuple[Numpy, Numpy, Numpy]], frame: Frame, folds: int, chunk: int) -> Iterator[tuple]:
    """Cut blocks into chunks of one size, in the frame's type, with weights zero on rows that fill up the last."""
    dtype, seen = frame.origin.dtype, 0
    for block in blocks:
        x, y, assigned = (np.asarray(part) for part in block)
        y = y.reshape(len(y), -1)
        chex.assert_shape([x, y], [(len(assigned), len(frame.origin)), (len(assigned), len(frame.level))])
        bad = ~(np.isfinite(x).all(1) & np.isfinite(y).all(1) & (assigned >= 0) & (assigned < folds))
        if bad.any():
            raise ValueError(
                f"want finite rows in folds 0 to {folds - 1}, got one that is not: {seen + np.argmax(bad)}"
            )
        seen += len(x)
        for at in range(0, len(x), chunk):
            short = chunk - len(x[at : at + chunk])
            part = x[at : at + chunk].astype(dtype), y[at : at + chunk].astype(dtype), assigned[at : at + chunk]
            filled = [np.pad(leaf, [(0, short)] + [(0, 0)] * (leaf.ndim - 1)) for leaf in part] if short else part
            yield *filled, (np.arange(chunk) < chunk - short).astype(dtype)
