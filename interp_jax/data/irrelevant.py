"""Concepts that ought not to tell the label: the set-ups of "Promises and Pitfalls" (Mahinpei et al. 2021), on digits.

- `absent`: is the digit a 4, is it a 5, where it is neither; the label is its parity. The concepts are constant, and
  that is the point: what a network's soft answers tell of the parity is no concept.
- `random_concepts`: half-spaces of pixel space (its appendix C).
- `majority`: the toy of appendix D, whose concepts decide the label.
- `first_half`: digits 1 to 6, are they 1, 2, 3, and are they below 4 (appendix E): decided by the concepts.

They were read from a public re-implementation, not from the paper. Functions of labelled images run on the host.
"""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks, keys
from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array, Key
from interp_jax.data.concept_sets import ConceptSet, trigonometric
from interp_jax.data.images import Labelled


def is_digit(digits: Labelled, concepts: Sequence[int]) -> ConceptSet:
    """Ask which of some digits an image shows, one concept each; the label is the digit's parity, 1 where odd.

    >>> some = Labelled(np.zeros((3, 2, 2, 1)), np.array([4, 7, 5]))
    >>> found = is_digit(some, (4, 5))
    >>> found.concepts.tolist(), found.labels.tolist()
    ([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]], [0, 1, 1])
    """
    if not len(concepts) or len(set(concepts)) < len(concepts):
        raise ValueError(f"want different digits as concepts, at least one, got {tuple(concepts)}")
    truth = np.asarray(digits.labels)[:, None] == np.asarray(concepts)[None]
    return _typed(digits.images, truth, np.asarray(digits.labels) % 2)


def absent(digits: Labelled, concepts: Sequence[int] = (4, 5)) -> ConceptSet:
    """Leave out the images that show a concept: all concepts are 0, and no function of them tells the parity."""
    return is_digit(_only(digits, ~np.isin(digits.labels, concepts)), concepts)


def first_half(digits: Labelled) -> ConceptSet:
    """Take the digits 1 to 6: concepts "is 1", "is 2", "is 3", label `digit < 4`, the sum of the concepts."""
    kept = _only(digits, np.isin(digits.labels, range(1, 7)))
    return is_digit(kept, (1, 2, 3))._replace(labels=jnp.asarray(np.asarray(kept.labels) < 4, jnp.int32))


class HalfSpaces(NamedTuple):
    """Concepts `1[x . a_j < b_j]`. normals: `[D, k]`. offsets: `[k]`."""

    normals: Array
    offsets: Array


def random_half_spaces(key: Key, images: Array, count: int) -> HalfSpaces:
    """Draw random concepts: `a_j` uniform in the unit cube, `b_j` uniform between the least and largest `x . a_j`.

    images: `[N, ...]`, those that the offsets are to lie among. The weights are positive, so each concept asks for
    little ink, differently weighted. Apply the same ones to the images for testing; the re-implementation draws others
    for them, so that what is learnt there cannot be tested.
    """
    checks.whole(1, count=count)
    flat = images.reshape(len(images), -1)
    normals = jax.random.uniform(keys.stream(key, "normals"), (flat.shape[1], count))
    along = matmul(flat, normals)
    share = jax.random.uniform(keys.stream(key, "offsets"), (count,))
    low, high = along.min(0), along.max(0)
    return HalfSpaces(normals, low + share * (high - low))


def inside(spaces: HalfSpaces, image: Array) -> Array:
    """Give the random concepts of ONE image: `[k]` float32 of 0 and 1."""
    along = matmul(image.reshape(-1), spaces.normals)
    chex.assert_equal_shape([along, spaces.offsets])
    return (along < spaces.offsets).astype(jnp.float32)


def first_of(digits: Labelled, classes: Sequence[int], each: int) -> Labelled:
    """Take the first `each` images of some digits, or all there are, in their order."""
    checks.whole(1, each=each)
    labels = np.asarray(digits.labels)
    rows = np.concatenate([np.flatnonzero(labels == name)[:each] for name in classes])
    return _only(digits, np.isin(np.arange(len(labels)), rows))


def random_concepts(
    digits: Labelled, key: Key, count: int, *, classes: Sequence[int] = (0, 1, 6, 7), each: int = 500
) -> ConceptSet:
    """Take the first `each` images of some digits, with `count` random concepts; the label is the parity."""
    found = first_of(digits, classes, each)
    images = jnp.asarray(found.images)
    spaces = random_half_spaces(key, images, count)
    return _typed(images, jax.vmap(lambda x: inside(spaces, x))(images), np.asarray(found.labels) % 2)


def majority(key: Key) -> ConceptSet:
    """Draw one example of Trigonometric with the label `1[c_1 + c_2 + c_3 > 1]`, which its concepts decide.

    A generator for `concept_sets.draw`; the paper trains on 2,000 examples and tests on 1,000.
    """
    found = trigonometric(key)
    return found._replace(labels=(found.concepts.sum() > 1).astype(jnp.int32))


def _only(digits: Labelled, rows: np.ndarray) -> Labelled:
    if not rows.any():
        raise ValueError(f"want images of other digits among them, got {np.unique(digits.labels).tolist()} only")
    return Labelled(np.asarray(digits.images)[rows], np.asarray(digits.labels)[rows])


def _typed(images: object, concepts: object, labels: object) -> ConceptSet:
    return ConceptSet(
        jnp.asarray(images, jnp.float32), jnp.asarray(concepts, jnp.float32), jnp.asarray(labels, jnp.int32)
    )
