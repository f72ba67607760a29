"""Figures in one house style, drawn with matplotlib's objects (no pyplot, no global state), saved as PNG.

A figure is 4.8 inches wide, so that its 9-point words stay readable where a phone shows it at 350 pixels; two fit side
by side on a desktop. Colours are Okabe and Ito's (2008), told apart by people with any colour vision, and every series
has a marker of its own. A title says what is seen; an axis names its unit.
"""

import io
import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from interp_jax.core import intervals
from interp_jax.core.types import ArrayLike, Numpy
from interp_jax.report import files, frames
from interp_jax.report.claims import Judgement, Verdict
from interp_jax.report.frames import GRID, INK, MARKERS, PALETTE, QUIET, STYLE, WIDTH

DPI = 200
VERDICTS = {
    Verdict.SUPPORTED: ("#00694B", "o"),
    Verdict.CONTRADICTED: ("#B0400A", "X"),
    Verdict.INCONCLUSIVE: ("#59636e", "D"),
    Verdict.NOT_TESTED: ("#59636e", "_"),
}


def png(figure: Figure) -> bytes:
    """Draw a figure at twice the size of the screen's pixels; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write `png(figure)` to a file, atomically."""
    return files.replace(path, png(figure))


def traversals(
    images: ArrayLike,
    *,
    title: str,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    xlabel: str = "value of the latent",
) -> Figure:
    """Show what each latent does to the image: one row a latent, one column a value.

    Args:
        images: `[K, steps, H, W, C]` or `[K, steps, H, W]`, values in [0, 1] (those outside are clipped).
        title: what is seen.
        rows: `K` names of the latents; "z0", "z1", ... by default.
        columns: `steps` values of the latent; none by default.
        xlabel: what the columns are, with the unit.
    """
    pictures = _pictures(images, 5)
    rows = [f"z{k}" for k in range(len(pictures))] if rows is None else rows
    return _mosaic(pictures, title=title, rows=rows, columns=columns, xlabel=xlabel)


def grid(images: ArrayLike, *, title: str, columns: int = 8, labels: Sequence[str] | None = None) -> Figure:
    """Show images `[N, H, W, C]` or `[N, H, W]`, values in [0, 1], row by row, each with its label beneath if given."""
    pictures = _pictures(images, 4)
    across = min(columns, len(pictures))
    down = math.ceil(len(pictures) / across)
    if labels is not None and len(labels) != len(pictures):
        raise ValueError(f"want one label an image, got {len(labels)} labels for {len(pictures)} images")
    margin = 0.12
    side = (WIDTH - 2 * margin) / across
    under = 0.24 if labels is not None else 0.06
    head = frames.headroom(title)
    height = down * (side * pictures.shape[1] / pictures.shape[2] + under) + head
    with matplotlib.rc_context(STYLE):
        figure = frames.blank(height)
        frames.title(figure, title)
        for i, picture in enumerate(pictures):
            row, column = divmod(i, across)
            cell = (side * 0.96, side * 0.96 * pictures.shape[1] / pictures.shape[2])
            top = head + row * (height - head) / down
            left = (margin + column * side) / WIDTH
            box = (left, 1 - (top + cell[1]) / height, cell[0] / WIDTH, cell[1] / height)
            axes = figure.add_axes(box)
            _show(axes, picture)
            if labels is not None:
                axes.set_xlabel(labels[i], fontsize=8, labelpad=2)
    return figure


def against_strength(
    x: ArrayLike,
    values: Mapping[str, ArrayLike],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    log: bool = True,
    level: float = 0.95,
) -> Figure:
    """Show a quantity over seeds against a strength: a mean line, its Student interval as a band, every seed as a dot.

    Args:
        x: `[X]` strengths, positive if `log`.
        values: series name to `[S, X]`, one row a seed. A value that is not finite (a diverged run) is left out of
            the mean, counted and said so under the title.
        title: what is seen.
        xlabel: the strength and its unit.
        ylabel: the quantity and its unit.
        log: whether the axis of strengths is logarithmic.
        level: coverage of the interval of the mean at one strength.
    """
    strengths, series = _series(x, values)
    with matplotlib.rc_context(STYLE):
        figure, axes = frames.plot(title, xlabel, ylabel, note=_note(series, level), legend=len(series))
        _strengths(axes, strengths, series, level=level, log=log)
        frames.legend(figure, axes)
    return figure


