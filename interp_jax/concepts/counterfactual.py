"""Conceptual counterfactual explanations: which concepts, had there been more of them, would have put a mistake right.

Of an embedding x that a head takes for another class than its label y, Abid, Yuksekgonul and Zou (2022) seek weights w
of k concepts that minimise

    CE(head(x + sum_j w_j m_j v_j), y) + alpha |w|_1 / k + beta |w|_2 / k,        low <= w <= high,

with v_j the concept's unit vector and m_j its largest margin, so that w_j = 1 moves the margin by m_j. No concept may
go further than the examples it was learnt from, and none is added where there is enough of it already (`limits`). A
large weight says: with more of this concept it would have been right. The head is any frozen `(params, x) -> [C]`,
linear or not; ONE example, the caller vmaps.

    explain = jax.vmap(lambda x, y: counterfactual.explain(head, params, bank, x, y))
    ranks = jax.vmap(counterfactual.ranks)(explain(xs, labels).weights)

Steps are those of the authors' code: 100 of gradient descent with momentum, weights clipped after each. They do not
reach the minimum (nor do subgradients of |w| make any weight zero): where that matters take more. Two things differ.
Their flag `success` asks whether the START was classified rightly, so it is False of every mistake; `valid` asks it of
the counterfactual. And a concept that is no vector (NaN), or on whose positive side no example lies, is left out, where
theirs would turn it round.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.concepts.interventions import is_right
from interp_jax.core import checks
from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array, ArrayLike, PyTree
from interp_jax.linear.cav import CAV, margins
from interp_jax.linear.logistic import log_likelihood

Head = Callable[[Any, Array], Array]
"""`(params, x [D]) -> logits [C]`."""
Enough = Callable[[CAV], tuple[Array, Array]]
"""`bank -> (low [k], high [k])`: margins from which on a concept is not taken away, or not added."""


def means(bank: CAV) -> tuple[Array, Array]:
    """Say that there is enough of a concept at the mean margin of its positive examples (kappa "mean", the default)."""
    return bank.negative.mean, bank.positive.mean


def zeros(bank: CAV) -> tuple[Array, Array]:
    """Say that there is enough of a concept beyond its boundary (kappa "zero")."""
    return jnp.zeros_like(bank.offset), jnp.zeros_like(bank.offset)


class Counterfactual(NamedTuple):
    """weights: `[k]`, of concepts, in units of their largest margins. embedding: `[D]`, the counterfactual.

    logits: `[C]`, of the counterfactual. loss: `[]`, its objective, NaN for a label that is no class. right, valid:
    `[]` bool, whether the largest logit is the label's, at the start and at the counterfactual; False of NaN.
    """

    weights: Array
    embedding: Array
    logits: Array
    loss: Array
    right: Array
    valid: Array


def explain(
    head: Head,
    params: PyTree,
    bank: CAV,
    x: Array,
    label: ArrayLike,
    *,
    alpha: ArrayLike = 0.1,
    beta: ArrayLike = 0.01,
    lr: ArrayLike = 0.01,
    momentum: ArrayLike = 0.9,
    steps: int = 100,
    enough: Enough = means,
    stopping: bool = False,
) -> Counterfactual:
    """Explain one mistake.

    Args:
        head: what decides from the embedding.
        params: of the head.
        bank: of k concepts, from `cav.fit`.
        x: `[D]`, the embedding.
        label: `[]` int, what it should be taken for.
        alpha: of the sum of absolute weights.
        beta: of the root of the sum of their squares (not the square).
        lr: step size.
        momentum: of the steps.
        steps: how many.
        enough: `means` or `zeros`.
        stopping: whether a weight that meets its limit loses its velocity. In the authors' code it keeps it, and comes
            back late if it should; both have the same minimum.
    """
    checks.not_negative(alpha=alpha, beta=beta, momentum=momentum)
    checks.positive(lr=lr)
    checks.whole(1, steps=steps)
    chex.assert_rank([x, label, bank.direction], [1, 0, 2])
    low, high = limits(bank, x, enough)
    vectors = edits(bank)

    def loss(weights: Array) -> tuple[Array, tuple[Array, Array]]:
        moved = x + matmul(weights, vectors)
        logits = head(params, moved)
        chex.assert_rank(logits, 1)
        return cross_entropy(logits, label) + penalty(weights, alpha, beta), (moved, logits)

    def step(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        weights, velocity = state
        velocity = momentum * velocity + jax.grad(loss, has_aux=True)(weights)[0]
        free = weights - lr * velocity
        weights = jnp.clip(free, low, high)
        return (weights, jnp.where(free == weights, velocity, 0) if stopping else velocity), None

    zero = jnp.zeros_like(low)
    weights = jax.lax.scan(step, (zero, zero), None, length=steps)[0][0]
    total, (moved, logits) = loss(weights)
    right, valid = is_right(head(params, x), jnp.asarray(label)), is_right(logits, jnp.asarray(label))
    return Counterfactual(weights, moved, logits, total, right, valid)


def edits(bank: CAV) -> Array:
    """Give what a weight of one adds, `[k, D]`: each unit vector times its concept's largest margin."""
    return jnp.where(_usable(bank), _largest(bank), 0)[:, None] * jnp.where(_usable(bank)[:, None], bank.direction, 0)


