"""Linear fits in float64 from their definitions, by general-purpose solvers.

Every fit takes rows x [N, D] and positive weights [N], and gives (weight [D, K], bias [K]).
"""

import numpy as np
from scipy import optimize, special


def ridge(x, y, alpha, weights):
    """Least squares on the rows [sqrt(w) x, sqrt(w)] with the rows [sqrt(alpha) I, 0] below; alpha [K]."""
    x, y, root = np.float64(x), np.float64(y), np.sqrt(np.float64(weights))[:, None]
    middle = x.mean(0)  # any shift of the origin leaves the problem as it is, and float64 its digits
    columns = []
    for k, penalty in enumerate(np.broadcast_to(np.float64(alpha), y.shape[1:])):
        bottom = np.hstack([np.sqrt(penalty) * np.eye(x.shape[1]), np.zeros((x.shape[1], 1))])
        tall = np.vstack([root * np.hstack([x - middle, np.ones((len(x), 1))]), bottom])
        right = np.concatenate([root[:, 0] * y[:, k], np.zeros(x.shape[1])])
        columns.append(np.linalg.lstsq(tall, right, rcond=1e-14)[0])
    found = np.stack(columns, 1)
    return found[:-1], found[-1] - middle @ found[:-1]


def _smooth(x, alpha, weights, loss, outputs, penalise_intercept=False):
    """Minimise sum w loss(z) + alpha / 2 |weight|^2 by a trust region; loss gives value, gradient, Hessian a row."""
    x = np.float64(x)
    middle = np.zeros(x.shape[1]) if penalise_intercept else x.mean(0)
    # scaled columns condition the problem; their penalty is scaled with them
    scale = 1 / np.where(x.std(0) > 0, x.std(0), 1)
    design = np.hstack([(x - middle) * scale, np.ones((len(x), 1))])
    penalty = np.append(alpha * scale**2, alpha if penalise_intercept else 0.0)[:, None]
    shape, total = (design.shape[1], outputs), weights.sum()

    def value(flat):
        point = flat.reshape(shape)
        return (weights @ loss(design @ point)[0] + 0.5 * (penalty * point**2).sum()) / total

    def gradient(flat):
        point = flat.reshape(shape)
        return ((design.T @ (weights[:, None] * loss(design @ point)[1]) + penalty * point) / total).ravel()

    def hessian(flat):
        curvature = weights[:, None, None] * loss(design @ flat.reshape(shape))[2]
        full = np.einsum("nd,nkl,ne->dkel", design, curvature, design).reshape(flat.size, flat.size)
        # the softmax's free direction, and a column of zeros, are held where they start
        return (full + np.diag(np.broadcast_to(penalty, shape).ravel())) / total + 1e-13 * np.eye(flat.size)

    start = np.zeros(shape[0] * shape[1])
    options = {"gtol": 1e-11, "maxiter": 5000}
    point = optimize.minimize(value, start, jac=gradient, hess=hessian, method="trust-exact", options=options).x
    assert np.abs(gradient(point)).max() < 1e-8
    point = point.reshape(shape)
    weight = scale[:, None] * point[:-1]
    return weight, point[-1] - middle @ weight


def logistic(x, y, alpha, weights):
    """Binary cross entropy; y [N] in [0, 1]."""

    def loss(z):
        p = special.expit(z[:, 0])
        value = np.logaddexp(0, z[:, 0]) - y * z[:, 0]
        return value, (p - y)[:, None], (p * (1 - p))[:, None, None]

    return _smooth(x, alpha, weights, loss, 1)


def softmax(x, y, alpha, weights):
    """Categorical cross entropy; y [N, K]."""

    def loss(z):
        p = special.softmax(z, 1)
        hessian = p[:, :, None] * np.eye(z.shape[1]) - p[:, :, None] * p[:, None, :]
        return special.logsumexp(z, 1) - (y * z).sum(1), p - y, hessian

    weight, bias = _smooth(x, alpha, weights, loss, y.shape[1])
    return weight - weight.mean(1, keepdims=True), bias - bias.mean()


