from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.adversarial import gaussian, norms, usefulness
from interp_jax.adversarial.pgd import fgsm, pgd
from tests.adversarial import nets

DUALS = {"l2": (norms.l2, 2), "linf": (norms.linf, 1), "l1": (norms.l1, np.inf)}


def sample(n=200, width=5, seed=0, offset=0.4):
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], size=n)
    xs = rng.normal(size=(n, width)) * np.linspace(0.5, 2, width) + offset + signs[:, None] * np.linspace(1, 0, width)
    return xs, signs


def fitted(seed=0, width=5, weight_seed=7):
    xs, signs = sample(seed=seed, width=width)
    weight = np.random.default_rng(weight_seed).normal(size=width)
    narrow = [jnp.asarray(a, jnp.float32) for a in (weight, xs, signs)]
    return (weight, xs, signs), narrow, usefulness.fit_scale(narrow[1] @ narrow[0])


def test_standardised_features_have_mean_0_and_variance_1_on_their_own_sample_only():
    (weight, xs, _), (narrow, own, _), scale = fitted()
    feature = usefulness.standardised(lambda x: jnp.sum(narrow * x), scale)
    values = np.asarray(jax.vmap(feature)(own), np.float64)
    np.testing.assert_allclose([values.mean(), values.std()], [0, 1], atol=2e-6)
    there = np.float64(sample(seed=1)[0]) @ weight
    want = (there - (xs @ weight).mean()) / (xs @ weight).std()
    np.testing.assert_allclose(
        jax.vmap(feature)(jnp.asarray(sample(seed=1)[0], jnp.float32)), want, rtol=1e-4, atol=1e-5
    )


def test_features_far_from_zero_keep_their_scale_and_constant_ones_have_none():
    values = 1e3 + np.random.default_rng(0).normal(size=500)
    scale = usefulness.fit_scale(jnp.asarray(values, jnp.float32))
    np.testing.assert_allclose(scale.deviation, values.std(), rtol=1e-3)
    assert jnp.isnan(usefulness.fit_scale(jnp.full(1000, 0.1)).deviation)
    assert jnp.isnan(usefulness.fit_scale(jnp.zeros(3)).deviation)


@pytest.mark.parametrize("name", DUALS)
def test_closed_form_is_the_usefulness_less_eps_times_the_dual_norm(name):
    (weight, xs, signs), (narrow, own, labels), scale = fitted()
    norm, order = DUALS[name]
    outputs, eps = xs @ weight, 0.3
    want = signs * (outputs - outputs.mean()) / outputs.std() - eps * np.linalg.norm(weight, order) / outputs.std()
    found = usefulness.linear_robust_usefulness(narrow, scale, own, labels, eps=eps, norm=norm)
    np.testing.assert_allclose(found.values, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.estimate, want.mean(), rtol=1e-4)


@pytest.mark.parametrize("name", ["l2", "linf", pytest.param("l1", marks=pytest.mark.slow)])
def test_attacks_on_linear_features_reach_the_closed_form(name, key):
    _, (weight, xs, signs), scale = fitted()
    norm, eps = DUALS[name][0], 0.3
    feature = usefulness.standardised(lambda x: jnp.sum(weight * x), scale)
    found = jax.jit(
        lambda eps: usefulness.robust_usefulness(
            feature, xs, signs, key, partial(pgd, eps=eps, step_size=eps, steps=12, norm=norm, bounds=None)
        )
    )(eps)
    closed = usefulness.linear_robust_usefulness(weight, scale, xs, signs, eps=eps, norm=norm)
    np.testing.assert_allclose(found.values, closed.values, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.estimate, closed.estimate, rtol=1e-4)
    clean = usefulness.usefulness(feature, xs, signs)
    np.testing.assert_allclose(clean.estimate - found.estimate, eps * norm.dual(weight) / scale.deviation, rtol=1e-4)


def test_an_attack_in_the_box_stays_above_the_closed_form(key):
    _, (weight, xs, signs), scale = fitted()
    xs = jnp.clip(xs, 0, 1)
    feature = usefulness.standardised(lambda x: jnp.sum(weight * x), scale)
    attack = partial(pgd, eps=0.3, step_size=0.1, steps=10, norm=norms.linf)
    found = jax.jit(lambda xs: usefulness.robust_usefulness(feature, xs, signs, key, attack))(xs)
    closed = usefulness.linear_robust_usefulness(weight, scale, xs, signs, eps=0.3, norm=norms.linf)
    assert (found.values >= closed.values - 1e-5).all()
    assert found.estimate > closed.estimate + 0.01
    assert found.estimate < usefulness.usefulness(feature, xs, signs).estimate


def test_robust_usefulness_falls_with_eps_from_usefulness_for_a_net(key):
    params = nets.weights()
    xs = nets.examples(12)
    signs = jnp.where(jnp.arange(12) % 2 == 0, 1.0, -1.0)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def curve(sizes):
        def at(eps):
            attack = partial(pgd, eps=eps, step_size=eps / 4, steps=8, norm=norms.linf)
            return usefulness.robust_usefulness(lambda x: nets.mlp(params, x)[1], xs, signs, key, attack)

        return jax.vmap(at)(sizes)

    found = curve(jnp.array([0.0, 0.02, 0.1]))
    assert found.values.shape == (3, 12)
    clean = usefulness.usefulness(lambda x: nets.mlp(params, x)[1], xs, signs)
    np.testing.assert_allclose(found.values[0], clean.values, rtol=1e-5, atol=1e-6)
    assert (jnp.diff(found.estimate) < 0).all()
    assert (found.values <= clean.values[None] + 1e-6).all()


