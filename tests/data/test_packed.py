import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.data import dsprites, dsprites_variants, packed
from interp_jax.data import factors as sets


def test_bits_are_numpys_and_come_back(key):
    image = jax.random.bernoulli(key, 0.3, (16, 16, 1)).astype(float)
    bits = packed.pack_image(image)
    np.testing.assert_array_equal(bits, np.packbits(np.asarray(image).astype(bool)))
    np.testing.assert_array_equal(packed.unpack(bits, (16, 16, 1)), image)


@pytest.mark.parametrize("size", [64, 16])
def test_a_packed_part_holds_the_drawn_images(size):
    data, indices = dsprites.data(size), jnp.arange(0, 737_280, 7_001)
    bits = jax.jit(lambda indices: packed.pack(data, indices, chunk=32))(indices)
    assert bits.shape == (106, size * size // 8)
    assert bits.dtype == jnp.uint8
    images = jax.jit(jax.vmap(lambda i: data.render(sets.factors(data.sizes, i))))(indices)
    found = jax.jit(jax.vmap(lambda bits, i: packed.lookup(bits, i, data.shape), (None, 0)))(bits, jnp.arange(106))
    np.testing.assert_array_equal(found, images)


def test_no_such_image_is_nan():
    bits = jnp.zeros((3, 8), jnp.uint8)
    look = jax.vmap(lambda i: packed.lookup(bits, i, (8, 8)))
    np.testing.assert_array_equal(np.isnan(look(jnp.array([-1, 0, 2, 3]))).all((1, 2)), [True, False, False, True])


def test_bad_sets_are_refused():
    with pytest.raises(ValueError, match="multiple of 8"):
        packed.pack_image(jnp.zeros((3, 3)))
    with pytest.raises(ValueError, match="one channel"):
        packed.pack(dsprites_variants.data(dsprites_variants.coloured_sprite))
    with pytest.raises(ValueError, match="chunk"):
        packed.pack(dsprites.data(), chunk=0)


def test_memory_beyond_the_result_is_that_of_a_chunk():
    data = dsprites.data()
    pack = jax.jit(lambda indices: packed.pack(data, indices, chunk=256))
    memory = pack.lower(jax.ShapeDtypeStruct((65_536,), jnp.int32)).compile().memory_analysis()
    assert memory.output_size_in_bytes == 65_536 * 512
    assert memory.temp_size_in_bytes < 65_536 * 512 * 1.2 + 256 * 64 * 64 * 8


@pytest.mark.slow
def test_the_whole_set_can_be_drawn():
    """All 737,280 images in one call; areas depend on shape and scale alone, within the rounding."""
    start = time.monotonic()
    bits = jax.jit(lambda: packed.pack(dsprites.data()))().block_until_ready()
    seconds = time.monotonic() - start
    assert bits.shape == (737_280, 512)
    area = np.bitwise_count(np.asarray(bits)).sum(1, dtype=np.int64).reshape(3, 6, 40, 32, 32)
    assert area.min() > 40
    np.testing.assert_array_equal(area[:, :, 0], area[:, :, 39])
    assert (area.std((2, 3, 4)) / area.mean((2, 3, 4)) < 0.05).all()
    assert seconds < 300
