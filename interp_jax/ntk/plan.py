"""What a kernel will cost, and how each parameter goes into it, before any of it is computed."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from interp_jax.core.types import Apply, PyTree
from interp_jax.ntk import factors, kernels
from interp_jax.ntk.einsums import Operand
from interp_jax.ntk.factors import Group

REDUCE = {
    kernels.empirical: "full", kernels.trace: "trace", kernels.diagonal: "diagonal", kernels.pseudo: "pseudo",
}  # fmt: skip


class Row(NamedTuple):
    """One part of one parameter. way: "dense", "factors" or "split" (see `ntk.factors`), or "unused".

    reason: what the parameter met that is no product, where it is differentiated as it is; that is the cheapest way for
    what is added or multiplied entry by entry, and the only one left for what meets a branch or a loop. flops: for all
    examples. bytes: of one example's factors.
    """

    name: str
    shape: tuple[int, ...]
    way: str
    reason: str
    flops: float
    bytes: int


class Plan(NamedTuple):
    """rows: by parameter. flops: of the kernel's products; the passes through the model are `passes` more.

    jacobian_flops: what contracting whole Jacobians would take instead. bytes: the peak of the compiled program,
    arguments and result included; None where it was not compiled, or the backend does not say.
    """

    rows: list[Row]
    flops: float
    jacobian_flops: float
    passes: int
    bytes: int | None

    def __str__(self) -> str:
        """Write it as a table."""
        width = max(len(row.name) for row in self.rows)
        lines = [f"{'parameter':{width}}  {'shape':>18}  {'way':8} {'GFLOP':>10} {'bytes an example':>17}  met"]
        for name, shape, way, reason, flops, size in self.rows:
            lines.append(f"{name:{width}}  {shape!s:>18}  {way:8} {flops / 1e9:10.4g} {size:17,}  {reason}")
        lines.append(
            f"{self.flops / 1e9:.4g} GFLOP in products (contracting Jacobians: {self.jacobian_flops / 1e9:.4g}), and "
            f"{self.passes} backward passes of one example"
        )
        if self.bytes is not None:
            lines.append(f"{self.bytes / 2**20:,.1f} MiB at the peak")
        return "\n".join(lines)


def plan(
    apply: Apply, params: PyTree, xs: PyTree, *, kernel: Callable = kernels.empirical, batch_size: int | None = None,
    compiled: bool = True,
) -> Plan:  # fmt: skip
    """Tell how `kernel(apply, params, xs)` would be computed.

    Args:
        apply: `(params, x) -> [K]`, for one example.
        params: values or shapes.
        xs: N examples, values or shapes (`jax.ShapeDtypeStruct`).
        kernel: `kernels.empirical`, `trace`, `diagonal` or `pseudo`.
        batch_size: as it will be given to the kernel.
        compiled: compile the program to read its memory, which takes seconds.
    """
    if kernel not in REDUCE:
        raise ValueError(f"want kernel among {[k.__name__ for k in REDUCE]}, got {kernel}")
    problem = kernels.state(apply, params, xs, None, REDUCE[kernel], lambda path: "all")
    count, outputs = problem.count, problem.basis.shape[0]
    read = factors.prepare(apply, params, problem.x, problem.basis, examples=count, reduce=problem.reduce)
    paths, _ = jax.tree.flatten_with_path(params)
    rows, total = [], 0.0
    for leaf, (path, value) in enumerate(paths):
        shape, name = jnp.shape(value), jax.tree_util.keystr(path, simple=True, separator="/")
        if not jnp.issubdtype(jnp.result_type(value), jnp.floating):
            continue
        total += math.prod(shape)
        groups = [group for group in read.groups if group.leaf == leaf]
        for group in groups:
            flops = group.flops_example * count + group.flops_pair * count**2
            width = jnp.result_type(value).itemsize
            rows.append(Row(name, shape, group.way, group.why, flops, width * _entries(group, outputs)))
        if not groups:
            rows.append(Row(name, shape, "unused", "", 0.0, 0))
    pairs = (count * outputs) ** 2 if problem.reduce == "full" else count**2 * outputs
    peak = _peak(lambda params, xs: kernel(apply, params, xs, batch_size=batch_size), params, xs) if compiled else None
    return Plan(rows, sum(row.flops for row in rows), 2.0 * pairs * total, count * outputs, peak)


def _entries(group: Group, outputs: int) -> int:
    """Count the numbers among one example's factors."""
    sizes: dict = {"k": outputs}
    for use in group.uses:
        sizes |= dict(zip(use.g, use.sizes, strict=True)) | dict(zip(use.h, use.h_shape, strict=True))
        if use.lookup is not None:
            sizes[use.lookup] = math.prod(digit.size for digit in use.lookup)

    def count(operand: Operand) -> int:
        return math.prod(sizes.get(label, group.size) for label in operand.labels) if operand.batched else 0

    return sum(count(operand) for member in group.members for operand in member)


def _peak(call: Callable, params: PyTree, xs: PyTree) -> int | None:
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)), (params, xs))
    found = jax.jit(call).lower(*shapes).compile().memory_analysis()
    if found is None:
        return None
    return found.temp_size_in_bytes + found.output_size_in_bytes + found.argument_size_in_bytes
