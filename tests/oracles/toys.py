"""Jacobians of two toy networks, and shares of features in subspaces, in NumPy float64 from the papers' formulas."""

import numpy as np


def superposition_jacobian(weight, bias, xs):
    """`d x'_k / d (W, b)` of `x' = ReLU(W' W x + b)` by the product rule: `[N, K, m n + n]`, W row by row, then b."""
    m, n = weight.shape
    rows = []
    for x in xs:
        hidden = weight @ x
        is_open = (weight.T @ hidden + bias > 0).astype(float)
        whole = np.zeros((n, m, n))
        for k in range(n):
            whole[k, :, k] += hidden  # W enters as the reader of feature k ...
            whole[k] += np.outer(weight[:, k], x)  # ... and as what wrote the hidden units
        rows.append(is_open[:, None] * np.concatenate([whole.reshape(n, -1), np.eye(n)], 1))
    return np.array(rows)


def modular_jacobians(first, second, pairs):
    """`d f_k` of `f = second' (first' [e_a, e_b])^2` by the first, by the second layer: `[N, p, P]` each."""
    p = second.shape[1]
    ones, twos = [], []
    for a, b in pairs:
        x = np.zeros(2 * p)
        x[a] = x[p + b] = 1
        drive = x @ first
        ones.append([np.outer(x, 2 * drive * second[:, k]).ravel() for k in range(p)])
        twos.append([np.outer(drive**2, np.eye(p)[k]).ravel() for k in range(p)])
    return np.array(ones), np.array(twos)


def trace_kernel(jacobian):
    """The mean over outputs of the kernel, `[N, N]`."""
    return np.einsum("nkp,mkp->nm", jacobian, jacobian) / jacobian.shape[1]


def top_centred(kernel, count):
    """The eigenvalues of `H K H`, descending, and its first `count` eigenvectors, or as many as are not of zero."""
    middle = np.eye(len(kernel)) - 1 / len(kernel)
    values, vectors = np.linalg.eigh(middle @ kernel @ middle)
    there = (values > 1e-9 * values[-1])[::-1][:count]
    return values[::-1], vectors[:, ::-1][:, :count][:, there]


def components(rows, count):
    """The first `count` principal components, as functions on the rows."""
    return np.linalg.svd(rows - rows.mean(0), full_matrices=False)[0][:, :count]


def share(basis, features):
    """What least squares on a basis explains of each centred feature."""
    features = features - features.mean(0)
    fit = basis @ np.linalg.lstsq(basis, features, rcond=None)[0]
    return 1 - ((features - fit) ** 2).sum(0) / (features**2).sum(0)
