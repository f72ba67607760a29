import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from interp_jax.data import streams
from interp_jax.train.trainer import trainer
from interp_jax.vae import objectives
from tests.oracles import vae as oracle
from tests.vae import agreement
from tests.vae.agreement import encode


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


LIKELIHOODS = {
    "bernoulli": (objectives.bernoulli, oracle.bernoulli),
    "gaussian": (objectives.gaussian_of(0.3), oracle.gaussian(0.3)),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_beta_vae_equals_the_oracle(name):
    ours, theirs = LIKELIHOODS[name]
    loss = objectives.beta_vae(encode, agreement.decode, 4.0, likelihood=ours)
    agreement.agrees(loss, oracle.vae(oracle.beta_vae(4.0), theirs))


def annealed(gamma):
    """Of a capacity of 2 nats, reached at step 10; a batch with its step."""
    loss = objectives.annealed_vae(encode, agreement.decode, gamma=gamma, capacity=2.0, threshold=10)
    return loss, lambda t: oracle.vae(oracle.annealed(gamma, 2.0, 10, t))


def at(t):
    return agreement.IMAGES, np.int32(t)


def test_annealed_vae_equals_the_oracle():
    loss, want = annealed(50.0)
    for t in (0, 4, 30):
        agreement.agrees(loss, want(t), at(t))


DIP = {"i": (objectives.dip_vae_i, False), "ii": (objectives.dip_vae_ii, True)}


@pytest.mark.parametrize("name", DIP)
def test_dip_vae_equals_the_oracle(name):
    make, second = DIP[name]
    loss = make(encode, agreement.decode, lambda_od=5.0, lambda_d=20.0)
    agreement.agrees(loss, oracle.vae(oracle.dip(5.0, 20.0, second)))


def test_one_program_for_all_strengths_in_single_precision():
    agreement.agrees_for_each(lambda g: annealed(g)[0], lambda g: annealed(g)[1](4), [0.0, 1.0, 1000.0], at(4))
    agreement.agrees_for_each(
        lambda s: objectives.dip_vae_ii(encode, agreement.decode, lambda_od=s, lambda_d=10 * s),
        lambda s: oracle.vae(oracle.dip(s, 10 * s, True)),
        [0.0, 1.0, 50.0],
    )


def test_gaussian_reads_a_learned_log_variance():
    rng = np.random.default_rng(0)
    mean, log_var, x = rng.normal(size=(3, 2, 5))
    want = -stats.norm(mean, np.exp(log_var / 2)).logpdf(x).sum()
    found = objectives.gaussian((jnp.asarray(mean), jnp.asarray(log_var)), jnp.asarray(x))
    np.testing.assert_allclose(found, want, rtol=1e-5)


def test_covariance_divides_by_the_batch_and_does_not_cancel():
    codes = np.random.default_rng(0).normal(size=(64, 3)) + 1000
    want = np.cov(codes, rowvar=False, bias=True)
    np.testing.assert_allclose(objectives.covariance(jnp.asarray(codes)), want, rtol=1e-3, atol=1e-3)


def test_annealed_vae_trains_towards_its_capacity():
    """On Gaussian data with a linear decoder any KL can be had, so a strong gamma holds it at C(t)."""
    data = jax.random.normal(jax.random.key(3), (256, agreement.PIXELS))
    loss = objectives.annealed_vae(
        encode, agreement.decode, gamma=100.0, capacity=3.0, threshold=100, likelihood=objectives.gaussian_of(0.1)
    )
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), agreement.PARAMS)
    run = trainer(lambda key: params, loss, objectives.timed(streams.batches(32)), optax.adam(3e-3))

    @jax.jit
    def train(data):
        return jax.lax.scan(lambda state, t: run.step(state, data, t), run.init(jax.random.key(0)), jnp.arange(400))[1]

    seen = jax.device_get(train(data))
    np.testing.assert_allclose(seen["capacity"][[0, 50, 100, 399]], [0, 1.5, 3, 3], rtol=1e-6)
    assert abs(float(seen["kl"][200:].mean()) - 3) < 0.3


BAD = {
    "gamma": lambda: objectives.annealed_vae(linear, decode, gamma=-1, capacity=1, threshold=1),
    "threshold": lambda: objectives.annealed_vae(linear, decode, gamma=1, capacity=1, threshold=0),
    "lambda_d": lambda: objectives.dip_vae_i(linear, decode, lambda_od=1, lambda_d=-1),
    "variance": lambda: objectives.gaussian_of(0.0),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_strengths_are_named(name):
    with pytest.raises(ValueError, match=f"want {name} >"):
        BAD[name]()
