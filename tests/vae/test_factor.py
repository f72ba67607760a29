import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from interp_jax.core import keys
from interp_jax.data import streams
from interp_jax.models import discriminator
from interp_jax.models.nets import Net
from interp_jax.models.vae import VAE
from interp_jax.train.trainer import trainer
from interp_jax.vae import factor, objectives
from tests.oracles import vae as oracle
from tests.vae import agreement
from tests.vae.agreement import LATENTS, PARAMS

WEIGHTS = {
    name: np.random.default_rng(5).normal(0, 0.5, shape)
    for name, shape in {"a": (4, LATENTS), "b": (4,), "c": (2, 4), "d": (2,)}.items()
}


def leaky(weights, z):
    hidden = weights["a"] @ z + weights["b"]
    return weights["c"] @ jnp.where(hidden > 0, hidden, 0.2 * hidden) + weights["d"]


def fixed(params):
    return lambda key: jax.tree.map(lambda leaf: jnp.asarray(leaf, float), params)


MODEL = VAE(fixed(PARAMS), agreement.encode, agreement.decode)
PLAYER = Net(fixed(WEIGHTS), leaky)
DATA = np.random.default_rng(2).integers(0, 2, (40, agreement.PIXELS)).astype(float)
draw = streams.batches(agreement.BATCH)
T = 3


@jax.jit
def chance(key):
    """What a run draws at step T: both batches, their noise, the permutation of rows in each column."""

    def noise(name):
        return agreement.noise(keys.at(keys.stream(key, name), T))

    batches = [draw(jnp.arange(len(DATA)), keys.stream(key, name), T) for name in ("batch", "other_batch")]
    rows = jnp.broadcast_to(jnp.arange(agreement.BATCH)[:, None], (agreement.BATCH, LATENTS))
    order = factor.permute_latents(rows, keys.at(keys.stream(key, "permutation"), T))
    return *batches, noise("loss"), noise("other_loss"), order


@pytest.mark.parametrize("one_batch", [False, True])
def test_a_step_is_algorithm_2(one_batch, key):
    """With gradient descent of step 1 both players' gradients can be read from their moves."""
    gamma = 7.0
    sgd = optax.sgd(1.0)
    with jax.enable_x64(True):
        run = factor.factor_vae(MODEL, PLAYER, draw, sgd, sgd, gamma=gamma, one_batch=one_batch)
        (after, metrics), drawn = jax.device_get((jax.jit(run.step)(run.init(key), DATA, T), chance(key)))
    rows, others, noise, more_noise, order = drawn
    cost = oracle.vae(oracle.factor(gamma, WEIGHTS))
    value, terms = cost(PARAMS, DATA[rows], noise)
    slopes = oracle.gradient(lambda moved: cost(moved, DATA[rows], noise)[0], PARAMS)
    for name, slope in slopes.items():
        np.testing.assert_allclose(PARAMS[name] - after.params[name], slope, rtol=1e-6, atol=1e-6 * abs(slope).max())

    def codes(params, images, noise):
        mean, log_var = oracle.posteriors(params, images)
        return mean + np.exp(log_var / 2) * noise

    real = codes(PARAMS, DATA[rows], noise)
    other = real if one_batch else codes(after.params, DATA[others], more_noise)
    fake = np.take_along_axis(other, order, 0)
    slopes = oracle.gradient(lambda moved: oracle.discriminate(moved, real, fake), WEIGHTS)
    for name, slope in slopes.items():
        moves = WEIGHTS[name] - after.discriminator[name]
        np.testing.assert_allclose(moves, slope, rtol=1e-6, atol=1e-6 * abs(slope).max())

    right = [oracle.probability(WEIGHTS, z) > 0.5 for z in real] + [oracle.probability(WEIGHTS, z) < 0.5 for z in fake]
    terms |= {
        "loss": value,
        "discriminator_loss": oracle.discriminate(WEIGHTS, real, fake),
        "discriminator_accuracy": np.mean(right),
    }
    assert metrics.keys() == terms.keys()
    for name, term in terms.items():
        np.testing.assert_allclose(metrics[name], term, rtol=1e-9, err_msg=name)


def scanned(run, steps=20):
    return jax.jit(lambda key, data: jax.lax.scan(lambda s, t: run.step(s, data, t), run.init(key), jnp.arange(steps)))


