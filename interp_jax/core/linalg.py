"""Linear algebra that several areas share, at full matrix precision on every backend.

A plain `@` multiplies with TF32 on recent GPUs and in bfloat16 passes on TPUs; what is fitted in closed form cannot
afford either.
"""

import chex
import jax
import jax.numpy as jnp

from interp_jax.core.types import Array

HIGHEST = jax.lax.Precision.HIGHEST


def matmul(a: Array, b: Array) -> Array:
    """Multiply with full float32 (or float64) products: `jnp.matmul` at the highest precision."""
    return jnp.matmul(a, b, precision=HIGHEST)


def add_row(a: Array, row: Array) -> Array:
    """Add `row [D]` to every row of `a [..., D]`: broadcasting that says so, since ranks are not promoted."""
    return a + jnp.broadcast_to(row, a.shape)


def mean_rows(a: Array, weights: Array) -> Array:
    """Weighted mean over rows in two passes, so that an offset of 1e4 standard deviations costs no digits.

    a: `[N, D]`. weights: `[N]`. Gives `[D]`. The second pass averages what the first left over: the error is a rounding
    of the mean itself, not of the sum.
    """
    chex.assert_rank([a, weights], [2, 1])
    share = weights / jnp.sum(weights)
    first = matmul(share, a)
    return first + matmul(share, add_row(a, -first))


def compress_rows(a: Array) -> Array:
    """Shorten `a [N, D]` to `r [min(N, D), D]` with `r.T @ r == a.T @ a`, by Householder reflections.

    Every sum of squares `|a v|^2` is kept, so a least-squares problem on `[x, y]` is kept too, at the condition number
    of `a`: the Gram matrix would square it (Golub and Van Loan 2013, section 5.3). A short `a` comes back as it is.

    >>> import jax.numpy as jnp
    >>> compress_rows(jnp.ones((100, 3))).shape
    (3, 3)
    """
    chex.assert_rank(a, 2)
    return a if a.shape[0] <= a.shape[1] else jnp.linalg.qr(a, mode="r")


def reduce_columns(x: Array) -> tuple[Array, Array]:
    """Give `short [N, R]` and orthonormal `basis [D, R]` with `x == short @ basis.T`, R = min(N, D).

    Rotations change neither outputs nor |weight|, so a penalised fit on many features needs no more than N (`weight =
    basis @ short_weight`).

    >>> import jax.numpy as jnp
    >>> short, basis = reduce_columns(jnp.ones((2, 100)))
    >>> short.shape, basis.shape
    ((2, 2), (100, 2))
    """
    chex.assert_rank(x, 2)
    if x.shape[1] <= x.shape[0]:
        return x, jnp.eye(x.shape[1], dtype=x.dtype)
    basis, short = jnp.linalg.qr(x.T)
    return short.T, basis
