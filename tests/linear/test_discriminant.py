"""Linear discriminants against scikit-learn, and against Bayes' rule by Gaussian densities in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from interp_jax.linear import discriminant
from interp_jax.linear.fits import predict


def problem(rows=90, dims=4, classes=3):
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(rows) % (classes + 1) % classes)
    x = rng.normal(size=(rows, dims)) @ rng.normal(size=(dims, dims)) + rng.normal(size=(classes, dims))[y] + 20
    return x.astype(np.float32), y, np.eye(classes, dtype=np.float32)[y]


def densities(x, y, covariance):
    """Give log p(class | x) from class densities and shares."""
    logs = [
        stats.multivariate_normal(x[y == c].mean(0), covariance).logpdf(x) + np.log((y == c).mean())
        for c in range(y.max() + 1)
    ]
    return special.log_softmax(np.stack(logs, 1), 1)


def test_lda_is_bayes_rule_of_gaussians_with_one_covariance():
    x, y, one_hot = problem()
    within = np.float64(x) - np.stack([np.float64(x[y == c]).mean(0) for c in range(3)])[y]
    found = jax.jit(discriminant.lda)(x, one_hot, 0.0)
    want = densities(np.float64(x), y, within.T @ within / len(x))
    np.testing.assert_allclose(jax.nn.log_softmax(predict(found, x), 1), want, atol=2e-4)
    shrunk = jax.jit(discriminant.lda)(x, one_hot, 30.0)
    want = densities(np.float64(x), y, (within.T @ within + 30 * np.eye(4)) / len(x))
    np.testing.assert_allclose(jax.nn.log_softmax(predict(shrunk, x), 1), want, atol=2e-4)
    assert found.converged


def test_lda_agrees_with_scikit_learn():
    module = pytest.importorskip("sklearn.discriminant_analysis")
    x, y, one_hot = problem()
    found = jax.jit(discriminant.lda)(x, one_hot, 0.0)
    theirs = module.LinearDiscriminantAnalysis(solver="lsqr").fit(x, y).predict(x)
    assert (np.argmax(predict(found, x), 1) == theirs).all()


def test_the_mass_mean_points_from_mean_to_mean():
    x, y, one_hot = problem()
    found = jax.jit(discriminant.mass_mean)(x, one_hot)
    between = x[y == 1].mean(0) - x[y == 0].mean(0)
    ours = found.weight[:, 1] - found.weight[:, 0]
    np.testing.assert_allclose(ours / np.linalg.norm(ours), between / np.linalg.norm(between), atol=1e-4)
    within = np.float64(x) - np.stack([np.float64(x[y == c]).mean(0) for c in range(3)])[y]
    want = densities(np.float64(x), y, np.eye(4) * (within**2).mean())
    np.testing.assert_allclose(jax.nn.log_softmax(predict(found, x), 1), want, atol=2e-4)


def test_rows_without_weight_and_classes_without_rows():
    x, _, one_hot = problem()
    x[0] = np.nan
    weights = np.ones(len(x), np.float32)
    weights[0] = 0
    found = jax.jit(lambda x, y, w: discriminant.lda(x, y, 1.0, weights=w))(x, one_hot, weights)
    alone = jax.jit(discriminant.lda)(x[1:], one_hot[1:], 1.0)
    np.testing.assert_allclose(found.weight, alone.weight, atol=1e-4)
    empty = discriminant.lda(jnp.asarray(x[1:]), jnp.pad(jnp.asarray(one_hot[1:]), ((0, 0), (0, 1))), 1.0)
    assert empty.level[3] == -jnp.inf
    assert not empty.converged
    np.testing.assert_allclose(empty.weight[:, :3], alone.weight, atol=1e-4)
    weights[0] = 1
    assert np.isnan(discriminant.lda(jnp.asarray(x), one_hot, 1.0).weight).all()
    with pytest.raises(ValueError, match="alpha=-1"):
        discriminant.lda(jnp.asarray(x), one_hot, -1.0)