class Panel(NamedTuple):
    """One of small multiples. x: `[X]` strengths. values: series name to `[S, X]`. falling: x runs from right to left.

    xlabel: the strength and its unit.
    """

    x: ArrayLike
    values: Mapping[str, ArrayLike]
    xlabel: str
    falling: bool = False


def multiples(
    panels: Mapping[str, Panel],
    *,
    title: str,
    ylabel: str,
    log: bool = True,
    level: float = 0.95,
    share: bool = True,
    columns: int = 2,
) -> Figure:
    """Show a quantity against a strength in small panels, each as `against_strength` with an axis of its own.

    Args:
        panels: by name; all have the same series, whose colours one legend explains.
        title: what is seen.
        ylabel: the quantity and its unit.
        log: whether the axes of strengths are logarithmic.
        level: coverage of the interval of the mean at one strength.
        share: whether all panels have one scale of the quantity.
        columns: panels in a row.
    """
    checked = {name: _series(panel.x, panel.values) for name, panel in panels.items()}
    names = [list(series) for _, series in checked.values()]
    if not names or any(each != names[0] for each in names):
        raise ValueError(f"want panels of the same series, got {names}")
    pooled = {(panel, name): v for panel, (_, series) in checked.items() for name, v in series.items()}
    down, high, gap = math.ceil(len(panels) / columns), 1.2, 0.68
    with matplotlib.rc_context(STYLE):
        figure, head = frames.sheet(down * (high + gap), title, note=_note(pooled, level), legend=len(names[0]))
        whole, wide = figure.get_figheight(), (WIDTH - 0.62) / columns
        drawn: list[Axes] = []
        for i, (name, (x, series)) in enumerate(checked.items()):
            left, bottom = 0.62 + i % columns * wide, whole - head - (i // columns + 1) * (high + gap) + 0.47
            box = (left / WIDTH, bottom / whole, (wide - 0.4) / WIDTH, high / whole)
            axes = figure.add_axes(box, sharey=drawn[0] if share and drawn else None)
            _strengths(axes, x, series, level=level, log=log, letters=60 // columns)
            axes.set_title(name, loc="left", fontsize=9, pad=3)
            axes.set_xlabel(panels[name].xlabel, labelpad=2, fontsize=8.5)
            if panels[name].falling:
                axes.invert_xaxis()
            drawn.append(axes)
        figure.supylabel(ylabel, x=0.1 / WIDTH, y=(whole - head) / whole / 2, fontsize=9.5, color=INK, ha="center")
        frames.legend(figure, drawn[0], 1 - (head - 0.1) / whole)
    return figure


def _series(x: ArrayLike, values: Mapping[str, ArrayLike]) -> tuple[Numpy, dict[str, Numpy]]:
    """Check the strengths `[X]` and series `[S, X]` of a plot."""
    strengths = np.asarray(x, np.float64)
    series = {name: np.asarray(value, np.float64) for name, value in values.items()}
    for name, value in series.items():
        if value.ndim != 2 or value.shape[1:] != strengths.shape:
            raise ValueError(f"want series {name!r} as [seeds, {len(strengths)}], got {value.shape}")
    return strengths, series


def _note(series: Mapping[Any, Numpy], level: float) -> str:
    """Say what is drawn, and how many values are not."""
    missing = sum(int((~np.isfinite(value)).sum()) for value in series.values())
    seeds = max((len(value) for value in series.values()), default=0)
    note = f"line: mean of {seeds} seeds; band: {level:.0%} interval; dots: seeds" if seeds > 1 else "line: one seed"
    return note + (f"; left out as undefined: {missing}" if missing else "")


def _strengths(
    axes: Axes, x: Numpy, series: Mapping[str, Numpy], *, level: float, log: bool, letters: int = 60
) -> None:
    """Draw series against strengths; the axis is as wide as so many letters."""
    for i, (name, value) in enumerate(series.items()):
        _band(axes, x, value, i, len(series), name, level=level, log=log)
    if log:
        axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_apart(x, log, letters)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))


