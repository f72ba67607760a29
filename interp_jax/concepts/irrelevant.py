"""What do representations tell of a label that their concepts do not? Training and measuring for `data.irrelevant`.

Examples are shared by all runs; a seed has its own order of them, of which the last so many are for testing, and its
own concept labels where these are random. A run is a cell of a design, `Cell`, and carries it with its state, so that
`Sweep.map` can measure it on the examples that it has not seen.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from interp_jax.concepts import losses, metrics, whitening
from interp_jax.concepts.metrics import predictors
from interp_jax.concepts.metrics.inputs import standardised
from interp_jax.concepts.model import ConceptModel
from interp_jax.concepts.training import Recipe, joint
from interp_jax.core import checks, keys
from interp_jax.core.linalg import add_row, matmul
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.data import streams
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.models.nets import Net
from interp_jax.train.trainer import Metrics, Trainer


class Examples(NamedTuple):
    """All examples, N of them.

    inputs: `[N, ...]`. labels: `[N]` int32, 0 or 1. counts: `[N]` float32, 1 where an example is one of the task, 0 if
    it only shows concepts. concepts: `[V, S, N, k]` float32, V sets of labels for each of S seeds; NaN where unknown.
    orders: `[S, N]` int32, a permutation for each seed.
    """

    inputs: Array
    labels: Array
    counts: Array
    concepts: Array
    orders: Array


class Cell(NamedTuple):
    """What a run is. seed, variant: of the concepts' labels. known: how many of the k are learnt. task: its weight."""

    seed: Array
    variant: Array
    known: Array
    task: Array


class Held(NamedTuple):
    """state: of the Trainer within. cell: what the run is."""

    state: PyTree
    cell: Cell


class Part(NamedTuple):
    """The examples in a seed's order. fitted, tested: `[N]` float32, 1 for those of the task on either side.

    concepts: `[N, k]`, of the run's variant, 0 beyond what is known.
    """

    inputs: Array
    labels: Array
    concepts: Array
    fitted: Array
    tested: Array


def orders(key: Key, seeds: int, count: int) -> Array:
    """Draw a random order of `count` examples for each seed, `[seeds, count]` int32; more seeds change none."""
    checks.whole(1, seeds=seeds, count=count)
    return jnp.stack([jax.random.permutation(keys.at(key, i), count) for i in range(seeds)]).astype(jnp.int32)


def dealt(key: Key, concepts: ArrayLike, order: ArrayLike, held_out: int) -> Array:
    """Deal one seed's concept labels `[N, k]` out at random among its training examples; those for testing keep theirs.

    The control for what training on concepts does whatever they mean: each label is as frequent as it was.
    """
    train = np.asarray(order)[: len(np.asarray(order)) - held_out]
    shuffled = np.array(concepts, np.float32)
    shuffled[train] = shuffled[train[np.asarray(jax.random.permutation(key, len(train)))]]
    return jnp.asarray(shuffled)


def part(data: Examples, cell: Cell, held_out: int) -> Part:
    """Put the examples in the order of a run's seed, the last `held_out` for testing."""
    rows = data.orders[_at(cell.seed)]
    concepts = data.concepts[_at(cell.variant), _at(cell.seed)][rows]
    train = jnp.arange(len(rows)) < len(rows) - held_out
    counts = data.counts[rows]
    known = jnp.broadcast_to(_known(cell, concepts.shape[-1])[None], concepts.shape)
    return Part(data.inputs[rows], data.labels[rows], jnp.where(known, concepts, 0), counts * train, counts * ~train)


def training(model: ConceptModel, cell: Cell, *, lr: ArrayLike, held_out: int, batch: int) -> Trainer:
    """Train a concept model on concepts, and with `cell.task` times the loss of the task; a step is an epoch.

    With a weight of 0 the head is not trained, and the concepts know nothing of the label: the first half of sequential
    training, of which a readout is the second. Examples that are none of the task teach concepts alone.
    """
    checks.whole(1, held_out=held_out)
    inner = joint(model, Recipe(batch=batch, task_loss=_task_loss), lr=lr, task_weight=cell.task)
    return _holding(inner, cell, lambda data: _taught(data, cell, held_out))


def whitened_training(
    before: Net,
    layer: whitening.Whitening,
    after: Net,
    optimizer: optax.GradientTransformation,
    cell: Cell,
    *,
    held_out: int,
    batch: int,
) -> Trainer:
    """Train a network on the task, and turn its whitened axes towards training examples that show each concept.

    A step is a batch.
    """

    def draw(data: ConceptSet, key: Key, t: Array) -> tuple[Array, Array]:
        rows = streams.uniform_indices(key, t, len(data.labels), batch)
        return data.inputs[rows], data.labels[rows]

    def loss(outputs: Array, labels: Array) -> tuple[Array, Metrics]:
        return losses.mean(jax.vmap(_task_loss)(outputs, labels)), {}

    def examples(data: ConceptSet, key: Key, t: Array) -> Array:
        shows = (data.concepts[:, : layer.concepts] == 1).T * 1.0
        own = jax.random.split(keys.at(key, t), layer.concepts)
        rows = jax.vmap(lambda k, p: jax.random.choice(k, len(p), (batch,), p=p / p.sum()))(own, shows)
        return data.inputs[rows]

    inner = whitening.trainer(before, layer, after, loss, draw, examples, optimizer)
    return _holding(inner, cell, lambda data: _taught(data, cell, held_out))


