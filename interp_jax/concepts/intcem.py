"""Concept embedding models that learn to be helped: with a policy, and rehearsed interventions (Espinosa 2023).

    model = intcem(backbone, context, score, head, policy, concepts)
    run = trainer(model, policy, Recipe(), lr=1e-2)
    curve = policies.curve(asking(policy), model, params, data)

While training, units that the policy picks are set to their labels, one after the other, and the task's loss is taken
before and after. The policy learns to pick what the greedy oracle would, and gets the task's gradient too.

A CEM without the policy is `embedding.cem`; evaluation is the same for both.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.concepts import embedding, losses, training
from interp_jax.concepts.bottleneck import leaky_relu
from interp_jax.concepts.embedding import mixture
from interp_jax.concepts.interventions import units
from interp_jax.concepts.losses import TaskLoss, Terms
from interp_jax.concepts.model import ConceptModel, Encoded, Given, Groups, probabilities
from interp_jax.concepts.policies import Policy, View, log_probability
from interp_jax.concepts.training import PARTS, Objective, Parted, Recipe
from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.models.nets import Net
from interp_jax.train.trainer import Trainer

LOWEST = -1e9
"""The score of a unit that is known: finite, so that its gradient is."""


@dataclasses.dataclass(frozen=True)
class Rehearsal:
    """How interventions are rehearsed; the numbers may be traced, the longest is structure.

    weight: of the policy's loss. discount: of the task's loss, for each intervention, above 1. longest: interventions
    in a rehearsal at most. first, rate: the most in the first step of training, and its growth from step to step.
    probability: of RandInt, with which a unit is known at the start. rehearsals: for each example.
    """

    weight: ArrayLike = 5.0
    discount: ArrayLike = 1.1
    longest: int = 6
    first: ArrayLike = 2.0
    rate: ArrayLike = 1.005
    probability: ArrayLike = 0.25
    rehearsals: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        checks.whole(1, longest=self.longest, rehearsals=self.rehearsals)
        checks.not_negative(weight=self.weight)
        checks.positive(discount=self.discount, first=self.first, rate=self.rate)
        checks.between(0, 1, probability=self.probability)


class Rehearsed(NamedTuple):
    """asked: the policy's mean loss over a rehearsal. task: the mean of the task's loss before and after. In nats."""

    asked: Array
    task: Array


def intcem(
    backbone: Net,
    context: Net,
    score: Net,
    head: Net,
    policy: Net,
    concepts: int,
    *,
    activation: Callable[[Array], Array] = leaky_relu,
    groups: Groups = (),
) -> ConceptModel:
    """Make a CEM whose params hold a policy: `embedding.cem` with `policy` from `[k m + k]` to `[U]`.

    The policy is told the mixed embeddings and what is known, and scores the units. It belongs to the part "head". The
    authors' has batch normalisation, and a score of its own for each concept in the CEM.
    """
    inner = embedding.cem(backbone, context, score, head, concepts, activation=activation, groups=groups)

    def init(key: Key) -> PyTree:
        parts = inner.init(key)
        return parts | {"head": {"task": parts["head"], "policy": policy.init(keys.stream(key, "policy"))}}

    def decide(params: PyTree, values: Array, rest: Array) -> Array:
        return head.apply(params["head"]["task"], mixture(values, rest).reshape(-1))

    return dataclasses.replace(inner, init=init, head=decide)


def asking(policy: Net) -> Policy:
    """Ask for what a model's own policy scores highest; the same net that the model was made with."""

    def score(view: View, key: Key) -> Array:
        return _scores(policy, view.params, view.encoded, view.beliefs(), view.given.mask.astype(jnp.float32))

    return Policy(score)


def trainer(
    model: ConceptModel,
    policy: Net,
    recipe: Recipe,
    *,
    lr: ArrayLike,
    concept_weight: ArrayLike = 1.0,
    rehearsal: Rehearsal = Rehearsal(),
) -> Trainer:
    """Make the Trainer of an `intcem`, whose loss is (Espinosa Zarlenga et al. 2023, section 3.2)

        weight (1/T) sum_t CE(policy_t, oracle_t) + (L_0 + discount^T L_T) / (1 + discount^T) + concept_weight L_c

    for T interventions, as many as 1 .. `horizon` with equal probability, and L_t the task's loss after t of them; see
    `rehearse`. All steps of an epoch have the horizon of its first. In the authors' code (cem/models/intcbm.py) T stays
    below the horizon, so that 6 means 5; a batch shares T and RandInt's mask; some more random units are known at the
    start; and a unit may be picked twice, which mixes it with weights 2 and -1. Here not.

    Args:
        model: of `intcem`.
        policy: the same net that the model was made with.
        recipe: batches, order, optimizer, losses.
        lr: learning rate at the start.
        concept_weight: in nats a concept.
        rehearsal: how interventions are rehearsed.
    """  # noqa: D415
    checks.not_negative(concept_weight=concept_weight)

    def objective(step: Array) -> Objective:
        limit = horizon(rehearsal, step)

        def loss(params: PyTree, batch: ConceptSet, given: Given | None, key: Key) -> Parted:
            own = jax.random.split(key, len(batch.labels))

            def one(x: Array, concepts: Array, label: Array, key: Key) -> tuple[Terms, Terms, Terms]:
                encoded = model.encode(params, x)
                found = _rehearsed(model, policy, recipe, rehearsal, params, encoded, concepts, label, limit, key)
                return recipe.concept_loss(encoded.logits, concepts), *found

            terms = jax.vmap(one)(batch.inputs, batch.concepts, batch.labels, own)
            concept, asked, task = (losses.mean(each) for each in terms)
            total = jnp.asarray(rehearsal.weight * asked + task + concept_weight * concept)
            metrics = {"concept_loss": concept, "task_loss": task, "policy_loss": asked}
            return Parted(total, dict.fromkeys(PARTS, total), metrics)

        return loss

    return training.custom(model, recipe, objective, lr=lr)


