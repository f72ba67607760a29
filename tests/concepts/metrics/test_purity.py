import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.concepts import metrics
from interp_jax.concepts.metrics import predictors
from tests.concepts.metrics import cases
from tests.oracles import concept_metrics as oracle

C = cases.concepts()
SCALARS, EMBEDDINGS = cases.representations(C), cases.representations(C, units=2)
BETAS = np.array([0.0, 0.1, 0.3, 0.6, 0.95], np.float32)  # no correlation of the fixture is near one of these
impurity = jax.jit(jax.vmap(metrics.oracle_impurity, (0, None)))
niche = jax.jit(jax.vmap(lambda z, c: metrics.niche_impurity(z, c, betas=BETAS), (0, None)))


def check_oracle_impurity(z):
    found = impurity(z, C)
    np.testing.assert_allclose(found.purity[3], oracle.purity_matrix(z[3], C), atol=2e-3)
    np.testing.assert_allclose(found.score[3], oracle.oracle_impurity(z[3], C), atol=2e-3)
    assert found.score[0] == 0
    np.testing.assert_array_equal(jnp.diag(found.purity[0]), 1)
    hard, soft, saturated, leaky, noise = np.asarray(found.score)
    assert hard < min(soft, saturated)
    assert max(soft, saturated) < leaky
    assert abs(noise - 3**-0.5) < 0.1  # halves on the diagonal, where the oracle has ones


def check_niche_impurity(z):
    """A peer kept the niche of embeddings, and so called completeness impurity."""
    found = niche(z, C)
    for i in (1, 3):
        curves, score = oracle.niche_impurity(z[i], C, BETAS)
        np.testing.assert_allclose(found.curves[i], curves, atol=3e-3)
        np.testing.assert_allclose(found.score[i], score, atol=3e-3)
    np.testing.assert_array_equal(found.curves[:, 0], 0.5)  # everything is in the niche of 0
    assert (found.curves[0, 3] < 0.7).all()  # a hard concept's own column is taken away
    assert (found.curves[1, 4] > 0.9).all()  # a soft concept's is not


def test_scalars_have_the_oracle_impurity_of_float64_and_hard_ones_none():
    check_oracle_impurity(SCALARS)


def test_embeddings_have_the_niche_impurity_of_float64():
    check_niche_impurity(EMBEDDINGS)


@pytest.mark.slow
def test_embeddings_and_scalars_the_other_way_round():
    check_oracle_impurity(EMBEDDINGS)
    check_niche_impurity(SCALARS)


@pytest.mark.slow
def test_defaults_of_the_niche_score_are_the_peer_s_grid():
    found = jax.jit(metrics.niche_impurity)(SCALARS[1], C)
    assert found.curves.shape == (20, 3)
    grid = np.arange(0, 1, 0.05)
    np.testing.assert_allclose(found.score, np.trapezoid(np.mean(found.curves, 1), grid), atol=1e-5)


def test_scale_and_sign_of_representations_do_not_matter():
    scaled = SCALARS * np.float32([1, -3, 100, 1e-3, 7])[:, None, None] + 5
    np.testing.assert_allclose(impurity(scaled, C).score, impurity(SCALARS, C).score, atol=2e-3)


def test_constant_concepts_are_undefined_and_bad_rows_flagged():
    flat = C.copy()
    flat[:, 1] = 0
    found = impurity(SCALARS, flat)
    assert np.isnan(found.score).all()
    np.testing.assert_array_equal(np.isnan(found.purity), np.broadcast_to([False, True, False], (5, 3, 3)))
    each = niche(EMBEDDINGS, flat).each
    np.testing.assert_array_equal(np.isnan(each), np.broadcast_to([False, True, False], (5, 3)))
    spoiled = SCALARS.copy()
    spoiled[0, 3, 1] = np.nan
    assert np.isnan(impurity(spoiled, C).score).tolist() == [True] + [False] * 4
    wide = EMBEDDINGS.copy()
    wide[0, 3, 1, 0] = np.inf
    assert np.isnan(niche(wide, C).score).tolist() == [True] + [False] * 4
    fuzzy = C.copy()
    fuzzy[0, 0] = 0.5
    assert np.isnan(impurity(SCALARS, fuzzy).score).all()


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"want 0 <= concepts <= 1, got entries from -1\.0 to 1\.0"):
        metrics.purity_matrix(SCALARS[0], 2 * C - 1)
    with pytest.raises(ValueError, match="want a representation for each concept, got 2 for 3"):
        metrics.oracle_impurity(SCALARS[0][:, :2], C)
    with pytest.raises(ValueError, match=r"want at least one row and one concept, got \(300, 0\)"):
        metrics.purity_matrix(SCALARS[0][:, :0], C)
    with pytest.raises(ValueError, match="want at least 10 rows for folds=5, got 9"):
        metrics.purity_matrix(SCALARS[0][:9], C[:9])


@pytest.mark.slow
def test_networks_see_what_no_order_tells():
    """|z| tells the concept. The papers' network and epochs, at a larger step; the same key gives the same score."""
    rng = np.random.default_rng(2)
    z = rng.normal(size=(300, 1)).astype(np.float32)
    c = (np.abs(z) > 0.7).astype(np.float32)

    def area(key):
        return metrics.purity_matrix(z, c, predictor=predictors.mlp(key, lr=0.03, batch=64))[0, 0]

    key = jax.random.key(0)
    areas = jax.jit(jax.vmap(area))(jnp.stack([key, key, jax.random.key(1)]))
    assert (areas > 0.9).all()
    assert areas[0] == areas[1]
    wide = np.broadcast_to(z, (5, 300, 3)), np.repeat(c, 3, 1)
    assert (np.abs(impurity(*wide).purity - 0.5) < 0.2).all()
