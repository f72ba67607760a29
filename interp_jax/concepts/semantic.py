"""Semantic bottlenecks: a layer of dense concept maps that all of a net's decision passes (Losch, Fritz, Schiele 2019).

    x --encoder--> logits of concepts at every place [H, W, k] --told--> maps --head--> the task

Supervised place by place: concept labels are masks `[H, W, k]` in [0, 1], NaN where nobody knows. In the paper (and
its follow-up, "Semantic bottlenecks: quantifying and improving inspectability", 2021) a linear readout of features of
several depths of a trained net makes the maps, and the rest of the net is trained again on top; `stacked` and `chain`
make such an encoder. It is a `ConceptModel`, so it is trained by `concepts.training` (jointly, or the maps first and
then the head), on a `ConceptSet` whose concepts are `[N, H, W, k]`.

Of an image as a whole a concept is there if it is at some place: what `Given` says of it, and `Output.values`, is the
largest of its map. Told another value, a map changes as little as it can (`lifted`). So interventions and metrics for
`[k]` concepts work on a semantic bottleneck too, with `at_images(data)`. Interventions on maps are `Edit`s.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.concepts import losses
from interp_jax.concepts.bottleneck import SIGMOID, Kind
from interp_jax.concepts.losses import ConceptLoss, Terms
from interp_jax.concepts.model import (
    ConceptModel,
    Encoded,
    Given,
    Groups,
    Levels,
    Output,
    check_groups,
)
from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.models.nets import Conv, Dense, Net, functional


def semantic(
    encoder: Net,
    head: Net,
    concepts: int,
    *,
    kind: Kind = SIGMOID,
    groups: Groups = (),
    loss: ConceptLoss | None = None,
    known: ArrayLike | None = None,
) -> ConceptModel:
    """Make a semantic bottleneck. `Encoded.rest` are the maps that the head is told, `hidden` their logits.

    Args:
        encoder: from x to logits `[H, W, concepts]`.
        head: from maps `[H, W, concepts]` to `[C]`.
        concepts: k.
        kind: what the head is told of each place: SIGMOID, LOGIT, HARD or STRAIGHT_THROUGH.
        groups: of concepts of which exactly one is true AT A PLACE (then one of them is the ground). As an image can
            hold several of them, the model itself has no groups.
        loss: of one place, `losses.concept_loss(groups=groups)` if None.
        known: `[k]` bool, which concepts there are; the head is told 0 of others, and their masks are not learnt. May
            be traced, so that bottlenecks of different concepts are one program.

    Raises:
        ValueError: k = 0, an encoder with other than k channels, groups that overlap or do not exist, masks that are
            not the maps' shape.
    """
    checks.whole(1, concepts=concepts)
    fixed = check_groups(groups, concepts)
    of_place = losses.concept_loss(groups=fixed) if loss is None else loss
    there = jnp.ones(concepts, bool) if known is None else jnp.asarray(known)
    chex.assert_shape(there, (concepts,))

    def init(key: Key) -> PyTree:
        first, second = jax.random.split(key)
        return {"encoder": encoder.init(first), "head": head.init(second)}

    def encode(params: PyTree, x: Array) -> Encoded:
        logits = encoder.apply(params["encoder"], x)
        if logits.ndim != 3 or logits.shape[2] != concepts:
            raise ValueError(f"want an encoder with maps [H, W, {concepts}], got shape {logits.shape}")
        told = each_place(lambda place: jnp.where(there, kind.tell(place, fixed), 0), logits)
        return Encoded(strongest(log_odds(logits, fixed)), told, logits)

    def values(params: PyTree, encoded: Encoded, given: Given, key: Key | None) -> Array:
        return jnp.where(given.mask & there, given.concepts, strongest(encoded.rest))

    def decide(params: PyTree, values: Array, rest: Array) -> Array:
        return head.apply(params["head"], lifted(rest, values))

    def predict(params: PyTree, encoded: Encoded, key: Key | None) -> Array:
        return jax.nn.sigmoid(encoded.logits)

    def likelihood(params: PyTree, encoded: Encoded, masks: Array, key: Key) -> Terms:
        if masks.shape != encoded.hidden.shape:
            raise ValueError(f"want masks of the maps' shape {encoded.hidden.shape}, got {masks.shape}")
        return jax.vmap(jax.vmap(of_place))(encoded.hidden, jnp.where(there, masks, jnp.nan))

    return ConceptModel(
        concepts, init, encode, values, decide, predict, likelihood=likelihood, levels=Levels(kind.low, kind.high)
    )


def each_place(f: Callable[[Array], Array], maps: Array) -> Array:
    """Apply a function of one place's concepts, `[k] -> [...]`, to maps `[H, W, k]`."""
    return jax.vmap(jax.vmap(f))(maps)


