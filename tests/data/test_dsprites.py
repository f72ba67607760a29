import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.data import dsprites
from interp_jax.data import factors as sets
from tests.oracles import dsprites as oracle

SQUARE, ELLIPSE, HEART = range(3)
draw_some = jax.jit(jax.vmap(dsprites.render))


def draw(rows):
    """Images of any number of rows, a fixed number at a time, so that one program serves every test."""
    rows = np.asarray(rows)
    padded = np.concatenate([rows, np.repeat(rows[:1], -len(rows) % 64, 0)]).reshape(-1, 64, rows.shape[1])
    return np.concatenate([np.asarray(draw_some(part)) for part in padded])[: len(rows)]


def rows(*classes):
    """All combinations of the given classes, `[N, 5]`."""
    return np.array(list(itertools.product(*(np.atleast_1d(c) for c in classes))), np.int32)


def drawn(*classes):
    return draw(rows(*classes))


@pytest.mark.parametrize("size", [64, 32, 16])
def test_agrees_with_an_even_odd_polygon_fill(key, size):
    classes = np.asarray(sets.sample_factors(key, dsprites.FACTOR_SIZES, 1000))
    images = draw(classes) if size == 64 else jax.jit(jax.vmap(lambda row: dsprites.render(row, size=size)))(classes)
    wrong = np.array(
        [(image != oracle.render(row, size)).sum() for image, row in zip(np.asarray(images), classes, strict=True)]
    )
    assert wrong.max() <= 1
    assert (wrong == 0).mean() > 0.998


def test_a_true_ellipse_would_be_seen():
    """The oracle tells the 50-corner polygon from the ellipse, so agreement means something."""
    t = 2 * np.pi * np.arange(2000) / 2000
    smooth = np.stack([12.765 * np.cos(t), 7.213 * np.sin(t)], 1)
    classes = rows(ELLIPSE, [4, 5], range(39), [3, 17], [8])
    moved = [(oracle.outline(row) - oracle.outline(row).mean(0), oracle.outline(row).mean(0), row) for row in classes]
    differ = 0
    for corners, centre, row in moved:
        turn = np.linalg.lstsq(oracle.ellipse(), corners, rcond=None)[0]
        differ += (oracle.fill(smooth @ turn + centre) != oracle.render(row)).any()
    assert differ > 0


def test_both_ends_of_the_orientation_are_one_angle():
    first, last = (drawn([0, 1, 2], range(6), o, [0, 13], [31, 6]) for o in (0, 39))
    np.testing.assert_array_equal(first, last)
    assert not np.array_equal(first, drawn([0, 1, 2], range(6), 38, [0, 13], [31, 6]))


def test_orientation_turns_the_sprite():
    areas = drawn([0, 1, 2], 5, range(40), [4, 20], [9, 30]).sum((1, 2)).reshape(3, 40, 4)
    assert (areas.std((1, 2)) / areas.mean((1, 2)) < 0.02).all()


@pytest.mark.parametrize("shape", [SQUARE, ELLIPSE])
def test_square_and_ellipse_look_the_same_from_both_sides(shape):
    """Point symmetry: moving class k to 31 - k and reading the image backwards is a turn by 180 degrees."""
    there, back = drawn(shape, [0, 5], range(39), 3, 20), drawn(shape, [0, 5], range(39), 28, 11)
    assert (there != back[:, ::-1, ::-1]).sum((1, 2)).max() <= 1


def test_the_square_is_the_same_after_a_quarter_turn():
    """In the sprite's frame: (u, v) -> (-v, u)."""
    u, v = np.random.default_rng(0).uniform(-14, 14, (2, 20_000)).astype(np.float32)
    np.testing.assert_array_equal(dsprites.in_square(u, v), dsprites.in_square(-v, u))
    for inside in (dsprites.in_square, dsprites.in_ellipse, dsprites.in_heart):
        np.testing.assert_array_equal(inside(u, v), inside(-u, v))


def test_the_upright_heart_is_its_own_mirror_image():
    assert (drawn(HEART, range(6), 0, [3], [9]) != drawn(HEART, range(6), 0, [28], [9])[:, :, ::-1]).sum() <= 1


