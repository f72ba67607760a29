"""Disentanglement, completeness and informativeness from any matrix of importances (Eastwood and Williams 2018).

`dci` fits scikit-learn's gradient boosting, the study's choice and hours of work for a sweep; `dci_trees` boosts the
same trees on binned codes in JAX; `dci_lasso` is the paper's own linear regressor.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike
from interp_jax.data.factors import Sizes
from interp_jax.linear import elastic_net
from interp_jax.linear.fits import predict
from interp_jax.vae.metrics import inputs, trees


class DCI(NamedTuple):
    """Scores, scalars but for the last three.

    disentanglement, completeness: from 0 to 1. train, test: informativeness, means over factors. importance: `[D, F]`.
    latents: `[D]`, disentanglement of each latent, NaN without importance. factors: `[F]`, completeness of each factor.
    """

    disentanglement: Array
    completeness: Array
    train: Array
    test: Array
    importance: Array
    latents: Array
    factors: Array


def dci_from_importance(importance: Array, train: ArrayLike, test: ArrayLike, *, undefined: ArrayLike = jnp.nan) -> DCI:
    """Score a matrix `[D, F]` of importances, not negative (Eastwood and Williams 2018, section 2).

    Disentanglement of a latent is `1 - entropy of its row / log F`, completeness of a factor `1 - entropy of its column
    / log D`; the scores are their means, weighted by the importance of the row (column). The identity, permuted, scaled
    or joined by rows of zeros, has 1 and 1; a uniform matrix 0 and 0; a duplicated latent, half the importance each,
    leaves disentanglement 1.

    undefined: the scores of a matrix of zeros, for which the peer gives 0. NaN for disentanglement of one factor and
    completeness of one latent. A negative importance or NaN makes both NaN. (The peer adds 1e-11 to all importances and
    takes logarithms of that: a difference of 1e-9.)
    """
    disentanglement, latents = _concentration(importance, undefined)
    completeness, factors = _concentration(importance.T, undefined)
    return DCI(disentanglement, completeness, jnp.asarray(train), jnp.asarray(test), importance, latents, factors)


def _concentration(importance: Array, undefined: ArrayLike) -> tuple[Array, Array]:
    """Give the weighted mean of `1 - entropy / log(width)` of the rows, and that of each row."""
    total = jnp.sum(importance, 1)
    share = importance / jnp.where(total > 0, total, 1)[:, None]
    width = importance.shape[1]
    scale = 1 / jnp.log(float(width)) if width > 1 else jnp.nan
    each = jnp.where(total > 0, 1 - jnp.sum(jax.scipy.special.entr(share), 1) * scale, jnp.nan)
    weight = total / jnp.where((whole := jnp.sum(total)) > 0, whole, 1)
    score = jnp.sum(jnp.where(total > 0, weight * each, 0))
    score = jnp.where(whole > 0, score, undefined)
    return jnp.where(jnp.all(importance >= 0), score, jnp.nan), each


def dci_trees(
    codes: Array,
    factors: Array,
    test_codes: Array,
    test_factors: Array,
    sizes: Sizes,
    *,
    bins: int = 32,
    stages: int = 10,
    rate: ArrayLike = 0.1,
    undefined: ArrayLike = jnp.nan,
) -> DCI:
    """Score importances of trees boosted in JAX on codes cut into quantile bins: for sweeps, in place of `dci`.

    codes, test_codes: `[N, D]`, `[M, D]`. factors, test_factors: `[N, F]`, `[M, F]` int. stages: 10, not the peer's
    100: an importance adds up improvements, which the first trees make. Informativeness is accuracy, and after 10 trees
    at a rate of .1 lower than the peer's. With `bins` at least the number of values of a code and equal stages, the
    trees are scikit-learn's, up to ties.

    Invariant to increasing functions of a latent, which is more than `dci_lasso` has. A dead latent has importance 0.
    NaN if a code is not finite or a class out of range.
    """
    checks.whole(2, bins=bins)
    checks.whole(1, stages=stages)
    checks.positive(rate=rate)
    valid = inputs.checked(codes, factors, sizes) & inputs.checked(test_codes, test_factors, sizes)
    edges = trees.quantile_edges(codes, bins)
    cuts, test_cuts = trees.cut(codes, edges), trees.cut(test_codes, edges)
    found = trees.boost(cuts, factors, test_cuts, test_factors, sizes, bins=bins, stages=stages, rate=rate)
    importance = jnp.where(valid, found.importance, jnp.nan)
    return dci_from_importance(importance, jnp.mean(found.train), jnp.mean(found.test), undefined=undefined)


def dci_lasso(
    codes: Array,
    factors: Array,
    test_codes: Array,
    test_factors: Array,
    *,
    alpha: ArrayLike = 0.01,
    undefined: ArrayLike = jnp.nan,
    steps: int = 1000,
) -> DCI:
    """Score the sizes of the coefficients of a lasso from codes to factors, both standardised.

    codes, test_codes: `[N, D]`, `[M, D]`. factors, test_factors: `[N, F]`, `[M, F]`, numbers on a scale: the order of
    the classes is taken for theirs. Eastwood and Williams choose alpha by cross-validation; here it is given, in
    standard deviations, so that nothing but noise is at most alpha from zero. Informativeness is `1 - NRMSE`, the root
    of the mean square error over the standard deviation; below 0 where the fit does worse than the mean.

    What it cannot see: a latent that a factor determines but not linearly (an angle, a shape's number). So it is not a
    fast DCI: over 32 beta-VAEs of one strength it ranks disentanglement with a correlation of .42 with scikit-learn's
    boosted trees, where `dci_trees` has .88, as those among themselves (`scripts/benchmarks/dci.py ranks`).

    Invariant to permutation, sign, scale and shift. Dead latents have importance 0; a constant factor's completeness is
    NaN, and its informativeness with it. NaN if a code is not finite.
    """
    values, test_values = (each.astype(codes.dtype) for each in (factors, test_factors))
    x, test_x = _standardise(codes, test_codes)
    y, test_y = _standardise(values, test_values)
    fit = elastic_net.fit(x, y, alpha, steps=steps)

    def fitness(x: Array, y: Array) -> Array:
        error = jnp.mean((predict(fit, x) - y) ** 2, 0)
        return jnp.mean(jnp.where(inputs.vary(values), 1 - jnp.sqrt(error), jnp.nan))

    importance = jnp.abs(fit.weight)
    return dci_from_importance(importance, fitness(x, y), fitness(test_x, test_y), undefined=undefined)


def _standardise(a: Array, other: Array) -> tuple[Array, Array]:
    """Give both about the mean of the first, in its standard deviations; a constant column is 0."""
    varies = inputs.vary(a)
    mean, spread = jnp.mean(a, 0), jnp.std(a, 0)
    scale = jnp.where(varies, 1 / jnp.where(varies, spread, 1), 0)
    one, two = ((each - jnp.broadcast_to(mean, each.shape)) * scale[None] for each in (a, other))
    broken = jnp.where(jnp.all(jnp.isfinite(a)) & jnp.all(jnp.isfinite(other)), 0.0, jnp.nan)
    return one + broken, two


def dci(codes: Any, factors: Any, test_codes: Any, test_factors: Any, *, seed: int = 0, stages: int = 100) -> DCI:
    """Fit scikit-learn's `GradientBoostingClassifier` to each factor, on the host: the study's DCI.

    codes, test_codes: `[N, D]`, `[M, D]`. factors, test_factors: `[N, F]`, `[M, F]` int. Minutes at 10,000 points and
    dSprites' factors. Informativeness is accuracy. seed: of the order of features, which decides ties. A factor of one
    class, which scikit-learn refuses, has importance 0 and makes informativeness NaN. Needs the extra `sklearn`.
    """
    try:
        from sklearn.ensemble import GradientBoostingClassifier
    except ImportError as error:
        raise ImportError("metrics.dci needs scikit-learn: pip install 'interp_jax[sklearn]'") from error
    checks.whole(1, stages=stages)
    codes, factors, test_codes, test_factors = map(np.asarray, (codes, factors, test_codes, test_factors))
    columns, hits = [], []
    for y, test_y in zip(factors.T, test_factors.T, strict=True):
        if np.all(y == y[0]):
            columns.append(np.zeros(codes.shape[1]))
            hits.append((np.nan, np.nan))
            continue
        model = GradientBoostingClassifier(n_estimators=stages, random_state=seed).fit(codes, y)
        columns.append(model.feature_importances_)
        hits.append((model.score(codes, y), model.score(test_codes, test_y)))
    train, test = np.mean(hits, 0)
    return dci_from_importance(jnp.asarray(np.stack(columns, 1), jnp.float32), train, test)
