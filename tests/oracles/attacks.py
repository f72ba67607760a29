"""Perturbations in float64 from their definitions: nearest points of balls and boxes, objectives, ascent on a net.

A nearest point of a convex ball cut with a box around 0 solves, by its Karush-Kuhn-Tucker conditions, one scalar
equation in the multiplier of the ball; it is found by halving a bracket. Arrays are flat here: `[N]`.
"""

import itertools

import numpy as np
from scipy import optimize

HALVINGS = 300  # the root may be as small as 1e-12 of its bracket, and float64 carries 53 more bits
SIZES = {
    "linf": lambda d: np.abs(d).max(initial=0.0),
    "l2": lambda d: np.hypot.reduce(d, initial=0.0),
    "l1": lambda d: np.abs(d).sum(),
    "l0": lambda d: float(np.count_nonzero(d)),
}
DUAL = {"linf": "l1", "l2": "l2", "l1": "linf"}


def _halve(size, eps, high):
    """Find the root in [0, high] of the increasing `size(at) = eps`; `high` where even there it is smaller."""
    if size(high) <= eps:
        return high
    low = 0.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if size(middle) > eps else (middle, high)
    return low


def nearest(name, v, eps, low=-np.inf, high=np.inf):
    """Give the nearest point to v of size at most eps with `low <= d <= high`, where `low <= 0 <= high`."""
    v, eps = np.float64(v), np.float64(eps)
    low, high = (np.broadcast_to(np.float64(edge), v.shape) for edge in (low, high))
    if v.size == 0:
        return v
    if name == "linf":
        return np.clip(v, np.maximum(low, -eps), np.minimum(high, eps))
    if name == "l2":  # stationarity: (1 + multiplier) d = v inside the box
        factor = _halve(lambda at: SIZES["l2"](np.clip(at * v, low, high)), eps, 1.0)
        return np.clip(factor * v, low, high)
    size, top = np.abs(v), np.abs(v).max()

    def soft(at):  # the multiplier is top - at: |v| - multiplier is then a difference of near numbers, and exact
        return np.clip(np.sign(v) * np.maximum(at - (top - size), 0), low, high)

    return soft(_halve(lambda at: SIZES["l1"](soft(at)), eps, top))


def nearest_by_solver(name, v, eps, low, high):
    """Solve the same problem by sequential quadratic programming: l2 as it stands, l1 with d = plus - minus."""
    v = np.float64(v)
    n, options = v.size, {"ftol": 1e-15, "maxiter": 1000}
    if name == "l2":
        ball = {"type": "ineq", "fun": lambda d: eps**2 - d @ d, "jac": lambda d: -2 * d}
        start, bounds = np.zeros(n) + 1e-3 * np.clip(v, low, high), list(zip(low, high, strict=True))

        def loss(d):
            return 0.5 * (d - v) @ (d - v), d - v

        return optimize.minimize(
            loss, start, jac=True, bounds=bounds, constraints=[ball], method="SLSQP", options=options
        ).x
    ball = {"type": "ineq", "fun": lambda both: eps - both.sum(), "jac": lambda both: -np.ones(2 * n)}

    def split(both):
        rest = both[:n] - both[n:] - v
        return 0.5 * rest @ rest, np.concatenate([rest, -rest])

    bounds = [(0, edge) for edge in high] + [(0, -edge) for edge in low]
    both = optimize.minimize(
        split, np.zeros(2 * n), jac=True, bounds=bounds, constraints=[ball], method="SLSQP", options=options
    ).x
    return both[:n] - both[n:]


def sparse_distance(v, count, low=-np.inf, high=np.inf):
    """Give the least squared distance from v to a point of the box with `count` entries, over every support."""
    v = np.float64(v)
    kept = (v - np.clip(v, low, high)) ** 2
    supports = itertools.combinations(range(v.size), min(int(count), v.size))
    return min(sum(kept[i] if i in support else v[i] ** 2 for i in range(v.size)) for support in map(set, supports))


