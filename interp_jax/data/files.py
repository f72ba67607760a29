"""Find and open data files, plain or gzipped; every way they can be missing or damaged is one clear line."""

import contextlib
import csv
import gzip
import importlib.util
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, unpacking it if it starts as gzip does, whatever its name.

    Whatever unpacking raises, and every ValueError or csv.Error of the block, becomes a ValueError of one line that
    names the file.
    """
    with open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            with gzip.open(raw) if packed else contextlib.nullcontext(raw) as file:
                yield cast(BinaryIO, file)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: damaged gzip: {error}") from error
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{path}: {error}") from None


def table(file: BinaryIO, wanted: Sequence[str]) -> csv.DictReader:
    """Read a CSV whose first line names the columns, among them those wanted; or raise ValueError."""
    found = csv.DictReader(io.TextIOWrapper(file, "utf-8", newline=""))
    if missing := [name for name in wanted if name not in (found.fieldnames or [])]:
        raise ValueError(f"want columns {', '.join(wanted)}, got no {', '.join(missing)}")
    return found


def true(text: str | None) -> bool:
    """Tell whether a table's entry says yes."""
    return (text or "").strip().lower() in ("true", "1", "1.0")


def take(file: BinaryIO, size: int) -> bytes:
    """Read up to `size` bytes in pieces: a flipped bit in a header may announce more than memory holds."""
    pieces = []
    while size and (piece := file.read(min(size, 2**20))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def present(place: Path, file: str, hint: str) -> Path:
    """Give the path of a file of a folder, plain or with `.gz`; or raise FileNotFoundError with a hint what to do."""
    for path in (place / file, place / f"{file}.gz"):
        if path.is_file():
            return path
    raise FileNotFoundError(f"no {file}[.gz] in {place}: {hint}")


def packaged(package: str, inside: str, *, wants: str, extra: str) -> Path:
    """Give the path of a data file that an installed package carries; none of the package's code is run.

    wants: who asks, extra: which of our extras installs the package; both for the message.

    Raises:
        ImportError: the package is not installed.
        FileNotFoundError: it is, without that file.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"{wants} needs {package}: pip install 'interp_jax[{extra}]'")
    for folder in spec.submodule_search_locations:
        if (path := Path(folder) / inside).is_file():
            return path
    raise FileNotFoundError(f"no {inside} in the installed package {package}, which {wants} reads")