def log_odds(logits: Array, groups: Groups = ()) -> Array:
    """Give maps whose sigmoid is the probability of each concept at each place, `[H, W, k]`.

    A binary concept's is its logit; in a group it is `z_i - log sum_(j != i) exp z_j`.
    """
    chex.assert_rank(logits, 3)
    found = logits
    for group in check_groups(groups, logits.shape[2]):
        for i in group:
            others = jnp.array([j for j in group if j != i])
            rest = jax.nn.logsumexp(logits[:, :, others], axis=2)
            found = found.at[:, :, i].set(logits[:, :, i] - rest)
    return found


def strongest(maps: Array) -> Array:
    """Give the largest of each map, `[H, W, k] -> [k]`; the gradient is of the first place that has it."""
    flat = maps.reshape(-1, maps.shape[2])
    return jnp.take_along_axis(flat, flat.argmax(0)[None], 0)[0]


def lifted(maps: Array, values: Array) -> Array:
    """Give the maps nearest to `maps [H, W, k]` whose largest is `values [k]`, in any norm: nothing moves needlessly.

    What is above the value comes down to it; if nothing reaches it, the strongest place is raised. Told its own
    strongest a map stays as it is, exactly.

    >>> lifted(jnp.array([[[0.2], [0.6], [0.9]]]), jnp.array([0.5]))[0, :, 0].round(1).tolist()
    [0.20000000298023224, 0.5, 0.5]
    """
    chex.assert_shape(values, (maps.shape[2],))
    flat = maps.reshape(-1, maps.shape[2])
    level = jnp.broadcast_to(values[None], flat.shape)
    at = jnp.arange(len(flat))[:, None] == flat.argmax(0)[None]
    return jnp.where(at | (flat > level), level, flat).reshape(maps.shape)


class Edit(NamedTuple):
    """An intervention on maps. weight: `[H, W, k]` in [0, 1], how far a place is replaced. concepts: `[H, W, k]`, by.

    concepts are in [0, 1], false to true, and ignored where the weight is 0; a model's `levels` say what it is told.
    """

    weight: Array
    concepts: Array


def everywhere(shape: Sequence[int], concept: int, value: ArrayLike) -> Edit:
    """Say one value of a concept at every place of maps of this shape, `(H, W, k)`: 0 takes it out of the picture.

    Raises:
        ValueError: a concept that is not there.
    """
    return within(jnp.ones(tuple(shape[:2])), concept, shape[2], value)


def within(region: Array, concept: int, concepts: int, value: ArrayLike) -> Edit:
    """Say one value of a concept in a region `[H, W]` of shares in [0, 1]: 1 puts it there, 0 takes it away.

    Raises:
        ValueError: a concept that is not there, a region outside [0, 1].
    """
    chex.assert_rank(region, 2)
    checks.entries(0, 1, region=region)
    checks.entries(0, 1, value=value)
    if not 0 <= concept < concepts:
        raise ValueError(f"want a concept among 0 .. {concepts - 1}, got {concept}")
    weight = jnp.zeros((*region.shape, concepts)).at[:, :, concept].set(region)
    return Edit(weight, jnp.broadcast_to(jnp.asarray(value, jnp.float32), weight.shape))


def towards(after: Array, before: Array | None = None) -> Edit:
    """Say what masks `after` `[H, W, k]` say: everywhere that they are known, or only where they differ from before."""
    chex.assert_rank(after, 3)
    checks.entries(0, 1, after=jnp.nan_to_num(after))
    known = ~jnp.isnan(after)
    if before is not None:
        chex.assert_equal_shape([after, before])
        known = known & (after != before)
    return Edit(known.astype(jnp.float32), after)


def misplaced(edit: Edit, by: ArrayLike) -> Edit:
    """Write the same on other channels, `by` further on: the control of an edit, of equal size. by: may be traced."""
    return Edit(jnp.roll(edit.weight, by, 2), jnp.roll(edit.concepts, by, 2))


def edited(model: ConceptModel, maps: Array, edit: Edit) -> Array:
    """Give the maps `[H, W, k]` after an edit, at the model's levels."""
    chex.assert_equal_shape([maps, edit.weight, edit.concepts])
    low, high = (jnp.broadcast_to(jnp.asarray(level, maps.dtype), maps.shape) for level in model.levels)
    said = jnp.where(edit.weight > 0, edit.concepts, 0.0)
    return maps + edit.weight * (low + said * (high - low) - maps)


