import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.data import concept_sets, dsprites, factor_concepts, shapes3d
from interp_jax.data.factors import FactorSet

SIZES = (3, 6, 40, 32, 32)


def test_partners_lie_in_their_windows_and_differ(key):
    found = factor_concepts.partners(key, factor_concepts.SPRITES, SIZES, 4)
    assert [pair.shape for pair in found] == [(3, 3), (6, 20), (40, 16), (32, 16)]
    for i, pair in enumerate(map(np.asarray, found)):
        window = factor_concepts.SPRITES.windows[i][0]
        assert all(len(set(row)) == len(row) for row in pair.tolist())
        low, high = pair[: factor_concepts.SPRITES.below[i]], pair[factor_concepts.SPRITES.below[i] :]
        assert (low.min(), high.max()) >= (0, SIZES[i + 1] - window)
        assert low.max() < window
        assert high.min() >= SIZES[i + 1] - window
        assert high.max() < SIZES[i + 1]


def test_samples_are_uniform_over_what_is_allowed(key):
    """A small lattice of which every allowed combination is counted."""
    rules = factor_concepts.Rules((2, 2, 1), ((3, 2), (2, 1)), lambda c: c.sum())
    sizes = (4, 5, 3)
    pairs = factor_concepts.partners(key, rules, sizes, 2)
    drawn = np.asarray(jax.vmap(lambda k: factor_concepts.sample(k, sizes, pairs))(jax.random.split(key, 4000)))
    allowed = {
        (a, b, c)
        for a, b, c in itertools.product(*map(range, sizes))
        if b in pairs[0][a].tolist() and c in pairs[1][b].tolist()
    }
    seen, counts = np.unique(drawn, axis=0, return_counts=True)
    assert {tuple(row) for row in seen.tolist()} == allowed
    assert len(allowed) == 8
    assert ((counts - 500) ** 2 / 500).sum() < 30  # chi-square of 7 degrees, p < 1e-4


def test_gamma_makes_concepts_depend_on_each_other(key):
    """Neighbours up to gamma are correlated, as the windows say, and no others."""
    drawn = jax.random.split(key, 3000)

    def told(gamma):
        pairs = factor_concepts.partners(key, factor_concepts.SPRITES, SIZES, gamma)
        one = lambda k: factor_concepts.concepts(factor_concepts.SPRITES, factor_concepts.sample(k, SIZES, pairs))  # noqa: E731
        return np.corrcoef(np.asarray(jax.jit(jax.vmap(one))(drawn), float), rowvar=False)

    independent, two = told(0), told(2)
    assert np.abs(independent - np.eye(5)).max() < 4 / 3000**0.5
    assert two[0, 1] > 0.2
    assert two[1, 2] > 0.2
    assert np.abs(two[2:, 2:] - np.eye(3)).max() < 4 / 3000**0.5


@pytest.mark.parametrize(
    ("rules", "sizes", "classes"),
    [(factor_concepts.SPRITES, SIZES, 8), (factor_concepts.ROOM, shapes3d.FACTOR_SIZES, 12)],
)
def test_all_labels_occur_and_the_concepts_decide_them(rules, sizes, classes):
    table = {
        tuple(map(bool, c)): int(rules.label(jnp.array(c, bool))) for c in itertools.product((0, 1), repeat=len(sizes))
    }
    assert set(table.values()) == set(range(classes))
    for concepts, label in table.items():
        c = [int(value) for value in concepts]
        sprites = 2 * c[1] + c[2] if c[0] else 4 + 2 * c[3] + c[4]
        assert label == (sprites if classes == 8 else 4 + 4 * c[2] + 2 * c[3] + c[5] if c[4] else 2 * c[0] + c[1])


def test_a_generator_gives_images_with_their_concepts(key):
    data = dsprites.data(16)
    pairs = factor_concepts.partners(key, factor_concepts.SPRITES, data.sizes, 1)
    make = factor_concepts.generator(factor_concepts.SPRITES, data, pairs)
    found = concept_sets.draw(make, key, 6)
    assert found.inputs.shape == (6, 16, 16, 1)
    assert (found.concepts.shape, found.concepts.dtype, found.labels.dtype) == ((6, 5), jnp.float32, jnp.int32)
    columns = jnp.arange(16.0)[None, None, :]
    middle = (found.inputs[..., 0] * columns).sum((1, 2)) / found.inputs.sum((1, 2, 3))
    np.testing.assert_array_equal(found.concepts[:, 3], middle < 7.5)  # the sprite's place, seen in the image


def test_nuisance_has_a_stream_of_its_own(key):
    seen = FactorSet(("a", "b"), (2, 2), (1, 1, 1), lambda factors, k: jax.random.uniform(k, (1, 1, 1)))
    rules = factor_concepts.Rules((1, 1), ((1, 1),), lambda c: c[0])
    found = concept_sets.draw(factor_concepts.generator(rules, seen), key, 5)
    assert len(np.unique(found.inputs)) == 5


def test_wrong_gamma_or_images_are_named(key):
    with pytest.raises(ValueError, match="want gamma <= 4"):
        factor_concepts.partners(key, factor_concepts.SPRITES, SIZES, 5)
    with pytest.raises(ValueError, match="want images of 5 factors, got"):
        factor_concepts.generator(factor_concepts.SPRITES, shapes3d.data(16))
