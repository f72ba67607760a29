"""The bumps of Square Attack by loops, from equation 2 of Andriushchenko et al. (2020), section 4.3."""

import numpy as np


def bump(tall, wide):
    """`eta_{r, s} = sum over k from 0 to M of 1 / (n + 1 - k)^2`, `M = n - max(|r - tall // 2|, |s - wide // 2|)`.

    n is half the longer side; r, s count from 0.
    """
    n = max(tall, wide) // 2
    eta = np.zeros((tall, wide))
    for r in range(tall):
        for s in range(wide):
            for k in range(n - max(abs(r - tall // 2), abs(s - wide // 2)) + 1):
                eta[r, s] += 1 / (n + 1 - k) ** 2
    return eta


def pair(side):
    """One bump above its negative, each and together of length 1."""
    halves = [bump(side // 2, side), -bump(side - side // 2, side)]
    both = np.concatenate([half / (np.linalg.norm(half) or 1) for half in halves])
    return both / np.linalg.norm(both)
