"""Do soft concepts tell a label that the concepts themselves cannot? Parity from "is a 4" and "is a 5" of other digits.

    python experiments/concept_leakage.py quick     two to three minutes on two CPU cores: scikit-learn's digits
    python experiments/concept_leakage.py medium    5,000 digits of MNIST, from a package (the extra `data`)
    python experiments/concept_leakage.py full      MNIST from its files, wider networks; meant for an accelerator

Mahinpei et al. (2021), "Promises and Pitfalls of Black-Box Concept Learning Models". Networks learn whether a digit is
a 4 and whether it is a 5. On images of other digits both answers are no, so they tell nothing of the parity; their
probabilities do. Each seed has a random split, initial weights and draws of its own. What a representation tells is the
balanced accuracy on test images (1/2 for what is constant) of a readout, a network of 32 units fitted to it on the
training images, of the same kind for all models and controls.

Controls, which the paper does not have but for the last: the same two units before training; trained on concept labels
dealt out at random; and two principal components of the images. They ask whether the leak has to do with the concepts,
or any two numbers computed from an image would tell as much. In a trial with plain accuracy they told as much or more;
balanced accuracy, and the claim on logits against hard concepts, are of after it, all other claims of before.

Logits and probabilities say the same, one to one, but probabilities saturate, and the longer training the more. After
5, 15 and 50 epochs a trial's concepts were right in 99.2, 99.5 and 99.6%, probabilities read .590, .574 and .551 and
logits .643, .651 and .644: the quick preset, which was not chosen anew, shows less of the leak than shorter training.

Random concepts (the paper's appendix C) are half-spaces of pixel space, on the digits 0, 1, 6 and 7.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from interp_jax.concepts import bottleneck, embedding, irrelevant, whitening
from interp_jax.concepts.irrelevant import Digits, Held, Part, Split
from interp_jax.concepts.model import ConceptModel, decide, probabilities
from interp_jax.core import checks, keys
from interp_jax.core.intervals import student
from interp_jax.core.types import Array, Numpy
from interp_jax.data import images
from interp_jax.data import irrelevant as made
from interp_jax.models.nets import Dense, LeakyMLP, Net, functional
from interp_jax.report import experiment, figures, records, tables
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli
from interp_jax.train import table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.train.trainer import Trainer

CONCEPTS = (4, 5)
CLASSES = (0, 1, 6, 7)  # that random concepts are asked of
CELLS = {"sequential": (0, 0), "constant": (1, 0), "shuffled": (2, 0), "joint": (0, 1)}
"""Of the bottleneck: which concept labels (true; without the concepts' digits; dealt out), the task's weight."""
MODELS = {
    "sequential": "sequential", "joint": "joint", "hybrid": "joint, extra units", "embedding": "CEM",
    "whitened": "whitening", "constant": "labels all 0",
}  # fmt: skip
SERIES = {"soft": "probabilities", "logit": "unbounded", "hard": "hard"}
BALANCED = "balanced accuracy"
PAPER = "Mahinpei et al. 2021, Promises and Pitfalls of Black-Box Concept Learning Models"


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 20
    """How many seeds."""
    data: Literal["digits", "mnist-5k", "mnist"] = "digits"
    """Which images."""
    tested: int = 597
    """Images for testing, other ones for each seed."""
    hidden: int = 64
    """Width of the two hidden layers."""
    extra: int = 8
    """The hybrid's units without labels, and the length of a concept's embedding."""
    axes: int = 16
    """Features that are whitened."""
    numbers: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """How many random concepts."""
    each: int = 500
    """Images of each digit for random concepts, at most."""
    epochs: int = 50
    """Of training."""
    batch: int = 60
    """Images a step."""
    lr: float = 2e-3
    """Adam's learning rate."""
    readout: int = 60
    """Epochs of the readouts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, hidden=self.hidden, extra=self.extra, epochs=self.epochs, readout=self.readout, each=self.each)
        checks.whole(50, tested=self.tested)
        checks.whole(len(CONCEPTS), axes=self.axes)
        checks.positive(lr=self.lr)
        if self.batch <= self.axes:
            raise ValueError(f"want batches larger than axes={self.axes}, got batch={self.batch}")
        if len(self.numbers) < 2 or sorted(set(self.numbers)) != [*self.numbers] or self.numbers[0] < 1:
            raise ValueError(f"want two or more rising numbers of random concepts, got numbers={self.numbers}")


def load(s: Settings) -> dict[str, Digits]:
    """Load all images, of both parts of their data set, and the few that random concepts are asked of."""
    parts = images.by_name(s.data)
    every = images.Labelled(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("images", "labels")))
    if s.tested > len(every.labels) // 2:
        raise ValueError(f"want tested of at most half of the {len(every.labels)} images, got tested={s.tested}")
    few = made.first_of(every, CLASSES, s.each)
    return {name: Digits(*map(jnp.asarray, found)) for name, found in (("two", every), ("many", few))}


def net(s: Settings, outputs: int) -> Net:
    """Make a network of two hidden layers on an image."""
    return functional(LeakyMLP((s.hidden, s.hidden, outputs)), jnp.zeros(images.SHAPE[s.data]))


def layer(inputs: int, outputs: int) -> Net:
    """Make one linear layer."""
    return functional(Dense(outputs), jnp.zeros(inputs))


def models(s: Settings) -> dict[str, ConceptModel]:
    """Make the concept models, by the name of their sweep."""
    k, most = len(CONCEPTS), s.numbers[-1]
    return {
        "bottleneck": bottleneck.bottleneck(net(s, k), layer(k, 1), k),
        "hybrid": bottleneck.bottleneck(net(s, k + s.extra), layer(k + s.extra, 1), k, extra=s.extra),
        "embedding": embedding.cem(
            net(s, s.hidden), layer(s.hidden, 2 * k * s.extra), layer(2 * s.extra, 1), layer(k * s.extra, 1), k
        ),
        "random": bottleneck.bottleneck(net(s, most), layer(most, 1), most),
    }


def whitener(s: Settings) -> tuple[Net, whitening.Whitening, Net]:
    """Make the whitened network: what is before the layer, the layer, and what is after it."""
    return net(s, s.axes), whitening.Whitening(s.axes, len(CONCEPTS), whitening.mean), layer(s.axes, 1)


def cells(s: Settings, name: str) -> list[dict[str, float]]:
    """Give the cells of a sweep but for the seed."""
    if name == "random":
        return [{"known": number, "task": 0} for number in s.numbers]
    pairs = CELLS.values() if name == "bottleneck" else [(0, 1)]
    return [{"variant": variant, "task": task} for variant, task in pairs]


def given(s: Settings, name: str, data: Digits) -> tuple[Split, int]:
    """Give how a sweep splits its data, and how many examples are for testing."""
    if name == "random":
        tested = len(data.digits) // 3
        return partial(irrelevant.random, jax.random.key(2022), most=s.numbers[-1], held_out=tested), tested
    return partial(irrelevant.absent, jax.random.key(2021), shown=CONCEPTS, held_out=s.tested), s.tested


def train(s: Settings, name: str, data: Digits, config: dict[str, Any]) -> Sweep:
    """Train all cells and seeds of a sweep."""
    split, tested = given(s, name, data)

    def make(task: Array, **cell: Array) -> Trainer:
        if name == "whitened":
            parts = *whitener(s), optax.adam(s.lr)
            return irrelevant.whitened_training(*parts, split, cell, held_out=tested, batch=s.batch)
        model = models(s)[name]
        return irrelevant.training(model, split, cell, lr=s.lr, task=task, held_out=tested, batch=s.batch)

    return sweep(
        make, [table.run({"seed": seed} | cell, seed) for seed in range(s.seeds) for cell in cells(s, name)], data,
        steps=s.epochs, chunk=s.epochs, config=config | {"sweep": name}, out=s.out / "runs" / name,
        **s.driver(),
    )  # fmt: skip


def measure(s: Settings, name: str, held: Held, data: Digits) -> dict[str, Array]:
    """Measure one run: "quantity readout" -> a number."""
    split, tested = given(s, name, data)
    part = split(data, held.cell)
    columns, task = (turned if name == "whitened" else predicted)(s, name, held, part)
    if name == "bottleneck":
        model = models(s)[name]
        before = model.init(keys.stream(held.state.key, "init"))
        columns["untrained"] = jax.vmap(lambda x: model.encode(before, x).logits)(part.inputs)
        columns["components"] = irrelevant.components(part, len(CONCEPTS))
    if name == "random":
        known = jnp.arange(s.numbers[-1])[None] < held.cell["known"]
        columns = {which: jnp.where(known, each, 0) for which, each in columns.items()} | {"truth": part.concepts}
    key = keys.stream(held.state.key, "readout")
    right = irrelevant.told(key, columns, part, held_out=tested, epochs=s.readout, batch=s.batch)
    right["head"] = irrelevant.balanced_accuracy(task, part)
    found = {f"accuracy {which}": value for which, value in right.items()}
    if "hard" in columns:
        found["concepts hard"] = jnp.mean((columns["hard"] == part.concepts)[-tested:])
    if name != "random":
        for which, (impurity, nats) in irrelevant.beyond(columns, part, held_out=tested).items():
            found |= {f"impurity {which}": impurity, f"nats {which}": nats}
    return found


def predicted(s: Settings, name: str, held: Held, part: Part) -> tuple[dict[str, Array], Array]:
    """Give what a concept model says of all examples, `[N, k]` by readout, and its own logit of the task, `[N]`."""
    model, params = models(s)[name], held.state.params
    encoded = jax.vmap(model.encode, (None, 0))(params, part.inputs)
    soft = jax.vmap(probabilities)(encoded.logits)
    found = {"soft": soft, "logit": encoded.logits, "hard": (encoded.logits > 0) * 1.0}
    if name == "embedding":
        found["embedding"] = jax.vmap(embedding.mixture)(soft, encoded.rest)
    return found, jax.vmap(lambda each: decide(model, params, each).task[0])(encoded)


def turned(s: Settings, name: str, held: Held, part: Part) -> tuple[dict[str, Array], Array]:
    """Give the two axes that were turned to concepts, and the task's logit."""
    before, axes, after = whitener(s)
    features = jax.vmap(before.apply, (None, 0))(held.state.params["before"], part.inputs)
    excited = jax.vmap(partial(axes.activations, held.state.stats))(features)
    task = jax.vmap(after.apply, (None, 0))(held.state.params["after"], excited)[:, 0]
    return {"logit": excited[:, : len(CONCEPTS)]}, task


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    more, none = Direction.GREATER, Direction.EQUIVALENT
    ours = "a control that the paper does not have"
    two = f"parity of {s.data} other than 4 and 5, {s.epochs} epochs, {s.hidden} units a layer, readout of 32 units"
    many = f"parity of 0, 1, 6, 7 of {s.data}, {s.numbers[0]} to {s.numbers[-1]} random half-spaces, {s.epochs} epochs"
    above = BALANCED + " from {} minus 1/2"
    stated = {
        "soft_concepts_tell_the_label": (more, 0.05, two, "Soft concepts that cannot matter, learnt without the task, "
            "predict the label.", "accuracy from probabilities minus that from hard concepts", "69% against 50%"),
        "logits_tell_the_label": (more, 0.05, two, "Logits of concepts that cannot matter predict the label.",
            "accuracy from logits minus that from hard concepts", "69% against 50%"),
        "logits_tell_more": (more, 0.02, two, "Logits tell more than probabilities.",
            "accuracy from logits minus that from probabilities", None),
        "hard_concepts_tell_nothing": (none, 0.02, two, "Hard concepts that cannot matter tell no more "
            "than a constant.", above.format("hard concepts"), "50%"),
        "soft_beats_untrained_units": (more, 0.02, two, "Learning makes the leak: probabilities tell more than the "
            "same units before training.", "accuracy from probabilities minus that from untrained units", ours),
        "soft_beats_shuffled_labels": (more, 0.02, two, "The concepts make the leak: probabilities tell more than "
            "those of labels dealt out at random.", "accuracy from probabilities, true minus dealt labels", ours),
        "soft_beats_principal_components": (more, 0.02, two, "Probabilities tell more than two principal components of "
            "the images.", "accuracy from probabilities minus that from components", "one component: 86%"),
        "logits_beat_untrained_units": (more, 0.02, two, "Logits tell more than the same two units before training.",
            "accuracy from logits minus that from untrained units", ours),
        "logits_beat_shuffled_labels": (more, 0.02, two, "Logits tell more than those trained on labels dealt out at "
            "random.", "accuracy from logits, true minus dealt labels", ours),
        "constant_labels_leak": (more, 0.05, two, "Even concepts that were never seen leak: the network is trained on "
            "the images without them, all labels 0.", above.format("probabilities"), "69% against 50%"),
        "joint_training_leaks_more": (more, 0.05, two, "Trained together with the task, concepts tell more than "
            "sequentially.", "accuracy from probabilities, joint minus sequential", "both leak"),
        "extra_capacity_does_not_remove_it": (more, 0.05, two, "Units of its own for the task do not keep it out of "
            "the concepts.", above.format("a hybrid's probabilities"), "does not"),
        "whitening_does_not_remove_it": (more, 0.05, two, "Whitened axes turned to the concepts tell the label.",
            above.format("two whitened axes"), "does not"),
        "embeddings_leak": (more, 0.05, two, "The probabilities of a concept embedding model tell the label too.",
            above.format("a CEM's probabilities"), "not in the paper"),
        "soft_concepts_are_less_pure": (more, 0.02, two, "Soft concepts are less pure than hard ones.",
            "oracle impurity of probabilities minus that of hard concepts", "impure"),
        "few_random_concepts_tell_nothing": (none, 0.05, many, "The fewest hard random concepts tell nothing.",
            above.format("the fewest hard random concepts"), "near 50%"),
        "hard_random_concepts_become_predictive": (more, 0.05, many, "Hard random concepts predict the label as they "
            "become many.", "accuracy from the most hard random concepts minus that from the fewest", "grows"),
        "soft_random_concepts_tell_more": (more, 0.02, many, "Soft random concepts tell more than hard ones, on "
            "average over numbers.", "mean over numbers of accuracy from soft minus that from hard random concepts",
            "always more"),
    }  # fmt: skip
    return {
        name: Claim(
            name=name, statement=statement, source=PAPER, estimand=estimand, unit="seeds", delta=delta,
            direction=direction, scope=scope, published=published, primary=name == "soft_concepts_tell_the_label",
        )
        for name, (direction, delta, scope, statement, estimand, published) in stated.items()
    }  # fmt: skip


Found = Mapping[str, Mapping[str, Numpy]]
"""cell -> "quantity readout" -> `[seeds]`; of "random" `[seeds, numbers]`."""


def estimates(found: Found) -> dict[str, Numpy]:
    """Give the estimand of every claim for each seed."""
    first, many = found["sequential"], found["random"]
    soft, logit, hard = (first[f"accuracy {which}"] for which in ("soft", "logit", "hard"))
    untrained, dealt = first["accuracy untrained"], found["shuffled"]
    return {
        "soft_concepts_tell_the_label": soft - hard,
        "logits_tell_the_label": logit - hard,
        "logits_tell_more": logit - soft,
        "hard_concepts_tell_nothing": hard - 0.5,
        "soft_beats_untrained_units": soft - untrained,
        "soft_beats_shuffled_labels": soft - dealt["accuracy soft"],
        "soft_beats_principal_components": soft - first["accuracy components"],
        "logits_beat_untrained_units": logit - untrained,
        "logits_beat_shuffled_labels": logit - dealt["accuracy logit"],
        "constant_labels_leak": found["constant"]["accuracy soft"] - 0.5,
        "joint_training_leaks_more": found["joint"]["accuracy soft"] - soft,
        "extra_capacity_does_not_remove_it": found["hybrid"]["accuracy soft"] - 0.5,
        "whitening_does_not_remove_it": found["whitened"]["accuracy logit"] - 0.5,
        "embeddings_leak": found["embedding"]["accuracy soft"] - 0.5,
        "soft_concepts_are_less_pure": first["impurity soft"] - first["impurity hard"],
        "few_random_concepts_tell_nothing": many["accuracy hard"][:, 0] - 0.5,
        "hard_random_concepts_become_predictive": many["accuracy hard"][:, -1] - many["accuracy hard"][:, 0],
        "soft_random_concepts_tell_more": (many["accuracy soft"] - many["accuracy hard"]).mean(1),
    }


OWN = {
    "constant": "constant", "joint": "joint", "extra": "hybrid", "embeddings": "embedding", "whitening": "whitened"
}  # fmt: skip


def note(name: str, found: Found) -> str:
    """Say what a claim is to be read beside: how right its model's concepts are, and what its numbers hide."""
    first, many = found["sequential"], found["random"]
    logit, hard = first["accuracy logit"], first["accuracy hard"]
    truth, gap = many["accuracy truth"][:, 0], many["accuracy soft"] - many["accuracy hard"]
    if "random_concepts" in name:
        least = f"least of any number: {np.nanmean(gap, 0).min():.3f}"
        return least if name.startswith("soft") else f"the fewest true ones: {np.nanmean(truth) - 0.5:.3f} above 1/2"
    cell = next((cell for begins, cell in OWN.items() if name.startswith(begins)), "sequential")
    said = {
        "soft_concepts_tell_the_label": f"logits, which say the same one to one: {np.nanmean(logit - hard):.3f}",
        "logits_tell_more": "a matter of what a readout makes of saturated numbers: they say the same one to one",
        "hard_concepts_tell_nothing": f"exactly 1/2 in {(hard == 0.5).sum()} seeds: constant where readouts are fitted",
        "whitening_does_not_remove_it": "the net is trained on the task, as the joint bottleneck is",
    }  # fmt: skip
    parts = [said[name]] if name in said else []
    if "concepts hard" in found[cell]:
        right, never = (np.nanmean(found[each]["concepts hard"]) for each in (cell, "constant"))
        parts.append(f"concepts right ({cell}): {right:.1%}, if told that all are 0: {never:.1%}")
    return "; ".join(parts)


def judge(s: Settings, found: Found) -> list[Finding]:
    """Give each claim its interval over seeds; a seed that is undefined (a run that diverged) is left out."""
    findings = []
    for name, values in estimates(found).items():
        mask = np.isfinite(values)
        lost = "" if mask.all() else f"; left out: {(~mask).sum()} seeds that diverged or are undefined"
        interval = student(values, mask=mask) if mask.any() else None
        findings.append(finding(claims(s)[name], interval, note=note(name, found) + lost))
    return findings


def shown(found: Found, quantity: str, cells: Mapping[str, str]) -> dict[str, dict[str, Numpy]]:
    """Arrange a quantity for a figure: words of a cell -> title of a readout -> `[seeds]`."""
    return {
        words: {
            title: found[cell][f"{quantity} {r}"] for r, title in SERIES.items() if f"{quantity} {r}" in found[cell]
        }
        for cell, words in cells.items()
    }


def pictures(s: Settings, found: Found) -> list[records.Picture]:
    """Draw what models and controls tell, how random concepts add up, and the impurity of models."""
    first, vectors = found["sequential"], found["embedding"]
    ways = shown(found, "accuracy", MODELS) | {"CEM's vectors": {"unbounded": vectors["accuracy embedding"]}}
    others = shown(found, "accuracy", {"sequential": "true labels", "shuffled": "labels dealt out"}) | {
        "before training": {"unbounded": first["accuracy untrained"]},
        "PCA": {"unbounded": first["accuracy components"]},
    }
    impure = shown(found, "impurity", MODELS) | {"CEM's vectors": {"unbounded": vectors["impurity embedding"]}}
    lines = {"probabilities": "soft", "hard": "hard", "true concepts": "truth"}
    return [
        records.Picture(
            "models", figures.groups(ways, title="Parity from concepts that cannot matter", ylabel=BALANCED),
            "Accuracy of a readout that is told of digits other than 4 and 5 whether they are a 4 or a 5. Unbounded: "
            "logits, whitened axes, and the vectors of a concept embedding model.",
            "Dots by model: hard concepts at one half, probabilities and logits above.",
        ),
        records.Picture(
            "controls", figures.groups(others, title="The same readout of other pairs", ylabel=BALANCED),
            "What the readout makes of the concepts, of concepts learnt from labels dealt out at random, of the same "
            "units before training, and of two principal components of the images.",
            "Dots by control.",
        ),
        records.Picture(
            "random",
            figures.against_strength(
                np.array(s.numbers), {title: found["random"][f"accuracy {which}"] for title, which in lines.items()},
                title="Random concepts add up", xlabel="random concepts", ylabel=BALANCED,
            ),
            "Accuracy of telling the parity of 0, 1, 6 and 7 from random half-spaces.", "Lines against their number.",
        ),
        records.Picture(
            "impurity", figures.groups(impure, title="Impurity of two concepts", ylabel="oracle impurity score"),
            "0 where what stands for a concept tells it, and tells the other, as well as the truth does; a concept "
            "that is not learnt (labels all 0) is impure too.", "Dots by model.",
        ),
    ]  # fmt: skip


def rows(s: Settings, found: Found) -> tables.Table:
    """Give the tidy table: of a cell, quantity, readout, seed and number of concepts the value."""
    cells_ = [
        (cell, *name.split(" ", 1), seed, count, float(value))
        for cell, values in found.items()
        for name, each in values.items()
        for seed, own in enumerate(each.reshape(s.seeds, -1))
        for count, value in zip(s.numbers if cell == "random" else (len(CONCEPTS),), own, strict=True)
    ]
    return tables.from_cells(("cell", "quantity", "readout", "seed", "concepts", "value"), cells_)


def arranged(s: Settings, name: str, done: Sweep) -> dict[str, dict[str, Numpy]]:
    """Measure a sweep, a run that diverged as NaN: by cell, `[seeds]` or `[seeds, numbers]`."""
    lost = np.array([run.id in done.diverged for run in done.runs])
    values = done.map(partial(measure, s, name))
    clean = {
        what: np.where(lost, np.nan, each.astype(np.float64)).reshape(s.seeds, -1) for what, each in values.items()
    }
    of = {cell: i for i, cell in enumerate(CELLS if name == "bottleneck" else [name])}
    columns = of if name != "random" else {name: slice(None)}
    return {cell: {what: each[:, i] for what, each in clean.items()} for cell, i in columns.items()}


def run(s: Settings) -> None:
    """Train, measure, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=s.data == "digits",
        title="What leaks through concepts",
        question="Do soft concepts tell a label that the concepts themselves cannot?",
    )  # fmt: skip
    claims(s)
    data = load(s)
    names = ("bottleneck", "hybrid", "embedding", "whitened", "random")
    trained = {name: train(s, name, data["many" if name == "random" else "two"], work.config) for name in names}
    if any(work.waits(len(done.runs), len(cells(s, name)) * s.seeds) for name, done in trained.items()):
        return
    found = {}
    for name, done in trained.items():
        found |= arranged(s, name, done)
    diverged = {f"{name}: {run}": t for name, done in trained.items() for run, t in done.diverged.items()}
    work.write(judge(s, found), pictures=pictures(s, found), rows=rows(s, found), diverged=diverged)


PRESETS = {
    "quick": Settings(),
    "medium": Settings(data="mnist-5k", tested=1000, hidden=128, batch=100, lr=1e-3),
    "full": Settings(data="mnist", tested=10_000, hidden=256, batch=200, lr=1e-3, epochs=30, readout=20),
}

if __name__ == "__main__":
    cli.main(run, PRESETS)
