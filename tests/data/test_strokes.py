"""Measures of ink on pictures drawn by hand, and on real digits."""

import numpy as np
import pytest

from interp_jax.data import strokes


def drawn(rows):
    return np.array([[float(letter == "#") for letter in row] for row in rows])


RING = drawn(["......", ".####.", ".#..#.", ".#..#.", ".####.", "......"])
SLASH = drawn(["....#", "...#.", "..#..", ".#...", "#...."])


def test_measures_of_pictures_by_hand():
    ring = {name: value[0] for name, value in strokes.measures(RING[None]).items()}
    assert (ring["hole"], ring["strokes in the middle row"], ring["strokes in the middle column"]) == (1, 2, 2)
    assert ring["much ink"] == 12 / 36
    assert [ring[name] for name in ("left like right", "top like bottom", "same upside down")] == [1, 1, 1]
    np.testing.assert_allclose([ring["left"], ring["top"], ring["upper left"]], [0.5, 0.5, 0.25])
    assert ring["wide"] == pytest.approx(ring["high"])
    assert ring["slanted"] == pytest.approx(0)
    slash = {name: value[0] for name, value in strokes.measures(SLASH[None, :, :, None]).items()}
    assert slash["slanted"] == pytest.approx(0.5)  # the mean of squares of -1, -1/2, 0, 1/2, 1
    assert slash["hole"] == 0
    assert slash["left like right"] == pytest.approx(0.2)
    assert slash["same upside down"] == 1
    np.testing.assert_allclose([slash["upper right"], slash["upper left"], slash["centre"]], [0.4, 0, 0.2])
    twice = strokes.measures(np.stack([RING, 0.5 * RING]))
    assert all(value[0] == pytest.approx(value[1]) for name, value in twice.items() if name != "much ink")


def test_an_empty_picture_has_no_measure_and_wrong_shapes_are_named():
    empty = strokes.measures(np.zeros((1, 8, 8)))
    assert all(np.isfinite(value).all() for value in empty.values())
    assert empty["wide"][0] == empty["left"][0] == empty["hole"][0] == 0
    with pytest.raises(ValueError, match="got shape"):
        strokes.measures(np.zeros((8, 8)))


def test_concepts_are_halves_and_differ_between_classes():
    images = pytest.importorskip("sklearn.datasets").load_digits()
    pixels = images.images / 16
    found = strokes.concepts(pixels, strokes.cuts(pixels))
    assert found.shape == (1797, 21)
    shares = dict(zip(strokes.NAMES, found.mean(0), strict=True))
    assert all(0.05 < share < 0.55 for share in shares.values()), shares
    hole = strokes.NAMES.index("hole")
    assert found[images.target == 0, hole].mean() > 0.7
    assert found[images.target == 1, hole].mean() < 0.2
