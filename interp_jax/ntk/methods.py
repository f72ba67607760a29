"""Three independent ways to compute the same kernel: structured derivatives, Jacobian contraction, vector products.

A method prepares a problem and gives an `Engine`: what examples are turned into, and how two blocks of them meet.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from interp_jax.core.types import Apply, Array, PyTree
from interp_jax.ntk import factors
from interp_jax.ntk.einsums import Reduce, contract, einsum
from interp_jax.ntk.factors import Factors
from interp_jax.ntk.trees import floating


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
    what they are made of. flops_pair: of a tile, for one pair of examples.
    """

    fixed: list[Array]
    features: Callable[[PyTree], list[Array]]
    tile: Callable[[list[Array], list[Array], list[Array]], dict[str, Array]]
    bytes_each: int
    bytes_working: int
    flops_pair: float = 0.0


Method = Callable[[Problem], Engine]
ORDERLY = {"reshape", "squeeze", "copy", "reduce_sum", "broadcast_in_dim"}
"""What changes neither entries nor their order, if it does not change their number."""


def structured(problem: Problem) -> Engine:
    """Read the model's jaxpr and keep every parameter's factors apart where that is cheaper: see `ntk.factors`."""
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(problem.params)]
    read = factors.prepare(
        problem.apply, problem.params, problem.x, problem.basis, examples=problem.count, reduce=problem.reduce
    )
    flags = [flag for member in read.batched for flag in member]
    values, numbers = same(lambda x: [value for member in read.one(leaves, x) for value in member], problem.x)
    first: dict[int, int] = {}
    for i, flag in enumerate(flags):
        if flag:
            first.setdefault(numbers[i], i)

    def every(xs: PyTree) -> list[Array]:
        return [value for member in read.batch(leaves, xs) for value in member]

    def features(xs: PyTree) -> list[Array]:
        found = every(xs)
        return [found[i] for i in first.values()]

    def side(fixed: list[Array], own: list[Array]) -> list[Array]:
        known, rest = dict(zip(first, own, strict=True)), iter(fixed)

        def one(i: int) -> Array:
            value = known[numbers[i]]
            return value.reshape(value.shape[:1] + values[i].shape)

        return [one(i) if flag else next(rest) for i, flag in enumerate(flags)]

    def tile(fixed: list[Array], left: list[Array], right: list[Array]) -> dict[str, Array]:
        return _meet(read, problem, side(fixed, left), side(fixed, right))

    one = jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape), leaf.dtype), problem.x)
    fixed = [value for value, flag in zip(every(one), flags, strict=True) if not flag]
    each, working = _bytes(read, problem, [values[i] for i in first.values()])
    return Engine(fixed, features, tile, each, working, sum(group.flops_pair for group in read.groups))


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


def same(function: Callable[[PyTree], list[Array]], x: PyTree) -> tuple[list[jax.ShapeDtypeStruct], list[int]]:
    """Give each output's form, and a number that outputs share if they have the same entries in the same order.

    A bias and its kernel have one cotangent. It is found by numbering the values of the program, and kept and met once.
    """
    jaxpr = jax.make_jaxpr(function)(x).jaxpr
    known: dict[Any, int] = {}
    made: dict[str, list[int]] = {}
    fresh = itertools.count()

    def number(atom: Any) -> int:
        return next(fresh) if isinstance(atom, Literal) else known.setdefault(atom, next(fresh))

    for eqn in jaxpr.eqns:
        if eqn.primitive.name in ORDERLY and eqn.invars[0].aval.size == eqn.outvars[0].aval.size:
            outputs = [number(eqn.invars[0])]
        else:
            inputs = [repr(atom.val) if isinstance(atom, Literal) else number(atom) for atom in eqn.invars]
            shapes = [atom.aval.shape for atom in eqn.invars]
            what = repr((eqn.primitive.name, inputs, shapes, eqn.params))
            outputs = made.setdefault(what, [number(atom) for atom in eqn.outvars])
        known.update(zip(eqn.outvars, outputs, strict=True))
    forms = [jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype) for atom in jaxpr.outvars]
    return forms, [number(atom) for atom in jaxpr.outvars]


