"""Does weak supervision by pairs that share some factors disentangle, and what does inferring the group cost?

    python experiments/vae_weak_supervision.py quick     two to three minutes on two CPU cores: 16 x 16 pixels, an MLP
    python experiments/vae_weak_supervision.py medium    hours there: 32 x 32 pixels, a wider MLP, longer, all strengths
    python experiments/vae_weak_supervision.py full      the paper's setting, meant for accelerators

Locatello et al. (2020), Weakly-Supervised Disentanglement Without Compromises: pairs of images in which k factors are
drawn again, k uniform from 1 to F - 1 (section 5) or fixed (`--changes 1`), are enough to disentangle, without being
told which factors changed or how many. Ada-GVAE infers by a threshold which latents a pair shares. Here it stands
beside models that average otherwise, and models that are told less and more of the same pairs: nothing, how many
factors differ, which (`interp_jax.vae.pairs` has the table).

All see as many images, in the same batches, and begin from the same weights; the paper's unsupervised models, those of
its earlier study, saw half as many. disentanglement_lib's sampler changes, with even odds, one factor in place of k.

A score is the mean of the BetaVAE, FactorVAE, MIG, DCI and SAP scores of the means of codes. Each method is taken at
the beta whose score is best on average over the other seeds; so is the plain VAE. The claim on the average over betas
was added after a trial of five seeds, in which one Ada-GVAE in five failed at beta 16; all others were stated before.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks, keys
from interp_jax.core.bootstrap import pseudo_values
from interp_jax.core.correlation import rank_correlations
from interp_jax.core.information import standard_normal_kl
from interp_jax.core.intervals import paired, student
from interp_jax.core.selection import best_of_others, picked
from interp_jax.core.types import Array, Key, Numpy, PyTree
from interp_jax.data import named
from interp_jax.data.named import Images
from interp_jax.models import vae
from interp_jax.report import experiment, figures, looks, records, tables
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli, seal
from interp_jax.runs.profile import Profile
from interp_jax.train import models, table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.vae import metrics, pairs, weak
from interp_jax.vae.metrics import protocol
from interp_jax.vae.pairs import METHODS

STUDY = "Locatello et al. 2020, Weakly-Supervised Disentanglement Without Compromises, section 5"
SCORES = {"beta_vae": "BetaVAE", "factor_vae": "FactorVAE", "mig": "MIG", "dci": "DCI", "sap": "SAP"}
"""What the score is the mean of."""
REPORTED = SCORES | {"modularity": "modularity"}
"""The paper's; modularity, which codes that say little have too, is not in the mean."""
PAIRS = 2000  # on which models are compared, the same for all
MODEL = ("method", "beta", "seed", "diverged_at")  # columns that say which model a row is of
UNIT = 4  # models that a device measures in one unit of work: what a kill can cost
INFERRED = tuple(name for name, method in METHODS.items() if method.share is weak.adaptive)
"""Methods that choose the group themselves."""


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 5
    """How many seeds."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Which methods; beta_vae and ada_gvae, which are compared, are among them."""
    betas: tuple[float, ...] = (1, 4, 16)
    """Strengths of the KL, for images of 64 x 64 pixels; the paper has 1, 2, 4, 6, 8 and 16."""
    changes: int | None = None
    """How many factors are drawn again in the second image of a pair; None: a number of its own for each pair."""
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
    bfloat16: bool = False
    """Compute in bfloat16, with parameters and losses in float32."""
    steps: int = 2000
    """Training steps."""
    chunk: int = 1000
    """Steps in a unit of work."""
    pairs: int = 32
    """Pairs a step: twice as many images. The paper has 64."""
    lr: float = 4e-3
    """Adam's learning rate."""
    points: int = 1000
    """Examples that scores are trained on; half as many test. So with votes. The paper has 10,000."""
    scores: tuple[str, ...] = tuple(REPORTED)
    """Which scores; modularity is reported and not averaged."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, size=self.size, hidden=self.hidden, latents=self.latents)
        checks.whole(1, steps=self.steps, chunk=self.chunk, pairs=self.pairs)
        checks.whole(100, points=self.points)
        checks.whole(2, seeds=self.seeds)
        checks.positive(lr=self.lr, **{f"betas[{i}]": beta for i, beta in enumerate(self.betas)})
        if not self.betas or len(set(self.betas)) < len(self.betas):
            raise ValueError(f"want different betas, one or more, got betas={self.betas}")
        for name, some, every in (("methods", self.methods, METHODS), ("scores", self.scores, REPORTED)):
            if len(set(some)) < len(some) or not {*some} <= {*every}:
                raise ValueError(f"want different {name} among {[*every]}, got {name}={some}")
        if not {"beta_vae", "ada_gvae"} <= {*self.methods}:
            raise ValueError(f"want beta_vae and ada_gvae among the methods, got methods={self.methods}")
        if not {*SCORES} & {*self.scores}:
            raise ValueError(f"want one or more of {[*SCORES]} among the scores, got scores={self.scores}")
        count = len(named.SETS[self.data](self.size).sizes)
        if self.changes is not None and not 1 <= self.changes < count:
            raise ValueError(f"want 1 <= changes < {count}, the factors of {self.data}, got changes={self.changes}")
        if "labelled_gvae" in self.methods and self.latents < count:
            raise ValueError(f"want latents >= {count} for labelled_gvae, a latent a factor, got {self.latents}")


def given(s: Settings, images: Images) -> pairs.Training:
    """Give what all methods share."""
    shape, dtype = images.source.shape, jnp.bfloat16 if s.bfloat16 else None
    if s.model == "conv":
        net = vae.conv(shape, latents=s.latents, dtype=dtype)
    else:
        net = vae.mlp(shape, hidden=(s.hidden, s.hidden), latents=s.latents, dtype=dtype)
    return pairs.Training(net, s.latents, images.couples(s.pairs, s.changes), s.lr, (64 / s.size) ** 2)


def train(s: Settings, name: str, images: Images, config: dict[str, Any]) -> Sweep:
    """Train all betas and seeds of a method."""
    return sweep(
        pairs.method(name, given(s, images)), table.grid({"beta": s.betas}, s.seeds), images.bits,
        steps=s.steps, chunk=s.chunk, config=config | {"method": name}, out=s.out / "runs" / name,
        **s.driver(),
    )  # fmt: skip


def measure(s: Settings, images: Images, key: Key, data: tuple[PyTree, PyTree], model: Array) -> dict[str, Array]:
    """Measure one model: scores of its means, its method's losses on pairs, the latents that it would not share.

    data: the params of all models, stacked; the images, and the place of each model's method in the settings. All
    models see the same images, pairs and noise.
    """
    del key
    params, (bits, method) = models.pick(data[0], model), data[1]
    training, fixed = given(s, images), jax.random.key(2020)
    encode, sizes, half = training.model.encode, images.source.sizes, s.points // 2
    mean, log_var = images.each(lambda x: encode(params, x), bits, keys.stream(fixed, "nuisance"))
    how = protocol.Protocol(s.points, half, s.points, half, ())
    every = protocol.scores(metrics.lookup(mean, sizes), sizes, keys.stream(fixed, "scores"), how)
    draw = partial(images.couples(100, s.changes), bits, keys.stream(fixed, "pairs"))
    held = pairs.held_out(s.methods, params, draw, PAIRS // 100, keys.stream(fixed, "noise"), training)
    return {
        **{name: every[name] for name in s.scores},
        **{f"pair_{name}": values[method[model.astype(jnp.int32)]] for name, values in held.terms.items()},
        **{name: held.terms[name][s.methods.index("beta_vae")] for name in ("reconstruction", "kl", "elbo")},
        "active": jnp.sum(standard_normal_kl(mean, log_var).mean(0) > 0.01),
        **pairs.number_found(held, len(sizes))._asdict(),
    }  # fmt: skip


def measured(s: Settings, images: Images, trained: dict[str, Sweep], config: dict[str, Any]) -> dict[str, Numpy]:
    """Measure all models, in units that resume; in the order of methods, then betas, then seeds."""
    order = [(name, beta, seed) for name in s.methods for beta in s.betas for seed in range(s.seeds)]
    defines = config | {"models": [list(each) for each in order]}  # a table of its own for every set of models
    method = jnp.array([s.methods.index(name) for name, *_ in order])
    return models.measured(
        partial(measure, s, images), trained,
        [(name, table.run({"beta": beta}, seed)) for name, beta, seed in order], (images.bits, method),
        config=defines, out=s.out / "runs" / f"scores-{seal.sha256(defines)[:8]}",
        width=UNIT * jax.device_count(), profile=Profile(s.profile),
    )  # fmt: skip


def tidy(s: Settings, found: dict[str, Numpy], diverged: Mapping[str, int]) -> dict[str, Any]:
    """Give the rows, one a model, in the order of methods, then betas, then seeds. diverged: `method: run` -> step."""
    names = [(name, beta, seed) for name in s.methods for beta in s.betas for seed in range(s.seeds)]
    columns = {name: values.astype(np.float64) for name, values in found.items() if name != "found"}
    return {
        "method": [name for name, *_ in names],
        "beta": [float(beta) for _, beta, _ in names],
        "seed": [seed for *_, seed in names],
        "diverged_at": [
            diverged.get(f"{name}: {table.run({'beta': beta}, seed).id}", -1) for name, beta, seed in names
        ],
        "score": np.mean([columns[name] for name in SCORES if name in columns], 0),
        **columns,
        **{f"found_{k}": values.astype(np.float64) for k, values in enumerate(found["found"].T, 1)},
    }


def cells(s: Settings, rows: Mapping[str, Any]) -> dict[str, dict[str, Numpy]]:
    """Arrange the rows' numbers: column -> method -> `[betas, seeds]`, NaN of models that diverged."""
    fine, shape = np.asarray(rows["diverged_at"]) < 0, (len(s.methods), len(s.betas), s.seeds)
    values = {name: np.where(fine, of, np.nan).reshape(shape) for name, of in rows.items() if name not in MODEL}
    return {name: dict(zip(s.methods, of, strict=True)) for name, of in values.items()}


