"""Do concepts cost accuracy? Task and concept accuracy of concept models, and what their concepts mean and leak.

    python experiments/concept_tradeoff.py quick     about three minutes on two CPU cores: narrow nets, 80 epochs
    python experiments/concept_tradeoff.py medium    the paper's nets, sums of digits too, 20 seeds
    python experiments/concept_tradeoff.py full      the paper's 500 epochs, all sets, 50 seeds; an accelerator

Espinosa Zarlenga et al. (2022), tables 1 and 2: XOR, Trig and Dot, on the examples of the paper's code; beside them
TabularToy, sums of handwritten digits, and the zoo, a real set that each seed splits anew. Accuracies are of fresh
examples where a set is made. The net without concepts is the paper's: a hybrid whose concepts are not taught.

The paper's code counts a binary task as 1 where the LOGIT is above 1/2, which is always 0 for a head that hardly says
anything: its rows of scalar concepts on XOR (51.33) and Dot (48.00) are the shares of class 0 among 600 test examples.
Rows have both: `task_half` at the paper's threshold and `task_test` at the right one, of those examples.

Koh et al. (2020) compare three ways to train a bottleneck, here of probabilities ("fuzzy"). Sequential training has as
many epochs again for the head. Where a linear head cannot use the concepts (XOR, Dot) its logits are near 0 and their
signs are chance: on XOR it scores about 1/4, 1/2 or 3/4 from seed to seed, whatever trained it. Leakage is `I(y;
concepts said | true concepts)` in nats, of logits (one to one with probabilities), of decisions where the head is told
no more.

The claims were stated before any run, with three exceptions. After a trial of two seeds: that alignment differs by what
is clustered, and that sequential training leaks (it was expected to leak less than joint training). After a first run:
that ways of training are compared where a bottleneck works at all, without XOR and Dot.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from interp_jax.concepts import comparison
from interp_jax.concepts.comparison import FAMILIES, Nets
from interp_jax.core import checks
from interp_jax.core.intervals import student
from interp_jax.core.types import Numpy
from interp_jax.data import concept_named
from interp_jax.data.concept_named import Stack
from interp_jax.report import cells, experiment, records
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli
from interp_jax.train import table
from interp_jax.train.sweep import Sweep, sweep

CEM = "Espinosa Zarlenga et al. 2022, Concept Embedding Models, tables 1 and 2"
KOH = "Koh et al. 2020, Concept Bottleneck Models, table 1 (by memory)"
MODELS = {
    "black_box": "no concepts", "cbm_hard": "hard", "cbm_sigmoid": "fuzzy", "cbm_logit": "logits",
    "hybrid_sigmoid": "hybrid", "hybrid_logit": "hybrid of logits", "cem": "CEM", "sequential": "fuzzy, sequential",
    "independent": "fuzzy, independent",
}  # fmt: skip
TITLES = {"xor": "XOR", "trig": "Trig", "dot": "Dot", "toy": "TabularToy", "sums": "sums", "zoo": "zoo"}
PAPER = ("xor", "trig", "dot")
LINEAR = ("trig", "toy", "sums", "zoo")
"""Data sets on which a linear head can use concepts."""
DRAWN = ("cem", "hybrid_sigmoid", "cbm_logit", "cbm_sigmoid", "cbm_hard", "sequential", "independent")
COLUMNS = (*comparison.ACCURACIES, *comparison.SCORES)

Found = Mapping[str, Mapping[str, Mapping[str, Numpy]]]
"""Data set -> model -> column -> `[seeds]`."""


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 10
    """How many seeds of each model on each data set."""
    data: tuple[Literal["xor", "trig", "dot", "toy", "sums", "zoo"], ...] = ("xor", "trig", "dot", "toy")
    """Which data sets: zoo needs the extra `data`."""
    digits: Literal["digits", "mnist-5k", "mnist"] = "digits"
    """Which digits are summed."""
    size: int = 16
    """Of an embedding; a hybrid has one unit less a concept. 128 in the paper."""
    hidden: int = 64
    """Width of the encoder's two layers; 128 in the paper."""
    epochs: int = 80
    """Of training; 500 in the paper."""
    batch: int = 300
    """Examples a step; 256 in the paper."""
    lr: float = 1e-2
    """Adam's learning rate, lowered on plateaus."""
    fresh: int = 20_000
    """Fresh examples for accuracies."""
    steps: int = 13
    """Numbers of clusters of the alignment score."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, hidden=self.hidden, epochs=self.epochs, batch=self.batch)
        checks.whole(2, steps=self.steps, size=self.size)
        checks.whole(comparison.SCORED, fresh=self.fresh)
        checks.positive(lr=self.lr)
        if not self.data or len(set(self.data)) < len(self.data):
            raise ValueError(f"want different data sets, at least one, got data={self.data}")

    @property
    def nets(self) -> Nets:
        """Give how nets are made and trained."""
        return Nets(self.size, self.hidden, self.epochs, self.batch, self.lr)


def train(s: Settings, family: str, stack: Stack, config: dict[str, Any]) -> Sweep:
    """Train the models of a family on data sets of one kind, from all seeds."""
    name, phases = f"{family}-{'-'.join(stack.names)}", 2 if family == "sequential" else 1
    runs = [
        table.run({"set": at, "member": member, "split": seed}, seed)
        for seed in range(s.seeds)
        for at in range(len(stack.names))
        for member in range(len(FAMILIES[family]))
    ]
    return sweep(
        lambda **cell: comparison.trainer(s.nets, family, stack.kind, cell), runs, stack.examples,
        steps=phases * s.epochs, chunk=s.epochs, config=config | {"sweep": name}, out=s.out / "runs" / name,
        **s.driver(),
    )  # fmt: skip


class Stated(NamedTuple):
    """A claim on the mean, over data sets, of a column of some models less that of others."""

    says: str
    column: str
    more: Sequence[str]
    less: Sequence[str]
    sets: Sequence[str]
    delta: float
    direction: Direction
    published: str
    source: str = CEM


_MORE, _LESS, _SAME = Direction.GREATER, Direction.LESS, Direction.EQUIVALENT
_FUZZY, _HARD, _NONE = ("cbm_sigmoid",), ("cbm_hard",), ("black_box",)
STATED = {
    "cem_reaches_the_black_box": Stated(
        "A CEM is as accurate on the task as the net without concepts.", "task", ("cem",), _NONE, PAPER, 0.02, _SAME,
        "XOR 99.17 against 99.33, Trig 98.43 against 98.47, Dot 97.13 against 97.57",
    ),
    "hybrid_reaches_the_black_box": Stated(
        "A hybrid is as accurate on the task as the net without concepts.", "task", ("hybrid_sigmoid",), _NONE, PAPER,
        0.02, _SAME, "XOR 99.23 against 99.33, Trig 98.67 against 98.47, Dot 96.67 against 97.57",
    ),
    "fuzzy_fails": Stated(
        "Fuzzy concepts fail at XOR and Dot.", "task", _FUZZY, _NONE, ("xor", "dot"), 0.2, _LESS,
        "XOR 51.42 against 99.33, Dot 48.17 against 97.57",
    ),
    "hard_fails": Stated(
        "Hard concepts fail at XOR and Dot.", "task", _HARD, _NONE, ("xor", "dot"), 0.2, _LESS,
        "XOR 51.33 against 99.33, Dot 48.00 against 97.57",
    ),
    "logits_escape": Stated(
        "Logits of concepts do not fail where probabilities do.", "task", ("cbm_logit",), _FUZZY, ("xor", "dot"), 0.2,
        _MORE, "not in the paper",
    ),
    "rows_are_the_share_of_class_0": Stated(
        "At the paper's threshold, a logit of 1/2, scalar concepts score the share of class 0 at XOR and Dot.",
        "task_half", (*_FUZZY, *_HARD), (), ("xor", "dot"), 0.01, _SAME,
        "XOR 51.33 and 51.42, Dot 48.00 and 48.17: class 0 has 308 and 288 of 600",
    ),
    "cem_learns_concepts": Stated(
        "A CEM's concepts are as accurate as those of a bottleneck whose encoder learns concepts alone.", "concepts",
        ("cem",), _HARD, tuple(TITLES), 0.01, _SAME, "no lower (figure 3, by memory)",
    ),
    "fuzzy_pays_with_concepts": Stated(
        "Where concepts do not tell the label, fuzzy ones trained jointly are less accurate than a CEM's.",
        "concepts", _FUZZY, ("cem",), ("trig",), 0.01, _LESS,
        "not in its tables; its code after 150 epochs, run by us: 92.1 against 99.3",
    ),
    "cem_aligns_better": Stated(
        "What stands for a concept in a CEM agrees better with it than in a hybrid.", "cas", ("cem",),
        ("hybrid_sigmoid",), PAPER, 0.02, _MORE,
        "XOR 98.79 against 98.53, Trig 97.55 against 73.75, Dot 95.98 against 72.66",
    ),
    "probabilities_align_alike": Stated(
        "The probabilities alone agree as well with concepts in a hybrid as in a CEM.", "cas_alone", ("cem",),
        ("hybrid_sigmoid",), PAPER, 0.02, _SAME, "not in the paper, whose score joins all extra units to each",
    ),
    "joint_beats_sequential": Stated(
        "Trained jointly, a bottleneck is more accurate on the task than sequentially.", "task", _FUZZY,
        ("sequential",), LINEAR, 0.01, _MORE, "birds: error .199 against .243", KOH,
    ),
    "sequential_is_like_independent": Stated(
        "Sequential and independent training are equally accurate on the task.", "task", ("sequential",),
        ("independent",), LINEAR, 0.02, _SAME, "birds: error .243 against .240", KOH,
    ),
    "sequential_training_leaks": Stated(
        "Concepts learnt without the task tell it beyond what concepts can.", "leakage", ("sequential",), (),
        ("trig", "dot"), 0.05, _MORE, "sequential training does not remove leakage",
        "Mahinpei et al. 2021, Promises and Pitfalls of Black-Box Concept Learning Models",
    ),
    "hard_concepts_leak_less": Stated(
        "Hard concepts leak less than those same concepts as probabilities.", "leakage", _HARD, ("sequential",),
        ("trig", "dot"), 0.05, _LESS, "hard concepts do not leak",
        "Mahinpei et al. 2021, Promises and Pitfalls of Black-Box Concept Learning Models",
    ),
}  # fmt: skip
UNITS = {
    "task": "task accuracy", "concepts": "concept accuracy", "cas": "concept alignment score",
    "cas_alone": "concept alignment score of what the head is told of a concept", "leakage": "leakage in nats",
    "task_half": "task accuracy at a logit of 1/2, of the paper's test examples",
}  # fmt: skip


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    scope = f"nets {s.hidden} wide, embeddings of {s.size}, {s.epochs} epochs; seeds are initial weights"
    found = {}
    for name, each in STATED.items():
        sets = [data for data in s.data if data in each.sets]
        less = (
            f" minus {names(each.less)}" if each.less else " minus the share of class 0" * (each.column == "task_half")
        )
        found[name] = Claim(
            name=name, statement=each.says, source=each.source, delta=each.delta, direction=each.direction,
            estimand=f"{UNITS[each.column]} of {names(each.more)}{less}, mean over data sets", unit="seeds",
            scope=f"{', '.join(TITLES[data] for data in sets or each.sets)}; {scope}", published=each.published,
            primary=name == "cem_reaches_the_black_box",
        )  # fmt: skip
    return found


def names(models: Sequence[str]) -> str:
    """Give the models' names in words."""
    return " and ".join(MODELS[model] for model in models)


