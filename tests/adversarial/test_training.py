from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from interp_jax.adversarial import norms, training
from interp_jax.train.trainer import trainer, watched
from tests.adversarial import nets

PARAMS = [(jnp.asarray(w, jnp.float32), jnp.asarray(b, jnp.float32)) for w, b in nets.weights()]
WEIGHT = jnp.asarray(np.random.default_rng(5).normal(size=(36, 4)), jnp.float32)


def linear(weight, x):
    return x.reshape(-1) @ weight


def batch(n=6):
    return nets.examples(n), jnp.arange(n) % 4


def cross_entropy(weight, xs, labels):
    """Float64, by definition."""
    logits = np.asarray(xs, np.float64).reshape(len(xs), -1) @ np.asarray(weight, np.float64)
    return (np.log(np.exp(logits).sum(1)) - logits[np.arange(len(xs)), labels]).mean()


def test_madrys_loss_is_the_cross_entropy_at_the_attacks_point(key):
    xs, labels = batch()
    perturb = training.by_pgd(eps=0.05, step_size=0.05, steps=1, random_start=False)
    value, metrics = jax.jit(training.adversarial(linear, perturb))(WEIGHT, (xs, labels), key)
    flat = np.asarray(xs, np.float64).reshape(6, -1)
    p = np.exp(flat @ np.asarray(WEIGHT, np.float64))
    gradient = (p / p.sum(1, keepdims=True) - np.eye(4)[labels]) @ np.asarray(WEIGHT, np.float64).T
    moved = np.clip(flat + 0.05 * np.sign(gradient), 0, 1)
    np.testing.assert_allclose(value, cross_entropy(WEIGHT, moved, labels), rtol=1e-5)
    np.testing.assert_allclose(metrics["robust"], np.mean((moved @ np.asarray(WEIGHT)).argmax(1) == labels))
    np.testing.assert_allclose(metrics["clean"], np.mean((flat @ np.asarray(WEIGHT)).argmax(1) == labels))


def test_no_gradient_passes_through_the_adversary(key):
    """The derivative at fixed points, which Danskin's theorem says is that of the maximum."""
    data = batch()
    perturb = training.by_pgd(eps=0.05, step_size=0.02, steps=3, norm=norms.l2)
    loss = training.adversarial(nets.mlp, perturb)

    @jax.jit
    def both(params):
        points = training._points(nets.mlp, perturb, params, *data, key)
        plain = jax.grad(lambda params: training.standard(nets.mlp)(params, (points, data[1]), key)[0])
        return jax.grad(lambda params: loss(params, data, key)[0])(params), plain(params)

    got, want = both(PARAMS)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), got, want)


def test_at_eps_zero_every_loss_is_the_standard_one(key):
    perturb = training.by_pgd(eps=0.0, step_size=0.1, steps=2)
    losses = (
        training.standard(nets.mlp),
        training.adversarial(nets.mlp, perturb),
        training.trades(nets.mlp, beta=6.0, eps=0.0, step_size=0.1, steps=2),
    )
    (want, _), (against, _), (value, metrics) = jax.jit(lambda *given: [loss(*given) for loss in losses])(
        PARAMS, batch(), key
    )
    np.testing.assert_allclose(against, want, rtol=1e-6)
    np.testing.assert_allclose(value, want, rtol=1e-6)
    np.testing.assert_allclose(metrics["kl"], 0, atol=1e-6)


def test_trades_adds_beta_times_the_largest_divergence(key):
    data = batch()
    settings = {"eps": 0.1, "step_size": 0.03, "steps": 10}
    losses = jax.jit(jax.vmap(lambda beta: training.trades(nets.mlp, beta=beta, **settings)(PARAMS, data, key)))
    value, metrics = losses(jnp.array([0.0, 1.0, 6.0]))
    np.testing.assert_allclose(np.diff(value), np.array([1.0, 5.0]) * metrics["kl"][0], rtol=1e-4)
    noise = jax.random.uniform(key, (50, *data[0].shape), minval=-0.1, maxval=0.1)
    by_luck = jax.jit(jax.vmap(lambda d: jax.vmap(kl)(data[0], jnp.clip(data[0] + d, 0, 1))))(noise)
    assert metrics["kl"][0] > by_luck.max(0).mean()


def kl(x, moved):
    p, q = jax.nn.softmax(nets.mlp(PARAMS, x)), jax.nn.softmax(nets.mlp(PARAMS, moved))
    return jnp.sum(p * (jnp.log(p) - jnp.log(q)))


