import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.models.nets import functional
from interp_jax.models.strided import After, Before


@pytest.fixture(scope="module")
def before():
    net = functional(Before((3, 4, 4, 5)), jnp.zeros((16, 24, 1)))
    return net.init(jax.random.key(0)), jax.jit(net.apply)


def test_features_are_an_eighth_as_wide_and_blind_to_contrast(before):
    params, apply = before
    x = jax.random.uniform(jax.random.key(1), (16, 24, 1))
    found = apply(params, x)
    assert found.shape == (2, 3, 5)
    np.testing.assert_allclose(apply(params, 10 * x), found, atol=1e-3)
    assert np.isfinite(apply(params, jnp.zeros((16, 24, 1)))).all()


def test_logits_are_affine_in_means_along_rows_and_columns():
    net = functional(After(3), jnp.zeros((2, 3, 5)))
    params = net.init(jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(2, 3, 5))
    told = 2 * np.concatenate([x.mean(0).ravel(), x.mean(1).ravel()])
    want = told @ np.float64(params["Dense_0"]["kernel"]) + np.float64(params["Dense_0"]["bias"])
    np.testing.assert_allclose(net.apply(params, jnp.asarray(x, jnp.float32)), want, rtol=1e-4, atol=1e-5)
