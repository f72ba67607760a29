"""Concept sets: the formulas of the paper, the peer's split, and the probabilities that the definitions imply."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.data import concept_sets
from interp_jax.data.concept_sets import ConceptSet
from tests.oracles import concepts as oracle

SETS = {"xor": (2, 2), "trig": (7, 3), "dot": (4, 2)}


@pytest.mark.parametrize("name", SETS)
def test_a_set_has_its_shapes_and_types(name, key):
    features, concepts = SETS[name]
    found = concept_sets.draw(concept_sets.GENERATORS[name], key, 50)
    assert found.inputs.shape == (50, features)
    assert found.concepts.shape == (50, concepts)
    assert found.labels.shape == (50,)
    assert (found.inputs.dtype, found.concepts.dtype, found.labels.dtype) == (jnp.float32, jnp.float32, jnp.int32)


@pytest.mark.parametrize("name", SETS)
def test_the_label_and_the_concepts_follow_from_the_inputs(name, key):
    """The latent vectors are recovered from the inputs, and the definitions applied to them."""
    found = jax.tree.map(np.asarray, concept_sets.draw(concept_sets.GENERATORS[name], key, 2000))
    concepts, labels, sure = oracle.from_inputs(name, found.inputs.astype(np.float64))
    assert sure.mean() > 0.98
    np.testing.assert_array_equal(found.concepts[sure], concepts[sure])
    np.testing.assert_array_equal(found.labels[sure], labels[sure])


@pytest.mark.parametrize("name", SETS)
def test_the_reference_split_obeys_the_same_definitions(name):
    split = concept_sets.reference_split(name)
    assert [len(part.labels) for part in split] == [2100, 300, 600]
    for part in jax.tree.map(np.asarray, split):
        concepts, labels, sure = oracle.from_inputs(name, part.inputs.astype(np.float64))
        np.testing.assert_array_equal(part.concepts[sure], concepts[sure])
        np.testing.assert_array_equal(part.labels[sure], labels[sure])


def test_the_reference_split_has_the_shares_of_class_0_that_the_papers_table_shows():
    """XOR 51.33% and Dot 48.00% of Table 1 are 308 and 288 of 600."""
    for name, zeros in {"xor": 308, "dot": 288}.items():
        assert int((concept_sets.reference_split(name).test.labels == 0).sum()) == zeros


def test_the_reference_split_is_drawn_in_the_order_train_test_validation():
    legacy = np.random.RandomState(42)
    drawn = legacy.uniform(size=(3000, 2)).astype(np.float32)
    split = concept_sets.reference_split("xor")
    np.testing.assert_array_equal(
        np.concatenate([split.train.inputs, split.test.inputs, split.validation.inputs]), drawn
    )


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="want a name among"):
        concept_sets.reference_split("parity")


@pytest.mark.parametrize("delta", [-0.5, 0.0, 0.25, 0.75, 1.0])
def test_tabular_toy_has_concepts_that_depend_as_its_covariance_says(delta, key):
    """P(c_i = c_j) = 1/2 + arcsin(delta) / pi for two normals of correlation delta (Sheppard 1899)."""
    found = concept_sets.draw(concept_sets.tabular_toy(delta), key, 20_000)
    concepts = np.asarray(found.concepts)
    np.testing.assert_array_equal(np.asarray(found.labels), (concepts.sum(1) >= 2).astype(int))
    want = 0.5 + np.arcsin(delta) / np.pi
    for i, j in ((0, 1), (0, 2), (1, 2)):
        agree = (concepts[:, i] == concepts[:, j]).mean()
        assert abs(agree - want) < 4 * (want * (1 - want) / 20_000) ** 0.5 + 2e-4
    np.testing.assert_allclose(concepts.mean(0), 0.5, atol=4 * 0.5 / 20_000**0.5)


def test_tabular_toy_refuses_a_covariance_that_is_none():
    with pytest.raises(ValueError, match=r"want -0\.5 <= delta <= 1"):
        concept_sets.tabular_toy(-0.6)


def test_a_toy_of_more_concepts_has_the_majority_for_its_label(key):
    found = concept_sets.draw(concept_sets.tabular_toy(-0.1, 5), key, 20_000)
    concepts = np.asarray(found.concepts)
    assert found.inputs.shape == (20_000, 11)
    np.testing.assert_array_equal(np.asarray(found.labels), concepts.sum(1) > 2.5)
    want = 0.5 + np.arcsin(-0.1) / np.pi
    agree = (concepts[:, 0] == concepts[:, 4]).mean()
    assert abs(agree - want) < 4 * (want * (1 - want) / 20_000) ** 0.5
    with pytest.raises(ValueError, match=r"want -0\.25 <= delta <= 1"):
        concept_sets.tabular_toy(-0.3, 5)


def test_the_parts_of_a_split_are_other_examples(key):
    split = concept_sets.draw_split(concept_sets.xor, key, 5, 4, 3)
    assert [len(part.labels) for part in split] == [5, 4, 3]
    assert len(np.unique(np.concatenate([part.inputs for part in split]), axis=0)) == 12


def test_delta_may_be_traced(key):
    shared = jax.jit(jax.vmap(lambda delta: concept_sets.draw(concept_sets.tabular_toy(delta), key, 4).inputs))
    assert shared(jnp.array([0.0, 0.5])).shape == (2, 4, 7)


FINE = concept_sets.ConceptSet(np.zeros((3, 2)), np.array([[0.0, np.nan], [1.0, np.nan], [0.5, np.nan]]), np.arange(3))


def test_a_set_that_can_be_learnt_from_passes():
    assert concept_sets.check(FINE, classes=3) is FINE


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"concepts": np.full((3, 1), 1.2)}, "want 0 <= concepts <= 1"),
        ({"concepts": np.array([[-0.1], [np.nan], [0.0]])}, "want 0 <= concepts <= 1"),
        ({"concepts": np.zeros((3, 0))}, "want at least one concept"),
        ({"concepts": np.zeros(3)}, r"want inputs \[N, ...\]"),
        ({"inputs": np.zeros((4, 2))}, r"want inputs \[N, ...\]"),
        ({"labels": np.array([0, 1, 3])}, "want 0 <= labels <= 2"),
        ({"labels": np.array([0, -1, 1])}, "want 0 <= labels <= 2"),
        ({"labels": np.array([2, 2, 2])}, "want examples of at least two classes, got labels that are all 2"),
    ],
)
def test_a_set_that_cannot_is_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        concept_sets.check(FINE._replace(**changed), classes=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"concepts": np.full((4, 2), 2.0)}, "want 0 <= concepts <= 1, got entries from 2.0 to 2.0"),
        ({"concepts": np.zeros((3, 2))}, r"got \(4, 5\), \(3, 2\) and \(4,\)"),
        ({"inputs": np.full((4, 5), np.nan)}, "want finite inputs, got 20 entries"),
        ({"labels": np.array([0, 1, 2, 0])}, "want 0 <= labels <= 1, got entries from 0 to 2"),
        ({"labels": np.array([0.0, 1.0, 0.5, 0.0])}, "want labels of an integer type, got float64"),
        ({"labels": np.zeros(4, int)}, "want labels of at least two classes, got 0 only"),
    ],
)
def test_data_that_no_model_can_learn_are_refused(change: dict, message: str) -> None:
    good = {"inputs": np.zeros((4, 5)), "concepts": np.array([[0.0, np.nan]] * 4), "labels": np.array([0, 1, 1, 0])}
    assert concept_sets.checked(ConceptSet(**good)).labels is good["labels"]
    with pytest.raises(ValueError, match=message):
        concept_sets.checked(ConceptSet(**good | change))
