"""Planted attributes: pictures that differ, rates by counting, images by their formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.data import planted

SIDE = 24


def test_sixty_different_pictures_marks_within_the_border():
    found = planted.pictures(SIDE)
    assert found.shape == (60, SIDE, SIDE, 3) == (planted.COUNT, SIDE, SIDE, 3)
    assert found.min() == 0
    assert found.max() == 1
    flat = found.reshape(60, -1)
    assert np.linalg.matrix_rank(flat) >= 58  # a chequered picture may be a sum of others, no two are alike
    assert np.abs(flat[:, None] - flat[None]).sum(2)[~np.eye(60, dtype=bool)].min() > 3
    inside = found[:48, 4:-4, 4:-4]
    assert inside.sum() == 0
    assert (found[:48].sum((1, 2, 3)) >= 4).all()
    assert len(set(planted.NAMES)) == 60
    at = planted.NAMES.index("red square 3")
    assert found[at, 0, -1].tolist() == [1, 0, 0]  # clockwise from the upper left: the upper right corner
    with pytest.raises(ValueError, match="side=8"):
        planted.pictures(8)


def test_an_image_is_what_its_formula_says():
    rng = np.random.default_rng(0)
    image = rng.uniform(size=(SIDE, SIDE, 3))
    present = (rng.uniform(size=60) < 0.2).astype(np.float32)
    pictures = planted.pictures(SIDE)
    want = image + (1 - image) * np.minimum(sum(p * q for p, q in zip(present, pictures, strict=True)), 1)
    found = planted.attach(jnp.float32(image), present, jnp.asarray(pictures))
    np.testing.assert_allclose(found, want, atol=1e-5)
    np.testing.assert_allclose(planted.attach(jnp.float32(image), 0 * present, pictures), image, atol=1e-6)


def test_grey_images_are_framed():
    digits = np.random.default_rng(0).uniform(size=(3, 8, 8, 1)).astype(np.float32)
    found = planted.framed(jnp.asarray(digits), SIDE)
    assert found.shape == (3, SIDE, SIDE, 1)
    assert found[:, :4].sum() == 0
    lit = planted.attach(found[0], jnp.zeros(60), jnp.asarray(planted.pictures(SIDE)))
    assert lit.shape == (SIDE, SIDE, 3)
    assert (lit == found[0]).all()
    np.testing.assert_allclose(found[:, 4:-4, 4:-4, 0].mean((1, 2)), digits.mean((1, 2, 3)), atol=0.02)


def test_the_planted_attribute_goes_with_its_class_and_is_as_frequent_as_any():
    """20,000 images of classes at even shares; three standard errors of each share."""
    plant = planted.Planted(jnp.int32(50), jnp.int32(2), 0.9)
    labels = jnp.arange(20000) % 10
    keys = jax.random.split(jax.random.key(0), len(labels))
    draw = jax.jit(jax.vmap(lambda key, label: planted.draw(key, label, plant, rate=0.1, classes=10)))
    found = np.asarray(draw(keys, labels))
    own = np.asarray(labels) == 2
    error = lambda p, n: 3 * np.sqrt(p * (1 - p) / n)  # noqa: E731
    assert abs(found[own, 50].mean() - 0.9) < error(0.9, 2000)
    assert abs(found[~own, 50].mean() - 0.01 / 0.9) < error(0.01 / 0.9, 18000)
    assert abs(found[:, 50].mean() - 0.1) < error(0.1, 20000)
    decoys = np.delete(found, 50, 1)
    assert np.abs(decoys[own].mean(0) - 0.1).max() < 1.4 * error(0.1, 2000)  # the largest of 59
    assert np.abs(decoys.mean(0) - 0.1).max() < 1.4 * error(0.1, 20000)


def test_every_attribute_is_chosen_and_a_strength_beyond_the_rate_leaves_none_elsewhere():
    found = jax.jit(jax.vmap(lambda key: planted.choose(key, 0.9, classes=10)))(
        jax.random.split(jax.random.key(1), 2000)
    )
    assert len(set(found.attribute.tolist())) == 60
    assert set(found.label.tolist()) == set(range(10))
    none = planted.rates(0, planted.Planted(jnp.int32(0), jnp.int32(1), 1.0), rate=0.05, classes=10)
    assert none[0] == 0
    with pytest.raises(ValueError, match="rate"):
        planted.rates(0, planted.Planted(jnp.int32(0), jnp.int32(1), 1.0), rate=1.5, classes=10)