def squared_hinge(x, y, alpha, weights, penalise_intercept=False):
    """Squared hinge; y [N], 0 or 1."""
    sign = 2.0 * y - 1

    def loss(z):
        short = np.maximum(0, 1 - sign * z[:, 0])
        return short**2, (-2 * sign * short)[:, None], (2.0 * (short > 0))[:, None, None]

    return _smooth(x, alpha, weights, loss, 1, penalise_intercept)


def elastic_net(x, y, alpha, l1_ratio, weights):
    """Elastic net of one target y [N]: the weight as a difference of two that are not negative, by L-BFGS-B."""
    x, y, share = np.float64(x), np.float64(y), np.float64(weights) / np.sum(weights)
    centre, level = share @ x, share @ y
    x, y, width = x - centre, y - level, x.shape[1]

    def value(both):
        weight = both[:width] - both[width:]
        rest = y - x @ weight
        pull = -x.T @ (share * rest) + alpha * (1 - l1_ratio) * weight
        total = 0.5 * share @ rest**2 + 0.5 * alpha * (1 - l1_ratio) * weight @ weight + alpha * l1_ratio * both.sum()
        return total, np.concatenate([pull, -pull]) + alpha * l1_ratio

    both = np.zeros(2 * width)
    for _ in range(3):
        options = {"ftol": 1e-18, "gtol": 1e-13, "maxiter": 20000, "maxfun": 200000, "maxcor": 20}
        bounds = [(0, None)] * (2 * width)
        both = optimize.minimize(value, both, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    weight = both[:width] - both[width:]
    return weight[:, None], np.atleast_1d(level - centre @ weight)


def hinge(x, y, alpha, weights):
    """Plain hinge, y [N] of 0 and 1: the dual QP with one equality, by SLSQP; the level minimises the primal."""
    x, sign = np.float64(x), 2.0 * np.asarray(y) - 1
    middle = x.mean(0)
    design = (x - middle) * sign[:, None]
    gram = design @ design.T / alpha
    equal = {"type": "eq", "fun": lambda a: sign @ a, "jac": lambda a: sign}
    a = optimize.minimize(
        lambda a: (0.5 * a @ gram @ a - a.sum(), gram @ a - 1),
        np.zeros(len(x)),
        jac=True,
        method="SLSQP",
        bounds=[(0, w) for w in weights],
        constraints=[equal],
        options={"ftol": 1e-15, "maxiter": 2000},
    ).x
    weight = design.T @ a / alpha
    knots = sign - (x - middle) @ weight  # the primal is piecewise linear in the level, with its kinks here
    objective = [weights @ np.maximum(0, 1 - sign * ((x - middle) @ weight + b)) for b in knots]
    return weight[:, None], np.atleast_1d(knots[np.argmin(objective)] - middle @ weight)


def hinge_objective(x, y, alpha, weights, weight, bias):
    """Give the primal objective of the hinge at a fit of one label."""
    short = np.maximum(0, 1 - (2.0 * y - 1) * (np.float64(x) @ weight + bias))
    return weights @ short + 0.5 * alpha * weight @ weight


def forward(x, y, most, alpha=0.0):
    """Least squares with 1, 2, ..., most of the columns of x, each chosen by trying all: weights [D, most], biases."""
    x, y = np.float64(x), np.float64(y)
    chosen, weights, biases = [], np.zeros((x.shape[1], most)), np.zeros(most)
    for k in range(most):
        fits = {}
        for d in set(range(x.shape[1])) - set(chosen):
            weight, bias = ridge(x[:, [*chosen, d]], y[:, None], alpha, np.ones(len(x)))
            error = ((y - x[:, [*chosen, d]] @ weight[:, 0] - bias) ** 2).sum() + alpha * (weight**2).sum()
            fits[d] = error, weight[:, 0], bias[0]
        d = min(fits, key=lambda d: fits[d][0])
        chosen.append(d)
        weights[chosen, k], biases[k] = fits[d][1:]
    return weights, biases
