"""Smallest perturbations in float64 from their definitions, by general-purpose solvers of linear and integer programs.

Norms are named "l1", "l2", "linf"; low and high are the bounds of the input, numbers.
"""

import numpy as np
from scipy import optimize

ORDER = {"l1": 1, "l2": 2, "linf": np.inf}


def logits(params, x):
    """Of nets.mlp, in float64."""
    (w1, b1), (w2, b2) = params
    return np.maximum(np.float64(x).reshape(-1) @ w1 + b1, 0) @ w2 + b2


def size(d, norm):
    return np.linalg.norm(np.float64(d).reshape(-1), ORDER[norm])


def _bounding(n, norm):
    """Rows `A [d, t] <= 0` and the cost of t for which min cost = the norm of d, as linear programs have it."""
    count = n if norm == "l1" else 1
    spread = np.eye(n) if norm == "l1" else np.ones((n, 1))
    return np.block([[np.eye(n), -spread], [-np.eye(n), -spread]]), np.append(np.zeros(n), np.ones(count))


def onto_plane(weight, amount, low, high, norm):
    """Minimise ||d|| with <weight, d> = amount and low <= d <= high (arrays); None if there is no such d."""
    weight = np.float64(weight)
    n = len(weight)
    if norm == "l2":
        most = np.where(weight > 0, high, low) if amount > 0 else np.where(weight > 0, low, high)
        if abs(amount) > abs(weight @ most):
            return None
        top = 1.0  # the stationary point is clip(t weight) for some t
        while abs(weight @ np.clip(np.sign(amount) * top * weight, low, high)) < abs(amount):
            top *= 2
        t = optimize.brentq(lambda t: weight @ np.clip(t * weight, low, high) - amount, -top, top, xtol=1e-15)
        return np.clip(t * weight, low, high)
    rows, cost = _bounding(n, norm)
    extra = len(cost) - n
    found = optimize.linprog(
        cost,
        A_ub=rows,
        b_ub=np.zeros(2 * n),
        A_eq=np.append(weight, np.zeros(extra))[None],
        b_eq=[amount],
        bounds=[*zip(low, high, strict=True), *[(0, None)] * extra],
    )
    return found.x[:n] if found.status == 0 else None


def linear(weight, bias, x, label, norm, low, high):
    """Smallest ||d|| for which x + d in the bounds has a rival of weight [n, K] level with the label."""
    x = np.float64(x).reshape(-1)
    sizes = []
    for k in set(range(len(bias))) - {label}:
        w, gap = weight[:, k] - weight[:, label], (weight[:, k] - weight[:, label]) @ x + bias[k] - bias[label]
        d = onto_plane(w, -gap, low - x, high - x, norm)
        sizes.append(np.inf if d is None else size(d, norm))
    return min(sizes)


def leading(weight, bias, x, target, norm, low, high):
    """Smallest ||d|| for which x + d in the bounds has the target level with or above every other class."""
    x = np.float64(x).reshape(-1)
    n, others = len(x), sorted(set(range(len(bias))) - {target})
    behind = (weight[:, others] - weight[:, [target]]).T  # behind d <= gap
    gap = -(behind @ x + bias[others] - bias[target])
    limits = [*zip(low - x, high - x, strict=True)]
    if norm == "l2":
        found = optimize.minimize(
            lambda d: d @ d,
            np.zeros(n),
            jac=lambda d: 2 * d,
            bounds=limits,
            constraints={"type": "ineq", "fun": lambda d: gap - behind @ d, "jac": lambda d: -behind},
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        )
        return np.sqrt(found.fun) if found.success else np.inf
    rows, cost = _bounding(n, norm)
    extra = len(cost) - n
    rows = np.vstack([rows, np.hstack([behind, np.zeros((len(others), extra))])])
    right = np.append(np.zeros(2 * n), gap)
    found = optimize.linprog(cost, A_ub=rows, b_ub=right, bounds=[*limits, *[(0, None)] * extra])
    return found.fun if found.status == 0 else np.inf


def relu(params, x, label, norm, low, high):
    """The same for the two-layer network, exact (l1, linf): one switch a hidden unit, a mixed integer program.

    Variables: d [n], t, hidden h [H], switches s [H]: h >= z, h <= z - least (1 - s), 0 <= h <= most s.
    """
    (w1, b1), (w2, b2) = params
    x = np.float64(x).reshape(-1)
    n, hidden = w1.shape
    rows, cost = _bounding(n, norm)
    extra = len(cost) - n
    z = x @ w1 + b1
    reach_up = np.maximum(w1, 0).T @ (high - x) + np.minimum(w1, 0).T @ (low - x)
    reach_down = np.maximum(w1, 0).T @ (low - x) + np.minimum(w1, 0).T @ (high - x)
    most, least = np.maximum(z + reach_up, 0) + 1, np.minimum(z + reach_down, 0) - 1
    eye, none = np.eye(hidden), np.zeros((hidden, extra))
    constraints = [
        optimize.LinearConstraint(np.hstack([rows, np.zeros((2 * n, 2 * hidden))]), ub=0),
        optimize.LinearConstraint(np.hstack([-w1.T, none, eye, 0 * eye]), lb=z),
        optimize.LinearConstraint(np.hstack([-w1.T, none, eye, -np.diag(least)]), ub=z - least),
        optimize.LinearConstraint(np.hstack([0 * w1.T, none, eye, -np.diag(most)]), ub=0),
    ]
    lower = np.concatenate([low - x, np.zeros(extra + 2 * hidden)])
    upper = np.concatenate([high - x, np.full(extra + hidden, np.inf), np.ones(hidden)])
    sizes = []
    for k in set(range(len(b2))) - {label}:
        ahead = np.concatenate([np.zeros(n + extra), w2[:, k] - w2[:, label], np.zeros(hidden)])
        found = optimize.milp(
            np.append(cost, np.zeros(2 * hidden)),
            constraints=[*constraints, optimize.LinearConstraint(ahead, lb=b2[label] - b2[k])],
            bounds=optimize.Bounds(lower, upper),
            integrality=np.append(np.zeros(n + extra + hidden), np.ones(hidden)),
        )
        sizes.append(found.fun if found.status == 0 else np.inf)
    return min(sizes)


def relu_l2(params, x, label, low, high, starts=10, seed=0):
    """A good local minimum of ||d||_2 for the same network: the best of sequential quadratic programs."""
    x = np.float64(x).reshape(-1)
    (w1, b1), (w2, b2) = params
    rng, best = np.random.default_rng(seed), np.inf
    for k in set(range(len(b2))) - {label}:
        difference = w2[:, k] - w2[:, label]

        def ahead(d, difference=difference, k=k):
            return np.maximum((x + d) @ w1 + b1, 0) @ difference + b2[k] - b2[label]

        def slope(d, difference=difference):
            return w1 @ (((x + d) @ w1 + b1 > 0) * difference)

        for _ in range(starts):
            found = optimize.minimize(
                lambda d: d @ d,
                rng.normal(size=x.size) * 0.1,
                jac=lambda d: 2 * d,
                bounds=[*zip(low - x, high - x, strict=True)],
                constraints={"type": "ineq", "fun": ahead, "jac": slope},
                method="SLSQP",
                options={"ftol": 1e-10, "maxiter": 200},
            )
            if ahead(found.x) > -1e-7:
                best = min(best, np.linalg.norm(found.x))
    return best
