"""How many dimensions a probe needs: the same probe on the first k axes of a representation, all k in one program.

    axes = components(x_train)                                          # principal, by falling variance
    curve = jax.vmap(lambda k: score(probe, Task(first(axes, x, k), y), Task(first(axes, x_test, k), y_test)))(
        jnp.array([2, 5, 10, 20, 50]))

Axes beyond k are zeros, which a penalised linear probe gives no weight: shapes do not depend on k, so k may be traced.
Principal axes are those of the training rows alone. A property that needs few of them is one that the representation
varies most along; one that needs as few RANDOM axes (`shuffled`) would be written everywhere.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.core.linalg import add_row, centre_rows, compress_rows, matmul, svd
from interp_jax.core.types import Array, ArrayLike, Key
from interp_jax.linear.fits import prepare


class Axes(NamedTuple):
    """mean: `[D]`. basis: `[D, R]`, orthonormal columns, R = min(N, D). variance: `[R]`, of the rows along each.

    NaN for rows that are not finite.
    """

    mean: Array
    basis: Array
    variance: Array


def components(x: Array, *, weights: Array | None = None) -> Axes:
    """Give the principal axes of rows `[N, D]`, by falling variance; weights `[N]`, zero deletes a row.

    >>> components(jnp.array([[0.0, 1.0], [0.0, 3.0], [1.0, 2.0], [-1.0, 2.0], [0.0, 2.0]])).variance.round(3).tolist()
    [0.4000000059604645, 0.4000000059604645]
    """
    rows = prepare(x, jnp.zeros(len(x)), 0.0, weights)
    about, mean, rest = centre_rows(rows.x, rows.weights)
    _, values, right = svd(compress_rows(jnp.sqrt(rows.weights)[:, None] * about))
    variance = values**2 / jnp.sum(rows.weights)
    return Axes(*(jnp.where(rows.valid, part, jnp.nan) for part in (mean + rest, right.T, variance)))  # pyrefly: ignore


def shuffled(key: Key, axes: Axes) -> Axes:
    """Turn axes at random within what they span: as many directions that nothing has chosen."""
    width = axes.basis.shape[1]
    turn, _ = jnp.linalg.qr(jax.random.normal(key, (width, width), axes.basis.dtype))
    return Axes(axes.mean, matmul(axes.basis, turn), matmul(axes.variance[None], turn**2)[0])


def first(axes: Axes, x: Array, count: ArrayLike) -> Array:
    """Give rows `[..., D]` along the first `count` axes, zeros along the others: `[..., R]`. count may be traced."""
    chex.assert_axis_dimension(x, -1, axes.mean.shape[0])
    along = matmul(add_row(x, -axes.mean), axes.basis)
    kept = jnp.arange(axes.basis.shape[1]) < count
    return jnp.where(jnp.broadcast_to(kept, along.shape), along, 0)
