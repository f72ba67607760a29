"""The Gaussian model of robust likelihood in float64, by general-purpose optimisers and sampling."""

import numpy as np
from scipy import optimize, stats


def negative_log_likelihood(mean, covariance, x, y):
    return -stats.multivariate_normal(y * mean, covariance).logpdf(x)


def penalised(mean, covariance, x, y, lam, starts=1):
    """Maximise NLL(x + d, y) - lam / 2 |d|^2 over d by BFGS; give the maximum and its d."""

    def value(d):
        return 0.5 * lam * d @ d - negative_log_likelihood(mean, covariance, x + d, y)

    rng = np.random.default_rng(0)
    found = [optimize.minimize(value, rng.normal(size=len(x)), method="BFGS", tol=1e-10) for _ in range(starts)]
    best = min(found, key=lambda f: f.fun)
    return -best.fun, best.x


def constrained(mean, covariance, x, y, eps, starts=4):
    """Maximise NLL(x + d, y) over |d| <= eps by SLSQP from several starts; give the maximum and its d."""
    precision, z = np.linalg.inv(covariance), x - y * mean
    ball = {"type": "ineq", "fun": lambda d: eps**2 - d @ d, "jac": lambda d: -2 * d}
    rng = np.random.default_rng(0)
    best = None
    for sign in [1, -1] * (starts // 2):
        start = sign * precision @ z + 0.1 * rng.normal(size=len(x))
        found = optimize.minimize(
            lambda d: (-0.5 * (z + d) @ precision @ (z + d), -precision @ (z + d)),
            eps * start / np.linalg.norm(start),
            jac=True,
            method="SLSQP",
            constraints=[ball],
            options={"ftol": 1e-13, "maxiter": 300},
        )
        best = found if best is None or found.fun < best.fun else best
    return negative_log_likelihood(mean, covariance, x + best.x, y), best.x


def adversary(covariance, lam):
    """Give B of the stationary d = B z: the gradient A (z + d) - lam d is zero, A the precision."""
    precision = np.linalg.inv(covariance)
    return np.linalg.solve(lam * np.eye(len(covariance)) - precision, precision)


def expected_penalised(mean, covariance, true_mean, true_covariance, lam):
    """Average z'Qz / 2, Q = (I + B)'A(I + B) - lam B'B, over z of the second moment; inf where no maximum exists."""
    precision = np.linalg.inv(covariance)
    if lam <= np.linalg.eigvalsh(precision).max():
        return np.inf
    b = adversary(covariance, lam)
    moved = np.eye(len(b)) + b
    miss = mean - true_mean
    second = true_covariance + np.outer(miss, miss)
    form = moved.T @ precision @ moved - lam * b.T @ b
    return 0.5 * np.trace(form @ second) + 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]


def robust_fit(true_mean, true_covariance, lam):
    """Minimise the expected penalised loss over mean and Cholesky factor by BFGS with numerical gradients."""
    size = len(true_mean)
    lower = np.tril_indices(size)

    def unpack(point):
        root = np.zeros((size, size))
        root[lower] = point[size:]
        return point[:size], root @ root.T + 1e-9 * np.eye(size)

    def value(point):
        found = expected_penalised(*unpack(point), true_mean, true_covariance, lam)
        return found if np.isfinite(found) else 1e6

    wide = np.linalg.cholesky(true_covariance + 3 / lam * np.eye(size))
    point = np.concatenate([np.zeros(size), wide[lower]])
    for _ in range(3):
        point = optimize.minimize(value, point, method="BFGS").x
    return unpack(point)


def sampled_increase(covariance, lam, n, seed):
    """Sample how much d = B z raises the NLL of a true model; give mean and standard error."""
    z = np.random.default_rng(seed).multivariate_normal(np.zeros(len(covariance)), covariance, size=n)
    normal = stats.multivariate_normal(np.zeros(len(covariance)), covariance)
    rise = normal.logpdf(z) - normal.logpdf(z + z @ adversary(covariance, lam).T)
    return rise.mean(), rise.std(ddof=1) / np.sqrt(n)


def worst_linear_adversary(mean, covariance, true_mean, true_covariance, eps):
    """Maximise E NLL(z + Bz) over all B with E |Bz|^2 <= eps^2, by SLSQP."""
    size = len(mean)
    precision = np.linalg.inv(covariance)
    miss = mean - true_mean
    second = true_covariance + np.outer(miss, miss)

    def value(flat):
        moved = np.eye(size) + flat.reshape(size, size)
        return -0.5 * np.trace(moved.T @ precision @ moved @ second)

    budget = {
        "type": "ineq",
        "fun": lambda f: eps**2 - np.trace(f.reshape(size, size) @ second @ f.reshape(size, size).T),
    }
    rng = np.random.default_rng(0)
    found = [
        optimize.minimize(value, 0.1 * rng.normal(size=size * size), method="SLSQP", constraints=[budget], tol=1e-13)
        for _ in range(5)
    ]
    return -min(f.fun for f in found) + 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]


def least_cosine(covariance, starts=20):
    """Search the mean with the least cosine between S^-1 m and m."""
    precision = np.linalg.inv(covariance)

    def cosine(m):
        pulled = precision @ m
        return pulled @ m / np.linalg.norm(pulled) / np.linalg.norm(m)

    rng = np.random.default_rng(0)
    size = len(covariance)
    found = [optimize.minimize(cosine, rng.normal(size=size), method="BFGS", tol=1e-12) for _ in range(starts)]
    return min(f.fun for f in found)
