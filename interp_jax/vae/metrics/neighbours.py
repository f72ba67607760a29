"""InfoMEC: modularity, compactness and explicitness from normalised information (Hsu et al. 2023, section 4).

The information of a continuous latent with a factor is Ross's nearest-neighbour estimate, in one dimension by bisection
in sorted values: `core.information.ross` of values without ties, at N log N. It is divided by the factor's entropy.
Latents whose range is below a twentieth of the largest are left out.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma

from interp_jax.core import checks
from interp_jax.core.information import entropy, pairwise_mutual_information
from interp_jax.core.ranking import bisect
from interp_jax.core.types import Array, ArrayLike
from interp_jax.data.factors import Sizes
from interp_jax.linear import logistic, svm
from interp_jax.linear.fits import predict
from interp_jax.vae.metrics import inputs, order


class InfoMEC(NamedTuple):
    """infom, infoc, infoe: `[]`. information: `[D, F]`, over the factor's entropy. active: `[D]` bool, latents kept."""

    infom: Array
    infoc: Array
    infoe: Array
    information: Array
    active: Array


def infomec(
    codes: Array,
    factors: Array,
    sizes: Sizes,
    *,
    k: int = 10,
    smallest: ArrayLike = 0.05,
    alpha: ArrayLike = 1e-2,
    train: int | None = None,
    in_sample: bool = False,
    steps: int = 50,
) -> InfoMEC:
    """Compute all three of codes `[N, D]` and factors `[N, F]` int; the defaults are the paper's, but for `infoe`."""
    information = neighbour_information(codes, factors, sizes, k=k)
    active = in_range(codes, smallest=smallest)
    explicit = infoe(codes, factors, sizes, alpha=alpha, train=train, in_sample=in_sample, steps=steps)
    return InfoMEC(infom(information, active), infoc(information, active), explicit, information, active)


def infom(information: Array, active: Array) -> Array:
    """Give modularity: how far each active latent knows one factor only, from 0 to 1.

    `(mean_d max_f I / sum_f I - 1 / F) / (1 - 1 / F)`. information: `[D, F]`. active: `[D]` bool. Perfect codes have 1
    up to the estimate's noise. Estimates below zero count as zero, as in scikit-learn. NaN for one factor, and where no
    latent is active or an active one knows nothing at all.
    """
    information = jnp.maximum(information, 0)
    share = jnp.max(information, 1) / jnp.sum(information, 1)
    chance = 1 / information.shape[1]
    mean = jnp.sum(jnp.where(active, share, 0)) / jnp.sum(active)
    return (mean - chance) / (1 - chance) if information.shape[1] > 1 else jnp.full_like(mean, jnp.nan)


def infoc(information: Array, active: Array) -> Array:
    """Give compactness: how far each factor is known to one active latent only, from 0 to 1.

    `(mean_f max_d I / sum_d I - 1 / A) / (1 - 1 / A)` over the A active latents. NaN where one latent is active: that
    is 0/0 (the peer divides), and a single latent that holds everything is neither compact nor not.
    """
    information = jnp.where(active[:, None], jnp.maximum(information, 0), 0)
    share = jnp.max(information, 0) / jnp.sum(information, 0)
    number = jnp.sum(active)
    chance = 1 / number
    value = (jnp.mean(share) - chance) / (1 - chance)
    return jnp.where(number > 1, value, jnp.nan)


def infoe(
    codes: Array,
    factors: Array,
    sizes: Sizes,
    *,
    alpha: ArrayLike = 1e-2,
    train: int | None = None,
    in_sample: bool = False,
    steps: int = 50,
) -> Array:
    """Give explicitness: the share of a factor's entropy that a linear softmax removes, the mean over factors, `[]`.

    `1 - (cross entropy given the code) / log K`, with classes weighted alike in the fit (the null model's cross entropy
    is then log K). Latents are standardised, pruned ones too. The fit is on the first `train` rows (half, if None), the
    score on the rest; it is below 0 for a code that only overfits.

    The peer scores the rows it fitted: `in_sample=True`. It fits without a penalty and stops after 100 steps, wherever
    it is then on codes that separate the classes; alpha, on the sum over rows, gives such codes a minimum. 40 steps
    came within 3e-4 of it, 20 within 5e-3 (5,000 rows, 10 latents, dSprites' factors). NaN where a
    factor has one class, a class has no rows to fit, or a code is not finite.
    """
    checks.whole(1, steps=steps)
    n = codes.shape[0]
    train = n // 2 if train is None else train
    valid = inputs.checked(codes, factors, sizes)
    if not 0 < train <= n or (train == n and not in_sample):
        raise ValueError(f"want 0 < train < {n}, rows to fit and rows to score, got {train=}")
    centre, spread = jnp.mean(codes[:train], 0), jnp.std(codes[:train], 0)
    varies = inputs.vary(codes[:train])
    scale = jnp.where(varies, 1 / jnp.where(varies, spread, 1), 0)
    x = (codes - jnp.broadcast_to(centre, codes.shape)) * scale[None]
    scored = slice(0, train) if in_sample else slice(train, n)

    # factors share one program, which takes longer to compile than to run: classes that a factor lacks have no rows
    most, kinds = max(sizes), jnp.arange(max(sizes))

    def removed(y: Array, size: Array) -> Array:
        """Give what is removed of one factor of `size` classes."""
        weights = svm.balanced(y[:train], most) * (most / size.astype(x.dtype))
        one_hot = jax.nn.one_hot(y[:train], most, dtype=x.dtype)
        found = logistic.fit_softmax(x[:train], one_hot, alpha, weights=weights, steps=steps, tol=1e-4)
        seen = jnp.all(jnp.isfinite(found.level) | (kinds >= size)) & (size > 1)
        loss = -jnp.mean(logistic.log_likelihood(predict(found, x[scored]), y[scored]))
        return jnp.where(seen, 1 - loss / jnp.log(size.astype(x.dtype)), jnp.nan)

    each = jax.lax.map(lambda pair: removed(*pair), (factors.T, jnp.array(sizes)))
    return jnp.where(valid, jnp.mean(each), jnp.nan)


