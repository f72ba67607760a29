"""One split of words in context: what probes of classes learn, and what they know by heart, layer by layer.

T types (words) of R examples each. Probes are fitted to the task's labels and to those of a control task, one label a
type (Hewitt and Liang 2019). Divided by example each type is trained on R - 2 times, and one example of it stops or
chooses, another is scored; divided by type a word that is scored was never seen. One seed here; nothing is jitted.
`experiments/probe_selectivity.py` asks with it which probes are selective.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import keys
from interp_jax.core.types import Array, Key, Numpy
from interp_jax.linear import logistic
from interp_jax.linear.fits import accuracy
from interp_jax.probes import controls, description, supervised
from interp_jax.probes.controls import Task


class Words(NamedTuple):
    """T types of R examples each, by type. states, untrained: `[T R, L + 1, D]`. labels: `[T R]`. ambiguous: `[T]`.

    untrained: states of a net of random weights. ambiguous: types that other examples show with several labels.
    """

    states: Array
    untrained: Array
    labels: Array
    ambiguous: Array


class How(NamedTuple):
    """Settings. each: R. layers: those at which all is measured, the first of them 0. coded: types in the code.

    alphas: penalties of linear probes, of which other rows choose; the first where none are chosen. widths: hidden
    units of nets, trained `epochs` times through the rows.
    """

    classes: int
    each: int
    layers: tuple[int, ...]
    alphas: tuple[float, ...]
    widths: tuple[int, ...]
    epochs: int
    coded: int


class Division(NamedTuple):
    """Numbers of rows to train with, to choose with and to score."""

    train: Array
    choose: Array
    test: Array


class Fits(NamedTuple):
    """Linear probes at each penalty. right: `[A, m]`, on the rows that are scored. loss: `[A]`, bits, on others."""

    right: Array
    loss: Array


def drawn(word: Numpy, key: Key, *, types: int, each: int) -> Numpy:
    """Draw types of at least `each` examples, and so many examples of each: `[types, each]`, numbers of examples.

    word: `[N]`, the number of each example's type.
    """
    counts = np.bincount(word)
    enough = np.flatnonzero(counts >= each)
    if len(enough) < types:
        raise ValueError(f"want types <= {len(enough)}, those of at least {each} examples, got {types=}")
    chosen = enough[np.asarray(jax.random.permutation(key, len(enough)))[:types]]
    shuffled = np.asarray(jax.random.permutation(jax.random.fold_in(key, 1), len(word)))
    by_word = shuffled[np.argsort(word[shuffled], kind="stable")]
    first = np.cumsum(counts) - counts
    return by_word[first[chosen][:, None] + np.arange(each)]


def by_example(key: Key, types: int, each: int) -> Division:
    """Divide the examples of each type: one to score, one to choose with, the others to train with."""
    order = jnp.argsort(jax.random.uniform(key, (types, each)), 1)
    rows = each * jnp.arange(types)[:, None] + order
    return Division(rows[:, 2:].ravel(), rows[:, 1], rows[:, 0])


def by_type(key: Key, types: int, each: int) -> Division:
    """Divide the types, into parts of the same sizes as `by_example`'s if `each` divides their number."""
    order = jax.random.permutation(key, types)
    rows, share = each * order[:, None] + jnp.arange(each)[None], types // each
    return Division(rows[2 * share :].ravel(), rows[share : 2 * share].ravel(), rows[:share].ravel())


def scaled(x: Array, train: Array) -> Array:
    """Give each feature `[N, D]` mean 0 and deviation 1 on the training rows."""
    centre, spread = jnp.mean(x[train], 0), jnp.std(x[train], 0)
    return (x - centre[None]) / jnp.where(spread > 0, spread, 1)[None]


def linear(how: How, x: Array, y: Array, rows: Division) -> Fits:
    """Fit softmax regressions at each penalty."""
    x, others = scaled(x, rows.train), jnp.concatenate([rows.choose, rows.test])

    def one(alpha: Array) -> tuple[Array, Array]:
        probe = controls.softmax(how.classes, alpha, steps=100, tol=1e-3)
        logits = probe(x[rows.train], y[rows.train], jnp.ones(len(rows.train), x.dtype), x[others])
        choose, test = logits[: len(rows.choose)], logits[len(rows.choose) :]
        lost = -jnp.mean(logistic.log_likelihood(choose, y[rows.choose])) / jnp.log(2.0)
        return jnp.argmax(test, 1) == y[rows.test], lost

    return Fits(*jax.lax.map(one, jnp.array(how.alphas, x.dtype)))


