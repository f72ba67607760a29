"""Semantic bottlenecks on scenes that can be rendered anew: nets, their training, what maps tell, and edits of them.

An edit of maps is valid if the decision from the edited maps is the decision from the picture of the changed scene. It
is asked where the net decides both pictures rightly, so that it is not the encoder that is blamed, and apart for
changes that change the label and changes that do not.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats

from interp_jax.concepts import bottleneck, metrics, semantic, training
from interp_jax.concepts.losses import Terms
from interp_jax.concepts.model import ConceptModel, Encoded, Levels, with_levels
from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.data import concept_sets, scenes
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.data.scenes import CONCEPTS, Pair, World
from interp_jax.train.trainer import Trainer, holding

STRIPED = CONCEPTS.index("striped")
AT_ONCE = 100  # images


KINDS = (bottleneck.SIGMOID, bottleneck.LOGIT, bottleneck.HARD)
CELLS = {
    "together": {"joint": (0, 1, 1), "logits": (1, 1, 1), "untaught": (0, 0, 1), "no stripes": (0, 1, 0)},
    "in turn": {"sequential": (0, 1, 1), "hard": (2, 1, 1)},
    "plain": {"plain": (0, 0, 1)},
}
"""By program, kinds of net: which of KINDS the head is told, whether concepts are taught, whether all of them are."""


class Nets(NamedTuple):
    """How nets are made and trained; static. channels: of the convolutions before the maps. after: of those after.

    scenes: that a seed trains on. epochs: in all; trained in turn, the maps have as many, and then the head. lr: of
    Adam, falling to zero along a cosine. weight: of the concepts' loss beside the task's, in joint training.
    """

    channels: tuple[int, int, int] = (16, 24, 24)
    after: tuple[int, int] = (16, 32)
    scenes: int = 3200
    epochs: int = 6
    batch: int = 16
    lr: float = 6e-3
    weight: float = 10.0


class Data(NamedTuple):
    """pool: scenes to train on. chosen, scored: to choose thresholds on and to score. pairs: before and after."""

    pool: ConceptSet
    chosen: ConceptSet
    scored: ConceptSet
    pairs: Pair


def draw(world: World, key: Key, *, pool: int, tested: int, pairs: int) -> Data:
    """Draw scenes and changes; chosen and scored are `tested` scenes each."""
    checks.whole(1, pool=pool, tested=tested, pairs=pairs)
    every = concept_sets.draw(scenes.generator(world), keys.stream(key, "scenes"), pool + 2 * tested)
    cut = lambda first, last: jax.tree.map(lambda leaf: leaf[first:last], every)  # noqa: E731
    drawn = jax.vmap(lambda key: scenes.pair(key, world))(jax.random.split(keys.stream(key, "pairs"), pairs))
    return Data(cut(0, pool), cut(pool, pool + tested), cut(pool + tested, None), drawn)


def build(nets: Nets, world: World, name: str, cell: Mapping[str, Any]) -> ConceptModel:
    """Make a net of one of CELLS' programs; the plain one tells its head all features, and learns no concept.

    cell: `kind`, of KINDS, and `whole`, 0 to leave stripes out; may be traced.
    """
    side, k = world.places, sum(nets.channels) if name == "plain" else len(CONCEPTS)
    features = semantic.stacked((world.side, world.side, 1), nets.channels, (2, 2, 1))
    head = semantic.counter((side, side, k), nets.after, world.classes, cell=world.pixels // world.block)
    if name == "plain":
        plain = semantic.semantic(features, head, k, kind=bottleneck.LOGIT)
        return dataclasses.replace(plain, likelihood=lambda *_: Terms(jnp.zeros(1), jnp.zeros(1)))
    encoder = semantic.chain(features, semantic.readout((side, side, sum(nets.channels)), k))
    known = (jnp.arange(k) != STRIPED) | (jnp.asarray(cell["whole"]) > 0)
    return semantic.semantic(encoder, head, k, kind=bottleneck.one_of(KINDS, cell["kind"]), known=known)


def trainer(nets: Nets, world: World, name: str, **cell: Array) -> Trainer:
    """Make the Trainer of one run; a step is an epoch over scenes of the pool, its data, that its seed takes.

    cell: as in `build`; `taught`, 0 for a task alone; `seed`.
    """
    fall = optax.scale_by_schedule(optax.cosine_decay_schedule(1.0, -(-nets.scenes // nets.batch) * nets.epochs))
    recipe = training.Recipe(batch=nets.batch, direction=optax.chain(optax.scale_by_adam(), fall))
    model = build(nets, world, name, cell)
    if name == "in turn":
        inner = training.sequential(model, recipe, lr=nets.lr, epochs=nets.epochs)
    else:
        inner = training.joint(model, recipe, lr=nets.lr, concept_weight=nets.weight * cell["taught"])

    def own(pool: ConceptSet, cell: dict[str, Array]) -> ConceptSet:
        key = keys.at(keys.stream(jax.random.key(2021), "scenes"), cell["seed"].astype(jnp.uint32))
        rows = jax.random.permutation(key, len(pool.labels))[: nets.scenes]
        return jax.tree.map(lambda leaf: leaf[rows], pool)

    return holding(inner, cell, own)


def encode(model: ConceptModel, params: PyTree, *images: Array) -> list[Encoded]:
    """Encode several sets of images, one after another; each stacked."""
    found = jax.lax.map(lambda x: model.encode(params, x), jnp.concatenate(images), batch_size=AT_ONCE)
    ends = np.cumsum([0, *map(len, images)])
    return [jax.tree.map(lambda leaf, i=i: leaf[ends[i] : ends[i + 1]], found) for i in range(len(images))]


def decide(model: ConceptModel, params: PyTree, *maps: Array) -> list[Array]:
    """Give the task's logits `[N, C]` from several sets of maps `[N, H, W, k]`."""

    def one(each: Array) -> Array:
        return model.head(params, semantic.strongest(each), each)

    found = jax.lax.map(one, jnp.concatenate(maps), batch_size=AT_ONCE)
    return jnp.split(found, np.cumsum([len(each) for each in maps])[:-1])


