"""What the benchmarks of metrics compute from what they time."""

import argparse
import sys
from pathlib import Path

import numpy as np

from interp_jax.vae.metrics import protocol

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "benchmarks"))

import dci
import vae_metrics


def test_every_score_of_the_protocol_is_timed():
    timed = [name for names in vae_metrics.KINDS.values() for name in names]
    assert len(set(timed)) == len(timed)
    labels = {f"downstream_{n}" for n in protocol.Protocol().labels}
    assert set(timed) == {*protocol.NAMES} - {"downstream"} | labels


def test_training_is_scaled_to_the_steps_compared_with():
    """Two groups of 4 models at 3 and 5 s; 2 steps of all 8 in 1 s, so 100 steps in 50 s; UDR takes 2 s."""
    options = argparse.Namespace(models=8, group=4, steps=2)
    rounds = [{"metrics": dict.fromkeys(("wall", "cpu"), s), "training": {"wall": 1.0, "cpu": 1.0}} for s in (3.0, 5.0)]
    found = vae_metrics.summary(options, rounds, {"wall": 2.0, "cpu": 2.0})["wall"]
    assert found["metrics"] == 10
    assert found["training"] == 50
    assert found["training / metrics"] == 5
    np.testing.assert_allclose(found["by round"], [50 / 10, 50 / 6])


def test_agreement_tells_points_from_scores():
    """Reference A and B agree; ours on A is in the reverse order of theirs, ours on B in theirs."""
    rising = np.arange(6.0)
    values = np.stack([rising, rising**3, -rising, rising], 1)
    retest, other, same, own = dci.agreement(values)
    np.testing.assert_allclose([retest, other, same, own], [1, 0, 0, -1])
    best = dci.compared(np.stack([np.arange(24.0)] * 4, 1) + 0.01 * np.random.default_rng(0).normal(size=(24, 4)))
    assert best["other_less_retest"] == [0, 0, 0]
    assert best["retest"] == [1, 1, 1]
