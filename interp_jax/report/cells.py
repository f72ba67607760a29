"""Figures of tables: a quantity of named rows and columns, written out, and planes of two quantities."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from interp_jax.core import intervals
from interp_jax.core.types import ArrayLike, Numpy
from interp_jax.report import frames
from interp_jax.report.frames import GRID, INK, MARKERS, PALETTE, QUIET, STYLE, WIDTH


def table(
    values: Mapping[str, Mapping[str, ArrayLike]],
    *,
    title: str,
    note: str,
    scale: float = 100.0,
    digits: int = 1,
    level: float = 0.95,
) -> Figure:
    """Write a quantity as a table: the mean over replicates and half the width of its Student interval beneath.

    Args:
        values: row -> column -> `[N]` replicates. A cell that is not there, or of which nothing is finite, is a dash;
            replicates that are not finite are left out, and counted in the cell.
        title: what is seen.
        note: the quantity, its unit and what else there is to know, a line under the title.
        scale: what numbers are multiplied by; 100 for per cent.
        digits: after the point.
        level: coverage of the interval of a mean.
    """
    columns = list(dict.fromkeys(name for row in values.values() for name in row))
    if not columns:
        raise ValueError("want at least one row and column, got none")
    high, first = 0.34, 1.45
    wide = (WIDTH - first - 0.2) / len(columns)
    with matplotlib.rc_context(STYLE):
        figure, head = frames.sheet(high * len(values) + 0.42, title, note=note)
        whole = figure.get_figheight()
        top = whole - head - 0.3

        def write(x: float, y: float, words: str, size: float, colour: str, side: str = "center") -> None:
            figure.text(x / WIDTH, y / whole, words, fontsize=size, color=colour, ha=side, va="center")

        for j, column in enumerate(columns):
            write(first + (j + 0.5) * wide, top + 0.12, column, 8.5, QUIET)
        for i, (name, row) in enumerate(values.items()):
            y = top - (i + 0.5) * high
            line = Line2D([0.12 / WIDTH, 1 - 0.12 / WIDTH], [(y + high / 2) / whole] * 2, color=GRID, linewidth=0.8)
            figure.add_artist(line)
            write(0.12, y, name, 8.5, INK, "left")
            for j, column in enumerate(columns):
                mean, spread = cell(row.get(column, np.empty(0)), scale, digits, level)
                write(first + (j + 0.5) * wide, y + 0.07 * bool(spread), mean, 9, INK)
                write(first + (j + 0.5) * wide, y - 0.08, spread, 6.5, QUIET)
    return figure


def cell(values: ArrayLike, scale: float = 1.0, digits: int = 1, level: float = 0.95) -> tuple[str, str]:
    """Write a mean, and what stands beneath it: half the width of its interval, and how many are left out.

    >>> cell([0.5, 0.75, float("nan")], 100)
    ('62.5', '± 158.8; 1 left out')
    """
    each = np.asarray(values, float)
    fine = each[np.isfinite(each)]
    if not fine.size:
        return "-", ""
    lost = f"{each.size - fine.size} left out" if fine.size < each.size else ""
    half = "" if fine.size < 2 else f"± {scale * (float(intervals.student(fine, level).high) - fine.mean()):.{digits}f}"
    middle = round(scale * fine.mean(), digits) + 0.0  # no minus before a zero
    return f"{middle:.{digits}f}", "; ".join(filter(None, (half, lost)))


class Plane(NamedTuple):
    """One of small planes. points: series -> two vectors `[N]` of replicates. level: where a dashed line runs, or None.

    The dashed line is at a value of the second quantity.
    """

    points: Mapping[str, tuple[ArrayLike, ArrayLike]]
    level: float | None = None


def planes(
    panels: Mapping[str, Plane],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    dashed: str = "",
    level: float = 0.95,
    columns: int = 2,
) -> Figure:
    """Show two quantities against each other in small panels: means with intervals both ways, replicates as dots.

    Args:
        panels: by name; a series has the same colour in all.
        title: what is seen.
        xlabel: the first quantity and its unit.
        ylabel: the second.
        dashed: what dashed lines are.
        level: coverage of the interval of a mean.
        columns: panels in a row.
    """
    series = list(dict.fromkeys(name for panel in panels.values() for name in panel.points))
    if not series:
        raise ValueError("want at least one panel with points, got none")
    note = f"large: mean and {level:.0%} intervals; dots: seeds" + (f"; dashed: {dashed}" if dashed else "")
    down, high, gap = math.ceil(len(panels) / columns), 1.55, 0.5
    with matplotlib.rc_context(STYLE):
        figure, head = frames.sheet(down * (high + gap) + 0.2, title, note=note, legend=len(series))
        whole, wide = figure.get_figheight(), (WIDTH - 0.62) / columns
        drawn: list[Axes] = []
        for i, (name, panel) in enumerate(panels.items()):
            left, bottom = 0.62 + i % columns * wide, whole - head - (i // columns + 1) * (high + gap) + 0.3
            axes = figure.add_axes((left / WIDTH, bottom / whole, (wide - 0.35) / WIDTH, high / whole))
            axes.set_title(name, loc="left", fontsize=9, pad=3)
            axes.tick_params(labelsize=8)
            axes.locator_params(nbins=4)
            if panel.level is not None:
                axes.axhline(panel.level, color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
            for at, each in enumerate(series):
                x, y = panel.points.get(each, (np.empty(0), np.empty(0)))
                _mean(axes, np.asarray(x, float), np.asarray(y, float), each, at, level)
            drawn.append(axes)
        figure.supxlabel(xlabel, x=0.55, y=0.06 / whole, fontsize=9.5, color=INK, va="bottom")
        figure.supylabel(ylabel, x=0.1 / WIDTH, y=(whole - head) / whole / 2, fontsize=9.5, color=INK, ha="center")
        frames.legend(figure, drawn[0], 1 - (head - 0.1) / whole)
    return figure


def _mean(axes: Axes, x: Numpy, y: Numpy, name: str, i: int, level: float) -> None:
    """Draw the replicates of one series, and their mean with its intervals."""
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"want series {name!r} as two vectors of one length, got {x.shape}, {y.shape}")
    fine = np.isfinite(x) & np.isfinite(y)
    x, y = x[fine], y[fine]
    colour, marker = PALETTE[i % 7], MARKERS[i % 7]
    axes.plot(x, y, marker, color=colour, markersize=3, mew=0, alpha=0.35)
    if len(x) > 1:
        for ends, other, across in ((_ends(x, level), y.mean(), True), (_ends(y, level), x.mean(), False)):
            both = (ends, [other, other]) if across else ([other, other], ends)
            axes.plot(*both, color=colour, linewidth=1.8, solid_capstyle="butt")
    middle = ([x.mean()], [y.mean()]) if len(x) else ([], [])
    axes.plot(*middle, marker, color=colour, markersize=6, markeredgecolor="white", label=name)


def _ends(values: Numpy, level: float) -> list[float]:
    """Give both ends of the interval of a mean."""
    found = intervals.student(values, level)
    return [float(found.low), float(found.high)]
