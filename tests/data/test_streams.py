import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from interp_jax.data import streams


def keys_of(seed, n):
    return jax.random.split(jax.random.key(seed), n)


def permutations(keys, n):
    return np.asarray(
        jax.jit(jax.vmap(lambda key: jax.vmap(lambda i: streams.permuted(key, i, n))(jnp.arange(n))))(keys)
    )


@pytest.mark.parametrize(("n", "batch"), [(10, 4), (5, 12)])
def test_every_index_comes_once_an_epoch(key, n, batch):
    steps = 3 * n
    draw = jax.jit(jax.vmap(lambda t: streams.epoch_indices(key, t, n, batch)))
    stream = np.asarray(draw(jnp.arange(steps))).reshape(-1)
    epochs = stream.reshape(3 * batch, n)
    np.testing.assert_array_equal(np.sort(epochs, 1), np.broadcast_to(np.arange(n), epochs.shape))
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_step_depends_on_key_and_step_alone(key):
    draw = jax.jit(chex.assert_max_traces(lambda key, t: streams.epoch_indices(key, t, 60_000, 8), n=1))
    third = np.asarray(draw(key, jnp.array(3)))
    order = jax.jit(lambda key, i: streams.permuted(jax.random.fold_in(key, 0), i, 60_000))
    assert [int(order(key, i)) for i in range(24, 32)] == third.tolist()
    assert not np.array_equal(draw(jax.random.key(1), jnp.array(3)), third)
    late = draw(key, jnp.array(2**31 - 1))
    assert ((late >= 0) & (late < 60_000)).all()


def test_epochs_of_a_large_set_are_permutations_with_no_trace_of_order(key):
    n = 20_011
    order = permutations(keys_of(0, 2), n)
    np.testing.assert_array_equal(np.sort(order, 1), np.broadcast_to(np.arange(n), (2, n)))
    for a, b in (
        (order[0], np.arange(n)),
        (order[1], np.arange(n)),
        (order[0], order[1]),
        (order[0][1:], order[0][:-1]),
    ):
        assert abs(np.corrcoef(a, b)[0, 1]) * np.sqrt(n) < 4
    gaps = np.diff(order[0]) % n
    assert stats.kstest(gaps / n, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("n", [3, 5])
def test_all_permutations_of_a_small_set_are_equally_likely(n):
    every = {order: i for i, order in enumerate(itertools.permutations(range(n)))}
    drawn = permutations(keys_of(n, 200 * len(every)), n)
    counts = np.bincount([every[tuple(row)] for row in drawn.tolist()], minlength=len(every))
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("n", [30, 36])
def test_places_and_pairs_are_equally_likely(n):
    drawn = permutations(keys_of(n, 4000), n)
    places = np.stack([np.bincount(drawn[:, i], minlength=n) for i in range(n)])
    assert stats.chi2((n - 1) ** 2).sf(((places - 4000 / n) ** 2 / (4000 / n)).sum()) > 1e-3
    neighbours = np.zeros((n, n))
    np.add.at(neighbours, (drawn[:, :-1].ravel(), drawn[:, 1:].ravel()), 1)
    expected = 4000 / n
    off = neighbours[~np.eye(n, dtype=bool)]
    assert stats.chi2(len(off)).sf(((off - expected) ** 2 / expected).sum()) > 1e-3


def test_draws_with_replacement_are_uniform_and_independent_of_the_step(key):
    draw = jax.jit(jax.vmap(lambda t: streams.uniform_indices(key, t, 37, 64)))
    drawn = np.asarray(draw(jnp.arange(300)))
    assert stats.chisquare(np.bincount(drawn.ravel(), minlength=37)).pvalue > 1e-3
    assert abs(np.corrcoef(drawn[1:].ravel(), drawn[:-1].ravel())[0, 1]) * np.sqrt(drawn[1:].size) < 4
    np.testing.assert_array_equal(drawn[7], streams.uniform_indices(key, 7, 37, 64))


def test_a_split_is_a_partition_and_every_example_is_held_out_alike():
    train, test = jax.jit(jax.vmap(lambda key: streams.split(key, 40, 10)))(keys_of(1, 2000))
    both = np.sort(np.concatenate([train, test], 1), 1)
    np.testing.assert_array_equal(both, np.broadcast_to(np.arange(40), (2000, 40)))
    assert stats.chisquare(np.bincount(np.asarray(test).ravel(), minlength=40)).pvalue > 1e-3


def test_bad_sizes_are_named(key):
    with pytest.raises(ValueError, match="want an integer batch >= 1, got batch=0"):
        streams.epoch_indices(key, 0, 10, 0)
    with pytest.raises(ValueError, match="want an integer n >= 1"):
        streams.uniform_indices(key, 0, 0, 4)
    with pytest.raises(ValueError, match=r"2\*\*31"):
        streams.epoch_indices(key, 0, 2**20, 2**12)
    with pytest.raises(ValueError, match="want held_out <= n, got held_out=11, n=10"):
        streams.split(key, 10, 11)
