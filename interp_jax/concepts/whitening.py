"""Concept whitening: a layer whose first axes are turned towards concepts (Chen, Bei and Rudin 2020).

Features are whitened by the batch, `W (x - mean)` with `W = covariance^-1/2`, and turned by an orthogonal R, whose
first K rows are the axes of K concepts. The task's loss trains the net and never R; every so many steps R is turned so
that examples of concept j excite axis j most (`concepts.rotation`).

Where we differ from the released code (zhiCHEN96/ConceptWhitening), and why:

- its W is IterNorm's: ten iterations of Newton and Schulz without coupling, which diverge in float32. For covariances
  of condition 10, 100 and 1,000 the whitened batch's covariance is 6e-5, more than 50 and more than 1e6 from the
  identity. Ours is exact (`core.linalg.inverse_sqrt`): 1e-5 at condition 1e4.
- eps there is 1e-5 added to each variance, whatever the features' scale; here it is a share of the covariance's norm.
- it averages W over batches for use after training, and a small batch's W is too long. Here covariances are averaged,
  the first ones alike (1 / momentum of them), so the start leaves no trace.
- gradients of concepts accumulate there as here, `momentum g + (1 - momentum) sum`, and are not reset at an update
  (`forget` resets them, as an older release did). It divides them by a counter of batches since the last update that
  starts at .001: with one batch each by 1.001, but a concept without a batch counts a thousand times as much. Here the
  divisor is at least 1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from interp_jax.concepts import rotation
from interp_jax.core import checks, keys
from interp_jax.core.linalg import add_row, inverse_sqrt, matmul
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.models.batched import between
from interp_jax.models.nets import Net
from interp_jax.train.trainer import Metrics, Trainer

Activation = Callable[[Array], Array]
"""How strongly one axis is excited: its map `[H, W]` over places -> `[]`. Features without places are a 1 x 1 map."""


def mean(y: Array) -> Array:
    """Average over places."""
    return jnp.mean(y)


def maximum(y: Array) -> Array:
    """Take the largest; a tie shares the gradient."""
    return jnp.max(y)


def positive_mean(y: Array) -> Array:
    """Average over places above zero, `sum / (count + 1e-4)` as the released code has it."""
    above = y > 0
    return jnp.sum(jnp.where(above, y, 0)) / (jnp.sum(above) + 1e-4)


def pooled_max(y: Array) -> Array:
    """Average the largest of blocks of 3 x 3, stride 3, the released default; what fills no block is left out."""
    height, width = y.shape
    if height < 3 or width < 3:
        raise ValueError(f"want a map of at least 3 x 3 places for pooled_max, got {height} x {width}: take mean")
    blocks = y[: height // 3 * 3, : width // 3 * 3].reshape(height // 3, 3, width // 3, 3)
    return jnp.mean(jnp.max(blocks, (1, 3)))


class Statistics(NamedTuple):
    """What a layer knows beside its params, of D axes and K concepts.

    mean: `[D]`. covariance: `[D, D]`. batches: `[]` int32, how many these are of. rotation: `[D, D]`, rows are axes.
    gradient: `[K, D]`, minus the whitened examples of each concept, over batches. counter: `[K]` int32, batches of each
    concept since the last alignment.
    """

    mean: Array
    covariance: Array
    batches: Array
    rotation: Array
    gradient: Array
    counter: Array


@dataclass(frozen=True)
class Whitening:
    """The layer, on features `[D]` or `[H, W, D]` of an example.

    axes: D. concepts: K, at most D. activation: of one axis; decides which places a concept's gradient is taken at, and
    what `activations` reads. momentum: of the running statistics and of the gradients. eps: see `inverse_sqrt`.
    forget: whether an alignment resets the gradients. decorrelate: False divides by standard deviations only, which is
    batch normalisation without scale and shift, for comparison.
    """

    axes: int
    concepts: int
    activation: Activation
    momentum: ArrayLike = 0.05
    eps: ArrayLike | None = None
    forget: bool = False
    decorrelate: bool = True

    def __post_init__(self) -> None:
        checks.whole(1, axes=self.axes, concepts=self.concepts)
        checks.between(0, 1, momentum=self.momentum)
        if self.concepts > self.axes:
            raise ValueError(f"want at most as many concepts as axes, got {self.concepts} concepts, {self.axes} axes")

    def init(self, *, dtype: jnp.dtype = jnp.float32) -> Statistics:
        """Give statistics of no batch: features pass as they are."""
        d, k = self.axes, self.concepts
        eye, zeros = jnp.eye(d, dtype=dtype), partial(jnp.zeros, dtype=dtype)
        return Statistics(
            zeros(d), eye, jnp.int32(0), rotation.init(d, dtype=dtype), zeros((k, d)), jnp.zeros(k, jnp.int32)
        )

    def apply_batch(
        self, params: PyTree, stats: Statistics, xs: Array, *, training: bool = True
    ) -> tuple[Array, Statistics]:
        """Whiten and turn `xs [B, D]` or `[B, H, W, D]`, over examples and places; see `models.batched`.

        params: none, `()`. In training a batch of at least D + 1 rows comes out with a covariance within 1e-3 of the
        identity up to condition 1e4 in float32 (measured: 1e-5). Features of no variance stay near zero.
        """
        rows = self._rows(xs)
        if not training:
            return matmul(self._white(stats, rows), stats.rotation.T).reshape(xs.shape), stats
        n = rows.shape[0]
        if n < 2:
            raise ValueError(f"want a batch of at least 2 rows to take statistics of, got {n}")
        centre = jnp.mean(rows, 0)
        centred = add_row(rows, -centre)
        covariance = matmul(centred.T, centred) / n
        white = self._again(matmul(centred, self._whitener(covariance)))
        new = jax.lax.stop_gradient((centre, covariance * (n / (n - 1))))
        rate = jnp.maximum(self.momentum, 1 / (stats.batches + 1)).astype(rows.dtype)
        old = stats.mean, stats.covariance
        average, spread = jax.tree.map(lambda a, b: a + rate * (b - a), old, new)
        stats = stats._replace(mean=average, covariance=spread, batches=stats.batches + 1)
        return matmul(white, stats.rotation.T).reshape(xs.shape), stats

    def activations(self, stats: Statistics, x: Array) -> Array:
        """Read the axes for ONE example's features: how strongly each is excited, `[D]`; the first K are the concepts'.

        It uses the running statistics, as `apply_batch` does after training.
        """
        y = matmul(self._white(stats, self._rows(x)), stats.rotation.T)
        return jax.vmap(self.activation, -1)(y.reshape(_map(x)))

    def observe(self, stats: Statistics, xs: Array, *, present: Array | None = None) -> Statistics:
        """Take in one batch of examples of each concept: features `[K, B, D]` or `[K, B, H, W, D]`.

        The gradient of concept j is minus that of its examples' mean activation with respect to its axis: the whitened
        features at the places that the activation is made of. present: `[K]` bool; False leaves a concept as it is.
        """
        chex.assert_axis_dimension(xs, 0, self.concepts)
        chex.assert_rank(xs, {3, 5})
        white = jax.vmap(jax.vmap(lambda x: self._white(stats, self._rows(x)).reshape(_map(x))))(xs)

        def excitement(axis: Array, white: Array) -> Array:
            return jnp.mean(jax.vmap(lambda x: self.activation(matmul(x, axis)))(white))

        found = jax.vmap(jax.grad(excitement))(stats.rotation[: self.concepts], white)
        here = jnp.ones(self.concepts, bool) if present is None else present
        chex.assert_shape(here, (self.concepts,))
        moved = stats.gradient - self.momentum * (found + stats.gradient)
        gradient = jnp.where(here[:, None], moved.astype(stats.gradient.dtype), stats.gradient)
        return stats._replace(gradient=gradient, counter=stats.counter + here)

    def align(self, stats: Statistics, *, steps: int = 2) -> tuple[Statistics, rotation.Info]:
        """Turn the axes towards what was observed, `steps` times; the infos are stacked."""
        checks.whole(1, steps=steps)
        gradient = stats.gradient / jnp.maximum(stats.counter, 1).astype(stats.gradient.dtype)[:, None]
        turned, infos = jax.lax.scan(lambda r, _: rotation.step(r, gradient), stats.rotation, length=steps)
        kept = jnp.zeros_like(stats.gradient) if self.forget else stats.gradient
        return stats._replace(rotation=turned, gradient=kept, counter=jnp.zeros_like(stats.counter)), infos

    def _rows(self, xs: Array) -> Array:
        """Give features as rows `[N, D]`."""
        chex.assert_axis_dimension(xs, -1, self.axes)
        return xs.reshape(-1, self.axes)

    def _whitener(self, covariance: Array) -> Array:
        if self.decorrelate:
            return inverse_sqrt(covariance, eps=self.eps)
        eps = 10 * jnp.finfo(covariance.dtype).eps if self.eps is None else self.eps
        variance = jnp.diag(covariance)
        return jnp.diag(1 / jnp.sqrt(jnp.maximum(variance, eps * jnp.sqrt(jnp.sum(variance * variance)))))

    def _white(self, stats: Statistics, rows: Array) -> Array:
        """Whiten rows by the running statistics."""
        return matmul(add_row(rows, -stats.mean), self._whitener(stats.covariance))

    def _again(self, white: Array) -> Array:
        """Correct the rounding of the covariance, up to 1e-3 at condition 1e4, by the covariance that came out.

        One Newton step of its inverse root, (3 I - C) / 2, through which no gradient passes: without rounding it is the
        identity. Left out where a direction has no variance to be corrected.
        """
        if not self.decorrelate:
            return white
        held = jax.lax.stop_gradient(white)
        eye = jnp.eye(self.axes, dtype=white.dtype)
        off = matmul(held.T, held) / white.shape[0] - eye
        return matmul(white, eye - jnp.where(jnp.max(jnp.abs(off)) < 0.1, 0.5 * off, 0))


def _map(x: Array) -> tuple[int, ...]:
    """Give the shape of an example's features as a map: one place if they have none."""
    chex.assert_rank(x, {1, 3})
    return x.shape if x.ndim == 3 else (1, 1, *x.shape)


