"""Data whose concepts are known: XOR, Trigonometric and Dot (Espinosa Zarlenga et al. 2022, A.3), and TabularToy.

A generator draws ONE example from a key; `draw(generator, key, n)` draws a set of any size. The examples that the CEM
paper's code trains and tests on come from `reference_split`.
"""

from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key, Numpy


class ConceptSet(NamedTuple):
    """inputs: `[N, ...]`. concepts: `[N, k]` float32 in [0, 1], NaN where unknown. labels: `[N]` int32.

    A generator's one example has no leading axis.
    """

    inputs: Array
    concepts: Array
    labels: Array


class ConceptSplit(NamedTuple):
    """What is trained on, what choices are made on, what is reported."""

    train: ConceptSet
    validation: ConceptSet
    test: ConceptSet


Generator = Callable[[Key], ConceptSet]


def checked(data: ConceptSet, *, classes: int = 2) -> ConceptSet:
    """Give data of one's own back if a model can be trained on them; inside `jit` a wrong label would only be NaN.

    Raises:
        ValueError: other numbers of inputs, concepts and labels, none, inputs that are not finite, a concept that is
            neither in [0, 1] nor NaN (unknown), a label outside `0 .. classes - 1`, labels all of one class.
    """
    checks.whole(2, classes=classes)
    inputs, concepts, labels = (np.asarray(part) for part in data)
    if concepts.ndim != 2 or labels.ndim != 1 or not len(inputs) == len(concepts) == len(labels) > 0:
        shapes = f"{inputs.shape}, {concepts.shape} and {labels.shape}"
        raise ValueError(f"want inputs [N, ...], concepts [N, k] and labels [N], got {shapes}")
    if not np.isfinite(inputs).all():
        raise ValueError(f"want finite inputs, got {np.sum(~np.isfinite(inputs))} entries that are not")
    checks.entries(0, 1, concepts=np.where(np.isnan(concepts), 0, concepts))
    checks.entries(0, classes - 1, labels=labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"want labels of an integer type, got {labels.dtype}")
    if len(present := np.unique(labels)) < 2:
        raise ValueError(f"want labels of at least two classes, got {present[0]} only")
    return data


def draw(generator: Generator, key: Key, n: int) -> ConceptSet:
    """Draw a set of `n` independent examples.

    >>> draw(xor, jax.random.key(0), 5).inputs.shape
    (5, 2)
    """
    checks.whole(1, n=n)
    return jax.vmap(generator)(jax.random.split(key, n))


def draw_split(generator: Generator, key: Key, train: int, validation: int, test: int) -> ConceptSplit:
    """Draw three sets of independent examples."""
    sizes = {"train": train, "validation": validation, "test": test}
    return ConceptSplit(**{name: draw(generator, keys.stream(key, name), n) for name, n in sizes.items()})


def xor(key: Key) -> ConceptSet:
    """Draw one example of XOR: x uniform in the unit square, `c_i = 1[x_i > 1/2]`, label `c_1 xor c_2`.

    The concepts are complete, but no linear function of them is the label.
    """
    return _typed(*_xor(jax.random.uniform(key, (2,)), jnp))


def trigonometric(key: Key) -> ConceptSet:
    """Draw one example of Trigonometric: h of three normals of deviation 2, `c_i = 1[h_i > 0]`, label `1[sum h > 1]`.

    The seven inputs are `sin h_i + h_i, cos h_i + h_i` in turn, and `|h|^2`. The peer's code has this label; its paper
    says `1[h_1 + h_2 > 0]`. The concepts are incomplete: they tell the label of 5 examples in 6 or so.
    """
    return _typed(*_trigonometric(2 * jax.random.normal(key, (3,)), jnp))


def dot(key: Key) -> ConceptSet:
    """Draw one example of Dot: two vectors v, w of normals of deviation 2, label `1[v . w > 0]`.

    The inputs are `(v + w, v - w)`, the concepts `1[v_1 + v_2 > 0]` and `1[w_1 + w_2 < 0]`, which say little about the
    label, and nothing to a linear function.
    """
    v, w = 2 * jax.random.normal(key, (2, 2))
    return _typed(*_dot(v, w, jnp))


