import contextlib
import io
import zipfile

import numpy as np
import pytest

from interp_jax.data import npz

VALUES = np.arange(7 * 4 * 3, dtype=np.uint8).reshape(7, 4, 3)


def save(path, pack=np.savez_compressed, **arrays):
    pack(path, **arrays)
    return path


def member(header, body=b"", name="x.npy", version=b"\1\0"):
    """An npz file with one array, its header and values as given."""
    out = io.BytesIO()
    width = 2 if version[0] == 1 else 4
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, b"\x93NUMPY" + version + len(header).to_bytes(width, "little") + header + body)
    return out.getvalue()


@pytest.mark.parametrize("pack", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["u1", "<i8", ">f4", "?"])
def test_values_come_back_in_pieces_and_whole(tmp_path, pack, dtype):
    path = save(tmp_path / "a.npz", pack, other=np.arange(5), x=VALUES.astype(dtype))
    found = npz.find(path, "x", shape=(7, 4, 3), dtype=dtype)
    for size in (1, 3, 7, 100):
        pieces = list(npz.blocks(found, size))
        assert {len(piece) for piece in pieces[:-1]} <= {size}
        np.testing.assert_array_equal(np.concatenate(pieces), VALUES.astype(dtype))
    np.testing.assert_array_equal(npz.read(found), VALUES.astype(dtype))


def test_a_plain_array_is_mapped_and_a_compressed_one_is_not(tmp_path):
    path = save(tmp_path / "a.npz", np.savez, other=np.arange(5), x=VALUES)
    mapped = npz.mapped(npz.find(path, "x"))
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    np.testing.assert_array_equal(mapped, VALUES)
    packed = save(tmp_path / "b.npz", x=VALUES)
    assert npz.find(packed, "x").start is None
    with pytest.raises(ValueError, match=r"b.npz: x is compressed, so it cannot be mapped"):
        npz.mapped(npz.find(packed, "x"))


def test_an_empty_array_and_the_headers_of_other_versions_are_read(tmp_path):
    path = save(tmp_path / "a.npz", x=VALUES[:0])
    assert npz.read(npz.find(path, "x")).shape == (0, 4, 3)
    for version, header in ((b"\1\0", b"{'descr': '|u1', 'fortran_order': False, 'shape': (2L, 3L), }\n"),
                            (b"\2\0", b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3)}"),
                            (b"\3\0", b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3)}")):  # fmt: skip
        path.write_bytes(member(header, bytes(range(6)), version=version))
        np.testing.assert_array_equal(npz.read(npz.find(path, "x")), np.arange(6).reshape(2, 3))


PLAIN = b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3)}"


@pytest.mark.parametrize(("content", "message"), [
    (b"", "damaged npz: File is not a zip file"),
    (b"PK\3\4 and so on", "damaged npz"),
    (member(PLAIN, bytes(6), name="y.npy"), r"want an array x, got \['y'\]"),
    (member(PLAIN, bytes(5)), r"want 6 bytes of values for x of shape \(2, 3\)"),
    (member(PLAIN, bytes(7)), r"want 6 bytes of values for x of shape \(2, 3\)"),
    (member(PLAIN[:-9], bytes(6)), "damaged header"),
    (member(b"__import__('os')", bytes(6)), "damaged header"),
    (member(PLAIN, bytes(6), version=b"\7\0"), "not an npy array"),
    (member(PLAIN.replace(b"False", b"True"), bytes(6)), "in C order"),
    (member(PLAIN.replace(b"|u1", b"|O"), bytes(6)), "want numbers, got pickled objects, which are never read"),
    (member(PLAIN.replace(b"(2, 3)", b"(2, -3)"), bytes(6)), "in C order"),
    (member(PLAIN.replace(b"|u1", b"<i2"), bytes(12)), "want x of type u1, got int16"),
    (member(PLAIN.replace(b"(2, 3)", b"(3, 2)"), bytes(6)), r"want x of shape \(2, 3\), got \(3, 2\)"),
])  # fmt: skip
def test_damage_is_one_line_that_names_the_file(tmp_path, content, message):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        npz.read(npz.find(path, "x", shape=(2, 3), dtype="u1"))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_pickles_are_never_opened(tmp_path):
    path = save(tmp_path / "a.npz", x=np.array([{"a": 1}], object), y=VALUES)
    with pytest.raises(ValueError, match="pickled objects"):
        npz.find(path, "x")
    np.testing.assert_array_equal(npz.read(npz.find(path, "y")), VALUES)


@pytest.mark.parametrize("pack", [np.savez, np.savez_compressed])
def test_every_flipped_bit_is_noticed(tmp_path, pack):
    """Whatever bit flips, reading is refused with a ValueError or nothing has changed."""
    path = save(tmp_path / "a.npz", pack, x=VALUES[:2])
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 7):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with contextlib.suppress(ValueError):
            np.testing.assert_array_equal(npz.read(npz.find(path, "x")), VALUES[:2])


def test_a_file_that_shrinks_or_is_missing_is_named(tmp_path):
    path = save(tmp_path / "a.npz", x=VALUES)
    found = npz.find(path, "x")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"a.npz: damaged npz"):
        npz.read(found)
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        npz.find(tmp_path / "nothing-here", "x")
