"""Post-hoc concept bottlenecks over any frozen network (Yuksekgonul, Wang and Zou 2023).

    x --backbone--> embedding --bank--> margins of k concepts --sparse linear head--> logits

Nothing is trained but vectors of concepts in the embedding (`linear.cav`) and a sparse head on the margins `(v . x + b)
/ |v|`. PCBM-h adds to its logits a linear function of the embedding, fitted with the bottleneck frozen to what that
misses.

    bank = jax.vmap(lambda y: cav.fit(embeddings, y), 1)(concepts)
    model = posthoc.bottleneck(backbone, k)
    params = posthoc.fit(backbone_params, bank, embeddings, jax.nn.one_hot(labels, C))
    params = posthoc.fit_residual(params, embeddings, labels, key)                      # PCBM-h, hybrid=True

It is a `ConceptModel`: interventions and metrics apply. What stands for a concept that is known are mean margins of its
examples (`levels`). A margin is a distance and no logit: its sigmoid is above 1/2 where the concept is found, but it is
no calibrated probability.

The authors' code fits each class against the rest by stochastic gradients, which need not reach their objective's
minimum; here the minimum is found, of a softmax by default, of classes against the rest by
`head=elastic_logistic.fit`. Their script for PCBM-h then leaves the bottleneck frozen, as here.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from interp_jax.concepts.model import ConceptModel, Encoded, Given, Levels, with_levels
from interp_jax.core import checks
from interp_jax.core.linalg import add_row, matmul
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.data import streams
from interp_jax.linear import cav, elastic_logistic
from interp_jax.linear.cav import CAV
from interp_jax.linear.fits import LinearFit

Backbone = Callable[[Any, Array], Array]
"""`(params, x) -> embedding [D]`, frozen."""


def bottleneck(backbone: Backbone, concepts: int, *, hybrid: bool = False) -> ConceptModel:
    """Make the model; its params come from `fit`, and for a hybrid also `fit_residual`: its `init` only says so.

    Interventions set margins. Give it `with_levels(model, levels(bank))`, or percentiles of the training margins
    (`interventions.training_levels`); until then 0 and 1 are 0 and 1 unit of activation.
    """
    checks.whole(1, concepts=concepts)

    def init(key: Key) -> PyTree:
        raise ValueError("a post-hoc bottleneck is fitted to a trained network, not drawn: see posthoc.fit")

    def encode(params: PyTree, x: Array) -> Encoded:
        found = backbone(params["encoder"]["backbone"], x)
        chex.assert_rank(found, 1)
        return Encoded(cav.margins(params["encoder"]["bank"], found), found if hybrid else ())

    def values(params: PyTree, encoded: Encoded, given: Given, key: Key | None) -> Array:
        return jnp.where(given.mask, given.concepts, encoded.logits)

    def head(params: PyTree, values: Array, rest: Array) -> Array:
        logits = linear(params["head"]["concepts"], values)
        return logits + linear(params["head"]["residual"], rest) if hybrid else logits

    def predict(params: PyTree, encoded: Encoded, key: Key | None) -> Array:
        return jax.nn.sigmoid(encoded.logits)

    return ConceptModel(concepts, init, encode, values, head, predict)


def fit(
    backbone: PyTree,
    bank: CAV,
    embeddings: Array,
    labels: Array,
    *,
    alpha: ArrayLike = 1e-3,
    l1_ratio: ArrayLike = 0.99,
    head: Callable[..., LinearFit] = elastic_logistic.fit_softmax,
    weights: Array | None = None,
) -> PyTree:
    """Fit the head on a bank's margins, and give the model's params.

    Args:
        backbone: its params.
        bank: of k concepts.
        embeddings: `[N, D]`, of the training examples.
        labels: `[N, C]`, one-hot.
        alpha: of the elastic net, on the mean loss; the authors' lambda, 1e-5 to 1e-2 by data set.
        l1_ratio: of it, 0.99 as theirs.
        head: `elastic_logistic.fit_softmax`, or `elastic_logistic.fit` for classes against the rest.
        weights: `[N]`, zero deletes a row.
    """
    found = head(cav.margins(bank, embeddings), labels, alpha, l1_ratio=l1_ratio, weights=weights)
    return assembled(backbone, bank, found)


def assembled(backbone: PyTree, bank: CAV, head: LinearFit) -> PyTree:
    """Give the model's params from a head fitted to the bank's margins, whose `converged` the caller may ask for."""
    return {
        "encoder": {"backbone": backbone, "bank": bank},
        "head": {"concepts": {"weight": head.weight, "bias": head.bias}},
    }


def fit_residual(
    params: PyTree,
    embeddings: Array,
    labels: Array,
    key: Key,
    *,
    lr: ArrayLike = 0.01,
    penalty: ArrayLike = 1e-3,
    epochs: int = 20,
    batch: int = 64,
) -> PyTree:
    """Fit a hybrid's residual to what the bottleneck misses: params with `head.residual`, all else as it was.

    Adam from zero on the mean cross entropy of both, plus `penalty` times the mean square of the residual's weight (the
    authors' code; torch begins at random, so ours knows no chance but the order of examples).

    embeddings: `[N, D]`. labels: `[N]` int.
    """
    checks.positive(lr=lr)
    checks.not_negative(penalty=penalty)
    checks.whole(1, epochs=epochs, batch=batch)
    chex.assert_rank([embeddings, labels], [2, 1])
    n = len(labels)
    size = min(batch, n)
    concepts = params["head"]["concepts"]
    fixed = linear(concepts, cav.margins(params["encoder"]["bank"], embeddings))
    optimizer = optax.adam(jnp.asarray(lr))

    def loss(residual: PyTree, rows: Array) -> Array:
        logits = fixed[rows] + linear(residual, embeddings[rows])
        value = optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows]).mean()
        return value + penalty * jnp.mean(residual["weight"] ** 2)

    def step(state: tuple[PyTree, PyTree], t: Array) -> tuple[tuple[PyTree, PyTree], None]:
        residual, moments = state
        gradient = jax.grad(loss)(residual, streams.epoch_indices(key, t, n, size))
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(residual, updates), moments), None

    outputs = concepts["bias"].size
    zero = {"weight": jnp.zeros((embeddings.shape[1], outputs)), "bias": jnp.zeros(outputs)}
    times = jnp.arange(-(-epochs * n // size))
    residual = jax.lax.scan(step, (zero, optimizer.init(zero)), times)[0][0]
    return params | {"head": params["head"] | {"residual": residual}}


def levels(bank: CAV) -> Levels:
    """Give the mean margins of examples without and with each concept, `[k]`, to stand for false and true."""
    return Levels(bank.negative.mean, bank.positive.mean)


def with_means(model: ConceptModel, bank: CAV) -> ConceptModel:
    """Let interventions tell the head the bank's mean margins."""
    return with_levels(model, levels(bank))


def pruned(params: PyTree, concepts: Array) -> PyTree:
    """Take concepts out of a fitted head, `[k]` bool: their weights become zero (section 4.1, editing the model)."""
    weight = params["head"]["concepts"]["weight"]
    chex.assert_shape(concepts, weight.shape[:1])
    kept = jnp.where(jnp.broadcast_to(concepts[:, None], weight.shape), 0, weight)
    return params | {"head": params["head"] | {"concepts": params["head"]["concepts"] | {"weight": kept}}}


def linear(params: PyTree, x: Array) -> Array:
    """Apply a linear layer `{"weight": [D, C], "bias": [C]}` to `[..., D]`."""
    return add_row(matmul(x, params["weight"]), params["bias"])