def taken(found: Mapping[str, dict[str, Numpy]], column: str, method: str, *, average: bool = False) -> Numpy:
    """Give a column of a method `[seeds]`: each seed at the beta whose score is best over the others, or on average."""
    if average:
        return found[column][method].mean(0)
    return picked(found[column][method], best_of_others(found["score"][method]))


class Stated(NamedTuple):
    """A claim that one method's column exceeds another's, or does not. what: words for the column."""

    says: str
    more: str
    less: str
    column: str = "score"
    what: str = "score"
    average: bool = False
    direction: Direction = Direction.GREATER
    published: str = "pairs suffice to reliably disentangle (abstract); better by all scores (by memory)"
    source: str = STUDY


COMPARED = {
    "weak_supervision_disentangles": Stated(
        "Pairs that share unknown factors disentangle: an Ada-GVAE more than a plain beta-VAE of the same images.",
        "ada_gvae", "beta_vae",
    ),
    "weak_supervision_disentangles_on_average": Stated(
        "On average over betas an Ada-GVAE disentangles more than a plain beta-VAE of the same images.",
        "ada_gvae", "beta_vae", average=True,
    ),
    **{
        f"weak_supervision_disentangles_{name}": Stated(
            f"An Ada-GVAE disentangles more than a plain beta-VAE by its {words} score.",
            "ada_gvae", "beta_vae", name, f"{words} score",
        )
        for name, words in REPORTED.items()
    },
    "number_known_gains_nothing": Stated(
        "To know how many factors differ gains nothing over inferring it.", "gvae", "ada_gvae",
        direction=Direction.EQUIVALENT, published="about as good (by memory)",
    ),
    "factors_known_gains_nothing": Stated(
        "To know which factors differ gains nothing over inferring it.", "labelled_gvae", "ada_gvae",
        direction=Direction.EQUIVALENT, published="about as good (by memory)",
    ),
    "ada_gvae_beats_ada_ml_vae": Stated(
        "An Ada-GVAE disentangles more than an Ada-ML-VAE.", "ada_gvae", "ada_ml_vae", published="usually (by memory)",
    ),
    "ml_average_is_no_matter": Stated(
        "Whether an Ada-ML-VAE multiplies densities, or takes the root of that as code does, is no matter.",
        "ada_ml_vae_geometric", "ada_ml_vae", direction=Direction.EQUIVALENT, published="not compared",
        source="disentanglement_lib, mlvae; Bouchacourt et al. 2018, ML-VAE",
    ),
}  # fmt: skip
CHOOSERS = {"pair_reconstruction": -1, "pair_elbo": 1, "reconstruction": -1, "elbo": 1}
"""What may choose models without labels, and the sign that makes larger better: losses on pairs, and on images."""


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    scope = (
        f"{s.data}, {s.size} x {s.size} pixels, {s.model}, {s.steps:,} steps of {s.pairs} pairs with "
        f"{s.changes or '1 to F - 1'} factors drawn again, beta {', '.join(f'{beta:g}' for beta in s.betas)}"
    )
    common: dict[str, Any] = {"unit": "seeds", "scope": scope}
    second: dict[str, Any] = {"source": STUDY, "direction": Direction.GREATER, "primary": False}
    stated = {
        name: Claim(
            name=name, statement=each.says, source=each.source, delta=0.03, direction=each.direction,
            estimand=f"{each.what} of {METHODS[each.more].title} minus that of {METHODS[each.less].title}, "
            + ("averaged over betas" if each.average else "each at the beta that is best for the other seeds"),
            published=each.published, primary=name == "weak_supervision_disentangles", **common,
        )
        for name, each in COMPARED.items()
    }  # fmt: skip
    stated["number_is_found"] = Claim(
        name="number_is_found",
        statement="An Ada-GVAE's threshold finds how many factors differ.",
        estimand="share of pairs whose number of latents not shared is that of the factors that differ, minus the "
        "share that the best constant has",
        delta=0.05, published="a heuristic, not measured (by memory)", **common, **second,
    )  # fmt: skip
    for name, words in {"pair_reconstruction": "reconstruction", "pair_elbo": "evidence lower bound"}.items():
        stated[f"{name}_chooses"] = Claim(
            name=f"{name}_chooses",
            statement=f"Among models that infer the group, those with a better {words} of pairs disentangle more.",
            estimand=f"Spearman correlation of the {words} of pairs, turned so that larger is better, with the score "
            "over the betas and seeds of a method",
            delta=0.2, published="correlated, so that it can choose models (by memory)", **common, **second,
        )  # fmt: skip
    return stated


