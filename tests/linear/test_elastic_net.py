"""The elastic net against a bounded float64 solver, optimality conditions, ridge, scikit-learn and transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.linear import elastic_net
from tests.linear import variants
from tests.oracles import linear as oracle


@jax.jit
def many(x, y, alpha, ratio, weights):
    return jax.vmap(lambda x, y, a, r, w: elastic_net.fit(x, y, a, l1_ratio=r, weights=w))(x, y, alpha, ratio, weights)


def lasso(x, y, alpha, weights):
    return many(x, y, alpha, np.ones_like(alpha), weights)


def mixed(x, y, alpha, weights):
    return many(x, y, alpha, np.full_like(alpha, 0.5), weights)


def targets():
    rng = np.random.default_rng(2)
    return (variants.features() @ [1.0, 0, 0.5, 0, -0.3] + rng.normal(size=variants.N)).astype(np.float32)


@pytest.fixture(scope="module")
def problems():
    return variants.batch(targets(), 0.2, flat=np.full(variants.N, 2.5), power=1)


def test_agrees_with_a_bounded_float64_solver(problems):
    well = tuple(name for name in variants.NAMES[:9] if name != "lopsided")
    variants.check_oracle(
        lasso(*problems), problems, lambda x, y, a, w: oracle.elastic_net(x, y, a, 1.0, w), 1e-4, well
    )
    variants.check_oracle(
        mixed(*problems), problems, lambda x, y, a, w: oracle.elastic_net(x, y, a, 0.5, w), 1e-4, well
    )


def test_known_transformations(problems):
    found = lasso(*problems)
    variants.check_invariances(found, 1e-4)
    variants.check_nan(found)
    flat = variants.pick(found, "flat")
    assert flat.converged
    np.testing.assert_allclose(flat.weight, 0, atol=1e-6)
    np.testing.assert_allclose(flat.level, 2.5, atol=1e-6)


def test_optimality_conditions_of_the_lasso(problems):
    """Correlations with the residual are alpha where a weight is not zero, and at most alpha elsewhere."""
    for name in ("base", "weighted", "collinear"):
        x, y, alpha, weights = variants.kept(problems, name)
        found = variants.pick(lasso(*problems), name)
        rest = y - variants.at(found, x)[:, 0]
        share = weights / weights.sum()
        pull = (x - share @ x).T @ (share * rest)
        weight = found.weight[:, 0]
        np.testing.assert_allclose(pull[weight != 0], alpha * np.sign(weight[weight != 0]), rtol=1e-4)
        assert (np.abs(pull[weight == 0]) <= alpha * (1 + 1e-4)).all()
        np.testing.assert_allclose(share @ rest, 0, atol=1e-5)


def test_agrees_with_scikit_learn(problems):
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y, alpha, weights = variants.kept(problems, "weighted")
    for fit, ratio in ((lasso, 1.0), (mixed, 0.5)):
        theirs = linear_model.ElasticNet(alpha=alpha, l1_ratio=ratio, tol=1e-12, max_iter=10**5)
        theirs = theirs.fit(x, y, sample_weight=weights)
        ours = variants.pick(fit(*problems), "weighted")
        np.testing.assert_allclose(ours.weight[:, 0], theirs.coef_, rtol=0, atol=1e-4)
        np.testing.assert_allclose(ours.bias, theirs.intercept_, rtol=0, atol=1e-4)


def test_without_l1_it_is_ridge_at_n_times_the_penalty(problems):
    x, y, alpha, weights = problems
    found = variants.pick(many(x, y, alpha, np.zeros_like(alpha), weights), "base")
    assert found.converged
    theirs = oracle.ridge(x[0], y[0][:, None], variants.N * alpha[0], weights[0])[0]
    np.testing.assert_allclose(found.weight, theirs, rtol=0, atol=2e-3)


def test_a_penalty_above_the_largest_correlation_leaves_nothing(problems):
    x, y, alpha, _ = problems
    largest = np.abs((x[0] - x[0].mean(0)).T @ (y[0] - y[0].mean())).max() / variants.N
    for share, count in ((1.001, 0), (0.99, 1)):
        found = variants.pick(lasso(*problems._replace(alpha=np.full_like(alpha, share * largest))), "base")
        assert (found.weight != 0).sum() == count
        assert found.converged


def test_the_duality_gap_bounds_the_distance_from_the_minimum(problems):
    rng = np.random.default_rng(0)
    x = (variants.features() - variants.features().mean(0)) / np.sqrt(variants.N)
    y = (targets() - targets().mean())[:, None] / np.sqrt(variants.N)
    best = np.float64(oracle.elastic_net(variants.features(), targets(), 0.2, 0.5, np.ones(variants.N))[0])

    def value(weight):
        return 0.5 * ((y - x @ weight) ** 2).sum() + 0.1 * np.abs(weight).sum() + 0.05 * (weight**2).sum()

    for scale in (0, 1e-3, 0.1, 1):
        weight = best + scale * rng.normal(size=best.shape)
        rest = y - x @ weight
        gap = elastic_net.duality_gap(*(jnp.asarray(a, jnp.float32) for a in (weight, rest, x.T @ rest, 0.1, 0.1)))
        assert gap[0] >= value(weight) - value(best) - 1e-6
        if scale == 0:
            assert gap[0] < 1e-5


def test_targets_together_equal_targets_apart(problems):
    x, y = problems.x[0], problems.y[0]
    both = jax.jit(elastic_net.fit)(x, np.stack([y, y[::-1]], 1), 0.1)
    assert both.converged
    for k, target in enumerate((y, y[::-1])):
        alone = variants.pick(
            lasso(*problems._replace(y=np.tile(target, (11, 1)), alpha=np.full(11, 0.1, np.float32))), "base"
        )
        np.testing.assert_allclose(both.weight[:, k], alone.weight[:, 0], rtol=0, atol=1e-4)


def test_what_does_not_converge_says_so(problems):
    lopsided = variants.pick(lasso(*problems._replace(alpha=np.full_like(problems.alpha, 1e-6))), "lopsided")
    unbounded = variants.pick(lasso(*problems._replace(alpha=np.zeros_like(problems.alpha))), "base")
    assert not unbounded.converged  # at alpha = 0 there is no dual bound: ridge is for that
    assert lopsided.converged == (lopsided.gap < 1e-6)
    rng = np.random.default_rng(0)
    wide, y = rng.normal(size=(12, 30)).astype(np.float32), rng.normal(size=12).astype(np.float32)
    fit = jax.jit(elastic_net.fit, static_argnames="steps")
    assert not fit(wide, y, 0.05, steps=2).converged
    found = fit(wide, y, 0.05)
    assert found.converged
    assert (found.weight != 0).sum() <= 12


def test_bad_arguments_are_named():
    x, y = np.ones((4, 2), np.float32), np.ones(4, np.float32)
    with pytest.raises(ValueError, match="alpha=-1"):
        elastic_net.fit(x, y, -1.0)
    with pytest.raises(ValueError, match=r"l1_ratio=1\.5"):
        elastic_net.fit(x, y, 1.0, l1_ratio=1.5)
    with pytest.raises(AssertionError):
        elastic_net.fit(x, y, np.ones(2))
