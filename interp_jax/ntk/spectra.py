"""The spectrum of a kernel that is known by its products only: its top, its trace, its log-determinant."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from matfree import decomp, funm, stochtrace

from interp_jax.core import checks
from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array, ArrayLike, Key
from interp_jax.ntk.operators import Operator, add_ridge


class Top(NamedTuple):
    """values: `[R]`, descending. vectors: `[M, R]`. residuals: `|A v - value v|`, `[R]`: how far a value may be off."""

    values: Array
    vectors: Array
    residuals: Array


class Estimate(NamedTuple):
    """value: an estimate over random probes. error: its standard error."""

    value: Array
    error: Array


def top(operator: Operator, key: Key, count: int, *, steps: int = 10, block: int | None = None) -> Top:
    """Find the largest eigenvalues by block Lanczos, all directions kept orthogonal (Golub and Underwood 1977).

    A block as wide as an eigenvalue is often is what finds all its copies: the kernel of K outputs in a wide network
    has each of them K times, of which a single vector (`block=1`) sees one.

    Args:
        operator: symmetric.
        key: of the start.
        count: R.
        steps: products with a block; `steps * block` directions are kept.
        block: width, `count` if None.
    """
    checks.whole(1, count=count, steps=steps)
    width = count if block is None else block
    checks.whole(1, block=width)
    if not count <= steps * width <= operator.rows:
        raise ValueError(f"want count <= steps * block <= {operator.rows}, got {count=}, {steps=}, block={width}")
    start = jax.random.normal(key, (operator.rows, width), operator.dtype)
    basis, images, new = jnp.zeros((operator.rows, 0), operator.dtype), [], jnp.linalg.qr(start)[0]
    for _ in range(steps):
        basis = jnp.concatenate([basis, new], 1)
        images.append(operator @ new)
        new = images[-1]
        for _ in range(2):  # once leaves what rounding mixed in
            new = jnp.linalg.qr(new - matmul(basis, matmul(basis.T, new)))[0]
    image = jnp.concatenate(images, 1)
    inner = matmul(basis.T, image)
    values, rotation = jnp.linalg.eigh((inner + inner.T) / 2)
    values, rotation = values[::-1][:count], rotation[:, ::-1][:, :count]
    vectors = matmul(basis, rotation)
    residuals = jnp.linalg.norm(matmul(image, rotation) - vectors * values[None], axis=0)
    return Top(values, vectors, residuals)


def trace(operator: Operator, key: Key, probes: int) -> Estimate:
    """Estimate the trace by XTrace, which reuses every probe as Hutch++ cannot (Epperly, Tropp and Webber 2024).

    Exact, with an error of zero, from `rows / 2` probes up, or where the rank is below them.
    """
    checks.whole(2, probes=probes)
    sampler = stochtrace.sampler_normal(jnp.zeros(operator.rows, operator.dtype), num=probes)
    estimator = stochtrace.estimator_leave_one_out_mean_and_sem(stochtrace.leave_one_out_xtrace(), sampler)
    with jax.numpy_rank_promotion("allow"):  # matfree's arithmetic relies on it
        return Estimate(*estimator(operator.matvec, key))


def log_determinant(operator: Operator, key: Key, *, ridge: ArrayLike, probes: int = 20, steps: int = 30) -> Estimate:
    """Estimate `log det(A + ridge)` by stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017).

    The error says how far the probes differ, not what `steps` leave out: more of them must not move the value.
    """
    checks.positive(ridge=ridge)
    checks.whole(2, probes=probes)
    checks.whole(1, steps=steps)
    ridged = add_ridge(operator, ridge)
    integrand = funm.monte_carlo_funm_sym_logdet(decomp.tridiag_sym(min(steps, operator.rows)))
    sampler = stochtrace.sampler_signs(jnp.zeros(operator.rows, operator.dtype), num=1)

    def one(key: Key) -> Array:
        return stochtrace.estimator_monte_carlo(integrand, sampler)(ridged.matvec, key)

    with jax.numpy_rank_promotion("allow"):
        found = jax.lax.map(one, jax.random.split(key, probes))
    return Estimate(found.mean(), found.std(ddof=1) / probes**0.5)
