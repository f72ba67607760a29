from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.adversarial import norms, objectives
from interp_jax.adversarial.apgd import AT_ONCE, NARROWING, apgd, apgd_t, checkpoints
from interp_jax.adversarial.pgd import pgd
from tests.adversarial import nets
from tests.oracles import apgd as oracle

PARAMS = nets.weights()
PREDICT = partial(nets.mlp, PARAMS)
BALLS = {"linf": (norms.linf, 0.1), "l2": (norms.l2, 0.5), "l1": (norms.l1, 2.0)}
XS = nets.examples(8)
LABELS = jnp.argmax(jax.vmap(PREDICT)(XS), -1)
STEPS = 40


def test_checkpoints_are_the_papers_and_exact_at_every_count():
    assert checkpoints(100) == [0, 22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1) == [0]
    for n in range(1, 400):
        assert checkpoints(n) == [w for w in oracle.checkpoints(n) if w < n]


@partial(jax.jit, static_argnums=0)
def run(name, xs, labels, rho):
    norm, eps = BALLS[name]

    def one(x, y):
        objective = objectives.cross_entropy(PREDICT, y)
        return apgd(objective, x, jax.random.key(0), eps=eps, steps=STEPS, norm=norm, random_start=False, rho=rho)

    return jax.vmap(one)(xs, labels)


@pytest.mark.parametrize("rho", [0.75, 0.0])
@pytest.mark.parametrize("name", ["linf", "l2"])
def test_every_step_agrees_with_a_float64_oracle(name, rho):
    """With rho = 0 only the second condition halves."""
    found, halvings = run(name, XS, LABELS, rho), 0
    for i, (x, y) in enumerate(zip(np.asarray(XS, np.float64), np.asarray(LABELS), strict=True)):
        f = oracle.cross_entropy(PARAMS, y)
        curve, _, largest, halved = oracle.apgd(f, x.reshape(-1), BALLS[name][1], STEPS, name, rho)
        np.testing.assert_allclose(found.curve[i], curve, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found.curve[i].max(), largest, rtol=1e-4)
        halvings += len(halved)
    assert halvings >= len(XS)


def test_every_sparse_step_agrees_with_a_float64_oracle():
    found, returns = run("l1", XS, LABELS, 0.75), 0
    for i, (x, y) in enumerate(zip(np.asarray(XS, np.float64), np.asarray(LABELS), strict=True)):
        f = oracle.cross_entropy(PARAMS, y)
        curve, returned, _ = oracle.sparse_apgd(f, x.reshape(-1), BALLS["l1"][1], STEPS)
        np.testing.assert_allclose(found.curve[i], curve, rtol=1e-4, atol=1e-4)
        returns += len(returned)
    assert returns >= len(XS)


@jax.jit
def narrow(xs, labels):
    def one(x, y):
        settings = {"eps": 1.0, "steps": STEPS, "norm": norms.l1, "random_start": False, "radii": NARROWING}
        return apgd(objectives.cross_entropy(PREDICT, y), x, jax.random.key(0), **settings)

    return jax.vmap(one)(xs, labels)


def test_every_step_in_narrowing_balls_agrees_with_a_float64_oracle():
    found = narrow(XS, LABELS)
    for i, (x, y) in enumerate(zip(np.asarray(XS, np.float64), np.asarray(LABELS), strict=True)):
        curve = oracle.narrowing_apgd(oracle.cross_entropy(PARAMS, y), x.reshape(-1), 1.0, STEPS)
        np.testing.assert_allclose(found.curve[i], curve, rtol=1e-4, atol=1e-4)
    assert (jax.vmap(norms.l1.size)(found.x - XS) <= 1 + 1e-6).all()
    assert (found.objective <= found.curve[:, 24:].max(1)).all(), "what lies outside the ball is not given back"


@pytest.mark.parametrize("name", BALLS)
def test_iterates_stay_in_ball_and_box_and_gain(name):
    found, (norm, eps) = run(name, XS, LABELS, 0.75), BALLS[name]
    for points in (found.x, found.last):
        assert (jax.vmap(norm.size)(points - XS) <= eps * (1 + 1e-6)).all()
        assert points.min() >= 0
        assert points.max() <= 1
    assert (found.objective > found.curve[:, 0]).all()
    assert (found.last_objective == found.curve[:, -1]).all()
    np.testing.assert_array_equal(found.flat, 0)


def solve(f, x, key, attack=apgd, **settings):
    """In one program: eagerly every operation is compiled alone."""
    return jax.jit(lambda x, key: attack(f, x, key, **settings))(x, key)


SLOPE = jnp.array([0.5, -2.0, 0.0, 1.0])


