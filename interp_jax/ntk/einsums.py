"""How the factors of two blocks of examples meet: one einsum, with rows of tables looked up."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import opt_einsum
from jax import lax

from interp_jax.core.linalg import HIGHEST
from interp_jax.core.types import Array
from interp_jax.ntk.products import Label

OUTPUT = "k"
Reduce = Literal["full", "trace", "diagonal"]


class Operand(NamedTuple):
    """A factor. labels: its axes, after that of examples if `batched`. lookup: it holds indices along this label."""

    labels: tuple[Label, ...]
    batched: bool
    lookup: Label | None = None


Member = tuple[Operand, ...]
"""Factors whose product, summed over labels that are neither the parameter's nor the output's, is a Jacobian."""


class Named(NamedTuple):
    """An operand with the labels that it has among those of both sides."""

    value: Any
    labels: list[Label]
    lookup: Label | None


def einsum(operands: Sequence[tuple[Array, Sequence[Label]]], output: Sequence[Label]) -> Array:
    """Contract arrays with labelled axes, at full precision, in the cheapest order.

    Unlike `jnp.einsum`, it leaves axes of size one out, multiplies entry by entry where nothing is summed, and keeps
    the sides of products in their order: equal products of two calls are then equal programs, and computed once.
    """
    live: list[tuple[Array, list[Label]]] = []
    for value, labels in operands:
        kept = [label for label, size in zip(labels, value.shape, strict=True) if size > 1]
        live.append((value.reshape([size for size in value.shape if size > 1]), kept))
    seen = {label for _, labels in live for label in labels}
    wanted = [label for label in output if label in seen]
    path = _path([(labels, value.shape) for value, labels in live], wanted)[0]
    for step in path:
        chosen = [live[i] for i in sorted(step)]
        live = [each for i, each in enumerate(live) if i not in step]
        needed = {label for _, labels in live for label in labels} | set(wanted)
        live.append(_multiply(chosen, needed, wanted if not live else None))
    ((found, _),) = live
    return jnp.expand_dims(found, [i for i, label in enumerate(output) if label not in seen])


def _multiply(
    chosen: list[tuple[Array, list[Label]]], needed: set[Label], order: list[Label] | None
) -> tuple[Array, list[Label]]:
    """Multiply one or two operands, and sum over labels that are not needed. order: of the result, if it matters."""
    every = [label for _, labels in chosen for label in labels]
    shared = [label for label in chosen[0][1] if every.count(label) > 1]
    natural = dict.fromkeys([*shared, *every])
    kept = order if order is not None else [label for label in natural if label in needed]
    if len(chosen) == 2 and shared and not needed & set(shared) and set(natural) <= needed | set(shared):
        found = _matrices(chosen[0], chosen[1], shared)
        labels = [label for label in natural if label in needed]
        return found.transpose([labels.index(label) for label in kept]), kept
    if len(kept) < len(natural) or len(chosen) == 1:
        numbers = {label: i for i, label in enumerate(natural)}
        flat = [part for value, labels in chosen for part in (value, [numbers[label] for label in labels])]
        return jnp.einsum(*flat, [numbers[label] for label in kept], precision=HIGHEST), kept
    a, b = (_spread(value, labels, kept) for value, labels in chosen)
    return a * b, kept


def _matrices(a: tuple[Array, list[Label]], b: tuple[Array, list[Label]], shared: list[Label]) -> Array:
    """Sum over shared labels, as a product of two matrices with the sum along their rows, which copies neither."""

    def matrix(value: Array, labels: list[Label]) -> tuple[Array, list[int]]:
        free = [label for label in labels if label not in shared]
        sizes = [value.shape[labels.index(label)] for label in free]
        value = value.transpose([labels.index(label) for label in [*free, *shared]])
        return value.reshape(math.prod(sizes), -1), sizes

    (left, rows), (right, columns) = matrix(*a), matrix(*b)
    found = lax.dot_general(left, right, (([1], [1]), ([], [])), precision=HIGHEST)
    return found.reshape(*rows, *columns)


def _spread(value: Array, labels: list[Label], kept: list[Label]) -> Array:
    """Bring axes into an order, with axes of size one where there are none."""
    value = value.transpose([labels.index(label) for label in kept if label in labels])
    return jnp.expand_dims(value, [i for i, label in enumerate(kept) if label not in labels])


def _path(
    operands: Sequence[tuple[Sequence[Label], tuple[int, ...]]], output: Sequence[Label]
) -> tuple[list, float, float]:
    """Find the cheapest order of products; give it, its operations, and the size of the largest array on the way."""
    symbols: dict[Label, str] = {}
    terms = [
        "".join(symbols.setdefault(label, opt_einsum.get_symbol(len(symbols))) for label in labels)
        for labels, _ in operands
    ]
    wanted = "".join(symbols[label] for label in output if label in symbols)
    shapes = [shape for _, shape in operands]
    path, info = opt_einsum.contract_path(f"{','.join(terms)}->{wanted}", *shapes, shapes=True, optimize="optimal")
    return list(path), float(info.opt_cost), float(info.largest_intermediate)


def contract(
    a: Member, left: Sequence[Array], b: Member, right: Sequence[Array], entries: frozenset[Label], reduce: Reduce
) -> Array:
    """Sum the product of two members over the parameter: `[n, k, m, l]`, `[n, m]` or `[n, m, k]`.

    An axis of examples that neither side has is of size one. entries: the labels of the parameter's axes.
    """
    operands = _look_up([*_name(a, left, 0, entries, reduce), *_name(b, right, 1, entries, reduce)])
    present = {label for operand in operands for label in operand.labels}
    wanted = _wanted(reduce)
    kept = [label for label in wanted if label in present]
    found = einsum([(operand.value, operand.labels) for operand in operands], kept)
    return jnp.expand_dims(found, [i for i, label in enumerate(wanted) if label not in present])


def cost(
    a: Member, b: Member, entries: frozenset[Label], sizes: dict[Label, int], examples: int, reduce: Reduce
) -> tuple[float, float]:
    """Count the operations of `contract` between `examples` examples each way, and the largest array that it makes.

    sizes: of every label.
    """
    both = {**sizes, **{(label, side): n for label, n in sizes.items() for side in (0, 1)}}
    both |= {("n", side): examples for side in (0, 1)}
    blank = [[None] * len(member) for member in (a, b)]
    operands = [*_name(a, blank[0], 0, entries, reduce), *_name(b, blank[1], 1, entries, reduce)]
    labels = _looked_up(operands)
    return _path([(each, tuple(both[label] for label in each)) for each in labels], _wanted(reduce))[1:]


def _wanted(reduce: Reduce) -> list[Label]:
    if reduce == "full":
        return [("n", 0), (OUTPUT, 0), ("n", 1), (OUTPUT, 1)]
    return [("n", 0), ("n", 1)] + ([OUTPUT] if reduce == "diagonal" else [])


def _name(member: Member, values: Sequence[Any], side: int, entries: frozenset[Label], reduce: Reduce) -> list[Named]:
    """Label a member's operands: the parameter's axes are shared by both sides, all others belong to one."""

    def name(label: Label) -> Label:
        shared = label in entries or (label == OUTPUT and reduce != "full")
        return label if shared else (label, side)

    return [
        Named(value, [*([("n", side)] if operand.batched else []), *map(name, operand.labels)], operand.lookup)
        for operand, value in zip(member, values, strict=True)
    ]


def _look_up(operands: list[Named]) -> list[Named]:
    """Replace indices into a table: two by whether they are equal, one by the rows that it picks of its partner."""
    tables = [operand for operand in operands if operand.lookup is not None]
    rest = [operand for operand in operands if operand.lookup is None]
    if len(tables) == 2:
        i, j = (table.value for table in tables)
        shape = (*i.shape, *j.shape)
        first = jnp.broadcast_to(i.reshape(*i.shape, *(1,) * j.ndim), shape)
        equal = (first == jnp.broadcast_to(j, shape)) & (first >= 0)
        return [*rest, Named(equal.astype(rest[0].value.dtype), [*tables[0].labels, *tables[1].labels], None)]
    for table in tables:
        (at,) = [i for i, operand in enumerate(rest) if table.lookup in operand.labels]
        value, labels, _ = rest[at]
        place = labels.index(table.lookup)
        # Fill mode reads -1, which says "no row", from the end: those rows are zero by the mask.
        rows = jnp.take(value, table.value, axis=place, mode="clip")
        there = (table.value >= 0).reshape(*(1,) * place, *table.value.shape, *(1,) * (value.ndim - place - 1))
        rows = jnp.where(jnp.broadcast_to(there, rows.shape), rows, 0)
        rest[at] = Named(rows, [*labels[:place], *table.labels, *labels[place + 1 :]], None)
    return rest


def _looked_up(operands: list[Named]) -> list[list[Label]]:
    """Give the labels that `_look_up` leaves, without values."""
    tables = [operand for operand in operands if operand.lookup is not None]
    rest = [operand.labels for operand in operands if operand.lookup is None]
    if len(tables) == 2:
        return [*rest, [*tables[0].labels, *tables[1].labels]]
    for table in tables:
        rest = [
            [new for label in labels for new in (table.labels if label == table.lookup else [label])] for labels in rest
        ]
    return rest
