"""One split of a set of contrast pairs: what CCS, its relatives and its controls find, by layer, restart and sign.

Groups are divided into rows to train with (no label is used, but by a regression that is told them), rows on which the
layer and the sign are chosen, and rows that are scored. One seed here; nothing is jitted. `experiments/probe_ccs.py`
asks with it what CCS finds.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from interp_jax.core import keys
from interp_jax.core.types import Array, ArrayLike, Key
from interp_jax.linear import logistic
from interp_jax.probes import ccs, contrast, crc, vinc
from interp_jax.probes.contrast import Spread

STRENGTHS = (0.0, 0.03, 0.1, 0.3, 1.0)
"""Of a planted direction: the norm it adds to each side, in those of a centred state."""
NULLS = 100
"""How often the labels of groups are turned at random."""


class How(NamedTuple):
    """Settings of CCS (`ccs.fit`). restarts, epochs: integers. spread: what centred sides are divided by."""

    restarts: int
    epochs: int
    lr: ArrayLike
    spread: Spread


class Rows(NamedTuple):
    """Pairs of one set. plain, untrained, distracted: states `[N, V, 2, L, D]`. labels, words: `[N]`.

    Rows lie by group, as many in each. words: which irrelevant word stands in both distracted statements.
    """

    plain: Array
    untrained: Array
    distracted: Array
    labels: Array
    words: Array


class Divided(NamedTuple):
    """One seed's split of `[N, ...]`: rows to train, to choose and to test with."""

    train: Any
    choose: Any
    test: Any


def balanced(key: Key, means: Array) -> Array:
    """Give an order of groups `[G]` in which every stretch has about as many of mean label above 1/2 as below.

    Groups of one label each that are split without regard to it leave fewer of a label to one part where another has
    more, and a sign chosen on the one is then wrong on the other more often than by chance.
    """
    order = jax.random.permutation(key, len(means))
    kind = jax.nn.one_hot(jnp.sign(means[order] - 0.5).astype(jnp.int32) + 1, 3)
    place = (jnp.cumsum(kind, 0) - 0.5) / jnp.maximum(jnp.sum(kind, 0), 1)[None]
    return order[jnp.argsort(jnp.sum(kind * place, 1), stable=True)]


