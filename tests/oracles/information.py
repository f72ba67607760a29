"""Information estimates in numpy float64, written from the papers, pair by pair."""

import numpy as np
from scipy.special import digamma


def entropy(labels):
    _, counts = np.unique(labels, return_counts=True)
    p = counts / counts.sum()
    return -np.sum(p * np.log(p))


def mutual_information(a, b):
    """Sum p(a, b) log p(a, b) / p(a) p(b) over the cells that occur."""
    total = 0.0
    for u in np.unique(a):
        for v in np.unique(b):
            p = np.mean((a == u) & (b == v))
            if p > 0:
                total += p * np.log(p / (np.mean(a == u) * np.mean(b == v)))
    return total


def discretise(x, bins):
    """disentanglement_lib's histogram discretiser, shifted to start at 0."""
    return np.digitize(x, np.histogram(x, bins)[1][:-1]) - 1


def distance(x, i, j):
    return np.max(np.abs(x[i] - x[j]))


def ksg(x, y, k):
    """Kraskov, Stoegbauer and Grassberger 2004, eq. 8, with its definitions of epsilon and n_x.

    Ties as in Gao, Kannan, Oh and Viswanath 2017, algorithm 1: counts are of all samples up to the distance, at 0 with
    the sample itself. psi(N) for their log N, and in all counts ties at distances other than 0 as well.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    n, terms = len(x), []
    for i in range(n):
        others = [j for j in range(n) if j != i]
        dx, dy = (np.array([distance(v, i, j) for j in others]) for v in (x, y))
        half_epsilon = np.sort(np.maximum(dx, dy))[k - 1]
        counts = [np.sum(d <= half_epsilon) + (half_epsilon == 0) for d in (np.maximum(dx, dy), dx, dy)]
        if half_epsilon > 0:  # eq. 8: n + 1, though the neighbour at the distance may be nearer in this one
            counts[1:] = [max(c, np.sum(d < half_epsilon) + 1) for c, d in zip(counts[1:], (dx, dy), strict=True)]
        terms.append(digamma(counts[0]) - digamma(counts[1]) - digamma(counts[2]))
    return digamma(n) + np.mean(terms)


def ross(x, labels, k):
    """Ross 2014, eq. 2: m_i counts the neighbours within the distance, the k-th included; ties as in ksg."""
    x = np.asarray(x, float)
    seen = [i for i in range(len(x)) if np.sum(labels == labels[i]) > 1]
    terms = []
    for i in seen:
        same = [j for j in seen if j != i and labels[j] == labels[i]]
        own = min(k, len(same))
        reach = np.sort([distance(x, i, j) for j in same])[own - 1]
        own = sum(distance(x, i, j) <= reach for j in same) + (reach == 0)
        m = sum(distance(x, i, j) <= reach for j in seen if j != i) + (reach == 0)
        terms.append(digamma(own) - digamma(len(same) + 1) - digamma(m))
    return digamma(len(seen)) + np.mean(terms)


def kozachenko_leonenko(x, k):
    x = np.asarray(x, float)
    n, d = x.shape
    reach = [np.sort([distance(x, i, j) for j in range(n) if j != i])[k - 1] for i in range(n)]
    return digamma(n) - digamma(k) + d * np.log(2) + d * np.mean(np.log(reach))


def total_correlation_by_chain(covariance):
    """Sum of -log(1 - R^2) / 2 over the regressions of each variable on those before it."""
    total = 0.0
    for i in range(1, len(covariance)):
        before, cross = covariance[:i, :i], covariance[:i, i]
        explained = cross @ np.linalg.lstsq(before, cross, rcond=None)[0] / covariance[i, i]
        total -= 0.5 * np.log1p(-explained)
    return total
