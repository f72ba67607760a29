"""Read SmallNORB (LeCun, Huang and Bottou 2004): 50 toys in stereo, in the binary matrix format of its page.

A file is a magic for the type, the rank, at least three lengths, all little-endian 32-bit integers, and the values,
the last axis fastest. Of each of two halves (training, testing: different toys) there are `dat`, unsigned bytes
`[24300, 2, 96, 96]`, `cat`, the category, and `info`: instance, elevation, azimuth (even numbers, 0 to 34), lighting.
The left picture is taken and shrunk to 64 x 64 (`resize.area`). The halves are one set here, as in Locatello et al.
(2019).
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from interp_jax.data import files, resize

HALVES = ("5x46789x9x18x6x2x96x96-training", "5x01235x9x18x6x2x96x96-testing")
SIZES = (5, 9, 18, 6)  # category, elevation, azimuth, lighting
INSTANCES = 10
PICTURE = (96, 96)
SIDE = 64
TYPES = {0x1E3D4C51: "<f4", 0x1E3D4C53: "<f8", 0x1E3D4C54: "<i4", 0x1E3D4C55: "u1", 0x1E3D4C56: "<i2"}


def load(place: Path, hint: str) -> np.ndarray:
    """Give all left pictures, bytes `[5 * 9 * 18 * 6 * 10, 64, 64, 1]`, the instance running fastest: 199 MB.

    place: the folder of the six files, plain or gzipped. Raises FileNotFoundError with the hint, or ValueError naming
    the file and what is wrong with it; every combination must be there once.
    """
    out = np.empty((math.prod(SIZES) * INSTANCES, SIDE, SIDE, 1), np.uint8)
    seen = np.zeros(len(out), int)
    for half in HALVES:
        paths = [files.present(place, f"smallnorb-{half}-{kind}.mat", hint) for kind in ("dat", "cat", "info")]
        numbers = places(paths[1], paths[2])
        np.add.at(seen, numbers, 1)
        done = 0
        for block in blocks(paths[0], (len(numbers), 2, *PICTURE), "u1", 256):
            out[numbers[done : done + len(block)]] = resize.area(block[:, 0, :, :, None], SIDE)
            done += len(block)
    if (wrong := np.flatnonzero(seen != 1)).size:
        *found, instance = np.unravel_index(wrong[0], (*SIZES, INSTANCES))
        what = f"category, elevation, azimuth, lighting {[int(i) for i in found]}, instance {instance}"
        raise ValueError(f"{place}: want every combination once, got {what} {seen[wrong[0]]} times")
    return out


def places(cat: Path, info: Path) -> np.ndarray:
    """Say where the pictures of a half belong `[N]`: the number of their factors and instance, row-major."""
    category = read(cat, (None,), "<i4")
    kept = read(info, (len(category), 4), "<i4")
    if (odd := np.flatnonzero(kept[:, 2] % 2)).size:
        raise ValueError(f"{info}: want even azimuths, got {kept[odd[0], 2]} in row {odd[0]}")
    columns = {"category": category, "elevation": kept[:, 1], "azimuth": kept[:, 2] // 2, "lighting": kept[:, 3]}
    columns["instance"] = kept[:, 0]
    for (name, values), size in zip(columns.items(), (*SIZES, INSTANCES), strict=True):
        if (wrong := np.flatnonzero((values < 0) | (values >= size))).size:
            path, unit = (cat if name == "category" else info), 2 if name == "azimuth" else 1
            most = unit * (size - 1)
            raise ValueError(f"{path}: want {name} from 0 to {most}, got {unit * values[wrong[0]]} in row {wrong[0]}")
    return np.ravel_multi_index(tuple(columns.values()), (*SIZES, INSTANCES))


def read(path: Path, shape: tuple[int | None, ...], dtype: str) -> np.ndarray:
    """Read a matrix whole."""
    return np.concatenate(list(blocks(path, shape, dtype, 2**16)))


def blocks(path: Path, shape: tuple[int | None, ...], dtype: str, size: int) -> Iterator[np.ndarray]:
    """Read a matrix, plain or gzipped, `size` rows at a time.

    shape: None for any length. Raises ValueError naming the file and what is wrong with it.
    """
    with files.opened(path) as file:
        head = file.read(8)
        magic, rank = struct.unpack("<Ii", head) if len(head) == 8 else (0, 0)
        if magic not in TYPES or not 1 <= rank <= 8:
            raise ValueError(f"not a NORB matrix: its first bytes are {head.hex(' ') or 'missing'}")
        lengths = file.read(4 * max(3, rank))
        if len(lengths) < 4 * max(3, rank):
            raise ValueError(f"cut short in its header of {rank} axes")
        found, kind = tuple(np.frombuffer(lengths, "<i4").tolist())[:rank], np.dtype(TYPES[magic])
        fits = len(found) == len(shape) and all(w in (None, g) for w, g in zip(shape, found, strict=True))
        if not fits or kind != dtype or min(found) < 0:
            raise ValueError(f"want {np.dtype(dtype)} of shape {shape}, got {kind} of shape {found}")
        each = math.prod(found[1:]) * kind.itemsize
        for start in range(0, found[0], size):
            count = min(size, found[0] - start)
            body = files.take(file, count * each)
            if len(body) < count * each:
                raise ValueError(f"cut short: it ends in row {start + len(body) // each} of {found[0]}")
            yield np.frombuffer(body, kind).reshape(count, *found[1:])
        if file.read(1):
            raise ValueError(f"longer than its header says: want {found[0]} rows of {each} bytes")
