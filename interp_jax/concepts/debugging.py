"""Training nets with a planted concept and explaining their mistakes by all concepts: the pieces for `data.planted`.

A net is a trunk, up to the layer whose activations are explained, and a head. Its run chooses an attribute and a class;
`measure` learns all attributes as concept vectors in the layer, shows the net test images with and without its
attribute, and ranks the concepts of each mistake; `scores` says how often the planted one comes first.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from interp_jax.concepts import counterfactual
from interp_jax.core import keys
from interp_jax.core.types import Array, ArrayLike, Key, Numpy, PyTree
from interp_jax.data import planted
from interp_jax.data.planted import Planted
from interp_jax.linear import cav
from interp_jax.models.nets import Net
from interp_jax.train.trainer import Trainer, trainer

FIRST = 3
"""Concepts that an explanation names."""


class Setup(NamedTuple):
    """What all runs share; static.

    trunk: `(params, x [side, side, 3]) -> [D]`. head: `(params, [D]) -> logits [classes]`. rate: of attributes.
    examples: images with a concept, and as many without, that its vector is fitted to. method, alpha: of the fit.
    draws: how often each test image is seen. errors: the most mistakes of a kind that are explained. steps: of an
    explanation.
    """

    trunk: Net
    head: Net
    classes: int
    rate: float = 0.1
    examples: int = 50
    method: cav.Method = cav.discriminant
    alpha: float = 10.0
    draws: int = 6
    errors: int = 64
    steps: int = 100


class Data(NamedTuple):
    """Framed images `[N, side, side, C]` and labels `[N]`, for training and testing, and the attributes' pictures."""

    train: tuple[Array, Array]
    test: tuple[Array, Array]
    pictures: Array


def plant(s: Setup, stream: Key, strength: ArrayLike) -> Planted:
    """Choose the attribute and the class of a run, from its stream "batch": the same for all strengths of a seed."""
    return planted.choose(keys.stream(stream, "plant"), strength, classes=s.classes)


def training(s: Setup, optimizer: optax.GradientTransformation, *, batch: int, strength: ArrayLike) -> Trainer:
    """Make the Trainer of one strength; attributes are drawn anew at every step."""

    def begin(key: Key) -> PyTree:
        return {name: net.init(keys.stream(key, name)) for name, net in (("trunk", s.trunk), ("head", s.head))}

    def draw(data: Data, stream: Key, t: Array) -> tuple[Array, Array]:
        what, own = plant(s, stream, strength), keys.at(stream, t)
        rows = jax.random.randint(keys.stream(own, "rows"), (batch,), 0, len(data.train[1]))
        chance = jax.random.split(keys.stream(own, "attributes"), batch)

        def one(key: Key, row: Array) -> Array:
            present = planted.draw(key, data.train[1][row], what, rate=s.rate, classes=s.classes)
            return planted.attach(data.train[0][row], present, data.pictures)

        return jax.vmap(one)(chance, rows), data.train[1][rows]

    def loss(params: PyTree, examples: tuple[Array, Array], key: Key) -> tuple[Array, dict[str, Array]]:
        logits = jax.vmap(lambda x: s.head.apply(params["head"], s.trunk.apply(params["trunk"], x)))(examples[0])
        value = optax.softmax_cross_entropy_with_integer_labels(logits, examples[1]).mean()
        return value, {"accuracy": jnp.mean(jnp.argmax(logits, 1) == examples[1], dtype=value.dtype)}

    return trainer(begin, loss, draw, optimizer)


