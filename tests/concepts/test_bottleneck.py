"""Bottlenecks: what each kind tells its head, where the task's gradient goes, and the extra units of a hybrid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.concepts import bottleneck as bottlenecks
from interp_jax.concepts import model as models
from interp_jax.concepts.bottleneck import HARD, LOGIT, SIGMOID, STRAIGHT_THROUGH, bottleneck
from interp_jax.concepts.model import Given
from interp_jax.models import nets
from tests.concepts.test_model import X, linear


def make(kind, extra=0, **options):
    return bottleneck(linear(4, 3 + extra), linear(3 + extra, 2), 3, kind=kind, extra=extra, **options)


@pytest.mark.parametrize(
    ("kind", "tell"),
    [
        (SIGMOID, lambda z: 1 / (1 + np.exp(-z))),
        (LOGIT, lambda z: z),
        (HARD, lambda z: z > 0),
        (STRAIGHT_THROUGH, lambda z: z > 0),
    ],
)
def test_a_kind_tells_its_function_of_the_logits(kind, tell, key):
    made = make(kind)
    params = made.init(key)
    logits = np.asarray(params["encoder"] @ X, np.float64)
    found = models.apply(made, params, X)
    np.testing.assert_allclose(found.values, tell(logits), rtol=1e-5)
    np.testing.assert_allclose(found.concepts, 1 / (1 + np.exp(-logits)), rtol=1e-5)


def task_gradient(kind, key):
    made = make(kind)
    params = made.init(key)
    return params, jax.grad(lambda params: models.apply(made, params, X).task[0])(params)


def test_the_task_does_not_train_the_encoder_of_hard_concepts(key):
    _, gradient = task_gradient(HARD, key)
    assert not np.any(gradient["encoder"])
    assert np.any(gradient["head"])


def test_straight_through_has_the_gradient_of_the_probabilities(key):
    """`d task / d logits = head' (p (1 - p))` as if the head had been told p; the head's own is that of decisions."""
    params, gradient = task_gradient(STRAIGHT_THROUGH, key)
    weight, x = np.asarray(params["encoder"], np.float64), np.asarray(X, np.float64)
    logits = weight @ x
    p = 1 / (1 + np.exp(-logits))
    slope = np.asarray(params["head"], np.float64)[0] * p * (1 - p)
    np.testing.assert_allclose(gradient["encoder"], np.outer(slope, x), rtol=1e-4)
    np.testing.assert_array_equal(gradient["head"][0], logits > 0)


def test_decisions_in_a_group_are_one_hot(key):
    logits = jnp.array([-1.0, -3.0, -2.0, 0.5])
    np.testing.assert_array_equal(bottlenecks.decisions(logits, [(0, 1, 2)]), [1, 0, 0, 1])
    made = make(STRAIGHT_THROUGH, groups=[(0, 1, 2)])
    assert models.apply(made, made.init(key), X).values.sum() == 1


@pytest.mark.parametrize(
    ("activation", "want"),
    [(bottlenecks.leaky_relu, lambda z: np.where(z > 0, z, 0.01 * z)), (lambda z: z, lambda z: z)],
)
def test_a_hybrid_tells_its_extra_units_which_interventions_leave_alone(activation, want, key):
    made = make(LOGIT, extra=5, activation=activation)
    params = made.init(key)
    units = np.asarray(params["encoder"] @ X, np.float64)
    given = Given(jnp.ones(3, bool), jnp.array([0.0, 1.0, 1.0]))
    found = models.apply(made, params, X, given)
    told = np.concatenate([[-5.0, 5.0, 5.0], want(units[3:])])
    np.testing.assert_allclose(found.task, np.asarray(params["head"], np.float64) @ told, rtol=1e-4)
    assert found.concepts.shape == (3,)


def test_an_encoder_of_another_width_is_refused(key):
    made = bottleneck(linear(4, 3), linear(4, 2), 3, extra=1)
    with pytest.raises(ValueError, match="want an encoder with 4 outputs"):
        models.apply(made, made.init(key), X)


def test_the_peers_models_have_its_numbers_of_parameters(key):
    """17,157 in a bottleneck for XOR, 50,177 in a hybrid: counted in the peer's own models."""
    for extra, want in ((0, 17_157), (254, 50_177)):
        encoder = nets.functional(nets.LeakyMLP((128, 128, 2 + extra), dense=nets.UniformDense), jnp.zeros(2))
        head = nets.functional(nets.UniformDense(1), jnp.zeros(2 + extra))
        params = jax.eval_shape(bottleneck(encoder, head, 2, extra=extra).init, key)
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) == want