def tabular_toy(delta: ArrayLike, count: int = 3) -> Generator:
    """Make the generator of TabularToy(delta): the inputs of `trigonometric`, concepts that may depend on each other.

    h is normal with variances 1 and covariances `delta`, in [-1/2, 1]; `c_i = 1[h_i > 0]`, label `1[c_1 + c_2 + c_3 >=
    2]`, which the concepts decide (Espinosa Zarlenga et al. 2023, "Towards robust metrics").

    count: of concepts, 3 in the paper, where covariances are at least -1 / (count - 1). The label is the majority's, 0
    where it is even; a part of the concepts does not decide it.

    >>> draw(tabular_toy(0.25), jax.random.key(0), 4).labels.shape
    (4,)
    """
    checks.whole(2, count=count)
    checks.between(-1 / (count - 1), 1, delta=delta)

    def example(key: Key) -> ConceptSet:
        free = jax.random.normal(key, (count,))
        mean = free.mean(keepdims=True)
        h = jnp.sqrt(1 - delta) * (free - mean) + jnp.sqrt(1 + (count - 1) * delta) * mean
        inputs, concepts, _ = _trigonometric(h, jnp)
        return _typed(inputs, concepts, 2 * concepts.sum() > count)

    return example


def check(data: ConceptSet, *, classes: int = 1) -> ConceptSet:
    """Give a set back if a concept model with `classes` logits can learn from it; 1 is a binary task.

    A concept may be missing everywhere, or be always the same: some experiments need that.

    Raises:
        ValueError: no concept, arrays that do not belong together, concept labels outside [0, 1] (NaN is a missing
            one), classes that the model does not have, or examples of one class only.
    """
    checks.whole(1, classes=classes)
    concepts, labels = np.asarray(data.concepts), np.asarray(data.labels)
    if concepts.ndim != 2 or labels.ndim != 1 or not len(data.inputs) == len(concepts) == len(labels) > 0:
        shapes = f"{np.shape(data.inputs)}, {concepts.shape} and {labels.shape}"
        raise ValueError(f"want inputs [N, ...], concepts [N, k] and labels [N], got shapes {shapes}")
    if concepts.shape[1] == 0:
        raise ValueError("want at least one concept, got concepts of shape [N, 0]")
    checks.entries(0, 1, concepts=concepts[~np.isnan(concepts)])
    checks.entries(0, max(classes, 2) - 1, labels=labels)
    if len(found := np.unique(labels)) == 1:
        raise ValueError(f"want examples of at least two classes, got labels that are all {found[0]}")
    return data


GENERATORS: dict[str, Generator] = {"xor": xor, "trig": trigonometric, "dot": dot}
"""The data sets of the CEM paper's tables that are made, by the names of its code."""


def reference_split(name: str) -> ConceptSplit:
    """Give the very examples of the CEM paper's code: 2100 to train on, 300 for validation, 600 to test.

    Drawn in float64 by NumPy's legacy generator from seed 42, in the order train, TEST, validation. The classes in the
    test examples are as in the paper's tables, where two rows are the share of class 0: 308 of 600 on XOR, 288 of 600
    on Dot.

    name: "xor", "trig" or "dot".
    """
    if name not in GENERATORS:
        raise ValueError(f"want a name among {[*GENERATORS]}, got {name!r}")
    legacy = np.random.RandomState(42)
    train, test, validation = (_reference(name, legacy, n) for n in (2100, 600, 300))
    return ConceptSplit(train, validation, test)


def _reference(name: str, legacy: np.random.RandomState, n: int) -> ConceptSet:
    """Draw the next `n` examples of the reference's stream."""
    if name == "xor":
        parts = _xor(legacy.uniform(0, 1, (n, 2)), np)
    elif name == "trig":
        parts = _trigonometric(legacy.normal(0, 2, (n, 3)), np)
    else:
        v = legacy.randn(n, 2) * 2  # all of v come before all of w
        parts = _dot(v, legacy.randn(n, 2) * 2, np)
    return _typed(*parts)


Parts = tuple[Array | Numpy, Array | Numpy, Array | Numpy]


def _xor(x: Array | Numpy, xp: ModuleType) -> Parts:
    concepts = x > 0.5
    return x, concepts, xp.logical_xor(concepts[..., 0], concepts[..., 1])


def _trigonometric(h: Array | Numpy, xp: ModuleType) -> Parts:
    waves = xp.stack([xp.sin(h) + h, xp.cos(h) + h], -1).reshape(*h.shape[:-1], 2 * h.shape[-1])
    return xp.concatenate([waves, (h**2).sum(-1, keepdims=True)], -1), h > 0, h.sum(-1) > 1


def _dot(v: Array | Numpy, w: Array | Numpy, xp: ModuleType) -> Parts:
    concepts = xp.stack([v.sum(-1) > 0, -w.sum(-1) > 0], -1)
    return xp.concatenate([v + w, v - w], -1), concepts, (v * w).sum(-1) > 0


def _typed(inputs: Array | Numpy, concepts: Array | Numpy, labels: Array | Numpy) -> ConceptSet:
    return ConceptSet(
        jnp.asarray(inputs, jnp.float32), jnp.asarray(concepts, jnp.float32), jnp.asarray(labels, jnp.int32)
    )
