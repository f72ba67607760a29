import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.concepts import metrics
from tests.oracles.disentanglement import area

task_auc = jax.jit(metrics.task_auc)


def test_a_binary_task_is_judged_at_a_logit_of_zero():
    """A peer judged at .5, and so said 0 of every row of a head near zero."""
    logits, labels = jnp.array([[-0.2], [0.1], [0.3], [0.4]]), jnp.array([0, 1, 1, 0])
    assert metrics.task_accuracy(logits, labels) == 0.75
    assert np.mean((np.asarray(logits)[:, 0] > 0.5) == np.asarray(labels)) == 0.5


def test_accuracy_and_area_of_the_task():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(100, 3)).astype(np.float32), rng.integers(0, 3, 100)
    np.testing.assert_allclose(metrics.task_accuracy(logits, labels), np.mean(logits.argmax(1) == labels), rtol=1e-6)
    log_p = logits - np.log(np.exp(np.float64(logits)).sum(1, keepdims=True))
    expected = np.mean([area(log_p[:, k], labels == k) for k in range(3)])
    np.testing.assert_allclose(task_auc(logits, labels), expected, atol=1e-6)
    binary = labels > 0
    np.testing.assert_allclose(task_auc(logits[:, :1], binary), area(logits[:, 0], binary), atol=1e-6)
    two = task_auc(logits[:, :2], binary)
    np.testing.assert_allclose(two, area(logits[:, 1] - logits[:, 0], binary), atol=1e-6)


def test_concepts_are_judged_at_their_own_threshold_and_missing_ones_left_out():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4, 100, 3)).astype(np.float32)
    concepts = (rng.random((4, 100, 3)) < 0.4).astype(np.float32)
    accuracy = jax.jit(jax.vmap(lambda p, c: metrics.concept_accuracy(p, c, threshold=0)))
    expected = np.mean((logits > 0) == (concepts > 0.5), 1)
    np.testing.assert_allclose(accuracy(logits, concepts), expected, rtol=1e-6)
    same = jax.jit(jax.vmap(metrics.concept_accuracy))(jax.nn.sigmoid(logits), concepts)
    np.testing.assert_allclose(same, expected, rtol=1e-6)
    concepts[:, ::3] = np.nan
    concepts[:, :, 2] = np.nan
    kept = np.arange(100) % 3 > 0
    found = accuracy(logits, concepts)
    np.testing.assert_allclose(found[:, :2], np.mean((logits > 0) == (concepts > 0.5), 1, where=kept[:, None])[:, :2])
    assert np.isnan(found[:, 2]).all()
    areas = jax.jit(jax.vmap(metrics.concept_auc))(logits, concepts)
    expected = [[area(p[kept, k], c[kept, k]) for k in range(2)] for p, c in zip(logits, concepts, strict=True)]
    np.testing.assert_allclose(areas[:, :2], expected, atol=1e-6)
    assert np.isnan(areas[:, 2]).all()
    logits[0, 1, 0] = np.nan
    assert np.isnan(accuracy(logits, concepts)[:, 0]).tolist() == [True, False, False, False]


def test_intervention_score():
    labels = jnp.array([0, 1, 1, 0])
    right = jnp.where(labels == 1, 1.0, -1.0)[:, None]
    assert metrics.intervention_score(right, right, labels) == 0
    assert metrics.intervention_score(right, -right, labels) == 1
    assert metrics.intervention_score(right, jnp.ones((4, 1)), labels) == 0.5


def test_completeness_from_accuracies():
    found = metrics.completeness_score(jnp.array([0.5, 0.7, 0.9, 0.95, 0.4]), 0.9, 0.5)
    np.testing.assert_allclose(found, [0, 0.5, 1, 1.125, -0.25], atol=1e-6)
    assert np.isnan(metrics.completeness_score(0.7, 0.5, 0.5))
    with pytest.raises(AssertionError):
        metrics.concept_accuracy(jnp.ones(3), jnp.ones(3))
