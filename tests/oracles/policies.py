"""Asking for concepts in NumPy float64: CooP's score and the greedy oracle on a linear bottleneck, unit by unit."""

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-np.asarray(z, np.float64)))


def softmax(z):
    e = np.exp(z - np.max(z))
    return e / e.sum()


def classes(head, values):
    """Probabilities of all classes by a linear head `[C, k]`; C = 1 is the one logit of class 1."""
    task = head @ values
    if len(task) == 1:
        return np.array([1 - sigmoid(task[0]), sigmoid(task[0])])
    return softmax(task)


def beliefs(logits, groups, mask, said):
    p = sigmoid(logits)
    for group in groups:
        p[list(group)] = softmax(logits[list(group)])
    return np.where(mask, said, p)


def units(k, groups):
    alone = [(i,) for i in range(k) if not any(i in group for group in groups)]
    return sorted([*[tuple(g) for g in groups], *alone], key=min)


def coop(logits, head, groups, mask, said, weights, costs):
    """Chauhan et al. 2023: weighted entropy (a share of its most), expected change of the label's probability, cost."""
    p = beliefs(logits, groups, mask, said)
    now = classes(head, p)
    label, scores = now.argmax(), []
    for number, unit in enumerate(units(len(p), groups)):
        if len(unit) == 1:
            answers = [({unit[0]: 0.0}, 1 - p[unit[0]]), ({unit[0]: 1.0}, p[unit[0]])]
        else:
            total = sum(p[i] for i in unit)
            answers = [({i: float(i == j) for i in unit}, p[j] / total) for j in unit]
        entropy, change = 0.0, 0.0
        for told, weight in answers:
            entropy -= weight * np.log(weight) if weight > 0 else 0.0
            values = p.copy()
            for i, value in told.items():
                values[i] = value
            change += weight * abs(classes(head, values)[label] - now[label])
        scores.append(weights[0] * entropy / np.log(len(answers)) + weights[1] * change - weights[2] * costs[number])
    return np.array(scores)


def entropies(p, groups):
    shares = [[p[u[0]], 1 - p[u[0]]] if len(u) == 1 else [p[i] for i in u] for u in units(len(p), groups)]
    return np.array([-sum(q * np.log(q) for q in each) for each in shares])


def greedy_order(logits, head, groups, said, label):
    """The unit that most raises the true label's probability, again and again."""
    k = len(logits)
    rows, mask, order = units(k, groups), np.zeros(k, bool), []
    while len(order) < len(rows):
        best, pick = -np.inf, None
        for number, unit in enumerate(rows):
            if number in order:
                continue
            trial = mask.copy()
            trial[list(unit)] = True
            found = np.log(classes(head, beliefs(logits, groups, trial, said))[label])
            if found > best + 1e-12:
                best, pick = found, number
        order.append(pick)
        mask[list(rows[pick])] = True
    return order
