import gc
import json
import time
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.models import safetensors

FLOATS = ["float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu",
          "float8_e4m3fnuz", "float8_e5m2fnuz"]  # fmt: skip
WHOLE = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]


def pack(head, body=b""):
    """A file with this header, text or JSON values, and these values."""
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return len(text).to_bytes(8, "little") + text + body


def one(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)} | more}


@pytest.mark.parametrize("dtype", [*FLOATS, *WHOLE, "complex64"])
def test_every_dtype_comes_back_bit_for_bit(tmp_path, dtype):
    values = np.arange(1, 7).reshape(2, 3).astype(jnp.dtype(dtype))
    safetensors.write(
        tmp_path / "a", {"odd": np.ones(3, np.int8), "w": values, "none": values[:0], "one": values[0, 0]}
    )
    found = safetensors.read(tmp_path / "a")
    assert {name: (array.dtype, array.shape) for name, array in found.items()} == {
        "odd": (np.int8, (3,)), "w": (values.dtype, (2, 3)), "none": (values.dtype, (0, 3)), "one": (values.dtype, ()),
    }  # fmt: skip
    assert found["w"].tobytes() == values.tobytes()
    assert found["one"].tobytes() == values[0, 0].tobytes()
    assert not found["w"].flags.writeable


def test_bytes_are_those_of_the_format(tmp_path):
    """The example of the format's own description: little-endian, C order, bfloat16 as the upper half of float32."""
    head = {"__metadata__": {"format": "pt"}} | one("BF16", (2, 2), (0, 8))
    (tmp_path / "a").write_bytes(pack(head, bytes.fromhex("803f 0040 40c0 0000")))
    np.testing.assert_array_equal(safetensors.read(tmp_path / "a")["w"].astype(np.float32), [[1, 2], [-3, 0]])
    assert safetensors.header(tmp_path / "a").metadata == {"format": "pt"}
    safetensors.write(tmp_path / "b", {"w": np.asarray([1, 256], ">i4")}, {"by": "us"})
    length = int.from_bytes((tmp_path / "b").read_bytes()[:8], "little")
    assert length % 8 == 0
    assert (tmp_path / "b").read_bytes()[8 + length :] == bytes.fromhex("01000000 00010000")


def test_what_cannot_be_written(tmp_path):
    for tensors in ({"w": np.ones(2, np.complex128)}, {"w": np.asarray(["a"])}, {"__metadata__": np.ones(2)}):
        with pytest.raises(ValueError, match="want tensors of dtype bool, uint8"):
            safetensors.write(tmp_path / "a", tensors)
    assert not list(tmp_path.iterdir())


