from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.adversarial import norms, objectives
from interp_jax.adversarial.pgd import fgsm, noise, pgd, restarts
from tests.adversarial import nets

PARAMS = nets.weights()
PREDICT = partial(nets.mlp, PARAMS)
BALLS = {"linf": (norms.linf, 0.1), "l2": (norms.l2, 0.5), "l1": (norms.l1, 2.0), "l0": (norms.l0, 3.0)}
SLOPE = jnp.array([0.5, -2.0, 0.0, 1.0])


def linear(x):
    return jnp.sum(SLOPE * x)


def attack(x, label, key, eps, norm=norms.linf, **options):
    settings = {"step_size": eps / 4, "steps": 10} | options
    return pgd(objectives.cross_entropy(PREDICT, label), x, key, eps=eps, norm=norm, **settings)


def batch(n=8):
    xs = nets.examples(n)
    return xs, jnp.argmax(jax.vmap(PREDICT)(xs), -1), jax.random.split(jax.random.key(3), n)


@partial(jax.jit, static_argnums=0)
@partial(jax.vmap, in_axes=(None, 0, 0, 0, 0))
def run(name, x, label, key, eps):
    """The attack, the size of what it found, and the clean objective; one program a norm."""
    norm = BALLS[name][0]
    sparse = {"random_start": False, "step_size": 1.0} if name == "l0" else {}  # a step must reach beyond the support
    found = attack(x, label, key, eps, norm, **sparse)
    return found, norm.size(found.x - x), objectives.cross_entropy(PREDICT, label)(x).value


@pytest.mark.parametrize("name", BALLS)
def test_attacks_stay_in_ball_and_box_and_raise_the_loss(name):
    eps = BALLS[name][1]
    found, sizes, clean = run(name, *batch(), jnp.full(8, eps, jnp.float32))
    assert (sizes <= eps * (1 + 1e-6)).all()
    assert found.x.min() >= 0
    assert found.x.max() <= 1
    assert (found.objective > clean).all()
    assert (found.objective >= found.last_objective).all() or found.fooled.any()


@pytest.mark.parametrize(("name", "best"), [("linf", 0.35), ("l2", 0.1 * 5.25**0.5), ("l1", 0.2)])
def test_on_a_linear_objective_pgd_and_fgsm_reach_eps_times_the_dual_norm(name, best):
    norm = BALLS[name][0]

    @jax.jit
    def both(x):
        found = pgd(linear, x, jax.random.key(0), eps=0.1, step_size=0.1, steps=20, norm=norm)
        return found.objective, fgsm(linear, x, eps=0.1, norm=norm).objective, linear(x), norm.dual(SLOPE)

    found, at_once, clean, dual = both(jnp.full(4, 0.5))
    np.testing.assert_allclose(found - clean, best, rtol=1e-5)
    np.testing.assert_allclose(0.1 * dual, best, rtol=1e-6)
    np.testing.assert_allclose(at_once, found, rtol=1e-5)


def test_the_best_iterate_is_kept_and_the_last_reported():
    def hill(x):
        return -((x - 0.1) ** 2).sum()

    settings = {"eps": 1.0, "step_size": 0.1, "steps": 4, "random_start": False, "bounds": None}
    found = jax.jit(lambda x: pgd(hill, x, jax.random.key(0), **settings))(jnp.zeros(1))
    np.testing.assert_allclose(found.objective, 0, atol=1e-12)
    np.testing.assert_allclose(found.curve[0], -0.01)
    assert found.curve.shape == (5,)
    np.testing.assert_allclose(found.last_objective, hill(found.last))


def test_a_fooled_iterate_is_preferred_to_a_larger_loss():
    def odd(x):
        return objectives.Scored(x[0], x[0] < 0.25)

    settings = {"eps": 1.0, "step_size": 0.1, "steps": 5, "random_start": False}
    found = jax.jit(lambda x: pgd(odd, x, jax.random.key(0), **settings))(jnp.zeros(1))
    np.testing.assert_allclose(found.x, [0.2], rtol=1e-6)
    assert found.fooled


def test_one_compilation_for_a_grid_of_eps_and_restarts():
    xs, labels, ks = batch(4)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def grid(epsilons):
        def one(x, y, k, eps):
            return restarts(lambda key: attack(x, y, key, eps, steps=3), k, count=4)

        per_eps = jax.vmap(one, (None, None, None, 0))
        return jax.vmap(per_eps, (0, 0, 0, None))(xs, labels, ks, epsilons).objective

    losses = [grid(jnp.linspace(0, top, 8)) for top in (0.1, 0.3)]
    assert losses[0].shape == (4, 8)
    single = jax.jit(partial(attack, steps=3))(xs[0], labels[0], jax.random.fold_in(ks[0], 1), 0.1)
    assert losses[0][0, -1] >= single.objective - 1e-6


