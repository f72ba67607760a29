"""Read CelebA (Liu et al. 2015) from its folder: 202,599 faces with 40 attributes, and the CEM paper's task on them.

    faces = celeba.load(side=64)
    task = celeba.balanced(faces.attributes)                                    # 6 concepts, 2 more in the label
    train = photos.chosen(faces.photos, task.concepts, task.labels, np.flatnonzero(faces.part == 0)[::12])

Nothing here fetches anything. The folder holds `img_align_celeba/`, `list_attr_celeba.txt` and
`list_eval_partition.txt`, as published.
"""

import os
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from interp_jax.core import checks
from interp_jax.data import files, images
from interp_jax.data.photos import Photos


@dataclass(frozen=True)
class Faces:
    """photos: all, in the order of the lists. attributes: `[N, 40]` bool. names: of the attributes.

    part: `[N]` uint8, the published split: 0 for training, 1 for validation, 2 for testing.
    """

    photos: Photos
    attributes: np.ndarray
    names: tuple[str, ...]
    part: np.ndarray


class Task(NamedTuple):
    """A task made of attributes. concepts: `[N, k]` bool. labels: `[N]` int32, classes from 0. classes: how many.

    columns: which attributes the concepts are. hidden: which others are in the label.
    """

    concepts: np.ndarray
    labels: np.ndarray
    classes: int
    columns: tuple[int, ...]
    hidden: tuple[int, ...]


def load(folder: str | os.PathLike | None = None, *, side: int = 64) -> Faces:
    """Read the lists, and prepare the photographs at `side` x `side` pixels; see `images.find` for the default folder.

    Checked: that both lists are of the same files, as many as the first says, that attributes are -1 or 1 and parts 0,
    1 or 2. A photograph that is missing is named when it is decoded.
    """
    place = images.find("celeba", folder)
    hint = (
        "put CelebA's img_align_celeba/ and lists there, or set INTERP_JAX_DATA to the folder that holds celeba/, or "
        "pass the folder"
    )
    with files.opened(files.present(place, "list_attr_celeba.txt", hint)) as content:
        count, names, *rows = [line.split() for line in content.read().decode("utf-8").splitlines() if line.strip()]
        if [str(len(rows))] != count:
            raise ValueError(f"want as many faces as its first line says, {' '.join(count)}, got {len(rows)}")
        marked = _integers([row[1:] for row in rows], len(names))
        if not np.isin(marked, (-1, 1)).all():
            raise ValueError(f"want attributes of -1 and 1, got {np.unique(marked).tolist()[:5]}")
    with files.opened(files.present(place, "list_eval_partition.txt", hint)) as content:
        lines = [line.split() for line in content.read().decode("utf-8").splitlines() if line.strip()]
        if [line[0] for line in lines] != [row[0] for row in rows]:
            raise ValueError("want the same files in the same order as list_attr_celeba.txt")
        part = _integers([line[1:] for line in lines], 1)[:, 0]
        checks.entries(0, 2, parts=part)
    paths = tuple(place / "img_align_celeba" / row[0] for row in rows)
    return Faces(Photos(paths, side), marked == 1, tuple(names), part.astype(np.uint8))


def balanced(attributes: np.ndarray, *, concepts: int = 6, hidden: int = 2) -> Task:
    """Make the CEM paper's task: the most balanced attributes are concepts, the next ones hidden, all are the label.

    The label is the binary number of the concepts, in the order of their columns, and then the hidden ones, likewise;
    numbers that do not occur are left out, so that classes are counted from 0. The paper has 256 of them, and takes a
    random twelfth of all images, split at random 7 : 1 : 2 (train : validation : test), where `load` gives the
    published split.

    attributes: `[N, A]` bool.
    """
    checks.whole(1, concepts=concepts)
    checks.whole(0, hidden=hidden)
    total = attributes.shape[1]
    if concepts + hidden > total:
        raise ValueError(f"want at most {total} concepts and hidden attributes, got {concepts} + {hidden}")
    order = np.argsort(np.abs(attributes.mean(0) - 0.5), kind="stable")
    columns, rest = np.sort(order[:concepts]), np.sort(order[concepts : concepts + hidden])
    bits = attributes[:, [*columns, *rest]]
    seen, labels = np.unique(bits @ (1 << np.arange(bits.shape[1])[::-1]), return_inverse=True)
    return Task(
        attributes[:, columns], labels.astype(np.int32), len(seen), tuple(columns.tolist()), tuple(rest.tolist())
    )


def _integers(rows: list[list[str]], width: int) -> np.ndarray:
    """Read rows of `width` integers."""
    if not rows or any(len(row) != width for row in rows):
        raise ValueError(f"want a file's name and {width} numbers a line")
    return np.array(rows, dtype=np.int64)
