"""LEACE in float64 from Belrose et al. (2023, theorem 4.3), by matrix functions as the theorem states it."""

import numpy as np
from scipy import linalg


def leace(x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give P `[D, D]` and b `[D]` of `r(x) = P x + b`."""
    n = len(x)
    z = z.reshape(n, -1)
    mean = x.mean(0)
    cov = (x - mean).T @ (x - mean) / n
    across = (x - mean).T @ (z - z.mean(0)) / n
    values, vectors = linalg.eigh(cov)
    keep = values > 1e-12 * values.max()
    whiten = (vectors[:, keep] / np.sqrt(values[keep])) @ vectors[:, keep].T
    colour = (vectors[:, keep] * np.sqrt(values[keep])) @ vectors[:, keep].T
    basis = linalg.orth(whiten @ across, rcond=1e-9)
    p = np.eye(x.shape[1]) - colour @ basis @ basis.T @ whiten
    return p, mean - p @ mean


def logistic_loss(x: np.ndarray, y: np.ndarray, steps: int = 60) -> float:
    """Give the least mean log loss of a linear predictor of y, 0 or 1, by Newton's method.

    Directions under 1e-5 of the largest are rounding errors of what has been erased, and are not looked at.
    """
    x, y = x.astype(float), y.astype(float)
    left, scales, _ = linalg.svd(x - x.mean(0), full_matrices=False)
    kept = left[:, scales > 1e-5 * scales[0]] * np.sqrt(len(x))
    design = np.concatenate([np.ones((len(x), 1)), kept], 1)
    rate = y.mean()
    weight = np.zeros(design.shape[1])
    weight[0] = np.log(rate / (1 - rate))

    def loss(weight: np.ndarray) -> float:
        out = design @ weight
        return float(np.mean(np.logaddexp(0, out) - y * out))

    for _ in range(steps):
        p = 1 / (1 + np.exp(-(design @ weight)))
        gradient = design.T @ (p - y) / len(y)
        hessian = (design * (p * (1 - p))[:, None]).T @ design / len(y)
        move = linalg.solve(hessian + 1e-14 * np.eye(len(weight)), gradient, assume_a="pos")
        size = 1.0
        while loss(weight - size * move) > loss(weight) and size > 1e-8:
            size /= 2
        weight -= size * move
    return loss(weight)


def entropy(y: np.ndarray) -> float:
    """Give the log loss of the best constant."""
    rate = y.astype(float).mean()
    return float(-rate * np.log(rate) - (1 - rate) * np.log(1 - rate))


def peer(x: np.ndarray, z: np.ndarray, tolerance: float = 0.01) -> tuple[np.ndarray, float]:
    """Give P of concept-erasure 0.2.4 (without shrinkage) for one column z in its own units, and its singular value.

    There it is compared with `svd_tol`, .01 by default, and a direction that is not larger is left as it is.
    """
    n = len(x)
    about = x - x.mean(0)
    values, vectors = linalg.eigh(about.T @ about / n)
    whiten = (vectors / np.sqrt(values)) @ vectors.T
    colour = (vectors * np.sqrt(values)) @ vectors.T
    left, sizes, _ = linalg.svd(whiten @ (about.T @ (z - z.mean()) / n)[:, None], full_matrices=False)
    left = left * (sizes > tolerance)
    return np.eye(x.shape[1]) - colour @ left @ left.T @ whiten, float(sizes[0])
