"""What the concepts of post-hoc bottlenecks contribute: banks to compare, and edits held against the changed image.

Everything here is of embeddings `[N, D]`, which the caller computed once; `model` is the bottleneck on them.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from interp_jax.concepts import posthoc
from interp_jax.concepts.model import ConceptModel, Given, decide
from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.linear import cav
from interp_jax.linear.cav import CAV, Method

BANKS = ("named", "random", "shuffled")
"""Vectors of concepts, random directions, and vectors fitted to shuffled labels."""


class Data(NamedTuple):
    """For training; for testing; and the latter with one factor changed, where `moved [N, k]` bool are its concepts.

    Of real images nothing can be changed: `changed` is `test`, and nothing is moved.
    """

    train: ConceptSet
    test: ConceptSet
    changed: ConceptSet
    moved: Array


def banks(
    z: Array, concepts: Array, key: Key, *, examples: int, method: Method, alpha: ArrayLike = 10.0
) -> dict[str, CAV]:
    """Fit the vectors of all concepts in embeddings `[N, D]`, and take others from the same examples: by name of BANKS.

    concepts: `[N, k]` of 0 and 1. examples: how many with a concept, and without, if there are so many. method, alpha:
    of `cav.fit`.
    """
    checks.whole(1, examples=examples)

    def one(at: Array, y: Array) -> dict[str, CAV]:
        own = keys.at(key, at)
        order = jax.random.uniform(keys.stream(own, "examples"), y.shape)
        rows = jnp.concatenate([jnp.argsort(order + 2 * side)[:examples] for side in (1 - y, y)])
        x, told = z[rows], y[rows]
        mixed = jax.random.permutation(keys.stream(own, "shuffle"), told)
        return {
            "named": cav.fit(x, told, alpha, method=method),
            "random": cav.along(jax.random.normal(keys.stream(own, "direction"), (z.shape[1],)), x, told),
            "shuffled": cav.fit(x, mixed, alpha, method=method),
        }

    return jax.lax.map(lambda pair: one(*pair), (jnp.arange(concepts.shape[1]), concepts.T))


def part_of(bank: CAV, kept: Array) -> CAV:
    """Take concepts out of a bank, `kept [k]` of 0 and 1: their margins are zero, and no head has weights for them."""
    return bank._replace(direction=bank.direction * kept[:, None], offset=bank.offset * kept)


def model(k: int) -> ConceptModel:
    """Make the bottleneck of k concepts on embeddings."""
    return posthoc.bottleneck(lambda params, z: z, k)


def decisions(params: PyTree, z: Array) -> Array:
    """Give the classes that a bottleneck, or a hybrid, decides for embeddings `[N, D]`."""
    margins = cav.margins(params["encoder"]["bank"], z)
    logits = posthoc.linear(params["head"]["concepts"], margins)
    if "residual" in params["head"]:
        logits = logits + posthoc.linear(params["head"]["residual"], z)
    return jnp.argmax(logits, 1)


def edits(
    data: Data, fitted: Mapping[str, PyTree], every: Mapping[str, CAV], z: Array, before: Array, after: Array
) -> dict[str, Array]:
    """Tell bottlenecks the concepts of the factor that changed: where the network changes its mind, do they follow?

    before, after: `[N]`, decisions of the network on the image and on the changed one. Gives the shares of images that
    are decided as the network decides the changed one, after the edit (edit_BANK) and without it (none_BANK), among
    those of which it changes its mind; and among the others, of unchanged decisions (still_BANK).
    """
    flips = before != after
    share = lambda hit, among: jnp.sum(hit & among) / jnp.sum(among)  # noqa: E731
    found = {"flips": jnp.mean(flips)}
    for bank in ("named", "random"):
        plain, told = decisions(fitted[bank], z), edited(fitted[bank], every[bank], z, data)
        found |= {
            f"edit_{bank}": share(told == after, flips), f"none_{bank}": share(plain == after, flips),
            f"still_{bank}": share(told == plain, ~flips),
        }  # fmt: skip
    return found


def edited(params: PyTree, bank: CAV, z: Array, data: Data) -> Array:
    """Give the classes that a bottleneck decides when it is told the concepts of the factor that changed, `[N]`."""
    told = posthoc.with_means(model(data.moved.shape[1]), bank)

    def one(z: Array, mask: Array, says: Array) -> Array:
        return decide(told, params, told.encode(params, z), Given(mask, says)).task.argmax()

    return jax.vmap(one)(z, data.moved, data.changed.concepts)
