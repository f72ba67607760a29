"""Concept embedding models against their formula in float64, and RandInt against its expectation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.concepts import embedding, study
from interp_jax.concepts import model as models
from interp_jax.concepts.model import Given
from tests.concepts.test_model import linear
from tests.oracles import concepts as oracle


@pytest.fixture(scope="module")
def small():
    made = study.build("cem", 4, 3, classes=2, size=5, hidden=6)
    return made, jax.jit(made.init)(jax.random.key(1))


@pytest.mark.parametrize("mask", [(False, False, False), (True, False, True)])
def test_the_forward_pass_is_the_papers(small, mask):
    made, params = small
    x, said = jnp.array([0.5, -1.0, 2.0, 0.3]), jnp.array([1.0, 0.0, 0.0])
    found = jax.jit(lambda params, given: models.apply(made, params, x, given))(params, Given(jnp.array(mask), said))
    logits, told, task = oracle.cem_forward(params["encoder"], params["head"], x, 3, mask, said)
    np.testing.assert_allclose(found.concepts, oracle.sigmoid(logits), rtol=1e-5)
    np.testing.assert_allclose(found.values, told, rtol=1e-5)
    np.testing.assert_allclose(found.task, task, rtol=1e-5, atol=1e-6)


def test_the_papers_model_has_its_number_of_parameters(key):
    """99,970 on XOR: counted in the peer's own model."""
    params = jax.eval_shape(study.build("cem", 2, 2).init, key)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 99_970


def test_knowing_a_concept_chooses_its_embedding(small):
    made, params = small
    encoded = made.encode(params, jnp.ones(4))
    for said in (0.0, 1.0):
        mixed = embedding.mixture(jnp.full(3, said), encoded.rest)
        np.testing.assert_allclose(mixed, encoded.rest[:, :5] if said else encoded.rest[:, 5:], rtol=1e-5, atol=1e-7)


def test_a_context_of_another_width_is_refused(key):
    made = embedding.cem(linear(2, 4), linear(4, 7), linear(6, 1), linear(6, 1), 2)
    with pytest.raises(ValueError, match="want a context with a multiple of 4 outputs, got 7"):
        jax.eval_shape(lambda key: models.apply(made, made.init(key), jnp.ones(2)), key)


@pytest.mark.parametrize("shared", [False, True])
def test_rand_int_tells_the_expected_mixture(shared):
    """E[told] = p + probability (c - p), each example or, `shared`, each batch with a mask of its own."""
    probability, p = 0.25, jnp.array([[0.2, 0.9, 0.5]] * 4)
    concepts = jnp.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    give = embedding.rand_int(probability, shared=shared)

    @jax.jit
    @jax.vmap
    def told(key):
        given = give(key, concepts)
        return given.mask, jnp.where(given.mask, given.concepts, p)

    masks, values = told(jax.random.split(jax.random.key(3), 4000))
    error = (probability * (1 - probability) / 4000) ** 0.5
    want = p + probability * (concepts - p)
    assert np.all(np.abs(values.mean(0) - want) < 4.5 * error * np.abs(concepts - p) + 1e-6)
    assert bool((masks == masks[:, :1]).all()) == shared


def test_rand_int_leaves_a_concept_without_a_label_to_the_model(key):
    given = embedding.rand_int(1.0)(key, jnp.array([[jnp.nan, 1.0]]))
    assert given.mask.tolist() == [[False, True]]
    with pytest.raises(ValueError, match="want 0 <= probability <= 1"):
        embedding.rand_int(1.5)


def test_where_a_concept_is_set_the_task_does_not_train_its_score(small):
    made, params = small
    given = Given(jnp.array([True, True, True]), jnp.array([1.0, 0.0, 1.0]))

    @jax.jit
    @jax.grad
    def slope(params, given):
        return models.apply(made, params, jnp.ones(4), given).task[0]

    assert not np.any(slope(params, given)["encoder"]["score"]["kernel"])
    assert np.any(slope(params, models.nothing(3))["encoder"]["score"]["kernel"])
