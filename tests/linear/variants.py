"""One batch of problems for every fit: transformations of a base problem, and the hard cases, for one program."""

from typing import NamedTuple

import numpy as np

N, D = 48, 5
HALF = N // 2
FEATURES = np.float32([1, 2, 0.5, 1, 4])
NAMES = (
    "base",
    "shifted",
    "permuted",
    "scaled",
    "weighted",
    "doubled",
    "repeated",
    "collinear",
    "lopsided",
    "flat",
    "nan",
)


class Batch(NamedTuple):
    x: np.ndarray
    y: np.ndarray
    alpha: np.ndarray
    weights: np.ndarray


def features(seed=0):
    """Features that are multiples of 1/64, so that adding 10,000 is exact in float32."""
    return np.round(np.random.default_rng(seed).normal(size=(N, D)) * 64).astype(np.float32) / 64 * FEATURES


def batch(y, alpha, *, flat, power=2):
    """Make the problems. y, flat (the target of that case): `[N]`. power: the scale of alpha in the features' units."""
    rng = np.random.default_rng(1)
    x, ones = features(), np.ones(N, np.float32)
    order = rng.permutation(N)
    weights = rng.uniform(0.2, 3, N).astype(np.float32) * (rng.uniform(size=N) < 0.7)
    missing = np.where(weights[:, None] > 0, x, np.nan)
    heavy = np.where(np.arange(N) < HALF, 2, 0).astype(np.float32)
    collinear = np.stack([x[:, 0], 2 * x[:, 0], x[:, 2], np.full(N, 5), x[:, 4]], 1)
    lopsided = x * np.float32([1e-3, 1e3, 1, 30, 0.1])
    broken = np.where(np.arange(N)[:, None] == 3, np.nan, x)
    problems = {
        "base": (x, y, alpha, ones),
        "shifted": (x + 10_000, y, alpha, ones),
        "permuted": (x[order], y[order], alpha, ones),
        "scaled": (8 * x, y, 8**power * alpha, ones),
        "weighted": (missing, y, alpha, weights),
        "doubled": (x, y, alpha, heavy),
        "repeated": (np.tile(x[:HALF], (2, 1)), np.concatenate([y[:HALF]] * 2), alpha, ones),
        "collinear": (collinear, y, alpha, ones),
        "lopsided": (lopsided, y, alpha, ones),
        "flat": (x, flat, alpha, ones),
        "nan": (broken, y, alpha, ones),
    }
    assert tuple(problems) == NAMES
    return Batch(*(np.stack([np.float32(p[i]) for p in problems.values()]) for i in range(4)))


def kept(problems, name):
    """Give the rows of a problem that count, in float64: what is left when those of weight zero are deleted."""
    x, y, alpha, weights = (np.float64(a[NAMES.index(name)]) for a in problems)
    rows = weights > 0
    return x[rows], y[rows], float(alpha), weights[rows]


def pick(found, name):
    """Give one fit of the batch."""
    return type(found)(*(np.asarray(a)[NAMES.index(name)] for a in found))


def at(found, x):
    """Give the outputs of a fit at float64 rows."""
    return (x - np.float64(found.centre)) @ np.float64(found.weight) + np.float64(found.level)


def outputs(weight, bias, x):
    return np.float64(x) @ np.float64(weight) + np.float64(bias)


def check_invariances(found, tol):
    """Hold the fits of the transformed problems against that of the base."""
    base, shifted, scaled = pick(found, "base"), pick(found, "shifted"), pick(found, "scaled")
    size = np.abs(base.weight).max()
    for name in ("shifted", "permuted"):
        np.testing.assert_allclose(pick(found, name).weight, base.weight, rtol=0, atol=tol * size, err_msg=name)
    np.testing.assert_allclose(scaled.weight * 8, base.weight, rtol=0, atol=tol * size)
    x = np.float64(features())
    np.testing.assert_allclose(at(shifted, x + 10_000), at(base, x), rtol=0, atol=tol)
    np.testing.assert_allclose(pick(found, "repeated").weight, pick(found, "doubled").weight, rtol=0, atol=tol * size)
    np.testing.assert_allclose(pick(found, "repeated").bias, pick(found, "doubled").bias, rtol=0, atol=tol)


def check_nan(found):
    broken = pick(found, "nan")
    assert np.isnan(broken.weight).all()
    assert np.isnan(broken.level).all()
    assert not broken.converged


def check_oracle(found, problems, oracle, tol, names=NAMES[:9]):
    """Hold outputs at the rows against an oracle in float64, in units of 1: margins, logits, standardised targets."""
    for name in names:
        x, y, alpha, weights = kept(problems, name)
        ours = pick(found, name)
        assert ours.converged, name
        theirs = outputs(*oracle(x, y, alpha, weights), x)
        np.testing.assert_allclose(at(ours, x), theirs, rtol=0, atol=tol, err_msg=name)