def measure(
    model: ConceptModel, params: PyTree, data: Data, *, rows: int, unbounded: ArrayLike = 0
) -> dict[str, Array]:
    """Measure one net: its maps, what they tell beyond their names, and whether edits of them are followed.

    accuracy, told: `[]`, of the task from own maps and from true masks. auc, iou: `[5]`, over places. area: `[]`, of
    inspectability. See `beyond` and `follows` for the others. maps: of what is scored, `[N, H, W, 5]`.

    rows: places for `beyond`. unbounded: 1 where the head is told logits, so that levels are `semantic.levels` of the
    chosen scenes; may be traced.
    """
    parts = (data.chosen, data.scored, data.pairs.before, data.pairs.after)
    chosen, scored, was, new = encode(model, params, *(part.inputs for part in parts))
    both = semantic.levels(chosen.hidden, data.chosen.concepts)
    low, high = (
        jnp.where(jnp.asarray(unbounded) > 0, level, unit) for level, unit in zip(both, (0.0, 1.0), strict=True)
    )
    model = with_levels(model, Levels(low, high))
    change = jax.vmap(semantic.towards)(data.pairs.after.concepts, data.pairs.before.concepts)
    by = 1 + jnp.arange(len(data.pairs.kind)) % (model.concepts - 1)
    edited = jax.vmap(lambda maps, edit: semantic.edited(model, maps, edit))
    truth = edited(scored.rest, jax.vmap(semantic.towards)(data.scored.concepts))
    wrong = edited(was.rest, jax.vmap(semantic.misplaced)(change, by))
    own, told, *tasks = decide(model, params, scored.rest, truth, was.rest, new.rest, edited(was.rest, change), wrong)
    masks = (data.scored.concepts > 0.5).astype(jnp.float32)
    return {
        "accuracy": metrics.task_accuracy(own, data.scored.labels),
        "told": metrics.task_accuracy(told, data.scored.labels),
        "auc": metrics.concept_auc(_flat(scored.hidden), _flat(masks)),
        "iou": semantic.iou(scored.hidden > 0, data.scored.concepts),
        "area": inspected(chosen.rest, scored.rest, data),
        "maps": scored.rest,
        **beyond(scored.rest, masks, rows=rows),
        **follows(data.pairs, *tasks),
    }


