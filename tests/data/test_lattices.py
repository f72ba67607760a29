import importlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.data import arm, dsprites, lattices, rows, shapes3d
from interp_jax.data import factors as sets

SIZES = (2, 3, 2)
NAMES = ("a", "b", "c")


def random_images(count, seed=0, shape=(64, 64, 3)):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def test_images_and_factors_meet_in_every_way(key, tmp_path):
    pixels = random_images(12, shape=(4, 4, 3))
    data = lattices.Lattice(NAMES, SIZES, rows.Plain(pixels))
    classes = np.array([[1, 2, 0], [0, 0, 1], [1, 0, 0]])
    numbers = [10, 1, 6]
    np.testing.assert_array_equal(lattices.index(data, classes), numbers)
    np.testing.assert_allclose(lattices.images(data, classes), pixels[numbers] / 255, atol=1e-7)
    walked = list(lattices.blocks(data, 5))
    np.testing.assert_array_equal(np.concatenate([each[1] for each in walked]), pixels)
    factors = np.concatenate([each[0] for each in walked])
    np.testing.assert_array_equal(lattices.index(data, factors), np.arange(12))
    drawn, rows_ = lattices.sample_images(data, key, 5)
    assert (drawn.dtype, drawn.shape) == (np.float32, (5, 4, 4, 3))
    np.testing.assert_allclose(drawn, lattices.images(data, rows_), atol=0)

    @jax.jit
    def on_device(pixels, key):
        return sets.sample_images(lattices.factor_set(data, pixels), key, 5)

    images, again = on_device(jnp.asarray(data.rows.array()), key)
    np.testing.assert_array_equal(again, rows_)
    np.testing.assert_allclose(images, drawn, atol=1e-7)


def test_nuisance_is_drawn_by_the_key_on_host_and_device_alike(key):
    pixels = random_images(12 * 5, shape=(2, 2, 1))
    data = lattices.Lattice(NAMES, SIZES, rows.Plain(pixels), repeats=5)
    classes = np.tile([[1, 2, 0]], (200, 1))
    numbers = lattices.index(data, classes, key)
    assert set(numbers) == set(range(50, 55))
    draw = jax.jit(lambda pixels, key: sets.images(lattices.factor_set(data, pixels), jnp.asarray(classes), key))
    np.testing.assert_allclose(draw(jnp.asarray(pixels), key), pixels[numbers] / 255, atol=1e-7)
    factors = np.concatenate([each[0] for each in lattices.blocks(data, 7)])
    np.testing.assert_array_equal(factors, np.repeat(np.unique(factors, axis=0), 5, 0))
    with pytest.raises(ValueError, match=r"draws its nuisance from a key"):
        lattices.images(data, classes)


def test_factors_out_of_range_are_named_or_nan():
    data = lattices.Lattice(NAMES, SIZES, rows.Plain(random_images(12, shape=(2, 2, 1))))
    with pytest.raises(ValueError, match="want 0 <= b <= 2, got entries from 3 to 3"):
        lattices.images(data, np.array([[0, 3, 0]]))
    with pytest.raises(AssertionError):
        lattices.images(data, np.array([[0.0, 1.0, 0.0]]))
    look = jax.jit(lambda pixels, row: lattices.factor_set(data, pixels).render(row))
    assert jnp.isnan(look(jnp.asarray(data.rows.array()), jnp.array([0, 3, 0]))).all()
    with pytest.raises(ValueError, match=r"want images for .*, got"):
        lattices.Lattice(NAMES, SIZES, rows.Plain(random_images(11, shape=(2, 2, 1))))


@pytest.fixture
def sprites(tmp_path, monkeypatch):
    """dSprites' file with few classes: its keys and types, a pickle among them."""
    sizes = (2, 2, 3, 2, 2)
    monkeypatch.setattr(dsprites, "FACTOR_SIZES", sizes)
    classes = np.stack(np.unravel_index(np.arange(48), (1, *sizes)), 1)
    arrays = {
        "imgs": random_images(48, shape=(64, 64)) % 2,
        "latents_classes": classes,
        "latents_values": classes / 2,
        "metadata": np.array({"a": 1}, object),
    }

    def write(**changes):
        np.savez_compressed(tmp_path / lattices.DSPRITES, **(arrays | changes))
        return tmp_path

    write()
    return arrays, write