def horizon(rehearsal: Rehearsal, step: ArrayLike) -> Array:
    """Give the most interventions of a rehearsal at a step of training: `floor(min(longest, first rate^step))`.

    >>> [int(horizon(Rehearsal(), step)) for step in (0, 100, 1000)]
    [2, 3, 6]
    """
    grown = jnp.asarray(rehearsal.first) * jnp.asarray(rehearsal.rate) ** jnp.asarray(step, jnp.float32)
    return jnp.floor(jnp.minimum(grown, float(rehearsal.longest))).astype(jnp.int32)


def rehearse(
    model: ConceptModel,
    policy: Net,
    params: PyTree,
    encoded: Encoded,
    concepts: Array,
    label: Array,
    start: Array,
    count: Array,
    noise: Array,
    *,
    discount: ArrayLike,
    task_loss: TaskLoss,
) -> Rehearsed:
    """Rehearse interventions on ONE example.

    At each step the policy's scores of the units that are left, plus Gumbel noise, pick one; its labels replace the
    predictions, and a softmax of the noisy scores stands for the pick in the gradient. The policy's loss is the
    cross-entropy of the unit that most raises the probability of the label; no gradient passes through that choice.

    Args:
        model: of `intcem`.
        policy: its net.
        params: of the model.
        encoded: the example.
        concepts: `[k]`; a unit without all its labels is never asked for.
        label: `[]`.
        start: `[U]` bool, what is known at the start.
        count: `[]`, interventions.
        noise: `[longest, U]`, of a Gumbel distribution.
        discount: of the task's loss for each intervention.
        task_loss: as a recipe's.
    """
    rows = jnp.asarray(units(model.concepts, model.groups), jnp.float32)
    chex.assert_shape([start, noise[0]], (len(rows),))
    truth, p = jnp.nan_to_num(concepts), probabilities(encoded.logits, model.groups)
    left = available(model, concepts) & ~start
    count = jnp.minimum(count, left.sum())

    def task(known: Array) -> Array:
        return model.head(params, p + known * (truth - p), encoded.rest)

    def step(state: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        known, left = state
        t, gumbel = now
        after = jax.vmap(lambda row: log_probability(task(jnp.maximum(known, row)), label))(rows)
        best = jnp.where(left, jax.lax.stop_gradient(after), -jnp.inf).argmax()
        scores = jnp.where(left, _scores(policy, params, encoded, p + known * (truth - p), known), LOWEST)
        soft = jax.nn.softmax(scores + gumbel)
        hard = jax.nn.one_hot((scores + gumbel).argmax(), len(rows)) * (t < count)
        pick = hard + (t < count) * (soft - jax.lax.stop_gradient(soft))
        missed = jnp.where(t < count, -jax.nn.log_softmax(scores)[best], 0.0)
        return (known + pick @ rows, left & (hard == 0)), missed

    begin = (start & available(model, concepts)).astype(jnp.float32) @ rows
    (end, _), missed = jax.lax.scan(step, (begin, left), (jnp.arange(len(noise)), noise))
    before, after = (losses.mean(task_loss(task(known), label)) for known in (begin, end))
    late = jnp.asarray(discount) ** count
    return Rehearsed(missed.sum() / jnp.maximum(count, 1), (before + late * after) / (1 + late))


def available(model: ConceptModel, concepts: Array) -> Array:
    """Tell which units have all their labels, `[U]` bool."""
    rows = jnp.asarray(units(model.concepts, model.groups))
    return ~(rows & jnp.isnan(concepts)[None]).any(1)


def _rehearsed(
    model: ConceptModel,
    policy: Net,
    recipe: Recipe,
    rehearsal: Rehearsal,
    params: PyTree,
    encoded: Encoded,
    concepts: Array,
    label: Array,
    limit: Array,
    key: Key,
) -> tuple[Terms, Terms]:
    """Draw rehearsals of one example and give the terms of the policy and of the task."""
    count = len(units(model.concepts, model.groups))
    weight = recipe.task_loss(model.head(params, probabilities(encoded.logits, model.groups), encoded.rest), label)[1]

    def one(key: Key) -> tuple[Rehearsed, Array]:
        first, second, third = jax.random.split(key, 3)
        start = jax.random.bernoulli(first, rehearsal.probability, (count,))
        length = jax.random.randint(second, (), 1, limit + 1)
        noise = jax.random.gumbel(third, (rehearsal.longest, count))
        left = (available(model, concepts) & ~start).any()
        found = rehearse(
            model, policy, params, encoded, concepts, label, start, length, noise, discount=rehearsal.discount,
            task_loss=recipe.task_loss,
        )  # fmt: skip
        return found, left.astype(jnp.float32)

    found, left = jax.vmap(one)(jax.random.split(key, rehearsal.rehearsals))
    return Terms(found.asked * left, left), Terms(found.task.mean()[None] * weight, weight)


def _scores(policy: Net, params: PyTree, encoded: Encoded, values: Array, known: Array) -> Array:
    """Score the units, `[U]`, from the mixed embeddings and what is known, `[k]`."""
    seen = jnp.concatenate([mixture(values, encoded.rest).reshape(-1), known])
    return policy.apply(params["head"]["policy"], seen)
