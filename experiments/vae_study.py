"""Train and score the models of a study of disentanglement: methods x strengths x seeds, one row a model.

    python experiments/vae_study.py quick            some minutes on two CPU cores: 16 x 16 pixels, an MLP, 36 models
    python experiments/vae_study.py medium           hours there: longer training, all strengths, 180 models
    python experiments/vae_study.py full             the study's setting: 1,800 models, meant for accelerators
    python experiments/vae_study.py full --plan      only say what that will take here, from a short calibration

Locatello et al. (2019) trained 6 methods x 6 strengths x 50 seeds on each of 7 data sets. Here a method is a sweep,
with all strengths and seeds batched, and a further sweep scores all models, on means of codes and on samples: the rows
are what other experiments read (`vae_seed_or_objective.py`, `vae_metric_agreement.py`,
`vae_unsupervised_selection.py`), and may take the place of the study's models, which can no longer be downloaded. A
model is rerun from its method, strength and seed and the settings in the manifest.

The claim that each method was published with is tested on the way: at its best strength it disentangles more than the
plain VAE (beta 1). Best is chosen for each seed by the mean MIG of the other seeds, and is never beta 1 itself.
"""

import dataclasses
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks, keys
from interp_jax.core.information import standard_normal_kl
from interp_jax.core.intervals import paired
from interp_jax.core.selection import best_of_others, picked
from interp_jax.core.types import Array, Key, Numpy, PyTree
from interp_jax.data import factors as sets
from interp_jax.data import named
from interp_jax.data.named import Images
from interp_jax.models import discriminator, vae
from interp_jax.report import experiment, figures, looks, records
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli, provenance, seal
from interp_jax.runs.profile import Profile
from interp_jax.train import cost, models, table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.train.trainer import measurement
from interp_jax.vae import metrics, objectives, study
from interp_jax.vae.metrics import protocol

