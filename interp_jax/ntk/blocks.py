"""The loop over blocks of examples: features held or made again, half of a symmetric kernel mirrored."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from interp_jax.core.types import Array, PyTree
from interp_jax.ntk.methods import Engine, Problem

MEMORY = 2**29
"""Bytes that the factors of all examples may take, and those of a block while they are computed."""
SPLIT = 4e10
"""Operations of a symmetric kernel from which its halves are worth a loop over tiles."""
UNROLLED = 4
"""Blocks that are computed one after the other without a loop, inside which XLA's CPU convolutions use one core."""


class Sizes(NamedTuple):
    """How much at a time. made: examples whose features are computed at once. tile: examples a side of a tile.

    held: whether the features of all examples stay in memory.
    """

    made: int
    tile: int
    held: bool


def sizes(engine: Engine, problem: Problem, symmetric: bool, batch_size: int | None) -> Sizes:
    """Choose the blocks."""
    count = problem.count
    if batch_size is not None:
        return Sizes(min(batch_size, count), min(batch_size, count), batch_size >= count)
    made = _even(count, max(1, min(count, MEMORY // max(engine.bytes_working, 1))))
    held = engine.bytes_each * count <= MEMORY
    tile = count if held else made
    if symmetric and held and engine.flops_pair * count**2 >= SPLIT:
        tile = -(-count // 8)
    return Sizes(made, tile, held)


def _even(count: int, most: int) -> int:
    """Give the size of the fewest blocks of at most so many, as even as can be: a last short one is filled up."""
    return -(-count // -(-count // most))


def gram(engine: Engine, x1: PyTree, x2: PyTree, problem: Problem, batch_size: int | None = None) -> dict[str, Array]:
    """Compute the kernel of every part between all of x1 and all of x2 (x1 itself if None)."""
    symmetric = x2 is None
    chosen = sizes(engine, problem, symmetric, batch_size)
    left = _Side(engine, x1, chosen)
    right = left if symmetric else _Side(engine, x2, chosen)

    def tile(a: list[Array], b: list[Array]) -> dict[str, Array]:
        return meet(engine, a, b, problem)

    if left.blocks == right.blocks == 1:
        whole = tile(left.block(0), right.block(0))
        whole = jax.tree.map(mirror, whole) if symmetric else whole
    else:
        whole = _loop(left, right, tile, symmetric=symmetric)
    if problem.reduce != "full":
        return whole
    shape = left.count, problem.basis.shape[0], right.count, problem.basis.shape[0]
    return {name: value.reshape(shape).transpose(0, 2, 1, 3) for name, value in whole.items()}


def _loop(left: "_Side", right: "_Side", tile: Callable, *, symmetric: bool) -> dict[str, Array]:
    """Compute tile after tile: all, or those of the upper triangle and their mirror images."""
    shapes = jax.eval_shape(tile, left.block(0), right.block(0))
    scales = {name: value.shape[0] // left.size for name, value in shapes.items()}
    out = {
        name: jnp.zeros((left.count * scales[name], right.count * scales[name], *value.shape[2:]), value.dtype)
        for name, value in shapes.items()
    }

    def row(i: Array, out: dict[str, Array]) -> dict[str, Array]:
        these, at = left.block(i), left.start(i)

        def column(j: Array, out: dict[str, Array]) -> dict[str, Array]:
            found, to = tile(these, right.block(j)), right.start(j)
            if symmetric:
                found = lax.cond(i == j, lambda tiles: jax.tree.map(mirror, tiles), lambda tiles: tiles, found)
                out = {name: _put(out[name], jnp.swapaxes(found[name], 0, 1), to, at, scales[name]) for name in out}
            return {name: _put(out[name], found[name], at, to, scales[name]) for name in out}

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
    if -(-count // size) <= UNROLLED:
        starts = range(0, count, size)
        parts = [engine.features(jax.tree.map(lambda leaf, i=i: leaf[i : i + size], xs)) for i in starts]
        return [jnp.concatenate(several) for several in zip(*parts, strict=True)]
    shapes = jax.eval_shape(engine.features, _slice(xs, jnp.zeros((), int), 1))
    out = [jnp.zeros((count, *value.shape[1:]), value.dtype) for value in shapes]

    def block(i: Array, out: list[Array]) -> list[Array]:
        start = jnp.minimum(i * size, count - size)
        found = engine.features(_slice(xs, start, size))
        return [lax.dynamic_update_slice_in_dim(a, b, start, 0) for a, b in zip(out, found, strict=True)]

    return lax.fori_loop(0, -(-count // size), block, out)


def _slice(tree: PyTree, start: Array, size: int) -> PyTree:
    return jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, start, size, 0), tree)


def meet(engine: Engine, left: list[Array], right: list[Array], problem: Problem) -> dict[str, Array]:
    """Compute a tile of every part: `[n K, m K]`, a mean over outputs `[n, m]`, or `[n, m, K]`."""
    rows, columns = (jax.tree.leaves(side)[0].shape[0] for side in (left, right))
    outputs = problem.basis.shape[0]

    def finish(value: Array) -> Array:
        """Fill in axes of examples that were the same for all; average a trace."""
        if problem.reduce == "full":
            return jnp.broadcast_to(value, (rows, outputs, columns, outputs)).reshape(rows * outputs, columns * outputs)
        if problem.reduce == "diagonal":
            return jnp.broadcast_to(value, (rows, columns, outputs))
        return jnp.broadcast_to(value, (rows, columns)) / outputs

    return {name: finish(value) for name, value in engine.tile(engine.fixed, left, right).items()}


def mirror(tile: Array) -> Array:
    """Make a square tile symmetric bit for bit: the mean of it and its mirror image, which differ by rounding."""
    return 0.5 * (tile + jnp.swapaxes(tile, 0, 1))


def _put(out: Array, tile: Array, row: Array, column: Array, scale: int) -> Array:
    """Write a tile at its place. row, column: of examples. scale: rows an example."""
    zero = jnp.zeros((), row.dtype)
    return lax.dynamic_update_slice(out, tile, (row * scale, column * scale, *(zero,) * (tile.ndim - 2)))