def decide_maps(model: ConceptModel, params: PyTree, encoded: Encoded, edit: Edit | None = None) -> Output:
    """Go on from the encoder with edited maps; `model.decide` is for concepts of the image as a whole."""
    maps = encoded.rest if edit is None else edited(model, encoded.rest, edit)
    values = strongest(maps)
    return Output(model.predict(params, encoded, None), values, model.head(params, values, maps))


def levels(logits: Array, masks: Array) -> Levels:
    """Give what stands for false and true where the head is told logits: their medians at places without and with.

    The percentiles of `interventions.levels` are of all places, of which a concept may cover less than one in twenty.

    logits: `[N, H, W, k]`, of training examples. masks: of the same shape; above 1/2 is there, NaN counts for neither.
    NaN for a concept that is nowhere, or everywhere.
    """
    chex.assert_equal_shape([logits, masks])

    def of(there: Array) -> Array:
        return jnp.nanmedian(jnp.where(there, logits, jnp.nan), (0, 1, 2))

    return Levels(of(masks <= 0.5), of(masks > 0.5))


def presence(masks: Array) -> Array:
    """Tell of each concept whether it is at some place, `[H, W, k] -> [k]`: NaN if it may be where nobody knows.

    >>> presence(jnp.array([[[1.0, 0.0, 0.0], [jnp.nan, jnp.nan, 0.4]]])).tolist()
    [1.0, nan, 0.0]
    """
    chex.assert_rank(masks, 3)
    unknown, there = jnp.isnan(masks).any((0, 1)), (masks > 0.5).any((0, 1))
    return jnp.where(there, 1.0, jnp.where(unknown, jnp.nan, 0.0))


def at_images(data: ConceptSet) -> ConceptSet:
    """Give a set with concepts of the images, `[N, k]`, in place of masks: for interventions and metrics."""
    return data._replace(concepts=jax.vmap(presence)(data.concepts))


def check(data: ConceptSet, concepts: int) -> ConceptSet:
    """Give a set back whose masks a semantic bottleneck can learn from; missing places are NaN.

    Raises:
        ValueError: masks of another rank, more or fewer than k of them, or outside [0, 1].
    """
    checks.whole(1, concepts=concepts)
    masks = np.asarray(data.concepts)
    if masks.ndim != 4 or masks.shape[3] != concepts or len(masks) != len(data.inputs):
        raise ValueError(f"want masks [{len(data.inputs)}, H, W, {concepts}], got shape {masks.shape}")
    outside = masks[(masks < 0) | (masks > 1)]
    if outside.size:
        raise ValueError(f"want masks in [0, 1], or NaN where unknown, got {outside[0]}")
    return data


def iou(said: Array, masks: Array) -> Array:
    """Give `|said and true| / |said or true|` of each concept, `[k]`; NaN where both are empty.

    said: `[..., k]` bool. masks: `[..., k]`, above 1/2 is true, NaN does not count.
    """
    chex.assert_equal_shape([said, masks])
    over = tuple(range(said.ndim - 1))
    true, known = masks > 0.5, ~jnp.isnan(masks)
    return jnp.sum(said & true, over) / jnp.sum((said & known) | true, over)


class Inspectability(NamedTuple):
    """area: `[]`. each: `[D]`, of channels. concept: `[D]` int32, theirs. threshold: `[D]`, above which they say it."""

    area: Array
    each: Array
    concept: Array
    threshold: Array


