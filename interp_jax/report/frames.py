"""What all figures share: the house style, and a sheet with a title, a note and a legend around its axes."""

import functools
import math
import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7A7A7A")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, QUIET, GRID = "#1f2328", "#59636e", "#e4e7eb"
WIDTH = 4.8
STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#b5bcc4",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": True,
    "figure.facecolor": "white",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "path.simplify": True,
    "savefig.facecolor": "white",
    "text.color": INK,
    "xtick.color": QUIET,
    "xtick.labelsize": 9,
    "xtick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.color": QUIET,
    "ytick.labelsize": 9,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
}


def blank(height: float) -> Figure:
    """Make an empty figure of the house's width, `height` inches high."""
    figure = Figure(figsize=(WIDTH, height), dpi=100)
    FigureCanvasAgg(figure)
    return figure


def sheet(body: float, words: str, *, note: str | None = None, legend: int = 0) -> tuple[Figure, float]:
    """Make a figure with a title over a body of so many inches, and room for a note and a legend of so many names.

    Gives the figure and the height in inches of what stands above the body.
    """
    head = headroom(words) + (0.2 if note else 0) + (0.06 + 0.2 * math.ceil(legend / 3) if legend > 1 else 0)
    figure = blank(body + head)
    title(figure, words)
    if note:
        y = 1 - (headroom(words) + 0.02) / (body + head)
        figure.text(0.12 / WIDTH, y, note, fontsize=7.5, color=QUIET, va="center")
    return figure, head


def plot(
    words: str, xlabel: str, ylabel: str, *, note: str | None = None, height: float = 3.3, legend: int
) -> tuple[Figure, Axes]:
    """Make a sheet with one pair of axes."""
    figure, head = sheet(height - 0.3, words, note=note, legend=legend)
    height = figure.get_figheight()
    left = 0.62 if ylabel else 0.15
    axes = figure.add_axes((left / WIDTH, 0.5 / height, 1 - (left + 0.12) / WIDTH, 1 - (0.55 + head) / height))
    axes.set_xlabel(xlabel, labelpad=4)
    axes.set_ylabel(ylabel, labelpad=4)
    return figure, axes


def make_room(figure: Figure, axes: Axes) -> None:
    """Give long tick labels at the left the room they take."""
    box = axes.get_position()
    over = 0.02 - axes.get_tightbbox().x0 / figure.bbox.width  # pyrefly: ignore
    if over > 0:
        axes.set_position((box.x0 + over, box.y0, box.width - over, box.height))


def legend(figure: Figure, axes: Axes, y: float | None = None) -> None:
    """Put the legend in a line above the axes, where it covers no data, or at height `y` of the figure."""
    make_room(figure, axes)
    handles, names = axes.get_legend_handles_labels()
    if len(names) > 1 or (names and not axes.yaxis.get_visible()):
        bottom = axes.get_position().y1 + 0.02 if y is None else y
        figure.legend(
            handles, names, loc="lower left", bbox_to_anchor=(0.12 / WIDTH, bottom), ncols=min(len(names), 3),
            fontsize=8.5, handlelength=1.6, columnspacing=1.4, labelspacing=0.3, borderaxespad=0,
        )  # fmt: skip


def headroom(words: str) -> float:
    """Give the height in inches of a title wrapped to the figure's width."""
    return 0.2 + 0.19 * len(wrap(words))


def title(figure: Figure, words: str) -> None:
    """Write the title at the figure's top left.

    Raises:
        ValueError: for a title of no words.
    """
    if not words.strip():
        raise ValueError("want a title that says what is seen, got an empty one")
    y = 1 - 0.1 / figure.get_figheight()
    figure.text(0.12 / WIDTH, y, "\n".join(wrap(words)), fontsize=10.5, fontweight="bold", va="top", linespacing=1.25)


@functools.cache
def wrap(words: str) -> tuple[str, ...]:
    """Break a title into lines that fit the figure, by the width of its letters."""
    font = FontProperties(family=STYLE["font.family"], weight="bold", size=10.5)

    def fits(line: str) -> bool:
        width, _, _ = text_to_path.get_text_width_height_descent(line, font, ismath=False)
        return width < 72 * (WIDTH - 0.24)

    for letters in range(64, 20, -2):
        lines = textwrap.wrap(words, letters)
        if all(map(fits, lines)):
            break
    return tuple(lines)
