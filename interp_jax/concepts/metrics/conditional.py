"""What representations tell of the task beyond all concepts together: `I(y; representations | concepts)`, in nats.

`H(y | c) - H(y | c, z)` by two classifiers fitted alike, one without z (Makonnen et al. 2025), each scored on the rows
it was fitted on and, cross-fitted, on those it was not. The first difference is high, the second low, by the same to
first order (the parameters that z adds, over 2 N, whatever they are); `nats` is their mean, in which that cancels. Mean
of 24 draws (6 at 10,000 rows) of turned Gaussians, and `held_out` beside it (1 nat is about a label of four classes):

    rows    dimensions    0 nat              .1 nat          .5 nat          1 nat           standard deviation of one
    1,000   1              .0001 (-.0005)    .104 (.103)     .500 (.500)                     .001  .013  .016
    1,000   4             -.0003 (-.0028)    .099 (.097)     .496 (.495)     .985 (.981)     .001  .011  .016  .025
    1,000   16             .0004 (-.0097)    .102 (.091)     .498 (.490)    1.000 (.977)     .004  .016  .016  .026
    1,000   64            -.0041 (-.049)     .095 (.048)     .489 (.440)     .971 (.835)     .006  .013  .021  .030
    10,000  64            -.0003 (-.0043)    .099 (.095)     .499 (.495)    1.003 (.990)     .001  .003  .005  .005

The standard errors are those over 5 (2.4 at 10,000 rows). So the bias is under .005 nat where z tells nothing, and at
most .03 elsewhere, at 15 rows a dimension and more. It grows with parameters over rows: at 5 rows a dimension (1,000 of
192) it was -.05 where there was nothing.

That holds for the family the classifier knows. The default, a softmax linear in z with a level for every combination of
concepts, is right for Gaussian z with one covariance whose means depend on y, shifted by c. For other families the
held-out difference tends to less than the truth, which is leakage that this classifier cannot use: `expand=quadratic`
is right for Gaussians whose covariance depends on y, `expand=by_concept` for means that depend on y and c together, and
`predictor=predictors.mlp(key, loss=exclusive)` learns what it can from enough rows; then read `held_out`, since a
network's training loss is not that of a minimum. Neighbours (`core.information`) need no family, and see less
from about eight dimensions on.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.concepts.metrics import inputs
from interp_jax.concepts.metrics.predictors import Predictor, softmax
from interp_jax.core import checks
from interp_jax.core.types import Array
from interp_jax.linear import ridge
from interp_jax.linear.fits import predict
from interp_jax.linear.logistic import log_likelihood

Base = Callable[[Array], Array]
"""`base(concepts [N, k]) -> [N, B]`: what the classifier is told of the concepts."""
Expand = Callable[[Array, Array], Array]
"""`expand(z [N, D], base [N, B]) -> [N, E]`: what it is told of the representations; zeros where z is 0."""

ROUNDING = 1e-4
"""A column of z that the concepts explain but for this share of its deviation tells nothing more in float32."""


class ConditionalLeakage(NamedTuple):
    """nats: `[]`, the estimate. held_out, training: `[]`, what it is the mean of. entropy: `[]`, H(y | c), likewise."""

    nats: Array
    held_out: Array
    training: Array
    entropy: Array


def conditional_leakage(
    representations: Array,
    concepts: Array,
    labels: Array,
    *,
    classes: int,
    predictor: Predictor | None = None,
    base: Base | None = None,
    expand: Expand | None = None,
    folds: int = 5,
) -> ConditionalLeakage:
    """Estimate `I(y; representations | concepts)`, all concepts and representations together.

    representations: `[N, k']` or `[N, k', m]`. concepts: `[N, k]`, 0 or 1. labels: `[N]` int in [0, classes). Every
    `folds`-th row is in a fold, so sorted rows do no harm. predictor: of classes; `softmax()` if None. base:
    `cells` if None and there are ten rows or more for each combination of concepts, else `pairs`, else `additive`: with
    these H(y | c) may be high. expand: `linear` if None.

    Exactly 0 for representations that the base explains to float32's precision: what the base explains of each column
    is taken from it first, which changes no information given c. So hard concepts that are right, and constants, leak
    nothing. `held_out` is a lower bound in expectation. Not cut at zero. Concepts that do not vary are no problem:
    given them is then given nothing. NaN where a class lacks rows to fit in some fold, labels are out of range, or a
    representation is not finite.
    """
    z, valid = inputs.checked(representations, concepts)
    chex.assert_rank(labels, 1)
    chex.assert_equal_shape_prefix([z, labels], 1)
    checks.whole(2, classes=classes, folds=folds)
    known = checks.concrete(labels)
    if known is not None and not ((known >= 0) & (known < classes)).all():
        raise ValueError(f"want labels in [0, {classes}), got {known.min()} to {known.max()}")
    n = z.shape[0]
    given = (base or _base(n, concepts.shape[1]))(concepts.astype(z.dtype))
    rest = _beyond(jnp.where(valid, z, 0).reshape(n, -1), given)
    more = inputs.standardised((expand or linear)(rest, given), jnp.ones(n, z.dtype))
    fit = softmax() if predictor is None else predictor
    y = jax.nn.one_hot(labels, classes, dtype=z.dtype)
    fold = jnp.arange(n) % folds

    def losses(share: Array, f: Array) -> Array:
        """Give the summed cross entropy on fold f, and on the others; share 0 is the classifier without z."""
        x = jnp.concatenate([given, share * more], 1)
        inside = (fold != f).astype(z.dtype)
        each = -log_likelihood(fit(x, y, inside)(x), labels)
        return jnp.stack([jnp.sum(jnp.where(inside > 0, 0, each)), jnp.sum(jnp.where(inside > 0, each, 0))])

    # without z the columns are there and 0, so that a z of zeros gives the same sums, whose difference is 0
    each = jax.vmap(jax.vmap(losses, (None, 0)), (0, None))(jnp.array([0.0, 1.0], z.dtype), jnp.arange(folds))
    rows = jnp.array([n, n * (folds - 1)], z.dtype)  # every row is held out once, and fitted in the other folds
    held_out, training = jnp.sum(each[0] - each[1], 0) / rows
    entropy = jnp.mean(jnp.sum(each[0], 0) / rows)
    found = ConditionalLeakage((held_out + training) / 2, held_out, training, entropy)
    return jax.tree.map(lambda value: jnp.where(valid, value, jnp.nan), found)


def cells(concepts: Array) -> Array:
    """Tell which combination of concepts `[N, k]` each row has, one-hot `[N, 2^k]`; k at most 10."""
    k = concepts.shape[1]
    if k > 10:
        raise ValueError(f"want at most 10 concepts, for a column each of 2^k combinations, got {k}")
    number = jnp.sum(jnp.where(concepts > 0.5, 2 ** jnp.arange(k)[None, :], 0), 1)
    return jax.nn.one_hot(number, 2**k, dtype=concepts.dtype)


def pairs(concepts: Array) -> Array:
    """Give concepts and the products of two, `[N, k (k + 1) / 2]`."""
    one, two = jnp.triu_indices(concepts.shape[1])
    return concepts[:, one] * concepts[:, two]


def additive(concepts: Array) -> Array:
    """Give concepts as they are."""
    return concepts


def linear(z: Array, base: Array) -> Array:
    """Give representations as they are."""
    return z


def quadratic(z: Array, base: Array) -> Array:
    """Give representations, their squares and products of two, `[N, D (D + 3) / 2]`."""
    return jnp.concatenate([z, pairs(z)], 1)


def by_concept(z: Array, base: Array) -> Array:
    """Give representations, and their products with what is told of the concepts, `[N, D (B + 1)]`."""
    return jnp.concatenate([z, (z[:, :, None] * base[:, None, :]).reshape(z.shape[0], -1)], 1)


def _base(n: int, k: int) -> Base:
    if k <= 10 and 10 * 2**k <= n:
        return cells
    return pairs if 5 * k * (k + 1) <= n else additive


def _beyond(z: Array, base: Array) -> Array:
    """Give what a linear function of the base leaves of each column of `z [N, D]`, in deviations; 0 for rounding."""
    ones = jnp.ones(z.shape[0], z.dtype)
    z = inputs.standardised(z, ones)
    rest = z - predict(ridge.fit(base, z, 0.0), base)
    left = jnp.sqrt(jnp.mean(rest**2, 0)) > ROUNDING
    return inputs.standardised(jnp.where(jnp.broadcast_to(left, rest.shape), rest, 0), ones)
