"""How far clusters of a representation agree with its concept: the concept alignment score (CAS)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import entr

from interp_jax.concepts.metrics import inputs, medoids
from interp_jax.core.types import Array


class Alignment(NamedTuple):
    """score: `[]`. each: `[k]`, of each concept. curves: `[k, S]`, homogeneity. clusters: `[S]` int, how many."""

    score: Array
    each: Array
    curves: Array
    clusters: Array


def homogeneity(classes: Array, clusters: Array) -> Array:
    """Give `1 - H(class | cluster) / H(class)` of two classes (Rosenberg and Hirschberg 2007, eq. 1), `[]`.

    classes: `[N]`, 0 or 1. clusters: `[N]` int in [0, N). Exactly 1 if no cluster is mixed; NaN if there is one class,
    where scikit-learn says 1.
    """
    n = classes.shape[0]
    ones = jax.ops.segment_sum(classes.astype(jnp.float32), clusters, n)
    every = jax.ops.segment_sum(jnp.ones(n, jnp.float32), clusters, n)
    share = ones / jnp.maximum(every, 1)
    mixed = jnp.sum(every / n * (entr(share) + entr(1 - share)))
    top = jnp.sum(ones) / n
    whole = entr(top) + entr(1 - top)
    return jnp.where(whole > 0, 1 - mixed / jnp.where(whole > 0, whole, 1), jnp.nan)


def concept_alignment(representations: Array, concepts: Array, *, steps: int = 20) -> Alignment:
    """Give the mean homogeneity of clusters of each representation, over numbers of clusters (CEM paper, eq. 3).

    (Espinosa Zarlenga et al. 2022.) representations: `[N, k]` or `[N, k, m]`, used at their own scale. concepts: `[N,
    k]`, 0 or 1. steps: how many numbers of clusters from 2 to N, evenly; ends count half, as the peer's trapezoids.

    Exactly 1 for hard concepts that are right. Clusters are those of `medoids`, which depend on nothing but the points;
    in the peer's, equal points part into clusters by chance of their order, and hard concepts that are right score
    .500, no better than noise. Continuous noise scores about 1/2 in any: with N clusters of one point each, homogeneity
    is 1. Hard noise scores about 0: it has two clusters. Compare scores of one N and one number of steps.

    For a model with extra capacity the peer clusters each concept joined with all extra units: give those as `[N, k, 1
    + extra]`. NaN in `each` for a concept that does not vary, and then in `score`. Work and memory O(N^2) for `[N, k,
    m]`, m > 1: give some 1,000 rows.
    """
    inputs.paired(representations, concepts)
    x, valid = inputs.checked(representations, concepts)
    number = medoids.counts(x.shape[0], steps)
    one = _line if x.shape[2] == 1 else _cloud
    curves = jax.lax.map(lambda pair: one(pair[0], pair[1], number), (jnp.swapaxes(x, 0, 1), concepts.T))
    curves = jnp.where(valid, curves, jnp.nan)
    each = jnp.mean((curves[:, 1:] + curves[:, :-1]) / 2, 1)
    return Alignment(jnp.mean(each), each, curves, number)


def _line(x: Array, concept: Array, number: Array) -> Array:
    order = jnp.argsort(x[:, 0])
    values, classes = x[order, 0], concept[order]
    start = medoids.line_seeds(values)
    return jax.vmap(lambda count: homogeneity(classes, medoids.on_line(values, start, count)))(number)


def _cloud(x: Array, concept: Array, number: Array) -> Array:
    distance = medoids.distances(x)
    start = medoids.cloud_seeds(distance)
    return jax.lax.map(lambda count: homogeneity(concept, medoids.among(distance, start, count)), number)
