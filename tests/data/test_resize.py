from fractions import Fraction

import numpy as np
import pytest

from interp_jax.data import resize


@pytest.mark.parametrize(("old", "new", "repeat", "pool"), [(12, 6, 1, 2), (9, 6, 2, 3), (7, 7, 1, 1), (5, 3, 3, 5)])
def test_the_area_mean_is_that_of_a_finer_grid(old, new, repeat, pool):
    """Repeat every pixel until whole blocks fit, then average the blocks."""
    images = np.random.default_rng(old).integers(0, 256, (2, old, old + 0, 3), dtype=np.uint8)
    fine = images.repeat(repeat, 1).repeat(repeat, 2).astype(float)
    exact = fine.reshape(2, new, pool, new, pool, 3).mean((2, 4))
    found = resize.area(images, new)
    assert found.dtype == np.uint8
    assert np.abs(found - exact).max() <= 0.5 + 1e-4


def test_shares_are_exact():
    shares = resize.shares(96, 64)
    want = [[max(Fraction(0), min(Fraction(3 * i + 3, 2), j + 1) - max(Fraction(3 * i, 2), j)) for j in range(96)]
            for i in range(64)]  # fmt: skip
    np.testing.assert_allclose(shares, np.array(want, float) / 1.5, atol=1e-7)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)


def test_what_cannot_be_shrunk_is_told():
    with pytest.raises(ValueError, match=r"want bytes .* got float64 \(1, 4, 4, 1\)"):
        resize.area(np.zeros((1, 4, 4, 1)), 2)
    with pytest.raises(ValueError, match="H >= 8"):
        resize.area(np.zeros((1, 4, 4, 1), np.uint8), 8)
