"""How an array made of one parameter alone relates to it: a rearrangement of its entries, scaled by a number.

A `View` follows a parameter through reshapes, transpositions, slices and scalings, to where it meets the input. Each of
its axes is written in mixed radix: a tuple of `Digit`, the most significant first, each a digit of the index along one
axis of the parameter. So a convolution's kernel `[h, w, C, O]` that was turned into `[O, h w C]` still says which axis
is which, and two uses of one parameter can be compared.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple


class Digit(NamedTuple):
    """A digit of the index along `axis` of the parameter, each of `size` values worth `stride`; axis -1 repeats."""

    axis: int
    stride: int
    size: int


Axis = tuple[Digit, ...]
"""An axis of a view; empty for size one."""
Window = tuple[tuple[int, int, int], ...]
"""Start, stop and step along each axis of the parameter."""


class View(NamedTuple):
    """leaf: which parameter. axes: one an axis of the view. window: the part of the parameter seen. scale: a factor.

    lead: one an enclosing scan: the axis of the parameter that it walks along, or None where every turn sees it whole.
    """

    leaf: int
    axes: tuple[Axis, ...]
    window: Window
    scale: float = 1.0
    lead: tuple[Axis | None, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Give the view's shape."""
        return tuple(size(axis) for axis in self.axes)


def size(axis: Axis) -> int:
    """Count the places along an axis."""
    return math.prod(digit.size for digit in axis)


def whole(leaf: int, shape: Sequence[int]) -> View:
    """See a parameter as it is."""
    axes = tuple((Digit(i, 1, n),) if n > 1 else () for i, n in enumerate(shape))
    return View(leaf, axes, tuple((0, n, 1) for n in shape))


def transpose(view: View, order: Sequence[int]) -> View:
    """Permute the axes."""
    return view._replace(axes=tuple(view.axes[i] for i in order))


def broadcast(view: View, shape: Sequence[int], places: Sequence[int]) -> View:
    """Put axis i at `places[i]` of `shape`, and repeat along the others."""
    axes: list[Axis] = [(Digit(-1, 1, n),) if n > 1 else () for n in shape]
    for axis, place in zip(view.axes, places, strict=True):
        if size(axis) == shape[place]:
            axes[place] = axis
    return view._replace(axes=tuple(axes))


def reshape(view: View, shape: Sequence[int]) -> View | None:
    """Regroup the digits in order; None where a digit would have to be cut unevenly.

    >>> reshape(whole(0, (6, 5)), (2, 15)).shape
    (2, 15)
    >>> reshape(whole(0, (6, 5)), (10, 3)) is None
    True
    """
    digits = [digit for axis in view.axes for digit in axis]
    axes = []
    for n in shape:
        axis = []
        while n > 1:
            if not digits:
                return None
            axis_, stride, count = digits.pop(0)
            if n % count == 0:
                axis.append(Digit(axis_, stride, count))
                n //= count
            elif count % n == 0:
                axis.append(Digit(axis_, stride * (count // n), n))
                digits.insert(0, Digit(axis_, stride, count // n))
                n = 1
            else:
                return None
        axes.append(tuple(axis))
    return view._replace(axes=tuple(axes))


def cut(view: View, starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]) -> View | None:
    """See a part; None unless every axis that is cut is still a whole axis of the parameter, cut for the first time."""
    axes, window = list(view.axes), list(view.window)
    for i, (axis, part) in enumerate(zip(view.axes, zip(starts, stops, steps, strict=True), strict=True)):
        if part == (0, size(axis), 1):
            continue
        if len(axis) != 1 or axis[0].axis < 0 or window[axis[0].axis] != (0, axis[0].size, 1):
            return None
        count = len(range(*part))
        window[axis[0].axis] = part
        axes[i] = (Digit(axis[0].axis, 1, count),) if count > 1 else ()
    return view._replace(axes=tuple(axes), window=tuple(window))


def enter(view: View, *, along: bool) -> View:
    """Go into a scan, which walks along the first axis or sees all of it at every turn."""
    if along:
        return view._replace(axes=view.axes[1:], lead=(*view.lead, view.axes[0]))
    return view._replace(lead=(*view.lead, None))


def entries(view: View) -> frozenset[Axis]:
    """Give the axes that tell entries apart: those that are not repeats."""
    axes = (*view.axes, *(axis for axis in view.lead if axis is not None))
    return frozenset(axis for axis in axes if axis and axis[0].axis >= 0)


def repeats(axis: Axis) -> bool:
    """Tell whether an axis only repeats; one that mixes entries and repeats is neither."""
    return bool(axis) and all(digit.axis < 0 for digit in axis)


def mixed(view: View) -> bool:
    """Tell whether an axis holds both entries and repeats."""
    return any(len({digit.axis < 0 for digit in axis}) > 1 for axis in view.axes)


def apart(a: View, b: View) -> bool:
    """Tell whether two views share no entry for certain: their windows are apart along some axis."""
    return any(not set(range(*p)) & set(range(*q)) for p, q in zip(a.window, b.window, strict=True))


def alike(a: View, b: View) -> bool:
    """Tell whether two views have the same entries, axis by axis, in whatever order."""
    return a.window == b.window and entries(a) == entries(b)
