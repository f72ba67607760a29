"""Concept models in NumPy float64, from the papers: data sets, losses, forward passes, schedules."""

import numpy as np


def from_inputs(name, x):
    """Concepts `[N, k]` and labels `[N]` from the inputs alone, and where rounding cannot have changed them."""
    if name == "xor":
        margins, concepts = np.abs(x - 0.5), x > 0.5
        return concepts, concepts[:, 0] != concepts[:, 1], margins.min(1) > 1e-6
    if name == "dot":
        v, w = (x[:, :2] + x[:, 2:]) / 2, (x[:, :2] - x[:, 2:]) / 2
        product = (v * w).sum(1)
        concepts = np.stack([v[:, 0] + v[:, 1] > 0, w[:, 0] + w[:, 1] < 0], 1)
        margins = np.abs(np.stack([v.sum(1), w.sum(1), product], 1))
        return concepts, product > 0, margins.min(1) > 1e-4
    h = invert_waves(x[:, 0:6:2])
    np.testing.assert_allclose(np.cos(h) + h, x[:, 1:6:2], atol=2e-2)  # the same latent, up to the flat places of sin
    margins = np.abs(np.column_stack([h, h.sum(1) - 1]))
    return h > 0, h.sum(1) > 1, margins.min(1) > 1e-2


def invert_waves(y):
    """Solve `sin h + h = y`, which grows in h, by bisection."""
    low, high = y - 1.5, y + 1.5
    for _ in range(60):
        middle = (low + high) / 2
        below = np.sin(middle) + middle < y
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def binary_losses(logits, concepts, weight=1.0, positive=1.0):
    """Minus the weighted log likelihood of each Bernoulli concept, `[N, k]`, NaN where a label is missing."""
    p = sigmoid(logits)
    return -weight * (positive * concepts * np.log(p) + (1 - concepts) * np.log(1 - p))


def binary_gradient(logits, concepts, weight=1.0, positive=1.0):
    """d (mean over known labels) / d logits, `[N, k]`: `w (-pos c (1 - p) + (1 - c) p) / n`."""
    p, known = sigmoid(logits), ~np.isnan(concepts)
    slope = weight * (-positive * concepts * (1 - p) + (1 - concepts) * p)
    return np.where(known, slope, 0.0) / known.sum()


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def mixtures(p, embeddings):
    """`p e+ + (1 - p) e-` of `[k, 2m]` embeddings, loop by loop: `[k, m]`."""
    k, m = len(p), embeddings.shape[1] // 2
    return np.array([[p[i] * embeddings[i, j] + (1 - p[i]) * embeddings[i, m + j] for j in range(m)] for i in range(k)])


def leaky(z, slope=0.01):
    return np.where(z > 0, z, slope * z)


def layer(params, x):
    return x @ np.asarray(params["kernel"], np.float64) + np.asarray(params["bias"], np.float64)


def cem_forward(parts, head, x, k, mask, said):
    """Logits of concepts, what the head is told, the task (Espinosa Zarlenga et al. 2022, section 3), for one x."""
    h = np.asarray(x, np.float64)
    for i in range(2):
        h = leaky(layer(parts["backbone"][f"UniformDense_{i}"], h))
    h = layer(parts["backbone"]["UniformDense_2"], h)
    e = leaky(layer(parts["context"], h)).reshape(k, -1)
    logits = np.array([layer(parts["score"], e[i])[0] for i in range(k)])
    told = np.where(mask, said, sigmoid(logits))
    return logits, told, layer(head, mixtures(told, e).reshape(-1))


def plateau(values, rate, factor=0.1, patience=10, threshold=1e-4, change=1e-8):
    """The rate after each value, by the description of PyTorch's ReduceLROnPlateau (mode min, relative threshold)."""
    best, waited, rates = float("inf"), 0, []
    for value in values:
        if value < best * (1 - threshold):
            best, waited = value, 0
        else:
            waited += 1
        if waited > patience:
            if rate - rate * factor > change:
                rate *= factor
            waited = 0
        rates.append(rate)
    return np.array(rates)


def bottleneck_gradient(weight, head, x, concepts, labels, concept_weight=1.0, task_weight=1.0, told=None):
    """Gradients of `W: [k, d]` and `v: [k]` for `p = sigmoid(W x)` and the task logit `v . p`, and both losses.

    told: `[N, k]`, what the head is told instead, through which nothing flows back.
    """
    n, k = concepts.shape
    p = sigmoid(x @ weight.T)
    given = p if told is None else told
    task = given @ head
    slope = task_weight * (sigmoid(task) - labels) / n
    back = concept_weight * (p - concepts) / (n * k)
    if told is None:
        back = back + slope[:, None] * head[None] * p * (1 - p)
    concept_loss = np.mean(np.logaddexp(0, x @ weight.T) - concepts * (x @ weight.T))
    task_loss = np.mean(np.logaddexp(0, task) - labels * task)
    return back.T @ x, slope @ given, concept_loss, task_loss


class Adam:
    """Kingma and Ba (2015), algorithm 1: `direction(gradient)`."""

    def __init__(self, shape, b1=0.9, b2=0.999, eps=1e-8):
        self.m, self.v, self.t, self.b1, self.b2, self.eps = np.zeros(shape), np.zeros(shape), 0, b1, b2, eps

    def direction(self, gradient):
        self.t += 1
        self.m = self.b1 * self.m + (1 - self.b1) * gradient
        self.v = self.b2 * self.v + (1 - self.b2) * gradient**2
        return self.m / (1 - self.b1**self.t) / (np.sqrt(self.v / (1 - self.b2**self.t)) + self.eps)
