"""A rehearsal of interventions in NumPy float64, step by step (Espinosa Zarlenga et al. 2023, section 3)."""

import numpy as np

from tests.oracles.concepts import mixtures, sigmoid, softmax
from tests.oracles.policies import units


def log_likelihood(task, label):
    if len(task) == 1:
        return np.log(sigmoid(task[0] if label == 1 else -task[0]))
    return np.log(softmax(task)[label])


def rehearse(logits, embeddings, head, policy, groups, truth, label, start, count, noise, discount):
    """head: `[C, k m]`. policy: `[U, k m + k]`. Gives the policy's loss, the task's, and what was asked for."""
    k = len(logits)
    rows, p = units(k, groups), sigmoid(logits)
    for group in groups:
        p[list(group)] = softmax(logits[list(group)])
    known = np.zeros(k, bool)
    for number in np.flatnonzero(start):
        known[list(rows[number])] = True

    def bottleneck(known):
        return mixtures(np.where(known, truth, p), embeddings).reshape(-1)

    left, before, loss, asked = [i for i in range(len(rows)) if not start[i]], bottleneck(known), 0.0, []
    count = min(count, len(left))
    for t in range(count):
        gains = {}
        for number in left:
            trial = known.copy()
            trial[list(rows[number])] = True
            gains[number] = log_likelihood(head @ bottleneck(trial), label)
        best = max(gains, key=lambda number: gains[number])
        scores = policy @ np.concatenate([bottleneck(known), known])
        chances = softmax(scores[left])
        loss -= np.log(chances[left.index(best)])
        pick = max(left, key=lambda number: scores[number] + noise[t, number])
        known[list(rows[pick])] = True
        left.remove(pick)
        asked.append(pick)
    first, last = -log_likelihood(head @ before, label), -log_likelihood(head @ bottleneck(known), label)
    late = discount**count
    return loss / max(count, 1), (first + late * last) / (1 + late), asked
