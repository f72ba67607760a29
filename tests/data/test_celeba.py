"""CelebA's lists, on a made folder of the published format: sixteen faces, five attributes."""

import numpy as np
import pytest
from PIL import Image

from interp_jax.data import celeba

NAMES = ("Bald", "Bangs", "Male", "Smiling", "Young")
NUMBERS = np.arange(16)
# shares 1/16, 1/2, 5/16, 1/2, 3/4
ATTRIBUTES = np.stack([NUMBERS == 3, NUMBERS % 2 == 0, NUMBERS % 3 == 1, NUMBERS < 8, NUMBERS % 4 != 0], 1)


@pytest.fixture
def folder(tmp_path):
    files = [f"{i + 1:06d}.jpg" for i in NUMBERS]
    rows = [f"{file}  {' '.join(f'{2 * v - 1:2d}' for v in row)}" for file, row in zip(files, ATTRIBUTES, strict=True)]
    (tmp_path / "list_attr_celeba.txt").write_text("\n".join(["16", " ".join(NAMES) + " ", *rows]) + "\n")
    parts = [f"{file} {i // 8 + (i > 13)}" for i, file in enumerate(files)]
    (tmp_path / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")
    (tmp_path / "img_align_celeba").mkdir()
    for i, file in enumerate(files):
        Image.fromarray(np.full((12, 10, 3), 10 * i, np.uint8)).save(tmp_path / "img_align_celeba" / file)
    return tmp_path


def test_the_lists_are_read(folder):
    faces = celeba.load(folder, side=3)
    np.testing.assert_array_equal(faces.attributes, ATTRIBUTES)
    assert faces.names == NAMES
    np.testing.assert_array_equal(faces.part, [0] * 8 + [1] * 6 + [2] * 2)
    np.testing.assert_allclose(faces.photos.take(np.array([4, 9]))[:, 1, 1, 1], [40, 90], atol=1)


def test_the_most_balanced_attributes_are_concepts_and_the_next_are_hidden_in_the_label(folder):
    task = celeba.balanced(celeba.load(folder).attributes, concepts=2, hidden=1)
    assert (task.columns, task.hidden) == ((1, 3), (2,))
    np.testing.assert_array_equal(task.concepts, ATTRIBUTES[:, [1, 3]])
    code = 4 * ATTRIBUTES[:, 1] + 2 * ATTRIBUTES[:, 3] + ATTRIBUTES[:, 2]
    seen = sorted(set(code.tolist()))
    np.testing.assert_array_equal(task.labels, [seen.index(value) for value in code])
    assert task.classes == len(seen) == task.labels.max() + 1


def test_classes_that_do_not_occur_are_left_out():
    task = celeba.balanced(np.array([[0, 0], [1, 1], [1, 1], [0, 0]], bool), concepts=1, hidden=1)
    assert (task.classes, task.labels.tolist()) == (2, [0, 1, 1, 0])


def test_too_many_concepts_are_refused():
    with pytest.raises(ValueError, match="want at most 5 concepts and hidden attributes, got 4 \\+ 2"):
        celeba.balanced(ATTRIBUTES, concepts=4, hidden=2)


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("list_attr_celeba.txt", "16\n", "17\n", "want as many faces as its first line says, 17, got 16"),
        ("list_attr_celeba.txt", "Bald ", "", "want a file's name and 4 numbers a line"),
        ("list_attr_celeba.txt", "000003.jpg  -1", "000003.jpg  0", "want attributes of -1 and 1, got"),
        ("list_attr_celeba.txt", "000003.jpg  -1", "000003.jpg  y", "list_attr_celeba.txt: invalid literal"),
        ("list_eval_partition.txt", "000003.jpg", "000030.jpg", "want the same files in the same order"),
        ("list_eval_partition.txt", "000003.jpg 0", "000003.jpg 3", "want 0 <= parts <= 2"),
    ],
)
def test_a_damaged_list_is_named(folder, file, old, new, said):
    path = folder / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=said):
        celeba.load(folder)


def test_a_missing_list_is_named_with_what_to_do(folder):
    (folder / "list_eval_partition.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no list_eval_partition.txt\[.gz\] .*put CelebA's"):
        celeba.load(folder)