def test_dsprites_are_kept_as_bits(sprites):
    arrays, write = sprites
    data = lattices.dsprites(write())
    assert data.rows.array().shape == (48, 512)
    np.testing.assert_array_equal(lattices.images(data, arrays["latents_classes"][:, 1:])[..., 0], arrays["imgs"])
    look = jax.jit(lambda bits, row: lattices.factor_set(data, bits).render(row))
    image = look(jnp.asarray(data.rows.array()), jnp.array([1, 0, 2, 0, 1]))
    np.testing.assert_array_equal(image[..., 0], arrays["imgs"][24 + 8 + 1])
    chex.assert_shape(image, data.shape)


@pytest.mark.parametrize(("changes", "message"), [
    (lambda a: {"imgs": a["imgs"] * 255}, "want pixels of 0 and 1, got 255"),
    (lambda a: {"imgs": a["imgs"][:-1]}, r"want imgs of shape \(48, 64, 64\), got \(47, 64, 64\)"),
    (lambda a: {"imgs": a["imgs"].astype(float)}, "want imgs of type u1, got float64"),
    (lambda a: {"latents_classes": a["latents_classes"][::-1]}, r"want latents_classes \[0, .*\] in row 0"),
    (lambda a: {"latents_classes": np.array([{}] * 48, object)}, "pickled objects, which are never read"),
])  # fmt: skip
def test_a_wrong_dsprites_file_is_one_line_that_names_it(sprites, changes, message):
    arrays, write = sprites
    folder = write(**changes(arrays))
    with pytest.raises(ValueError, match=message) as caught:
        lattices.dsprites(folder)
    assert str(caught.value).startswith(f"{folder / lattices.DSPRITES}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pack", [np.savez, np.savez_compressed])
