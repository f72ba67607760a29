import numpy as np
import pytest

from interp_jax.core.variance import nested_components


def design(objectives, strengths, seeds):
    outer = np.repeat(np.arange(objectives), strengths * seeds)
    inner = np.tile(np.repeat(np.arange(strengths), seeds), objectives)
    return outer, inner


def simulate(rng, outer, inner, sigmas):
    strengths = inner.max() + 1
    a, b, e = sigmas
    objective = rng.normal(size=outer.max() + 1)[outer]
    cell = rng.normal(size=(outer.max() + 1) * strengths)[outer * strengths + inner]
    return a * objective + b * cell + e * rng.normal(size=outer.size)


def check(simulations, seeds, sigmas, missing=0.0):
    """Estimates are unbiased, intervals cover about 95% (more where a component is zero: bounds are cut there)."""
    rng = np.random.default_rng(0)
    outer, inner = design(6, 6, seeds)
    truth, hits, estimates, shares = np.square(sigmas), np.zeros(3), [], []
    for _ in range(simulations):
        y = simulate(rng, outer, inner, sigmas)
        keep = rng.random(y.size) >= missing
        found = nested_components(y[keep], outer[keep], inner[keep])
        intervals = (found.objective, found.strength, found.seed)
        hits += [i.low <= t <= i.high for i, t in zip(intervals, truth, strict=True)]
        estimates.append([i.estimate for i in intervals])
        shares.append(found.eta_squared)
    spread = np.std(estimates, 0, ddof=1) / np.sqrt(simulations)
    assert np.all(np.abs(np.mean(estimates, 0) - truth) < 4 * spread)
    coverage = hits / simulations
    assert np.all(coverage > 0.95 - 4 * np.sqrt(0.95 * 0.05 / simulations) - 0.005)
    assert np.all(coverage < 0.98 + 4 * np.sqrt(0.98 * 0.02 / simulations))
    return np.mean(shares, 0)


@pytest.mark.parametrize("seeds", [5, 8])
def test_unbiased_and_covered(seeds):
    check(300, seeds, (1.0, 0.7, 1.0))


def test_unbiased_and_covered_without_effects_while_raw_eta_squared_is_not_zero():
    eta = check(300, 5, (0.0, 0.0, 1.0))
    outer, inner = design(6, 6, 5)
    expected = nested_components(np.arange(180.0), outer, inner).null_eta_squared
    np.testing.assert_allclose(expected, [5 / 179, 30 / 179, 144 / 179])
    np.testing.assert_allclose(eta, expected, atol=0.01)


def test_unbiased_and_covered_with_cells_of_unequal_size():
    check(300, 8, (1.0, 0.7, 1.0), missing=0.4)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [5, 8, 10, 20])
@pytest.mark.parametrize(
    ("sigmas", "missing"), [((1.0, 0.7, 1.0), 0.0), ((0.0, 0.7, 1.0), 0.0), ((1.0, 0.7, 1.0), 0.4)]
)
def test_unbiased_and_covered_2000(seeds, sigmas, missing):
    check(2000, seeds, sigmas, missing)


def test_balanced_equals_the_textbook():
    """Balanced design: (MS_a - MS_b) / (b n), (MS_b - MS_e) / n, MS_e, from cell means by hand."""
    rng = np.random.default_rng(1)
    y = rng.normal(size=(4, 3, 5)) + rng.normal(size=(4, 3, 1)) + rng.normal(size=(4, 1, 1))
    outer, inner = design(4, 3, 5)
    found = nested_components(y.ravel(), outer, inner)
    ms_e = np.mean(y.var(2, ddof=1))
    ms_b = 5 * np.mean(y.mean(2).var(1, ddof=1))
    ms_a = 15 * y.mean((1, 2)).var(ddof=1)
    np.testing.assert_allclose(found.seed.estimate, ms_e)
    np.testing.assert_allclose(found.strength.estimate, (ms_b - ms_e) / 5)
    np.testing.assert_allclose(found.objective.estimate, (ms_a - ms_b) / 15)
    np.testing.assert_allclose(found.eta_squared.sum(), 1)
    np.testing.assert_allclose(found.shares.sum(), 1)


def test_labels_nest_and_order_does_not_matter():
    rng = np.random.default_rng(2)
    outer, inner = design(3, 4, 5)
    y = simulate(rng, outer, inner, (1, 1, 1))
    base = nested_components(y, outer, inner)
    names = np.array(["beta", "factor", "dip"])[outer]
    own = nested_components(y, names, [f"{o}={i}" for o, i in zip(names, inner, strict=True)])
    turn = rng.permutation(y.size)
    moved = nested_components(10 + y[turn], outer[turn], inner[turn])
    for other in (own, moved):
        np.testing.assert_allclose(other.shares, base.shares)
        np.testing.assert_allclose(other.strength[:3], base.strength[:3])


def test_refused():
    outer, inner = design(3, 4, 2)
    y = np.arange(24.0)
    with pytest.raises(ValueError, match="got 3 objectives, 12 cells and 12 rows"):
        nested_components(y[::2], outer[::2], inner[::2])
    with pytest.raises(ValueError, match="got 1 objectives"):
        nested_components(y, outer * 0, inner)
    with pytest.raises(ValueError, match="got 3 objectives, 3 cells"):
        nested_components(y, outer, inner * 0)
    with pytest.raises(ValueError, match=r"y is not finite at rows \[3\]"):
        nested_components(np.where(y == 3, np.nan, y), outer, inner)
    with pytest.raises(ValueError, match="want y, objective, strength"):
        nested_components(y, outer[:3], inner)