def estimates(s: Settings, name: str, found: Found, zeros: Mapping[str, float]) -> dict[str, Numpy]:
    """Give a claim's difference on each of its data sets: title -> `[seeds]`. zeros: the share of class 0 of each."""
    each, values = STATED[name], {}
    for data in [data for data in s.data if data in each.sets]:
        more, less = (
            np.mean([found[data][model][each.column] for model in models], 0) if models else np.zeros(s.seeds)
            for models in (each.more, each.less)
        )
        values[TITLES[data]] = more - (zeros[data] if each.column == "task_half" else less)
    return values


def judge(s: Settings, found: Found, zeros: Mapping[str, float]) -> list[Finding]:
    """Give each claim its interval over seeds, and in its note the data sets apart."""
    findings = []
    for name, claim in claims(s).items():
        values = {title: each for title, each in estimates(s, name, found, zeros).items() if np.isfinite(each).any()}
        if not values:
            wanted = ", ".join(TITLES[data] for data in STATED[name].sets)
            findings.append(finding(claim, None, note=f"none of {wanted} is in this run, or large enough"))
            continue
        mean = np.mean([*values.values()], 0)
        mask = np.isfinite(mean)
        note = ", ".join(f"{title} {np.nanmean(each):+.3f}" for title, each in values.items())
        lost = "" if mask.all() else f"; left out: {(~mask).sum()} seeds that diverged or are undefined"
        if STATED[name].column == "task_half":
            right = estimates_at_zero(s, name, found)
            note += "; at the right threshold they score " + ", ".join(f"{t} {v:.3f}" for t, v in right.items())
        findings.append(finding(claim, student(mean, mask=mask) if mask.any() else None, note=note + lost))
    return findings


