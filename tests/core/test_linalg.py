"""Shared linear algebra against float64."""

from functools import partial

import jax
import numpy as np
import pytest

from interp_jax.core import linalg
from interp_jax.core.linalg import centre_rows, compress_rows, inverse_sqrt, matmul, reduce_columns
from tests import processes
from tests.oracles import whitening as oracle


def test_products_ask_for_full_precision():
    text = str(jax.make_jaxpr(matmul)(np.ones((2, 3), np.float32), np.ones((3, 2), np.float32)))
    assert "Precision.HIGHEST" in text


def test_centring_keeps_the_digits_of_columns_far_from_zero():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(301, 3)) + [1e4, -1e5, 0]).astype(np.float32)
    weights = rng.uniform(size=301).astype(np.float32)
    mean = np.average(np.float64(x), 0, weights)
    centred, origin, rest = centre_rows(x, weights)
    np.testing.assert_allclose(np.float64(origin) + np.float64(rest), mean, rtol=0, atol=1e-6)
    np.testing.assert_allclose(centred, x - mean, rtol=0, atol=2e-6)


@pytest.mark.parametrize("rows", [5, 40])
def test_compressed_rows_keep_every_sum_of_squares(rows):
    a = np.random.default_rng(0).normal(size=(rows, 6)).astype(np.float32)
    short = compress_rows(a)
    assert short.shape == (min(rows, 6), 6)
    np.testing.assert_allclose(short.T @ short, a.T @ a, rtol=0, atol=2e-5)


@pytest.mark.parametrize("columns", [3, 30])
def test_reduced_columns_are_the_same_rows_in_fewer_coordinates(columns):
    x = np.random.default_rng(0).normal(size=(8, columns)).astype(np.float32)
    short, basis = reduce_columns(x)
    assert short.shape == (8, min(8, columns))
    np.testing.assert_allclose(short @ basis.T, x, rtol=0, atol=2e-6)
    np.testing.assert_allclose(basis.T @ basis, np.eye(short.shape[1]), rtol=0, atol=2e-6)


ROOT = jax.jit(inverse_sqrt)
ALONG = jax.jit(lambda a, da: jax.jvp(inverse_sqrt, (a,), (da,))[1])
BACK = jax.jit(lambda a, g: jax.vjp(inverse_sqrt, a)[1](g)[0])
TWICE = jax.jit(lambda a, da, db: jax.jvp(lambda a: jax.jvp(inverse_sqrt, (a,), (da,))[1], (a,), (db,))[1])


def symmetric(rng, d=6):
    a = rng.normal(size=(d, d))
    return a + a.T


def repeated(rng):
    """A matrix of eigenvalues 3, 3, 3, .2, .2, .01, and one that moves it off."""
    q, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    return (q * np.array([3, 3, 3, 0.2, 0.2, 0.01])) @ q.T, symmetric(rng)


def test_the_inverse_root_is_one_in_both_precisions():
    rng = np.random.default_rng(0)
    for condition, tolerance in ((1e2, 3e-5), (1e4, 3e-3)):
        a = oracle.spectrum(rng, 6, condition)
        np.testing.assert_allclose(ROOT(a.astype(np.float32)), oracle.inverse_sqrt(a), atol=tolerance)
        with jax.enable_x64(True):
            root = np.asarray(ROOT(a))
        np.testing.assert_allclose(root @ a @ root, np.eye(6), atol=1e-11)


@pytest.mark.parametrize("case", ["distinct", "repeated", "identity"])
def test_derivatives_equal_differences_in_float64(case):
    rng = np.random.default_rng(1)
    a, da = {
        "distinct": lambda: (oracle.spectrum(rng, 6, 1e3), symmetric(rng)),
        "repeated": lambda: repeated(rng),
        "identity": lambda: (0.7 * np.eye(6), symmetric(rng)),
    }[case]()
    db, g = symmetric(rng), symmetric(rng)
    step = 1e-3 * np.linalg.eigvalsh(a)[0]
    want = oracle.differences(oracle.inverse_sqrt, a, da, step)
    with jax.enable_x64(True):
        along, back, twice = map(np.asarray, (ALONG(a, da), BACK(a, g), TWICE(a, da, db)))
        second = oracle.differences(lambda a: np.asarray(ALONG(a, da)), a, db, step)
    size = np.abs(want).max()
    np.testing.assert_allclose(along, want, atol=1e-7 * size)
    np.testing.assert_allclose(np.sum(back * da), np.sum(g * want), rtol=1e-7)
    np.testing.assert_allclose(twice, second, atol=1e-6 * np.abs(second).max())
    np.testing.assert_allclose(ALONG(*map(np.float32, (a, da))), want, atol=3e-4 * size)


