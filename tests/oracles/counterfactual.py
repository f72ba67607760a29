"""Conceptual counterfactuals of a linear head in float64, and the minimum of their objective by a general solver.

From the paper's equations (Abid, Yuksekgonul and Zou 2022, section 3): concepts are (unit vector, offset, least margin,
largest margin, mean of positives, mean of negatives).
"""

import numpy as np
from scipy import optimize, special


def limits(vectors, offsets, low, high, positive, negative, x, enough):
    """Least and largest weight of each concept, one at a time."""
    least, most = [], []
    for v, b, bottom, top, yes, no in zip(vectors, offsets, low, high, positive, negative, strict=True):
        margin = sum(v * x) + b
        above, below = (yes, no) if enough == "mean" else (0.0, 0.0)
        most.append(0.0 if margin > above else max((top - margin) / top, 0.0))
        least.append(0.0 if margin < below else min((bottom - margin) / top, 0.0))
    return np.array(least), np.array(most)


def objective(w, weight, bias, moves, x, label, alpha, beta):
    """Value and a subgradient of the objective; weight [D, C], moves [k, D]."""
    z = (x + w @ moves) @ weight + bias
    root = np.sqrt((w**2).sum())
    value = special.logsumexp(z) - z[label] + (alpha * np.abs(w).sum() + beta * root) / len(w)
    error = special.softmax(z) - np.eye(len(z))[label]
    slope = moves @ (weight @ error) + alpha * np.sign(w) / len(w)
    return value, slope + (beta * w / root / len(w) if root > 0 else 0)


def descend(weight, bias, moves, x, label, bounds, alpha=0.1, beta=0.01, lr=0.01, momentum=0.9, steps=100, stop=False):
    """Run the authors' procedure."""
    w = velocity = np.zeros(len(moves))
    for _ in range(steps):
        velocity = momentum * velocity + objective(w, weight, bias, moves, x, label, alpha, beta)[1]
        free = w - lr * velocity
        w = np.minimum(np.maximum(free, bounds[0]), bounds[1])
        velocity = np.where(stop & (free != w), 0, velocity)
    return w


def minimum(weight, bias, moves, x, label, bounds, alpha=0.1, beta=0.01):
    """The least value, with the weight as a difference of two that are not negative (its root smoothed by 1e-9)."""
    k = len(moves)

    def value(both):
        w = both[:k] - both[k:]
        z = (x + w @ moves) @ weight + bias
        root = np.sqrt((w**2).sum() + 1e-18)
        pull = moves @ (weight @ (special.softmax(z) - np.eye(len(z))[label])) + beta * w / root / k
        total = special.logsumexp(z) - z[label] + (alpha * both.sum() + beta * root) / k
        return total, np.concatenate([pull, -pull]) + alpha / k

    room = [(0, top) for top in bounds[1]] + [(0, -bottom) for bottom in bounds[0]]
    start = np.minimum(np.full(2 * k, 1e-3), [top for _, top in room])
    options = {"ftol": 1e-16, "gtol": 1e-12, "maxiter": 10000, "maxfun": 100000}
    both = optimize.minimize(value, start, jac=True, method="L-BFGS-B", bounds=room, options=options).x
    w = both[:k] - both[k:]
    return w, objective(w, weight, bias, moves, x, label, alpha, beta)[0]
