"""Autoregressive bottlenecks: each concept is predicted from the input AND the concepts before it (Havasi et al. 2022).

    h = features(x);   c_i ~ Bernoulli(sigmoid(predictor_i(h, c_1, ..., c_{i-1})));   y by the head on c

The head is told hard concepts alone, so that nothing leaks past them. What is said of a concept reaches the later ones
through their predictors, and the earlier ones by the weights of samples.
"""

import dataclasses

import jax
import jax.numpy as jnp

from interp_jax.concepts import losses
from interp_jax.concepts.model import ConceptModel, Encoded, Given, nothing, sampling_key
from interp_jax.concepts.stochastic import mean_classes
from interp_jax.core import checks, keys
from interp_jax.core.types import Array, Key, PyTree
from interp_jax.models.nets import Net


def autoregressive(
    features: Net, predictor: Net, head: Net, concepts: int, *, samples: int | None = None
) -> ConceptModel:
    """Make an autoregressive bottleneck of binary concepts.

    With samples, each is a walk through the concepts in their order that stops at nothing but what is said; walks are
    weighted by the probability of what is said, `prod_{i said} p(c_i | h, c_<i)`, and drawn anew by these weights, so
    that concepts BEFORE one that is said follow it too (Havasi et al. 2022, section 3.2); the authors average the
    task's probabilities by the weights, which has the same expectation. Without samples each concept is the more likely
    value given those before it, and only later ones follow what is said.

    Concepts are trained on the true ones before them; where a label is missing its successors are told the model's own
    decision. Train with `training.independent`, as the authors do: the head learns from true concepts. Samples are of
    no use there; a model without, of the same networks, has the same params.

    Args:
        features: from x to `[h]`.
        predictor: from `[h + k]` to `[1]`, one set of params for each concept; those not before it are told as 0.
        head: from `[k]` to `[C]`.
        concepts: k.
        samples: S, or None for the likeliest walk.

    Raises:
        ValueError: k = 0, or samples = 0.
    """
    checks.whole(1, concepts=concepts)
    if samples is not None:
        checks.whole(1, samples=samples)
    own = _Autoregressive(features, predictor, head, concepts, samples)
    return ConceptModel(
        concepts, own.init, own.encode, own.values, own.decide, own.predict, update=own.update,
        likelihood=own.likelihood,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class _Autoregressive:
    """The functions of an `autoregressive` model. `Encoded.hidden` is h."""

    features: Net
    predictor: Net
    head: Net
    concepts: int
    samples: int | None

    def init(self, key: Key) -> PyTree:
        first, second, third = jax.random.split(key, 3)
        each = jax.vmap(self.predictor.init)(jax.random.split(second, self.concepts))
        encoder = {"features": self.features.init(first), "predictors": each}
        return {"encoder": encoder, "head": self.head.init(third)}

    def walk(self, params: PyTree, units: Array, given: Given, noise: Array) -> tuple[Array, Array]:
        """Give the concepts of one walk, `[k]`, and their logits: 1 where logit and noise are positive together."""

        def step(told: Array, now: tuple[Array, PyTree]) -> tuple[Array, Array]:
            i, weights = now
            logit = self.predictor.apply(weights, jnp.concatenate([units, told]))[0]
            drawn = (logit + noise[i] > 0).astype(told.dtype)
            return told.at[i].set(jnp.where(given.mask[i], given.concepts[i], drawn)), logit

        start = jnp.zeros(self.concepts, units.dtype)
        return jax.lax.scan(step, start, (jnp.arange(self.concepts), params["encoder"]["predictors"]))

    def likeliest(self, params: PyTree, units: Array, given: Given) -> tuple[Array, Array]:
        return self.walk(params, units, given, jnp.zeros(self.concepts, units.dtype))

    def walks(self, params: PyTree, encoded: Encoded, given: Given, key: Key | None) -> tuple[Array, Array, Array]:
        """Give walks `[S, k]`, their logits, and the log probability of what is said in each, `[S]`."""
        stream, shape = keys.stream(sampling_key(key), "walks"), (self.samples or 1, self.concepts)
        noise = jax.random.logistic(stream, shape, encoded.hidden.dtype)
        told, logits = jax.vmap(self.walk, (None, None, None, 0))(params, encoded.hidden, given, noise)
        mask, said = (jnp.broadcast_to(each[None], told.shape) for each in (given.mask, given.concepts))
        return told, logits, -jnp.where(mask, losses.cross_entropy(logits, said), 0.0).sum(1)

    def encode(self, params: PyTree, x: Array) -> Encoded:
        units = self.features.apply(params["encoder"]["features"], x)
        return Encoded(self.likeliest(params, units, nothing(self.concepts))[1], hidden=units)

    def values(self, params: PyTree, encoded: Encoded, given: Given, key: Key | None) -> Array:
        if self.samples is None:
            return self.likeliest(params, encoded.hidden, given)[0]
        told, _, log_weights = self.walks(params, encoded, given, key)
        return told[resample(log_weights, keys.stream(sampling_key(key), "resample"))]

    def update(self, params: PyTree, encoded: Encoded, given: Given, key: Key | None) -> Array:
        if self.samples is None:
            return jax.nn.sigmoid(self.likeliest(params, encoded.hidden, given)[1])
        told, logits, log_weights = self.walks(params, encoded, given, key)
        # Weights say more of what a walk drew than of its probability, but for concepts after all that is said, whose
        # probabilities are less noisy.
        later = jnp.flip(jnp.cumsum(jnp.flip(given.mask))) == 0
        return jax.nn.softmax(log_weights) @ jnp.where(later[None], jax.nn.sigmoid(logits), told)

    def predict(self, params: PyTree, encoded: Encoded, key: Key | None) -> Array:
        return self.update(params, encoded, nothing(self.concepts), key)

    def decide(self, params: PyTree, values: Array, rest: PyTree) -> Array:
        if values.ndim == 1:
            return self.head.apply(params["head"], values)
        return mean_classes(jax.vmap(self.head.apply, (None, 0))(params["head"], values))

    def likelihood(self, params: PyTree, encoded: Encoded, truth: Array, key: Key) -> losses.Terms:
        known = ~jnp.isnan(truth)
        _, logits = self.likeliest(params, encoded.hidden, Given(known, jnp.where(known, truth, 0.0)))
        return losses.concept_loss()(logits, truth)


def resample(log_weights: Array, key: Key) -> Array:
    """Draw as many numbers of samples as there are, by their weights `[S]`, systematically: `[S]` int32, rising.

    A sample of share w is drawn `floor(S w)` or `ceil(S w)` times (Kitagawa 1996); equal weights draw each once.
    """
    count = log_weights.size
    edges = jnp.cumsum(jax.nn.softmax(log_weights))
    points = (jnp.arange(count) + jax.random.uniform(key)) / count
    return jnp.clip(jnp.searchsorted(edges, points * edges[-1]), 0, count - 1).astype(jnp.int32)
