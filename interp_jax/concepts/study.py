"""The models of the CEM paper by name, on examples that are vectors (Espinosa Zarlenga et al. 2022, A.3 and its code).

    name              what the head is told
    cem               a mixture of two embeddings a concept, 128 numbers each; RandInt while training
    hybrid_sigmoid    probabilities, and 127 units a concept with leaky ReLUs
    hybrid_logit      logits, and 127 linear units a concept
    cbm_logit         logits
    cbm_sigmoid       probabilities ("fuzzy")
    cbm_hard          decisions without a gradient ("bool")

The encoder is an MLP with two hidden layers of 128 and leaky ReLUs of slope 0.01, the head one linear layer, both
begun as PyTorch begins. The paper's net without concepts is hybrid_logit with a `concept_weight` of 0.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from interp_jax.concepts import bottleneck, embedding, training
from interp_jax.concepts.embedding import Giver
from interp_jax.concepts.model import ConceptModel, Encoded, Given, Groups
from interp_jax.concepts.training import Patience, Recipe
from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.models.nets import LeakyMLP, Net, UniformDense, functional
from interp_jax.train.trainer import Trainer

KINDS = {
    "hybrid_sigmoid": (bottleneck.SIGMOID, True, bottleneck.leaky_relu),
    "hybrid_logit": (bottleneck.LOGIT, True, lambda x: x),
    "cbm_logit": (bottleneck.LOGIT, False, bottleneck.leaky_relu),
    "cbm_sigmoid": (bottleneck.SIGMOID, False, bottleneck.leaky_relu),
    "cbm_hard": (bottleneck.HARD, False, bottleneck.leaky_relu),
}
NAMES = ("cem", *KINDS)
"""The models of the paper's tables."""
RECIPE = Recipe(shuffled=False, patience=Patience())
"""How the paper's code trains them: batches of 256 in the data's own order, Adam, a rate lowered on plateaus."""
LR = 1e-2
"""Of Adam, at the start."""


def build(
    name: str,
    inputs: int,
    concepts: int,
    *,
    classes: int = 1,
    size: int = 128,
    hidden: int = 128,
    head: Sequence[int] = (),
    groups: Groups = (),
) -> ConceptModel:
    """Make a model by its name.

    Args:
        name: one of NAMES.
        inputs: numbers in an example, of whatever shape.
        concepts: k.
        classes: C, 1 for a binary task.
        size: of an embedding; a hybrid has `size - 1` units a concept, to be as wide.
        hidden: width of the encoder's layers.
        head: widths of the head's hidden layers, with leaky ReLUs; none in the paper.
        groups: of categorical concepts.

    Raises:
        ValueError: an unknown name.
    """
    if name != "cem":
        return any_of(
            (name,), 0, inputs, concepts,
            classes=classes, size=size, hidden=hidden, head=head, groups=groups,
        )  # fmt: skip
    checks.whole(1, inputs=inputs, concepts=concepts, classes=classes, size=size, hidden=hidden)
    return embedding.cem(
        _mlp(inputs, hidden, hidden, hidden),
        _mlp(hidden, concepts * 2 * size),
        _mlp(2 * size, 1),
        _mlp(concepts * size, *head, classes),
        concepts,
        groups=groups,
    )


def any_of(
    names: Sequence[str],
    which: ArrayLike,
    inputs: int,
    concepts: int,
    *,
    classes: int = 1,
    size: int = 128,
    hidden: int = 128,
    head: Sequence[int] = (),
    groups: Groups = (),
) -> ConceptModel:
    """Make one of several bottlenecks, or of several hybrids, by its number `which`, which may be traced.

    They have the same params and differ in what their head is told, so that a sweep of all is one program.

    Raises:
        ValueError: an unknown name, no name, or bottlenecks among hybrids.
    """
    if unknown := [name for name in names if name not in KINDS]:
        raise ValueError(f"want a model among {[*NAMES]}, got {unknown[0]!r}")
    if not names:
        raise ValueError(f"want models among {[*KINDS]}, got none")
    checks.whole(1, inputs=inputs, concepts=concepts, classes=classes, size=size, hidden=hidden)
    kinds, hybrid, activations = zip(*(KINDS[name] for name in names), strict=True)
    if len(set(hybrid)) > 1:
        raise ValueError(f"want models with the same params, got {[*names]}")
    extra = (size - 1) * concepts if hybrid[0] else 0
    place = jnp.asarray(which).astype(jnp.int32)
    return bottleneck.bottleneck(
        _mlp(inputs, hidden, hidden, concepts + extra), _mlp(concepts + extra, *head, classes), concepts,
        kind=bottleneck.one_of(kinds, place), groups=groups, extra=extra,
        activation=lambda x: jnp.stack([f(x) for f in activations])[place],
    )  # fmt: skip


def representation(values: Array, rest: Array) -> Array:
    """Give what stands for each concept of ONE example, `[k, m]`, as the paper's alignment score takes it.

    Of a CEM its mixture; of a hybrid what the head is told of the concept, joined with ALL extra units; of a bottleneck
    what the head is told. values: `[k]`. rest: of `Encoded`.
    """
    if rest.ndim == 2:
        return embedding.mixture(values, rest)
    return jnp.concatenate([values[:, None], jnp.broadcast_to(rest[None], (values.size, rest.size))], 1)


def limited(model: ConceptModel, known: Array) -> ConceptModel:
    """Leave concepts out: the head is told 0 of those that are not known, and nothing that belongs to them.

    As a model without them, but for their columns in the head, which get no gradient, and the size of initial weights.
    So models of any coverage are one program. A hybrid keeps all its extra units; a CEM loses the embeddings of what is
    not known. Training must not be told their labels: give it NaN.

    known: `[k]` bool, may be traced.
    """

    def encode(params: PyTree, x: Array) -> Encoded:
        encoded = model.encode(params, x)
        rest = encoded.rest
        if rest.ndim == 2:  # an embedding for each concept
            rest = jnp.where(jnp.broadcast_to(known[:, None], rest.shape), rest, 0)
        return encoded._replace(rest=rest)

    def values(params: PyTree, encoded: Encoded, given: Given, key: Key | None) -> Array:
        return jnp.where(known, model.values(params, encoded, given, key), 0)

    return dataclasses.replace(model, encode=encode, values=values)


def method(name: str, model: ConceptModel, *, recipe: Recipe = RECIPE, shared: bool = True) -> Callable[..., Trainer]:
    """Make the factory `(lr, concept_weight, probability) -> Trainer` of a model, for `train.sweep`.

    probability: of RandInt, 0.25 in the paper; of no effect on other models than CEMs. shared: one mask a batch, as the
    paper's code; the paper says one an example.
    """

    def make(lr: ArrayLike = LR, concept_weight: ArrayLike = 1.0, probability: ArrayLike = 0.25) -> Trainer:
        give: Giver | None = embedding.rand_int(probability, shared=shared) if name == "cem" else None
        return training.joint(model, recipe, lr=lr, concept_weight=concept_weight, give=give)

    return make


def _mlp(*widths: int) -> Net:
    """Make layers of these widths, from the first on, leaky ReLUs between them."""
    module = UniformDense(widths[1]) if len(widths) == 2 else LeakyMLP(widths[1:], dense=UniformDense)
    return functional(module, jax.ShapeDtypeStruct((widths[0],), jnp.float32))
