"""Directions of contrast pairs in closed form, and by clustering: relatives of contrast-consistent search.

Contrastive representation clustering (Burns et al. 2022, section 3.3 and appendix) looks at the differences d = x+ - x-
of a statement and its negation, each side centred by its own mean:

    top_component     the direction of the most variance of d (CRC-TPC)
    bimodal_salience  the direction along which d falls into two clusters, one on either side of 0 (CRC-BSS)

`relative_consistency` is a generalised eigenproblem in the spirit of Schouten and Bloem (2025): among directions, the
one along which the two sides move against each other, for how much they move at all. Its objective is not that of CCS
(`ccs.losses`) and its solution not CCS's minimum, which is why it has another name; it needs no restarts.

A direction scores pairs by `score`; its sign says nothing (`contrast.orientation`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from interp_jax.core import checks
from interp_jax.core.linalg import eigh, inverse_sqrt, matmul
from interp_jax.core.types import Array, ArrayLike, Key
from interp_jax.probes.contrast import Normal, Spread, covariances, differences, normalise, shares, statistics, unscaled


class Direction(NamedTuple):
    """weight: `[D]`, of length 1. normal: what pairs are normalised by. value: `[]`, what it is best at.

    next: `[]`, that of the second best direction, or NaN; where the two are near, the direction is hardly determined.
    """

    weight: Array
    normal: Normal
    value: Array
    next: Array


def score(found: Direction, pairs: Array) -> Array:
    """Give the difference of the two sides along the direction, `[N]`, normalised by what training rows gave."""
    return matmul(differences(normalise(pairs, found.normal)), found.weight)


def top_component(pairs: Array, *, weights: Array | None = None, spread: Spread = unscaled) -> Direction:
    """Give the top principal component of the differences (CRC-TPC).

    pairs: `[N, 2, D]`. weights: `[N]`, 0 where a row is held out. value: the share of the differences' variance.

    >>> pairs = jnp.array([[[3.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [3.0, 0.0]]])
    >>> abs(top_component(pairs).weight).round(2).tolist()
    [1.0, 0.0]
    """
    rows, normal, share = _rows(pairs, weights, spread)
    d = differences(rows)
    values, vectors = eigh(matmul((d * share[:, None]).T, d))
    total = jnp.sum(values)
    return Direction(vectors[:, -1], normal, values[-1] / total, _second(values) / total)


def relative_consistency(
    pairs: Array, *, weights: Array | None = None, spread: Spread = unscaled, ridge: ArrayLike = 1e-3
) -> Direction:
    """Give the direction of the largest relative contrast consistency, a generalised eigenvector.

    With A, B the covariances of the two sides and C the one between them,

        maximise  w' -(C + C') w / w' (A + B + ridge I mean eigenvalue) w,

    which is 1 where the two sides mirror each other exactly, and -1 where they are the same. It is the linear
    counterpart of consistency over confidence: `|w d|^2 - |w s|^2` over their sum, with s = x+ + x-. That form is ours,
    from the paper's abstract and idea; the paper's own scaling may differ.

    pairs: `[N, 2, D]`. weights: `[N]`. ridge: positive; with fewer pairs than features, without one, any labelling of
    pairs would reach 1.
    """
    checks.positive(ridge=ridge)
    rows, normal, _ = _rows(pairs, weights, spread)
    first, second, cross = covariances(rows, weights)
    whole = first + second
    width = len(whole)
    whole = whole + ridge * jnp.trace(whole) / width * jnp.eye(width, dtype=whole.dtype)
    root = inverse_sqrt(whole)
    values, vectors = eigh(-matmul(matmul(root, cross + cross.T), root))
    weight = matmul(root, vectors[:, -1])
    return Direction(weight / jnp.linalg.norm(weight), normal, values[-1], _second(values))


def bimodality(score: Array, weights: Array | None = None) -> Array:
    """Give the variance within the two sides of 0 over the whole variance, `[]`: 0 for two points, smaller is better.

    score: `[N]`. It is (var of those below 0 + var of the others) / var, as BSS minimises (by memory of the paper's
    appendix); the two parts count alike, however many rows they have. An empty part has no variance.
    """
    weights = jnp.ones_like(score) if weights is None else weights.astype(score.dtype)

    def variance(part: Array) -> Array:
        count = jnp.maximum(jnp.sum(part), jnp.finfo(score.dtype).tiny)
        mean = matmul(part, score) / count
        return matmul(part, (score - mean) ** 2) / count

    low = (score < 0).astype(score.dtype)
    return (variance(weights * low) + variance(weights * (1 - low))) / variance(weights)


def bimodal_salience(
    pairs: Array, key: Key, *, weights: Array | None = None, spread: Spread = unscaled, lr: ArrayLike = 0.02,
    steps: int = 500,
) -> Direction:  # fmt: skip
    """Search from one random direction for one along which differences are bimodal (CRC-BSS); see `bimodality`.

    The objective has local minima: vmap over keys and take the lowest `value`. It does not depend on the length of the
    direction, which is held at 1; Adam takes the steps, since the paper's optimiser is not known to us. With fewer
    pairs than features some direction has any labelling of pairs at two points. next is NaN.
    """
    checks.positive(lr=lr)
    checks.whole(1, steps=steps)
    rows, normal, share = _rows(pairs, weights, spread)
    d = differences(rows)
    optimizer = optax.adam(lr)  # pyrefly: ignore

    def loss(weight: Array) -> Array:
        return bimodality(matmul(d, weight), share)

    def step(state: tuple[Array, optax.OptState], _: None) -> tuple[tuple[Array, optax.OptState], None]:
        weight, kept = state
        change, kept = optimizer.update(jax.grad(loss)(weight), kept)
        weight = weight + change  # pyrefly: ignore
        return (weight / jnp.linalg.norm(weight), kept), None

    begin = jax.random.normal(key, d.shape[1:], d.dtype)
    begin = begin / jnp.linalg.norm(begin)
    (weight, _), _ = jax.lax.scan(step, (begin, optimizer.init(begin)), length=steps)
    return Direction(weight, normal, loss(weight), jnp.full((), jnp.nan, d.dtype))


def _rows(pairs: Array, weights: Array | None, spread: Spread) -> tuple[Array, Normal, Array]:
    normal = statistics(pairs, weights=weights, spread=spread)
    return normalise(pairs, normal), normal, shares(pairs, weights)


def _second(values: Array) -> Array:
    return values[-2] if len(values) > 1 else jnp.full((), jnp.nan, values.dtype)
