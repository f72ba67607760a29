"""Why hybrids? Concepts that do not tell the label, against a head that cannot use those that do.

    python experiments/concept_incompleteness.py quick     about three minutes on two CPU cores: 11 concepts
    python experiments/concept_incompleteness.py medium    all coverages from 10 to 100%, wider nets, 20 seeds
    python experiments/concept_incompleteness.py full      the CEM paper's widths, 50 seeds; meant for an accelerator

Extra units (Mahinpei et al. 2021) and concept embeddings (Espinosa Zarlenga et al. 2022) are to keep accuracy where
concepts are incomplete. The CEM paper shows it on XOR among others; but XOR's concepts are complete: scalar models fail
there for their linear head, and here an MLP of 32 units in its place mends them.

So the two are crossed: coverage of concepts and kind of head. The label is the majority of k concepts, which a linear
head tells from all of them (TabularToy with more than three, independent ones). Each seed knows concepts of its own,
the same and more as coverage grows; the others have no labels and the head is told nothing of them. Extra units stay as
many. What the best guess from the known concepts scores is known in closed form. The net without concepts is the hybrid
that knows none.

The majority of signs is hard to learn from labels alone: the net without concepts scores 84% in the quick preset, where
the sign of the sum scores 79%. Extra units and embeddings keep that at any coverage, and keep to it: with all concepts
known, hard concepts, which the task does not train, are better than they are. That claim is of after a first run, the
others were stated before any.

Completeness (Yeh et al. 2020) is of true concepts and a linear predictor, against the net without concepts.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from interp_jax.concepts import metrics, study, training
from interp_jax.concepts.embedding import rand_int
from interp_jax.concepts.model import ConceptModel, decide, probabilities
from interp_jax.core import checks, keys
from interp_jax.core.intervals import student
from interp_jax.core.types import Array, Numpy
from interp_jax.data import concept_sets
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.report import experiment, figures, records
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli
from interp_jax.train import table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.train.trainer import Held, Trainer, holding

MODELS = {
    "cbm_sigmoid": "sigmoid", "cbm_hard": "hard", "hybrid_sigmoid": "hybrid", "cem": "CEM", "black_box": "no concepts"
}  # fmt: skip
FAMILIES = {"cbm": ("cbm_sigmoid", "cbm_hard"), "hybrid": ("hybrid_sigmoid",), "cem": ("cem",)}
"""Models that are one program."""
HEADS = {"linear": "linear head", "mlp": "MLP head"}
SETS = {"majority": tuple(FAMILIES), "xor": ("cbm", "hybrid")}
"""Which families are trained on which data."""
XOR_BATCH = 300
SCORED = 2000
"""Fresh examples for the completeness score."""
CEM = "Espinosa Zarlenga et al. 2022, Concept Embedding Models"
PITFALLS = "Mahinpei et al. 2021, Promises and Pitfalls of Black-Box Concept Learning Models"

Found = dict[tuple[str, str, str], dict[str, Numpy]]
"""(data, head, model) -> column -> `[seeds, coverages]`; one coverage of XOR and of the net without concepts."""


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 10
    """How many seeds."""
    concepts: int = 11
    """How many concepts the label is the majority of, an odd number."""
    shares: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 1.0)
    """Coverages: the shares of concepts that are known, rising, to 1."""
    examples: int = 8000
    """To train on."""
    fresh: int = 10_000
    """To test on."""
    size: int = 6
    """Of an embedding; a hybrid has one unit less a concept."""
    hidden: int = 64
    """Width of the encoder's two layers."""
    head: int = 32
    """Width of the MLP head's hidden layer."""
    epochs: int = 20
    """Of training; on XOR, which has 2100 examples, 3 times as many."""
    batch: int = 250
    """Examples a step."""
    lr: float = 1e-2
    """Adam's learning rate, lowered on plateaus."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, hidden=self.hidden, head=self.head, epochs=self.epochs, batch=self.batch)
        checks.whole(2, size=self.size)
        checks.whole(SCORED, fresh=self.fresh)
        checks.whole(self.batch, examples=self.examples)
        checks.positive(lr=self.lr)
        if self.concepts < 3 or self.concepts % 2 == 0:
            raise ValueError(f"want an odd number of concepts, 3 or more, got concepts={self.concepts}")
        numbers = self.numbers()
        if len(numbers) < 2 or sorted(set(numbers)) != numbers or numbers[0] < 1 or self.shares[-1] != 1:
            raise ValueError(f"want two or more rising shares, from one concept to 1, got shares={self.shares}")

    def numbers(self) -> list[int]:
        """Give how many concepts are known at each coverage."""
        return [round(share * self.concepts) for share in self.shares]


def load(s: Settings) -> dict[str, tuple[ConceptSet, ConceptSet]]:
    """Draw what is trained on and fresh examples, of both data sets."""
    toy, key = concept_sets.tabular_toy(0.0, s.concepts), jax.random.key(2024)
    drawn = [
        concept_sets.draw(toy, keys.stream(key, name), n) for name, n in (("train", s.examples), ("test", s.fresh))
    ]
    xor = concept_sets.draw(concept_sets.xor, keys.stream(key, "xor"), s.fresh)
    return {"majority": (drawn[0], drawn[1]), "xor": (concept_sets.reference_split("xor").train, xor)}


def known(seed: Array, count: Array, concepts: int) -> Array:
    """Tell which concepts a seed knows, `[concepts]` bool: `count` of them, among them all that a smaller count has."""
    order = jax.random.permutation(keys.at(jax.random.key(2025), seed.astype(jnp.int32)), concepts)
    return jnp.argsort(order) < count


def build(s: Settings, family: str, head: str, data: ConceptSet, cell: Mapping[str, Array]) -> ConceptModel:
    """Make the model of a run."""
    concepts, numbers = data.concepts.shape[-1], data.inputs.shape[-1]
    sizes: dict[str, Any] = {"size": s.size, "hidden": s.hidden, "head": (s.head,) * (head == "mlp")}
    if family == "cem":
        model = study.build("cem", numbers, concepts, **sizes)
    else:
        model = study.any_of(FAMILIES[family], cell["member"], numbers, concepts, **sizes)
    return study.limited(model, known(cell["split"], cell["known"], concepts))


def design(s: Settings, data: str, family: str, concepts: int) -> list[tuple[str, int]]:
    """Give the models of a sweep and how many concepts each knows: the hybrid that knows none has no concepts."""
    numbers = s.numbers() if data == "majority" else [concepts]
    found = [(member, count) for member in FAMILIES[family] for count in numbers]
    return found + [("black_box", 0)] * (family == "hybrid")


def train(s: Settings, name: tuple[str, str, str], data: ConceptSet, config: dict[str, Any]) -> Sweep:
    """Train all models of a family, with a head, on a data set."""
    of, head, family = name
    small = of == "xor"
    recipe = dataclasses.replace(study.RECIPE, batch=min(XOR_BATCH, len(data.labels)) if small else s.batch)
    give = rand_int() if family == "cem" else None

    def make(**cell: Array) -> Trainer:
        def taught(data: ConceptSet, cell: dict[str, Array]) -> ConceptSet:
            there = known(cell["split"], cell["known"], data.concepts.shape[1])
            labels = jnp.where(jnp.broadcast_to(there, data.concepts.shape), data.concepts, jnp.nan)
            return data._replace(concepts=labels)

        model = build(s, family, head, data, cell)
        return holding(training.joint(model, recipe, lr=s.lr, give=give), cell, taught)

    runs = [
        table.run({"member": FAMILIES[family].index(model) if count else 0, "known": count, "split": seed}, seed)
        for seed in range(s.seeds)
        for model, count in design(s, of, family, data.concepts.shape[1])
    ]
    epochs, folder = s.epochs * (3 if small else 1), "-".join(name)
    return sweep(
        make, runs, data, steps=epochs, chunk=epochs, config=config | {"sweep": folder}, out=s.out / "runs" / folder,
        **s.driver(),
    )  # fmt: skip


def measure(s: Settings, name: tuple[str, str, str], held: Held, data: ConceptSet) -> dict[str, Array]:
    """Measure one run on fresh examples. concepts: accuracy on those that are known. logits: of the task, the first."""
    model = build(s, name[2], name[1], data, held.cell)

    def one(x: Array) -> tuple[Array, Array]:
        encoded = model.encode(held.state.params, x)
        return decide(model, held.state.params, encoded).task, probabilities(encoded.logits)

    task, said = jax.lax.map(one, data.inputs, batch_size=1000)
    there = known(held.cell["split"], held.cell["known"], model.concepts)
    right = metrics.concept_accuracy(said, data.concepts)
    return {
        "task": metrics.task_accuracy(task, data.labels),
        "concepts": jnp.sum(jnp.where(there, right, 0)) / jnp.sum(there),
        "logits": task[:SCORED],
    }


def arranged(s: Settings, name: tuple[str, str, str], done: Sweep, fresh: ConceptSet) -> Found:
    """Measure a sweep, a run that diverged as NaN."""
    values = done.map(partial(measure, s, name), fresh)
    lost = np.array([run.id in done.diverged for run in done.runs])
    cells = design(s, name[0], name[2], fresh.concepts.shape[1])
    found: Found = {}
    for model in dict.fromkeys(model for model, _ in cells):
        mine = [i for i, cell in enumerate(cells) if cell[0] == model]
        found[*name[:2], model] = {
            what: np.where(lost.reshape(lost.shape + (1,) * (each.ndim - 1)), np.nan, each.astype(float)).reshape(
                s.seeds, len(cells), *each.shape[1:]
            )[:, mine]
            for what, each in values.items()
        }
    return found


def completeness(s: Settings, found: Found, fresh: ConceptSet) -> Numpy:
    """Score true concepts against the net without concepts, by coverage: `[seeds, coverages]`."""
    few, numbers = jax.tree.map(lambda leaf: leaf[:SCORED], fresh), jnp.array(s.numbers())
    task = jnp.asarray(found["majority", "linear", "black_box"]["logits"][:, 0], jnp.float32)

    def one(task: Array, seed: Array, count: Array) -> Array:
        told = jnp.where(jnp.broadcast_to(known(seed, count, s.concepts), few.concepts.shape), few.concepts, 0)
        return metrics.completeness(told, task, few.labels).score

    def of_seed(pair: tuple[Array, Array]) -> Array:
        return jax.lax.map(lambda count: one(*pair, count), numbers)

    return np.asarray(jax.jit(lambda *each: jax.lax.map(of_seed, each))(task, jnp.arange(s.seeds)), float)


def ceiling(concepts: int, count: int) -> float:
    """Give the accuracy of the best guess of the majority of even concepts, of which `count` are known.

    >>> round(ceiling(3, 1), 4)
    0.75
    """
    told = np.arange(count + 1)
    true = stats.binom.sf((concepts - 1) / 2 - told, concepts - count, 0.5)  # the rest makes up for what is missing
    return float(np.sum(stats.binom.pmf(told, count, 0.5) * np.maximum(true, 1 - true)))


class Stated(NamedTuple):
    """A claim on the accuracy of a model less that of another, at some coverages (a name of AT)."""

    says: str
    data: str
    more: tuple[str, str]
    less: tuple[str, str]
    at: str
    delta: float
    direction: Direction
    source: str
    published: str = "not measured"


AT = {
    "at the least coverage": slice(0, 1), "with all concepts": slice(-1, None),
    "mean over partial coverages": slice(0, -1),
}  # fmt: skip
_LEAST, _ALL, _PART = AT
_MORE, _LESS, _SAME = Direction.GREATER, Direction.LESS, Direction.EQUIVALENT
STATED = {
    "hybrids_help_where_concepts_are_missing": Stated(
        "Where most concepts are missing, extra units keep the accuracy that no head finds in the concepts.",
        "majority", ("mlp", "hybrid_sigmoid"), ("mlp", "cbm_sigmoid"), _LEAST, 0.05, _MORE, PITFALLS,
        "extra capacity for what concepts do not tell",
    ),
    "embeddings_help_where_concepts_are_missing": Stated(
        "Where most concepts are missing, a CEM keeps the accuracy that no head finds in the concepts.",
        "majority", ("mlp", "cem"), ("mlp", "cbm_sigmoid"), _LEAST, 0.05, _MORE, CEM, "birds with a quarter of the "
        "concepts: CEM 76.76, hybrid 77.15",
    ),
    "hybrids_are_needless_where_none_is": Stated(
        "Where no concept is missing, a bottleneck with a linear head is as accurate as a hybrid.",
        "majority", ("linear", "hybrid_sigmoid"), ("linear", "cbm_sigmoid"), _ALL, 0.02, _SAME, PITFALLS,
    ),
    "extra_units_are_a_shortcut": Stated(
        "Where no concept is missing, a hybrid is less accurate than hard concepts, which cannot do without them.",
        "majority", ("linear", "hybrid_sigmoid"), ("linear", "cbm_hard"), _ALL, 0.02, _LESS, PITFALLS,
    ),
    "a_head_is_no_substitute": Stated(
        "Where most concepts are missing, an MLP head makes hard concepts no better.",
        "majority", ("mlp", "cbm_hard"), ("linear", "cbm_hard"), _LEAST, 0.02, _SAME, PITFALLS,
    ),
    "hard_concepts_tell_what_they_can": Stated(
        "Hard concepts score what the best guess from the known concepts does.",
        "majority", ("linear", "cbm_hard"), ("linear", "ceiling"), _PART, 0.02, _SAME, PITFALLS,
    ),
    "soft_concepts_tell_more": Stated(
        "Probabilities score more than the best guess from the known concepts: they leak.",
        "majority", ("mlp", "cbm_sigmoid"), ("mlp", "ceiling"), _PART, 0.02, _MORE, PITFALLS, "soft concepts leak",
    ),
    "xor_beats_sigmoid_with_a_linear_head": Stated(
        "On XOR a sigmoid bottleneck with a linear head fails.", "xor", ("linear", "cbm_sigmoid"),
        ("linear", "black_box"), _ALL, 0.2, _LESS, CEM, "51.42 against 99.33",
    ),
    "xor_beats_hard_with_a_linear_head": Stated(
        "On XOR a hard bottleneck with a linear head fails.", "xor", ("linear", "cbm_hard"), ("linear", "black_box"),
        _ALL, 0.2, _LESS, CEM, "51.33 against 99.33",
    ),
    "an_mlp_head_mends_sigmoid_on_xor": Stated(
        "On XOR a sigmoid bottleneck with an MLP head reaches the net without concepts.", "xor",
        ("mlp", "cbm_sigmoid"), ("mlp", "black_box"), _ALL, 0.02, _SAME, CEM, "not tried: all heads are linear",
    ),
    "an_mlp_head_mends_hard_on_xor": Stated(
        "On XOR a hard bottleneck with an MLP head reaches the net without concepts.", "xor", ("mlp", "cbm_hard"),
        ("mlp", "black_box"), _ALL, 0.02, _SAME, CEM, "not tried: all heads are linear",
    ),
}  # fmt: skip


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    found = {}
    for name, each in STATED.items():
        less = "the best guess" if each.less[1] == "ceiling" else f"{MODELS[each.less[1]]} ({HEADS[each.less[0]]})"
        where = (
            f"majority of {s.concepts} concepts, {s.numbers()[0]} or more known" if each.data == "majority" else "XOR"
        )
        found[name] = Claim(
            name=name, statement=each.says, source=each.source, delta=each.delta, direction=each.direction,
            estimand=f"task accuracy of {MODELS[each.more[1]]} ({HEADS[each.more[0]]}) minus {less}, {each.at}",
            unit="seeds", published=each.published, primary=name == "hybrids_help_where_concepts_are_missing",
            scope=f"{where}; nets {s.hidden} wide; seeds are initial weights and which concepts are known",
        )  # fmt: skip
    return found


def values(s: Settings, found: Found, data: str, head: str, model: str) -> Numpy:
    """Give task accuracies `[seeds, coverages]`; of the net without concepts, and on XOR, `[seeds, 1]`."""
    if model == "ceiling":
        return np.broadcast_to([ceiling(s.concepts, count) for count in s.numbers()], (s.seeds, len(s.shares)))
    return found[data, head, model]["task"]


def judge(s: Settings, found: Found) -> list[Finding]:
    """Give each claim its interval over seeds, and both means in its note."""
    findings = []
    for name, claim in claims(s).items():
        each = STATED[name]
        more, less = (values(s, found, each.data, *side)[:, AT[each.at]].mean(1) for side in (each.more, each.less))
        mask = np.isfinite(more) & np.isfinite(less)
        if not mask.any():
            findings.append(finding(claim, None, note="no seed to compare"))
            continue
        note = f"{more[mask].mean():.3f} against {less[mask].mean():.3f}"
        if each.data == "xor":
            note += f"; concepts right: {np.nanmean(found['xor', *each.more]['concepts']):.1%}"
        lost = "" if mask.all() else f"; left out: {(~mask).sum()} seeds that diverged or are undefined"
        findings.append(finding(claim, student(more - less, mask=mask), note=note + lost))
    return findings


def pictures(s: Settings, found: Found, complete: Numpy) -> list[records.Picture]:
    """Draw accuracy against coverage by head, what a head does on XOR, and completeness."""
    x, xlabel = np.array(s.numbers()), f"concepts known, of {s.concepts}"
    lines = {"best guess from known concepts": "ceiling"} | {words: model for model, words in MODELS.items()}

    def drawn(head: str, model: str) -> Numpy:
        each = values(s, found, "majority", head, model)
        return 100 * np.broadcast_to(each, (s.seeds, len(x)))

    panels = {
        words: figures.Panel(x, {line: drawn(head, model) for line, model in lines.items()}, xlabel)
        for head, words in HEADS.items()
    }
    xor = {
        words: {title: 100 * found["xor", head, model]["task"][:, 0] for head, title in HEADS.items()}
        for model, words in MODELS.items() if ("xor", "linear", model) in found
    }  # fmt: skip
    return [
        records.Picture(
            "coverage",
            figures.multiples(panels, title="Task accuracy against coverage", ylabel="task accuracy (%)", log=False),
            f"The label is the majority of {s.concepts} independent concepts. The net without concepts is told none.",
            "Two panels, of a linear and an MLP head: lines of accuracy against the number of concepts known.",
        ),
        records.Picture(
            "xor", figures.groups(xor, title="XOR: complete concepts, and two heads", ylabel="task accuracy (%)"),
            "With an MLP in the place of the linear head, scalar concepts tell XOR.",
            "Dots by model: scalar models fail with a linear head and do not with an MLP.",
        ),
        records.Picture(
            "completeness",
            figures.against_strength(
                x, {"true concepts, a linear predictor": complete}, title="Completeness against coverage", log=False,
                xlabel=xlabel, ylabel="completeness score",
            ),
            "1 where the known concepts do as well as the net without concepts, above where better.",
            "A line of the completeness score against the number of concepts known.",
        ),
    ]  # fmt: skip


def rows(s: Settings, found: Found, complete: Numpy) -> dict[str, list]:
    """Give the tidy table, a row a model. completeness: of the concepts it knows; ceiling: of the best guess."""
    columns: dict[str, list] = {name: [] for name in (
        "data", "head", "model", "seed", "known", "task", "concepts", "completeness", "ceiling"
    )}  # fmt: skip
    for (data, head, model), each in found.items():
        whole = data == "majority" and model != "black_box"
        numbers = s.numbers() if whole else [0 if model == "black_box" else 2]
        for seed in range(s.seeds):
            for at, count in enumerate(numbers):
                best = ceiling(s.concepts, count) if whole else float("nan")
                score = complete[seed, at] if whole else float("nan")
                row = (data, head, model, seed, count, each["task"][seed, at], each["concepts"][seed, at], score, best)
                for column, value in zip(columns.values(), row, strict=True):
                    column.append(value)
    return columns


def run(s: Settings) -> None:
    """Train, measure, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=s.hidden < 128,
        title="Concepts that do not tell the label",
        question="Is it missing concepts, or a head that cannot use them, that extra units and embeddings are for?",
    )  # fmt: skip
    claims(s)
    data = load(s)
    config = {name: value for name, value in work.config.items() if name not in ("shares", "fresh")}
    names = [(of, head, family) for of, families in SETS.items() for head in HEADS for family in families]
    trained = {name: train(s, name, data[name[0]][0], config) for name in names}
    concepts = {name: fresh.concepts.shape[1] for name, (_, fresh) in data.items()}
    for (of, _, family), done in trained.items():
        if work.waits(len(done.runs), s.seeds * len(design(s, of, family, concepts[of]))):
            return
    found: Found = {}
    for name, done in trained.items():
        found |= arranged(s, name, done, data[name[0]][1])
    complete = completeness(s, found, data["majority"][1])
    diverged = {f"{'-'.join(name)}: {run}": t for name, done in trained.items() for run, t in done.diverged.items()}
    work.write(judge(s, found), pictures=pictures(s, found, complete), rows=rows(s, found, complete), diverged=diverged)


PRESETS = {
    "quick": Settings(),
    "medium": Settings(
        seeds=20, shares=tuple(round(0.1 * i, 1) for i in range(1, 11)), concepts=21, examples=20_000, hidden=128,
        size=16, epochs=40,
    ),
    "full": Settings(
        seeds=50, shares=tuple(round(0.1 * i, 1) for i in range(1, 11)), concepts=21, examples=100_000, hidden=128,
        size=128, epochs=100, fresh=100_000,
    ),
}  # fmt: skip

if __name__ == "__main__":
    cli.main(run, PRESETS)
