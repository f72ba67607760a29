"""Labels against NumPy, and that images, labels and codes are of the same sprites."""

import jax
import numpy as np
import pytest

from interp_jax.data import dsprites_tasks


def test_rows_are_of_the_same_sprites():
    found = jax.tree.map(np.asarray, dsprites_tasks.draw(jax.random.key(0), 64, size=16, tasks=("square", "parity")))
    shape, scale, x, y = found.codes[:, 0], *found.codes[:, [3, 8, 9]].T
    np.testing.assert_array_equal(found.labels[0], shape == 1)
    np.testing.assert_array_equal(found.labels[1], ((scale > 0).astype(int) + (x > 0) + (y > 0)) % 2)
    assert 0 < found.labels.mean(1).min() < found.labels.mean(1).max() < 1
    weight = found.xs[..., 0].sum((1, 2))
    middle = (found.xs[..., 0] * np.arange(16)[None, None]).sum((1, 2)) / weight
    assert np.corrcoef(middle, x)[0, 1] > 0.95
    assert np.corrcoef(weight, scale)[0, 1] > 0.7


def test_unknown_tasks_are_named():
    with pytest.raises(ValueError, match="got 'round'"):
        dsprites_tasks.draw(jax.random.key(0), 2, size=8, tasks=("round",))