def learn(s: Setup, params: PyTree, data: Data, key: Key, shuffled: Array) -> tuple[cav.CAV, Array]:
    """Learn all 60 concepts in the layer, and give their accuracies on other images, `[60]`.

    Images with and without a concept are of all classes alike, and have the other attributes at their rate. shuffled:
    `[]` bool, whether vectors are fitted to labels in random order; the accuracies are of the true labels.
    """

    def examples(key: Key, concept: Array, source: tuple[Array, Array]) -> tuple[Array, Array]:
        rows = jax.random.randint(keys.stream(key, "rows"), (2 * s.examples,), 0, len(source[1]))
        shows = jnp.where(jnp.arange(2 * s.examples) < s.examples, 1.0, 0.0)
        others = jax.random.bernoulli(keys.stream(key, "others"), s.rate, (len(rows), planted.COUNT))
        present = others.astype(jnp.float32).at[:, concept].set(shows)
        seen = jax.vmap(lambda row, has: planted.attach(source[0][row], has, data.pictures))(rows, present)
        return jax.vmap(lambda x: s.trunk.apply(params["trunk"], x))(seen), shows

    def one(concept: Array) -> tuple[cav.CAV, Array]:
        own = keys.at(key, concept)
        x, y = examples(keys.stream(own, "train"), concept, data.train)
        told = jnp.where(shuffled, jax.random.permutation(keys.stream(own, "shuffle"), y), y)
        vector = cav.fit(x, told, s.alpha, method=s.method)
        return vector, cav.accuracy(vector, *examples(keys.stream(own, "test"), concept, data.test))

    return jax.lax.map(one, jnp.arange(planted.COUNT))


class Seen(NamedTuple):
    """Test images as a net sees them, by each of its draws: activations `[M, D]`, logits `[M, 10]`, labels `[M]`."""

    activations: Array
    logits: Array
    labels: Array

    @property
    def wrong(self) -> Array:
        """Tell which are misclassified, `[M]`."""
        return jnp.argmax(self.logits, 1) != self.labels


def look(s: Setup, params: PyTree, data: Data, what: Planted, key: Key, forced: ArrayLike) -> Seen:
    """Show a net every test image several times, the planted attribute always there (1) or never (0)."""
    labels = jnp.tile(data.test[1], s.draws)

    def one(at: Array) -> Array:
        row = at % len(data.test[1])
        present = planted.draw(keys.at(key, at), labels[at], what, rate=s.rate, classes=s.classes)
        image = planted.attach(data.test[0][row], present.at[what.attribute].set(forced), data.pictures)
        return s.trunk.apply(params["trunk"], image)

    activations = jax.lax.map(one, jnp.arange(len(labels)), batch_size=256)
    return Seen(activations, jax.vmap(lambda z: s.head.apply(params["head"], z))(activations), labels)


class Mistakes(NamedTuple):
    """Mistakes of one kind: activations `[errors, D]`, labels `[errors]`, and `there [errors]` bool, if so many."""

    activations: Array
    labels: Array
    there: Array


def first(s: Setup, seen: Seen, which: Array) -> Mistakes:
    """Take the first mistakes among some, `which [M]` bool."""
    rows = jnp.argsort(~which)[: s.errors]
    return Mistakes(seen.activations[rows], seen.labels[rows], which[rows])


def explain(s: Setup, params: PyTree, bank: cav.CAV, learnt: Array, mistakes: Mistakes) -> dict[str, Array]:
    """Explain mistakes of one kind: by name `[errors, ...]`, NaN beyond their number.

    ranks: `[errors, 60]` of concepts that there should be more of; less: of those that there should be less of. slope,
    alone, learnt: `[errors, 60]`, ranks by cheaper scores. valid: whether the counterfactual is right. named: how many
    concepts have a tenth of the largest weight.
    """
    head = s.head.apply

    def one(mistake: Mistakes) -> dict[str, Array]:
        x, label = mistake.activations, mistake.labels
        found = counterfactual.explain(head, params["head"], bank, x, label, steps=s.steps)
        scores = {
            "ranks": found.weights, "less": -found.weights,
            "slope": counterfactual.slopes(head, params["head"], bank, x, label),
            "alone": counterfactual.alone(head, params["head"], bank, x, label), "learnt": learnt,
        }  # fmt: skip
        ranked = {name: counterfactual.ranks(score) for name, score in scores.items()}
        every = ranked | {"valid": 1.0 * found.valid, "named": 1.0 * counterfactual.sparsity(found.weights)}
        return jax.tree.map(lambda leaf: jnp.where(mistake.there, leaf, jnp.nan), every)

    return jax.vmap(one)(mistakes)


