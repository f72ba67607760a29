"""Do wide networks train as their linearisation does, and how fast do they get there with width?

    python experiments/ntk_lazy_training.py quick     a minute on two CPU cores: widths 64 to 1,024, 8 seeds, digits
    python experiments/ntk_lazy_training.py full      an accelerator: widths to 8,192, 30 seeds, Fashion-MNIST

In NTK parameterisation an infinitely wide network keeps its tangent kernel while it trains, and gradient descent on
squared error has a closed form (Jacot et al. 2018; Lee et al. 2019). For finite widths n, three distances are fitted as
powers of n, each over its own seeds: of the kernel at first from that of infinite width (theory: n^-1/2), of the kernel
after training from that before, and of the trained network from its linearisation. For the last two n^-1/2 is a bound;
what is seen is nearer 1 / n (Dyer and Gur-Ari 2020).

Two classes, targets -1 and 1, full-batch gradient descent on half the mean squared error. A run of a sweep is a seed;
there is a sweep for each width, because widths are shapes.
"""

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from interp_jax.core import checks, keys
from interp_jax.core.correlation import slope
from interp_jax.core.intervals import student
from interp_jax.core.types import Array, Key, Numpy, PyTree
from interp_jax.data import images
from interp_jax.models.nets import NTKMLP, Net, functional
from interp_jax.ntk import infinite, kernels, predictions
from interp_jax.report import experiment, figures, records
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli
from interp_jax.train import table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.train.trainer import Trainer, TrainState, trainer

