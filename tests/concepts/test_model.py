"""The interface: what is given replaces what is predicted, at the model's levels; bad descriptions are refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.concepts import model as models
from interp_jax.concepts.bottleneck import LOGIT, SIGMOID, bottleneck
from interp_jax.concepts.model import Given, Levels
from interp_jax.models.nets import Net


def linear(inputs, outputs):
    """A linear net as a pair of functions: any net will do."""
    return Net(
        lambda key: jax.random.normal(key, (outputs, inputs)),
        lambda params, x: params @ x,
    )


def make(kind=SIGMOID, **options):
    return bottleneck(linear(4, 3), linear(3, 2), 3, kind=kind, **options)


X = jnp.array([0.5, -1.0, 2.0, 0.1])


def test_an_intervention_replaces_what_the_head_is_told_and_nothing_else(key):
    made = make()
    params = made.init(key)
    free = models.apply(made, params, X)
    given = Given(jnp.array([False, True, False]), jnp.array([0.9, 1.0, 0.2]))
    told = models.apply(made, params, X, given)
    np.testing.assert_array_equal(told.concepts, free.concepts)
    np.testing.assert_allclose(told.values, [free.values[0], 1.0, free.values[2]])
    np.testing.assert_allclose(told.task, params["head"] @ told.values, rtol=1e-6)


def test_no_intervention_is_an_empty_mask(key):
    made = make()
    params = made.init(key)
    for found, want in zip(
        models.apply(made, params, X, models.nothing(3)), models.apply(made, params, X), strict=True
    ):
        np.testing.assert_array_equal(found, want)


def test_levels_say_what_the_head_is_told(key):
    made = make(LOGIT)
    given = Given(jnp.ones(3, bool), jnp.array([0.0, 1.0, 0.5]))
    params = made.init(key)
    np.testing.assert_allclose(models.apply(made, params, X, given).values, [-5.0, 5.0, 0.0])
    found = models.with_levels(made, Levels(jnp.array([-1.0, -2.0, -3.0]), jnp.array([1.0, 4.0, 5.0])))
    np.testing.assert_allclose(models.apply(found, params, X, given).values, [-1.0, 4.0, 1.0])


def test_levels_differ_from_seed_to_seed(key):
    made = make(LOGIT)
    params = jax.vmap(made.init)(jax.random.split(key, 2))
    levels = Levels(jnp.array([[-1.0] * 3, [-2.0] * 3]), jnp.array([[1.0] * 3, [2.0] * 3]))
    given = Given(jnp.ones(3, bool), jnp.array([0.0, 1.0, 0.0]))
    found = jax.vmap(lambda params, levels: models.apply(models.with_levels(made, levels), params, X, given))(
        params, levels
    )
    np.testing.assert_allclose(found.values, [[-1, 1, -1], [-2, 2, -2]])
    whole = jax.vmap(lambda made, params: models.apply(made, params, X, given), in_axes=(0, 0))(
        dataclasses.replace(made, levels=levels), params
    )
    np.testing.assert_array_equal(whole.values, found.values)


def test_a_label_that_is_missing_where_nobody_intervenes_does_not_reach_the_gradient(key):
    made = make()
    given = Given(jnp.array([True, False, False]), jnp.array([1.0, jnp.nan, jnp.nan]))
    gradient = jax.grad(lambda params: models.apply(made, params, X, given).task.sum())(made.init(key))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_probabilities_are_a_softmax_within_a_group():
    logits = jnp.array([1.0, -0.5, 2.0, 0.3])
    found = np.asarray(models.probabilities(logits, [(0, 2)]))
    e = np.exp([1.0, 2.0])
    np.testing.assert_allclose(found[[0, 2]], e / e.sum(), rtol=1e-6)
    np.testing.assert_allclose(found[[1, 3]], 1 / (1 + np.exp([0.5, -0.3])), rtol=1e-6)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ([(0, 1), (1, 2)], "want groups that do not overlap, got concept 1"),
        ([(0, 3)], "want groups of concepts among 0 .. 2, got concept 3"),
        ([(2,)], "want groups of at least 2 concepts"),
    ],
)
def test_bad_groups_are_refused(groups, said):
    with pytest.raises(ValueError, match=said):
        make(groups=groups)


def test_a_model_without_concepts_is_refused():
    with pytest.raises(ValueError, match="want an integer concepts >= 1"):
        bottleneck(linear(4, 1), linear(1, 1), 0)


def test_an_intervention_of_another_size_is_refused(key):
    made = make()
    with pytest.raises(AssertionError, match="shape"):
        models.apply(made, made.init(key), X, models.nothing(4))
    with pytest.raises(ValueError, match=r"want levels of shape \(\) or \(3,\)"):
        models.with_levels(made, Levels(jnp.zeros(4), jnp.ones(4)))
