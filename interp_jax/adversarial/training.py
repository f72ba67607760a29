"""Training against an adversary: PGD (Madry et al. 2018), TRADES, "free" and "fast", as losses and Trainers.

The first, TRADES and fast are losses for `train.trainer`; free changes the weights and the perturbation at once and is
a Trainer of its own. A batch is `(xs [B, ...], labels [B])`. Radii and step sizes may be traced: one sweep trains a
grid of them.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from interp_jax.adversarial import norms, objectives
from interp_jax.adversarial.attack import UNIT, Bounds, region
from interp_jax.adversarial.norms import Norm
from interp_jax.adversarial.objectives import Predict
from interp_jax.adversarial.pgd import pgd
from interp_jax.core import checks, keys
from interp_jax.core.types import Apply, Array, ArrayLike, Key, PyTree
from interp_jax.train.trainer import Loss, Metrics, Trainer

Batch = tuple[Array, Array]
Perturb = Callable[[Predict, Array, Array, Key], Array]
"""`(predict, x, label, key) -> x'`, one example's adversarial point."""


def by_pgd(
    *,
    eps: ArrayLike,
    step_size: ArrayLike,
    steps: int,
    norm: Norm = norms.linf,
    bounds: Bounds | None = UNIT,
    random_start: bool = True,
) -> Perturb:
    """Make the adversary of PGD training: the LAST iterate on the cross entropy, as in Madry et al. (2018).

    One step of 1.25 eps from a random start is the adversary of "fast" training (Wong et al. 2020); it may collapse
    ("catastrophic overfitting"): watch the accuracy under more steps with `train.trainer.watched`.
    """

    def perturb(predict: Predict, x: Array, label: Array, key: Key) -> Array:
        objective = objectives.cross_entropy(predict, label)
        settings = {"norm": norm, "bounds": bounds, "random_start": random_start}
        return pgd(objective, x, key, eps=eps, step_size=step_size, steps=steps, **settings).last

    return perturb


