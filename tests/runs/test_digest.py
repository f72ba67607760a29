import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.runs import digest

MIX, STRIDE, WORD = 0xD6E8FEB86659FD93, 0x9E3779B97F4A7C15, (1 << 64) - 1


def oracle(array, dtype=None, shape=None):
    """The definition in Python integers, one element after another."""
    import hashlib

    dtype, shape = dtype or str(array.dtype), tuple(array.shape) if shape is None else shape
    salt = int.from_bytes(hashlib.sha256(f"{dtype}{shape}".encode()).digest()[:8], "little")
    total = salt
    raw = np.ascontiguousarray(array)
    raw = raw.reshape(-1).view(np.uint64 if raw.dtype.itemsize == 16 else f"u{raw.dtype.itemsize}")
    for index, bits in enumerate(raw.tolist()):
        x = (bits + index * STRIDE + salt) & WORD
        for _ in range(2):
            x ^= x >> 32
            x = x * MIX & WORD
        total += x ^ (x >> 32)
    return f"{total & WORD:016x}"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "bool", "int8", "uint32", "complex64"])
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (3, 4, 5)])
def test_definition(dtype, shape):
    array = np.asarray(np.random.default_rng(0).normal(size=shape) * 3).astype(jnp.dtype(dtype))
    assert digest.fingerprints({"a": jnp.asarray(array)})["a"] == oracle(array)
    assert digest.fingerprints(array)["."] == oracle(array)


@pytest.mark.parametrize("dtype", ["float64", "int64", "complex128"])
def test_wide_host_arrays(dtype):
    array = np.random.default_rng(0).normal(size=(7, 3)).astype(dtype)
    assert digest.fingerprints([array])["0"] == oracle(array)


def test_blocks_do_not_matter(monkeypatch):
    array = np.random.default_rng(0).normal(size=(3, 5, 7)).astype(np.float32)
    for block in (1, 2, 7, 8, 40, 1000):
        monkeypatch.setattr(digest, "_BLOCK", block)
        assert digest.fingerprints(array)["."] == oracle(array)
        assert digest.fingerprints(array.transpose(2, 0, 1))["."] == oracle(array.transpose(2, 0, 1))


def test_every_single_bit_is_seen():
    array = np.zeros((3, 4), np.float32)
    before = digest.fingerprints(array)["."]
    marks = {before}
    for element in range(array.size):
        for bit in range(32):
            array.view(np.uint32).flat[element] ^= np.uint32(1 << bit)
            marks.add(digest.fingerprints(array)["."])
            array.view(np.uint32).flat[element] ^= np.uint32(1 << bit)
    assert len(marks) == 1 + array.size * 32


def test_order_dtype_shape_and_signed_zero_count():
    def f(*values):
        return np.asarray(values, np.float32)

    arrays = [
        f(1, 2), f(2, 1), f([1, 2]), f(0, 0), -f(0, 0), f(1, 2).view(np.int32), np.asarray([1, 2], np.int32),
        np.zeros((0, 2), np.float32), np.zeros((0, 3), np.float32),
    ]  # fmt: skip
    marks = [digest.fingerprints(x)["."] for x in arrays]
    assert len(set(marks)) == len(marks)


def test_keys_count_by_data_and_implementation():
    data = np.asarray([[0, 1, 2, 3]], np.uint32)
    fry = jax.random.wrap_key_data(jnp.asarray(data[:, :2]), impl="threefry2x32")
    rbg = jax.random.wrap_key_data(jnp.asarray(data), impl="rbg")
    assert digest.fingerprints(fry)["."] == oracle(data[:, :2], "key<fry>", (1,))
    assert digest.fingerprints(rbg)["."] == oracle(data, "key<rbg>", (1,))


def test_paths_and_kinds():
    marks = digest.fingerprints({"a": (jnp.ones(2), None), "b": 3, "c": True, "d": 2.5})
    assert list(marks) == ["a/0", "a/1", "b", "c", "d"]
    assert marks["a/1"] == "none"
    with pytest.raises(ValueError, match="str at b"):
        digest.fingerprints({"a": 1, "b": "text"})
    with pytest.raises(ValueError, match="ndarray at b"):
        digest.fingerprints({"b": np.asarray(["text"])})
    with pytest.raises(ValueError, match="'a/b'"):
        digest.fingerprints({"a/b": 1, "a": {"b": 2}})


def test_one_mark_for_a_tree():
    tree = {"a": jnp.ones(2), "b": None}
    assert digest.fingerprint(tree) == digest.fingerprint(jax.tree.map(np.asarray, tree))
    assert digest.fingerprint(tree) != digest.fingerprint({"a": jnp.ones(2), "c": None})
