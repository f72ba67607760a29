"""Does regularisation that decorrelates a VAE's samples decorrelate its means?

    python experiments/vae_mean_vs_sampled.py quick     about two minutes on two CPU cores: 16 x 16 pixels, an MLP
    python experiments/vae_mean_vs_sampled.py medium    about 20 minutes there: 32 x 32 pixels, a wider MLP, longer
    python experiments/vae_mean_vs_sampled.py full      the study's setting, meant for an accelerator

Locatello et al. (2019), section 5.1: with more regularisation the total correlation of the sampled representation
falls, and that of the mean representation, which most work uses, does not follow; it generally rises. Bonheme and Grzes
(2021) hold that passive latents, whose mean hardly moves, make the difference; so total correlation is computed on all
latents and on the active ones alone.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from interp_jax.core import checks
from interp_jax.core.correlation import slope
from interp_jax.core.information import gaussian_total_correlation, standard_normal_kl
from interp_jax.core.intervals import student
from interp_jax.core.types import Array, Numpy, PyTree
from interp_jax.data import dsprites, factors, packed, streams
from interp_jax.models import vae
from interp_jax.report import experiment, figures, records
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli
from interp_jax.runs.parts import Part
from interp_jax.runs.profile import Profile
from interp_jax.train import table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.train.trainer import Trainer, trainer
from interp_jax.vae import objectives, traversals

ACTIVE = 0.01  # nats of KL above which a latent counts as active, as the study's UDR does


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 6
    """How many seeds."""
    betas: tuple[float, ...] = (1, 2, 4, 6, 8, 16)
    """Strengths of the regularisation, as at 64 x 64 pixels: the loss takes beta (size / 64)^2."""
    size: int = 16
    """Pixels a side."""
    model: Literal["mlp", "conv"] = "mlp"
    """The network: an MLP, or the study's convolutions."""
    hidden: int = 64
    """Width of the MLP."""
    latents: int = 10
    """Dimensions of the code."""
    steps: int = 6000
    """Training steps."""
    chunk: int = 1000
    """Steps in a unit of work."""
    batch: int = 64
    """Images a step."""
    lr: float = 2e-3
    """Adam's learning rate."""
    images: int = 10_000
    """Images on which representations are measured, the same for all runs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, size=self.size, hidden=self.hidden, latents=self.latents, steps=self.steps, chunk=self.chunk)
        checks.whole(1, batch=self.batch, images=self.images)
        checks.positive(lr=self.lr)
        if len(set(self.betas)) < max(len(self.betas), 2) or min(self.betas) <= 0:
            raise ValueError(f"want two or more different betas above zero, for a slope in log beta, got {self.betas}")


def network(s: Settings) -> vae.VAE:
    """Give the model of these settings."""
    shape = (s.size, s.size, 1)
    if s.model == "conv":
        return vae.conv(shape, latents=s.latents)
    return vae.mlp(shape, hidden=(s.hidden, s.hidden), latents=s.latents)


def training(s: Settings) -> Callable[[Array], Trainer]:
    """Give the factory that the sweep calls with each run's beta."""
    net = network(s)

    def batch(data: PyTree, key: Array, t: Array) -> Array:
        rows = streams.uniform_indices(key, t, data.shape[0], s.batch)
        return jax.vmap(lambda i: packed.lookup(data, i, (s.size, s.size, 1)))(rows)

    def make(beta: Array) -> Trainer:
        loss = objectives.beta_vae(net.encode, net.decode, beta * (s.size / 64) ** 2)
        return trainer(net.init, loss, batch, optax.adam(s.lr))

    return make


def covariances(mean: Numpy, log_var: Numpy) -> tuple[Numpy, Numpy]:
    """Give the covariances `[R, D, D]` of means and of samples over images; both arguments are `[R, N, D]`.

    A sample is its mean with independent noise, whose variance over images is the average of the posteriors'.
    """
    of_mean = np.stack([np.cov(each, rowvar=False) for each in mean])
    return of_mean, of_mean + np.exp(log_var).mean(1)[:, :, None] * np.eye(mean.shape[2])


