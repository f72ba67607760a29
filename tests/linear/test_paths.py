"""Ridge paths against float64 fits of every training set by itself, and on features that float32 Grams cannot hold."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.linear import paths
from tests.linear.variants import at
from tests.oracles import ridge_paths as oracle

ALPHAS = np.geomspace(0.1, 1e3, 5)
FOLDS = 4


@functools.partial(jax.jit, static_argnames=("folds", "shared"))
def compiled(x, y, alphas, assigned, weights, folds, shared):
    return paths.k_fold(x, y, alphas, assigned, folds=folds, weights=weights, shared=shared)


def k_fold(x, y, alphas, assigned, weights, shared=False):
    return jax.tree.map(np.asarray, compiled(x, y, alphas, assigned, weights, FOLDS, shared))


def pick(fits, fold):
    return jax.tree.map(lambda leaf: leaf[fold], fits)


def problem(rows=150, dims=13, seed=0):
    """Give correlated features far from zero, two targets that want different penalties, weights with zeros, folds."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, dims)) @ rng.normal(size=(dims, dims)) + 20 * rng.normal(size=dims)
    y = np.stack([x[:, 0] - x[:, 1] + 3, 0.05 * x[:, 2] - 7], 1) + rng.normal(size=(rows, 2)) * [0.5, 4]
    weights = rng.uniform(0.2, 2, rows) * (rng.uniform(size=rows) < 0.8)
    return x, y, weights, rng.integers(FOLDS, size=rows)


def check(found, x, y, weights, assigned, tol):
    """Hold everything a path says against the oracle; errors in units of the targets' spread."""
    kept = weights > 0
    x, y, weights, assigned = x[kept], y[kept], weights[kept], assigned[kept]
    predicted = oracle.held_out(x, y, ALPHAS, assigned, weights)
    spread = y.var(0)
    np.testing.assert_allclose(found.errors / spread, oracle.errors(predicted, y, assigned, weights) / spread, atol=tol)
    r2 = oracle.r2(predicted, y, weights)
    np.testing.assert_allclose(found.r2, r2, atol=tol)
    np.testing.assert_array_equal(found.alpha, np.asarray(found.alphas)[r2.argmax(0)])
    for k in range(y.shape[1]):
        weight, bias = oracle.fit(x, y, float(found.alpha[k]), weights)
        np.testing.assert_allclose(at(found.fit, x)[:, k], (x @ weight + bias)[:, k], atol=tol * spread[k] ** 0.5)
        for fold in range(FOLDS):
            out = assigned == fold
            one = pick(found.without, fold)
            theirs = predicted[r2[:, k].argmax(), out, k]
            np.testing.assert_allclose(at(one, x[out])[:, k], theirs, atol=tol * spread[k] ** 0.5)
    assert found.fit.converged
    assert found.without.converged.all()


@pytest.mark.parametrize("weighted", [True, False])
def test_a_path_is_the_fit_of_every_training_set_to_1e_8(weighted):
    x, y, weights, assigned = problem()
    weights = weights if weighted else np.ones_like(weights)
    if weighted:
        x[weights == 0] = np.nan
    with jax.enable_x64(True):
        found = k_fold(x, y, ALPHAS, assigned, weights)
        assert found.fit.weight.dtype == jnp.float64
        check(found, x, y, weights, assigned, 1e-8)


def test_a_path_in_float32():
    x, y, weights, assigned = problem()
    x, y = np.float32(x), np.float32(y)
    check(
        k_fold(x, y, np.float32(ALPHAS), assigned, np.float32(weights)),
        np.float64(x),
        np.float64(y),
        weights,
        assigned,
        3e-5,
    )


def test_targets_want_penalties_of_their_own():
    x, y, weights, assigned = problem()
    alone = k_fold(x, y, ALPHAS, assigned, weights)
    shared = k_fold(x, y, ALPHAS, assigned, weights, shared=True)
    assert alone.alpha[0] != alone.alpha[1]
    assert shared.alpha[0] == shared.alpha[1] == shared.alphas[np.argmax(np.mean(shared.r2, 1))]


