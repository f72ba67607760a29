"""What do representations tell of a label that their concepts do not? Training and measuring for `data.irrelevant`.

The data are the same for all runs; a run is a cell of a design, the numbers that a sweep gives it by name. A `Split`
makes of both the examples in an order of the run's own, the last of them for testing, with what training is told of
their concepts. The state of a run carries its cell, so that `Sweep.map` can measure it on what it has not seen.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from interp_jax.concepts import losses, metrics, whitening
from interp_jax.concepts.metrics import predictors
from interp_jax.concepts.metrics.inputs import standardised
from interp_jax.concepts.model import ConceptModel
from interp_jax.concepts.training import Recipe, joint
from interp_jax.core import checks, keys
from interp_jax.core.linalg import add_row, eigh, matmul
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.data import irrelevant as made
from interp_jax.data import streams
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.models.nets import Net
from interp_jax.train.trainer import Metrics, Trainer


class Part(NamedTuple):
    """Examples in the order of a run, those for training first.

    inputs: `[N, ...]`. labels: `[N]` int32, 0 or 1. concepts: `[N, k]` float32, the truth. taught: `[N, k]`, what
    training is told, NaN where nothing. fitted, tested: `[N]` float32, 1 for examples of the task on either side, 0
    for those that only show concepts.
    """

    inputs: Array
    labels: Array
    concepts: Array
    taught: Array
    fitted: Array
    tested: Array


class Digits(NamedTuple):
    """images: `[N, ...]`. digits: `[N]` int32, what they show."""

    images: Array
    digits: Array


Cell = dict[str, Array]
Split = Callable[[PyTree, Cell], Part]
"""`(data, cell) -> Part`."""


class Held(NamedTuple):
    """state: of the Trainer within. cell: what the run is."""

    state: PyTree
    cell: Cell


def order(key: Key, seed: ArrayLike, count: int) -> Array:
    """Draw a random order of `count` examples for a seed, which may be float32 as a sweep gives it: `[count]` int32."""
    return jax.random.permutation(keys.at(key, jnp.asarray(seed).astype(jnp.int32)), count).astype(jnp.int32)


def sides(counts: Array, held_out: int) -> tuple[Array, Array]:
    """Give the `fitted` and `tested` of a Part from `counts [N]`, 1 for examples of the task, in the run's order."""
    train = jnp.arange(len(counts)) < len(counts) - held_out
    return counts * train, counts * ~train


def absent(key: Key, data: Digits, cell: Cell, *, shown: tuple[int, ...], held_out: int) -> Part:
    """Split digits for a run: the concepts are "is a 4" and so on, the task parity where none is shown.

    Training is told true concepts (a cell's `variant` 0); nothing of images that show one, so that all labels are 0
    (1); or those of another training image (2). Of the key, orders and deals are a `seed`'s own.
    """
    count = len(data.digits)
    rows = order(keys.stream(key, "order"), cell["seed"], count)
    digits = data.digits[rows]
    concepts = (digits[:, None] == jnp.array(shown)[None]).astype(jnp.float32)
    shows = concepts.sum(1) > 0
    deal = order(keys.stream(key, "deal"), cell["seed"], count - held_out)
    dealt = concepts.at[: count - held_out].set(concepts[deal])
    hidden = jnp.where(jnp.broadcast_to(shows[:, None], concepts.shape), jnp.nan, concepts)
    taught = jnp.stack([concepts, hidden, dealt])[cell["variant"].astype(jnp.int32)]
    return Part(data.images[rows], digits % 2, concepts, taught, *sides(1.0 * ~shows, held_out))


def random(key: Key, data: Digits, cell: Cell, *, most: int, held_out: int) -> Part:
    """Split digits for a run with `most` random half-spaces of its `seed`'s own, of which `known` are not hidden."""
    count = len(data.digits)
    rows = order(keys.stream(key, "order"), cell["seed"], count)
    xs, own = data.images[rows], keys.at(keys.stream(key, "concepts"), cell["seed"].astype(jnp.int32))
    spaces = made.random_half_spaces(own, xs[: count - held_out], most)
    concepts = jax.vmap(partial(made.inside, spaces))(xs)
    known = jnp.broadcast_to(jnp.arange(most)[None] < cell["known"], concepts.shape)
    truth, taught = (jnp.where(known, concepts, other) for other in (0, jnp.nan))
    return Part(xs, data.digits[rows] % 2, truth, taught, *sides(jnp.ones(count), held_out))


def training(
    model: ConceptModel, split: Split, cell: Cell, *, lr: ArrayLike, task: ArrayLike, held_out: int, batch: int
) -> Trainer:
    """Train a concept model on concepts, and with `task` times the loss of the task; a step is an epoch.

    With a weight of 0 the head is not trained, and the concepts know nothing of the label: the first half of sequential
    training, of which a readout is the second. Examples that are none of the task teach concepts alone.
    """
    checks.whole(1, held_out=held_out)
    inner = joint(model, Recipe(batch=batch, task_loss=_task_loss), lr=lr, task_weight=task)
    return _holding(inner, split, cell, held_out)