def inspectability(values: Array, masks: Array, scored_values: Array, scored_masks: Array) -> Inspectability:
    """Give the area under the inspectability curve: how many channels tell a concept's places, over how well.

    A channel says a concept where it is above a threshold. The score of channel and concept is the mean of two IoUs,
    of the concept and of its absence; a channel that says nothing has at most 1/2. Concept and threshold are those of
    the highest score on `values`, among all thresholds; the score is taken on `scored_values`. The curve is the share
    of channels whose score exceeds t; the area is that over t from 1/2 to 1, doubled: `mean max(0, 2 score - 1)`.

    In the manner of AUiC (Losch et al. 2021), whose text could not be had: that channels are matched to one concept
    each by IoU at calibrated thresholds is theirs, these very formulas are to be compared with it before a number is
    set beside the paper's.

    values: `[P, D]`. masks: `[P, k]`, above 1/2 is true; NaN does not count. NaN for a concept that never varies.
    """
    chex.assert_rank([values, masks, scored_values, scored_masks], 2)
    chex.assert_equal_shape_prefix([values, masks], 1)
    chex.assert_equal_shape_prefix([scored_values, scored_masks], 1)

    def channel(pair: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        value, scored = pair
        best, cut = jax.vmap(lambda mask: _best_cut(value, mask), 1)(masks)
        concept = jnp.argmax(jnp.where(jnp.isnan(best), -1, best))
        own = scored_masks[:, concept]
        absent = jnp.where(jnp.isnan(own), jnp.nan, own <= 0.5)  # not 1 - own: a half is absent
        both = jnp.stack([own, absent], 1)
        said = scored > cut[concept]
        return iou(jnp.stack([said, ~said], 1), both).mean(), concept.astype(jnp.int32), cut[concept]

    each, concept, threshold = jax.lax.map(channel, (values.T, scored_values.T))
    return Inspectability(jnp.mean(jnp.clip(2 * each - 1, 0, 1)), each, concept, threshold)


def _best_cut(value: Array, mask: Array) -> tuple[Array, Array]:
    """Find the threshold of the highest mean IoU of a concept and its absence: the score and the threshold."""
    order = jnp.argsort(-value)
    value, mask = value[order], mask[order]
    said_true, said_false = jnp.cumsum(mask > 0.5), jnp.cumsum(mask <= 0.5)  # of the first 1, 2, ... places
    true, false = said_true[-1], said_false[-1]
    score = (said_true / (true + said_false) + (false - said_false) / (false + true - said_true)) / 2
    below = jnp.append(value[1:], value[-1] - 1)
    at = jnp.argmax(jnp.where(value > below, score, -1))  # between equal values there is no threshold
    undefined = (true == 0) | (false == 0)
    return jnp.where(undefined, jnp.nan, score[at]), (value[at] + below[at]) / 2


def stacked(shape: Sequence[int], channels: Sequence[int], strides: Sequence[int]) -> Net:
    """Make convolutions whose features of ALL depths are given side by side: `[H, W, c] -> [H', W', sum(channels)]`.

    Kernels are of two more than the stride, ReLU after each; features of a finer grid are averaged to the last one's.
    shape: of x, whose sides are multiples of the strides' product.
    """
    if not channels or len(channels) != len(strides):
        raise ValueError(f"want a stride for each of one or more layers, got {channels=}, {strides=}")
    layers, seen = [], tuple(shape)
    for width, stride in zip(channels, strides, strict=True):
        checks.whole(1, width=width, stride=stride)
        if seen[0] % stride or seen[1] % stride:
            raise ValueError(f"want sides that are multiples of the strides' product, got {shape=}, {strides=}")
        layers.append(functional(Conv(width, stride + 2, stride), jax.ShapeDtypeStruct(seen, jnp.float32)))
        seen = (seen[0] // stride, seen[1] // stride, width)

    def init(key: Key) -> PyTree:
        return tuple(net.init(own) for net, own in zip(layers, jax.random.split(key, len(layers)), strict=True))

    def apply(params: PyTree, x: Array) -> Array:
        found = []
        for net, own in zip(layers, params, strict=True):
            x = jax.nn.relu(net.apply(own, x))
            found.append(x)
        blocks = [each.reshape(seen[0], each.shape[0] // seen[0], seen[1], -1, each.shape[2]) for each in found]
        return jnp.concatenate([each.mean((1, 3)) for each in blocks], 2)

    return Net(init, apply)


def readout(shape: Sequence[int], concepts: int) -> Net:
    """Make the linear readout of features of this shape, place by place: a 1 x 1 convolution to k maps."""
    checks.whole(1, concepts=concepts)
    return functional(Conv(concepts, 1), jax.ShapeDtypeStruct(tuple(shape), jnp.float32))


def counter(shape: Sequence[int], channels: Sequence[int], classes: int, *, cell: int) -> Net:
    """Make a head that sums over cells of `cell x cell` places: maps of this shape to `[classes]`.

    A 3 x 3 convolution, one of a cell's size and stride, ReLU after each, the sum over cells, a dense layer.
    """
    near, far = channels
    place = (*tuple(shape[:2]), near)
    first = functional(Conv(near, 3), jax.ShapeDtypeStruct(tuple(shape), jnp.float32))
    second = functional(Conv(far, cell, cell, padding="VALID"), jax.ShapeDtypeStruct(place, jnp.float32))
    last = functional(Dense(classes), jax.ShapeDtypeStruct((far,), jnp.float32))
    relu = lambda net: Net(net.init, lambda params, x: jax.nn.relu(net.apply(params, x)))  # noqa: E731
    total = Net(second.init, lambda params, x: relu(second).apply(params, x).sum((0, 1)))
    return chain(relu(first), total, last)


def chain(*nets: Net) -> Net:
    """Make one net of several, each on what the one before gives; params are a tuple."""

    def init(key: Key) -> PyTree:
        return tuple(net.init(own) for net, own in zip(nets, jax.random.split(key, len(nets)), strict=True))

    def apply(params: PyTree, x: Array) -> Array:
        for net, own in zip(nets, params, strict=True):
            x = net.apply(own, x)
        return x

    return Net(init, apply)
