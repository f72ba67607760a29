"""Read CUB-200-2011 (Wah et al. 2011) from its folder: 11,788 birds, 200 species, 312 attributes, how sure people were.

    birds = cub.load(side=64)
    voted = cub.by_species(birds)                                               # as the CBM paper's concepts
    train = photos.chosen(birds.photos, voted.concepts, birds.labels, birds.training)

Nothing here fetches anything. The folder holds `CUB_200_2011` and `attributes.txt`, as the published archive does.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from interp_jax.core import checks
from interp_jax.data import files, images
from interp_jax.data.photos import Photos

PEOPLE = ("not visible", "guessing", "probably", "definitely")
"""How sure: 1 to 4 in the files."""
SURE = np.array([[0, 0.5, 0.25, 0], [0, 0.5, 0.75, 1]], np.float32)
"""The CBM paper's probability of an attribute, by whether it was marked and how sure."""


@dataclass(frozen=True)
class Birds:
    """photos: all, in the order of the files. labels: `[N]` int32, species from 0. training: `[N]` bool, as published.

    attributes: `[N, 312]` bool, what one person marked. certainty: `[N, 312]` uint8, 1 to 4 (PEOPLE). names: of the
    attributes, "has_bill_shape::dagger". species: their names.
    """

    photos: Photos
    labels: np.ndarray
    training: np.ndarray
    attributes: np.ndarray
    certainty: np.ndarray
    names: tuple[str, ...]
    species: tuple[str, ...]


class Voted(NamedTuple):
    """Attributes of species. columns: `[k]`, which were kept. table: `[species, k]` bool. concepts: `[N, k]` bool."""

    columns: np.ndarray
    table: np.ndarray
    concepts: np.ndarray


def load(folder: str | os.PathLike | None = None, *, side: int = 299) -> Birds:
    """Read the lists, and prepare the photographs at `side` x `side` pixels; see `images.find` for the default folder.

    Checked: that all lists are of the same images and attributes, each once and in order, and that marks are 0 or 1,
    certainties 1 to 4 and species known. A photograph that is missing is named when it is decoded.
    """
    top = images.find("cub", folder)
    place = top / "CUB_200_2011" if (top / "CUB_200_2011").is_dir() else top
    paths = _named(place, "images.txt")
    species = _named(place, "classes.txt")
    attributes = place if (place / "attributes.txt").is_file() else place.parent
    names = _named(attributes, "attributes.txt")
    labels = _numbers(place, "image_class_labels.txt", (len(paths),), 1, len(species))
    training = _numbers(place, "train_test_split.txt", (len(paths),), 0, 1)
    marked, sure = _marks(place, (len(paths), len(names)))
    return Birds(
        Photos(tuple(place / "images" / path for path in paths), side), (labels - 1).astype(np.int32),
        training.astype(bool), marked.astype(bool), sure.astype(np.uint8), names, species,
    )  # fmt: skip


def probabilities(birds: Birds, *, unseen: float = 0.0) -> np.ndarray:
    """Give each image's attributes `[N, 312]` float32 as probabilities, from what was marked and how sure (SURE).

    unseen: the value of what was not visible and not marked; NaN leaves it out of losses and scores.
    """
    sure = SURE.copy()
    sure[0, 0] = unseen
    return sure[birds.attributes.astype(int), birds.certainty.astype(int) - 1]


def by_species(birds: Birds, *, at_least: int = 10) -> Voted:
    """Let the training images vote on the attributes of their species, and keep those of `at_least` species.

    What was not visible and not marked does not vote; a tie counts as present. In the CBM paper this leaves 112
    attributes. Its code takes a random fifth of the training images for validation first and lets only the others vote,
    so that an attribute near the limit may fall otherwise; here all of them vote.

    Raises:
        ValueError: nothing is left.
    """
    checks.whole(1, at_least=at_least)
    votes = birds.training[:, None] & (birds.attributes | (birds.certainty > 1))
    counts = np.zeros((2, len(birds.species), len(birds.names)), int)
    for value in (0, 1):
        np.add.at(counts[value], birds.labels, votes & (birds.attributes == value))
    present = counts[1] >= counts[0]
    columns = np.flatnonzero(present.sum(0) >= at_least)
    if not len(columns):
        raise ValueError(f"want attributes of {at_least=} species or more, got none")
    table = present[:, columns]
    return Voted(columns, table, table[birds.labels])


def groups(names: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Give the attributes that ask the same question, for interventions; they are no categorical concepts.

    Several may be true, and none.

    >>> groups(("has_size::small", "has_eye_color::red", "has_size::large"))
    {'has_size': (0, 2), 'has_eye_color': (1,)}
    """
    found: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        found.setdefault(name.split("::")[0], []).append(i)
    return {question: tuple(places) for question, places in found.items()}


def _hint() -> str:
    return (
        "put CUB-200-2011 there (the folder CUB_200_2011 and attributes.txt), or set INTERP_JAX_DATA to the folder "
        "that holds cub/, or pass the folder"
    )


def _named(place: Path, file: str) -> tuple[str, ...]:
    """Read lines "number name", numbered from 1."""
    path = files.present(place, file, _hint())
    with files.opened(path) as content:
        lines = [line.split(maxsplit=1) for line in content.read().decode("utf-8").splitlines() if line.strip()]
        if not lines or [line[0] for line in lines] != [str(i + 1) for i in range(len(lines))]:
            raise ValueError("want lines with a number from 1 on and a name")
        if any(len(line) < 2 for line in lines):
            raise ValueError("want a name after every number")
    return tuple(line[1].strip() for line in lines)


def _numbers(place: Path, file: str, shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
    """Read lines "number value", numbered from 1."""
    path = files.present(place, file, _hint())
    with files.opened(path) as content:
        found = np.loadtxt(content, dtype=int, ndmin=2)
        if found.shape != (*shape, 2) or (found[:, 0] != np.arange(1, shape[0] + 1)).any():
            raise ValueError(f"want {shape[0]} lines, numbered from 1, with one value, got shape {found.shape}")
        checks.entries(low, high, values=found[:, 1])
    return found[:, 1]


def _marks(place: Path, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Read lines "image attribute present certainty time"; a few lines of the published file have a column more."""
    path = files.present(place, "attributes/image_attribute_labels.txt", _hint())
    with files.opened(path) as content:
        found = np.loadtxt(content, dtype=np.int32, usecols=(0, 1, 2, 3), ndmin=2)
        rows = np.indices(shape).reshape(2, -1).T + 1
        if found.shape != (len(rows), 4) or (found[:, :2] != rows).any():
            raise ValueError(f"want a line for each of {shape[0]} images x {shape[1]} attributes, in order")
        checks.entries(0, 1, marks=found[:, 2])
        checks.entries(1, 4, certainties=found[:, 3])
    return found[:, 2].reshape(shape), found[:, 3].reshape(shape)