DEEP = b'{"w":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(("content", "message"), [
    (b"", "cut short"),
    (b"\2\0\0\0\0\0\0", "cut short"),
    (pack(b"{}")[:-1], "cut short: a header of 2 bytes in a file of 9"),
    ((2**64 - 1).to_bytes(8, "little") + b"{}", "cut short: a header of 18446744073709551615 bytes"),
    (pack(b"{" + b" " * 2**24 + b"}"), "want a header of at most 16777216 bytes"),
    (pack(b" {}"), "starts with {"),
    (pack("{}".encode("utf-16")), "codec can't decode"),
    (pack(b'{"\xff": 1}'), "codec can't decode"),
    (pack(b"[]"), "starts with {"),
    (pack(b"{}{}"), "Extra data"),
    (pack(b'{"w": NaN}'), "NaN is no JSON"),
    (pack(b'{"w": 1' + b"0" * 5000 + b"}"), "digits"),
    (pack(DEEP), "nested too deeply"),
    (pack(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "nested too deeply"),
    (pack(json.dumps(one()).encode()[:-1] + b',"w":0}', bytes(8)), "'w' is there twice"),
    (pack({"w": {"dtype": "F32", "shape": [2]}}, bytes(8)), "want dtype, shape and data_offsets of tensor 'w'"),
    (pack(one(more=1), bytes(8)), "want dtype, shape and data_offsets"),
    (pack({"w": [1, [2]]}, bytes(8)), "got a list of 2"),
    (pack({"__metadata__": {"a": 1}}), "want text by name as __metadata__"),
    (pack({"__metadata__": []}), "want text by name as __metadata__"),
    (pack(one("F4"), bytes(8)), "want a dtype among BOOL, .* got 'F4'"),
    (pack(one(["F32"]), bytes(8)), "want a dtype among"),
    (pack(one(shape=(-2, -1)), bytes(8)), "each a whole number"),
    (pack(one(shape=(2.0,)), bytes(8)), "each a whole number"),
    (pack(one(shape=(True, 2)), bytes(8)), "each a whole number"),
    (pack(one(shape=[1] * 33), bytes(8)), "at most 32 axes"),
    (pack(one(shape=(3,)), bytes(8)), r"F32 \[3\] is 12 bytes, tensor 'w' has 8"),
    (pack(one(shape=(2**62, 2**62, 4)), bytes(8)), "is a number of 129 bits bytes"),
    (pack(one(shape=(0, 2**62), offsets=(0, 0))), "axes that numpy can hold"),
    (pack(one(offsets=(8, 0)), bytes(8)), "within 8 bytes"),
    (pack(one(offsets=(0, 8, 8)), bytes(8)), "within 8 bytes"),
    (pack(one(offsets=(0, 2**64)), bytes(8)), "within 8 bytes"),
    (pack(one(), bytes(7)), "within 7 bytes"),
    (pack(one(), bytes(9)), "1 bytes belong to no tensor"),
    (pack(one(offsets=(1, 9)), bytes(9)), "leaves 1 bytes to nobody"),
    (pack(one() | {"v": one()["w"]}, bytes(8)), "overlaps the one before"),
    (pack(one("BOOL", (2,), (0, 2)), b"\1\2"), "booleans of 2"),
])  # fmt: skip
def test_damage_is_one_line_that_names_the_file(tmp_path, content, message):
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        safetensors.read(tmp_path / "a.bin")
    assert str(error.value).startswith(f"{tmp_path / 'a.bin'}: not a sound safetensors file: ")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_a_huge_file_of_nothing_is_refused_without_reading_it(tmp_path):
    with open(tmp_path / "a", "wb") as file:
        file.write((2**40).to_bytes(8, "little"))
        file.truncate(2**41)
    tracemalloc.start()
    with pytest.raises(ValueError, match="at most 16777216 bytes"):
        safetensors.read(tmp_path / "a")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


class Folder:
    def __init__(self, root):
        self.root = root
        safetensors.write(root / "a.safetensors", {"w": np.arange(3.0), "more": np.ones(1)})
        safetensors.write(root / "b.safetensors", {"v": np.arange(2)})
        self.index(weight_map={"w": "a.safetensors", "v": "b.safetensors"})

    def index(self, **record):
        (self.root / "model.safetensors.index.json").write_text(json.dumps(record))


def test_a_checkpoint_of_several_files(tmp_path):
    folder = Folder(tmp_path)
    found = safetensors.checkpoint(tmp_path)
    assert sorted(found) == ["v", "w"]
    np.testing.assert_array_equal(found["w"], np.arange(3.0))
    folder.index(weight_map={"v": "a.safetensors"})
    with pytest.raises(ValueError, match=r"a.safetensors: no tensor 'v', which model.safetensors.index.json says"):
        safetensors.checkpoint(tmp_path)
    folder.index(weight_map={"v": "c.safetensors"})
    with pytest.raises(FileNotFoundError, match=r"c.safetensors"):
        safetensors.checkpoint(tmp_path)


@pytest.mark.parametrize("file", ["../a.safetensors", "/a", "", ".", "..", "a\0", "a" * 300, 3, None, ["a"]])
def test_an_index_leads_to_no_other_folder(tmp_path, file):
    Folder(tmp_path).index(weight_map={"w": file})
    with pytest.raises(ValueError, match="not a sound index: want weight_map to give names of files beside it"):
        safetensors.checkpoint(tmp_path)


def test_a_checkpoint_of_one_file_or_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"want model.safetensors or model.safetensors.index.json"):
        safetensors.checkpoint(tmp_path)
    safetensors.write(tmp_path / "model.safetensors", {"w": np.arange(3.0)})
    assert [*safetensors.checkpoint(tmp_path)] == [*safetensors.checkpoint(tmp_path / "model.safetensors")] == ["w"]
    with pytest.raises(FileNotFoundError, match="no file"):
        safetensors.checkpoint(tmp_path / "nothing")


