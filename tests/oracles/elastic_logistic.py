"""Elastic-net logistic regression in float64 from its definition: the weight as a difference of two, by L-BFGS-B."""

import numpy as np
from scipy import optimize, special


def objective(x, y, alpha, ratio, weights, weight, bias, softmax):
    """Value, and its slopes without the penalty |weight|_1's: in the weight [D, K] and the bias [K]."""
    z = x @ weight + bias
    share = weights / weights.sum()
    if softmax:
        loss, error = special.logsumexp(z, 1) - (y * z).sum(1), special.softmax(z, 1) - y
    else:
        loss, error = (np.logaddexp(0, z) - y * z).sum(1), special.expit(z) - y
    value = share @ loss + alpha * (ratio * np.abs(weight).sum() + (1 - ratio) / 2 * (weight**2).sum())
    slope = x.T @ (share[:, None] * error) + alpha * (1 - ratio) * weight
    return value, slope, share @ error


def fit(x, y, alpha, ratio, weights, softmax):
    """Minimise; x [N, D], y [N, K]."""
    x, y, weights = np.float64(x), np.float64(y), np.float64(weights)
    centre = x.mean(0)
    x = x - centre
    d, k = x.shape[1], y.shape[1]

    def value(flat):
        two = flat[: 2 * d * k].reshape(2, d, k)
        weight, bias = two[0] - two[1], flat[2 * d * k :]
        _, slope, tilt = objective(x, y, alpha, ratio, weights, weight, bias, softmax)
        # |weight|_1 counts the two parts, which differ from it where both are above zero
        total = objective(x, y, alpha, 0.0, weights, weight, bias, softmax)[0]
        total += alpha * ratio * two.sum() - alpha * ratio / 2 * (weight**2).sum()
        return total, np.concatenate([(slope + alpha * ratio).ravel(), (alpha * ratio - slope).ravel(), tilt])

    bounds = [(0, None)] * (2 * d * k) + [(None, None)] * k
    point = np.zeros(2 * d * k + k)
    for _ in range(3):
        options = {"ftol": 1e-18, "gtol": 1e-12, "maxiter": 50000, "maxfun": 500000, "maxcor": 30}
        point = optimize.minimize(value, point, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    two = point[: 2 * d * k].reshape(2, d, k)
    weight = two[0] - two[1]
    return weight, point[2 * d * k :] - centre @ weight
