import contextlib
import gzip
import hashlib
import struct

import numpy as np
import pytest

from interp_jax.data import idx

CODES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def made(values, dtype="u1"):
    """An idx file, from the format's description."""
    values = np.asarray(values)
    return (
        bytes([0, 0, CODES[dtype], values.ndim])
        + struct.pack(f">{values.ndim}I", *values.shape)
        + values.astype(dtype).tobytes()
    )


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_every_type_comes_back(tmp_path, dtype, pack):
    values = np.random.default_rng(0).integers(0, 100, (3, 4, 5))
    path = tmp_path / "file"
    path.write_bytes(pack(made(values, dtype)))
    read = idx.read(path, shape=(None, 4, 5), digest=hashlib.sha256(made(values, dtype)).hexdigest())
    np.testing.assert_array_equal(read, values)
    assert read.dtype == np.dtype(dtype).newbyteorder("=")
    assert read.flags.writeable


GOOD = made(np.arange(24).reshape(2, 3, 4))
PACKED = gzip.compress(GOOD, mtime=0)


@pytest.mark.parametrize(("content", "message"), [
    (b"", "not an idx file: its first bytes are missing"),
    (b"\x89PNG\r\n", "not an idx file: its first bytes are 89 50 4e 47"),
    (GOOD[:9], "cut short in its header of 3 axes"),
    (GOOD[:-1], r"cut short: want 24 bytes of values for shape \(2, 3, 4\), got 23"),
    (GOOD + b"x", "longer than its header says"),
    (b"\0\0\x08\x02" + b"\xff" * 8 + b"abc", r"want shape \(2, 3, None\), got \(4294967295, 4294967295\)"),
    (PACKED[:-9], "damaged gzip"),
    (PACKED[:12] + b"\xff\xff\xff" + PACKED[15:], "damaged gzip"),
    (PACKED[:-5] + bytes([PACKED[-5] ^ 1]) + PACKED[-4:], "damaged gzip"),
    (made(np.zeros((5, 3, 4))), r"want shape \(2, 3, None\), got \(5, 3, 4\)"),
    (made(np.zeros((2, 3))), "want shape"),
    (made(np.zeros((2, 3, 4))), "not the published file: want SHA-256"),
])  # fmt: skip
def test_damage_is_one_line_that_names_the_file(tmp_path, content, message):
    path = tmp_path / "labels-idx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        idx.read(path, shape=(2, 3, None), digest=hashlib.sha256(GOOD).hexdigest())
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_header_that_announces_too_much_takes_no_memory(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\0\0\x08\x03" + b"\xff" * 12 + b"abc")
    with pytest.raises(ValueError, match=r"cut short: want .* got 3"):
        idx.read(path)


def test_every_flipped_bit_is_noticed(tmp_path):
    """Whatever bit flips in a plain and a packed file, it is refused with a ValueError or nothing has changed."""
    path, digest = tmp_path / "file", hashlib.sha256(GOOD).hexdigest()
    for whole in (GOOD, PACKED):
        for bit in range(8 * len(whole)):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            with contextlib.suppress(ValueError):
                np.testing.assert_array_equal(idx.read(path, digest=digest).ravel(), np.arange(24))


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        idx.read(tmp_path / "nothing-here")
