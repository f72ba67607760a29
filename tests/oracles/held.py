"""The best attack on a linear objective that keeps linear margins, by scipy's general solvers, in float64."""

import numpy as np
from scipy import optimize


def linf(objective, slopes, margins, eps, low, high):
    """Maximise `objective d` for `margins + slopes d >= 0`, `|d_i| <= eps`, `low <= d <= high`: a linear program."""
    bounds = list(zip(np.maximum(low, -eps), np.minimum(high, eps), strict=True))
    return -optimize.linprog(-objective, A_ub=-slopes, b_ub=margins, bounds=bounds).fun


def l2(objective, slopes, margins, eps, low, high):
    """The same in the ball `|d|_2 <= eps`."""
    found = optimize.minimize(
        lambda d: -objective @ d, np.zeros(objective.size), jac=lambda d: -objective, method="SLSQP",
        bounds=list(zip(low, high, strict=True)), options={"maxiter": 500, "ftol": 1e-10},
        constraints=[
            {"type": "ineq", "fun": lambda d: slopes @ d + margins, "jac": lambda d: slopes},
            {"type": "ineq", "fun": lambda d: eps**2 - d @ d, "jac": lambda d: -2 * d},
        ],
    )  # fmt: skip
    assert found.status in (0, 8), found.message  # 8: no further descent, to rounding
    return -found.fun


def nearest(wanted, slopes, margins):
    """Find the point nearest to `wanted` with `margins + slopes s >= 0`."""
    found = optimize.minimize(
        lambda s: 0.5 * np.sum((s - wanted) ** 2), np.zeros(wanted.size), jac=lambda s: s - wanted, method="SLSQP",
        constraints=[{"type": "ineq", "fun": lambda s: slopes @ s + margins, "jac": lambda s: slopes}],
        options={"maxiter": 500, "ftol": 1e-14},
    )  # fmt: skip
    return found.x
