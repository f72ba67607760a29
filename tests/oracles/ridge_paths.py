"""Ridge on every training set by itself, in float64, from the definition: each fold, each penalty, one after another.

The normal equations of centred rows through their singular values, so that no digits go with the condition number.
"""

import numpy as np


def fit(x, y, alpha, weights):
    """Minimise sum w (y - x v - b)^2 + alpha |v|^2: v [D, K], b [K]."""
    x, y, weights = np.float64(x), np.float64(y), np.float64(weights)
    share = weights / weights.sum()
    middle, level = share @ x, share @ y
    root = np.sqrt(weights)[:, None]
    u, s, vt = np.linalg.svd(root * (x - middle), full_matrices=False)
    weight = vt.T @ ((s / (s**2 + alpha))[:, None] * (u.T @ (root * (y - level))))
    return weight, level - middle @ weight


def held_out(x, y, alphas, assigned, weights):
    """Give predictions [A, N, K] of each row by the fit without its fold."""
    found = np.full((len(alphas), *y.shape), np.nan)
    for fold in np.unique(assigned):
        out = assigned == fold
        for i, alpha in enumerate(alphas):
            weight, bias = fit(x[~out], y[~out], alpha, weights[~out])
            found[i, out] = np.float64(x[out]) @ weight + bias
    return found


def errors(predicted, y, assigned, weights):
    """Give weighted mean squared errors [A, F, K]."""
    folds = [assigned == fold for fold in np.unique(assigned)]
    lost = (predicted - y) ** 2
    return np.stack([np.average(lost[:, out], axis=1, weights=weights[out]) for out in folds], 1)


def r2(predicted, y, weights):
    """Give 1 - sum w (y - prediction)^2 / sum w (y - mean)^2, [A, K]."""
    spread = weights @ (y - np.average(y, axis=0, weights=weights)) ** 2
    return 1 - np.einsum("n,ank->ak", weights, (predicted - y) ** 2) / spread
