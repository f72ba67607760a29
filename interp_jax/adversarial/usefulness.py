"""How much a feature tells of the label, and how much of that an adversary leaves (Ilyas et al. 2019, section 2).

A feature is a function of one example to a number, standardised to mean 0 and variance 1 over the data; a label is -1
or 1. With D the data and `|d| <= eps` (and the input's bounds, if any) the perturbations,

    usefulness             E_D[y f(x)]                        f is rho-useful if this is at least rho > 0
    robust usefulness      E_D[min over d of y f(x + d)]      f is gamma-robustly useful if this is at least gamma >= 0

A useful feature whose robust usefulness is negative is "useful, non-robust". An attack finds some d, not the best: what
it gives is an upper bound of robust usefulness, exact for linear features. There the minimum is closed:

    E_D[y f(x)] - eps |a|_* / |a|_Sigma        for f(x) = (a'x - m) / |a|_Sigma, |a|_Sigma^2 = a' Sigma a   (Goh 2019)

Estimates come with their values per example, so that an interval can be put on them. The scale is best fitted on other
data than it is used on; so is any choice of sign (-f is as useful as f is useless). Ilyas et al. define all this for
two classes: `one_vs_rest` makes K problems of K classes, in which y f has a mean of at most `2 sqrt(p (1 - p))` where
the class has a share p; `balance` weights both sides equally, as if p were a half.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.adversarial import norms
from interp_jax.adversarial.attack import Attack
from interp_jax.adversarial.norms import Norm
from interp_jax.core import checks
from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array, ArrayLike, Key

Feature = Callable[[Array], Array]
"""`feature(x) -> []`, of one example."""
Attacker = Callable[[Callable[[Array], Array], Array, Key], Attack]
"""`attacker(objective, x, key)`: an attack with its tuning bound, such as `partial(pgd, eps=..., ...)`."""


class Scale(NamedTuple):
    """mean, deviation: scalars, of a feature over the data that it was fitted on."""

    mean: Array
    deviation: Array


class Usefulness(NamedTuple):
    """estimate: the mean of values. values: `[N]`, `weight y f(x)` of each example, at its worst if robust."""

    estimate: Array
    values: Array


def fit_scale(values: Array, *, weights: Array | None = None) -> Scale:
    """Fit mean and deviation to a feature's values `[N]`; a feature that does not vary has a deviation of NaN.

    weights: `[N]`, not negative (`balance`). The deviation is that of the population (1/N), as `E f^2 = 1` asks.

    >>> scale = fit_scale(jnp.array([1.0, 3.0]))
    >>> round(scale.mean.item(), 5), round(scale.deviation.item(), 5)
    (2.0, 1.0)
    """
    chex.assert_rank(values, 1)
    weights = jnp.ones_like(values) if weights is None else weights
    share = weights / jnp.sum(weights)
    mean = jnp.sum(share * values)
    mean = mean + jnp.sum(share * (values - mean))
    deviation = norms.safe_norm(jnp.sqrt(share) * (values - mean))
    least = 4 * jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values))
    return Scale(mean, jnp.where(deviation > least, deviation, jnp.nan))


def standardised(feature: Feature, scale: Scale) -> Feature:
    """Make `x -> (feature(x) - mean) / deviation`."""
    return lambda x: (feature(x) - scale.mean) / scale.deviation


def one_vs_rest(labels: Array, classes: int) -> Array:
    """Give y of the K problems "class k against the rest", `[K, N]` of 1 and -1, NaN for a label out of range.

    >>> one_vs_rest(jnp.array([0, 2]), 3).tolist()
    [[1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]]
    """
    chex.assert_rank(labels, 1)
    checks.whole(2, classes=classes)
    hit = jnp.arange(classes)[:, None] == labels[None, :]
    known = jnp.any(hit, 0)[None, :]
    return jnp.where(known, jnp.where(hit, 1.0, -1.0), jnp.nan)


def balance(signs: Array) -> Array:
    """Give weights `[N]` of mean 1 under which both labels weigh the same: `1/2` over a label's share; NaN without one.

    >>> balance(jnp.array([1.0, -1.0, -1.0, 1.0])).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    chex.assert_rank(signs, 1)
    share = jnp.mean(signs > 0)
    usable = jnp.where((share > 0) & (share < 1), share, jnp.nan)
    return jnp.where(jnp.isnan(signs), jnp.nan, jnp.where(signs > 0, 0.5 / usable, 0.5 / (1 - usable)))


