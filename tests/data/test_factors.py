import itertools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from interp_jax.data import factors as sets

SIZES = (3, 2, 5, 4)
TINY = sets.FactorSet(
    ("a", "b", "c", "d"),
    SIZES,
    (2, 2, 1),
    lambda factors, key=None: (
        factors.reshape(2, 2, 1).astype(float) + (0 if key is None else jax.random.uniform(key, (2, 2, 1)))
    ),
)


def test_index_counts_as_numpy_does():
    everything = np.array(list(itertools.product(*map(range, SIZES))))
    indices = jax.jit(jax.vmap(lambda row: sets.index(SIZES, row)))(everything)
    np.testing.assert_array_equal(indices, np.ravel_multi_index(everything.T, SIZES))
    back = jax.jit(jax.vmap(lambda i: sets.factors(SIZES, i)))(jnp.arange(math.prod(SIZES)))
    np.testing.assert_array_equal(back, everything)


def test_out_of_range_is_named_where_concrete_and_flagged_where_traced():
    with pytest.raises(ValueError, match=r"want 0 <= factors\[2\] < 5, got factors\[2\]=5"):
        sets.index(SIZES, [0, 0, 5, 0])
    with pytest.raises(ValueError, match="want 0 <= index < 120, got index=120"):
        sets.factors(SIZES, 120)
    assert jax.jit(lambda row: sets.index(SIZES, row))(jnp.array([0, -1, 0, 0])) == -1
    assert (jax.jit(lambda i: sets.factors(SIZES, i))(120) == -1).all()
    with pytest.raises(ValueError, match=r"2\*\*31"):
        sets.factors((2**16, 2**16), 0)
    with pytest.raises(ValueError, match="which"):
        sets.sample_fixed(jax.random.key(0), SIZES, 3, 4)
    with pytest.raises(AssertionError):
        sets.index(SIZES, [0.0, 0.0, 0.0, 0.0])


def test_samples_are_uniform_over_combinations(key):
    drawn = jax.jit(lambda key: sets.sample_factors(key, SIZES, 24_000))(key)
    indices = np.ravel_multi_index(np.asarray(drawn).T, SIZES)
    assert stats.chisquare(np.bincount(indices, minlength=120)).pvalue > 1e-3


def test_a_fixed_factor_is_shared_and_the_others_stay_uniform(key):
    draw = jax.jit(lambda key, which: sets.sample_fixed(key, SIZES, 400, which))
    for which in range(4):
        drawn = np.asarray(draw(key, which))
        assert len(set(drawn[:, which])) == 1
        for other in set(range(4)) - {which}:
            assert stats.chisquare(np.bincount(drawn[:, other], minlength=SIZES[other])).pvalue > 1e-4
    values = jax.jit(jax.vmap(lambda key: sets.sample_fixed(key, SIZES, 2, 2)[0, 2]))(jax.random.split(key, 500))
    assert stats.chisquare(np.bincount(values)).pvalue > 1e-3
    given = jax.jit(lambda which, value: sets.sample_fixed(key, SIZES, 50, which, value))(
        jnp.array([0, 3]), jnp.array([2, 1])
    )
    assert set(np.asarray(given[:, 0])) == {2}
    assert set(np.asarray(given[:, 3])) == {1}
    assert len(set(np.asarray(given[:, 2]))) == 5


def test_pairs_agree_in_the_chosen_factor_only(key):
    first, second = jax.jit(lambda which: sets.sample_pairs(key, SIZES, 2000, which))(1)
    agree = np.mean(np.asarray(first) == np.asarray(second), 0)
    assert agree[1] == 1
    for i in (0, 2, 3):
        chance = 1 / SIZES[i]
        assert abs(agree[i] - chance) < 4 * np.sqrt(chance * (1 - chance) / 2000)
    assert len(set(np.asarray(first[:, 1]))) == 2


def test_pairs_change_in_as_many_factors_as_asked(key):
    """Which ones is uniform; those drawn anew agree by chance, the others always."""
    draw = jax.jit(lambda changes: sets.sample_changes(key, SIZES, 4000, changes))
    for changes in (1, 3):
        first, second, again = (np.asarray(each) for each in draw(changes))
        np.testing.assert_array_equal(again.sum(1), changes)
        agree = first == second
        assert agree[~again].all()
        for i, size in enumerate(SIZES):
            share, count = changes / 4, again[:, i].sum()
            assert abs(again[:, i].mean() - share) < 4 * np.sqrt(share * (1 - share) / 4000)
            assert abs(agree[again[:, i], i].mean() - 1 / size) < 4 * np.sqrt((1 - 1 / size) / size / count)
    counts = np.bincount(np.asarray(sets.sample_changes(key, SIZES, 3000)[2]).sum(1), minlength=5)
    assert counts[[0, 4]].sum() == 0
    assert np.abs(counts[1:4] - 1000).max() < 4 * np.sqrt(3000 * 2 / 9)
    with pytest.raises(ValueError, match="want 1 <= changes <= 3, got entries from 4"):
        sets.sample_changes(key, SIZES, 5, 4)
    with pytest.raises(ValueError, match="at least 2 factors"):
        sets.sample_changes(key, (3,), 5)


def test_images_come_with_their_factors_and_replay(key):
    draw = jax.jit(chex.assert_max_traces(lambda key: sets.sample_images(TINY, key, 6), n=1))
    drawn, classes = draw(key)
    np.testing.assert_array_equal(np.floor(drawn).reshape(6, 4), classes)
    again, _ = draw(key)
    np.testing.assert_array_equal(drawn, again)
    other, _ = draw(jax.random.key(1))
    assert not np.array_equal(drawn, other)
    nuisance = np.asarray(drawn).reshape(6, 4) - np.asarray(classes)
    assert len(np.unique(nuisance)) == 24
    np.testing.assert_array_equal(sets.images(TINY, classes), np.asarray(classes, float).reshape(6, 2, 2, 1))


def test_the_factors_do_not_depend_on_the_nuisance(key):
    quiet = sets.FactorSet(TINY.names, SIZES, TINY.shape, lambda factors, key=None: jnp.zeros((2, 2, 1)))
    draw = [jax.jit(lambda key, data=data: sets.sample_images(data, key, 6)[1]) for data in (TINY, quiet)]
    np.testing.assert_array_equal(draw[0](key), draw[1](key))
