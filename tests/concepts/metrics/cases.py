"""Representations of known worth for the same concepts, stacked for one program."""

import numpy as np

NAMES = ("hard", "soft", "saturated", "leaky", "noise")


def concepts(n=300, k=3, seed=0):
    """Concepts that occur in all combinations, the last correlated with the first."""
    rng = np.random.default_rng(seed)
    c = rng.random((n, k)) < 0.5
    c[:, -1] = np.where(rng.random(n) < 0.4, c[:, 0], c[:, -1])
    return c.astype(np.float32)


def representations(c, units=1, seed=1):
    """Give `[5, N, k]`, or `[5, N, k, units]` in which the first unit is the scalar and the others are noise."""
    rng = np.random.default_rng(seed)
    soft = 2 * c - 1 + 0.6 * rng.normal(size=c.shape)
    leaky = soft + 1.2 * (np.roll(c, 1, axis=1) - 0.5)
    scalar = np.stack([c, soft, np.clip(soft, -1, 1), leaky, rng.normal(size=c.shape)])
    if units == 1:
        return scalar.astype(np.float32)
    rest = rng.normal(size=(*scalar.shape, units - 1))
    rest[0] = 0
    return np.concatenate([scalar[..., None], rest], -1).astype(np.float32)


def standard_error(values):
    return np.std(values, ddof=1) / np.sqrt(len(values))
