"""Ridge regression against float64 least squares, scikit-learn, known transformations and finite differences."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.linear import ridge
from interp_jax.linear.fits import predict
from tests.linear import variants
from tests.oracles import linear as oracle

ALPHA = 0.7


def batched(method):
    return jax.jit(jax.vmap(lambda x, y, a, w: ridge.fit(x, y, a, weights=w, method=method)))


by_svd, by_gram = batched(ridge.svd), batched(ridge.gram)


@jax.jit
def fold_moments(x, y):
    return jax.vmap(ridge.moments)(x, y)


@jax.jit
def without(parts, keep):
    return jax.vmap(lambda keep: ridge.fit_moments(ridge.combine(parts, keep), 0.3))(keep)


def ridge64(x, y, alpha, weights):
    return oracle.ridge(x, y[:, None], alpha, weights)


@pytest.fixture(scope="module")
def problems():
    rng = np.random.default_rng(2)
    x = variants.features()
    y = x @ rng.normal(size=variants.D) / 3 + rng.normal(size=variants.N)
    return variants.batch(y.astype(np.float32), ALPHA, flat=np.full(variants.N, 2.5))


def ill(condition, n=200, d=32, seed=0):
    """Rows whose singular values run from 1 to 1 / condition, and targets that depend on all of them."""
    rng = np.random.default_rng(seed)
    u, v = np.linalg.qr(rng.normal(size=(n, d)))[0], np.linalg.qr(rng.normal(size=(d, d)))[0]
    x = (u * np.geomspace(1, 1 / condition, d) @ v.T * np.sqrt(n)).astype(np.float32)
    y = np.sqrt(n) * u @ rng.normal(size=(d, 2)) / np.sqrt(d) + 0.5 * rng.normal(size=(n, 2))
    return x, y.astype(np.float32)


def worst(fit, x, y, alpha):
    """Give the largest error of a prediction, in standard deviations of y."""
    theirs = variants.outputs(*oracle.ridge(x, y, alpha, np.ones(len(x))), x)
    return np.max(np.abs(variants.at(fit, np.float64(x)) - theirs) / y.std(0))


def test_both_methods_agree_with_float64_least_squares(problems):
    variants.check_oracle(by_svd(*problems), problems, ridge64, 1e-5)
    well = tuple(name for name in variants.NAMES[:9] if name != "lopsided")
    variants.check_oracle(by_gram(*problems), problems, ridge64, 1e-5, well)


def test_known_transformations(problems):
    variants.check_invariances(by_svd(*problems), 1e-5)
    variants.check_nan(by_svd(*problems))
    flat = variants.pick(by_svd(*problems), "flat")
    np.testing.assert_allclose(flat.weight, 0, atol=1e-6)
    np.testing.assert_allclose(flat.bias, 2.5, atol=1e-6)


def test_agrees_with_scikit_learn(problems):
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y, alpha, weights = variants.kept(problems, "weighted")
    theirs = linear_model.Ridge(alpha, solver="cholesky").fit(x, y, sample_weight=weights)
    ours = variants.pick(by_svd(*problems), "weighted")
    np.testing.assert_allclose(ours.weight[:, 0], theirs.coef_, rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours.bias, theirs.intercept_, rtol=0, atol=1e-5)


def test_float32_holds_condition_numbers_that_a_gram_matrix_cannot():
    fit = jax.jit(lambda x, y, a: (ridge.fit(x, y, a), ridge.fit(x, y, a, method=ridge.gram)))
    for condition, least in ((1e2, 1e-5), (1e4, 1e-3), (1e5, 1e-2)):
        x, y = ill(condition)
        stable, fast = fit(x, y, 0.0)
        assert stable.converged
        assert worst(stable, x, y, 0.0) < least
        assert fast.converged == (condition < 1e3)
        assert not fast.converged or worst(fast, x, y, 0.0) < 1e-4
    x, y = ill(1e6)
    assert not fit(x, y, 0.0)[0].converged
    assert worst(fit(x, y, 1e-6 * len(x))[0], x, y, 1e-6 * len(x)) < 1e-4


def test_least_squares_of_deficient_rank_has_least_norm():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 4)).astype(np.float32)
    x = np.concatenate([x, 3 * x[:, :1], x[:, 1:2] + x[:, 2:3], np.ones((50, 1), np.float32)], 1)
    y = rng.normal(size=(50, 1)).astype(np.float32)
    found = jax.jit(ridge.fit)(x, y, 0.0)
    theirs = np.linalg.lstsq(x - np.float64(x).mean(0), y - y.mean(0), rcond=1e-5)[0]
    np.testing.assert_allclose(found.weight, theirs, rtol=0, atol=1e-6)
    assert found.converged


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_more_features_than_rows(alpha):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 30)).astype(np.float32), rng.normal(size=(12, 2)).astype(np.float32)
    found = jax.jit(ridge.fit)(x, y, alpha)
    assert found.converged
    assert worst(found, x, y, max(alpha, 1e-9)) < 1e-5


def test_one_penalty_a_target_equals_fits_apart():
    x, y = ill(100.0)
    fit = jax.jit(ridge.fit)
    both = fit(x, y, jnp.asarray([0.1, 10.0]))
    for k, alpha in enumerate((0.1, 10.0)):
        alone = fit(x, y, jnp.full(2, alpha))
        np.testing.assert_allclose(both.weight[:, k], alone.weight[:, k], rtol=1e-5, atol=1e-7)


def test_a_path_is_one_factorisation_and_equals_a_loop():
    x, y = ill(100.0)
    alphas = jnp.logspace(-3, 3, 5)
    path = jax.vmap(lambda alpha: ridge.fit(x, y, alpha))
    text = str(jax.make_jaxpr(path)(alphas))
    assert text.count("= qr[") + text.count("= geqrf") == 1
    assert f"f32[5,{x.shape[0]},{x.shape[0]}]" not in text
    traced = jax.jit(chex.assert_max_traces(ridge.fit, n=1))
    found = jax.jit(path)(alphas)
    for i, alpha in enumerate(alphas):
        np.testing.assert_allclose(found.weight[i], traced(x, y, alpha).weight, rtol=1e-4, atol=1e-5)


def test_moments_of_folds_give_the_fits_without_each_fold():
    x, y = ill(10.0)
    x = x + 100
    parts = fold_moments(x.reshape(5, 40, -1), y.reshape(5, 40, -1))
    found = without(parts, 1 - jnp.eye(5))
    for fold in range(5):
        rest = np.arange(200) // 40 != fold
        theirs = variants.outputs(*oracle.ridge(x[rest], y[rest], 0.3, np.ones(160)), x)
        ours = variants.at(jax.tree.map(lambda a, fold=fold: np.asarray(a[fold]), found), np.float64(x))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
    assert found.converged.all()


def test_moments_of_bad_rows_are_not_used():
    x, y = ill(10.0)
    x[-1] = np.nan
    found = without(fold_moments(x.reshape(5, 40, -1), y.reshape(5, 40, -1)), 1 - jnp.eye(5))
    assert np.isnan(found.weight[:4]).all()
    assert found.converged.tolist() == [False] * 4 + [True]


def test_derivatives_match_finite_differences():
    """Also at equal singular values, where derivatives of singular vectors do not exist."""
    x = np.concatenate([np.eye(4), -np.eye(4)]).astype(np.float32)
    y = np.random.default_rng(0).normal(size=(8, 1)).astype(np.float32)
    weights = np.linspace(0, 1, 8, dtype=np.float32)

    def out(x, y, alpha, weights):
        return jnp.sum(predict(ridge.fit(x, y, alpha, weights=weights), x[:2]) * jnp.asarray([[1.0], [-2.0]]))

    def out64(x, y, alpha, weights):
        keep = weights > 0
        weight, bias = oracle.ridge(x[keep], y[keep], alpha, weights[keep])
        return (variants.outputs(weight, bias, x[:2]) * [[1.0], [-2.0]]).sum()

    slopes = jax.jit(jax.grad(out, (0, 1, 2, 3)))(x, y, 0.5, weights)
    point, rng = [np.float64(a) for a in (x, y, 0.5, weights)], np.random.default_rng(1)
    for i in range(4):
        direction = rng.normal(size=point[i].shape) * (point[i] != 0 if i == 3 else 1)
        ahead, behind = ([*point[:i], point[i] + s * direction, *point[i + 1 :]] for s in (1e-5, -1e-5))
        slope = (out64(*ahead) - out64(*behind)) / 2e-5
        np.testing.assert_allclose(np.sum(slopes[i] * direction), slope, rtol=1e-3, atol=1e-5)


def test_bad_arguments_are_named():
    x, y = np.ones((4, 2), np.float32), np.ones(4, np.float32)
    with pytest.raises(ValueError, match="alpha=-1"):
        ridge.fit(x, y, -1.0)
    with pytest.raises(AssertionError):
        ridge.fit(x[:, 0], y, 1.0)
    with pytest.raises(AssertionError):
        ridge.fit(x, y[:3], 1.0)
    with pytest.raises(ValueError, match="broadcast"):
        ridge.fit(x, y, np.ones(3))


def test_penalties_and_weights_that_make_no_sense_give_nan(problems):
    alpha, weights = problems.alpha.copy(), problems.weights.copy()
    alpha[0], alpha[1], weights[2], weights[3, 5] = -1, np.nan, 0, -1
    found = by_svd(*problems._replace(alpha=alpha, weights=weights))
    assert np.isnan(found.weight[:4]).all()
    assert not found.converged[:4].any()