def correlations(s: Settings, rows: Mapping[str, Any]) -> tuple[dict[str, Numpy], str]:
    """Give what each seed adds to rank correlations of choosers with the score: method -> `[seeds, 2, choosers]`.

    First over betas and seeds together, then over the seeds of one beta, averaged over betas. And what is unusual, in
    words; no method is there if a correlation is not defined, with all seeds or without one.
    """
    whole, lost = tables.complete({name: np.asarray(values) for name, values in rows.items()}, ["score", *CHOOSERS])
    every = np.stack([whole["beta"], whole["score"], *(sign * whole[name] for name, sign in CHOOSERS.items())], 1)

    def both(some: Numpy) -> Numpy:
        parts = [some, *(some[some[:, 0] == beta] for beta in s.betas)]
        of_parts = np.stack([rank_correlations(part[:, 2:], part[:, 1:2])[:, 0] for part in parts])
        return np.stack([of_parts[0], of_parts[1:].mean(0)])

    found = {}
    for name in [name for name in s.methods if name in INFERRED]:
        own = whole["method"] == name
        try:
            found[name] = pseudo_values(both, every[own], whole["seed"][own])
        except ValueError as error:
            return {}, f"{name}: {error}"
    return found, f"left out: seeds {lost}, with a model that diverged or an undefined score" if lost else ""


