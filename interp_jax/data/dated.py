"""Things that have a year: what `data.wordnet` knows of people's births, and world-models' table of works of art.

made = works("art.csv")            # songs, films and books, with the year of release
made.names, made.years, [made.kinds[i] for i in made.kind]
"""

import datetime
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from interp_jax.core.types import Numpy
from interp_jax.data import files


class Dated(NamedTuple):
    """N things, no two of one name, by name.

    names: N. years: `[N]` int32. kind: `[N]` int32, its place in `kinds`, which are sorted. test: `[N]` bool, a table's
    own held-out rows, or False.
    """

    names: tuple[str, ...]
    years: Numpy
    kind: Numpy
    kinds: tuple[str, ...]
    test: Numpy


def works(path: str | os.PathLike) -> Dated:
    """Read Gurnee and Tegmark's table of songs, films and books (`art.csv` of world-models).

    Columns title, release_date (as 1986-09-15) and entity_type; is_test if the table has it. Titles that two rows of
    different years share are left out, for a title is all that a model is told; other rows of a title already read (a
    second author) are one.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a column is missing, or an entry is no date, by line; no work is left.
    """
    found: dict[str, list[tuple[int, str, bool]]] = {}
    with files.opened(Path(path)) as file:
        table = files.table(file, ("title", "release_date", "entity_type"))
        for row in table:
            found.setdefault(row["title"] or "", []).append(_work(table.line_num, row))
        once = {title: rows[0] for title, rows in found.items() if title and len({year for year, *_ in rows}) == 1}
        if not once:
            raise ValueError("want at least one work of one year, got none")
    return dated(once)


def dated(found: Mapping[str, tuple[int, str, bool]]) -> Dated:
    """Lay out, by name, years, kinds and whether it is held out."""
    names = sorted(found)
    years, kind, test = zip(*(found[name] for name in names), strict=True)
    kinds = sorted(set(kind))
    return Dated(
        tuple(names), np.array(years, np.int32), np.array([kinds.index(each) for each in kind], np.int32),
        tuple(kinds), np.array(test, bool),
    )  # fmt: skip


def _work(line: int, row: Mapping[str, str]) -> tuple[int, str, bool]:
    try:
        year = datetime.date.fromisoformat(row["release_date"] or "").year
    except ValueError as error:
        raise ValueError(f"line {line}: {error}") from None
    return year, row["entity_type"] or "", files.true(row.get("is_test"))
