"""The whole training protocol: how a run begins, and one step of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from interp_jax.core import checks, keys
from interp_jax.core.types import Array, Key, PyTree

Metrics = dict[str, Array]
Loss = Callable[[PyTree, PyTree, Key], tuple[Array, Metrics]]


class Trainer(NamedTuple):
    """One run. init: `key -> state`. step: `(state, data, t) -> (state, metrics)`, metrics scalars by name.

    `t` counts steps from 0 and is never batched over runs: derive the randomness of a step, annealing and schedules
    from it, and not from a counter in the state (under vmap a counter of each run's own makes `cond` do both branches).
    """

    init: Callable[[Key], PyTree]
    step: Callable[[PyTree, PyTree, Array], tuple[PyTree, Metrics]]


class TrainState(NamedTuple):
    """What `trainer` carries. key: the run's own, from which every stream is derived."""

    params: PyTree
    optimizer: PyTree
    key: Key


def trainer(
    init: Callable[[Key], PyTree],
    loss: Loss,
    batch: Callable[[PyTree, Key, Array], PyTree],
    optimizer: optax.GradientTransformation,
    *,
    streams: Mapping[str, Key] | None = None,
) -> Trainer:
    """Make the Trainer of one loss under one optax optimizer.

    Args:
        init: `key -> params`.
        loss: `(params, batch, key) -> (scalar, metrics)`; the scalar joins the metrics as `loss`.
        batch: `(data, key, t) -> batch` of step t, with the key of the stream: data.streams has index streams.
        optimizer: any optax transformation; build it from traced numbers and it differs between runs.
        streams: keys that replace the run's own streams `init`, `batch` or `loss`, to hold one source of chance fixed
            while the seed varies the others.

    >>> import jax.numpy as jnp
    >>> square = lambda params, batch, key: (jnp.sum((params - batch) ** 2), {})
    >>> descent = trainer(lambda key: jnp.zeros(()), square, lambda data, key, t: data, optax.sgd(0.5))
    >>> state, metrics = descent.step(descent.init(jax.random.key(0)), jnp.float32(3), 0)
    >>> float(state.params), float(metrics["loss"])
    (3.0, 9.0)
    """
    fixed = dict(streams or {})
    if unknown := fixed.keys() - {"init", "batch", "loss"}:
        raise ValueError(f"want streams among init, batch and loss, got {sorted(unknown)}")

    def stream(key: Key, name: str) -> Key:
        return fixed.get(name, keys.stream(key, name))

    def begin(key: Key) -> TrainState:
        params = init(stream(key, "init"))
        return TrainState(params, optimizer.init(params), key)

    def step(state: TrainState, data: PyTree, t: Array) -> tuple[TrainState, Metrics]:
        examples = batch(data, stream(state.key, "batch"), t)
        objective = jax.value_and_grad(loss, has_aux=True)
        (value, metrics), gradient = objective(state.params, examples, keys.at(stream(state.key, "loss"), t))
        updates, moments = optimizer.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(params, moments, state.key), {"loss": value, **metrics}

    return Trainer(begin, step)


class Watched(NamedTuple):
    """state: of the Trainer within. seen: the last value of each measure."""

    state: PyTree
    seen: Metrics


def watched(inner: Trainer, measures: Mapping[str, Callable[[PyTree, PyTree, Array], Array]], *, every: int) -> Trainer:
    """Report more metrics of a run, too dear for every step: each is `(state, data, t) -> scalar`, taken after step t.

    They are taken at steps 0, every, 2 every, ... and hold in between, so a chunk's mean is over what was last seen.

    >>> import jax.numpy as jnp
    >>> count = Trainer(lambda key: jnp.int32(0), lambda n, data, t: (n + 1, {}))
    >>> both = watched(count, {"count": lambda n, data, t: 1.0 * n}, every=3)
    >>> state = both.init(jax.random.key(0))
    >>> for t in range(5):
    ...     state, metrics = both.step(state, None, t)
    >>> float(metrics["count"])
    4.0
    """
    checks.whole(1, every=every)

    def begin(key: Key) -> Watched:
        return Watched(inner.init(key), {name: jnp.zeros(()) for name in measures})

    def step(watch: Watched, data: PyTree, t: Array) -> tuple[Watched, Metrics]:
        state, metrics = inner.step(watch.state, data, t)
        fresh = lambda: {name: jnp.asarray(f(state, data, t), jnp.float32) for name, f in measures.items()}  # noqa: E731
        seen = jax.lax.cond(t % every == 0, fresh, lambda: watch.seen)
        return Watched(state, seen), {**metrics, **seen}

    return Trainer(begin, step)


class Kept(NamedTuple):
    """state: of the Trainer within. taken: what was kept of it, `[times, ...]`; zeros for steps to come."""

    state: PyTree
    taken: PyTree


def snapshots(
    inner: Trainer, take: Callable[[PyTree, PyTree], PyTree], data: PyTree, *, every: int, count: int
) -> Trainer:
    """Keep `take(state, data)` of a run BEFORE steps 0, every, 2 every, ..., `count` times: the run's course.

    It travels with the state, so a stopped run goes on with it; keep what is small: params and not moments, or what is
    measured of them. data: that of the sweep; only shapes matter.

    >>> import jax.numpy as jnp
    >>> count = Trainer(lambda key: jnp.int32(0), lambda n, data, t: (n + 1, {}))
    >>> both = snapshots(count, lambda n, data: n, None, every=2, count=2)
    >>> state = both.init(jax.random.key(0))
    >>> for t in range(5):
    ...     state, _ = both.step(state, None, t)
    >>> state.taken.tolist(), int(state.state)
    ([0, 2], 5)
    """
    checks.whole(1, every=every, count=count)
    return snapshots_at(inner, take, data, range(0, every * count, every))


def snapshots_at(
    inner: Trainer, take: Callable[[PyTree, PyTree], PyTree], data: PyTree, times: Sequence[int]
) -> Trainer:
    """Keep `take(state, data)` of a run BEFORE each of these steps, as `snapshots` does before every so many.

    times: steps in increasing order; `taken` is `[len(times), ...]`.
    """
    when = np.asarray(times)
    if when.ndim != 1 or not len(when) or when[0] < 0 or (np.diff(when) <= 0).any():
        raise ValueError(f"want steps of at least 0 in increasing order, got times={list(times)}")

    def begin(key: Key) -> Kept:
        state = inner.init(key)
        shapes = jax.eval_shape(take, state, data)
        empty = jax.tree.map(lambda leaf: jnp.zeros((len(when), *leaf.shape), leaf.dtype), shapes)
        return Kept(state, empty)

    def step(kept: Kept, data: PyTree, t: Array) -> tuple[Kept, Metrics]:
        now = jnp.asarray(when, jnp.int32) == t

        def put() -> PyTree:
            place = jnp.argmax(now)
            return jax.tree.map(lambda all_, one: all_.at[place].set(one), kept.taken, take(kept.state, data))

        taken = jax.lax.cond(now.any(), put, lambda: kept.taken)
        state, metrics = inner.step(kept.state, data, t)
        return Kept(state, taken), metrics

    return Trainer(begin, step)


class Held(NamedTuple):
    """state: of the Trainer within. cell: what the run is, its hyperparameters by name as float32."""

    state: PyTree
    cell: dict[str, Array]


def holding(inner: Trainer, cell: Mapping[str, Array], given: Callable[[PyTree, dict[str, Array]], PyTree]) -> Trainer:
    """Let the state of a run carry what it is, so that `Sweep.map` can measure it by that, and choose its data by it.

    given: `(the sweep's data, cell) -> the data of the Trainer within`.

    >>> import jax.numpy as jnp
    >>> total = Trainer(lambda key: 0.0, lambda n, data, t: (n + data, {}))
    >>> run = holding(total, {"row": 1.0}, lambda data, cell: data[cell["row"].astype(int)])
    >>> float(run.step(run.init(jax.random.key(0)), jnp.array([5.0, 7.0]), 0)[0].state)
    7.0
    """
    numbers = {name: jnp.asarray(value, jnp.float32) for name, value in cell.items()}

    def step(held: Held, data: PyTree, t: Array) -> tuple[Held, Metrics]:
        state, metrics = inner.step(held.state, given(data, held.cell), t)
        return Held(state, held.cell), metrics

    return Trainer(lambda key: Held(inner.init(key), numbers), step)


class Measured(NamedTuple):
    """key: the run's own. found: what was measured; zeros before."""

    key: Key
    found: PyTree


def measurement(measure: Callable[..., PyTree], data: PyTree) -> Callable[..., Trainer]:
    """Make runs of one step, without training: they leave as state what `measure(key, data, **hyperparameters)` gives.

    So what is measured over seeds, or over models that are data, is batched, sharded, stored and resumed as training
    is. data: that of the sweep; only shapes matter. A measure that is NaN counts as diverged, as a state would.

    >>> run = measurement(lambda key, data, factor: factor * data, 3.0)(factor=2.0)
    >>> float(run.step(run.init(jax.random.key(0)), 3.0, 0)[0].found)
    6.0
    """
    once = jax.jit(measure)  # jitted, it is traced once and not by each of the sweep's programs

    def make(**hyperparameters: Array) -> Trainer:
        def begin(key: Key) -> Measured:
            shapes = jax.eval_shape(once, key, data, **hyperparameters)
            return Measured(key, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes))

        def step(state: Measured, data: PyTree, t: Array) -> tuple[Measured, Metrics]:
            return Measured(state.key, once(state.key, data, **hyperparameters)), {}

        return Trainer(begin, step)

    return make
