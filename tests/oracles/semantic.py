"""Semantic bottlenecks and their scenes in NumPy float64, loop by loop."""

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def dense_loss(logits, masks, group=()):
    """Mean cross-entropy over known terms: each binary concept at each place, a softmax for the group."""
    terms, k = [], logits.shape[-1]
    for z, c in zip(logits.reshape(-1, k), masks.reshape(-1, k), strict=True):
        for i in range(k):
            if i not in group and not np.isnan(c[i]):
                p = sigmoid(z[i])
                terms.append(-c[i] * np.log(p) - (1 - c[i]) * np.log(1 - p))
        own = list(group)
        if own and not np.isnan(c[own]).any():
            terms.append(-(c[own] * np.log(softmax(z[own]))).sum())
    return np.mean(terms)


def dense_gradient(logits, masks):
    """`(sigmoid(z) - c) / n` where known."""
    known = ~np.isnan(masks)
    return np.where(known, sigmoid(logits) - masks, 0) / known.sum()


def mean_iou(said, truth):
    both = [(a & b).sum() / (a | b).sum() for a, b in ((said, truth), (~said, ~truth))]
    return np.mean(both)


def inspectability(values, masks, scored_values, scored_masks):
    """Try every threshold between values of every channel for every concept, one after another."""
    scores = []
    for channel, other in zip(values.T, scored_values.T, strict=True):
        cuts = np.unique(channel)
        cuts = np.append(cuts[:-1] + np.diff(cuts) / 2, cuts[0] - 0.5)
        best = max(
            (mean_iou(channel > cut, mask > 0.5), -j, cut) for j, mask in enumerate(masks.T) for cut in sorted(cuts)
        )
        scores.append(mean_iou(other > best[2], scored_masks[:, -best[1]] > 0.5))
    scores = np.array(scores)
    grid = np.linspace(0.5, 1, 100_001)
    curve = (scores[None] > grid[:, None]).mean(1)
    return scores, 2 * np.trapezoid(curve, grid)


def in_shape(kind, u, v):
    """Tell whether ONE point lies in a shape: half-planes, polygon by winding, the heart's curve by its parameter."""
    if kind == 0:
        return abs(u) < 9.598 and abs(v) < 9.598
    if kind == 3:
        return (abs(u) < 9.598 and abs(v) < 3.2) or (abs(v) < 9.598 and abs(u) < 3.2)
    if kind == 1:
        angles = 2 * np.pi * np.arange(50) / 50
        x, y = 12.791 * np.cos(angles), 7.223 * np.sin(angles)
    else:
        t = np.linspace(0, 2 * np.pi, 4001)[:-1]
        x = 0.59966 * 16 * np.sin(t) ** 3
        y = -0.66218 * (13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) - 1.4369
    to = np.unwrap(np.arctan2(np.append(y, y[0]) - v, np.append(x, x[0]) - u))
    return abs(to[-1] - to[0]) > np.pi


def covered(kind, size, turn, offset, n):
    """Give the pixels `[n, n]` of a cell whose centres lie in its sprite, point by point."""
    found = np.zeros((n, n), bool)
    scale, room = size * n / 2 / 13.7, (1 - size) * n / 2
    for i in range(n):
        for j in range(n):
            down = (i + 0.5 - n / 2 - room * offset[0]) / scale
            across = (j + 0.5 - n / 2 - room * offset[1]) / scale
            u = np.cos(turn) * across - np.sin(turn) * down
            v = np.sin(turn) * across + np.cos(turn) * down
            found[i, j] = kind < 4 and in_shape(kind, u, v)
    return found