def told(
    key: Key,
    columns: Mapping[str, Array],
    found: Part,
    *,
    held_out: int,
    hidden: int = 32,
    epochs: int = 60,
    batch: int = 64,
) -> dict[str, Array]:
    """Give the accuracy on test examples of telling the label from each of some representations, by name.

    The readout is a network of one hidden layer, fitted to the task's training examples by Adam, told standardised
    columns: a constant one is zeros, and tells nothing. It has the same key for all.

    columns: `[N, k]` or `[N, k, m]`, of all examples in the order of `found`.
    """
    train, truth = len(found.labels) - held_out, found.labels.astype(found.fitted.dtype)
    fit = predictors.mlp(key, hidden=(hidden,), epochs=epochs, batch=batch, lr=1e-2)

    def one(x: Array) -> Array:
        x = standardised(x.reshape(len(x), -1), found.fitted)
        return accuracy(fit(x[:train], truth[:train, None], found.fitted[:train])(x)[:, 0], found)

    return _each(one, columns)


def beyond(columns: Mapping[str, Array], found: Part, *, held_out: int) -> dict[str, tuple[Array, Array]]:
    """Give of each representation, by name, its oracle impurity and its information about the label in nats.

    Impurity is of all test examples; nats are of a fixed number of the task's, seven tenths of as many, and the mean
    over concepts (`metrics.concept_task_leakage`). columns: as in `told`.
    """
    kept = jnp.argsort(found.tested < 1)[: int(0.7 * held_out)]

    def one(x: Array) -> tuple[Array, Array]:
        impurity = metrics.oracle_impurity(x[-held_out:], found.concepts[-held_out:]).score
        leak = metrics.concept_task_leakage(x[kept], found.concepts[kept], found.labels[kept], classes=2)
        return impurity, leak.nats

    return _each(one, columns)


def accuracy(outputs: Array, found: Part) -> Array:
    """Give the accuracy on test examples of `outputs [N] > 0`."""
    return jnp.sum(found.tested * ((outputs > 0) == (found.labels > 0))) / found.tested.sum()


def majority(found: Part) -> Array:
    """Give the accuracy on test examples of the label that most training examples of the task have."""
    share = jnp.sum(found.fitted * found.labels) / found.fitted.sum()
    ones = jnp.sum(found.tested * found.labels) / found.tested.sum()
    return jnp.where(share > 0.5, ones, 1 - ones)


def components(found: Part, count: int) -> Array:
    """Give the first `count` principal components of the task's training inputs, of all examples: `[N, count]`."""
    flat = found.inputs.reshape(len(found.inputs), -1)
    share = found.fitted / found.fitted.sum()
    centred = add_row(flat, -matmul(share[None], flat)[0])
    weighted = centred * jnp.broadcast_to(share[:, None], centred.shape)
    directions = jnp.linalg.eigh(matmul(weighted.T, centred))[1]
    return matmul(centred, directions[:, ::-1][:, :count])


def _each(f: Callable[[Array], PyTree], columns: Mapping[str, Array]) -> dict[str, PyTree]:
    """Apply a function to each of some arrays by name; those of one shape by one program."""
    out: dict[str, PyTree] = {}
    for shape in dict.fromkeys(each.shape for each in columns.values()):
        names = [name for name, each in columns.items() if each.shape == shape]
        values = jax.lax.map(f, jnp.stack([columns[name] for name in names]))
        out |= {name: jax.tree.map(lambda leaf, i=i: leaf[i], values) for i, name in enumerate(names)}
    return out


def _holding(inner: Trainer, cell: Cell, pick: Callable[[Examples], PyTree]) -> Trainer:
    """Give a Trainer its run's data, and let its state carry what the run is."""
    numbers = Cell(*(jnp.asarray(value, jnp.float32) for value in cell))

    def step(held: Held, data: Examples, t: Array) -> tuple[Held, Metrics]:
        state, seen = inner.step(held.state, pick(data), t)
        return Held(state, held.cell), seen

    return Trainer(lambda key: Held(inner.init(key), numbers), step)


def _taught(data: Examples, cell: Cell, held_out: int) -> ConceptSet:
    """Give a run's training examples: unknown concepts are NaN, labels -1 where an example is none of the task."""
    rows = data.orders[_at(cell.seed)][:-held_out]
    concepts = data.concepts[_at(cell.variant), _at(cell.seed)][rows]
    known = jnp.broadcast_to(_known(cell, concepts.shape[-1])[None], concepts.shape)
    labels = jnp.where(data.counts[rows] > 0, data.labels[rows], -1)
    return ConceptSet(data.inputs[rows], jnp.where(known, concepts, jnp.nan), labels)


def _task_loss(logits: Array, label: Array) -> losses.Terms:
    """Give the loss of a binary task, nothing where the label is -1."""
    found, there = losses.task_loss()(logits, jnp.maximum(label, 0)), label >= 0
    return losses.Terms(found.loss * there, found.weight * there)


def _known(cell: Cell, count: int) -> Array:
    return jnp.arange(count) < cell.known


def _at(number: ArrayLike) -> Array:
    """Give an index from a number of a sweep, which are float32."""
    return jnp.asarray(number).astype(jnp.int32)