@pytest.mark.parametrize(("name", "best"), [("linf", 0.35), ("l2", 0.1 * 5.25**0.5), ("l1", 0.2)])
def test_a_linear_objective_gains_eps_times_the_dual_norm(name, best):
    x = jnp.full(4, 0.5)
    f = lambda x: jnp.sum(SLOPE * x)  # noqa: E731
    found = solve(f, x, jax.random.key(0), eps=0.1, steps=50, norm=BALLS[name][0])
    np.testing.assert_allclose(found.objective - f(x), best, rtol=1e-4)


def test_the_search_restarts_from_the_largest_value_but_gives_a_fooled_iterate():
    """The point fooled lies far from the largest value: the step at 2 eps passes it once, the search goes elsewhere."""

    def odd(x):
        return objectives.Scored(-jnp.abs(x[0] - 0.03), x[0] > 0.5)

    found = solve(odd, jnp.zeros(1), jax.random.key(0), eps=1.0, steps=100, random_start=False)
    assert found.fooled
    assert found.x[0] > 0.5
    assert found.objective < -0.4
    np.testing.assert_allclose(found.curve[-5:], 0, atol=0.02)


def test_the_step_shrinks_until_a_narrow_peak_is_found():
    peak = lambda x: -jnp.sqrt(jnp.sum((x - 0.3712) ** 2))  # noqa: E731
    key, settings = jax.random.key(1), {"eps": 0.5, "steps": 100, "norm": norms.l2}
    by_halving = solve(peak, jnp.full(3, 0.4), key, **settings)
    fixed = solve(peak, jnp.full(3, 0.4), key, attack=pgd, step_size=1.0, **settings)
    assert by_halving.objective > -0.02
    assert by_halving.objective > fixed.objective


def test_one_trace_for_a_grid_of_eps_examples_and_keys():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def grid(epsilons, rho):
        def one(x, y, k, eps):
            return apgd(objectives.dlr(PREDICT, y), x, k, eps=eps, steps=6, rho=rho).objective

        over_eps = jax.vmap(one, (None, None, None, 0))
        return jax.vmap(over_eps, (0, 0, 0, None))(XS[:3], LABELS[:3], jax.random.split(jax.random.key(2), 3), epsilons)

    first, second = grid(jnp.linspace(0, 0.1, 4), 0.75), grid(jnp.linspace(0, 0.3, 4), 0.5)
    assert first.shape == second.shape == (3, 4)
    assert (second[:, -1] > second[:, 0]).all()
    chex.assert_tree_all_finite((first, second))


@pytest.mark.parametrize("name", ["linf", "l2"])
def test_at_equal_gradients_it_is_above_pgd_on_average(name):
    """Nets from 160 seeds, 16 examples each; the mean difference is positive by a t interval of 95%."""
    norm, eps = BALLS[name]
    xs, count = nets.examples(16), 160

    def difference(net):
        params, labels, ks = net

        def one(x, y, k):
            objective = objectives.cross_entropy(partial(nets.mlp, params), y)
            ours = apgd(objective, x, k, eps=eps, steps=STEPS, norm=norm)
            plain = pgd(objective, x, k, eps=eps, steps=STEPS, norm=norm, step_size=eps / 4)
            return ours.curve.max() - plain.curve.max()

        return jax.vmap(one)(xs, labels, ks).mean()

    each = [nets.weights(seed) for seed in range(count)]
    params = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves), jnp.float32), *each)
    labels = jax.vmap(lambda p: jnp.argmax(jax.vmap(partial(nets.mlp, p))(xs), -1))(params)
    ks = jax.random.split(jax.random.key(0), (count, 16))
    found = np.asarray(jax.jit(lambda *leaves: jax.lax.map(difference, leaves))(params, labels, ks))
    error = found.std(ddof=1) / count**0.5
    assert found.mean() > 1.975 * error, (found.mean(), error)


@pytest.mark.parametrize("count", [12, pytest.param(40, marks=pytest.mark.slow)])
def test_in_l1_narrowing_balls_are_above_one_on_average_at_equal_gradients(count):
    """Nets of 196 inputs, a seed each, 16 examples; by a t interval of 95%. (On 36 inputs there is no difference.)"""
    xs = nets.examples(16, side=14)

    def difference(net):
        params, ks = net
        predict = partial(nets.mlp, params)

        def one(x, k):
            objective = objectives.cross_entropy(predict, jnp.argmax(predict(x)))
            settings = {"eps": 2.0, "steps": STEPS, "norm": norms.l1}
            narrowing, once = (apgd(objective, x, k, radii=radii, **settings) for radii in (NARROWING, AT_ONCE))
            return narrowing.objective - once.objective

        return jax.vmap(one)(xs, ks).mean()

    each = [nets.weights(seed, side=14) for seed in range(count)]
    params = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves), jnp.float32), *each)
    ks = jax.random.split(jax.random.key(0), (count, 16))
    found = np.asarray(jax.jit(lambda *leaves: jax.lax.map(difference, leaves))(params, ks))
    error = found.std(ddof=1) / count**0.5
    assert found.mean() > {12: 2.201, 40: 2.023}[count] * error, (found.mean(), error)


