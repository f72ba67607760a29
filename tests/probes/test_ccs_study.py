"""One split: that rows stay apart, that choices take no label of scored rows, and what is found in planted states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.probes import ccs_study as study
from interp_jax.probes import contrast

GROUPS, EACH, LAYERS, WIDTH = 20, 6, 3, 8
HOW = study.How(restarts=3, epochs=300, lr=1e-2, spread=contrast.whole)


def made(strength, seed=0):
    """States `[N, V, 2, L, D]` with truth along axis 0, larger in deeper layers; words are not in them.

    The words of each paraphrase's two sides are: the largest part of a state.
    """
    rng = np.random.default_rng(seed)
    labels, words = rng.integers(0, 2, (2, GROUPS * EACH))
    x = rng.normal(size=(GROUPS * EACH, 2, 1, LAYERS, WIDTH)) + 2 * rng.normal(size=(1, 2, 2, LAYERS, WIDTH))
    x = x + 0.2 * rng.normal(size=(GROUPS * EACH, 2, 2, LAYERS, WIDTH))
    flip = (2 * labels - 1)[:, None, None, None] * np.array([1, -1])[None, None, :, None]
    x[..., 0] += strength * flip * np.arange(LAYERS)[None, None, None]
    x = jnp.asarray(x, jnp.float32)
    noise = jnp.asarray(rng.normal(size=x.shape), jnp.float32)
    return study.Rows(x, noise, x, jnp.asarray(labels), jnp.asarray(words))


def test_a_split_keeps_groups_whole_and_apart():
    order = jax.random.permutation(jax.random.key(0), GROUPS)
    parts = study.divide(order, jnp.repeat(jnp.arange(GROUPS), EACH))
    found = [set(part.tolist()) for part in parts]
    assert [len(part) for part in parts] == [60, 36, 24]
    assert sum(map(len, found)) == GROUPS == len(set.union(*found))


def test_parts_hold_as_many_of_a_label_as_of_the_other():
    """Of groups with one label each; the share of a part would else say the opposite of that of another."""
    for means in (np.arange(60) % 2, np.repeat([0.0, 1.0], 30), np.full(27, 0.5)):
        for seed in range(3):
            order = study.balanced(jax.random.key(seed), jnp.asarray(means, jnp.float32))
            assert sorted(order.tolist()) == [*range(len(means))]
            parts = study.divide(order, jnp.asarray(means, jnp.float32))
            assert all(float(part.mean()) == 0.5 for part in parts)
            assert len(parts.train) + len(parts.choose) + len(parts.test) == len(means)
    first, second = (study.balanced(jax.random.key(seed), jnp.full(27, 0.5)).tolist() for seed in (0, 1))
    assert first != second


def test_words_of_a_paraphrase_are_not_what_is_found():
    """Centred over all paraphrases, any of their words would do: every restart has no loss, and half know no truth."""
    rows = made(1.0, seed=3)
    states, y = rows.plain[:, :, :, -1], rows.labels
    x = study.Divided(states[:60], states[60:90], states[90:])
    np.testing.assert_allclose(study.centred(x).train.mean(0), 0, atol=1e-5)
    fits, scores, own = jax.jit(lambda key, x: study.search(HOW, key, x))(jax.random.key(0), x)
    right = study.contrast.accuracy(scores.test[study.ccs.lowest(fits)], y[90:])
    assert max(right, 1 - right) > 0.9
    assert own.shape == (HOW.restarts, 30)


def test_the_choice_is_made_on_other_rows():
    """Of two candidates the one that is right elsewhere is taken, with its sign, though it is wrong here."""
    y, other = jnp.array([1, 0, 1, 0]), jnp.array([1, 1, 0, 0])
    good, bad = 2.0 * y - 1, jnp.array([1.0, 1, 1, 1])
    test = jnp.stack([-(2.0 * other - 1), 2.0 * other - 1])
    right, which = study.chosen(jnp.stack([-good, bad]), y, test, other)
    assert which == 0
    assert right == 1.0  # the sign is turned as it was there
    assert study.chosen(jnp.stack([good, bad]), y, test, other)[0] == 0.0


@pytest.mark.slow
def test_truth_that_is_planted_is_found_and_controls_are_at_chance():
    rows = made(1.0)
    find = jax.jit(jax.vmap(lambda key: study.one_split(HOW, GROUPS, key, rows)))
    found = jax.tree.map(np.asarray, find(jax.random.split(jax.random.key(1), 8)))
    for name in ("ccs", "crc", "bss", "relaxed", "vinc", "told", "transductive", "distracted_truth"):
        assert found[name].mean() > 0.9, name
    for name in ("untrained", "distracted_other"):
        assert abs(found[name].mean() - 0.5) < 4 * found[name].std() / np.sqrt(8) + 0.02, name
    assert found["broken"].mean() < found["ccs"].mean()
    assert abs(found["null"].mean() - 0.5) < 0.05
    assert found["null_folded"].mean() > 0.55
    assert found["layers_ccs"].shape == (8, LAYERS)
    assert (found["layers_ccs"][:, 0] < 0.8).all()  # no truth there
    assert found["restart_accuracy"].shape == found["restart_loss"].shape == (8, HOW.restarts)
    np.testing.assert_allclose(found["planted_truth"][:, 0], found["layers_ccs"][:, -1], atol=0.15)
    assert (found["planted_other"][:, -1] > 0.9).mean() > 0.7
    tested = found["by_group"] >= 0
    assert (tested.sum(1) == 4).all()
    np.testing.assert_allclose(
        [own[there].mean() for own, there in zip(found["by_group"], tested, strict=True)], found["ccs"], atol=1e-6
    )
