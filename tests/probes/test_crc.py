"""Directions on planted data, whose answers are known, and against scipy and numpy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from interp_jax.probes import contrast, crc
from tests.oracles import ccs as oracle

RNG = np.random.default_rng(1)
AXES = np.linalg.qr(RNG.normal(size=(8, 8)))[0].astype(np.float32)


def planted(truth=1.0, salient=0.0, common=0.0, count=500, noise=0.1):
    """Pairs: truth flips between the sides along axis 0; what varies alike in both lies along axis 1, noise elsewhere.

    salient: the size of another feature that flips, along axis 2, independent of truth.
    """
    y, other = RNG.integers(0, 2, (2, count))
    flip = np.array([1.0, -1.0])
    along = np.zeros((count, 2, 8))
    along[..., 0] = truth * np.outer(2 * y - 1, flip)
    along[..., 1] = common * RNG.normal(size=(count, 1))
    along[..., 2] = salient * np.outer(2 * other - 1, flip)
    return (along + noise * RNG.normal(size=along.shape)).astype(np.float32) @ AXES.T, y, other


def agreement(weight, axis):
    return abs(float(np.asarray(weight) @ AXES[:, axis]))


def test_the_top_component_is_the_differences_principal_axis():
    pairs, _, _ = planted(common=5)
    found = crc.top_component(jnp.asarray(pairs))
    assert agreement(found.weight, 0) > 0.999
    rows = oracle.normalised(pairs)
    left = np.linalg.svd(rows[:, 0] - rows[:, 1], full_matrices=False)
    np.testing.assert_allclose(found.value, left.S[0] ** 2 / (left.S**2).sum(), rtol=1e-4)
    assert abs(found.weight @ left.Vh[0]) > 0.99999


@pytest.mark.parametrize("find", [crc.top_component, crc.relative_consistency])
def test_what_is_more_salient_is_found_in_place_of_truth(find):
    pairs, y, other = planted(truth=0.3, salient=1.0)
    score = crc.score(find(jnp.asarray(pairs)), jnp.asarray(pairs))
    right = [float(contrast.accuracy(score, jnp.asarray(label))) for label in (y, other)]
    assert max(right[1], 1 - right[1]) > 0.99
    assert 0.4 < right[0] < 0.6


def test_relative_consistency_is_scipys_generalised_eigenvector():
    pairs, _, _ = planted(truth=0.5, common=3, noise=0.5)
    found = crc.relative_consistency(jnp.asarray(pairs), ridge=1e-2)
    rows = oracle.normalised(pairs)
    whole = oracle.covariance(rows[:, 0], rows[:, 0]) + oracle.covariance(rows[:, 1], rows[:, 1])
    cross = oracle.covariance(rows[:, 0], rows[:, 1])
    values, vectors = linalg.eigh(-(cross + cross.T), whole + 1e-2 * np.trace(whole) / 8 * np.eye(8))
    np.testing.assert_allclose([found.value, found.next], values[:-3:-1], rtol=1e-4, atol=1e-5)
    assert abs(np.asarray(found.weight) @ vectors[:, -1]) / np.linalg.norm(vectors[:, -1]) > 0.9999
    assert agreement(found.weight, 0) > 0.9


def test_mirrored_sides_have_a_relative_consistency_of_one_and_equal_ones_of_minus_one():
    half = RNG.normal(size=(100, 1, 4)).astype(np.float32)
    for sign, value in ((-1, 1), (1, -1)):
        found = crc.relative_consistency(jnp.asarray(np.concatenate([half, sign * half], 1)), ridge=1e-6)
        np.testing.assert_allclose(found.value, value, atol=1e-4)


def test_the_relaxation_ignores_the_scale_that_the_top_component_follows():
    """A feature that flips exactly but is small, beside a large one that is only noise."""
    pairs, _, _ = planted(truth=0.5, noise=0.05)
    pairs = pairs + (4 * RNG.normal(size=(500, 2, 1)) * AXES[:, 3]).astype(np.float32)
    assert agreement(crc.top_component(jnp.asarray(pairs)).weight, 3) > 0.99
    assert agreement(crc.relative_consistency(jnp.asarray(pairs)).weight, 0) > 0.9


def test_bimodality_is_its_definition():
    for draw in (RNG.normal(size=200), RNG.integers(0, 2, 200) * 2 - 1 + 0.1 * RNG.normal(size=200), RNG.random(50)):
        found = crc.bimodality(jnp.asarray(draw, jnp.float32))
        np.testing.assert_allclose(found, oracle.bimodal(draw), rtol=1e-4)
    weights = jnp.asarray(np.arange(200) < 120, jnp.float32)
    draw = RNG.normal(size=200)
    np.testing.assert_allclose(
        crc.bimodality(jnp.asarray(draw, jnp.float32), weights), oracle.bimodal(draw[:120]), rtol=1e-4
    )


def test_bimodal_salience_prefers_two_clusters_to_more_variance():
    """A normal feature of twice the spread flips too; truth is two points. The best of restarts finds truth."""
    pairs, y, _ = planted(truth=0.5)
    pairs = pairs + (RNG.normal(size=(500, 1, 1)) * np.array([[[1.0], [-1.0]]]) * AXES[:, 2]).astype(np.float32)
    assert agreement(crc.top_component(jnp.asarray(pairs)).weight, 2) > 0.99
    search = jax.jit(jax.vmap(lambda key: crc.bimodal_salience(jnp.asarray(pairs), key)))
    found = search(jax.random.split(jax.random.key(0), 8))
    best = jax.tree.map(lambda leaf: leaf[jnp.argmin(found.value)], found)
    assert agreement(best.weight, 0) > 0.99
    np.testing.assert_allclose(jnp.linalg.norm(found.weight, axis=1), 1, rtol=1e-5)
    right = float(contrast.accuracy(crc.score(best, jnp.asarray(pairs)), jnp.asarray(y)))
    assert max(right, 1 - right) > 0.99
    rows = oracle.normalised(pairs)
    own = (rows[:, 0] - rows[:, 1]) @ np.asarray(best.weight, float)
    np.testing.assert_allclose(best.value, oracle.bimodal(own), rtol=1e-3)


@pytest.mark.parametrize("find", [crc.top_component, crc.relative_consistency])
def test_rows_of_weight_zero_do_not_enter(find):
    pairs, _, _ = planted(noise=0.5)
    weights = jnp.asarray(np.arange(500) < 300)
    masked, own = find(jnp.asarray(pairs), weights=weights), find(jnp.asarray(pairs[:300]))
    np.testing.assert_allclose(abs(masked.weight @ own.weight), 1, rtol=1e-4)
    np.testing.assert_allclose(masked.value, own.value, rtol=1e-4)


def test_bad_values_are_named():
    pairs = jnp.asarray(planted()[0])
    with pytest.raises(ValueError, match="ridge"):
        crc.relative_consistency(pairs, ridge=0.0)
    with pytest.raises(ValueError, match="steps"):
        crc.bimodal_salience(pairs, jax.random.key(0), steps=0)
