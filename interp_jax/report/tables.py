"""Tidy tables in parquet that notice damage: page checksums, and a digest of the values in the file's metadata.

A table is a mapping from column to a vector, every vector `[N]`. A page checksum (written by pyarrow, checked on
reading) covers the data pages; a bit flipped in a page's header or in the footer can pass it (872 of the 19,016 bits
of a small table did), so a SHA-256 of names, types and values goes into the metadata as well. Flipped bits, truncation
and deletion raise `ValueError` with the file's name.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from interp_jax.core.types import Numpy
from interp_jax.report import files

Table = dict[str, Numpy]
_DIGEST = b"interp_jax.digest"
_NUMBERS = tuple(np.dtype(name) for name in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"))


def write(path: str | os.PathLike[str], table: Mapping[str, object]) -> Path:
    """Write columns `[N]` of bool, int, float or str to a parquet file, atomically.

    NaN is stored as it is: a diverged run keeps its row (`defined` refuses it where a number is made of it).

    Raises:
        ValueError: a column that is not a vector, of another length or type, or no column at all.

    >>> import tempfile
    >>> path = write(tempfile.mkdtemp() + "/rows.parquet", {"seed": [0, 1], "loss": [0.5, 0.25]})
    >>> read(path)["loss"].tolist()
    [0.5, 0.25]
    """
    return files.replace(path, encode(table))


def encode(table: Mapping[str, object]) -> bytes:
    """Give the bytes that `write` would write."""
    columns = _columns(table)
    frame = pa.table({name: pa.array(column) for name, column in columns.items()})
    frame = frame.replace_schema_metadata({_DIGEST: _digest(columns)})
    buffer = io.BytesIO()
    pq.write_table(frame, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def read(path: str | os.PathLike[str]) -> Table:
    """Read a table that `write` wrote: column name to `[N]`.

    Raises:
        ValueError: the file is missing, damaged, or not written by `write`; it is named.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    return decode(data, path)


def decode(data: bytes, name: object) -> Table:
    """Read a table from the bytes of a file called `name`; errors as `read`."""
    try:
        frame = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read(use_threads=False)
        stored = (frame.schema.metadata or {}).get(_DIGEST, b"")
        columns = {field.name: _numpy(frame.column(i)) for i, field in enumerate(frame.schema)}
    except Exception as error:  # a flipped bit reaches many decoders, each with errors of its own
        raise ValueError(f"{name}: damaged table ({type(error).__name__}: {_short(error)})") from error
    if not stored:
        raise ValueError(f"{name}: no digest in the table's metadata; it is damaged or was not written by tables.write")
    if len(columns) != frame.num_columns or _digest(columns) != stored:
        raise ValueError(f"{name}: damaged table (the values do not match the digest written with them)")
    return columns


def from_rows(rows: Sequence[Mapping[str, object]]) -> Table:
    """Turn a list of rows with the same keys into columns.

    >>> from_rows([{"beta": 1, "loss": 0.5}, {"beta": 4, "loss": 0.25}])["beta"].tolist()
    [1, 4]
    """
    if not rows:
        raise ValueError("want at least one row, got none")
    names = list(rows[0])
    for i, row in enumerate(rows):
        if set(row) != set(names):
            raise ValueError(f"row {i} has columns {sorted(row)}, row 0 has {sorted(names)}")
    return _columns({name: [row[name] for row in rows] for name in names})


def from_cells(names: Sequence[str], cells: Iterable[Sequence[object]]) -> Table:
    """Turn cells, of each what `names` say, into columns.

    >>> {name: column.tolist() for name, column in from_cells(("seed", "loss"), [(0, 0.5), (1, 0.25)]).items()}
    {'seed': [0, 1], 'loss': [0.5, 0.25]}

    Raises:
        ValueError: no cell; one that says more or less than the others or than the names; no vector of one type.
    """
    return _columns({name: list(column) for name, column in zip(names, zip(*cells, strict=True), strict=True)})


