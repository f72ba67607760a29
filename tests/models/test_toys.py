"""Toy networks against their formulas in NumPy, and against a closed form that solves modular addition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.data import toys as data
from interp_jax.models.nets import functional
from interp_jax.models.toys import ModularMLP, Superposition


def test_superposition_is_its_formula(key):
    net = functional(Superposition(3), jnp.zeros(5))
    assert jax.tree.map(jnp.shape, net.init(key)) == {"weight": (3, 5), "bias": (5,)}
    rng = np.random.default_rng(0)
    w, b, x = rng.normal(size=(3, 5)), rng.normal(size=5), rng.uniform(size=5)
    params = {"weight": jnp.asarray(w, jnp.float32), "bias": jnp.asarray(b, jnp.float32)}
    x32 = jnp.asarray(x, jnp.float32)
    np.testing.assert_allclose(net.apply(params, x32), np.maximum(w.T @ w @ x + b, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(net.apply(params, x32, represent=True), w @ x, rtol=1e-5)


@pytest.mark.parametrize("activation", [jnp.square, jax.nn.relu])
def test_modular_mlp_is_its_formula(activation):
    net = functional(ModularMLP(5, 4, activation), jnp.zeros(2, int))
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(10, 4)), rng.normal(size=(4, 5))
    params = {"Dense_0": {"kernel": jnp.asarray(u)}, "Dense_1": {"kernel": jnp.asarray(v)}}
    assert jax.tree.map(jnp.shape, jax.eval_shape(net.init, jax.random.key(0))) == jax.tree.map(jnp.shape, params)
    drive = u[3] + u[5 + 1]
    hidden = drive**2 if activation is jnp.square else np.maximum(drive, 0)
    np.testing.assert_allclose(net.apply(params, jnp.array([3, 1]), represent=True), hidden, rtol=1e-5)
    np.testing.assert_allclose(net.apply(params, jnp.array([3, 1])), hidden @ v, rtol=1e-5, atol=1e-6)


def test_neurons_of_one_frequency_each_solve_modular_addition():
    """Gromov 2023, eq. 5: cos(k a + f) + cos(k b + g), squared, read out by cos(k c + f + g), phases at random."""
    p, width, rng = 11, 3000, np.random.default_rng(0)
    k, f, g = rng.integers(1, 6, width), *rng.uniform(0, 2 * np.pi, (2, width))
    turn = 2 * np.pi * np.arange(p)[:, None] * k / p
    first = np.concatenate([np.cos(turn + f), np.cos(turn + g)])
    params = {"Dense_0": {"kernel": first}, "Dense_1": {"kernel": np.cos(turn + f + g).T}}
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    table = data.modular_addition(p)
    net = functional(ModularMLP(p, width), table.pairs[0])
    logits = jax.vmap(net.apply, (None, 0))(params, jnp.asarray(table.pairs))
    np.testing.assert_array_equal(logits.argmax(1), table.sums)
