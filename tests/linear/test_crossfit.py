"""Cross-fitted forecasts against float64 fits of every training set by itself; what leaks, and what intervals cover."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.core.forecasts import explained, gain
from interp_jax.linear import crossfit, paths

FOLDS = 4
forecast = jax.jit(lambda x, y, alphas, assigned, keep: crossfit.forecast(
    x, y, alphas, assigned, folds=FOLDS, keep=keep))  # fmt: skip


def problem(n=120, dims=6, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, dims)) * np.geomspace(0.01, 100, dims) + 3
    y = (x - 3) @ (np.array([1, 0, 1, 0, 0, 1.0]) / np.geomspace(0.01, 100, dims)) + rng.standard_normal(n)
    return x, y, rng.integers(FOLDS, size=n)


def by_itself(x, y, alphas, assigned):
    """Scale, choose the penalty by leaving out every row in turn, and fit, for each fold, from the definitions."""
    found = np.empty(len(y))

    def fit(z, y, alpha):
        a, b = z - z.mean(0), y - y.mean()
        weight = np.linalg.solve(a.T @ a + alpha * np.eye(a.shape[1]), a.T @ b)
        return lambda new: (new - z.mean(0)) @ weight + y.mean()

    for fold in range(FOLDS):
        rows = assigned != fold
        z = (x - x[rows].mean(0)) / x[rows].std(0)
        train, own = z[rows], y[rows]
        errors = [
            np.mean([
                (own[i] - fit(np.delete(train, i, 0), np.delete(own, i), alpha * rows.sum())(train[i])) ** 2
                for i in range(len(own))
            ])
            for alpha in alphas
        ]  # fmt: skip
        best = alphas[int(np.argmin(errors))] * rows.sum()
        found[~rows] = fit(train, own, best)(z[~rows])
    return found


def test_forecasts_are_those_of_fits_to_the_other_folds():
    x, y, assigned = problem()
    alphas = np.array([0.003, 0.1, 3.0])
    found = forecast(x, y, alphas, assigned, np.ones(6))
    np.testing.assert_allclose(found, by_itself(x, y, alphas, assigned), atol=2e-4)
    some = np.array([1, 0, 0, 1, 0, 1])
    few = forecast(x, y, alphas, assigned, some)
    np.testing.assert_allclose(few, by_itself(x[:, some > 0], y, alphas, assigned), atol=2e-4)


def test_a_row_has_no_part_in_its_own_forecast_and_units_do_not_matter():
    x, y, assigned = problem()
    alphas = jnp.array([0.01, 0.1, 1.0])
    one = forecast(x, y, alphas, assigned, np.ones(6))
    other = y.copy()
    other[assigned == 2] = 1e3
    np.testing.assert_allclose(
        forecast(x, other, alphas, assigned, np.ones(6))[assigned == 2], one[assigned == 2], atol=1e-5
    )
    np.testing.assert_allclose(
        forecast(x * np.geomspace(1e-3, 1e3, 6), y, alphas, assigned, np.ones(6)), one, atol=1e-3
    )


def test_features_that_do_not_vary_have_no_part():
    x, y, assigned = problem()
    wide = np.concatenate([x[:, :5], np.full((120, 1), 1e4)], 1)
    alphas = jnp.array([0.01, 0.1])
    found = forecast(wide, y, alphas, assigned, np.ones(6))
    np.testing.assert_allclose(found, forecast(wide, y, alphas, assigned, np.array([1, 1, 1, 1, 1, 0])), atol=1e-5)
    assert np.isfinite(found).all()


def test_sets_are_compared_on_the_same_rows():
    x, y, _ = problem()
    keep = {"few": np.array([1.0, 0, 0, 0, 0, 0]), "all": np.ones(6), "dealt": np.ones(6)}
    found = crossfit.compare(
        x, 7 * y + 100, keep, jax.random.key(0), folds=FOLDS, rounds=2, dealt={"dealt": np.array([0, 1.0, 1, 1, 1, 1])}
    )
    few, all_, dealt = (explained(found.table(name)) for name in keep)
    assert all_ == pytest.approx(0.75, abs=0.07)
    assert few == pytest.approx(0.25, abs=0.1)
    assert few - 0.08 < dealt < few + 0.02
    np.testing.assert_allclose(gain(found.table("all", "few")), all_ - few, rtol=1e-6)
    assert np.corrcoef(found.mean["all"], y)[0, 1] == pytest.approx(all_**0.5, abs=0.02)
    assert found.mean["all"].mean() == pytest.approx((7 * y + 100).mean(), abs=1)


def test_intervals_are_over_blocks_with_fits_anew():
    x, y, _ = problem()
    keep = {"few": np.array([1.0, 0, 0, 0, 0, 0]), "all": np.ones(6)}
    how = {"folds": FOLDS, "rounds": 2, "added": keep["all"] - keep["few"]}
    found = crossfit.compare(x, y, keep, jax.random.key(0), blocks=4, **how)
    rows = np.arange(120) % 4 != 1
    alone = crossfit.compare(x[rows], y[rows], keep, jax.random.key(0), **how)
    np.testing.assert_array_equal(found.without[1].lost["all"], alone.lost["all"])
    whole, others = gain(found.table("all", "few")), [gain(each.table("all", "few")) for each in found.without]
    interval = found.interval(gain, "all", "few")
    np.testing.assert_allclose(interval.estimate, whole)
    np.testing.assert_allclose(interval.se, np.sqrt(3 / 4 * np.sum((np.array(others) - np.mean(others)) ** 2)))
    with pytest.raises(ValueError, match="two blocks or more, to leave one out, got 0"):
        alone.interval(gain, "all", "few")


def test_added_features_that_tell_nothing_cost_little():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((300, 27))
    y = x[:, 0] + 1.2 * rng.standard_normal(300)
    few = np.arange(27) < 3.0
    keep = {"few": few, "all": np.ones(27)}
    lost = [
        gain(crossfit.compare(x, y, keep, jax.random.key(0), folds=5, rounds=2, added=added).table("few", "all"))
        for added in (None, 1.0 - few)
    ]
    assert lost[0] > 0.04
    assert abs(lost[1]) < 0.02


@pytest.mark.slow
def test_intervals_of_a_gain_cover_what_fresh_rows_would_show():
    rng, n, rounds = np.random.default_rng(0), 200, 2
    weight = np.concatenate([[0.6], np.full(5, 0.15), np.zeros(6)])
    keep = {"few": np.arange(12) < 1, "all": np.ones(12)}
    hits, truths, found = 0, [], []
    added = 1 - keep["few"]
    for draw in range(40):
        x = rng.standard_normal((n, 12))
        y = x @ weight + rng.standard_normal(n)
        key = jax.random.key(draw)
        own = crossfit.compare(x, y, keep, key, folds=5, rounds=rounds, added=added, blocks=10)
        interval = own.interval(gain, "all", "few")
        fresh = rng.standard_normal((4000, 12))
        target = fresh @ weight + rng.standard_normal(4000)
        lost = []
        for some in keep.values():
            z = np.concatenate([x[: 4 * n // 5], fresh]) * some[None]
            path = paths.leave_one_out(z[: 4 * n // 5], y[: 4 * n // 5], crossfit.ALPHAS * (4 * n // 5))
            lost.append((target - (z[4 * n // 5 :] @ np.asarray(path.fit.weight[:, 0]) + float(path.fit.bias[0]))) ** 2)
        truths.append((lost[0] - lost[1]).mean() / target.var())
        found.append(interval)
    truth = np.mean(truths)
    hits = sum(each.low < truth < each.high for each in found)
    assert hits >= 34  # 85%
    assert np.mean([each.estimate for each in found]) == pytest.approx(truth, abs=0.02)
