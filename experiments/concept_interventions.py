"""What does it help a concept model to be told concepts, which ones, and by whom?

    python experiments/concept_interventions.py quick     about three minutes on two CPU cores: Trig and ten concepts
    python experiments/concept_interventions.py medium    the nets of the CEM paper, all models on all sets, 10 seeds
    python experiments/concept_interventions.py full      500 epochs, 50 seeds; meant for an accelerator

XOR, Trig and Dot of the CEM paper, and "many": ten concepts that go together and noisy inputs (`data.correlated`),
where it matters which concept is asked for. Every seed has training examples, initial weights and draws of its own;
accuracies are of other examples, the same for all. On the first three sets all subsets of concepts are told; on the
last one policies ask, one concept after another. Experts: one who is right, one who is always wrong, one right in four
of five.

Policies: at random; the most uncertain; CooP with weights chosen on validation examples; an order for all examples
found on these; a network cloned from the greedy oracle on training examples; a model's own (IntCEM). The greedy oracle
knows the label: an upper reference, no method.

All claims are of before any run. "Independent" concepts are those of the bottleneck of decisions, trained jointly: its
encoder learns from concepts alone, as the authors' baseline does in its sequential form. A trial after the run of
`quick` told the stochastic model's own concepts as if they were independent: with covariances that were fitted to 1,000
examples it did no better than without.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.concepts import embedding, interventions, policies, study, training
from interp_jax.concepts.autoregressive import autoregressive
from interp_jax.concepts.intcem import asking, intcem, trainer
from interp_jax.concepts.model import ConceptModel, Levels, with_levels
from interp_jax.concepts.policies import Policy
from interp_jax.concepts.stochastic import stochastic
from interp_jax.concepts.training import Recipe
from interp_jax.core import checks, keys
from interp_jax.core.intervals import student
from interp_jax.core.types import Array, Numpy, PyTree
from interp_jax.data import concept_sets, correlated
from interp_jax.data.concept_sets import ConceptSet, ConceptSplit, Generator
from interp_jax.models.nets import LeakyMLP, Net, UniformDense, functional
from interp_jax.report import experiment, figures, records, tables
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli
from interp_jax.train import table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.train.trainer import Held, Trainer, holding

SCALAR = ("cbm_sigmoid", "cbm_logit", "cbm_hard")
FAMILIES: dict[str, tuple[str, ...]] = {
    "scalar": SCALAR, "hybrid": ("hybrid_sigmoid",), "cem": ("cem",), "intcem": ("intcem",),
    "stochastic": ("stochastic",), "autoregressive": ("autoregressive",),
}  # fmt: skip
"""Models of one program. Those of a family have params of one shape."""
TITLES = {
    "cbm_sigmoid": "fuzzy", "cbm_logit": "logits", "cbm_hard": "hard", "hybrid_sigmoid": "hybrid", "cem": "CEM",
    "intcem": "IntCEM", "stochastic": "stochastic", "autoregressive": "autoregressive",
}  # fmt: skip
SETS = {"xor": "XOR", "trig": "Trig", "dot": "Dot", "many": "ten concepts"}
EXPERTS = {"truth": ("right", 1.0), "wrong": ("always wrong", 0.0), "mostly": ("right in 4 of 5", 0.8)}
"""Their words and their competence."""
ASKING = {
    "random": "random", "uncertainty": "uncertainty", "coop": "CooP", "fixed": "fixed order", "learned": "cloned",
    "own": "its own", "greedy": "oracle",
}  # fmt: skip
COOP = ((1.0, 0.0), (1.0, 0.1), (1.0, 1.0), (1.0, 10.0), (0.0, 1.0))
"""Weights of uncertainty and influence that are tried."""


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 10
    """How many seeds of each model on each set."""
    sets: tuple[str, ...] = ("trig",)
    """Which sets of few concepts; that of many is always there."""
    small: tuple[str, ...] = ("scalar", "hybrid", "cem")
    """Which families of models on these; all are on that of many."""
    concepts: int = 10
    """How many concepts are many."""
    size: int = 8
    """Of an embedding; a hybrid has one unit less a concept. 128 in the CEM paper."""
    hidden: int = 32
    """Width of the encoder's two layers; 128 in the CEM paper."""
    examples: int = 1000
    """For training."""
    fresh: int = 500
    """For testing; half as many for validation."""
    epochs: int = 40
    """Of training."""
    batch: int = 100
    """Examples a step."""
    lr: float = 1e-2
    """Adam's learning rate."""
    samples: int = 20
    """Of models that draw their concepts."""
    steps: int = 300
    """Of cloning."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, size=self.size, hidden=self.hidden, epochs=self.epochs, batch=self.batch, steps=self.steps)
        checks.whole(2, concepts=self.concepts, samples=self.samples, seeds=self.seeds, size=self.size)
        checks.whole(10, examples=self.examples, fresh=self.fresh)
        checks.positive(lr=self.lr)
        for names, known in ((self.sets, [*SETS][:-1]), (self.small, [*FAMILIES])):
            if unknown := [name for name in names if name not in known]:
                raise ValueError(f"want names among {known}, got {unknown[0]!r}")
        if "trig" not in self.sets or not {"scalar", "hybrid"} <= {*self.small}:
            raise ValueError(f"want trig, with scalar and hybrid, got sets={self.sets} and small={self.small}")

    def cells(self) -> list[tuple[str, str]]:
        """Give set and family of every sweep."""
        return [(name, family) for name in self.sets for family in self.small] + [("many", f) for f in FAMILIES]


def generators(s: Settings) -> dict[str, Generator]:
    """Give how examples of each set are drawn."""
    world = correlated.world(jax.random.key(2024), concepts=s.concepts)
    return concept_sets.GENERATORS | {"many": correlated.generator(world)}


def load(s: Settings, name: str) -> ConceptSplit:
    """Draw the examples of a set: for training three times as many as a seed takes."""
    sizes = (3 * s.examples, s.fresh // 2, s.fresh)
    own = jax.random.split(keys.stream(jax.random.key(7), name), 3)
    return ConceptSplit(*(concept_sets.draw(generators(s)[name], k, n) for k, n in zip(own, sizes, strict=True)))


def taught(s: Settings, data: ConceptSplit, cell: Mapping[str, Array]) -> ConceptSet:
    """Give the training examples of a seed."""
    key = keys.at(jax.random.key(11), cell["seed"].astype(jnp.int32))
    rows = jax.random.choice(key, len(data.train.labels), (s.examples,), replace=False)
    return jax.tree.map(lambda leaf: leaf[rows], data.train)


def mlp(inputs: int, *widths: int) -> Net:
    """Make layers with leaky ReLUs between them, begun as PyTorch begins."""
    return functional(LeakyMLP(widths, dense=UniformDense), jnp.zeros(inputs))


def shape(name: str, s: Settings) -> tuple[int, int]:
    """Give the numbers of inputs and concepts of a set."""
    one = jax.eval_shape(generators(s)[name], jax.random.key(0))
    return one.inputs.size, one.concepts.size


def policy(s: Settings, k: int) -> Net:
    """Make the net of IntCEM's policy."""
    return mlp(k * s.size + k, 2 * s.hidden, k)


