"""Codes whose metrics are known, of factors drawn uniformly."""

import numpy as np

SIZES = (4, 3, 5)
N = 3000


def factors(n=N, sizes=SIZES, seed=0):
    return np.random.default_rng(seed).integers(0, np.array(sizes), (n, len(sizes))).astype(np.int32)


def perfect(drawn):
    """Latent d is factor d, scaled and shifted."""
    return (drawn * np.array([1.0, -2.5, 0.5])[: drawn.shape[1]] + 3).astype(np.float32)


def rotation():
    """A reflection that spreads every factor over two latents alike."""
    return (np.eye(3) - 2 / 3).astype(np.float32)


def standard(drawn, sizes=SIZES):
    """Factors of mean 0 and variance 1."""
    sizes = np.array(sizes)
    return ((drawn - (sizes - 1) / 2) / np.sqrt((sizes**2 - 1) / 12)).astype(np.float32)


def noisy(drawn, size=0.3, seed=1):
    clean = standard(drawn)
    return (clean + size * np.random.default_rng(seed).normal(size=clean.shape)).astype(np.float32)


def random(drawn, dims=4, seed=2):
    return np.random.default_rng(seed).normal(size=(len(drawn), dims)).astype(np.float32)