def estimates_at_zero(s: Settings, name: str, found: Found) -> dict[str, float]:
    """Give the accuracy on the paper's examples at the right threshold, by data set."""
    each = STATED[name]
    return {
        TITLES[data]: float(np.nanmean([found[data][model]["task_test"] for model in each.more]))
        for data in s.data if data in each.sets
    }  # fmt: skip


def tables(s: Settings, found: Found, zeros: Mapping[str, float]) -> list[records.Picture]:
    """Write the paper's tables: a row a model, a column a data set."""

    def rows(column: str, models: Sequence[str] = tuple(MODELS)) -> dict[str, dict[str, Numpy]]:
        of = {MODELS[model]: {TITLES[data]: found[data][model][column] for data in s.data} for model in models}
        return {name: {t: each for t, each in row.items() if np.isfinite(each).any()} for name, row in of.items()}

    scalar = ("black_box", "cbm_hard", "cbm_sigmoid")
    half = {f"{name}, logit > 1/2": row for name, row in rows("task_half", scalar).items()}
    right = {f"{name}, logit > 0": row for name, row in rows("task_test", scalar).items()}
    shares = {TITLES[data]: [zeros[data]] for data in s.data if data in zeros}
    shown: dict[str, tuple[str, str, dict, float]] = {
        "task": ("Task accuracy", "per cent, of fresh examples", rows("task"), 100),
        "artefact": (
            "Two rows of the published table are its threshold",
            "per cent, of the paper's test examples",
            {"share of class 0": shares} | half | right, 100,
        ),
        "concepts": ("Concept accuracy", "per cent, of fresh examples", rows("concepts"), 100),
        "alignment": ("Concept alignment of all that stands for a concept", "score in per cent", rows("cas"), 100),
        "alignment_alone": ("Concept alignment of what heads are told", "score in per cent", rows("cas_alone"), 100),
        "leakage": ("What concepts tell beyond concepts", "hundredths of a nat", rows("leakage"), 100),
        "impurity": ("Oracle impurity", "score in per cent; 0 is pure", rows("impurity"), 100),
    }  # fmt: skip
    return [
        records.Picture(
            name, cells.table(values, title=title, note=f"mean over seeds, 95% interval beneath; {unit}", scale=scale),
            CAPTIONS[name], f"A table: {title.lower()} of models by data set.",
        )
        for name, (title, unit, values, scale) in shown.items() if any(values.values())
    ]  # fmt: skip


