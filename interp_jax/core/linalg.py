"""Linear algebra that several areas share, at full matrix precision on every backend.

A plain `@` multiplies with TF32 on recent GPUs and in bfloat16 passes on TPUs; what is fitted in closed form cannot
afford either.
"""

from collections.abc import Callable, Sequence
from functools import partial

import chex
import jax
import jax.numpy as jnp

from interp_jax.core.types import Array, ArrayLike

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


def _in_turn(factorise: Callable[[Array], Sequence[Array]]) -> Callable[[Array], tuple[Array, ...]]:
    """Let `vmap` factorise one matrix after another on CPUs, all at once elsewhere."""

    @jax.custom_batching.custom_vmap
    def one(a: Array) -> tuple[Array, ...]:
        return tuple(factorise(a))

    @one.def_vmap
    def many(size: int, batched: list[bool], a: Array) -> tuple[tuple[Array, ...], tuple[bool, ...]]:
        found = jax.lax.platform_dependent(a, cpu=lambda a: jax.lax.map(one, a), default=lambda a: tuple(factorise(a)))
        return found, (True,) * len(found)

    return one


_eigh = _in_turn(partial(jnp.linalg.eigh, symmetrize_input=False))
_svd = _in_turn(partial(jnp.linalg.svd, full_matrices=False))


@jax.custom_jvp
def eigh(a: Array) -> tuple[Array, Array]:
    """Give eigenvalues `[D]`, in rising order, and eigenvectors `[D, D]`, columns, of a symmetric `a [D, D]`.

    `jnp.linalg.eigh`, of which one triangle counts, but for `vmap` on CPUs, where matrices go one after another.
    jaxlib 0.10 hands a batch to the pool of threads that its programs run on, and waits for it on one of them: programs
    of several devices, or two such calls in one program, can then all wait for ever. Derivatives as jax's, NaN where
    eigenvalues are equal.
    """
    chex.assert_rank(a, 2)
    values, vectors = _eigh(a)
    return values, vectors


@eigh.defjvp
def _eigh_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    values, vectors = eigh(*primals)
    inner = _conjugate(vectors.T, (tangents[0] + tangents[0].T) / 2)
    distance = values[None, :] - values[:, None] + jnp.eye(values.size, dtype=values.dtype)
    turn = inner / distance - jnp.diag(jnp.diag(inner))
    return (values, vectors), (jnp.diag(inner), matmul(vectors, turn))


def svd(a: Array) -> tuple[Array, Array, Array]:
    """Give the thin singular value decomposition of `a [N, D]`: `jnp.linalg.svd`, batched as `eigh` here is.

    Reverse mode is not defined; what is fitted with it differentiates a residual instead.
    """
    chex.assert_rank(a, 2)
    left, values, right = _svd(a)
    return left, values, right


def inverse_sqrt(a: Array, *, eps: ArrayLike | None = None) -> Array:
    """Give the symmetric inverse square root of a symmetric positive semidefinite `a [D, D]`.

    `V diag(max(w, floor)^-1/2) V'` for `a = V diag(w) V'`, with `floor = eps |a|`, |a| the Frobenius norm: directions
    without variance up to rounding stay finite, and no others change, where adding eps to the diagonal would change
    all. eps: `[]`, ten roundings of the dtype by default.

    The derivative is that of Daleckii and Krein (Higham 2008, theorem 3.11): in the eigenvectors' coordinates the
    tangent is multiplied entry by entry with the divided differences of `w^-1/2`, which exist at equal eigenvalues,
    where differentiating eigh gives NaN, and have a form without cancellation,

        -1 / (s_i s_j (s_i + s_j)),    s = sqrt(w).

    So has the second derivative. Forward and backward mode, vmap, and second derivatives by any mix are supported; the
    second is NaN if an eigenvalue is below the floor, and a third, which differentiates eigh, at equal eigenvalues.
    Only the symmetric part of `a` counts. A zero matrix gives NaN.

    >>> import jax
    >>> inverse_sqrt(4 * jnp.eye(2)).tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    >>> jax.grad(lambda a: inverse_sqrt(a).sum())(4 * jnp.eye(2)).tolist()
    [[-0.0625, -0.0625], [-0.0625, -0.0625]]
    """
    chex.assert_rank(a, 2)
    chex.assert_equal(*a.shape)
    a = (a + a.T) / 2
    eps = 10 * jnp.finfo(a.dtype).eps if eps is None else eps
    floor = jnp.asarray(eps, a.dtype) * jnp.sqrt(jnp.sum(a * a))
    return _inverse_sqrt(a, floor)


@jax.custom_jvp
def _inverse_sqrt(a: Array, floor: Array) -> Array:
    values, vectors = eigh(a)
    return _conjugate(vectors, jnp.diag(1 / jnp.sqrt(jnp.maximum(values, floor))))


@_inverse_sqrt.defjvp
def _inverse_sqrt_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    return _inverse_sqrt(*primals), _derivative(*primals, *tangents)


@jax.custom_jvp
def _derivative(a: Array, floor: Array, da: Array, dfloor: Array) -> Array:
    """Give the derivative of `_inverse_sqrt` along a symmetric `da [D, D]` and `dfloor []`."""
    values, vectors = eigh(a)
    s = jnp.sqrt(jnp.maximum(values, floor))
    s_i, s_j, low = s[:, None], s[None, :], values < floor
    # Where one of two eigenvalues is held at the floor the quotient has their true distance below it; where both are,
    # it is zero.
    one = low[:, None] ^ low[None, :]
    distance = jnp.where(one, values[:, None] - values[None, :], 1)
    share = jnp.where(one, (s_i * s_i - s_j * s_j) / distance, ~(low[:, None] & low[None, :]))
    inner = _conjugate(vectors.T, da) * (-share / (s_i * s_j * (s_i + s_j)))
    return _conjugate(vectors, inner + jnp.diag(jnp.where(low, -0.5 * dfloor / (s * s * s), 0)))


@_derivative.defjvp
def _derivative_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    """Add to the part that is linear the second derivative, by the second divided differences of `w^-1/2`.

    (s_i + s_j + s_k) / (s_i s_j s_k (s_i + s_j) (s_i + s_k) (s_j + s_k)), summed over k as two products of matrices.
    """
    a, floor, da, _ = primals
    da2, _, dda, ddfloor = tangents
    values, vectors = eigh(a)
    s = jnp.sqrt(jnp.maximum(values, floor))
    s_i, s_k = s[:, None], s[None, :]
    weight = 1 / (s_i * (s_i + s_k))
    left, right = weight * _conjugate(vectors.T, da), weight.T * _conjugate(vectors.T, da2)
    half = matmul(left, right) / (s_i + s_k) + matmul(left / s_k, right)
    second = _conjugate(vectors, half + half.T)
    linear = _derivative(a, floor, dda, ddfloor)
    return _derivative(*primals), linear + jnp.where(jnp.any(values < floor), jnp.nan, second)


def _conjugate(v: Array, a: Array) -> Array:
    """Give `v a v'`."""
    return matmul(matmul(v, a), v.T)
