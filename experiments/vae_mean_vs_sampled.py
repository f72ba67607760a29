"""Does regularisation that decorrelates a VAE's samples decorrelate its means? The six methods of the study.

    python experiments/vae_mean_vs_sampled.py quick     two to three minutes on two CPU cores: 16 x 16 pixels, an MLP
    python experiments/vae_mean_vs_sampled.py medium    some three hours there: 32 x 32 pixels, a wider MLP, longer
    python experiments/vae_mean_vs_sampled.py full      the study's setting, meant for accelerators

Locatello et al. (2019), section 5.1: with more regularisation the total correlation of the sampled representation
falls, and that of the mean representation, which most work uses, does not follow; it generally rises. DIP-VAE-I, which
regularises the covariance of the means, is the exception. Bonheme and Grzes (2021) hold that passive latents, whose
mean hardly moves, make the difference; so total correlation is computed on all latents and on the active ones alone.
With fewer latents there is also less to correlate, so a fall on the active ones is no decorrelation by itself.

A method's strengths have their meaning for images of 64 x 64 pixels; for smaller ones the reconstruction is weighed by
(64 / size)^2. For the beta-VAE that is beta (size / 64)^2 on the KL with the whole loss so many times larger, which
Adam divides out again, but for its epsilon.

Slopes are in the logarithm of the method's own strength, in the direction of more regularisation: for AnnealedVAE that
is less capacity. An e-fold of one method's strength is not one of another's, so methods are not averaged, and the
primary claim is that of the beta-VAE alone. That DIP-VAE-I's mean follows its sample was stated after a trial of three
seeds, in which its total correlation was too small at every strength to fall; all other claims were stated before.

Training must be long: after 2,000 steps the mildest beta-VAE's KL had settled and its total correlation, 3 nats, had
not, and the primary claim was inconclusive; the quick preset's learning rate was then chosen by its training loss. Its
FactorVAE of gamma 100 loses its discriminator in some seeds; with three layers of 256 units none of four, those among
them, did.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks
from interp_jax.core.correlation import slope
from interp_jax.core.information import gaussian_total_correlation, standard_normal_kl
from interp_jax.core.intervals import student
from interp_jax.core.types import Array, Numpy, PyTree
from interp_jax.data import dsprites, factors, packed, streams
from interp_jax.models import discriminator, vae
from interp_jax.report import experiment, figures, records
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli
from interp_jax.train import table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.train.trainer import Trainer
from interp_jax.vae import study, traversals

ACTIVE = 0.01  # nats of KL above which a latent counts as active, as the study's UDR does
INFORMATIVE = 0.5  # the same for a second look: some methods leave passive latents a little above ACTIVE
Name = Literal["beta_vae", "annealed_vae", "factor_vae", "dip_vae_i", "dip_vae_ii", "beta_tc_vae"]
EXCEPTION = "dip_vae_i"
CAPACITY = (
    "of C nats at most 13.5, the logarithm of the number of images, can tell images apart; the rest is distance of the "
    "codes from the prior, of which total correlation is a part: a large capacity asks for correlated codes"
)
LOST = "discriminator's estimate: it has lost sight of the codes, and nothing holds them back"


class Method(NamedTuple):
    """title: the method's name. axis: that of its strength. sign: -1 where more of it is less regularisation."""

    title: str
    axis: str
    sign: int = 1