PLAIN = ("beta_vae", 1.0)
"""The VAE that all are compared with."""
UNIT = 4  # models that a device scores in one unit of work: what a kill can cost
DRAWN = ("mig", "factor_vae", "dci", "total_correlation")
"""Scores that are drawn against strength."""


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 3
    """How many seeds of each method and strength."""
    methods: tuple[str, ...] = tuple(study.STRENGTHS)
    """Which methods; the plain VAE is among beta_vae's."""
    strengths: tuple[int, ...] = (0, 3)
    """Which of a method's six strengths, from 0, the mildest but for annealed_vae, to 5."""
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
    layers: int = 2
    """Hidden layers of the discriminator; the study has 6."""
    units: int = 64
    """Their width; the study has 1000."""
    bfloat16: bool = False
    """Compute in bfloat16, with parameters and losses in float32: losses end as they do in float32, up to their noise
    (8 seeds of the quick MLP: ELBO -1.4 to +.2 nats of 100)."""
    steps: int = 3000
    """Training steps."""
    chunk: int = 1000
    """Steps in a unit of work."""
    batch: int = 64
    """Images a step."""
    lr: float = 2e-3
    """Adam's learning rate, of both players."""
    points: int = 1000
    """Examples that scores are trained on; half as many test. So with votes. The study has 10,000."""
    labels: tuple[int, ...] = (100,)
    """How many labels downstream classifiers get."""
    scores: tuple[str, ...] = protocol.NAMES
    """Which scores besides mig; what is not asked for is not computed."""
    plan: bool = False
    """Do nothing but say what the run would take."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, size=self.size, hidden=self.hidden, latents=self.latents, layers=self.layers, units=self.units)
        checks.whole(1, steps=self.steps, chunk=self.chunk, batch=self.batch)
        checks.whole(100, points=self.points)
        checks.whole(2, seeds=self.seeds)
        checks.positive(lr=self.lr)
        if unknown := [name for name in self.methods if name not in study.STRENGTHS]:
            raise ValueError(f"want methods among {[*study.STRENGTHS]}, got {unknown[0]!r}")
        if len(set(self.methods)) < len(self.methods) or PLAIN[0] not in self.methods:
            raise ValueError(f"want different methods with {PLAIN[0]} among them, got methods={self.methods}")
        rising = sorted(set(self.strengths)) == [*self.strengths] and len(self.strengths) > 1
        if not rising or not {0} <= {*self.strengths} <= {*range(6)}:
            raise ValueError(f"want two or more rising places, from 0 to at most 5, got strengths={self.strengths}")
        if unknown := [name for name in self.scores if name not in protocol.NAMES]:
            raise ValueError(f"want scores among {[*protocol.NAMES]}, got {unknown[0]!r}")

    def cells(self) -> list[tuple[str, float]]:
        """Give method and strength of every cell of the design."""
        return [(name, float(study.STRENGTHS[name][i])) for name in self.methods for i in self.strengths]


def given(s: Settings, images: Images) -> study.Training:
    """Give what all methods share."""
    dtype = jnp.bfloat16 if s.bfloat16 else None
    shape = images.source.shape
    if s.model == "conv":
        model = vae.conv(shape, latents=s.latents, dtype=dtype)
    else:
        model = vae.mlp(shape, hidden=(s.hidden, s.hidden), latents=s.latents, dtype=dtype)
    opponent = discriminator.mlp(s.latents, hidden=(s.units,) * s.layers, dtype=dtype)
    return study.Training(model, images.batch(s.batch), opponent, s.steps, s.lr, (64 / s.size) ** 2)


def train(s: Settings, name: str, images: Images, config: dict[str, Any]) -> Sweep:
    """Train all strengths and seeds of a method."""
    strengths = [strength for method, strength in s.cells() if method == name]
    return sweep(
        study.method(name, given(s, images)), table.grid({"strength": strengths}, s.seeds), images.bits,
        steps=s.steps, chunk=s.chunk, config=config | {"method": name}, out=s.out / "runs" / name,
        **s.driver(),
    )  # fmt: skip


def score(s: Settings, images: Images, key: Key, data: tuple[PyTree, PyTree], model: Array) -> dict[str, Array]:
    """Score one model: every score of the protocol `[2]`, on means and on samples; what the ELBO is made of; codes.

    data: the params of all models, stacked, and the images. All models see the same images and noise.
    """
    params, net, fixed = models.pick(data[0], model), given(s, images).model, jax.random.key(2019)
    mean, log_var = images.each(lambda x: net.encode(params, x), data[1], keys.stream(fixed, "nuisance"))
    sizes, half = images.source.sizes, s.points // 2
    how = protocol.Protocol(s.points, half, s.points, half, s.labels)

    def one(sampled: Array) -> dict[str, Array]:
        noise = jnp.where(sampled, log_var, -jnp.inf)
        code_of = metrics.lookup_sampled(mean, noise, sizes)
        every = protocol.scores(code_of, sizes, keys.stream(fixed, "scores"), how)
        return {name: value for name, value in every.items() if name.rstrip("_0123456789") in ("mig", *s.scores)}

    rows = jax.random.randint(keys.stream(fixed, "rows"), (1000,), 0, len(mean))
    noise = jax.random.split(keys.stream(fixed, "noise"), len(rows))

    def error(i: Array, k: Key) -> Array:
        x = images.of(data[1], i, keys.stream(k, "nuisance"))
        z = objectives.reparameterise(mean[i], log_var[i], keys.stream(k, "sample"))
        return objectives.bernoulli(net.decode(params, z), x)

    kl = jnp.mean(standard_normal_kl(mean, log_var), 0)
    reconstruction = jnp.mean(jax.lax.map(lambda pair: error(*pair), (rows, noise), batch_size=100))
    found = jax.lax.map(one, jnp.array([False, True]))
    return found | {
        "reconstruction": reconstruction, "elbo": -(reconstruction + kl.sum()), "kl": kl.sum(),
        "active": jnp.sum(kl > 0.01), "codes": mean[rows], "kls": kl,
    }  # fmt: skip


def scored(s: Settings, images: Images, trained: dict[str, Sweep], config: dict[str, Any]) -> dict[str, Numpy]:
    """Score all models, in units that resume; in the order of cells, then seeds."""
    order = [(name, strength, seed) for name, strength in s.cells() for seed in range(s.seeds)]
    defines = config | {"models": [list(each) for each in order]}  # a table of its own for every set of models
    return models.measured(
        partial(score, s, images), trained,
        [(name, table.run({"strength": strength}, seed)) for name, strength, seed in order], images.bits,
        config=defines, out=s.out / "runs" / f"scores-{seal.sha256(defines)[:8]}",
        width=UNIT * jax.device_count(), profile=Profile(s.profile),
    )  # fmt: skip


def tidy(s: Settings, found: dict[str, Numpy], diverged: dict[str, int]) -> dict[str, Any]:
    """Give the rows, one a model: scores on means, on samples (`_sampled`), of the ELBO, and UDR among its seeds."""
    cells = s.cells()
    names = [(name, strength, seed) for name, strength in cells for seed in range(s.seeds)]
    codes, kls = (found[name].reshape(len(cells), s.seeds, *found[name].shape[1:]) for name in ("codes", "kls"))
    udr = jax.jit(lambda codes, kls: jax.lax.map(lambda pair: metrics.udr(*pair).score, (codes, kls)))(codes, kls)
    of_mean = {name: values[:, 0] for name, values in found.items() if values.ndim == 2 and values.shape[1] == 2}
    of_sample = {f"{name}_sampled": found[name][:, 1] for name in of_mean}
    plain = {name: values for name, values in found.items() if values.ndim == 1}
    run = [f"{name}: {table.run({'strength': strength}, seed).id}" for name, strength, seed in names]
    columns = of_mean | of_sample | plain | {"udr": np.asarray(udr).ravel()}
    return {
        "method": [name for name, *_ in names],
        "strength": [strength for _, strength, _ in names],
        "seed": [seed for *_, seed in names],
        "diverged_at": [diverged.get(each, -1) for each in run],
        **{name: values.astype(np.float64) for name, values in columns.items()},
    }


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run: by method."""
    papers = {
        "beta_vae": "Higgins et al. 2017, beta-VAE",
        "annealed_vae": "Burgess et al. 2018, Understanding disentangling in beta-VAE",
        "factor_vae": "Kim and Mnih 2018, Disentangling by Factorising",
        "dip_vae_i": "Kumar et al. 2018, Variational Inference of Disentangled Latent Concepts",
        "dip_vae_ii": "Kumar et al. 2018, Variational Inference of Disentangled Latent Concepts",
        "beta_tc_vae": "Chen et al. 2018, Isolating Sources of Disentanglement",
    }
    return {
        name: Claim(
            name=f"{name}_disentangles_more",
            statement=f"At its best strength {name} disentangles more than the plain VAE.",
            source=papers[name],
            estimand="MIG of the means at the strength that is best for the other seeds, minus that of beta 1",
            unit="seeds",
            delta=0.02,
            direction=Direction.GREATER,
            scope=f"{s.data}, {s.size} x {s.size} pixels, {s.model}, {s.steps:,} steps of {s.batch} images",
            published="more, by several scores",
            primary=name == PLAIN[0],
        )
        for name in s.methods
    }


