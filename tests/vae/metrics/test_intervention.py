import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from interp_jax.vae.metrics import intervention as metrics
from tests.oracles import disentanglement as oracle
from tests.vae.metrics import codes as make

SIZES = make.SIZES
LATTICE = np.stack(np.meshgrid(*map(np.arange, SIZES), indexing="ij"), -1).reshape(-1, 3).astype(np.int32)
PERFECT = make.perfect(LATTICE)
CLEAN = np.concatenate([PERFECT, np.full((len(PERFECT), 1), 0.2, np.float32)], 1)
RANDOM = make.random(LATTICE, 4)


@jax.jit
def factor_vae(table, key, undefined=jnp.nan):
    code_of = metrics.lookup(table, SIZES)
    return metrics.factor_vae(
        code_of, SIZES, key, batch=16, train=300, test=200, variance=500, undefined=undefined, chunk=100
    )


@jax.jit
def beta_vae(table, key):
    return metrics.beta_vae(metrics.lookup(table, SIZES), SIZES, key, batch=16, train=300, test=200, chunk=100)


def test_lookup_finds_the_code_of_a_combination(key):
    code_of = metrics.lookup(jnp.asarray(LATTICE), SIZES)
    np.testing.assert_array_equal(jax.vmap(lambda f: code_of(f, key))(LATTICE), LATTICE)
    with pytest.raises(ValueError, match="all 60 combinations"):
        metrics.lookup(jnp.asarray(LATTICE)[:-1], SIZES)


def test_sampled_codes_have_the_posterior_and_fresh_noise(key):
    log_var = np.broadcast_to(np.log([0.25, 1.0, 4.0, 1.0]).astype(np.float32), CLEAN.shape)
    code_of = metrics.lookup_sampled(jnp.asarray(CLEAN), jnp.asarray(log_var), SIZES)
    drawn = jax.vmap(lambda k: code_of(jnp.array([1, 2, 3]), k))(jax.random.split(key, 2000))
    centre = CLEAN[np.ravel_multi_index((1, 2, 3), SIZES)]
    z = (np.asarray(drawn) - centre) / np.sqrt([0.25, 1.0, 4.0, 1.0])
    for d in range(3):
        assert stats.kstest(z[:, d], "norm").pvalue > 1e-3


def test_perfect_codes_score_one_and_random_ones_do_not(key):
    for score in (factor_vae, beta_vae):
        assert score(CLEAN, key).score == 1
        assert score(RANDOM, key).score < 0.75
    found = factor_vae(CLEAN, key)
    np.testing.assert_array_equal(found.active, [True, True, True, False])
    np.testing.assert_array_equal(found.votes[3], 0)
    assert found.votes.sum() == 300


def test_sign_permutation_and_scale_change_no_vote(key):
    codes = make.random(LATTICE, 4)
    moved = codes[:, [2, 0, 3, 1]] * np.array([-4.0, 2.0, 0.5, -8.0], np.float32)
    found, other = factor_vae(codes, key), factor_vae(moved, key)
    np.testing.assert_array_equal(found.votes[jnp.array([2, 0, 3, 1])], other.votes)
    assert found.score == other.score
    swapped = beta_vae(-codes[:, [2, 0, 3, 1]], key)
    np.testing.assert_allclose(beta_vae(codes, key).score, swapped.score, atol=0.011)


def test_votes_agree_with_the_oracle_on_the_same_draws(key):
    """The oracle draws for itself: the scores agree within the noise of 200 votes, over 8 draws."""
    codes = np.concatenate([make.noisy(LATTICE, 1.0), RANDOM[:, :1]], 1)
    keys = jax.random.split(key, 8)
    tuning = (16, 300, 200)
    for ours, theirs, more in ((factor_vae, oracle.factor_vae, (500,)), (beta_vae, oracle.beta_vae, ())):
        found = np.array([ours(codes, k).score for k in keys])
        want = np.array([theirs(codes, SIZES, np.random.default_rng(i), *tuning, *more) for i in range(8)])
        assert abs(found.mean() - want.mean()) < 4 * np.hypot(found.std(), want.std()) / np.sqrt(7)
    assert beta_vae(codes, key).converged


def test_without_an_active_latent_the_score_is_undefined(key):
    flat = np.full_like(CLEAN, 0.3)
    assert jnp.isnan(factor_vae(flat, key).score)
    found = factor_vae(flat, key, 0.0)
    assert found.score == 0
    assert not found.active.any()


def test_codes_that_are_not_finite_give_nan(key):
    broken = CLEAN.copy()
    broken[:, 1] = np.nan
    assert jnp.isnan(factor_vae(broken, key).score)
    assert jnp.isnan(beta_vae(broken, key).score)


def test_a_duplicated_latent_costs_nothing_here(key):
    double = np.concatenate([PERFECT, PERFECT[:, :1]], 1)
    assert factor_vae(double, key).score == 1
    assert beta_vae(double, key).score == 1