def ascend(name, g):
    """Give the direction of size 1 that gains most on g; for l1 along the largest entry, the first among equals."""
    g = np.float64(g)
    if not g.any():
        return np.zeros_like(g)
    if name == "linf":
        return np.sign(g)
    if name == "l2":
        return g / SIZES["l2"](g)
    at = np.arange(g.size) == np.abs(g).argmax()
    return at * np.sign(g)


def _softmax(z):
    raised = np.exp(z - z.max())
    return raised / raised.sum()


def _others(z, label):
    """Give the position of the largest logit other than the label's."""
    return np.where(np.arange(z.size) == label, -np.inf, z).argmax()


def objective(name, z, label, target=None):
    """Give (value, fooled, derivative with respect to the logits), from the equations of the papers.

    ce: -log p_y. target_ce: log p_t. margin: max other - z_y. target_margin: z_t - max other.
    difference: z_t - z_y.
    dlr: -(z_y - max other) / (z_(1) - z_(3)); target_dlr: -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2), where z_(k)
    is the k-th largest (Croce and Hein 2020, equations 6 and 7).
    """
    z = np.float64(z)
    unit = np.eye(z.size)
    order = np.argsort(-z, kind="stable")
    predicted = z.argmax()
    if name in ("ce", "target_ce"):
        at, sign = (label, -1) if name == "ce" else (target, 1)
        value = sign * (z[at] - z.max() - np.log(np.exp(z - z.max()).sum()))
        slope = sign * (unit[at] - _softmax(z))
    elif name == "margin":
        value, slope = z[_others(z, label)] - z[label], unit[_others(z, label)] - unit[label]
    elif name == "target_margin":
        value, slope = z[target] - z[_others(z, target)], unit[target] - unit[_others(z, target)]
    elif name == "difference":
        value, slope = z[target] - z[label], unit[target] - unit[label]
    else:
        if name == "dlr":
            up, down = unit[_others(z, label)] - unit[label], unit[order[0]] - unit[order[2]]
        else:
            up, down = unit[target] - unit[label], unit[order[0]] - 0.5 * (unit[order[2]] + unit[order[3]])
        value = up @ z / (down @ z)
        slope = (up - value * down) / (down @ z)
    fooled = predicted == target if name in ("target_ce", "target_margin") else predicted != label
    return value, bool(fooled), slope


def net(weights, x):
    """Give the logits of an MLP of one hidden layer of rectifiers, and the map from their gradient to that of x."""
    (first, first_bias), (second, second_bias) = weights
    hidden = x @ first + first_bias
    logits = np.maximum(hidden, 0) @ second + second_bias
    return logits, lambda slope: first @ ((hidden > 0) * (second @ slope))


def pgd(weights, x, name, label, target, *, norm, eps, step_size, steps, bounds, momentum=0.0):
    """Ascend from x itself: `d <- P(d + step_size direction)` (Madry et al. 2018).

    The direction is that of `m <- momentum m + g / ||g||_1` (Dong et al. 2018, eq. 6). Gives the values of all iterates
    `[steps + 1]`, their flags, and the best value: of the fooled iterates if there are any.
    """
    x = np.float64(x).ravel()
    low, high = (bounds[0] - x, bounds[1] - x) if bounds else (-np.inf, np.inf)
    d, velocity, values, flags = np.zeros_like(x), np.zeros_like(x), [], []
    for t in range(steps + 1):
        logits, back = net(weights, x + d)
        value, fooled, slope = objective(name, logits, label, target)
        values.append(value)
        flags.append(fooled)
        if t < steps:
            gradient = back(slope)
            velocity = momentum * velocity + gradient / SIZES["l1"](gradient)
            d = nearest(norm, d + step_size * ascend(norm, velocity), eps, low, high)
    values, flags = np.array(values), np.array(flags)
    return values, flags, values[flags].max() if flags.any() else values.max()


def fgsm(weights, x, name, label, target, *, norm, eps, bounds):
    """Take one step of length eps (Goodfellow et al. 2015); gives the value there."""
    return pgd(weights, x, name, label, target, norm=norm, eps=eps, step_size=eps, steps=1, bounds=bounds)[0][-1]
