"""All models of the CEM paper's tables on data sets of one kind, and Koh et al.'s ways of training: train and measure.

Models that differ in numbers only are one program, and so are data sets of one shape: a run is a `cell`, its member of
a family and its data set, and its state carries that. The net without concepts is the CEM paper's, a hybrid whose
concepts are not taught.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.concepts import losses, metrics, study, training
from interp_jax.concepts.bottleneck import decisions
from interp_jax.concepts.embedding import rand_int
from interp_jax.concepts.metrics.conditional import by_concept
from interp_jax.concepts.model import ConceptModel, decide, probabilities
from interp_jax.core.types import Array, Numpy
from interp_jax.data.concept_named import Examples, Kind, Stack, of_run
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.train.sweep import Sweep
from interp_jax.train.trainer import Held, Trainer, holding

FAMILIES = {
    "cbm": ("cbm_hard", "cbm_sigmoid", "cbm_logit"),
    "hybrid": ("hybrid_sigmoid", "hybrid_logit", "black_box"),
    "cem": ("cem",),
    "sequential": ("sequential",),
    "independent": ("independent",),
}
"""Models by the program that trains them; sequential and independent are ways to train cbm_sigmoid."""
FEW = 300
"""With fewer test examples only accuracies are measured."""
SCORED = 2000
"""Fresh examples that leakage and impurity are measured on, at most."""
ACCURACIES = ("task", "concepts", "task_test", "task_half")
SCORES = ("cas", "cas_alone", "leakage", "impurity")


class Nets(NamedTuple):
    """How the nets are made and trained; static. size: of an embedding. hidden: width of the encoder. epochs: in all.

    Sequential training has as many epochs again, for its head.
    """

    size: int = 128
    hidden: int = 128
    epochs: int = 500
    batch: int = 256
    lr: float = study.LR


def build(nets: Nets, family: str, kind: Kind, member: Array | int) -> ConceptModel:
    """Make a model of a family by its number, which may be traced."""
    sizes: dict[str, Any] = {"classes": kind.classes, "size": nets.size, "hidden": nets.hidden, "groups": kind.groups}
    if family == "cem":
        return study.build("cem", kind.numbers, kind.concepts, **sizes)
    names = {"cbm": FAMILIES["cbm"], "hybrid": ("hybrid_sigmoid", "hybrid_logit", "hybrid_logit")}
    return study.any_of(names.get(family, ("cbm_sigmoid",)), member, kind.numbers, kind.concepts, **sizes)


def trainer(nets: Nets, family: str, kind: Kind, cell: Mapping[str, Array]) -> Trainer:
    """Make the Trainer of a run; a step is an epoch, and the sweep's data are `Stack.examples`.

    cell: `set` and `member`, numbers of the data set and of the model; `split`, where runs have their own.
    """
    loss = losses.concept_loss(groups=kind.groups)
    recipe = dataclasses.replace(study.RECIPE, batch=nets.batch, concept_loss=loss)
    model = build(nets, family, kind, cell["member"])
    if family == "sequential":
        inner = training.sequential(model, recipe, lr=nets.lr, epochs=nets.epochs)
    elif family == "independent":
        inner = training.independent(model, recipe, lr=nets.lr)
    else:
        untaught = (cell["member"] == FAMILIES["hybrid"].index("black_box")) & (family == "hybrid")
        give = rand_int(shared=True) if family == "cem" else None
        inner = training.joint(model, recipe, lr=nets.lr, concept_weight=1.0 - untaught, give=give)
    return holding(inner, dict(cell), lambda data, cell: of_run(kind, data, cell["set"], cell["split"]).train)


def measure(nets: Nets, family: str, kind: Kind, held: Held, data: Examples) -> dict[str, Array]:
    """Measure one run, for `Sweep.map`.

    task, concepts: accuracies on fresh examples. task_test, task_half: of the task on test examples, and as the CEM
    paper's code counts them, 1 where a LOGIT is above 1/2 (NaN for more than two classes). told, rest: `[N, k]` and
    `[N, ...]`, what the head is told of test examples. logits: `[n, k]`, of fresh ones; decisions where the head is
    told no more.
    """
    model, own = (
        build(nets, family, kind, held.cell["member"]),
        of_run(kind, data, held.cell["set"], held.cell["split"]),
    )
    params, is_hard = held.state.params, (held.cell["member"] == 0) & (family == "cbm")

    def some(x: Array) -> tuple[Array, Array]:
        encoded = model.encode(params, x)
        return decide(model, params, encoded).task, encoded.logits

    def every(x: Array) -> tuple[Array, Array, Array]:
        encoded = model.encode(params, x)
        output = decide(model, params, encoded)
        return output.task, output.values, encoded.rest

    outputs, logits = jax.lax.map(some, own.fresh.inputs, batch_size=1000)
    tested, told, rest = jax.vmap(every)(own.test.inputs)
    believed = jax.vmap(partial(probabilities, groups=kind.groups))(logits)
    half = metrics.task_accuracy(tested - 0.5, own.test.labels) if kind.classes == 1 else jnp.float32(jnp.nan)
    decided = jax.vmap(partial(decisions, groups=kind.groups))(logits[:SCORED])
    return {
        "task": metrics.task_accuracy(outputs, own.fresh.labels),
        "concepts": metrics.concept_accuracy(believed, own.fresh.concepts).mean(),
        "task_test": metrics.task_accuracy(tested, own.test.labels),
        "task_half": half,
        "told": told,
        "rest": rest,
        "logits": jnp.where(is_hard, decided, logits[:SCORED]),
    }


def measured(nets: Nets, stack: Stack, trained: Mapping[str, Sweep], *, steps: int) -> dict[str, dict]:
    """Measure all models on the data sets of a stack: data set -> model -> column -> `[seeds]`.

    trained: by family, runs ordered by seed, data set and member. steps: numbers of clusters of the alignment score.
    Columns are ACCURACIES and SCORES; these are NaN where there are FEW test examples, or more than two classes.
    """
    values = {f: done.map(partial(measure, nets, f, stack.kind)) for f, done in trained.items()}
    found = {}
    for at, name in enumerate(stack.names):
        own = {
            member: {
                what: each[at * len(FAMILIES[family]) + i :: len(stack.names) * len(FAMILIES[family])]
                for what, each in values[family].items()
            }
            for family in trained
            for i, member in enumerate(FAMILIES[family])
        }
        examples = jax.tree.map(lambda leaf, at=at: leaf[at], stack.examples)
        enough = len(examples.test.labels) >= FEW and stack.kind.classes == 1
        more = scored(own, examples, steps=steps) if enough else {}
        found[name] = {
            model: {what: each[what].astype(float) for what in ACCURACIES}
            | more.get(model, {what: np.full(len(each["task"]), np.nan) for what in SCORES})
            for model, each in own.items()
        }
    return found


def scored(own: Mapping[str, Mapping[str, Numpy]], examples: Examples, *, steps: int) -> dict[str, dict[str, Numpy]]:
    """Score all models on one data set, those of one shape by one program: model -> SCORES -> `[seeds]`.

    own: of each model what `measure` gives, stacked over seeds. leakage is of logits, by a classifier that is linear in
    them, for each combination of concepts where there are few. cas is of all that stands for a concept, cas_alone of
    what the head is told of it.
    """
    told, logits = (np.concatenate([each[what] for each in own.values()]) for what in ("told", "logits"))
    fresh = jax.tree.map(lambda leaf: leaf[:SCORED], examples.fresh)
    each = _scores(told, logits, examples.test.concepts, fresh, steps=steps)
    found: dict[str, dict[str, Numpy]] = {}
    for i, (model, values) in enumerate(own.items()):
        mine: dict[str, Numpy] = {
            what: np.asarray(value).reshape(len(own), -1)[i].astype(float) for what, value in each.items()
        }
        cas = mine["cas_alone"]
        if values["rest"].size:
            cas = np.asarray(_alignment(values["told"], values["rest"], examples.test.concepts, steps=steps), float)
        found[model] = mine | {"cas": cas}
    return found


@partial(jax.jit, static_argnames="steps")
def _scores(told: Array, logits: Array, tested: Array, fresh: ConceptSet, *, steps: int) -> dict[str, Array]:
    """Score models `[M, ...]`, as far as scalars go."""
    expand = by_concept if tested.shape[1] <= 4 else None

    def one(pair: tuple[Array, Array]) -> dict[str, Array]:
        leak = metrics.conditional_leakage(pair[1], fresh.concepts, fresh.labels, classes=2, expand=expand)
        return {
            "cas_alone": metrics.concept_alignment(pair[0], tested, steps=steps).score,
            "leakage": leak.nats,
            "impurity": metrics.oracle_impurity(pair[1], fresh.concepts).score,
        }

    return jax.lax.map(one, (told, logits))


@partial(jax.jit, static_argnames="steps")
def _alignment(told: Array, rest: Array, concepts: Array, *, steps: int) -> Array:
    """Give the alignment score of models `[M]` of which `[M, N, k]` and `[M, N, ...]` are told.

    One by one: what stands for each concept of a hybrid holds all extra units, as often as there are concepts.
    """

    def one(pair: tuple[Array, Array]) -> Array:
        return metrics.concept_alignment(jax.vmap(study.representation)(*pair), concepts, steps=steps).score

    return jax.lax.map(one, (told, rest))
