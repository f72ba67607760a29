import itertools
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.vae import total_correlation as tc
from tests.oracles import vae as oracle
from tests.vae import agreement

N = 700
TABLES = {
    "minibatch_weighted": (tc.minibatch_weighted(N), lambda batch: np.full((batch, batch), 1 / (N * batch))),
    "unweighted": (tc.unweighted, lambda batch: np.ones((batch, batch))),
    "stratified": (tc.stratified(N), lambda batch: oracle.importance(batch, N)),
    "fresh": (tc.balanced(jnp.inf), lambda batch: (1 - np.eye(batch)) / (batch - 1)),
}


def tabled(params, batch, key):
    """The loss with its weights as an argument: one program for all of them."""
    images, table = batch
    loss = tc.beta_tc_vae(agreement.encode, agreement.decode, beta=6.0, weights=lambda size: table)
    return loss(params, images, key)


@pytest.mark.parametrize("name", TABLES)
def test_beta_tc_vae_equals_the_oracle(name):
    weights, table = TABLES[name]
    with jax.enable_x64(True):
        batch = agreement.IMAGES, np.asarray(weights(agreement.BATCH))
    agreement.agrees(tabled, oracle.vae(oracle.beta_tc(6.0, table(agreement.BATCH))), batch)


def test_one_program_for_all_strengths_in_single_precision():
    agreement.agrees_for_each(
        lambda beta: tc.beta_tc_vae(agreement.encode, agreement.decode, beta=beta, weights=tc.stratified(N)),
        lambda beta: oracle.vae(oracle.beta_tc(beta, oracle.importance(agreement.BATCH, N))),
        [0.0, 1.0, 10.0],
    )


@pytest.mark.parametrize("make", [tc.stratified, tc.balanced])
def test_a_mixture_is_unbiased_over_batches_of_different_examples(make):
    """Over all batches that hold example 0, its row averages to the mean over all N; the diagonal is its own."""
    density = np.array([5.0, 1.0, 0.3, 0.0, 2.0])
    row = np.exp(make(5)(3))[0]
    found = [row @ density[[0, *others]] for others in itertools.permutations(range(1, 5), 2)]
    np.testing.assert_allclose(np.mean(found), density.mean(), rtol=1e-6)
    np.testing.assert_allclose(np.exp(make(N)(4)).sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.diag(np.exp(make(N)(4))), 1 / N, rtol=1e-5)


def test_importance_matrix_of_the_authors_code_is_not_ours():
    """Their strides, with M = B - 1: the first column gets 1 / N where the diagonal should."""
    batch = 5
    strided = np.full(batch * batch, 1 / (batch - 1))
    strided[::batch] = 1 / N
    ours = np.exp(tc.stratified(N)(batch))
    np.testing.assert_allclose(ours, oracle.importance(batch, N), rtol=1e-5)
    assert not np.allclose(ours, strided.reshape(batch, batch), rtol=0.5)
    strided = np.full(batch * batch, 1 / (batch - 1))
    strided[:: batch + 1] = 1 / N
    np.testing.assert_allclose(np.diag(ours), np.diag(strided.reshape(batch, batch)), rtol=1e-5)


def test_balanced_weights_are_the_mixture_itself_at_the_whole_data():
    np.testing.assert_allclose(np.exp(tc.balanced(6)(6)), 1 / 6, rtol=1e-6)


def test_sizes_are_checked_and_traced_ones_give_nan():
    with pytest.raises(ValueError, match="want 8 <= size <= inf"):
        tc.stratified(7)(8)
    with pytest.raises(ValueError, match="want a batch of at least 2 examples, got 1"):
        tc.balanced(7)(1)
    with pytest.raises(ValueError, match="want size > 0"):
        tc.minibatch_weighted(0)
    for make in (tc.stratified, tc.balanced):
        found = jax.jit(jax.vmap(lambda n, make=make: make(n)(8)))(jnp.array([7, 8, 9]))
        assert np.isnan(found[0]).any(1).all()
        assert not np.isnan(found[1:]).any()


def gaussian(latents, sd, seed=0):
    """A linear encoder of Gaussian data whose codes have variance 1: factor of the means' covariance, truth."""
    factor = np.random.default_rng(seed).normal(size=(latents, latents))
    correlation = factor @ factor.T / np.outer(*[np.linalg.norm(factor, axis=1)] * 2)
    means = (1 - sd**2) * (0.8 * correlation + 0.2 * np.eye(latents))
    return jnp.asarray(np.linalg.cholesky(means), jnp.float32), oracle.gaussian_tc(means + sd**2 * np.eye(latents))


def draw(factor, sd, key, batch):
    """Samples, means and log variances `[B, D]` of new examples."""
    start, noise = jax.random.split(key)
    mean = jax.random.normal(start, (batch, len(factor))) @ factor.T
    return mean + sd * jax.random.normal(noise, mean.shape), mean, jnp.full(mean.shape, 2 * np.log(sd), jnp.float32)


