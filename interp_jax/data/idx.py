"""Read idx files, the format of MNIST and its kin, plain or gzipped; every way a file can be damaged is one clear line.

An idx file is two zero bytes, a byte for the type, a byte for the rank, the shape as big-endian 32-bit integers, and
the values, big-endian, the last axis fastest.
"""

import contextlib
import gzip
import hashlib
import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read(
    path: str | os.PathLike, *, shape: tuple[int | None, ...] | None = None, digest: str | None = None
) -> np.ndarray:
    """Read one file, in the machine's byte order. No more is unpacked than the header announces.

    shape: what the array must have, None for any length of an axis. digest: the SHA-256 of the unpacked file, in hex;
    packed copies differ with the packer, contents do not.

    Raises FileNotFoundError, or ValueError naming the file and what is wrong with it.
    """
    path = Path(path)
    with _opened(path) as file, _told(path):
        dtype, found, header = _header(file)
        if shape is not None and not _fits(found, shape):
            raise ValueError(f"want shape {shape}, got {found}")
        size = math.prod(found) * dtype.itemsize
        body = _take(file, size)
        if len(body) < size:
            raise ValueError(f"cut short: want {size} bytes of values for shape {found}, got {len(body)}")
        if file.read(1):
            raise ValueError(f"longer than its header says: want {size} bytes of values for shape {found}")
        got = hashlib.sha256(header + body).hexdigest()
        if digest not in (None, got):
            raise ValueError(f"not the published file: want SHA-256 {digest} of its contents, got {got}")
    values = np.frombuffer(body, dtype).reshape(found)
    return values.astype(dtype.newbyteorder("="))


def _fits(found: tuple[int, ...], shape: tuple[int | None, ...]) -> bool:
    return len(found) == len(shape) and all(want in (None, got) for want, got in zip(shape, found, strict=True))


def _take(file: BinaryIO, size: int) -> bytes:
    """Read up to `size` bytes in pieces: a flipped bit in the header may announce more than memory holds."""
    pieces = []
    while size and (piece := file.read(min(size, 2**20))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _header(file: BinaryIO) -> tuple[np.dtype, tuple[int, ...], bytes]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or magic[3] == 0:
        raise ValueError(f"not an idx file: its first bytes are {magic.hex(' ') or 'missing'}")
    axes = file.read(4 * magic[3])
    if len(axes) < 4 * magic[3]:
        raise ValueError(f"cut short in its header of {magic[3]} axes")
    return np.dtype(_TYPES[magic[2]]), tuple(np.frombuffer(axes, ">u4").tolist()), magic + axes


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, unpacking it if it starts as gzip does, whatever its name."""
    with open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        with gzip.open(raw) if packed else contextlib.nullcontext(raw) as file:
            yield cast(BinaryIO, file)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn whatever unpacking and checking raise into one line that names the file."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: damaged gzip: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