def limits(bank: CAV, x: Array, enough: Enough = means) -> tuple[Array, Array]:
    """Give the least and largest weights `[k]` of one embedding `[D]` (section 3 of the paper).

    Moved alone, a concept's margin stays between the least and the largest of the examples it was learnt from. high is
    0 where the margin is beyond what is enough, low where it is below.
    """
    margin, top = margins(bank, x), _largest(bank)
    least = jnp.minimum(bank.positive.low, bank.negative.low)
    below, above = enough(bank)
    unit = jnp.where(_usable(bank), top, 1)
    high = jnp.where(margin > above, 0, jnp.maximum((top - margin) / unit, 0))
    low = jnp.where(margin < below, 0, jnp.minimum((least - margin) / unit, 0))
    return jnp.where(_usable(bank), low, 0), jnp.where(_usable(bank), high, 0)


def alone(head: Head, params: PyTree, bank: CAV, x: Array, label: ArrayLike, *, enough: Enough = means) -> Array:
    """Give what each concept gains by itself, added up to its limit: the fall in cross entropy, `[k]`.

    Nothing is optimised: a rival score, of one concept at a time.
    """
    reach = limits(bank, x, enough)[1]
    before = cross_entropy(head(params, x), label)
    moved = x[None] + reach[:, None] * edits(bank)
    return before - jax.vmap(lambda one: cross_entropy(head(params, one), label))(moved)


def slopes(head: Head, params: PyTree, bank: CAV, x: Array, label: ArrayLike) -> Array:
    """Give how fast the cross entropy falls with each weight at zero, `[k]`: the first step, without limits.

    The sensitivity of TCAV (Kim et al. 2018), in units of the largest margin: a rival score that costs one gradient.
    """
    uphill = jax.grad(lambda x: cross_entropy(head(params, x), label))(x)
    return -matmul(edits(bank), uphill)


def ranks(scores: Array) -> Array:
    """Rank concepts by their scores `[k]`, the largest first: from 1 to k, equal ones share their mean rank.

    >>> ranks(jnp.array([0.0, 2.0, 0.0, -1.0])).tolist()
    [2.5, 1.0, 2.5, 4.0]
    """
    chex.assert_rank(scores, 1)
    above = jnp.sum(scores[None, :] > scores[:, None], 1)
    equal = jnp.sum(scores[None, :] == scores[:, None], 1)
    return jnp.where(jnp.isnan(scores), jnp.nan, above + (equal + 1) / 2)


def sparsity(weights: Array, *, share: ArrayLike = 0.1) -> Array:
    """Count the weights `[k]` that are more than a share of the largest: how many concepts the explanation names."""
    size = jnp.abs(weights)
    return jnp.sum(size > share * jnp.max(size))


def cross_entropy(logits: Array, label: ArrayLike) -> Array:
    """Give the cross entropy of one example in nats: logits `[C]`, C = 1 the one of a binary task; label `[]`."""
    return -log_likelihood(logits[None], jnp.asarray(label)[None])[0]


def penalty(weights: Array, alpha: ArrayLike, beta: ArrayLike) -> Array:
    """Give `alpha |w|_1 / k + beta |w|_2 / k`, with gradient 0 at 0."""
    square = jnp.sum(weights**2)
    root = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    return jnp.asarray(alpha * jnp.sum(jnp.abs(weights)) + beta * root) / weights.size


def _largest(bank: CAV) -> Array:
    return jnp.maximum(bank.positive.high, bank.negative.high)


def _usable(bank: CAV) -> Array:
    return jnp.isfinite(bank.direction).all(-1) & (_largest(bank) > 0)