def test_at_multiples_of_the_identity_the_derivatives_have_a_closed_form():
    rng = np.random.default_rng(2)
    da, db = (symmetric(rng).astype(np.float32) for _ in range(2))
    for c in (1e-3, 1.0, 50.0):
        a = c * np.eye(6, dtype=np.float32)
        np.testing.assert_allclose(ROOT(a), np.eye(6) / np.sqrt(c), rtol=1e-6)
        np.testing.assert_allclose(ALONG(a, da), -da / (2 * c**1.5), rtol=2e-5, atol=1e-5 * c**-1.5)
        np.testing.assert_allclose(
            TWICE(a, da, db), 3 / 8 * c**-2.5 * (da @ db + db @ da), rtol=1e-4, atol=1e-4 * c**-2.5
        )


def test_directions_without_variance_stay_at_the_floor():
    """Rank 4 of 6: the root of the rest is that of eps times the norm, and so is its derivative, in float64."""
    rng = np.random.default_rng(3)
    q, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    a, da = (q * np.array([2, 1, 1, 0.5, 0, 0])) @ q.T, symmetric(rng)
    floored = lambda a: oracle.inverse_sqrt(a, 0.01 * np.linalg.norm(a))  # noqa: E731
    with jax.enable_x64(True):
        f = partial(inverse_sqrt, eps=0.01)
        root, along = jax.jit(lambda a, da: jax.jvp(f, (a,), (da,)))(a, da)
        second = jax.jit(lambda a, da: jax.jvp(lambda a: jax.jvp(f, (a,), (da,))[1], (a,), (da,)))(a, da)[1]
    np.testing.assert_allclose(root, floored(a), atol=1e-12)
    np.testing.assert_allclose(along, oracle.differences(floored, a, da, 1e-5), atol=1e-6)
    assert np.isnan(second).all()
    assert np.isfinite(ROOT(np.diag(np.float32([1, 0, 0])))).all()
    assert np.isnan(ROOT(np.zeros((3, 3), np.float32))).all()


def test_a_batch_of_matrices_equals_one_by_one():
    rng = np.random.default_rng(4)
    a = np.stack([oracle.spectrum(rng, 6, 1e2), np.eye(6)]).astype(np.float32)
    da = np.stack([symmetric(rng), symmetric(rng)]).astype(np.float32)
    for f in (ALONG, BACK):
        together = jax.vmap(f)(a, da)
        for i in range(2):
            alone = f(a[i], da[i])
            np.testing.assert_allclose(together[i], alone, atol=2e-5 * np.abs(alone).max())


SQUARES = np.random.default_rng(5).standard_normal((2, 3, 6, 4)).astype(np.float32)


def test_factorisations_under_vmap_are_those_of_numpy():
    grams = SQUARES.transpose(0, 1, 3, 2) @ SQUARES
    values, vectors = jax.jit(jax.vmap(jax.vmap(linalg.eigh)))(grams)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(grams), rtol=2e-4, atol=1e-4)
    np.testing.assert_allclose(vectors * values[..., None, :] @ np.swapaxes(vectors, -1, -2), grams, atol=2e-5)
    left, sizes, right = jax.jit(jax.vmap(jax.vmap(linalg.svd)))(SQUARES)
    np.testing.assert_allclose(sizes, np.linalg.svd(SQUARES, compute_uv=False), rtol=1e-4)
    np.testing.assert_allclose(left * sizes[..., None, :] @ right, SQUARES, atol=1e-5)


def test_eigenvalues_and_vectors_have_the_derivatives_of_jax_in_both_modes():
    gram, change = SQUARES[0, 0].T @ SQUARES[0, 0], SQUARES[0, 1].T @ SQUARES[0, 1]

    def height(factorise, a):
        values, vectors = factorise(a)
        return np.arange(4.0, dtype=np.float32) @ values + (vectors**2)[0] @ np.arange(4.0, dtype=np.float32)

    for mode in (lambda f: jax.jvp(f, (gram,), (change,))[1], lambda f: jax.grad(f)(gram)):
        ours, jaxs = mode(partial(height, linalg.eigh)), mode(partial(height, jax.numpy.linalg.eigh))
        np.testing.assert_allclose(ours, jaxs, rtol=1e-4, atol=1e-5)


HANGS = """
import jax, jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from interp_jax.core import linalg

mesh = jax.make_mesh((2,), ("runs",), axis_types=(jax.sharding.AxisType.Auto,))

def many(x):
    def step(carry, _):
        grams = (x[0] + carry).transpose(0, 2, 1) @ x[0]
        total = jax.vmap(linalg.eigh)(grams)[0].mean() + jax.vmap(linalg.svd)(grams)[1].mean()
        return total * 1e-9, total
    return jax.lax.scan(step, 0.0, None, length=15)[1][None]

x = jnp.ones((2, 1, 1, 1)) * jax.random.normal(jax.random.key(0), (1, 16, 64, 64))
run = jax.jit(jax.shard_map(many, mesh=mesh, in_specs=P("runs"), out_specs=P("runs"), check_vma=False))
print(jax.block_until_ready(run(x)).shape)
"""


def test_programs_of_several_devices_that_factorise_at_once_end():
    """With `jnp.linalg.eigh` in their place all threads can wait for each other: a test that often does not end."""
    assert processes.run(HANGS, devices=2).stdout.strip() == "(2, 15)"