def test_without_strength_it_is_the_elbo_s_trainer(key):
    """The same streams, so the same batches and noise; and strengths are an axis."""
    adam = optax.adam(1e-2)
    alone = trainer(MODEL.init, objectives.beta_vae(MODEL.encode, MODEL.decode, 1.0), draw, adam)

    def train(gamma):
        return scanned(factor.factor_vae(MODEL, PLAYER, draw, adam, adam, gamma=gamma))(key, DATA)[0].params

    both = jax.jit(jax.vmap(train))(jnp.array([0.0, 30.0]))
    want = scanned(alone)(key, DATA)[0].params
    for name, leaf in want.items():
        np.testing.assert_allclose(both[name][0], leaf, rtol=1e-5, atol=1e-6)
        assert not np.allclose(both[name][1], leaf, atol=1e-2)


def test_permutation_keeps_each_latent_s_values_and_breaks_the_rows(key):
    codes = jnp.arange(60.0).reshape(20, 3)
    permuted = np.asarray(factor.permute_latents(codes, key))
    np.testing.assert_array_equal(np.sort(permuted, 0), codes)
    assert len({tuple(row // 3) for row in permuted} & {(k, k, k) for k in range(20)}) < 5


def test_saturated_discriminators_keep_their_gradient():
    """Where the peer's clipping stops it: a code that is surely called permuted."""
    apply = lambda weights, z: jnp.stack([weights * z[0], 0.0])  # noqa: E731
    codes = -jnp.ones((1, 1))
    cost, slope = jax.value_and_grad(lambda w: factor.discriminate(apply, w, codes, codes)[0])(100.0)
    assert cost == 50
    assert slope == 0.5


def test_streams_are_checked():
    with pytest.raises(ValueError, match=r"want streams among .*, got \['noise'\]"):
        factor.factor_vae(MODEL, PLAYER, draw, optax.sgd(1.0), optax.sgd(1.0), gamma=1.0, streams={"noise": 0})
    with pytest.raises(ValueError, match="want gamma >= 0, got gamma=-1"):
        factor.factor_vae(MODEL, PLAYER, draw, optax.sgd(1.0), optax.sgd(1.0), gamma=-1)


@pytest.mark.slow
@pytest.mark.parametrize("one_batch", [False, True])
def test_density_ratio_tends_to_the_total_correlation_of_a_gaussian(one_batch):
    """The VAE is held and its codes are N(0, C): after training the discriminator, on fresh codes, over 8 seeds."""
    correlation = np.array([[1, 0.6, 0], [0.6, 1, 0.3], [0, 0.3, 1]])
    truth = oracle.gaussian_tc(correlation)
    half = jnp.asarray(np.linalg.cholesky(correlation - 0.2 * np.eye(3)), jnp.float32)
    held = VAE(lambda key: (), lambda _, x: (half @ x, jnp.full(3, jnp.log(0.2))), lambda _, z: z)

    def batch(data, key, t):
        return jax.random.normal(keys.at(key, t), (256, 3))

    net = discriminator.mlp(3, hidden=(64, 64))
    rates = optax.adam(optax.linear_schedule(3e-3, 0.0, 3000), b1=0.5, b2=0.9)
    run = factor.factor_vae(held, net, batch, optax.sgd(0.0), rates, gamma=1.0, one_batch=one_batch)

    def estimate(key):
        state, seen = jax.lax.scan(lambda s, t: run.step(s, None, t), run.init(key), jnp.arange(3000))
        sample = jax.random.normal(keys.stream(key, "fresh"), (20_000, 3))
        noise = jax.random.normal(keys.stream(key, "noise"), (20_000, 3))
        codes = sample @ half.T + 0.2**0.5 * noise
        tc = factor.total_correlation(net.apply, state.discriminator, codes)
        return tc, seen["total_correlation"][0], seen["discriminator_accuracy"][-500:].mean()

    last, first, accuracy = jax.jit(lambda seeds: jax.lax.map(estimate, seeds))(jax.random.split(jax.random.key(0), 8))
    error = np.std(last, ddof=1) / 8**0.5
    assert abs(np.mean(last) - truth) < 3 * error + 0.02, (np.mean(last), error, truth)
    assert abs(np.mean(first)) < 0.1
    assert 0.5 < np.mean(accuracy) < 0.75
