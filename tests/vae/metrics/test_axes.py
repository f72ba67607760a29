"""Probes of codes with a known answer: perfect, rotated, mixed, dead; and a lesson learned again in float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.core import keys
from interp_jax.data import halves
from interp_jax.vae.metrics import axes

SIZES = (4, 6, 8, 5)
DESIGN = axes.Design(concepts=(0, 1, 2), labels=(10, 40, 200), draws=4, exam=400, latents=(1, 2, 3))
WIDTH = 6
PARTS = DESIGN.parts()


def perfect(factors, key):
    """Give a latent to each factor, and two to noise."""
    noise = jax.random.normal(key, (len(factors), WIDTH - len(SIZES)))
    return jnp.concatenate([factors / (jnp.array(SIZES)[None] - 1.0) - 0.5, 0.3 * noise], 1)


def mixed(factors, key):
    """Perfect, but that the first two factors share two latents equally."""
    z = perfect(factors, key)
    return z.at[:, 0].set(z[:, 0] + z[:, 1]).at[:, 1].set(z[:, 0] - z[:, 1])


def dead(factors, key):
    del key
    return jnp.ones((len(factors), WIDTH))


def broken(factors, key):
    return perfect(factors, key).at[:, 1].set(jnp.nan)


CODES = (perfect, mixed, dead, broken)


@pytest.fixture(scope="module")
def found():
    """[codes, seeds, 2, V, L, Q, 2, C]."""
    rotations = jax.random.orthogonal(jax.random.key(9), WIDTH, (2,))

    @jax.jit
    def examine(which, key):
        def code(factors, key):
            return jax.lax.switch(which, [lambda f=f: f(factors, key) for f in CODES])

        return axes.examine(axes.scaled(code, sample(key)), SIZES, DESIGN, key, rotations)

    return np.array([[examine(which, jax.random.key(seed)) for seed in range(4)] for which in range(len(CODES))])


@jax.jit
def sample(key):
    """What all codes are scaled by: a sample of the perfect one, for a dead code has no scale."""
    return perfect(halves.draw(key, SIZES, 300), key)


@jax.jit
def lesson(key):
    """The rows of all lessons, and the exam's, before they are scaled."""
    given = axes.lessons(SIZES, DESIGN, keys.stream(key, "lessons"))
    asked = halves.draw(keys.stream(key, "exam"), SIZES, DESIGN.exam)
    count, n, _ = given.factors.shape
    x = perfect(given.factors.reshape(count * n, -1), keys.stream(key, "lesson images")).reshape(count, n, -1)
    return given, x, asked, perfect(asked, keys.stream(key, "exam images"))


@pytest.fixture(scope="module")
def read(found):
    return axes.choose(DESIGN, found[:3])


def test_a_perfect_code_needs_one_latent_and_is_not_fooled_by_a_cue(read):
    single = read["single"][0, :, :, 0, -1]  # [seeds, 2, 2, C], own axes, all labels
    assert single[:, 0].min() > 0.98
    assert np.abs(single[:, 1]).max() < 0.15  # 400 images: a standard error of .05
    assert read["dense"][0, :, 0, 0, -1, 0].mean() > 0.97
    assert read["dense"][0, :, 1, 0, 1, 1].mean() > 0.1 + read["single"][0, :, 1, 0, 1, 1].mean()  # dense is fooled


def test_ridge_sees_no_axes_and_other_probes_do(read):
    own, rotated = (read["dense"][:2, :, 0, view] for view in (0, 1))
    np.testing.assert_allclose(own, rotated, atol=2e-3)  # an image at the border may change sides
    for probe, least in (("sparse", 0.02), ("single", 0.15)):
        gain = read[probe][0, :, 0, 0, 0, 0] - read[probe][0, :, 0, 1, 0, 0]
        assert gain.mean() > least, probe


def test_what_two_latents_share_takes_two(read):
    """The first two concepts are mixed, the third is not; two factors of one variance, so one latent gives 3/4."""
    one, two = (read[name][1, :, 0, 0, -1, 0].mean(0) for name in ("single", "best 2"))
    assert (one[:2] < 0.85).all()
    assert (two[:2] > 0.95).all()
    assert one[2] > 0.98