def ends(count: int) -> tuple[int, int]:
    """Give where the groups to train with end and where those to choose with do: even, so that labels balance."""
    first = 2 * (count // 4)
    return first, first + 2 * ((count - first + 2) // 4)


def divide(order: Array, values: Array) -> Divided:
    """Split values `[N, ...]` by an order of their groups: a half, a quarter, a quarter, as near as `ends` are."""
    count, (first, second) = len(order), ends(len(order))
    by_group = values.reshape(count, len(values) // count, *values.shape[1:])[order]
    parts = by_group[:first], by_group[first:second], by_group[second:]
    return Divided(*(part.reshape(-1, *values.shape[1:]) for part in parts))


def by_layer(states: Array) -> Array:
    """Bring layers `[N, V, 2, L, D]` to the front."""
    return jnp.moveaxis(states, 3, 0)


def centred(x: Divided) -> Divided:
    """Subtract from states `[N, V, 2, D]` the means of the training rows, of each paraphrase and side by itself.

    The words in which a pair ends are what tells its sides apart, and they differ between paraphrases. Centred over all
    paraphrases together, each keeps its own words' mean, and a probe that gives one ending 1 and the other 0, either
    way round for each paraphrase, has no loss at all and knows nothing of truth.
    """
    return Divided(*(part - x.train.mean(0)[None] for part in x))


def together(states: Array) -> Array:
    """Take paraphrases as pairs of their own: `[N, V, 2, D]` -> `[N V, 2, D]`."""
    return states.reshape(-1, *states.shape[2:])


def averaged(score: Array, like: Array) -> Array:
    """Average scores `[N V]` over paraphrases."""
    return score.reshape(like.shape[:2]).mean(1)


def search(how: How, key: Key, x: Divided) -> tuple[ccs.Fit, Divided, Array]:
    """Train all restarts at one layer; give them, with scores `[R, n]` of each part, and tested as the peer does."""
    spread, own_test = how.spread, x.test - x.test.mean(0)[None]
    x = centred(x)
    fits = jax.vmap(lambda k: ccs.fit(together(x.train), k, spread=spread, lr=how.lr, steps=how.epochs))(
        jax.random.split(key, how.restarts)
    )

    def scores(part: Array) -> Array:
        return jax.vmap(lambda found: averaged(ccs.credence(found, together(part)) - 0.5, part))(fits)

    own = jax.vmap(lambda found: averaged(ccs.transductive(found, together(own_test), spread=spread) - 0.5, own_test))(
        fits
    )
    return fits, Divided(*(scores(part) for part in x)), own


def chosen(choose: Array, y: Array, test: Array, y_test: Array) -> tuple[Array, Array]:
    """Give the accuracy on test rows of the candidate that is best on others, with the sign it has there; and which.

    choose: `[K, n]`. test: `[K, m]`.
    """
    signs = jax.vmap(contrast.orientation, (0, None))(choose, y)
    right = jax.vmap(contrast.accuracy, (0, None))(signs[:, None] * choose, y)
    best = jnp.argmax(right)
    return contrast.accuracy(signs[best] * test[best], y_test), best


def searched(how: How, key: Key, parts: Divided) -> tuple[Divided, dict[str, Any]]:
    """Train at every layer; give the scores `[L, n]` of the restart of the lowest loss, and all of them."""
    fits, scores, own = jax.lax.map(lambda each: search(how, each[0], each[1]), (
        jax.random.split(key, len(by_layer(parts.train))), Divided(*(by_layer(part) for part in parts)),
    ))  # fmt: skip
    best = jax.vmap(ccs.lowest)(fits)
    take = jax.vmap(lambda values, i: values[i])
    more = {"all": scores, "loss": fits.loss, "degenerate": fits.degenerate, "best": best, "own": take(own, best)}
    return Divided(*(take(part, best) for part in scores)), more


def directions(how: How, key: Key, y: Divided, x: Divided) -> dict[str, Divided]:
    """Give the scores of directions in closed form, and of labels, at one layer: each `[n]`."""
    x = centred(x)
    spread, flat = how.spread, together(x.train)
    starts = jax.vmap(lambda k: crc.bimodal_salience(flat, k, spread=spread))(jax.random.split(key, how.restarts))
    top = crc.top_component(flat, spread=spread)
    differences = contrast.differences(contrast.normalise(flat, top.normal))
    told = logistic.fit(differences, jnp.repeat(y.train, x.train.shape[1]), 1.0)
    found = {
        "crc": top,
        "bss": jax.tree.map(lambda leaf: leaf[jnp.argmin(starts.value)], starts),
        "relaxed": crc.relative_consistency(flat, spread=spread, ridge=1e-2),
        "vinc": vinc.fit(x.train, spread=spread),
        "told": top._replace(weight=told.weight[:, 0]),
        "random": top._replace(weight=jax.random.normal(keys.stream(key, "random"), top.weight.shape)),
    }
    return {
        name: Divided(*(averaged(crc.score(one, together(part)), part) for part in x)) for name, one in found.items()
    }


def restarts(more: dict[str, Any], layer: Array, y: Divided) -> dict[str, Array]:
    """Give the accuracies of all restarts at a layer, each with the sign of other rows, and their losses: `[R]`."""
    choose, test = more["all"].choose[layer], more["all"].test[layer]
    signs = jax.vmap(contrast.orientation, (0, None))(choose, y.choose)
    right = jax.vmap(contrast.accuracy, (0, None))(signs[:, None] * test, y.test)
    return {
        "restart_accuracy": right, "restart_loss": more["loss"][layer],
        "degenerate": jnp.mean(more["degenerate"].astype(jnp.float32)),
    }  # fmt: skip


def nulls(key: Key, scores: Divided, y: Divided, groups: tuple[int, int]) -> dict[str, Array]:
    """Turn the labels of each group at random, and give what the same choices score then, on average.

    null: layer and sign chosen on other rows. null_folded: the largest of all layers' accuracies on the rows that are
    scored, with the better sign of each.
    """

    def turned(key: Key, labels: Array, count: int) -> Array:
        return labels ^ jnp.repeat(jax.random.bernoulli(key, 0.5, (count,)), len(labels) // count).astype(labels.dtype)

    def one(key: Key) -> tuple[Array, Array]:
        choose, test = (turned(jax.random.fold_in(key, i), each, groups[i]) for i, each in enumerate(y[1:]))
        right = jax.vmap(contrast.accuracy, (0, None))(scores.test, test)
        return chosen(scores.choose, choose, scores.test, test)[0], jnp.max(jnp.maximum(right, 1 - right))

    apart, folded = jax.lax.map(one, jax.random.split(key, NULLS))
    return {"null": jnp.mean(apart), "null_folded": jnp.mean(folded)}


def planted(how: How, key: Key, x: Divided, y: Divided) -> dict[str, Array]:
    """Plant a direction in the last layer's states, independent of truth, and give with which of them CCS agrees."""
    of_u, of_labels, of_fit = jax.random.split(key, 3)
    width = x.train.shape[-1]
    u = jax.random.normal(of_u, (width,))
    centred = together(x.train) - together(x.train).mean(0)[None]
    u = u / jnp.linalg.norm(u) * jnp.sqrt(jnp.mean(jnp.sum(centred**2, -1)))
    labels = Divided(*(jax.random.bernoulli(jax.random.fold_in(of_labels, i), 0.5, each.shape).astype(each.dtype)
                       for i, each in enumerate(y)))  # fmt: skip

    def one(strength: Array) -> tuple[Array, Array]:
        def moved(part: Array, label: Array) -> Array:
            flip = (2.0 * label - 1)[:, None, None, None] * jnp.array([1.0, -1.0])[None, None, :, None]
            return part + strength * flip * u[None, None, None]

        fits, scores, _ = search(how, of_fit, Divided(*(moved(*each) for each in zip(x, labels, strict=True))))
        best = Divided(*(part[ccs.lowest(fits)][None] for part in scores))
        of_truth, of_other = (chosen(best.choose, each.choose, best.test, each.test)[0] for each in (y, labels))
        return of_truth, of_other

    truth, other = jax.lax.map(one, jnp.array(STRENGTHS))
    return {"planted_truth": truth, "planted_other": other}


def one_split(how: How, count: int, key: Key, rows: Rows) -> dict[str, Array]:
    """Measure one seed on one set of pairs."""
    order = balanced(keys.stream(key, "split"), rows.labels.reshape(count, -1).mean(1))
    first, second = ends(count)
    y, words = divide(order, rows.labels), divide(order, rows.words)
    x = divide(order, rows.plain)
    draw = keys.stream(key, "restarts")
    scores, more = searched(how, draw, x)
    dealt = x._replace(train=contrast.broken(x.train.swapaxes(2, 3), draw).swapaxes(2, 3))
    every = jax.lax.map(lambda each: directions(how, each[0], y, each[1]), (
        jax.random.split(keys.stream(key, "directions"), rows.plain.shape[3]), Divided(*(by_layer(part) for part in x)),
    ))  # fmt: skip
    every |= {
        "ccs": scores,
        "broken": searched(how, draw, dealt)[0],
        "untrained": searched(how, draw, divide(order, rows.untrained))[0],
    }
    found = {name: chosen(each.choose, y.choose, each.test, y.test)[0] for name, each in every.items()}
    _, layer = chosen(scores.choose, y.choose, scores.test, y.test)
    right = jax.vmap(contrast.accuracy, (0, None))(more["own"], y.test)
    found["peer"] = jnp.max(jnp.maximum(right, 1 - right))
    found["transductive"], _ = chosen(scores.choose, y.choose, more["own"], y.test)
    distracted, _ = searched(how, draw, divide(order, rows.distracted))
    for name, label in (("distracted_truth", y), ("distracted_other", words)):
        found[name], _ = chosen(distracted.choose, label.choose, distracted.test, label.test)
    for name in ("ccs", "told"):
        signs = jax.vmap(contrast.orientation, (0, None))(every[name].choose, y.choose)
        found[f"layers_{name}"] = jax.vmap(contrast.accuracy, (0, None))(signs[:, None] * every[name].test, y.test)
    sign = contrast.orientation(scores.choose[layer], y.choose)
    correct = ((sign * scores.test[layer] > 0) == (y.test == 1)).astype(jnp.float32)
    tested = order[second:]
    found["by_group"] = jnp.full(count, -1.0).at[tested].set(correct.reshape(len(tested), -1).mean(1))
    last = Divided(*(by_layer(part)[-1] for part in x))
    sizes = second - first, count - second
    return found | restarts(more, layer, y) | nulls(keys.stream(key, "null"), scores, y, sizes) | planted(
        how, keys.stream(key, "planted"), last, y
    )  # fmt: skip
