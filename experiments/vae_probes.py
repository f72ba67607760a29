"""What are the axes of a disentangled code good for? Concepts read from codes, and from random rotations of them.

    python experiments/vae_probes.py quick      two to three minutes on two CPU cores: 16 x 16 pixels, an MLP
    python experiments/vae_probes.py medium     hours there: 32 x 32 pixels, a wider MLP, longer, more methods
    python experiments/vae_probes.py full       the study's setting, meant for accelerators

A rotation leaves a code all that it says and takes its axes away, so what a code is better for than its rotations is
what alignment is good for (`vae.metrics.axes`, which says what probes, concepts, lessons and cues are).

Codes are means of VAEs, and of models taught by pairs of images that share some factors (Locatello et al. 2020), whose
axes are better. Beside them: codes of an untrained encoder, whitened principal components of the pixels, pixels, and
the factors themselves with latents of noise, which is what a perfectly disentangled code has to give; and labels that
are shuffled. Encoders have seen all images alike; only the probe's lessons are few, or correlated.

Which contrasts to claim, what number of labels is few, and all deltas were settled on a trial of three seeds.
`vae_sample_efficiency.py` asks of the same rows what goes with disentanglement between models.
"""

import dataclasses
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks, keys
from interp_jax.core.intervals import paired
from interp_jax.core.types import Array, Key, Numpy, PyTree
from interp_jax.data import factors as sets
from interp_jax.data import named
from interp_jax.data.named import Images
from interp_jax.models import discriminator, vae
from interp_jax.report import experiment, figures, records
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli, seal
from interp_jax.runs.profile import Profile
from interp_jax.train import models, table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.vae import metrics, objectives, pairs, references, study
from interp_jax.vae.metrics import axes

REFERENCES = ("untrained", "pca", "factors")
"""Codes that are measured as the models are; `pixels` have more dimensions."""
Find = Callable[[Key, PyTree], PyTree]
UNIT = 4  # models that a device measures in one unit of work: what a kill can cost


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 6
    """How many seeds."""
    methods: tuple[str, ...] = ("beta_vae", "beta_tc_vae", "ada_gvae", "labelled_gvae")
    """Which methods, of `vae.study` and, taught by pairs, of `vae.pairs`."""
    strengths: tuple[int, ...] = (1, 3)
    """Which of a method's six strengths in the study, from 0 to 5; methods of pairs have a beta of 1."""
    data: Literal["dsprites", "colour-dsprites", "noisy-dsprites", "picture-dsprites", "room", "arm"] = "dsprites"
    """Which images: room is like Shapes3D, arm in the spirit of MPI3D."""
    size: int = 16
    """Pixels a side."""
    model: Literal["mlp", "conv"] = "mlp"
    """The network: an MLP, or the study's convolutions."""
    hidden: int = 64
    """Width of the MLP."""
    latents: int = 10
    """Dimensions of the code."""
    discriminator: tuple[int, ...] = (64, 64)
    """Widths of FactorVAE's discriminator."""
    steps: int = 3000
    """Training steps."""
    chunk: int = 1000
    """Steps in a unit of work."""
    batch: int = 64
    """Images a step, an even number."""
    lr: float = 2e-3
    """Adam's learning rate, of both players."""
    labels: tuple[int, ...] = (10, 30, 100, 1000)
    """How many labels probes have; each lesson begins with the shorter ones."""
    few: int = 30
    """Which of these counts as few."""
    correlation: float = 0.9
    """Of a concept with the second one, in lessons where one goes along."""
    draws: int = 6
    """Lessons for each concept."""
    rotations: int = 2
    """Random rotations of each code."""
    exam: int = 1000
    """Images on which probes are tested."""
    points: int = 1000
    """Images that DCI and MIG are computed of; half as many test. The study has 10,000."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, size=self.size, hidden=self.hidden, rotations=self.rotations)
        checks.whole(1, steps=self.steps, chunk=self.chunk)
        checks.whole(2, seeds=self.seeds, batch=self.batch)
        checks.whole(100, points=self.points)
        checks.positive(lr=self.lr)
        if unknown := [name for name in self.methods if name not in (*study.STRENGTHS, *pairs.METHODS)]:
            raise ValueError(f"want methods among {[*study.STRENGTHS, *pairs.METHODS]}, got {unknown[0]!r}")
        if len(set(self.methods)) < max(len(self.methods), 1):
            raise ValueError(f"want different methods, one or more, got methods={self.methods}")
        if not self.strengths or len({*self.strengths} & {*range(6)}) < len(self.strengths):
            raise ValueError(f"want different places from 0 to 5, one or more, got strengths={self.strengths}")
        asked = design(self)
        if self.few not in self.labels[:-1]:
            raise ValueError(f"want few among {self.labels[:-1]}, got few={self.few}")
        least = max(len(named.SETS[self.data](self.size).sizes), asked.latents[-1])
        if self.latents < least:
            raise ValueError(f"want latents >= {least}, one a factor and as many as are chosen, got {self.latents}")

    def cells(self) -> list[tuple[str, float]]:
        """Give method and strength of all codes: of the models, then of the references, whose strength is 0."""
        at = {name: [study.STRENGTHS[name][i] for i in self.strengths] for name in study.STRENGTHS}
        learned = [(name, float(strength)) for name in self.methods for strength in at.get(name, [1])]
        return learned + [(name, 0.0) for name in REFERENCES]


def concepts(s: Settings) -> dict[str, int]:
    """Give the factors whose upper half is a concept, by name: all but sprites' turn, which is none for a square."""
    names = named.SETS[s.data](s.size).names
    return {name: i for i, name in enumerate(names) if not (s.data.endswith("dsprites") and name == "orientation")}