def test_shuffled_labels_and_dead_codes_are_at_chance(read):
    for probe in PARTS:
        shuffled = read[probe][:2, :, 0, 2, :, 0]
        assert abs(shuffled.mean() - 0.5) < 0.03, probe
        np.testing.assert_allclose(read[probe][2, :, 0, 0, :, 0].mean(), 0.5, atol=0.03)


def test_a_lesson_learned_again_in_float64(found):
    """The dense probe of one penalty, and the single one, from their definitions."""
    key = jax.random.key(0)
    given, x, asked, exam = jax.tree.map(np.asarray, lesson(key))
    rows = np.float64(sample(key))
    mean, spread = rows.mean(0), np.sqrt(rows.var(0).sum())
    x, exam = ((np.float64(each) - mean) / spread for each in (x, exam))
    dense, single = np.zeros((3, 2, 4)), np.zeros((3, 2, 4))
    most, place = 40, 2
    for i, (c, along, draw) in enumerate(np.ndindex(3, 2, 4)):
        z, y = x[i][:most], np.float64(given.labels[i][:most])
        truth = asked[:, int(given.concept[i])] >= np.ceil(SIZES[int(given.concept[i])] / 2)
        middle = z.mean(0)
        square = (z - middle).T @ (z - middle) + DESIGN.ridge[place] * most * np.eye(WIDTH)
        weight = np.linalg.solve(square, (z - middle).T @ (y - y.mean()))
        dense[c, along, draw] = (((exam - middle) @ weight + y.mean() > 0) == truth).mean()
        fits = [np.polyfit(z[:, d], y, 1, full=True) for d in range(WIDTH)]
        best = int(np.argmin([fit[1][0] for fit in fits]))
        single[c, along, draw] = ((np.polyval(fits[best][0], exam[:, best]) > 0) == truth).mean()
    mine = found[0, 0, 0, 0, 1]  # [Q, 2, C]
    np.testing.assert_allclose(mine[place].T, dense.mean(2), atol=0.002)
    np.testing.assert_allclose(mine[PARTS["single"][0]].T, single.mean(2), atol=0.005)  # a slight ridge there


def test_a_candidate_is_chosen_on_the_other_seeds():
    design = dataclasses.replace(DESIGN, ridge=(0.1, 1.0), lasso=(), latents=(1,))
    found = np.zeros((1, 3, 2, 1, 1, 3, 2, 3))
    found[0, :, 0, 0, 0, :2, 0] = np.array([[0.9, 0.5], [0.6, 0.7], [0.6, 0.7]])[:, :, None]
    found[0, :, 0, 0, 0, :2, 1] = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])[:, :, None]
    dense = axes.choose(design, found)["dense"][0, :, 0, 0, 0, :, 0]
    np.testing.assert_allclose(dense, [[0.5, 2.0], [0.6, 3.0], [0.6, 5.0]])  # the first would choose itself otherwise
    assert "sparse" not in axes.choose(design, found)
    table = axes.columns(design, axes.choose(design, found), ["a", "b", "c"])
    row = (table["probe"] == "dense") & (table["labels"] == 10) & (table["seed"] == 1) & (table["concept"] == "b")
    assert table["accuracy"][row].tolist() == [0.6, 3.0]
    assert table["correlation"][row].tolist() == [0.0, 0.9]
    assert set(table["view"]) == {"own axes"}
    assert len(row) == 2 * 3 * 2 * 3  # probes, seeds, lessons, concepts
    assert np.isnan(axes.choose(design, found[:, :1])["dense"]).all()


def test_codes_that_are_not_finite_have_no_accuracy(found):
    assert np.isnan(found[3, :, :, 0]).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"concepts": (0,)}, "two or more different concepts"),
        ({"labels": (30, 10)}, "rising numbers of labels"),
        ({"latents": (2, 3)}, "rising numbers of latents from 1"),
        ({"correlation": 2.0}, "correlation"),
        ({"draws": 0}, "draws"),
    ],
)
def test_bad_designs_are_named(changes, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(DESIGN, **changes)
