"""Disentanglement metrics in numpy float64, written from the papers, point by point."""

import itertools

import numpy as np
from scipy import linalg, optimize, special

from tests.oracles import information as info


def mutual_informations(codes, factors, bins):
    """Of every latent with every factor, one pair after the other."""
    cut = [info.discretise(x, bins) for x in np.asarray(codes).T]
    return np.array([[info.mutual_information(x, y) for y in factors.T] for x in cut])


def mig(codes, factors, bins):
    """Chen et al. 2018, eq. 6."""
    each = []
    for column, y in zip(mutual_informations(codes, factors, bins).T, factors.T, strict=True):
        second, first = np.sort(column)[-2:]
        each.append((first - second) / info.entropy(y))
    return np.mean(each)


def modularity(matrix):
    """Ridgeway and Mozer 2018, the deviation from a template that knows one factor alone."""
    each = []
    for row in matrix:
        template = np.where(np.arange(len(row)) == row.argmax(), row.max(), 0.0)
        each.append(1 - ((row - template) ** 2).sum() / (row.max() ** 2 * (len(row) - 1)))
    return np.array(each)


def mean_pairwise_information(codes, bins):
    cut = [info.discretise(x, bins) for x in np.asarray(codes).T]
    return np.mean([info.mutual_information(a, b) for a, b in itertools.combinations(cut, 2)])


def _drawn(codes, sizes, rng, n):
    """Draw factors, and give them with the function that looks up their codes."""
    drawn = np.stack([rng.integers(0, size, n) for size in sizes], 1)
    return drawn, lambda factors: np.float64(codes)[np.ravel_multi_index(tuple(factors.T), sizes)]


def factor_vae(codes, sizes, rng, batch, train, test, variance, smallest=0.05):
    """Kim and Mnih 2018, figure 2: normalise, hold a factor, vote for the least variance, classify by majority."""
    drawn, code_of = _drawn(codes, sizes, rng, variance)
    overall = code_of(drawn).std(0, ddof=1)
    kept = np.flatnonzero(overall >= smallest)

    def vote():
        held, (drawn, code_of) = rng.integers(len(sizes)), _drawn(codes, sizes, rng, batch)
        drawn[:, held] = drawn[0, held]
        local = (code_of(drawn)[:, kept] / overall[kept]).var(0, ddof=1)
        return kept[local.argmin()], held

    seen = [vote() for _ in range(train)]
    majority = {d: np.bincount([k for latent, k in seen if latent == d], minlength=1).argmax() for d, _ in seen}
    return np.mean([majority.get(d) == k for d, k in (vote() for _ in range(test))])


def beta_vae(codes, sizes, rng, batch, train, test):
    """Higgins et al. 2017, section 3, with a softmax regression at C = 1 by a general-purpose solver."""

    def vote():
        held, (first, code_of) = rng.integers(len(sizes)), _drawn(codes, sizes, rng, batch)
        second, _ = _drawn(codes, sizes, rng, batch)
        second[:, held] = first[:, held]
        return np.abs(code_of(first) - code_of(second)).mean(0), held

    x, y = (np.array(each) for each in zip(*(vote() for _ in range(train + test)), strict=True))
    weight, bias = softmax(x[:train], y[:train], len(sizes), 1.0)
    return np.mean((x[train:] @ weight + bias).argmax(1) == y[train:])


def softmax(x, y, classes, alpha, weights=None):
    """Multinomial cross entropy with alpha / 2 |weight|^2: weight [D, K], bias [K]."""
    weights = np.ones(len(x)) if weights is None else weights
    one_hot = np.eye(classes)[y]

    def value(flat):
        weight, bias = flat[:-classes].reshape(-1, classes), flat[-classes:]
        z = x @ weight + bias
        total = special.logsumexp(z, 1)
        rest = weights[:, None] * (np.exp(z - total[:, None]) - one_hot)
        slope = np.concatenate([(x.T @ rest + alpha * weight).ravel(), rest.sum(0)])
        return weights @ (total - (z * one_hot).sum(1)) + alpha / 2 * (weight**2).sum(), slope

    start = np.zeros((x.shape[1] + 1) * classes)
    flat = optimize.minimize(value, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "gtol": 1e-8}).x
    return flat[:-classes].reshape(-1, classes), flat[-classes:]