def judge(s: Settings, rows: dict[str, Any]) -> list[Finding]:
    """Give each method its paired interval over seeds; a seed in which a compared model is undefined is left out."""
    shape = (len(s.methods), len(s.strengths), s.seeds)
    mig = np.where(np.array(rows["diverged_at"]) < 0, rows["mig"], np.nan).reshape(shape)
    plain = mig[s.methods.index(PLAIN[0]), 0]
    findings = []
    for name, own in zip(s.methods, mig, strict=True):
        plain_too = study.STRENGTHS[name][0] == PLAIN[1] and name in ("beta_vae", "beta_tc_vae")
        chosen = picked(own[plain_too:], best_of_others(own[plain_too:]))
        mask = np.isfinite(chosen) & np.isfinite(plain)
        note = f"{chosen[mask].mean():.3f} against {plain[mask].mean():.3f}" if mask.any() else "no seed to compare"
        note += "" if mask.all() else f"; left out: {(~mask).sum()} seeds that diverged or are undefined"
        findings.append(finding(claims(s)[name], paired(chosen, plain, mask=mask) if mask.any() else None, note=note))
    return findings


def pictures(s: Settings, rows: dict[str, Any], trained: dict[str, Sweep], images: Images) -> list[records.Picture]:
    """Draw scores against strength, and what the model with the largest MIG does."""
    shape = (len(s.methods), len(s.strengths), s.seeds)
    drawn = []
    for name in [name for name in DRAWN if name in rows]:
        kinds = {"means": name, "samples": f"{name}_sampled"}
        values = {kind: np.asarray(rows[column], float).reshape(shape) for kind, column in kinds.items()}
        panels = {
            study.TITLES[method]: figures.Panel(
                np.array([study.STRENGTHS[method][k] for k in s.strengths]),
                {kind: of[i].T for kind, of in values.items()}, "strength",
            )
            for i, method in enumerate(s.methods)
        }  # fmt: skip
        label = protocol.title(name)
        drawn.append(
            records.Picture(
                name,
                figures.multiples(panels, title=f"{label} against strength", ylabel=label),
                "A panel a method, each with strengths of its own, on the means of codes and on samples of them.",
                f"Small multiples: lines of {label} against strength, one panel a method.",
            )
        )
    if not np.isfinite(np.asarray(rows["mig"], float)).any():
        return drawn
    best = int(np.nanargmax(np.asarray(rows["mig"], float)))
    name, strength, seed = (rows[column][best] for column in ("method", "strength", "seed"))
    params, key = trained[name].state(table.run({"strength": strength}, seed)).params, jax.random.key(0)
    chosen = jax.random.randint(key, (8,), 0, sets.count(images.source.sizes))
    xs = jax.vmap(lambda i: images.of(images.bits, i, key))(chosen)
    which = f"{study.TITLES[name]} at {strength:g}, seed {seed}, the largest MIG of all"
    return [*drawn, *looks.look(given(s, images).model, params, xs, which)]