def measure(s: Settings, done: Sweep, data: PyTree) -> dict[str, Numpy]:
    """Measure every run's representations on the same images: columns `[R]`; total correlation in float64."""
    net, count = network(s), factors.count(dsprites.FACTOR_SIZES)
    rows = streams.uniform_indices(jax.random.key(2019), 0, count, s.images)
    images = jax.vmap(lambda i: packed.lookup(data, i, (s.size, s.size, 1)))(rows)

    def codes(state: PyTree, images: Array) -> tuple[Array, Array]:
        return jax.lax.map(lambda x: net.encode(state.params, x), images, batch_size=500)

    mean, log_var = (np.asarray(each, np.float64) for each in done.map(codes, images))
    kl = np.asarray(standard_normal_kl(mean, log_var)).mean(1)
    active = kl > ACTIVE
    of_mean, of_sample = covariances(mean, log_var)
    return {
        "tc_mean": gaussian_total_correlation(of_mean),
        "tc_sampled": gaussian_total_correlation(of_sample),
        "tc_mean_active": gaussian_total_correlation(of_mean, active),
        "tc_sampled_active": gaussian_total_correlation(of_sample, active),
        "active": active.sum(1),
        "kl": kl.sum(1),
        "reconstruction": done.history["reconstruction"][:, -1],
    }


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    slope_of = "slope of {} in log beta"
    common = {
        "source": "Locatello et al. 2019, Challenging Common Assumptions, section 5.1",
        "unit": "seeds",
        "delta": 0.05,
        "scope": f"beta-VAE ({s.model}), dSprites of {s.size} x {s.size} pixels, {s.steps:,} steps of {s.batch} images",
    }
    return {
        "gap": Claim(
            name="mean_does_not_follow",
            statement="Regularisation drives the total correlation of the sampled representation down, and that of the "
            "mean representation does not follow.",
            estimand=slope_of.format("total correlation of the mean minus that of the sample") + ", in nats",
            direction=Direction.GREATER,
            published="the mean's generally increases (figure 2)",
            **common,
        ),
        "tc_sampled": Claim(
            name="sampled_falls",
            statement="The total correlation of the sampled representation falls with beta.",
            estimand=slope_of.format("total correlation of the sample") + ", in nats",
            direction=Direction.LESS,
            published="falls",
            primary=False,
            **common,
        ),
        "tc_mean": Claim(
            name="mean_rises",
            statement="The total correlation of the mean representation rises with beta.",
            estimand=slope_of.format("total correlation of the mean") + ", in nats",
            direction=Direction.GREATER,
            published="generally rises",
            primary=False,
            **common,
        ),
        "tc_mean_active": Claim(
            name="mean_rises_on_active_latents",
            statement="The total correlation of the mean rises with beta when passive latents (KL below 0.01 nats) are "
            "left out.",
            estimand=slope_of.format("total correlation of the mean, active latents") + ", in nats",
            direction=Direction.GREATER,
            published="not reported; Bonheme and Grzes 2021 attribute the rise to passive latents",
            primary=False,
            **common,
        ),
    }


def judge(s: Settings, runs: Sequence[table.Run], found: dict[str, Numpy], diverged: dict[str, int]) -> list[Finding]:
    """Fit a slope in log beta for each seed and give each claim its interval over seeds.

    Seeds with a run that diverged, or whose total correlation is not defined (a latent whose mean is constant), are
    left out of all claims and counted in the note.
    """
    by_seed = {name: values.reshape(s.seeds, len(s.betas)) for name, values in found.items()}
    by_seed["gap"] = by_seed["tc_mean"] - by_seed["tc_sampled"]
    slopes = {name: slope(np.log(s.betas), by_seed[name]) for name in claims(s)}
    fine = np.array([run.id not in diverged for run in runs]).reshape(by_seed["gap"].shape).all(1)
    mask = fine & np.isfinite(np.stack(list(slopes.values()))).all(0)
    note = f"left out: {(~fine).sum()} seeds that diverged, {(fine & ~mask).sum()} undefined" if not mask.all() else ""
    return [finding(claim, student(slopes[name], mask=mask), note=note) for name, claim in claims(s).items()]