def judge(s: Settings, rows: Mapping[str, Any]) -> list[Finding]:
    """Give each claim its interval over seeds; a seed in which a compared model is undefined is left out."""
    stated, found = claims(s), cells(s, rows)
    findings = []
    for name, each in COMPARED.items():
        if lacking := {each.more, each.less} - {*s.methods} or {each.column} - {"score", *s.scores}:
            findings.append(finding(stated[name], None, note=f"{min(lacking)} is not in this run"))
            continue
        more, less = (taken(found, each.column, name, average=each.average) for name in (each.more, each.less))
        findings.append(compared(stated[name], more, less))
    if s.changes is None:
        right, constant = (taken(found, column, "ada_gvae") for column in ("right", "constant"))
        number = [np.nanmean(taken(found, name, "ada_gvae")) for name in found if name.startswith("found_")]
        note = f"latents set apart when 1, 2, ... factors differ: {', '.join(f'{each:.2f}' for each in number)}"
        findings.append(compared(stated["number_is_found"], right, constant, note))
    else:
        findings.append(finding(stated["number_is_found"], None, note="in all pairs as many factors are drawn again"))
    of_seeds, lost = correlations(s, rows)
    for i, name in enumerate(name for name in CHOOSERS if f"{name}_chooses" in stated):
        means = [np.mean([of[:, k, i] for of in of_seeds.values()], 0) for k in (0, 1)] if of_seeds else []
        every, within = [student(each) for each in means] or [None, None]
        notes = [f"at one beta {within.estimate:.2f} ({within.low:.2f} to {within.high:.2f})" if within else "", lost]
        findings.append(finding(stated[f"{name}_chooses"], every, note="; ".join(filter(None, notes))))
    return findings


