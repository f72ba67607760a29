"""Three independent ways to compute the same kernel: structured derivatives, Jacobian contraction, vector products.

A method prepares a problem and gives an `Engine`: what examples are turned into, and how two blocks of them meet.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from interp_jax.core.types import Apply, Array, PyTree
from interp_jax.ntk import factors
from interp_jax.ntk.einsums import Reduce, contract, einsum
from interp_jax.ntk.factors import Factors


class Problem(NamedTuple):
    """A kernel to compute.

    x: one example's shapes. basis: `[R, K]`, the combinations of outputs. count: how many examples meet how many.
    names: the part that each leaf of params belongs to.
    """

    apply: Apply
    params: PyTree
    x: PyTree
    basis: Array
    reduce: Reduce
    count: int
    names: tuple[str, ...]


class Engine(NamedTuple):
    """How a method computes. fixed: what is the same for all examples. features: `xs -> [array [n, ...], ...]`.

    tile: `(fixed, left, right) -> name -> [n, k, m, l]`, or `[n, m]`, `[n, m, k]`, sums over outputs, the axis of
    examples of size one where it makes no difference. bytes_each: of an example's features. bytes_working: of those and
    what they are made of.
    """

    fixed: list[Array]
    features: Callable[[PyTree], list[Array]]
    tile: Callable[[list[Array], list[Array], list[Array]], dict[str, Array]]
    bytes_each: int
    bytes_working: int


Method = Callable[[Problem], Engine]


def structured(problem: Problem) -> Engine:
    """Read the model's jaxpr and keep every parameter's factors apart where that is cheaper: see `ntk.factors`."""
    leaves = _leaves(problem.params)
    read = factors.prepare(
        problem.apply, problem.params, problem.x, problem.basis, examples=problem.count, reduce=problem.reduce
    )
    flags = [flag for member in read.batched for flag in member]

    def every(xs: PyTree) -> list[Array]:
        return [value for member in read.batch(leaves, xs) for value in member]

    def features(xs: PyTree) -> list[Array]:
        return [value for value, flag in zip(every(xs), flags, strict=True) if flag]

    def tile(fixed: list[Array], left: list[Array], right: list[Array]) -> dict[str, Array]:
        sides = []
        for each in (left, right):
            same, own = iter(fixed), iter(each)
            sides.append([next(own if flag else same) for flag in flags])
        return _meet(read, problem, *sides)

    one = jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape), leaf.dtype), problem.x)
    fixed = [value for value, flag in zip(every(one), flags, strict=True) if not flag]
    each, working = _bytes(read, problem)
    return Engine(fixed, features, tile, each, working)


def _meet(read: Factors, problem: Problem, left: list[Array], right: list[Array]) -> dict[str, Array]:
    """Sum over the parameters of each part; a part that no output depends on is zero."""
    totals: dict[str, Any] = {}
    start = 0
    for group in read.groups:
        place, spans = start, []
        for member in group.members:
            spans.append(slice(place, place + len(member)))
            place += len(member)
        start = place
        name = problem.names[group.leaf]
        for a, these in zip(group.members, spans, strict=True):
            for b, those in zip(group.members, spans, strict=True):
                part = contract(a, left[these], b, right[those], group.entries, problem.reduce)
                totals[name] = totals[name] + part if name in totals else part
    axes = {"full": 4, "trace": 2, "diagonal": 3}[problem.reduce]
    return {name: jnp.zeros((1,) * axes, problem.basis.dtype) for name in problem.names} | totals


def _bytes(read: Factors, problem: Problem) -> tuple[int, int]:
    """Count the bytes of one example's factors, and of what they are made of."""
    leaves = _leaves(problem.params)
    found = jax.eval_shape(read.one, leaves, problem.x)
    pairs = zip(jax.tree.leaves(found), [flag for member in read.batched for flag in member], strict=True)
    each = sum(value.size * value.dtype.itemsize for value, flag in pairs if flag)
    rows = problem.basis.shape[0]
    uses = [use for group in read.groups for use in group.uses]
    width = read.structure.output.dtype.itemsize
    made = sum(2 * rows * _size(use.sizes) + 2 * _size(use.h_shape) for use in uses)
    return each, each + width * made


