"""Training concept models: jointly, or the encoder and the head one after the other, or apart (Koh et al. 2020, 3).

A step of these Trainers is an EPOCH: every example once, in batches, the last of which may be short. `train.sweep` with
`steps=150, chunk=50` thus trains 150 epochs and stores a run three times.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from interp_jax.concepts import losses
from interp_jax.concepts.embedding import Giver
from interp_jax.concepts.losses import ConceptLoss, TaskLoss, Terms
from interp_jax.concepts.model import ConceptModel, Given, decide
from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.train.trainer import Metrics, Trainer

PARTS = ("encoder", "head")


class Plateau(NamedTuple):
    """What `reduce_on_plateau` remembers. rate: to learn with now. best: the least value. bad: epochs without one."""

    rate: Array
    best: Array
    bad: Array


class Patience(NamedTuple):
    """When to lower the rate, as `torch.optim.lr_scheduler.ReduceLROnPlateau` unless told otherwise.

    factor: of the new rate to the old. epochs: that may pass without a value below `(1 - threshold) best`. change: the
    least by which a rate is lowered.
    """

    factor: float = 0.1
    epochs: int = 10
    threshold: float = 1e-4
    change: float = 1e-8


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What all ways of training share.

    batch: examples in a batch; the last of an epoch may have fewer.
    shuffled: draw the order of each epoch anew; otherwise the data's own, as in the CEM paper's code.
    direction: an optax transformation without its learning rate, `optax.scale_by_adam()` by default; put
        `optax.add_decayed_weights` before it for PyTorch's `weight_decay`.
    patience: lower the rate on a plateau of the loss of the LAST batch of each epoch, which is what the CEM paper's
        code watches; None to hold it.
    streams: keys that replace a run's own streams `init`, `order` or `loss`.
    """

    batch: int = 256
    shuffled: bool = True
    direction: optax.GradientTransformation = optax.scale_by_adam()  # noqa: RUF009
    patience: Patience | None = None
    concept_loss: ConceptLoss = losses.concept_loss()  # noqa: RUF009
    task_loss: TaskLoss = losses.task_loss()  # noqa: RUF009
    streams: Mapping[str, Key] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse an empty batch and unknown streams."""
        checks.whole(1, batch=self.batch)
        if unknown := self.streams.keys() - {"init", "order", "loss"}:
            raise ValueError(f"want streams among init, order and loss, got {sorted(unknown)}")

    def stream(self, key: Key, name: str) -> Key:
        """Give a stream of a run."""
        return self.streams.get(name, keys.stream(key, name))


class Fitting(NamedTuple):
    """The state of a run. params, moments (of the optimizer), plateaus: dicts of "encoder" and "head". key: its own."""

    params: PyTree
    moments: PyTree
    plateaus: dict[str, Plateau]
    key: Key


class Parted(NamedTuple):
    """total: what is differentiated. watched: the value of each part that its plateau is judged by."""

    total: Array
    watched: dict[str, Array]
    metrics: Metrics


Objective = Callable[[PyTree, ConceptSet, Given | None, Key], Parted]


def joint(
    model: ConceptModel,
    recipe: Recipe,
    *,
    lr: ArrayLike,
    concept_weight: ArrayLike = 1.0,
    task_weight: ArrayLike = 1.0,
    give: Giver | None = None,
) -> Trainer:
    """Make the Trainer of `concept_weight L_concepts + task_weight L_task` on the whole model.

    A `concept_weight` of 0 is a network without concepts. All numbers may be traced: hyperparameters of a sweep.

    Args:
        model: any kind.
        recipe: batches, order, optimizer, losses.
        lr: learning rate at the start.
        concept_weight: in nats a concept.
        task_weight: in nats.
        give: interventions while training, `embedding.rand_int()` for CEMs.
    """
    checks.not_negative(concept_weight=concept_weight, task_weight=task_weight)

    def objective(params: PyTree, batch: ConceptSet, given: Given | None, key: Key) -> Parted:
        concept, task = _losses(model, recipe, params, batch, given, key)
        total = jnp.asarray(concept_weight * concept + task_weight * task)
        return Parted(total, dict.fromkeys(PARTS, total), {"concept_loss": concept, "task_loss": task})

    def epoch(state: Fitting, data: ConceptSet, t: Array) -> tuple[Fitting, Metrics]:
        return _epoch(state, data, t, objective, PARTS, recipe, give)

    return _trainer(model, recipe, lr, epoch)


def custom(model: ConceptModel, recipe: Recipe, objective: Callable[[Array], Objective], *, lr: ArrayLike) -> Trainer:
    """Make the Trainer of any objective on the whole model.

    objective: from the number of updates before an epoch, `[]`, to `(params, batch, None, key) -> Parted`.
    """

    def epoch(state: Fitting, data: ConceptSet, t: Array) -> tuple[Fitting, Metrics]:
        before = t * -(-len(data.labels) // recipe.batch)
        return _epoch(state, data, t, objective(before), PARTS, recipe)

    return _trainer(model, recipe, lr, epoch)


def sequential(model: ConceptModel, recipe: Recipe, *, lr: ArrayLike, epochs: int) -> Trainer:
    """Make the Trainer of the encoder on concepts for `epochs`, and then of the head on what that encoder predicts.

    The head's epochs are those that the run has left. Both begin with the rate `lr` and fresh moments. Units beside the
    concepts get no gradient of their own.
    """
    checks.whole(0, epochs=epochs)

    def concepts(params: PyTree, batch: ConceptSet, given: Given | None, key: Key) -> Parted:
        concept, task = _losses(model, recipe, params, batch, None, key)
        return Parted(concept, dict.fromkeys(PARTS, concept), {"concept_loss": concept, "task_loss": task})

    def task(params: PyTree, batch: ConceptSet, given: Given | None, key: Key) -> Parted:
        concept, task = _losses(model, recipe, params, batch, None, key)
        return Parted(task, dict.fromkeys(PARTS, task), {"concept_loss": concept, "task_loss": task})

    def epoch(state: Fitting, data: ConceptSet, t: Array) -> tuple[Fitting, Metrics]:
        return jax.lax.cond(
            t < epochs,
            lambda: _epoch(state, data, t, concepts, PARTS[:1], recipe),
            lambda: _epoch(state, data, t, task, PARTS[1:], recipe),
        )

    return _trainer(model, recipe, lr, epoch)


def independent(model: ConceptModel, recipe: Recipe, *, lr: ArrayLike) -> Trainer:
    """Make the Trainer of the encoder on concepts, and at the same time of the head on TRUE concepts.

    Neither sees the other, so side by side is as one after the other. Where a label is missing the head is told the
    prediction. At test time it is told predictions, as any model.

    Raises:
        ValueError: a model whose head is told more than concepts, which nothing true could stand for.
    """

    def objective(params: PyTree, batch: ConceptSet, given: Given | None, key: Key) -> Parted:
        known = Given(~jnp.isnan(batch.concepts), batch.concepts)
        encoded = jax.eval_shape(lambda: model.encode(params, batch.inputs[0]))
        if any(leaf.size for leaf in jax.tree.leaves(encoded.rest)):
            raise ValueError("want a model that tells its head concepts alone, got one with units beside them")
        concept, _ = _losses(model, recipe, params, batch, None, key)
        held = params | {"encoder": jax.lax.stop_gradient(params["encoder"])}
        _, task = _losses(model, recipe, held, batch, known, key)
        return Parted(concept + task, {"encoder": concept, "head": task}, {"concept_loss": concept, "task_loss": task})

    return _trainer(model, recipe, lr, lambda state, data, t: _epoch(state, data, t, objective, PARTS, recipe))


def reduce_on_plateau(state: Plateau, value: Array, patience: Patience) -> Plateau:
    """Lower the rate after more than `patience.epochs` values in a row none of which was clearly the least so far.

    The rule of PyTorch's ReduceLROnPlateau without cooldown: `bad` starts anew whenever the rate is due to be lowered.
    """
    better = value < (1 - patience.threshold) * state.best
    bad = jnp.where(better, 0, state.bad + 1)
    due = bad > patience.epochs
    lower = patience.factor * state.rate
    rate = jnp.where(due & (state.rate - lower > patience.change), lower, state.rate)
    return Plateau(rate, jnp.where(better, value, state.best), jnp.where(due, 0, bad))


def _losses(
    model: ConceptModel, recipe: Recipe, params: PyTree, batch: ConceptSet, given: Given | None, key: Key
) -> tuple[Array, Array]:
    """Give the mean losses of concepts and of the task on a batch."""

    def one(x: Array, concepts: Array, given: Given | None, key: Key) -> tuple[Terms, Array]:
        encoded = model.encode(params, x)
        if model.likelihood is None:
            terms = recipe.concept_loss(encoded.logits, concepts)
        else:
            terms = Terms(*model.likelihood(params, encoded, concepts, keys.stream(key, "likelihood")))
        return terms, decide(model, params, encoded, given, key).task

    own = jax.random.split(key, len(batch.labels))
    terms, task = jax.vmap(one)(batch.inputs, batch.concepts, given, own)
    return losses.mean(terms), losses.mean(jax.vmap(recipe.task_loss)(task, batch.labels))


def _trainer(model: ConceptModel, recipe: Recipe, lr: ArrayLike, epoch: Callable[..., Any]) -> Trainer:
    checks.positive(lr=lr)

    def init(key: Key) -> Fitting:
        params = model.init(recipe.stream(key, "init"))
        most = jnp.finfo(jnp.float32).max  # infinity would count as a run that diverged
        fresh = Plateau(jnp.asarray(lr, jnp.float32), jnp.float32(most), jnp.int32(0))
        moments = {part: recipe.direction.init(params[part]) for part in PARTS}
        return Fitting(params, moments, dict.fromkeys(PARTS, fresh), key)

    return Trainer(init, epoch)


def _epoch(
    state: Fitting,
    data: ConceptSet,
    t: Array,
    objective: Objective,
    parts: tuple[str, ...],
    recipe: Recipe,
    give: Giver | None = None,
) -> tuple[Fitting, Metrics]:
    """Take every example once: whole batches in a loop, then the short one; then judge the plateaus."""
    n, size = len(data.labels), recipe.batch
    whole = n // size
    order = jax.random.permutation(keys.at(recipe.stream(state.key, "order"), t), n) if recipe.shuffled else None
    chance = _chance(keys.at(recipe.stream(state.key, "loss"), t), whole + 1)

    def rows(tree: PyTree, first: Array | int, count: int) -> PyTree:
        if order is None:
            return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, first, count), tree)
        chosen = jax.lax.dynamic_slice_in_dim(order, first, count)
        return jax.tree.map(lambda leaf: leaf[chosen], tree)

    def given(i: Array | int, count: int) -> Given | None:
        return None if give is None else give(chance[i, 0], rows(data.concepts, i * size, count))

    def step(state: Fitting, i: Array | int, told: Given | None, count: int) -> tuple[Fitting, Parted]:
        return _update(state, rows(data, i * size, count), told, chance[i, 1], objective, parts, recipe)

    found = []
    if whole:
        # All of an epoch's interventions are drawn at once: the generator is slow to start within a loop.
        times = jnp.arange(whole)
        told = jax.vmap(lambda i: given(i, size))(times)
        state, seen = jax.lax.scan(lambda state, now: step(state, *now, size), state, (times, told))
        found.append(seen)
    if n % size:
        state, seen = step(state, whole, given(whole, n % size), n % size)
        found.append(jax.tree.map(lambda leaf: leaf[None], seen))
    seen = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *found)
    plateaus = dict(state.plateaus)
    if recipe.patience is not None:
        for part in parts:
            plateaus[part] = reduce_on_plateau(plateaus[part], seen.watched[part][-1], recipe.patience)
    means = jax.tree.map(jnp.mean, {"loss": seen.total, **seen.metrics})
    return state._replace(plateaus=plateaus), means


def _chance(key: Key, steps: int) -> Key:
    """Make two keys for each step of an epoch, `[steps, 2]`: for interventions, and for the model."""
    return jax.vmap(lambda i: jax.random.split(keys.at(key, i)))(jnp.arange(steps))


def _update(
    state: Fitting,
    batch: ConceptSet,
    given: Given | None,
    key: Key,
    objective: Objective,
    parts: tuple[str, ...],
    recipe: Recipe,
) -> tuple[Fitting, Parted]:
    """Take one step of the parts that are being trained; the others stay as they are."""

    def loss(trained: PyTree) -> tuple[Array, Parted]:
        found = objective(state.params | trained, batch, given, key)
        return found.total, found

    trained = {part: state.params[part] for part in parts}
    gradient, found = jax.grad(loss, has_aux=True)(trained)
    params, moments = dict(state.params), dict(state.moments)
    for part in parts:
        direction, moments[part] = recipe.direction.update(gradient[part], moments[part], params[part])
        rate = state.plateaus[part].rate
        params[part] = jax.tree.map(lambda p, d, rate=rate: p - rate * d, params[part], direction)
    return state._replace(params=params, moments=moments), found
