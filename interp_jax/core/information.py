"""Entropy, mutual information and total correlation, in nats, each with its bias stated.

Three kinds of estimate: from counts (discrete variables, or continuous ones cut into bins), from nearest neighbours
(continuous variables, and mixed ones), from a covariance (Gaussian variables). All are functions of one run's arrays,
for `jax.vmap`, in the precision of their input; those from a covariance compute in float64 on the host when given numpy
arrays.

    estimate                              bias to first order, N samples
    entropy (plug-in)                     -(K - 1) / 2N                    K: cells that can occur
    miller_madow                          smaller, below zero where cells were never seen
    mutual_information (plug-in)          +(A - 1)(B - 1) / 2N             A, B: cells of either side
    ksg, ross                             about 0 when independent, below zero for strong dependence at small N
    kozachenko_leonenko                   vanishes with N, slowly in many dimensions
    gaussian_total_correlation            `total_correlation_bias`, exact for Gaussian samples

Estimates are not cut at zero, which would turn their noise into a bias; the mean over repeats stays honest.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, entr
from scipy import special

from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike

Entropy = Callable[[Array], Array]


def entropy(counts: Array) -> Array:
    """Give the plug-in entropy `-sum p log p` of counts of any shape; NaN if nothing was counted.

    >>> round(float(entropy(jnp.array([5.0, 5.0]))), 4)
    0.6931
    """
    return jnp.sum(entr(counts / jnp.sum(counts)))


def miller_madow(counts: Array) -> Array:
    """Give the plug-in entropy plus `(cells seen - 1) / 2N` (Miller 1955).

    >>> round(float(miller_madow(jnp.array([5.0, 5.0, 0.0]))), 4)
    0.7431
    """
    seen = jnp.sum((counts > 0).astype(counts.dtype))
    return entropy(counts) + (seen - 1) / (2 * jnp.sum(counts))


def mutual_information(joint: Array, *, estimator: Entropy = entropy) -> Array:
    """Give `H(a) + H(b) - H(a, b)` from joint counts `[A, B]`.

    estimator: `entropy` (as scikit-learn's `mutual_info_score`, which disentanglement_lib uses) or `miller_madow`. In
    float32 the sum cancels to about 1e-6.

    >>> round(float(mutual_information(jnp.array([[5.0, 0.0], [0.0, 5.0]]))), 4)
    0.6931
    """
    chex.assert_rank(joint, 2)
    return estimator(jnp.sum(joint, 1)) + estimator(jnp.sum(joint, 0)) - estimator(joint)


def discretise(x: Array, *, bins: int = 20) -> Array:
    """Cut one dimension `[N]` into equal bins over its own range, as disentanglement_lib does; int32 in `[0, bins)`.

    That is `np.digitize(x, np.histogram(x, bins)[1][:-1]) - 1`: bins are closed on the left, the maximum falls into
    the last. One outlier stretches the range and empties the bins: the peer's choice, kept. A constant dimension is one
    bin. If any value is not finite all become -1, which `joint_counts` counts nowhere, so that what follows is NaN.

    >>> discretise(jnp.array([0.0, 0.5, 1.0, 2.0]), bins=2).tolist()
    [0, 0, 1, 1]
    """
    chex.assert_rank(x, 1)
    checks.whole(1, bins=bins)
    low, high = jnp.min(x), jnp.max(x)
    flat = low == high
    low, high = jnp.where(flat, low - 0.5, low), jnp.where(flat, high + 0.5, high)
    edges = jnp.arange(bins, dtype=x.dtype) * ((high - low) / bins) + low
    index = jnp.searchsorted(edges, x, side="right").astype(jnp.int32) - 1
    return jnp.where(jnp.all(jnp.isfinite(x)), index, -1)


def joint_counts(a: Array, b: Array, *, sizes: tuple[int, int]) -> Array:
    """Count pairs of labels `[N]` into `[A, B]` by a product of one-hot matrices.

    Exact below 2^24 samples in float32, also where the machine multiplies in TF32 or bfloat16. Labels outside
    `[0, size)` count nowhere.

    >>> joint_counts(jnp.array([0, 1, 1]), jnp.array([0, 1, 0]), sizes=(2, 2)).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    chex.assert_rank([a, b], 1)
    chex.assert_equal_shape([a, b])
    return jax.nn.one_hot(a, sizes[0]).T @ jax.nn.one_hot(b, sizes[1])


def pairwise_mutual_information(a: Array, b: Array, *, sizes: tuple[int, int], estimator: Entropy = entropy) -> Array:
    """Give the mutual information `[D, F]` of every column of a with every column of b.

    a: `[N, D]` labels in `[0, sizes[0])`; b: `[N, F]` labels in `[0, sizes[1])`, the largest number of values of any
    column. All pairs are counted by one matrix product `[D A, N] [N, F B]`.

    >>> labels = jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> np.round(jax.jit(lambda a: pairwise_mutual_information(a, a, sizes=(2, 2)))(labels), 3).tolist()
    [[0.693..., 0.0], [0.0, 0.693...]]
    """
    chex.assert_rank([a, b], 2)
    chex.assert_equal_shape_prefix([a, b], 1)
    n, (size_a, size_b) = a.shape[0], sizes
    flat_a = jax.nn.one_hot(a, size_a).reshape(n, -1)
    flat_b = jax.nn.one_hot(b, size_b).reshape(n, -1)
    joint = (flat_a.T @ flat_b).reshape(a.shape[1], size_a, b.shape[1], size_b)
    each = jax.vmap(jax.vmap(lambda counts: mutual_information(counts, estimator=estimator)))
    return each(jnp.swapaxes(joint, 1, 2))


def ksg(x: Array, y: Array, *, k: int = 3, block: int = 256) -> Array:
    """Estimate `I(x; y)` from k nearest neighbours (Kraskov et al. 2004, eq. 8), ties as Gao et al. 2017 count them.

    `psi(N) + mean(psi(k) - psi(n_x + 1) - psi(n_y + 1))`, where n_x counts the samples closer in x than the k-th
    neighbour is in (x, y); distances are Chebyshev's. x: `[N, D]`, y: `[N, E]`; work O(N^2), memory O(block N).

    Where values repeat (discrete, saturated or mixed variables), neighbours at the same distance all count: k becomes
    the number of samples up to the k-th neighbour, and n_x + 1 and n_y + 1 those up to that distance in x and in y.
    Where the distance is 0, the sample itself is among all three. So discrete pairs have the plug-in estimate less its
    bias to first order (Gao et al. write log N for psi(N), which leaves 1 / 2N of it). Of x with itself the estimate is
    `psi(N) - psi(k)` for every x without ties: that is no entropy. A constant has 0. In more than a few dimensions it
    is far too low, which `k` does not mend.

    The scales of x and y matter at finite N: standardise first, and leave the values of a discrete variable further
    apart than neighbours of the other: then `ksg` is `ross`. N is the number of samples: the code of Parisini et al.
    2025 takes N times D, which adds log D to every estimate.

    >>> x = jax.random.normal(jax.random.key(0), (500, 2))
    >>> bool(abs(jax.jit(ksg)(x[:, :1], x[:, 1:])) < 0.1)
    True
    """
    chex.assert_rank([x, y], 2)
    chex.assert_equal_shape_prefix([x, y], 1)
    n = _enough(x, k)

    def within(i: Array) -> Array:
        dx, dy = _chebyshev(x, i), _chebyshev(y, i)
        both = jnp.maximum(dx, dy)
        reach = _nearest(both, k)[-1]
        return jnp.stack([_within(each, reach) for each in (both, dx, dy)])

    each = digamma(_rows(within, n, block).astype(x.dtype))
    return _defined(float(special.digamma(n)) + jnp.mean(each[:, 0] - each[:, 1] - each[:, 2]), x, y)


def ross(x: Array, labels: Array, *, k: int = 3, block: int = 256) -> Array:
    """Estimate `I(x; label)` of a continuous and a discrete variable (Ross 2014, eq. 2), ties in x as in `ksg`.

    `psi(N) + mean(psi(k_i) - psi(N_label) - psi(m_i))`, where m_i counts the samples up to the k-th neighbour of the
    same label. x: `[N, D]`, labels: `[N]` integers. Labels seen once are left out and smaller classes use
    `k_i = N_label - 1`, as in scikit-learn; NaN if every label is seen once.

    Neighbours at the same distance all count, in k_i and in m_i, and at distance 0 the sample itself: a hard concept
    has the plug-in estimate less its bias, a constant and a single label 0. (Ross's formula
    alone finds information in a constant; scikit-learn adds noise of 1e-10 deviations to x instead, and the code of
    Parisini et al. of 1e-10 means.)
    """
    chex.assert_rank([x, labels], [2, 1])
    chex.assert_equal_shape_prefix([x, labels], 1)
    n = _enough(x, k)
    order = jnp.sort(labels)
    total = jnp.searchsorted(order, labels, side="right") - jnp.searchsorted(order, labels, side="left")
    kept, number = total > 1, jnp.clip(total - 1, 1, k)

    def within(i: Array) -> Array:
        distance = jnp.where(kept, _chebyshev(x, i), jnp.inf)
        same = jnp.where(labels == labels[i], distance, jnp.inf)
        reach = _nearest(same, k)[number[i] - 1]
        return jnp.stack([_within(same, reach), total[i], _within(distance, reach)])

    each = digamma(_rows(within, n, block).astype(x.dtype))
    rest = jnp.sum(jnp.where(kept, each[:, 0] - each[:, 1] - each[:, 2], 0.0))
    count = jnp.sum(kept.astype(x.dtype))
    return _defined(jnp.where(count > 0, digamma(count) + rest / count, jnp.nan), x)


def kozachenko_leonenko(x: Array, *, k: int = 3, block: int = 256) -> Array:
    """Estimate the differential entropy of x `[N, D]` (Kozachenko and Leonenko 1987; Kraskov et al. 2004, eq. 20).

    `psi(N) - psi(k) + D mean(log(2 r))`, r the Chebyshev distance of the k-th neighbour; -inf for k + 1 equal samples.
    """
    chex.assert_rank(x, 2)
    n = _enough(x, k)
    reach = _rows(lambda i: _nearest(_chebyshev(x, i), k)[-1], n, block)
    return _defined(float(special.digamma(n) - special.digamma(k)) + x.shape[1] * jnp.mean(jnp.log(2 * reach)), x)


def gaussian_entropy(covariance: ArrayLike) -> Any:
    """Give `log det(2 pi e covariance) / 2` of covariances `[..., D, D]`; -inf if singular, NaN if not a covariance.

    >>> round(float(gaussian_entropy(np.eye(2))), 4)
    2.8379
    """
    xp, covariance = _floats(covariance)
    sign, log_det = xp.linalg.slogdet(covariance)
    value = 0.5 * (covariance.shape[-1] * np.log(2 * np.pi * np.e) + log_det)
    return xp.where(sign < 0, xp.nan, value)[()]


def gaussian_kl(mean: ArrayLike, covariance: ArrayLike, other_mean: ArrayLike, other_covariance: ArrayLike) -> Any:
    """Give `KL(N(mean, covariance) || N(other_mean, other_covariance))`; means `[D]`, covariances `[D, D]`.

    >>> round(float(gaussian_kl(np.ones(2), np.eye(2), np.zeros(2), np.eye(2))), 4)
    1.0
    """
    xp, mean, covariance, other_mean, other_covariance = _floats(mean, covariance, other_mean, other_covariance)
    gap = other_mean - mean
    spread = xp.trace(xp.linalg.solve(other_covariance, covariance)) - mean.shape[0]
    distance = gap @ xp.linalg.solve(other_covariance, gap)
    return spread / 2 + distance / 2 + gaussian_entropy(other_covariance) - gaussian_entropy(covariance)


def standard_normal_kl(mean: ArrayLike, log_variance: ArrayLike) -> Array:
    """Give `KL(N(mean, exp(log_variance)) || N(0, 1))` of each dimension, of the shape of mean; sum for a latent code.

    >>> float(standard_normal_kl(jnp.array(2.0), jnp.array(0.0)))
    2.0
    """
    return 0.5 * (jnp.square(mean) + jnp.expm1(log_variance) - log_variance)


def gaussian_total_correlation(covariance: Any, active: Any = None, *, tolerance: float | None = None) -> Any:
    """Give `-log det(correlation) / 2`, the total correlation of Gaussian variables, from covariances `[..., D, D]`.

    active: `[..., D]` booleans; the other dimensions are left out (passive latents confound it: Bonheme and Grzes).
    inf where a dimension is a combination of others: an eigenvalue of the correlation at most `tolerance`, D times the
    machine precision if not given. NaN where an active dimension is constant or the covariance is not finite. Of one
    dimension, or none, it is 0. Give a numpy covariance (`np.cov` of float64) for float64.

    For variables that are not Gaussian it is the total correlation of the Gaussian with their covariance, which bounds
    theirs neither way. disentanglement_lib computes the same from `KL(N(0, C) || N(0, diag C))`.

    >>> round(float(gaussian_total_correlation(np.array([[4.0, 1.0], [1.0, 1.0]]))), 4)
    0.1438
    """
    xp, covariance = _floats(covariance)
    dims = covariance.shape[-1]
    variance = xp.diagonal(covariance, axis1=-2, axis2=-1)
    active = xp.broadcast_to(xp.asarray(True if active is None else active, bool), variance.shape)
    spread = variance > 0  # False for NaN
    defined = xp.all(spread | ~active, axis=-1)
    scale = xp.sqrt(xp.where(spread, variance, 1.0))
    identity = xp.broadcast_to(xp.eye(dims, dtype=covariance.dtype), covariance.shape)
    both = active[..., :, None] & active[..., None, :] & (identity == 0)
    correlation = xp.where(both, covariance / (scale[..., :, None] * scale[..., None, :]), identity)
    defined = defined & xp.all(xp.isfinite(correlation), axis=(-2, -1))
    eigenvalues = xp.linalg.eigvalsh(xp.where(defined[..., None, None], correlation, identity))
    smallest = dims * xp.finfo(covariance.dtype).eps if tolerance is None else tolerance
    rank = eigenvalues > smallest
    value = -0.5 * xp.sum(xp.log(xp.where(rank, eigenvalues, 1.0)), axis=-1)
    return xp.where(defined, xp.where(xp.all(rank, axis=-1), value, xp.inf), xp.nan)[()]


def total_correlation_bias(samples: ArrayLike, dims: int) -> Any:
    """Give the mean excess of `gaussian_total_correlation` of N Gaussian samples over the truth, whatever the truth.

    `(D psi((N - 1) / 2) - sum over i = 1..D of psi((N - i) / 2)) / 2`, from the mean log determinant of a Wishart
    matrix; about `D (D - 1) / 4N`. float64 on the host; NaN for N <= D, where the sample correlation is singular.

    >>> round(float(total_correlation_bias(10_000, 10)), 6)
    0.002251
    """
    checks.whole(1, dims=dims)
    n = np.asarray(samples, float)[..., None]
    terms = special.digamma((n - 1) / 2) - special.digamma((np.maximum(n, dims + 1) - np.arange(1, dims + 1)) / 2)
    return np.where(n[..., 0] > dims, terms.sum(-1) / 2, np.nan)[()]


def _enough(x: Array, k: int) -> int:
    checks.whole(1, k=k)
    if x.shape[0] <= k:
        raise ValueError(f"want more than {k=} samples, got {x.shape[0]}")
    return x.shape[0]


def _rows(row: Callable[[Array], Array], n: int, block: int) -> Array:
    """Give `row(i)` for i < n, `block` rows at once; one program, the last block repeats the last row."""
    block = min(block, n)
    index = jnp.minimum(jnp.arange(-(-n // block) * block), n - 1).reshape(-1, block)
    values = jax.lax.map(jax.vmap(row), index)
    return values.reshape(-1, *values.shape[2:])[:n]


def _chebyshev(x: Array, i: Array) -> Array:
    """Give the distance `[N]` of every sample to sample i, infinite for itself."""
    distance = jnp.max(jnp.abs(x - x[i][None, :]), axis=1)
    return jnp.where(jnp.arange(x.shape[0]) == i, jnp.inf, distance)


def _within(distance: Array, reach: Array) -> Array:
    """Count the distances `[N]` up to `reach`, at least one more than below it; at 0 the sample itself too."""
    inside = jnp.sum(distance <= reach)
    return jnp.where(reach > 0, jnp.maximum(inside, 1 + jnp.sum(distance < reach)), 1 + inside)


def _nearest(distance: Array, k: int) -> Array:
    """Give the k smallest distances `[k]`, rising."""
    return -jax.lax.top_k(-distance, k)[0]


def _defined(value: Array, *inputs: Array) -> Array:
    finite = [jnp.all(jnp.isfinite(x)) for x in inputs]
    return jnp.where(jnp.all(jnp.stack(finite)), value, jnp.nan)


def _floats(*arrays: Any) -> tuple[Any, ...]:
    """Give the array module, and the arrays in it: numpy and float64, unless one of them is a JAX array."""
    if any(isinstance(array, jax.Array) for array in arrays):
        return jnp, *(jnp.asarray(array) for array in arrays)
    return np, *(np.asarray(array, float) for array in arrays)
