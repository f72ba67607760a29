"""Read the "CIFAR-10 binary version" (Krizhevsky 2009): six files of 10,000 records, a label and a picture each.

A record is a byte for the label and 3,072 bytes for a picture of 32 x 32: its red, green and blue plane, row by row.
There is no header and no check sum, and no digest of the unpacked files was published: so lengths and labels are
checked, and that every class has 1,000 test pictures and 5,000 for training, as its page says. That tells files cut,
mixed up or taken for another format; a flipped bit of a picture goes unseen.
"""

import os
from pathlib import Path

import numpy as np

from interp_jax.data import files

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST = ("test_batch.bin",)
SHAPE = (32, 32, 3)
RECORDS = 10_000
"""Pictures in a file."""
FOLDER = "cifar-10-batches-bin"
"""What the published archive unpacks to."""
HINT = (
    "get the binary version of CIFAR-10 and unpack it there, or set INTERP_JAX_DATA to the folder that holds "
    "cifar-10/, or pass the folder that holds its six .bin files"
)


def read(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Read one file, plain or gzipped: pictures `[10000, 32, 32, 3]` and labels `[10000]`, both uint8.

    Raises FileNotFoundError, or ValueError naming the file and what is wrong with it.
    """
    height, width, planes = SHAPE
    size = 1 + height * width * planes
    with files.opened(Path(path)) as file:
        body = files.take(file, RECORDS * size)
        if len(body) < RECORDS * size:
            raise ValueError(f"cut short: want {RECORDS} records of {size} bytes, got {len(body)} bytes")
        if file.read(1):
            raise ValueError(f"too long: want {RECORDS} records of {size} bytes, got more")
        records = np.frombuffer(body, np.uint8).reshape(RECORDS, size)
        labels = records[:, 0]
        if (wrong := np.flatnonzero(labels >= len(CLASSES))).size:
            raise ValueError(f"want labels from 0 to {len(CLASSES) - 1}, got {labels[wrong[0]]} in record {wrong[0]}")
    return records[:, 1:].reshape(RECORDS, planes, height, width).transpose(0, 2, 3, 1), labels


def load(place: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Read the training and the test pictures in a folder, or in the one that the archive unpacks to there.

    Gives `(pictures, labels)` of each, as `read` does. Raises FileNotFoundError or ValueError, of one line.
    """
    folder = place / FOLDER if (place / FOLDER).is_dir() else place
    paths = [[files.present(folder, name, HINT) for name in names] for names in (TRAIN, TEST)]
    return [_whole([read(path) for path in group], folder, group) for group in paths]


def _whole(parts: list[tuple[np.ndarray, np.ndarray]], folder: Path, paths: list[Path]) -> tuple:
    pictures, labels = (np.concatenate(each) for each in zip(*parts, strict=True))
    found, each = np.bincount(labels, minlength=len(CLASSES)), RECORDS * len(parts) // len(CLASSES)
    if (wrong := np.flatnonzero(found != each)).size:
        names = paths[0].name if len(paths) == 1 else f"{paths[0].name} to {paths[-1].name}"
        one = wrong[0]
        raise ValueError(f"{folder}: want {each} pictures of each class in {names}, got {found[one]} of class {one}")
    return pictures, labels