def measure(s: Setup, state: PyTree, data: Data) -> dict[str, PyTree]:
    """Explain the mistakes of one net, by kind; see `explain`.

    own: of the class without the attribute. all: of any class without it. taken: of other classes with it that are
    taken for the class. shuffled: own, explained by vectors of shuffled labels. state: of `training`.
    """
    stream, key = keys.stream(state.key, "batch"), keys.stream(state.key, "bank")
    what, params = plant(s, stream, s.rate), state.params
    seen = jax.lax.map(
        lambda forced: look(s, params, data, what, keys.stream(state.key, "look"), forced), jnp.arange(2.0)
    )
    without, with_it = (jax.tree.map(lambda leaf, i=i: leaf[i], seen) for i in (0, 1))
    mine, theirs = without.labels == what.label, jnp.argmax(with_it.logits, 1) == what.label
    banks, learnt = jax.lax.map(lambda shuffled: learn(s, params, data, key, shuffled), jnp.array([False, True]))
    kinds = {
        "own": first(s, without, mine & without.wrong), "all": first(s, without, without.wrong),
        "taken": first(s, with_it, theirs & ~mine), "shuffled": first(s, without, mine & without.wrong),
    }  # fmt: skip
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *kinds.values())

    def told(mistakes: Mistakes, which: Array) -> dict[str, Array]:
        return explain(s, params, jax.tree.map(lambda leaf: leaf[which], banks), learnt[0], mistakes)

    every = jax.lax.map(lambda pair: told(*pair), (stacked, jnp.array([0, 0, 0, 1])))
    explained = {kind: jax.tree.map(lambda leaf, i=i: leaf[i], every) for i, kind in enumerate(kinds)}
    return explained | {
        "attribute": what.attribute, "label": what.label, "learnt": learnt[0], "converged": banks.converged[0].mean(),
        "accuracy": 1 - jnp.mean(1.0 * without.wrong),
        "accuracy_own": 1 - jnp.sum(mine * without.wrong) / jnp.sum(mine),
        "accuracy_with": 1 - jnp.sum(mine * with_it.wrong) / jnp.sum(mine),
        "taken_share": jnp.sum(theirs & ~mine) / jnp.sum(~mine),
    }  # fmt: skip


def scores(found: Mapping[str, PyTree]) -> dict[str, Numpy]:
    """Give what each net's explanations come to, `[R]` by name; NaN where it made no such mistakes.

    top_KIND: the share of mistakes whose first three concepts have the planted one among them; and so by cheaper scores
    of own mistakes. ahead: the share of other concepts that it is ranked before. decoy: `top_own` of the decoy that is
    named most. valid, named: means over own mistakes. count_KIND: of mistakes.
    """
    at = np.asarray(found["attribute"])[:, None, None]

    def planted_ranks(kind: str, by: str) -> Numpy:
        return np.take_along_axis(found[kind][by], at, 2)[:, :, 0]

    def share(ranks: Numpy) -> Numpy:
        return mean(np.where(np.isnan(ranks), np.nan, ranks <= FIRST))

    kinds = {"own": "ranks", "all": "ranks", "taken": "less", "shuffled": "ranks"}
    found_ = {f"top_{kind}": share(planted_ranks(kind, by)) for kind, by in kinds.items()}
    found_ |= {f"top_{by}": share(planted_ranks("own", by)) for by in ("slope", "alone", "learnt")}
    every = found["own"]["ranks"]
    tops = mean(np.moveaxis(np.where(np.isnan(every), np.nan, every <= FIRST), 1, 2))
    np.put_along_axis(tops, at[:, :, 0], -1, 1)
    decoy = np.where(np.isnan(found_["top_own"]), np.nan, np.max(tops, 1))
    ahead = mean((planted.COUNT - planted_ranks("own", "ranks")) / (planted.COUNT - 1))
    return found_ | {
        "decoy": decoy, "ahead": ahead, "rank": mean(planted_ranks("own", "ranks")),
        "valid": mean(found["own"]["valid"]), "named": mean(found["own"]["named"]),
        **{f"count_{kind}": np.isfinite(found[kind]["valid"]).sum(1) for kind in ("own", "all", "taken")},
    }  # fmt: skip


def mean(values: Numpy) -> Numpy:
    """Give the mean along the last axis of what is there; NaN where nothing is."""
    count = np.isfinite(values).sum(-1)
    return np.where(count > 0, np.nansum(values, -1) / np.maximum(count, 1), np.nan)
