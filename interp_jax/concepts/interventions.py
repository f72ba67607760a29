"""Interventions on the concepts of a model: who says what, on which concepts, and what it does for the task.

What an intervention says is a `Given`. A curve over the number of known concepts averages over the sets of each size,
all of them (`subsets`), or those of some orders (`nested`), which a policy may choose.
"""

import itertools
from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.concepts.model import ConceptModel, Encoded, Given, Groups, Levels, apply, check_groups, decide
from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike, Key, Numpy, PyTree
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.linear.fits import accuracy

Expert = Callable[[Array, Key], Array]
"""Who is asked: `(true concepts [k], key) -> [k]`."""


def levels(logits: Array, *, low: float = 5.0, high: float = 95.0) -> Levels:
    """Give percentiles of each concept's logits over the training set, `[N, k]`, to stand for false and true.

    The 5th and 95th are those of Koh et al. (2020, section 5.3) and of the CEM paper's code.
    """
    chex.assert_rank(logits, 2)
    if not 0 <= low < high <= 100:
        raise ValueError(f"want 0 <= low < high <= 100, got {low=}, {high=}")
    return Levels(*jnp.percentile(logits, jnp.array([low, high]), axis=0))


def training_levels(model: ConceptModel, params: PyTree, inputs: Array) -> Levels:
    """Give the `levels` of a model on its training inputs `[N, ...]`."""
    return levels(jax.vmap(lambda x: model.encode(params, x).logits)(inputs))


def on(indices: Sequence[int], concepts: Array) -> Given:
    """Intervene on these concepts and say what `concepts` `[k]` says.

    >>> on([1], jnp.array([0.0, 1.0])).mask.tolist()
    [False, True]

    Raises:
        ValueError: an index of a concept that is not there.
    """
    chex.assert_rank(concepts, 1)
    mask = np.zeros(concepts.size, bool)
    for index in indices:
        if not 0 <= index < concepts.size:
            raise ValueError(f"want concepts among 0 .. {concepts.size - 1}, got {index}")
        mask[index] = True
    return Given(jnp.asarray(mask), concepts)


def units(concepts: int, groups: Groups = ()) -> Numpy:
    """Give what can be asked for as one, `[U, k]` bool: each binary concept, each group, by their first index.

    >>> units(4, [(1, 2)]).astype(int).tolist()
    [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    """
    fixed = check_groups(groups, concepts)
    alone = set(range(concepts)) - {i for group in fixed for i in group}
    rows = sorted([*fixed, *[(i,) for i in alone]], key=min)
    found = np.zeros((len(rows), concepts), bool)
    for row, members in zip(found, rows, strict=True):
        row[list(members)] = True
    return found


def subsets(concepts: int, groups: Groups = ()) -> tuple[Numpy, Numpy]:
    """Give all sets of units, by size: masks `[2^U, k]` bool and sizes `[2^U]` in units.

    >>> subsets(2)[0].astype(int).tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]

    Raises:
        ValueError: more than 16 units; take `nested` orders.
    """
    rows = units(concepts, groups)
    if len(rows) > 16:
        raise ValueError(f"want at most 16 units for all their sets, got {len(rows)}: take nested() orders of them")
    chosen = [set_ for size in range(len(rows) + 1) for set_ in itertools.combinations(range(len(rows)), size)]
    masks = np.array([rows[list(set_)].any(0) for set_ in chosen])
    return masks, np.array([len(set_) for set_ in chosen])


def nested(orders: Array, rows: ArrayLike) -> Array:
    """Give the masks of the first 0, 1, ..., U units of each order: `[..., U + 1, k]` bool.

    orders: `[..., U]`, permutations of the units. rows: `[U, k]`, from `units`. May be traced.

    >>> nested(jnp.array([1, 0]), units(2)).astype(int).tolist()
    [[0, 0], [0, 1], [1, 1]]
    """
    picked = jnp.asarray(rows)[orders]
    none = jnp.zeros_like(picked[..., :1, :])
    return jnp.cumsum(jnp.concatenate([none, picked], -2), -2) > 0


def truth(concepts: Array, key: Key) -> Array:
    """Say what is true."""
    return concepts


def wrong(groups: Groups = ()) -> Expert:
    """Make an expert who is always wrong: `competent(0)`."""
    return competent(0.0, groups)