METHODS: dict[str, Method] = {
    "beta_vae": Method("beta-VAE", "beta"),
    "annealed_vae": Method("AnnealedVAE", "capacity", -1),
    "factor_vae": Method("FactorVAE", "gamma"),
    "dip_vae_i": Method("DIP-VAE-I", "lambda_od"),
    "dip_vae_ii": Method("DIP-VAE-II", "lambda_od"),
    "beta_tc_vae": Method("beta-TCVAE", "beta"),
}


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 3
    """How many seeds."""
    methods: tuple[Name, ...] = ("beta_vae", "annealed_vae", "factor_vae", "dip_vae_i", "dip_vae_ii", "beta_tc_vae")
    """Which methods."""
    strengths: int = 3
    """How many of the study's six strengths of a method, the mildest and the strongest among them."""
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
    steps: int = 4000
    """Training steps."""
    chunk: int = 1000
    """Steps in a unit of work."""
    batch: int = 64
    """Images a step."""
    lr: float = 4e-3
    """Adam's learning rate."""
    images: int = 10_000
    """Images on which representations are measured, the same for all runs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, size=self.size, hidden=self.hidden, latents=self.latents, steps=self.steps, chunk=self.chunk)
        checks.whole(2, batch=self.batch, images=self.images, strengths=self.strengths)
        checks.whole(1, **{f"discriminator[{i}]": width for i, width in enumerate(self.discriminator)})
        checks.positive(lr=self.lr)
        if self.strengths > 6:
            raise ValueError(f"want at most 6 strengths, as many as the study had, got {self.strengths}")
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise ValueError(f"want different methods, at least one, got {self.methods}")


def strengths(s: Settings, method: str) -> tuple[float, ...]:
    """Choose among the study's strengths, evenly by rank, both ends included."""
    every = study.STRENGTHS[method]
    return tuple(every[round(i)] for i in np.linspace(0, len(every) - 1, s.strengths))


def network(s: Settings) -> vae.VAE:
    """Give the model of these settings."""
    if s.model == "conv":
        return vae.conv((s.size, s.size, 1), latents=s.latents)
    return vae.mlp((s.size, s.size, 1), hidden=(s.hidden, s.hidden), latents=s.latents)


def scale(s: Settings) -> float:
    """Give the weight of the reconstruction, which gives strengths the meaning that they have at 64 x 64 pixels."""
    return (64 / s.size) ** 2


def training(s: Settings, method: str) -> Callable[..., Trainer]:
    """Give the factory that a method's sweep calls with each run's strength."""

    def batch(data: PyTree, key: Array, t: Array) -> Array:
        rows = streams.uniform_indices(key, t, data.shape[0], s.batch)
        return jax.vmap(lambda i: packed.lookup(data, i, (s.size, s.size, 1)))(rows)

    adversary = discriminator.mlp(s.latents, hidden=s.discriminator)
    return study.method(method, study.Training(network(s), batch, adversary, s.steps, s.lr, scale(s)))


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
        "tc_mean_informative": gaussian_total_correlation(of_mean, kl > INFORMATIVE),
        "active": active.sum(1),
        "kl": kl.sum(1),
        "reconstruction": done.history["reconstruction"][:, -1] / scale(s),
        **_adversary(done),
    }


def _adversary(done: Sweep) -> dict[str, Numpy]:
    """Give the accuracy and the estimate of FactorVAE's discriminator at the end of training; NaN of other methods."""
    names = {"discriminator_accuracy": "discriminator_accuracy", "tc_discriminator": "total_correlation"}
    if "discriminator_accuracy" in done.history:
        return {name: done.history[metric][:, -1] for name, metric in names.items()}
    return dict.fromkeys(names, np.full(len(done.runs), np.nan))


class Stated(NamedTuple):
    """A claim on each method. says: with the method's title and axis. what: the quantity whose slope is estimated."""

    name: str
    says: str
    what: str
    direction: Direction
    published: str
    source: str = "Locatello et al. 2019, Challenging Common Assumptions, section 5.1"


