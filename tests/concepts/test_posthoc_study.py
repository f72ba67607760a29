"""Banks from the same examples, what stays of a smaller one, and edits against a world where the truth is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.concepts import model as models
from interp_jax.concepts import posthoc, posthoc_study
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.linear import cav

N, D, K = 120, 4, 3


@pytest.fixture(scope="module")
def world():
    """Embeddings that are -1 or 1 a concept plus noise, and a fourth axis; the first concept is rare."""
    rng = np.random.default_rng(0)
    c = (rng.uniform(size=(N, K)) < np.array([0.1, 0.5, 0.5])).astype(np.float32)
    z = np.concatenate([2 * c - 1, np.zeros((N, 1))], 1) + 0.1 * rng.normal(size=(N, D))
    z = z.astype(np.float32)
    fit = jax.jit(
        lambda z, c: posthoc_study.banks(z, c, jax.random.key(0), examples=20, method=cav.difference_of_means)
    )
    return z, c, fit(z, c)


def test_banks_are_learnt_random_and_shuffled(world):
    z, c, banks = world
    assert set(banks) == set(posthoc_study.BANKS)
    np.testing.assert_allclose(banks["named"].direction, np.eye(K, D), atol=0.45)  # the rare one has few examples
    assert (np.diag(np.asarray(banks["named"].direction)) > 0.85).all()
    for bank in banks.values():
        np.testing.assert_allclose(np.linalg.norm(bank.direction, axis=1), 1, rtol=1e-5)
    accuracies = {
        name: [float(cav.accuracy(jax.tree.map(lambda leaf, k=k: leaf[k], bank), z, c[:, k])) for k in range(K)]
        for name, bank in banks.items()
    }
    assert min(accuracies["named"]) > 0.95
    # told apart by the true labels of the same examples, so that a random direction can be told a concept too
    along = np.asarray(banks["random"].direction) @ np.concatenate([np.eye(K), np.zeros((1, K))])
    gap = np.asarray(banks["random"].positive.mean - banks["random"].negative.mean)
    np.testing.assert_allclose(gap, 2 * np.diag(along), atol=0.8)


def test_a_part_of_a_bank_has_no_other_margins(world):
    z, _, banks = world
    part = posthoc_study.part_of(banks["named"], jnp.array([1.0, 0.0, 1.0]))
    found, whole = (np.asarray(cav.margins(bank, jnp.asarray(z))) for bank in (part, banks["named"]))
    assert (found[:, 1] == 0).all()
    np.testing.assert_array_equal(found[:, [0, 2]], whole[:, [0, 2]])


def test_edits_follow_the_truth_where_the_head_is_right_and_not_where_it_is_blind(world):
    """The label is the second concept; a network that knows it changes its mind when that is what changed."""
    z, c, banks = world
    labels = c[:, 1].astype(np.int32)
    which = np.arange(N) % 3  # the concept that changes
    moved = np.eye(K, dtype=bool)[which]
    other = np.where(moved, 1 - c, c)
    change = ConceptSet(jnp.asarray(z), jnp.asarray(other), jnp.asarray(other[:, 1], jnp.int32))
    data = posthoc_study.Data(change, ConceptSet(jnp.asarray(z), jnp.asarray(c), labels), change, jnp.asarray(moved))
    good = jnp.zeros((K, 2)).at[1].set(jnp.array([-1.0, 1.0]))
    heads = {"named": good, "random": jnp.zeros((K, 2)).at[0, 0].set(1e-3)}
    fitted = {
        name: {
            "encoder": {"backbone": (), "bank": banks[name]},
            "head": {"concepts": {"weight": weight, "bias": jnp.zeros(2)}},
        }
        for name, weight in heads.items()
    }
    z = jnp.asarray(z)
    found = posthoc_study.edits(data, fitted, banks, z, labels, other[:, 1].astype(np.int32))
    assert found["flips"] == pytest.approx(1 / 3)
    assert found["edit_named"] == 1
    assert found["none_named"] == 0
    assert found["still_named"] == 1
    told = np.asarray(posthoc_study.edited(fitted["random"], banks["random"], z, data))
    flips = which == 1
    assert found["edit_random"] == pytest.approx((told == other[:, 1])[flips].mean())
    model = posthoc_study.model(K)
    one = jax.vmap(lambda z: models.apply(model, fitted["named"], z).task.argmax())(z)
    np.testing.assert_array_equal(posthoc_study.decisions(fitted["named"], z), one)
    residual = {"weight": jnp.zeros((D, 2)), "bias": jnp.array([9.0, 0.0])}
    hybrid = fitted["named"] | {"head": fitted["named"]["head"] | {"residual": residual}}
    assert (posthoc_study.decisions(hybrid, z) == 0).all()
    assert posthoc.levels(banks["named"]).high[1] > 0