class State(NamedTuple):
    """What `trainer` carries. params: `{"before", "after"}`. key: the run's own, from which every stream is derived."""

    params: PyTree
    stats: Statistics
    optimizer: PyTree
    key: Key


def trainer(
    before: Net,
    layer: Whitening,
    after: Net,
    loss: Callable[[PyTree, PyTree], tuple[Array, Metrics]],
    batch: Callable[[PyTree, Key, Array], tuple[Array, PyTree]],
    examples: Callable[[PyTree, Key, Array], Array],
    optimizer: optax.GradientTransformation,
    *,
    every: int | None = 30,
    streams: Mapping[str, Key] | None = None,
) -> Trainer:
    """Make the Trainer of a net with a layer between two parts, whose axes are aligned every so many steps.

    `models.batched.freeze(between(before, layer, after).apply_batch, state.stats)` gives the trained net as a function
    of `state.params` and one example.

    Args:
        before: from an example to the layer's features.
        layer: what stands between.
        after: from whitened features to outputs.
        loss: `(outputs, targets) -> (scalar, metrics)`, of the batch; the scalar joins the metrics as `loss`.
        batch: `(data, key, t) -> (xs, targets)` of step t.
        examples: `(data, key, t) -> [K, B, ...]`, inputs that show each concept, drawn when axes are aligned after step
            t.
        optimizer: of both parts' params.
        every: steps between alignments; None for never.
        streams: keys that replace the run's own streams `init`, `batch` or `concepts`.
    """
    if every is not None:
        checks.whole(1, every=every)
    fixed = dict(streams or {})
    if unknown := fixed.keys() - {"init", "batch", "concepts"}:
        raise ValueError(f"want streams among init, batch and concepts, got {sorted(unknown)}")
    net = between(before, layer, after)

    def stream(key: Key, name: str) -> Key:
        return fixed.get(name, keys.stream(key, name))

    def begin(key: Key) -> State:
        params, stats = net.init(stream(key, "init"))
        return State(params, stats, optimizer.init(params), key)

    def objective(params: PyTree, stats: Statistics, xs: Array, targets: PyTree) -> tuple[Array, tuple]:
        outputs, stats = net.apply_batch(params, stats, xs)
        value, metrics = loss(outputs, targets)
        return value, (stats, metrics)

    def aligned(params: PyTree, stats: Statistics, data: PyTree, key: Key, t: Array) -> Statistics:
        shown = examples(data, stream(key, "concepts"), t)
        features = jax.vmap(jax.vmap(before.apply, (None, 0)), (None, 0))(params["before"], shown)
        return layer.align(layer.observe(stats, features))[0]

    def step(state: State, data: PyTree, t: Array) -> tuple[State, Metrics]:
        xs, targets = batch(data, stream(state.key, "batch"), t)
        gradients = jax.value_and_grad(objective, has_aux=True)
        (value, (stats, metrics)), gradient = gradients(state.params, state.stats, xs, targets)
        updates, moments = optimizer.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        if every is not None:
            turn = lambda: aligned(params, stats, data, state.key, t)  # noqa: E731
            stats = jax.lax.cond((t + 1) % every == 0, turn, lambda: stats)
        return State(params, stats, moments, state.key), {"loss": value, **metrics}

    return Trainer(begin, step)
