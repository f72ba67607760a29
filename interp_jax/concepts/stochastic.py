"""Concept models that are unsure of their concepts: Gaussian embeddings (Kim 2023), Gaussian logits (Vandenhirtz 2024).

    distribution of ALL logits --samples--> logits [S, k] --draws--> 0 or 1 [S, k] --head--> task, the mean over S

The task's probabilities are averaged over samples. Where logits depend on each other, what is said of one concept moves
the others: their distribution is conditioned on it.
"""

import dataclasses
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from interp_jax.concepts import losses
from interp_jax.concepts.model import ConceptModel, Encoded, Given, sampling_key
from interp_jax.core import checks, keys
from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.models.nets import Net

Telling = Callable[[Array, Array, Array, Array], Array]
"""`(mean [k], covariance [k, k], mask [k], said [k]) -> [k]`, the logits that stand for what is said under the mask."""


def stochastic(
    features: Net,
    mean: Net,
    head: Net,
    concepts: int,
    *,
    spread: Net | None = None,
    samples: int = 100,
    telling: Telling | None = None,
    temperature: ArrayLike = 1.0,
    precision: ArrayLike = 1.0,
) -> ConceptModel:
    """Make a stochastic bottleneck of binary concepts (Vandenhirtz et al. 2024, sections 3.1 to 3.4).

        logits ~ N(mean(x), L L'),   c_i = 1 with probability sigmoid(logit_i),   y by the head on c, averaged over S
        concept loss: - log (1/S) sum_s prod_i p(c_i | logits_s) + precision mean_{i != j} |((L L')^-1)_ij|

    An intervention conditions the logits of the others on those that stand for what is said, and tells the head what
    was said. The task trains the encoder straight through the draws, by relaxed Bernoulli variables (Maddison et al.
    2017). Train with `training.joint`. As in the authors' code the concept loss is a sum over concepts, not a mean, and
    the covariance begins small; their temperature falls from 1 to 1/2 while training, ours stays.

    Args:
        features: from x to `[h]`.
        mean: from `[h]` to `[k]`.
        head: from `[k]` to `[C]`.
        concepts: k.
        spread: from `[h]` to `[k (k + 1) / 2]`, the lower triangle of L by rows, a softplus on its diagonal: the
            "amortised" covariance. None for one L for all inputs, the "global" one.
        samples: S.
        telling: `confidence_region(concepts)` by default.
        temperature: of the relaxation that gives the gradient.
        precision: weight of the penalty.

    Raises:
        ValueError: k = 0, samples = 0, or a spread of another size.
    """
    checks.whole(1, concepts=concepts, samples=samples)
    checks.positive(temperature=temperature)
    checks.not_negative(precision=precision)
    tell = confidence_region(concepts) if telling is None else telling
    own = _Stochastic(features, mean, spread, head, concepts, samples, tell, temperature, precision)
    return ConceptModel(
        concepts, own.init, own.encode, own.values, _averaging(head), own.predict, update=own.update,
        likelihood=own.likelihood,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class _Stochastic:
    """The functions of a `stochastic` model. `Encoded.hidden` is L."""

    features: Net
    mean: Net
    spread: Net | None
    head: Net
    concepts: int
    samples: int
    tell: Telling
    temperature: ArrayLike
    precision: ArrayLike

    def init(self, key: Key) -> PyTree:
        first, second, third, fourth = jax.random.split(key, 4)
        encoder = {"features": self.features.init(first), "mean": self.mean.init(second)}
        if self.spread is None:
            encoder["spread"] = jnp.zeros(self.concepts * (self.concepts + 1) // 2)
        else:
            encoder["spread"] = jax.tree.map(lambda w: 0.01 * w, self.spread.init(third))
        return {"encoder": encoder, "head": self.head.init(fourth)}

    def encode(self, params: PyTree, x: Array) -> Encoded:
        parts = params["encoder"]
        units = self.features.apply(parts["features"], x)
        raw = parts["spread"] if self.spread is None else self.spread.apply(parts["spread"], units)
        return Encoded(self.mean.apply(parts["mean"], units), hidden=factor(raw, self.concepts))

    def free(self, encoded: Encoded, key: Key | None) -> Array:
        own = keys.stream(sampling_key(key), "logits")
        return gaussian(encoded.logits, encoded.hidden, own, self.samples)

    def told(self, encoded: Encoded, given: Given, key: Key | None) -> Array:
        covariance = matmul(encoded.hidden, encoded.hidden.T)
        target = self.tell(encoded.logits, covariance, given.mask, given.concepts)
        return condition(self.free(encoded, key), covariance, given.mask, jax.lax.stop_gradient(target))

    def values(self, params: PyTree, encoded: Encoded, given: Given, key: Key | None) -> Array:
        logits = self.told(encoded, given, key)
        drawn = relaxed(logits, keys.stream(sampling_key(key), "draws"), self.temperature)
        return jnp.where(given.mask[None], given.concepts[None], drawn)

    def predict(self, params: PyTree, encoded: Encoded, key: Key | None) -> Array:
        return jax.nn.sigmoid(self.free(encoded, key)).mean(0)

    def update(self, params: PyTree, encoded: Encoded, given: Given, key: Key | None) -> Array:
        return jax.nn.sigmoid(self.told(encoded, given, key)).mean(0)

    def likelihood(self, params: PyTree, encoded: Encoded, truth: Array, key: Key) -> losses.Terms:
        fit = joint_loss(self.free(encoded, key), truth)
        penalty = jnp.asarray(self.precision * precision_penalty(encoded.hidden))
        return losses.Terms(fit.loss + penalty[None] * fit.weight, fit.weight)


def probabilistic(
    backbone: Net,
    mean: Net,
    spread: Net,
    head: Net,
    concepts: int,
    *,
    size: int = 16,
    samples: int = 50,
    beta: ArrayLike = 5e-5,
) -> ConceptModel:
    """Make a bottleneck of Gaussian concept embeddings (Kim et al. 2023, "Probabilistic CBMs", section 3).

        z_i ~ N(m_i(x) / |m_i(x)|, diag exp(v_i(x))),   p_i = sigmoid(a (|z_i - z_i-| - |z_i - z_i+|))
        concept loss: cross-entropy of the mean of p_i over samples + beta KL(z_i | N(0, I))

    z_i+ and z_i- are learnt unit vectors, for true and false. The head is told the p of each sample and the task's
    probabilities are averaged. Theirs is told the embeddings, and compares them with learnt vectors of the classes; the
    one told probabilities is among those of their code. They train sequentially, with a backbone that has seen images.
    `variance` is the model's uncertainty.

    Args:
        backbone: from x to `[h]`.
        mean: from `[h]` to `[k m]`.
        spread: from `[h]` to `[k m]`, log variances.
        head: from `[k]` to `[C]`.
        concepts: k.
        size: m, numbers in an embedding.
        samples: S.
        beta: weight of the KL divergence.

    Raises:
        ValueError: k = 0, samples = 0, or a mean or spread of another size.
    """
    checks.whole(1, concepts=concepts, size=size, samples=samples)
    checks.not_negative(beta=beta)
    own = _Probabilistic(backbone, mean, spread, head, concepts, size, samples, beta)
    return ConceptModel(
        concepts, own.init, own.encode, own.values, _averaging(head), own.predict, likelihood=own.likelihood
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Probabilistic:
    """The functions of a `probabilistic` model. `Encoded.hidden` is the mean and the log variance, `[k, m]` each."""

    backbone: Net
    mean: Net
    spread: Net
    head: Net
    concepts: int
    size: int
    samples: int
    beta: ArrayLike

    def init(self, key: Key) -> PyTree:
        first, second, third, fourth, fifth = jax.random.split(key, 5)
        nets = {
            "backbone": self.backbone.init(first), "mean": self.mean.init(second), "spread": self.spread.init(third),
        }  # fmt: skip
        anchors = jax.random.normal(fourth, (2, self.concepts, self.size))
        return {"encoder": nets | {"anchors": anchors, "scale": jnp.float32(5.0)}, "head": self.head.init(fifth)}

    def encode(self, params: PyTree, x: Array) -> Encoded:
        parts, size = params["encoder"], self.concepts * self.size
        units = self.backbone.apply(parts["backbone"], x)
        centres, log_var = (self.mean.apply(parts["mean"], units), self.spread.apply(parts["spread"], units))
        if not centres.shape == log_var.shape == (size,):
            raise ValueError(f"want {size} outputs of mean and spread, got shapes {centres.shape}, {log_var.shape}")
        centres = _unit(centres.reshape(self.concepts, self.size))
        return Encoded(_matched(parts, centres), hidden=(centres, jnp.minimum(log_var, 10.0).reshape(centres.shape)))

    def logits(self, params: PyTree, encoded: Encoded, key: Key | None) -> Array:
        centres, log_var = encoded.hidden
        noise = jax.random.normal(keys.stream(sampling_key(key), "embeddings"), (self.samples, *centres.shape))
        drawn = centres[None] + jnp.exp(log_var / 2)[None] * noise
        return jax.vmap(lambda z: _matched(params["encoder"], z))(drawn)

    def values(self, params: PyTree, encoded: Encoded, given: Given, key: Key | None) -> Array:
        return jnp.where(given.mask[None], given.concepts[None], jax.nn.sigmoid(self.logits(params, encoded, key)))

    def predict(self, params: PyTree, encoded: Encoded, key: Key | None) -> Array:
        return jax.nn.sigmoid(self.logits(params, encoded, key)).mean(0)

    def likelihood(self, params: PyTree, encoded: Encoded, truth: Array, key: Key) -> losses.Terms:
        fit = losses.concept_loss()(_log_odds(self.logits(params, encoded, key)), truth)
        centres, log_var = encoded.hidden
        kl = 0.5 * (centres**2 + jnp.exp(log_var) - 1 - log_var).sum(1)
        return losses.Terms(fit.loss + self.beta * kl * fit.weight, fit.weight)


def variance(encoded: Encoded) -> Array:
    """Give the uncertainty of each concept of a `probabilistic` model, `[k]`: the geometric mean of its variances."""
    return jnp.exp(encoded.hidden[1].mean(1))


def factor(raw: Array, concepts: int) -> Array:
    """Give a Cholesky factor `[k, k]` from `k (k + 1) / 2` numbers by rows; its diagonal is `softplus + 1e-6`."""
    size = concepts * (concepts + 1) // 2
    if raw.shape != (size,):
        raise ValueError(f"want {size} numbers for a covariance of {concepts} concepts, got shape {raw.shape}")
    lower = jnp.zeros((concepts, concepts), raw.dtype).at[jnp.tril_indices(concepts)].set(raw)
    diagonal = jnp.diagonal(lower)
    return lower + jnp.diag(jax.nn.softplus(diagonal) + 1e-6 - diagonal)


def gaussian(mean: Array, lower: Array, key: Key, samples: int) -> Array:
    """Draw `[S, k]` from N(mean, lower lower')."""
    noise = jax.random.normal(key, (samples, mean.size), mean.dtype)
    return mean[None] + matmul(noise, lower.T)


def condition(drawn: Array, covariance: Array, mask: Array, target: Array) -> Array:
    """Make of samples `[S, k]` of a Gaussian samples of it given that what is under the mask is `target [k]`.

        z + Cov[:, M] Cov[M, M]^-1 (target - z)[M]            (Matheron's rule)

    has the conditional mean and covariance exactly (Wilson et al. 2020, eq. 9), with one solve for all samples.
    """
    chex.assert_rank([drawn, covariance, mask, target], [2, 2, 1, 1])
    missing = jnp.where(mask[None], target[None] - drawn, 0.0)
    slopes = jnp.where(mask[:, None] & ~mask[None], swept(covariance, mask), 0.0)
    return jnp.where(mask[None], target[None], drawn + matmul(missing, slopes))


def conditional(mean: Array, covariance: Array, mask: Array, target: Array) -> tuple[Array, Array]:
    """Give mean `[k]` and covariance `[k, k]` of a Gaussian given what is under the mask; there, target and zero."""
    found = swept(covariance, mask)
    slopes = jnp.where(mask[:, None] & ~mask[None], found, 0.0)
    moved = mean + matmul(jnp.where(mask, target - mean, 0.0)[None], slopes)[0]
    return jnp.where(mask, target, moved), jnp.where(~mask[:, None] & ~mask[None], found, 0.0)


def swept(covariance: Array, mask: Array) -> Array:
    """Sweep a covariance `[k, k]` on what is under the mask (Beaton 1964): all that conditioning on it needs.

    Blocks: `-Cov_MM^-1`, the slopes `Cov_MM^-1 Cov_MN`, and what varies still, `Cov_NN - Cov_NM Cov_MM^-1 Cov_MN`. It
    is k updates of rank one, without LAPACK: its batched solves can wait for each other for ever where a program is
    split over as many CPU devices as there are threads (jaxlib 0.10). A pivot that has lost all but a millionth of
    its variance is held there, for concepts that always go together.
    """
    chex.assert_rank([covariance, mask], [2, 1])
    floors = 1e-6 * jnp.diagonal(covariance)

    def pivot(i: Array, a: Array) -> Array:
        d, row, column = jnp.maximum(a[i, i], floors[i]), a[i], a[:, i]
        b = a - column[:, None] * row[None] / d
        b = b.at[i].set(row / d).at[:, i].set(column / d).at[i, i].set(-1 / d)
        return jnp.where(mask[i], b, a)

    return jax.lax.fori_loop(0, len(mask), pivot, covariance)


def confidence_region(concepts: int, *, level: float = 0.99, steps: int = 30, sweeps: int = 4) -> Telling:
    """Say what is said by the logits that make it most likely within the confidence region of the prediction.

        min sum_i softplus(-s_i eta_i)  over eta with  d' Cov^-1 d <= chi2(level, |M|),  s_i d_i >= 0,  d = eta - mean

    over what is said, s = 1 for true, -1 for false (Vandenhirtz et al. 2024, section 3.4). For one concept it is `mean
    + s sqrt(chi2 var)`. For several the authors call SLSQP for each example. Here: steps of Frank and Wolfe (1956), the
    least linear function in the region found by coordinate descent on the multipliers of its signs, and a last step
    out to the boundary. So it is always in the region and on the right side, and nearly the best point: within 0.01
    nat in 97 of 100 trials with six concepts; further off where a covariance is nearly singular.

    Args:
        concepts: k.
        level: of the region; a Python number, whose quantiles are found now. 0.99 in their code.
        steps: of Frank and Wolfe.
        sweeps: of coordinate descent, in each.
    """
    checks.whole(1, concepts=concepts, steps=steps, sweeps=sweeps)
    if not 0 < level < 1:
        raise ValueError(f"want 0 < level < 1, got {level=}")
    quantiles = np.concatenate([[1.0], stats.chi2.ppf(level, np.arange(1, concepts + 1))]).astype(np.float32)

    def tell(mean: Array, covariance: Array, mask: Array, said: Array) -> Array:
        side = jnp.where(said > 0.5, 1.0, -1.0)
        both, eye = mask[:, None] & mask[None], jnp.eye(concepts, dtype=covariance.dtype)
        turned = jnp.where(both, covariance * side[:, None] * side[None], eye)
        inverse = jnp.where(both, -swept(turned, mask), 0.0)
        radius = jnp.sqrt(jnp.asarray(quantiles)[mask.sum()])

        def outward(u: Array) -> Array:
            length = u @ (inverse @ u)
            return radius / jnp.sqrt(jnp.where(length > 0, length, 1.0)) * u

        def step(state: tuple[Array, Array], t: Array) -> tuple[tuple[Array, Array], None]:
            u, multipliers = state
            slope = jnp.where(mask, jax.nn.sigmoid(-side * mean - u), 0.0)
            slope = slope / jnp.where(mask.any(), slope.max(), 1.0)
            multipliers = _hold_signs(turned, slope, multipliers, sweeps)
            corner = outward(jnp.maximum(turned @ (slope + multipliers), 0.0))
            return (u + 2 / (t + 2) * (corner - u), multipliers), None

        begin = outward(jnp.where(mask, 1.0, 0.0))  # where the authors begin, too
        u, _ = jax.lax.scan(step, (begin, jnp.zeros(concepts)), jnp.arange(steps, dtype=jnp.float32))[0]
        return mean + side * outward(u)

    return tell


def _hold_signs(turned: Array, slope: Array, multipliers: Array, sweeps: int) -> Array:
    """Descend on multipliers `[k] >= 0` of the signs of `turned (slope + multipliers)`, coordinate by coordinate."""
    size = slope.size

    def one(t: Array, multipliers: Array) -> Array:
        i = t % size
        over = turned[i] @ (slope + multipliers) / turned[i, i]
        return multipliers.at[i].set(jnp.maximum(0.0, multipliers[i] - over))

    return jax.lax.fori_loop(0, sweeps * size, one, multipliers)


def percentiles(false: ArrayLike = 0.05, true: ArrayLike = 0.95) -> Telling:
    """Say false and true by the logits of these probabilities, `[k]` or numbers: the authors' simpler way."""
    checks.between(0, 1, false=false, true=true)

    def tell(mean: Array, covariance: Array, mask: Array, said: Array) -> Array:
        level = jnp.asarray(false) + said * (jnp.asarray(true) - jnp.asarray(false))
        return jnp.log(level) - jnp.log1p(-level)

    return tell


def relaxed(logits: Array, key: Key, temperature: ArrayLike) -> Array:
    """Draw 0 or 1 with probability `sigmoid(logits)`, with the gradient of a relaxed Bernoulli variable.

    `1[logits + g > 0]` for logistic g; the gradient is that of `sigmoid((logits + g) / temperature)`.
    """
    noisy = logits + jax.random.logistic(key, logits.shape, logits.dtype)
    soft = jax.nn.sigmoid(noisy / jnp.asarray(temperature, logits.dtype))
    return (noisy > 0).astype(logits.dtype) + (soft - jax.lax.stop_gradient(soft))


def joint_loss(logits: Array, truth: Array) -> losses.Terms:
    """Give `- log (1/S) sum_s prod_i p(c_i | logits_s)`, one term, over the labels that are known.

    logits: `[S, k]`. truth: `[k]`.
    """
    each = jax.vmap(losses.concept_loss(), (0, None))(logits, truth)
    weight = (each.weight[0].sum() > 0).astype(logits.dtype)
    total = np.log(len(logits)) - jax.nn.logsumexp(-each.loss.sum(1))
    return losses.Terms((total * weight)[None], weight[None])


def precision_penalty(lower: Array) -> Array:
    """Give the mean of |entries| of `(L L')^-1` off the diagonal; 0 for one concept."""
    size = len(lower)

    def row(done: Array, i: Array) -> tuple[Array, None]:
        rest = jax.nn.one_hot(i, size, dtype=lower.dtype) - matmul(lower[i][None], done)[0]
        return done.at[i].set(rest / lower[i, i]), None

    inverse, _ = jax.lax.scan(row, jnp.zeros_like(lower), jnp.arange(size))  # of L; see `swept` for why not LAPACK's
    entries = matmul(inverse.T, inverse)
    off = jnp.abs(entries).sum() - jnp.abs(jnp.diagonal(entries)).sum()
    return off / max(size * (size - 1), 1)


def mean_classes(tasks: Array) -> Array:
    """Give the logits `[C]` of the mean of class probabilities over samples `[S, C]`, as log probabilities for C > 1.

    >>> mean_classes(jnp.array([[2.0], [-2.0]])).tolist()
    [0.0]
    """
    chex.assert_rank(tasks, 2)
    if tasks.shape[1] == 1:
        return _log_odds(tasks)
    return jax.nn.logsumexp(jax.nn.log_softmax(tasks), axis=0) - np.log(len(tasks))


def _averaging(head: Net) -> Callable[[PyTree, Array, PyTree], Array]:
    def decide(params: PyTree, values: Array, rest: PyTree) -> Array:
        return mean_classes(jax.vmap(head.apply, (None, 0))(params["head"], values))

    return decide


def _log_odds(logits: Array) -> Array:
    """Give the log odds `[k]` of the mean probability over samples `[S, k]`."""
    return jax.nn.logsumexp(jax.nn.log_sigmoid(logits), axis=0) - jax.nn.logsumexp(jax.nn.log_sigmoid(-logits), axis=0)


def _matched(parts: PyTree, z: Array) -> Array:
    """Give the logit of each concept by how much nearer its embedding `[k, m]` is to true than to false."""
    anchors = _unit(parts["anchors"])
    near = jnp.sqrt(((z[None] - anchors) ** 2).sum(-1) + 1e-6)  # as theirs: a distance of zero has a gradient
    return parts["scale"] * (near[1] - near[0])


def _unit(z: Array) -> Array:
    return z / jnp.sqrt((z**2).sum(-1, keepdims=True) + 1e-12)
