import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from interp_jax.vae import objectives


def linear(params, x):
    """A linear encoder with fixed variance; params `[D, P]`."""
    return params @ x, jnp.full(params.shape[0], -0.5)


def decode(params, z):
    return params.T @ z


def test_bernoulli_is_scipys_log_likelihood():
    rng = np.random.default_rng(0)
    logits, x = rng.normal(size=(5, 5)) * 3, rng.integers(0, 2, (5, 5)).astype(float)
    want = -stats.bernoulli.logpmf(x, 1 / (1 + np.exp(-logits))).sum()
    np.testing.assert_allclose(objectives.bernoulli(jnp.asarray(logits), jnp.asarray(x)), want, rtol=1e-5)


def test_bernoulli_stays_finite_at_extreme_logits():
    logits = jnp.array([1e4, -1e4])
    assert objectives.bernoulli(logits, jnp.array([1.0, 0.0])) == 0
    assert objectives.bernoulli(logits, jnp.array([0.0, 1.0])) == 2e4


def test_minus_elbo_bounds_minus_the_log_evidence(key):
    """For p(x | z) = Bernoulli(sigmoid(w z)) with one latent the evidence is an integral that quadrature gives."""
    w, x = jnp.array([[1.0, -2.0, 0.5]]), jnp.array([1.0, 0.0, 1.0])
    z = np.linspace(-8, 8, 4001)
    likelihood = np.prod(stats.bernoulli.pmf(np.asarray(x), 1 / (1 + np.exp(-z[:, None] * np.asarray(w)))), 1)
    evidence = -np.log(np.trapezoid(likelihood * stats.norm.pdf(z), z))
    terms = jax.vmap(lambda k: objectives.elbo(linear, decode, w, x, k))(jax.random.split(key, 4000))
    bounds = np.asarray(terms.reconstruction + terms.kl.sum(1))
    assert bounds.mean() - 3 * bounds.std() / 4000**0.5 > evidence
    assert bounds.mean() < evidence + 2


def test_samples_follow_the_posterior(key):
    w, x = jnp.array([[1.0, -2.0, 0.5]]), jnp.array([1.0, 0.0, 1.0])
    samples = jax.vmap(lambda k: objectives.elbo(linear, decode, w, x, k).sample)(jax.random.split(key, 4000))
    assert stats.kstest(np.asarray(samples[:, 0]), stats.norm(1.5, np.exp(-0.25)).cdf).pvalue > 1e-3


def test_the_loss_is_linear_in_beta_and_reports_its_terms(key):
    params = jax.random.normal(key, (2, 4))
    images = (jax.random.uniform(key, (8, 4)) < 0.5).astype(jnp.float32)

    def at(beta):
        return objectives.beta_vae(linear, decode, beta)(params, images, key)

    (zero, terms), (one, _), (four, _) = at(0.0), at(1.0), at(4.0)
    np.testing.assert_allclose(zero, terms["reconstruction"], rtol=1e-6)
    np.testing.assert_allclose(one, -terms["elbo"], rtol=1e-6)
    np.testing.assert_allclose(four - zero, 4 * (one - zero), rtol=1e-5)
    np.testing.assert_allclose(one - zero, terms["kl"], rtol=1e-5)


def test_negative_beta_is_refused():
    with pytest.raises(ValueError, match="want beta >= 0, got beta=-1"):
        objectives.beta_vae(linear, decode, -1)
