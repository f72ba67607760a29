"""The loop over blocks of examples: features held or made again, half of a symmetric kernel mirrored."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from interp_jax.core.types import Array, PyTree
from interp_jax.ntk.methods import Engine, Problem

MEMORY = 2**30
"""Bytes that the factors of all examples may take, and those of a block while they are computed."""
SPLIT = 2000
"""Rows of a symmetric kernel from which its halves are worth a loop over blocks."""


class Sizes(NamedTuple):
    """How much at a time. made: examples whose features are computed at once. tile: examples a side of a tile.

    held: whether the features of all examples stay in memory.
    """

    made: int
    tile: int
    held: bool


def sizes(engine: Engine, problem: Problem, symmetric: bool, batch_size: int | None) -> Sizes:
    """Choose the blocks."""
    count, rows = problem.count, problem.basis.shape[0] if problem.reduce == "full" else 1
    if batch_size is not None:
        return Sizes(min(batch_size, count), min(batch_size, count), batch_size >= count)
    made = max(1, min(count, MEMORY // max(engine.bytes_working, 1)))
    held = engine.bytes_each * count <= MEMORY
    tile = count if held else made
    if symmetric and held and count * rows >= SPLIT:
        tile = -(-count // 4)
    return Sizes(made, tile, held)


def gram(engine: Engine, x1: PyTree, x2: PyTree, problem: Problem, batch_size: int | None = None) -> dict[str, Array]:
    """Compute the kernel of every part between all of x1 and all of x2 (x1 itself if None)."""
    symmetric = x2 is None
    chosen = sizes(engine, problem, symmetric, batch_size)
    left = _Side(engine, x1, chosen)
    right = left if symmetric else _Side(engine, x2, chosen)

    def tile(a: list[Array], b: list[Array]) -> dict[str, Array]:
        rows, columns = (jax.tree.leaves(side)[0].shape[0] for side in (a, b))
        found = engine.tile(engine.fixed, a, b)
        return {name: finish(value, rows, columns, problem) for name, value in found.items()}

    if left.blocks == right.blocks == 1:
        whole = tile(left.block(0), right.block(0))
        return jax.tree.map(mirror, whole) if symmetric else whole
    shapes = jax.eval_shape(tile, left.block(0), right.block(0))
    out = {name: jnp.zeros((left.count, right.count, *value.shape[2:]), value.dtype) for name, value in shapes.items()}

    def row(i: Array, out: dict[str, Array]) -> dict[str, Array]:
        these = left.block(i)

        def column(j: Array, out: dict[str, Array]) -> dict[str, Array]:
            found = tile(these, right.block(j))
            if symmetric:
                found = jax.tree.map(lambda a: jnp.where(i == j, mirror(a), a), found)
            at, to = left.start(i), right.start(j)
            out = {name: _put(out[name], found[name], at, to) for name in out}
            return {name: _put(out[name], _flip(found[name]), to, at) for name in out} if symmetric else out

        return lax.fori_loop(i if symmetric else 0, right.blocks, column, out)

    return lax.fori_loop(0, left.blocks, row, out)


class _Side:
    """The examples of one side, in blocks of equal size; the last block ends with the last example."""

    def __init__(self, engine: Engine, xs: PyTree, chosen: Sizes) -> None:
        self.engine, self.xs = engine, xs
        self.count = jax.tree.leaves(xs)[0].shape[0]
        self.size = min(chosen.tile, self.count)
        self.blocks = -(-self.count // self.size)
        self.held = _all(engine, xs, min(chosen.made, self.count)) if chosen.held else None

    def start(self, i: Array | int) -> Array:
        return jnp.minimum(jnp.asarray(i) * self.size, self.count - self.size)

    def block(self, i: Array | int) -> list[Array]:
        if self.blocks == 1 and self.held is not None:
            return self.held
        if self.held is not None:
            return _slice(self.held, self.start(i), self.size)
        return self.engine.features(_slice(self.xs, self.start(i), self.size))


def _all(engine: Engine, xs: PyTree, size: int) -> list[Array]:
    """Compute the features of all examples, `size` at a time."""
    count = jax.tree.leaves(xs)[0].shape[0]
    if size == count:
        return engine.features(xs)
    shapes = jax.eval_shape(engine.features, _slice(xs, jnp.zeros((), int), 1))
    out = [jnp.zeros((count, *value.shape[1:]), value.dtype) for value in shapes]

    def block(i: Array, out: list[Array]) -> list[Array]:
        start = jnp.minimum(i * size, count - size)
        found = engine.features(_slice(xs, start, size))
        return [lax.dynamic_update_slice_in_dim(a, b, start, 0) for a, b in zip(out, found, strict=True)]

    return lax.fori_loop(0, -(-count // size), block, out)


def _slice(tree: PyTree, start: Array, size: int) -> PyTree:
    return jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, start, size, 0), tree)


def finish(value: Array, rows: int, columns: int, problem: Problem) -> Array:
    """Order the axes of a tile, fill in axes of examples that were the same for all, and average a trace."""
    outputs = problem.basis.shape[0]
    if problem.reduce == "full":
        value = jnp.broadcast_to(value, (rows, outputs, columns, outputs))
        return value.transpose(0, 2, 1, 3)
    if problem.reduce == "diagonal":
        return jnp.broadcast_to(value, (rows, columns, outputs))
    return jnp.broadcast_to(value, (rows, columns)) / outputs


def _flip(tile: Array) -> Array:
    """Exchange the two sides."""
    return tile.transpose(1, 0, 3, 2) if tile.ndim == 4 else jnp.swapaxes(tile, 0, 1)


def mirror(tile: Array) -> Array:
    """Make a square tile symmetric, by what is below its diagonal."""
    count = tile.shape[0]
    places = jnp.arange(count)
    if tile.ndim == 4:
        outputs = jnp.arange(tile.shape[2])
        at = places[:, None, None, None] * tile.shape[2] + outputs[None, None, :, None]
        to = places[None, :, None, None] * tile.shape[2] + outputs[None, None, None, :]
        return jnp.where(at >= to, tile, _flip(tile))
    below = places[:, None] >= places[None, :]
    below = below.reshape(count, count, *(1,) * (tile.ndim - 2))
    return jnp.where(below, tile, _flip(tile))


def _put(out: Array, tile: Array, row: Array, column: Array) -> Array:
    zero = jnp.zeros((), row.dtype)
    return lax.dynamic_update_slice(out, tile, (row, column, *(zero,) * (tile.ndim - 2)))