CAPTIONS = {
    "task": "The right threshold, a logit of 0.",
    "artefact": "The paper's 51.33 (XOR) and 48.00 (Dot) of hard concepts are the share of class 0.",
    "concepts": "The net without concepts is not taught any.",
    "alignment": "A CEM's mixed embeddings; a hybrid's probability joined with all its extra units, as in the paper.",
    "alignment_alone": "Probabilities (CEMs and hybrids too), logits, or decisions.",
    "leakage": "I(y; logits | concepts), of decisions where concepts are hard. On XOR and TabularToy concepts tell y, "
    "so nothing is left to leak.",
    "impurity": "How far what one concept's logit tells of the others is from what the concepts tell of each other.",
}


def pictures(s: Settings, found: Found, zeros: Mapping[str, float]) -> list[records.Picture]:
    """Draw the plane of both accuracies, and write the tables."""
    panels = {
        TITLES[data]: cells.Plane(
            {
                MODELS[model]: (100 * found[data][model]["concepts"], 100 * found[data][model]["task"])
                for model in DRAWN
            },
            100 * float(np.nanmean(found[data]["black_box"]["task"])),
        )
        for data in s.data
    }
    plane = cells.planes(
        panels, title="Accuracy on the task against that on concepts", xlabel="concept accuracy (%)",
        ylabel="task accuracy (%)", dashed="no concepts",
    )  # fmt: skip
    words = "Each panel has scales of its own. Scalar concepts with a linear head cannot tell XOR and Dot."
    first = records.Picture("plane", plane, words, "Planes of task accuracy against concept accuracy, one a data set.")
    return [first, *tables(s, found, zeros)]


