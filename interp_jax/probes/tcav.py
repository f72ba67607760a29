"""Testing with concept activation vectors: does an answer rise along a concept, beyond chance (Kim et al. 2018)?

    slopes = gradients(head, params, acts, label)              # [M, D], of activations of one class
    found = scores(slopes, acts_c, concepts, key, permutations=500)
    tests = significance(found)                                # statistic, p and adjusted p of each concept

A concept's vector separates activations that show it from others (`linear.cav`); its TCAV score is the share of a
class's examples whose logit rises along it. The paper compares scores from many random sets with a t-test. Those runs
share examples, so that test is too sure of itself, and scores of random directions are not spread about one half: where
the gradient hardly differs between examples they pile up at 0 and 1. Here the LABELS of the concepts are dealt anew,
all concepts of an example together, and the vectors fitted again: under the null that activations do not tell the
concept, dealt and true labels are exchangeable, so the p-values are exact whatever the distribution, and their maximum
over concepts (max-T) accounts for all that are looked at, dependence included.

What is tested: this vector moves the answer more than one fitted to dealt labels does. That needs the concept to be in
the activations AND the answer to change along it. It is no proof that the network uses the concept: a vector that is
correlated with what it uses does as well. Relative vectors, that separate a concept from its rivals and not from
everything, are the same on rows that show one of them.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks, multiplicity
from interp_jax.core.linalg import matmul
from interp_jax.core.multiplicity import MaxT
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.linear import cav, ridge, svm

Head = Callable[[PyTree, Array], Array]
"""The rest of the network: `(params, activation [D]) -> logits [C]`."""
Directions = Callable[[Array, Array], Array]
"""Vectors of many labellings at once: `(x [N, D], labels [N, M]) -> [M, D]`, of length one."""
Statistic = Callable[[Array, Array], Array]
"""What is tested: `(slopes [M, D], directions [k, D]) -> [k]`, 0 for what has no direction of effect."""


class Scores(NamedTuple):
    """The statistic of each concept, `[k]`, and with dealt labels, `[P, k]`. directions: `[k, D]`."""

    observed: Array
    dealt: Array
    directions: Array


def gradients(head: Head, params: PyTree, activations: Array, label: ArrayLike) -> Array:
    """Give the gradient of a class's logit at each activation `[M, D]`: `[M, D]` (Kim et al. 2018, eq. 1)."""
    chex.assert_rank(activations, 2)
    return jax.vmap(jax.grad(lambda x: head(params, x)[label]))(activations)


def share_positive(slopes: Array, directions: Array) -> Array:
    """Give the TCAV score (eq. 2) less 1/2: in [-1/2, 1/2], a slope of zero counting as half.

    >>> share_positive(jnp.array([[1.0], [2.0], [-1.0], [0.0]]), jnp.array([[1.0]])).item()
    0.125
    """
    along = matmul(slopes, directions.T)
    known = jnp.isfinite(along).all(0)
    return jnp.where(known, jnp.mean(jnp.sign(along), 0) / 2, jnp.nan)


def mean_slope(slopes: Array, directions: Array) -> Array:
    """Give the mean directional derivative as a share of the mean length of gradients: in [-1, 1].

    It has no ties, and knows how much; the share of signs calls a slope of 1e-9 an effect.
    """
    size = jnp.mean(jnp.sqrt(jnp.sum(slopes**2, 1)))
    return jnp.mean(matmul(slopes, directions.T), 0) / jnp.where(size > 0, size, 1)


def least_squares(alpha: ArrayLike = 10.0) -> Directions:
    """Make vectors by shrunk linear discriminants, of all labellings from one factorisation of the activations.

    alpha: ridge penalty on the sum of squares, as in `cav.discriminant`, whose vectors these are.
    """

    def directions(x: Array, labels: Array) -> Array:
        weight = ridge.fit(x, 2 * (labels > 0) - 1.0, alpha, method=ridge.gram).weight
        length = jnp.sqrt(jnp.sum(weight**2, 0))
        return (weight / length[None]).T  # NaN where the labels are all alike

    return directions


def each_by(method: cav.Method = svm.fit_hinge, alpha: ArrayLike = 10.0) -> Directions:
    """Make vectors by any fit of one label, one labelling after another."""

    def directions(x: Array, labels: Array) -> Array:
        return jax.lax.map(lambda y: cav.fit(x, y, alpha, method=method).direction, labels.T)

    return directions


def scores(
    slopes: Array,
    x: Array,
    concepts: Array,
    key: Key,
    *,
    permutations: int,
    directions: Directions | None = None,
    statistic: Statistic = mean_slope,
) -> Scores:
    """Score concepts on a class, with their own labels and with dealt ones.

    Args:
        slopes: `[M, D]` of `gradients`, of examples of one class.
        x: `[N, D]`, activations that concepts are fitted to: other examples than those of `slopes`.
        concepts: `[N, k]`, 1 where the concept shows, else 0; one with labels all alike is NaN.
        key: of the permutations of rows.
        permutations: P; the least p-value is `1 / (P + 1)`.
        directions: how vectors are made, `least_squares()` by default.
        statistic: `mean_slope`, or `share_positive` for the paper's score.
    """
    checks.whole(1, permutations=permutations)
    chex.assert_rank([slopes, x, concepts], 2)
    chex.assert_equal_shape_suffix([slopes, x], 1)
    chex.assert_equal_shape_prefix([x, concepts], 1)
    make = least_squares() if directions is None else directions
    orders = jax.vmap(lambda key: jax.random.permutation(key, len(x)))(jax.random.split(key, permutations))
    dealt = jnp.moveaxis(concepts[orders], 0, 1)  # [N, P, k]
    every = jnp.concatenate([concepts[:, None], dealt], 1).reshape(len(x), -1)
    vectors = make(x, every)
    found = statistic(slopes, vectors).reshape(permutations + 1, -1)
    return Scores(found[0], found[1:], vectors[: concepts.shape[1]])


def significance(found: Scores) -> MaxT:
    """Test all concepts at once, two-sided; on the host.

    Statistics are divided by their root mean square over dealt labels, so that concepts with few examples, whose
    vectors scatter more or less than others', have equal parts in the maximum.

    Raises:
        ValueError: a concept without a score, by number.
    """
    observed, dealt = np.asarray(found.observed, float), np.asarray(found.dealt, float)
    bad = np.flatnonzero(~np.isfinite(observed) | ~np.isfinite(dealt).all(0))
    if bad.size:
        raise ValueError(f"want concepts that show in some examples and not in all, got none for {bad.tolist()}")
    scale = np.sqrt(np.mean(np.concatenate([observed[None], dealt]) ** 2, 0))
    scale = np.where(scale > 0, scale, 1.0)
    return multiplicity.max_t_drawn(np.abs(observed) / scale, np.abs(dealt) / scale)
