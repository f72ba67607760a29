import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from interp_jax.data import dsprites
from interp_jax.data import dsprites_variants as variants
from interp_jax.data import factors as sets

VARIANTS = (variants.coloured_sprite, variants.noisy_background, variants.picture_background)
CLASSES = np.array([[0, 5, 3, 10, 10], [1, 2, 30, 0, 31], [2, 4, 17, 31, 2]] * 40)


@functools.cache
def rendered(variant):
    data = variants.data(variant, 16)
    images = jax.jit(lambda key: sets.images(data, CLASSES, key))(jax.random.key(5))
    sprites = jax.jit(jax.vmap(lambda row: dsprites.render(row, size=16)))(CLASSES)
    return np.asarray(images), np.asarray(sprites) == 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_images_are_in_range_and_differ_by_key(variant):
    images, _ = rendered(variant)
    chex.assert_shape(images, (120, 16, 16, 3))
    assert images.min() >= 0
    assert images.max() <= 1
    assert not np.array_equal(images[0], images[3])
    with pytest.raises(ValueError, match=f"{variant.__name__} draws its nuisance from a key"):
        variants.data(variant).render([0, 0, 0, 0, 0])


def test_the_colour_is_uniform_on_the_sprite_and_the_rest_black():
    images, inside = rendered(variants.coloured_sprite)
    assert (images[~inside] == 0).all()
    colours = np.array([image[mask].max(0) for image, mask in zip(images, inside, strict=True)])
    assert all((image[mask] == colour).all() for image, mask, colour in zip(images, inside, colours, strict=True))
    assert stats.kstest(colours.ravel(), stats.uniform(0.5, 0.5).cdf).pvalue > 1e-3


def test_the_noise_is_uniform_outside_and_saturates_on_the_sprite():
    images, inside = rendered(variants.noisy_background)
    assert (images[inside] == 1).all()
    assert stats.kstest(images[~inside].ravel()[::11], "uniform").pvalue > 1e-3


def test_the_sprite_inverts_a_patch_of_the_picture():
    """Draw the same patch without a sprite: outside equal, inside one minus it."""
    images, inside = rendered(variants.picture_background)
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(5), i))(jnp.arange(len(images)))
    empty = jax.jit(jax.vmap(lambda key: variants.picture_background(jnp.zeros((16, 16)), key)))(keys)
    np.testing.assert_allclose(np.where(inside[..., None], 1 - images, images), empty, atol=1e-5)


def test_the_picture_is_the_sum_of_its_waves_and_smooth():
    down, across, amplitude, phase = variants._waves()
    rows, columns = np.arange(0, 274, 7.0), np.arange(0, 350, 5.0)
    angle = rows[:, None, None] * down + columns[None, :, None] * across
    direct = np.clip(0.5 + np.einsum("rck,k->rc", np.cos(angle + phase[:, 1]), amplitude), 0, 1)
    shown = np.asarray(variants.picture(jnp.asarray(rows), jnp.asarray(columns)))
    np.testing.assert_allclose(shown[:, :, 1], direct, atol=2e-4)
    assert 0.15 < shown.std() < 0.3
    step = np.asarray(variants.picture(jnp.asarray(rows), jnp.asarray(columns + 1))) - shown
    assert np.abs(step).max() < 0.1


def test_patches_at_two_sizes_show_the_same_place(key):
    draw = jax.jit(variants.picture_background)
    coarse, fine = (draw(jnp.zeros((size, size)), key) for size in (16, 80))
    np.testing.assert_allclose(coarse, np.asarray(fine)[2::5, 2::5], atol=1e-4)