def defined(table: Mapping[str, object], *, by: Sequence[str], among: Sequence[str] | None = None) -> Table:
    """Give the table back if every number in it is finite; else refuse and name the rows.

    Args:
        table: columns `[N]`.
        by: the columns that name a row, such as `("seed", "beta")`.
        among: the columns that must be finite; all by default.

    Raises:
        ValueError: some are NaN or infinite: which column, and which rows by the values of `by`.

    >>> defined({"seed": [0, 1], "loss": [0.5, float("nan")]}, by=("seed",))
    Traceback (most recent call last):
    ValueError: undefined values in 1 of 2 rows: loss at seed=1
    """
    columns = _columns(table)
    for name in [*by, *(among or ())]:
        if name not in columns:
            raise ValueError(f"want a column {name!r}, got {sorted(columns)}")
    numbers = {name: columns[name] for name in (among or columns) if columns[name].dtype.kind == "f"}
    bad = [(row, name) for name, column in numbers.items() for row in np.flatnonzero(~np.isfinite(column))]
    if not bad:
        return columns
    shown = [f"{name} at {', '.join(f'{key}={columns[key][row]}' for key in by)}" for row, name in sorted(bad)]
    more = f"; and {len(shown) - 6} more" if len(shown) > 6 else ""
    total = len(next(iter(columns.values())))
    count = len({row for row, _ in bad})
    raise ValueError(f"undefined values in {count} of {total} rows: {'; '.join(shown[:6])}{more}")


def complete(table: Mapping[str, Numpy], names: Sequence[str], *, unit: str = "seed") -> tuple[Table, list]:
    """Leave out the units with a row that diverged (`diverged_at` not below 0) or in which one of `names` is undefined.

    So that a design stays balanced: a seed goes out of all cells. Gives the rest, and the units left out.

    >>> complete({"seed": np.array([0, 1, 0, 1]), "mig": np.array([0.1, 0.2, np.nan, 0.3])}, ["mig"])[1]
    [0]

    Raises ValueError that names the columns which are not there.
    """
    if missing := [name for name in (unit, *names) if name not in table]:
        raise ValueError(f"want columns {missing} in the table, got {sorted(table)}")
    fine = np.all([np.isfinite(table[name]) for name in names], 0)
    if "diverged_at" in table:
        fine &= table["diverged_at"] < 0
    lost = np.unique(table[unit][~fine])
    keep = ~np.isin(table[unit], lost)
    return {name: column[keep] for name, column in table.items()}, lost.tolist()


def _columns(table: Mapping[str, object]) -> Table:
    """Make numpy vectors of one length out of columns, refusing what parquet would change in silence."""
    if not table:
        raise ValueError("want at least one column, got none")
    columns = {}
    for name, value in table.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"want column names that are words, got {name!r}")
        columns[name] = _vector(name, value)
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"want columns of one length, got {lengths}")
    return columns


def _vector(name: str, value: object) -> Numpy:
    column = np.asarray(value)
    if column.dtype.kind == "O" and all(isinstance(item, str) for item in column.flat):
        column = column.astype(np.str_)
    if column.ndim != 1 or not (column.dtype.kind == "U" or column.dtype in _NUMBERS):
        raise ValueError(
            f"want column {name!r} as a vector of bool, int, float or str, got {column.dtype} {column.shape}"
        )
    if column.dtype.kind == "U":
        given = value.tolist() if isinstance(value, np.ndarray) else list(value)  # pyrefly: ignore
        wrong = [item for item in given if not isinstance(item, str) or "\0" in item]
        if wrong:  # numpy turns [None, "a"] and [1, "a"] into strings, and drops trailing NULs
            raise ValueError(f"want column {name!r} of text throughout, got {wrong[0]!r} in it")
    return column


def _numpy(column: pa.ChunkedArray) -> Numpy:
    if column.null_count:
        raise ValueError("a value is missing")
    if pa.types.is_string(column.type):
        return np.asarray(column.to_pylist(), np.str_)
    return column.to_numpy()


def _digest(columns: Table) -> bytes:
    """Hash names, types and values, so that nothing can move between columns either."""
    hashed = hashlib.sha256()
    for name, column in columns.items():
        kind = "text" if column.dtype.kind == "U" else column.dtype.newbyteorder("<").str
        hashed.update(json.dumps([name, kind, len(column)]).encode())
        if kind == "text":
            hashed.update(json.dumps(column.tolist()).encode())
        else:
            hashed.update(np.ascontiguousarray(column, kind).tobytes())
    return hashed.hexdigest().encode()


def _short(error: Exception) -> str:
    words = " ".join(str(error).split())
    return words[:120] + ("..." if len(words) > 120 else "")
