"""The models of the CEM paper by name, on examples that are vectors (Espinosa Zarlenga et al. 2022, A.3 and its code).

    name              what the head is told
    cem               a mixture of two embeddings a concept, 128 numbers each; RandInt while training
    hybrid_sigmoid    probabilities, and 127 units a concept with leaky ReLUs
    hybrid_logit      logits, and 127 linear units a concept
    cbm_logit         logits
    cbm_sigmoid       probabilities ("fuzzy")
    cbm_hard          decisions without a gradient ("bool")

The encoder is an MLP with two hidden layers of 128 and leaky ReLUs of slope 0.01, the head one linear layer, both
begun as PyTorch begins.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from interp_jax.concepts import bottleneck, embedding, training
from interp_jax.concepts.embedding import Giver
from interp_jax.concepts.model import ConceptModel
from interp_jax.concepts.training import Patience, Recipe
from interp_jax.core import checks
from interp_jax.core.types import ArrayLike
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
    name: str, inputs: int, concepts: int, *, classes: int = 1, size: int = 128, hidden: int = 128
) -> ConceptModel:
    """Make a model by its name.

    Args:
        name: one of NAMES.
        inputs: numbers in an example.
        concepts: k.
        classes: C, 1 for a binary task.
        size: of an embedding; a hybrid has `size - 1` units a concept, to be as wide.
        hidden: width of the encoder's layers.

    Raises:
        ValueError: an unknown name.
    """
    if name not in NAMES:
        raise ValueError(f"want a model among {[*NAMES]}, got {name!r}")
    checks.whole(1, inputs=inputs, concepts=concepts, classes=classes, size=size, hidden=hidden)
    if name == "cem":
        return embedding.cem(
            _mlp(inputs, hidden, hidden),
            _linear(hidden, concepts * 2 * size),
            _linear(2 * size, 1),
            _linear(concepts * size, classes),
            concepts,
        )
    kind, is_hybrid, activation = KINDS[name]
    extra = (size - 1) * concepts if is_hybrid else 0
    encoder, head = _mlp(inputs, hidden, concepts + extra), _linear(concepts + extra, classes)
    return bottleneck.bottleneck(encoder, head, concepts, kind=kind, extra=extra, activation=activation)


def method(name: str, model: ConceptModel, *, recipe: Recipe = RECIPE, shared: bool = True) -> Callable[..., Trainer]:
    """Make the factory `(lr, concept_weight, probability) -> Trainer` of a model, for `train.sweep`.

    probability: of RandInt, 0.25 in the paper; of no effect on other models than CEMs. shared: one mask a batch, as the
    paper's code; the paper says one an example.
    """

    def make(lr: ArrayLike = LR, concept_weight: ArrayLike = 1.0, probability: ArrayLike = 0.25) -> Trainer:
        give: Giver | None = embedding.rand_int(probability, shared=shared) if name == "cem" else None
        return training.joint(model, recipe, lr=lr, concept_weight=concept_weight, give=give)

    return make


def _mlp(inputs: int, hidden: int, outputs: int) -> Net:
    module = LeakyMLP((hidden, hidden, outputs), dense=UniformDense)
    return functional(module, jax.ShapeDtypeStruct((inputs,), jnp.float32))


def _linear(inputs: int, outputs: int) -> Net:
    return functional(UniformDense(outputs), jax.ShapeDtypeStruct((inputs,), jnp.float32))
