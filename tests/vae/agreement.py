"""A loss, its terms and its gradient against tests/oracles/vae.py, on one small linear model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tests.oracles import vae as oracle

LATENTS, PIXELS, BATCH = 3, 4, 5
PARAMS = oracle.draw(np.random.default_rng(0), LATENTS, PIXELS)
IMAGES = np.random.default_rng(1).integers(0, 2, (BATCH, PIXELS)).astype(float)
KEY = jax.random.key(1)


def encode(params, x):
    return params["w"] @ x, jnp.tanh(params["v"] @ x) / 2


def decode(params, z):
    return params["u"] @ z


@jax.jit
def noise(key=KEY):
    """What the losses draw from their key, in the precision now in force."""
    return jax.vmap(lambda k: jax.random.normal(k, (LATENTS,), float))(jax.random.split(key, BATCH))


@functools.cache
def compiled(loss):
    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def agrees(loss, want, batch=IMAGES, *, images=IMAGES, noise=noise, params=PARAMS):
    """In float64: value, every term and gradient to 1e-6, relative. `noise` is asked with x64 on."""
    with jax.enable_x64(True):
        (value, metrics), gradient = jax.device_get(compiled(loss)(params, batch, KEY))
        drawn = jax.device_get(noise())
    expected, terms = want(params, images, drawn)
    assert value.dtype == np.float64
    np.testing.assert_allclose(value, expected, rtol=1e-9)
    assert metrics.keys() == terms.keys()
    for name, term in terms.items():
        np.testing.assert_allclose(metrics[name], term, rtol=1e-9, err_msg=name)
    slopes = oracle.gradient(lambda moved: want(moved, images, drawn)[0], params)
    for name, slope in slopes.items():
        np.testing.assert_allclose(gradient[name], slope, rtol=1e-6, atol=1e-6 * abs(slope).max(), err_msg=name)


def agrees_for_each(make, want, strengths, batch=IMAGES, *, images=IMAGES, noise=noise, params=PARAMS):
    """In float32, one program for all strengths: values to 1e-5, relative."""
    single = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf, jnp.float32)), (params, batch))
    found, _ = jax.jit(jax.vmap(lambda strength: make(strength)(*single, KEY)))(jnp.asarray(strengths, jnp.float32))
    drawn = np.asarray(noise(), float)
    expected = [want(strength)(params, images, drawn)[0] for strength in strengths]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
