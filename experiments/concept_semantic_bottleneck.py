"""Are the concepts of a semantic bottleneck what they say? Maps of concepts, and edits that the renderer can repeat.

    python experiments/concept_semantic_bottleneck.py quick     two to three minutes on two CPU cores: 10 seeds
    python experiments/concept_semantic_bottleneck.py full      scenes of nine sprites, wider, longer; an accelerator

Losch, Fritz and Schiele (2019) put a layer of concept maps into a net, through which all of its decision passes, and
find that it costs no accuracy; the 2021 follow-up measures how well channels lie on concepts. Neither asks whether the
head reads maps as what they are named for. Here it can be asked: scenes are rendered, with exact masks of five
concepts, and a sprite can be changed in the picture and, by an edit of the maps, in the layer. The label is how many
sprites are striped squares or bright hearts: concepts decide it, where one knows which are at one place.

Intervention validity, the primary claim, is of the paper's training: maps first, then the head on them. Of changes that
change the label, where the net is right about the picture before and after, it is the share after whose edit (the masks
of the changed scene, where they are changed) the decision from the edited maps is the one from the changed picture.
Beside it stand the same edit on another channel; changes that leave the label (`stays`); maps trained together with the
task, as probabilities or logits; decisions in place of probabilities; the net before training.

What maps tell beyond their names is measured on places of squares, ellipses and hearts, where stripes are independent
of all else: nats about stripes in the OTHER four channels, given the true masks of their concepts. "No stripes" is a
bottleneck that has no such channel. The best that true masks of its four concepts can do is known: whatever it has
above that comes through what maps do not say.

Settings (learning rate, length, weight of concepts, the range of turns, how coarse places are) were chosen in trials of
one seed of joint training with probabilities, by accuracy and IoU; claims and thresholds were written before any edit
was made.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.concepts import semantic_study
from interp_jax.concepts.metrics import task_accuracy
from interp_jax.concepts.semantic_study import CELLS, Data, Nets, build, trainer
from interp_jax.core import checks, keys
from interp_jax.core.types import Array, Numpy, PyTree
from interp_jax.data import scenes
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.data.scenes import CONCEPTS, World
from interp_jax.report import contrasts, experiment, figures, records, tables
from interp_jax.report.claims import Claim, Finding
from interp_jax.report.contrasts import Stated
from interp_jax.runs import cli
from interp_jax.train import table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.train.trainer import Held

PAPER = "Losch, Fritz and Schiele 2019, Semantic Bottleneck Networks, and the follow-up of 2021"
Found = dict[str, dict[str, Numpy]]
ARMS = {
    "sequential": "in turn", "hard": "in turn, hard", "joint": "together", "logits": "together, logits",
    "no stripes": "together, no stripes", "untaught": "not taught", "plain": "no bottleneck",
}  # fmt: skip
EDITED = ("sequential", "hard", "joint", "logits")
POOL = 4  # times the scenes that a seed trains on
BEFORE = ("area", "agreement", "nats", "auc")
SHOWN = 2  # scenes whose maps are drawn


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 10
    """How many nets of each kind, each with training scenes of its own."""
    cells: int = 2
    """Cells a side of a scene, each with one sprite or none."""
    pixels: int = 16
    """Pixels a side of a cell."""
    channels: tuple[int, int, int] = (16, 24, 24)
    """Features of the three convolutions before the maps, two of stride 2."""
    after: tuple[int, int] = (16, 32)
    """Features of the two convolutions after them."""
    scenes: int = 3200
    """Training scenes."""
    epochs: int = 6
    """Of training; trained in turn, the maps have as many, and then the head."""
    batch: int = 16
    """Scenes a step."""
    lr: float = 6e-3
    """Adam's learning rate, which falls to zero along a cosine."""
    weight: float = 10.0
    """Of the concepts' loss beside the task's, in joint training."""
    tested: int = 800
    """Scenes that are scored, as many others on which thresholds and levels are chosen; the same for all runs."""
    edits: int = 2000
    """Pairs of scenes before and after a change; the same for all runs."""
    rows: int = 1500
    """Places on which what maps tell is measured."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, epochs=self.epochs, batch=self.batch)
        checks.whole(50, tested=self.tested, edits=self.edits, rows=self.rows)
        checks.positive(lr=self.lr, weight=self.weight)
        scenes.check(self.world)
        if self.scenes < self.batch:
            raise ValueError(f"want at least one batch of scenes, got scenes={self.scenes}, batch={self.batch}")
        if self.rows > self.tested * self.cells**2:
            raise ValueError(f"want at most a place for each cell, got rows={self.rows}, tested={self.tested}")

    @property
    def world(self) -> World:
        """What the scenes share."""
        return World(cells=self.cells, pixels=self.pixels)

    @property
    def nets(self) -> Nets:
        """How nets are made and trained."""
        return Nets(self.channels, self.after, self.scenes, self.epochs, self.batch, self.lr, self.weight)


def draw(s: Settings) -> Data:
    """Draw a pool of scenes, from which each seed takes its own to train on, and what all runs are measured on."""
    key = jax.random.key(2019)
    return semantic_study.draw(s.world, key, pool=POOL * s.scenes, tested=s.tested, pairs=s.edits)


def train(s: Settings, name: str, pool: ConceptSet, config: dict[str, Any]) -> Sweep:
    """Train all kinds of a sweep, all seeds."""
    names = ("kind", "taught", "whole")
    cells = [dict(zip(names, values, strict=True)) for values in CELLS[name].values()]
    defines = {key: value for key, value in config.items() if key not in ("tested", "edits", "rows")}
    return sweep(
        partial(trainer, s.nets, s.world, name),
        [table.run({"seed": seed} | cell, seed) for seed in range(s.seeds) for cell in cells], pool,
        steps=(1 + (name == "in turn")) * s.epochs, chunk=s.epochs, config=defines | {"sweep": name},
        out=s.out / "runs" / name, **s.driver(),
    )  # fmt: skip


def measure(s: Settings, name: str, held: Held, data: Data) -> dict[str, Array]:
    """Measure one run, and as "... before" what it was before training; maps are those of the first scenes."""
    model, params = build(s.nets, s.world, name, held.cell), held.state.params
    if name == "plain":
        chosen, scored = semantic_study.encode(model, params, data.chosen.inputs, data.scored.inputs)
        task = semantic_study.decide(model, params, scored.rest)[0]
        area = semantic_study.inspected(chosen.rest, scored.rest, data)
        return {"accuracy": task_accuracy(task, data.scored.labels), "area": area}

    def one(params: PyTree) -> dict[str, Array]:
        found = semantic_study.measure(model, params, data, rows=s.rows, unbounded=held.cell["kind"] == 1)
        return found | {"maps": found["maps"][:SHOWN]}

    if name != "in turn":
        return one(params)
    first = model.init(keys.stream(held.state.key, "init"))
    both = jax.lax.map(one, jax.tree.map(lambda *leaves: jnp.stack(leaves), params, first))
    return {what: each[0] for what, each in both.items()} | {f"{what} before": both[what][1] for what in BEFORE}


FOLLOWS, AREA = "share of changes whose edit is followed", "area under the inspectability curve"
LOSS, NATS = "accuracy, {}, plus the .02 allowed", "nats about stripes in other channels given their masks, {}"
STATED = {
    "edits_are_followed": Stated(
        "An edit of the maps changes the decision as the change of the scene does (maps trained first).", FOLLOWS,
        ("sequential", "follows"), 0.0, 0.9,
    ),
    "the_channel_matters": Stated(
        "The same edit on another channel is followed less.", FOLLOWS + ", minus the same on another channel",
        ("sequential", "follows"), ("sequential", "wrong"), 0.2,
    ),
    "training_matters": Stated(
        "Edits agree with changed pictures better than before training.",
        "correlation of changes of logits by edits and by pictures, after minus before training",
        ("sequential", "agreement"), ("sequential", "agreement before"), 0.2,
    ),
    "edits_are_followed_after_joint_training": Stated(
        "Edits are followed where maps are trained together with the task.", FOLLOWS, ("joint", "follows"), 0.0, 0.9,
    ),
    "edits_of_logits_are_followed": Stated(
        "Edits are followed where the head is told logits, trained together.", FOLLOWS, ("logits", "follows"), 0.0, 0.9,
    ),
    "training_in_turn_follows_more": Stated(
        "Maps trained first are followed more than those trained together with the task.",
        FOLLOWS + ", in turn minus together", ("sequential", "follows"), ("joint", "follows"), 0.02,
    ),
    "decisions_follow_more": Stated(
        "Told decisions in place of probabilities, the head follows edits more.",
        FOLLOWS + ", hard minus probabilities", ("hard", "follows"), ("sequential", "follows"), 0.02,
    ),
    "no_accuracy_is_lost": Stated(
        "A bottleneck costs less than two points of accuracy (maps trained first).",
        LOSS.format("bottleneck minus none"), ("sequential", "accuracy"), ("plain", "accuracy"), 0.0,
        published="no loss", allowed=0.02,
    ),
    "no_accuracy_is_lost_by_joint_training": Stated(
        "A bottleneck costs less than two points of accuracy (trained together).", LOSS.format("bottleneck minus none"),
        ("joint", "accuracy"), ("plain", "accuracy"), 0.0, published="no loss", allowed=0.02,
    ),
    "truth_does_no_harm": Stated(
        "Told the true masks, accuracy falls by less than two points (maps trained first).",
        LOSS.format("told true masks minus own"), ("sequential", "told"), ("sequential", "accuracy"), 0.0, allowed=0.02,
    ),
    "truth_does_no_harm_after_joint_training": Stated(
        "Told the true masks, accuracy falls by less than two points (trained together).",
        LOSS.format("told true masks minus own"), ("joint", "told"), ("joint", "accuracy"), 0.0, allowed=0.02,
    ),
    "maps_lie_on_their_concepts": Stated(
        "Every map tells the places of its concept.", "area under the ROC curve over places, least concept, minus 1/2",
        ("sequential", "least auc"), 0.5, 0.45,
    ),
    "channels_are_inspectable": Stated(
        "Channels of the bottleneck lie on concepts better than those of a net without (the follow-up).",
        AREA + ", bottleneck minus none", ("sequential", "area"), ("plain", "area"), 0.2, published="up to six times",
    ),
    "teaching_matters": Stated(
        "A bottleneck as narrow that is not taught concepts is not inspectable.", AREA + ", taught minus not taught",
        ("joint", "area"), ("untaught", "area"), 0.2,
    ),
    "joint_training_leaks_more": Stated(
        "Trained together with the task, other channels tell more of stripes.", NATS.format("together minus in turn"),
        ("joint", "nats"), ("sequential", "nats"), 0.05,
    ),
    "without_stripes_the_others_tell_them": Stated(
        "Where stripes have no channel of their own, the others tell them.",
        NATS.format("without minus with a channel for stripes"), ("no stripes", "nats"), ("joint", "nats"), 0.05,
    ),
    "a_missing_concept_is_not_missed": Stated(
        "Without a channel for stripes a bottleneck is more accurate than its concepts can be.",
        "accuracy minus that of the best guess from true masks", ("no stripes", "accuracy"), ("no stripes", "ceiling"),
        0.05,
    ),
}  # fmt: skip


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    scope = (
        f"scenes of {s.cells**2} cells of {s.pixels} x {s.pixels} pixels, {len(CONCEPTS)} concepts on "
        f"{s.world.places} x {s.world.places} places, {s.channels} features, {s.scenes:,} scenes, {s.epochs} epochs"
    )
    return contrasts.claims(STATED, source=PAPER, scope=scope, primary="edits_are_followed", published=None)


def judge(s: Settings, found: Found) -> list[Finding]:
    """Give each claim its interval over seeds; a seed that is undefined (a run that diverged) is left out."""
    mean = lambda x: np.ma.masked_invalid(x).mean(0).filled(np.nan)  # noqa: E731  # NaN if no seed is defined
    of = lambda what, *arms: "; ".join(f"{ARMS[arm]} {mean(found[arm][what][:, None])[0]:.3f}" for arm in arms)  # noqa: E731
    kinds = mean(found["sequential"]["by kind"])
    notes = {
        "edits_are_followed": ", ".join(f"{name} {each:.3f}" for name, each in zip(scenes.KINDS, kinds, strict=True))
        + "; changes that leave the label: "
        + of("stays", "sequential")
        + "; changes asked: "
        + of("asked", "sequential"),
        "the_channel_matters": "another channel: " + of("wrong", *EDITED),
        "training_matters": of("agreement", *EDITED) + "; before: " + of("agreement before", "sequential"),
        "edits_are_followed_after_joint_training": "changes that leave the label: " + of("stays", "joint"),
        "no_accuracy_is_lost": of("accuracy", *ARMS),
        "truth_does_no_harm": "told true masks: " + of("told", *EDITED),
        "maps_lie_on_their_concepts": "IoU, mean of concepts: " + of("mean iou", *EDITED),
        "channels_are_inspectable": of("area", *ARMS) + "; before training: " + of("area before", "sequential"),
        "joint_training_leaks_more": of("nats", *EDITED, "no stripes", "untaught"),
        "a_missing_concept_is_not_missed": "best guess: {:.3f}".format(np.mean(found["no stripes"]["ceiling"])),
    }
    values = {(arm, what): each for arm, own in found.items() for what, each in own.items() if each.ndim == 1}
    return contrasts.judge(claims(s), STATED, values, {name: [note] for name, note in notes.items()})


def shown(found: Found, arms: tuple[str, ...], series: Mapping[str, str]) -> dict[str, dict[str, Numpy]]:
    """Arrange quantities for a figure: words of a kind of net -> title -> `[S]`."""
    return {
        ARMS[arm]: {title: found[arm][what] for title, what in series.items() if what in found[arm]} for arm in arms
    }


def maps(found: Found, data: Data) -> tuple[Numpy, list[str]]:
    """Lay out the first scenes: the picture, and for truth and two kinds of net all maps; `[N, H, W]` and words."""
    size = data.scored.inputs.shape[1]
    rows = {"truth": np.asarray(data.scored.concepts)} | {
        words: found[arm]["maps"][0] for arm, words in (("sequential", "in turn"), ("joint", "together"))
    }
    pictures, words = [], []
    for i in range(SHOWN):
        for name, each in rows.items():
            wide = np.kron(np.moveaxis(each[i], -1, 0), np.ones((1, size // each.shape[1], size // each.shape[2])))
            pictures += [np.asarray(data.scored.inputs[i, :, :, 0]), *wide]
            words += [name, *CONCEPTS]
    return np.stack(pictures), words


def pictures(found: Found, data: Data) -> list[records.Picture]:
    """Draw what edits do, accuracies, what maps tell beyond their names, how inspectable they are, and some maps."""
    by_kind = {name: {ARMS[arm]: found[arm]["by kind"][:, i] for arm in EDITED} for i, name in enumerate(scenes.KINDS)}
    edits = {"label changes": "follows", "another channel": "wrong", "label stays": "stays"}
    tells = {"nats about stripes": "nats", "impurity of all maps": "impurity"}
    drawn, words = maps(found, data)
    dots = "Dots by kind of net."
    return [
        records.Picture(
            "edits",
            figures.groups(shown(found, EDITED, edits), title="Edits of maps", ylabel="share decided as new picture"),
            "Among changes whose pictures are decided rightly, before and after: how often the decision from edited "
            "maps is that from the new picture, where the label changes, or stays. On another channel the same edit "
            "can be right by chance: it may make a sprite count that should, or cease to.", dots,
        ),
        records.Picture(
            "kinds", figures.groups(by_kind, title="Edits by what is changed", ylabel="share followed"),
            "Changes that change the label, by what is done to a sprite.", "Dots by kind of change.",
        ),
        records.Picture(
            "accuracy",
            figures.groups(
                shown(found, tuple(ARMS), {"own maps": "accuracy", "true masks": "told"}),
                title="How many sprites count?", ylabel="accuracy on new scenes",
            ),
            "Accuracy of the task from a net's own maps, and told the true masks of all concepts.", dots,
        ),
        records.Picture(
            "tells",
            figures.groups(
                shown(found, (*EDITED, "no stripes", "untaught"), tells),
                title="What maps tell beyond their names", ylabel="nats; impurity score",
            ),
            "About stripes in the channels of other concepts, given their true masks (at most .69 nats), and the "
            "oracle impurity of all maps (that of a channel without stripes counts), both at places of shapes.", dots,
        ),
        records.Picture(
            "inspectability",
            figures.groups(
                shown(found, tuple(ARMS), {"after training": "area", "before": "area before"}),
                title="How well channels lie on concepts", ylabel=AREA,
            ),
            "1 where each channel says exactly where one concept is; 0 where none says more than nothing.", dots,
        ),
        records.Picture(
            "maps", figures.grid(drawn, title="Maps of the first seed", columns=1 + len(CONCEPTS), labels=words),
            "Scenes and the masks of their concepts; beneath, the maps that heads are told.",
            "Rows of a scene and five maps: true, trained first, trained together.",
        ),
    ]  # fmt: skip


def columns(s: Settings, found: Found) -> tables.Table:
    """Give the tidy table: of a kind of net, quantity and seed the value; concepts and changes are quantities too."""
    parts = {"auc": CONCEPTS, "iou": CONCEPTS, "auc before": CONCEPTS, "by kind": scenes.KINDS}
    cells = [
        (arm, f"{what} {parts[what][i]}" if what in parts else what, seed, float(value))
        for arm, each in found.items()
        for what, values in each.items()
        if what != "maps"
        for seed in range(s.seeds)
        for i, value in enumerate(np.atleast_1d(values[seed]))
    ]
    return tables.from_cells(("net", "quantity", "seed", "value"), cells)


def arranged(s: Settings, name: str, done: Sweep, data: Data) -> Found:
    """Measure a sweep, a run that diverged as NaN: by kind of net, `[S, ...]`."""
    lost = np.array([run.id in done.diverged for run in done.runs])
    values = done.map(partial(measure, s, name), data)
    values = {what: np.where(lost.reshape(-1, *(1,) * (x.ndim - 1)), np.nan, x) for what, x in values.items()}
    count = len(CELLS[name])
    found = {arm: {what: x[i::count].astype(float) for what, x in values.items()} for i, arm in enumerate(CELLS[name])}
    for each in found.values():
        if "auc" in each:
            each |= {"least auc": each["auc"].min(1), "mean iou": each["iou"].mean(1)}
    if "no stripes" in found:  # nobody can be told of a concept that has no channel
        own = found["no stripes"]
        for what in ("told", "follows", "wrong", "stays", "by kind", "asked", "agreement"):
            del own[what]
        own["ceiling"] = np.full(s.seeds, semantic_study.ceiling(data.scored, s.world))
    return found


def run(s: Settings) -> None:
    """Train nets of each kind, edit their maps, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=s.cells < 3,
        title="Semantic bottlenecks",
        question="Are the concepts of a semantic bottleneck what they say?",
    )  # fmt: skip
    claims(s)
    data = jax.jit(partial(draw, s))()
    trained = {name: train(s, name, data.pool, work.config) for name in CELLS}
    if any(work.waits(len(done.runs), len(CELLS[name]) * s.seeds) for name, done in trained.items()):
        return
    found: Found = {}
    for name, done in trained.items():
        found |= arranged(s, name, done, data)
    diverged = {f"{name}: {run}": t for name, done in trained.items() for run, t in done.diverged.items()}
    work.write(judge(s, found), pictures=pictures(found, data), rows=columns(s, found), diverged=diverged)


PRESETS = {
    "quick": Settings(),
    "full": Settings(
        seeds=20,
        cells=3,
        channels=(32, 48, 48),
        after=(32, 64),
        scenes=20_000,
        epochs=10,
        batch=32,
        lr=3e-3,
        tested=2000,
        edits=6000,
        rows=5000,
    ),
}

if __name__ == "__main__":
    cli.main(run, PRESETS)
