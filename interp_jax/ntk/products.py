"""The products in which a parameter meets the input, each written as one einsum `y = sum h view`.

`find` recognises `dot_general`, `conv_general_dilated` (any stride, padding, dilation and groups; h are its patches)
and the `gather` of rows of a table (h are the indices).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from interp_jax.core.types import Array
from interp_jax.ntk import patches, views
from interp_jax.ntk.views import View

Label = Any
"""Names an axis in an einsum: a `views.Axis` where it is one of the parameter, else something unique to its place."""
Path = tuple[int, ...]
"""Where an equation stands: its index at each level of nested jaxprs."""


@dataclasses.dataclass(frozen=True)
class Site:
    """A product as it stands in the jaxpr: `y = sum, over what h has and y has not, of h view`.

    y: a label for every axis of y, after it is reshaped to `sizes`. h: a label for every axis of h. make: makes h, when
    it is wanted. lookup: the label along which h, an array of integers, picks rows; None where h is made of factors.
    """

    path: Path
    view: View
    y: tuple[Label, ...]
    h: tuple[Label, ...]
    sizes: tuple[int, ...]
    make: Callable[[], Array]
    lookup: Label | None = None


def find(eqn: Any, values: Sequence[Any], view: View, place: int, path: Path) -> Site | None:
    """Write an equation, whose argument number `place` is a view of a parameter, as a product; None if it is none."""
    known = {"dot_general": dot, "conv_general_dilated": conv, "gather": gather}
    name = eqn.primitive.name
    return known[name](eqn, values, view, place, path) if name in known else None


def dot(eqn: Any, values: Sequence[Any], view: View, place: int, path: Path) -> Site:
    """Read a `dot_general`: y has the shared axes, then the free ones of its left side, then of its right."""
    contract, batch = eqn.params["dimension_numbers"]
    h, other = values[1 - place], 1 - place
    labels: dict[int, Label] = {j: (path, j) for j in range(h.ndim)}
    for ours, theirs in ((contract[place], contract[other]), (batch[place], batch[other])):
        labels |= {j: _label(view.axes[i], (path, j)) for i, j in zip(ours, theirs, strict=True)}
    met, taken = {*contract[place], *batch[place]}, {*contract[other], *batch[other]}
    free = {
        place: [_label(axis, (path, "own", i)) for i, axis in enumerate(view.axes) if i not in met],
        other: [labels[j] for j in range(h.ndim) if j not in taken],
    }
    y = [*(labels[j] for j in batch[other]), *free[0], *free[1]]
    return Site(path, view, tuple(y), tuple(labels.values()), eqn.outvars[0].aval.shape, lambda: h)


def conv(eqn: Any, values: Sequence[Any], view: View, place: int, path: Path) -> Site | None:
    """Read a convolution of the input with a kernel that is the parameter."""
    params = eqn.params
    if place != 1 or params["batch_group_count"] != 1:
        return None
    batch, channel, *places = params["dimension_numbers"].out_spec
    features, inputs, *window = params["dimension_numbers"].rhs_spec
    groups, shape, out = params["feature_group_count"], view.shape, eqn.outvars[0].aval.shape
    # The axis of features becomes two, of groups and of features in a group, here and in y.
    split = views.reshape(view, [*shape[:features], groups, shape[features] // groups, *shape[features + 1 :]])
    if split is None:
        return None
    axes = [*split.axes[:features], split.axes[features : features + 2], *split.axes[features + 2 :]]
    group, feature = (_label(axis, (path, "own", i)) for i, axis in enumerate(axes[features]))
    inner = {i: _label(axes[i], (path, "inner", i)) for i in (inputs, *window)}
    y, sizes = [], []
    for i, n in enumerate(out):
        y += [group, feature] if i == channel else [(path, i)]
        sizes += [groups, n // groups] if i == channel else [n]
    h = ((path, batch), *((path, i) for i in places), group, *(inner[i] for i in window), inner[inputs])
    make = lambda: patches.extract(values[0], params, [shape[i] for i in window])  # noqa: E731
    return Site(path, split, tuple(y), h, tuple(sizes), make)


def gather(eqn: Any, values: Sequence[Any], view: View, place: int, path: Path) -> Site | None:
    """Read `table[indices]`, whole rows along one axis, the table being the parameter."""
    numbers = eqn.params["dimension_numbers"]
    if place != 0 or len(numbers.start_index_map) != 1 or numbers.start_index_map != numbers.collapsed_slice_dims:
        return None
    (axis,) = numbers.start_index_map
    rows = tuple(1 if i == axis else n for i, n in enumerate(view.shape))
    lookup = _label(view.axes[axis], None)
    if lookup is None or numbers.operand_batching_dims or tuple(eqn.params["slice_sizes"]) != rows:
        return None
    out, indices = eqn.outvars[0].aval.shape, values[1]
    columns = iter(i for i in range(len(rows)) if i != axis)
    tokens = iter(range(indices.ndim - 1))
    y = []
    for d in range(len(out)):
        inside = d in numbers.offset_dims
        i = next(columns if inside else tokens)
        y.append(_label(view.axes[i], (path, "own", i)) if inside else (path, i))
    count, clipped = view.shape[axis], "CLIP" in str(eqn.params["mode"])

    def make() -> Array:
        found = indices.reshape(indices.shape[:-1])
        return jnp.clip(found, 0, count - 1) if clipped else jnp.where((found < 0) | (found >= count), -1, found)

    h = tuple((path, i) for i in range(indices.ndim - 1))
    return Site(path, view, tuple(y), h, out, make, lookup)


def _label(axis: views.Axis, otherwise: Label) -> Label:
    """Label an axis of a view: by its digits if it tells entries apart, by its place if it has one place or repeats."""
    return axis if axis and axis[0].axis >= 0 else otherwise