def compared(claim: Claim, more: Numpy, less: Numpy, besides: str = "") -> Finding:
    """Give a claim its paired interval, with both means in the note."""
    mask = np.isfinite(more) & np.isfinite(less)
    if not mask.any():
        return finding(claim, None, note="no seed to compare")
    note = f"{more[mask].mean():.3f} against {less[mask].mean():.3f}"
    left = "" if mask.all() else f"left out: {(~mask).sum()} seeds that diverged or are undefined"
    return finding(claim, paired(more, less, mask=mask), note="; ".join(filter(None, (note, left, besides))))


def pictures(s: Settings, rows: Mapping[str, Any], trained: Mapping[str, Sweep], images: Images) -> list:
    """Draw the score against beta, all scores at the best, what is inferred, choosers, and what good models do."""
    found, titles = cells(s, rows), {name: METHODS[name].title for name in s.methods}
    factors = np.arange(1, len(images.source.sizes))
    against = {titles[name]: of.T for name, of in found["score"].items()}
    every = {words: {titles[each]: taken(found, name, each) for each in s.methods}
             for name, words in REPORTED.items() if name in s.scores}  # fmt: skip
    apart = {titles[name]: np.stack([taken(found, f"found_{k}", name) for k in factors], 1)
             for name in s.methods if name == "beta_vae" or name in INFERRED}  # fmt: skip
    apart["the truth"] = np.tile(1.0 * factors, (s.seeds, 1))
    drawn = [
        records.Picture(
            "score",
            figures.against_strength(
                np.array(s.betas), against, title="Disentanglement against beta", xlabel="beta",
                ylabel="mean score",
            ),
            f"{', '.join(SCORES[name] for name in s.scores if name in SCORES)}, of the means of codes, averaged.",
            "Lines of the score against beta, one a method.",
        ),
        records.Picture(
            "scores",
            figures.groups(every, title="Every score at the best beta", ylabel="score"),
            "Each seed at the beta whose mean score is best over the other seeds; modularity is not in that mean.",
            "Points with intervals: six scores, each of all methods.",
        ),
        records.Picture(
            "number",
            figures.against_strength(
                factors, apart, title="How many latents the threshold sets apart", log=False,
                xlabel="factors that differ in a pair", ylabel="latents not shared",
            ),
            "Ada-GVAE's rule on the codes of trained models; the beta-VAE was trained without it.",
            "Lines of latents not shared against factors that differ, one a method.",
        ),
    ]  # fmt: skip
    of_seeds, _ = correlations(s, rows)
    if of_seeds:
        drawn.append(choosers(of_seeds))
    best = {name: found["score"][name] for name in ("beta_vae", "ada_gvae") if np.isfinite(found["score"][name]).any()}
    return drawn + [each for name, score in best.items() for each in seen(s, name, score, trained[name], images)]


