"""Layers and small networks: shapes, initial values, types, and agreement with flax's own layers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.models import convolution, nets


def draw(module, x):
    """Parameters with biases that are not zero, drawn by NumPy: nothing to compile."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
    return jax.tree.map(lambda p: rng.normal(0, 0.3, p.shape).astype(np.float32), shapes)


def apply(module, params, x):
    return jax.jit(module.apply)({"params": params}, x)


def test_conv_layer_is_flax_conv(key):
    x = jax.random.normal(key, (9, 7, 3))
    ours, theirs = nets.Conv(5, 4, 2), nn.Conv(5, (4, 4), 2)
    params = draw(ours, x)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, draw(theirs, x))
    np.testing.assert_allclose(apply(ours, params, x), apply(theirs, params, x), rtol=1e-5, atol=1e-5)


def test_transposed_layer_is_flax_conv_transpose_with_the_kernel_flipped(key):
    x = jax.random.normal(key, (5, 4, 3))
    ours = nets.Conv(2, 4, 2, convolve=convolution.conv_transpose)
    params = draw(ours, x)
    flipped = params | {"kernel": params["kernel"][::-1, ::-1]}
    theirs = apply(nn.ConvTranspose(2, (4, 4), (2, 2)), flipped, x)
    np.testing.assert_allclose(apply(ours, params, x), theirs, rtol=1e-5, atol=1e-5)


def test_kernels_are_glorot_uniform_and_biases_zero(key):
    conv, dense = jax.jit(
        lambda key: (
            nets.Conv(32, 4, 2).init(key, jnp.zeros((8, 8, 32)))["params"],
            nets.Dense(256).init(key, jnp.zeros(1024))["params"],
        )
    )(key)
    for params, fans in ((conv, 4 * 4 * (32 + 32)), (dense, 1024 + 256)):
        limit = (6 / fans) ** 0.5
        draws = np.asarray(params["kernel"], np.float64).ravel()
        assert np.abs(draws).max() <= limit * (1 + 1e-6)
        error = limit / (3 * draws.size) ** 0.5
        assert abs(draws.mean()) < 4 * error
        assert abs((draws**2).mean() - limit**2 / 3) < 4 * limit * error
        assert not np.any(params["bias"])


def test_mlp_is_its_formula():
    net = nets.functional(nets.MLP((6, 4, 2)), jnp.zeros((3, 2)))
    x = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    params = draw(nets.MLP((6, 4, 2)), x)
    h = np.asarray(x, np.float64).reshape(-1)
    for i in range(3):
        layer = params[f"Dense_{i}"]
        h = h @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"])
        h = np.maximum(h, 0) if i < 2 else h
    np.testing.assert_allclose(jax.jit(net.apply)(params, x), h, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [28, 32, 9])
def test_cnn_gives_logits_at_any_size(key, size):
    net = nets.functional(nets.CNN(10, (4, 8)), jnp.zeros((size, size, 3)))
    params = jax.eval_shape(net.init, key)
    assert jax.eval_shape(net.apply, params, jnp.zeros((size, size, 3))).shape == (10,)
    assert sum(p.size for p in jax.tree.leaves(params)) == (27 * 4 + 4) + (36 * 8 + 8) + (8 * 10 + 10)


def test_parameters_and_arithmetic_have_types_of_their_own(key):
    x = jnp.zeros((8, 8, 1))
    net = nets.functional(nets.CNN(3, (2,), dtype=jnp.bfloat16), x)
    params = jax.eval_shape(net.init, key)
    assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert jax.eval_shape(net.apply, params, x).dtype == jnp.bfloat16
    half = nets.functional(nets.MLP((3,), param_dtype=jnp.bfloat16), x)
    assert {p.dtype for p in jax.tree.leaves(jax.eval_shape(half.init, key))} == {jnp.dtype("bfloat16")}


def test_functional_needs_only_shapes(key):
    net = nets.functional(nets.MLP((3,)), jax.ShapeDtypeStruct((4,), jnp.float32))
    assert net.apply(net.init(key), jnp.ones(4)).shape == (3,)


def test_uniform_dense_begins_as_torch_does(key):
    """Kernel and bias uniform in -+1 / sqrt(fan-in)."""
    params = nets.UniformDense(4096).init(key, jnp.zeros((2, 25)))["params"]
    for draws in (np.asarray(leaf, np.float64).ravel() for leaf in params.values()):
        error = 0.2 / (3 * draws.size) ** 0.5
        assert np.abs(draws).max() <= 0.2
        assert abs(draws.mean()) < 4 * error
        assert abs((draws**2).mean() - 0.04 / 3) < 4 * 0.2 * error
    x = np.ones((2, 25), np.float32)
    want = x @ np.asarray(params["kernel"], np.float64) + np.asarray(params["bias"])
    np.testing.assert_allclose(nets.UniformDense(4096).apply({"params": params}, x), want, rtol=1e-4, atol=1e-5)


def test_leaky_mlp_is_its_formula():
    module = nets.LeakyMLP((6, 2), 0.1, nets.UniformDense)
    x = np.random.default_rng(0).normal(size=5).astype(np.float32)
    params = draw(module, x)
    first, second = (params[f"UniformDense_{i}"] for i in range(2))
    h = np.asarray(x, np.float64) @ first["kernel"] + first["bias"]
    want = np.where(h > 0, h, 0.1 * h) @ np.asarray(second["kernel"], np.float64) + second["bias"]
    np.testing.assert_allclose(apply(module, params, x), want, rtol=1e-5, atol=1e-6)


def test_layers_of_an_mlp_end_in_its_representation():
    net = nets.functional(nets.MLP((5, 4, 3)), jnp.zeros((2, 3)))
    params, x = net.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (2, 3))
    first, last = nets.mlp_layers(params, x)
    np.testing.assert_allclose(last, net.apply(params, x, represent=True), rtol=1e-6)
    kernel = np.asarray(params["Dense_0"]["kernel"])
    np.testing.assert_allclose(first, np.maximum(np.asarray(x).ravel() @ kernel, 0), rtol=1e-5, atol=1e-6)
