"""The autoencoders: the study's size and shapes, an independent forward pass, seeds as an axis, other platforms."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from interp_jax.models import vae
from tests.oracles import convolution as oracle

LAYOUT = ("NHWC", "HWIO", "NHWC")
KINDS = {"mlp": functools.partial(vae.mlp, hidden=(8, 8)), "conv": vae.conv}


@functools.cache
def network(kind, size=16, latents=3):
    return KINDS[kind]((size, size, 1), latents=latents)


@functools.cache
def params(kind):
    """Parameters with biases that are not zero, drawn by NumPy: nothing to compile."""
    rng = np.random.default_rng(0)
    drawn = jax.eval_shape(network(kind).init, jax.random.key(0))
    return jax.tree.map(lambda p: rng.normal(0, 0.05, p.shape).astype(np.float32), drawn)


def images(n=2, size=16):
    return (np.random.default_rng(1).random((n, size, size, 1)) < 0.2).astype(np.float32)


def loss(net, params, images, key):
    """The beta-VAE's loss, written out."""

    def one(x, eps):
        mean, log_var = net.encode(params, x)
        logits = net.decode(params, mean + jnp.exp(log_var / 2) * eps)
        kl = jnp.square(mean) + jnp.exp(log_var) - 1 - log_var
        return (jax.nn.softplus(logits) - logits * x).sum() + 2 * kl.sum()

    eps = jax.random.normal(key, (images.shape[0], 3))
    return jax.vmap(one)(images, eps).mean()


def loss_gradient(net, params, images, key):
    return jax.grad(functools.partial(loss, net))(params, images, key)


@functools.cache
def gradient(kind):
    """The gradient alone, compiled once for all tests."""
    return jax.jit(functools.partial(loss_gradient, network(kind)))


def close(a, b):
    np.testing.assert_allclose(a, b, atol=1e-5 * max(1.0, float(np.abs(b).max())), rtol=0)


def test_the_study_has_690_517_parameters(key):
    net = vae.conv()
    drawn = jax.eval_shape(net.init, key)
    assert sum(p.size for p in jax.tree.leaves(drawn)) == 690_517
    kernels = [leaf.shape for leaf in jax.tree.leaves(drawn) if len(leaf.shape) == 4]
    encoder = [(4, 4, 1, 32), (4, 4, 32, 32), (2, 2, 32, 64), (2, 2, 64, 64)]
    decoder = [(4, 4, 64, 64), (4, 4, 64, 32), (4, 4, 32, 32), (4, 4, 32, 1)]
    assert sorted(kernels) == sorted(encoder + decoder)


@pytest.mark.parametrize(
    ("kind", "shape"), [("mlp", (16, 16, 1)), ("mlp", (9, 7, 3)), ("conv", (64, 64, 3)), ("conv", (32, 16, 1))]
)
def test_shapes(key, kind, shape):
    net = KINDS[kind](shape, latents=4)
    drawn = jax.eval_shape(net.init, key)
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    assert [a.shape for a in jax.eval_shape(net.encode, drawn, x)] == [(4,), (4,)]
    assert jax.eval_shape(net.decode, drawn, jnp.zeros(4)).shape == shape
    assert jax.eval_shape(net.apply, drawn, x).shape == shape


def dense(layer, x):
    return x @ np.asarray(layer["kernel"], np.float64) + layer["bias"]


def relu(x):
    return np.maximum(x, 0)


