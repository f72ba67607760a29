"""Concept activation vectors: the direction in which activations that show a concept lie (Kim et al. 2018).

    bank = jax.vmap(lambda y: cav.fit(x, y), 1)(labels)             # x [N, D], labels [N, k]: k concepts
    cav.margins(bank, x)                                            # [N, k], distances from each boundary

A linear fit separates activations that show the concept (y = 1) from others (y = 0); its weight, brought to length one,
is the vector. A method is any fit of one label: `svm.fit_hinge` (libsvm's, of the post-hoc bottlenecks), `svm.fit`,
`logistic.fit`, or, in closed form and some hundred times as fast, `discriminant` and `difference_of_means`. Banks,
seeds and layers are leading axes, by `vmap`.

A direction that tells examples apart means little on its own: of many random ones in a wide layer some do. Score it on
other examples (`accuracy`), beside the same fit of shuffled labels (`null`) or a random direction (`along`).
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.linalg import add_row, matmul
from interp_jax.core.types import Array, ArrayLike, Key
from interp_jax.linear import ridge, svm
from interp_jax.linear.fits import LinearFit, prepare, seal

Method = Callable[..., LinearFit]
"""`(x [N, D], y [N], alpha, weights=[N]) -> LinearFit` of one label."""


class Side(NamedTuple):
    """Margins of the fitted examples on one side, in units of activation: mean, least and largest, `[]` each."""

    mean: Array
    low: Array
    high: Array


class CAV(NamedTuple):
    """One concept, or with leading axes a bank.

    direction: `[D]`, of length one; NaN where the fit has none. offset: `[]`, so that `direction @ x + offset` is the
    signed distance of `x` from the boundary. positive, negative: of the examples it was fitted to. converged: `[]`.
    """

    direction: Array
    offset: Array
    positive: Side
    negative: Side
    converged: Array


def fit(
    x: Array, y: Array, alpha: ArrayLike = 10.0, *, method: Method = svm.fit_hinge, weights: Array | None = None
) -> CAV:
    """Fit the vector of one concept.

    By default libsvm's `SVC(kernel="linear", C=0.1)`, as Yuksekgonul et al. (2023) and Abid et al. (2022), who also
    try C = 0.01 and choose by held-out accuracy. Their offsets are `intercept / |v|`, as here.

    x: `[N, D]`. y: `[N]`, 1 where the concept shows, else 0. alpha: `[]`, of the method: 1 / C. weights: `[N]`, zero
    deletes a row. With one kind of example only, or if no direction tells them apart, the vector is NaN.

    >>> x = jnp.array([[-2.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [3.0, 0.0]])
    >>> found = jax.jit(fit)(x, jnp.array([0, 0, 1, 1]), 0.1)
    >>> found.direction.round(3).tolist(), round(found.positive.high.item(), 2)
    ([1.0, 0.0], 3.0)
    """
    chex.assert_rank([x, y], [2, 1])
    found = method(x, y, alpha, weights=weights)
    chex.assert_shape(found.weight, (x.shape[1], 1))
    weight = found.weight[:, 0]
    level = found.level[0] - matmul(found.centre, weight)
    return _measured(weight, level, x, y, weights, found.converged)


def along(direction: Array, x: Array, y: Array, *, weights: Array | None = None) -> CAV:
    """Take a direction as it is, with the boundary midway between the means: what a random vector does.

    direction: `[D]`, any length. x, y, weights: as in `fit`.
    """
    chex.assert_rank([direction, x, y], [1, 2, 1])
    rows = prepare(x, y, 0.0, weights)
    means = [_mean(matmul(rows.x, direction), side) for side in _sides(rows.y[:, 0], rows.weights)]
    return _measured(direction, -(means[0] + means[1]) / 2, x, y, weights, rows.valid)


def difference_of_means(x: Array, y: Array, alpha: ArrayLike = 0.0, *, weights: Array | None = None) -> LinearFit:
    """Fit the mean of one side less that of the other, the boundary midway: a method without tuning.

    The optimum of linear discrimination where all directions vary alike. alpha: ignored.
    """
    rows = prepare(x, y, alpha, weights)
    sides = _sides(rows.y[:, 0], rows.weights)
    one, other = (matmul(side, rows.x) / jnp.sum(side) for side in sides)
    found = LinearFit(
        (one - other)[:, None], jnp.zeros(1, one.dtype), (one + other) / 2,
        jnp.isfinite(one - other).all(), jnp.int32(0), jnp.zeros((), one.dtype),
    )  # fmt: skip
    return seal(found, rows.valid)


def discriminant(x: Array, y: Array, alpha: ArrayLike = 10.0, *, weights: Array | None = None) -> LinearFit:
    """Fit Fisher's linear discriminant, shrunk: least squares of the labels -1 and 1 with a ridge penalty.

    alpha: on the sum of squares, as in `ridge.fit`; above 0 where there are fewer rows than features.
    """
    rows = prepare(x, y, alpha, weights)
    found = ridge.fit(x, 2 * (y > 0) - 1.0, alpha, weights=weights, method=ridge.gram)
    both = [jnp.sum(side) > 0 for side in _sides(rows.y[:, 0], rows.weights)]
    return seal(found, rows.valid & both[0] & both[1])


def margins(bank: CAV, x: Array) -> Array:
    """Give the signed distances of examples from the boundaries of a bank: `[..., D] -> [..., k]`.

    `(v . x + b) / |v|`, the projection of post-hoc bottlenecks (Yuksekgonul et al. 2023, section 2.2, which leaves b
    out; their code has it). Its error is some roundings of |x|, so subtract a mean that is far from zero beforehand.
    """
    chex.assert_rank([bank.direction, bank.offset], [2, 1])
    return add_row(matmul(x, bank.direction.T), bank.offset)


def accuracy(cav: CAV, x: Array, y: Array, *, weights: Array | None = None) -> Array:
    """Give the accuracy of one concept on examples, the mean of that on either side, `[]`: 1/2 by chance.

    NaN where one side is empty, and for a vector that is NaN.
    """
    found = matmul(x, cav.direction) + cav.offset
    right = ((found > 0) == (y > 0)).astype(found.dtype)
    weights = jnp.ones_like(found) if weights is None else weights
    shares = [_mean(right, side) for side in _sides(y, weights)]
    return jnp.where(jnp.isfinite(cav.offset), (shares[0] + shares[1]) / 2, jnp.nan)


def null(
    train: tuple[Array, Array],
    test: tuple[Array, Array],
    key: Key,
    alpha: ArrayLike = 10.0,
    *,
    permutations: int,
    method: Method = svm.fit_hinge,
) -> Array:
    """Give accuracies of fits where labels are shuffled, `[permutations]`: what one concept's accuracy is held to.

    train, test: `(x [N, D], y [N])` each. Labels are shuffled in both, as many of either kind as there were: were those
    of test examples left alone, half of all vectors would do well by luck wherever the concept is the largest
    direction, and a perfect one would not be told from chance. A shuffled fit that is NaN counts as 1/2.
    """
    checks.whole(1, permutations=permutations)

    def one(key: Key) -> Array:
        first, second = jax.random.split(key)
        vector = fit(train[0], jax.random.permutation(first, train[1]), alpha, method=method)
        found = accuracy(vector, test[0], jax.random.permutation(second, test[1]))
        return jnp.where(jnp.isnan(found), 0.5, found)

    return jax.lax.map(one, jax.random.split(key, permutations))


def p_value(value: ArrayLike, shuffled: Array) -> Array:
    """Give the share of `1 + permutations` draws that are as large as a value, itself among them: `[P] -> []`.

    Exact in the sense of Phipson and Smyth (2010): never 0, and at most a true level under the null.

    >>> p_value(0.9, jnp.array([0.5, 0.6, 0.4])).item()
    0.25
    """
    chex.assert_rank(shuffled, 1)
    return (1 + jnp.sum(shuffled >= value)) / (1 + shuffled.size)


def _sides(y: Array, weights: Array) -> tuple[Array, Array]:
    return weights * (y > 0), weights * (y <= 0)


def _mean(values: Array, weights: Array) -> Array:
    """Give a weighted mean, NaN where nothing weighs; rows of weight zero may hold anything."""
    return jnp.sum(jnp.where(weights > 0, weights * values, 0)) / jnp.sum(weights)


def _measured(weight: Array, level: Array, x: Array, y: Array, weights: Array | None, converged: Array) -> CAV:
    """Bring a direction to length one and measure the margins of both sides."""
    length = jnp.sqrt(jnp.sum(weight**2))
    direction, offset = weight / length, level / length
    found = matmul(x, direction) + offset
    weights = jnp.ones_like(found) if weights is None else weights

    def side(kept: Array) -> Side:
        low, high = (jnp.where(kept > 0, found, sign * jnp.inf) for sign in (1, -1))
        return Side(_mean(found, kept), jnp.min(low), jnp.max(high))

    positive, negative = (side(kept) for kept in _sides(y, weights))
    fine = converged & jnp.isfinite(length) & (length > 0)
    return CAV(direction, jnp.where(jnp.isfinite(direction).all(), offset, jnp.nan), positive, negative, fine)
