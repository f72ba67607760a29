"""What every fit shares: prediction far from the origin, scores, and rows without weight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.linear.fits import LinearFit, accuracy, predict, prepare, r2


def some_fit(centre):
    rng = np.random.default_rng(0)
    weight, level = rng.normal(size=(3, 2)).astype(np.float32), rng.normal(size=2).astype(np.float32)
    zero = jnp.zeros(())
    return LinearFit(
        jnp.asarray(weight), jnp.asarray(level), jnp.asarray(centre, jnp.float32), zero == 0, jnp.int32(0), zero
    )


def test_predict_and_bias_are_one_map():
    fit, x = some_fit([1.0, -2, 3]), jnp.asarray(np.random.default_rng(1).normal(size=(7, 3)), jnp.float32)
    by_bias = x @ fit.weight + jnp.broadcast_to(fit.bias, (7, 2))
    np.testing.assert_allclose(predict(fit, x), by_bias, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(predict(fit, x[0]), predict(fit, x)[0], rtol=1e-6)
    stacked = jax.tree.map(lambda a: jnp.stack([a, a]), fit)
    np.testing.assert_allclose(stacked.bias, jnp.stack([fit.bias] * 2), rtol=1e-6)


def test_predict_keeps_its_digits_far_from_the_origin():
    """A thousand means away, `x @ weight + bias` has lost four digits; the centred form has lost none."""
    near, far = some_fit([0.0, 0, 0]), some_fit([8192.0, 8192, 8192])
    x = jnp.round(jnp.asarray(np.random.default_rng(1).normal(size=(7, 3)), jnp.float32) * 64) / 64
    np.testing.assert_array_equal(predict(far, x + 8192), predict(near, x))


def test_accuracy_counts_rows_by_weight_and_refuses_nan():
    outputs = jnp.asarray([[0.1, 0.9], [2.0, 1.0], [0.0, 1.0]])
    classes = jnp.asarray([1, 0, 0])
    assert accuracy(outputs, classes) == pytest.approx(2 / 3)
    assert accuracy(outputs, classes, weights=jnp.asarray([1.0, 1.0, 0.0])) == 1
    assert accuracy(outputs[:, 1:] - 0.5, classes) == pytest.approx(1 / 3)
    assert np.isnan(accuracy(outputs.at[0, 0].set(jnp.nan), classes))


def test_r2_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    y = rng.normal(size=(20, 2)).astype(np.float32) + 5
    guess, weights = y + rng.normal(size=(20, 2)).astype(np.float32), rng.integers(0, 3, 20).astype(np.float32)
    np.testing.assert_allclose(r2(guess, y), metrics.r2_score(y, guess, multioutput="raw_values"), rtol=1e-4)
    theirs = metrics.r2_score(y, guess, sample_weight=weights, multioutput="raw_values")
    ours = r2(jnp.asarray(guess).at[weights == 0].set(jnp.nan), y, weights=jnp.asarray(weights))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert np.isnan(r2(guess, np.ones_like(y))).all()


def test_rows_without_weight_may_hold_anything():
    x, y = np.ones((3, 2), np.float32), np.ones(3, np.float32)
    x[0, 0], y[1] = np.nan, np.inf
    assert not prepare(x, y, 1.0, None).valid
    assert not prepare(x, y, 1.0, np.asarray([0, 1, 1])).valid
    rows = prepare(x, y, 1.0, np.asarray([0, 0, 1]))
    assert rows.valid
    assert rows.y.shape == (3, 1)
    assert jnp.isfinite(rows.x).all()


@pytest.mark.parametrize("weights", [[1, -1, 1], [0, 0, 0], [1, np.nan, 1], [1, np.inf, 1]])
def test_weights_that_make_no_sense_are_not_valid(weights):
    assert not prepare(np.ones((3, 2)), np.ones(3), 1.0, np.asarray(weights, np.float32)).valid
