"""Neighbour estimates against brute force, exact zeros, the bias without information, and how far they see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special

from interp_jax.concepts import metrics
from interp_jax.core.information import ksg, ross
from tests.concepts.metrics import cases
from tests.oracles import concept_metrics as oracle
from tests.oracles import information

N = 80
C = cases.concepts(N)
SCALARS, EMBEDDINGS = cases.representations(C), cases.representations(C, units=2)
Y = (C.sum(1) >= 2).astype(np.int32)
task = jax.jit(jax.vmap(lambda z, c, y: metrics.concept_task_leakage(z, c, y, classes=2), (0, None, None)))
between = jax.jit(jax.vmap(metrics.interconcept_leakage, (0, None)))
PAIRS = np.triu_indices(3, 1)


def standard(z):
    z = np.float64(z)
    spread = z.std(0)
    return (z - z.mean(0)) / np.where(spread > 0, spread, np.inf)


@pytest.mark.parametrize(
    "z", [SCALARS, pytest.param(EMBEDDINGS, marks=pytest.mark.slow)], ids=["scalars", "embeddings"]
)
def test_task_leakage_agrees_with_float64(z):
    found = task(z, C, Y)
    for kind in (2, 3):
        columns = standard(z[kind]).reshape(N, 3, -1)
        predicted = [information.ross(columns[:, i], Y, 3) for i in range(3)]
        true = [information.ross(standard(C[:, i : i + 1]), Y, 3) for i in range(3)]
        excess = np.subtract(predicted, true)
        np.testing.assert_allclose(found.each[kind], excess, atol=1e-4)
        np.testing.assert_allclose(found.nats[kind], excess.mean(), atol=1e-4)
        ratio = np.maximum(excess, 0).mean() / oracle.entropy(Y)
        np.testing.assert_allclose(found.ratio[kind], ratio, atol=2e-4)
        np.testing.assert_allclose(found.entropy[kind], oracle.entropy(Y), rtol=1e-5)


@pytest.mark.parametrize(
    "z", [pytest.param(SCALARS, marks=pytest.mark.slow), EMBEDDINGS], ids=["scalars", "embeddings"]
)
def test_interconcept_leakage_agrees_with_float64(z):
    found = between(z, C)
    columns = standard(z[3]).reshape(N, 3, -1)
    hard = standard(C)
    predicted = np.array([information.ksg(columns[:, i], columns[:, j], 3) for i, j in zip(*PAIRS, strict=True)])
    true = np.array([information.ksg(hard[:, [i]], hard[:, [j]], 3) for i, j in zip(*PAIRS, strict=True)])
    np.testing.assert_allclose(found.each[3], predicted - true, atol=1e-4)
    np.testing.assert_allclose(found.nats[3], np.mean(predicted - true), atol=1e-4)
    own = special.digamma(N) - special.digamma(3)  # "H(z)" of every continuous variable
    np.testing.assert_allclose(found.own[3], own, atol=1e-5)
    roots = np.sqrt([information.ksg(hard[:, [i]], hard[:, [i]], 3) for i in range(3)])
    ratio = predicted / own - true / (roots[PAIRS[0]] * roots[PAIRS[1]])
    np.testing.assert_allclose(found.ratio[3], np.maximum(ratio, 0).mean(), atol=1e-4)


def test_hard_concepts_leak_nothing():
    about_task, about_others = task(SCALARS, C, Y), between(EMBEDDINGS, C)
    for found in (about_task, about_others):
        assert found.nats[0] == 0
        assert found.ratio[0] == 0
        assert (np.asarray(found.each[0]) == 0).all()
        assert found.nats[3] > 0.01


def test_coding_of_hard_concepts_and_scale_do_not_matter():
    coded = SCALARS * np.float32(10) - 5
    np.testing.assert_allclose(task(coded, C, Y).each, task(SCALARS, C, Y).each, atol=1e-5)
    coded = EMBEDDINGS * np.float32(10) - 5
    np.testing.assert_allclose(between(coded, C).each, between(EMBEDDINGS, C).each, atol=2e-3)  # a tie or two


def test_constant_concepts_and_labels_and_bad_rows():
    flat = C.copy()
    flat[:, 1] = 1
    found = task(SCALARS, flat, Y)
    np.testing.assert_allclose(found.concept[:, 1], 0, atol=2e-6)
    assert np.isfinite(found.nats).all()
    pairs = between(EMBEDDINGS, flat)
    assert np.isnan(pairs.ratio).all()
    assert np.isfinite(pairs.nats).all()
    one = task(SCALARS, C, np.zeros_like(Y))
    assert np.isnan(one.ratio).all()
    np.testing.assert_allclose(one.each, 0, atol=2e-6)
    spoiled = SCALARS.copy()
    spoiled[0, 3, 1] = np.nan
    assert np.isnan(task(spoiled, C, Y).nats).tolist() == [True] + [False] * 4
    wide = EMBEDDINGS.copy()
    wide[0, 3, 1, 0] = np.inf
    assert np.isnan(between(wide, C).nats).tolist() == [True] + [False] * 4
    assert np.isnan(task(SCALARS, C, Y + 1).nats).all()
    with pytest.raises(ValueError, match="want at least 2 concepts, for a pair, got 1"):
        metrics.interconcept_leakage(SCALARS[0][:, :1], C[:, :1])


def test_independent_embeddings_do_not_leak_more_in_more_dimensions():
    """The peer's code adds log m: .19 of the ratio at 4 dimensions, .42 at 64."""
    rng = np.random.default_rng(4)
    z = rng.normal(size=(5, N, 3, 2)).astype(np.float32)
    found = np.asarray(between(z, C).representation, float).ravel()
    assert abs(found.mean()) < 4 * cases.standard_error(found) + 0.005  # log 2 is .69


