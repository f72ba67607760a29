"""Testing with concept vectors where it is known what a network uses: images on which marks are planted.

A net tells four classes by two marks. Other marks are there and mean nothing, one goes along with a used mark in
training, one attribute goes along with it everywhere and is never drawn, and some are dealt at random. Rendering an
image with and without a mark tells what the network does of it. One network here; nothing is jitted but by the caller.
`experiments/probe_tcav.py` asks with it which concepts are found.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from interp_jax.core import keys
from interp_jax.core.types import Array, Key, Numpy, PyTree
from interp_jax.data import planted
from interp_jax.linear import cav
from interp_jax.probes import tcav
from interp_jax.probes.tcav import Scores

SIDE = 12
"""Pixels a side: a digit of 8 x 8 within a border of two."""
ATTRIBUTES = (0, 15, 30, 45, 51, 8)
"""Of `planted.NAMES`: two that are used, three that are not, and one that goes along with the first in training."""
CLASSES = 4
KINDS = ("used", "used", "unused", "unused", "unused", "companion", "hidden", "absent", "absent", "absent", "absent")
"""Of concepts, in order. companion: of the first, in training only. hidden: likewise, everywhere, but never drawn."""
PAIRS = ((0, 2), (1, 3), (2, 3), (3, 4))
"""Of rivals: a used concept and one that is not, and two that are not."""
ALONG = 0.9
"""How often the companion and the hidden attribute are what the first is."""


class Images(NamedTuple):
    """pixels: `[N, 12, 12, 3]`. concepts: `[N, 11]`, 0 and 1. labels: `[N]`."""

    pixels: Array
    concepts: Array
    labels: Array


class Seen(NamedTuple):
    """A layer's activations. pool: `[N, D]`, with concepts `[N, k]`. scored: `[M, D]`, of other images, with labels."""

    pool: Array
    concepts: Array
    scored: Array
    labels: Array

    def of_class(self, label: Array, count: int) -> Array:
        """Give the first `count` scored examples of a class, `[count, D]`; filled up with others if there are fewer."""
        return self.scored[jnp.argsort(self.labels != label, stable=True)[:count]]


class How(NamedTuple):
    """Sizes; static. pool: images to fit vectors to. examples: of a class, to score on; and of a paper's concept set.

    permutations: of labels. runs: random sets, of each of two repeats.
    """

    pool: int
    examples: int
    permutations: int
    runs: int


class Net(NamedTuple):
    """A network in parts: `first(params, pixels) -> [D]`, `second(params, [D]) -> [E]`, `last(params, [E]) -> [4]`."""

    first: Callable[[PyTree, Array], Array]
    second: Callable[[PyTree, Array], Array]
    last: Callable[[PyTree, Array], Array]


def named(kind: str) -> Numpy:
    """Give the places of a kind of concepts."""
    return np.flatnonzero([each == kind for each in KINDS])


def draw(key: Key, digits: Array, *, training: bool) -> Images:
    """Draw ONE image: a digit at random with marks, each with probability 1/2. digits: `[M, 12, 12, 1]`, framed.

    training: whether the companion goes along with the first mark.
    """
    each = jax.random.split(key, 5)
    free = jax.random.bernoulli(each[0], 0.5, (len(KINDS),))
    along = jnp.where(jax.random.bernoulli(each[1], ALONG, (2,)), free[0], ~free[0])
    places = jnp.array([KINDS.index("companion"), KINDS.index("hidden")])
    tied = free.at[places].set(along)
    concepts = (tied if training else tied.at[places[0]].set(free[places[0]])).astype(jnp.float32)
    image = digits[jax.random.randint(each[2], (), 0, len(digits))]
    return Images(show(image, concepts), concepts, (concepts[0] + 2 * concepts[1]).astype(jnp.int32))


def show(image: Array, concepts: Array) -> Array:
    """Lay the marks that are drawn over ONE digit: `[12, 12, 1]` and `[11]` give `[12, 12, 3]`."""
    present = jnp.zeros(planted.COUNT).at[jnp.array(ATTRIBUTES)].set(concepts[: len(ATTRIBUTES)])
    return planted.attach(image, present, jnp.asarray(planted.pictures(SIDE)))