def design(s: Settings, *, pixels: bool = False) -> axes.Design:
    """Give what probes are asked; of pixels, which are many, fewer lessons, and no lasso nor more pixels than one."""
    every = tuple(concepts(s).values())
    asked = axes.Design(every, labels=s.labels, correlation=s.correlation, draws=s.draws, exam=s.exam)
    return dataclasses.replace(asked, lasso=(), latents=(1,), draws=-(-s.draws // 3)) if pixels else asked


def network(s: Settings, images: Images) -> vae.VAE:
    """Give the model of these settings."""
    if s.model == "conv":
        return vae.conv(images.source.shape, latents=s.latents)
    return vae.mlp(images.source.shape, hidden=(s.hidden, s.hidden), latents=s.latents)


def measure(s: Settings, images: Images, key: Key, data: tuple[PyTree, PyTree], model: Array) -> dict[str, Array]:
    """Measure one code: DCI, MIG, reconstruction, and all probes. Of a seed all codes have the same lessons and exam.

    data: the params of all models, stacked; the images, principal components, and each model's place in `REFERENCES`,
    0 for the trained ones too.
    """
    params, (bits, components, kinds) = models.pick(data[0], model), data[1]
    net, sizes, half = network(s, images), images.source.sizes, s.points // 2

    def latents(factors: Array, x: Array, key: Key) -> Array:
        told = partial(references.told, sizes, s.latents, factors, key)
        branches = (lambda: net.encode(params, x)[0], lambda: references.project(components, x), told)
        return jax.lax.switch(kinds[model.astype(jnp.int32)], branches)

    def error(factors: Array, x: Array, key: Key) -> Array:
        return objectives.bernoulli(net.decode(params, net.encode(params, x)[0]), x)

    code, own = references.each_image(images, bits, latents), keys.stream(key, "images")
    drawn = sets.sample_factors(keys.stream(key, "sample"), sizes, s.points + half)
    z = code(drawn, own)
    train, test = (z[: s.points], drawn[: s.points]), (z[s.points :], drawn[s.points :])
    rotations = jax.random.orthogonal(keys.stream(key, "rotations"), s.latents, (s.rotations,))
    return {
        "dci": metrics.dci_trees(*train, *test, sizes).disentanglement,
        "mig": metrics.mig(*train, sizes).score,
        "reconstruction": jnp.mean(references.each_image(images, bits, error)(drawn[:1000], own)),
        "probes": axes.examine(axes.scaled(code, train[0]), sizes, design(s), key, rotations),
    }


def measure_pixels(s: Settings, images: Images, key: Key, bits: PyTree) -> Array:
    """Examine the dense and the single probe on pixels, with the first lessons of this seed."""
    sizes, code = images.source.sizes, references.each_image(images, bits, lambda f, x, key: references.pixels(x))
    sample = code(sets.sample_factors(keys.stream(key, "sample"), sizes, 1000), keys.stream(key, "images"))
    return axes.examine(axes.scaled(code, sample), sizes, design(s, pixels=True), key)


def train(s: Settings, images: Images, config: dict[str, Any]) -> dict[str, Sweep]:
    """Train a sweep a method, all of a seed from the same weights; the references' is only begun."""
    net, scale = network(s, images), (64 / s.size) ** 2
    opponent = discriminator.mlp(s.latents, hidden=s.discriminator)
    alone = study.Training(net, images.batch(s.batch), opponent, s.steps, s.lr, scale)
    taught = pairs.Training(net, s.latents, images.couples(s.batch // 2), s.lr, scale)
    shared = s.driver()
    done = {}
    for name in s.methods:
        make = study.method(name, alone) if name in study.STRENGTHS else pairs.method(name, taught)
        strengths = [strength for method, strength in s.cells() if method == name]
        done[name] = sweep(
            lambda strength, make=make: make(strength), table.grid({"strength": strengths}, s.seeds), images.bits,
            steps=s.steps, chunk=s.chunk, config=config | {"method": name}, out=s.out / "runs" / name, **shared,
        )  # fmt: skip
    done["references"] = sweep(
        lambda strength: references.begun(net.init), table.grid({"strength": range(len(REFERENCES))}, s.seeds),
        images.bits, steps=1, chunk=1, config=config, out=s.out / "runs" / "references", **shared,
    )  # fmt: skip
    return done


def measured(s: Settings, images: Images, trained: dict[str, Sweep], config: dict[str, Any]) -> dict[str, Numpy]:
    """Measure all codes `[cells, seeds, ...]`, and pixels as one more cell of `pixels`; both resume."""
    order = [(name, strength, seed) for name, strength in s.cells() for seed in range(s.seeds)]
    kind = {name: i for i, name in enumerate(REFERENCES)}
    runs = [
        ("references" if name in kind else name, table.run({"strength": kind.get(name, strength)}, seed))
        for name, strength, seed in order
    ]
    kinds = jnp.array([kind.get(name, 0) for name, *_ in order])
    defines = config | {"models": [list(each) for each in order]}  # a table of its own for every set of models

    def once(name: str, find: Find, seeds: int) -> PyTree:
        out = s.out / "runs" / f"{name}-{seal.sha256(config)[:8]}"
        return models.found(
            models.by_seed(find, seeds, images.bits, config=config, out=out, profile=Profile(s.profile))
        )

    components = once("components", lambda key, bits: references.principal(images, bits, key, s.latents), 1)
    data = (images.bits, jax.tree.map(lambda values: jnp.asarray(values[0]), components), kinds)
    found = models.measured(
        partial(measure, s, images), trained, runs, data, config=defines, width=UNIT * jax.device_count(),
        out=s.out / "runs" / f"probes-{seal.sha256(defines)[:8]}", profile=Profile(s.profile),
    )  # fmt: skip
    seen = once("pixels", partial(measure_pixels, s, images), s.seeds)
    cells = {name: values.reshape(-1, s.seeds, *values.shape[1:]) for name, values in found.items()}
    return cells | {"pixels": seen[None]}


class Taught(NamedTuple):
    """What was found on the seeds that are whole. read: by probe `[cells, S, 2, V, L, 2, C]`, see `axes.choose`.

    seen: the same of pixels, V = 1. scores: `[cells, S]` by name; the references' reconstruction is NaN.
    """

    seeds: list[int]
    read: dict[str, Numpy]
    seen: dict[str, Numpy]
    scores: dict[str, Numpy]


def taught(s: Settings, found: dict[str, Numpy], trained: dict[str, Sweep]) -> Taught:
    """Leave out the seeds with a model that diverged or a code without a score; choose penalties on other seeds."""
    fine = np.all([np.isfinite(values).reshape(*values.shape[:2], -1).all((0, 2)) for values in found.values()], 0)
    lost = {run.seed for done in trained.values() for run in done.runs if run.id in done.diverged}
    seeds = [seed for seed in range(s.seeds) if fine[seed] and seed not in lost]
    kept = {name: values[:, seeds].astype(np.float64) for name, values in found.items()}
    scores = {name: kept[name] for name in ("dci", "mig", "reconstruction")}
    scores["reconstruction"][-len(REFERENCES) :] = np.nan
    return Taught(
        seeds, axes.choose(design(s), kept["probes"]), axes.choose(design(s, pixels=True), kept["pixels"]), scores
    )


def chosen(s: Settings, codes: str) -> Numpy:
    """Tell which cells are meant by "vaes", "pairs", "learned" (both of them), or the name of a reference."""
    names = [name for name, _ in s.cells()]
    learned, alone = (np.array([name in kind for name in names]) for kind in (s.methods, study.STRENGTHS))
    kinds = {"vaes": alone, "pairs": learned & ~alone, "learned": learned}
    return kinds.get(codes, np.array([name == codes for name in names]))


def mean(s: Settings, t: Taught, probe: str, codes: str, view: int = 0, *, cue: bool = False) -> Numpy:
    """Give `[S, L]`: accuracies after independent lessons; or after those with a cue, how often guesses follow it."""
    values = t.read[probe][chosen(s, codes), :, int(cue), view, :, int(cue)]
    return values.mean((0, -1)) if len(values) else np.full((len(t.seeds), len(s.labels)), np.nan)


SPARSITY = "Lachapelle et al. 2023, Synergies between Disentanglement and Sparsity"
STUDY = "Locatello et al. 2019, Challenging Common Assumptions, section 5.5"
SHIFT = "Dittadi et al. 2021, On the Transfer of Disentangled Representations in Realistic Settings"
AXES = "Eastwood and Williams 2018, A Framework for the Quantitative Evaluation of Disentangled Representations"
GAIN, NONE = "yes, if disentangled (by memory)", "0, by theory"


def of_axes(codes: str, kind: str) -> dict[str, tuple]:
    """State what is claimed of axes: statement, estimand, delta, source, what it found. kind: of models, in words."""
    return {
        f"axes_of_{codes}_save_labels": (
            f"With few labels a sparse probe reads concepts better from codes of {kind} than from rotations of them.",
            f"accuracy of the lasso on codes of {kind} minus that on random rotations of them", 0.01, SPARSITY, GAIN,
        ),
        f"axes_of_{codes}_are_concepts": (
            f"One latent of {kind}, chosen by labels, is a better concept than one chosen among randomly rotated axes.",
            f"accuracy of the best single latent of {kind} minus that of random rotations", 0.02, AXES,
            "what completeness is to measure",
        ),
        f"axes_of_{codes}_resist_cues": (
            f"A single latent of {kind} follows a second concept that went along in lessons less than a rotated one.",
            f"guesses that follow the cue less those against it, on rotated codes of {kind} minus on codes",
            0.02, SHIFT, "disentanglement predicts performance out of distribution",
        ),
    }  # fmt: skip


STATED = of_axes("vaes", "VAEs") | of_axes("pairs", "models taught by pairs") | {
    "sparse_beats_dense": (
        "With few labels the sparse probe of codes of models taught by pairs is better than the dense one.",
        "accuracy of the lasso minus that of ridge, on codes of models taught by pairs", 0.01, SPARSITY, GAIN,
    ),
    "codes_beat_components": (
        "With few labels a dense probe is better on learned codes than on as many principal components of pixels.",
        "accuracy of ridge on codes of all models minus that on whitened principal components", 0.02, "a control", None,
    ),
    "dense_probes_see_no_axes": (
        "A dense probe reads rotated codes as well as codes: a check, true by construction.",
        "accuracy of ridge on codes of all models minus that on random rotations of them", 0.002,
        "ridge regression is invariant to rotations", NONE,
    ),
}  # fmt: skip


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    scope = f"{s.data}, {s.size} x {s.size} pixels, {s.model}, {s.steps:,} steps, {', '.join(s.methods)}; "
    scope += f"{len(concepts(s))} concepts, {s.few} labels where few, else {s.labels[-1]:,}"
    return {
        name: Claim(
            name=name, statement=statement, source=source, published=published, estimand=estimand, unit="seeds",
            delta=delta, direction=Direction.EQUIVALENT if published == NONE else Direction.GREATER, scope=scope,
            primary=name == "axes_of_vaes_save_labels",
        )
        for name, (statement, estimand, delta, source, published) in STATED.items()
    }  # fmt: skip


def contrasts(s: Settings, t: Taught) -> dict[str, list[Numpy]]:
    """Give both sides of every claim, `[S]`; those about axes also for "factors", the perfect codes."""
    few, sides = s.labels.index(s.few), {}
    for codes in ("vaes", "pairs", "factors"):
        for name, probe, at in (("save_labels", "sparse", few), ("are_concepts", "single", -1)):
            sides[f"axes_of_{codes}_{name}"] = [mean(s, t, probe, codes, view)[:, at] for view in (0, 1)]
        followed = [mean(s, t, "single", codes, view, cue=True)[:, -1] for view in (1, 0)]
        sides[f"axes_of_{codes}_resist_cues"] = followed
    dense, turned = (mean(s, t, "dense", "learned", view)[:, few] for view in (0, 1))
    return sides | {
        "sparse_beats_dense": [mean(s, t, probe, "pairs")[:, few] for probe in ("sparse", "dense")],
        "codes_beat_components": [dense, mean(s, t, "dense", "pca")[:, few]],
        "dense_probes_see_no_axes": [dense, turned],
    }


def judge(s: Settings, t: Taught) -> list[Finding]:
    """Give each claim its interval over seeds."""
    lost, findings = s.seeds - len(t.seeds), []
    sides = contrasts(s, t) if len(t.seeds) > 1 else {}
    for name, claim in claims(s).items():
        notes = [f"left out: {lost} seeds with a model that diverged or a code without a score"] if lost else []
        one, other = sides.get(name, [np.array([np.nan])] * 2)
        if tested := bool(np.isfinite(one).all()):
            notes.append(f"{one.mean():.3f} against {other.mean():.3f}")
        if tested and name.startswith("axes_of"):
            perfect = sides[re.sub("of_[a-z]+_", "of_factors_", name)]
            notes.append("of the factors themselves {:.3f} against {:.3f}".format(*(side.mean() for side in perfect)))
        notes += [] if tested else ["this run has no such codes, or too few seeds"]
        findings.append(finding(claim, paired(one, other) if tested else None, note="; ".join(notes)))
    return findings


def tidy(s: Settings, t: Taught) -> dict[str, Numpy]:
    """Give the rows: one for each code, view, probe, number of labels, kind of lesson and concept."""
    cells, names = [*s.cells(), ("pixels", 0.0)], [*concepts(s)]
    read, seen = axes.columns(design(s), t.read, names), axes.columns(design(s, pixels=True), t.seen, names)
    seen["cell"] += len(s.cells())
    rows = {name: np.concatenate([read[name], seen[name]]) for name in read}
    cell, seed = rows.pop("cell"), rows.pop("seed")
    none = np.full((1, len(t.seeds)), np.nan)
    scores = {name: np.concatenate([values, none])[cell, seed] for name, values in t.scores.items()}
    codes, strength = (np.array(column)[cell] for column in zip(*cells, strict=True))
    return {"codes": codes, "strength": strength, "seed": np.array(t.seeds, int)[seed], **rows, **scores}


TITLES = {"vaes": "VAEs", "pairs": "taught by pairs", "factors": "true factors", "pca": "components of pixels",
          "untrained": "untrained encoder"}  # fmt: skip
LINES = {"dense": ("dense", 0), "sparse": ("sparse", 0), "single latent": ("single", 0),
         "sparse, rotated": ("sparse", 1), "single, rotated": ("single", 1)}  # fmt: skip


def pictures(s: Settings, t: Taught) -> list[records.Picture]:
    """Draw accuracy against labels and against latents, and who follows a cue."""
    if len(t.seeds) < 2:
        return []
    groups = {codes: title for codes, title in TITLES.items() if chosen(s, codes).any()}
    labels, most, accuracy = np.array(s.labels), f"{s.labels[-1]:,} labels", "accuracy on the exam"
    paths = {1: "single"} | {k: f"best {k}" for k in axes.Design.latents[1:]} | {s.latents: "dense"}
    many, learned, used, follows, dense = np.array([*paths]), {}, {}, {}, {}
    for codes, title in groups.items():
        lines = {line: mean(s, t, probe, codes, view) for line, (probe, view) in LINES.items()}
        along = {axes.VIEWS[view]: np.stack([mean(s, t, name, codes, view)[:, -1] for name in paths.values()], 1)
                 for view in (0, 1)}  # fmt: skip
        learned[title], used[title] = figures.Panel(labels, lines, "labels"), figures.Panel(many, along, "latents")
        follows[title] = {line: mean(s, t, one[0], codes, one[1], cue=True)[:, -1] for line, one in LINES.items()}
        dense[title] = lines["dense"]
    dense["pixels"] = t.seen["dense"][:, :, 0, 0, :, 0].mean((0, -1))
    dense["labels shuffled"] = mean(s, t, "dense", "learned", 2)
    return [
        records.Picture(
            "labels", figures.multiples(learned, title="Concepts read with few labels and many", ylabel=accuracy),
            "Accuracy of two-class concepts, chance 1/2. A dense probe reads rotated codes as well.",
            "Small multiples: lines of accuracy against the number of labels, one panel for each kind of code.",
        ),
        records.Picture(
            "codes",
            figures.against_strength(labels, dense, title="Codes and controls", xlabel="labels", ylabel=accuracy),
            "Ridge on all latents, or all pixels. The factors come with latents of noise.",
            "Lines of accuracy against the number of labels, one for each kind of code.",
        ),
        records.Picture(
            "latents", figures.multiples(used, title=f"How many latents a concept takes, {most}", ylabel=accuracy),
            "Latents are chosen one after another by their error in the lesson; the last point is ridge on all.",
            "Small multiples: lines of accuracy against the number of latents, one panel for each kind of code.",
        ),
        records.Picture(
            "cues", figures.groups(follows, title="Who follows a second concept", ylabel="follows less opposes"),
            f"After {most} of lessons where a second concept had a correlation of {s.correlation:g}, on an exam where "
            "it has none. 0: not fooled; 1: always guesses the second concept.",
            "Groups of dots: how often guesses follow the cue, by kind of code and probe.",
        ),
    ]  # fmt: skip


def run(s: Settings) -> None:
    """Train, measure, judge, and write the record."""
    images = named.load(s.data, s.size)
    work = experiment.begin(
        s, PRESETS, small=s.size < 64,
        title="What the axes of codes are good for",
        question="Do disentangled codes make better probes, or better concepts, than rotations of them?",
    )  # fmt: skip
    claims(s)
    asked = ("labels", "few", "correlation", "draws", "rotations", "exam", "points")
    free = ("seeds", "methods", "strengths", "chunk", *asked)
    config = {name: value for name, value in work.config.items() if name not in free}
    trained = train(s, images, config)
    if work.waits(sum(len(done.runs) for done in trained.values()), len(s.cells()) * s.seeds):
        return
    found = measured(s, images, trained, config | {name: work.config[name] for name in asked if name != "few"})
    t = taught(s, found, trained)
    diverged = {f"{name}: {run}": step for name, done in trained.items() for run, step in done.diverged.items()}
    work.write(judge(s, t), pictures=pictures(s, t), rows=tidy(s, t), diverged=diverged)


PRESETS = {
    "quick": Settings(),
    "medium": Settings(
        seeds=8, methods=("beta_vae", "factor_vae", "dip_vae_i", "beta_tc_vae", "ada_gvae", "labelled_gvae"), size=32,
        hidden=128, steps=20_000, lr=1e-3, points=10_000, discriminator=(256,) * 3, draws=12, rotations=4, exam=5000,
    ),
    "full": Settings(
        seeds=20, methods=(*study.STRENGTHS, "ada_gvae", "labelled_gvae"), strengths=(0, 1, 2, 3, 4, 5),
        size=64, model="conv", steps=300_000, lr=1e-4, points=10_000, discriminator=(1000,) * 6, draws=12, rotations=4,
        exam=5000, labels=(10, 30, 100, 1000, 10_000),
    ),
}  # fmt: skip

if __name__ == "__main__":
    cli.main(run, PRESETS)
