import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.data import concept_sets, irrelevant
from interp_jax.data.images import Labelled


@pytest.fixture(scope="module")
def digits():
    rng = np.random.default_rng(0)
    return Labelled(rng.random((400, 4, 4, 1), np.float32), np.tile(np.arange(10, dtype=np.int32), 40))


def test_absent_concepts_are_constant_and_the_label_is_the_parity(digits):
    found = irrelevant.absent(digits)
    assert found.inputs.shape == (320, 4, 4, 1)
    assert not found.concepts.any()
    assert found.concepts.shape == (320, 2)
    kept = ~np.isin(digits.labels, (4, 5))
    np.testing.assert_array_equal(found.labels, digits.labels[kept] % 2)
    np.testing.assert_array_equal(found.inputs, digits.images[kept])


def test_concepts_name_their_digits(digits):
    found = irrelevant.is_digit(digits, (5, 4, 9))
    for column, name in enumerate((5, 4, 9)):
        np.testing.assert_array_equal(found.concepts[:, column], digits.labels == name)
    assert (found.concepts.dtype, found.labels.dtype) == (jnp.float32, jnp.int32)


def test_the_first_half_is_decided_by_its_concepts(digits):
    found = irrelevant.first_half(digits)
    assert len(found.labels) == 240
    np.testing.assert_array_equal(found.labels, found.concepts.sum(1))
    assert found.labels.mean() == 0.5


@pytest.mark.parametrize("concepts", [(), (4, 4)])
def test_concepts_must_be_different_digits(digits, concepts):
    with pytest.raises(ValueError, match="want different digits as concepts"):
        irrelevant.is_digit(digits, concepts)


def test_nothing_left_is_said(digits):
    few = Labelled(digits.images[:2], np.array([4, 5], np.int32))
    with pytest.raises(ValueError, match=r"want images of other digits among them, got \[4, 5\] only"):
        irrelevant.absent(few)


def test_half_spaces_are_those_of_the_formula(digits, key):
    images = jnp.asarray(digits.images)
    spaces = irrelevant.random_half_spaces(key, images, 50)
    found = jax.jit(jax.vmap(irrelevant.inside, (None, 0)))(spaces, images)
    flat = digits.images.reshape(400, -1).astype(np.float64)
    along = flat @ np.asarray(spaces.normals, np.float64)
    offsets = np.asarray(spaces.offsets, np.float64)
    sure = np.abs(along - offsets) > 1e-5
    np.testing.assert_array_equal(np.asarray(found)[sure], (along < offsets)[sure])
    share = (offsets - along.min(0)) / np.ptp(along, axis=0)
    assert ((spaces.normals > 0) & (spaces.normals < 1)).all()
    assert abs(share.mean() - 0.5) < 4 * (1 / 12 / 50) ** 0.5
    assert (share > -1e-6).all()
    assert (share < 1 + 1e-6).all()


def test_random_concepts_take_the_first_of_each_digit(digits, key):
    found = irrelevant.random_concepts(digits, key, 3, each=25)
    rows = [row for row, label in enumerate(digits.labels) if label in (0, 1, 6, 7) and row < 250]
    np.testing.assert_array_equal(found.inputs, digits.images[rows])
    np.testing.assert_array_equal(found.labels, digits.labels[rows] % 2)
    assert found.concepts.shape == (100, 3)


def test_majority_is_the_toy_with_its_variances(key):
    found = concept_sets.draw(irrelevant.majority, key, 4000)
    np.testing.assert_array_equal(found.labels, found.concepts.sum(1) >= 2)
    square = found.inputs[:, 6]  # four times a chi-square of three degrees
    assert abs(square.mean() - 12) < 4 * (16 * 6 / 4000) ** 0.5


def test_the_first_of_some_digits_or_all_there_are(digits):
    found = irrelevant.first_of(digits, (3, 7), 2)
    np.testing.assert_array_equal(found.labels, [3, 7, 3, 7])
    np.testing.assert_array_equal(found.images, digits.images[[3, 7, 13, 17]])
    assert len(irrelevant.first_of(digits, (3,), 1000).labels) == 40