STATED = {
    "gap": Stated(
        "mean_does_not_follow",
        "Regularisation of a {title} drives the total correlation of the sampled representation down, and that of the "
        "mean representation does not follow.",
        "total correlation of the mean minus that of the sample",
        Direction.GREATER, "the mean's generally increases (figure 2)",
    ),
    "tc_sampled": Stated(
        "sampled_falls", "The total correlation of a {title}'s sampled representation falls with {axis}.",
        "total correlation of the sample", Direction.LESS, "falls",
    ),
    "tc_mean": Stated(
        "mean_rises", "The total correlation of a {title}'s mean representation rises with {axis}.",
        "total correlation of the mean", Direction.GREATER, "generally rises",
    ),
    "tc_mean_active": Stated(
        "mean_rises_on_active_latents",
        "The total correlation of a {title}'s mean rises with {axis} when passive latents (KL below 0.01 nats) are "
        "left out.",
        "total correlation of the mean, active latents", Direction.GREATER,
        "not reported; Bonheme and Grzes 2021 attribute the rise to passive latents",
    ),
    "passive": Stated(
        "passive_latents_raise_the_mean",
        "Passive latents raise the total correlation of a {title}'s mean: with {axis} it rises more on all latents "
        "than on the active ones.",
        "total correlation of the mean on all latents minus that on the active ones", Direction.GREATER,
        "no number read", "Bonheme and Grzes 2021, Be More Active!",
    ),
}  # fmt: skip
EXCEPTIONS = {
    "gap": STATED["gap"]._replace(
        name="mean_follows", direction=Direction.EQUIVALENT, published="the exception",
        says="{title} is the exception: the total correlation of its mean representation follows that of the sample.",
    ),
    "tc_mean": STATED["tc_mean"]._replace(
        name="mean_falls", direction=Direction.LESS, published="falls: the exception",
        says="The total correlation of a {title}'s mean representation falls with {axis}.",
    ),
}  # fmt: skip


def applies(column: str, method: str) -> bool:
    """Tell which claims are made: the gap of the beta-VAE and the exception; of the exception none about a rise."""
    of_exception = column in ("gap", "tc_sampled", "tc_mean")
    return of_exception if method == EXCEPTION else column != "gap" or method == "beta_vae"


def claims(s: Settings) -> dict[tuple[str, str], Claim]:
    """State what is tested, by quantity and method, before the run; the beta-VAE's have the names without a method."""
    return {(column, name): _claim(s, column, name) for name in METHODS for column in STATED if applies(column, name)}


def _claim(s: Settings, column: str, name: str) -> Claim:
    method, used = METHODS[name], strengths(s, name)
    stated = EXCEPTIONS.get(column, STATED[column]) if name == EXCEPTION else STATED[column]
    axis, log = [f"{word}{method.axis}" for word in (("", "log ") if method.sign > 0 else ("less ", "minus log "))]
    return Claim(
        name=stated.name if name == "beta_vae" else f"{stated.name}_{name}",
        statement=stated.says.format(title=method.title, axis=axis),
        source=stated.source,
        estimand=f"slope of {stated.what} in {log}, in nats",
        unit="seeds",
        delta=0.05,
        direction=stated.direction,
        published=stated.published,
        primary=(column, name) == ("gap", "beta_vae"),
        scope=f"{method.title} ({s.model}), dSprites of {s.size} x {s.size} pixels, {s.steps:,} steps of {s.batch} "
        f"images, {method.axis} {', '.join(f'{strength:g}' for strength in used)}",
    )


class Trained(NamedTuple):
    """One method's sweep and what was measured of its runs: column -> `[R]`, seeds outermost."""

    done: Sweep
    found: dict[str, Numpy]


def by_seed(s: Settings, found: Mapping[str, Numpy]) -> dict[str, Numpy]:
    """Give the columns as `[seeds, strengths]`, with the differences of the mean's that are judged."""
    cells = {name: np.asarray(values, float).reshape(s.seeds, s.strengths) for name, values in found.items()}
    others = {"gap": "tc_sampled", "passive": "tc_mean_active", "informative": "tc_mean_informative"}
    return cells | {name: cells["tc_mean"] - cells[other] for name, other in others.items()}