def pictures(s: Settings, done: Sweep, found: dict[str, Numpy], data: PyTree) -> list[records.Picture]:
    """Draw total correlation, and what sets it, against beta; and traversals of the mildest and the strongest beta."""
    by_seed = {name: values.reshape(s.seeds, len(s.betas)) for name, values in found.items()}

    def against(title: str, ylabel: str, **series: str) -> figures.Figure:
        values = {label.replace("_", " "): by_seed[column] for label, column in series.items()}
        return figures.against_strength(
            np.array(s.betas), values, title=title, xlabel="beta (log scale)", ylabel=ylabel
        )

    drawn = [
        records.Picture(
            "total_correlation",
            against("Total correlation, all latents", "total correlation (nats)", mean="tc_mean", sampled="tc_sampled"),
            "Total correlation of the Gaussian with the representation's covariance, on all latents.",
            "Lines of total correlation against beta for the mean and the sampled representation, all latents.",
        ),
        records.Picture(
            "total_correlation_active",
            against(
                "Total correlation, active latents",
                "total correlation (nats)",
                mean="tc_mean_active",
                sampled="tc_sampled_active",
            ),
            "The same on the latents whose KL exceeds 0.01 nats: passive latents are a known confounder.",
            "Lines of total correlation against beta for the mean and the sampled representation, active latents.",
        ),
        records.Picture(
            "active",
            against("Active latents", f"active latents of {s.latents}", active="active"),
            "How many latents carry more than 0.01 nats.",
            "Line of the number of active latents against beta.",
        ),
        records.Picture(
            "terms",
            against("What beta trades", "nats an image", KL="kl", reconstruction="reconstruction"),
            "The two terms of the evidence lower bound at the end of training.",
            "Lines of KL divergence and reconstruction error against beta.",
        ),
    ]
    return drawn + [_traversal(s, done, data, beta) for beta in (min(s.betas), max(s.betas))]


def _traversal(s: Settings, done: Sweep, data: PyTree, beta: float) -> records.Picture:
    """Draw what each latent does around one image's code, latents ordered by their KL, for the first seed."""
    net = network(s)
    params = done.state(table.run({"beta": beta}, 0)).params
    mean, log_var = net.encode(params, packed.lookup(data, 400_000, (s.size, s.size, 1)))
    order = np.argsort(-np.asarray(standard_normal_kl(mean, log_var)))
    values = np.linspace(-2, 2, 9)
    images = traversals.traverse(net.decode, params, mean, jnp.asarray(values))[order]
    return records.Picture(
        f"traversals_beta_{beta:g}",
        figures.traversals(
            images,
            title=f"Latent traversals, beta = {beta:g}, seed 0",
            rows=[f"z{k}" for k in order],
            columns=[f"{value:g}" for value in values],
            xlabel="value of the latent, in standard deviations of the prior",
        ),
        f"Each row moves one latent and holds the others at an image's mean (beta = {beta:g}); most informative first.",
        f"A grid of decoded sprites, one row a latent, for beta = {beta:g}.",
    )


def run(s: Settings) -> None:
    """Train the sweep, measure, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=s.size < 64,
        title="Mean against sampled representations of VAEs",
        question="Does regularisation that decorrelates a VAE's samples decorrelate its means?",
    )  # fmt: skip
    claims(s)
    data = jax.jit(lambda: packed.pack(dsprites.data(s.size)))()
    defines = {k: v for k, v in work.config.items() if k not in ("betas", "images", "steps", "chunk")}
    done = sweep(
        training(s), table.grid({"beta": s.betas}, s.seeds), data,
        steps=s.steps, chunk=s.chunk, config=defines, out=s.out / "runs",
        part=Part.parse(s.part), profile=Profile(s.profile),
    )  # fmt: skip
    if work.waits(len(done.runs), s.seeds * len(s.betas)):
        return
    found = measure(s, done, data)
    rows = {
        "run": [run.id for run in done.runs],
        "beta": [run.hyperparameters["beta"] for run in done.runs],
        "seed": [run.seed for run in done.runs],
        "diverged_at": [done.diverged.get(run.id, -1) for run in done.runs],
        **found,
    }
    findings = judge(s, done.runs, found, done.diverged)
    work.write(findings, pictures=pictures(s, done, found, data), rows=rows, diverged=done.diverged)


PRESETS = {
    "quick": Settings(),
    "medium": Settings(size=32, hidden=128, steps=10_000, seeds=8, lr=1e-3),
    "full": Settings(size=64, model="conv", steps=300_000, seeds=50, lr=1e-4),
}

if __name__ == "__main__":
    cli.main(run, PRESETS)
