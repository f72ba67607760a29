"""What a linear classifier reads from a code: explicitness, and downstream accuracy at few and many labels.

Many one-versus-rest logistic regressions on the same few features are fitted together by Newton's method: the Hessians
of all classes are one matrix product, [classes, rows] x [rows, products of two features], and some eight steps do,
where descent by gradients takes a hundred.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks
from interp_jax.core.linalg import matmul
from interp_jax.core.ranking import roc_auc_one_versus_rest
from interp_jax.core.types import Array, ArrayLike
from interp_jax.data.factors import Sizes
from interp_jax.linear.fits import LinearFit, predict
from interp_jax.vae.metrics import inputs
from interp_jax.vae.metrics.intervention import Fit

HALVINGS = 12
LOOSE = {"tol": 1e-2, "floor": 1e-2}
"""Enough to choose a penalty by: the gap is from before the last step, which squares it."""


def newton(
    x: Array,
    y: Array,
    alpha: ArrayLike,
    *,
    weights: Array | None = None,
    start: Array | None = None,
    steps: int = 30,
    tol: float = 1e-4,
    floor: float = 0.0,
) -> LinearFit:
    """Fit K independent labels by logistic regression with free intercepts: `logistic.fit` for few features.

    x: `[N, D]`, standardised (it is used as it is, in float32). y: `[N, K]`, 0 or 1. alpha: above 0, one over
    scikit-learn's C, `[]` or `[K]`. weights: `[N]`, not negative. start: `[D + 1, K]`, of weights over the level.

    `gap` is the largest decrease of a label's objective that a step still promised, over the objective, or over
    `floor` nats a row where it is less: labels that are as good as separated need not be better so. `converged` is
    `gap < tol`. A class without rows, or without others, has weight 0 and level -inf, or inf.
    """
    checks.positive(alpha=alpha, tol=tol)
    checks.whole(1, steps=steps)
    chex.assert_rank([x, y], 2)
    n, dims = x.shape
    # classes by rows: that is how a CPU vectorises what follows
    y, weights = y.T, jnp.ones(n, x.dtype) if weights is None else weights
    mean = matmul(y, weights) / jnp.sum(weights)
    inside = (mean > 0) & (mean < 1)
    design = jnp.concatenate([x, jnp.ones((n, 1), x.dtype)], 1)
    products = _products(design) * weights[:, None]
    alphas = jnp.broadcast_to(jnp.asarray(alpha, x.dtype), mean.shape)
    least = floor * jnp.sum(weights) + jnp.finfo(x.dtype).tiny
    penalty = alphas[:, None] * (jnp.arange(dims + 1) < dims)[None]

    def height(point: Array, outputs: Array) -> Array:
        loss = jax.nn.relu(outputs) + jnp.log(1 + jnp.exp(-jnp.abs(outputs))) - y * outputs
        return matmul(loss, weights) + 0.5 * jnp.sum(penalty * point**2, 1)

    def step(state: tuple) -> tuple:
        point, outputs, value, _, count = state
        p = jax.nn.sigmoid(outputs)
        slope = matmul((p - y) * weights[None], design) + penalty * point
        flat = matmul(p * (1 - p), products)
        # the level of separated classes has no curvature left: a floor keeps the step finite
        hessian = _symmetric(flat, dims + 1) + jax.vmap(jnp.diag)(penalty + 1e-6 * jnp.max(alphas))
        move = -jnp.linalg.solve(hessian, slope[..., None])[..., 0]
        promised = -jnp.sum(slope * move, 1) / 2
        ray = matmul(move, design.T)
        size, value = _halve(lambda t: height(point + t * move, outputs + t * ray), value, promised)
        gap = jnp.max(jnp.where(inside, promised / jnp.maximum(value, least), 0))
        return point + size[:, None] * move, outputs + size[:, None] * ray, value, gap, count + 1

    def unfinished(state: tuple) -> Array:
        return ~(state[3] < tol) & (state[4] < steps)

    prior = jax.scipy.special.logit(jnp.where(inside, mean, 0.5))
    first = jnp.zeros_like(penalty).at[:, -1].set(prior) if start is None else start.T
    outputs = matmul(first, design.T)
    state = (first, outputs, height(first, outputs), jnp.full((), jnp.inf, x.dtype), jnp.int32(0))
    point, _, _, gap, count = jax.lax.while_loop(unfinished, step, state)
    weight = jnp.where(inside[None], point[:, :dims].T, 0)
    level = jnp.where(inside, point[:, dims], jnp.where(mean > 0.5, jnp.inf, -jnp.inf))
    return LinearFit(weight, level, jnp.zeros(dims, x.dtype), (gap < tol) & inside.all(), count, gap)


def _products(a: Array) -> Array:
    """Give the products `[N, P (P + 1) / 2]` of every two columns of `a [N, P]`."""
    one, two = jnp.triu_indices(a.shape[1])
    return a[:, one] * a[:, two]


def _symmetric(flat: Array, width: int) -> Array:
    """Give symmetric matrices `[K, P, P]` from sums of `_products`, `[K, P (P + 1) / 2]`."""
    one, two = jnp.triu_indices(width)
    return jnp.zeros((flat.shape[0], width, width), flat.dtype).at[:, one, two].set(flat).at[:, two, one].set(flat)


def _halve(height: Callable[[Array], Array], value: Array, promised: Array) -> tuple[Array, Array]:
    """Halve each label's step until its objective falls, to rounding; give the steps `[K]` and the objectives there.

    height: `[K, 1] -> [K]`.
    """
    slack = 16 * jnp.finfo(value.dtype).eps * jnp.abs(value)

    def high(state: tuple) -> Array:
        size, now, count = state
        return jnp.any(now > value - 0.1 * size * promised + slack) & (count < HALVINGS)

    def step(state: tuple) -> tuple:
        size, now, count = state
        size = jnp.where(now > value - 0.1 * size * promised + slack, size / 2, size)
        return size, height(size[:, None]), count + 1

    whole = jnp.ones_like(value)
    size, now, _ = jax.lax.while_loop(high, step, (whole, height(whole[:, None]), jnp.int32(0)))
    kept = now <= value + slack
    return jnp.where(kept, size, 0), jnp.where(kept, now, value)


class Explicitness(NamedTuple):
    """score: `[]`, mean over factors, on rows of its own. train: `[]`, in sample. each: `[F]`, of the score."""

    score: Array
    train: Array
    each: Array


def explicitness(
    codes: Array,
    factors: Array,
    test_codes: Array,
    test_factors: Array,
    sizes: Sizes,
    *,
    fit: Fit | None = None,
) -> Explicitness:
    """Give the mean area under the ROC curve of one-versus-rest classifiers (Ridgeway and Mozer 2018).

    codes, test_codes: `[N, D]`, `[M, D]`, standardised here by the first. factors, test_factors: `[N, F]`, `[M, F]`
    int. fit: `newton` at C = 1 if None, the paper's classifiers; `lambda x, y: logistic.fit_softmax(x, y, 1.0)` is what
    the peer fits with scikit-learn from 0.22 on (recalled), and ranks by probabilities.

    1 for perfect codes of factors of two or three classes; the middle classes of an ordered factor are not on one side
    of a line, and count about 1/2. Random codes have 1/2. Scale, sign and rotation of a code change little (the penalty
    is small), permutation nothing. Dead latents are dropped (the peer divides by their deviation, 0, and fails). NaN
    where a class does not occur among the rows scored, or a code is not finite.
    """
    valid = inputs.checked(codes, factors, sizes) & inputs.checked(test_codes, test_factors, sizes)
    x, test_x = standardised(codes, test_codes)
    y = [jax.nn.one_hot(factors[:, i], size) for i, size in enumerate(sizes)]
    if fit is None:
        both = predict(newton(x, jnp.concatenate(y, 1), 1.0), jnp.concatenate([test_x, x]))
        outputs = jnp.split(both, np.cumsum(sizes)[:-1], 1)
    else:
        outputs = [jax.nn.log_softmax(predict(fit(x, each), jnp.concatenate([test_x, x])), 1) for each in y]
    rows = test_x.shape[0]
    classes = (test_factors, factors)
    each, train = (
        jnp.stack([jnp.mean(roc_auc_one_versus_rest(z[part], f[:, i])) for i, z in enumerate(outputs)])
        for part, f in zip((slice(rows), slice(rows, None)), classes, strict=True)
    )
    each, train = (jnp.where(valid, value, jnp.nan) for value in (each, train))
    return Explicitness(jnp.mean(each), jnp.mean(train), each)


def _point(fit: LinearFit) -> Array:
    """Give weights over the level `[D + 1, K]`, finite, for the next fit to begin at."""
    return jnp.concatenate([fit.weight, jnp.where(jnp.isfinite(fit.level), fit.level, 0)[None]])


class Downstream(NamedTuple):
    """score: `[]`, mean accuracy over factors on the test rows. each, alpha: `[F]`, accuracies and penalties chosen."""

    score: Array
    each: Array
    alpha: Array


def downstream(
    codes: Array,
    factors: Array,
    test_codes: Array,
    test_factors: Array,
    sizes: Sizes,
    *,
    penalties: int = 10,
    folds: int = 5,
) -> Downstream:
    """Give the test accuracy of one-versus-rest logistic regression whose penalty is chosen by cross-validation.

    codes, test_codes: `[N, D]`, `[M, D]`. factors, test_factors: `[N, F]`, `[M, F]` int. The study's labels are
    `codes[:n], factors[:n]` for n of 10, 100, 1,000 and 10,000. penalties: C from 1e-4 to 1e4 in equal ratios. folds:
    contiguous, unshuffled, as the study's `LogisticRegressionCV(Cs=10, cv=KFold(5))`.

    Where it differs: features are standardised; the penalty is one for each factor, chosen by the accuracy of the
    guessed class (scikit-learn's one-versus-rest, its default until 0.22 and the study's, chose one for each class by
    the accuracy of its own label; today's default is a softmax, recalled); ties go to the larger penalty. Classes not
    seen are never guessed. Lines between one class and the rest find the middle classes of an ordered factor badly.
    NaN if a code is not finite or a class out of range.
    """
    checks.whole(2, folds=folds, penalties=penalties)
    n = codes.shape[0]
    if n < folds:
        raise ValueError(f"want at least one label for each of {folds=}, got {n}")
    valid = inputs.checked(codes, factors, sizes) & inputs.checked(test_codes, test_factors, sizes)
    x, test_x = standardised(codes, test_codes)
    y = jnp.concatenate([jax.nn.one_hot(factors[:, i], size) for i, size in enumerate(sizes)], 1)
    alphas = jnp.logspace(4, -4, penalties, dtype=x.dtype)
    fold = jnp.arange(n) * folds // n

    def along(start: Array, alpha: Array) -> tuple[Array, Array]:
        point = _point(newton(x, y, alpha, start=start, **LOOSE))
        return point, point

    def without(i: Array) -> Array:
        """Give the accuracies `[P, F]` on a fold of fits without it, each begun where all rows ended."""
        weights = (fold != i).astype(x.dtype)

        def one(pair: tuple[Array, Array]) -> Array:
            found = newton(x, y, pair[1], weights=weights, start=pair[0], **LOOSE)
            return hits(predict(found, x), factors, sizes, weights=1 - weights)

        return jax.lax.map(one, (points, alphas))

    points = jax.lax.scan(along, _point(newton(x, y, alphas[0])), alphas)[1]
    scores = jax.lax.map(without, jnp.arange(folds))
    chosen = alphas[jnp.argmax(jnp.mean(scores, 0), 0)]
    spread = jnp.concatenate([jnp.full(size, chosen[i]) for i, size in enumerate(sizes)])
    each = hits(predict(newton(x, y, spread), test_x), test_factors, sizes)
    each = jnp.where(valid, each, jnp.nan)
    return Downstream(jnp.mean(each), each, chosen)


def hits(outputs: Array, factors: Array, sizes: Sizes, *, weights: Array | None = None) -> Array:
    """Give the (weighted) accuracy `[F]` of the largest output `[N, sum(sizes)]` of each factor."""
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    guess = [jnp.argmax(outputs[:, end - size : end], 1) for end, size in zip(ends, sizes, strict=True)]
    right = (jnp.stack(guess, 1) == factors).astype(outputs.dtype)
    weights = jnp.ones(outputs.shape[0], outputs.dtype) if weights is None else weights
    return matmul(weights, right) / jnp.sum(weights)


def standardised(codes: Array, others: Array) -> tuple[Array, Array]:
    """Give both about the mean of the first, in its standard deviations; dead dimensions are 0."""
    varies = inputs.vary(codes)
    mean, spread = jnp.mean(codes, 0), jnp.std(codes, 0)
    scale = jnp.where(varies, 1 / jnp.where(varies, spread, 1), 0)
    one, two = ((each - jnp.broadcast_to(mean, each.shape)) * scale[None] for each in (codes, others))
    return one, two
