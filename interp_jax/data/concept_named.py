"""Data sets with concepts by name, and what models must know of each; those of one shape stacked, to share programs.

    kind, examples = concept_named.load("xor")
    for stack in concept_named.stacks({name: concept_named.load(name) for name in concept_named.NAMES[:4]}): ...

name     concepts   what
xor      2          uniform in a square; label: either side but not both
trig     3          waves of normals; label: their sum
dot      2          two vectors; label: their product
toy      3          TabularToy, waves of normals that depend on each other; label: the majority of concepts
sums     16         four handwritten digits of their own ranges; label: whether their sum is 6 or more
zoo      21         animals, 7 classes; needs the extra `data`
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks, keys
from interp_jax.core.types import Array, PyTree
from interp_jax.data import addition, concept_sets, images, zoo
from interp_jax.data.concept_sets import ConceptSet

NAMES = ("xor", "trig", "dot", "toy", "sums", "zoo")
OPERANDS = ((0, 1, 2), (0, 1, 2), (0, 1, 2, 3, 4), (0, 1, 2, 3, 4))
"""Digits of the sums, whose mean is the threshold, 6."""
SPLIT = (2100, 300, 600)
"""Examples to train on, for choices, and to test, of sets that are made."""
DRAWN = 2000
"""Fresh sums, of test images."""
ANIMALS = 34
"""Held out by each seed."""


class Examples(NamedTuple):
    """To train on, to test on, and fresh ones, more of them; of a set that each run splits, all examples each time."""

    train: ConceptSet
    test: ConceptSet
    fresh: ConceptSet


class Kind(NamedTuple):
    """What models must know of a data set; static.

    numbers: in an example. classes: 1 for a binary task. groups: of categorical concepts. held_out: examples that each
    run holds out of its own; 0 where all runs share a split.
    """

    numbers: int
    concepts: int
    classes: int = 1
    groups: tuple[tuple[int, ...], ...] = ()
    held_out: int = 0


def load(name: str, *, fresh: int = 20_000, delta: float = 0.25, digits: str = "digits") -> tuple[Kind, Examples]:
    """Draw or load a data set.

    xor, trig and dot are trained and tested on the examples of the CEM paper's code.

    Args:
        name: one of NAMES.
        fresh: how many examples beside those, of a set that is made.
        delta: covariance of the toy's concepts.
        digits: by which name `images.by_name` knows the images that are summed.

    Raises:
        ValueError: an unknown name.
    """
    checks.whole(1, fresh=fresh)
    key = keys.stream(jax.random.key(2022), name)
    if name == "zoo":
        every = zoo.load().data
        return Kind(16, len(zoo.CONCEPTS), len(zoo.CLASSES), zoo.GROUPS, ANIMALS), Examples(every, every, every)
    if name == "sums":
        split = images.by_name(digits)
        parts = {"train": (split.train, SPLIT[0]), "test": (split.test, SPLIT[2]), "fresh": (split.test, DRAWN)}
        drawn = {
            part: addition.sample(of, keys.stream(key, part), n, operands=OPERANDS, threshold=6)
            for part, (of, n) in parts.items()
        }
        numbers, groups = int(np.prod(drawn["train"].inputs.shape[1:])), addition.groups(OPERANDS)
        return Kind(numbers, sum(map(len, groups)), 1, groups), Examples(**drawn)
    makers = concept_sets.GENERATORS | {"toy": concept_sets.tabular_toy(delta)}
    if name not in makers:
        raise ValueError(f"want a data set among {[*NAMES]}, got {name!r}")
    toy = name == "toy"
    given = concept_sets.draw_split(makers[name], key, *SPLIT) if toy else concept_sets.reference_split(name)
    more = concept_sets.draw(makers[name], keys.stream(key, "fresh"), fresh)
    return Kind(given.train.inputs.shape[1], given.train.concepts.shape[1]), Examples(given.train, given.test, more)


class Stack(NamedTuple):
    """Data sets of one kind and shape. names: of them. examples: `[D, N, ...]`."""

    names: tuple[str, ...]
    kind: Kind
    examples: Examples


def stacks(loaded: Mapping[str, tuple[Kind, Examples]]) -> list[Stack]:
    """Put those data sets together that can share programs, in their order."""

    def shape(name: str) -> tuple:
        kind, examples = loaded[name]
        return kind, tuple(leaf.shape for leaf in jax.tree.leaves(examples))

    found = []
    for each in dict.fromkeys(map(shape, loaded)):
        names = tuple(name for name in loaded if shape(name) == each)
        examples = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(loaded[name][1] for name in names))
        found.append(Stack(names, each[0], examples))
    return found


def of_run(kind: Kind, stacked: Examples, place: Array, split: Array) -> Examples:
    """Give the examples of a run. place: of its data set in the stack. split: which split, where runs have their own.

    Both `[]`, of any type, as a sweep gives them.
    """
    own: PyTree = jax.tree.map(lambda leaf: leaf[place.astype(jnp.int32)], stacked)
    if not kind.held_out:
        return own
    key = keys.at(jax.random.key(2023), split.astype(jnp.int32))
    order = jax.random.permutation(key, len(own.train.labels))
    train, test = (
        jax.tree.map(lambda leaf, rows=rows: leaf[rows], own.train)
        for rows in (order[: -kind.held_out], order[-kind.held_out :])
    )
    return Examples(train, test, test)
