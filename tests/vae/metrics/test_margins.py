import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.vae.metrics import margins as metrics
from tests.oracles import disentanglement as oracle
from tests.vae.metrics import codes as make

SIZES = (4, 2, 5)
TRAIN, TEST = make.factors(400, SIZES, 0), make.factors(200, SIZES, 1)
sap = jax.jit(lambda *args: metrics.sap(*args, SIZES))


def spread(drawn, seed=0, noise=0.3):
    """Three noisy latents in odd units, and a dead one."""
    rng = np.random.default_rng(seed)
    clean = drawn * np.array([1.0, -2.5, 0.02]) + np.array([0, 30.0, 0])
    noisy = clean + noise * np.array([1.0, 2.5, 0.02]) * rng.normal(size=clean.shape)
    return np.concatenate([noisy, np.full((len(drawn), 1), 0.7)], 1).astype(np.float32)


CODES, TEST_CODES = spread(TRAIN), spread(TEST, 1)


def test_the_matrix_agrees_with_the_oracle():
    found = sap(CODES, TRAIN, TEST_CODES, TEST)
    want = oracle.sap_matrix(CODES, TRAIN, TEST_CODES, TEST, SIZES, 100.0)
    np.testing.assert_allclose(found.matrix, want, atol=0.0051)  # one of 200 test points
    top = np.sort(want, 0)[-2:]
    np.testing.assert_allclose(found.score, np.mean(top[1] - top[0]), atol=0.0051)


def test_lines_are_liblinears():
    peer = pytest.importorskip("sklearn.svm")
    fit = jax.jit(lambda x, y, two: metrics.fit_sorted(x, y, 5, 100.0, two))
    for d, f in ((0, 0), (1, 2), (2, 2), (1, 1)):
        order = np.argsort(CODES[:, d])
        x, y = CODES[order, d], TRAIN[order, f]
        lines = fit(x, y, SIZES[f] == 2)
        machine = peer.LinearSVC(C=0.01, class_weight="balanced", dual=False, tol=1e-10, max_iter=100_000)
        theirs = machine.fit(np.float64(x)[:, None], y)
        assert lines.converged
        kept = slice(1, 2) if SIZES[f] == 2 else slice(SIZES[f])
        np.testing.assert_allclose(lines.weight[kept], theirs.coef_[:, 0], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(lines.bias[kept], theirs.intercept_, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(lines.bias[SIZES[f] :], -np.inf)


def test_a_perfect_code_does_not_have_one():
    """Three classes of an ordered factor: the middle is on no side of a line, and a third is lost, a half of two."""
    perfect = [np.concatenate([make.standard(f, SIZES), 0 * f[:, :1]], 1).astype(np.float32) for f in (TRAIN, TEST)]
    found = sap(perfect[0], TRAIN, perfect[1], TEST)
    np.testing.assert_allclose(found.matrix[1, 1], 1)
    assert 0.2 < found.score < 0.8


def test_duplicated_dead_and_random_latents_have_no_gap():
    double, other = (np.concatenate([c[:, :3], c[:, :1]], 1) for c in (CODES, TEST_CODES))
    assert sap(double, TRAIN, other, TEST).each[0] == 0
    dead = sap(np.ones_like(CODES), TRAIN, np.ones_like(TEST_CODES), TEST)
    assert dead.score == 0
    shares = [np.isin(dead.matrix[0, f], np.mean(TEST[:, f, None] == np.arange(k), 0)) for f, k in enumerate(SIZES)]
    np.testing.assert_allclose([dead.matrix[3, f] for f in range(3)], dead.matrix[0])
    assert len(shares) == 3
    noise = make.random(TRAIN, 4), make.random(TEST, 4, 9)
    assert sap(noise[0], TRAIN, noise[1], TEST).score < 0.1


def test_sign_and_permutation_change_nothing():
    order = np.array([3, 1, 0, 2])
    found, other = sap(CODES, TRAIN, TEST_CODES, TEST), sap(-CODES[:, order], TRAIN, -TEST_CODES[:, order], TEST)
    np.testing.assert_allclose(found.matrix[order][1:], other.matrix[1:], atol=0.0051)
    np.testing.assert_allclose(found.score, other.score, atol=0.0051)


def test_values_that_are_not_finite_give_nan_and_bad_shapes_an_error():
    broken = CODES.copy()
    broken[3, 1] = np.inf
    assert jnp.isnan(sap(broken, TRAIN, TEST_CODES, TEST).score)
    with pytest.raises(ValueError, match="2 latents"):
        metrics.sap(CODES[:, :1], TRAIN, TEST_CODES[:, :1], TEST, SIZES)


def test_continuous_factors_by_squared_correlation():
    run = jax.jit(metrics.sap_continuous)
    values = TRAIN.astype(np.float32)
    found = run(CODES, values)
    want = np.corrcoef(CODES[:, :3].T, values.T)[:3, 3:] ** 2
    np.testing.assert_allclose(found.matrix[:3], want, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(found.matrix[3], 0)
    perfect = np.concatenate([-3 * values, values[:, :1] * 0], 1)
    np.testing.assert_allclose(run(perfect, values).score, 1, atol=0.05)
    values[:, 1] = 1
    np.testing.assert_array_equal(np.isnan(run(CODES, values).each), [False, True, False])