def choosers(of_seeds: Mapping[str, Numpy]) -> records.Picture:
    """Draw the correlations of choosers with the score. of_seeds: see `correlations`."""
    values = {
        chooser.replace("_", " "): {METHODS[name].title: of[:, 0, i] for name, of in of_seeds.items()}
        for i, chooser in enumerate(CHOOSERS)
    }
    return records.Picture(
        "choosers",
        figures.groups(
            values, title="What could choose a model without labels", ylabel="rank correlation with the score"
        ),
        "Over betas and seeds, turned so that better is larger: losses on pairs, shared latents averaged, and on "
        "single images. A dot is what a seed adds (a pseudo-value of leaving it out).",
        "Points with intervals: correlations of four losses with the score, by method.",
    )


def seen(s: Settings, name: str, score: Numpy, done: Sweep, images: Images) -> list[records.Picture]:
    """Draw what the model of a method does that has the largest score `[betas, seeds]`."""
    beta, seed = divmod(int(np.nanargmax(score)), s.seeds)
    params = done.state(table.run({"beta": s.betas[beta]}, seed)).params
    some = images.batch(8)(images.bits, jax.random.key(0), jnp.int32(0))
    words = f"{METHODS[name].title} at beta {s.betas[beta]:g}, seed {seed}, the best of its method"
    shown = looks.look(given(s, images).model, params, some, words)
    return [picture._replace(name=f"{picture.name}_{name}") for picture in shown]


def run(s: Settings) -> None:
    """Train, measure, judge, and write the record."""
    images = named.load(s.data, s.size)
    claims(s)
    work = experiment.begin(
        s, PRESETS, small=s.size < 64,
        title="Weak supervision by pairs",
        question="Do pairs of images that share some factors disentangle, and what does inferring the group cost?",
    )  # fmt: skip
    free = ("seeds", "methods", "betas", "points", "scores", "chunk")
    config = {name: value for name, value in work.config.items() if name not in free}
    trained = {name: train(s, name, images, config) for name in s.methods}
    if work.waits(min(len(done.runs) for done in trained.values()), s.seeds * len(s.betas)):
        return
    diverged = {f"{name}: {run}": at for name, done in trained.items() for run, at in done.diverged.items()}
    rows = tidy(s, measured(s, images, trained, config | {"points": s.points, "scores": s.scores}), diverged)
    work.write(judge(s, rows), pictures=pictures(s, rows, trained, images), rows=rows, diverged=diverged)


PRESETS = {
    "quick": Settings(),
    "medium": Settings(betas=(1, 2, 4, 6, 8, 16), hidden=128, size=32, steps=20_000, lr=1e-3, points=10_000),
    "full": Settings(
        seeds=10, betas=(1, 2, 4, 6, 8, 16), model="conv", size=64, steps=300_000, pairs=64, lr=1e-4, points=10_000,
    ),
}  # fmt: skip

if __name__ == "__main__":
    cli.main(run, PRESETS)
