"""Many images behind one interface, wherever they lie: in memory, mapped from a file, one bit a pixel, in HDF5.

Each kind has `shape` `[N, H, W, C]`; `take(numbers)`, the images with these numbers, in any order; `blocks(size)`, all
in order, about `size` at a time; `array()`, what goes on a device. Images are uint8. Nothing is read before it is
asked for, and only `array` holds all of them at once.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from interp_jax.data import npz


class Rows(Protocol):
    """Images by number."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102

    def take(self, numbers: np.ndarray) -> np.ndarray: ...  # noqa: D102

    def blocks(self, size: int) -> Iterator[np.ndarray]: ...  # noqa: D102

    def array(self) -> np.ndarray: ...  # noqa: D102


@dataclass(frozen=True)
class Plain:
    """An array of bytes `[N, H, W, C]`, in memory or mapped."""

    values: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """`(N, H, W, C)`."""
        return self.values.shape

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """Give the images with these numbers."""
        return np.asarray(self.values[numbers])

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """Give all, in order."""
        return (np.asarray(self.values[i : i + size]) for i in range(0, len(self.values), size))

    def array(self) -> np.ndarray:
        """Give all at once, in memory."""
        return np.array(self.values)


@dataclass(frozen=True)
class Bits:
    """Images of 0 and 1, one bit a pixel `[N, H W / 8]`, in the order of `data.packed`, and the shape of one."""

    bits: np.ndarray
    image: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """`(N, H, W, C)`."""
        return (len(self.bits), *self.image)

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """Give the images with these numbers."""
        return np.unpackbits(self.bits[numbers], axis=1).reshape(-1, *self.image)

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """Give all, in order."""
        return (self.take(np.s_[i : i + size]) for i in range(0, len(self.bits), size))  # pyrefly: ignore

    def array(self) -> np.ndarray:
        """Give the bits, for `packed.lookup`."""
        return self.bits


@dataclass(frozen=True)
class Compressed:
    """A compressed array of an npz file: readable from its beginning only."""

    member: npz.Member

    @property
    def shape(self) -> tuple[int, ...]:
        """`(N, H, W, C)`."""
        return self.member.shape

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """Refuse, and say what to do."""
        raise ValueError(
            f"{self.member.path}: its images are compressed, so they come in order only (lattices.blocks); "
            "lattices.unpack(data, path) writes a file that gives them in any order"
        )

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """Give all, in order."""
        return npz.blocks(self.member, size)

    def array(self) -> np.ndarray:
        """Give all at once, in memory."""
        return _gathered(self)


@dataclass(frozen=True)
class Hdf5:
    """A data set of an open HDF5 file (h5py). Reading one image unpacks the chunks that it lies in."""

    path: Path
    dataset: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """`(N, H, W, C)`."""
        return self.dataset.shape

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """Give the images with these numbers; those of one chunk are read together."""
        wanted, back = np.unique(numbers, return_inverse=True)
        parts = [np.zeros((0, *self.shape[1:]), np.uint8)]
        for _, group in itertools.groupby(wanted.tolist(), lambda number: number // self._chunk):
            near = np.array(list(group))
            parts.append(self._read(near[0], near[-1] + 1)[near - near[0]])
        return np.concatenate(parts)[back]

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """Give all, in order, whole chunks at a time."""
        step = max(size // self._chunk, 1) * self._chunk
        return (self._read(i, min(i + step, self.shape[0])) for i in range(0, self.shape[0], step))

    def array(self) -> np.ndarray:
        """Give all at once, in memory."""
        return _gathered(self)

    @property
    def _chunk(self) -> int:
        return (self.dataset.chunks or (1,))[0]

    def _read(self, start: int, stop: int) -> np.ndarray:
        try:
            return self.dataset[start:stop]
        except (OSError, RuntimeError) as error:
            raise ValueError(f"{self.path}: rows {start} to {stop - 1} cannot be read: {_line(error)}") from None


def copy(rows: Rows, out: np.ndarray, size: int = 4096) -> None:
    """Copy all images into an array of the same shape, a block at a time."""
    done = 0
    for block in rows.blocks(size):
        out[done : done + len(block)] = block
        done += len(block)
    if done != len(out):
        raise ValueError(f"want {len(out)} images, got {done}")


def bits(rows: Rows, size: int = 4096) -> np.ndarray:
    """Pack images of 0 and 1, a block at a time, one bit a pixel. Gives uint8 `[N, H W / 8]`."""
    out = np.zeros((rows.shape[0], math.prod(rows.shape[1:]) // 8), np.uint8)
    done = 0
    for block in rows.blocks(size):
        if block.size and block.max() > 1:
            raise ValueError(f"want pixels of 0 and 1, got {block.max()}")
        out[done : done + len(block)] = np.packbits(block.reshape(len(block), -1), axis=1)
        done += len(block)
    return out


def _gathered(rows: Rows) -> np.ndarray:
    out = np.empty(rows.shape, np.uint8)
    copy(rows, out)
    return out


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
