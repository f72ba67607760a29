"""Concepts of rendered factors, some of which go together: "is the class of this factor in its lower part".

    rules, images = factor_concepts.SPRITES, dsprites.data(64)
    pairs = factor_concepts.partners(jax.random.key(87), rules, images.sizes, gamma=2)
    data = concept_sets.draw(factor_concepts.generator(rules, images, pairs), key, 1000)

gamma pairs of factors, each with the next, depend on each other: a class of the first goes with some classes of the
second only, chosen at random among the lower ones where the first one's concept is true, and among the upper ones
otherwise (Espinosa Zarlenga et al. 2023, "Towards robust metrics"; Parisini et al. 2025). Images come from any
`FactorSet` of those factors: drawn, or looked up in the published files (`lattices.factor_set`).

The rules are those of the code of Parisini et al., with three defects mended: it drew the partners before it set its
seed; it looked a heart's shape up among its scales; and its labels are of `x < 15` where its concepts are `x < 16`. It
also thins out the lattices, to save memory, which does not matter here.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.core import checks, keys
from interp_jax.core.types import Array, Key
from interp_jax.data.concept_sets import ConceptSet, Generator
from interp_jax.data.factors import FactorSet, Sizes


class Rules(NamedTuple):
    """What the concepts and labels of a set of factors are; static.

    below: `F` classes; concept i is `1[class < below[i]]`. windows: of each pair of neighbours (how many lower, or
    upper, classes of the second come into question, how many of them go with one class of the first). label: `concepts
    [F] bool -> int`.
    """

    below: tuple[int, ...]
    windows: tuple[tuple[int, int], ...]
    label: Callable[[Array], Array]


def sprites_label(c: Array) -> Array:
    """Give one of 8 classes: of no heart its size and turn, of a heart its place.

    >>> int(sprites_label(jnp.array([True, True, False, False, True])))
    2
    """
    return jnp.where(c[0], 2 * c[1] + c[2], 4 + 2 * c[3] + c[4])


def room_label(c: Array) -> Array:
    """Give one of 12 classes: of a cube or cylinder the object's hue, size and turn, else the hues of floor and wall.

    >>> int(room_label(jnp.array([False, False, True, False, True, True])))
    9
    """
    return jnp.where(c[4], 4 + 4 * c[2] + 2 * c[3] + c[5], 2 * c[0] + c[1])


SPRITES = Rules((2, 3, 20, 16, 16), ((4, 3), (30, 20), (20, 16), (20, 16)), sprites_label)
"""Of dSprites' factors: no heart, small, turned by less than half, on the left, at the top."""
ROOM = Rules((5, 5, 5, 4, 2, 7), ((7, 5), (7, 5), (6, 4), (3, 2), (9, 7)), room_label)
"""Of Shapes3D's factors, also of our room: hues in the first half, small, cube or cylinder, turned to one side."""


def partners(key: Key, rules: Rules, sizes: Sizes, gamma: int) -> tuple[Array, ...]:
    """Choose which classes go together, for the first `gamma` pairs of neighbours: `[sizes[i], chosen]` int32 each.

    Row a holds the classes of factor i + 1 that occur with class a of factor i.
    """
    checks.whole(0, gamma=gamma)
    if gamma > len(rules.windows):
        raise ValueError(f"want gamma <= {len(rules.windows)}, the pairs of neighbours, got {gamma=}")
    found = []
    for i, (window, chosen) in enumerate(rules.windows[:gamma]):
        drawn = jax.random.split(keys.at(key, i), sizes[i])
        offsets = jax.vmap(lambda k, window=window: jax.random.permutation(k, window))(drawn)[:, :chosen]
        upper = (jnp.arange(sizes[i]) >= rules.below[i])[:, None] * (sizes[i + 1] - window)
        found.append((offsets + upper).astype(jnp.int32))
    return tuple(found)


def sample(key: Key, sizes: Sizes, pairs: tuple[Array, ...] = ()) -> Array:
    """Draw ONE combination `[F]` int32, uniform among those that `pairs` (of `partners`) allow."""
    each = jax.random.split(key, len(sizes))
    classes = [jax.random.randint(each[0], (), 0, sizes[0])]
    for i, size in enumerate(sizes[1:]):
        if i < len(pairs):  # every class has equally many partners, so one after another is uniform over all
            chex.assert_shape(pairs[i], (sizes[i], None))
            classes.append(jax.random.choice(each[i + 1], pairs[i][classes[i]]))
        else:
            classes.append(jax.random.randint(each[i + 1], (), 0, size))
    return jnp.stack(classes).astype(jnp.int32)


def concepts(rules: Rules, factors: Array) -> Array:
    """Give the concepts `[F]` bool of one combination `[F]`."""
    chex.assert_shape(factors, (len(rules.below),))
    return factors < jnp.array(rules.below)


def generator(rules: Rules, images: FactorSet, pairs: tuple[Array, ...] = ()) -> Generator:
    """Make the generator of one image with its concepts and label, for `concept_sets.draw`.

    pairs: from `partners`; () for independent factors.
    """
    if len(images.sizes) != len(rules.below):
        raise ValueError(f"want images of {len(rules.below)} factors, got {images.names}")

    def example(key: Key) -> ConceptSet:
        factors = sample(keys.stream(key, "factors"), images.sizes, pairs)
        told = concepts(rules, factors)
        image = images.render(factors, keys.stream(key, "nuisance"))
        return ConceptSet(image, told.astype(jnp.float32), rules.label(told).astype(jnp.int32))

    return example
