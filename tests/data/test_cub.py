"""CUB's lists, on a made folder of the published format: three species, four images each, five attributes."""

import numpy as np
import pytest
from PIL import Image

from interp_jax.data import cub, photos

NAMES = ("has_bill_shape::dagger", "has_bill_shape::hooked", "has_size::small", "has_size::large", "has_eye_color::red")
TRAINING = [1, 1, 1, 0] * 3
# present, certainty by image and attribute
MARKS = np.zeros((12, 5), int)
MARKS[:4, 0] = [1, 1, 0, 0]  # a majority of the three that vote
MARKS[4:8, 1] = [1, 0, 0, 1]  # a minority; the last is for testing
MARKS[8:12, 2] = [1, 0, 0, 0]  # a tie, because one is not visible
SURE = np.full((12, 5), 4)
SURE[9, 2] = 1
SURE[0] = [1, 2, 3, 4, 1]
SURE[1] = [4, 3, 2, 1, 4]


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "CUB_200_2011"
    (place / "attributes").mkdir(parents=True)
    species = [f"{i + 1:03d}.Bird_{i}" for i in range(3)]
    paths = [f"{species[i // 4]}/Bird_{i}.jpg" for i in range(12)]

    def lines(path, values):
        path.write_text("".join(f"{i + 1} {value}\n" for i, value in enumerate(values)))

    lines(place / "images.txt", paths)
    lines(place / "classes.txt", species)
    lines(place / "image_class_labels.txt", np.repeat([1, 2, 3], 4))
    lines(place / "train_test_split.txt", TRAINING)
    lines(tmp_path / "attributes.txt", NAMES)
    marks = [
        f"{i + 1} {j + 1} {MARKS[i, j]} {SURE[i, j]} {1.5 * j}{' 0' if (i, j) == (2, 2) else ''}\n"
        for i in range(12)
        for j in range(5)
    ]
    (place / "attributes" / "image_attribute_labels.txt").write_text("".join(marks))
    for i, path in enumerate(paths):
        (place / "images" / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 7, 3), 20 * i, np.uint8)).save(place / "images" / path)
    return tmp_path


@pytest.mark.parametrize("inside", [".", "CUB_200_2011"])
def test_the_lists_are_read(folder, inside):
    birds = cub.load(folder / inside, side=4)
    np.testing.assert_array_equal(birds.labels, np.repeat([0, 1, 2], 4))
    np.testing.assert_array_equal(birds.training, np.array(TRAINING, bool))
    np.testing.assert_array_equal(birds.attributes, MARKS == 1)
    np.testing.assert_array_equal(birds.certainty, SURE)
    assert birds.names == NAMES
    assert birds.species[2] == "003.Bird_2"
    assert birds.photos.shape == (12, 4, 4, 3)
    np.testing.assert_allclose(birds.photos.take(np.array([5, 11]))[:, 0, 0, 0], [100, 220], atol=1)


def test_probabilities_follow_what_people_were_sure_of(folder):
    birds = cub.load(folder)
    found = cub.probabilities(birds)
    np.testing.assert_array_equal(found[0], [0, 0.5, 0.25, 0, 0])  # marked and not visible: 0, as in the CBM paper
    np.testing.assert_array_equal(found[1], [1, 0.25, 0.5, 0, 0])
    assert np.isnan(cub.probabilities(birds, unseen=np.nan)).sum() == 3
    assert found.dtype == np.float32


def test_training_images_vote_on_their_species(folder):
    birds = cub.load(folder)
    voted = cub.by_species(birds, at_least=1)
    want = np.zeros((3, 5), bool)
    want[0, 0] = want[2, 2] = True
    np.testing.assert_array_equal(voted.columns, [0, 2])
    np.testing.assert_array_equal(voted.table, want[:, [0, 2]])
    np.testing.assert_array_equal(voted.concepts, want[np.repeat([0, 1, 2], 4)][:, [0, 2]])
    found = photos.chosen(birds.photos, voted.concepts, birds.labels, ~birds.training)
    assert (found.inputs.shape, found.concepts.shape) == ((3, 299, 299, 3), (3, 2))
    with pytest.raises(ValueError, match="want attributes of at_least=2 species or more, got none"):
        cub.by_species(birds, at_least=2)


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("images.txt", "2 001", "3 001", r"images\.txt: want lines with a number from 1 on"),
        ("classes.txt", " 003.Bird_2", "", r"classes\.txt: want a name after every number"),
        ("image_class_labels.txt", "12 3", "12 4", r"image_class_labels\.txt: want 1 <= values <= 3"),
        ("train_test_split.txt", "12 0\n", "", r"train_test_split\.txt: want 12 lines"),
        ("attributes/image_attribute_labels.txt", "12 5 0", "12 6 0", "want a line for each of 12 images x 5 attr"),
        ("attributes/image_attribute_labels.txt", "12 5 0 4", "12 5 0 5", "want 1 <= certainties <= 4"),
        ("attributes/image_attribute_labels.txt", "12 5 0", "12 5 2", "want 0 <= marks <= 1"),
        ("attributes/image_attribute_labels.txt", "12 5 0", "12 5 x", "image_attribute_labels.txt: .*x"),
    ],
)
def test_a_damaged_list_is_named(folder, file, old, new, said):
    path = folder / "CUB_200_2011" / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=said):
        cub.load(folder)


def test_a_missing_list_is_named_with_what_to_do(folder):
    (folder / "attributes.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no attributes.txt\[.gz\] .*put CUB-200-2011 there"):
        cub.load(folder)