def in_range(codes: Array, *, smallest: ArrayLike = 0.05) -> Array:
    """Tell which latents have more than `smallest` of the largest range, a bool `[D]`: none where all are constant."""
    spread = jnp.max(codes, 0) - jnp.min(codes, 0)
    return spread > smallest * jnp.max(spread)


def neighbour_information(codes: Array, factors: Array, sizes: Sizes, *, k: int = 10) -> Array:
    """Estimate `I(latent; factor) / H(factor)` of continuous latents, `[D, F]`, by k nearest neighbours.

    codes: `[N, D]`. A constant latent has 0. One with ties (k + 1 equal values in a class: a discrete code) is NaN: the
    estimator takes ties for infinite density, which scikit-learn breaks by noise; take `discrete_information`. Not cut
    at zero. NaN for a factor of one class.
    """
    valid = inputs.checked(codes, factors, sizes)
    checks.whole(1, k=k)
    if codes.shape[0] <= k:
        raise ValueError(f"want more than {k=} samples, got {codes.shape[0]}")
    count = max(sizes)

    def latent(x: Array) -> Array:
        places = jnp.argsort(x)
        return jax.vmap(lambda y: ross_sorted(x[places], y[places], count, k=k), 1)(factors)

    # one latent after the other: what they gather does not fit a cache together
    matrix = jax.lax.map(latent, codes.T)
    matrix = jnp.where(inputs.vary(codes)[:, None], matrix, 0)
    return jnp.where(valid, matrix / _entropies(factors, sizes)[None], jnp.nan)


def discrete_information(codes: Array, factors: Array, levels: int, sizes: Sizes) -> Array:
    """Give `I(latent; factor) / H(factor)` of discrete latents, `[D, F]`, from counts.

    codes: `[N, D]` int in `[0, levels)` (quantised latents). The plug-in estimate, as in the peer.
    """
    matrix = pairwise_mutual_information(codes, factors, sizes=(levels, max(sizes)))
    return matrix / _entropies(factors, sizes)[None]


def ross_sorted(x: Array, y: Array, count: int, *, k: int) -> Array:
    """Estimate `I(x; y)` in nats, `[]`, of a rising x `[N]` and labels y `[N]` in `[0, count)` (Ross 2014, eq. 2).

    NaN if k + 1 values of a class are equal. Labels seen once are left out, as in `core.information.ross`.
    """
    n = x.shape[0]
    groups = order.group(x, y, count)
    start, size = groups.start[groups.classes], groups.size[groups.classes]
    own = jnp.clip(size - 1, 1, k)
    here, at = groups.values, jnp.arange(n)
    reach = jnp.full(n, jnp.inf, x.dtype)
    for behind in range(k + 1):
        first = at - behind
        last = first + own
        inside = (behind <= own) & (first >= start) & (last < start + size)
        span = jnp.maximum(here - here[jnp.clip(first, 0, n - 1)], here[jnp.clip(last, 0, n - 1)] - here)
        reach = jnp.where(inside, jnp.minimum(reach, span), reach)
    zero, top = jnp.zeros(n, jnp.int32), jnp.full(n, n, jnp.int32)
    low = bisect(lambda i: here - x[i] >= reach, zero, top, n)
    high = bisect(lambda i: x[i] - here < reach, zero, top, n)
    kept = size > 1
    seen = order.running((groups.size[y] > 1).astype(jnp.int32))
    within = jnp.maximum(seen[high] - seen[low], 1)  # the point itself is among them
    each = digamma(own.astype(x.dtype)) - digamma(size.astype(x.dtype)) - digamma(within.astype(x.dtype))
    number = jnp.sum(kept.astype(x.dtype))
    value = digamma(number) + jnp.sum(jnp.where(kept, each, 0)) / number
    tied = jnp.any(kept & (reach == 0)) | (number == 0)
    return jnp.where(tied, jnp.nan, value)


def _entropies(factors: Array, sizes: Sizes) -> Array:
    counts = jnp.sum(jax.nn.one_hot(factors, max(sizes)), 0)
    each = jax.vmap(entropy)(counts)
    return jnp.where(each > 0, each, jnp.nan)
