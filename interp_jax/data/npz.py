"""Read one array of an npz file, whatever its size: memory-mapped where it is stored plain, else piece by piece.

An npz file is a zip archive of npy files: a magic, a version, the header's length, a header (a Python literal with
dtype, order and shape) and the values. Pickled objects are refused, never read. Whatever is wrong with a file is one
ValueError of one line that names it.
"""

import ast
import contextlib
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from interp_jax.data import files

_LONGEST = 10_000
"""Characters in a header; a real one has about a hundred."""


@dataclass(frozen=True)
class Member:
    """One array of an npz file, known by its header.

    start: where the values begin in the file; None if they are compressed and can be read in order only.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int | None


def find(
    path: str | os.PathLike, name: str, *, shape: tuple[int, ...] | None = None, dtype: str | None = None
) -> Member:
    """Read the header of the array `name`; check its shape and dtype where they are given.

    Raises FileNotFoundError, or ValueError for what is no npz file, holds no such array or one of another kind.
    """
    path = Path(path)
    with _opened(path, name) as (archive, file):
        found, kind = _header(file)
        if shape not in (None, found):
            raise ValueError(f"want {name} of shape {shape}, got {found}")
        if dtype is not None and kind != dtype:
            raise ValueError(f"want {name} of type {dtype}, got {kind}")
        info, size = archive.getinfo(f"{name}.npy"), math.prod(found) * kind.itemsize
        if info.file_size != file.tell() + size:
            raise ValueError(f"want {size} bytes of values for {name} of shape {found}, got {info.file_size} in all")
        start = None
        if info.compress_type == zipfile.ZIP_STORED:
            start = _begin(path, info) + file.tell()
            if start + size > path.stat().st_size:
                raise ValueError(f"cut short: {name} ends at byte {start + size}")
    return Member(path, name, found, kind, start)


def mapped(member: Member) -> np.ndarray:
    """Map a plain array into memory: rows are read from the disk when they are asked for, and no check sum is."""
    if member.start is None:
        raise ValueError(f"{member.path}: {member.name} is compressed, so it cannot be mapped into memory")
    return np.memmap(member.path, member.dtype, "r", member.start, member.shape)


def blocks(member: Member, size: int) -> Iterator[np.ndarray]:
    """Read an array in order, `size` rows at a time (fewer at the end). The check sum is checked behind the last."""
    rows, each = member.shape[0], math.prod(member.shape[1:])
    with _opened(member.path, member.name) as (_, file):
        _header(file)
        for start in range(0, rows, size):
            count = min(size, rows - start)
            body = files.take(file, count * each * member.dtype.itemsize)
            if len(body) < count * each * member.dtype.itemsize:
                raise ValueError(f"cut short: {member.name} ends in row {start + len(body) // (each or 1)} of {rows}")
            yield np.frombuffer(body, member.dtype).reshape(count, *member.shape[1:])
        file.read(1)


def read(member: Member) -> np.ndarray:
    """Read an array whole, with its check sum."""
    if not member.shape:
        raise ValueError(f"{member.path}: want {member.name} of at least one axis, got a number")
    return np.concatenate([*blocks(member, 2**16), np.zeros((0, *member.shape[1:]), member.dtype)])


@contextlib.contextmanager
def _opened(path: Path, name: str) -> Iterator[tuple[zipfile.ZipFile, BinaryIO]]:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            if f"{name}.npy" not in archive.namelist():
                kept = [each.removesuffix(".npy") for each in archive.namelist()]
                raise ValueError(f"want an array {name}, got {kept[:8]}")
            with archive.open(f"{name}.npy") as file:
                yield archive, cast(BinaryIO, file)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, OSError) as error:
        raise ValueError(f"{path}: damaged npz: {error}") from error


def _header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    magic = file.read(8)
    if len(magic) < 8 or magic[:6] != b"\x93NUMPY" or magic[6] not in (1, 2, 3):
        raise ValueError(f"not an npy array: its first bytes are {magic.hex(' ') or 'missing'}")
    width = 2 if magic[6] == 1 else 4
    length = int.from_bytes(file.read(width), "little")
    text = file.read(min(length, _LONGEST)).decode("latin1")
    try:
        # Python 2 wrote lengths as 64L.
        fields = ast.literal_eval(re.sub(r"(\d)L\b", r"\1", text).strip())
        shape, kind = fields["shape"], np.dtype(fields["descr"])
        plain = not fields["fortran_order"]
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        raise ValueError(f"damaged header of an npy array: {text[:60]!r}") from None
    if kind.hasobject:
        raise ValueError("want numbers, got pickled objects, which are never read")
    if not (isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape) and plain and not kind.fields):
        raise ValueError(f"want an array of numbers in C order, got the header {text[:60]!r}")
    return shape, kind


def _begin(path: Path, info: zipfile.ZipInfo) -> int:
    """Say where a stored file begins: behind its local header, whose lengths may differ from the directory's."""
    with open(path, "rb") as file:
        file.seek(info.header_offset)
        header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise ValueError("damaged npz: no local header where the directory says")
    name, extra = struct.unpack("<HH", header[26:])
    return info.header_offset + 30 + name + extra