GAP = optimize.brentq(lambda gap: oracle.binary_information(gap) - 0.5, 0.1, 9)
# the share found of .5 nat between a bit and m normals, one direction of which tells it
SEEN = {1: 1.0, 4: 1.0, 8: 0.98, 16: 0.89, 64: 0.56}


@pytest.mark.slow
@pytest.mark.parametrize("units", SEEN)
def test_how_much_neighbours_see_in_many_dimensions(units):
    rng = np.random.default_rng(units)
    y = rng.integers(0, 2, (40, 1000))
    x = rng.normal(size=(40, 1000, units))
    estimate = jax.jit(jax.vmap(ross))
    null = np.asarray(estimate(x.astype(np.float32), y), float)
    assert abs(null.mean()) < 3 * cases.standard_error(null)
    x[..., 0] += GAP * (y - 0.5)
    x = x @ np.linalg.qr(rng.normal(size=(units, units)))[0]
    found = np.asarray(estimate(x.astype(np.float32), y), float)
    assert abs(found.mean() / 0.5 - SEEN[units]) < 4 * cases.standard_error(found) / 0.5 + 0.02


def test_neighbours_recover_information_on_a_line():
    rng = np.random.default_rng(5)
    y = rng.integers(0, 2, (3, 40, 300))
    gaps = [optimize.brentq(lambda gap, t=t: oracle.binary_information(gap) - t, 1e-3, 9) for t in (0.1, 0.5)]
    x = (rng.normal(size=y.shape) + np.array([0, *gaps])[:, None, None] * (y - 0.5))[..., None].astype(np.float32)
    found = np.asarray(jax.jit(jax.vmap(jax.vmap(ross)))(x, y), float)
    for values, truth in zip(found, (0, 0.1, 0.5), strict=True):
        assert abs(values.mean() - truth) < 4 * cases.standard_error(values) + 0.01
    other = (x[0] * 0.9 + 0.19**0.5 * rng.normal(size=x[0].shape)).astype(np.float32)
    pair = np.asarray(jax.jit(jax.vmap(ksg))(jnp.asarray(x[0]), other), float)
    assert abs(pair.mean() + 0.5 * np.log(0.19)) < 4 * cases.standard_error(pair) + 0.02
