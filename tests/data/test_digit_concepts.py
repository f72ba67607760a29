import numpy as np
import pytest

from interp_jax.data import digit_concepts


def test_concepts_leave_open_what_is_said():
    digits = np.arange(10)
    found = digit_concepts.concepts(digits)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, 0], digits % 2)
    np.testing.assert_array_equal(found[:, 1], digits >= 5)
    _, cell, size = np.unique(found, axis=0, return_inverse=True, return_counts=True)
    assert sorted(size[cell.ravel()]) == [1, 1] + [2] * 8
    np.testing.assert_allclose(digit_concepts.OPEN, np.mean(np.log(size[cell.ravel()])))


def test_all_images_are_loaded():
    pytest.importorskip("sklearn")
    data = digit_concepts.load("digits")
    assert data.inputs.shape == (1797, 8, 8, 1)
    np.testing.assert_array_equal(data.concepts, digit_concepts.concepts(np.asarray(data.labels)))
