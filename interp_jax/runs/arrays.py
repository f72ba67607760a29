"""Arrays larger than memory, in a folder, written and read part by part: zarr version 3, through tensorstore.

Each chunk is a file that is written whole or not at all and ends with a CRC-32C of its bytes, which every reader
checks; a chunk that was never written reads as NaN. Any zarr reader opens the folder (`zarr.open_array`).
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import tensorstore

from interp_jax.core.types import Numpy
from interp_jax.runs.errors import SaveError, StoreError

Span = tuple[int, int]
"""Start and stop along an axis."""


class StoredArray:
    """See `create` and `open_array`. root: its folder. shape, dtype: of the whole."""

    def __init__(self, root: Path, handle: tensorstore.TensorStore) -> None:
        self.root, self._handle = root, handle
        self.shape: tuple[int, ...] = tuple(handle.shape)
        self.dtype = np.dtype(handle.dtype.numpy_dtype)

    def write(self, start: Sequence[int], values: Numpy | jax.Array, *, mirrored: bool = False) -> None:
        """Write a part from `start` on, its axes reversed if `mirrored`; what lies beyond the array's end is dropped.

        Of a sharded part each process writes what it holds. Parts must be of whole chunks, so that no chunk has two
        writers.

        Raises:
            SaveError: if it cannot be written.
        """
        try:
            pending = []
            for corner, part in _local(values):
                part, corner = (part.T, corner[::-1]) if mirrored else (part, corner)
                low = [a + b for a, b in zip(start, corner, strict=True)]
                stop = [min(a + n, end) for a, n, end in zip(low, part.shape, self.shape, strict=True)]
                if all(a < b for a, b in zip(low, stop, strict=True)):
                    there = tuple(slice(a, b) for a, b in zip(low, stop, strict=True))
                    inside = tuple(slice(0, b - a) for a, b in zip(low, stop, strict=True))
                    pending.append(self._handle[there].write(part[inside]))
            for future in pending:
                future.result()
        except (ValueError, OSError) as error:
            raise SaveError(f"cannot write in {self.root}: {str(error).splitlines()[0]}") from error

    def read(self, spans: Sequence[Span]) -> Numpy:
        """Read a part.

        Raises:
            StoreError: if a chunk is damaged, by file.
        """
        try:
            return np.asarray(self._handle[tuple(slice(*span) for span in spans)].read().result())
        except (ValueError, OSError) as error:
            raise StoreError(f"{self.root} is damaged: {str(error).splitlines()[0]}") from error


def create(root: Path | str, shape: Sequence[int], chunk: Sequence[int], dtype: np.dtype, about: dict) -> StoredArray:
    """Make the folder of an array, or open it if it is there already. about: JSON values, kept as its attributes.

    Raises:
        StoreError: if the folder holds an array of another shape, dtype or chunk.
        SaveError: if it cannot be written.
    """
    codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    metadata = {
        "shape": list(shape), "data_type": np.dtype(dtype).name, "fill_value": "NaN", "codecs": codecs,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
    }  # fmt: skip
    path = Path(root).expanduser().absolute()
    if (path / "zarr.json").exists():
        found = open_array(path)
        here = (tuple(shape), np.dtype(dtype), tuple(chunk))
        there = (found.shape, found.dtype, tuple(found._handle.chunk_layout.write_chunk.shape or ()))
        if here != there:
            raise StoreError(
                f"{path} holds an array of (shape, dtype, chunk) {there}, want {here}: give another folder"
            )
        return found
    try:
        spec = {"driver": "zarr3", "kvstore": _file(path), "metadata": metadata | {"attributes": about}}
        return StoredArray(path, tensorstore.open(spec, create=True, open=True).result())
    except (ValueError, OSError) as error:
        raise SaveError(f"cannot write in {path}: {str(error).splitlines()[0]}") from error


def open_array(root: Path | str) -> StoredArray:
    """Open the folder of an array.

    Raises:
        StoreError: if there is none, or its metadata is damaged.
    """
    path = Path(root).expanduser().absolute()
    try:
        return StoredArray(path, tensorstore.open({"driver": "zarr3", "kvstore": _file(path)}, open=True).result())
    except (ValueError, OSError) as error:
        raise StoreError(f"{path} holds no array, or a damaged one: {str(error).splitlines()[0]}") from error


def about(root: Path | str) -> dict:
    """Give the JSON values that `create` was told."""
    path = Path(root).expanduser().absolute() / "zarr.json"
    try:
        return json.loads(path.read_bytes())["attributes"]
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"{path} is missing or damaged ({error})") from error


def _file(path: Path) -> dict:
    return {"driver": "file", "path": os.fspath(path) + "/"}


def _local(values: Numpy | jax.Array) -> list[tuple[tuple[int, ...], Numpy]]:
    """Give the parts of an array that are this process's to write, with their corners."""
    if not isinstance(values, jax.Array):
        return [((0,) * values.ndim, values)]
    return [
        (tuple(s.indices(n)[0] for s, n in zip(shard.index, values.shape, strict=True)), np.asarray(shard.data))
        for shard in values.addressable_shards
        if shard.replica_id == 0
    ]
