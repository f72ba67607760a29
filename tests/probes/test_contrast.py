"""Normalisation, agreement up to a sign, broken pairs: against numpy, by invariance, by what must not change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.probes import contrast

RNG = np.random.default_rng(0)
PAIRS = (5 + RNG.normal(size=(12, 2, 3)) * [1.0, 10.0, 0.1]).astype(np.float32)
HELD = np.array([1] * 8 + [0] * 4)


@pytest.mark.parametrize("spread", [contrast.unscaled, contrast.each, contrast.whole])
def test_rows_of_weight_zero_do_not_enter_statistics(spread):
    own = contrast.statistics(jnp.asarray(PAIRS[:8]), spread=spread)
    found = contrast.statistics(jnp.asarray(PAIRS), weights=jnp.asarray(HELD), spread=spread)
    for a, b in zip(own, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6)


def test_sides_are_centred_apart_and_scaled_as_asked():
    sides = np.asarray(PAIRS, np.float64)
    for spread, scale in (
        (contrast.unscaled, np.ones((2, 3))),
        (contrast.each, sides.std(0)),
        (contrast.whole, np.sqrt(sides.var(0).mean(1, keepdims=True))),
    ):
        rows = contrast.normalise(jnp.asarray(PAIRS), contrast.statistics(jnp.asarray(PAIRS), spread=spread))
        np.testing.assert_allclose(rows, (sides - sides.mean(0)) / scale, atol=1e-5)
    flat = jnp.ones((4, 2, 3))
    for spread in (contrast.each, contrast.whole):
        assert (contrast.statistics(flat, spread=spread).scale == 1).all()


def test_covariances_are_numpys():
    found = contrast.covariances(jnp.asarray(PAIRS), jnp.asarray(HELD))
    rows = np.asarray(PAIRS[:8], np.float64)
    whole = np.cov(np.concatenate([rows[:, 0], rows[:, 1]], 1).T, bias=True)
    for got, want in zip(found, (whole[:3, :3], whole[3:, 3:], whole[:3, 3:]), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_accuracy_counts_ties_half_and_refuses_what_is_no_label():
    score, y = jnp.array([1.0, -1.0, 2.0, 0.0]), jnp.array([1, 0, 0, 1])
    assert contrast.accuracy(score, y) == 0.625
    assert contrast.accuracy(score, y, jnp.array([1, 1, 0, 0])) == 1
    assert jnp.isnan(contrast.accuracy(score, jnp.array([1, 0, 2, 1])))
    assert contrast.accuracy(score, jnp.array([1, 0, 2, 0]), jnp.array([1, 1, 0, 0])) == 1
    assert jnp.isnan(contrast.accuracy(score.at[0].set(jnp.nan), y))
    assert jnp.isnan(contrast.accuracy(score, y, jnp.zeros(4)))


def test_orientation_undoes_a_sign():
    score = jax.random.normal(jax.random.key(0), (50,))
    y = (score + jax.random.normal(jax.random.key(1), (50,)) > 0).astype(int)
    assert contrast.orientation(score, y) == 1
    assert contrast.orientation(-score, y) == -1
    assert contrast.orientation(jnp.zeros(50), y) == 1


def test_a_sign_chosen_on_the_scored_rows_flatters_chance_and_on_others_does_not():
    """Over 400 draws of 20 + 20 coin flips; the folded binomial's mean at n = 20 is .5881."""

    def one(key):
        scores = jax.random.normal(key, (40,))
        y = jax.random.bernoulli(jax.random.fold_in(key, 1), 0.5, (40,)).astype(int)
        test, other = (scores[:20], y[:20]), (scores[20:], y[20:])
        return [contrast.accuracy(contrast.orientation(*part) * test[0], test[1]) for part in (test, other)]

    same, apart = (np.asarray(v) for v in jax.vmap(one)(jax.random.split(jax.random.key(3), 400)))
    assert abs(same.mean() - 0.5881) < 4 * same.std() / 20
    assert abs(apart.mean() - 0.5) < 4 * apart.std() / 20


def test_broken_pairs_keep_statements_and_deal_negations():
    pairs = jnp.arange(24.0).reshape(6, 2, 2)
    dealt = contrast.broken(pairs, jax.random.key(1))
    np.testing.assert_array_equal(dealt[:, 0], pairs[:, 0])
    assert sorted(dealt[:, 1, 0].tolist()) == sorted(pairs[:, 1, 0].tolist())
    assert not np.array_equal(dealt[:, 1], pairs[:, 1])
    some = jnp.array([1, 0, 1, 1, 0, 1])
    dealt = jax.vmap(lambda key: contrast.broken(pairs, key, weights=some))(jax.random.split(jax.random.key(2), 50))
    np.testing.assert_array_equal(dealt[:, np.array([1, 4])], np.broadcast_to(pairs[np.array([1, 4])], (50, 2, 2, 2)))
    inside = np.asarray(dealt[:, np.array([0, 2, 3, 5]), 1, 0])
    assert all(sorted(row) == [2, 10, 14, 22] for row in inside.tolist())
    assert len({tuple(row) for row in inside.tolist()}) > 12