LEE = "Lee et al. 2019, Wide Neural Networks of Any Depth Evolve as Linear Models"
DYER = "Dyer and Gur-Ari 2020, Asymptotics of Wide Networks from Feynman Diagrams"
QUANTITIES = {
    "fluctuation": "kernel at first",
    "change": "kernel in training",
    "nonlinearity": "trained network",
}
"""What differs: from infinite width, from its start, from its linearisation."""


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 8
    """How many seeds, each a network of every width."""
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    """Of the hidden layers."""
    layers: int = 2
    """Hidden layers."""
    data: str = "digits"
    """Which images: digits or fashion-mnist."""
    classes: tuple[int, int] = (3, 8)
    """The two classes."""
    images: int = 64
    """Training images; as many others test."""
    rate: float = 0.25
    """Learning rate, as a share of the largest that is stable at infinite width."""
    steps: int = 200
    """Steps of gradient descent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, images=self.images, steps=self.steps, layers=self.layers)
        checks.whole(2, widths=min(self.widths, default=0))
        checks.between(0, 1, rate=self.rate)
        if len(set(self.widths)) < max(len(self.widths), 2):
            raise ValueError(f"want two or more different widths, for a slope, got widths={self.widths}")
        if self.data not in ("digits", "fashion-mnist"):
            raise ValueError(f"want data digits or fashion-mnist, got {self.data}")


class Data(NamedTuple):
    """Training images, then test images: xs `[N + M, D]` of length sqrt(D). y: `[N]`, -1 or 1."""

    xs: Array
    y: Array

    @classmethod
    def load(cls, s: Settings) -> "Data":
        """Take the first images of both classes."""
        found = images.two_classes(images.by_name(s.data), s.classes)
        xs, y = (part[: 2 * s.images] for part in (found.images.reshape(len(found.labels), -1), found.labels))
        if len(y) < 2 * s.images:
            raise ValueError(f"want at most {len(y) // 2} images of classes {s.classes}, got images={s.images}")
        if len(set(y[: s.images])) < 2:
            raise ValueError(f"want images enough for both classes to be among them, got images={s.images}")
        xs = xs * np.sqrt(xs.shape[1]) / np.linalg.norm(xs, axis=1, keepdims=True)
        return cls(jnp.asarray(xs, jnp.float32), jnp.asarray(y[: s.images], jnp.float32))


def network(s: Settings, width: int, size: int) -> Net:
    """Make a network of one width for inputs of `size` numbers."""
    return functional(NTKMLP((width,) * s.layers + (1,)), jnp.zeros(size))


def learning_rate(s: Settings, data: Data) -> float:
    """Give the rate: a share of `2 N / largest eigenvalue` of the kernel of infinite width."""
    kernel = infinite.relu_mlp(data.xs[: s.images], layers=s.layers).ntk
    return float(s.rate * predictions.largest_learning_rate(predictions.decompose(kernel), s.images))


def training(net: Net, rate: float) -> Trainer:
    """Make full-batch gradient descent on half the mean squared error."""

    def loss(params: PyTree, data: Data, key: Key) -> tuple[Array, dict]:
        f = jax.vmap(net.apply, (None, 0))(params, data.xs[: len(data.y)])[:, 0]
        return jnp.mean((f - data.y) ** 2) / 2, {}

    return trainer(net.init, loss, lambda data, key, t: data, optax.sgd(rate))


def measure(s: Settings, net: Net, rate: float, state: TrainState, data: Data) -> dict[str, Array]:
    """Measure one trained network: the three distances, relative but for the last, and its training loss."""
    first, n = net.init(keys.stream(state.key, "init")), s.images
    start, end = (kernels.trace(net.apply, params, data.xs) for params in (first, state.params))
    before, after = (jax.vmap(net.apply, (None, 0))(params, data.xs) for params in (first, state.params))
    limit = infinite.relu_mlp(data.xs, layers=s.layers).ntk
    linear = predictions.predict(
        predictions.decompose(start[:n, :n]), start[n:, :n], data.y[:, None],
        predictions.gradient_descent(s.steps, rate, n), initial=before[:n], initial_cross=before[n:],
    )  # fmt: skip
    return {
        "fluctuation": jnp.linalg.norm(start - limit) / jnp.linalg.norm(limit),
        "change": jnp.linalg.norm(end - start) / jnp.linalg.norm(start),
        "nonlinearity": jnp.sqrt(jnp.mean((after[n:] - linear) ** 2)),
        "loss": jnp.mean((after[:n, 0] - data.y) ** 2) / 2,
    }


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    faster, equal = Direction.LESS, Direction.EQUIVALENT
    stated = {
        "fluctuation": (LEE, equal, 0.1, "The kernel of a network at its first weights differs from that of infinite "
            "width by n^-1/2.", "slope of the log distance in log width, plus 1/2", "n^-1/2"),
        "change_is_bounded": (LEE, faster, 0.05, "Training changes the kernel by less than n^-1/2 as n grows.",
            "slope of the log change in log width, plus 1/2", "bounded by n^-1/2"),
        "change": (DYER, equal, 0.2, "Training changes the kernel by 1 / n.",
            "slope of the log change in log width, plus 1", "1 / n"),
        "nonlinearity_is_bounded": (LEE, faster, 0.05, "A trained network differs from its linearisation by less than "
            "n^-1/2 as n grows.", "slope of the log distance in log width, plus 1/2", "bounded by n^-1/2"),
        "nonlinearity": (DYER, equal, 0.2, "A trained network differs from its linearisation by 1 / n.",
            "slope of the log distance in log width, plus 1", "1 / n"),
    }  # fmt: skip
    scope = f"{s.layers} hidden layers of {min(s.widths)} to {max(s.widths)}, {s.data} {s.classes}, {s.steps} steps"
    return {
        name: Claim(
            name=name, statement=statement, source=source, estimand=estimand, unit="seeds", delta=delta,
            direction=direction, scope=scope, published=published, primary=name == "fluctuation",
        )
        for name, (source, direction, delta, statement, estimand, published) in stated.items()
    }  # fmt: skip


def judge(s: Settings, found: dict[str, Numpy], fine: Numpy) -> list[Finding]:
    """Give each claim its interval over seeds. found: `[seeds, widths]`. fine: `[seeds]`, False where one diverged."""
    stated = claims(s)
    slopes = {name: slope(np.log(s.widths), np.log(found[name])) for name in QUANTITIES}
    values = {
        "fluctuation": slopes["fluctuation"] + 0.5,
        "change_is_bounded": slopes["change"] + 0.5,
        "change": slopes["change"] + 1,
        "nonlinearity_is_bounded": slopes["nonlinearity"] + 0.5,
        "nonlinearity": slopes["nonlinearity"] + 1,
    }
    note = "" if fine.all() else f"left out: {(~fine).sum()} seeds with a network that diverged"
    return [finding(claim, student(values[name], mask=fine), note=note) for name, claim in stated.items()]


def picture(s: Settings, found: dict[str, Numpy]) -> records.Picture:
    """Draw the three distances against width."""
    return records.Picture(
        "slopes",
        figures.against_strength(
            np.array(s.widths), {QUANTITIES[name]: np.log10(found[name]) for name in QUANTITIES},
            title="Distances fall with width", xlabel="width (log scale)", ylabel="log10 of the distance",
        ),
        "The first kernel's distance from that of infinite width, the change of the kernel in training (both relative, "
        "Frobenius norm), and the trained network's distance from its linearisation (root mean square, test images).",
        "Three falling lines against width: the first kernel's with a slope of about -1/2, the other two steeper.",
    )  # fmt: skip


def table_of(s: Settings, found: dict[str, Numpy]) -> dict[str, Numpy]:
    """Give the tidy table: one row a quantity, seed and width."""
    names, seeds, widths = np.meshgrid(list(found), np.arange(s.seeds), s.widths, indexing="ij")
    values = np.stack([found[name] for name in found])
    columns = {"quantity": names, "seed": seeds, "width": widths, "value": values}
    return {name: column.ravel() for name, column in columns.items()}


def trained(s: Settings, width: int, data: Data, rate: float, config: dict) -> Sweep:
    """Train all seeds of one width; rerunning resumes."""
    net = network(s, width, data.xs.shape[1])
    chunk = next(n for n in range(min(s.steps, 250), 0, -1) if s.steps % n == 0)
    return sweep(
        lambda: training(net, rate), table.grid({}, s.seeds), data, steps=s.steps, chunk=chunk,
        config=config | {"width": width}, out=s.out / "runs" / f"width-{width}", **s.driver(),
    )  # fmt: skip


def run(s: Settings) -> None:
    """Train every width, measure, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=max(s.widths) < 2048,
        title="Lazy training: wide networks and their linearisation",
        question="With which power of the width do networks approach their kernel's predictions?",
    )  # fmt: skip
    claims(s)
    data = Data.load(s)
    rate = learning_rate(s, data)
    own = {name: value for name, value in work.config.items() if name != "widths"}
    sweeps = {width: trained(s, width, data, rate, own) for width in s.widths}
    if work.waits(min(len(done.runs) for done in sweeps.values()), s.seeds):
        return
    columns = []
    for width, done in sweeps.items():
        net = network(s, width, data.xs.shape[1])
        columns.append(done.map(partial(measure, s, net, rate)))
    found = jax.tree.map(lambda *values: np.stack(values, 1).astype(np.float64), *columns)
    lost = [run.seed for done in sweeps.values() for run in done.runs if run.id in done.diverged]
    findings = judge(s, found, ~np.isin(np.arange(s.seeds), lost))
    diverged = {f"width {width}: {run}": t for width, done in sweeps.items() for run, t in done.diverged.items()}
    work.write(findings, pictures=[picture(s, found)], rows=table_of(s, found), diverged=diverged)


PRESETS = {
    "quick": Settings(),
    "full": Settings(
        seeds=30, widths=(64, 128, 256, 512, 1024, 2048, 4096, 8192), data="fashion-mnist", classes=(0, 6), images=256,
        steps=2000,
    ),
}  # fmt: skip

if __name__ == "__main__":
    cli.main(run, PRESETS)
