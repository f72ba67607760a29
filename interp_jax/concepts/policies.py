"""Policies: which concept to ask for next, of ONE example, given what is known so far.

    masks = policies.masks(policies.uncertainty(), model, params, data)          # [U + 1, N, k]
    interventions.accuracies(model, params, data, masks)                         # with 0, 1, ..., U units known

What is asked for is a unit, a binary concept or a group (`interventions.units`). A policy scores the units; the one
with the largest score that was not asked for is next, the first of equals. Before each question it sees what the model
makes of the answers so far. Only a policy that is an oracle is told the label, and what would be said.

`vmap` over params gives the curves of all seeds in one call. A unit without a label may be asked for, and tells
nothing. Scores that are NaN come last.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.special import xlogy

from interp_jax.concepts import interventions
from interp_jax.concepts.interventions import Expert, truth
from interp_jax.concepts.model import ConceptModel, Encoded, Given, beliefs, check_groups, decide
from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key, Numpy, PyTree
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.linear.logistic import log_likelihood
from interp_jax.models.nets import Net


class Secret(NamedTuple):
    """What only an oracle knows. said: `[k]`, the answers to come, NaN where none. label: `[]`."""

    said: Array
    label: Array


@dataclasses.dataclass(frozen=True)
class View:
    """What a policy sees of one example before a question.

    model, params, encoded: the model, and what its encoder makes of the example. given: what is known. key: with which
    the model samples. secret: what only an oracle knows, None for others.
    """

    model: ConceptModel
    params: PyTree
    encoded: Encoded
    given: Given
    key: Key
    secret: Secret | None = None

    def beliefs(self) -> Array:
        """Give the probability of each concept `[k]`, known ones as they were said."""
        return beliefs(self.model, self.params, self.encoded, self.given, self.key)

    def task(self, given: Given) -> Array:
        """Give the logits of the task `[C]` if this were known."""
        return decide(self.model, self.params, self.encoded, given, self.key).task

    def rows(self) -> Numpy:
        """Give the members of each unit, `[U, k]` bool."""
        return interventions.units(self.model.concepts, self.model.groups)


@dataclasses.dataclass(frozen=True)
class Policy:
    """score: `(view, key) -> [U]`, the larger the sooner. oracle: whether it is told the label and the answers."""

    score: Callable[[View, Key], Array]
    oracle: bool = False


def uniform() -> Policy:
    """Ask at random: every unit that is left is as likely."""
    return Policy(lambda view, key: jax.random.uniform(key, (len(view.rows()),)))


def uncertainty() -> Policy:
    """Ask for the unit with the largest entropy: of binary concepts the one closest to 1/2 (Shin et al. 2023)."""
    return Policy(lambda view, key: entropies(view.beliefs(), view.model.groups))


def fixed(order: ArrayLike) -> Policy:
    """Ask in the same order of every example. order: `[U]`, a permutation of the units; may be traced."""
    known = checks.concrete(order)
    if known is not None and sorted(known.ravel().tolist()) != [*range(known.size)]:
        raise ValueError(f"want an order of all units, got {known.tolist()}")

    def score(view: View, key: Key) -> Array:
        places = jnp.asarray(order)
        chex.assert_shape(places, (len(view.rows()),))
        return -jnp.argsort(places).astype(jnp.float32)

    return Policy(score)


def coop(
    uncertain: ArrayLike = 1.0, influential: ArrayLike = 1.0, costly: ArrayLike = 1.0, costs: ArrayLike = 0.0
) -> Policy:
    """Ask for what is uncertain, matters to the predicted label, and is cheap (Chauhan et al. 2023, "CooP").

        score_u = uncertain H_u / log n_u + influential sum_v p_u(v) |P(y | u = v) - P(y)| - costly cost_u

    H: entropy of the unit, n its values, p its probabilities; y the label predicted now, P its probability. The
    authors of IntCEM (cem/interventions/coop.py) take `|sum_v p(v) P(y | v) - P(y)|`, which is zero wherever P is
    linear in p; leave out the weights p(v) for a binary task; and add the cost. So we do not follow them.

    Args:
        uncertain: weight of uncertainty; may be traced, as the others.
        influential: weight of influence.
        costly: weight of costs.
        costs: of a question, `[U]` or a number.
    """

    def score(view: View, key: Key) -> Array:
        p, groups = view.beliefs(), view.model.groups
        values = np.maximum(view.rows().sum(1), 2)
        unsure = entropies(p, groups) / jnp.asarray(np.log(values), p.dtype)
        price = jnp.broadcast_to(jnp.asarray(costs, p.dtype), unsure.shape)
        weights = [jnp.asarray(weight, p.dtype) for weight in (uncertain, influential, costly)]
        return weights[0] * unsure + weights[1] * influence(view) - weights[2] * price

    return Policy(score)


def greedy() -> Policy:
    """Ask for the unit whose answer most raises the probability of the true label: an ORACLE, an upper reference.

    It is told the label and the answers, which nobody has at test time. No policy has a larger mean probability of the
    true label after one question; after more questions one may (the greedy choice looks one step ahead).
    """

    def score(view: View, key: Key) -> Array:
        said, label = _known(view)

        def after(row: Array) -> Array:
            mask = view.given.mask | (row & ~jnp.isnan(said))
            return log_probability(view.task(Given(mask, said)), label)

        return jax.vmap(after)(jnp.asarray(view.rows()))

    return Policy(score, oracle=True)


def learned(net: Net, weights: PyTree) -> Policy:
    """Ask for what a network scores highest. net: `(weights, [2k]) -> [U]`, of beliefs and of what is known."""

    def score(view: View, key: Key) -> Array:
        return net.apply(weights, seen(view))

    return Policy(score)


def seen(view: View) -> Array:
    """Give what a learned policy looks at, `[2k]`: the beliefs, and a 1 for each concept that is known."""
    return jnp.concatenate([view.beliefs(), view.given.mask.astype(view.encoded.logits.dtype)])


def entropies(p: Array, groups: tuple[tuple[int, ...], ...] = ()) -> Array:
    """Give the entropy in nats of each unit, `[U]`, from the concepts' probabilities `[k]`.

    A group's probabilities are divided by their sum first.

    >>> [round(abs(float(h)), 3) for h in entropies(jnp.array([0.5, 1.0, 0.0, 0.0]), ((1, 2),))]
    [0.693, 0.0, 0.0]
    """
    return jnp.stack([-xlogy(each, each).sum() for _, each in _answers(p, groups)])


def influence(view: View) -> Array:
    """Give the expected change of the predicted label's probability by each unit's answer, `[U]`: CooP's second term.

    The expectation is over the model's own beliefs; nothing true enters.
    """
    now = view.task(view.given)
    label = jnp.where(now.size == 1, now[0] > 0, now.argmax()).astype(jnp.int32)
    before = jnp.exp(log_probability(now, label))
    candidates, weights = possible(view.beliefs(), view.model.groups)

    def change(mask: Array, told: Array) -> Array:
        given = Given(view.given.mask | mask, jnp.where(mask, told, view.given.concepts))
        return jnp.abs(jnp.exp(log_probability(view.task(given), label)) - before)

    masks = jnp.broadcast_to(jnp.asarray(view.rows())[:, None], candidates.shape)
    changes = jax.vmap(jax.vmap(change))(masks, candidates)
    return jnp.where(weights > 0, weights * changes, 0.0).sum(1)


def possible(p: Array, groups: tuple[tuple[int, ...], ...] = ()) -> tuple[Array, Array]:
    """Give what may be said of each unit, `[U, A, k]`, and how likely that is, `[U, A]`; A is the most answers of any.

    p: `[k]`, the concepts' probabilities.
    """
    units = _answers(p, groups)
    most = max(len(values) for values, _ in units)
    told = np.zeros((len(units), most, p.size), np.float32)
    for row, (values, _) in zip(told, units, strict=True):
        row[: len(values)] = values
    return jnp.asarray(told), jnp.stack([jnp.pad(each, (0, most - each.size)) for _, each in units])


def log_probability(task: Array, label: Array) -> Array:
    """Give the log probability of a label `[]` by the task's logits `[C]`; C = 1 is the one logit of a binary task."""
    chex.assert_rank([task, label], [1, 0])
    return log_likelihood(task[None], jnp.asarray(label)[None])[0]


