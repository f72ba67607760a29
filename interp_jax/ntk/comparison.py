"""What kernels say of a network: how alike two of them are, how fast one changes, how its spectrum is spread.

A kernel is a matrix `[N, N]`, or `[N, N, K, K]`, taken as the matrix `[N K, N K]`. All are pure functions for `vmap`
over seeds and over the kernels of a training run.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array
from interp_jax.ntk.operators import flatten


def alignment(a: Array, b: Array, *, centred: bool = False) -> Array:
    """Give the cosine of two kernels, `<a, b> / (|a| |b|)` (Cristianini et al. 2001).

    Between 0 and 1 for positive semidefinite kernels; NaN where a norm is 0.

    centred: of `H a H` and `H b H`, `H = I - 1 1' / N` (Cortes et al. 2012). That takes out the constant which all
    examples have in common behind a ReLU, and which hides everything else.

    >>> round(float(alignment(jnp.eye(2), jnp.ones((2, 2)))), 4)
    0.7071
    """
    a, b = (centre(matrix(each)) if centred else matrix(each) for each in (a, b))
    chex.assert_equal_shape([a, b])
    a, b = (each / jnp.max(jnp.abs(each)) for each in (a, b))  # squares of large entries overflow
    return jnp.sum(a * b) / (jnp.linalg.norm(a) * jnp.linalg.norm(b))


def label_alignment(kernel: Array, labels: Array) -> Array:
    """Give the centred alignment of `[N, N]` with the ideal kernel of labels, 1 for equal ones and 0 for others.

    labels: `[N]`, integers.
    """
    chex.assert_rank([kernel, labels], [2, 1])
    return alignment(kernel, (labels[:, None] == labels[None, :]).astype(kernel.dtype), centred=True)


def code_alignments(kernel: Array, codes: Array, owner: Array) -> Array:
    """Give the centred alignment of `[N, N]` with the kernel `E E'` of each factor's own code E: `[F]`.

    codes: `[N, C]`, numbers that say what an example's factors are (one-hot columns of a class make the ideal kernel of
    `label_alignment`). owner: `[C, F]`, 1 where a column is of a factor's code and 0 elsewhere.
    """
    chex.assert_rank([kernel, codes, owner], 2)

    def one(mine: Array) -> Array:
        return alignment(kernel, matmul(codes * mine[None], codes.T), centred=True)

    return jax.vmap(one, 1)(owner)


def distance(a: Array, b: Array) -> Array:
    """Give `1 - alignment(a, b)` (Fort et al. 2020, section 3), computed from the difference of the unit matrices.

    `|a / |a| - b / |b||^2 / 2` is the same number, and keeps its digits where the kernels hardly differ.
    """
    a, b = (matrix(each) / jnp.max(jnp.abs(each)) for each in (a, b))
    return jnp.sum((a / jnp.linalg.norm(a) - b / jnp.linalg.norm(b)) ** 2) / 2


def velocity(kernels: Array, times: Array) -> Array:
    """Give the distances of successive kernels over the times between them, `[T - 1]` (Fort et al. 2020).

    kernels: `[T, ...]`. times: `[T]`, increasing, such as steps or epochs.
    """
    chex.assert_equal_shape_prefix([kernels, times], 1)
    return jax.vmap(distance)(kernels[1:], kernels[:-1]) / jnp.diff(times)


def polar(kernels: Array) -> tuple[Array, Array]:
    """Give how far each kernel is from the first: `(radius, angle)`, `[T]` each (Tsilivis and Kempe 2022, section 5).

    radius: `|K_t - K_0| / |K_T - K_0|`. angle: between `K_t` and `K_0`, in radians.
    """
    first = kernels[0]
    radius = jax.vmap(lambda kernel: jnp.linalg.norm(kernel - first))(kernels)
    # From the chord, for the arc cosine of almost 1 has lost its digits.
    chord = jax.vmap(lambda kernel: jnp.sqrt(2 * distance(kernel, first)))(kernels)
    return radius / radius[-1], 2 * jnp.arcsin(jnp.minimum(chord / 2, 1))


def restrict(kernel: Array, count: int) -> Array:
    """Keep of a kernel, as a matrix, the eigenspaces of its `count` largest eigenvalues."""
    values, vectors = jnp.linalg.eigh(matrix(kernel))
    checks.whole(1, count=count)
    if count > values.shape[0]:
        raise ValueError(f"want count <= {values.shape[0]}, the size of the kernel, got {count=}")
    return matmul(vectors[:, -count:] * values[None, -count:], vectors[:, -count:].T)


def effective_rank(values: Array) -> Array:
    """Give `exp(entropy)` of the eigenvalues as shares of their sum (Roy and Vetterli 2007): R for R equal ones.

    values: `[M]`; what rounding took below zero counts as zero.
    """
    values = jnp.maximum(values, 0)
    return jnp.exp(jnp.sum(jax.scipy.special.entr(values / jnp.sum(values))))


def top_mass(values: Array, count: int) -> Array:
    """Give the share of the sum of squares that the largest `count` eigenvalues have (Tsilivis and Kempe 2022)."""
    checks.whole(1, count=count)
    if count > values.shape[0]:
        raise ValueError(f"want count <= {values.shape[0]}, the number of eigenvalues, got {count=}")
    ordered = jnp.sort(jnp.abs(values))[::-1] / jnp.max(jnp.abs(values))
    return jnp.sum(ordered[:count] ** 2) / jnp.sum(ordered**2)


class Space(NamedTuple):
    """values: `[N]`, descending. vectors: `[N, R]`, orthonormal, or zero where there are no more directions."""

    values: Array
    vectors: Array


def eigenspace(kernel: Array, count: int) -> Space:
    """Give the eigenvalues of a kernel, as a matrix, and its first `count` eigenvectors.

    Those of eigenvalues that are zero to rounding are arbitrary: they are set to zero, so that `captured` gives no
    credit for them.
    """
    checks.whole(1, count=count)
    values, vectors = jnp.linalg.eigh(matrix(kernel))
    return _kept(values[::-1], vectors[:, ::-1], values.shape[0], count)


def components(rows: Array, count: int) -> Space:
    """Give the first `count` principal components of `rows [N, D]` as functions of the examples, with their variances.

    They are the eigenvectors of the centred Gram matrix of the rows, of which there are no more than D.
    """
    chex.assert_rank(rows, 2)
    checks.whole(1, count=count)
    centred = rows - jnp.mean(rows, 0, keepdims=True)
    vectors, sizes, _ = jnp.linalg.svd(centred, full_matrices=False)
    space = _kept(sizes, vectors, max(rows.shape), count)
    return space._replace(values=space.values**2 / rows.shape[0])


def _kept(values: Array, vectors: Array, size: int, count: int) -> Space:
    """Set vectors to zero whose value is zero to rounding, and fill up with zeros to `count`."""
    there = values > size * jnp.finfo(values.dtype).eps * values[0]
    kept = jnp.where(there[None], vectors, 0)
    return Space(values, jnp.pad(kept, ((0, 0), (0, max(count - kept.shape[1], 0))))[:, :count])


def captured(vectors: Array, features: Array) -> Array:
    """Give the share of each feature that lies in a subspace: `|P f|^2 / |f|^2`, `[F]` (Lin 2025).

    Of a random subspace of R dimensions out of M the mean is R / M. NaN for a feature that is zero.

    >>> captured(jnp.eye(4)[:, :2], jnp.ones((4, 1))).tolist()
    [0.5]

    Args:
        vectors: `[M, R]`, orthonormal columns, such as the top eigenvectors of a kernel.
        features: `[M, F]`, values over the examples, centred if the subspace is to be given no credit for constants.
    """
    chex.assert_equal_shape_prefix([vectors, features], 1)
    return jnp.sum(matmul(vectors.T, features) ** 2, 0) / jnp.sum(features**2, 0)


def captured_by_first(vectors: Array, features: Array) -> Array:
    """Give `captured` for every number of dimensions at once: `[R, F]`, row r - 1 that of the first r columns."""
    chex.assert_equal_shape_prefix([vectors, features], 1)
    return jnp.cumsum(matmul(vectors.T, features) ** 2, 0) / jnp.sum(features**2, 0, keepdims=True)


class Cliff(NamedTuple):
    """place: how many eigenvalues stand above it, int32. depth: the ratio of those on either side of it."""

    place: Array
    depth: Array


def cliff(values: Array, first: int, last: int) -> Cliff:
    """Find the steepest fall of a spectrum: the place r with the largest `values[r - 1] / values[r]`.

    >>> cliff(jnp.array([8.0, 7.0, 6.0, 1.0, 0.9]), 1, 4).place.tolist()
    3

    Args:
        values: `[M]`, descending. A place with a value below it that is not positive does not count; if none does,
            the depth is NaN.
        first: the first place to look at, at least 1.
        last: the last place, below M.
    """
    if not 1 <= first <= last < values.shape[0]:
        raise ValueError(f"want 1 <= first <= last < {values.shape[0]} eigenvalues, got {first=}, {last=}")
    below = values[first : last + 1]
    depths = jnp.where(below > 0, values[first - 1 : last] / below, -jnp.inf)
    best = jnp.argmax(depths)
    return Cliff((best + first).astype(jnp.int32), jnp.where(depths[best] > 0, depths[best], jnp.nan))


def overlap(a: Array, b: Array) -> Array:
    """Give the mean squared cosine of the principal angles of two subspaces, `|A' B|_F^2 / min(R, S)`.

    a: `[M, R]`, b: `[M, S]`, orthonormal columns. 1 where one holds the other; `max(R, S) / M` for random ones.
    """
    chex.assert_equal_shape_prefix([a, b], 1)
    return jnp.sum(matmul(a.T, b) ** 2) / min(a.shape[1], b.shape[1])


def matrix(kernel: Array) -> Array:
    """Write a kernel as a matrix."""
    return flatten(kernel) if kernel.ndim == 4 else kernel


def centre(kernel: Array) -> Array:
    """Take the mean out of the features: `H K H`."""
    rows = kernel - jnp.mean(kernel, 0, keepdims=True)
    return rows - jnp.mean(rows, 1, keepdims=True)