def planned(s: Settings, images: Images) -> str:
    """Say what the run would take on this device: every method's program and the scores', timed for some steps."""
    total, lines = 0.0, []
    for name in s.methods:
        strengths = [strength for method, strength in s.cells() if method == name]
        runs = table.grid({"strength": strengths}, s.seeds)
        took = cost.calibrate(study.method(name, given(s, images)), runs, images.bits)
        hours = took.seconds * s.steps * len(runs) / 3600
        total += hours
        lines.append(
            f"{name:14s} {len(runs):5d} models x {s.steps:,} steps: {1 / took.seconds:9.1f} steps/s, "
            f"{took.flops / 1e9:.3f} GFLOP and {took.bytes / 1e6:.1f} MB a step, "
            f"{took.flops / took.seconds / 1e12:.3f} TFLOP/s, groups of {took.width} in {took.memory / 1e9:.2f} GB: "
            f"{hours:.2f} h"
        )
    params = jax.vmap(given(s, images).model.init)(jax.random.split(jax.random.key(0), 2))
    data = (params, images.bits)
    took = cost.calibrate(measurement(partial(score, s, images), data), table.grid({"model": [0, 1]}, 1), data, steps=1)
    count = len(s.cells()) * s.seeds
    hours = took.seconds * count / 3600
    lines.append(
        f"scores         {count:5d} models: {took.seconds:.2f} s each, {took.memory / 1e9:.2f} GB: {hours:.2f} h"
    )
    return "\n".join([*lines, f"together {total + hours:.2f} h on {provenance.device()}, compiling apart"])


def run(s: Settings) -> None:
    """Train, score, judge, and write the record; or say what that would take."""
    images = named.load(s.data, s.size)
    if s.plan:
        print(planned(s, images))
        return
    work = experiment.begin(
        s, PRESETS, small=s.size < 64,
        title="A study of disentanglement",
        question="Do the methods disentangle more than a plain VAE?",
    )  # fmt: skip
    claims(s)
    free = ("seeds", "methods", "strengths", "points", "labels", "scores", "chunk", "plan")
    config = {name: value for name, value in work.config.items() if name not in free}
    trained = {name: train(s, name, images, config) for name in s.methods}
    if work.waits(min(len(done.runs) for done in trained.values()), s.seeds * len(s.strengths)):
        return
    diverged = {f"{name}: {run}": t for name, done in trained.items() for run, t in done.diverged.items()}
    asked = {name: work.config[name] for name in ("points", "labels", "scores")}
    rows = tidy(s, scored(s, images, trained, config | asked), diverged)
    work.write(judge(s, rows), pictures=pictures(s, rows, trained, images), rows=rows, diverged=diverged)


PRESETS = {
    "quick": Settings(),
    "medium": Settings(
        seeds=5, strengths=(0, 1, 2, 3, 4, 5), hidden=128, size=32, steps=20_000, lr=1e-3, points=10_000,
        labels=(10, 100, 1000, 10_000), layers=3, units=256,
    ),
    "full": Settings(
        seeds=50, strengths=(0, 1, 2, 3, 4, 5), model="conv", size=64, steps=300_000, lr=1e-4, points=10_000,
        labels=(10, 100, 1000, 10_000), layers=6, units=1000,
    ),
}  # fmt: skip

if __name__ == "__main__":
    cli.main(run, PRESETS)
