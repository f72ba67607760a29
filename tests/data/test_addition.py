import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.concepts.model import check_groups
from interp_jax.data import addition
from interp_jax.data.images import Labelled

MIXED = ((0, 1, 2), (4, 9), (1, 3, 5, 7))


@pytest.fixture(scope="module")
def digits():
    rng = np.random.default_rng(0)
    return Labelled(rng.random((200, 3, 2, 1), np.float32), np.tile(np.arange(10, dtype=np.int32), 20))


def test_concepts_and_labels_follow_from_the_images_that_were_picked(digits, key):
    found = addition.draw(digits.labels, key, 500, operands=MIXED, threshold=10)
    shown = digits.labels[np.asarray(found.rows)]
    for column, allowed in zip(shown.T, MIXED, strict=True):
        assert set(column) == set(allowed)
    want = [shown[:, :1] == [0, 1, 2], shown[:, 1:2] == 9, shown[:, 2:] == [1, 3, 5, 7]]
    np.testing.assert_array_equal(found.concepts, np.concatenate(want, 1))
    np.testing.assert_array_equal(found.labels, shown.sum(1) >= 10)
    np.testing.assert_array_equal(
        addition.draw(digits.labels, key, 500, operands=MIXED, threshold=None).labels, shown.sum(1)
    )


def test_pictures_are_the_images_in_order(digits, key):
    found = addition.sample(digits, key, 20, operands=MIXED, threshold=10)
    rows = np.asarray(addition.draw(digits.labels, key, 20, operands=MIXED, threshold=10).rows)
    assert found.inputs.shape == (20, 3, 2, 3)
    for i in range(3):
        np.testing.assert_array_equal(found.inputs[..., i], digits.images[rows[:, i], :, :, 0])


def test_the_peers_set_has_72_concepts_in_12_groups_and_balanced_labels(digits, key):
    found = addition.draw(digits.labels, key, 4000)
    groups = addition.groups()
    assert check_groups(groups, found.concepts.shape[1]) == groups
    assert (found.concepts.shape[1], len(groups)) == (72, 12)
    for group in groups:
        np.testing.assert_array_equal(found.concepts[:, group].sum(1), 1)
    # the sum has mean 30 and variance 4 (2/3 + 2 + 8.25); half of it lies at 30 or above, and half of P(30) more
    share = 0.5 + 0.5 / np.sqrt(2 * np.pi * 4 * (2 / 3 + 2 + 8.25))
    assert abs(found.labels.mean() - share) < 4 * 0.5 / 4000**0.5 + 0.005


def test_digits_are_uniform_where_the_images_are(digits, key):
    rows = np.asarray(addition.draw(digits.labels, key, 3000, operands=MIXED).rows)
    counts = np.bincount(digits.labels[rows[:, 2]], minlength=10)[[1, 3, 5, 7]]
    assert ((counts - 750) ** 2 / 750).sum() < 20  # chi-square of 3 degrees, p < 2e-4
    assert len(np.unique(rows[:, 2])) == 80


def test_a_picture_may_be_made_inside_jit(digits):
    made = jax.jit(addition.picture)(jnp.asarray(digits.images), jnp.array([3, 5]))
    np.testing.assert_array_equal(made[..., 1], digits.images[5, :, :, 0])


@pytest.mark.parametrize(
    ("operands", "said"),
    [
        ((), "want at least one operand, got none"),
        (((1,),), r"want at least two different digits for each operand, got \(1,\)"),
        (((1, 1, 2),), "want at least two different digits"),
        (((1, 11),), "want images of every digit of an operand, got none of 11"),
    ],
)
def test_operands_that_cannot_be_drawn_are_named(digits, key, operands, said):
    with pytest.raises(ValueError, match=said):
        addition.draw(digits.labels, key, 2, operands=operands)
