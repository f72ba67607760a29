"""Codes that are not learned: against their moments, numpy's principal components, and the images themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.core import keys
from interp_jax.data import factors as sets
from interp_jax.data import named
from interp_jax.vae import references

SIZES = (3, 5)
KEY = jax.random.key(0)


def draw(factors, key=None):
    """Give a ramp along each side of 4 x 4 pixels, as steep as a factor; nuisance in the third channel."""
    ramp = jnp.arange(4.0) / 4
    one, two = jnp.broadcast_to(ramp[:, None], (4, 4)), jnp.broadcast_to(ramp[None], (4, 4))
    return jnp.stack([factors[0] * one, factors[1] * two, jax.random.uniform(key, (4, 4))], 2)


@pytest.fixture(scope="module")
def images():
    return named.Images(sets.FactorSet(("a", "b"), SIZES, (4, 4, 3), draw), ())


def test_an_image_has_nuisance_of_its_own_that_replays(images):
    code = jax.jit(references.each_image(images, (), lambda f, x, key: jnp.append(references.pixels(x), f), batch=4))
    factors = sets.sample_factors(KEY, SIZES, 10)
    found = np.asarray(code(factors, KEY))
    each = jax.random.split(KEY, 10)
    for i in range(10):
        x = draw(factors[i], keys.stream(each[i], "nuisance"))
        np.testing.assert_allclose(found[i], np.append(np.asarray(x).ravel(), factors[i]), rtol=1e-6)
    np.testing.assert_array_equal(found, code(factors, KEY))
    with pytest.raises(ValueError, match="batch"):
        references.each_image(images, (), lambda f, x, key: f, batch=0)


def test_fine_images_are_shrunk_by_area_and_others_are_as_they_are():
    blocks = jnp.arange(16 * 16 * 2.0).reshape(16, 16, 2)
    np.testing.assert_array_equal(references.pixels(blocks), blocks.ravel())
    flat = references.pixels(jnp.full((32, 32, 1), 0.25))
    assert flat.shape == (256,)
    np.testing.assert_allclose(flat, 0.25, rtol=1e-6)


def test_components_are_numpys_and_white(images):
    components = jax.jit(lambda key: references.principal(images, (), key, 3, n=500))(KEY)
    code = references.each_image(images, (), lambda f, x, key: references.pixels(x))
    factors = sets.sample_factors(keys.stream(KEY, "factors"), SIZES, 500)
    x = np.float64(jax.jit(code)(factors, keys.stream(KEY, "images")))
    values, vectors = np.linalg.eigh(np.cov(x.T))
    theirs = (x - x.mean(0)) @ vectors[:, ::-1][:, :3] / np.sqrt(values[::-1][:3])
    mine = (x - np.float64(components.mean)) @ np.float64(components.directions)
    np.testing.assert_allclose(np.abs(mine), np.abs(theirs), atol=2e-3)
    np.testing.assert_allclose(np.cov(mine.T), np.eye(3), atol=1e-3)
    one = draw(factors[0], KEY)
    wanted = (np.asarray(one).ravel() - components.mean) @ components.directions
    np.testing.assert_allclose(references.project(components, one), wanted, atol=1e-4)
    with pytest.raises(ValueError, match="as many components as pixels, 48, got count=49"):
        references.principal(images, (), KEY, 49, n=10)


def test_the_factors_themselves_have_unit_variance_and_noise_beside_them():
    many = sets.sample_factors(KEY, SIZES, 20_000)
    z = np.asarray(
        jax.jit(jax.vmap(lambda f, key: references.told(SIZES, 4, f, key)))(many, jax.random.split(KEY, len(many)))
    )
    np.testing.assert_allclose(np.cov(z.T), np.eye(4), atol=0.04)
    np.testing.assert_allclose(z.mean(0), 0, atol=0.04)
    for i in range(2):  # a value for each class, rising
        values = [np.unique(z[np.asarray(many)[:, i] == c, i]) for c in range(SIZES[i])]
        assert [len(each) for each in values] == [1] * SIZES[i]
        assert (np.diff(np.concatenate(values)) > 0).all()
    with pytest.raises(ValueError, match="want a latent for each of 2 factors, got latents=1"):
        references.told(SIZES, 1, many[0], KEY)