def estimates(latents, sd, batch, seeds, weights):
    """Total correlation over seeds `[S, W]`, by each of the weights, and the truth."""
    factor, truth = gaussian(latents, sd)

    tables = jnp.stack([each(batch) for each in weights])

    def one(key):
        codes = draw(factor, sd, key, batch)
        return jax.lax.map(lambda table: tc.decompose(*codes, lambda size: table).total_correlation, tables)

    keys = jax.random.split(jax.random.key(1), seeds)
    return np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(keys), float), truth


def within(values, truth, slack=0.0):
    """The mean over seeds lies within 3 standard errors of the truth, and `slack`."""
    error = np.std(values, ddof=1) / len(values) ** 0.5
    assert abs(values.mean() - truth) < 3 * error + slack, (values.mean(), error, truth)


def test_stratified_estimates_tend_to_the_truth_and_minibatch_weighted_ones_do_not():
    size, latents = 737_280, 3
    weights = [tc.minibatch_weighted(size), tc.unweighted, tc.stratified(size), tc.balanced(size)]
    small, truth = estimates(latents, 0.8, 16, 100, weights)
    large, _ = estimates(latents, 0.8, 400, 16, weights)
    for k in (2, 3):
        assert abs(large[:, k].mean() - truth) < abs(small[:, k].mean() - truth)
        within(large[:, k], truth, 0.005)  # Jensen's bias is O(1 / B)
    for values, batch in ((small, 16), (large, 400)):
        excess = values.mean(0) - truth
        np.testing.assert_allclose(excess[0], (latents - 1) * np.log(size), rtol=0.01)
        np.testing.assert_allclose(excess[1], -(latents - 1) * np.log(batch), rtol=0.03)


BIAS = {  # by batch size: minibatch_weighted, unweighted, stratified
    0.9: {16: (121.66, -24.89, -0.057), 64: (121.62, -37.41, -0.018), 1024: (121.60, -62.38, -0.001)},
    0.3: {16: (127.90, -18.65, -0.35), 64: (127.50, -31.53, -2.06), 1024: (125.24, -58.74, -1.44)},
}


@pytest.mark.slow
@pytest.mark.parametrize("sd", BIAS)
def test_bias_against_batch_size_is_the_module_s_table(sd):
    size = 737_280
    weights = [tc.minibatch_weighted(size), tc.unweighted, tc.stratified(size), tc.balanced(size)]
    for batch, want in BIAS[sd].items():
        values, truth = estimates(10, sd, batch, {16: 200, 64: 100, 1024: 16}[batch], weights)
        error = values.std(0, ddof=1) / len(values) ** 0.5
        excess = values.mean(0) - truth
        np.testing.assert_array_less(abs(excess - [*want, want[-1]]), 4 * error + 0.006)


def fresh(latents, sd, size, seeds, codes=500):
    factor, truth = gaussian(latents, sd)

    @jax.jit
    def one(key):
        z, _, _ = draw(factor, sd, jax.random.fold_in(key, 1), codes)
        return tc.fresh_sample(z, *draw(factor, sd, jax.random.fold_in(key, 2), size)[1:])

    return np.array([one(jax.random.key(seed)) for seed in range(seeds)], float), truth


def test_fresh_sample_converges():
    within(*fresh(3, 0.8, 3000, 8))


@pytest.mark.slow
def test_fresh_sample_converges_in_ten_latents_and_slowly_for_narrow_posteriors():
    within(*fresh(10, 0.9, 10_000, 16))
    for size, bias in ((1000, -5.30), (10_000, -2.06)):
        values, truth = fresh(10, 0.3, size, 8)
        within(values, truth + bias, 0.1)


@cache
def case():
    rng = np.random.default_rng(0)
    return rng.normal(size=(7, 3)), rng.normal(size=(20, 3)), rng.normal(size=(20, 3))


def test_fresh_sample_is_the_mean_log_ratio_in_any_blocks():
    codes, mean, log_var = case()
    density = oracle.stats.norm.pdf(codes[:, None], mean, np.exp(log_var / 2))
    ratio = np.log(density.prod(2).mean(1)) - np.log(density.mean(1)).sum(1)
    with jax.enable_x64(True):
        np.testing.assert_allclose(jax.jit(partial(tc.fresh_sample, block=3))(*case()), ratio.mean(), rtol=1e-10)
    single = jax.jit(tc.fresh_sample)(*(np.float32(each) for each in case()))
    np.testing.assert_allclose(single, ratio.mean(), rtol=1e-5)


def test_parts_add_up_to_the_sampled_kl_whatever_the_weights():
    codes, mean, log_var = case()[0], *(each[:7] for each in case()[1:])
    logpdf = oracle.stats.norm.logpdf
    want = (logpdf(codes, mean, np.exp(log_var / 2)) - logpdf(codes)).sum(1).mean()
    with jax.enable_x64(True):
        parts = jax.jit(lambda *codes: [tc.decompose(*codes, weights) for weights, _ in TABLES.values()])
        np.testing.assert_allclose(np.sum(parts(codes, mean, log_var), axis=1), want, rtol=1e-10)
