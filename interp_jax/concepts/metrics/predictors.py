"""Classifiers that the metrics fit to representations; each is a function of rows, and gives a function of rows.

    predictor(x [N, D], y [N, K], weights [N])(x [M, D]) -> logits [M, K]

The logistic ones have one minimum: they need no key and give the same score twice. `mlp` is what the papers train; its
score depends on its key (on the same hard concepts the oracle impurity score of three keys was .15, .70 and .21).
"""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from interp_jax.core import checks, keys
from interp_jax.core.linalg import add_row, matmul
from interp_jax.core.types import Array, ArrayLike, Key
from interp_jax.linear import logistic as linear_logistic
from interp_jax.linear.fits import predict

Predictor = Callable[[Array, Array, Array], Callable[[Array], Array]]
Loss = Callable[[Array, Array], Array]
"""`loss(logits [N, K], y [N, K]) -> [N]`."""


def logistic(alpha: ArrayLike = 1.0, *, steps: int = 100, tol: float = 1e-4) -> Predictor:
    """Make the fit of K independent labels, `linear.logistic.fit`; alpha is one over scikit-learn's C."""

    def predictor(x: Array, y: Array, weights: Array) -> Callable[[Array], Array]:
        found = linear_logistic.fit(x, y, alpha, weights=weights, steps=steps, tol=tol)
        return lambda x: predict(found, x)

    return predictor


def softmax(alpha: ArrayLike = 1.0, *, steps: int = 100, tol: float = 1e-4) -> Predictor:
    """Make the fit of one class out of K (y one-hot), `linear.logistic.fit_softmax`.

    Two classes are fitted by one column at half the penalty, which has the same minimum in half the time.
    """

    def predictor(x: Array, y: Array, weights: Array) -> Callable[[Array], Array]:
        if y.shape[1] == 2:
            one = linear_logistic.fit(x, y[:, 1:], jnp.asarray(alpha) / 2, weights=weights, steps=steps, tol=tol)
            return lambda x: predict(one, x) * jnp.array([[-0.5, 0.5]])
        found = linear_logistic.fit_softmax(x, y, alpha, weights=weights, steps=steps, tol=tol)
        return lambda x: predict(found, x)

    return predictor


def independent(logits: Array, y: Array) -> Array:
    """Give the mean cross entropy of K labels of their own, `[N]`, as Keras does."""
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, y), 1)


def exclusive(logits: Array, y: Array) -> Array:
    """Give the cross entropy of one class out of K, `[N]`."""
    return optax.safe_softmax_cross_entropy(logits, y)


def mlp(
    key: Key,
    *,
    hidden: Sequence[int] = (32,),
    epochs: int = 25,
    batch: int = 512,
    lr: Array | float = 1e-3,
    loss: Loss = independent,
) -> Predictor:
    """Make the papers' ReLU network, trained by Adam from Glorot's uniform weights on shuffled batches.

    The default is the peer's for the purity matrix (Espinosa Zarlenga et al. 2023: 32 units, 25 epochs, batches of
    512); `hidden=(20, 20), epochs=500` is near its network for the niche score (scikit-learn's, which stops once the
    loss stalls). `loss=exclusive` for classes. Rows of weight 0 lie among the batches, where they do not count.
    """
    checks.whole(1, epochs=epochs, batch=batch)

    def predictor(x: Array, y: Array, weights: Array) -> Callable[[Array], Array]:
        x, y, weights = jnp.asarray(x), jnp.asarray(y), jnp.asarray(weights)
        size = min(batch, x.shape[0])
        params = _glorot(keys.stream(key, "init"), (x.shape[1], *hidden, y.shape[1]))
        optimizer = optax.adam(lr, eps=1e-7)
        order = keys.stream(key, "batch")

        def objective(params: list, rows: Array) -> Array:
            share = weights[rows] / jnp.maximum(jnp.sum(weights[rows]), 1)
            return jnp.sum(share * loss(_forward(params, x[rows]), y[rows]))

        def step(state: tuple, rows: Array) -> tuple[tuple, None]:
            params, memory = state
            updates, memory = optimizer.update(jax.grad(objective)(params, rows), memory)
            return (optax.apply_updates(params, updates), memory), None

        def epoch(state: tuple, t: Array) -> tuple[tuple, None]:
            turn = jax.random.permutation(keys.at(order, t), x.shape[0])
            whole = x.shape[0] // size
            return jax.lax.scan(step, state, turn[: whole * size].reshape(whole, size))[0], None

        found = jax.lax.scan(epoch, (params, optimizer.init(params)), jnp.arange(epochs))[0][0]
        return lambda x: _forward(found, x)

    return predictor


def _glorot(key: Key, widths: tuple[int, ...]) -> list[tuple[Array, Array]]:
    init = jax.nn.initializers.glorot_uniform()
    pairs = enumerate(itertools.pairwise(widths))
    return [(init(keys.at(key, i), (a, b), jnp.float32), jnp.zeros(b, jnp.float32)) for i, (a, b) in pairs]


def _forward(params: list[tuple[Array, Array]], x: Array) -> Array:
    for weight, bias in params[:-1]:
        x = jax.nn.relu(add_row(matmul(x, weight), bias))
    return add_row(matmul(x, params[-1][0]), params[-1][1])
