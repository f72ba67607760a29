import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from interp_jax.vae.metrics import unsupervised as metrics
from tests.oracles import disentanglement as oracle

RNG = np.random.default_rng(0)
FACTOR = RNG.normal(size=(4, 4))
COVARIANCE = FACTOR @ FACTOR.T + 0.1 * np.eye(4)
BASE = RNG.normal(size=(500, 4)) @ (np.eye(4) + 0.3 * FACTOR)
# a model, itself permuted with other signs and units, one of noise, one whose last two latents are dead
MODELS = np.stack([
    BASE, BASE[:, [2, 0, 3, 1]] * np.array([-1, 5, 0.1, -2]), RNG.normal(size=BASE.shape),
    BASE * np.array([1, 1, 0, 0]),
]).astype(np.float32)  # fmt: skip
KL = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0.005]], np.float32)
by_lasso = jax.jit(metrics.udr)
by_rank = jax.jit(lambda codes, kl: metrics.udr(codes, kl, similarity=metrics.spearman))


def test_wasserstein_agrees_with_a_matrix_root():
    want = oracle.wasserstein(COVARIANCE)
    found = metrics.wasserstein_correlation(COVARIANCE)
    np.testing.assert_allclose(found.squared, want, rtol=1e-9)
    np.testing.assert_allclose(found.normalised, want / np.trace(COVARIANCE), rtol=1e-9)
    single = jax.jit(metrics.wasserstein_correlation)(jnp.asarray(COVARIANCE, jnp.float32))
    np.testing.assert_allclose(single.squared, want, atol=1e-5 * np.trace(COVARIANCE))
    np.testing.assert_allclose(metrics.wasserstein_correlation(7 * COVARIANCE).normalised, found.normalised)


def test_wasserstein_of_known_covariances():
    assert abs(metrics.wasserstein_correlation(np.diag([1.0, 5.0])).squared) < 1e-12
    pair = np.array([[1.0, 0.6], [0.6, 1.0]])  # roots of 1.6 and .4
    np.testing.assert_allclose(
        metrics.wasserstein_correlation(pair).squared, 4 - 2 * (np.sqrt(1.6) + np.sqrt(0.4)), rtol=1e-9
    )
    singular = metrics.wasserstein_correlation(np.ones((3, 3)))
    np.testing.assert_allclose(singular.squared, 6 - 2 * np.sqrt(3))
    kept = np.array([True, True, False])
    np.testing.assert_allclose(metrics.wasserstein_correlation(np.ones((3, 3)), kept).squared, 4 - 2 * np.sqrt(2))
    assert np.isnan(metrics.wasserstein_correlation(np.zeros((2, 2))).normalised)
    assert np.isnan(metrics.wasserstein_correlation(np.full((2, 2), np.nan)).squared)


def test_active_latents_by_kl_and_by_variance():
    mean = np.stack([RNG.normal(size=200), 1e-3 * RNG.normal(size=200)], 1).astype(np.float32)
    log_var = np.broadcast_to(np.float32([-3, 0]), mean.shape)
    np.testing.assert_array_equal(metrics.active_by_kl(mean, log_var), [True, False])
    np.testing.assert_array_equal(metrics.active_by_variance(mean), [True, False])


def matrix(a, b, how):
    a, b = ((m - m.mean(0)) / m.std(0) for m in (np.float64(a), np.float64(b)))
    if how == "lasso":
        return np.abs(np.stack([oracle.lasso(a, y, 0.1, 200) for y in b.T], 1))
    return np.abs(stats.spearmanr(a, b).statistic[: a.shape[1], a.shape[1] :])


@pytest.mark.parametrize(("run", "how"), [(by_lasso, "lasso"), (by_rank, "rank")])
def test_pairs_agree_with_the_oracle(run, how):
    pairs = run(MODELS, KL).pairs
    for i, j in ((0, 1), (1, 0), (0, 2), (2, 1), (0, 3), (3, 2)):
        a, b = (MODELS[k][:, KL[k] > 0.01] for k in (i, j))
        sums, counts = oracle.udr_pair(matrix(a, b, how))
        np.testing.assert_allclose(pairs[i, j], (sums[0] / counts[0] + sums[1] / counts[1]) / 2, atol=1e-4)


def test_mean_over_latents_of_both_as_in_the_paper():
    found = jax.jit(lambda c, k: metrics.udr(c, k, similarity=metrics.spearman, mean_of_means=False))(MODELS, KL)
    sums, counts = oracle.udr_pair(matrix(MODELS[0], MODELS[3][:, :2], "rank"))
    np.testing.assert_allclose(found.pairs[0, 3], sum(sums) / sum(counts), atol=1e-4)
    assert abs(found.pairs[0, 3] - by_rank(MODELS, KL).pairs[0, 3]) > 1e-3


def test_agreement_up_to_order_sign_and_units():
    orthogonal = np.linalg.qr(RNG.normal(size=(500, 4)))[0]
    twins = np.stack([orthogonal, orthogonal[:, ::-1] * np.array([-1, 5, 0.1, -2]), *RNG.normal(size=(2, 500, 4))])
    scores = by_lasso(twins.astype(np.float32), np.ones((4, 4), np.float32)).pairs
    np.testing.assert_allclose([scores[0, 1], scores[1, 0]], 0.9, atol=0.02)
    assert scores[0, 2] < 0.1
    np.testing.assert_array_equal(np.isnan(np.diagonal(scores)), True)


def test_a_score_is_the_median_over_the_models_that_predict_it():
    found = by_rank(MODELS, KL)
    others = np.asarray(found.pairs)[~np.eye(4, dtype=bool)].reshape(4, 3)
    want = [np.median(np.delete(np.asarray(found.pairs)[:, j], j)) for j in range(4)]
    np.testing.assert_allclose(found.score, want, rtol=1e-6)
    assert np.isfinite(others).all()


def test_passive_and_broken_models_are_undefined():
    kl = KL.copy()
    kl[2] = 0
    found = by_rank(MODELS, kl)
    np.testing.assert_array_equal(np.isnan(found.pairs[2]), True)
    np.testing.assert_array_equal(found.compared, [2, 2, 0, 2])
    np.testing.assert_array_equal(np.isnan(found.score), [False, False, True, False])
    np.testing.assert_allclose(found.score[3], np.median(found.pairs[jnp.array([0, 1]), 3]))
    broken = MODELS.copy()
    broken[1, 0, 0] = np.nan
    found = by_rank(broken, KL)
    np.testing.assert_array_equal(np.isnan(found.pairs[:, 1]), True)
    assert np.isfinite(found.pairs[0, 2])
    with pytest.raises(ValueError, match="2 models"):
        metrics.udr(MODELS[:1], KL[:1])
