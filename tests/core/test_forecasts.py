"""Statistics of forecasts against NumPy and SciPy, planted truth, and tables that are not right."""

import numpy as np
import pytest
from scipy import stats

from interp_jax.core import forecasts
from interp_jax.core.bootstrap import jackknife


def test_explained_and_gained_are_differences_of_r2():
    rng = np.random.default_rng(0)
    y, a, b = rng.standard_normal((3, 40))
    r2 = [1 - ((y - each) ** 2).sum() / ((y - y.mean()) ** 2).sum() for each in (a, b)]
    np.testing.assert_allclose(forecasts.explained(np.stack([y, (y - a) ** 2], 1)), r2[0])
    np.testing.assert_allclose(forecasts.gain(np.stack([y, (y - a) ** 2, (y - b) ** 2], 1)), r2[0] - r2[1])
    assert forecasts.explained(np.stack([y, (y - y.mean()) ** 2], 1)) == pytest.approx(0)


def test_reliability_is_the_correlation_with_as_many_other_examples():
    """Score = true part + noise of the examples: halves have twice the noise variance of the whole."""
    rng = np.random.default_rng(1)
    true = rng.standard_normal(20_000)
    halves = true[:, None] + rng.standard_normal((20_000, 2))
    others = true + rng.standard_normal((20_000, 2)).mean(1)
    found = forecasts.reliability(halves)
    assert found == pytest.approx(1 / (1 + 0.5), abs=0.01)
    assert found == pytest.approx(np.corrcoef(halves.mean(1), others)[0, 1], abs=0.02)
    np.testing.assert_allclose(forecasts.agreement(halves), np.corrcoef(halves.T)[0, 1])


def test_agreement_of_twins_is_what_is_decided():
    rng = np.random.default_rng(2)
    begun = rng.standard_normal(300)
    twins = 0.6 * begun[:, None] + 0.8 * rng.standard_normal((300, 2))
    interval = jackknife(forecasts.agreement, twins)
    assert interval.low < 0.36 < interval.high
    assert interval.high - interval.low < 0.3


def test_a_leader_is_found_and_the_best_of_many_gains_nothing_by_chance():
    rng = np.random.default_rng(3)
    y = rng.standard_normal(400)
    noise = rng.standard_normal((400, 20))
    own = y + rng.standard_normal(400)
    values = forecasts.lead(np.concatenate([-own[:, None], noise], 1), y)
    assert values.shape == (400,)
    assert values.mean() == pytest.approx(abs(stats.spearmanr(own, y).statistic), abs=0.12)
    draws = [
        forecasts.lead(rng.standard_normal((40, 12)), rng.standard_normal(40)).mean() for _ in range(60)
    ]  # the best of 11 has no lead over the first
    assert abs(np.mean(draws)) < 3 * np.std(draws) / 60**0.5


def test_single_predictors_are_tested_together():
    rng = np.random.default_rng(4)
    y = rng.standard_normal(80)
    values = np.concatenate([(y + rng.standard_normal(80))[:, None], rng.standard_normal((80, 9)), np.ones((80, 1))], 1)
    found = forecasts.singles(values, y, seed=0, draws=499)
    np.testing.assert_allclose(found.correlations[:10], [stats.spearmanr(v, y).statistic for v in values.T[:10]])
    assert found.correlations[10] == 0
    assert found.tests.adjusted[0] == 1 / 500
    assert (found.tests.adjusted[1:] > 0.02).all()


@pytest.mark.parametrize(
    ("table", "match"),
    [(np.zeros((4, 3)), "want a table"), ([[0.0, 1.0], [np.nan, 1.0]], "finite"), (np.ones((5, 2)), "differ")],
)
def test_tables_that_are_not_right_are_refused(table, match):
    with pytest.raises(ValueError, match=match):
        forecasts.explained(table)


def test_too_few_predictors_are_refused():
    with pytest.raises(ValueError, match="P >= 2"):
        forecasts.lead(np.zeros((10, 1)), np.zeros(10))
