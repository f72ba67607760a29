"""Supervised probes that are not one linear fit: nets of one hidden layer, of values or classes; few neurons at a time.

Linear ones are in `linear`: `paths` (ridge and its penalty), `logistic`, `elastic_net`, `discriminant` (mass-mean,
LDA).
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from interp_jax.core import checks, keys
from interp_jax.core.linalg import add_row, matmul
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.data.streams import epoch_indices
from interp_jax.linear import logistic, ridge, sparse
from interp_jax.linear.fits import predict as predict_linear
from interp_jax.linear.fits import r2
from interp_jax.train.trainer import TrainState, trainer


class MLP(NamedTuple):
    """A fitted net, `level + spread * (relu((x - centre) / scale @ a + b) @ c + d)`.

    params: a `[D, H]`, b `[H]`, c `[H, K]`, d `[K]`. centre: `[D]`, scale: `[]`, of the training rows. level, spread:
    `[K]`, mean and standard deviation of the training targets.
    """

    params: dict[str, Array]
    centre: Array
    scale: Array
    level: Array
    spread: Array


class MLPInfo(NamedTuple):
    """loss: `[]`, the least on held-out rows, where the params are from. losses: `[epochs]`, NaN after the stop."""

    loss: Array
    losses: Array


def predict(probe: MLP, x: Array) -> Array:
    """Give the outputs `[N, K]` at `x [N, D]`, in the targets' units."""
    outputs = _net(probe.params, add_row(x, -probe.centre) / probe.scale)
    return add_row(outputs * jnp.broadcast_to(probe.spread, outputs.shape), probe.level)


def fit_mlp(
    x: Array,
    y: Array,
    held: tuple[Array, Array],
    key: Key,
    *,
    weight_decay: Array | float,
    lr: Array | float = 1e-3,
    hidden: int = 256,
    epochs: int = 20,
    patience: int = 3,
    batch: int = 128,
) -> tuple[MLP, MLPInfo]:
    """Fit a net of one hidden layer to squared error, stopped early (Gurnee and Tegmark 2023, section 3.3).

    Their settings: 256 units, AdamW at 1e-3, 20 epochs, patience 3, weight decay the best of .01, .03, .1, .3 by
    held-out loss: `vmap` over `weight_decay`, as over keys. Their x is not scaled; here one number scales all of it, so
    that units do not matter. A run that has stopped waits for those beside it.

    Args:
        x: `[N, D]`.
        y: `[N]` or `[N, K]`. A constant target is not scaled.
        held: x and y of other rows, which stop the training and choose the epoch: score the probe on third ones.
        key: draws the first weights and the order of rows.
        weight_decay: `[]`, of AdamW.
        lr: `[]`, likewise.
        hidden: units.
        epochs: at most so many.
        patience: epochs without improvement before the stop.
        batch: rows a step.
    """
    probe, given, test = _standardised(x, y, held)
    how = _How(_squared, hidden, epochs, patience, batch)
    return _train(how, probe, given, test, key, weight_decay, lr)


def fit_mlp_softmax(
    x: Array,
    y: Array,
    held: tuple[Array, Array],
    key: Key,
    *,
    weight_decay: Array | float,
    classes: int,
    lr: Array | float = 1e-3,
    hidden: int = 256,
    epochs: int = 20,
    patience: int = 3,
    batch: int = 128,
) -> tuple[MLP, MLPInfo]:
    """Fit a net of one hidden layer to classes `y [N]`; its outputs are logits, its loss is the log loss in nats.

    With relu and Adam it is the MLP-1 of Hewitt and Liang (2019), who anneal the step size until loss on other rows no
    longer falls; here such rows stop the training. Arguments are `fit_mlp`'s; levels are 0 and spreads 1.
    """
    checks.whole(2, classes=classes)
    chex.assert_rank([y, held[1]], 1)
    rows = (x, jnp.zeros((len(x), classes), x.dtype)), (held[0], jnp.zeros((len(held[0]), classes), x.dtype))
    probe, given, test = _standardised(*rows[0], rows[1])
    how = _How(_log_loss, hidden, epochs, patience, batch)
    return _train(how, probe, (given[0], y), (test[0], held[1]), key, weight_decay, lr)


class _How(NamedTuple):
    """What a program of training is made of."""

    loss: Callable[[Array, Array], Array]
    hidden: int
    epochs: int
    patience: int
    batch: int


