"""Concepts that go together have the correlations of their normal variables; labels are the weighted majority."""

import jax
import numpy as np
import pytest

from interp_jax.data import concept_sets, correlated


@pytest.fixture(scope="module")
def drawn():
    world = correlated.world(jax.random.key(0), concepts=5, inputs=7)
    data = jax.jit(lambda key: concept_sets.draw(correlated.generator(world), key, 20_000))(jax.random.key(1))
    return world, jax.tree.map(np.asarray, data)


def test_signs_of_normals_are_equal_with_the_probability_of_sheppard(drawn):
    """P(equal) = 1/2 + arcsin(correlation) / pi (Sheppard 1899), for every pair of concepts."""
    world, data = drawn
    covariance = np.asarray(world.loadings @ world.loadings.T, float) + np.diag(np.asarray(world.own, float) ** 2)
    np.testing.assert_allclose(np.diag(covariance), 1, rtol=1e-5)
    equal = (data.concepts[:, :, None] == data.concepts[:, None, :]).mean(0)
    want = 0.5 + np.arcsin(np.clip(covariance, -1, 1)) / np.pi
    assert np.abs(equal - want).max() < 4.5 * 0.5 / 20_000**0.5
    assert np.abs(covariance - np.eye(5)).max() > 0.5


def test_labels_are_a_weighted_majority_and_even(drawn):
    world, data = drawn
    weights = np.asarray(world.weights, float)
    np.testing.assert_array_equal(data.labels, data.concepts @ weights > weights.sum() / 2)
    assert abs(data.labels.mean() - 0.5) < 4.5 * 0.5 / 20_000**0.5
    assert data.inputs.shape == (20_000, 7)
    assert 0.3 < data.inputs.std() < 3


def test_noise_may_not_be_negative():
    with pytest.raises(ValueError, match="want noise >= 0"):
        correlated.world(jax.random.key(0), noise=-1.0)