def inspected(chosen: Array, scored: Array, data: Data) -> Array:
    """Give the area under the inspectability curve of maps `[N, H, W, D]`, `[]`."""
    masks = data.chosen.concepts, data.scored.concepts
    return semantic.inspectability(_flat(chosen), _flat(masks[0]), _flat(scored), _flat(masks[1])).area


def beyond(maps: Array, masks: Array, *, rows: int) -> dict[str, Array]:
    """Measure what maps tell beyond their names, at the first `rows` places of shapes.

    There stripes are independent of all else. nats: `[]`, about stripes in the other channels, given the masks of their
    concepts. impurity: `[]`, oracle impurity of all maps. maps: `[N, H, W, 5]`. masks: alike, 0 and 1.
    """
    there = masks[..., : scenes.CROSS].sum(-1).reshape(-1)
    at = jax.lax.top_k(there, rows)[1]  # the first of them; scenes are in no order
    values, truth = _flat(maps)[at], _flat(masks)[at]
    others = jnp.array([i for i in range(len(CONCEPTS)) if i != STRIPED])
    stripes = truth[:, STRIPED].astype(jnp.int32)
    told = metrics.conditional_leakage(values[:, others], truth[:, others], stripes, classes=2)
    return {"nats": told.nats, "impurity": metrics.oracle_impurity(values, truth).score}


def follows(pairs: Pair, start: Array, goal: Array, moved: Array, wrong: Array) -> dict[str, Array]:
    """Compare decisions from edited maps with those from pictures of the changed scenes.

    follows, stays: `[]`, the share of changes that change the label, or leave it, after whose edit the decision is that
    of the new picture, among those whose pictures are decided rightly. wrong: as follows, after the same edit on
    another channel. by kind: `[5]`, follows of each of KINDS. asked: `[]`, how many changes follows is of. agreement:
    `[]`, the correlation of the changes of all logits by the edit with those by the new picture, of all changes. NaN
    for shares of nothing.

    start, goal, moved, wrong: logits `[N, C]` of the first picture, the new one, and the two edits.
    """
    knows = (start.argmax(1) == pairs.before.labels) & (goal.argmax(1) == pairs.after.labels)
    matters = pairs.before.labels != pairs.after.labels
    right, control = moved.argmax(1) == goal.argmax(1), wrong.argmax(1) == goal.argmax(1)

    def share(hit: Array, among: Array) -> Array:
        return jnp.sum(hit & among) / jnp.sum(among)

    kinds = jnp.arange(len(scenes.KINDS))
    return {
        "follows": share(right, knows & matters),
        "wrong": share(control, knows & matters),
        "stays": share(right, knows & ~matters),
        "by kind": jax.vmap(lambda kind: share(right, knows & matters & (pairs.kind == kind)))(kinds),
        "asked": jnp.sum(knows & matters).astype(jnp.float32),
        "agreement": jnp.corrcoef((moved - start).reshape(-1), (goal - start).reshape(-1))[0, 1],
    }


def ceiling(data: ConceptSet, world: World) -> float:
    """Give the accuracy of the best guess from true masks of all concepts but stripes, on scenes as they are drawn.

    Bright hearts can be counted; of n squares each is striped with probability 1/2, and the best guess is the mode.
    """
    block = world.cells, world.pixels // world.block
    squares = np.asarray(data.concepts)[..., CONCEPTS.index("square")].reshape(-1, *block, *block)
    n = (squares.max((2, 4)) > 0.5).sum((1, 2))
    return float(stats.binom.pmf(n // 2, n, 0.5).mean())


def _flat(maps: Array) -> Array:
    """Give the places of maps `[N, H, W, k]` as rows."""
    return maps.reshape(-1, maps.shape[-1])