def test_area_grows_as_scale_squared():
    areas = drawn([0, 1, 2], range(6), range(0, 39, 3), [3, 16], [9, 22]).sum((1, 2)).reshape(3, 6, -1)
    scale = np.linspace(0.5, 1, 6)
    t = 2 * np.pi * np.arange(100_000) / 100_000
    x, dy = 16 * np.sin(t) ** 3, -13 * np.sin(t) + 10 * np.sin(2 * t) + 6 * np.sin(3 * t) + 4 * np.sin(4 * t)
    heart = abs(np.mean(x * dy)) * 2 * np.pi * 0.59966 * 0.66218
    exact = np.array([4 * 9.598**2, 25 * 12.791 * 7.223 * np.sin(2 * np.pi / 50), heart])
    error = areas.std(2) / np.sqrt(areas.shape[2])
    assert (np.abs(areas.mean(2) - exact[:, None] * scale**2) < 4 * error + 0.1).all()


def test_position_moves_the_centre_of_mass():
    images = drawn([0, 1], 5, [0, 7], [0, 10, 31], [2, 31])
    classes = rows([0, 1], 5, [0, 7], [0, 10, 31], [2, 31])
    mass = images.sum((1, 2))
    columns, down = images.sum(1) @ np.arange(64) / mass, images.sum(2) @ np.arange(64) / mass
    np.testing.assert_allclose(columns, 15.5 + 32 * classes[:, 3] / 31, atol=0.3)
    np.testing.assert_allclose(down, 15.5 + 32 * classes[:, 4] / 31, atol=0.3)


def test_every_sprite_lies_inside_the_picture():
    """The largest sprites at the four extreme positions leave a black frame, so all others do."""
    images = drawn([0, 1, 2], 5, range(40), [0, 31], [0, 31])
    assert images[:, [0, -1], :].sum() + images[:, :, [0, -1]].sum() == 0
    assert images.sum((1, 2)).min() > 200


def test_a_finer_grid_tends_to_the_same_picture(key):
    """One pixel of 64 is 5 x 5 pixels of 320; the middle one has the same centre."""
    classes = np.asarray(sets.sample_factors(key, dsprites.FACTOR_SIZES, 20))
    fine = jax.jit(jax.vmap(lambda row: dsprites.render(row, size=320)))(classes)
    np.testing.assert_array_equal(np.asarray(fine)[:, 2::5, 2::5], draw(classes))


def test_bad_factors_are_named_or_nan():
    with pytest.raises(ValueError, match="want 0 <= orientation < 40, got orientation=40"):
        dsprites.render(jnp.array([0, 0, 40, 0, 0]))
    with pytest.raises(ValueError, match="want an integer size >= 1"):
        dsprites.render([0, 0, 0, 0, 0], size=0)
    bad = np.array([[0, 0, 0, 0, 0], [3, 0, 0, 0, 0], [0, -1, 0, 0, 0]])
    np.testing.assert_array_equal(np.isnan(draw(bad)).mean((1, 2)), [0, 1, 1])


def test_the_set_carries_a_channel_and_ignores_the_key(key):
    data = dsprites.data(32)
    assert data is dsprites.data(32)
    assert data.shape == (32, 32, 1)
    row = jnp.array([2, 5, 3, 4, 5])
    image = jax.jit(data.render)(row, key)
    chex.assert_shape(image, data.shape)
    expected = oracle.render(np.asarray(row), 32)
    assert (np.asarray(image)[:, :, 0] != expected).sum() <= 1


def test_a_code_tells_its_factors_and_nothing_else():
    some = rows(2, 5, [0, 10, 13, 39], 0, 31)
    found = np.asarray(jax.vmap(dsprites.code)(some))
    np.testing.assert_array_equal(found[:, [0, 1, 2, 3, 8, 9]], np.tile([0, 0, 1, 1, -1, 1], (4, 1)))
    angle = 2 * np.pi * some[:, 2] / 39
    want = np.stack([np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)], 1)
    np.testing.assert_allclose(found[:, 4:8], want, atol=1e-6)
    owner = np.array(dsprites.CODED)
    base = np.asarray(dsprites.code(np.array([0, 0, 0, 0, 0])))
    for i in range(5):
        moved = np.asarray(dsprites.code(np.eye(5, dtype=np.int32)[i]))
        assert (moved[owner != i] == base[owner != i]).all()
        assert (moved[owner == i] != base[owner == i]).any()
    assert np.isnan(jax.jit(dsprites.code)(np.array([3, 0, 0, 0, 0]))).all()
