"""Leave concepts out of a set, so that those that stay do not tell the label: incomplete concepts, by design."""

from collections.abc import Sequence

import jax

from interp_jax.core import checks
from interp_jax.core.types import Key
from interp_jax.data.concept_sets import ConceptSet

Groups = Sequence[Sequence[int]]


def keep(data: ConceptSet, columns: Sequence[int], groups: Groups = ()) -> tuple[ConceptSet, Groups]:
    """Keep some concepts, in the order given, and give the groups of those that stay.

    A group of which one concept stays is no group any more, since that concept is binary; one that loses some but not
    all is refused, because a softmax over the rest would be wrong where none of them is true.
    """
    count = data.concepts.shape[-1]
    if not columns or len(set(columns)) < len(columns) or not set(columns) <= set(range(count)):
        raise ValueError(f"want different concepts among 0 .. {count - 1}, at least one, got {tuple(columns)}")
    place = {old: new for new, old in enumerate(columns)}
    left = [tuple(place[i] for i in group if i in place) for group in groups]
    for group, own in zip(groups, left, strict=True):
        if 1 < len(own) < len(group):
            raise ValueError(f"want all of a group of concepts, one or none, got {len(own)} of {tuple(group)}")
    kept = data._replace(concepts=data.concepts[..., tuple(columns)])
    return kept, tuple(own for own in left if len(own) > 1)


def some(key: Key, share: float, count: int, groups: Groups = ()) -> tuple[int, ...]:
    """Choose a share of `count` concepts at random, whole groups together: their columns, in order.

    The number of groups and single concepts is rounded, and at least one. What a larger share has contains what a
    smaller one of the same key has.

    >>> some(jax.random.key(0), 1.0, 3)
    (0, 1, 2)
    """
    checks.whole(1, count=count)
    checks.between(0, 1, share=share)
    grouped = {i for group in groups for i in group}
    units = [*map(tuple, groups), *((i,) for i in range(count) if i not in grouped)]
    order = jax.random.permutation(key, len(units)).tolist()
    chosen = order[: max(round(share * len(units)), 1)]
    return tuple(sorted(i for place in chosen for i in units[place]))
