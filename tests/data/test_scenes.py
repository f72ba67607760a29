"""Scenes: pixels and masks against a renderer point by point; labels by counting; a change touches its cell alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.data import concept_sets, scenes
from tests.oracles import semantic as oracle

WORLD = scenes.World(cells=2, pixels=12, block=3)
COUNT = 40


@pytest.fixture(scope="module")
def drawn():
    def one(key):
        scene = scenes.sample(key, WORLD)
        return scene, scenes.render(scene, WORLD), scenes.masks(scene, WORLD), scenes.label(scene)

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(3), COUNT)))


@pytest.fixture(scope="module")
def pairs():
    draw = jax.jit(jax.vmap(lambda key: scenes.pair(key, WORLD)))
    return jax.tree.map(np.asarray, draw(jax.random.split(jax.random.key(4), 300)))


def cell(image, slot, n=12):
    i, j = divmod(slot, 2)
    return image[i * n : (i + 1) * n, j * n : (j + 1) * n]


def test_pixels_are_those_of_a_renderer_point_by_point(drawn):
    scene, _, masks, _ = drawn
    wrong = 0
    for i in range(8):
        for slot in range(4):
            kind, size, turn, offset = (getattr(scene, f)[i, slot] for f in ("kind", "size", "turn", "offset"))
            found = oracle.covered(kind, float(size), float(turn), np.float64(offset), 12)
            own = cell(masks[i], slot)
            for j in range(3):
                wrong += (own[..., j] != (found & (kind == j))).sum()
            for j, has in ((3, scene.striped), (4, scene.bright)):
                wrong += (own[..., j] != (found & has[i, slot])).sum()
    assert wrong <= 2  # a centre on an edge, in float32


def test_labels_count_striped_squares_and_bright_hearts(drawn):
    scene, _, _, labels = drawn
    counted = ((scene.kind == 0) & scene.striped) | ((scene.kind == 2) & scene.bright)
    np.testing.assert_array_equal(labels, counted.sum(1))
    assert len(np.unique(labels)) > 2


def test_light_says_shade_and_stripes(drawn):
    scene, images, masks, _ = drawn
    ground = masks[..., :3].sum(-1) == 0
    crosses = scene.kind == scenes.CROSS
    assert crosses.any()
    for i in range(COUNT):
        for slot in range(4):
            light = np.unique(cell(images[i, ..., 0], slot).round(4))
            if scene.kind[i, slot] == scenes.NOTHING:
                assert (light == 0).all()
                continue
            top = 1.0 if scene.bright[i, slot] else scenes.DIM
            want = {0, top, top * scenes.BETWEEN} if scene.striped[i, slot] else {0, top}
            np.testing.assert_allclose(light, sorted(want), atol=1e-3)
            if crosses[i, slot]:
                assert cell(ground[i], slot).all()


def test_sprites_stay_within_their_cells():
    """At the far ends of its room a sprite of any kind and turn covers what it covers in the middle: none is cut."""
    world = scenes.World(cells=1, pixels=256, block=1)
    kind, turn, offset = map(np.ravel, np.meshgrid(range(4), [0.0, 0.4, np.pi / 4], [-1.0, 0.0, 1.0], indexing="ij"))
    flags, size = np.zeros((36, 1), bool), np.full((36, 1), scenes.SIZES[1])
    both = np.repeat(offset[:, None, None], 2, 2)
    many = scenes.Scene(kind[:, None], flags, ~flags, size, turn[:, None], both, np.zeros((36, 1), int))
    seen = jax.jit(jax.vmap(lambda one: scenes.inside(one, world)))(jax.tree.map(jnp.asarray, many))
    area = np.asarray(seen.sum((1, 2))).reshape(12, 3)
    assert area.min() > 5000
    np.testing.assert_allclose(area[:, [0, 2]], area[:, [1, 1]], rtol=0.03)  # of pixels along an edge


def test_a_change_touches_its_cell_alone(pairs):
    assert set(pairs.kind) == set(range(5))
    for i in range(300):
        before, after = (np.asarray(each.inputs[i, ..., 0]) for each in (pairs.before, pairs.after))
        touched = [(cell(before, slot) != cell(after, slot)).any() for slot in range(4)]
        assert sum(touched) == 1
        masks = [np.asarray(each.concepts[i]) for each in (pairs.before, pairs.after)]
        which = (masks[0] != masks[1]).any((0, 1))
        kind = scenes.KINDS[pairs.kind[i]]
        if kind == "stripes":
            assert list(np.flatnonzero(which)) == [3]
        elif kind == "shade":
            assert list(np.flatnonzero(which)) == [4]
        elif kind in ("removal", "insertion"):
            less, more = masks if kind == "insertion" else masks[::-1]
            assert (less <= more).all()
        assert abs(int(pairs.before.labels[i]) - int(pairs.after.labels[i])) <= 1


def test_places_are_means_of_pixels(key):
    data = jax.jit(lambda key: concept_sets.draw(scenes.generator(WORLD), key, 3))(key)
    assert data.inputs.shape == (3, 24, 24, 1)
    assert data.concepts.shape == (3, 8, 8, 5)
    masks = np.random.default_rng(0).random((6, 9, 2))
    want = [[masks[3 * i : 3 * i + 3, 3 * j : 3 * j + 3].mean((0, 1)) for j in range(3)] for i in range(2)]
    np.testing.assert_allclose(scenes.placed(jnp.asarray(masks), 3), want, rtol=1e-6)


def test_noise_is_as_large_as_it_is_said_to_be(key):
    scene = scenes.sample(key, WORLD)
    draw = jax.jit(lambda scene: scenes.render(scene, WORLD, jax.random.key(1)) - scenes.render(scene, WORLD))
    noise = draw(scene)
    np.testing.assert_allclose(np.std(noise), WORLD.noise, rtol=0.1)


def test_a_change_of_nothing_and_wrong_worlds_are_named(drawn):
    scene = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), drawn[0])
    empty = scene._replace(kind=jnp.full(4, scenes.NOTHING))
    for edit in (2, 3):
        np.testing.assert_array_equal(scenes.changed(empty, 1, edit).kind, empty.kind)
    with pytest.raises(ValueError, match="want 0 <= slot <= 3"):
        scenes.changed(scene, 4, 0)
    with pytest.raises(ValueError, match="want 0 <= edit <= 3"):
        scenes.changed(scene, 0, 4)
    with pytest.raises(ValueError, match="want cells of whole blocks"):
        scenes.generator(scenes.World(pixels=10, block=4))
    with pytest.raises(ValueError, match="want an integer pixels >= 8"):
        scenes.check(scenes.World(pixels=6))
    with pytest.raises(ValueError, match="want masks of whole blocks"):
        scenes.placed(jnp.zeros((5, 4, 1)), 2)
