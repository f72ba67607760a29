"""Elastic-net logistic regression against float64 L-BFGS-B, scikit-learn's saga, ridge, and theory on zeros."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.linear import elastic_logistic, logistic
from tests.linear import variants
from tests.oracles import elastic_logistic as oracle

C = 3
N = variants.N


def classes():
    rng = np.random.default_rng(3)
    x = variants.features() / variants.FEATURES
    return (x @ rng.normal(size=(variants.D, C)) + rng.gumbel(size=(N, C))).argmax(1)


def onehot():
    return np.eye(C, dtype=np.float32)[classes()]


@pytest.fixture(scope="module")
def fits():
    """Both fits, with and without a batch of strengths."""
    x, y = variants.features(), onehot()

    def both(alpha, ratio, weights, shift):
        settings = {"l1_ratio": ratio, "weights": weights, "steps": 6000}
        return [f(x + shift, y, alpha, **settings) for f in (elastic_logistic.fit, elastic_logistic.fit_softmax)]

    rng = np.random.default_rng(0)
    weights = (rng.uniform(0.2, 3, N) * (rng.uniform(size=N) < 0.7)).astype(np.float32)
    ones = np.ones(N, np.float32)
    rows = {
        "base": (0.01, 0.99, ones, 0.0),
        "half": (0.05, 0.5, ones, 0.0),
        "weighted": (0.02, 0.9, weights, 0.0),
        "shifted": (0.01, 0.99, ones, 1e4),
        "ridge": (0.02, 0.0, ones, 0.0),
        "none": (10.0, 1.0, ones, 0.0),
    }
    stacked = [np.stack([np.float32(row[i]) for row in rows.values()]) for i in range(4)]
    found = jax.jit(jax.vmap(both))(*stacked)
    return rows, {name: [type(f)(*(np.asarray(leaf)[i] for leaf in f)) for f in found] for i, name in enumerate(rows)}


def test_fits_are_the_minimum(fits):
    rows, found = fits
    x, y = np.float64(variants.features()), onehot()
    for name in ("base", "half", "weighted"):
        alpha, ratio, weights, _ = rows[name]
        for ours, softmax in zip(found[name], (False, True), strict=True):
            assert ours.converged
            weight, bias = oracle.fit(x, y, alpha, ratio, weights, softmax)
            z = x @ weight + bias
            mine = variants.at(ours, x)
            if softmax:  # levels are determined up to a constant
                z, mine = z - z.mean(1, keepdims=True), mine - mine.mean(1, keepdims=True)
            np.testing.assert_allclose(mine, z, atol=2e-3, err_msg=name)
            values = [
                oracle.objective(x, y, alpha, ratio, weights, np.float64(w), np.float64(b), softmax)[0]
                for w, b in ((ours.weight, ours.bias), (weight, bias))
            ]
            assert abs(values[0] - values[1]) < 1e-5
            zero = np.abs(weight) < 1e-9
            assert (zero == (np.asarray(ours.weight) == 0)).mean() > 0.9


def test_invariances_and_limits(fits):
    _, found = fits
    for ours, far in zip(found["base"], found["shifted"], strict=True):
        np.testing.assert_allclose(far.weight, ours.weight, atol=5e-3)
    for ours in found["none"]:
        assert (ours.weight == 0).all()
        assert ours.converged
    shares = onehot().mean(0)
    np.testing.assert_allclose(found["none"][0].bias, np.log(shares / (1 - shares)), atol=1e-3)
    x, y = variants.features(), onehot()
    want = jax.jit(lambda x, y: logistic.fit_softmax(x, y, 0.02 * N))(x, y)
    np.testing.assert_allclose(found["ridge"][1].weight, want.weight, atol=2e-3)


def test_it_is_scikit_learns_optimum(fits):
    model = pytest.importorskip("sklearn.linear_model").LogisticRegression
    alpha, ratio, *_ = fits[0]["half"]
    theirs = model(C=1 / (N * alpha), l1_ratio=ratio, solver="saga", tol=1e-10, max_iter=100_000)
    theirs.fit(np.float64(variants.features()), classes())
    np.testing.assert_allclose(fits[1]["half"][1].weight, theirs.coef_.T, atol=2e-3)


def test_what_has_no_minimum_or_is_no_label_says_so():
    x, y = variants.features(), onehot()
    fit = jax.jit(lambda y: elastic_logistic.fit_softmax(x, y, 0.1, steps=50))
    lone = fit(np.float32(y @ np.float32([[1, 0, 0], [0, 1, 0], [0, 1, 0]])))
    assert lone.level[2] == -np.inf
    assert (lone.weight[:, 2] == 0).all()
    assert not lone.converged
    assert np.isfinite(lone.weight).all()
    assert np.isnan(fit(2 * y).weight).all()
    one = jax.jit(lambda y: elastic_logistic.fit(x, y, 0.1, steps=50))(np.ones(N, np.float32))
    assert one.level[0] == np.inf
    assert not one.converged
    for wrong in ({"alpha": -1.0}, {"l1_ratio": 2.0}, {"steps": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            elastic_logistic.fit(x, y, **({"alpha": 0.1} | wrong))
    with pytest.raises(ValueError, match="K >= 2"):
        elastic_logistic.fit_softmax(x, jnp.ones(N), 0.1)
