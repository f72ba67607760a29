import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.linear import logistic
from interp_jax.vae.metrics import readout as metrics
from tests.oracles import disentanglement as oracle
from tests.oracles import linear
from tests.vae.metrics import codes as make

SIZES = (3, 2)
TRAIN, TEST = make.factors(300, SIZES, 0), make.factors(200, SIZES, 1)
MIX = np.array([[1, 0.3, 0.2, 0], [-0.4, 1, 0.1, 0]])
newton = jax.jit(metrics.newton)
explicit = jax.jit(lambda *args: metrics.explicitness(*args, SIZES))
downstream = jax.jit(lambda *args: metrics.downstream(*args, SIZES, penalties=6))


def code(drawn, noise=0.5, seed=0):
    clean = make.standard(drawn, SIZES) @ MIX
    return (clean + noise * np.random.default_rng(seed).normal(size=clean.shape)).astype(np.float32)


X, TEST_X = code(TRAIN), code(TEST, seed=1)


@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e3])
def test_newton_agrees_with_a_float64_trust_region(alpha):
    y = np.eye(3, dtype=np.float32)[TRAIN[:, 0]]
    found = newton(X, y, alpha)
    assert found.converged
    assert found.steps < 15
    weight, bias = (np.concatenate(each, -1) for each in zip(
        *(linear.logistic(X, y[:, k], alpha, np.ones(300)) for k in range(3)), strict=True))  # fmt: skip
    np.testing.assert_allclose(found.weight, weight, atol=2e-3)
    np.testing.assert_allclose(found.level, bias, atol=2e-3)


def test_newton_on_separated_and_absent_classes():
    x = np.linspace(-1, 1, 300, dtype=np.float32)[:, None] * np.ones(4, np.float32)
    y = np.stack([x[:, 0] > 0, np.zeros(300), np.ones(300)], 1).astype(np.float32)
    found = newton(x, y, 1e-3)
    assert not found.converged
    assert np.isfinite(found.weight).all()
    np.testing.assert_array_equal(np.isinf(found.level), [False, True, True])
    assert found.gap < 1e-4
    assert (np.sign(x @ np.asarray(found.weight[:, 0]) + found.level[0]) == np.sign(x[:, 0])).all()


def test_explicitness_agrees_with_the_oracle():
    found = explicit(X, TRAIN, TEST_X, TEST)
    centre, spread = np.float64(X).mean(0), np.float64(X).std(0)
    x, test_x = (X - centre) / spread, (TEST_X - centre) / spread
    each = []
    for f, size in enumerate(SIZES):
        y = np.eye(size)[TRAIN[:, f]]
        values = []
        for k in range(size):
            weight, bias = linear.logistic(x, y[:, k], 1.0, np.ones(300))
            values.append(oracle.area((test_x @ weight + bias)[:, 0], TEST[:, f] == k))
        each.append(np.mean(values))
    np.testing.assert_allclose(found.each, each, atol=2e-3)
    np.testing.assert_allclose(found.score, np.mean(each), atol=2e-3)


def test_explicitness_of_known_codes():
    noise = make.random(TRAIN, 4), make.random(TEST, 4, 7)
    assert abs(explicit(noise[0], TRAIN, noise[1], TEST).score - 0.5) < 0.06
    dead = explicit(np.ones_like(X), TRAIN, np.ones_like(TEST_X), TEST)
    np.testing.assert_allclose(dead.each, 0.5, atol=1e-6)
    one_hot = [np.concatenate([np.eye(3)[f[:, 0]], f[:, 1:]], 1).astype(np.float32) for f in (TRAIN, TEST)]
    np.testing.assert_allclose(explicit(one_hot[0], TRAIN, one_hot[1], TEST).score, 1, atol=1e-6)
    turned = explicit(X[:, ::-1] * -3, TRAIN, TEST_X[:, ::-1] * -3, TEST)
    np.testing.assert_allclose(turned.score, explicit(X, TRAIN, TEST_X, TEST).score, atol=1e-4)


def test_a_softmax_sees_the_middle_class_that_lines_do_not():
    clean, test = (np.concatenate([make.standard(f, SIZES), 0 * f], 1).astype(np.float32) for f in (TRAIN, TEST))
    lines = explicit(clean, TRAIN, test, TEST)
    peer = jax.jit(lambda *a: metrics.explicitness(*a, SIZES, fit=lambda x, y: logistic.fit_softmax(x, y, 1.0)))
    assert lines.each[0] < 0.9
    np.testing.assert_allclose(peer(clean, TRAIN, test, TEST).score, 1, atol=1e-4)


def test_downstream_of_known_codes():
    one_hot = [np.concatenate([np.eye(3)[f[:, 0]], f[:, 1:]], 1).astype(np.float32) for f in (TRAIN, TEST)]
    assert downstream(one_hot[0], TRAIN, one_hot[1], TEST).score == 1
    noise = make.random(TRAIN, 4), make.random(TEST, 4, 7)
    found = downstream(noise[0], TRAIN, noise[1], TEST)
    np.testing.assert_allclose(found.each, 1 / np.array(SIZES), atol=0.12)
    dead = downstream(np.ones_like(X), TRAIN, np.ones_like(TEST_X), TEST)
    for f in range(2):
        most = np.bincount(TRAIN[:, f]).argmax()
        np.testing.assert_allclose(dead.each[f], np.mean(TEST[:, f] == most), atol=1e-6)


def test_downstream_agrees_with_scikit_learn_where_one_penalty_serves_all():
    """With two classes there is one label, and so one penalty, in either."""
    peer = pytest.importorskip("sklearn.linear_model")
    folds = pytest.importorskip("sklearn.model_selection").KFold(5)
    centre, spread = X.mean(0), X.std(0)
    model = peer.LogisticRegressionCV(
        Cs=6, cv=folds, tol=1e-8, max_iter=1000, l1_ratios=(0,), use_legacy_attributes=False, scoring="accuracy"
    )
    model.fit((X - centre) / spread, TRAIN[:, 1])
    found = downstream(X, TRAIN, TEST_X, TEST)
    np.testing.assert_allclose(found.each[1], model.score((TEST_X - centre) / spread, TEST[:, 1]), atol=0.0051)


def test_few_labels_and_bad_values():
    assert 0.2 < downstream(X[:10], TRAIN[:10], TEST_X, TEST).score < 1
    broken = X.copy()
    broken[0, 0] = np.nan
    assert jnp.isnan(downstream(broken, TRAIN, TEST_X, TEST).score)
    assert jnp.isnan(explicit(broken, TRAIN, TEST_X, TEST).score)
    with pytest.raises(ValueError, match="each of folds"):
        metrics.downstream(X[:3], TRAIN[:3], TEST_X, TEST, SIZES)
