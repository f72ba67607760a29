"""Objectives of VAEs in float64 with loops, from the papers; the noise is given, the model is linear but for two tanh.

The model: mean = W x, log variance = tanh(V x) / 2, decoder output = U z. Gradients by central differences.
"""

import numpy as np
from scipy import stats


def draw(rng, latents, pixels):
    shapes = {"w": (latents, pixels), "v": (latents, pixels), "u": (pixels, latents)}
    return {name: rng.normal(0, 0.7, shape) for name, shape in shapes.items()}


def encode(params, x):
    return params["w"] @ x, np.tanh(params["v"] @ x) / 2


def posteriors(params, images):
    mean, log_var = zip(*(encode(params, x) for x in images), strict=True)
    return np.array(mean), np.array(log_var)


def kl(mean, log_var):
    """KL of a normal from the standard normal (Kingma and Welling 2014, appendix B), one latent."""
    return -0.5 * (1 + log_var - mean**2 - np.exp(log_var))


def bernoulli(logits, x):
    p = 1 / (1 + np.exp(-logits))
    return -np.sum(x * np.log(p) + (1 - x) * np.log(1 - p))


def gaussian(variance):
    return lambda mean, x: -stats.norm.logpdf(x, mean, variance**0.5).sum()


def elbo(params, images, mean, log_var, noise, likelihood=bernoulli):
    """Mean reconstruction and KL, and the samples, of images whose posteriors are given."""
    z = mean + np.exp(log_var / 2) * noise
    reconstruction = np.mean([likelihood(params["u"] @ code, x) for code, x in zip(z, images, strict=True)])
    divergence = np.mean(
        [sum(kl(m, v) for m, v in zip(*pair, strict=True)) for pair in zip(mean, log_var, strict=True)]
    )
    return {"reconstruction": reconstruction, "kl": divergence, "elbo": -reconstruction - divergence}, z


def vae(regulariser, likelihood=bernoulli):
    """A loss `(params, images, noise) -> (value, terms)` of `regulariser(kl, mean, log_var, z) -> (value, terms)`."""

    def loss(params, images, noise):
        mean, log_var = posteriors(params, images)
        terms, z = elbo(params, images, mean, log_var, noise, likelihood)
        value, more = regulariser(terms["kl"], mean, log_var, z)
        return terms["reconstruction"] + value, terms | more

    return loss


def beta_vae(beta):
    """Higgins et al. 2017, eq. 4."""
    return lambda kl, mean, log_var, z: (beta * kl, {})


def annealed(gamma, capacity, threshold, t):
    """Burgess et al. 2018, eq. 8."""

    def regulariser(kl, mean, log_var, z):
        now = capacity if t >= threshold else capacity * t / threshold
        return gamma * abs(kl - now), {"capacity": now, "distance": abs(kl - now)}

    return regulariser


def dip(lambda_od, lambda_d, second=False):
    """Kumar et al. 2018, eqs. 6 and 7; the expectation over the data is the mean over the batch."""

    def regulariser(kl, mean, log_var, z):
        size, latents = mean.shape
        off = on = 0.0
        for i in range(latents):
            for j in range(latents):
                c = sum(mean[n, i] * mean[n, j] for n in range(size)) / size - mean[:, i].mean() * mean[:, j].mean()
                if i == j:
                    on += (c + (np.exp(log_var[:, i]).mean() if second else 0) - 1) ** 2
                else:
                    off += c**2
        return kl + lambda_od * off + lambda_d * on, {"off_diagonal": off, "diagonal": on}

    return regulariser


def importance(batch, size):
    """The weights of minibatch stratified sampling, sample by sample (Chen et al. 2018, appendix C.2)."""
    m = batch - 1
    table = np.zeros((batch, batch))
    for i in range(batch):
        others = [(i + k) % batch for k in range(1, batch)]
        table[i, i] = 1 / size
        table[i, others[0]] = (size - m) / (size * m)
        for j in others[1:]:
            table[i, j] = 1 / m
    return table


def decompose(mean, log_var, z, table):
    """Index-code mutual information, total correlation, dimension-wise KL (Chen et al. 2018, eq. 2), by densities."""
    size, latents = z.shape
    q = np.array([[stats.norm.pdf(z[i], mean[j], np.exp(log_var[j] / 2)) for j in range(size)] for i in range(size)])
    parts = np.zeros(3)
    for i in range(size):
        joint = np.log(sum(table[i, j] * np.prod(q[i, j]) for j in range(size)))
        product = sum(np.log(sum(table[i, j] * q[i, j, d] for j in range(size))) for d in range(latents))
        own, prior = np.log(np.prod(q[i, i])), stats.norm.logpdf(z[i]).sum()
        parts += np.array([own - joint, joint - product, product - prior]) / size
    return dict(zip(("mutual_information", "total_correlation", "dimension_wise_kl"), parts, strict=True))


