"""The layer against numpy float64, what it promises in float32, its gradient at equal eigenvalues, and its trainer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from interp_jax.concepts import whitening
from interp_jax.concepts.whitening import Whitening
from interp_jax.models.batched import between, freeze
from interp_jax.models.nets import MLP, functional
from tests.oracles import whitening as oracle

MODES = {
    "mean": whitening.mean, "max": whitening.maximum, "positive_mean": whitening.positive_mean,
    "pool_max": whitening.pooled_max,
}  # fmt: skip
LAYER = Whitening(6, 2, whitening.mean)


def off_identity(ys):
    ys = np.float64(ys).reshape(-1, ys.shape[-1])
    return np.abs(np.cov(ys.T, bias=True) - np.eye(ys.shape[1])).max()


@pytest.mark.parametrize("condition", [1, 1e2, 1e4])
def test_a_whitened_batch_has_the_identity_for_covariance(condition):
    """Within 1e-3 up to condition 1e4, in float32, features far from zero; measured 2e-5."""
    rng = np.random.default_rng(0)
    layer = Whitening(16, 2, whitening.mean)
    covariance = oracle.spectrum(rng, 16, condition)
    found = []
    for draw in range(3):
        xs = oracle.sample(np.random.default_rng(draw), 2048, covariance, mean=rng.normal(size=16))
        ys, _ = jax.jit(layer.apply_batch)((), layer.init(), xs.astype(np.float32))
        found.append(off_identity(np.asarray(ys)))
    assert max(found) < 1e-4


def test_iternorm_does_not_whiten_in_float32():
    """What the released code gives, ten iterations: right at condition 10, far off at 100, divergent at 1,000."""
    rng = np.random.default_rng(1)
    off = {}
    for condition in (10, 100, 1000):
        sigma = oracle.spectrum(rng, 16, condition).astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            root = np.float64(oracle.iterative(sigma, 10))
            off[condition] = np.abs(root @ sigma @ root.T - np.eye(16)).max()
    assert off[10] < 1e-2
    assert not off[100] < 0.1
    assert not off[1000] < 1


def test_a_batch_and_the_running_statistics_are_numpys():
    """Maps: statistics over examples and places; averages alike for 1 / momentum batches, then exponential."""
    rng = np.random.default_rng(2)
    layer = dataclasses.replace(LAYER, momentum=0.5)
    batches = rng.normal(size=(4, 5, 2, 3, 6)) @ rng.normal(size=(6, 6)) + 1
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    stats = layer.init()._replace(rotation=jnp.asarray(turn, jnp.float32))
    step = jax.jit(layer.apply_batch)
    mean, covariance = np.zeros(6), np.zeros((6, 6))
    for i, xs in enumerate(batches):
        rows = xs.reshape(-1, 6)
        ys, stats = step((), stats, xs.astype(np.float32))
        want = (xs - rows.mean(0)) @ oracle.inverse_sqrt(np.cov(rows.T, bias=True)) @ turn.T
        np.testing.assert_allclose(ys, want, atol=2e-4)
        rate = max(0.5, 1 / (i + 1))
        mean, covariance = (1 - rate) * mean + rate * rows.mean(0), (1 - rate) * covariance + rate * np.cov(rows.T)
    np.testing.assert_allclose(stats.mean, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(stats.covariance, covariance, rtol=1e-4, atol=1e-4)
    assert int(stats.batches) == 4
    apply = freeze(layer.apply_batch, stats)
    want = (batches[0, 0] - mean) @ oracle.inverse_sqrt(covariance) @ turn.T
    np.testing.assert_allclose(apply((), batches[0, 0].astype(np.float32)), want, atol=3e-4)
    np.testing.assert_allclose(apply((), batches[0, 0, 0, 0].astype(np.float32)), want[0, 0], atol=3e-4)


def test_without_decorrelation_it_is_batch_normalisation():
    xs = np.random.default_rng(3).normal(size=(40, 6)) @ np.random.default_rng(4).normal(size=(6, 6))
    layer = dataclasses.replace(LAYER, decorrelate=False)
    ys, _ = layer.apply_batch((), layer.init(), xs.astype(np.float32))
    np.testing.assert_allclose(ys, (xs - xs.mean(0)) / xs.std(0), atol=2e-5)


def test_the_gradient_is_right_where_eigenvalues_are_equal():
    """Covariance the identity: the derivative of the output along a move of the batch, in float64 by differences."""
    rng = np.random.default_rng(5)
    xs, move, g = oracle.sample(rng, 12, np.eye(6)), rng.normal(size=(12, 6)), rng.normal(size=(12, 6))

    def numpy(xs):
        rows = xs - xs.mean(0)
        return rows @ oracle.inverse_sqrt(rows.T @ rows / 12)

    loss = lambda xs: jnp.sum(LAYER.apply_batch((), LAYER.init(), xs)[0] * g.astype(np.float32))  # noqa: E731
    found = jax.jit(jax.grad(loss))(xs.astype(np.float32))
    want = np.sum(oracle.differences(numpy, xs, move, 1e-4) * g)
    np.testing.assert_allclose(np.sum(found * move), want, rtol=1e-4, atol=1e-4)


def test_dead_features_stay_zero_and_their_gradients_finite():
    xs = np.random.default_rng(6).normal(size=(64, 6)).astype(np.float32)
    xs[:, 3:] = 0
    value = lambda xs: jnp.sum(LAYER.apply_batch((), LAYER.init(), xs)[0] ** 3)  # noqa: E731
    ys, _ = LAYER.apply_batch((), LAYER.init(), xs)
    assert off_identity(ys[:, :3]) < 1e-5
    np.testing.assert_allclose(ys[:, 3:], 0, atol=1e-6)
    assert np.isfinite(jax.jit(jax.grad(value))(xs)).all()


@pytest.mark.parametrize("mode", MODES)
def test_observed_gradients_and_activations_are_those_of_the_places(mode):
    rng = np.random.default_rng(7)
    layer = Whitening(6, 2, MODES[mode], momentum=0.25)
    shown = rng.normal(size=(2, 3, 4, 7, 6))  # blocks of 3 x 3 leave a row and a column out
    turn, old = np.linalg.qr(rng.normal(size=(6, 6)))[0], rng.normal(size=(2, 6))
    covariance, mean = oracle.spectrum(rng, 6, 10), rng.normal(size=6)
    stats = layer.init()._replace(
        mean=mean, covariance=covariance, rotation=turn, gradient=old, counter=jnp.array([1, 5])
    )
    stats = jax.tree.map(lambda a: jnp.asarray(a, None if jnp.issubdtype(a.dtype, jnp.integer) else jnp.float32), stats)
    white = (shown - mean) @ oracle.inverse_sqrt(covariance)
    want = np.stack([0.75 * old[j] + 0.25 * oracle.concept_gradient(white[j], turn, j, mode) for j in range(2)])
    found = jax.jit(layer.observe)(stats, shown.astype(np.float32), present=jnp.array([True, False]))
    np.testing.assert_allclose(found.gradient[0], want[0], atol=2e-5)
    np.testing.assert_array_equal(found.gradient[1], stats.gradient[1])
    assert found.counter.tolist() == [2, 5]
    seen = jax.jit(layer.activations)(stats, shown[0, 0].astype(np.float32))
    np.testing.assert_allclose(seen, oracle.activation(white[0, 0] @ turn.T, mode), atol=3e-5)


def test_alignment_turns_axes_to_the_concepts_means_and_forgets_only_if_told():
    rng = np.random.default_rng(8)
    means = rng.normal(size=(2, 6))
    shown = (means[:, None] + 0.1 * rng.normal(size=(2, 50, 6))).astype(np.float32)
    best = oracle.nearest_rotation(shown.mean(1))
    for forget in (False, True):
        layer = dataclasses.replace(LAYER, forget=forget)
        once = jax.jit(lambda stats, layer=layer: layer.align(layer.observe(stats, shown)))
        stats, infos = once(layer.init())
        assert infos.tau.shape == (2,)
        assert stats.counter.tolist() == [0, 0]
        assert bool((stats.gradient == 0).all()) is forget
    for _ in range(25):
        stats, _ = once(stats)
    np.testing.assert_allclose(stats.rotation[:2], best, atol=5e-3)
    scores = jax.vmap(layer.activations, (None, 0))(stats, shown[0])
    np.testing.assert_allclose(scores, shown[0] @ stats.rotation.T, atol=1e-5)


NETS = functional(MLP((8, 6)), jnp.zeros(4)), functional(MLP((8, 3)), jnp.zeros(6))


def make(every):
    loss = lambda logits, y: (optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), {})  # noqa: E731

    def batch(data, key, t):
        xs = jax.random.normal(jax.random.fold_in(key, t), (16, 4))
        return xs, jnp.argmax(xs[:, :3], 1)

    def examples(data, key, t):
        return jax.random.normal(jax.random.fold_in(key, t), (2, 8, 4)) + data[:, None]

    return whitening.trainer(NETS[0], LAYER, NETS[1], loss, batch, examples, optax.adam(0.01), every=every)


@pytest.fixture(scope="module")
def train():
    each = make(every=5)
    data = 3 * jnp.eye(2, 4)

    def step(state, t):
        state, metrics = each.step(state, data, t)
        return state, metrics | {"rotation": state.stats.rotation}

    def run(seed):
        return jax.lax.scan(step, each.init(jax.random.key(seed)), jnp.arange(40))

    return jax.jit(run), jax.jit(jax.vmap(run))


def test_the_trainer_learns_the_task_and_the_axes(train):
    state, metrics = train[0](0)
    assert float(metrics["loss"][-5:].mean()) < 0.6 * float(metrics["loss"][:5].mean())
    turn = np.asarray(state.stats.rotation, np.float64)
    np.testing.assert_allclose(turn @ turn.T, np.eye(6), atol=1e-6)
    rng = np.random.default_rng(0)
    xs = jnp.asarray(rng.normal(size=(2, 200, 4)) + 3 * np.eye(2, 4)[:, None], jnp.float32)
    features = jax.vmap(jax.vmap(lambda x: NETS[0].apply(state.params["before"], x)))(xs)
    scores = np.asarray(jax.vmap(jax.vmap(lambda f: LAYER.activations(state.stats, f)[:2]))(features))
    for j in range(2):
        assert (scores[j, :, j] > scores[1 - j, :, j]).mean() > 0.8
    apply = freeze(between(NETS[0], LAYER, NETS[1]).apply_batch, state.stats)
    by_hand = NETS[1].apply(state.params["after"], freeze(LAYER.apply_batch, state.stats)((), features[0, 0]))
    np.testing.assert_allclose(apply(state.params, xs[0, 0]), by_hand, atol=1e-5)


def test_seeds_together_equal_one_by_one(train):
    together, _ = train[1](jnp.arange(2))
    for seed in range(2):
        alone, _ = train[0](seed)
        for a, b in zip(
            jax.tree.leaves(together._replace(key=())), jax.tree.leaves(alone._replace(key=())), strict=True
        ):
            np.testing.assert_allclose(a[seed], b, rtol=2e-3, atol=2e-3)


def test_axes_turn_at_every_so_many_steps_or_never(train):
    turned = np.asarray((np.diff(train[0](0)[1]["rotation"], axis=0) != 0).any((1, 2)))
    assert np.flatnonzero(turned).tolist() == [3, 8, 13, 18, 23, 28, 33, 38]  # from step 3 to 4, the fifth, and so on
    state = jax.eval_shape(make(None).init, jax.random.key(0))
    text = {every: str(jax.make_jaxpr(make(every).step)(state, 3 * jnp.eye(2, 4), 0)) for every in (5, None)}
    assert "cond[" in text[5]
    assert "cond[" not in text[None]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Whitening(3, 4, whitening.mean), "at most as many concepts as axes, got 4 concepts, 3 axes"),
        (lambda: Whitening(3, 0, whitening.mean), "concepts >= 1"),
        (lambda: Whitening(3, 1, whitening.mean, momentum=2.0), "momentum"),
        (lambda: LAYER.apply_batch((), LAYER.init(), jnp.zeros((1, 6))), "at least 2 rows"),
        (lambda: whitening.pooled_max(jnp.zeros((2, 5))), "at least 3 x 3 places for pooled_max, got 2 x 5"),
        (lambda: make(0), "every >= 1"),
    ],
)
def test_what_cannot_be_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_features_of_another_width_are_refused():
    with pytest.raises(AssertionError):
        LAYER.apply_batch((), LAYER.init(), jnp.zeros((8, 5)))
    with pytest.raises(AssertionError):
        LAYER.observe(LAYER.init(), jnp.zeros((3, 8, 6)))
