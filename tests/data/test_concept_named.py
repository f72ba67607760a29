"""Data sets by name: which share programs, and what a run is given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.data import concept_named, concept_sets, zoo
from interp_jax.data.concept_named import Examples, Kind


@pytest.fixture(scope="module")
def loaded():
    return {name: concept_named.load(name, fresh=50) for name in ("xor", "trig", "toy")}


def test_sets_of_one_shape_are_stacked(loaded):
    one, two = concept_named.stacks(loaded)
    assert (one.names, two.names) == (("xor",), ("trig", "toy"))
    assert (one.kind, two.kind) == (Kind(2, 2), Kind(7, 3))
    assert two.examples.train.inputs.shape == (2, 2100, 7)
    assert two.examples.fresh.labels.shape == (2, 50)
    own = concept_named.of_run(two.kind, two.examples, jnp.float32(1), jnp.float32(9))
    jax.tree.map(np.testing.assert_array_equal, own, loaded["toy"][1])


def test_the_papers_sets_are_its_examples_and_fresh_ones_are_others(loaded):
    _, found = loaded["xor"]
    reference = concept_sets.reference_split("xor")
    np.testing.assert_array_equal(found.train.inputs, reference.train.inputs)
    np.testing.assert_array_equal(found.test.labels, reference.test.labels)
    every = np.concatenate([part.inputs for part in found])
    assert len(np.unique(every, axis=0)) == len(every)


def test_a_run_holds_out_animals_of_its_own(monkeypatch):
    rows = jnp.arange(101)
    made = concept_sets.ConceptSet(rows[:, None] * jnp.ones((1, 16)), jnp.zeros((101, 21)), rows % 7)
    monkeypatch.setattr(zoo, "load", lambda: zoo.Zoo(made, ()))
    kind, found = concept_named.load("zoo")
    stacked = Examples(*jax.tree.map(lambda leaf: leaf[None], found))
    splits = [concept_named.of_run(kind, stacked, jnp.int32(0), jnp.int32(seed)) for seed in (0, 1, 0)]
    train, test = (np.asarray(part.inputs[:, 0]) for part in splits[0][:2])
    assert sorted([*train, *test]) == list(range(101))
    assert len(test) == concept_named.ANIMALS
    np.testing.assert_array_equal(splits[0].train.labels, train % 7)
    np.testing.assert_array_equal(test, splits[2].fresh.inputs[:, 0])
    assert not np.array_equal(test, splits[1].test.inputs[:, 0])


@pytest.mark.slow
def test_sums_have_groups_and_a_label_that_is_even():
    pytest.importorskip("sklearn")
    kind, found = concept_named.load("sums")
    assert kind == Kind(256, 16, 1, ((0, 1, 2), (3, 4, 5), (6, 7, 8, 9, 10), (11, 12, 13, 14, 15)))
    shown = np.asarray(found.test.concepts)
    digits = [shown[:, group] @ (np.arange(len(group))) for group in kind.groups]
    np.testing.assert_array_equal(np.sum(digits, 0) >= 6, found.test.labels == 1)
    assert 0.4 < float(found.train.labels.mean()) < 0.65


def test_an_unknown_name_is_named():
    with pytest.raises(ValueError, match=r"want a data set among .*, got 'birds'"):
        concept_named.load("birds")
