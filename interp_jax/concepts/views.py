"""Networks of five kinds through the same eyes: scores of their concepts, their task, and all that its head is told.

    hard        decisions, whose gradient passes straight through
    sigmoid     probabilities
    hybrid      probabilities, and units without labels
    embedding   a concept embedding model
    whitened    a network that learns the task alone, whose first whitened axes are turned to the concepts

All have an encoder of two hidden layers and a head of one. A Trainer here takes one step on a batch that it is given,
so that whoever calls it may change the batch first: attack it, for one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from interp_jax.concepts import bottleneck, embedding, losses, training, whitening
from interp_jax.concepts.model import ConceptModel, decide
from interp_jax.core import keys
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.models.nets import Dense, LeakyMLP, Net, functional
from interp_jax.train.trainer import Metrics, Trainer

FAMILIES = {"bottleneck": ("hard", "sigmoid", "hybrid"), "embedding": ("embedding",), "whitened": ("whitened",)}
"""Kinds by the program that trains them; a kind is a member of its family, by number."""
KINDS = tuple(kind for family in FAMILIES.values() for kind in family)


class Sizes(NamedTuple):
    """shape: of an example. hidden: width of the encoder's layers. head: of the head's hidden layer.

    size: of a concept's embedding; a hybrid has one unit less a concept. axes: features that are whitened.
    """

    shape: tuple[int, ...]
    concepts: int
    classes: int
    hidden: int
    head: int
    size: int
    axes: int

    @property
    def told(self) -> int:
        """Give the width of `View.told`."""
        return max(self.concepts * self.size, self.axes)


class View(NamedTuple):
    """scores: `[k]`, a concept is said to be true above 0. task: `[C]` logits. told: all that the head is told.

    told: the mixture of a CEM, values and extra units, or all axes; padded with zeros to one width for all kinds.
    """

    scores: Array
    task: Array
    told: Array


def model(sizes: Sizes, family: str, member: ArrayLike) -> ConceptModel:
    """Make a concept model of a family by its number, which may be traced. A bottleneck is a hybrid told zeros."""
    k, m, out = sizes.concepts, sizes.size, sizes.classes
    if family == "embedding":
        context, score = _layers(sizes.hidden, 2 * k * m), _layers(2 * m, 1)
        return embedding.cem(_encoder(sizes, sizes.hidden), context, score, _layers(k * m, sizes.head, out), k)
    place, kinds = jnp.asarray(member), [bottleneck.STRAIGHT_THROUGH, bottleneck.SIGMOID, bottleneck.SIGMOID]
    extra, hybrid = (m - 1) * k, FAMILIES["bottleneck"].index("hybrid")
    return bottleneck.bottleneck(
        _encoder(sizes, k + extra), _layers(k + extra, sizes.head, out), k,
        kind=bottleneck.one_of(kinds, place), extra=extra,
        activation=lambda x: jnp.where(place == hybrid, bottleneck.leaky_relu(x), 0),
    )  # fmt: skip


def whitener(sizes: Sizes) -> tuple[Net, whitening.Whitening, Net]:
    """Make the whitened network: what is before the layer, the layer, and what is after it."""
    layer = whitening.Whitening(sizes.axes, sizes.concepts, whitening.mean)
    return _encoder(sizes, sizes.axes), layer, _layers(sizes.axes, sizes.head, sizes.classes)


def look(sizes: Sizes, family: str, member: ArrayLike, state: PyTree, x: Array) -> View:
    """Show what a network makes of ONE example. state: of the Trainer of its family."""
    if family == "whitened":
        before, layer, after = whitener(sizes)
        told = layer.activations(state.stats, before.apply(state.params["before"], x))
        seen = View(told[: sizes.concepts], after.apply(state.params["after"], told), told)
    else:
        own = model(sizes, family, member)
        encoded = own.encode(state.params, x)
        output = decide(own, state.params, encoded)
        mixed = family == "embedding"
        told = embedding.mixture(output.values, encoded.rest) if mixed else jnp.append(output.values, encoded.rest)
        seen = View(encoded.logits, output.task, told.reshape(-1))
    return seen._replace(told=jnp.pad(seen.told, (0, sizes.told - seen.told.size)))


def cost(family: str, seen: View, label: Array, concepts: Array) -> Array:
    """Give the loss that a network is trained by, of one example: of the task, and unless whitened of the concepts."""
    task = losses.mean(losses.task_loss()(seen.task, label))
    return task if family == "whitened" else task + losses.mean(losses.concept_loss()(seen.scores, concepts))


def on_batches(sizes: Sizes, family: str, member: ArrayLike, *, batch: int, lr: ArrayLike, every: int = 10) -> Trainer:
    """Make the Trainer of one step of Adam on a batch; its data are that batch and all there is, two ConceptSets.

    A CEM has RandInt. A whitened network's axes are turned `every` so many steps, to examples of all there is.
    """
    if family != "whitened":
        recipe = training.Recipe(batch=batch, shuffled=False)  # an epoch of one batch is a step
        give = embedding.rand_int() if family == "embedding" else None
        inner = training.joint(model(sizes, family, member), recipe, lr=lr, give=give)
        return Trainer(inner.init, lambda state, data, t: inner.step(state, data[0], t))

    def loss(outputs: Array, labels: Array) -> tuple[Array, Metrics]:
        return losses.mean(jax.vmap(losses.task_loss())(outputs, labels)), {}

    def given(data: tuple[ConceptSet, ConceptSet], key: Key, t: Array) -> tuple[Array, Array]:
        return data[0].inputs, data[0].labels

    def examples(data: tuple[ConceptSet, ConceptSet], key: Key, t: Array) -> Array:
        shows, own = data[1].concepts.T, jax.random.split(keys.at(key, t), sizes.concepts)
        rows = jax.vmap(lambda k, p: jax.random.choice(k, len(p), (batch,), p=p / p.sum()))(own, shows)
        return data[1].inputs[rows]

    return whitening.trainer(*whitener(sizes), loss, given, examples, optax.adam(jnp.asarray(lr)), every=every)


def halfway(scores: Array, concepts: Array) -> Array:
    """Give thresholds `[k]` of scores that have none: half-way between their means where a concept is false and true.

    scores, concepts: `[N, k]`.

    >>> halfway(jnp.array([[1.0], [3.0], [8.0]]), jnp.array([[0.0], [0.0], [1.0]])).tolist()
    [5.0]
    """
    true, false = (jnp.sum(w * scores, 0) / jnp.sum(w, 0) for w in (concepts, 1 - concepts))
    return (true + false) / 2


def _encoder(sizes: Sizes, outputs: int) -> Net:
    return functional(LeakyMLP((sizes.hidden, sizes.hidden, outputs)), jnp.zeros(sizes.shape))


def _layers(inputs: int, *widths: int) -> Net:
    """Make one linear layer, or several with leaky ReLUs between them."""
    return functional(LeakyMLP(widths) if len(widths) > 1 else Dense(widths[0]), jnp.zeros(inputs))
