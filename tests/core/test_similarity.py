import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import ortho_group

from interp_jax.core.similarity import linear_cka


def by_kernels(x, y):
    """The definition by Gram matrices: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), in float64."""
    n = len(x)
    centre = np.eye(n) - np.ones((n, n)) / n
    k, q = x @ x.T, y @ y.T

    def hsic(a, b):
        return np.trace(a @ centre @ b @ centre)

    return hsic(k, q) / np.sqrt(hsic(k, k) * hsic(q, q))


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6)) + 3
    return x, x[:, :4] @ rng.normal(size=(4, 5)) + 2 * rng.normal(size=(40, 5)) - 7


def test_it_is_the_alignment_of_gram_matrices(pair):
    got = linear_cka(*(jnp.asarray(a, jnp.float32) for a in pair))
    np.testing.assert_allclose(got, by_kernels(*pair), rtol=1e-5)
    np.testing.assert_allclose(got, linear_cka(*(jnp.asarray(a, jnp.float32) for a in pair[::-1])), rtol=1e-6)


def test_rotation_scale_and_shift_change_nothing(pair):
    x, y = pair
    turned = 1e12 * (x @ ortho_group.rvs(6, random_state=1)) + 5e12
    got = linear_cka(jnp.asarray(turned, jnp.float32), jnp.asarray(y, jnp.float32))
    np.testing.assert_allclose(got, by_kernels(x, y), rtol=1e-4)
    np.testing.assert_allclose(linear_cka(jnp.asarray(x), jnp.asarray(turned, jnp.float32)), 1, rtol=1e-4)


def test_independent_representations_have_the_stated_bias():
    def draw(key):
        a, b = jax.random.split(key)
        return linear_cka(jax.random.normal(a, (2000, 10)), jax.random.normal(b, (2000, 20)))

    values = jax.vmap(draw)(jax.random.split(jax.random.key(0), 40))
    assert abs(values.mean() - (10 * 20) ** 0.5 / 2000) < 4 * values.std() / 40**0.5


def test_a_constant_representation_is_undefined():
    assert jnp.isnan(linear_cka(jnp.ones((5, 2)), jnp.arange(10.0).reshape(5, 2)))