def masks(
    policy: Policy,
    model: ConceptModel,
    params: PyTree,
    data: ConceptSet,
    *,
    key: Key | None = None,
    expert: Expert = truth,
) -> Array:
    """Give what is known of each example after 0, 1, ..., U questions, `[U + 1, N, k]` bool, as `accuracies` takes it.

    key, expert: as in `interventions.accuracies`; give both the same, for a policy sees the answers.
    """
    order = orders(policy, model, params, data, key=key, expert=expert)
    found = interventions.nested(order, interventions.units(model.concepts, model.groups))
    return jnp.moveaxis(found, 1, 0)


def orders(
    policy: Policy,
    model: ConceptModel,
    params: PyTree,
    data: ConceptSet,
    *,
    key: Key | None = None,
    expert: Expert = truth,
) -> Array:
    """Give the order in which a policy asks for the units of each example, `[N, U]` int32; see `masks`."""
    example_keys, said = interventions.answers(data, key, expert)

    def one(x: Array, said: Array, label: Array, key: Key) -> Array:
        return order(policy, model, params, model.encode(params, x), Secret(said, label), key)

    return jax.vmap(one)(data.inputs, said, data.labels, example_keys)


def order(policy: Policy, model: ConceptModel, params: PyTree, encoded: Encoded, answers: Secret, key: Key) -> Array:
    """Give the order in which a policy asks for the units of ONE example, `[U]` int32.

    Args:
        policy: who asks.
        model: with the levels of its own params.
        params: of one run.
        encoded: the example.
        answers: what is said when a unit is asked for; a policy that is no oracle sees of it what was asked for.
        key: with which the model samples, the same at every step.
    """
    rows = jnp.asarray(interventions.units(model.concepts, model.groups))
    stream, count = keys.stream(key, "policy"), len(rows)
    secret = answers if policy.oracle else None

    def ask(asked: Array, step: Array) -> tuple[Array, Array]:
        mask = (rows & asked[:, None]).any(0) & ~jnp.isnan(answers.said)
        given = Given(mask, jnp.where(mask, answers.said, 0.0))
        score = policy.score(View(model, params, encoded, given, key, secret), keys.at(stream, step))
        chex.assert_shape(score, (count,))
        lowest = jnp.finfo(score.dtype).min
        clean = jnp.where(jnp.isnan(score), lowest, jnp.maximum(score, lowest))
        pick = jnp.where(asked, -jnp.inf, clean).argmax()
        return asked.at[pick].set(True), pick.astype(jnp.int32)

    return jax.lax.scan(ask, jnp.zeros(count, bool), jnp.arange(count))[1]


