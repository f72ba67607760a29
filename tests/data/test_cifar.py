import gzip

import numpy as np
import pytest

from interp_jax.data import cifar, images

RECORDS = 20


def record(label, picture):
    """One record, from the format's description: the label, then plane after plane, row after row."""
    height, width, planes = picture.shape
    pixels = [picture[i, j, c] for c in range(planes) for i in range(height) for j in range(width)]
    return bytes([label, *pixels])


def made(seed, labels=range(RECORDS)):
    """A file of records with a picture each, and its pictures."""
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (RECORDS, *cifar.SHAPE), dtype=np.uint8)
    return b"".join(record(y % 10, x) for y, x in zip(labels, pictures, strict=True)), pictures


def write(folder, monkeypatch):
    """Write the six files with 20 records each, one packed, and have that many expected."""
    monkeypatch.setattr(cifar, "RECORDS", RECORDS)
    for seed, name in enumerate((*cifar.TRAIN, *cifar.TEST)):
        content, packed = made(seed)[0], seed == 1
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    return folder


@pytest.fixture
def small(tmp_path, monkeypatch):
    return write(tmp_path, monkeypatch)


def test_pictures_and_labels_are_those_that_were_written(small):
    train, test = images.cifar_10(small)
    assert (train.images.shape, test.images.shape) == ((100, 32, 32, 3), (20, 32, 32, 3))
    assert (train.images.dtype, train.labels.dtype) == (np.float32, np.int32)
    wanted = np.concatenate([made(seed)[1] for seed in range(5)])
    np.testing.assert_allclose(train.images, wanted / 255, atol=1e-7)
    np.testing.assert_allclose(test.images, made(5)[1] / 255, atol=1e-7)
    np.testing.assert_array_equal(train.labels, np.tile(np.arange(10), 10))
    assert images.SHAPE["cifar-10"] == train.images.shape[1:]


def test_it_is_found_by_name_and_in_the_folder_that_its_archive_makes(small, monkeypatch):
    inner = small / "cifar-10" / cifar.FOLDER
    inner.mkdir(parents=True)
    for path in small.glob("*.bin*"):
        path.rename(inner / path.name)
    monkeypatch.setenv("INTERP_JAX_DATA", str(small))
    np.testing.assert_allclose(images.by_name("cifar-10").test.images, made(5)[1] / 255, atol=1e-7)


GOOD = made(5)[0]
SIZE = 3073


@pytest.mark.parametrize(("content", "message"), [
    (b"", "cut short: want 20 records of 3073 bytes, got 0 bytes"),
    (GOOD[:-1], "cut short: want 20 records of 3073 bytes, got 61459 bytes"),
    (GOOD + b"x", "too long: want 20 records of 3073 bytes, got more"),
    (GOOD[:SIZE] + b"\x0a" + GOOD[SIZE + 1 :], "want labels from 0 to 9, got 10 in record 1"),
    (gzip.compress(GOOD)[:-9], "damaged gzip"),
])  # fmt: skip
def test_damage_is_one_line_that_names_the_file(small, content, message):
    path = small / cifar.TEST[0]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        images.cifar_10(small)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_pictures_missing_from_a_class_are_told(small):
    (small / cifar.TEST[0]).write_bytes(made(5, [1, *range(1, RECORDS)])[0])
    with pytest.raises(ValueError, match=r"want 2 pictures of each class in test_batch\.bin, got 1 of class 0"):
        images.cifar_10(small)
    (small / cifar.TEST[0]).write_bytes(GOOD)
    (small / cifar.TRAIN[4]).write_bytes(made(4, [3] * RECORDS)[0])
    with pytest.raises(
        ValueError, match=r"want 10 .* in data_batch_1.bin to data_batch_5.bin, got 8 of class 0"
    ) as caught:
        images.cifar_10(small)
    assert str(caught.value).startswith(str(small))


def test_a_missing_file_says_where_it_is_looked_for_and_what_to_get(small):
    (small / cifar.TRAIN[2]).unlink()
    with pytest.raises(FileNotFoundError, match=r"no data_batch_3.bin\[.gz\] in .*binary version of CIFAR-10"):
        images.cifar_10(small)


def test_an_unknown_data_set_is_named():
    with pytest.raises(ValueError, match=r"want a data set among .*'cifar-10'.*, got 'cifar'"):
        images.by_name("cifar")
