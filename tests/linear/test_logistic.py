"""Logistic and softmax regression against a float64 trust region, scikit-learn and known transformations."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.linear import logistic
from interp_jax.linear.fits import predict
from tests.linear import variants
from tests.oracles import linear as oracle

ALPHA = 0.5
CLASSES = 3


@jax.jit
def many(x, y, alpha, weights):
    return jax.vmap(lambda x, y, a, w: logistic.fit(x, y, a, weights=w))(x, y, alpha, weights)


@jax.jit
def many_softmax(x, y, alpha, weights):
    one_hot = jax.nn.one_hot(y.astype(int), CLASSES)
    return jax.vmap(lambda x, y, a, w: logistic.fit_softmax(x, y, a, weights=w))(x, one_hot, alpha, weights)


def noisy_logits(count, seed=2):
    rng = np.random.default_rng(seed)
    x = variants.features() / variants.FEATURES
    return x @ rng.normal(size=(variants.D, count)) + rng.gumbel(size=(variants.N, count))


@pytest.fixture(scope="module")
def binary():
    y = (noisy_logits(1)[:, 0] > 0.3).astype(np.float32)
    problems = variants.batch(y, ALPHA, flat=np.ones(variants.N))
    return problems, many(*problems)


@pytest.fixture(scope="module")
def multinomial():
    y = np.argmax(noisy_logits(CLASSES), 1).astype(np.float32)
    problems = variants.batch(y, ALPHA, flat=np.where(y == 2, 1, y))
    return problems, many_softmax(*problems)


def one_hot(y):
    return np.eye(CLASSES)[y.astype(int)]


def test_binary_agrees_with_a_float64_trust_region(binary):
    problems, found = binary
    variants.check_oracle(found, problems, oracle.logistic, 1e-4)


def test_softmax_agrees_with_a_float64_trust_region(multinomial):
    problems, found = multinomial
    variants.check_oracle(found, problems, lambda x, y, a, w: oracle.softmax(x, one_hot(y), a, w), 2e-4)


def test_known_transformations(binary, multinomial):
    variants.check_invariances(binary[1], 1e-4)
    variants.check_invariances(multinomial[1], 3e-4)


def test_agrees_with_scikit_learn(binary, multinomial):
    linear_model = pytest.importorskip("sklearn.linear_model")
    for problems, found in (binary, multinomial):
        x, y, alpha, weights = variants.kept(problems, "weighted")
        theirs = linear_model.LogisticRegression(C=1 / alpha, tol=1e-10, max_iter=1000).fit(x, y, sample_weight=weights)
        ours = variants.pick(found, "weighted")
        np.testing.assert_allclose(ours.weight, theirs.coef_.T, rtol=0, atol=3e-4)
        np.testing.assert_allclose(ours.bias, theirs.intercept_, rtol=0, atol=3e-4)


def test_rows_that_are_no_numbers_give_nan(binary, multinomial):
    variants.check_nan(binary[1])
    variants.check_nan(multinomial[1])


def test_one_class_has_its_minimum_at_infinity(binary):
    only = variants.pick(binary[1], "flat")
    assert not only.converged
    assert only.level == np.inf
    assert (only.weight == 0).all()


def test_an_absent_class_leaves_the_others_alone(multinomial):
    problems, found = multinomial
    x, y, alpha, weights = variants.kept(problems, "flat")
    ours = variants.pick(found, "flat")
    assert not ours.converged
    assert ours.level[2] == -np.inf
    weight, bias = oracle.softmax(x, np.eye(2)[y.astype(int)], alpha, weights)
    np.testing.assert_allclose(ours.weight[:, :2], weight, rtol=0, atol=2e-4)
    np.testing.assert_allclose(ours.bias[:2], bias, rtol=0, atol=2e-4)


def test_separable_classes_without_a_penalty_are_flagged(binary):
    problems, _ = binary
    x = problems.x[:1].repeat(len(problems.x), 0)
    y = (x[:, :, 0] > 0).astype(np.float32)
    alphas = np.zeros(len(x), np.float32)
    alphas[1] = 1.0
    found = many(x, y, alphas, np.ones_like(y))
    assert not found.converged[0]
    assert jnp.isfinite(found.weight).all()
    assert found.converged[1]


def test_softmax_of_two_classes_is_the_binary_fit_at_half_the_penalty(binary):
    problems, found = binary
    y = problems.y[0]
    three = variants.batch(y, 2 * ALPHA, flat=y)
    soft = variants.pick(many_softmax(*three), "base")
    difference = soft.weight[:, 1] - soft.weight[:, 0]
    np.testing.assert_allclose(difference, variants.pick(found, "base").weight[:, 0], rtol=0, atol=2e-4)


def test_certain_labels_keep_their_precision(multinomial):
    """With hardly a penalty most probabilities are within 1e-6 of 0 or 1, and the gradient is made of what is left."""
    problems, _ = multinomial
    x, y, _, weights = variants.kept(problems, "base")
    y = np.float64(np.argmax(x[:, :3] + 0.3 * np.float64(one_hot(y)), 1))
    alphas = np.full_like(problems.alpha, 1e-3)
    ours = variants.pick(many_softmax(*problems._replace(y=np.float32(np.tile(y, (11, 1))), alpha=alphas)), "base")
    theirs = variants.outputs(*oracle.softmax(x, one_hot(y), 1e-3, weights), x)
    assert ours.converged
    assert np.abs(theirs).max() > 20
    np.testing.assert_allclose(variants.at(ours, x), theirs, rtol=0, atol=2e-3 * np.abs(theirs).max())


def test_more_features_than_rows():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(16, 40)).astype(np.float32) + 3, np.arange(16) % 2
    ours = jax.jit(logistic.fit)(x, y, 0.5)
    assert ours.converged
    weight, bias = oracle.logistic(x, y, 0.5, np.ones(16))
    np.testing.assert_allclose(variants.at(ours, np.float64(x)), variants.outputs(weight, bias, x), rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours.weight, weight, rtol=0, atol=1e-4)


def test_labels_out_of_range_give_nan(binary):
    problems, _ = binary
    y = problems.y.copy()
    y[0, 0], y[1, 0] = 2, -1
    assert np.isnan(many(*problems._replace(y=y)).weight[:2]).all()
    y = np.full_like(y, CLASSES)
    assert np.isnan(many_softmax(*problems._replace(y=y)).weight).all()


def test_a_grid_is_one_program_and_equals_a_loop(binary):
    problems, _ = binary
    x, y = problems.x[0], problems.y[0]
    alphas = jnp.asarray([0.01, 1.0, 100.0])
    traced = chex.assert_max_traces(lambda x, y, a: logistic.fit(x, y, a), n=1)
    one = jax.jit(traced)
    loop = [one(x, y, a) for a in alphas]
    grid = many(*(np.resize(a, (11, *a.shape[1:])) for a in (x[None], y[None], alphas, np.ones((1, variants.N)))))
    for i, alone in enumerate(loop):
        assert alone.converged
        np.testing.assert_allclose(grid.weight[i], alone.weight, rtol=0, atol=1e-4)
        np.testing.assert_allclose(
            predict(alone, x)[:, 0], x @ grid.weight[i, :, 0] + grid.bias[i, 0], rtol=0, atol=2e-4
        )


@pytest.mark.parametrize("fit", [logistic.fit, logistic.fit_softmax])
def test_bad_arguments_are_named(fit):
    x, y = np.ones((4, 2), np.float32), np.ones((4, 2), np.float32)
    with pytest.raises(ValueError, match="alpha=-1"):
        fit(x, y, -1.0)
    with pytest.raises(ValueError, match="steps=0"):
        fit(x, y, 1.0, steps=0)
    with pytest.raises(AssertionError):
        fit(x[0], y, 1.0)
    with pytest.raises(AssertionError):
        fit(x, y[:3], 1.0)
    with pytest.raises(AssertionError):
        fit(x, y, np.ones(2))


def test_the_softmax_wants_columns():
    with pytest.raises(ValueError, match="one_hot"):
        logistic.fit_softmax(np.ones((4, 2), np.float32), np.zeros(4), 1.0)


def test_log_likelihood_is_the_log_probability_of_the_class():
    logits = jnp.asarray([[0.0, jnp.log(3.0)], [2.0, 2.0]])
    np.testing.assert_allclose(logistic.log_likelihood(logits, jnp.asarray([1, 0])), np.log([0.75, 0.5]), rtol=1e-6)
    ours = logistic.log_likelihood(logits[:, 1:], jnp.asarray([1, 1]))
    np.testing.assert_allclose(ours, -np.log1p([1 / 3, np.exp(-2)]), rtol=1e-6)
    assert np.isnan(logistic.log_likelihood(logits, jnp.asarray([2, 0]))[0])


def test_the_likelihood_of_one_logit_keeps_its_digits_where_the_class_is_nearly_certain():
    found = logistic.log_likelihood(jnp.array([[20.0], [-20.0], [3.0], [3.0]]), jnp.array([1, 0, 0, 2]))
    np.testing.assert_allclose(found, [-np.exp(-20.0), -np.exp(-20.0), -np.log1p(np.exp(3.0)), np.nan], rtol=1e-5)


@pytest.mark.parametrize("condition", [1.0, 1e3, 1e6])
def test_softmax_reaches_the_optimum_of_scikit_learn_to_1e_9(condition):
    """In float32 at penalties from nearly none, however ill-conditioned: its excess over Newton's loss in float64."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    rows, dims, classes = 300, 12, 4
    x = rng.normal(size=(rows, dims)) * np.geomspace(1, 1 / condition, dims)
    x = (x @ np.linalg.qr(rng.normal(size=(dims, dims)))[0] + 1).astype(np.float32)
    y = np.argmax(2 * (x - 1) @ rng.normal(size=(dims, classes)) + rng.gumbel(size=(rows, classes)), 1)
    alphas = np.float32([1e-3, 1e-2, 1, 100])
    found = softmax_path(x, jax.nn.one_hot(y, classes), alphas)
    assert found.converged.all()
    for i, alpha in enumerate(alphas):
        centred = np.float64(x) - np.float64(x).mean(0)
        newton = linear_model.LogisticRegression(C=1 / float(alpha), tol=1e-12, max_iter=5000, solver="newton-cg")
        theirs = newton.fit(centred, y)

        def loss(outputs, weight, alpha=float(alpha)):
            each = np.logaddexp.reduce(outputs, 1) - outputs[np.arange(rows), y]
            return each.mean() + alpha / 2 / rows * (np.float64(weight) ** 2).sum()

        one = jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), found)
        ours = loss(variants.at(one, np.float64(x)), one.weight)
        assert ours - loss(theirs.decision_function(centred), theirs.coef_) < 1e-9


@jax.jit
def softmax_path(x, y, alphas):
    return jax.vmap(lambda alpha: logistic.fit_softmax(x, y, alpha))(alphas)
