import builtins

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.vae.metrics import importance as metrics
from interp_jax.vae.metrics import trees
from tests.oracles import disentanglement as oracle
from tests.vae.metrics import codes as make

SIZES = (4, 2, 5)
TRAIN, TEST = make.factors(300, SIZES, 0), make.factors(200, SIZES, 1)
score = jax.jit(lambda m: metrics.dci_from_importance(m, 0.0, 0.0))
in_trees = jax.jit(lambda *args: metrics.dci_trees(*args, SIZES, bins=8, stages=5))
in_lasso = jax.jit(metrics.dci_lasso)


def with_noise(drawn, size=0.2, seed=0):
    """Three noisy latents and one of noise alone."""
    noise = np.random.default_rng(seed).normal(size=(len(drawn), 4))
    clean = np.concatenate([make.standard(drawn, SIZES), np.zeros((len(drawn), 1))], 1)
    return (clean + size * noise).astype(np.float32)


def test_scores_of_known_matrices():
    eye = np.eye(4, 3, dtype=np.float32)
    for matrix in (eye, 3 * eye[[2, 3, 0, 1]], np.concatenate([eye[:3], eye[:1]]) / np.array([2, 1, 1])):
        found = score(matrix.astype(np.float32))
        np.testing.assert_allclose(found.disentanglement, 1, atol=1e-6)
    np.testing.assert_allclose(score(eye).completeness, 1, atol=1e-6)
    assert jnp.isnan(score(eye).latents[3])
    flat = score(np.ones((4, 3), np.float32))
    np.testing.assert_allclose([flat.disentanglement, flat.completeness], 0, atol=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(3):
        matrix = rng.exponential(size=(4, 3)) ** 2
        found = score(matrix.astype(np.float32))
        np.testing.assert_allclose([found.disentanglement, found.completeness], oracle.dci(matrix), atol=1e-6)


def test_undefined_matrices():
    zero = np.zeros((4, 3), np.float32)
    assert jnp.isnan(score(zero).disentanglement)
    assert metrics.dci_from_importance(jnp.asarray(zero), 0.0, 0.0, undefined=0.0).completeness == 0
    assert jnp.isnan(score(zero - 1).disentanglement)
    assert jnp.isnan(score(np.ones((4, 1), np.float32)).disentanglement)
    assert jnp.isnan(score(np.ones((1, 3), np.float32)).completeness)


@pytest.mark.parametrize("stages", [pytest.param(1, marks=pytest.mark.slow), 20])
def test_trees_are_scikit_learns_where_bins_hold_every_value(stages):
    peer = pytest.importorskip("sklearn.ensemble")
    rng = np.random.default_rng(1)
    # odd numbers of rows and values far apart: no two splits tie
    cuts = np.clip(np.round(2 * with_noise(TRAIN, 0.5) + 6 + 0.1 * rng.normal(size=(300, 4))), 0, 15).astype(np.int32)
    run = jax.jit(lambda c, f: trees.boost(c, f, c, f, SIZES, bins=16, stages=stages, rate=0.1))
    found = run(cuts, TRAIN)
    for i in range(3):
        model = peer.GradientBoostingClassifier(n_estimators=stages, random_state=0).fit(cuts, TRAIN[:, i])
        np.testing.assert_allclose(found.importance[:, i], model.feature_importances_, atol=0.01)
        np.testing.assert_allclose(found.train[i], model.score(cuts, TRAIN[:, i]), atol=0.011)
    np.testing.assert_array_equal(found.train, found.test)


def test_perfect_and_spoilt_codes():
    clean = [np.concatenate([make.perfect(f), 0 * f[:, :1]], 1).astype(np.float32) for f in (TRAIN, TEST)]
    for run in (in_trees, in_lasso):
        found = run(clean[0], TRAIN, clean[1], TEST)
        assert found.disentanglement > 0.9
        assert found.completeness > 0.9
        assert jnp.isnan(found.latents[3])
        assert found.test > 0.95
    turned = [np.concatenate([make.standard(f, SIZES) @ make.rotation(), 0 * f[:, :1]], 1) for f in (TRAIN, TEST)]
    noise = [make.random(f, 4, seed) for f, seed in ((TRAIN, 5), (TEST, 6))]
    for run in (in_trees, in_lasso):
        spread = run(turned[0].astype(np.float32), TRAIN, turned[1].astype(np.float32), TEST)
        assert spread.disentanglement < 0.6
        assert run(noise[0], TRAIN, noise[1], TEST).test < 0.5


def test_an_increasing_function_of_a_latent_changes_no_tree():
    train, test = with_noise(TRAIN), with_noise(TEST, seed=1)
    found, other = in_trees(train, TRAIN, test, TEST), in_trees(np.exp(2 * train), TRAIN, np.exp(2 * test), TEST)
    np.testing.assert_allclose(found.importance, other.importance, atol=1e-6)
    np.testing.assert_allclose(found.test, other.test)


def test_lasso_agrees_with_the_oracle_and_ignores_units():
    train, test = with_noise(TRAIN), with_noise(TEST, seed=1)
    found = in_lasso(train, TRAIN, test, TEST)
    x, y = (np.float64(a) for a in (train, TRAIN))
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean(0)) / y.std(0)
    want = np.abs(np.stack([oracle.lasso(x, column, 0.01, 200) for column in y.T], 1))
    np.testing.assert_allclose(found.importance, want, atol=1e-4)
    moved = in_lasso(5 - 30 * train, TRAIN, 5 - 30 * test, TEST)
    np.testing.assert_allclose(moved.importance, found.importance, atol=1e-4)


def test_values_that_are_not_finite_give_nan():
    broken = with_noise(TRAIN)
    broken[0, 0] = np.nan
    for run in (in_trees, in_lasso):
        assert jnp.isnan(run(broken, TRAIN, with_noise(TEST), TEST).disentanglement)


def test_the_reference_on_the_host():
    pytest.importorskip("sklearn")
    clean = [np.concatenate([make.perfect(f), 0 * f[:, :1]], 1).astype(np.float32) for f in (TRAIN, TEST)]
    found = metrics.dci(clean[0], TRAIN, clean[1], TEST, stages=3)
    assert found.disentanglement > 0.99
    assert found.test > 0.99
    flat = TRAIN.copy()
    flat[:, 1] = 0
    assert jnp.isnan(metrics.dci(clean[0], flat, clean[1], TEST, stages=1).test)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def blocked(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(ImportError, match=r"interp_jax\[sklearn\]"):
        metrics.dci(np.zeros((4, 2)), TRAIN[:4], np.zeros((4, 2)), TRAIN[:4])


@pytest.mark.slow
def test_trees_rank_codes_as_the_reference_does():
    """Twenty codes between clean and mixed: disentanglement of 10 stages against scikit-learn's 100."""
    stats = pytest.importorskip("scipy.stats")
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    ours, theirs = [], []
    for share in np.linspace(0, 1, 20):
        mix = np.eye(3) + share * rng.normal(size=(3, 3))
        train, test = ((make.standard(f, SIZES) @ mix + 0.2 * rng.normal(size=(len(f), 3))).astype(np.float32)
                       for f in (TRAIN, TEST))  # fmt: skip
        ours.append(metrics.dci_trees(train, TRAIN, test, TEST, SIZES).disentanglement)
        theirs.append(metrics.dci(train, TRAIN, test, TEST).disentanglement)
    assert stats.spearmanr(ours, theirs).statistic > 0.9
