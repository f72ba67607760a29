"""Planted words: states that show a label plainly, states that show the word; divisions, the word alone by counting."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.probes import controls
from interp_jax.probes import selectivity_study as study
from interp_jax.probes.selectivity_study import How, Words

TYPES, EACH, CLASSES = 40, 5, 3
HOW = How(CLASSES, EACH, (0, 1), (1.0, 10.0), (32,), 60, 20)


def test_drawn_types_have_as_many_examples_of_their_own():
    word = np.array([0] * 7 + [1] * 2 + [2] * 3 + [4] * 5)
    order = np.random.default_rng(0).permutation(len(word))
    found = study.drawn(word[order], jax.random.key(0), types=2, each=3)
    assert found.shape == (2, 3)
    assert len(set(found.ravel())) == 6
    for own in found:
        assert len(set(word[order][own])) == 1
    several = {tuple(study.drawn(word, jax.random.key(i), types=3, each=3)[:, 0].tolist()) for i in range(5)}
    assert len(several) > 1
    with pytest.raises(ValueError, match="want types <= 3, those of at least 3 examples, got types=4"):
        study.drawn(word, jax.random.key(0), types=4, each=3)


@pytest.mark.parametrize("split", [study.by_example, study.by_type])
def test_divisions_are_of_the_same_sizes_and_leave_out_nothing(split):
    parts = [np.asarray(part) for part in split(jax.random.key(1), TYPES, EACH)]
    assert [len(part) for part in parts] == [120, 40, 40]
    assert sorted(np.concatenate(parts).tolist()) == [*range(200)]
    types = [set((part // EACH).tolist()) for part in parts]
    if split is study.by_example:
        assert types == [set(range(TYPES))] * 3
        np.testing.assert_array_equal(parts[2] // EACH, np.arange(TYPES))
    else:
        assert [len(own) for own in types] == [24, 8, 8]
        assert len(set.union(*types)) == TYPES


def test_the_word_alone_by_counting():
    rng = np.random.default_rng(3)
    labels, types = rng.integers(0, CLASSES, 200), np.repeat(np.arange(TYPES), EACH)
    for split in (study.by_example, study.by_type):
        rows = split(jax.random.key(2), TYPES, EACH)
        found = study.by_word_alone(jnp.asarray(labels), jnp.asarray(types), rows, classes=CLASSES, count=TYPES)
        every = Counter(labels[np.asarray(rows.train)].tolist())
        for row, right in zip(np.asarray(rows.test), np.asarray(found), strict=True):
            own = Counter(labels[i] for i in np.asarray(rows.train) if types[i] == types[row])
            best = max(range(CLASSES), key=lambda label: (own[label], every[label]))
            assert right == (best == labels[row])


@pytest.fixture(scope="module")
def planted():
    """Layer 0 shows the word, layer 1 its label in context, plainly; the fresh net shows the word everywhere."""
    rng = np.random.default_rng(4)
    majority = rng.integers(0, CLASSES, TYPES)
    labels = np.where(rng.random((TYPES, EACH)) < 0.7, majority[:, None], rng.integers(0, CLASSES, (TYPES, EACH)))
    doubt = np.array([len(set(row)) > 1 for row in labels])
    labels = labels.ravel()
    word = np.repeat(np.eye(TYPES), EACH, 0)
    told = np.tile(np.eye(CLASSES)[labels], TYPES // CLASSES + 1)[:, :TYPES]
    states = np.stack([word, told], 1) + 0.02 * rng.normal(size=(200, 2, TYPES))
    fresh = np.stack([word, word], 1) + 0.02 * rng.normal(size=(200, 2, TYPES))
    words = Words(
        *(jnp.asarray(each, jnp.float32) for each in (states, fresh)), jnp.asarray(labels), jnp.asarray(doubt)
    )
    find = jax.jit(lambda key, words: study.one_split(HOW, key, words))
    each = [find(jax.random.key(seed), words) for seed in (5, 6)]
    return words, {name: np.stack([one[name] for one in each]) for name in each[0]}


@pytest.mark.slow
def test_what_is_planted_is_found(planted):
    _, found = planted
    assert all(np.isfinite(each).all() for each in found.values())
    np.testing.assert_array_equal(found["repeated"], 1)
    np.testing.assert_array_equal(found["repeated_types"], 0)
    assert (found["task"][:, 1] > 0.99).all()
    assert (found["unseen"][:, 1] > 0.99).all()
    assert (found["best"] == 1).all()
    assert (found["control"][:, 0] > 0.95).all()
    assert (found["untrained_control"] > 0.95).all()
    assert (found["control"][:, 1] < found["control"][:, 0] - 0.2).all()
    # A probe of the word is a vote among training labels: what counting gives, but for ties.
    assert abs(found["task"][:, 0].mean() - found["alone"].mean()) < 0.1
    assert (found["bits_beyond"] > 0.2).all()
    assert (found["code_task"][:, 1] > found["code_task"][:, 0] + 0.5).all()
    assert (found["code_task"][:, 1] > found["code_control"][:, 1] + 0.5).all()
    assert (found["mlp_task"] > 0.95).all()
    assert found["mlp_task"].shape == (2, 1, 1)


@pytest.mark.slow
def test_numbers_agree_with_each_other(planted):
    words, found = planted
    doubt = np.asarray(words.ambiguous)
    np.testing.assert_allclose(found["by_type_beyond"].mean(1), found["best_task"] - found["alone"], atol=1e-6)
    np.testing.assert_allclose(
        found["by_type_beyond"][:, doubt].mean(1), found["task_ambiguous"] - found["alone_ambiguous"], atol=1e-6
    )
    gap = (found["task"][:, 1] - found["control"][:, 1]) - (found["mlp_task"] - found["mlp_control"])[:, 0, 0]
    np.testing.assert_allclose(found["by_type_gap"].mean(1), gap, atol=1e-6)


def test_linear_probes_are_those_of_controls():
    rng = np.random.default_rng(6)
    labels = rng.integers(0, CLASSES, 200)
    features = jnp.asarray(5 * np.eye(CLASSES)[labels] + 3 * rng.normal(size=(200, CLASSES)) + 7, jnp.float32)
    rows, y = study.by_example(jax.random.key(9), TYPES, EACH), jnp.asarray(labels)
    own = (features - features[rows.train].mean(0)[None]) / features[rows.train].std(0)[None]
    found = jax.jit(lambda x, y: study.tables(HOW, x, y, [(0, 0, 1), (1, 0, 0)], [rows, rows]))(
        jnp.stack([features, own]), y[None]
    )
    assert found.right.shape == (2, 2, TYPES)
    peer = jax.jit(lambda train, test, alpha: controls.score(controls.softmax(CLASSES, alpha), train, test))
    train, test, choose = (controls.Task(own[part], y[part]) for part in (rows.train, rows.test, rows.choose))
    for i, alpha in enumerate(HOW.alphas):
        for job in range(2):
            right, lost = peer(train, test, alpha).accuracy, peer(train, choose, alpha).loss
            assert float(found.right[job, i].mean()) == pytest.approx(float(right), abs=0.03)
            assert float(found.loss[job, i]) == pytest.approx(float(lost), rel=0.02)
