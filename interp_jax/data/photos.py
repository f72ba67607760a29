"""Photographs in files, decoded on the host as they are asked for, behind the interface of `data.rows`.

Decoding is Pillow's, which comes with matplotlib. A photograph's central square is taken and brought to the wanted size
by Pillow's bilinear filter, which averages where it shrinks: nothing rings, and small ones can be enlarged.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from PIL import Image

from interp_jax.core import checks
from interp_jax.data.concept_sets import ConceptSet

FORMATS = ("JPEG", "PNG")


@dataclass(frozen=True)
class Photos:
    """Pictures by number: uint8 `[N, side, side, 3]`, a kind of `rows.Rows`; each is decoded whenever it is taken."""

    paths: tuple[Path, ...]
    side: int

    def __post_init__(self) -> None:
        """Refuse sides that are no size."""
        checks.whole(1, side=self.side)

    @property
    def shape(self) -> tuple[int, ...]:
        """`(N, H, W, C)`."""
        return (len(self.paths), self.side, self.side, 3)

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """Give the pictures with these numbers."""
        chosen = np.arange(len(self.paths))[numbers]
        return np.stack([read(self.paths[i], self.side) for i in chosen]) if len(chosen) else self._none()

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """Give all, in order."""
        every = np.arange(len(self.paths))
        return (self.take(every[i : i + size]) for i in range(0, len(every), size))

    def array(self) -> np.ndarray:
        """Give all at once, in memory."""
        return self.take(np.arange(len(self.paths)))

    def _none(self) -> np.ndarray:
        return np.zeros((0, *self.shape[1:]), np.uint8)


def read(path: Path, side: int) -> np.ndarray:
    """Decode one JPEG or PNG file to uint8 `[side, side, 3]`: its central square, resized, in RGB.

    Raises ValueError that names the file for what cannot be decoded; FileNotFoundError if there is none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                half, x, y = min(width, height) / 2, width / 2, height / 2
                square = (x - half, y - half, x + half, y + half)
                colours = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR, box=square)
                return np.array(colours)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable picture: {' '.join(str(error).split())}") from None


def chosen(photos: Photos, concepts: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> ConceptSet:
    """Decode some photographs, with their concepts `[N, k]` and labels `[N]`: inputs float32 in [0, 1].

    rows: numbers, or a mask `[N]`. A thousand pictures of 64 x 64 pixels take 49 MB, of 299 x 299 1.1 GB.
    """
    if not len(photos.paths) == len(concepts) == len(labels):
        counts = f"{len(photos.paths)}, {len(concepts)} and {len(labels)}"
        raise ValueError(f"want as many photos as concepts and labels, got {counts}")
    pixels = np.divide(photos.take(rows), np.float32(255), dtype=np.float32)
    return ConceptSet(
        jnp.asarray(pixels), jnp.asarray(concepts[rows], jnp.float32), jnp.asarray(labels[rows], jnp.int32)
    )
