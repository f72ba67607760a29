"""Concept activation vectors against float64 solvers, scikit-learn's SVC, invariances; the null is a null."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.linear import cav, logistic
from tests.oracles import linear as oracle

N, D, K = 40, 6, 3
ALPHA = 10.0


def examples(seed=0, shift=1.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, D)).astype(np.float32)
    y = (np.arange(N)[:, None] + np.arange(K)[None]) % 2
    x[:, :K] += shift * y
    return x, y.astype(np.float32)


@pytest.fixture(scope="module")
def bank():
    x, y = examples()
    return jax.jit(jax.vmap(lambda y: cav.fit(x, y, ALPHA), 1))(y)


def test_a_bank_is_the_svm_of_each_concept_at_length_one(bank):
    x, y = examples()
    assert bank.converged.all()
    np.testing.assert_allclose(np.linalg.norm(bank.direction, axis=1), 1, rtol=1e-6)
    found = np.asarray(cav.margins(bank, jnp.asarray(x)))
    for k in range(K):
        weight, bias = oracle.hinge(x, y[:, k], ALPHA, np.ones(N))
        want = (np.float64(x) @ weight[:, 0] + bias) / np.linalg.norm(weight)
        np.testing.assert_allclose(found[:, k], want, atol=2e-4)
        for side, rows in ((bank.positive, y[:, k] == 1), (bank.negative, y[:, k] == 0)):
            values = [want[rows].mean(), want[rows].min(), want[rows].max()]
            np.testing.assert_allclose([side.mean[k], side.low[k], side.high[k]], values, atol=2e-4)


def test_it_is_the_peers_classifier(bank):
    svc = pytest.importorskip("sklearn.svm").SVC(kernel="linear", C=1 / ALPHA, tol=1e-8)
    x, y = examples()
    for k in range(K):
        svc.fit(np.float64(x), y[:, k])
        length = np.linalg.norm(svc.coef_)
        np.testing.assert_allclose(bank.direction[k], svc.coef_[0] / length, atol=1e-3)
        np.testing.assert_allclose(bank.offset[k], svc.intercept_[0] / length, atol=1e-3)


def test_every_method_finds_a_planted_direction():
    rng = np.random.default_rng(1)
    true = np.eye(D)[2] * 0.6 + np.eye(D)[4] * 0.8
    y = np.arange(200) % 2
    x = (rng.normal(size=(200, D)) + 2 * np.outer(y, true)).astype(np.float32)
    for method, alpha in ((logistic.fit, 1.0), (cav.discriminant, 5.0), (cav.difference_of_means, 0.0)):
        found = jax.jit(lambda x, y, method=method, alpha=alpha: cav.fit(x, y, alpha, method=method))(x, y)
        assert found.direction @ true > 0.93
        if method is cav.discriminant:
            middle = np.float64(x) - x.mean(0)
            want = np.linalg.solve(middle.T @ middle + 5 * np.eye(D), middle.T @ (2.0 * y - 1))
            np.testing.assert_allclose(found.direction, want / np.linalg.norm(want), atol=1e-4)
    means = x[y == 1].mean(0) - x[y == 0].mean(0)
    np.testing.assert_allclose(found.direction, means / np.linalg.norm(means), atol=1e-5)
    np.testing.assert_allclose(found.positive.mean, -found.negative.mean, rtol=1e-4)
    same = jax.jit(cav.along)(7 * means, x, y)
    np.testing.assert_allclose(same.direction, found.direction, atol=1e-5)
    np.testing.assert_allclose(same.offset, found.offset, atol=1e-5)


def test_rows_of_no_weight_do_not_count_and_the_scale_scales_margins():
    x, y = examples()
    more = np.concatenate([x, np.full((5, D), 100.0, np.float32)])
    weights = np.append(np.ones(N), np.zeros(5)).astype(np.float32)
    fit = jax.jit(lambda x, y, alpha, weights: cav.fit(x, y, alpha, method=cav.difference_of_means, weights=weights))
    base = fit(x, y[:, 0], ALPHA, np.ones(N, np.float32))
    found = fit(more, np.append(y[:, 0], np.ones(5)).astype(np.float32), ALPHA, weights)
    np.testing.assert_allclose(found.direction, base.direction, atol=1e-4)
    np.testing.assert_allclose(found.positive.high, base.positive.high, rtol=1e-4)
    twice = fit(2 * more, np.append(y[:, 0], np.ones(5)).astype(np.float32), 4 * ALPHA, weights)
    np.testing.assert_allclose(twice.positive.high, 2 * base.positive.high, rtol=1e-3)


def test_accuracy_is_the_mean_of_both_sides_and_one_side_is_undefined():
    found = cav.along(jnp.array([2.0, 0.0]), jnp.array([[-1.0, 0.0], [1.0, 0.0]]), jnp.array([0.0, 1.0]))
    x = jnp.array([[1.0, 3.0], [2.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    assert cav.accuracy(found, x, jnp.array([1, 1, 1, 0])) == pytest.approx((2 / 3 + 0) / 2)
    assert cav.accuracy(found, x, jnp.array([1, 1, 1, 0]), weights=jnp.array([1.0, 1, 0, 1])) == pytest.approx(0.5)
    assert np.isnan(cav.accuracy(found, x, jnp.ones(4)))
    alone = jax.jit(lambda x, y: cav.fit(x, y, method=cav.difference_of_means))(x, jnp.ones(4))
    assert np.isnan(alone.direction).all()
    assert np.isnan(alone.offset)
    assert not alone.converged


def test_p_values_are_small_for_a_concept_and_even_for_none():
    """Over 60 draws of pure noise a p-value of 1/4 or less comes in a quarter, give or take three standard errors."""

    def p(key, shift):
        first, second, third = jax.random.split(key, 3)
        y = jnp.arange(24) % 2
        x, held = (jax.random.normal(k, (24, 4)) + shift * y[:, None] for k in (first, second))
        method = cav.difference_of_means
        value = cav.accuracy(cav.fit(x, y, method=method), held, y)
        return cav.p_value(value, cav.null((x, y), (held, y), third, permutations=19, method=method))

    many = jax.jit(jax.vmap(p, (0, None)))
    keys = jax.random.split(jax.random.key(0), 60)
    assert many(keys, 2.0).max() <= 0.1
    even = np.asarray(many(keys, 0.0))
    assert (even <= 0.25).mean() < 0.25 + 3 * np.sqrt(0.25 * 0.75 / 60)
    assert even.min() >= 1 / 20
    with pytest.raises(ValueError, match="permutations"):
        cav.null((jnp.zeros((2, 2)), jnp.zeros(2)), (jnp.zeros((2, 2)), jnp.zeros(2)), keys[0], permutations=0)