def flips(net: Net, params: PyTree, key: Key, digits: Array, count: int) -> Array:
    """Give the share of images on which drawing a mark, or leaving it out, changes the decision: `[6]`, by mark."""
    rows = jax.vmap(lambda k: draw(k, digits, training=False).concepts)(jax.random.split(key, count))
    some = digits[jax.random.randint(keys.stream(key, "digits"), (count,), 0, len(digits))]

    def decided(concepts: Array) -> Array:
        pixels = jax.vmap(show)(some, concepts)
        return jax.vmap(lambda x: net.last(params, net.second(params, net.first(params, x))))(pixels).argmax(1)

    def one(mark: Array) -> Array:
        both = (decided(rows.at[:, mark].set(present)) for present in (0.0, 1.0))
        return jnp.mean(jnp.not_equal(*both), dtype=jnp.float32)

    return jax.lax.map(one, jnp.arange(len(ATTRIBUTES)))


def centred(head: tcav.Head) -> tcav.Head:
    """Take the mean of all logits off each: what they share decides nothing, and a raw logit rises with it."""

    def logits(params: PyTree, x: Array) -> Array:
        values = head(params, x)
        return values - jnp.mean(values, keepdims=True)

    return logits


def tested(how: How, key: Key, heads: Mapping[str, tcav.Head], params: PyTree, seen: Seen) -> dict[str, Scores]:
    """Score all concepts on all classes with true and dealt labels, by head: `[4, k]` and `[4, P, k]`."""

    def one(head: tcav.Head, label: Array) -> Scores:
        slopes = tcav.gradients(head, params, seen.of_class(label, how.examples), label)
        found = tcav.scores(slopes, seen.pool, seen.concepts, key, permutations=how.permutations)
        return found._replace(directions=jnp.zeros(()))

    return {
        name: jax.lax.map(lambda label, head=head: one(head, label), jnp.arange(CLASSES))
        for name, head in heads.items()
    }


def vectors(concept: Array, others: Array) -> Array:
    """Fit one set of examples `[n, D]` against each of R others `[R, n, D]`: `[R, D]`, of length one."""
    y = jnp.repeat(jnp.array([1.0, 0.0]), len(concept))

    def one(other: Array) -> Array:
        weight = cav.discriminant(jnp.concatenate([concept, other]), y).weight[:, 0]
        return weight / jnp.linalg.norm(weight)

    return jax.lax.map(one, others)


def runs(how: How, key: Key, head: tcav.Head, params: PyTree, seen: Seen) -> tuple[Array, Array]:
    """Give TCAV scores as the paper's code makes them: of concepts `[k, 4, 2 R]`, of random sets `[4, 2 R]`.

    A concept's vector separates ITS examples, the same in every run, from a random set of as many; a random one
    separates two random sets. The first R runs and the others are two repeats.
    """
    count, each = 2 * how.runs, how.examples
    draws = jax.random.randint(keys.stream(key, "random sets"), (2, count, each), 0, len(seen.pool))
    slopes = jax.lax.map(
        lambda label: tcav.gradients(head, params, seen.of_class(label, each), label), jnp.arange(CLASSES)
    )

    def scores(directions: Array) -> Array:
        return 0.5 + jax.vmap(lambda slope: tcav.share_positive(slope, directions))(slopes)

    def one(has: Array) -> Array:
        return scores(vectors(seen.pool[jnp.argsort(has < 0.5, stable=True)[:each]], seen.pool[draws[0]]))

    random = jax.lax.map(lambda both: vectors(seen.pool[both[0]], seen.pool[both[1]][None])[0], (draws[0], draws[1]))
    return jax.lax.map(one, seen.concepts.T), scores(random)


