import io
import tarfile

import numpy as np
import pytest
import scipy.io

from interp_jax.data import cars3d, lattices

SIZES = (2, 3, 4)


def pictures(car):
    """A car's pictures as its file has them: row, column, channel, azimuth, elevation."""
    return np.random.default_rng(car).integers(0, 256, (128, 128, 3, 3, 2), dtype=np.uint8)


def content(car=0, name="im", values=None):
    out = io.BytesIO()
    scipy.io.savemat(out, {name: pictures(car) if values is None else values}, do_compression=car % 2 == 1)
    return out.getvalue()


FILES = {f"car_{car:03d}_mesh.mat": content(car) for car in range(4)}


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setattr(cars3d, "SIZES", SIZES)
    for name, whole in reversed(FILES.items()):
        (tmp_path / name).write_bytes(whole)
    (tmp_path / "list.txt").write_text("not a picture")
    return tmp_path


def check(data):
    assert (data.names, data.sizes, data.shape) == (("elevation", "azimuth", "car"), SIZES, (64, 64, 3))
    for elevation, azimuth, car in ((0, 0, 0), (1, 2, 3), (1, 0, 2), (0, 2, 1)):
        full = pictures(car)[:, :, :, azimuth, elevation].astype(float)
        mean = full.reshape(64, 2, 64, 2, 3).mean((1, 3))
        found = lattices.images(data, np.array([[elevation, azimuth, car]]))[0]
        assert np.abs(found * 255 - mean).max() <= 0.5 + 1e-4


def test_every_picture_is_at_its_factors(small):
    check(lattices.cars_3d(small))


def archive(path, files, mode="w:gz"):
    with tarfile.open(path, mode) as out:
        for name, whole in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(whole)
            out.addfile(member, io.BytesIO(whole))
    return path


def test_the_archive_and_the_folders_it_makes_are_read_too(small, tmp_path):
    inner = tmp_path / "data" / "cars"
    inner.mkdir(parents=True)
    for name in FILES:
        (small / name).rename(inner / name)
    check(lattices.cars_3d(small))
    for name in FILES:
        (inner / name).unlink()
    packed = {f"data/cars/{name}": whole for name, whole in reversed(FILES.items())}
    others = {"data/sprites/s.mat": b"x", "data/cars/._car_000_mesh.mat": b"x", "data/cars/list.txt": b"x"}
    whole = archive(small / cars3d.ARCHIVE, others | packed)
    check(lattices.cars_3d(small))
    check(lattices.cars_3d(archive(small / "mine.tar", packed, "w")))
    whole.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(ValueError, match=f"^{whole}: damaged archive: "):
        lattices.cars_3d(small)


@pytest.mark.parametrize(("damaged", "message"), [
    (b"", "not a readable .mat file"),
    (FILES["car_001_mesh.mat"][:-100], "not a readable .mat file"),
    (content(name="other"), r"want an array im of uint8 \(128, 128, 3, 3, 2\), got none"),
    (content(values=pictures(0)[:, :, :, :, 0]), r"got uint8 \(128, 128, 3, 3\)"),
    (content(values=pictures(0) / 255), "got float64"),
])  # fmt: skip
def test_damage_is_one_line_that_names_the_file(small, damaged, message):
    path = small / "car_001_mesh.mat"
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=message) as caught:
        lattices.cars_3d(small)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_missing_files_are_told(small, tmp_path):
    (small / "car_002_mesh.mat").unlink()
    with pytest.raises(ValueError, match=r"want the \.mat files of 4 cars, got 3"):
        lattices.cars_3d(small)
    with pytest.raises(FileNotFoundError, match=r"neither \.mat files nor .* in .*nowhere: put the published files"):
        lattices.cars_3d(tmp_path / "nowhere")
