"""Linear discriminants of K classes in closed form: classes are Gaussian, with one covariance, full, shrunk, or round.

The logits of class c are those of Bayes' rule (Hastie, Tibshirani and Friedman 2009, eq. 4.10):

    x' S^-1 m_c - m_c' S^-1 m_c / 2 + log p_c

with class means m, class shares p and the covariance S within classes. Two classes with S = 1 differ in `m_1 - m_0`,
the mass-mean probe (Marks and Tegmark 2023), and with S of the rows in its variant for classification;
`cav.difference_of_means` and `cav.discriminant` give these two with a boundary midway, whatever the shares.
"""

import jax.numpy as jnp

from interp_jax.core.checks import not_negative
from interp_jax.core.linalg import add_row, matmul
from interp_jax.core.types import Array, ArrayLike
from interp_jax.linear import ridge
from interp_jax.linear.fits import LinearFit, Rows, prepare, seal


def lda(x: Array, y: Array, alpha: ArrayLike, *, weights: Array | None = None) -> LinearFit:
    """Fit linear discriminant analysis; `predict` gives logits, equal to Bayes' rule up to a term all classes share.

    x: `[N, D]`. y: `[N, K]`, `jax.nn.one_hot(classes, K)`. alpha: `[]`, added to the sums of squares within classes
    (`N S + alpha`), above 0 where features repeat or outnumber rows. weights: `[N]`, zero deletes a row.

    By singular values of the rows about their class means, so that the condition number is not squared; `converged` is
    False where the precision cannot hold it. A class without rows gets the logit -inf.

    >>> import jax
    >>> x = jnp.array([[-3.0], [-1.0], [1.0], [3.0]])
    >>> lda(x, jax.nn.one_hot(jnp.array([0, 0, 1, 1]), 2), 0.0).weight.round(3).tolist()
    [[-2.0, 2.0]]
    """
    not_negative(alpha=alpha)
    rows = prepare(x, y, alpha, weights)
    middle, means, shares = _means(rows)
    root, total = jnp.sqrt(rows.weights)[:, None], jnp.sum(rows.weights)
    within = add_row(rows.x, -middle) - matmul(rows.y, means)
    spectrum = ridge.svd(root * within, root * rows.y)
    stiffness = spectrum.squares + jnp.asarray(alpha, rows.x.dtype)
    kept = stiffness > spectrum.floor
    inverse = jnp.where(kept, total / jnp.where(kept, stiffness, 1), 0)[:, None]
    weight = matmul(spectrum.basis, inverse * matmul(spectrum.basis.T, means.T))
    trusted = ((stiffness >= spectrum.limit) | (stiffness <= spectrum.null)).all()
    return _bayes(rows, weight, middle, means, shares)._replace(converged=trusted & rows.valid & (shares > 0).all())


def mass_mean(x: Array, y: Array, *, weights: Array | None = None) -> LinearFit:
    """Fit class means with a round covariance, of the mean variance within classes: `lda` with S a multiple of 1.

    The weights point from mean to mean (Marks and Tegmark 2023, section 5); all else is as in `lda`.
    """
    rows = prepare(x, y, 0.0, weights)
    middle, means, shares = _means(rows)
    within = add_row(rows.x, -middle) - matmul(rows.y, means)
    variance = jnp.sum(rows.weights[:, None] * within**2) / (jnp.sum(rows.weights) * rows.x.shape[1])
    return _bayes(rows, means.T / variance, middle, means, shares)


def _means(rows: Rows) -> tuple[Array, Array, Array]:
    """Give the mean of all rows `[D]`, class means about it `[K, D]` (zero for an empty class), and shares `[K]`."""
    total = jnp.sum(rows.weights)
    middle = matmul(rows.weights, rows.x) / total
    heavy = rows.weights[:, None] * rows.y
    count = jnp.sum(heavy, 0)
    means = matmul(heavy.T, add_row(rows.x, -middle)) / jnp.where(count > 0, count, 1)[:, None]
    return middle, means, count / total


def _bayes(rows: Rows, weight: Array, middle: Array, means: Array, shares: Array) -> LinearFit:
    level = jnp.log(shares) - jnp.sum(means.T * weight, 0) / 2
    full = (jnp.abs(jnp.sum(rows.y, 1) - 1) < 1e-3) | (rows.weights == 0)
    found = LinearFit(weight, level, middle, (shares > 0).all(), jnp.int32(0), jnp.zeros((), weight.dtype))
    return seal(found, rows.valid & full.all())
