"""Toy data whose true features are known: sparse features, and sums modulo a prime."""

from typing import NamedTuple

import jax
import numpy as np

from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike, Key


def sparse_features(key: Key, size: int, *, density: ArrayLike) -> Array:
    """Draw one example of `size` independent features: 0, or with probability `density` uniform in [0, 1].

    The data of toy models of superposition (Elhage et al. 2022), whose sparsity is `1 - density`.

    >>> sparse_features(jax.random.key(0), 5, density=0.0).tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0]
    """
    checks.whole(1, size=size)
    checks.between(0, 1, density=density)
    value, there = jax.random.split(key)
    return jax.random.uniform(value, (size,)) * jax.random.bernoulli(there, density, (size,))


class Addition(NamedTuple):
    """All pairs and their sums. pairs: `[p p, 2]`, ordered by the first, then the second. sums: `[p p]`. int32."""

    pairs: np.ndarray
    sums: np.ndarray


def modular_addition(modulus: int) -> Addition:
    """Give the whole table of `(a + b) mod p` (Power et al. 2022; Nanda et al. 2023 take p = 113).

    >>> table = modular_addition(3)
    >>> table.pairs[5].tolist(), table.sums.tolist()
    ([1, 2], [0, 1, 2, 1, 2, 0, 2, 0, 1])
    """
    checks.whole(2, modulus=modulus)
    pairs = np.stack(np.divmod(np.arange(modulus**2, dtype=np.int32), np.int32(modulus)), 1)
    return Addition(pairs, (pairs.sum(1) % modulus).astype(np.int32))


def waves(modulus: int) -> np.ndarray:
    """Give the Fourier basis of functions on 0 .. p - 1 without the constant: `[p, p - 1]`, float64, orthonormal.

    Columns are cosine and sine of frequency 1, of frequency 2, ...; for even p the last is the cosine of p / 2 alone.
    A network that has learnt modular addition has a few frequencies of a, of b, and of a + b (Nanda et al. 2023).
    """
    checks.whole(2, modulus=modulus)
    angle = 2 * np.pi * np.outer(np.arange(modulus), np.arange(1, modulus // 2 + 1)) / modulus
    columns = np.stack([np.cos(angle), np.sin(angle)], 2).reshape(modulus, -1)[:, : modulus - 1]
    return columns / np.linalg.norm(columns, axis=0, keepdims=True)


def frequencies(modulus: int) -> np.ndarray:
    """Give the frequency of each column of `waves`, `[p - 1]`."""
    return np.arange(modulus - 1) // 2 + 1
