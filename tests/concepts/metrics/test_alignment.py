import jax
import numpy as np
import pytest

from interp_jax.concepts import metrics
from interp_jax.concepts.metrics import medoids
from tests.concepts.metrics import cases
from tests.oracles import concept_metrics as oracle

C = cases.concepts(n=100)
SCALARS, EMBEDDINGS = cases.representations(C), cases.representations(C, units=2)
runs_of = jax.jit(lambda values, count: medoids.on_line(values, medoids.line_seeds(values), count))
align = jax.jit(jax.vmap(lambda z, c: metrics.concept_alignment(z, c, steps=6), (0, None)))


def test_homogeneity_agrees_with_scikit_learn():
    peer = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    clusters = np.stack([rng.integers(0, size, 100) for size in (1, 2, 7, 100)])
    found = jax.jit(jax.vmap(metrics.homogeneity, (None, 0)))(C[:, 0], clusters)
    np.testing.assert_allclose(found, [peer.homogeneity_score(C[:, 0], each) for each in clusters], atol=2e-6)
    np.testing.assert_allclose(found, [oracle.homogeneity(C[:, 0], each) for each in clusters], atol=2e-6)
    assert metrics.homogeneity(C[:, 0], C[:, 0].astype(int)) == 1
    assert np.isnan(metrics.homogeneity(np.ones(100), clusters[1]))


@pytest.mark.parametrize("units", [1, 2])
def test_alignment_of_known_representations(units):
    found = align(SCALARS if units == 1 else EMBEDDINGS, C)
    assert found.score[0] == 1  # where the peer's score of hard concepts is .500
    assert (np.asarray(found.each[0]) == 1).all()
    _, soft, _, leaky, noise = np.asarray(found.score)
    assert 1 > soft > leaky > noise
    assert 0.35 < noise < 0.7
    np.testing.assert_array_equal(found.curves[1:, :, -1] > 0.6, True)  # N clusters, of a point each or of equal ones
    assert found.clusters[0].tolist() == [2, 21, 41, 60, 80, 100]
    ends = np.asarray(found.curves, float)
    mean = (ends.sum(-1) - (ends[..., 0] + ends[..., -1]) / 2) / 5
    np.testing.assert_allclose(found.each, mean, atol=1e-6)


def test_curves_are_the_oracle_s_homogeneity_of_its_medoids():
    found = align(EMBEDDINGS, C)
    for kind in (1, 3, 4):
        x = np.float64(EMBEDDINGS[kind, :, 0])
        for step, count in enumerate(found.clusters[0]):
            clusters = oracle.medoids(x, oracle.farthest_first(x, int(count)))
            np.testing.assert_allclose(found.curves[kind, 0, step], oracle.homogeneity(C[:, 0], clusters), atol=1e-5)


@pytest.mark.slow
def test_curves_on_a_line_are_homogeneities_of_its_runs():
    found = align(SCALARS, C)
    for kind in (1, 2, 4):
        order = np.argsort(SCALARS[kind, :, 1], kind="stable")
        for step, count in enumerate(found.clusters[0]):
            runs = runs_of(SCALARS[kind, order, 1], count)
            expected = oracle.homogeneity(C[order, 1], runs)
            np.testing.assert_allclose(found.curves[kind, 1, step], expected, atol=1e-5)


def test_hard_noise_has_no_alignment_and_order_of_rows_does_not_matter():
    rng = np.random.default_rng(3)
    hard = np.stack([rng.integers(0, 2, C.shape) for _ in range(5)]).astype(np.float32)
    assert (np.abs(align(hard, C).score) < 0.05).all()
    turn = rng.permutation(100)
    for z in (SCALARS, EMBEDDINGS):
        np.testing.assert_allclose(align(z[:, turn], C[turn]).score, align(z, C).score, atol=1e-5)


def test_constant_concepts_and_bad_rows_are_undefined():
    flat = C.copy()
    flat[:, 2] = 1
    found = align(SCALARS, flat)
    assert np.isnan(found.score).all()
    np.testing.assert_array_equal(np.isnan(found.each), np.broadcast_to([False, False, True], (5, 3)))
    spoiled = SCALARS.copy()
    spoiled[1, 0, 0] = np.inf
    assert np.isnan(align(spoiled, C).score).tolist() == [False, True, False, False, False]
