"""Auto-PGD in float64 with loops and lists, from algorithm 1 and section 3 of Croce and Hein (2020).

In the L1 ball, the rule of Croce and Hein (2021), section 4.

One reading has to be chosen: at iteration `w` in `W` the conditions are judged on f(x_0) .. f(x_w), and x_w itself is
the one replaced by x_max (the listing computes x_{w + 1} first, and replaces that).
"""

from fractions import Fraction
from math import ceil

import numpy as np


def checkpoints(n):
    p = [Fraction(0), Fraction(22, 100)]
    while p[-1] <= 1:
        p.append(p[-1] + max(p[-1] - p[-2] - Fraction(3, 100), Fraction(6, 100)))
    return sorted({ceil(q * n) for q in p if q <= 1})


def cross_entropy(params, y):
    """Loss and its gradient for a network of one hidden layer of rectifiers."""
    (w1, b1), (w2, b2) = params

    def f(x):
        pre = x @ w1 + b1
        logits = np.maximum(pre, 0) @ w2 + b2
        p = np.exp(logits - logits.max())
        p /= p.sum()
        error = p.copy()
        error[y] -= 1
        return -np.log(p[y]), w1 @ ((w2 @ error) * (pre > 0))

    return f


def project(d, x, eps, norm):
    """The nearest perturbation in ball and unit box; in L2 by bisection on the multiplier."""
    low, high = -x, 1 - x
    if norm == "linf":
        return np.clip(d, np.maximum(low, -eps), np.minimum(high, eps))
    if np.linalg.norm(np.clip(d, low, high)) <= eps:
        return np.clip(d, low, high)
    small, large = 0.0, 1.0
    for _ in range(200):
        middle = (small + large) / 2
        if np.linalg.norm(np.clip(middle * d, low, high)) <= eps:
            small = middle
        else:
            large = middle
    return np.clip(small * d, low, high)


def apgd(f, x, eps, n, norm, rho=0.75, alpha=0.75):
    """Give every f(x_k), x_max, f_max, and the iterations at which the step was halved."""
    marks = checkpoints(n)
    eta, halved = 2 * eps, []
    point = old = x
    loss, gradient = f(x)
    losses, compared = [loss], []
    best = x, loss, gradient
    record, halved_last = loss, False
    for k in range(n):
        if k in marks and k > 0:
            width = k - marks[marks.index(k) - 1]
            first = sum(compared[-width:]) < rho * width
            second = not halved_last and best[1] == record
            halved_last = first or second
            record = best[1]
            if halved_last:
                eta /= 2
                halved.append(k)
                point, loss, gradient = best
        step = np.sign(gradient) if norm == "linf" else gradient / np.linalg.norm(gradient)
        z = x + project(point + eta * step - x, x, eps, norm)
        ahead = z - point if k == 0 else alpha * (z - point) + (1 - alpha) * (point - old)
        new = x + project(point + ahead - x, x, eps, norm)
        old, point = point, new
        before, (loss, gradient) = loss, f(point)
        compared.append(loss > before)
        losses.append(loss)
        if loss > best[1]:
            best = point, loss, gradient
    return np.array(losses), best[0], best[1], halved


def project_l1(d, x, eps):
    """The nearest perturbation in L1 ball and unit box: shrink every entry by one multiplier, then clip."""

    def shrunk(multiplier):
        return np.clip(np.sign(d) * np.maximum(np.abs(d) - multiplier, 0), -x, 1 - x)

    if np.abs(shrunk(0)).sum() <= eps:
        return shrunk(0)
    small, large = 0.0, np.abs(d).max()
    for _ in range(200):
        middle = (small + large) / 2
        small, large = (small, middle) if np.abs(shrunk(middle)).sum() <= eps else (middle, large)
    return shrunk(large)


def sparse_apgd(f, x, eps, n, start=None):
    """Give every f(x_k), the iterations at which the search went back to its best, and the best of the first n."""
    every, count, support = max(n * 4 // 100, 1), ceil(x.size / 5), x.size
    eta, d = eps, np.zeros_like(x)
    if start is not None:
        d = start
        support = np.count_nonzero(np.abs(d) > 1e-12)
        count = max(ceil(support / 1.5), 1)
    loss, gradient = f(x + d)
    losses, best, returned = [loss], (d, loss, gradient), []
    for k in range(n):
        if k > 0 and k % every == 0:
            now = np.count_nonzero(np.abs(best[0]) > 1e-12)
            if now < 0.95 * support:
                eta, (d, loss, gradient) = eps, best
                returned.append(k)
            else:
                eta = max(eta / 1.5, eps / 10)
            count, support = max(ceil(now / 1.5), 1), now
        largest = np.argsort(-np.abs(gradient))[:count]
        step = np.zeros_like(d)
        step[largest] = np.sign(gradient[largest]) / count
        d = project_l1(d + eta * step, x, eps)
        loss, gradient = f(x + d)
        losses.append(loss)
        if k < n - 1 and loss > best[1]:
            best = d, loss, gradient
    return np.array(losses), returned, best[0]


def narrowing_apgd(f, x, eps, n):
    """Give every loss of searches of 30, 30 and 40% of the steps in balls of 3, 2 and 1 eps (section 4)."""
    first = ceil(Fraction(3, 10) * n)
    start, found = None, []
    for factor, steps in ((3, first), (2, first), (1, n - 2 * first)):
        start = start if start is None else project_l1(start, x, factor * eps)
        losses, _, start = sparse_apgd(f, x, factor * eps, steps, start)
        found.append(losses[:-1])
    return np.append(np.concatenate(found), losses[-1])