def test_mpi3d_is_mapped_or_unpacked(tmp_path, monkeypatch, pack):
    monkeypatch.setattr(lattices, "MPI3D_SIZES", ((3, 2, 1, 1, 1, 2, 2), (2, 2, 1, 1, 1, 2, 2)))
    monkeypatch.setenv("INTERP_JAX_DATA", str(tmp_path))
    (tmp_path / "mpi3d").mkdir()
    for count, sizes in zip((24, 16), lattices.MPI3D_SIZES, strict=True):
        pixels = random_images(count, count)
        pack(tmp_path / "mpi3d" / "mpi3d_toy.npz", images=pixels)
        data = lattices.mpi_3d(file="mpi3d_toy.npz")
        assert (data.names, data.sizes, data.shape) == (arm.FACTOR_NAMES, sizes, (64, 64, 3))
        if pack is np.savez_compressed:
            with pytest.raises(ValueError, match=r"mpi3d_toy.npz: its images are compressed"):
                lattices.images(data, np.zeros((1, 7), int))
        open_ = lattices.unpack(data, tmp_path / f"{count}.npy")
        for each in (open_, lattices.unpack(data, tmp_path / f"{count}.npy")):
            row = np.array([[1, 1, 0, 0, 0, 1, 0]])
            np.testing.assert_allclose(lattices.images(each, row)[0], pixels[8 + 4 + 2] / 255, atol=1e-7)
    with pytest.raises(ValueError, match=r"24.npy: holds other images"):
        lattices.unpack(data, tmp_path / "24.npy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["16.npy", "24.npy", "mpi3d"]
    pack(tmp_path / "mpi3d" / "mpi3d_toy.npz", images=pixels[:-1])
    with pytest.raises(ValueError, match=r"want images of shape \(24 or 16, 64, 64, 3\), got \(15, 64, 64, 3\)"):
        lattices.mpi_3d(file="mpi3d_toy.npz")
    with pytest.raises(FileNotFoundError, match=r"no mpi3d_real.npz in .*mpi3d: put the published files there"):
        lattices.mpi_3d()


def test_a_half_written_copy_is_not_left_behind(tmp_path, monkeypatch):
    data = lattices.Lattice(NAMES, SIZES, rows.Plain(random_images(12, shape=(2, 2, 1))))

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(rows, "copy", fail)
    with pytest.raises(OSError, match="no space"):
        lattices.unpack(data, tmp_path / "a.npy")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def rooms(tmp_path, monkeypatch):
    """Shapes3D's file with few classes."""
    h5py = pytest.importorskip("h5py")
    sizes = (2, 2, 1, 3, 2, 2)
    monkeypatch.setattr(shapes3d, "FACTOR_SIZES", sizes)
    grid = np.stack(np.unravel_index(np.arange(48), sizes), 1)
    hues, size = 0.1 * grid[:, :3], 0.75 + grid[:, 3] * 0.5 / 7
    labels = np.column_stack([hues, size, grid[:, 4], -30 + grid[:, 5] * 60 / 14])
    arrays = {"images": random_images(48), "labels": labels}

    def write(**changes):
        with h5py.File(tmp_path / lattices.SHAPES3D, "w") as file:
            for name, values in (arrays | changes).items():
                if values is not None:
                    file.create_dataset(name, data=values, chunks=(7, *values.shape[1:]), compression="gzip")
        return tmp_path

    return arrays, grid, write


def test_shapes3d_is_read_from_disk(rooms, tmp_path):
    arrays, grid, write = rooms
    data = lattices.shapes_3d(write())
    shuffled = np.random.default_rng(1).permutation(48)[:9]
    np.testing.assert_allclose(lattices.images(data, grid[shuffled]), arrays["images"][shuffled] / 255, atol=1e-7)
    walked = list(lattices.blocks(data, 10))
    assert [len(block) for _, block in walked] == [7] * 6 + [6]
    np.testing.assert_array_equal(np.concatenate([classes for classes, _ in walked]), grid)
    unpacked = lattices.unpack(data, tmp_path / "a.npy")
    np.testing.assert_array_equal(unpacked.rows.array(), arrays["images"])


@pytest.mark.parametrize(("changes", "message"), [
    (lambda a: {"images": a["images"][:-1]}, r"want images of uint8 \(48, 64, 64, 3\), got uint8 \(47, 64, 64, 3\)"),
    (lambda a: {"images": None}, "want a data set images, got none"),
    (lambda a: {"labels": a["labels"][:, :5]}, r"want labels of float64 \(48, 6\), got float64 \(48, 5\)"),
    (lambda a: {"labels": a["labels"][::-1]}, r"want labels \[0.0, .*\] in row 0, got"),
])  # fmt: skip
def test_a_wrong_shapes3d_file_is_one_line_that_names_it(rooms, changes, message):
    arrays, _, write = rooms
    folder = write(**changes(arrays))
    with pytest.raises(ValueError, match=message) as caught:
        lattices.shapes_3d(folder)
    assert str(caught.value).startswith(f"{folder / lattices.SHAPES3D}: ")
    assert "\n" not in str(caught.value)


def test_a_damaged_shapes3d_file_is_one_line_that_names_it(rooms):
    path = rooms[2]() / lattices.SHAPES3D
    whole = path.read_bytes()
    for content in (whole[:-1000], b"not HDF5", b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"^{path}: not a readable HDF5 file: ") as caught:
            lattices.shapes_3d(path.parent)
        assert "\n" not in str(caught.value)
    path.write_bytes(whole)
    data = lattices.shapes_3d(path.parent)
    address = data.rows.dataset.id.get_chunk_info(2).byte_offset
    path.write_bytes(whole[:address] + b"damage" * 20 + whole[address + 120 :])
    with pytest.raises(ValueError, match=f"^{path}: rows 14 to 20 cannot be read: "):
        list(lattices.blocks(lattices.shapes_3d(path.parent), 7))


def test_without_h5py_the_way_to_it_is_told(tmp_path, monkeypatch):
    (tmp_path / lattices.SHAPES3D).touch()
    real = importlib.import_module

    def refuse(name, *rest):
        if name == "h5py":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(ImportError, match=r"needs h5py: pip install 'interp_jax\[h5\]'"):
        lattices.shapes_3d(tmp_path)
