"""The comparison of concept models with their peer: what it must call the same, and what it must see."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "benchmarks"))

import concepts_agree as agree


def rows(seed, n=20, shift=0.0, high=0.5, spread=0.003):
    """Seeds of a narrow number (`concepts`), of one that ends at .47 or .73, and of two that do not vary."""
    rng = np.random.default_rng(seed)
    return [
        {
            "data": "xor", "model": "cbm_sigmoid", "seed": i,
            "concepts": 0.99 + shift + spread * rng.normal(), "wrong": 0.52,
            "curve": [float(rng.choice([0.47, 0.73], p=[1 - high, high])), 0.5],
        }
        for i in range(n)
    ]  # fmt: skip


def table(ours, peer):
    found = agree.compare(agree.cells(ours), agree.cells(peer))
    return {row["number"]: row for row in found}


def test_samples_of_one_distribution_agree():
    found = table(rows(0), rows(1))
    assert set(found) == {"concepts", "wrong", "0 known", "1 known"}
    assert all(agree.agrees(row) for row in found.values())
    assert found["concepts"]["equivalent"] is True
    assert "equivalent" not in found["0 known"]


def test_a_shift_beyond_delta_is_not_equivalent():
    assert not agree.agrees(table(rows(0, shift=-0.012), rows(1))["concepts"])


def test_another_share_of_bad_solutions_is_seen():
    row = table(rows(0, high=1.0), rows(1, high=0.2))["0 known"]
    assert not agree.agrees(row)
    assert row["detectable"] < 0.15


def test_another_spread_with_the_same_mean_is_seen():
    """Means agree to rounding, but ours always ends between the peer's two solutions."""
    between = [row | {"curve": [0.6, 0.5]} for row in rows(0, n=40)]
    peer = [row | {"curve": [0.47 + 0.26 * (row["seed"] % 2), 0.5]} for row in rows(1, n=40)]
    row = table(between, peer)["0 known"]
    assert row["holm_means"] > 0.05 > row["holm_shapes"]
    assert not agree.agrees(row)
