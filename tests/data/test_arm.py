import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.data import arm
from interp_jax.data import factors as sets
from tests.oracles import arm as oracle

COLOUR, SHAPE, SIZE, CAMERA, BACKGROUND, TURN, RISE = range(7)
MIDDLE = np.array([2, 1, 1, 1, 0, 12, 22])
draw_some = jax.jit(jax.vmap(lambda row: arm.render(row, size=32, samples=1)))


def draw(rows):
    """Images of any number of rows, a fixed number at a time, so that one program serves every test."""
    rows = np.asarray(rows)
    padded = np.concatenate([rows, np.repeat(rows[:1], -len(rows) % 8, 0)]).reshape(-1, 8, rows.shape[1])
    return np.concatenate([np.asarray(draw_some(part)) for part in padded])[: len(rows)]


def varied(which, base=MIDDLE):
    """One row for every class of a factor, the others as in `base`."""
    rows = np.tile(base, (arm.FACTOR_SIZES[which], 1))
    rows[:, which] = np.arange(len(rows))
    return rows


def among(images, colour):
    """Where an image has some shade of a colour."""
    shade = images.max(-1, keepdims=True) / np.max(colour)
    return (np.abs(images - shade * np.asarray(colour)) < 1e-5).all(-1)


ORACLE = np.array(
    [[s, s, (s + v) % 2, (s + v) % 3, s % 3, 7 * s + v, 39 - 6 * s - v] for s in range(6) for v in (0, 4)]
)


def test_agrees_with_marching_along_distances():
    images = draw(ORACLE)
    expected, things = zip(*(oracle.render(row, 32) for row in ORACLE), strict=True)
    errors = np.abs(images - np.stack(expected)).max(-1)
    assert set(np.unique(things)) == {0, 1, 2, 3}
    assert (errors > 2e-3).mean() < 1e-3  # rays through an edge may meet the other side
    assert np.median(errors) < 1e-6
    # A ray that meets nothing shows the background to the last bit.
    missed = np.stack(things) == 3
    plain = np.broadcast_to(np.float32(arm.BACKGROUND_RGB)[ORACLE[:, BACKGROUND]][:, None, None], images.shape)
    assert missed.mean() > 0.2
    assert ((images == plain).all(-1) != missed).mean() < 1e-3


def test_a_colour_changes_its_own_pixels_and_no_others():
    for which, colours in ((COLOUR, arm.OBJECT_RGB), (BACKGROUND, arm.BACKGROUND_RGB)):
        images = draw(varied(which))
        own = np.stack([among(image, colour) for image, colour in zip(images, colours, strict=True)])
        changed = (images != images[:1]).any(-1)
        assert not changed[~own & ~own[:1]].any()
        assert (changed[1:] == own[:1]).mean() > 0.995


def test_the_object_grows_with_size():
    small, large = (draw(varied(SHAPE, [2, 0, size, 1, 1, 12, 22])) for size in (0, 1))
    areas = [np.sum([among(image, arm.OBJECT_RGB[2]) for image in images], (1, 2)) for images in (small, large)]
    assert ((areas[1] / areas[0] > 1.6) & (areas[1] / areas[0] < 3.2)).all()  # (0.36 / 0.24)^2 = 2.25 but for rounding


def test_the_camera_sees_the_table_ever_flatter():
    images = draw(varied(CAMERA, [2, 1, 0, 0, 1, 0, 39]))
    table = np.stack([among(image, arm.TABLE_RGB) for image in images])
    heights = table.any(2).sum(1)
    assert (np.diff(heights) < 0).all()


def test_the_axes_move_the_object_the_way_they_should():
    place = jax.jit(jax.vmap(lambda row: jnp.stack(arm.pose(row).centre)))
    swung, risen = place(varied(TURN)), place(varied(RISE))
    angle = np.degrees(np.arctan2(swung[:, 0], -swung[:, 1]))
    np.testing.assert_allclose(angle, np.linspace(-90, 90, 40), atol=1e-3)
    np.testing.assert_allclose(swung[:, 2], swung[0, 2])
    out = np.hypot(risen[:, 0], risen[:, 1]) - arm.ELBOW[0]
    np.testing.assert_allclose(
        np.degrees(np.arctan2(risen[:, 2] - arm.ELBOW[1], out)), np.linspace(-50, 50, 40), atol=1e-3
    )
    # Nothing reaches through the table.
    assert float(risen[0, 2]) > 1.25 * max(arm.SCALES)


def test_opposite_turns_mirror_the_outline():
    images = draw(varied(TURN, [2, 1, 1, 1, 1, 0, 25]))
    red = np.stack([among(image, arm.OBJECT_RGB[2]) for image in images])
    assert red.any((1, 2)).all()
    assert (red != red[::-1, :, ::-1]).mean() < 0.002


def test_no_two_combinations_look_alike(key):
    """As 8-bit pictures: a sample of combinations, and every step of every factor around some."""
    sample = np.unique(np.asarray(sets.sample_factors(key, arm.FACTOR_SIZES, 600)), axis=0)
    seen = np.unique((draw(sample) * 255).round().astype(np.uint8).reshape(len(sample), -1), axis=0)
    assert len(seen) == len(sample)
    for base in (MIDDLE, np.array([0, 5, 0, 0, 0, 0, 0]), np.array([4, 5, 0, 2, 2, 20, 39])):
        for which in range(7):
            step = np.abs(np.diff(draw(varied(which, base)), axis=0)).max((1, 2, 3))
            assert step.min() > 0.02


def test_sizes_and_samples_show_one_scene():
    row = np.array([3, 4, 1, 2, 1, 30, 5])
    pooled = draw(row[None])[0].reshape(16, 2, 16, 2, 3).mean((1, 3))
    np.testing.assert_allclose(jax.jit(lambda row: arm.render(row, size=16))(row), pooled, atol=1e-5)


def test_the_set_has_its_1_036_800_images_in_range():
    data = arm.data(32)
    assert sets.count(data.sizes) == 1_036_800
    assert len(data.names) == len(data.sizes)
    assert jax.eval_shape(data.render, jnp.array(MIDDLE)).shape == data.shape
    for which in range(7):
        images = draw(varied(which))
        assert images.min() >= 0
        assert images.max() <= 1


def test_bad_factors_are_named_or_nan():
    with pytest.raises(ValueError, match="want 0 <= object shape < 6, got object shape=6"):
        arm.render([0, 6, 0, 0, 0, 0, 0])
    bad = np.stack([MIDDLE, np.array([0, 0, 0, 0, 0, 40, 0]), np.array([0, 0, -1, 0, 0, 0, 0])])
    np.testing.assert_array_equal(np.isnan(draw(bad)).mean((1, 2, 3)), [0, 1, 1])