def _bytes(read: Factors, problem: Problem, kept: Sequence[jax.ShapeDtypeStruct]) -> tuple[int, int]:
    """Count the bytes of what is kept of one example, and of what it is made of."""
    each = sum(value.size * value.dtype.itemsize for value in kept)
    rows = problem.basis.shape[0]
    uses = [use for group in read.groups for use in group.uses]
    width = read.structure.output.dtype.itemsize
    made = sum(2 * rows * math.prod(use.sizes) + 2 * math.prod(use.h_shape) for use in uses)
    return each, each + width * made


def jacobian(problem: Problem) -> Engine:
    """Contract whole Jacobians, `N R P` numbers: what one would write down first."""
    values, rebuild = floating(problem.params)
    names, rows = _names(problem), problem.basis.shape[0]

    def one(x: PyTree) -> list[Array]:
        _, pullback = jax.vjp(lambda values: problem.apply(rebuild(values), x), values)
        return [leaf.reshape(rows, -1) for leaf in jax.vmap(pullback)(problem.basis)[0]]

    def tile(fixed: list[Array], left: list[Array], right: list[Array]) -> dict[str, Array]:
        output = {"full": "nkml", "trace": "nm", "diagonal": "nmk"}[problem.reduce]
        other = "l" if problem.reduce == "full" else "k"
        totals: dict[str, Array] = {}
        for name, a, b in zip(names, left, right, strict=True):
            part = einsum([(a, "nkp"), (b, f"m{other}p")], output)
            totals[name] = totals[name] + part if name in totals else part
        return totals

    each = rows * sum(value.size * value.dtype.itemsize for value in values)
    flops = 2.0 * sum(value.size for value in values) * (rows**2 if problem.reduce == "full" else rows)
    return Engine([], lambda xs: jax.vmap(one)(xs), tile, each, 2 * each, flops)


def vector_products(problem: Problem) -> Engine:
    """Apply the kernel to unit vectors, one vjp and one jvp each: little memory, `N^2 R` forward passes."""
    values, rebuild = floating(problem.params)
    names, form = _names(problem), jax.tree.structure(problem.x)

    def call(values: list[Array], x: list[Array]) -> Array:
        return problem.apply(rebuild(values), jax.tree.unflatten(form, x))

    def column(name: str, x: list[Array], y: list[Array], cotangent: Array) -> Array:
        _, pullback = jax.vjp(lambda values: call(values, y), values)
        (pulled,) = pullback(cotangent)
        tangent = [a if own == name else jnp.zeros_like(a) for own, a in zip(names, pulled, strict=True)]
        _, pushed = jax.jvp(lambda values: call(values, x), (values,), (tangent,))
        return problem.basis @ pushed

    def block(name: str, left: list[Array], right: list[Array]) -> Array:
        """Give `[n, m, l, k]`."""
        over_outputs = jax.vmap(lambda x, y: jax.vmap(lambda row: column(name, x, y, row))(problem.basis), (None, 0))
        return jax.vmap(over_outputs, (0, None))(left, right)

    def tile(fixed: list[Array], left: list[Array], right: list[Array]) -> dict[str, Array]:
        finish = {
            "full": lambda a: a.transpose(0, 3, 1, 2),
            "trace": lambda a: jnp.trace(a, axis1=2, axis2=3),
            "diagonal": lambda a: jnp.diagonal(a, axis1=2, axis2=3),
        }[problem.reduce]
        return {name: finish(block(name, left, right)) for name in dict.fromkeys(names)}

    each = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(problem.x))
    weights = sum(value.size * value.dtype.itemsize for value in values)
    return Engine([], jax.tree.leaves, tile, each, each + weights * problem.basis.shape[0])


def _names(problem: Problem) -> list[str]:
    """Name the part that each leaf of floats belongs to."""
    leaves = zip(jax.tree.leaves(problem.params), problem.names, strict=True)
    return [name for leaf, name in leaves if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]
