"""Erasing means AND covariances of classes, so that no quadratic probe finds them (quadratic LEACE).

    eraser = fit(x, y, classes=3)           # x [N, D], y [N] classes
    clean = erase(eraser, x, y)             # [N, D]: the class of each row has to be known

Each class is carried onto one Gaussian, the barycentre of all of them, by the linear map that moves it least (Belrose
et al. 2023, section 6 and appendix on quadratic erasure). No affine map can do that, so the class enters: this measures
what a representation's users do without first and second moments of a concept; it does not make a representation fair.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.linalg import centre_rows, eigh, matmul
from interp_jax.core.types import Array
from interp_jax.linear.fits import prepare


class Quadratic(NamedTuple):
    """A class's map is `mean + (x - means[y]) @ maps[y]`.

    mean: `[D]`. means: `[K, D]`. maps: `[K, D, D]`, symmetric. left: `[]`, the largest distance of a class's covariance
    from the common one after erasure, as a share of the latter's Frobenius norm. converged: `[]`, of the barycentre.
    All NaN if a class has no row, or has as few as D rows, whose covariance has no inverse.
    """

    mean: Array
    means: Array
    maps: Array
    left: Array
    converged: Array


def erase(eraser: Quadratic, x: Array, y: Array) -> Array:
    """Carry rows `[N, D]` of classes `[N]`; NaN where there is no such class."""
    chex.assert_rank([x, y], [2, 1])
    about = x - eraser.means.at[y].get(mode="fill", fill_value=jnp.nan)
    moved = jnp.zeros_like(x)
    for number in range(len(eraser.maps)):  # not a map for each row: N D^2 numbers
        moved += jnp.where((y == number)[:, None], matmul(about, eraser.maps[number]), 0)
    return jnp.where(jnp.isfinite(about), moved, jnp.nan) + jnp.broadcast_to(eraser.mean, x.shape)


def fit(
    x: Array, y: Array, *, classes: int, weights: Array | None = None, steps: int = 50, tol: float = 1e-5
) -> Quadratic:
    """Fit the maps of all classes onto their barycentre.

        A_k = S_k^(-1/2) (S_k^(1/2) S S_k^(1/2))^(1/2) S_k^(-1/2)

    with S_k the covariance of class k, and S that Gaussian's which is nearest to all, weighted by their shares, in
    Wasserstein distance: the fixed point of `S = sum_k p_k (S^(1/2) S_k S^(1/2))^(1/2)`, iterated as Alvarez-Esteban et
    al. (2016, theorem 4.2).

    Args:
        x: `[N, D]`.
        y: `[N]`, 0 .. classes - 1; another class's row makes the fit NaN.
        classes: K, at least 2.
        weights: `[N]`, not negative; zero deletes a row.
        steps: of the fixed point, at most.
        tol: relative change of S at which it stops.
    """
    checks.whole(2, classes=classes)
    checks.whole(1, steps=steps)
    rows = prepare(x, y, 0.0, weights)
    number = rows.y[:, 0].astype(jnp.int32)
    member = jax.nn.one_hot(number, classes, axis=0) * rows.weights[None]
    shares = jnp.sum(member, 1) / jnp.sum(rows.weights)

    def moments(weights: Array) -> tuple[Array, Array]:
        about, mean, rest = centre_rows(rows.x, jnp.where(jnp.sum(weights) > 0, weights, 1))
        return mean + rest, matmul((weights[:, None] * about).T, about) / jnp.sum(weights)

    means, spreads = jax.lax.map(moments, member)
    full = (jnp.sum(member > 0, 1) > x.shape[1]).all()
    known = ((number >= 0) & (number < classes)) | (rows.weights == 0)
    valid = rows.valid & full & known.all() & jnp.isfinite(spreads).all()
    safe = jnp.where(valid, spreads, jnp.eye(x.shape[1], dtype=spreads.dtype)[None])
    centre, converged = _barycentre(safe, jnp.where(valid, shares, 1 / classes), steps, tol)
    maps = jax.lax.map(lambda spread: _transport(spread, centre), safe)
    moved = jax.lax.map(lambda pair: matmul(matmul(pair[0], pair[1]), pair[0]), (maps, safe))
    left = jnp.max(jnp.linalg.norm((moved - centre[None]).reshape(classes, -1), axis=1)) / jnp.linalg.norm(centre)
    parts = (jnp.where(valid, part, jnp.nan) for part in (matmul(shares, means), means, maps, left))
    return Quadratic(*parts, converged=converged & valid)


def _barycentre(spreads: Array, shares: Array, steps: int, tol: float) -> tuple[Array, Array]:
    """Iterate `S <- S^(-1/2) (sum_k p_k (S^(1/2) S_k S^(1/2))^(1/2))^2 S^(-1/2)` from the mean covariance."""

    def step(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        now, _, i = carry
        root, inverse = _roots(now)
        inner = jax.lax.map(lambda spread: _roots(matmul(matmul(root, spread), root))[0], spreads)
        mean = jnp.einsum("k,kij->ij", shares, inner, precision=jax.lax.Precision.HIGHEST)
        half = matmul(inverse, mean)
        new = matmul(half, half.T)
        return new, jnp.linalg.norm(new - now) / jnp.linalg.norm(now), i + 1

    start = jnp.einsum("k,kij->ij", shares, spreads, precision=jax.lax.Precision.HIGHEST)
    first = (start, jnp.array(jnp.inf, start.dtype), jnp.int32(0))
    found, change, _ = jax.lax.while_loop(lambda carry: (carry[1] > tol) & (carry[2] < steps), step, first)
    return found, change <= tol


def _transport(spread: Array, centre: Array) -> Array:
    root, inverse = _roots(spread)
    return matmul(matmul(inverse, _roots(matmul(matmul(root, centre), root))[0]), inverse)


def _roots(a: Array) -> tuple[Array, Array]:
    """Give the square root of a positive definite matrix, and its inverse."""
    values, vectors = eigh((a + a.T) / 2)
    values = jnp.maximum(values, 4 * jnp.finfo(a.dtype).eps * jnp.max(values))
    root = jnp.sqrt(values)
    return matmul(vectors * root[None], vectors.T), matmul(vectors / root[None], vectors.T)