def curve(
    policy: Policy,
    model: ConceptModel,
    params: PyTree,
    data: ConceptSet,
    *,
    key: Key | None = None,
    expert: Expert = truth,
) -> Array:
    """Give the task's accuracy after 0, 1, ..., U questions of a policy, `[U + 1]`."""
    asked = masks(policy, model, params, data, key=key, expert=expert)
    return interventions.accuracies(model, params, data, asked, key=key, expert=expert)


def best_order(
    model: ConceptModel, params: PyTree, data: ConceptSet, *, key: Key | None = None, expert: Expert = truth
) -> Array:
    """Find one order for all examples, `[U]` int32: each next unit is the one that gives the best accuracy on `data`.

    data: not what is reported. Of equal accuracies the one with the smaller loss of the task wins.
    """
    rows = jnp.asarray(interventions.units(model.concepts, model.groups))
    example_keys, said = interventions.answers(data, key, expert)
    encoded = jax.vmap(lambda x: model.encode(params, x))(data.inputs)

    def quality(mask: Array) -> tuple[Array, Array]:
        def one(encoded: Encoded, said: Array, label: Array, key: Key) -> tuple[Array, Array]:
            task = decide(model, params, encoded, Given(mask & ~jnp.isnan(said), said), key).task
            return interventions.is_right(task, label), log_probability(task, label)

        right, likely = jax.vmap(one)(encoded, said, data.labels, example_keys)
        return right.sum(), likely.mean()

    def ask(asked: Array, _: None) -> tuple[Array, Array]:
        known = (rows & asked[:, None]).any(0)
        right, likely = jax.lax.map(lambda row: quality(known | row), rows)
        right = jnp.where(asked, -1, right)
        pick = jnp.where(right == right.max(), likely, -jnp.inf).argmax()
        return asked.at[pick].set(True), pick.astype(jnp.int32)

    return jax.lax.scan(ask, jnp.zeros(len(rows), bool), length=len(rows))[1]