def whitened_training(
    before: Net,
    layer: whitening.Whitening,
    after: Net,
    optimizer: optax.GradientTransformation,
    split: Split,
    cell: Cell,
    *,
    held_out: int,
    batch: int,
) -> Trainer:
    """Train a network on the task, and turn its whitened axes to training examples that show each concept.

    A step is as many batches as an epoch has, of examples drawn with replacement.
    """

    def draw(data: ConceptSet, key: Key, t: Array) -> tuple[Array, Array]:
        rows = streams.uniform_indices(key, t, len(data.labels), batch)
        return data.inputs[rows], data.labels[rows]

    def loss(outputs: Array, labels: Array) -> tuple[Array, Metrics]:
        return losses.mean(jax.vmap(_task_loss)(outputs, labels)), {}

    def examples(data: ConceptSet, key: Key, t: Array) -> Array:
        shows = (data.concepts == 1).T * 1.0
        own = jax.random.split(keys.at(key, t), layer.concepts)
        rows = jax.vmap(lambda k, p: jax.random.choice(k, len(p), (batch,), p=p / p.sum()))(own, shows)
        return data.inputs[rows]

    inner = whitening.trainer(before, layer, after, loss, draw, examples, optimizer)

    def epoch(state: PyTree, data: ConceptSet, t: Array) -> tuple[PyTree, Metrics]:
        count = len(data.labels) // batch
        steps = t * count + jnp.arange(count)
        state, seen = jax.lax.scan(lambda state, i: inner.step(state, data, i), state, steps)
        return state, jax.tree.map(jnp.mean, seen)

    return _holding(Trainer(inner.init, epoch), split, cell, held_out)


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
    """Give the balanced accuracy on test examples of telling the label from each of some representations, by name.

    The readout is a network of one hidden layer, fitted to the task's training examples by Adam, told standardised
    columns: a constant one is zeros, and tells nothing. It has the same key for all.

    columns: `[N, k]` or `[N, k, m]`, of all examples in the order of `found`.
    """
    train, truth = len(found.labels) - held_out, found.labels.astype(found.fitted.dtype)
    fit = predictors.mlp(key, hidden=(hidden,), epochs=epochs, batch=batch, lr=1e-2)

    def one(x: Array) -> Array:
        x = standardised(x.reshape(len(x), -1), found.fitted)
        return balanced_accuracy(fit(x[:train], truth[:train, None], found.fitted[:train])(x)[:, 0], found)

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


def balanced_accuracy(outputs: Array, found: Part) -> Array:
    """Give the accuracy on test examples of `outputs [N] > 0`, the mean of that on either label.

    It is exactly 1/2 for what is the same everywhere. Plain accuracy would be less: where labels are even, the one that
    is more frequent in training is less frequent in what was held out of it.
    """
    of_ones, of_zeros = found.tested * (found.labels > 0), found.tested * (found.labels == 0)
    says = outputs > 0
    return (jnp.sum(of_ones * says) / of_ones.sum() + jnp.sum(of_zeros * ~says) / of_zeros.sum()) / 2


def components(found: Part, count: int) -> Array:
    """Give the first `count` principal components of the task's training inputs, of all examples: `[N, count]`."""
    flat = found.inputs.reshape(len(found.inputs), -1)
    share = found.fitted / found.fitted.sum()
    centred = add_row(flat, -matmul(share[None], flat)[0])
    weighted = centred * jnp.broadcast_to(share[:, None], centred.shape)
    directions = eigh(matmul(weighted.T, centred))[1]
    return matmul(centred, directions[:, ::-1][:, :count])


def _each(f: Callable[[Array], PyTree], columns: Mapping[str, Array]) -> dict[str, PyTree]:
    """Apply a function to each of some arrays by name; those of one shape by one program."""
    out: dict[str, PyTree] = {}
    for shape in dict.fromkeys(each.shape for each in columns.values()):
        names = [name for name, each in columns.items() if each.shape == shape]
        values = jax.lax.map(f, jnp.stack([columns[name] for name in names]))
        out |= {name: jax.tree.map(lambda leaf, i=i: leaf[i], values) for i, name in enumerate(names)}
    return out


def _holding(inner: Trainer, split: Split, cell: Cell, held_out: int) -> Trainer:
    """Give a Trainer its run's training examples, and let its state carry what the run is."""
    numbers = {name: jnp.asarray(value, jnp.float32) for name, value in cell.items()}

    def step(held: Held, data: PyTree, t: Array) -> tuple[Held, Metrics]:
        found = jax.tree.map(lambda leaf: leaf[:-held_out], split(data, held.cell))
        labels = jnp.where(found.fitted > 0, found.labels, -1)
        state, seen = inner.step(held.state, ConceptSet(found.inputs, found.taught, labels), t)
        return Held(state, held.cell), seen

    return Trainer(lambda key: Held(inner.init(key), numbers), step)


def _task_loss(logits: Array, label: Array) -> losses.Terms:
    """Give the loss of a binary task, nothing where the label is -1."""
    found, there = losses.task_loss()(logits, jnp.maximum(label, 0)), label >= 0
    return losses.Terms(found.loss * there, found.weight * there)
