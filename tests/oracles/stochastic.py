"""Unsure concepts in NumPy float64, from the papers: Gaussian conditioning, confidence regions, walks, enumerated."""

import itertools

import numpy as np
from scipy import optimize, stats


def sigmoid(z):
    return 1 / (1 + np.exp(-np.asarray(z, np.float64)))


def conditional(mean, covariance, mask, target):
    """Mean and covariance of what is not under the mask, by the partitioned inverse (Bishop 2006, 2.3.1): precision.

    With precision P: covariance `P_aa^-1`, mean `m_a - P_aa^-1 P_ab (x_b - m_b)`, a form unlike the library's.
    """
    precision = np.linalg.inv(covariance)
    a, b = np.flatnonzero(~mask), np.flatnonzero(mask)
    inverse = np.linalg.inv(precision[np.ix_(a, a)])
    return mean[a] - inverse @ precision[np.ix_(a, b)] @ (target[b] - mean[b]), inverse


def confidence_region(mean, covariance, mask, said, level):
    """The least cross-entropy within the region, on the right side of the mean, by SLSQP: loss and logits."""
    b = np.flatnonzero(mask)
    side, inner = np.where(said[b] > 0.5, 1.0, -1.0), np.linalg.inv(covariance[np.ix_(b, b)])
    quantile = stats.chi2.ppf(level, len(b))
    begin = np.ones(len(b))
    begin *= np.sqrt(quantile / ((side * begin) @ inner @ (side * begin)))
    found = optimize.minimize(
        lambda u: np.logaddexp(0, -(side * mean[b] + u)).sum(),
        begin,
        method="SLSQP",
        bounds=[(0, None)] * len(b),
        constraints={"type": "ineq", "fun": lambda u: quantile - (side * u) @ inner @ (side * u)},
        options={"maxiter": 500, "ftol": 1e-12},
    )
    return found.fun, mean[b] + side * found.x


def joint_loss(logits, truth):
    """- log of the mean over samples of the product of Bernoulli likelihoods."""
    p = sigmoid(logits)
    known = ~np.isnan(truth)
    each = np.where(truth[known] > 0.5, p[:, known], 1 - p[:, known]).prod(1)
    return -np.log(each.mean())


def precision_penalty(lower):
    inverse = np.linalg.inv(lower @ lower.T)
    k = len(lower)
    return np.mean([abs(inverse[i, j]) for i, j in itertools.permutations(range(k), 2)])


def walks(logit, k, mask, said):
    """All concepts and their probability given what is said, by enumeration. logit: `(i, earlier concepts) -> number`.

    Bayes: p(c | said) is proportional to `prod_i p(c_i | c_<i)` over all i where c agrees with what is said.
    """
    every = np.array([*itertools.product([0.0, 1.0], repeat=k)])
    weights = []
    for c in every:
        p = np.prod([sigmoid(logit(i, c[:i]) * (1 if c[i] else -1)) for i in range(k)])
        weights.append(p * (not mask.any() or np.all(c[mask] == said[mask])))
    return every, np.array(weights) / np.sum(weights)
