"""Support vector machines against float64 solvers (trust region, SLSQP), scikit-learn and known transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.linear import svm
from interp_jax.linear.fits import accuracy, predict
from tests.linear import variants
from tests.oracles import linear as oracle

ALPHA = 2.0


def penalised(x, y, alpha, **more):
    return svm.fit(x, y, alpha, penalise_intercept=True, **more)


def batched(fit):
    return jax.jit(jax.vmap(lambda x, y, a, w: fit(x, y, a, weights=w)))


free, bound, hinge = batched(svm.fit), batched(penalised), batched(svm.fit_hinge)


def classes(seed=2, noise=1.0):
    rng = np.random.default_rng(seed)
    x = variants.features() / variants.FEATURES
    return np.argmax(x @ rng.normal(size=(variants.D, 3)) + noise * rng.gumbel(size=(variants.N, 3)), 1)


@pytest.fixture(scope="module")
def problems():
    return variants.batch((classes() == 0).astype(np.float32), ALPHA, flat=np.ones(variants.N))


def test_squared_hinge_agrees_with_a_float64_trust_region(problems):
    variants.check_oracle(free(*problems), problems, oracle.squared_hinge, 2e-5)


def test_penalised_intercept_agrees_with_a_float64_trust_region(problems):
    names = tuple(name for name in variants.NAMES[:9] if name != "shifted")  # its answer does depend on the origin
    variants.check_oracle(
        bound(*problems), problems, lambda *p: oracle.squared_hinge(*p, penalise_intercept=True), 1e-4, names
    )


def test_hinge_reaches_the_minimum_of_a_float64_quadratic_program(problems):
    found = hinge(*problems)
    variants.check_oracle(found, problems, oracle.hinge, 2e-3)
    for name in ("base", "weighted", "lopsided"):
        x, y, alpha, weights = variants.kept(problems, name)
        ours = variants.pick(found, name)
        least = oracle.hinge_objective(x, y, alpha, weights, *(a[..., 0] for a in oracle.hinge(x, y, alpha, weights)))
        level = ours.level[0] - np.float64(ours.centre) @ ours.weight[:, 0]
        reached = oracle.hinge_objective(x, y, alpha, weights, np.float64(ours.weight[:, 0]), level)
        assert abs(reached / least - 1) < 3e-6


def test_known_transformations(problems):
    variants.check_invariances(free(*problems), 1e-4)
    variants.check_invariances(hinge(*problems), 3e-3)


def test_agrees_with_scikit_learn(problems):
    sk = pytest.importorskip("sklearn.svm")
    x, y, alpha, weights = variants.kept(problems, "weighted")
    pairs = (
        (bound, sk.LinearSVC(C=1 / alpha, tol=1e-10, max_iter=100_000, dual=False), 1e-4),
        (hinge, sk.SVC(kernel="linear", C=1 / alpha, tol=1e-8), 3e-3),
    )
    for fit, peer, tol in pairs:
        theirs, ours = peer.fit(x, y, sample_weight=weights), variants.pick(fit(*problems), "weighted")
        np.testing.assert_allclose(ours.weight[:, 0], theirs.coef_[0], rtol=0, atol=tol)
        np.testing.assert_allclose(ours.bias, theirs.intercept_, rtol=0, atol=tol)


def test_one_class_and_rows_that_are_no_numbers_are_flagged(problems):
    for fit in (free, hinge):
        found = fit(*problems)
        variants.check_nan(found)
        only = variants.pick(found, "flat")
        assert not only.converged
        np.testing.assert_allclose(only.weight, 0, atol=1e-6)
        np.testing.assert_allclose(only.level, 1, atol=1e-3)


def test_labels_that_are_not_0_or_1_give_nan(problems):
    y = problems.y.copy()
    y[0, 0], y[1, 0] = -1, 0.5
    for fit in (free, hinge):
        assert np.isnan(fit(*problems._replace(y=y)).weight[:2]).all()


def test_one_versus_rest_is_liblinear_with_balanced_classes():
    sk = pytest.importorskip("sklearn.svm")
    x, c = variants.features(), classes()
    one_hot = jax.nn.one_hot(c, 3)
    weights = 1 + one_hot * (svm.balanced(jnp.asarray(c), 3)[:, None] - 1)
    ours = jax.jit(lambda x, y, w: svm.one_versus_rest(penalised, x, y, ALPHA, weights=w))(x, one_hot, weights)
    theirs = sk.LinearSVC(C=1 / ALPHA, class_weight="balanced", tol=1e-10, dual=False).fit(np.float64(x), c)
    assert ours.converged
    np.testing.assert_allclose(ours.weight, theirs.coef_.T, rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours.bias, theirs.intercept_, rtol=0, atol=1e-4)
    np.testing.assert_allclose(accuracy(predict(ours, jnp.asarray(x)), jnp.asarray(c)), theirs.score(x, c), atol=1e-6)


def test_one_versus_rest_is_a_loop_over_classes():
    x, c = variants.features(), classes()
    one_hot = np.eye(3, dtype=np.float32)[c]
    weights = np.random.default_rng(0).uniform(0.5, 2, (variants.N, 3)).astype(np.float32)
    ours = svm.one_versus_rest(jax.jit(svm.fit_hinge), x, one_hot, ALPHA, weights=weights)
    margins = predict(ours, jnp.asarray(x))
    for k in range(3):
        alone = jax.jit(svm.fit_hinge)(x, one_hot[:, k], ALPHA, weights=weights[:, k])
        np.testing.assert_allclose(margins[:, k], predict(alone, jnp.asarray(x))[:, 0], rtol=0, atol=2e-3)


def test_balanced_classes_weigh_the_same():
    c = jnp.asarray([0, 0, 0, 1, 2, 2])
    np.testing.assert_allclose(svm.balanced(c, 3), [2 / 3] * 3 + [2] + [1] * 2, rtol=1e-6)
    weights = jnp.asarray([1.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(svm.balanced(c, 3, weights=weights), [5 / 6, 5 / 6, 0, 5 / 3, 5 / 6, 5 / 6], rtol=1e-6)


def test_more_features_than_rows_and_no_overlap():
    """The hard margin: for alpha small enough every margin is at least 1, and the nearest rows are at 1 exactly."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(12, 40)).astype(np.float32)
    y = np.arange(12) % 2
    found = jax.jit(svm.fit_hinge)(x, y, 1e-3)
    assert found.converged
    weight, bias = oracle.hinge(x, y, 1e-3, np.ones(12))
    np.testing.assert_allclose(predict(found, jnp.asarray(x)), variants.outputs(weight, bias, x), atol=2e-3)
    # no component outside the span of the rows: the penalty would see it
    span = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:11]
    np.testing.assert_allclose(found.weight - span.T @ (span @ found.weight), 0, atol=1e-6)


def test_bad_arguments_are_named():
    x, y = np.ones((4, 2), np.float32), np.ones(4, np.float32)
    with pytest.raises(ValueError, match="alpha=0"):
        svm.fit_hinge(x, y, 0.0)
    with pytest.raises(ValueError, match="alpha=-1"):
        svm.fit(x, y, -1.0)
    with pytest.raises(AssertionError):
        svm.fit(x, np.ones((4, 2)), 1.0)
    with pytest.raises(AssertionError):
        svm.one_versus_rest(svm.fit, x, y, 1.0)
