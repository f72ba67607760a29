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


def centre_rows(a: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Give `a [N, D]` about its weighted mean, and that mean in two parts, `origin [D]` and `rest [D]`.

    weights: `[N]`. The mean of columns far from zero is known to a rounding of its size, which may be many roundings of
    their spread. `origin` is the rounded mean, and `rest` what it misses: `(a - origin) @ w - rest @ w` keeps the
    digits that `a @ w - mean @ w` loses.
    """
    chex.assert_rank([a, weights], [2, 1])
    share = weights / jnp.sum(weights)
    first = matmul(share, a)
    origin = first + matmul(share, add_row(a, -first))
    a = add_row(a, -origin)
    rest = matmul(share, a)
    return add_row(a, -rest), origin, rest


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
