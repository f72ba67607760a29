"""Concept models in NumPy float64, from the papers: data sets, losses, forward passes, schedules."""

import numpy as np


def from_inputs(name, x):
    """Concepts `[N, k]` and labels `[N]` from the inputs alone, and where rounding cannot have changed them."""
    if name == "xor":
        margins, concepts = np.abs(x - 0.5), x > 0.5
        return concepts, concepts[:, 0] != concepts[:, 1], margins.min(1) > 1e-6
    if name == "dot":
        v, w = (x[:, :2] + x[:, 2:]) / 2, (x[:, :2] - x[:, 2:]) / 2
        product = (v * w).sum(1)
        concepts = np.stack([v[:, 0] + v[:, 1] > 0, w[:, 0] + w[:, 1] < 0], 1)
        margins = np.abs(np.stack([v.sum(1), w.sum(1), product], 1))
        return concepts, product > 0, margins.min(1) > 1e-4
    h = invert_waves(x[:, 0:6:2])
    np.testing.assert_allclose(np.cos(h) + h, x[:, 1:6:2], atol=2e-2)  # the same latent, up to the flat places of sin
    margins = np.abs(np.column_stack([h, h.sum(1) - 1]))
    return h > 0, h.sum(1) > 1, margins.min(1) > 1e-2


def invert_waves(y):
    """Solve `sin h + h = y`, which grows in h, by bisection."""
    low, high = y - 1.5, y + 1.5
    for _ in range(60):
        middle = (low + high) / 2
        below = np.sin(middle) + middle < y
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2