def test_free_training_takes_one_gradient_for_both(key):
    """Two steps on one minibatch against algorithm 1, written out."""
    xs, labels = batch()
    made = training.free(
        lambda key: WEIGHT, linear, lambda data, key, i: data, optax.sgd(0.1), eps=0.05, replays=2, shape=xs.shape
    )
    state, step = made.init(key), jax.jit(made.step)
    weight, d = np.asarray(WEIGHT, np.float64), np.zeros((6, 36))
    flat = np.asarray(xs, np.float64).reshape(6, -1)
    for t in range(3):
        state, metrics = step(state, (xs, labels), jnp.int32(t))
        np.testing.assert_allclose(metrics["loss"], cross_entropy(weight, flat + d, labels), rtol=1e-5)
        p = np.exp((flat + d) @ weight)
        slope = (p / p.sum(1, keepdims=True) - np.eye(4)[labels]) / 6
        descent, ascent = (flat + d).T @ slope, slope @ weight.T
        weight = weight - 0.1 * descent
        d = np.clip(np.clip(d + 0.05 * np.sign(ascent), -0.05, 0.05), -flat, 1 - flat)
        np.testing.assert_allclose(state.params, weight, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(state.perturbation.reshape(6, -1), d, atol=1e-6)


def test_free_training_replays_each_minibatch(key):
    def draws(data, key, i):
        return jnp.full((2, 3), 0.1) * (1 + i), jnp.zeros(2, jnp.int32)

    def model(w, x):
        return jnp.stack([w @ x, 0.0])

    made = training.free(lambda key: jnp.ones(3), model, draws, optax.sgd(0.0), eps=0.0, replays=3, shape=(2, 3))
    state, step, seen = made.init(key), jax.jit(made.step), []
    for t in range(6):
        state, metrics = step(state, None, jnp.int32(t))
        seen.append(metrics["loss"])
    np.testing.assert_allclose(seen, np.log1p(np.exp(-0.3 * np.repeat([1, 2], 3))), rtol=1e-6)


def toy_task(n=400):
    """Two classes told apart by one robust coordinate, weakly, and by many fragile ones (Tsipras et al. 2019)."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, n)
    sign = 2 * labels[:, None] - 1
    robust = sign * np.where(rng.random((n, 1)) < 0.9, 1, -1) * 0.25
    fragile = 0.02 * sign + 0.05 * rng.normal(size=(n, 60))
    return jnp.asarray(0.5 + np.hstack([robust, fragile]), jnp.float32), jnp.asarray(labels, jnp.int32)


@pytest.mark.parametrize("kind", ["pgd", "trades", "free"])
def test_training_against_an_adversary_gives_up_fragile_features(kind):
    """Over 8 seeds and two radii in one program, on a task with a known trade-off."""
    data, eps = toy_task(), 0.04

    def start(key):
        return 0.01 * jax.random.normal(key, (61, 2))

    def model(w, x):
        return (x - 0.5) @ w

    def make(radius):
        optimizer = optax.adam(0.02)
        settings = {"eps": radius, "step_size": radius / 2, "steps": 3}
        if kind == "free":
            return training.free(start, model, lambda d, k, i: d, optimizer, eps=radius, replays=4, shape=data[0].shape)
        losses = {
            "pgd": lambda: training.adversarial(model, training.by_pgd(**settings)),
            "trades": lambda: training.trades(model, beta=6.0, **settings),
        }
        return trainer(start, losses[kind](), lambda d, k, t: d, optimizer)

    def train(radius, key):
        one = make(radius)
        state, _ = jax.lax.scan(lambda s, t: (one.step(s, data, t)[0], None), one.init(key), jnp.arange(150))
        return state.params

    weights = jax.jit(jax.vmap(jax.vmap(train, (None, 0)), (0, None)))(
        jnp.array([0.0, eps]), jax.random.split(jax.random.key(0), 8)
    )
    sign = 2 * data[1] - 1
    direction = weights[..., 1] - weights[..., 0]
    margins = jnp.einsum("esd,nd,n->esn", direction, data[0] - 0.5, sign.astype(jnp.float32))
    robust = (margins > eps * jnp.abs(direction).sum(-1)[..., None]).mean(-1)  # exact for a linear model
    gain = robust[1] - robust[0]
    assert gain.mean() - 3 * gain.std() / 8**0.5 > 0.2, gain


def test_watched_measures_are_taken_every_so_often(key):
    data = batch()
    loss = training.adversarial(nets.mlp, training.by_pgd(eps=0.1, step_size=0.125, steps=1))
    inner = trainer(lambda key: PARAMS, loss, lambda d, k, t: d, optax.sgd(0.1))
    made = watched(inner, {"size": lambda state, data, t: jnp.sum(state.params[0][0] ** 2)}, every=2)
    state, seen, sizes = made.init(key), [], []
    step = jax.jit(made.step)
    for t in range(4):
        state, metrics = step(state, data, jnp.int32(t))
        seen.append(metrics["size"])
        sizes.append(jnp.sum(state.state.params[0][0] ** 2))
    np.testing.assert_allclose(seen, [sizes[0], sizes[0], sizes[2], sizes[2]], rtol=1e-6)


def test_bad_values_are_named():
    with pytest.raises(ValueError, match=r"want beta >= 0, got beta=-1\.0"):
        training.trades(nets.mlp, beta=-1.0, eps=0.1, step_size=0.1, steps=1)
    with pytest.raises(ValueError, match="want an integer replays >= 1, got replays=0"):
        training.free(None, None, None, None, eps=0.1, replays=0, shape=())
