"""Does what leaks through concepts predict attacks that flip the label while the concepts hold?

    python experiments/concept_robustness.py quick     three to four minutes on two CPU cores: scikit-learn's digits
    python experiments/concept_robustness.py full      MNIST from its files, wider networks; meant for an accelerator

An explanation by concepts is of no use against an attack that it does not show. Networks learn which digit an image
shows through three concepts, "odd", "five or more" and "has a closed loop", which leave .55 nat of it open: 2 or 4, 6
or 8, 1 or 3, 5 or 7 have the same. Whatever tells these apart leaks through the concepts' numbers, or passes beside
them. Do networks through which more leaks fall more often to attacks that flip the digit and leave each concept on its
side of the threshold?

Leakage is I(digit; concepts' scores | concepts) in nats (`metrics.conditional_leakage`), of the logits (of decisions
where the head is told no more), on other test images than those attacked; `told` is the same of all that the head is
told. Attacks are in L2, on images whose digit the network has right; a success is judged anew at the point found. Four
are made: any flip of the digit; a flip with all concepts held (`adversarial.held`); the reverse, a concept's flip with
the digit held; and random points of the same ball, of which one counts if it flips the digit with all concepts held.

Each kind is trained on images and on adversarial images (the sum of its losses, the same radius). A head that is told
decisions (hard concepts, with straight-through gradients) cannot flip while these hold: a rate of 0 by definition,
shown as a check. A whitened net learns digits alone and is attacked in training by that loss alone; the threshold of an
axis is half-way between the means of training images with and without the concept.

Seeds differ in initial weights, in their split of the images and in all draws. Sizes, steps and the radius were chosen
in a trial of four other seeds for rates far from 0 and 1, before any association was looked at; after a first run of
all claims only the attacks were made longer (20 to 40 steps) and to stay a little inside the concepts' borders.

Chance hides a part: rates on halves of the images correlated by .35 to .39 within cells, and leakage on halves by .6
(CEM), so what is found is about .65 of what endless test images would show. Less any flips, halves share nothing.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.adversarial import held as holds
from interp_jax.adversarial import norms, objectives
from interp_jax.adversarial.pgd import noise, pgd
from interp_jax.concepts import metrics, views
from interp_jax.concepts.irrelevant import order
from interp_jax.concepts.metrics.predictors import softmax
from interp_jax.concepts.views import FAMILIES, Sizes, View
from interp_jax.core import checks, keys
from interp_jax.core.bootstrap import jackknife
from interp_jax.core.correlation import spearman
from interp_jax.core.intervals import Interval, student
from interp_jax.core.partial_ranks import within
from interp_jax.core.types import Array, Key, Numpy, PyTree
from interp_jax.data import digit_concepts, images, streams
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.report import experiment, figures, records
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli
from interp_jax.train import table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.train.trainer import Held, Metrics, Trainer, holding

K = len(digit_concepts.CONCEPTS)
KINDS = {"hard": "hard", "sigmoid": "sigmoid", "hybrid": "hybrid", "embedding": "CEM", "whitened": "whitening"}
SOFT = tuple(KINDS)[1:]
TRAININGS = ("standard", "adversarial")
ATTACKS = {
    "any": "digit flips", "held": "with concepts held", "moved": "concept flips, digit held", "noise": "random points",
}  # fmt: skip
ACCURACIES = ("task", "concepts")
MEASURED = ("attacked", "attack_steps", "draws")  # settings that no training knows of

Look = Callable[[Array], View]
Found = Mapping[tuple[str, str], Mapping[str, Numpy]]
"""(kind, training) -> quantity -> `[seeds]`, NaN where a run diverged."""


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings; radii are L2, pixels in [0, 1]."""

    seeds: int = 20
    """How many networks of each kind and training."""
    data: Literal["digits", "mnist-5k", "mnist"] = "digits"
    """Which images."""
    tested: int = 797
    """Images for testing, other ones for each seed."""
    attacked: int = 400
    """How many of these are attacked; leakage is measured on the others."""
    hidden: int = 64
    """Width of the two hidden layers."""
    head: int = 32
    """Width of the head's hidden layer."""
    size: int = 8
    """Of a concept's embedding; a hybrid has one unit less a concept."""
    axes: int = 16
    """Features that are whitened."""
    eps: float = 0.5
    """Radius of attacks, in training too."""
    steps: int = 600
    """Training steps."""
    batch: int = 60
    """Images a step."""
    lr: float = 2e-3
    """Adam's learning rate."""
    inner: int = 4
    """Steps of an attack in training."""
    attack_steps: int = 40
    """Steps of the attacks that are counted."""
    draws: int = 20
    """Random points of the control."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, hidden=self.hidden, head=self.head, steps=self.steps, inner=self.inner, draws=self.draws)
        checks.whole(1, attack_steps=self.attack_steps, attacked=self.attacked)
        checks.whole(2, size=self.size, seeds=self.seeds)
        checks.whole(K, axes=self.axes)
        checks.whole(self.attacked + 50, tested=self.tested)
        checks.positive(eps=self.eps, lr=self.lr)
        if self.batch <= self.axes:
            raise ValueError(f"want batches larger than axes={self.axes}, got batch={self.batch}")


def sizes(s: Settings) -> Sizes:
    """Give the sizes of all networks."""
    return Sizes(images.SHAPE[s.data], K, digit_concepts.CLASSES, s.hidden, s.head, s.size, s.axes)


def divided(s: Settings, data: ConceptSet, cell: Mapping[str, Array]) -> tuple[ConceptSet, ConceptSet]:
    """Split the images for a run: for training, and for testing."""
    rows = order(jax.random.key(2023), cell["split"], len(data.labels))
    first, second = rows[: -s.tested], rows[-s.tested :]
    return jax.tree.map(lambda leaf: leaf[first], data), jax.tree.map(lambda leaf: leaf[second], data)


def make(s: Settings, name: str, **cell: Array) -> Trainer:
    """Make the Trainer of a run: each batch is attacked with radius `eps`, which is 0 in standard training."""
    inner, eps = views.on_batches(sizes(s), name, cell["member"], batch=s.batch, lr=s.lr), cell["eps"]

    def step(state: PyTree, data: ConceptSet, t: Array) -> tuple[PyTree, Metrics]:
        rows = streams.uniform_indices(keys.stream(state.key, "rows"), t, len(data.labels), s.batch)
        batch = jax.tree.map(lambda leaf: leaf[rows], data)
        own = jax.random.split(keys.at(keys.stream(state.key, "attack"), t), s.batch)

        def worse(x: Array, label: Array, concepts: Array, key: Key) -> Array:
            look = partial(views.look, sizes(s), name, cell["member"], state)
            loss = lambda x: views.cost(name, look(x), label, concepts)  # noqa: E731
            return pgd(loss, x, key, eps=eps, step_size=2 * eps / s.inner, steps=s.inner, norm=norms.l2).last

        attacked = jax.vmap(worse)(batch.inputs, batch.labels, batch.concepts, own)
        return inner.step(state, (batch._replace(inputs=attacked), data), t)

    return holding(Trainer(inner.init, step), cell, lambda data, cell: divided(s, data, cell)[0])


def train(s: Settings, name: str, data: ConceptSet, config: dict[str, Any]) -> Sweep:
    """Train all seeds of a family, by seed, kind and training."""
    runs = [
        table.run({"member": member, "eps": eps, "split": seed}, seed)
        for seed in range(s.seeds) for member in range(len(FAMILIES[name])) for eps in (0.0, s.eps)
    ]  # fmt: skip
    return sweep(
        partial(make, s, name), runs, data, steps=s.steps, chunk=s.steps, config=config | {"family": name},
        out=s.out / "runs" / name, **s.driver(),
    )  # fmt: skip


def measure(s: Settings, name: str, run: Held, data: ConceptSet) -> dict[str, Array]:
    """Measure one run: accuracies, rates of attacks, and what leakage is measured of, `[N, ...]`.

    held_0, held_1: rates of flips that hold on either half of the images, to see how much of a rate is chance.
    """
    (first, test), member = divided(s, data, run.cell), run.cell["member"]
    plain = partial(views.look, sizes(s), name, member, run.state)
    thresholds = jnp.zeros(K)
    if name == "whitened":
        thresholds = views.halfway(jax.lax.map(plain, first.inputs, batch_size=1000).scores, first.concepts)

    def view(x: Array) -> View:
        seen = plain(x)
        return seen._replace(scores=seen.scores - thresholds)

    seen = jax.lax.map(view, test.inputs, batch_size=1000)
    others = jax.tree.map(lambda leaf: leaf[s.attacked :], seen)
    hard = (name == "bottleneck") & (member == 0)
    own = jax.random.split(keys.stream(run.state.key, "tried"), s.attacked)
    tried = test.inputs[: s.attacked], test.labels[: s.attacked], own
    right, hits = jax.lax.map(lambda each: attacks(s, view, *each), tried, batch_size=100)
    half = jnp.arange(s.attacked) % 2 == 0
    rates = {f"held_{i}": (right & each, hits["held"]) for i, each in enumerate((half, ~half))}
    rates |= {what: (right, hit) for what, hit in hits.items()}
    return {what: jnp.sum(there & hit) / jnp.sum(there) for what, (there, hit) in rates.items()} | {
        "task": metrics.task_accuracy(seen.task, test.labels),
        "concepts": metrics.concept_accuracy(seen.scores, test.concepts, threshold=0).mean(),
        "read": jnp.where(hard, (others.scores > 0) * 1.0, others.scores),
        "all": others.told,
        "truth": test.concepts[s.attacked :],
        "digits": test.labels[s.attacked :],
    }


def attacks(s: Settings, view: Look, x: Array, label: Array, key: Key) -> tuple[Array, dict[str, Array]]:
    """Attack one image: whether its digit was right, and whether each of ATTACKS succeeds; also `chance`.

    chance: whether the attack that holds nothing flips the digit and leaves the concepts all the same.
    """
    clean, ball = view(x), dict[str, Any](eps=s.eps, norm=norms.l2)
    flip = objectives.margin(lambda x: view(x).task, label)
    sides = holds.sides(lambda x: view(x).scores, x)
    few = ball | {"steps": s.attack_steps, "step_size": 0.3 * s.eps}
    tries = {
        "any": pgd(flip, x, key, **few),
        "held": holds.held(flip, sides, x, key, **few),
        "moved": holds.held(holds.leaving(sides), lambda x: -flip(x).value[None], x, key, **few),
        "noise": noise(holds.holding(flip, sides), x, key, draws=s.draws, **ball),
    }
    found = {}
    for what, attack in tries.items():
        now = view(attack.x)
        same, flips = jnp.all((now.scores > 0) == (clean.scores > 0)), jnp.argmax(now.task) != label
        found |= {what: {"any": flips, "moved": ~flips & ~same}.get(what, flips & same)}
        found |= {"chance": flips & same} if what == "any" else {}
    return jnp.argmax(clean.task) == label, found


@jax.jit
def leaked(representations: Array, concepts: Array, digits: Array) -> Array:
    """Measure the leakage of models `[M, N, ...]`, one by one, in nats."""
    leak = partial(metrics.conditional_leakage, classes=digit_concepts.CLASSES, predictor=softmax(tol=1e-3))
    return jax.lax.map(lambda each: leak(*each).nats, (representations, concepts, digits))


def arranged(s: Settings, data: ConceptSet, trained: Mapping[str, Sweep]) -> dict[tuple[str, str], dict[str, Numpy]]:
    """Measure all sweeps, the leakage of all networks by one program; a run that diverged as NaN."""
    values = {name: done.map(partial(measure, s, name), data) for name, done in trained.items()}
    more = ((0, 0), (0, 0), (0, sizes(s).told - K))  # zeros tell nothing, and leave one program
    read = np.concatenate([np.pad(each["read"], more) for each in values.values()])
    every, truth, digits = (np.concatenate([each[w] for each in values.values()]) for w in ("all", "truth", "digits"))
    leakage, told = (np.asarray(leaked(z, truth, digits), np.float64) for z in (read, every))
    found, begun = {}, 0
    for name, done in trained.items():
        ended = begun + len(done.runs)
        own = {what: each.astype(np.float64) for what, each in values[name].items() if each.ndim == 1}
        own |= {"leakage": leakage[begun:ended], "told": told[begun:ended]}
        lost, begun = np.array([run.id in done.diverged for run in done.runs]), ended
        for i, cell in enumerate(cells_of(FAMILIES[name])):
            found[cell] = {w: np.where(lost, np.nan, each).reshape(s.seeds, -1)[:, i] for w, each in own.items()}
    return {cell: found[cell] for cell in cells_of(KINDS)}


def cells_of(kinds: Iterable[str]) -> list[tuple[str, str]]:
    """Give all pairs of a kind and a training."""
    return [(kind, training) for kind in kinds for training in TRAININGS]


RANKS = "partial rank correlation over seeds within eight cells of kind and training, of {} with flips that hold{}"
PARTIAL = {
    "leakage_predicts_flips_beyond_accuracy": ("leakage", ACCURACIES),
    "leakage_predicts_flips": ("leakage", ()),
    "leakage_predicts_flips_beyond_accuracy_and_any_flips": ("leakage", (*ACCURACIES, "any")),
    "all_that_is_told_predicts_flips_beyond_accuracy": ("told", ACCURACIES),
}
"""What is correlated with flips that hold, and the covariates."""


def stated() -> dict[str, tuple[Direction, float, str, str]]:
    """Give of each claim the direction, delta, statement and estimand; the first is primary."""
    more, less, same = Direction.GREATER, Direction.LESS, Direction.EQUIVALENT
    return {
        "leakage_predicts_flips_beyond_accuracy": (more, 0.2, "Of networks of one kind and training, those through "
            "whose concepts more leaks fall more often to attacks that flip the digit while the concepts hold, beyond "
            "accuracy.", RANKS.format("leakage", ", less accuracies of digit and concepts")),
        "leakage_predicts_flips": (more, 0.2, "They do so before accuracy is taken off.", RANKS.format("leakage", "")),
        "leakage_predicts_flips_beyond_accuracy_and_any_flips": (more, 0.2, "They do so beyond accuracy and how often "
            "the digit flips at all.", RANKS.format("leakage", ", less accuracies and the rate of any flips")),
        "all_that_is_told_predicts_flips_beyond_accuracy": (more, 0.2, "Leakage of all that the head is told predicts "
            "them, beyond accuracy.", RANKS.format("leakage of all that the head is told", ", less accuracies")),
        "kinds_that_leak_more_fall_more_often": (more, 0.2, "Kinds and trainings that leak more fall more often to "
            "attacks that hold the concepts.", "Spearman correlation over ten cells of kind and training, of leakage "
            "with flips that hold"),
        "nothing_flips_through_hard_concepts": (same, 0.005, "No attack flips a digit through hard concepts that hold: "
            "true by definition, a check.", "rate of flips that hold, hard concepts, mean of both trainings"),
        "attacks_find_what_chance_does_not": (more, 0.1, "Attacks flip digits with all concepts held where random "
            "points of the same ball do not.", "rate of flips that hold minus that of random points, mean over soft "
            "kinds and trainings"),
        "concepts_flip_while_the_digit_holds": (more, 0.1, "Concepts can be flipped while the digit holds.",
            "rate of the reverse attack, mean over soft kinds and trainings"),
    } | {
        f"adversarial_training_lowers_flips_{kind}": (less, 0.05, "Adversarial training makes attacks that hold the "
            f"concepts rarer ({KINDS[kind]}).", f"rate of flips that hold, {KINDS[kind]}, adversarial minus standard")
        for kind in SOFT
    } | {
        f"adversarial_training_lowers_leakage_{kind}": (less, 0.02, "After adversarial training less leaks "
            f"({KINDS[kind]}).", f"leakage in nats, {KINDS[kind]}, adversarial minus standard training")
        for kind in KINDS
    }  # fmt: skip


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    scope = (
        f"{s.data}, three concepts, five kinds of networks with layers of {s.hidden}, {s.steps:,} steps of {s.batch} "
        f"images; L2 {s.eps:g}, {s.attack_steps} steps of attack on {s.attacked} images"
    )
    return {
        name: Claim(
            name=name, statement=says, source="asked here, of no paper", estimand=estimand, unit="seeds", delta=delta,
            direction=direction, scope=scope, primary=name == "leakage_predicts_flips_beyond_accuracy",
        )
        for name, (direction, delta, says, estimand) in stated().items()
    }  # fmt: skip


def columns(found: Found, cells: Sequence[tuple[str, str]], names: Sequence[str]) -> Numpy:
    """Put quantities of cells side by side: `[seeds, cells, names]`."""
    return np.stack([np.stack([found[cell][name] for name in names], -1) for cell in cells], 1)


def estimates(found: Found) -> dict[str, Numpy]:
    """Give the estimand of every claim that is a mean over seeds, for each seed."""
    of = {name: columns(found, cells_of(SOFT), [name])[..., 0] for name in ("held", "noise", "moved")}
    leakage, falls = np.moveaxis(columns(found, cells_of(KINDS), ("leakage", "held")), -1, 0)
    values = {
        "kinds_that_leak_more_fall_more_often": spearman(leakage.T, falls.T).estimate,
        "nothing_flips_through_hard_concepts": columns(found, cells_of(["hard"]), ["held"]).mean((1, 2)),
        "attacks_find_what_chance_does_not": (of["held"] - of["noise"]).mean(1),
        "concepts_flip_while_the_digit_holds": of["moved"].mean(1),
    }
    for what, name in (("flips", "held"), ("leakage", "leakage")):
        for kind in SOFT if what == "flips" else KINDS:
            before, after = (found[kind, training][name] for training in TRAININGS)
            values[f"adversarial_training_lowers_{what}_{kind}"] = after - before
    return values


def associated(found: Found, measure: str, covariates: Sequence[str]) -> tuple[Interval | None, str]:
    """Give the interval of a rank correlation by a jackknife over seeds, and its values for parts and halves."""
    table = columns(found, cells_of(SOFT), (measure, "held", *covariates))
    if len(table) < len(covariates) + 5:
        return None, f"{len(table)} seeds are too few for ranks within them"
    by = {KINDS[kind]: within(table[:, 2 * i : 2 * i + 2]) for i, kind in enumerate(SOFT)}
    by |= {training: within(table[:, i :: len(TRAININGS)]) for i, training in enumerate(TRAININGS)}
    said = ", ".join(f"{name} {value:.2f}" for name, value in by.items())
    halves = within(columns(found, cells_of(SOFT), ("held_0", "held_1", *covariates)))
    return jackknife(within, table), f"{said}; rates on halves of the images {halves:.2f}"


def judge(s: Settings, every: Found) -> list[Finding]:
    """Give each claim its interval over seeds; a seed with a run that diverged is left out of all, and counted.

    So is a seed with a run that has no attacked image right.
    """
    fine = np.isfinite(columns(every, cells_of(KINDS), [*every["hard", "standard"]])).all((1, 2))
    found = {cell: {name: values[fine] for name, values in own.items()} for cell, own in every.items()}
    lost = "" if fine.all() else f"left out: {(~fine).sum()} seeds with a run that diverged or is undefined"
    if not fine.any():
        return [finding(claim, None, note=lost) for claim in claims(s).values()]
    values, findings = estimates(found), []
    for name, claim in claims(s).items():
        pair = associated(found, *PARTIAL[name]) if name in PARTIAL else (student(values[name]), note_of(name, found))
        findings.append(finding(claim, pair[0], note="; ".join(filter(None, (pair[1], lost)))))
    return findings


def note_of(name: str, found: Found) -> str:
    """Say what a claim is to be read beside."""
    mean = {cell: {what: values.mean() for what, values in own.items()} for cell, own in found.items()}
    rate = {what: np.mean([mean[cell][what] for cell in cells_of(SOFT)]) for what in (*ATTACKS, "chance")}
    largest, kind = max(found["hard", training]["held"].max() for training in TRAININGS), name.rsplit("_", 1)[-1]
    said = {
        "kinds_that_leak_more_fall_more_often": "over these ten cells; of kinds in general ten say little",
        "nothing_flips_through_hard_concepts": f"largest rate of any network: {largest:g}",
        "attacks_find_what_chance_does_not": f"any flip {rate['any']:.3f}, of which concepts happen to hold "
        f"{rate['chance']:.3f}; held {rate['held']:.3f}, random {rate['noise']:.3f}",
    }
    if kind in KINDS:
        two = [mean[kind, training] for training in TRAININGS]
        return "accuracy of digits {:.3f} and {:.3f}, of concepts {:.3f} and {:.3f}".format(
            *(each[what] for what in ACCURACIES for each in two)
        )
    return said.get(name, "")


def pictures(found: Found) -> list[records.Picture]:
    """Draw the rates of all attacks, leakage, and what the primary claim is about."""
    rates = {t: {KINDS[k]: {ATTACKS[what]: found[k, t][what] for what in ATTACKS} for k in KINDS} for t in TRAININGS}
    by = {w: {KINDS[k]: {t: found[k, t][w] for t in TRAININGS} for k in KINDS} for w in ("leakage", "held")}
    x, y = ({k: np.concatenate([*each[k].values()]) for k in each if k != "hard"} for each in by.values())
    drawn = {
        f"attacks-{training}": (
            figures.groups(each, title=f"Attacks after {training} training", ylabel="share of images that fall"),
            "Share of images whose digit is right that fall; random points are to flip it with the concepts held.",
            "Dots by kind of network: no flips with concepts held for hard concepts, many for all others.",
        )
        for training, each in rates.items()
    } | {
        "leakage": (
            figures.groups(by["leakage"], title="What leaks through the concepts", ylabel="leakage / nat"),
            "Information of scores about the digit beyond the concepts, of .55 that these leave open.", "Dots by kind.",
        ),
        "association": (
            figures.scatter(x, y, title="Leakage and flips that hold", xlabel="leakage / nat", ylabel="share of flips"),
            "One point a network, of both trainings: the lower cloud of a kind is adversarial training.",
            "Scatter of the rate of flips that hold the concepts against leakage, by kind.",
        ),
    }  # fmt: skip
    return [records.Picture(name, *each) for name, each in drawn.items()]


def rows(s: Settings, found: Found) -> dict[str, Any]:
    """Give the tidy table, one row a network."""
    kinds, trainings = (np.repeat([cell[i] for cell in found], s.seeds) for i in range(2))
    named = {name: np.concatenate([own[name] for own in found.values()]) for name in next(iter(found.values()))}
    return {"kind": kinds, "training": trainings, "seed": np.tile(np.arange(s.seeds), len(found))} | named


def run(s: Settings) -> None:
    """Train, attack, measure, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=s.data == "digits",
        title="Leakage and robustness",
        question="Does what leaks through concepts predict attacks that flip the label while the concepts hold?",
    )  # fmt: skip
    claims(s)
    data = digit_concepts.load(s.data)
    if s.tested > len(data.labels) // 2:
        raise ValueError(f"want tested of at most half of the {len(data.labels)} images, got tested={s.tested}")
    defines = {name: value for name, value in work.config.items() if name not in MEASURED}
    trained = {name: train(s, name, data, defines) for name in FAMILIES}
    wanted = sum(len(kinds) * len(TRAININGS) * s.seeds for kinds in FAMILIES.values())
    if work.waits(sum(len(done.runs) for done in trained.values()), wanted):
        return
    found = arranged(s, data, trained)
    diverged = {f"{name}: {run}": t for name, done in trained.items() for run, t in done.diverged.items()}
    work.write(judge(s, found), pictures=pictures(found), rows=rows(s, found), diverged=diverged)


PRESETS = {
    "quick": Settings(),
    "full": Settings(
        seeds=50, data="mnist", tested=10_000, attacked=2000, hidden=256, head=64, size=16, axes=32, eps=1.5,
        steps=10_000, batch=128, lr=1e-3, inner=7, attack_steps=50,
    ),
}  # fmt: skip

if __name__ == "__main__":
    cli.main(run, PRESETS)
