"""Predictions of linearised models against training them, step by step, and against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.ntk import kernels, linearization, predictions, projections
from tests.ntk.nets import CASES


@pytest.fixture(autouse=True, scope="module")
def _double():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def problem():
    """A model, its training and test examples, targets, and its two kernels."""
    case = CASES["mlp"]()
    train, test = jax.random.normal(jax.random.key(5), (2, 6, 12))
    targets = jax.random.normal(jax.random.key(6), (6, 4))
    kernel, cross = jax.jit(
        lambda params: (
            kernels.empirical(case.apply, params, train), kernels.empirical(case.apply, params, test, train)
        )
    )(case.params)  # fmt: skip
    outputs = [jax.vmap(case.apply, (None, 0))(case.params, xs) for xs in (train, test)]
    return case, train, test, targets, kernel, cross, outputs


def test_descent_is_what_training_the_linearised_model_does(problem):
    case, train, test, targets, kernel, cross, (at_train, at_test) = problem
    lazy = linearization.linearize(case.apply, case.params)
    batch = jax.vmap(lazy, (None, 0))
    rate, steps, count = 0.5, 40, targets.size

    @jax.jit
    def trained(params):
        def step(params, _):
            gradient = jax.grad(lambda p: jnp.sum((batch(p, train) - targets) ** 2) / (2 * count))(params)
            return jax.tree.map(lambda p, g: p - rate * g, params, gradient), None

        params, _ = jax.lax.scan(step, params, None, steps)
        return batch(params, train), batch(params, test)

    want = trained(case.params)
    spectrum = predictions.decompose(kernel)
    weigh = predictions.gradient_descent(steps, rate, count)
    found = predictions.predict(spectrum, kernel, targets, weigh, initial=at_train, initial_cross=at_train)
    np.testing.assert_allclose(found, want[0], atol=1e-10)
    found = predictions.predict(spectrum, cross, targets, weigh, initial=at_train, initial_cross=at_test)
    np.testing.assert_allclose(found, want[1], atol=1e-10)


def test_flow_is_descent_in_small_steps_and_ends_where_interpolation_is(problem):
    _, _, _, targets, kernel, cross, _ = problem
    spectrum = predictions.decompose(kernel)
    flow = predictions.predict(spectrum, cross, targets, predictions.gradient_flow(3.0, 24))
    small = predictions.predict(spectrum, cross, targets, predictions.gradient_descent(300_000, 1e-5, 24))
    np.testing.assert_allclose(flow, small, atol=1e-4 * np.abs(flow).max())
    forever = predictions.predict(spectrum, cross, targets, predictions.gradient_flow(jnp.inf, 24))
    nearest = predictions.predict(spectrum, cross, targets, predictions.ridge(0.0))
    np.testing.assert_allclose(forever, nearest, rtol=1e-8)
    fitted = predictions.predict(spectrum, kernel, targets, predictions.ridge(0.0))
    np.testing.assert_allclose(fitted, targets, atol=1e-8)


@pytest.mark.parametrize("whole", [True, False])
def test_ridge_leave_one_out_and_posterior(problem, whole):
    _, _, _, targets, kernel, cross, _ = problem
    if not whole:
        kernel, cross = (jnp.trace(a, axis1=2, axis2=3) / 4 for a in (kernel, cross))
    outputs = 4 if whole else 1
    size = 6 * outputs
    matrix, other = (
        np.asarray(a).transpose(0, 2, 1, 3).reshape(size, size) if whole else np.asarray(a) for a in (kernel, cross)
    )
    alpha = 0.3
    y = np.asarray(targets).reshape(size, -1)
    weights = np.linalg.solve(matrix + alpha * np.eye(size), y)
    spectrum = predictions.decompose(kernel)
    found = predictions.predict(spectrum, cross, targets, predictions.ridge(alpha))
    np.testing.assert_allclose(found, (other @ weights).reshape(6, 4), rtol=1e-9)
    held = predictions.leave_one_out(kernel, targets, alpha)
    for i in range(6):
        rows = np.delete(np.arange(size), np.arange(i * outputs, (i + 1) * outputs))
        inner = np.linalg.solve(matrix[np.ix_(rows, rows)] + alpha * np.eye(len(rows)), y[rows])
        want = matrix[np.ix_(np.arange(i * outputs, (i + 1) * outputs), rows)] @ inner
        np.testing.assert_allclose(held[i], want.reshape(4), rtol=1e-8)
    covariance = predictions.posterior_covariance(spectrum, cross, kernel, alpha)
    want = matrix - other @ np.linalg.solve(matrix + alpha * np.eye(size), other.T)
    np.testing.assert_allclose(covariance, want, rtol=1e-8, atol=1e-10)


def test_largest_learning_rate_is_where_descent_turns(problem):
    _, _, _, targets, kernel, _, _ = problem
    spectrum = predictions.decompose(kernel)
    limit = predictions.largest_learning_rate(spectrum, 24)

    def left(rate):
        weigh = predictions.gradient_descent(4000, rate, 24)
        return np.abs(targets - predictions.predict(spectrum, kernel, targets, weigh)).max()

    assert left(0.99 * limit) < np.abs(targets).max()
    assert left(1.01 * limit) > 1e6
    np.testing.assert_allclose(predictions.largest_learning_rate(spectrum, 24, momentum=0.5), 1.5 * limit)


def test_seeds_are_an_axis(problem):
    _, _, _, targets, kernel, cross, _ = problem
    several = jax.vmap(lambda scale: predictions.decompose(scale * kernel))(jnp.array([1.0, 2.0]))
    run = jax.vmap(lambda s, c: predictions.predict(s, c, targets, predictions.ridge(0.1)))
    both = run(several, jnp.stack([cross, 2 * cross]))
    alone = predictions.predict(predictions.decompose(2 * kernel), 2 * cross, targets, predictions.ridge(0.1))
    np.testing.assert_allclose(both[1], alone, rtol=1e-9)


def test_taylor_terms_vanish_in_order():
    """The distance to the model falls like the step to the power of degree + 1 (on a smooth model)."""
    case = CASES["ntk_parameterisation"]()
    step = jax.tree.map(lambda a: jax.random.normal(jax.random.key(a.size), a.shape), case.params)
    run = jax.jit(
        lambda moved, x: [linearization.taylor(case.apply, case.params, degree)(moved, x) for degree in range(4)]
    )

    def gaps(size):
        moved = jax.tree.map(lambda p, s: p + size * s, case.params, step)
        want = case.apply(moved, case.xs[0])
        return [float(jnp.linalg.norm(found - want)) for found in run(moved, case.xs[0])]

    slopes = np.log(np.array(gaps(1e-2)) / np.array(gaps(1e-3))) / np.log(10)
    np.testing.assert_allclose(slopes, [1, 2, 3, 4], atol=0.15)


def test_projected_gradients_are_unbiased():
    case = CASES["ntk_parameterisation"]()
    xs = case.xs[:3]
    want = np.asarray(jax.jit(lambda params: kernels.empirical(case.apply, params, xs))(case.params))

    @jax.jit
    @jax.vmap
    def estimate(key):
        phi = jax.vmap(lambda x: projections.project(case.apply, case.params, x, key, 16))(xs)
        return jnp.einsum("nkd,mld->nmkl", phi, phi)

    found = np.asarray(estimate(jax.random.split(jax.random.key(0), 300)))
    errors = found.std(0, ddof=1) / 300**0.5
    assert np.abs((found.mean(0) - want) / errors).max() < 4.5
    diagonal = np.einsum("nnkk->nk", want)
    spread = (diagonal[:, None, :, None] * diagonal[None, :, None, :] + want**2) / 16
    np.testing.assert_allclose(found.var(0, ddof=1), spread, rtol=0.6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: predictions.ridge(-1.0), "want alpha >= 0"),
        (lambda: predictions.gradient_flow(1.0, 0), "count >= 1"),
        (lambda: predictions.gradient_descent(-1, 0.1, 3), "want steps >= 0"),
        (lambda: linearization.taylor(lambda p, x: x, 1.0, -1), "degree >= 0"),
        (
            lambda: projections.project(lambda p, x: x, {"w": jnp.ones(2)}, jnp.ones(2), jax.random.key(0), 0),
            "size >= 1",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