def test_conv_forward_in_float64_from_the_papers_table():
    net, p, x = network("conv"), params("conv"), images(1)[0]
    h = x.astype(np.float64)
    for i, k in enumerate((4, 4, 2, 2)):
        layer = p["encoder"][f"Conv_{i}"]
        zeros = [oracle.same(h.shape[0], k, 2)] * 2
        h = relu(oracle.conv(h, layer["kernel"], (2, 2), zeros) + layer["bias"])
    h = relu(dense(p["encoder"]["Dense_0"], h.reshape(-1)))  # rows, columns, channels: TensorFlow's order
    mean, log_var = dense(p["encoder"]["Dense_1"], h), dense(p["encoder"]["Dense_2"], h)
    ours, reconstruction = jax.jit(lambda p, x: (net.encode(p, x), net.apply(p, x)))(p, x)
    np.testing.assert_allclose(ours, (mean, log_var), atol=1e-5, rtol=1e-4)

    h = relu(dense(p["decoder"]["Dense_1"], relu(dense(p["decoder"]["Dense_0"], mean)))).reshape(1, 1, 64)
    for i in range(4):
        layer = p["decoder"][f"Conv_{i}"]
        side = 2 * h.shape[0]
        h = oracle.conv_transpose(h, layer["kernel"], (2, 2), [oracle.same(side, 4, 2)[0]] * 2, (side, side))
        h = h + layer["bias"] if i == 3 else relu(h + layer["bias"])
    np.testing.assert_allclose(reconstruction, h, atol=1e-5, rtol=1e-4)


def test_gradient_is_that_with_the_convolutions_of_lax(key):
    def down(x, kernel, *, stride, padding):
        return lax.conv_general_dilated(x[None], kernel, (stride,) * 2, padding, dimension_numbers=LAYOUT)[0]

    def up(x, kernel, *, stride, padding):
        return lax.conv_transpose(x[None], kernel[::-1, ::-1], (stride,) * 2, padding, dimension_numbers=LAYOUT)[0]

    peer = vae.conv((16, 16, 1), latents=3, convolve=(down, up))
    theirs = jax.jit(functools.partial(loss_gradient, peer))(params("conv"), images(), key)
    jax.tree.map(close, gradient("conv")(params("conv"), images(), key), theirs)


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_seeds_are_an_axis(kind, key):
    stacked = jax.tree.map(lambda p: np.stack([p, 0.9 * p]), params(kind))
    together = jax.jit(jax.vmap(functools.partial(loss_gradient, network(kind)), (0, None, None)))
    together = together(stacked, images(), key)
    for i, scale in enumerate((1, 0.9)):
        alone = gradient(kind)(jax.tree.map(lambda p, scale=scale: scale * p, params(kind)), images(), key)
        jax.tree.map(lambda a, b, i=i: close(a[i], b), together, alone)


def test_training_holds_no_convolution(key):
    net = network("conv")

    def train(params, key):
        def step(params, t):
            slope = loss_gradient(net, params, images(), jax.random.fold_in(key, t))
            return jax.tree.map(lambda p, g: p - 1e-3 * g, params, slope), None

        return lax.scan(step, params, jnp.arange(2))[0]

    text = str(jax.make_jaxpr(jax.vmap(train, (None, 0)))(params("conv"), jax.random.split(key, 2)))
    assert "dot_general" in text
    assert "conv_general_dilated" not in text


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_lowers_for_accelerators(platform, key):
    exported = jax.export.export(gradient("conv"), platforms=[platform])(params("conv"), images(), key)
    assert exported.platforms == (platform,)


def test_bfloat16_arithmetic_keeps_float32_parameters(key):
    net = vae.conv((16, 16, 1), latents=3, dtype=jnp.bfloat16)
    drawn = jax.eval_shape(net.init, key)
    assert {p.dtype for p in jax.tree.leaves(drawn)} == {jnp.dtype("float32")}
    assert jax.eval_shape(net.decode, drawn, jnp.zeros(3)).dtype == jnp.float32  # losses sum in it
    text = str(jax.make_jaxpr(net.decode)(drawn, jnp.zeros(3)))
    assert "bf16" in text


@pytest.mark.parametrize("make", [vae.conv, vae.mlp])
def test_refuses_no_latents(make):
    with pytest.raises(ValueError, match="latents >= 1, got latents=0"):
        make((16, 16, 1), latents=0)


def test_refuses_sides_that_do_not_halve_four_times():
    with pytest.raises(ValueError, match=r"multiples of 16, got shape=\(28, 28, 1\)"):
        vae.conv((28, 28, 1))