class Mutator:
    """Damages a file in the ways that discs, transfers and ill will do."""

    PIECES = (b"[", b"]", b"{", b"}", b'"', b",", b":", b"-", b"9" * 30, b"1e999", b"null", b"true", b"NaN", b"0",
              b'"F64"', b'"BOOL"', b'"w"', b"[" * 2000, b"18446744073709551616", b"\\ud800",
              b"\xff", b"\0", b" ")  # fmt: skip

    def __init__(self, seed):
        self.draw = np.random.default_rng(seed)

    def __call__(self, data):
        data = bytearray(data)
        for _ in range(self.draw.integers(1, 4)):
            ways = (self.flip, self.cut, self.splice, self.splice, self.swap, self.length, self.number, self.number)
            data = ways[self.draw.integers(len(ways))](data)
        return bytes(data)

    def place(self, data):
        """Mostly in the header, where damage does most."""
        top = min(len(data), 250) if self.draw.random() < 0.8 else len(data)
        return int(self.draw.integers(0, max(top, 1)))

    def flip(self, data):
        if data:
            data[self.place(data)] ^= 1 << int(self.draw.integers(8))
        return data

    def cut(self, data):
        return data[: self.place(data)]

    def splice(self, data):
        """Put a piece of text in, with the header's length made right again half of the time."""
        piece, at = self.PIECES[self.draw.integers(len(self.PIECES))], max(self.place(data), 8)
        data[at : at + int(self.draw.integers(0, 4))] = piece
        return self.fixed(data, len(piece)) if self.draw.random() < 0.5 else data

    def fixed(self, data, more):
        length = int.from_bytes(data[:8], "little") + more
        data[:8] = min(max(length, 0), 2**64 - 1).to_bytes(8, "little")
        return data

    def swap(self, data):
        i, j = sorted((self.place(data), self.place(data)))
        data[i:j] = data[i:j][::-1]
        return data

    def length(self, data):
        new = [0, 1, 2**32, 2**63, 2**64 - 1, len(data), len(data) - 8, int(self.draw.integers(0, 400))]
        data[:8] = max(new[self.draw.integers(len(new))], 0).to_bytes(8, "little")
        return data

    def number(self, data):
        """Replace a digit, which leaves the JSON sound."""
        digits = [i for i, byte in enumerate(data[:250]) if 48 <= byte <= 57 and i >= 8]
        if digits:
            data[digits[self.draw.integers(len(digits))]] = 48 + int(self.draw.integers(10))
        return data


def sound(root):
    tensors = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "flags": np.asarray([True, False]),
               "half": np.ones(5, np.float16), "none": np.zeros((0, 4), np.int64)}  # fmt: skip
    safetensors.write(root / "sound", tensors, {"format": "pt"})
    return (root / "sound").read_bytes()


def attempt(path, data):
    """Read damaged bytes; give the tensors, or why not."""
    path.write_bytes(data)
    try:
        return safetensors.read(path), None
    except ValueError as error:
        return {}, str(error)


@pytest.fixture
def timed():
    """Keep what other tests left behind out of collections, of which one can take seconds in a long run."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("timed")
def test_ten_thousand_damaged_files(tmp_path):
    """Each is read as what it says it is, or refused in one line: no crash, no hang."""
    original, mutate, path = sound(tmp_path), Mutator(0), tmp_path / "damaged"
    refused, longest = 0, 0.0
    for _ in range(10_000):
        data = mutate(original)
        started = time.perf_counter()
        tensors, error = attempt(path, data)
        longest = max(longest, time.perf_counter() - started)
        assert sum(tensor.nbytes for tensor in tensors.values()) <= len(data)
        assert all(tensor.tobytes() in data for tensor in tensors.values())
        if error is not None:
            refused += 1
            assert error.startswith(f"{path}: not a sound safetensors file: ")
            assert "\n" not in error
    assert 9000 < refused < 10_000  # what is left has damaged values or names, which no reader could tell
    assert longest < 2


def test_damage_allocates_nothing_beyond_the_file(tmp_path):
    original, mutate = sound(tmp_path), Mutator(1)
    tracemalloc.start()
    for _ in range(500):
        attempt(tmp_path / "damaged", mutate(original))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.usefixtures("timed")
@pytest.mark.parametrize("text", [
    b'{%s,"29999":0}' % b",".join(b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(30_000)),
    b'{"w":[%s0]}' % (b"[]," * 500_000),
    b'{"w":{"dtype":"U8","shape":[%s1],"data_offsets":[0,1]}}' % (b"1," * 500_000),
], ids=["names", "lists", "axes"])  # fmt: skip
def test_no_header_takes_long(tmp_path, text):
    """Headers that grow most when they are parsed, or that would compare each name with each."""
    started = time.perf_counter()
    _, error = attempt(tmp_path / "a", pack(text))
    assert "not a sound safetensors file" in error
    assert len(error) < 300
    assert time.perf_counter() - started < 5