def test_eps_of_each_example_is_its_own():
    epsilons = np.float32([0.0, 0.05, 0.2, 0.01, 0.1, 0.0, 0.3, 0.1])
    xs, labels, ks = batch()
    found = np.asarray(run("linf", xs, labels, ks, epsilons)[0].x)
    np.testing.assert_allclose(np.abs(found - np.asarray(xs)).max((1, 2, 3)), epsilons, atol=1e-6)


def test_restarts_keep_the_best(key):
    xs, labels = jnp.tile(nets.examples(1), (8, 1, 1, 1)), jnp.zeros(8, jnp.int32)
    ks = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(8))
    each = run("linf", xs, labels, ks, jnp.full(8, 0.05, jnp.float32))[0].objective
    found = jax.jit(lambda x: restarts(lambda k: attack(x, 0, k, 0.05), key, count=8))(xs[0])
    np.testing.assert_allclose(found.objective, each.max(), rtol=1e-6)


def test_noise_is_uniform_and_weaker_than_ascent(key):
    def luck(x, y, k):
        return noise(objectives.cross_entropy(PREDICT, y), x, k, eps=0.1, draws=5)

    by_luck = jax.jit(jax.vmap(luck))(*batch())
    by_ascent = run("linf", *batch(), jnp.full(8, 0.1, jnp.float32))[0]
    assert jnp.isnan(by_luck.flat).all()
    assert (by_luck.objective <= by_ascent.objective + 1e-6).all()


def test_zero_gradients_are_counted_and_give_no_nan(key):
    settings = {"eps": 0.1, "step_size": 0.1, "steps": 4, "norm": norms.l2}
    found = jax.jit(lambda x: pgd(lambda x: 0.0 * x.sum(), x, key, **settings))(jnp.full(3, 0.5))
    assert found.flat == 1.0
    chex.assert_tree_all_finite(found)


def test_undefined_objectives_are_nan_and_fool_nobody(key):
    settings = {"eps": 0.1, "step_size": 0.1, "steps": 2}
    found = jax.jit(lambda x: pgd(lambda x: jnp.log(-x).sum(), x, key, **settings))(jnp.full(3, 0.5))
    assert jnp.isnan(found.objective)
    assert not found.fooled
    chex.assert_tree_all_finite((found.x, found.last))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps": -0.1}, "want eps >= 0, got eps=-0.1"),
        ({"eps": float("nan")}, "want eps >= 0, got eps=nan"),
        ({"steps": 0}, "want an integer steps >= 1, got steps=0"),
        ({"bounds": (1.0, 0.0)}, "want bounds \\(low, high\\) with low < high"),
        ({"bounds": (0.6, 1.0)}, "want 0.6 <= x <= 1.0, got entries from 0.5 to 0.5"),
        ({"step_size": -1.0}, "want step_size >= 0"),
    ],
)
def test_bad_values_are_named(changes, message, key):
    with pytest.raises(ValueError, match=message):
        pgd(linear, jnp.full(4, 0.5), key, **({"eps": 0.1, "step_size": 0.1, "steps": 3} | changes))


def test_bad_values_that_tracing_hides_give_nan(key):
    @jax.jit
    def run(x, eps):
        return pgd(linear, x, key, eps=eps, step_size=0.1, steps=3)

    for x, eps in ((0.5, -1.0), (0.5, jnp.nan), (1.5, 0.1)):
        found = run(jnp.full(4, x), eps)
        assert jnp.isnan(found.objective)
        assert not found.fooled


@pytest.mark.parametrize(("name", "mean"), [("linf", 0.1 * 200 / 201), ("l2", 0.5 * 0.1), ("l1", 0.5 * 0.1)])
def test_outside_linf_starts_lie_at_every_distance(name, mean, key):
    """Where nothing rises, the last iterate is the start; bounds out of reach."""
    x, norm = jnp.zeros(200), BALLS[name][0]

    @jax.jit
    @jax.vmap
    def start(key):
        still = pgd(lambda x: 0.0 * x.sum(), x, key, eps=0.1, step_size=0.0, steps=1, norm=norm, bounds=None)
        return norm.size(still.last)

    sizes = start(jax.random.split(key, 400))
    assert sizes.max() <= 0.1 * (1 + 1e-6)
    np.testing.assert_allclose(sizes.mean(), mean, atol=4 * 0.1 / np.sqrt(12 * 400))