def _apart(x: Numpy, log: bool, letters: int) -> list[float]:
    """Choose strengths whose labels do not touch on an axis as wide as so many letters."""
    places = np.log(x) if log else x
    kept = []
    for i in np.argsort(places):
        if not kept or places[i] - places[kept[-1]] >= np.ptp(places) * (len(f"{x[i]:g}") + 1) / letters:
            kept.append(i)
    return x[kept].tolist()


def groups(values: Mapping[str, Mapping[str, ArrayLike]], *, title: str, ylabel: str, level: float = 0.95) -> Figure:
    """Show a quantity of named groups side by side: every replicate as a dot, the mean and its Student interval.

    Args:
        values: group -> series -> `[N]` replicates. A value that is not finite is left out, counted and said so.
        title: what is seen.
        ylabel: the quantity and its unit.
        level: coverage of the interval of a mean.
    """
    series = list(dict.fromkeys(name for group in values.values() for name in group))
    cells = {name: {s: np.asarray(v, np.float64) for s, v in group.items()} for name, group in values.items()}
    if any(cell.ndim != 1 for group in cells.values() for cell in group.values()):
        raise ValueError("want every series of a group as one vector of replicates")
    missing = sum(int((~np.isfinite(cell)).sum()) for group in cells.values() for cell in group.values())
    note = f"large: mean and {level:.0%} interval; dots: replicates"
    note += f"; left out as undefined: {missing}" if missing else ""
    with matplotlib.rc_context(STYLE):
        figure, axes = frames.plot(title, "", ylabel, note=note, legend=len(series))
        for i, name in enumerate(series):
            shift = (i - (len(series) - 1) / 2) * 0.6 / len(series)
            there = [at for at, group in enumerate(cells.values()) if name in group]
            for at in there:
                value = [*cells.values()][at][name]
                _cell(axes, at + shift, value, i, level, name if at == there[0] else None)
        axes.set_xlim(-0.5, len(cells) - 0.5)
        axes.set_xticks(range(len(cells)), [_broken(name, 60 // len(cells)) for name in cells], fontsize=7.5)
        frames.legend(figure, axes)
    return figure


def _broken(name: str, width: int) -> str:
    """Break a label at its spaces."""
    return textwrap.fill(name, max(width, 1), break_long_words=False)


def _cell(axes: Axes, x: float, value: Numpy, i: int, level: float, label: str | None) -> None:
    """Draw one series of one group at `x`."""
    colour, marker = PALETTE[i % 7], MARKERS[i % 7]
    finite = value[np.isfinite(value)]
    axes.plot(np.full(len(finite), x), finite, marker, color=colour, markersize=3, mew=0, alpha=0.3)
    if len(finite) > 1:
        mean = intervals.student(finite, level)
        axes.plot([x, x], [mean.low, mean.high], color=colour, linewidth=2.2, solid_capstyle="butt")
    if len(finite):
        axes.plot([x], [finite.mean()], marker, color=colour, markersize=6.5, markeredgecolor="white", label=label)


def scatter(
    x: Mapping[str, ArrayLike],
    y: Mapping[str, ArrayLike],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    diagonal: bool = False,
) -> Figure:
    """Show points `x[name]`, `y[name]`, both `[N]`, one colour and marker a group; `diagonal` draws the line y = x."""
    if list(x) != list(y):
        raise ValueError(f"want the same groups in x and y, got {list(x)} and {list(y)}")
    with matplotlib.rc_context(STYLE):
        figure, axes = frames.plot(title, xlabel, ylabel, legend=len(x))
        for i, name in enumerate(x):
            across, up = np.asarray(x[name], np.float64), np.asarray(y[name], np.float64)
            if across.ndim != 1 or across.shape != up.shape:
                raise ValueError(f"want group {name!r} as two vectors of one length, got {across.shape}, {up.shape}")
            axes.plot(
                across, up, MARKERS[i % 7], color=PALETTE[i % 7], label=name,
                alpha=0.75, markersize=5, markeredgecolor="white", markeredgewidth=0.5,
            )  # fmt: skip
        if diagonal:
            axes.axline((0, 0), slope=1, color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        frames.legend(figure, axes)
    return figure


def matrix(values: ArrayLike, names: Sequence[str], *, title: str) -> Figure:
    """Show correlations `[K, K]` between -1 and 1 as coloured cells with their numbers; what is undefined is empty."""
    shown = np.asarray(values, np.float64)
    if shown.shape != (len(names), len(names)):
        raise ValueError(f"want a square of {len(names)} names, got {shown.shape}")
    with matplotlib.rc_context(STYLE):
        figure, axes = frames.plot(title, "", "", legend=0)
        axes.imshow(np.clip(shown, -1, 1), cmap="RdBu", vmin=-1.6, vmax=1.6, aspect="auto")
        for i, j in np.argwhere(np.isfinite(shown)):
            axes.text(j, i, f"{shown[i, j]:.2f}", ha="center", va="center", fontsize=8)
        axes.set_xticks(range(len(names)), [_broken(name, 9) for name in names], fontsize=7.5)
        axes.set_yticks(range(len(names)), [_broken(name, 12) for name in names], fontsize=7.5)
        axes.grid(False)
        frames.make_room(figure, axes)
    return figure


def forest(judgements: Sequence[Judgement], *, title: str) -> Figure:
    """Show the interval of every claim, in units of its own smallest effect that matters, coloured by verdict.

    Args:
        judgements: of `claims.judge_page`; a claim whose delta is 0, or that was not tested, is named without a bar.
        title: what is seen.
    """
    shown = [name for name in VERDICTS if any(judged.verdict == name for judged in judgements)]
    with matplotlib.rc_context(STYLE):
        label = "estimate / smallest effect that matters (shaded: smaller than that)"
        figure, axes = frames.plot(title, label, "", height=0.62 * len(judgements) + 0.85, legend=max(2, len(shown)))
        axes.axvspan(-1, 1, color=GRID, alpha=0.7, linewidth=0)
        axes.axvline(0, color=QUIET, linewidth=0.8)
        for i, judged in enumerate(judgements):
            _interval(axes, judged, -i)
        for name in shown:
            colour, marker = VERDICTS[name]
            axes.plot([], [], marker, color=colour, markersize=6.5, label=name)
        axes.set_ylim(0.6 - len(judgements), 0.75)
        axes.yaxis.set_visible(False)
        axes.spines["left"].set_visible(False)
        if np.abs(axes.get_xlim()).max() > 12:
            axes.set_xscale("symlog", linthresh=2)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        frames.legend(figure, axes)
    return figure


def _interval(axes: Axes, judged: Judgement, y: float) -> None:
    """Draw one claim: its words above, its interval beneath."""
    colour, marker = VERDICTS[judged.verdict]
    place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 7.5}
    words = textwrap.wrap(judged.claim.statement, 84, max_lines=2, placeholder=" ...")
    paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.8}
    axes.text(0, y + 0.36, "\n".join(words), color=INK, bbox=paper, **place)
    found, delta = judged.interval, judged.claim.delta
    if found is None or not found.valid or not delta:
        axes.text(0, y, judged.reason if found is None else judged.verdict, color=QUIET, **place)
        return
    axes.plot([found.low / delta, found.high / delta], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
    axes.plot([found.estimate / delta], [y], marker, color=colour, markersize=6.5, markeredgecolor="white")


def _band(axes: Axes, x: Numpy, value: Numpy, i: int, many: int, name: str, *, level: float, log: bool) -> None:
    """Draw one series; the dots of neighbouring series stand a little apart."""
    colour, marker = PALETTE[i % 7], MARKERS[i % 7]
    finite = np.isfinite(value)
    mean = intervals.student(value, level, mask=finite)
    scale = np.log10(x) if log else x / (np.ptp(x) or 1.0)
    gap = np.diff(np.sort(scale)).min() if len(x) > 1 else 0.0
    shifted = scale + (i - (many - 1) / 2) * min(0.035, 0.5 * gap / many)
    at = 10**shifted if log else shifted * (np.ptp(x) or 1.0)
    alpha = max(0.12, min(0.4, 4 / len(value)))
    dots = np.where(finite, value, np.nan)
    axes.fill_between(x, mean.low, mean.high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(np.broadcast_to(at, dots.shape).T, dots.T, marker, color=colour, alpha=alpha, markersize=3, mew=0)
    axes.plot(x, mean.estimate, color=colour, marker=marker, markersize=6, markeredgecolor="white", label=name)


def _pictures(images: ArrayLike, rank: int) -> Numpy:
    """Check images and give `[..., H, W, C]` in [0, 1] with one or three channels."""
    pictures = np.asarray(images, np.float32)
    if pictures.ndim == rank - 1:
        pictures = pictures[..., None]
    if pictures.ndim != rank or pictures.shape[-1] not in (1, 3) or 0 in pictures.shape:
        raise ValueError(f"want images of rank {rank} with 1 or 3 channels, got {np.shape(images)}")
    if not np.isfinite(pictures).all():
        raise ValueError(f"want images that are finite, got {int((~np.isfinite(pictures)).sum())} undefined pixels")
    return np.clip(pictures, 0, 1)


def _show(axes: Axes, picture: Numpy) -> None:
    """Draw one image without interpolation, so that a pixel stays a pixel."""
    axes.imshow(np.broadcast_to(picture, (*picture.shape[:2], 3)), interpolation="nearest", aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _mosaic(pictures: Numpy, *, title: str, rows: Sequence[str], columns: Sequence[str] | None, xlabel: str) -> Figure:
    """Lay images `[K, steps, H, W, C]` edge to edge in one raster, with thin gaps."""
    many, steps, high, wide, channels = pictures.shape
    if len(rows) != many or (columns is not None and len(columns) != steps):
        raise ValueError(f"want {many} row and {steps} column labels, got {len(rows)} and {len(columns or ())}")
    gap = max(1, wide // 16)
    raster = np.ones((many * (high + gap) - gap, steps * (wide + gap) - gap, channels), np.float32)
    for k in range(many):
        for s in range(steps):
            top, left = k * (high + gap), s * (wide + gap)
            raster[top : top + high, left : left + wide] = pictures[k, s]
    margin = 0.25 + 0.075 * max(len(row) for row in rows)
    across = WIDTH - margin - 0.12
    foot = 0.5 if columns is not None else 0.34
    head = frames.headroom(title)
    down = across * raster.shape[0] / raster.shape[1]
    height = head + down + foot
    with matplotlib.rc_context(STYLE):
        figure = frames.blank(height)
        frames.title(figure, title)
        axes = figure.add_axes((margin / WIDTH, foot / height, across / WIDTH, down / height))
        _show(axes, raster)
        axes.set_yticks([k * (high + gap) + high / 2 - 0.5 for k in range(many)], rows, color=INK)
        if columns is not None:
            axes.set_xticks([s * (wide + gap) + wide / 2 - 0.5 for s in range(steps)], columns)
        axes.set_xlabel(xlabel, labelpad=3)
    return figure
