"""Contrast-consistent search by hand in numpy float64, from Burns et al. (2022) and Loshchilov and Hutter (2019)."""

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def normalised(pairs, rows=None):
    """Each side about its own mean over training rows."""
    pairs = np.asarray(pairs, np.float64)
    rows = pairs if rows is None else np.asarray(rows, np.float64)
    return pairs - rows.mean(0)[None]


def loss(weight, bias, pairs):
    """Equations 1 and 2, row by row."""
    total = 0.0
    for first, second in pairs:
        p, q = sigmoid(weight @ first + bias), sigmoid(weight @ second + bias)
        total += (p - (1 - q)) ** 2 + min(p, q) ** 2
    return total / len(pairs)


def gradient(weight, bias, pairs):
    """By hand: dp/dz = p (1 - p), and the smaller of the two carries the second term."""
    of_weight, of_bias = np.zeros_like(weight), 0.0
    for first, second in pairs:
        p, q = sigmoid(weight @ first + bias), sigmoid(weight @ second + bias)
        of_p = 2 * (p + q - 1) + (2 * p if p < q else 0)
        of_q = 2 * (p + q - 1) + (2 * q if q < p else 0)
        of_weight = of_weight + of_p * p * (1 - p) * first + of_q * q * (1 - q) * second
        of_bias += of_p * p * (1 - p) + of_q * q * (1 - q)
    return of_weight / len(pairs), of_bias / len(pairs)


def adamw(weight, bias, pairs, steps, lr=1e-3, decay=0.01):
    """Algorithm 2 of Loshchilov and Hutter: Adam whose decay goes around the moments."""
    theta = np.append(weight, bias)
    first, second = np.zeros_like(theta), np.zeros_like(theta)
    for t in range(1, steps + 1):
        slope = np.append(*gradient(theta[:-1], theta[-1], pairs))
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        ahead = first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        theta = theta - lr * (ahead + decay * theta)
    return theta[:-1], theta[-1]


def covariance(a, b):
    a, b = a - a.mean(0), b - b.mean(0)
    return sum(np.outer(x, y) for x, y in zip(a, b, strict=True)) / len(a)


def vinc(paraphrases, variance, negative):
    """The matrix whose top eigenvector VINC takes, from its three terms' definitions. paraphrases: `[N, V, 2, D]`."""
    count, _, _, width = paraphrases.shape
    centres = paraphrases.mean(1)
    var = sum(covariance(centres[:, side], centres[:, side]) for side in (0, 1)) / 2
    inv = np.zeros((width, width))
    for n in range(count):
        for side in (0, 1):
            inv += covariance(paraphrases[n, :, side], paraphrases[n, :, side]) / (2 * count)
    cross = covariance(centres[:, 0], centres[:, 1])
    return variance * var - (1 - negative) * inv - negative * (cross + cross.T) / 2


def bimodal(score):
    """Variance within the two halves by sign, over the whole variance."""
    parts = [score[score < 0], score[score >= 0]]
    return sum(part.var() for part in parts if len(part)) / score.var()