def competent(competence: ArrayLike, groups: Groups = ()) -> Expert:
    """Make an expert who is right about each binary concept, and each group, with this probability.

    Otherwise a binary concept is said to be its opposite, and in a group one of the false ones to be the true one, each
    as likely (Espinosa Zarlenga et al. 2023, "Learning to receive help"). Takes binary labels.

    competence: in [0, 1]; may be traced, and `[k]` where every concept has its own (a group takes its first's).
    """
    checks.between(0, 1, competence=competence)

    def say(concepts: Array, key: Key) -> Array:
        fixed = check_groups(groups, concepts.size)
        first, second = jax.random.split(key)
        right = jax.random.uniform(first, concepts.shape) < competence
        said = jnp.where(right, concepts, 1 - concepts)
        for number, group in enumerate(fixed):
            places = jnp.array(group)
            step = jax.random.randint(jax.random.fold_in(second, number), (), 1, len(group))
            other = jnp.roll(concepts[places], step)
            said = said.at[places].set(jnp.where(right[places[0]], concepts[places], other))
        return said

    return say


def is_right(task: Array, label: Array) -> Array:
    """Tell whether a task's logits `[C]` are for the label `[]`: the largest, or for C = 1 the sign. NaN is for none.

    The CEM paper's code asks whether the one LOGIT is above 1/2, which made two rows of its table the share of class 0.
    """
    said = task[0] > 0 if task.size == 1 else task.argmax()
    return (said == label) & ~jnp.isnan(task).any()


def answers(data: ConceptSet, key: Key | None = None, expert: Expert = truth) -> tuple[Key, Array]:
    """Give a key for each example, `[N]`, and what the expert says of it when asked, `[N, k]`; key 0 if None."""
    example_keys = jax.random.split(jax.random.key(0) if key is None else key, len(data.labels))
    return example_keys, jax.vmap(expert)(data.concepts, example_keys)


def accuracies(
    model: ConceptModel,
    params: PyTree,
    data: ConceptSet,
    masks: ArrayLike,
    *,
    key: Key | None = None,
    expert: Expert = truth,
) -> Array:
    """Give the task's accuracy under each intervention, `[M]`: one run; `vmap` over params gives all seeds at once.

    NaN where an output is.

    Args:
        model: with the levels of its own params.
        params: of one run.
        data: examples; a concept without a label is left to the model.
        masks: `[M, k]` bool for all examples alike, or `[M, N, k]` for each its own.
        key: for experts, and models that sample: those of one example are the same under all masks.
        expert: who is asked.
    """
    masks = jnp.asarray(masks)
    if masks.ndim not in (2, 3) or masks.shape[-1] != model.concepts:
        raise ValueError(f"want masks [M, {model.concepts}] or [M, N, {model.concepts}], got shape {masks.shape}")
    example_keys, said = answers(data, key, expert)
    encoded = jax.vmap(lambda x: model.encode(params, x))(data.inputs)

    def one(encoded: Encoded, mask: Array, said: Array, key: Key) -> Array:
        given = Given(mask & ~jnp.isnan(said), said)
        return decide(model, params, encoded, given, key).task

    def share(mask: Array) -> Array:
        over = (0, 0 if mask.ndim == 2 else None, 0, 0)
        return accuracy(jax.vmap(one, over)(encoded, mask, said, example_keys), data.labels)

    return jax.lax.map(share, masks)


def by_size(accuracy: Array, sizes: Numpy) -> Array:
    """Average the sets of each size: `[M] -> [U + 1]`, the curve over the number of known concepts.

    >>> by_size(jnp.array([0.5, 0.5, 1.0, 1.0]), np.array([0, 1, 1, 2])).tolist()
    [0.5, 0.75, 1.0]
    """
    shares = (sizes[None, :] == np.arange(sizes.max() + 1)[:, None]).astype(np.float32)
    return jnp.asarray(shares / shares.sum(1, keepdims=True)) @ accuracy


def curve(
    model: ConceptModel, params: PyTree, data: ConceptSet, *, key: Key | None = None, expert: Expert = truth
) -> Array:
    """Give the task's accuracy with 0, 1, ..., U units known, `[U + 1]`, the mean over all sets of each size."""
    masks, sizes = subsets(model.concepts, model.groups)
    return by_size(accuracies(model, params, data, masks, key=key, expert=expert), sizes)


def concept_accuracy(model: ConceptModel, params: PyTree, data: ConceptSet, *, key: Key | None = None) -> Array:
    """Give the share of known binary labels that predictions, cut at 1/2, agree with; NaN where none is known.

    key: for models that sample; key 0 if None.
    """
    example_keys, _ = answers(data, key)
    predicted = jax.vmap(lambda x, key: apply(model, params, x, key=key).concepts)(data.inputs, example_keys) > 0.5
    known = ~jnp.isnan(data.concepts)
    right = known & (predicted == (data.concepts > 0.5))
    count = known.sum()
    return jnp.where(count > 0, right.sum() / jnp.maximum(count, 1), jnp.nan)
