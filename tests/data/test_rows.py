import numpy as np
import pytest

from interp_jax.data import npz, rows

IMAGES = np.random.default_rng(0).integers(0, 256, (23, 4, 4, 3), dtype=np.uint8)
SHUFFLED = np.array([22, 0, 7, 7, 3, 15])


def hdf5(path, chunks):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=IMAGES, chunks=chunks, compression="gzip" if chunks else None)
    return rows.Hdf5(path, h5py.File(path, "r")["x"])


def compressed(path):
    np.savez_compressed(path, x=IMAGES)
    return rows.Compressed(npz.find(path, "x"))


KINDS = {
    "plain": lambda path: rows.Plain(IMAGES),
    "compressed": lambda path: compressed(path / "a.npz"),
    "hdf5": lambda path: hdf5(path / "a.h5", None),
    "hdf5 in chunks": lambda path: hdf5(path / "a.h5", (5, 2, 4, 1)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_give_the_same_images(tmp_path, kind):
    made = KINDS[kind](tmp_path)
    assert made.shape == IMAGES.shape
    for size in (1, 6, 100):
        np.testing.assert_array_equal(np.concatenate(list(made.blocks(size))), IMAGES)
    np.testing.assert_array_equal(made.array(), IMAGES)
    if kind == "compressed":
        with pytest.raises(ValueError, match=r"a.npz: its images are compressed, .* lattices.unpack"):
            made.take(SHUFFLED)
    else:
        np.testing.assert_array_equal(made.take(SHUFFLED), IMAGES[SHUFFLED])
        assert made.take(SHUFFLED[:0]).shape == (0, 4, 4, 3)


def test_bits_hold_images_of_0_and_1():
    sprites = IMAGES[..., :1] % 2
    packed = rows.Bits(rows.bits(rows.Plain(sprites), 5), (4, 4, 1))
    assert packed.array().shape == (23, 2)
    np.testing.assert_array_equal(packed.take(SHUFFLED), sprites[SHUFFLED])
    np.testing.assert_array_equal(np.concatenate(list(packed.blocks(6))), sprites)
    with pytest.raises(ValueError, match="want pixels of 0 and 1, got 255"):
        rows.bits(rows.Plain(IMAGES * 0 + 255))


def test_copies_of_the_wrong_length_are_refused():
    with pytest.raises(ValueError, match="want 30 images, got 23"):
        rows.copy(rows.Plain(IMAGES), np.zeros((30, 4, 4, 3), np.uint8))