def test_targets_are_the_likeliest_others_and_the_best_outcome_is_kept():
    xs, labels = XS[:4], LABELS[:4]
    settings = {"eps": 0.08, "steps": 10}
    both = jax.jit(jax.vmap(lambda x, y: apgd_t(PREDICT, x, y, jax.random.key(5), targets=2, **settings)))(xs, labels)

    @jax.jit
    @jax.vmap
    def towards(x, y, target, i):
        key = jax.random.fold_in(jax.random.key(5), i)
        return apgd(objectives.target_dlr(PREDICT, y, target), x, key, **settings)

    order = jnp.argsort(-jax.vmap(PREDICT)(xs), -1)
    runs = [towards(xs, labels, order[:, 1 + i], jnp.full(4, i)) for i in range(2)]
    fooled = jnp.stack([r.fooled for r in runs])
    np.testing.assert_array_equal(both.fooled, fooled.any(0))
    for i in range(4):
        among = [float(r.objective[i]) for r in runs if bool(r.fooled[i]) == bool(both.fooled[i])]
        np.testing.assert_allclose(both.objective[i], max(among), rtol=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_below_four_classes_the_difference_of_logits_is_ascended(classes):
    predict, x = partial(nets.mlp, nets.weights(classes=classes)), XS[0]
    label = int(jnp.argmax(predict(x)))

    @jax.jit
    @jax.vmap
    def towards(label):
        return apgd_t(predict, x, label, jax.random.key(0), eps=0.2, steps=10)

    found = towards(jnp.array([label, classes, -1]))
    logits = predict(found.x[0])
    assert bool(found.fooled[0]) == (int(jnp.argmax(logits)) != label)
    np.testing.assert_allclose(found.objective[0], jnp.delete(logits, label).max() - logits[label], rtol=1e-5)
    assert jnp.isnan(found.objective[1:]).all()
    assert not found.fooled[1:].any()


@pytest.mark.parametrize("name", ["l2", "l1"])
def test_flat_and_undefined_objectives_give_no_nan_in_x(name):
    @jax.jit
    def go(defined):
        def f(x):
            return jax.lax.cond(defined, lambda x: 0.0 * x.sum(), lambda x: jnp.log(-x).sum(), x)

        return apgd(f, jnp.full(3, 0.5), jax.random.key(0), eps=0.1, steps=30, norm=BALLS[name][0])

    flat, undefined = go(True), go(False)
    assert flat.flat == 1
    assert flat.objective == 0
    assert jnp.isnan(undefined.objective)
    assert not undefined.fooled
    chex.assert_tree_all_finite((flat, undefined.x, undefined.last))


def test_bad_values_that_tracing_hides_give_nan():
    run = jax.jit(lambda x, eps: apgd(jnp.sum, x, jax.random.key(0), eps=eps, steps=3))
    for x, eps in ((0.5, -1.0), (0.5, jnp.nan), (1.5, 0.1)):
        found = run(jnp.full(4, x), eps)
        assert jnp.isnan(found.objective)
        assert not found.fooled


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps": -0.1}, "want eps >= 0, got eps=-0.1"),
        ({"steps": 0}, "want an integer steps >= 1, got steps=0"),
        ({"rho": 1.5}, "want 0 <= rho <= 1, got rho=1.5"),
        ({"norm": norms.l0}, "want norm linf, l2 or l1"),
        ({"steps": 2, "radii": NARROWING}, "want radii that end at 1, with 100 percent of at least as many steps"),
        ({"radii": ((2.0, 100),)}, "want radii that end at 1"),
        ({"radii": ((2.0, 50), (1.0, 40))}, "want radii that end at 1, with 100 percent"),
        ({"radii": ()}, "want radii that end at 1"),
        ({"bounds": (1.0, 0.0)}, "want bounds \\(low, high\\) with low < high"),
        ({"bounds": (0.6, 1.0)}, "want 0.6 <= x <= 1.0"),
    ],
)
def test_bad_values_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        apgd(jnp.sum, jnp.full(4, 0.5), jax.random.key(0), **({"eps": 0.1, "steps": 3} | changes))


def test_bad_targets_are_named():
    with pytest.raises(ValueError, match="want an integer targets >= 1, got targets=0"):
        apgd_t(PREDICT, XS[0], 0, jax.random.key(0), targets=0, eps=0.1, steps=2)
    with pytest.raises(ValueError, match="want at least 2 classes"):
        apgd_t(lambda x: x.reshape(-1)[:1], XS[0], 0, jax.random.key(0), eps=0.1, steps=2)
