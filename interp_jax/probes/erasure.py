"""Erasing a concept from representations, so that no linear probe finds it, and what that leaves.

    eraser = leace(x, z)            # x [N, D] representations, z [N, K] the concept, classes as `jax.nn.one_hot`
    clean = erase(eraser, x)        # [N, D]; also one row [D], a batch [B, T, D], rows that were not fitted

LEACE changes representations least, in mean square, among all affine maps after which they do not covary with z; then
no linear predictor of z has less of any convex loss than the best constant (Belrose et al. 2023, theorems 3.1 and 4.2).
That is about the rows that were fitted, and about losses: the ACCURACY of a linear predictor may still be above the
majority's, as on x = -2, 1, 1 of one class and 2, -1, -1 of the other, whose means agree. Held-out rows covary with z
again as far as their means differ from those of the fitted ones. A predictor that is not linear may find all of it;
`probes.quadratic` takes second moments away as well. In floating point the erased directions hold rounding errors, 1e-7
of x, that are not independent of z: a probe must not scale such a direction up (a penalty, or no whitening, is enough).

Others: `mean_projection`, orthogonal to the differences of class means, which erases as much and changes more; `inlp`,
orthogonal to one classifier after another, whose guarantee is an empirical one; `random`, the control of equal rank.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.linalg import add_row, centre_rows, compress_rows, matmul, svd
from interp_jax.core.types import Array, Key
from interp_jax.linear import logistic
from interp_jax.linear.fits import LinearFit, Rows, accuracy, predict, prepare

Fit = Callable[[Array, Array], LinearFit]
"""A classifier: `(x [N, D], y [N]) -> LinearFit`."""


class Eraser(NamedTuple):
    """An affine map `x - (x - mean) @ read @ write`.

    mean: `[D]`. read: `[D, R]`. write: `[R, D]`. R counts directions that may be taken away, `rank []` those that are:
    the others are zero. left: `[]`, the largest correlation of a feature with a column of z that remains in the fitted
    rows, about 1e-6 in float32; NaN where none was fitted. All NaN for rows that are not finite.
    """

    mean: Array
    read: Array
    write: Array
    rank: Array
    left: Array


def erase(eraser: Eraser, x: Array) -> Array:
    """Apply an eraser to rows `[..., D]`."""
    chex.assert_rank(eraser.read, 2)
    chex.assert_axis_dimension(x, -1, eraser.mean.shape[0])
    about = add_row(x, -eraser.mean)
    return x - matmul(matmul(about, eraser.read), eraser.write)


def leace(x: Array, z: Array, *, weights: Array | None = None) -> Eraser:
    """Fit least-squares concept erasure (Belrose et al. 2023, theorem 4.3).

        r(x) = x - W^-1 U U.T W (x - mean),    W = cov(x)^(-1/2),    U an orthonormal basis of W cov(x, z)

    What an ordinary regression of z on x predicts is subtracted, each way it can be. The columns of z are brought to
    deviation 1 first: W cov(x, z) then has canonical correlations as singular values, which know no units, and one is
    nothing only under 1e-5 or so in float32. concept-erasure 0.2.4 compares with .01 the singular values of z as it
    is, which are small where a class is rare: at a prevalence of .1% it erases nothing, without a word. No shrinkage:
    with fewer rows than features all of z is explained by chance, and so is what is subtracted.

    Args:
        x: `[N, D]`.
        z: `[N]` or `[N, K]`: numbers, 0 and 1, or classes as `jax.nn.one_hot`. A column that does not vary counts for
            nothing.
        weights: `[N]`, not negative; zero deletes a row.
    """
    rows, x, z, mean = _standard(x, z, weights)
    width = x.shape[1]
    short = compress_rows(jnp.concatenate([x, z], 1))
    left, scales, right = svd(short[:, :width])
    eps = jnp.finfo(x.dtype).eps
    spanned = scales > 32 * eps * jnp.max(scales)  # left out of W only: `_sealed` erases all of cov(x, z)
    inverse = jnp.where(spanned, 1 / jnp.where(spanned, scales, 1), 0)[:, None]
    base, correlations, _ = svd(jnp.where(spanned[:, None], matmul(left.T, short[:, width:]), 0))
    kept = correlations > 10 * eps * max(width, z.shape[1]) ** 0.5
    read = matmul(right.T, inverse * jnp.where(kept[None], base, 0))
    return _sealed(rows, x, z, mean, read, jnp.sum(kept))


def mean_projection(x: Array, z: Array, *, weights: Array | None = None) -> Eraser:
    """Project onto the complement of cov(x, z): for classes, of the differences of their means.

    As linearly unreadable as after `leace`, and the map is a projection, symmetric; it changes x more. x, z, weights:
    as in `leace`.
    """
    rows, x, z, mean = _standard(x, z, weights)
    across = matmul(x.T, z)
    read, sizes, _ = svd(across)
    scale = jnp.sqrt(jnp.max(jnp.sum(x**2, 0)))
    kept = sizes > 10 * jnp.finfo(x.dtype).eps * max(across.shape) ** 0.5 * scale
    return _sealed(rows, x, z, mean, jnp.where(kept[None], read, 0), jnp.sum(kept))


def random(key: Key, x: Array, rank: int, *, weights: Array | None = None) -> Eraser:
    """Take `rank` random directions away, orthonormal: what erasing as much of anything does to a task."""
    checks.whole(1, rank=rank)
    if rank > x.shape[1]:
        raise ValueError(f"want rank <= {x.shape[1]} features, got {rank=}")
    rows = prepare(x, jnp.zeros(len(x)), 0.0, weights)
    _, mean, rest = centre_rows(rows.x, rows.weights)
    basis, _ = jnp.linalg.qr(jax.random.normal(key, (x.shape[1], rank), rows.x.dtype))
    mean = jnp.where(rows.valid, mean + rest, jnp.nan)
    return Eraser(mean, basis, basis.T, jnp.int32(rank), jnp.full((), jnp.nan, rows.x.dtype))


class Round(NamedTuple):
    """A round of `inlp`. accuracy: `[]`, of its classifier on the rows it was fitted to. added: `[]`, directions."""

    accuracy: Array
    added: Array


def _binary(x: Array, y: Array) -> LinearFit:
    return logistic.fit(x, y, 1.0)


def inlp(x: Array, y: Array, *, rounds: int, fit: Fit = _binary, columns: int = 1) -> tuple[Eraser, Round]:
    """Iterative null-space projection (Ravfogel et al. 2020, algorithm 1).

    In each round a classifier is fitted to what the rounds before have left, and the span of its weights is taken away.
    The authors stop by a classifier's accuracy on other rows: look at `Round`, or at your own, and keep the first
    `r columns` directions of `read` and `write`.

    Args:
        x: `[N, D]`.
        y: `[N]`, what `fit` takes: 0 and 1 by default.
        rounds: classifiers.
        fit: logistic regression with penalty 1 by default.
        columns: weights that a classifier has, 1 for a binary one.

    Returns:
        The eraser, R = `rounds columns`; and what each round found, stacked.

    Raises:
        ValueError: more directions than features.
    """
    checks.whole(1, rounds=rounds, columns=columns)
    if rounds * columns > x.shape[1]:
        raise ValueError(f"want rounds * columns <= {x.shape[1]} features, got {rounds * columns}")
    rows = prepare(x, y, 0.0, None)
    about, mean, rest = centre_rows(rows.x, rows.weights)

    def one(basis: Array, number: Array) -> tuple[Array, Round]:
        clean = about - matmul(matmul(about, basis), basis.T)
        found = fit(clean, y)
        chex.assert_shape(found.weight, (x.shape[1], columns))
        fresh = found.weight - matmul(basis, matmul(basis.T, found.weight))
        directions, sizes, _ = svd(fresh)
        kept = sizes > 1e3 * jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(found.weight))
        directions = jnp.where(kept[None], directions - matmul(basis, matmul(basis.T, directions)), 0)
        basis = jax.lax.dynamic_update_slice(basis, directions, (jnp.int32(0), number * columns))
        return basis, Round(accuracy(predict(found, clean), y.astype(jnp.int32)), jnp.sum(kept))

    empty = jnp.zeros((x.shape[1], rounds * columns), rows.x.dtype)
    basis, seen = jax.lax.scan(one, empty, jnp.arange(rounds))
    mean = jnp.where(rows.valid, mean + rest, jnp.nan)
    return Eraser(mean, basis, basis.T, jnp.sum(seen.added), jnp.full((), jnp.nan, rows.x.dtype)), seen


def correlation(x: Array, z: Array, *, weights: Array | None = None) -> Array:
    """Give the correlations of features with columns of z, `[D, K]`; 0 of what does not vary."""
    _, x, z, _ = _standard(x, z, weights)
    size = jnp.sqrt(jnp.sum(x**2, 0))
    return matmul((x / jnp.where(size > 0, size, 1)[None]).T, z)


def _standard(x: Array, z: Array, weights: Array | None) -> tuple[Rows, Array, Array, Array]:
    """Centre and weigh rows; bring the columns of z to sums of squares of 1, those that do not vary to 0."""
    rows = prepare(x, z, 0.0, weights)
    root = jnp.sqrt(rows.weights)[:, None]
    x, mean, rest = centre_rows(rows.x, rows.weights)
    level = jnp.max(jnp.abs(rows.y), 0)
    z, _, _ = centre_rows(rows.y, rows.weights)
    z = root * z
    size = jnp.sqrt(jnp.sum(z**2, 0))
    varies = size > 10 * jnp.finfo(x.dtype).eps * level * jnp.sqrt(jnp.sum(rows.weights))
    z = jnp.where(varies[None], z / jnp.where(varies, size, 1)[None], 0)
    return rows, root * x, z, mean + rest


def _sealed(rows: Rows, x: Array, z: Array, mean: Array, read: Array, rank: Array) -> Eraser:
    """Choose what is written back so that nothing of cov(x, z) is left: `cov(x, z) (read.T cov(x, z))^+`."""
    across = matmul(x.T, z)
    inner = matmul(read.T, across)
    left, sizes, right = svd(inner)
    kept = jnp.arange(sizes.size) < rank
    inverse = matmul(right.T, jnp.where(kept, 1 / jnp.where(kept & (sizes > 0), sizes, 1), 0)[:, None] * left.T)
    write = matmul(across, inverse).T
    clean = x - matmul(matmul(x, read), write)
    size = jnp.sqrt(jnp.sum(x**2, 0))  # of the features as they were: what is erased whole has no size of its own
    remains = jnp.max(jnp.abs(matmul(clean.T, z)) / jnp.where(size > 0, size, 1)[:, None], initial=0)
    mean, read, write, remains = (jnp.where(rows.valid, part, jnp.nan) for part in (mean, read, write, remains))
    return Eraser(mean, read, write, jnp.where(rows.valid, rank, 0), remains)