@pytest.mark.parametrize("case", ["duplicated", "constant", "wide"])
def test_degenerate_features(case):
    x, y, weights, assigned = problem(rows=40, dims=60) if case == "wide" else problem()
    if case == "duplicated":
        x[:, 3] = x[:, 4] = x[:, 0]
    if case == "constant":
        x[:, 2] = 5
    with jax.enable_x64(True):
        check(k_fold(x, y, ALPHAS, assigned, weights), x, y, weights, assigned, 1e-8)


def spectrum(name, dims):
    """Give singular values whose largest is 1 and whose condition number is 1e6."""
    if name == "geometric":
        return np.geomspace(1, 1e-6, dims)
    if name == "one giant":
        return np.r_[1, np.full(dims // 2, 5e-3), np.full(dims - 1 - dims // 2, 1e-6)]
    if name == "a quarter large":
        return np.r_[np.ones(dims // 4), np.full(dims - dims // 4 - 1, 2e-2), 1e-6]
    return np.r_[1 / np.arange(1, dims), 1e-6]


@pytest.mark.parametrize("name", ["geometric", "one giant", "a quarter large", "power"])
def test_float32_holds_condition_number_1e6_at_a_hundredth_of_the_mean_eigenvalue(name):
    rng = np.random.default_rng(0)
    rows, dims = 2000, 48
    left, right = np.linalg.qr(rng.normal(size=(rows, dims)))[0], np.linalg.qr(rng.normal(size=(dims, dims)))[0]
    values = spectrum(name, dims)
    x = np.float32(rows**0.5 * left * values @ right.T + 0.3)
    y = np.float32(rows**0.5 * left @ rng.normal(size=(dims, 2)) / dims**0.5 + 0.5 * rng.normal(size=(rows, 2)))
    assigned = np.arange(rows) % FOLDS
    mean = (np.float64(x - x.mean(0)) ** 2).sum() / dims
    for share in (0.01, 0.1, 1):
        alpha = np.float32(share * mean)
        found = k_fold(x, y, alpha[None], assigned, np.ones(rows, np.float32))
        theirs = oracle.held_out(x, y, [alpha], assigned, np.ones(rows))[0]
        ours = [at(pick(found.without, fold), x) for fold in range(FOLDS)]
        apart = np.take_along_axis(np.stack(ours), assigned[None, :, None], 0)[0] - theirs
        assert np.abs(apart / theirs.std(0)).max() < 2e-4
        assert found.fit.converged
    assert not k_fold(x, y, alpha[None] * np.float32(1e-7), assigned, np.ones(rows, np.float32)).fit.converged


def test_layers_are_vmap_and_the_program_is_traced_once():
    x, y, _, assigned = problem()
    xs = np.float32(np.stack([x, x[:, ::-1] ** 2 / 20]))
    traced = jax.jit(chex.assert_max_traces(lambda x: paths.k_fold(x, y, ALPHAS, assigned, folds=FOLDS), n=2))
    both = jax.jit(jax.vmap(lambda x: paths.k_fold(x, y, ALPHAS, assigned, folds=FOLDS)))(xs)
    for i in range(2):
        one = traced(xs[i])
        np.testing.assert_allclose(both.errors[i], one.errors, rtol=1e-3)
        np.testing.assert_array_equal(both.alpha[i], one.alpha)


def test_constant_targets_have_no_r2_and_a_flat_fit():
    x, y, weights, assigned = problem()
    y[:, 1] = 2.7
    found = k_fold(x, y, ALPHAS, assigned, weights)
    assert np.isnan(found.r2[:, 1]).all()
    assert found.alpha[1] == found.alphas[-1]
    np.testing.assert_allclose(at(found.fit, x[weights > 0])[:, 1], 2.7, rtol=1e-5)
    assert not np.isnan(found.r2[:, 0]).any()


def test_agrees_with_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y, _, assigned = problem()
    with jax.enable_x64(True):
        found = k_fold(x, y, ALPHAS, assigned, np.ones(len(x)))
    for i, alpha in enumerate(ALPHAS):
        for fold in range(FOLDS):
            out = assigned == fold
            theirs = linear_model.Ridge(alpha).fit(x[~out], y[~out]).predict(x[out])
            np.testing.assert_allclose(found.errors[i, fold], ((theirs - y[out]) ** 2).mean(0), rtol=1e-8)


def test_folds_keep_groups_together_and_are_even():
    groups = np.repeat(np.arange(30), np.arange(30) % 5 + 1)
    dealt = paths.folds(groups, 3, jax.random.key(0))
    assert all(len(set(dealt[groups == g])) == 1 for g in range(30))
    sizes = np.bincount(dealt)
    assert sizes.max() - sizes.min() <= 2
    assert (dealt != paths.folds(groups, 3, jax.random.key(1))).any()
    singles = paths.folds(np.arange(11), 4, jax.random.key(0))
    assert sorted(np.bincount(singles)) == [2, 3, 3, 3]


def test_bad_arguments_are_named():
    x, y, _, assigned = problem()
    with pytest.raises(ValueError, match="2 groups for count=3"):
        paths.folds(np.array([0, 0, 1]), 3, jax.random.key(0))
    with pytest.raises(ValueError, match="alphas > 0"):
        paths.k_fold(x, y, np.array([1.0, 0.0]), assigned, folds=FOLDS)
    with pytest.raises(ValueError, match="assigned"):
        paths.k_fold(x, y, ALPHAS, assigned, folds=2)
    x[3, 2] = np.nan
    with pytest.raises(ValueError, match=r"finite x.*the first 3"):
        paths.k_fold(x, y, ALPHAS, assigned, folds=FOLDS)


def test_traced_nan_gives_nan():
    x, y, weights, assigned = problem()
    weights[3] = 1
    x[3, 2] = np.nan
    found = k_fold(x, y, ALPHAS, assigned, weights)
    assert np.isnan(found.fit.weight).all()
    assert not found.fit.converged
    assert np.isnan(found.r2).all()


@jax.jit
def leave_one_out(x, y, alphas, weights):
    return paths.leave_one_out(x, y, alphas, weights=weights)


@pytest.mark.parametrize(("rows", "dims", "dtype"), [(40, 6, "float64"), (40, 60, "float64"), (40, 6, "float32")])
def test_leaving_one_out_is_a_fit_without_each_row(rows, dims, dtype):
    x, y, weights, _ = problem(rows, dims)
    x, y, tol = np.asarray(x, dtype), np.asarray(y, dtype), 1e-8 if dtype == "float64" else 1e-4
    with jax.enable_x64(dtype == "float64"):
        found = jax.tree.map(np.asarray, leave_one_out(x, y, ALPHAS, weights))
    kept = weights > 0
    predicted = np.full((len(ALPHAS), rows, 2), np.nan)
    for i, alpha in enumerate(ALPHAS):
        for row in range(rows):
            others = kept & (np.arange(rows) != row)
            weight, bias = oracle.fit(x[others], y[others], alpha, weights[others])
            predicted[i, row] = np.float64(x[row]) @ weight + bias
    spread = y[kept].var(0)
    lost = np.average((predicted[:, kept] - y[kept]) ** 2, axis=1, weights=weights[kept])
    np.testing.assert_allclose(found.errors / spread, lost / spread, rtol=tol, atol=tol)
    best = lost.argmin(0)
    theirs = np.stack([predicted[best[k], :, k] for k in range(2)], 1)
    np.testing.assert_allclose((found.predictions / spread**0.5)[kept], (theirs / spread**0.5)[kept], atol=tol)
    assert np.isnan(found.predictions[~kept]).all()
    np.testing.assert_allclose(found.r2, oracle.r2(predicted[:, kept], y[kept], weights[kept]), rtol=tol, atol=tol)
    for k in range(2):
        weight, bias = oracle.fit(x[kept], y[kept], ALPHAS[best[k]], weights[kept])
        apart = at(found.fit, np.float64(x))[:, k] - (x @ weight + bias)[:, k]
        assert np.abs(apart).max() < tol * spread[k] ** 0.5


def test_leaving_one_out_of_nan_is_nan_and_of_a_constant_target_has_no_r2():
    x, y, weights, _ = problem(40, 6)
    y[:, 1] = 5
    found = leave_one_out(x, y, ALPHAS, weights)
    assert np.isnan(found.r2[:, 1]).all()
    np.testing.assert_allclose(found.predictions[weights > 0, 1], 5, rtol=1e-5)
    x[np.argmax(weights > 0)] = np.nan
    found = leave_one_out(x, y, ALPHAS, weights)
    assert np.isnan(found.errors).all()
    assert not found.fit.converged
