"""MNIST-Add: several digits in one example; concepts say which digits they are, the label whether their sum is large.

    picked = addition.draw(split.train.labels, key, 10_000)                     # which images, of whatever digits
    x = addition.picture(images, picked.rows[i])                                # [H, W, operands], inside jit

The set-up of the CEM repository, on any labelled digits. There the images are transposed and all randomness is NumPy's
global state; neither is so here.
"""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.data.images import Labelled

Operands = Sequence[Sequence[int]]
"""The digits that each operand may show."""
PEER: Operands = ((0, 1, 2),) * 4 + (tuple(range(5)),) * 4 + (tuple(range(10)),) * 4
"""The twelve operands of its `mnist_add.yaml`, 72 concepts; the mean of their sum is 30, its threshold."""
THRESHOLD = 30


class Sums(NamedTuple):
    """rows: `[N, O]` int32, the images by number. concepts: `[N, k]` float32. labels: `[N]` int32."""

    rows: Array
    concepts: Array
    labels: Array


def groups(operands: Operands = PEER) -> tuple[tuple[int, ...], ...]:
    """Give the categorical concepts: one group for each operand of three digits or more.

    >>> groups(((0, 1, 2), (4, 9), (1, 3, 5)))
    ((0, 1, 2), (4, 5, 6))
    """
    found, start = [], 0
    for digits in _checked(operands):
        width = len(digits) if len(digits) > 2 else 1
        found += [tuple(range(start, start + width))] if width > 1 else []
        start += width
    return tuple(found)


def concepts(shown: ArrayLike, operands: Operands = PEER) -> Array:
    """Give the concepts `[k]` of the digits `[O]` that are shown.

    Of an operand of three digits or more which of them it is, one concept each; of two, whether it is the larger.

    >>> concepts([1, 9], ((0, 1, 2), (4, 9))).tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    each = jnp.asarray(shown)
    chex.assert_shape(each, (len(operands),))
    parts = [
        each[i][None] == (jnp.array(digits) if len(digits) > 2 else max(digits))
        for i, digits in enumerate(_checked(operands))
    ]
    return jnp.concatenate(parts).astype(jnp.float32)


def draw(labels: ArrayLike, key: Key, n: int, *, operands: Operands = PEER, threshold: int | None = THRESHOLD) -> Sums:
    """Draw `n` examples: each operand's image uniform among those of its digits, with replacement; on the host.

    labels: `[M]`, the digits that the images show. threshold: the label is `1[sum >= threshold]`; the sum itself if
    None.

    Raises:
        ValueError: an operand without digits, with fewer than two, or with one that no image shows.
    """
    checks.whole(1, n=n)
    shown = np.asarray(labels)
    chex.assert_rank(shown, 1)
    columns = []
    for i, digits in enumerate(_checked(operands)):
        if missing := sorted(set(digits) - set(shown.tolist())):
            raise ValueError(f"want images of every digit of an operand, got none of {missing[0]}")
        candidates = jnp.asarray(np.flatnonzero(np.isin(shown, digits)), jnp.int32)
        columns.append(jax.random.choice(keys.at(key, i), candidates, (n,)))
    rows = jnp.stack(columns, 1)
    digits_shown = jnp.asarray(shown, jnp.int32)[rows]
    total = digits_shown.sum(1)
    told = jax.vmap(lambda each: concepts(each, operands))(digits_shown)
    return Sums(rows, told, total if threshold is None else (total >= threshold).astype(jnp.int32))


def picture(images: Array, rows: Array) -> Array:
    """Lay the images `[O]` of ONE example behind each other: `[M, H, W, 1]` -> `[H, W, O]`."""
    chex.assert_rank([images, rows], [4, 1])
    return jnp.moveaxis(images[rows, :, :, 0], 0, -1)


def sample(
    digits: Labelled, key: Key, n: int, *, operands: Operands = PEER, threshold: int | None = THRESHOLD
) -> ConceptSet:
    """Draw `n` examples with their pictures `[n, H, W, O]`; twelve operands of MNIST take 38 KB an example."""
    found = draw(digits.labels, key, n, operands=operands, threshold=threshold)
    images = jnp.asarray(digits.images)
    return ConceptSet(jax.vmap(lambda rows: picture(images, rows))(found.rows), found.concepts, found.labels)


def _checked(operands: Operands) -> Operands:
    if not operands:
        raise ValueError("want at least one operand, got none")
    for digits in operands:
        if len(set(digits)) < max(len(digits), 2):
            raise ValueError(f"want at least two different digits for each operand, got {tuple(digits)}")
    return operands
