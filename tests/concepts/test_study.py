"""The paper's models by name: one program for several, what is left out of one, what stands for a concept."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.concepts import losses, study
from interp_jax.concepts import model as models
from interp_jax.concepts.embedding import mixture
from interp_jax.data import concept_sets

SIZES = {"size": 3, "hidden": 5}
X = jnp.array([0.2, -1.0, 0.7, 0.4])


@pytest.mark.parametrize("names", [("cbm_hard", "cbm_sigmoid", "cbm_logit"), ("hybrid_sigmoid", "hybrid_logit")])
def test_any_of_several_by_a_traced_number_is_the_one_by_its_name(names, key):
    params = study.build(names[0], 4, 3, **SIZES).init(key)

    def one(which):
        model = study.any_of(names, which, 4, 3, **SIZES)
        given = models.Given(jnp.array([True, False, False]), jnp.ones(3))
        task = lambda params: models.apply(model, params, X).task[0]  # noqa: E731
        return task(params), jax.grad(task)(params), models.apply(model, params, X, given).values

    def by_name(params):
        made = [study.build(name, 4, 3, **SIZES) for name in names]
        tasks = [lambda params, model=model: models.apply(model, params, X).task[0] for model in made]
        return [jax.value_and_grad(task)(params) for task in tasks]

    found, alone = jax.jit(lambda which: (jax.vmap(one)(which), by_name(params)))(jnp.arange(len(names)) * 1.0)
    for i, (name, (task, gradient)) in enumerate(zip(names, alone, strict=True)):
        np.testing.assert_allclose(found[0][i], task, rtol=1e-5)
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-6), found[1], gradient)
        assert found[2][i, 0] == (5 if name.endswith("logit") else 1)


def test_what_cannot_be_built_is_named():
    for wrong in ("cbm", "cem "):
        with pytest.raises(ValueError, match=f"want a model among .*, got '{wrong}'"):
            study.build(wrong, 4, 3)
    with pytest.raises(ValueError, match="want models with the same params"):
        study.any_of(("cbm_hard", "hybrid_logit"), 0, 4, 3)
    with pytest.raises(ValueError, match=r"want models among .* got none"):
        study.any_of((), 0, 4, 3)


def without(params, kept, name):
    """Take the rows of what stays out of the params of a model of all concepts."""
    head = params["head"]["kernel"]
    if name == "cem":
        rows = head.reshape(3, 3, -1)[kept].reshape(3 * len(kept), -1)
    else:
        rows = jnp.concatenate([head[kept], head[3:]])
    return rows, params["head"]["bias"]


@pytest.mark.parametrize("name", ["cbm_sigmoid", "hybrid_sigmoid", "cem"])
def test_a_limited_model_is_one_without_those_concepts(name, key):
    """Its task is that of the head's rows that stay; what is not known has no gradient."""
    full, known, kept = study.build(name, 4, 3, **SIZES), jnp.array([True, False, True]), np.array([0, 2])
    params = full.init(key)
    limited = study.limited(full, known)
    encoded = full.encode(params, X)
    values = full.values(params, encoded, models.nothing(3), None)
    weight, bias = without(params, kept, name)
    told = mixture(values, encoded.rest)[kept].reshape(-1) if name == "cem" else jnp.concatenate(
        [values[kept], encoded.rest]
    )  # fmt: skip
    np.testing.assert_allclose(models.apply(limited, params, X).task, told @ weight + bias, rtol=1e-5)

    labels = jnp.where(known, 1.0, jnp.nan)

    def loss(params):
        return (
            losses.mean(losses.concept_loss()(limited.encode(params, X).logits, labels))
            + models.apply(limited, params, X).task.sum()
        )

    gradient = jax.jit(jax.grad(loss))(params)["encoder"]
    last = gradient["context"]["kernel"].reshape(-1, 3, 6) if name == "cem" else gradient["UniformDense_2"]["kernel"]
    assert not np.any(last[:, 1])
    assert np.any(last[:, 0])


def test_what_stands_for_a_concept():
    values, units, embeddings = jnp.array([0.25, 1.0]), jnp.array([7.0, 8.0, 9.0]), jnp.arange(8.0).reshape(2, 4)
    joined = [[0.25, 7, 8, 9], [1, 7, 8, 9]]
    np.testing.assert_array_equal(study.representation(values, units), joined)
    np.testing.assert_array_equal(study.representation(values, jnp.zeros(0)), [[0.25], [1]])
    np.testing.assert_array_equal(study.representation(values, embeddings), mixture(values, embeddings))


def test_a_head_of_layers_tells_what_a_linear_one_cannot(key):
    """Told the truth of XOR's two concepts, a head of 8 leaky units is exact; so no sum of two concepts is."""
    model = study.build("cbm_hard", 2, 2, head=(8,), **SIZES)
    recipe = dataclasses.replace(study.RECIPE, batch=100)
    trainer = study.training.independent(model, recipe, lr=0.01)
    data = concept_sets.draw(concept_sets.xor, key, 400)
    step = jax.jit(lambda state, t: trainer.step(state, data, t)[0])
    state = trainer.init(key)
    for t in range(150):
        state = step(state, jnp.int32(t))
    told = jax.vmap(lambda c: model.head(state.params, c, jnp.zeros(0)))(data.concepts)[:, 0]
    np.testing.assert_array_equal(told > 0, data.labels > 0)