def beta_tc(beta, table):
    def regulariser(kl, mean, log_var, z):
        parts = decompose(mean, log_var, z, table)
        return kl + (beta - 1) * parts["total_correlation"], parts

    return regulariser


def gaussian_tc(covariance):
    """Total correlation of a Gaussian: the marginals' entropies less the joint's."""
    each = sum(stats.norm(0, c**0.5).entropy() for c in np.diag(covariance))
    return each - stats.multivariate_normal(np.zeros(len(covariance)), covariance).entropy()


def leaky(weights, z):
    """A discriminator of one hidden layer, slope 0.2: logits `[2]`."""
    hidden = weights["a"] @ z + weights["b"]
    return weights["c"] @ np.where(hidden > 0, hidden, 0.2 * hidden) + weights["d"]


def probability(weights, z):
    """D(z): that the code was not permuted."""
    logits = leaky(weights, z)
    return np.exp(logits[0]) / np.exp(logits).sum()


def factor(gamma, weights):
    """Kim and Mnih 2018, eqs. 2 and 3."""

    def regulariser(kl, mean, log_var, z):
        tc = np.mean([np.log(probability(weights, code) / (1 - probability(weights, code))) for code in z])
        return kl + gamma * tc, {"total_correlation": tc}

    return regulariser


def discriminate(weights, codes, permuted):
    """Minus the discriminator's gain in algorithm 2 of Kim and Mnih 2018."""
    gain = sum(np.log(probability(weights, z)) for z in codes)
    gain += sum(np.log(1 - probability(weights, z)) for z in permuted)
    return -gain / (2 * len(codes))


def normal_kl(m1, v1, m2, v2):
    """KL(N(m1, v1) || N(m2, v2)), variances."""
    return np.log(v2**0.5 / v1**0.5) + (v1 + (m1 - m2) ** 2) / (2 * v2) - 0.5


def pair(params, x1, x2, average, shared):
    """Posteriors of a pair of images after averaging; `shared(divergences) -> booleans` (Locatello et al. 2020)."""
    (m1, l1), (m2, l2) = encode(params, x1), encode(params, x2)
    v1, v2 = np.exp(l1), np.exp(l2)
    mask = shared([normal_kl(*each) for each in zip(m1, v1, m2, v2, strict=True)])
    for d in range(len(m1)):
        if mask[d]:
            m1[d], v1[d] = m2[d], v2[d] = average(m1[d], v1[d], m2[d], v2[d])
    return (m1, np.log(v1)), (m2, np.log(v2)), mask


def arithmetic(m1, v1, m2, v2):
    return (m1 + m2) / 2, (v1 + v2) / 2


def product(m1, v1, m2, v2):
    """By the moments of the normalised product of the densities, on a grid."""
    z = np.linspace(-25, 25, 2001)
    density = stats.norm.pdf(z, m1, v1**0.5) * stats.norm.pdf(z, m2, v2**0.5)
    density /= density.sum()
    mean = (z * density).sum()
    return mean, ((z - mean) ** 2 * density).sum()


def half_way(divergences):
    tau = (max(divergences) + min(divergences)) / 2
    return [d < tau for d in divergences]


def group(beta, average, shared=half_way):
    """Mean over both images of a pair of reconstruction + beta KL; images and noise are pairs."""

    def loss(params, images, noise):
        pairs = [pair(params, x1, x2, average, shared) for x1, x2 in zip(*images, strict=True)]
        terms = {"shared": np.mean([sum(mask) for *_, mask in pairs])}
        for end in (0, 1):
            mean, log_var = (np.array([each[end][k] for each in pairs]) for k in (0, 1))
            found, _ = elbo(params, images[end], mean, log_var, noise[end])
            terms = {**terms, **{name: terms.get(name, 0) + value / 2 for name, value in found.items()}}
        return terms["reconstruction"] + beta * terms["kl"], terms

    return loss


def gradient(loss, params, step=1e-5):
    """Central differences of `loss(params) -> scalar` over a dict of arrays."""
    result = {}
    for name, value in params.items():
        slope = np.zeros_like(value)
        for i in np.ndindex(value.shape):
            ends = []
            for sign in (1, -1):
                moved = value.copy()
                moved[i] += sign * step
                ends.append(loss(params | {name: moved}))
            slope[i] = (ends[0] - ends[1]) / (2 * step)
        result[name] = slope
    return result
