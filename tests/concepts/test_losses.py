"""Losses against likelihoods in float64: values, gradients, missing labels, groups, weights by the rules of PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from interp_jax.concepts import losses
from interp_jax.concepts.losses import Terms
from tests.oracles import concepts as oracle

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (6, 4)).astype(np.float32)
CONCEPTS = RNG.integers(0, 2, (6, 4)).astype(np.float32)


def batch_mean(loss):
    """The mean over a batch, as training takes it, and its gradient with respect to the logits."""
    return jax.jit(jax.value_and_grad(lambda logits, truth: losses.mean(jax.vmap(loss)(logits, truth))))


def test_the_binary_loss_is_minus_the_log_likelihood():
    want = -stats.bernoulli.logpmf(CONCEPTS, oracle.sigmoid(LOGITS.astype(np.float64))).mean()
    value, gradient = batch_mean(losses.concept_loss())(LOGITS, CONCEPTS)
    np.testing.assert_allclose(value, want, rtol=1e-6)
    np.testing.assert_allclose(
        gradient, oracle.binary_gradient(LOGITS.astype(np.float64), CONCEPTS), rtol=1e-6, atol=1e-7
    )


def test_missing_labels_are_masked_out_and_never_averaged_in():
    truth = CONCEPTS.copy()
    truth[0, 1] = truth[3] = np.nan
    value, gradient = batch_mean(losses.concept_loss())(LOGITS, truth)
    np.testing.assert_allclose(value, np.nanmean(oracle.binary_losses(LOGITS.astype(np.float64), truth)), rtol=1e-6)
    np.testing.assert_allclose(gradient, oracle.binary_gradient(LOGITS.astype(np.float64), truth), rtol=1e-6, atol=1e-7)
    assert not np.any(np.asarray(gradient)[np.isnan(truth)])
    nothing, flat = batch_mean(losses.concept_loss())(LOGITS, np.full_like(truth, np.nan))
    assert nothing == 0
    assert not np.any(flat)


def test_soft_labels_and_weights():
    truth = RNG.uniform(size=CONCEPTS.shape).astype(np.float32)
    weight, positive = RNG.uniform(0.5, 3, (2, 4))
    loss = losses.concept_loss(weight=weight, positive=positive)
    value, gradient = batch_mean(loss)(LOGITS, truth)
    wide = LOGITS.astype(np.float64), truth.astype(np.float64), weight, positive
    np.testing.assert_allclose(value, oracle.binary_losses(*wide).mean(), rtol=1e-6)
    np.testing.assert_allclose(gradient, oracle.binary_gradient(*wide), rtol=1e-5, atol=1e-7)


def test_a_group_is_one_categorical_variable():
    groups = [(0, 3)]
    truth = CONCEPTS.copy()
    truth[:, 0], truth[:, 3] = np.arange(6) % 2, 1 - np.arange(6) % 2
    truth[5, 3] = np.nan
    terms = jax.vmap(losses.concept_loss(groups=groups))(LOGITS, truth)
    assert terms.loss.shape == (6, 3)
    p = oracle.softmax(LOGITS.astype(np.float64)[:, [0, 3]])
    picked = np.where(np.arange(6) % 2, p[:, 0], p[:, 1])
    np.testing.assert_allclose(terms.loss[:5, 2], -np.log(picked[:5]), rtol=1e-6)
    assert (terms.loss[5, 2], terms.weight[5, 2]) == (0, 0)
    np.testing.assert_allclose(
        terms.loss[:, :2], oracle.binary_losses(LOGITS.astype(np.float64), truth)[:, 1:3], rtol=1e-5
    )


def test_a_pair_as_a_group_is_a_binary_concept_of_the_difference():
    z = jnp.array([1.3, -0.4])
    group = losses.mean(losses.concept_loss(groups=[(0, 1)])(z, jnp.array([1.0, 0.0])))
    binary = losses.mean(losses.concept_loss()(z[:1] - z[1:], jnp.ones(1)))
    np.testing.assert_allclose(group, binary, rtol=1e-6)


@pytest.mark.parametrize("loss", [losses.concept_loss(), losses.concept_loss(groups=[(0, 1)])])
@pytest.mark.parametrize("wrong", [-0.1, 1.5])
def test_a_label_outside_the_unit_interval_is_nan_under_jit(loss, wrong):
    value, _ = batch_mean(loss)(LOGITS[:1, :2], np.array([[1.0, wrong]], np.float32))
    assert np.isnan(value)


def test_extreme_logits_keep_their_gradient():
    value, gradient = batch_mean(losses.concept_loss())(np.array([[200.0]], np.float32), np.zeros((1, 1), np.float32))
    assert (value, gradient.item()) == (200, 1)


@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_the_binary_task(weight):
    labels = np.array([0, 1, 1, 0, 1, 0])
    value, gradient = batch_mean(losses.task_loss(weight=weight))(LOGITS[:, :1], labels)
    wide = LOGITS[:, :1].astype(np.float64), labels[:, None], 1.0, weight
    np.testing.assert_allclose(value, oracle.binary_losses(*wide).mean(), rtol=1e-6)
    np.testing.assert_allclose(gradient, oracle.binary_gradient(*wide), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("weights", [np.ones(4), np.array([0.5, 1.0, 3.0, 2.0])])
def test_the_task_of_many_classes(weights):
    """The weighted mean of PyTorch's CrossEntropyLoss: `sum w_y l / sum w_y`, gradient `w_y (p - onehot) / sum w_y`."""
    labels = np.array([0, 3, 2, 1, 2, 2])
    value, gradient = batch_mean(losses.task_loss(weight=weights))(LOGITS, labels)
    p, w = oracle.softmax(LOGITS.astype(np.float64)), weights[labels]
    np.testing.assert_allclose(value, (w * -np.log(p[np.arange(6), labels])).sum() / w.sum(), rtol=1e-6)
    want = w[:, None] * (p - np.eye(4)[labels]) / w.sum()
    np.testing.assert_allclose(gradient, want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("classes", "label"), [(1, 2), (1, -1), (3, 3), (3, -1)])
def test_a_class_that_does_not_exist_is_nan(classes, label):
    assert np.isnan(losses.mean(losses.task_loss()(jnp.zeros(classes), jnp.array(label))))


def test_imbalance_is_false_over_true_and_refuses_a_constant_concept():
    labels = np.array([[1, 0], [0, 1], [0, np.nan], [0, 1]])
    np.testing.assert_allclose(losses.imbalance(labels), [3.0, 0.5])
    labels[:, 0] = 0
    with pytest.raises(ValueError, match="got concept 0 always 0"):
        losses.imbalance(labels)


def test_a_mean_over_terms_divides_by_weight():
    terms = Terms(jnp.array([[2.0, 0.0], [4.0, 6.0]]), jnp.array([[1.0, 0.0], [1.0, 2.0]]))
    assert losses.mean(terms) == 3