def tuned(
    make: Callable[[Array], Policy],
    candidates: Array,
    model: ConceptModel,
    params: PyTree,
    data: ConceptSet,
    *,
    key: Key | None = None,
    expert: Expert = truth,
) -> Array:
    """Choose among `candidates [G, W]` the weights of a policy with the largest mean of its curve on `data`: `[W]`.

    The first of equals. data: for validation, not what is reported.

        best = tuned(lambda w: coop(w[0], w[1]), jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), model, params, data)
    """
    chex.assert_rank(candidates, 2)
    found = jax.lax.map(lambda w: curve(make(w), model, params, data, key=key, expert=expert).mean(), candidates)
    return candidates[found.argmax()]


def clone(
    net: Net,
    model: ConceptModel,
    params: PyTree,
    data: ConceptSet,
    key: Key,
    *,
    optimizer: optax.GradientTransformation = optax.adam(1e-3),  # noqa: B008
    steps: int = 1000,
    batch: int = 128,
    expert: Expert = truth,
) -> PyTree:
    """Fit a network to what the greedy oracle asks for, for `learned`: behavioural cloning.

    At each step a batch of examples, of each of which a random number of random units is known; the loss is the
    cross-entropy of the oracle's choice among the others. The oracle is told labels of `data`, the network is not.

    Args:
        net: from `[2k]` to `[U]`.
        model: as in `masks`.
        params: of one run.
        data: for training or validation, not what is reported.
        key: of initial weights, batches and what is known.
        optimizer: Adam with a rate of 1e-3.
        steps: updates.
        batch: examples of each.
        expert: who is asked.
    """
    checks.whole(1, steps=steps, batch=batch)
    rows, oracle = jnp.asarray(interventions.units(model.concepts, model.groups)), greedy()
    example_keys, said = interventions.answers(data, keys.stream(key, "expert"), expert)
    encoded = jax.vmap(lambda x: model.encode(params, x))(data.inputs)

    def loss(weights: PyTree, i: Array, key: Key) -> Array:
        first, second = jax.random.split(key)
        rank = jax.random.permutation(first, len(rows))
        asked = rank < jax.random.randint(second, (), 0, len(rows))
        given = Given((rows & asked[:, None]).any(0) & ~jnp.isnan(said[i]), said[i])
        example, secret = jax.tree.map(lambda leaf: leaf[i], encoded), Secret(said[i], data.labels[i])
        view = View(model, params, example, given, example_keys[i], secret)
        target = jnp.where(asked, -jnp.inf, oracle.score(view, key)).argmax()
        scores = jnp.where(asked, jnp.finfo(jnp.float32).min, net.apply(weights, seen(view)))
        return -jax.nn.log_softmax(scores)[target]

    def step(state: tuple[PyTree, PyTree], t: Array) -> tuple[tuple[PyTree, PyTree], None]:
        weights, moments = state
        first, second = jax.random.split(keys.at(keys.stream(key, "batch"), t))
        chosen = jax.random.randint(first, (batch,), 0, len(data.labels))
        own = jax.random.split(second, batch)
        gradient = jax.grad(lambda w: jax.vmap(loss, (None, 0, 0))(w, chosen, own).mean())(weights)
        change, moments = optimizer.update(gradient, moments, weights)
        return (optax.apply_updates(weights, change), moments), None

    weights = net.init(keys.stream(key, "init"))
    return jax.lax.scan(step, (weights, optimizer.init(weights)), jnp.arange(steps))[0][0]


def _known(view: View) -> Secret:
    if view.secret is None:
        raise ValueError("want a policy with oracle=True for a score that needs the label, got one without")
    return view.secret


def _answers(p: Array, groups: tuple[tuple[int, ...], ...]) -> list[tuple[Numpy, Array]]:
    """Give the answers of each unit, `[A, k]`, and their probabilities `[A]`."""
    chex.assert_rank(p, 1)
    found = []
    members = {group[0]: group for group in (tuple(sorted(g)) for g in check_groups(groups, p.size))}
    for row in interventions.units(p.size, groups):
        places = np.flatnonzero(row)
        one_hot = np.eye(p.size, dtype=np.float32)[places]
        if places[0] in members:
            total = p[places].sum()
            found.append((one_hot, p[places] / jnp.where(total > 0, total, 1.0)))
        else:
            found.append((np.concatenate([0 * one_hot, one_hot]), jnp.stack([1 - p[places[0]], p[places[0]]])))
    return found
