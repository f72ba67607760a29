import gzip
import itertools
import struct

import numpy as np
import pytest

from interp_jax.data import lattices, resize, smallnorb

SIZES, INSTANCES = (2, 3, 2, 2), 2
CODES = {"u1": 0x1E3D4C55, "<i4": 0x1E3D4C54, "<f4": 0x1E3D4C51}


def made(values, dtype):
    """A matrix file, from the format's description: at least three lengths, 1 beyond the rank."""
    values = np.asarray(values)
    lengths = [*values.shape, 1, 1][: max(3, values.ndim)]
    head = struct.pack(f"<Ii{len(lengths)}i", CODES[dtype], values.ndim, *lengths)
    return head + values.astype(dtype).tobytes()


def halves():
    """Two halves: shuffled rows of (category, instance, elevation, azimuth, lighting) and a stereo pair for each."""
    rng = np.random.default_rng(0)
    for instances in ((1,), (0,)):
        kept = np.array(list(itertools.product(range(2), instances, range(3), (0, 2), range(2))))
        rng.shuffle(kept)
        yield kept, rng.integers(0, 256, (len(kept), 2, 96, 96), dtype=np.uint8)


def write(folder):
    for i, (half, (kept, pictures)) in enumerate(zip(smallnorb.HALVES, halves(), strict=True)):
        parts = {"dat": made(pictures, "u1"), "cat": made(kept[:, 0], "<i4"), "info": made(kept[:, 1:], "<i4")}
        for kind, content in parts.items():
            packed = i == 1 and kind != "cat"
            path = folder / (f"smallnorb-{half}-{kind}.mat" + ".gz" * packed)
            path.write_bytes(gzip.compress(content, 1) if packed else content)


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setattr(smallnorb, "SIZES", SIZES)
    monkeypatch.setattr(smallnorb, "INSTANCES", INSTANCES)
    write(tmp_path)
    return tmp_path


def path_of(folder, kind, half=0):
    return folder / f"smallnorb-{smallnorb.HALVES[half]}-{kind}.mat"


def test_every_left_picture_is_at_its_factors(small):
    data = lattices.small_norb(small)
    assert (data.sizes, data.repeats, data.shape) == (SIZES, INSTANCES, (64, 64, 1))
    for kept, pictures in halves():
        for (category, instance, elevation, azimuth, lighting), pair in list(zip(kept, pictures, strict=True))[::5]:
            number = np.ravel_multi_index((category, elevation, azimuth // 2, lighting, instance), (*SIZES, INSTANCES))
            left = resize.area(pair[0][None, :, :, None], 64)
            np.testing.assert_array_equal(data.rows.take(np.array([number])), left)


def test_it_is_found_where_files_belong(small, monkeypatch):
    inner = small / "smallnorb"
    inner.mkdir()
    for path in small.glob("*.mat*"):
        path.rename(inner / path.name)
    monkeypatch.setenv("INTERP_JAX_DATA", str(small))
    assert lattices.small_norb().rows.shape == (48, 64, 64, 1)
    path_of(inner, "cat", 1).unlink()
    with pytest.raises(FileNotFoundError, match=r"no smallnorb-.*-cat.mat\[.gz\] in .*INTERP_JAX_DATA"):
        lattices.small_norb()


def category(change):
    return lambda kept: made(change(kept[:, 0].copy()), "<i4")


def info(change):
    return lambda kept: made(change(kept[:, 1:].copy()), "<i4")


def first(column, value):
    def change(array):
        array[(0, *column)] = value
        return array

    return change


GOOD = made(next(halves())[0][:, 1:], "<i4")


@pytest.mark.parametrize(("kind", "content", "message"), [
    ("info", b"", "not a NORB matrix: its first bytes are missing"),
    ("info", b"MATLAB 5.0 MAT-file", "not a NORB matrix: its first bytes are 4d 41 54 4c"),
    ("info", GOOD[:12], "cut short in its header of 2 axes"),
    ("info", GOOD[:-1], "cut short: it ends in row 23 of 24"),
    ("info", GOOD + b"x", "longer than its header says"),
    ("cat", made(np.zeros(23), "<f4"), r"want int32 of shape \(None,\), got float32 of shape \(23,\)"),
    ("info", made(np.zeros((23, 4)), "<i4"), r"want int32 of shape \(24, 4\), got int32 of shape \(23, 4\)"),
    ("cat", category(first((), 2)), "want category from 0 to 1, got 2 in row 0"),
    ("info", info(first((2,), 1)), "want even azimuths, got 1 in row 0"),
    ("info", info(first((2,), 4)), "want azimuth from 0 to 2, got 4 in row 0"),
    ("info", info(first((0,), -1)), "want instance from 0 to 1, got -1 in row 0"),
    ("dat", made(np.zeros((24, 2, 90, 96)), "u1"), r"want uint8 of shape \(24, 2, 96, 96\), got uint8 of shape"),
])  # fmt: skip
def test_damage_is_one_line_that_names_the_file(small, kind, content, message):
    path = path_of(small, kind)
    path.write_bytes(content if isinstance(content, bytes) else content(next(halves())[0]))
    with pytest.raises(ValueError, match=message) as caught:
        lattices.small_norb(small)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_combination_that_is_missing_is_told(small):
    kept = next(halves())[0].copy()
    kept[5] = kept[6]
    path_of(small, "cat").write_bytes(made(kept[:, 0], "<i4"))
    path_of(small, "info").write_bytes(made(kept[:, 1:], "<i4"))
    with pytest.raises(ValueError, match=r"want every combination once, got .* \d times") as caught:
        lattices.small_norb(small)
    assert str(caught.value).startswith(str(small))