def usefulness(feature: Feature, xs: Array, signs: Array, *, weights: Array | None = None) -> Usefulness:
    """Estimate `E[y f(x)]`. feature: standardised. xs: `[N, ...]`. signs: `[N]`, -1 or 1. weights: `[N]`, of mean 1.

    >>> usefulness(lambda x: x, jnp.array([-1.0, 1.0]), jnp.array([-1.0, 1.0])).estimate.item()
    1.0
    """
    chex.assert_equal_shape_prefix([xs, signs], 1)
    return _average(signs * jax.vmap(feature)(xs), weights)


def worst_product(feature: Feature, x: Array, sign: ArrayLike, key: Key, attack: Attacker) -> Array:
    """Find the least `y f(x + d)` of one example by attacking with the objective `-y f`; at most `y f(x)` itself.

    NaN where the attack has no finite objective.
    """
    found = attack(lambda x: jnp.negative(sign * feature(x)), x, key)
    return jnp.minimum(sign * feature(x), -found.objective)


def robust_usefulness(
    feature: Feature, xs: Array, signs: Array, key: Key, attack: Attacker, *, weights: Array | None = None
) -> Usefulness:
    """Estimate `E[min over d of y f(x + d)]` from above, by attacking every example at once.

    The shapes are those of `usefulness`; example i gets the key `fold_in(key, i)`. Where N examples do not fit in
    memory, map `worst_product` over parts.
    """
    chex.assert_equal_shape_prefix([xs, signs], 1)
    attacked = jax.vmap(lambda i, x, y: worst_product(feature, x, y, jax.random.fold_in(key, i), attack))
    return _average(attacked(jnp.arange(len(xs)), xs, signs), weights)


def linear_robust_usefulness(
    weight: Array,
    scale: Scale,
    xs: Array,
    signs: Array,
    *,
    eps: ArrayLike = 0.0,
    norm: Norm = norms.l2,
    weights: Array | None = None,
) -> Usefulness:
    """Give `E[y f(x)] - eps |a|_* / |a|_Sigma` for `f(x) = (a'x - mean) / deviation` (Goh 2019), exact without bounds.

    weight: a, of the shape of one example. scale: of `a'x`; its deviation is `|a|_Sigma`. Within bounds of the input an
    adversary can do less: then this is a lower bound.

    Raises:
        ValueError: eps below zero, a norm without a dual.
    """
    checks.not_negative(eps=eps)
    if norm.dual is None:
        raise ValueError("want a norm with a dual, got l0")
    chex.assert_equal_shape([weight, xs[0]])
    outputs = matmul(xs.reshape(len(xs), -1), weight.reshape(-1))
    eps = jnp.asarray(eps, outputs.dtype)
    drop = jnp.where(eps >= 0, eps, jnp.nan) * norm.dual(weight) / scale.deviation
    return _average(signs * (outputs - scale.mean) / scale.deviation - drop, weights)


def stable(weight: Array, bias: Array, x: Array, *, eps: ArrayLike, norm: Norm = norms.l2) -> Array:
    """Certify that no `|d| <= eps` changes the class that a linear classifier `z = x'W + b` gives to one example.

    `min over j of (z_i - z_j) - eps |w_i - w_j|_* > 0`, i the class given: exact without bounds of the input. Goh's
    second specification of robust features asks it of 80% of the examples. weight: `[D, K]`, for x of D entries.

    >>> stable(jnp.eye(2), jnp.zeros(2), jnp.array([1.0, 0.0]), eps=0.7).item()
    True
    """
    checks.not_negative(eps=eps)
    if norm.dual is None:
        raise ValueError("want a norm with a dual, got l0")
    chex.assert_rank([weight, bias], [2, 1])
    logits = matmul(x.reshape(-1), weight) + bias
    top = jnp.argmax(logits)
    sizes = jax.vmap(norm.dual, 1)(weight[:, top][:, None] - weight)
    eps = jnp.asarray(eps, logits.dtype)
    ahead = logits[top] - logits - eps * sizes
    return jnp.all((ahead > 0) | (jnp.arange(logits.size) == top)) & (eps >= 0)


def _average(products: Array, weights: Array | None) -> Usefulness:
    chex.assert_rank(products, 1)
    values = products if weights is None else weights * products
    return Usefulness(jnp.mean(values), values)
