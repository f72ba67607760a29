import numpy as np
import pytest
from PIL import Image

from interp_jax.data import photos

WIDE = np.random.default_rng(0).integers(0, 256, (4, 10, 3), dtype=np.uint8)


def write(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


def test_the_central_square_is_taken(tmp_path):
    path = write(tmp_path / "wide.png", WIDE)
    np.testing.assert_array_equal(photos.read(path, 4), WIDE[:, 3:7])
    path = write(tmp_path / "tall.png", WIDE.transpose(1, 0, 2))
    np.testing.assert_array_equal(photos.read(path, 4), WIDE.transpose(1, 0, 2)[3:7])


def test_shrinking_averages_and_stays_in_range(tmp_path):
    board = np.indices((32, 32)).sum(0) % 2 * 255
    path = write(tmp_path / "board.png", np.repeat(board[:, :, None], 3, 2).astype(np.uint8))
    np.testing.assert_allclose(photos.read(path, 8), 127.5, atol=1.5)


def test_small_and_grey_pictures_are_enlarged_and_coloured(tmp_path):
    path = write(tmp_path / "grey.png", np.full((3, 3), 77, np.uint8))
    np.testing.assert_array_equal(photos.read(path, 6), np.full((6, 6, 3), 77))


def test_pictures_come_by_number_and_in_order(tmp_path):
    paths = tuple(write(tmp_path / f"{i}.jpg", np.full((8, 8, 3), 40 * i, np.uint8)) for i in range(5))
    found = photos.Photos(paths, 2)
    assert found.shape == (5, 2, 2, 3)
    np.testing.assert_array_equal(found.take(np.array([3, 1]))[:, 0, 0, 0], [120, 40])
    np.testing.assert_array_equal(np.concatenate([*found.blocks(2)]), found.array())
    assert found.take(np.array([], int)).shape == (0, 2, 2, 3)


def test_chosen_ones_have_their_concepts(tmp_path):
    paths = tuple(write(tmp_path / f"{i}.png", np.full((4, 4, 3), 51 * i, np.uint8)) for i in range(4))
    concepts, labels = np.eye(4, 3, dtype=bool), np.arange(4)
    for rows in (np.array([2, 3]), np.array([False, False, True, True])):
        found = photos.chosen(photos.Photos(paths, 1), concepts, labels, rows)
        np.testing.assert_allclose(found.inputs[:, 0, 0, 0], [0.4, 0.6], atol=1e-6)
        np.testing.assert_array_equal(found.concepts, [[0, 0, 1], [0, 0, 0]])
        np.testing.assert_array_equal(found.labels, [2, 3])
    with pytest.raises(ValueError, match="want as many photos as concepts and labels, got 4, 3 and 4"):
        photos.chosen(photos.Photos(paths, 1), concepts[:3], labels, np.array([0]))


def test_what_cannot_be_decoded_is_named(tmp_path):
    path = write(tmp_path / "a.jpg", WIDE)
    whole = path.read_bytes()
    for content in (b"", b"not a picture", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.jpg: not a readable picture"):
            photos.read(path, 4)
    Image.fromarray(WIDE).save(tmp_path / "b.gif")
    with pytest.raises(ValueError, match="not a readable picture"):
        photos.read(tmp_path / "b.gif", 4)
    with pytest.raises(FileNotFoundError):
        photos.read(tmp_path / "c.jpg", 4)
    with pytest.raises(ValueError, match="side"):
        photos.Photos((), 0)