def relative(how: How, key: Key, head: tcav.Head, params: PyTree, seen: Seen) -> Scores:
    """Score vectors that separate a concept from a rival, on images that show one of the two: `[PAIRS, 4, 1]`."""

    def one(pair: Array, label: Array) -> Scores:
        has, rival = seen.concepts[:, pair[0]], seen.concepts[:, pair[1]]
        rows = jnp.argsort(has == rival, stable=True)[: len(has) // 3]
        slopes = tcav.gradients(head, params, seen.of_class(label, how.examples), label)
        found = tcav.scores(slopes, seen.pool[rows], has[rows][:, None], key, permutations=how.permutations)
        return found._replace(directions=jnp.zeros(()))

    classes = jnp.arange(CLASSES)
    return jax.lax.map(lambda pair: jax.lax.map(lambda label: one(pair, label), classes), jnp.array(PAIRS))


def one_net(how: How, net: Net, params: PyTree, fresh: PyTree, key: Key, digits: Array) -> dict[str, PyTree]:
    """Measure one network on images of its own. fresh: params that were not trained. digits: `[M, 12, 12, 1]`."""
    pool, scored = (
        jax.vmap(lambda k: draw(k, digits, training=False))(jax.random.split(keys.stream(key, name), count))
        for name, count in (("pool", how.pool), ("scored", 10 * how.examples))
    )

    def first_head(params: PyTree, x: Array) -> Array:
        return net.last(params, net.second(params, x))

    def seen(params: PyTree) -> tuple[Seen, Seen]:
        acts = [jax.vmap(lambda x: net.first(params, x))(each.pixels) for each in (pool, scored)]
        later = [jax.vmap(lambda x: net.second(params, x))(each) for each in acts]
        return tuple(Seen(a, pool.concepts, b, scored.labels) for a, b in (acts, later))  # pyrefly: ignore

    one, two = seen(params)
    dealt = keys.stream(key, "dealt")
    decided = jax.vmap(lambda x: first_head(params, x))(one.scored).argmax(1)
    concept, random = runs(how, keys.stream(key, "runs"), first_head, params, one)
    found = tested(how, dealt, {"first": first_head, "centred": centred(first_head)}, params, one)
    found |= tested(how, dealt, {"second": net.last}, params, two)
    found["untrained"] = tested(how, dealt, {"own": first_head}, fresh, seen(fresh)[0])["own"]
    return {
        "scores": found, "relative": relative(how, dealt, first_head, params, one), "concept_runs": concept,
        "random_runs": random, "flips": flips(net, params, keys.stream(key, "flips"), digits, how.pool),
        "accuracy": jnp.mean(decided == scored.labels, dtype=jnp.float32),
    }  # fmt: skip


def t_tests(concept: Numpy, random: Numpy) -> Numpy:
    """Give two-sided p-values of the paper's t-test, runs `[..., R]` of a concept against as many random ones.

    Equal variances, as in the peer's code. Where no run differs from another: 1 if both sides agree, 0 if not.
    """
    concept, random = np.asarray(concept, float), np.asarray(random, float)
    count = concept.shape[-1]
    spread = np.sqrt((concept.var(-1, ddof=1) + random.var(-1, ddof=1)) / count)
    difference = concept.mean(-1) - random.mean(-1)
    constant = spread < 1e-9
    p = 2 * stats.t.sf(np.abs(difference) / np.where(constant, 1.0, spread), 2 * count - 2)
    return np.where(constant, (np.abs(difference) < 1e-9) * 1.0, p)


def p_values(found: Scores) -> tuple[Numpy, Numpy]:
    """Give p-values and max-T adjusted ones of scores `[..., k]` and `[..., P, k]`: `[..., k]` each, on the host."""
    observed, dealt = np.asarray(found.observed), np.asarray(found.dealt)
    shape = observed.shape[:-1]
    empty = jnp.zeros(0)
    tests = [tcav.significance(Scores(observed[i], dealt[i], empty)) for i in np.ndindex(*shape)]
    own, adjusted = np.stack([test.p for test in tests]), np.stack([test.adjusted for test in tests])
    return own.reshape(observed.shape), adjusted.reshape(observed.shape)