def judge(s: Settings, found: Mapping[str, Mapping[str, Numpy]], fine: Mapping[str, Numpy]) -> list[Finding]:
    """Fit a slope in log strength for each seed and give each claim its interval over seeds.

    found: method -> column -> `[R]`. fine: method -> `[R]`, False for runs that diverged. Seeds with such a run, or
    whose total correlation is not defined (a latent whose mean is constant), are left out of the method's claims and
    counted in the note.
    """
    findings = []
    for (column, name), claim in claims(s).items():
        if name not in found:
            findings.append(finding(claim, None, note=f"{name} is not among the methods of this run"))
            continue
        cells, axis = by_seed(s, found[name]), METHODS[name].sign * np.log(strengths(s, name))
        slopes = {key: slope(axis, cells[key]) for key in (*STATED, "informative")}
        whole = fine[name].reshape(s.seeds, s.strengths).all(1)
        mask = whole & np.isfinite(np.stack(list(slopes.values()))).all(0)
        left = f"left out: {(~whole).sum()} seeds that diverged, {(whole & ~mask).sum()} undefined"
        notes = ["" if mask.all() else left]
        if claim.direction is Direction.LESS and mask.any():
            mildest = cells[column][mask, np.argmin(axis)].mean()
            notes.append(f"at the mildest strength it is {mildest:.2f} nats on average, the most that it can fall by")
        if column == "passive" and (other := student(slopes["informative"], mask=mask)).valid:
            value = f"{other.estimate:.2f} ({other.low:.2f} to {other.high:.2f})"
            notes.append(f"with all latents below {INFORMATIVE} nats left out instead it is {value}")
        lost = (cells["tc_sampled"] - cells["tc_discriminator"] > 1)[mask]  # NaN of methods that have none
        if column.startswith("tc_") and lost.any():
            notes.append(f"in {lost.sum()} of {lost.size} runs the samples' is a nat or more above the {LOST}")
        if name == "annealed_vae" and column in ("tc_mean", "tc_mean_active"):
            notes.append(CAPACITY)
        findings.append(finding(claim, student(slopes[column], mask=mask), note="; ".join(filter(None, notes))))
    return findings


def pictures(s: Settings, trained: Mapping[str, Trained], data: PyTree) -> list[records.Picture]:
    """Draw total correlation, and what sets it, against strength; and traversals of the strongest, and of one mild."""

    def against(name: str, title: str, ylabel: str, caption: str, share: bool, **series: str) -> records.Picture:
        panels = {}
        for method, one in trained.items():
            cells, (label, axis, sign) = by_seed(s, one.found), METHODS[method]
            values = {legend.replace("_", " "): cells[column] for legend, column in series.items()}
            panels[label] = figures.Panel(
                np.array(strengths(s, method)), values, f"{axis} (log scale)", falling=sign < 0
            )
        image = figures.multiples(panels, title=title, ylabel=ylabel, share=share)
        alt = f"Lines of {' and '.join(series).replace('_', ' ')} against strength, one panel for each method."
        return records.Picture(name, image, f"{caption} More regularisation is to the right.", alt)

    nats, covers = "total correlation (nats)", "Total correlation of the Gaussian with the representation's covariance"
    drawn = [
        against(
            "total_correlation", "Total correlation of means and of samples", nats,
            f"{covers}, on all latents, and of the mean on those whose KL exceeds 0.01 nats.", True,
            mean="tc_mean", sampled="tc_sampled", mean_of_active="tc_mean_active",
        ),
        against(
            "total_correlation_active", "Total correlation, active latents", nats,
f"{covers}, on latents whose KL exceeds 0.01 nats; and of the mean on those above half a nat.", True,
            mean="tc_mean_active", sampled="tc_sampled_active", mean_above_half_a_nat="tc_mean_informative",
        ),
        against(
            "active", "Active latents", f"active latents of {s.latents}",
            "How many latents carry more than 0.01 nats.", True, active="active",
        ),
        against(
            "terms", "What regularisation trades", "nats an image",
            "The two terms of the evidence lower bound at the end of training; scales differ.", False,
            KL="kl", reconstruction="reconstruction",
        ),
    ]  # fmt: skip
    ends = {name: sorted(strengths(s, name), key=lambda c, sign=METHODS[name].sign: sign * c) for name in trained}
    shown = [(name, end[0]) for name, end in ends.items()][:1] + [(name, end[-1]) for name, end in ends.items()]
    images = [_traversal(s, trained[name].done, data, name, strength) for name, strength in shown]
    return drawn + [image for image in images if image is not None]