def adversarial(apply: Apply, perturb: Perturb) -> Loss:
    """Make the mean cross entropy at adversarial points: `min over params of max over the ball` (Madry et al., eq. 1).

    No gradient passes through the adversary (Danskin's theorem). Reports `clean` and `robust` accuracies on the batch.
    """

    def loss(params: PyTree, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        xs, labels = _checked(batch)
        points = _points(apply, perturb, params, xs, labels, key)
        logits = jax.vmap(apply, (None, 0))(params, points)
        clean = jax.vmap(apply, (None, 0))(jax.lax.stop_gradient(params), xs)
        cost = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return cost, {"clean": _accuracy(clean, labels), "robust": _accuracy(logits, labels)}

    return loss


def standard(apply: Apply) -> Loss:
    """Make the mean cross entropy at the examples themselves. Reports `clean` accuracy on the batch."""

    def loss(params: PyTree, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        xs, labels = _checked(batch)
        logits = jax.vmap(apply, (None, 0))(params, xs)
        cost = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return cost, {"clean": _accuracy(logits, labels)}

    return loss


def trades(
    apply: Apply,
    *,
    beta: ArrayLike,
    eps: ArrayLike,
    step_size: ArrayLike,
    steps: int,
    norm: Norm = norms.linf,
    bounds: Bounds | None = UNIT,
    start: float = 1e-3,
) -> Loss:
    """Make `CE(f(x), y) + beta max over the ball of KL(p(x) || p(x'))` (Zhang et al. 2019, eq. 5).

    beta is their 1 / lambda. The inner ascent begins at x with Gaussian noise of standard deviation `start` (at x
    itself the gradient is zero) and ends at its last iterate, as the authors' code does.
    """
    checks.not_negative(beta=beta, start=start)

    def perturb(predict: Predict, x: Array, label: Array, key: Key) -> Array:
        before = predict(x)
        begun = start * jax.random.normal(key, x.shape, x.dtype)
        settings = {"norm": norm, "bounds": bounds, "start": begun}
        divergence = lambda point: _kl(before, predict(point))  # noqa: E731
        return pgd(divergence, x, key, eps=eps, step_size=step_size, steps=steps, **settings).last

    def loss(params: PyTree, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        xs, labels = _checked(batch)
        points = _points(apply, perturb, params, xs, labels, key)
        logits, moved = (jax.vmap(apply, (None, 0))(params, each) for each in (xs, points))
        natural = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        kl = jax.vmap(_kl)(logits, moved).mean()
        accuracies = {"clean": _accuracy(logits, labels), "robust": _accuracy(moved, labels)}
        return natural + beta * kl, {"natural": natural, "kl": kl, **accuracies}

    return loss


class FreeState(NamedTuple):
    """The state of free training: of weights and optimiser, the perturbation `[B, ...]` of the batch, the run's key."""

    params: PyTree
    optimizer: PyTree
    perturbation: Array
    key: Key


def free(
    init: Callable[[Key], PyTree],
    apply: Apply,
    batch: Callable[[PyTree, Key, Array], Batch],
    optimizer: optax.GradientTransformation,
    *,
    eps: ArrayLike,
    replays: int,
    shape: tuple[int, ...],
    norm: Norm = norms.linf,
    bounds: Bounds | None = UNIT,
) -> Trainer:
    """Make the Trainer of free adversarial training (Shafahi et al. 2019, algorithm 1).

    Each minibatch is replayed: every step takes one gradient for weights and perturbation together, descends in the
    weights, ascends with a step of eps in the perturbation, which is kept from minibatch to minibatch. A step is one
    gradient, so train `replays` times as many steps as minibatches.

    Args:
        init: `key -> params`.
        apply: the model of one example.
        batch: `(data, key, i) -> (xs, labels)` of minibatch i.
        optimizer: of the weights.
        eps: the ball's radius, and the step.
        replays: m, steps on each minibatch.
        shape: of a minibatch of examples, `(B, ...)`.
        norm: of the ball.
        bounds: of the input.
    """
    checks.whole(1, replays=replays)
    checks.not_negative(eps=eps)

    def begin(key: Key) -> FreeState:
        params = init(keys.stream(key, "init"))
        return FreeState(params, optimizer.init(params), jnp.zeros(shape), key)

    def confined(x: Array, d: Array) -> Array:
        return region(x, eps, norm, bounds).confine(d)

    def cost(params: PyTree, d: Array, xs: Array, labels: Array) -> tuple[Array, Array]:
        logits = jax.vmap(apply, (None, 0))(params, xs + d)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits

    def step(state: FreeState, data: PyTree, t: Array) -> tuple[FreeState, Metrics]:
        xs, labels = _checked(batch(data, keys.stream(state.key, "batch"), t // replays))
        d = jax.vmap(confined)(xs, state.perturbation)
        gradients = jax.value_and_grad(cost, (0, 1), has_aux=True)
        (value, logits), (descent, ascent) = gradients(state.params, d, xs, labels)
        updates, moments = optimizer.update(descent, state.optimizer, state.params)
        moved = jax.vmap(confined)(xs, d + eps * jax.vmap(norm.ascend)(ascent))
        params = optax.apply_updates(state.params, updates)
        return FreeState(params, moments, moved, state.key), {"loss": value, "robust": _accuracy(logits, labels)}

    return Trainer(begin, step)


def _points(apply: Apply, perturb: Perturb, params: PyTree, xs: Array, labels: Array, key: Key) -> Array:
    """Give the adversarial points `[B, ...]`, through which no gradient passes."""
    held = jax.lax.stop_gradient(params)

    def one(x: Array, label: Array, i: Array) -> Array:
        return perturb(partial(apply, held), x, label, keys.at(key, i))

    return jax.lax.stop_gradient(jax.vmap(one)(xs, labels, jnp.arange(len(xs))))


def _kl(before: Array, after: Array) -> Array:
    """Divergence in nats of the prediction `after` from `before`, both logits `[K]`."""
    p, q = jax.nn.log_softmax(before), jax.nn.log_softmax(after)
    return jnp.sum(jnp.exp(p) * (p - q))


def _accuracy(logits: Array, labels: Array) -> Array:
    return jnp.mean(jnp.argmax(logits, -1) == labels, dtype=logits.dtype)


def _checked(batch: Batch) -> Batch:
    xs, labels = batch
    chex.assert_rank(labels, 1)
    chex.assert_type(labels, int)
    chex.assert_equal_shape_prefix([xs, labels], 1)
    return xs, labels
