"""Read idx files, the format of MNIST and its kin, plain or gzipped; every way a file can be damaged is one clear line.

An idx file is two zero bytes, a byte for the type, a byte for the rank, the shape as big-endian 32-bit integers, and
the values, big-endian, the last axis fastest.
"""

import hashlib
import math
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from interp_jax.data import files

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
    with files.opened(path) as file:
        dtype, found, header = _header(file)
        if shape is not None and not _fits(found, shape):
            raise ValueError(f"want shape {shape}, got {found}")
        size = math.prod(found) * dtype.itemsize
        body = files.take(file, size)
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


def _header(file: BinaryIO) -> tuple[np.dtype, tuple[int, ...], bytes]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or magic[3] == 0:
        raise ValueError(f"not an idx file: its first bytes are {magic.hex(' ') or 'missing'}")
    axes = file.read(4 * magic[3])
    if len(axes) < 4 * magic[3]:
        raise ValueError(f"cut short in its header of {magic[3]} axes")
    return np.dtype(_TYPES[magic[2]]), tuple(np.frombuffer(axes, ">u4").tolist()), magic + axes
