"""The zoo (Forsyth 1990): 101 animals, 16 attributes, 7 classes; a small real set that people wrote concepts for.

It is read from the file that Orange's package carries (the extra `data`), and none of its code is run. The attributes
tell the class (59 different rows, each of one class), so `incomplete.keep` makes sets whose concepts do not. The names
of the animals are not unique: there are two frogs, one of them venomous.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from interp_jax.data import files
from interp_jax.data.concept_sets import ConceptSet

ATTRIBUTES = (
    "hair", "feathers", "eggs", "milk", "airborne", "aquatic", "predator", "toothed", "backbone", "breathes",
    "venomous", "fins", "legs", "tail", "domestic", "catsize",
)  # fmt: skip
CLASSES = ("amphibian", "bird", "fish", "insect", "invertebrate", "mammal", "reptile")
LEGS = (0, 2, 4, 5, 6, 8)
_AT = ATTRIBUTES.index("legs")
CONCEPTS = (*ATTRIBUTES[:_AT], *(f"{legs} legs" for legs in LEGS), *ATTRIBUTES[_AT + 1 :])
"""The concepts' names: the number of legs is a categorical one."""
GROUPS = (tuple(range(_AT, _AT + len(LEGS))),)


class Zoo(NamedTuple):
    """data: inputs `[101, 16]`, the attributes, legs by eighths; concepts `[101, 21]`, as CONCEPTS; labels of CLASSES.

    animals: their names, in the same order.
    """

    data: ConceptSet
    animals: tuple[str, ...]


def load() -> Zoo:
    """Read the zoo.

    Checked: the columns' names, that attributes are 0 or 1, legs and classes known, 101 animals.
    """
    path = files.packaged("Orange", "datasets/zoo.tab", wants="data.zoo.load", extra="data")
    with files.opened(path) as file:
        header, *rows = [line.split("\t") for line in file.read().decode("utf-8").splitlines()]
        if header != ["name", *ATTRIBUTES, "type"]:
            raise ValueError(f"want columns name, {', '.join(ATTRIBUTES)}, type, got {', '.join(header)}")
        animals = [_animal(row) for row in rows[2:]]  # after the columns' kinds and roles
        if len(animals) != 101:
            raise ValueError(f"want 101 animals, got {len(animals)}")
    attributes = np.array([values for _, values, _ in animals], np.float32)
    legs = attributes[:, _AT, None] == np.array(LEGS, np.float32)
    told = np.concatenate([attributes[:, :_AT], legs, attributes[:, _AT + 1 :]], 1).astype(np.float32)
    scale = np.where(np.arange(len(ATTRIBUTES)) == _AT, np.float32(1 / 8), np.float32(1))
    labels = np.array([CLASSES.index(name) for *_, name in animals], np.int32)
    data = ConceptSet(jnp.asarray(attributes * scale), jnp.asarray(told), jnp.asarray(labels))
    return Zoo(data, tuple(name for name, *_ in animals))


def _animal(row: list[str]) -> tuple[str, list[int], str]:
    """Read one row: name, attributes, class."""
    allowed = [(*map(str, LEGS),) if name == "legs" else ("0", "1") for name in ATTRIBUTES]
    if len(row) != len(ATTRIBUTES) + 2 or row[-1] not in CLASSES:
        raise ValueError(f"want a name, {len(ATTRIBUTES)} attributes and a class, got {' '.join(row)!r}")
    for name, value, known in zip(ATTRIBUTES, row[1:-1], allowed, strict=True):
        if value not in known:
            raise ValueError(f"want {name} among {', '.join(known)}, got {value!r} of {row[0]!r}")
    return row[0], [int(value) for value in row[1:-1]], row[-1]