def squared_hinges(x, y, classes, alpha):
    """One line a class, on one latent, by a general-purpose solver: liblinear's objective, balanced in each class."""
    lines = []
    for k in range(classes):
        sign = np.where(y == k, 1.0, -1.0)
        share = np.where(sign > 0, len(y) / (len(np.unique(y)) * np.sum(y == k)), 1.0)
        if classes == 2:
            share = len(y) / (2 * np.where(sign > 0, np.sum(y == k), np.sum(y != k)))

        def value(point, sign=sign, share=share):
            short = np.maximum(0, 1 - sign * (point[0] * x + point[1]))
            slope = -2 * share * sign * short
            total = share @ short**2 + alpha / 2 * (point**2).sum()
            return total / len(y), (np.array([slope @ x, slope.sum()]) + alpha * point) / len(y)

        found = optimize.minimize(value, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-9})
        lines.append(found.x)
    return np.array(lines).T


def sap_matrix(codes, factors, test_codes, test_factors, sizes, alpha):
    """Kumar et al. 2018, section 3: test accuracy of each latent alone on each factor."""
    matrix = np.zeros((codes.shape[1], factors.shape[1]))
    for d, f in np.ndindex(*matrix.shape):
        weight, bias = squared_hinges(np.float64(codes[:, d]), factors[:, f], sizes[f], alpha)
        guess = (test_codes[:, d, None] * weight + bias).argmax(1)
        matrix[d, f] = np.mean(guess == test_factors[:, f])
    return matrix


def irs(codes, factors, quantile):
    """Suter et al. 2019, for crossed factors: matrix and score."""
    codes = np.float64(codes)
    largest = np.abs(codes - codes.mean(0)).max(0)
    matrix = np.zeros((codes.shape[1], factors.shape[1]))
    for d, f in np.ndindex(*matrix.shape):
        moved = []
        for k in np.unique(factors[:, f]):
            inside = codes[factors[:, f] == k, d]
            moved.append(np.quantile(np.abs(inside - inside.mean()), quantile))
        matrix[d, f] = 1 - np.mean(moved) / largest[d] if largest[d] > 0 else np.nan
    best = matrix.max(1)
    return matrix, np.nansum(best * largest) / largest.sum()


def dci(importance):
    """Eastwood and Williams 2018, section 2: disentanglement and completeness."""

    def concentration(rows):
        score = 0.0
        for row in rows:
            if row.sum() > 0:
                p = row[row > 0] / row.sum()
                score += row.sum() / rows.sum() * (1 + np.sum(p * np.log(p)) / np.log(len(row)))
        return score

    return concentration(importance), concentration(importance.T)


def area(score, label):
    """The share of pairs in the right order, ties half."""
    gaps = np.asarray(score)[label == 1][:, None] - np.asarray(score)[label == 0][None]
    return np.mean(np.where(gaps == 0, 0.5, gaps > 0))


def wasserstein(covariance):
    """Dowson and Landau 1982: the squared distance from the Gaussian of the diagonal alone."""
    root = np.sqrt(np.diag(np.diag(covariance)))
    return 2 * np.trace(covariance) - 2 * np.trace(linalg.sqrtm(root @ covariance @ root)).real


def lasso(x, y, alpha, sweeps=2000):
    """Minimise |y - x w|^2 / 2N + alpha |w|_1 by coordinate descent, one target; x, y about their means."""
    weight = np.zeros(x.shape[1])
    for _ in range(sweeps):
        for d in range(x.shape[1]):
            pull = x[:, d] @ (y - x @ weight + x[:, d] * weight[d]) / len(y)
            weight[d] = np.sign(pull) * max(abs(pull) - alpha, 0) / (x[:, d] @ x[:, d] / len(y))
    return weight


def udr_pair(matrix):
    """Duan et al. 2020, eq. 3: both models' sums of max^2 / sum, and how many latents they have."""
    sums = [sum(row.max() ** 2 / row.sum() for row in rows if row.sum() > 0) for rows in (matrix, matrix.T)]
    return sums, matrix.shape


def infom(information):
    """Hsu et al. 2023: information [D, F] of active latents."""
    share = np.mean([row.max() / row.sum() for row in information])
    chance = 1 / information.shape[1]
    return (share - chance) / (1 - chance)


def infoe(x, y, test_x, test_y, classes, alpha):
    """Hsu et al. 2023: what a balanced softmax removes of log K, on rows of its own."""
    centre, spread = x.mean(0), x.std(0)
    x, test_x = (x - centre) / spread, (test_x - centre) / spread
    share = len(y) / (classes * np.bincount(y, minlength=classes))
    weight, bias = softmax(x, y, classes, alpha, share[y])
    z = test_x @ weight + bias
    loss = -np.mean(special.log_softmax(z, 1)[np.arange(len(test_y)), test_y])
    return 1 - loss / np.log(classes)
