import numpy as np
import pytest
from scipy import stats

from interp_jax.core.bootstrap import jackknife
from interp_jax.core.partial_ranks import within


def draw(rng, n=20, cells=4, covariates=2, rho=0.0, weight=0.5):
    """x and y correlate by rho once the covariates, on which both depend, are known."""
    x, noise = rng.normal(size=(2, n, cells))
    known = rng.normal(size=(n, cells, covariates))
    y = rho * x + (1 - rho**2) ** 0.5 * noise
    both = weight * known.sum(-1)
    return np.concatenate([(x + both)[..., None], (y - 1.4 * both)[..., None], known], -1)


def partial(table):
    """Spearman's partial correlation of one cell, by the inverse of the matrix of rank correlations."""
    precision = np.linalg.inv(np.corrcoef(stats.rankdata(table, axis=0), rowvar=False))
    return -precision[0, 1] / np.sqrt(precision[0, 0] * precision[1, 1])


@pytest.mark.parametrize("covariates", [0, 1, 3])
def test_of_one_cell_it_is_the_partial_correlation_of_ranks(covariates):
    table = np.round(draw(np.random.default_rng(0), cells=1, covariates=covariates, rho=0.5), 1)  # with ties
    np.testing.assert_allclose(within(table), partial(table[:, 0]), rtol=1e-10)
    if not covariates:
        np.testing.assert_allclose(within(table), stats.spearmanr(*table[:, 0].T).statistic, rtol=1e-10)


def test_differences_between_cells_and_increasing_transformations_do_not_matter():
    table = draw(np.random.default_rng(1), rho=0.4)
    moved = table + 100 * np.arange(4)[None, :, None]
    np.testing.assert_allclose(within(moved), within(table), rtol=1e-10)
    np.testing.assert_allclose(within(np.exp(table)), within(table), rtol=1e-10)
    np.testing.assert_allclose(within(table[:, :, [1, 0, 2, 3]]), within(table), rtol=1e-10)


def test_what_the_covariates_explain_does_not_count():
    rng = np.random.default_rng(2)
    found, strong = (np.array([within(draw(rng, weight=w)) for _ in range(200)]) for w in (0.5, 1.4))
    raw = np.array([within(draw(rng)[..., :2]) for _ in range(20)])
    assert raw.mean() < -0.25
    np.testing.assert_allclose([found.mean(), strong.mean()], [-0.04, -0.22], atol=0.04)  # the docstring's traces


def test_the_jackknife_covers():
    rng, hits = np.random.default_rng(3), []
    truth = np.mean([within(draw(rng, n=2000, rho=0.5)) for _ in range(5)])
    for _ in range(100):
        found = jackknife(within, draw(rng, rho=0.5))
        hits.append(found.low <= truth <= found.high)
    assert np.mean(hits) > 0.88  # 95% less three standard errors


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (np.zeros((5, 2, 1)), "covariates"),
        (np.zeros((4, 2, 3)), "n >= covariates"),
        (np.full((9, 2, 2), np.nan), "finite"),
        (np.zeros((9, 2, 2)), "vary"),
        (np.arange(9.0)[:, None, None] * np.ones((1, 2, 3)), "beyond what the covariates explain"),
    ],
)
def test_bad_input_is_named(table, said):
    with pytest.raises(ValueError, match=said):
        within(table)