def test_an_attack_that_makes_things_worse_for_itself_is_not_believed(key):
    x = jnp.array([0.5])
    attack = lambda objective, x, _: fgsm(objective, x, eps=0.4, bounds=None)  # noqa: E731
    worst = usefulness.worst_product(lambda x: (x[0] - 0.4) ** 2, x, 1.0, key, attack)
    np.testing.assert_allclose(worst, 0.01, rtol=1e-5)


def test_the_gaussian_model_gives_the_population_values(key):
    """E[y f] = w'm / sqrt(w'(S + m m')w): y x has mean m, and x itself mean 0 and this variance."""
    rng = np.random.default_rng(2)
    root, mean = rng.normal(size=(3, 3)), rng.normal(size=3)
    truth = gaussian.Gaussian(jnp.asarray(mean, jnp.float32), jnp.asarray(root @ root.T + np.eye(3), jnp.float32))
    weight, n, eps = gaussian.separator(truth), 20_000, 0.2
    xs, signs = jax.jit(jax.vmap(partial(gaussian.draw, truth)))(jax.random.split(key, n))
    spread = np.sqrt(weight @ (root @ root.T + np.eye(3) + np.outer(mean, mean)) @ weight)
    scale = usefulness.Scale(jnp.zeros(()), jnp.float32(spread))
    found = usefulness.linear_robust_usefulness(weight, scale, xs, signs, eps=eps)
    want = (weight @ mean - eps * np.linalg.norm(weight)) / spread
    assert abs(found.estimate - want) < 4 * np.std(found.values) / np.sqrt(n)


def test_one_against_the_rest_and_balance():
    labels = jnp.array([0, 1, 2, 2, 2, 9])
    signs = usefulness.one_vs_rest(labels, 3)
    np.testing.assert_array_equal(signs[:, :5] > 0, np.eye(3)[np.asarray(labels[:5])].T > 0)
    assert jnp.isnan(signs[:, 5]).all()
    weights = jax.vmap(usefulness.balance)(signs[:, :5])
    np.testing.assert_allclose(weights.mean(1), 1, rtol=1e-6)
    np.testing.assert_allclose((weights * signs[:, :5]).mean(1), 0, atol=1e-6)
    assert jnp.isnan(usefulness.balance(jnp.ones(3))).all()


def test_usefulness_against_the_rest_is_bounded_by_the_share_of_the_class():
    """The best feature of a class is its indicator, standardised: 2 sqrt(p (1 - p)), and 1 when balanced."""
    labels = jnp.repeat(jnp.arange(10), 10)
    signs = usefulness.one_vs_rest(labels, 10)[3]
    hit = (labels == 3).astype(jnp.float32)
    plain = usefulness.usefulness(usefulness.standardised(lambda x: x, usefulness.fit_scale(hit)), hit, signs)
    np.testing.assert_allclose(plain.estimate, 2 * np.sqrt(0.1 * 0.9), rtol=1e-5)
    weights = usefulness.balance(signs)
    scale = usefulness.fit_scale(hit, weights=weights)
    fair = usefulness.usefulness(usefulness.standardised(lambda x: x, scale), hit, signs, weights=weights)
    np.testing.assert_allclose(fair.estimate, 1, rtol=1e-5)


@pytest.mark.parametrize("name", DUALS)
def test_stable_examples_are_those_that_no_attack_can_move(name):
    rng = np.random.default_rng(1)
    weight, bias, xs = rng.normal(size=(6, 4)), rng.normal(size=4), rng.normal(size=(200, 6))
    norm, order = DUALS[name]
    eps = {"l2": 0.3, "linf": 0.15, "l1": 0.5}[name]
    logits = xs @ weight + bias
    top = logits.argmax(1)
    closest = np.full(200, np.inf)
    for n in range(200):
        for k in range(4):
            if k != top[n]:
                apart = np.linalg.norm(weight[:, top[n]] - weight[:, k], order)
                closest[n] = min(closest[n], (logits[n, top[n]] - logits[n, k]) / apart)
    found = jax.jit(jax.vmap(partial(usefulness.stable, eps=eps, norm=norm), (None, None, 0)))(
        jnp.asarray(weight, jnp.float32), jnp.asarray(bias, jnp.float32), jnp.asarray(xs, jnp.float32)
    )
    clear = np.abs(closest - eps) > 1e-4
    np.testing.assert_array_equal(found[clear], (closest > eps)[clear])
    assert 0.1 < found.mean() < 0.9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda w, x: usefulness.linear_robust_usefulness(w, None, x, x[:, 0], eps=-1.0),
            "want eps >= 0, got eps=-1.0",
        ),
        (lambda w, x: usefulness.linear_robust_usefulness(w, None, x, x[:, 0], norm=norms.l0), "a norm with a dual"),
        (lambda w, x: usefulness.stable(x, w, w, eps=float("nan")), "want eps >= 0, got eps=nan"),
        (lambda w, x: usefulness.stable(x, w, w, eps=0.1, norm=norms.l0), "a norm with a dual"),
        (lambda w, x: usefulness.one_vs_rest(jnp.zeros(2, int), 1), "want an integer classes >= 2"),
    ],
)
def test_bad_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones(3), jnp.ones((3, 3)))


def test_bad_values_that_tracing_hides_give_nan():
    _, (weight, xs, signs), scale = fitted()
    bound = jax.jit(lambda eps: usefulness.linear_robust_usefulness(weight, scale, xs, signs, eps=eps).estimate)
    assert jnp.isnan(bound(-1.0))
    assert jnp.isnan(bound(jnp.nan))
    certify = jax.jit(lambda eps: usefulness.stable(jnp.eye(2), jnp.zeros(2), jnp.array([1.0, 0.0]), eps=eps))
    assert [bool(certify(eps)) for eps in (-1.0, jnp.nan, 0.1)] == [False, False, True]
