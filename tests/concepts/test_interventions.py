"""Interventions against loops over examples in NumPy: levels, sets, curves, experts; all seeds in one call."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.concepts import interventions, study
from interp_jax.concepts import model as models
from interp_jax.concepts.bottleneck import LOGIT, bottleneck
from interp_jax.data import concept_sets
from interp_jax.data.concept_sets import ConceptSet
from tests.concepts.test_model import linear
from tests.oracles import concepts as oracle


@pytest.fixture(scope="module")
def three():
    """A logit bottleneck of three concepts with a binary task, on 40 examples; levels from their logits."""
    model = bottleneck(linear(4, 3), linear(3, 1), 3, kind=LOGIT)
    params = model.init(jax.random.key(2))
    rng = np.random.default_rng(1)
    data = ConceptSet(
        jnp.asarray(rng.normal(size=(40, 4)), jnp.float32),
        jnp.asarray(rng.integers(0, 2, (40, 3)), jnp.float32),
        jnp.asarray(rng.integers(0, 2, 40), jnp.int32),
    )
    levels = interventions.training_levels(model, params, data.inputs)
    return models.with_levels(model, levels), params, data


def by_hand(params, data, mask, said, levels):
    """Accuracy of the task when the masked logits of each example are what `said` stands for."""
    x, weight = np.asarray(data.inputs, np.float64), np.asarray(params["encoder"], np.float64)
    logits = x @ weight.T
    low, high = (np.asarray(level, np.float64) for level in levels)
    told = np.where(mask, np.where(np.asarray(said) > 0.5, high, low), logits)
    task = told @ np.asarray(params["head"], np.float64)[0]
    return ((task > 0) == (np.asarray(data.labels) == 1)).mean()


def test_levels_are_percentiles_of_the_training_logits(three):
    model, params, data = three
    logits = np.asarray(data.inputs, np.float64) @ np.asarray(params["encoder"], np.float64).T
    np.testing.assert_allclose(model.levels.low, np.percentile(logits, 5, axis=0), rtol=1e-4)
    np.testing.assert_allclose(model.levels.high, np.percentile(logits, 95, axis=0), rtol=1e-4)
    with pytest.raises(ValueError, match="want 0 <= low < high <= 100"):
        interventions.levels(logits, low=95, high=5)


def test_all_sets_by_size():
    masks, sizes = interventions.subsets(3)
    assert len({tuple(mask) for mask in masks.tolist()}) == 8
    np.testing.assert_array_equal(masks.sum(1), sizes)
    assert sizes.tolist() == sorted(sizes.tolist())
    grouped, counts = interventions.subsets(4, [(1, 3)])
    assert grouped.shape == (8, 4)
    np.testing.assert_array_equal(grouped[:, 1], grouped[:, 3])
    assert counts.max() == 3
    with pytest.raises(ValueError, match="want at most 16 units"):
        interventions.subsets(17)


def test_nested_masks_follow_an_order_and_may_be_traced():
    rows = interventions.units(4, [(0, 2)])
    orders = jnp.array([[2, 0, 1], [0, 1, 2]])
    masks = jax.jit(lambda orders: interventions.nested(orders, rows))(orders)
    assert masks[0].astype(int).tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [1, 0, 1, 1], [1, 1, 1, 1]]
    assert masks[1].astype(int).tolist() == [[0, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1]]


def test_accuracies_are_those_of_a_loop(three):
    model, params, data = three
    masks, _ = interventions.subsets(3)
    found = jax.jit(lambda params: interventions.accuracies(model, params, data, masks))(params)
    want = [by_hand(params, data, mask, data.concepts, model.levels) for mask in masks]
    np.testing.assert_allclose(found, want, atol=1e-6)


def test_each_example_may_have_its_own_mask(three):
    model, params, data = three
    masks = np.random.default_rng(2).integers(0, 2, (5, 40, 3)).astype(bool)
    found = interventions.accuracies(model, params, data, masks)
    want = [by_hand(params, data, mask, data.concepts, model.levels) for mask in masks]
    np.testing.assert_allclose(found, want, atol=1e-6)


def test_the_curve_averages_the_sets_of_each_size(three):
    model, params, data = three
    found = interventions.curve(model, params, data)
    for size, value in enumerate(found):
        sets = itertools.combinations(range(3), size)
        masks = [np.isin(np.arange(3), set_) for set_ in sets]
        want = np.mean([by_hand(params, data, mask, data.concepts, model.levels) for mask in masks])
        np.testing.assert_allclose(value, want, atol=1e-6)


def test_curves_over_all_seeds_are_one_call(key):
    model = study.build("cem", 2, 2, size=3, hidden=4)
    data = concept_sets.draw(concept_sets.xor, key, 20)
    params = jax.jit(jax.vmap(model.init))(jax.random.split(key, 2))
    curves = jax.jit(jax.vmap(lambda params: interventions.curve(model, params, data)))
    together = curves(params)
    assert together.shape == (2, 3)
    for seed in range(2):
        one = jax.tree.map(lambda leaf, seed=seed: np.asarray(leaf[seed]), params)
        for size, value in enumerate(together[seed]):
            want = []
            for set_ in itertools.combinations(range(2), size):
                mask = np.isin(np.arange(2), set_)
                tasks = [
                    oracle.cem_forward(one["encoder"], one["head"], x, 2, mask, c)[2][0]
                    for x, c in zip(np.asarray(data.inputs), np.asarray(data.concepts), strict=True)
                ]
                want.append(np.mean((np.array(tasks) > 0) == (np.asarray(data.labels) == 1)))
            np.testing.assert_allclose(value, np.mean(want), atol=1 / 20 + 1e-6)


def test_an_expert_who_is_always_wrong_says_the_opposite(three, key):
    model, params, data = three
    found = interventions.curve(model, params, data, expert=interventions.wrong())
    want = by_hand(params, data, np.ones(3, bool), 1 - data.concepts, model.levels)
    np.testing.assert_allclose(found[3], want, atol=1e-6)
    np.testing.assert_array_equal(interventions.wrong()(data.concepts[0], key), 1 - data.concepts[0])


@pytest.mark.parametrize("competence", [0.0, 0.3, 1.0])
def test_competence_is_the_probability_of_being_right(competence):
    groups, truth = [(1, 2, 4)], jnp.array([1.0, 0.0, 1.0, 0.0, 0.0])
    expert = interventions.competent(competence, groups)
    said = np.asarray(jax.jit(jax.vmap(lambda key: expert(truth, key)))(jax.random.split(jax.random.key(0), 6000)))
    error = (competence * (1 - competence) / 6000) ** 0.5
    for binary in (0, 3):
        assert abs((said[:, binary] == truth[binary]).mean() - competence) <= 4.5 * error
    one_hot = said[:, [1, 2, 4]]
    np.testing.assert_array_equal(one_hot.sum(1), 1)
    assert abs(one_hot[:, 1].mean() - competence) <= 4.5 * error
    other = (1 - competence) / 2
    assert abs(one_hot[:, 0].mean() - other) <= 4.5 * (other * (1 - other) / 6000) ** 0.5


def test_competence_may_be_traced(three, key):
    model, params, data = three
    rows = jax.jit(
        jax.vmap(
            lambda competence: interventions.curve(
                model, params, data, key=key, expert=interventions.competent(competence)
            )
        )
    )(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(rows[1], interventions.curve(model, params, data), atol=1e-6)
    np.testing.assert_allclose(
        rows[0], interventions.curve(model, params, data, expert=interventions.wrong()), atol=1e-6
    )


def test_an_unknown_concept_is_left_to_the_model(three):
    model, params, data = three
    unknown = data._replace(concepts=jnp.full_like(data.concepts, jnp.nan))
    np.testing.assert_allclose(np.ptp(interventions.curve(model, params, unknown)), 0, atol=1e-6)


def test_an_intervention_on_a_concept_that_is_not_there_is_refused(three):
    model, params, data = three
    for index in (3, -1):
        with pytest.raises(ValueError, match=r"want concepts among 0 \.\. 2"):
            interventions.on([index], data.concepts[0])
    with pytest.raises(ValueError, match=r"want masks \[M, 3\]"):
        interventions.accuracies(model, params, data, np.ones((2, 4), bool))


def test_an_answer_is_right_by_the_sign_of_one_logit_or_the_largest_of_many():
    assert interventions.is_right(jnp.array([0.1]), jnp.array(1))  # 0.1 is below 1/2: the peer calls it class 0
    assert interventions.is_right(jnp.array([-0.1]), jnp.array(0))
    assert interventions.is_right(jnp.array([0.1, 0.3, 0.2]), jnp.array(1))


def test_nan_is_the_answer_of_no_class_and_the_accuracy_of_a_diverged_model_is_nan(three):
    for size in (1, 3):
        assert not any(interventions.is_right(jnp.full(size, jnp.nan), jnp.array(label)) for label in range(size + 1))
    model, params, data = three
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, params)
    assert np.isnan(interventions.accuracies(model, broken, data, np.zeros((1, 3), bool))).all()


def test_concept_accuracy_counts_known_labels(three):
    model, params, data = three
    partly = data._replace(concepts=data.concepts.at[:20].set(jnp.nan))
    logits = np.asarray(data.inputs, np.float64)[20:] @ np.asarray(params["encoder"], np.float64).T
    want = ((logits > 0) == (np.asarray(data.concepts)[20:] > 0.5)).mean()
    np.testing.assert_allclose(interventions.concept_accuracy(model, params, partly), want, rtol=1e-6)
