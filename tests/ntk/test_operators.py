"""Matrix-free products against the whole kernel, and the solvers and spectra that stand on them against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.ntk import kernels, operators, solvers, spectra
from tests.ntk.nets import CASES


@pytest.fixture(autouse=True, scope="module")
def _double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", ["cnn", "transformer", "recurrent", "odd_ones", "branches"])
def test_product_equals_the_kernel_times_a_vector(name):
    case = CASES[name]()
    few = jax.tree.map(lambda a: a[:3], case.xs)

    @jax.jit
    def run(params, xs, few):
        kernel = kernels.empirical(case.apply, params, xs, few)
        vectors = jax.random.normal(jax.random.key(0), (kernel.shape[1] * kernel.shape[3], 2))
        want = operators.dense(kernel) @ vectors
        found = [operators.operator(case.apply, params, xs, few, batch_size=size) @ vectors for size in (None, 2)]
        return want, found

    want, found = run(*case[1:], few)
    for each in found:
        np.testing.assert_allclose(each, want, atol=1e-12 * np.abs(want).max())


def matrix(seed, size=60, decay=0.8):
    """A symmetric matrix of a known spectrum, every value twice."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((size, size)))[0]
    values = np.repeat(decay ** np.arange(size // 2), 2)
    return (basis * values) @ basis.T, values


def test_conjugate_gradients_solve():
    a, _ = matrix(0)
    b = np.random.default_rng(1).standard_normal((60, 3))
    want = np.linalg.solve(a + 0.01 * np.eye(60), b)
    found = jax.jit(lambda b: solvers.conjugate_gradients(operators.dense(a), b, ridge=0.01, tolerance=1e-10))(b)
    np.testing.assert_allclose(found.x, want, atol=1e-7)
    residual = np.linalg.norm(b - (a + 0.01 * np.eye(60)) @ np.asarray(found.x), axis=0) / np.linalg.norm(b, axis=0)
    np.testing.assert_allclose(found.residual, residual, rtol=1e-3, atol=1e-14)
    assert found.converged


def test_not_converging_is_said():
    a, _ = matrix(0)
    found = solvers.conjugate_gradients(operators.dense(jnp.asarray(a)), jnp.ones(60), steps=2)
    assert not found.converged
    assert found.iterations == 2
    assert found.residual > 1e-5


def test_zero_has_the_solution_zero():
    a, _ = matrix(0)
    found = solvers.conjugate_gradients(operators.dense(jnp.asarray(a)), jnp.zeros(60))
    assert found.converged
    assert not found.x.any()


def test_nystrom_preconditioner_saves_products():
    """The condition number falls to about `(value R + ridge) / ridge`; the sketch lies below the matrix."""
    a, values = matrix(2)
    b, ridge = np.random.default_rng(3).standard_normal(60), 1e-2
    operator = operators.dense(jnp.asarray(a))
    sketch = solvers.nystrom(operator, jax.random.key(0), 40)
    low = (np.asarray(sketch.vectors) * np.asarray(sketch.values)) @ np.asarray(sketch.vectors).T
    assert np.linalg.eigvalsh(a - low).min() > -1e-10
    assert np.all(sketch.values[:10] < values[:10] + 1e-10)
    assert np.all(sketch.values[:10] > 0.95 * values[:10])
    exact = (low + low.T) / 2  # of rank 40: a sketch of 40 products has all of it
    again = solvers.nystrom(operators.dense(jnp.asarray(exact)), jax.random.key(1), 40)
    np.testing.assert_allclose(again.values, sketch.values, rtol=1e-4)
    plain = solvers.conjugate_gradients(operator, b, ridge=ridge, tolerance=1e-8)
    helped = solvers.conjugate_gradients(operator, b, ridge=ridge, tolerance=1e-8, precondition=sketch.inverse(ridge))
    assert plain.converged
    assert helped.converged
    assert helped.iterations < plain.iterations / 2
    np.testing.assert_allclose(helped.x, np.linalg.solve(a + ridge * np.eye(60), b), rtol=1e-4, atol=1e-3)


def test_top_of_the_spectrum_with_its_copies():
    a, values = matrix(4)
    found = spectra.top(operators.dense(jnp.asarray(a)), jax.random.key(0), 6, steps=8)
    np.testing.assert_allclose(found.values, values[:6], rtol=1e-6)
    np.testing.assert_allclose(a @ found.vectors, found.vectors * found.values[None], atol=1e-4)
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(6), atol=1e-12)
    assert np.all(found.residuals < 1e-4)
    single = spectra.top(operators.dense(jnp.asarray(a)), jax.random.key(0), 6, steps=16, block=1)
    np.testing.assert_allclose(single.values[:3], values[:6:2], rtol=0.02)  # one vector sees each value once


def test_trace_and_log_determinant_within_their_errors():
    a, values = matrix(5, decay=0.95)
    operator, ridge = operators.dense(jnp.asarray(a)), 0.1
    keys = jax.random.split(jax.random.key(0), 40)
    traces = jax.jit(jax.vmap(lambda key: spectra.trace(operator, key, 12)))(keys)
    logs = jax.jit(jax.vmap(lambda key: spectra.log_determinant(operator, key, ridge=ridge, probes=6, steps=40)))(keys)
    for found, want in ((traces, values.sum()), (logs, np.log(values + ridge).sum())):
        mean, error = found.value.mean(), found.value.std(ddof=1) / 40**0.5
        assert abs(mean - want) < 3.5 * error
        assert 0.5 < np.median(found.error) / found.value.std(ddof=1) < 2
    exact = spectra.trace(operator, jax.random.key(0), 30)
    np.testing.assert_allclose(exact.value, values.sum(), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: solvers.nystrom(a, jax.random.key(0), 61), "want rank <= 60"),
        (lambda a: solvers.conjugate_gradients(a, jnp.ones(60), ridge=-1.0), "want ridge >= 0"),
        (lambda a: solvers.conjugate_gradients(a, jnp.ones(60), steps=0), "steps >= 1"),
        (lambda a: spectra.top(a, jax.random.key(0), 5, steps=20, block=4), "steps \\* block <= 60"),
        (lambda a: spectra.log_determinant(a, jax.random.key(0), ridge=0.0), "want ridge > 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(operators.dense(jnp.asarray(matrix(0)[0])))


def test_a_new_run_goes_where_the_recurrence_in_single_precision_drifts_off():
    """One run ends at a residual of 3.2e-5 to 3.7e-4 here, and believes that it is half the tolerance."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((300, 300)))[0]
    b = jnp.asarray(rng.standard_normal(300), jnp.float32)

    @jax.jit
    def run(matrix, b, tolerance):
        return solvers.conjugate_gradients(operators.dense(matrix), b, tolerance=tolerance, steps=5000)

    for largest, tolerance in ((1e3, 3e-5), (1e4, 3e-4)):
        matrix = jnp.asarray((basis * np.geomspace(1, largest, 300)) @ basis.T, jnp.float32)
        found = run(matrix, b, jnp.float32(tolerance))
        assert found.converged
        left = np.linalg.norm(b - np.asarray(matrix, np.float64) @ found.x) / np.linalg.norm(b)
        assert left < 1.1 * tolerance
