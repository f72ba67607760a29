"""Images have the marks they say, and what a hand-made net uses is found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from interp_jax.data import planted
from interp_jax.linear import cav
from interp_jax.probes import tcav, tcav_study
from interp_jax.probes.tcav_study import ATTRIBUTES, KINDS, SIDE

DIGITS = planted.framed(jnp.asarray(np.random.default_rng(0).random((20, 8, 8, 1)), jnp.float32), SIDE)
HOW = tcav_study.How(pool=240, examples=20, permutations=99, runs=31)


def reading() -> tcav_study.Net:
    """A net that measures each mark in the border, and has logits of the first two alone; its head bends.

    It measures much else: in six dimensions directions of dealt labels are too often near one that is used.
    """
    border = np.pad(np.zeros((8, 8)), 2, constant_values=1).reshape(-1).repeat(3)
    pictures = planted.pictures(SIDE)[list(ATTRIBUTES)].reshape(6, -1) * border
    inside = np.random.default_rng(1).normal(size=(24, 3 * SIDE**2)) * (1 - border) / 5
    read = jnp.asarray(np.concatenate([np.linalg.pinv(pictures.T), inside]), jnp.float32)

    def last(params, x):
        bent = (x - 0.5) + 0.1 * (x - 0.5) ** 2
        return params * (jnp.array([-1.0, 1, -1, 1]) * bent[0] + jnp.array([-1.0, -1, 1, 1]) * bent[1])

    return tcav_study.Net(lambda params, x: read @ x.reshape(-1), lambda params, x: x, last)


def drawn(training, count=400):
    keys = jax.random.split(jax.random.key(1), count)
    return jax.jit(jax.vmap(lambda k: tcav_study.draw(k, DIGITS, training=training)))(keys)


def test_concepts_go_along_as_often_as_stated():
    for training, share in ((True, tcav_study.ALONG), (False, 0.5)):
        found = drawn(training)
        same = np.asarray(found.concepts == found.concepts[:, :1]).mean(0)
        want = np.where(np.array(KINDS) == "hidden", tcav_study.ALONG, 0.5)
        want[KINDS.index("companion")] = share
        np.testing.assert_allclose(same[1:], want[1:], atol=0.1)
        np.testing.assert_array_equal(found.labels, found.concepts[:, 0] + 2 * found.concepts[:, 1])
    assert tcav_study.named("unused").tolist() == [2, 3, 4]


def test_what_has_no_mark_is_not_seen():
    concepts = jnp.zeros(len(KINDS))
    plain = tcav_study.show(DIGITS[0], concepts)
    assert plain.shape == (SIDE, SIDE, 3)
    for i, kind in enumerate(KINDS):
        other = tcav_study.show(DIGITS[0], concepts.at[i].set(1))
        assert bool((other != plain).any()) == (kind not in ("hidden", "absent")), kind


def test_only_used_marks_change_decisions():
    found = jax.jit(lambda key: tcav_study.flips(reading(), jnp.float32(1), key, DIGITS, 50))(jax.random.key(0))
    assert found[:2].min() > 0.9
    assert found[2:].max() < 0.1


def test_examples_of_a_class():
    seen = tcav_study.Seen(
        jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.arange(6.0)[:, None], jnp.array([0, 1, 0, 1, 1, 0])
    )
    assert seen.of_class(jnp.int32(1), 3)[:, 0].tolist() == [1, 3, 4]


def test_vectors_are_those_of_the_discriminant():
    rng = np.random.default_rng(2)
    concept, others = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((10, 4), (3, 10, 4)))
    found = jax.jit(tcav_study.vectors)(concept + 1, others)
    fit = jax.jit(lambda x, y: cav.fit(x, y, method=cav.discriminant).direction)
    y = jnp.repeat(jnp.array([1.0, 0.0]), 10)
    for own, other in zip(found, others, strict=True):
        np.testing.assert_allclose(own, fit(jnp.concatenate([concept + 1, other]), y), atol=1e-5)


def test_t_tests_are_scipys():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 3, 12))
    np.testing.assert_allclose(tcav_study.t_tests(a, b), stats.ttest_ind(a, b, axis=-1).pvalue)
    ones = np.ones((1, 5), np.float32)
    assert tcav_study.t_tests(ones, ones) == 1
    assert tcav_study.t_tests(ones, 0 * ones) == 0


def test_logits_less_their_mean_do_not_know_what_all_share():
    head = tcav_study.centred(lambda params, x: jnp.array([1.0, -1.0]) * x[0] + x[1])
    np.testing.assert_allclose(jax.jacobian(lambda x: head(None, x))(jnp.ones(2)), [[1, 0], [-1, 0]], atol=1e-6)


def test_p_values_are_those_of_each_class():
    rng = np.random.default_rng(4)
    observed, dealt = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 19, 4))
    p, adjusted = tcav_study.p_values(tcav.Scores(observed, dealt, jnp.zeros(0)))
    own = tcav.significance(tcav.Scores(observed[1, 2], dealt[1, 2], jnp.zeros(0)))
    np.testing.assert_array_equal(p[1, 2], own.p)
    np.testing.assert_array_equal(adjusted[1, 2], own.adjusted)


@pytest.mark.slow
def test_what_a_net_uses_is_found_and_the_t_test_finds_more():
    net = reading()

    @jax.jit
    def measure(key):
        return tcav_study.one_net(HOW, net, jnp.float32(1), jnp.float32(0), key, DIGITS)

    found = jax.tree.map(np.asarray, jax.lax.map(measure, jax.random.split(jax.random.key(5), 6)))
    assert found["accuracy"].min() > 0.9
    p, _ = tcav_study.p_values(found["scores"]["first"])
    assert p[..., tcav_study.named("used")].max() <= 0.05
    assert p[..., tcav_study.named("hidden")].max() <= 0.05
    rates = {kind: (p[..., tcav_study.named(kind)] <= 0.05).mean() for kind in ("unused", "companion", "absent")}
    assert max(rates.values()) < 0.25, rates
    untrained, _ = tcav_study.p_values(found["scores"]["untrained"])
    assert untrained.min() == 1  # a net that says nothing
    relative, _ = tcav_study.p_values(found["relative"])
    assert relative[:, :2].max() <= 0.05
    assert np.isfinite(found["random_runs"]).all()  # two sets that differ, or there is no vector between them
    assert found["random_runs"].std(-1).min() > 0.05
    told = tcav_study.t_tests(found["concept_runs"], found["random_runs"][:, None])
    assert (told[:, tcav_study.named("absent")] <= 0.05).mean() > 0.3
    assert found["concept_runs"].shape == (6, 11, 4, 62)