def _leaves(params: PyTree) -> list[Array]:
    return [jnp.asarray(leaf) for leaf in jax.tree.leaves(params)]


def _size(shape: Sequence[int]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total


def jacobian(problem: Problem) -> Engine:
    """Contract whole Jacobians, `N K P` numbers: what one would write down first."""
    leaves, tree = _leaves(problem.params), jax.tree.structure(problem.params)
    floating = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    rows = problem.basis.shape[0]

    def one(x: PyTree) -> list[Array]:
        def call(some: list[Array]) -> Array:
            filled = list(leaves)
            for i, leaf in zip(floating, some, strict=True):
                filled[i] = leaf
            return problem.apply(jax.tree.unflatten(tree, filled), x)

        _, pullback = jax.vjp(call, [leaves[i] for i in floating])
        return [leaf.reshape(rows, -1) for leaf in jax.vmap(pullback)(problem.basis)[0]]

    def tile(fixed: list[Array], left: list[Array], right: list[Array]) -> dict[str, Array]:
        output = {"full": "nkml", "trace": "nm", "diagonal": "nmk"}[problem.reduce]
        other = "l" if problem.reduce == "full" else "k"
        totals: dict[str, Any] = {}
        for i, a, b in zip(floating, left, right, strict=True):
            part = einsum([(a, "nkp"), (b, f"m{other}p")], output)
            totals[problem.names[i]] = totals.get(problem.names[i], 0) + part
        return totals

    each = rows * sum(leaves[i].size * leaves[i].dtype.itemsize for i in floating)
    return Engine([], lambda xs: jax.vmap(one)(xs), tile, each, 2 * each)


def vector_products(problem: Problem) -> Engine:
    """Apply the kernel to unit vectors, one vjp and one jvp each: little memory, `N^2 K` forward passes."""
    leaves, tree = _leaves(problem.params), jax.tree.structure(problem.params)
    rows = jnp.arange(problem.basis.shape[0])
    names = tuple(dict.fromkeys(problem.names))

    def call(leaves: list[Array], x: PyTree) -> Array:
        return problem.apply(jax.tree.unflatten(tree, leaves), x)

    def column(fixed: list[Array], x: PyTree, y: PyTree, name: str, row: Array) -> Array:
        floating = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]

        def some(values: list[Array], x: PyTree) -> Array:
            filled = list(leaves)
            for i, value in zip(floating, values, strict=True):
                filled[i] = value
            return call(filled, x)

        values = [leaves[i] for i in floating]
        _, pullback = jax.vjp(lambda values: some(values, y), values)
        (tangent,) = pullback(problem.basis[row])
        tangent = [t if problem.names[i] == name else jnp.zeros_like(t) for i, t in zip(floating, tangent, strict=True)]
        _, pushed = jax.jvp(lambda values: some(values, x), (values,), (tangent,))
        return problem.basis @ pushed

    tree_x = jax.tree.structure(problem.x)

    def tile(fixed: list[Array], left: list[Array], right: list[Array]) -> dict[str, Array]:
        found = {}
        for name in names:
            each = partial(column, fixed, name=name)

            def pair(x: list[Array], y: list[Array], each: Callable = each) -> Array:
                x, y = jax.tree.unflatten(tree_x, x), jax.tree.unflatten(tree_x, y)
                return jax.vmap(lambda row: each(x, y, row=row))(rows)

            whole = jax.vmap(jax.vmap(pair, (None, 0)), (0, None))(left, right)  # [n, m, l, k]
            found[name] = {
                "full": lambda a: a.transpose(0, 3, 1, 2),
                "trace": lambda a: jnp.trace(a, axis1=2, axis2=3),
                "diagonal": lambda a: jnp.diagonal(a, axis1=2, axis2=3),
            }[problem.reduce](whole)
        return found

    each = sum(_size(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(problem.x))
    weights = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    return Engine([], jax.tree.leaves, tile, each, each + weights * problem.basis.shape[0])
