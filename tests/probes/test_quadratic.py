import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.probes import quadratic


def made(seed: int, n: int = 600, d: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    turns = rng.normal(size=(3, d, d)) + 2 * np.eye(d)
    x = np.einsum("nd,nde->ne", rng.normal(size=(n, d)), turns[y]) + rng.normal(size=(3, d))[y]
    return x.astype(np.float32), y


fit = jax.jit(lambda x, y: quadratic.fit(x, y, classes=3))


def test_classes_have_one_mean_and_one_covariance_afterwards() -> None:
    x, y = made(0)
    found = fit(x, y)
    assert bool(found.converged)
    assert float(found.left) < 1e-4
    clean = np.asarray(quadratic.erase(found, x, y), float)
    for k in range(3):
        np.testing.assert_allclose(clean[y == k].mean(0), x.mean(0), atol=1e-4)
    spreads = [np.cov(clean[y == k], rowvar=False, bias=True) for k in range(3)]
    np.testing.assert_allclose(spreads[0], spreads[1], atol=1e-3 * np.abs(spreads[0]).max())
    np.testing.assert_allclose(spreads[0], spreads[2], atol=1e-3 * np.abs(spreads[0]).max())


def test_axis_aligned_classes_meet_at_the_mean_of_their_deviations() -> None:
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(4000, 2))
    draws = (draws - draws.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(draws, rowvar=False, bias=True))).T
    half = np.linalg.cholesky(np.cov(draws[:2000], rowvar=False, bias=True))
    one = (draws[:2000] - draws[:2000].mean(0)) @ np.linalg.inv(half).T * [1.0, 3.0]
    half = np.linalg.cholesky(np.cov(draws[2000:], rowvar=False, bias=True))
    other = (draws[2000:] - draws[2000:].mean(0)) @ np.linalg.inv(half).T * [5.0, 3.0]
    found = quadratic.fit(np.concatenate([one, other]).astype(np.float32), np.repeat([0, 1], 2000), classes=2)
    np.testing.assert_allclose(found.maps[0], np.diag([3.0, 1.0]), atol=1e-3)  # deviations 1 and 5 meet at 3
    np.testing.assert_allclose(found.maps[1], np.diag([0.6, 1.0]), atol=1e-3)


def test_what_has_no_answer_is_nan() -> None:
    x, y = made(0)
    assert np.isnan(quadratic.fit(x, np.minimum(y, 1), classes=3).maps).all()  # no row of class 2
    assert np.isnan(quadratic.fit(x, y + 1, classes=3).maps).all()  # a class that is not there
    few = np.concatenate([np.zeros(597, int), [1, 1, 2]])
    assert np.isnan(quadratic.fit(x, few, classes=3).maps).all()
    assert np.isnan(quadratic.erase(fit(x, y), jnp.asarray(x[:1]), jnp.array([7]))).all()
    with pytest.raises(ValueError, match="want an integer classes >= 2"):
        quadratic.fit(x, y, classes=1)
