import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.concepts.metrics import medoids
from tests.oracles import concept_metrics as oracle

COUNTS = jnp.array([1, 2, 3, 5, 12, 30, 59, 60])


@jax.jit
@jax.vmap
def on_line(values):
    start = medoids.line_seeds(values)
    return jax.vmap(lambda count: medoids.on_line(values, start, count))(COUNTS)


@jax.jit
def among(x):
    distance = medoids.distances(x)
    start = medoids.cloud_seeds(distance)
    return start, jax.vmap(lambda count: medoids.among(distance, start, count))(COUNTS)


def lines():
    rng = np.random.default_rng(0)
    smooth = rng.normal(size=60)
    modes = np.concatenate([rng.normal(size=20), 50 + rng.normal(size=20), 51 + 0.01 * rng.normal(size=20)])
    tied = np.concatenate([np.zeros(25), np.ones(25), rng.normal(size=10)])
    close = np.concatenate([1e6 + np.arange(30), np.arange(30) * 1e-6])
    return np.sort(np.stack([smooth, modes, tied, close]).astype(np.float32), axis=1)


def test_runs_on_a_line_are_nearly_the_best_there_are():
    """Against the exact minimum by dynamic programming; a local minimum is above it, by little on average."""
    ratios = []
    for values, found in zip(lines()[:3], on_line(lines())[:3], strict=True):
        for count, clusters in zip(COUNTS, np.asarray(found), strict=True):
            best = oracle.least_spread(values, int(min(count, len(np.unique(values)))))
            own = oracle.spread(np.float64(values)[:, None], clusters)
            assert own >= best - 1e-4
            ratios.append((own + 1e-6) / (best + 1e-6))
    assert np.mean(ratios) < 1.03
    assert np.max(ratios) < 1.2


def test_equal_points_share_a_cluster_and_different_ones_fill_all():
    found = np.asarray(on_line(lines()))
    for values, clusters in zip(lines(), found, strict=True):
        different = len(np.unique(values))
        for count, own in zip(COUNTS, clusters, strict=True):
            assert len(np.unique(own)) == min(count, different)
            assert (np.diff(own)[np.diff(values) == 0] == 0).all()
            assert (np.diff(own) >= 0).all()


def test_two_hard_values_are_two_clusters_in_any_number():
    """The peer starts from points of least total distance, which are copies of one."""
    hard = np.repeat([0.0, 1.0], [23, 37]).astype(np.float32)
    found = np.asarray(on_line(np.tile(hard, (4, 1))))[0]
    for clusters in found[1:]:
        np.testing.assert_array_equal(clusters, np.where(hard == 0, 0, 23))
    _, cloud = among(hard[:, None] * np.ones((1, 2), np.float32))
    for clusters in np.asarray(cloud)[1:]:
        assert len(np.unique(clusters)) == 2
        assert (clusters[:23] == clusters[0]).all()


def test_medoids_of_a_cloud_are_the_oracle_s():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 2)).astype(np.float32)
    x[7] = x[41]
    start, found = among(x)
    wide = np.float64(x)
    order = oracle.farthest_first(wide, 59)
    np.testing.assert_array_equal(start.order[:59], order)
    assert start.reach[59] == 0
    for count, clusters in zip(COUNTS, np.asarray(found), strict=True):
        np.testing.assert_array_equal(clusters, oracle.medoids(wide, order[: int(count)]))


def test_distances_are_exact_between_equal_points():
    x = np.random.default_rng(2).normal(size=(60, 2)).astype(np.float32) + 1e4
    x[3] = x[50]
    found = np.asarray(jax.jit(medoids.distances)(x))
    expected = np.sqrt(((np.float64(x)[:, None] - np.float64(x)[None]) ** 2).sum(-1))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_array_equal(found, found.T)
    assert found[3, 50] == 0


def test_numbers_of_clusters_and_limits():
    assert medoids.counts(10, 3).tolist() == [2, 6, 10]
    assert medoids.counts(1000, 20)[-1] == 1000
    with pytest.raises(ValueError, match="want an integer steps >= 2, got steps=1"):
        medoids.counts(10, 1)
    with pytest.raises(ValueError, match="want at most 32000 points, got 32001"):
        medoids.on_line(jnp.zeros(32_001), medoids.Seeds(jnp.zeros(1), jnp.zeros(1)), 2)