def tables(how: How, features: Array, y: Array, jobs: Sequence[tuple[int, int, int]], rows: Sequence[Division]) -> Fits:
    """Fit linear probes of many jobs, `(feature, labels, division)`, in one program: `[J, A, ...]`.

    features: `[F, N, D]`. y: `[K, N]`. rows: divisions of the same sizes.
    """
    stacked = Division(*(jnp.stack(part) for part in zip(*rows, strict=True)))

    def one(job: Array) -> Fits:
        return linear(how, features[job[0]], y[job[1]], Division(*(part[job[2]] for part in stacked)))

    return jax.lax.map(one, jnp.array(jobs))


def net(how: How, key: Key, width: int, x: Array, y: Array, rows: Division) -> Array:
    """Train a net of one hidden layer; the rows to choose with stop it. Give which test rows it has right, `[m]`."""
    x = scaled(x, rows.train)
    probe, _ = supervised.fit_mlp_softmax(
        x[rows.train], y[rows.train], (x[rows.choose], y[rows.choose]), key, weight_decay=0.0, classes=how.classes,
        hidden=width, epochs=how.epochs, lr=2e-3,
    )  # fmt: skip
    return jnp.argmax(supervised.predict(probe, x[rows.test]), 1) == y[rows.test]


def by_word_alone(labels: Array, types: Array, rows: Division, *, classes: int, count: int) -> Array:
    """Say which test rows are right by the most frequent training label of their type, `[m]`; ties by frequency.

    It knows the word and nothing of its context; a type without training rows gets the most frequent label of all.
    """
    told = jax.nn.one_hot(labels[rows.train], classes)
    counts = jnp.zeros((count, classes)).at[types[rows.train]].add(told) + jnp.mean(told, 0)[None] / 2
    return jnp.argmax(counts, 1)[types[rows.test]] == labels[rows.test]


def code(how: How, key: Key, features: Array, y: Array) -> description.Code:
    """Give the online code of labels `[K, N]` with features `[F, N, D]`: each number `[F, K]`."""
    ends = description.block_ends(y.shape[1])
    probe = controls.softmax(how.classes, how.alphas[0], steps=100, tol=1e-3)

    def one(job: Array) -> description.Code:
        x = scaled(features[job[0]], jnp.arange(y.shape[1]))
        return description.online(probe, x, y[job[1]], key, ends=ends, classes=how.classes)

    jobs = jnp.array([(f, k) for f in range(len(features)) for k in range(len(y))])
    return jax.tree.map(lambda each: each.reshape(len(features), len(y), *each.shape[1:]), jax.lax.map(one, jobs))


def beyond(how: How, base: Array, features: Array, y: Array, rows: Division) -> Array:
    """Give what features `[F, N, D]` tell of labels beyond a base `[N, D]`, in bits an example: `[F]`."""
    base = scaled(base, rows.train)
    probe = controls.softmax(how.classes, how.alphas[0], steps=100, tol=1e-3)

    def one(x: Array) -> Array:
        x = scaled(x, rows.train)
        sides = (Task(x[part], y[part]) for part in (rows.train, rows.test))
        return controls.conditional(probe, (base[rows.train], base[rows.test]), *sides)

    return jax.lax.map(one, features)