def _train(
    how: _How, probe: MLP, given: tuple[Array, Array], test: tuple[Array, Array], key: Key, decay: Array | float,
    lr: Array | float,
) -> tuple[MLP, MLPInfo]:  # fmt: skip
    """Train a net on standardised rows, and keep its params where the loss on the others is least."""
    checks.whole(1, hidden=how.hidden, epochs=how.epochs, patience=how.patience, batch=how.batch)
    count, batch = len(given[0]), min(how.batch, len(given[0]))

    def draw(data: PyTree, key: Key, t: Array) -> PyTree:
        rows = epoch_indices(key, t, count, batch)
        return jax.tree.map(lambda leaf: leaf[rows], data)

    run = trainer(
        lambda key: _init(key, given[0].shape[1], how.hidden, len(probe.spread), given[0].dtype),
        lambda params, rows, _: (how.loss(_net(params, rows[0]), rows[1]), {}),
        draw,
        optax.adamw(lr, weight_decay=decay),
    )
    steps = -(-count // batch)

    def epoch(state: _Stopping, number: Array) -> tuple[_Stopping, Array]:
        going = state.waited < how.patience
        trained = jax.lax.scan(lambda s, t: run.step(s, given, t), state.run, number * steps + jnp.arange(steps))[0]
        loss = how.loss(_net(trained.params, test[0]), test[1])
        better = going & (loss < state.loss)
        best = jax.tree.map(lambda a, b: jnp.where(better, a, b), trained.params, state.best)
        waited = jnp.where(better, 0, state.waited + 1)
        return _Stopping(trained, best, jnp.where(better, loss, state.loss), waited), jnp.where(going, loss, jnp.nan)

    first = run.init(key)
    start = _Stopping(first, first.params, jnp.full((), jnp.inf, given[0].dtype), jnp.int32(0))
    last, losses = jax.lax.scan(epoch, start, jnp.arange(how.epochs))
    return probe._replace(params=last.best), MLPInfo(jnp.where(jnp.isinf(last.loss), jnp.nan, last.loss), losses)


def _standardised(x: Array, y: Array, held: tuple[Array, Array]) -> tuple[MLP, tuple, tuple]:
    """Give the probe without params, and both sets of rows as its net sees them."""
    chex.assert_rank([x, held[0]], 2)
    y, y_held = (jnp.reshape(a, (len(a), -1)) for a in (y, held[1]))
    chex.assert_equal_shape_prefix([x, y], 1)
    chex.assert_equal_shape_prefix([held[0], y_held], 1)
    centre, level, spread = jnp.mean(x, 0), jnp.mean(y, 0), jnp.std(y, 0)
    scale = jnp.sqrt(jnp.mean(add_row(x, -centre) ** 2))
    scale = jnp.where(scale > 0, scale, 1)
    spread = jnp.where(spread > 4 * jnp.finfo(y.dtype).eps * jnp.abs(level), spread, 1)

    def seen(x: Array, y: Array) -> tuple[Array, Array]:
        return add_row(x, -centre) / scale, add_row(y, -level) / jnp.broadcast_to(spread, y.shape)

    return MLP({}, centre, scale, level, spread), seen(x, y), seen(held[0], y_held)


class _Stopping(NamedTuple):
    """A run, the best params and loss so far, and for how many epochs they have been the best."""

    run: TrainState
    best: PyTree
    loss: Array
    waited: Array


def _init(key: Key, dims: int, hidden: int, targets: int, dtype: jnp.dtype) -> dict[str, Array]:
    """Draw weights and biases uniform in -+1 / sqrt(inputs), as `torch.nn.Linear` begins."""

    def uniform(name: str, shape: tuple[int, ...], inputs: int) -> Array:
        return jax.random.uniform(keys.stream(key, name), shape, dtype, -1, 1) / inputs**0.5

    return {
        "a": uniform("a", (dims, hidden), dims), "b": uniform("b", (hidden,), dims),
        "c": uniform("c", (hidden, targets), hidden), "d": uniform("d", (targets,), hidden),
    }  # fmt: skip


def _net(params: dict[str, Array], x: Array) -> Array:
    return add_row(matmul(jax.nn.relu(add_row(matmul(x, params["a"]), params["b"])), params["c"]), params["d"])


def _squared(outputs: Array, y: Array) -> Array:
    return jnp.mean((outputs - y) ** 2)


def _log_loss(outputs: Array, y: Array) -> Array:
    return -jnp.mean(logistic.log_likelihood(outputs, y))


def k_sparse(x: Array, y: Array, assigned: Array, *, folds: int, most: int, alpha: ArrayLike = 0.0) -> Array:
    """Give the held-out r2 `[most]` of probes of 1, 2, ..., `most` neurons (Gurnee et al. 2023, k-sparse probing).

    x: `[N, D]`. y: `[N]`. assigned: `[N]`, folds as `linear.paths.folds` deals them. Neurons are chosen anew without
    each fold, by forward selection (`linear.sparse.forward`), so the choice does not leak; set the same of shuffled y
    and of random neurons beside it. alpha: a ridge penalty on those chosen.
    """
    chex.assert_rank([x, y, assigned], [2, 1, 1])
    checks.whole(2, folds=folds)

    def one(fold: Array) -> Array:
        stats = ridge.moments(x, y, weights=(assigned != fold).astype(x.dtype))
        return predict_linear(sparse.forward(stats, most, alpha=alpha), x)

    found = jax.lax.map(one, jnp.arange(folds))
    own = jnp.take_along_axis(found, assigned[None, :, None], 0)[0]
    return r2(own, jnp.broadcast_to(y[:, None], own.shape))