def _traversal(s: Settings, done: Sweep, data: PyTree, name: str, strength: float) -> records.Picture | None:
    """Draw what each latent does around one image's code, latents ordered by their KL, for the first sound seed."""
    sound = (run for run in done.runs if run.hyperparameters["strength"] == strength and run.id not in done.diverged)
    if (run := next(sound, None)) is None:
        return None
    net, method, params = network(s), METHODS[name], done.state(run).params
    mean, log_var = net.encode(params, packed.lookup(data, 400_000, (s.size, s.size, 1)))
    order = np.argsort(-np.asarray(standard_normal_kl(mean, log_var)))
    values = np.linspace(-2, 2, 9)
    images = traversals.traverse(net.decode, params, mean, jnp.asarray(values))[order]
    at = f"{method.title}, {method.axis} = {strength:g}"
    return records.Picture(
        f"traversals_{name}_{strength:g}",
        figures.traversals(
            images,
            title=f"Latent traversals, {at}, seed {run.seed}",
            rows=[f"z{k}" for k in order],
            columns=[f"{value:g}" for value in values],
            xlabel="value of the latent, in standard deviations of the prior",
        ),
        f"Each row moves one latent and holds the others at an image's mean ({at}); most informative first.",
        f"A grid of decoded sprites, one row a latent, for {at}.",
    )


def columns(trained: Mapping[str, Trained]) -> dict[str, list | Numpy]:
    """Give the tidy table, one row a model."""
    runs = [(name, run, one.done.diverged.get(run.id, -1)) for name, one in trained.items() for run in one.done.runs]
    found = [one.found for one in trained.values()]
    return {
        "run": [f"method={name},{run.id}" for name, run, _ in runs],
        "method": [name for name, _, _ in runs],
        "strength": [float(run.hyperparameters["strength"]) for _, run, _ in runs],
        "seed": [run.seed for _, run, _ in runs],
        "diverged_at": [at for _, _, at in runs],
        **{key: np.concatenate([each[key] for each in found]) for key in found[0]},
    }


def run(s: Settings) -> None:
    """Train one sweep a method, measure, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=s.size < 64,
        title="Mean against sampled representations of VAEs",
        question="Does regularisation that decorrelates a VAE's samples decorrelate its means?",
    )  # fmt: skip
    claims(s)
    data = jax.jit(lambda: packed.pack(dsprites.data(s.size)))()
    free = ("methods", "strengths", "images", "steps", "chunk")
    defines = {key: value for key, value in work.config.items() if key not in free}
    sweeps: dict[str, Sweep] = {
        name: sweep(
            training(s, name), table.grid({"strength": strengths(s, name)}, s.seeds), data,
            steps=s.steps, chunk=s.chunk, config={**defines, "method": name}, out=s.out / "runs" / name,
            **s.driver(),
        )
        for name in s.methods
    }  # fmt: skip
    if work.waits(sum(len(done.runs) for done in sweeps.values()), len(sweeps) * s.seeds * s.strengths):
        return
    trained = {name: Trained(done, measure(s, done, data)) for name, done in sweeps.items()}
    fine = {name: np.array([run.id not in done.diverged for run in done.runs]) for name, done in sweeps.items()}
    findings = judge(s, {name: one.found for name, one in trained.items()}, fine)
    diverged = {f"{name}: {run}": at for name, done in sweeps.items() for run, at in done.diverged.items()}
    work.write(findings, pictures=pictures(s, trained, data), rows=columns(trained), diverged=diverged)


PRESETS = {
    "quick": Settings(),
    "medium": Settings(
        size=32, hidden=128, discriminator=(256, 256), steps=10_000, chunk=1000, seeds=8, strengths=6, lr=1e-3
    ),
    "full": Settings(
        size=64, model="conv", discriminator=(1000,) * 6, steps=300_000, chunk=1000, seeds=50, strengths=6, lr=1e-4
    ),
}

if __name__ == "__main__":
    cli.main(run, PRESETS)
