"""Metrics of concept models in numpy float64, from the papers' definitions, by loops."""

import numpy as np
from scipy import special

from tests.oracles import linear
from tests.oracles.disentanglement import area


def standard(x, rows):
    spread = np.where(x[rows].std(0) > 0, x[rows].std(0), np.inf)
    return (x - x[rows].mean(0)) / spread


def purity_matrix(representations, concepts, folds=5):
    """Mahinpei et al. 2021, with logistic regressions at C = 1 and every fifth row scored."""
    n, k = concepts.shape
    scored = np.arange(n) % folds == folds - 1
    x = np.float64(representations).reshape(n, k, -1)
    matrix = np.empty((k, k))
    for i in range(k):
        z = standard(x[:, i], ~scored)
        for j in range(k):
            weight, bias = linear.logistic(z[~scored], concepts[~scored, j], 1.0, np.ones((~scored).sum()))
            matrix[i, j] = area((z @ weight + bias)[scored, 0], concepts[scored, j])
    return matrix


def oracle_impurity(representations, concepts):
    """Espinosa Zarlenga et al. 2023, definition 3.2."""
    oracle = purity_matrix(concepts, concepts)
    np.fill_diagonal(oracle, 1)
    gap = purity_matrix(representations, concepts) - oracle
    return 2 * np.sqrt(np.sum(gap**2)) / concepts.shape[1]


def niche_impurity(representations, concepts, betas, folds=5):
    """Espinosa Zarlenga et al. 2023, definitions 3.3 and 3.4: [B, k] and the area under the mean over concepts."""
    n, k = concepts.shape
    scored = np.arange(n) % folds == folds - 1
    x = np.float64(representations).reshape(n, k, -1)
    z = standard(x.reshape(n, -1), ~scored)
    fits = [linear.logistic(z[~scored], concepts[~scored, j], 1.0, np.ones((~scored).sum())) for j in range(k)]
    curves = np.empty((len(betas), k))
    for b, beta in enumerate(betas):
        for i in range(k):
            left = z.reshape(x.shape).copy()
            for j in range(k):
                units = [np.corrcoef(x[~scored, j, u], concepts[~scored, i])[0, 1] for u in range(x.shape[2])]
                if np.max(np.abs(units)) > beta:
                    left[:, j] = 0
            outputs = left.reshape(n, -1) @ fits[i][0] + fits[i][1]
            # what the niche leaves must be alike to the last digit to be a tie
            curves[b, i] = area(np.round(outputs[scored, 0], 9), concepts[scored, i])
    return curves, np.trapezoid(curves.mean(1), betas)


def homogeneity(classes, clusters):
    """Rosenberg and Hirschberg 2007, eq. 1."""
    within = sum(np.mean(clusters == c) * entropy(classes[clusters == c]) for c in np.unique(clusters))
    return 1 - within / entropy(classes)


def spread(x, clusters):
    """The sum of distances of points [N, m] to the best member of their cluster."""
    total = 0.0
    for c in np.unique(clusters):
        members = x[clusters == c]
        total += np.min(np.sqrt(((members[:, None] - members[None]) ** 2).sum(-1)).sum(1))
    return total


def least_spread(values, count):
    """The least sum of distances of `count` clusters of points on a line, by dynamic programming over runs."""
    values = np.sort(np.float64(values))
    n = len(values)
    cost = np.zeros((n, n))
    for i in range(n):
        for j in range(i, n):
            cost[i, j] = np.abs(values[i : j + 1] - values[(i + j) // 2]).sum()
    best = cost[0].copy()
    for _ in range(count - 1):
        best = np.array([min([best[j]] + [best[i] + cost[i + 1, j] for i in range(j)]) for j in range(n)])
    return best[-1]


def farthest_first(x, count):
    """Gonzalez 1985 from the point of least total distance; stops when every point is taken, or a copy of one."""
    distance = np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1))
    chosen = [int(np.argmin(distance.sum(1)))]
    while len(chosen) < count and distance[:, chosen].min(1).max() > 0:
        chosen.append(int(np.argmax(distance[:, chosen].min(1))))
    return chosen


def medoids(x, start):
    """Take turns until nothing moves: each point to its nearest medoid, each medoid to its cluster's best member."""
    distance = np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1))
    current = sorted(start)
    while True:
        own = np.array(current)[np.argmin(distance[:, current], 1)]
        following = []
        for c in current:
            members = np.flatnonzero(own == c)
            sums = distance[np.ix_(members, members)].sum(1)
            best = members[np.argmin(sums)]
            following.append(c if sums[members == c][0] <= sums.min() + 1e-12 else best)
        if sorted(following) == current:
            return own
        current = sorted(following)


def binary_information(gap, prior=0.5):
    """I(y; x) in nats of a bit with P(1) = prior and x ~ N(+-gap / 2, 1), by quadrature."""
    grid = np.linspace(-12 - gap, 12 + gap, 40_001)
    one, two = (np.exp(-0.5 * (grid - m) ** 2) / np.sqrt(2 * np.pi) for m in (gap / 2, -gap / 2))
    posterior = special.expit(np.log(prior / (1 - prior)) + gap * grid)
    left = np.trapezoid(
        (prior * one + (1 - prior) * two) * (special.entr(posterior) + special.entr(1 - posterior)), grid
    )
    return special.entr(prior) + special.entr(1 - prior) - left


def entropy(labels):
    p = np.unique(labels, return_counts=True)[1] / len(labels)
    return -np.sum(p * np.log(p))


def similarity(representations, concepts):
    """Chen et al. 2020: mean cosines over pairs, over the root of those within."""
    z = representations / np.linalg.norm(representations, axis=1, keepdims=True)
    k = concepts.shape[1]
    groups = [z[concepts[:, i] == 1] for i in range(k)]
    inner = [[np.mean([a @ b for a in one for b in two]) for two in groups] for one in groups]
    return np.array([[abs(inner[i][j]) / np.sqrt(abs(inner[i][i] * inner[j][j])) for j in range(k)] for i in range(k)])


def conditional_leakage(representations, concepts, labels, classes, alpha=1.0, folds=5):
    """Cross entropies of softmax fits with and without z, held out and fitted; Makonnen et al. 2025 in float64."""
    n, k = concepts.shape
    number = (concepts > 0.5) @ (2 ** np.arange(k))
    base = np.eye(2**k)[number.astype(int)]
    z = np.float64(representations).reshape(n, -1)
    z = z - base @ np.linalg.lstsq(base, z, rcond=None)[0]
    z = z / z.std(0)
    y, fold = np.eye(classes)[labels], np.arange(n) % folds
    loss = {}
    for name, x in (("without", base), ("with", np.hstack([base, z]))):
        held, trained = 0.0, []
        for f in range(folds):
            rows = fold != f
            weight, bias = linear.softmax(x[rows], y[rows], alpha, np.ones(rows.sum()))
            each = -np.sum(special.log_softmax(x @ weight + bias, 1) * y, 1)
            held += each[~rows].sum() / n
            trained.append(each[rows].mean())
        loss[name] = held, np.mean(trained)
    held_out, training = (a - b for a, b in zip(loss["without"], loss["with"], strict=True))
    return (held_out + training) / 2, held_out, training, np.mean(loss["without"])
