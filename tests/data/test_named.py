import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.data import dsprites, named
from interp_jax.data import factors as sets


@pytest.fixture(scope="module")
def sprites():
    return named.load("dsprites", 8)


def render(rows):
    return jax.jit(jax.vmap(lambda f: dsprites.data(8).render(f)))(rows)


def test_images_by_number_are_the_generators(sprites):
    numbers = jnp.array([0, 5, 700_001])
    found = jax.vmap(lambda i: sprites.of(sprites.bits, i, jax.random.key(0)))(numbers)
    np.testing.assert_array_equal(found, render(jax.vmap(lambda i: sets.factors(sprites.source.sizes, i))(numbers)))


def test_a_batch_replays_and_changes_with_the_step(sprites, key):
    draw = jax.jit(sprites.batch(16))
    first = draw(sprites.bits, key, 3)
    assert first.shape == (16, 8, 8, 1)
    np.testing.assert_array_equal(first, draw(sprites.bits, key, 3))
    assert (first != draw(sprites.bits, key, 4)).any()


@pytest.mark.parametrize("changes", [1, None])
def test_couples_differ_in_the_factors_that_they_say(sprites, key, changes):
    """Each image is sought among those of its factors: the pair of a couple that does not differ is the same image."""
    couples = jax.jit(sprites.couples(400, changes))(sprites.bits, key, 0)
    many = couples.differ.sum(1)
    alike = np.array((couples.first == couples.second).all((1, 2, 3)))
    assert alike[many == 0].all()
    assert not alike[np.array(couples.differ[:, 3] | couples.differ[:, 4]) & (many == 1)].all()
    assert many.max() <= (changes or 4)
    assert set(np.unique(many)) >= ({1} if changes else {1, 2, 3, 4})
    own = np.array([1 - 1 / size for size in sprites.source.sizes])  # drawn again, a factor falls elsewhere so often
    want = own * (changes or 2.5) / 5
    np.testing.assert_allclose(couples.differ.mean(0), want, atol=5 * 0.5 / 20)


def test_nuisance_is_drawn_for_each_image():
    images = named.load("noisy-dsprites", 8)
    assert images.bits == ()
    couples = jax.jit(images.couples(8, 1))((), jax.random.key(0), 0)
    assert couples.first.shape == (8, 8, 8, 3)
    assert (couples.first != couples.second).any((1, 2, 3)).all()


def test_a_function_of_all_images(sprites):
    small = sprites._replace(source=sets.FactorSet(("a", "b"), (3, 5), (8, 8, 1), dsprites.render))
    areas = jax.jit(lambda bits, key: small.each(jnp.sum, bits, key, batch=4))(sprites.bits, jax.random.key(0))
    np.testing.assert_array_equal(areas, np.unpackbits(np.asarray(sprites.bits[:15]), axis=1).sum(1))


def test_an_unknown_set_is_named():
    with pytest.raises(ValueError, match="got 'cats'"):
        named.load("cats", 8)