def one_split(how: How, key: Key, words: Words) -> dict[str, Array]:
    """Measure one seed: accuracies by layer, by type or by width, codes, and what context tells."""
    count, depth = len(words.ambiguous), words.states.shape[1]
    types = jnp.repeat(jnp.arange(count), how.each)
    rows = [split(keys.stream(key, split.__name__), count, how.each) for split in (by_example, by_type)]
    control = controls.control_task(keys.stream(key, "control"), types, words.labels, count=count)
    y = jnp.stack([words.labels, control, controls.dealt_labels(keys.stream(key, "dealt"), words.labels)])
    trained, fresh = jnp.moveaxis(words.states, 1, 0), jnp.moveaxis(words.untrained, 1, 0)[jnp.array(how.layers)]
    noise = controls.noise(keys.stream(key, "noise"), trained[-1])[None]
    features = jnp.concatenate([trained, fresh, noise])
    some, last = [*how.layers], len(features) - 1
    jobs = [(f, k, 0) for k in (0, 1) for f in range(len(features))] + [(f, 0, 1) for f in some] + [(depth - 1, 2, 0)]
    fits = tables(how, features, y, jobs, rows)
    at = {job: number for number, job in enumerate(jobs)}

    def right(job: tuple[int, int, int]) -> Array:
        """Which test rows are right, at the penalty that is best for the task (for dealt labels, for themselves)."""
        like = (job[0], 0, job[2]) if job[1] < 2 else job
        return fits.right[at[job], jnp.argmin(fits.loss[at[like]])].astype(jnp.float32)

    task, memory = (jnp.stack([right((f, k, 0)) for f in range(len(features))]) for k in (0, 1))
    best = jnp.argmin(jnp.stack([jnp.min(fits.loss[at[f, 0, 0]]) for f in range(depth)]))
    unseen = jnp.stack([right((f, 0, 1)).mean() for f in some])
    alone = by_word_alone(words.labels, types, rows[0], classes=how.classes, count=count).astype(jnp.float32)
    told = jnp.zeros(how.classes).at[words.labels[rows[0].train]].add(1.0)
    nets = widths(how, key, trained, y[:2], rows[0])
    coded = codes(how, key, words, control)
    own = jnp.array(some[1:])
    gap = (task - memory)[own].mean(0) - (nets[0, -1] - nets[1, -1]).mean(0)
    doubt = words.ambiguous.astype(jnp.float32)
    return {
        "task": task[:depth].mean(1), "control": memory[:depth].mean(1),
        "untrained_task": task[depth:last].mean(1), "untrained_control": memory[depth:last].mean(1),
        "noise_task": task[last].mean(), "noise_control": memory[last].mean(),
        "dealt": right((depth - 1, 2, 0)).mean(), "unseen": unseen,
        "majority": accuracy(jnp.broadcast_to(told[None], (count, how.classes)), words.labels[rows[0].test]),
        "alone": alone.mean(), "alone_ambiguous": jnp.sum(alone * doubt) / doubt.sum(),
        "task_ambiguous": jnp.sum(task[best] * doubt) / doubt.sum(),
        "best": best.astype(jnp.float32), "best_task": task[best].mean(),
        "best_untrained": best_of(fits, at, [depth + i for i in range(len(some))], task),
        "mlp_task": nets[0].mean(-1), "mlp_control": nets[1].mean(-1),
        "alpha": jnp.array(how.alphas)[jnp.stack([jnp.argmin(fits.loss[at[f, 0, 0]]) for f in range(depth)])],
        "repeated": controls.repeated(types[rows[0].train], types[rows[0].test], count=count),
        "repeated_types": controls.repeated(types[rows[1].train], types[rows[1].test], count=count),
        "bits_beyond": beyond(how, trained[0], trained[own], words.labels, rows[0]),
        "ambiguous": doubt, "by_type_gap": gap, "by_type_beyond": task[best] - alone,
    } | coded  # fmt: skip


def best_of(fits: Fits, at: dict[tuple[int, int, int], int], features: Sequence[int], task: Array) -> Array:
    """Give the accuracy of the feature whose loss on other rows is least."""
    lost = jnp.stack([jnp.min(fits.loss[at[f, 0, 0]]) for f in features])
    return task[jnp.array([*features])[jnp.argmin(lost)]].mean()


def widths(how: How, key: Key, trained: Array, y: Array, rows: Division) -> Array:
    """Train nets of each width at each layer but 0, on the task and the control: `[2, W, S, m]`, right or not."""
    jobs = jnp.array([(f, k) for k in (0, 1) for f in how.layers[1:]])
    draws = keys.stream(key, "nets")

    def at_width(number: int, width: int) -> Array:
        own = jax.random.fold_in(draws, number)
        found = jax.lax.map(lambda job: net(how, own, width, trained[job[0]], y[job[1]], rows), jobs)
        return found.astype(jnp.float32).reshape(2, len(how.layers) - 1, -1)

    return jnp.stack([at_width(*each) for each in enumerate(how.widths)], 1)


def codes(how: How, key: Key, words: Words, control: Array) -> dict[str, Array]:
    """Give compression of the task and the control with all examples of some types: trained and fresh, `[S]`."""
    count = len(words.ambiguous)
    order = jax.random.permutation(keys.stream(key, "coded"), count)[: how.coded]
    rows = (how.each * order[:, None] + jnp.arange(how.each)[None]).ravel()
    layers = jnp.array(how.layers)
    both = [jnp.moveaxis(each[rows], 1, 0)[layers] for each in (words.states, words.untrained)]
    found = code(how, keys.stream(key, "code"), jnp.concatenate(both), jnp.stack([words.labels, control])[:, rows])
    share, some = found.compression, len(how.layers)
    return {
        "code_task": share[:some, 0], "code_control": share[:some, 1],
        "code_untrained_task": share[some:, 0], "code_untrained_control": share[some:, 1],
    }  # fmt: skip
