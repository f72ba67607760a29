"""The lasso from moments against that from rows; forward selection against trying every feature, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.linear import elastic_net, ridge, sparse
from interp_jax.linear.fits import predict
from tests.oracles import linear as oracle

N, D = 60, 6


@pytest.fixture(scope="module")
def rows():
    """Eight problems of correlated features 10 away from zero, of units that differ."""
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((8, N, D)) @ rng.standard_normal((8, D, D)) / 2 + rng.standard_normal((8, N, D))
    x = mixed * np.geomspace(0.3, 3, D) + 10
    y = x @ rng.standard_normal(D) + rng.standard_normal((8, N))
    return x.astype(np.float32), y.astype(np.float32)


@jax.jit
def lassos(x, y):
    def one(x, y):
        stats = ridge.moments(x, y)
        return jax.vmap(lambda a: sparse.lasso(stats, a))(jnp.array([0.03, 0.3, 3.0]))

    return jax.vmap(one)(x, y)


@jax.jit
def forwards(x, y, alpha):
    return jax.vmap(lambda x, y: sparse.forward(ridge.moments(x, y), D, alpha=alpha))(x, y)


def test_the_lasso_from_moments_is_that_from_rows(rows):
    found = lassos(*rows)
    theirs = jax.jit(jax.vmap(lambda x, y: jax.vmap(lambda a: elastic_net.fit(x, y, a))(jnp.array([0.03, 0.3, 3.0]))))(
        *rows
    )
    assert found.converged.all()
    np.testing.assert_allclose(found.weight, theirs.weight, atol=2e-3)
    outputs = jax.vmap(jax.vmap(predict, (0, None)))
    np.testing.assert_allclose(outputs(found, rows[0]), outputs(theirs, rows[0]), atol=3e-3)
    assert (np.asarray(found.weight[:, 2]) == 0).any()  # it is sparse


@pytest.mark.parametrize("alpha", [0.0, 20.0])
def test_forward_selection_is_the_best_of_trying_every_feature(rows, alpha):
    found = forwards(*rows, alpha)
    for i, (x, y) in enumerate(zip(*rows, strict=True)):
        weights, biases = oracle.forward(x, y, D, alpha)
        np.testing.assert_array_equal(np.asarray(found.weight[i]) != 0, weights != 0)
        np.testing.assert_allclose(found.weight[i], weights, atol=3e-3)
        fit = jax.tree.map(lambda leaf, i=i: leaf[i], found)
        np.testing.assert_allclose(predict(fit, x), x @ weights + biases, atol=5e-3)


def test_the_last_step_of_forward_selection_is_ridge_and_its_choice_does_not_see_units(rows):
    x, y = rows
    found = forwards(x, y, 20.0)
    whole = jax.jit(jax.vmap(lambda x, y: ridge.fit(x, y, 20.0)))(x, y)
    np.testing.assert_allclose(found.weight[:, :, -1:], whole.weight, atol=2e-3)
    scale = np.float32([4, 0.25, 1, 8, 2, 0.5])
    one, other = (np.asarray(forwards(each, y, 0.0).weight) for each in (x, x * scale))
    np.testing.assert_allclose(one, other * scale[:, None], atol=3e-3)


def test_what_says_nothing_is_never_chosen(rows):
    """A dead feature, a copy, and a target that no feature explains further."""
    x, y = rows[0][0], rows[1][0]
    short = np.stack([np.full(N, 3.0), x[:, 0], x[:, 0], x[:, 1]], 1).astype(np.float32)
    weight = np.asarray(jax.jit(lambda x, y: sparse.forward(ridge.moments(x, y), 4))(short, y).weight)
    assert (weight[0] == 0).all()
    assert (weight[1] == 0).all() or (weight[2] == 0).all()  # one of the two copies
    np.testing.assert_array_equal(weight[:, 2], weight[:, 3])  # two say all there is to say
    dead = sparse.forward(ridge.moments(short[:, :1], y), 1)
    assert dead.weight.item() == 0
    np.testing.assert_allclose(predict(dead, short[:, :1])[:, 0], y.mean(), rtol=1e-5)


def test_bad_values_are_named_or_give_nan(rows):
    stats = ridge.moments(rows[0][0], rows[1][0])
    with pytest.raises(ValueError, match="want 1 <= most <= 6"):
        sparse.forward(stats, 7)
    with pytest.raises(ValueError, match="alpha"):
        sparse.forward(stats, 1, alpha=-1.0)
    with pytest.raises(ValueError, match="alpha"):
        sparse.lasso(stats, -1.0)
    with pytest.raises(AssertionError):
        sparse.lasso(ridge.moments(rows[0][0], rows[0][0][:, :2]), 1.0)
    broken = ridge.moments(jnp.array(rows[0][0]).at[0, 0].set(jnp.nan), rows[1][0])
    for found in (sparse.lasso(broken, 1.0), sparse.forward(broken, 2)):
        assert np.isnan(found.weight).all()
        assert not found.converged.item()
