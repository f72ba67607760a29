"""What each example contributes to a kernel: for every parameter a few small factors, or its Jacobian.

The Jacobian of output k with respect to a parameter is a sum over its uses of `sum_t g[k, t, o] h[t, c]` (o: axes of
the parameter that the product's output has; c: those that are summed; t: places, tokens, turns of a scan). The inner
products of two such sums are one einsum of the factors of both, and there are three ways to it:

    dense    multiply the Jacobian out first       N K T O C    + N^2 K^2 O C
    factors  let g meet g and h meet h             N^2 K^2 T^2 (O + C)
    split    where g[k, t, o] = a[k, o] m[t, o]    N T O C      + N^2 O (C + K^2)
             with a the same for every example

The cheapest by such counts, and by what each way writes to memory, is chosen for each parameter. One that the input
meets in any other way than a product (a bias, a scale, what stands behind a non-linearity) is differentiated as it is,
and dense.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from interp_jax.core.types import Apply, Array, PyTree
from interp_jax.ntk import cotangents, views
from interp_jax.ntk.cotangents import Known, Pulled
from interp_jax.ntk.einsums import OUTPUT, Member, Operand, Reduce, cost, einsum
from interp_jax.ntk.products import Label
from interp_jax.ntk.structure import Structure, Use, read, replay, taps

Way = Literal["dense", "factors", "split"]
TRAFFIC = 100
"""Operations that take as long as writing a number to memory and reading it again, on CPUs and GPUs alike."""


@dataclasses.dataclass(frozen=True)
class Group:
    """A part of a parameter whose uses meet each other: the kernel is a sum over all pairs of its members.

    leaf: which parameter. members: the factors of each use; of all uses together, if dense. uses: none where the
    parameter is differentiated as it is, because of `why`. entries: the labels of the parameter's axes. flops_example:
    to make one example's factors. flops_pair: for one pair of examples. size: of the parameter's part.
    """

    leaf: int
    way: Way
    members: tuple[Member, ...]
    uses: tuple[Use, ...]
    entries: frozenset[Label]
    flops_example: float
    flops_pair: float
    size: int
    why: str = ""


class Raw(NamedTuple):
    """What one example gives before any way is chosen: cotangents and h of every use, Jacobians of the other leaves."""

    gs: list[Pulled]
    hs: list[Array]
    js: list[Pulled]


@dataclasses.dataclass(frozen=True)
class Factors:
    """A model read. one: `(leaves, x) -> [[factor, ...], ...]`, a list for each member of each group, for one example.

    batched: for each of these factors, whether it differs between examples.
    """

    structure: Structure
    groups: tuple[Group, ...]
    one: Callable[[Sequence[Array], PyTree], list[list[Array]]]
    batched: list[list[bool]]

    def batch(self, leaves: Sequence[Array], xs: PyTree) -> list[list[Array]]:
        """Give the factors of many examples; what is the same for all has no axis for them."""
        axes = [[0 if each else None for each in member] for member in self.batched]
        return jax.vmap(self.one, (None, 0), axes)(leaves, xs)


def prepare(
    apply: Apply, params: PyTree, x: PyTree, basis: Array, *, examples: int, reduce: Reduce = "full"
) -> Factors:
    """Read a model, and choose a way for each parameter.

    x: one example, shapes only. basis: `[R, K]`, the combinations of outputs whose kernel is wanted. examples: how many
    will meet how many.
    """
    leaves = _shapes(jax.tree.leaves(params))
    structure, generic, evaluate = _read(apply, params, x, basis)
    kinds: list[tuple[list[Kind], list[Kind]]] = []

    def note(leaves: Sequence[Array], x: PyTree) -> None:
        raw = evaluate(leaves, x)
        kinds.append(([_kind(g) for g in raw.gs], [_kind(j) for j in raw.js]))

    jax.eval_shape(note, leaves, x)
    order = _order(structure)
    groups = []
    for uses in structure.uses.values():
        for several in _by_window(uses):
            theirs = [kinds[0][0][order.index(use)] for use in several]
            groups.append(_choose(several, theirs, basis.shape[0], examples, reduce))
    for leaf, kind in zip(generic, kinds[0][1], strict=True):
        groups.append(_generic(leaf, kind, basis.shape[0], structure.reasons[leaf]))

    def one(leaves: Sequence[Array], x: PyTree) -> list[list[Array]]:
        raw, found = evaluate(leaves, x), []
        for group in groups:
            places = [order.index(use) for use in group.uses]
            if places:
                found += _factors(group, [(raw.gs[i], raw.hs[i]) for i in places])
            else:
                found.append([raw.js[generic.index(group.leaf)].whole().reshape(basis.shape[0], -1)])
        return found

    batched = [[operand.batched for operand in member] for group in groups for member in group.members]
    return Factors(structure, tuple(groups), one, batched)


def _shapes(values: Sequence[Any]) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct(jnp.shape(value), jnp.result_type(value)) for value in values]


def _order(structure: Structure) -> list[Use]:
    return [use for uses in structure.uses.values() for use in uses]


def _read(
    apply: Apply, params: PyTree, x: PyTree, basis: Array
) -> tuple[Structure, list[int], Callable[[Sequence[Array], PyTree], Raw]]:
    """Read the model; give its structure, the leaves without one, and how to evaluate one example."""
    (leaves, tree), (inputs, form) = jax.tree.flatten(params), jax.tree.flatten(x)
    count = len(leaves)

    def call(*args: Array) -> Array:
        return apply(jax.tree.unflatten(tree, args[:count]), jax.tree.unflatten(form, args[count:]))

    shapes = _shapes([*leaves, *inputs])
    structure = read(jax.make_jaxpr(call)(*shapes), count)
    order, generic = _order(structure), sorted(structure.reasons)

    def pullback(args: Sequence[Array], cotangent: Array) -> tuple[list[Array], list[Array], list[Array]]:
        def run(zeros: dict, values: list[Array]) -> tuple[Array, dict]:
            filled = dict(enumerate(args)) | dict(zip(generic, values, strict=True))
            return replay(structure, list(filled.values()), zeros, count)

        _, pull, hs = jax.vjp(run, taps(structure), [args[i] for i in generic], has_aux=True)
        gs, js = pull(cotangent)
        return [gs[use.path] for use in order], [hs[use.path] for use in order], js

    jaxpr = jax.make_jaxpr(pullback)(shapes, structure.output)

    def evaluate(leaves: Sequence[Array], x: PyTree) -> Raw:
        known = [Known(leaf, True) for leaf in leaves] + [Known(value, False) for value in jax.tree.leaves(x)]
        found, n = cotangents.pull(jaxpr, known, basis), len(order)
        gs, js = ([_pulled(value, basis.shape[0]) for value in some] for some in (found[:n], found[2 * n :]))
        return Raw(gs, [value.value for value in found[n : 2 * n] if isinstance(value, Known)], js)

    return structure, generic, evaluate


def _pulled(value: Known | Pulled, rows: int) -> Pulled:
    """Give what no cotangent reached, a zero, the form of what one did."""
    if isinstance(value, Pulled):
        return value
    return Pulled(jnp.broadcast_to(value.value, (rows, *jnp.shape(value.value))), free=value.free)


class Kind(NamedTuple):
    """What is known of a cotangent before it is computed: see `Pulled`."""

    masked: bool
    free: bool
    constant: frozenset[int]
    size: int


def _kind(pulled: Pulled) -> Kind:
    return Kind(pulled.mask is not None, pulled.free, pulled.constant, math.prod(pulled.a.shape[1:]))


def _by_window(uses: Sequence[Use]) -> list[list[Use]]:
    found: dict[Any, list[Use]] = {}
    for use in uses:
        found.setdefault(use.view.window, []).append(use)
    return list(found.values())


def _choose(uses: list[Use], kinds: list[Kind], rows: int, examples: int, reduce: Reduce) -> Group:
    """Choose the cheapest way for the uses of one part of a parameter."""
    sizes: dict[Label, int] = {OUTPUT: rows}
    for use in uses:
        sizes |= dict(zip(use.g, use.sizes, strict=True)) | dict(zip(use.h, use.h_shape, strict=True))
        if use.lookup is not None:
            sizes[use.lookup] = views.size(use.lookup)
    entries = views.entries(uses[0].view)
    ways: list[Way] = ["dense", "factors"]
    if all(kind.free and use.lookup is None for use, kind in zip(uses, kinds, strict=True)):
        ways.append("split")
    found = []
    for way in ways:
        members = tuple(_member(use, kind, way) for use, kind in zip(uses, kinds, strict=True))
        members = members[:1] if way == "dense" else members
        example = sum(_preparation(use, way, sizes) for use in uses)
        pairs = itertools.product(members, members)
        costs = [cost(a, b, entries, sizes, examples, reduce) for a, b in pairs]
        pair, traffic = (sum(part) / examples**2 for part in zip(*costs, strict=True))
        size = math.prod(sizes[label] for label in entries)
        time = 2 * example + (pair + TRAFFIC * traffic) * examples
        found.append((time, Group(uses[0].view.leaf, way, members, tuple(uses), entries, example, pair, size)))
    return min(found, key=lambda each: each[0])[1]


def _member(use: Use, kind: Kind, way: Way) -> Member:
    """Give the operands of a use."""
    if way == "dense":
        return (Operand((OUTPUT, *sorted(views.entries(use.view))), True),)
    if way == "factors":
        return Operand((OUTPUT, *use.g), kind.masked or not kind.free), Operand(use.h, True, use.lookup)
    constant = _constant(use, kind.constant)
    a = tuple(label for i, label in enumerate(use.g) if i not in constant)
    kept = views.entries(use.view) | set(a)
    inner = tuple(label for label in dict.fromkeys((*use.g, *use.h)) if label in kept)
    return Operand((OUTPUT, *a), False), Operand(inner, True)


def _constant(use: Use, constant: frozenset[int]) -> frozenset[int]:
    """Tell along which labels of g its free part is constant, from the axes of y along which it is.

    An axis of y becomes one label, or several whose sizes it is the product of (groups and features in a group).
    """
    places, place, left = [], -1, 1
    for n in use.sizes:
        if left == 1 and place + 1 < len(use.y.shape):
            place += 1
            left = use.y.shape[place]
        places.append(place)
        left //= n
    return frozenset(i for i, place in enumerate(places) if place in constant)


def _preparation(use: Use, way: Way, sizes: dict[Label, int]) -> float:
    """Count the operations that one example takes before it meets others."""
    if way == "factors":
        return 0.0
    labels = {*use.g, *use.h} | ({OUTPUT} if way == "dense" else set())
    return 2.0 * math.prod(sizes[label] for label in labels)


def _generic(leaf: int, kind: Kind, rows: int, why: str) -> Group:
    """Make the group of a parameter that is differentiated as it is."""
    label = ("entries", leaf)
    member = (Operand((OUTPUT, label), kind.masked or not kind.free),)
    return Group(leaf, "dense", (member,), (), frozenset([label]), 0.0, 2.0 * rows**2 * kind.size, kind.size, why)


def _factors(group: Group, several: list[tuple[Pulled, Array]]) -> list[list[Array]]:
    """Compute the factors of one group for one example."""
    if group.way == "dense":
        (operand,) = group.members[0]
        parts = [_dense(use, g, h, operand.labels) for use, (g, h) in zip(group.uses, several, strict=True)]
        return [[sum(parts[1:], parts[0])]]
    found = []
    for use, (g, h), member in zip(group.uses, several, group.members, strict=True):
        if group.way == "factors":
            found.append([_whole(use, g), h])
            continue
        constant = _constant(use, g.constant)
        first = tuple(0 if i in g.constant else slice(None) for i in range(g.a.ndim - 1))
        a = g.a[(slice(None), *first)] * use.view.scale
        a = a.reshape(a.shape[0], *(n for i, n in enumerate(use.sizes) if i not in constant))
        mask = jnp.ones(use.sizes, a.dtype) if g.mask is None else g.mask.reshape(use.sizes)
        found.append([a, einsum([(mask, use.g), (h, use.h)], member[1].labels)])
    return found


def _whole(use: Use, g: Pulled) -> Array:
    whole = g.whole() if use.view.scale == 1 else g.whole() * use.view.scale
    return whole.reshape(whole.shape[0], *use.sizes)


def _dense(use: Use, g: Pulled, h: Array, labels: tuple[Label, ...]) -> Array:
    """Multiply a Jacobian out."""
    whole, names = _whole(use, g), use.h
    if use.lookup is not None:
        h, names = jax.nn.one_hot(h, views.size(use.lookup), dtype=whole.dtype), (*names, use.lookup)
    return einsum([(whole, (OUTPUT, *use.g)), (h, names)], labels)
