"""Kernels as linear maps of vectors: matrix-free, dense, or with a ridge; solvers ask for nothing else.

A vector has one entry for each example and output, `[N K]`, output fastest, as the rows of the kernel written as the
matrix `[N K, N K]`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from interp_jax.core import checks
from interp_jax.core.linalg import matmul
from interp_jax.core.types import Apply, Array, ArrayLike, PyTree
from interp_jax.ntk.trees import example_of, floating, output_of


class Operator(NamedTuple):
    """A linear map. rows, columns: lengths of its results and its arguments. matvec: `[columns] -> [rows]`."""

    rows: int
    columns: int
    dtype: jnp.dtype
    matvec: Callable[[Array], Array]

    def __matmul__(self, vector: Array) -> Array:
        """Apply it to `[columns]`, or to each column of `[columns, C]`, all in one pass over the examples."""
        if vector.ndim == 1:
            return self.matvec(vector)
        return jax.vmap(self.matvec, 1, 1)(vector)


def operator(apply: Apply, params: PyTree, x1: PyTree, x2: PyTree = None, *, batch_size: int | None = None) -> Operator:
    """Make the kernel between x1 and x2 (x1 if None) a map that never forms it: `v -> J1 (J2' v)`.

    One product takes a vjp over x2 and a jvp over x1, about five forward passes of every example, and memory for
    `batch_size` examples and two more sets of parameters.

    >>> apply = lambda params, x: params["w"] @ x
    >>> (operator(apply, {"w": jnp.ones((2, 3))}, jnp.eye(3)) @ jnp.ones(6)).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]

    Args:
        apply: `(params, x) -> [K]`, for one example.
        params: any tree; integer leaves are constants.
        x1: N1 examples.
        x2: N2 examples.
        batch_size: examples at a time, all at once if None.
    """
    output = output_of(apply, params, example_of(x1))
    values, rebuild = floating(params)
    sides = [_Blocks(x, batch_size) for x in (x1, x1 if x2 is None else x2)]

    def call(values: list[Array], xs: PyTree) -> Array:
        return jax.vmap(lambda x: apply(rebuild(values), x))(xs)

    def matvec(vector: Array) -> Array:
        with jax.default_matmul_precision("highest"):
            pulled = _pull(call, values, sides[1], vector.reshape(sides[1].count, *output.shape))
            return _push(call, values, sides[0], pulled).reshape(-1)

    return Operator(sides[0].count * output.shape[0], sides[1].count * output.shape[0], output.dtype, matvec)


def dense(kernel: Array) -> Operator:
    """Make a kernel `[N1, N2, K, K]`, or a matrix `[N, M]`, a map."""
    matrix = flatten(kernel) if kernel.ndim == 4 else kernel
    rows, columns = matrix.shape
    return Operator(rows, columns, matrix.dtype, lambda vector: matmul(matrix, vector))


def flatten(kernel: Array) -> Array:
    """Write `[N1, N2, K, L]` as the matrix `[N1 K, N2 L]`."""
    n, m, k, length = kernel.shape
    return kernel.transpose(0, 2, 1, 3).reshape(n * k, m * length)


def add_ridge(operator: Operator, ridge: ArrayLike) -> Operator:
    """Add `ridge` to the diagonal of a square map."""
    checks.not_negative(ridge=ridge)
    return operator._replace(matvec=lambda vector: operator.matvec(vector) + ridge * vector)


class _Blocks:
    """Examples in blocks of equal size; the last one is filled up with copies, which `keep` masks."""

    def __init__(self, xs: PyTree, size: int | None) -> None:
        self.count = jax.tree.leaves(xs)[0].shape[0]
        if size is not None:
            checks.whole(1, batch_size=size)
        self.size = min(size or self.count, self.count)
        self.blocks = -(-self.count // self.size)
        self.xs = self.split(xs)

    def split(self, xs: PyTree) -> PyTree:
        """Give `[blocks, size, ...]`."""
        places = jnp.minimum(jnp.arange(self.blocks * self.size), self.count - 1)
        return jax.tree.map(lambda leaf: leaf[places].reshape(self.blocks, self.size, *leaf.shape[1:]), xs)

    def keep(self) -> Array:
        """Give `[blocks, size]`, whether an example counts."""
        return (jnp.arange(self.blocks * self.size) < self.count).reshape(self.blocks, self.size)


def _pull(call: Callable, values: list[Array], side: _Blocks, cotangents: Array) -> list[Array]:
    """Sum the cotangents of the parameters over all examples."""

    def block(total: list[Array], given: tuple) -> tuple[list[Array], None]:
        xs, cotangent, keep = given
        _, pullback = jax.vjp(lambda values: call(values, xs), values)
        (found,) = pullback(jnp.where(keep[:, None], cotangent, 0))
        return [a + b for a, b in zip(total, found, strict=True)], None

    start = [jnp.zeros_like(value) for value in values]
    return lax.scan(block, start, (side.xs, side.split(cotangents), side.keep()))[0]


def _push(call: Callable, values: list[Array], side: _Blocks, tangents: list[Array]) -> Array:
    """Give the derivative of every example's output along a direction of the parameters, `[N, K]`."""
    found = lax.map(lambda xs: jax.jvp(lambda values: call(values, xs), (values,), (tangents,))[1], side.xs)
    return found.reshape(-1, *found.shape[2:])[: side.count]