def models(s: Settings, name: str, family: str, kind: Array) -> tuple[ConceptModel, ConceptModel]:
    """Make a model to be trained and the same to be measured."""
    inputs, k = shape(name, s)
    h = s.hidden
    body = mlp(inputs, h, h, h)
    if family in ("scalar", "hybrid"):
        made = study.any_of(FAMILIES[family], kind, inputs, k, size=s.size, hidden=h)
    elif family == "cem":
        made = study.build("cem", inputs, k, size=s.size, hidden=h)
    elif family == "intcem":
        nets = (body, mlp(h, 2 * k * s.size), mlp(2 * s.size, 1), mlp(k * s.size, 1), policy(s, k))
        made = intcem(*nets, k)
    elif family == "stochastic":
        made = stochastic(body, mlp(h, k), mlp(k, 1), k, spread=mlp(h, k * (k + 1) // 2), samples=s.samples)
    else:
        nets = (body, mlp(h + k, h, 1), mlp(k, 1))
        return autoregressive(*nets, k), autoregressive(*nets, k, samples=s.samples)
    return made, made


def train(s: Settings, name: str, family: str, data: ConceptSplit, config: dict[str, Any]) -> Sweep:
    """Train all kinds and seeds of a family on a set."""
    recipe = Recipe(batch=s.batch)

    def make(kind: Array, seed: Array) -> Trainer:
        model, _ = models(s, name, family, kind)
        if family == "autoregressive":
            inner = training.independent(model, recipe, lr=s.lr)
        elif family == "intcem":
            inner = trainer(model, policy(s, model.concepts), recipe, lr=s.lr)
        else:
            give = embedding.rand_int() if family == "cem" else None
            inner = training.joint(model, recipe, lr=s.lr, give=give)
        return holding(inner, {"kind": kind, "seed": seed}, partial(taught, s))

    runs = [table.run({"kind": i, "seed": seed}, seed) for i in range(len(FAMILIES[family])) for seed in range(s.seeds)]
    return sweep(
        make, runs, data, steps=s.epochs, chunk=s.epochs, config=config | {"set": name, "family": family},
        out=s.out / "runs" / f"{name}-{family}", **s.driver(),
    )  # fmt: skip


def measure(s: Settings, name: str, family: str, held: Held, data: ConceptSplit) -> dict[str, Array]:
    """Measure one run: "policy expert" -> accuracy with 0, 1, ... concepts known; "concepts" -> their accuracy."""
    params, kind, train = held.state.params, held.cell["kind"], taught(s, data, held.cell)
    _, model = models(s, name, family, kind)
    if family == "scalar":
        found = interventions.training_levels(model, params, train.inputs)
        logit = kind.astype(jnp.int32) == SCALAR.index("cbm_logit")
        model = with_levels(model, Levels(jnp.where(logit, found.low, 0.0), jnp.where(logit, found.high, 1.0)))
    out = {"concepts": interventions.concept_accuracy(model, params, data.test)[None]}
    if name == "many":
        masks, average = policies.masks(policies.uniform(), model, params, data.test), lambda accuracy: accuracy
    else:
        masks, sizes = interventions.subsets(model.concepts)
        average = partial(interventions.by_size, sizes=sizes)

    def told(competence: Array) -> Array:
        expert = interventions.competent(competence)
        return average(interventions.accuracies(model, params, data.test, masks, expert=expert))

    curves = jax.lax.map(told, jnp.array([right for _, right in EXPERTS.values()]))
    out |= {f"random {expert}": curves[i] for i, expert in enumerate(EXPERTS)}
    if name == "many":
        for which, made in asked(s, family, model, params, train, data.validation).items():
            out[f"{which} truth"] = policies.curve(made, model, params, data.test)
    return out


def asked(
    s: Settings, family: str, model: ConceptModel, params: PyTree, train: ConceptSet, validation: ConceptSet
) -> dict[str, Policy]:
    """Give the policies of a model: all of a CEM's, whose claims they are, and one beside random of the others'."""
    if family not in ("cem", "intcem"):
        return {"uncertainty": policies.uncertainty()}

    def weighted(w: Array) -> Policy:
        return policies.coop(w[0], w[1])

    net = mlp(2 * model.concepts, 2 * s.hidden, model.concepts)
    weights = policies.clone(net, model, params, train, jax.random.key(5), steps=s.steps, batch=s.batch)
    found = {
        "uncertainty": policies.uncertainty(),
        "coop": weighted(policies.tuned(weighted, jnp.array(COOP), model, params, validation)),
        "fixed": policies.fixed(policies.best_order(model, params, validation)),
        "learned": policies.learned(net, weights),
        "greedy": policies.greedy(),
    }
    return found | ({"own": asking(policy(s, model.concepts))} if family == "intcem" else {})


Found = Mapping[tuple[str, str], Mapping[str, Numpy]]
"""(Set, model) -> "policy expert" or "concepts" -> `[seeds, known]`."""


def gain(found: Found, name: str, model: str, which: str = "random truth") -> Numpy:
    """Give the accuracy with all concepts known minus that with none, `[seeds]`."""
    return found[name, model][which][:, -1] - found[name, model][which][:, 0]


def helped(found: Found, model: str, which: str = "random") -> Numpy:
    """Give the mean accuracy on the set of many over 1 to all but one known concepts, `[seeds]`."""
    return found["many", model][f"{which} truth"][:, 1:-1].mean(1)


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    more, less, same = Direction.GREATER, Direction.LESS, Direction.EQUIVALENT
    koh = "Koh et al. 2020, Concept Bottleneck Models, section 5.3"
    cem = "Espinosa Zarlenga et al. 2022, Concept Embedding Models, section 5.3"
    receive = "Espinosa Zarlenga et al. 2023, Learning to Receive Help, section 4"
    chauhan = "Chauhan et al. 2023, Interactive Concept Bottleneck Models"
    shin = "Shin et al. 2023, A Closer Look at the Intervention Procedure"
    vandenhirtz = "Vandenhirtz et al. 2024, Stochastic Concept Bottleneck Models, section 5"
    havasi = "Havasi et al. 2022, Addressing Leakage in Concept Bottleneck Models"
    every = "accuracy with all concepts known minus that with none"
    between = "mean accuracy over 1 to all but one known concepts, {}"
    stated = {
        "cem_improves": (more, 0.02, cem, "many", "A CEM that is told concepts is more often right.", f"CEM: {every}"),
        "hybrid_ignores": (same, 0.02, cem, "trig", "A hybrid takes no notice of what it is told.", f"hybrid: {every}"),
        "hybrid_ignores_many": (same, 0.02, cem, "many", "A hybrid takes no notice of what it is told, be it ten "
            "concepts.", f"hybrid: {every}"),
        "logits_collapse": (less, 0.05, cem, "trig", "A bottleneck of logits that is told percentiles of its training "
            "logits is less often right.", f"logits: {every}"),
        "wrong_expert_harms": (less, 0.05, cem, "many", "Being told wrong concepts harms a CEM.",
            f"CEM, expert always wrong: {every}"),
        "wrong_expert_harms_fuzzy": (less, 0.05, koh, "many", "Being told wrong concepts harms a fuzzy bottleneck.",
            f"fuzzy, expert always wrong: {every}"),
        "uncertainty_beats_random": (more, 0.005, shin, "many", "It is better to ask for what is uncertain than at "
            "random.", "CEM: " + between.format("uncertainty minus random")),
        "coop_beats_random": (more, 0.005, chauhan, "many", "It is better to ask by CooP than at random.",
            "CEM: " + between.format("CooP minus random")),
        "coop_beats_uncertainty": (more, 0.005, chauhan, "many", "It is better to ask by CooP than for what is "
            "uncertain.", "CEM: " + between.format("CooP minus uncertainty")),
        "learned_beats_random": (more, 0.005, receive, "many", "It is better to ask as a clone of the greedy oracle "
            "than at random.", "CEM: " + between.format("clone minus random")),
        "intcem_beats_cem": (more, 0.01, receive, "many", "A CEM that has rehearsed gains more from being told "
            "concepts.", between.format("IntCEM minus CEM, at random")),
        "own_policy_beats_random": (more, 0.005, receive, "many", "It is better to ask as IntCEM's own policy does "
            "than at random.", "IntCEM: " + between.format("its own policy minus random")),
        "stochastic_beats_independent": (more, 0.01, vandenhirtz, "many", "Concepts that go together help more than "
            "independent ones when some are told.", between.format("stochastic minus hard, at random")),
        "autoregressive_beats_independent": (more, 0.01, havasi, "many", "Concepts that follow those before them help "
            "more than independent ones when some are told.", between.format("autoregressive minus hard, at random")),
    }  # fmt: skip
    return {
        name: Claim(
            name=name, statement=statement, source=source, estimand=estimand, unit="seeds", delta=delta,
            direction=direction, primary=name == "cem_improves",
            scope=f"{SETS[where]}, {s.examples} examples, {s.hidden} units a layer, {s.epochs} epochs",
        )
        for name, (direction, delta, source, where, statement, estimand) in stated.items()
    }  # fmt: skip


def estimates(found: Found) -> dict[str, Numpy]:
    """Give the estimand of every claim for each seed."""
    at_random = helped(found, "cem")
    return {
        "cem_improves": gain(found, "many", "cem"),
        "hybrid_ignores": gain(found, "trig", "hybrid_sigmoid"),
        "hybrid_ignores_many": gain(found, "many", "hybrid_sigmoid"),
        "logits_collapse": gain(found, "trig", "cbm_logit"),
        "wrong_expert_harms": gain(found, "many", "cem", "random wrong"),
        "wrong_expert_harms_fuzzy": gain(found, "many", "cbm_sigmoid", "random wrong"),
        "uncertainty_beats_random": helped(found, "cem", "uncertainty") - at_random,
        "coop_beats_random": helped(found, "cem", "coop") - at_random,
        "coop_beats_uncertainty": helped(found, "cem", "coop") - helped(found, "cem", "uncertainty"),
        "learned_beats_random": helped(found, "cem", "learned") - at_random,
        "intcem_beats_cem": helped(found, "intcem") - at_random,
        "own_policy_beats_random": helped(found, "intcem", "own") - helped(found, "intcem"),
        "stochastic_beats_independent": helped(found, "stochastic") - helped(found, "cbm_hard"),
        "autoregressive_beats_independent": helped(found, "autoregressive") - helped(found, "cbm_hard"),
    }


def judge(s: Settings, found: Found) -> list[Finding]:
    """Give each claim its interval over seeds; a seed that is undefined (a run that diverged) is left out."""
    findings, stated = [], claims(s)
    for name, values in estimates(found).items():
        mask = np.isfinite(values)
        note = "" if mask.all() else f"left out: {(~mask).sum()} seeds that diverged"
        findings.append(finding(stated[name], student(values, mask=mask) if mask.any() else None, note=note))
    return findings


def pictures(s: Settings, found: Found) -> list[records.Picture]:
    """Draw accuracy against what is known: by model and expert, and by policy."""

    def panel(name: str, expert: str) -> figures.Panel:
        drawn = {TITLES[m]: found[n, m][f"random {expert}"] for n, m in found if n == name and m in shared}
        return figures.Panel(np.arange(next(iter(drawn.values())).shape[1]), drawn, "known concepts")

    shared = [model for family in s.small for model in FAMILIES[family]]
    few = {f"{SETS[name]}, {EXPERTS[e][0]}": panel(name, e) for name in s.sets for e in ("truth", "wrong")}
    known = np.arange(s.concepts + 1)
    many = {
        words: figures.Panel(
            known,
            {TITLES[m]: found[n, m][f"random {e}"] for n, m in found if n == "many" and m != "hybrid_sigmoid"},
            "known concepts",
        )
        for e, (words, _) in EXPERTS.items()
    }
    own = {words: found["many", "intcem"][f"{which} truth"] for which, words in ASKING.items()}
    return [
        records.Picture(
            "few", figures.multiples(few, title="Told concepts of small sets", ylabel="accuracy", log=False),
            "Mean over all sets of so many concepts.", "Lines of accuracy against known concepts, by set and expert.",
        ),
        records.Picture(
            "many", figures.multiples(many, title="Told some of ten concepts", ylabel="accuracy", log=False),
            "Concepts asked for at random; without the hybrid, which takes no notice.",
            "Lines of accuracy against known concepts, by expert.",
        ),
        records.Picture(
            "policies",
            figures.against_strength(
                known, own, title="Which concept to ask for", xlabel="known concepts", ylabel="accuracy", log=False
            ),
            "Of IntCEM. The oracle is told the label.", "Lines of accuracy against known concepts, one a policy.",
        ),
    ]  # fmt: skip


def rows(found: Found) -> tables.Table:
    """Give the tidy table: of a set, model, policy and expert, for each seed and number of known concepts."""
    cells = [
        (name, model, *(which.split(" ") if " " in which else (which, "")), seed, known, float(value))
        for (name, model), values in found.items()
        for which, each in values.items()
        for seed, own in enumerate(each)
        for known, value in enumerate(own)
    ]
    return tables.from_cells(("set", "model", "policy", "expert", "seed", "known", "value"), cells)


def arranged(s: Settings, name: str, family: str, done: Sweep) -> dict[tuple[str, str], dict[str, Numpy]]:
    """Measure a sweep, a run that diverged as NaN."""
    lost = np.array([run.id in done.diverged for run in done.runs])[:, None]
    values = done.map(partial(measure, s, name, family), done.data)
    clean = {which: np.where(lost, np.nan, each.astype(np.float64)) for which, each in values.items()}
    return {
        (name, model): {which: each[i * s.seeds : (i + 1) * s.seeds] for which, each in clean.items()}
        for i, model in enumerate(FAMILIES[family])
    }


def run(s: Settings) -> None:
    """Train, measure, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=s.hidden < 128,
        title="Telling a model its concepts",
        question="What does it help a concept model to be told concepts, which ones, and by whom?",
    )  # fmt: skip
    claims(s)
    free = ("sets", "small", "steps")
    config = {name: value for name, value in work.config.items() if name not in free}
    sets = {name: load(s, name) for name in (*s.sets, "many")}
    trained = {(name, family): train(s, name, family, sets[name], config) for name, family in s.cells()}
    if any(work.waits(len(done.runs), len(FAMILIES[cell[1]]) * s.seeds) for cell, done in trained.items()):
        return
    found = {}
    for cell, done in trained.items():
        found |= arranged(s, *cell, done)
    diverged = {f"{name} {family}: {run}": t for (name, family), d in trained.items() for run, t in d.diverged.items()}
    work.write(judge(s, found), pictures=pictures(s, found), rows=rows(found), diverged=diverged)


PRESETS = {
    "quick": Settings(),
    "medium": Settings(
        sets=("xor", "trig", "dot"), small=tuple(FAMILIES), size=128, hidden=128, examples=2100, fresh=2000,
        epochs=150, batch=256, samples=100, steps=2000,
    ),
    "full": Settings(
        seeds=50, sets=("xor", "trig", "dot"), small=tuple(FAMILIES), size=128, hidden=128, examples=2100,
        fresh=10_000, epochs=500, batch=256, samples=100, steps=5000,
    ),
}  # fmt: skip

if __name__ == "__main__":
    cli.main(run, PRESETS)
