"""Concept whitening in numpy, float64, from the papers; loops and dense matrices where the library has neither.

Chen, Bei and Rudin 2020; Wen and Yin 2013, sections 2 and 3; Huang et al. 2019, algorithm 1 (IterNorm).
"""

import numpy as np


def inverse_sqrt(a, floor=0.0):
    """V max(w, floor)^-1/2 V' of a symmetric matrix."""
    w, v = np.linalg.eigh(a)
    return (v / np.sqrt(np.maximum(w, floor))) @ v.T


def differences(f, x, direction, step=1e-5):
    """The directional derivative of `f` at x, by central differences of fourth order."""
    at = lambda i: f(x + i * step * direction)  # noqa: E731
    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)


def spectrum(rng, d, condition):
    """A random symmetric positive matrix of a geometric spectrum, the largest eigenvalue 1."""
    q, _ = np.linalg.qr(rng.normal(size=(d, d)))
    return (q * np.geomspace(1, 1 / condition, d)) @ q.T


def sample(rng, n, covariance, mean=0.0):
    """N rows whose covariance (over N) is this one to rounding."""
    z = rng.normal(size=(n, len(covariance)))
    z -= z.mean(0)
    z = z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / n)).T
    return z @ np.linalg.cholesky(covariance).T + mean


def iterative(sigma, steps, eps=1e-5):
    """IterNorm's inverse square root in the dtype of sigma: Newton-Schulz without coupling, from I."""
    eye = np.eye(len(sigma), dtype=sigma.dtype)
    sigma = sigma + sigma.dtype.type(eps) * eye
    trace = np.trace(sigma)
    p = eye
    for _ in range(steps):
        p = sigma.dtype.type(1.5) * p - sigma.dtype.type(0.5) * p @ p @ p @ (sigma / trace)
    return p / np.sqrt(trace)


def cayley(rotation, gradient, tau):
    """(I + tau/2 A)^-1 (I - tau/2 A) R with A = G R' - R G', all D x D."""
    a = gradient @ rotation.T - rotation @ gradient.T
    eye = np.eye(len(a))
    return np.linalg.solve(eye + tau / 2 * a, (eye - tau / 2 * a) @ rotation)


def search(rotation, gradient, start=1000.0, most=1e8, c1=1e-4, c2=0.9, tries=500):
    """The released line search: bisection for the conditions of Armijo and Wolfe. Gives tau and whether it ended."""
    value = lambda tau: np.sum(gradient * cayley(rotation, gradient, tau))  # noqa: E731
    a = gradient @ rotation.T - rotation @ gradient.T
    slope0, low, high, tau = -0.5 * np.sum(a**2), 0.0, most, start
    for _ in range(tries):
        moved = cayley(rotation, gradient, tau)
        inverse = np.linalg.inv(np.eye(len(a)) + tau / 2 * a)
        slope = -np.trace(gradient.T @ inverse @ a @ (rotation + moved) / 2)
        if value(tau) > value(0.0) + c1 * tau * slope0 + 1e-18:
            high = tau
        elif slope + 1e-18 < c2 * slope0:
            low = tau
        else:
            return tau, True
        tau = (low + high) / 2
    return tau, False


def nearest_rotation(targets):
    """The rows r_1 .. r_k, orthonormal, of the largest sum of <r_j, t_j>: the polar factor of targets `[k, D]`."""
    u, _, vt = np.linalg.svd(targets, full_matrices=False)
    return u @ vt


def activation(y, mode):
    """One image's activations `[D]` of a map `[H, W, D]`: means over places, over blocks of 3 x 3, or positives."""
    height, width, d = y.shape
    if mode == "mean":
        return y.mean((0, 1))
    if mode == "max":
        return y.max((0, 1))
    if mode == "positive_mean":
        return np.array([y[..., j][y[..., j] > 0].sum() / ((y[..., j] > 0).sum() + 1e-4) for j in range(d)])
    blocks = [y[i : i + 3, j : j + 3].max((0, 1)) for i in range(0, height - 2, 3) for j in range(0, width - 2, 3)]
    return np.mean(blocks, 0)


def concept_gradient(x, rotation, j, mode):
    """Minus the mean over images of the whitened places that the activation of axis j is made of, weighted: `[D]`.

    x: whitened maps `[B, H, W, D]`. Each mode is a mean over chosen places, so its gradient is the mean of x there.
    """
    rows = []
    for one in x:
        y = one @ rotation[j]
        if mode == "mean":
            rows.append(one.mean((0, 1)))
        elif mode == "max":
            rows.append(one[np.unravel_index(y.argmax(), y.shape)])
        elif mode == "positive_mean":
            rows.append(one[y > 0].sum(0) / ((y > 0).sum() + 1e-4))
        else:
            chosen = []
            for p in range(0, y.shape[0] - 2, 3):
                for q in range(0, y.shape[1] - 2, 3):
                    i = np.unravel_index(y[p : p + 3, q : q + 3].argmax(), (3, 3))
                    chosen.append(one[p + i[0], q + i[1]])
            rows.append(np.mean(chosen, 0))
    return -np.mean(rows, 0)
