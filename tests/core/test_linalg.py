"""Shared linear algebra against float64."""

import jax
import numpy as np
import pytest

from interp_jax.core.linalg import centre_rows, compress_rows, matmul, reduce_columns


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
