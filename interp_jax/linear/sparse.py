"""Sparse least squares of one target from sufficient statistics: the lasso, and forward selection.

Both read `ridge.Moments`, so a fit costs the same for ten rows and for a million, and folds or growing samples are sums
(`ridge.combine`). The moments square the condition number of the features: 300 is what float32 holds.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.linalg import eigh, matmul
from interp_jax.core.types import Array, ArrayLike
from interp_jax.linear import elastic_net
from interp_jax.linear.fits import LinearFit, seal
from interp_jax.linear.ridge import Moments


def lasso(stats: Moments, alpha: ArrayLike, *, steps: int = 1000, tol: float = 1e-6) -> LinearFit:
    """Fit the lasso: `elastic_net.fit(x, y, alpha)` of the rows that `stats` are of, penalty and `gap` as there.

    alpha: `[]`. A path is a `vmap` over alphas.

    >>> from interp_jax.linear import ridge
    >>> x = jnp.array([[0.0], [1.0], [2.0]])
    >>> round(lasso(ridge.moments(x, 4 * x[:, 0] + 1), 1.0).weight.item(), 3)
    2.5
    """
    checks.not_negative(alpha=alpha)
    checks.positive(tol=tol)
    checks.whole(1, steps=steps)
    chex.assert_rank(alpha, 0)
    dims = len(stats.centre)
    whole, valid = _products(stats)
    values, axes = eigh(whole)  # the triangle of a QR of the rows would do, but they are gone
    root = jnp.sqrt(jnp.maximum(values, 0))[:, None] * axes.T
    alpha = jnp.asarray(alpha, root.dtype)
    valid &= (alpha >= 0) & jnp.isfinite(alpha)
    found = elastic_net.descend(
        root[:, :dims], root[:, dims:], jnp.where(valid, alpha, 1), jnp.zeros_like(alpha), steps, tol
    )
    return _fit(stats, found.weight, valid, converged=found.gap < tol, steps=found.sweeps, gap=found.gap)


def forward(stats: Moments, most: int, *, alpha: ArrayLike = 0.0) -> LinearFit:
    """Fit the target with 1, 2, ..., `most` features, each added for what it takes off the squared error.

    alpha: a ridge penalty on what is chosen, scaled as in `ridge.fit`. Column k of the fit has
    k + 1 features: forward stepwise regression, in signal processing orthogonal least squares (Chen, Billings and Luo
    1989). Features are compared by error alone, so their units do not matter (with alpha = 0). One that is constant, or
    to rounding a combination of those chosen, is never chosen: then the column repeats the one before.

    Each step is one pass of the sweep operator (Goodnight 1979), of D^2 operations.

    >>> from interp_jax.linear import ridge
    >>> x = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    >>> forward(ridge.moments(x, x[:, 0] + 3 * x[:, 1]), 2).weight.round().tolist()
    [[0.0, 1.0], [3.0, 3.0]]
    """
    checks.not_negative(alpha=alpha)
    dims = len(stats.centre)
    if not 1 <= most <= dims:
        raise ValueError(f"want 1 <= most <= {dims}, the number of features, got {most=}")
    whole, valid = _products(stats)
    ridge = jnp.asarray(alpha, whole.dtype) / jnp.where(valid, stats.total, 1)
    spread = jnp.diag(whole)[:dims]
    floor = 25 * 4 * jnp.finfo(whole.dtype).eps * spread
    whole = whole + jnp.diag(jnp.append(jnp.broadcast_to(ridge, (dims,)), 0))

    def step(state: _Chosen, _: None) -> tuple[_Chosen, Array]:
        left = jnp.diag(state.swept)[:dims]
        can = ~state.taken & (spread > 0) & (left > floor)
        gain = jnp.where(can, state.swept[:dims, dims] ** 2 / jnp.where(can, left, 1), -1)
        d = jnp.argmax(gain)
        new = _Chosen(_sweep(state.swept, d), state.taken.at[d].set(True))
        state = jax.tree.map(lambda a, b: jnp.where(can.any(), a, b), new, state)
        return state, jnp.where(state.taken, state.swept[:dims, dims], 0)

    weights = jax.lax.scan(step, _Chosen(whole, jnp.zeros(dims, bool)), None, length=most)[1]
    return _fit(stats, weights.T, valid & jnp.all(jnp.asarray(alpha) >= 0))


class _Chosen(NamedTuple):
    """swept: `[D + 1, D + 1]`, products of features and target, with the features `taken [D]` swept.

    Its last column holds the weights of those, and of the others what they have in common with the residual.
    """

    swept: Array
    taken: Array


def _products(stats: Moments) -> tuple[Array, Array]:
    """Give mean products `[D + 1, D + 1]` of features and target about their means, and whether they are finite."""
    chex.assert_shape(stats.level, (1,))
    below = jnp.concatenate([stats.cross.T, stats.spread[None]], 1)
    whole = jnp.concatenate([jnp.concatenate([stats.square, stats.cross], 1), below]) / stats.total
    valid = jnp.isfinite(whole).all()
    return jnp.where(valid, whole, 0), valid


def _sweep(a: Array, d: Array) -> Array:
    """Sweep row and column d of a symmetric matrix: `a_ij - a_id a_dj / a_dd`, `a_dj / a_dd`, `1 / a_dd`."""
    pivot = a[d, d]
    row, column = a[d] / pivot, a[:, d]
    a = a - column[:, None] * row[None]
    return a.at[d].set(row).at[:, d].set(-column / pivot).at[d, d].set(1 / pivot)


def _fit(
    stats: Moments,
    weight: Array,
    valid: Array,
    *,
    converged: ArrayLike = True,
    steps: ArrayLike = 0,
    gap: ArrayLike = 0,
) -> LinearFit:
    level = jnp.broadcast_to(stats.level, weight.shape[1:]) - matmul(stats.rest, weight)
    found = LinearFit(
        weight, level, stats.centre, jnp.asarray(converged), jnp.asarray(steps, jnp.int32),
        jnp.asarray(gap, weight.dtype),
    )  # fmt: skip
    return seal(found, valid)