def rows(s: Settings, found: Found, zeros: Mapping[str, float], diverged: Mapping[str, int]) -> dict[str, list]:
    """Give the tidy table, a row a model; class_0 is the share of that class among test examples."""
    names_ = [(data, model, seed) for data in s.data for model in MODELS for seed in range(s.seeds)]
    return {
        "data": [data for data, *_ in names_],
        "model": [model for _, model, _ in names_],
        "seed": [seed for *_, seed in names_],
        "diverged_at": [diverged.get(" ".join(map(str, each)), -1) for each in names_],
        "class_0": [zeros.get(data, float("nan")) for data, *_ in names_],
        **{column: [float(found[d][m][column][seed]) for d, m, seed in names_] for column in COLUMNS},
    }


def lost(stack: Stack, family: str, done: Sweep) -> dict[str, int]:
    """Give the runs that diverged as "data model seed", with the epoch."""
    at = {run.id: run for run in done.runs}
    return {
        f"{stack.names[int(run['set'])]} {FAMILIES[family][int(run['member'])]} {at[name].seed}": epoch
        for name, epoch in done.diverged.items()
        for run in [at[name].hyperparameters]
    }


def run(s: Settings) -> None:
    """Train, measure, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=s.hidden < 128,
        title="What concepts cost",
        question="Do concept models reach the accuracy of a net without concepts, and do their concepts mean and tell "
        "what they should?",
    )  # fmt: skip
    claims(s)
    stacks = concept_named.stacks({name: concept_named.load(name, fresh=s.fresh, digits=s.digits) for name in s.data})
    config = {name: value for name, value in work.config.items() if name not in ("data", "fresh", "steps")}
    trained = [{family: train(s, family, stack, config) for family in FAMILIES} for stack in stacks]
    wanted = {family: s.seeds * len(members) for family, members in FAMILIES.items()}
    for stack, sweeps in zip(stacks, trained, strict=True):
        if any(work.waits(len(done.runs), len(stack.names) * wanted[family]) for family, done in sweeps.items()):
            return
    found: dict[str, dict] = {}
    diverged: dict[str, int] = {}
    zeros: dict[str, float] = {}
    for stack, sweeps in zip(stacks, trained, strict=True):
        found |= comparison.measured(s.nets, stack, sweeps, steps=s.steps)
        for family, done in sweeps.items():
            diverged |= lost(stack, family, done)
        labels = np.asarray(stack.examples.test.labels)
        zeros |= dict(zip(stack.names, (labels == 0).mean(1).tolist(), strict=True)) if stack.kind.classes == 1 else {}
    for name in diverged:
        data, model, seed = name.split()
        for column in COLUMNS:
            found[data][model][column][int(seed)] = np.nan
    work.write(
        judge(s, found, zeros), pictures=pictures(s, found, zeros), rows=rows(s, found, zeros, diverged),
        diverged=diverged,
    )  # fmt: skip


PRESETS = {
    "quick": Settings(),
    "medium": Settings(
        seeds=20, data=("xor", "trig", "dot", "toy", "sums"), size=128, hidden=128, epochs=150, batch=256, fresh=100_000
    ),
    "full": Settings(
        seeds=50, data=("xor", "trig", "dot", "toy", "sums", "zoo"), size=128, hidden=128, epochs=500, batch=256,
        fresh=100_000, digits="mnist-5k",
    ),
}  # fmt: skip

if __name__ == "__main__":
    cli.main(run, PRESETS)
