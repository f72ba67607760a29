"""Scores as sums over clusters are the scores of the rows, whichever clusters are there."""

import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.core.bootstrap import bootstrap
from interp_jax.probes import coordinates_scores as scores
from interp_jax.probes import space

RNG = np.random.default_rng(0)
ROWS, CLUSTERS, SPLITS = 400, 30, 2
CLUSTER = np.concatenate([np.arange(25), RNG.integers(0, 25, ROWS - 25)])
TRUE = RNG.normal(size=(ROWS, 2)) + RNG.normal(size=(CLUSTERS, 2))[CLUSTER] + 50
FOUND = 0.5 * TRUE[None] + 25 + 0.3 * RNG.normal(size=(SPLITS, ROWS, 2))


def direct(rows, found=FOUND):
    """R2 from its definition, of some rows."""
    y = TRUE[rows]
    return np.mean([1 - np.sum((y - p[rows]) ** 2) / np.sum((y - TRUE.mean(0)) ** 2) for p in found])


def test_r2_is_its_definition_with_and_without_clusters():
    tally = scores.r2(TRUE, FOUND, CLUSTER, CLUSTERS)
    assert tally.clusters == 25
    assert tally.value == pytest.approx(direct(np.arange(ROWS)))
    some = CLUSTER < 7
    assert tally.score(tally.rows[:7].sum(0)).mean() == pytest.approx(direct(np.flatnonzero(some)))
    assert tally.pseudo.shape == (25,)
    assert tally.pseudo.mean() == pytest.approx(tally.value)


def test_predictions_that_know_only_the_mean_have_an_interval_at_zero():
    mean = np.broadcast_to(TRUE.mean(0) + 1e-3, FOUND.shape)
    found = scores.interval(scores.r2(TRUE, mean, CLUSTER, CLUSTERS), 0.0, draws=400)
    assert found.low < found.estimate < found.high
    assert abs(found.estimate) < 1e-3


def test_rows_that_are_not_there_count_for_nothing():
    rows = [RNG.permutation(ROWS)[:90] for _ in range(SPLITS)]
    holed = np.full_like(FOUND, np.nan)
    for split, own in enumerate(rows):
        holed[split, own] = FOUND[split, own]
    want = np.mean([direct(own, FOUND[i : i + 1]) for i, own in enumerate(rows)])
    assert scores.r2(TRUE, holed, CLUSTER, CLUSTERS).value == pytest.approx(want)
    assert scores.mean(holed[:, :, 0], CLUSTER, CLUSTERS).value == pytest.approx(
        np.mean([FOUND[i, own, 0].mean() for i, own in enumerate(rows)])
    )


def test_within_is_that_of_space():
    group = CLUSTER // 3
    found = scores.within(TRUE[:, :1], FOUND[:1, :, :1], group, CLUSTER, CLUSTERS)
    want = space.within(jnp.asarray(FOUND[0, :, :1]), jnp.asarray(TRUE[:, :1]), jnp.asarray(group), count=10)
    assert found.value == pytest.approx(float(want[0]), abs=1e-3)
    means = np.stack([TRUE[group == g].mean(0) for g in range(9)])[group][None]
    assert scores.within(TRUE, means, group, CLUSTER, CLUSTERS).value == pytest.approx(0, abs=1e-9)


def test_intervals_are_those_of_whole_clusters_of_rows():
    other = FOUND + 0.2 * RNG.normal(size=FOUND.shape)
    more, less = (scores.r2(TRUE, each, CLUSTER, CLUSTERS) for each in (FOUND, other))
    found = scores.interval(more, less, draws=400)
    want = bootstrap(lambda rows: direct(rows) - direct(rows, other), np.arange(ROWS), CLUSTER, seed=0, draws=400)
    for name in ("estimate", "low", "high", "n"):
        assert getattr(found, name) == pytest.approx(getattr(want, name), rel=1e-6), name
    shifted = scores.interval(more, 0.25, draws=400)
    alone = scores.interval(more, 0.0, draws=400)
    assert shifted.low == pytest.approx(alone.low - 0.25)
    few = scores.r2(TRUE, FOUND, CLUSTER % 10, 10)
    with pytest.raises(ValueError, match="at least 20 clusters"):
        scores.interval(few, 0.0)
