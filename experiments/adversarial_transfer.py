"""Do adversarial examples transfer to the models that learn the same features?

    python experiments/adversarial_transfer.py quick     about two minutes on two CPU cores: digits, 5 architectures
    python experiments/adversarial_transfer.py full      Fashion-MNIST (scripts/data), for an accelerator

Ilyas et al. (2019), section 3.3: if adversarial examples are features, they fool another model as far as it has learnt
those features. So (figure 3) the better an architecture learns from D_det, images attacked towards y + 1 and labelled
so, the more often the source's adversarial examples fool it; and the more alike two models' representations are, by
centred kernel alignment, the more often examples made on one fool the other. The unit of replication is the source.
"""

import dataclasses
from functools import partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from interp_jax.adversarial import features, norms, objectives, training
from interp_jax.adversarial.pgd import pgd
from interp_jax.core import checks, keys
from interp_jax.core.correlation import spearman
from interp_jax.core.intervals import student
from interp_jax.core.similarity import linear_cka
from interp_jax.core.types import Array, Key, Numpy, PyTree
from interp_jax.data import images, streams
from interp_jax.models.classifiers import WongKolter
from interp_jax.models.nets import CNN, MLP, Net, functional
from interp_jax.report import experiment, figures, records
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli
from interp_jax.runs.profile import Profile
from interp_jax.train import table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.train.trainer import Trainer, trainer

CLASSES = 10
ARCHITECTURES: dict[str, nn.Module] = {
    "narrow MLP": MLP((32, CLASSES)),
    "wide MLP": MLP((512, CLASSES)),
    "deep MLP": MLP((128, 128, 64, CLASSES)),
    "Wong-Kolter": WongKolter(),
    "CNN": CNN(CLASSES, (32, 64)),
}
SOURCE = "deep MLP"


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings; radii are L2, pixels in [0, 1]."""

    seeds: int = 5
    """How many models of each architecture; those of the source are the replicates."""
    data: Literal["digits", "fashion-mnist", "cifar-10"] = "digits"
    """Which images."""
    images: int = 1200
    """Training images, and images of D_det."""
    tested: int = 400
    """Test images, on which examples are made and models compared."""
    eps: float = 0.6
    """Radius of the examples that are to transfer."""
    eps_made: float = 1.5
    """Radius of the attacks that make D_det."""
    attack_steps: int = 40
    """Steps of both attacks."""
    steps: int = 1000
    """Training steps."""
    batch: int = 64
    """Images a step."""
    lr: float = 2e-3
    """Adam's learning rate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, images=self.images, tested=self.tested, steps=self.steps, batch=self.batch)
        checks.whole(1, attack_steps=self.attack_steps)
        checks.whole(2, seeds=self.seeds)
        checks.positive(eps=self.eps, eps_made=self.eps_made, lr=self.lr)


def network(s: Settings, name: str) -> Net:
    """Give a model by the name of its architecture."""
    return functional(ARCHITECTURES[name], jnp.zeros(images.SHAPE[s.data]))


def train(s: Settings, name: str, kind: str, data: tuple[Array, Array]) -> Sweep:
    """Train an architecture. kind: "images", or "D_det", where seed i sees what source i made."""
    net = network(s, name)

    def make(source: Array) -> Trainer:
        def batch(data: tuple[Array, Array], key: Key, t: Array) -> tuple[Array, Array]:
            rows = streams.uniform_indices(key, t, s.images, s.batch)
            at = (rows,) if kind == "images" else (source.astype(jnp.int32), rows)
            return data[0][at], data[1][at]

        return trainer(net.init, training.standard(net.apply), batch, optax.adam(s.lr))

    runs = [table.run({"source": seed}, seed) for seed in range(s.seeds)]
    chunk = max(d for d in range(1, min(s.steps, 500) + 1) if s.steps % d == 0)
    return sweep(
        make, runs, data, steps=s.steps, chunk=chunk, profile=Profile(s.profile),
        config={"architecture": name, "kind": kind, "data": s.data, "batch": s.batch, "lr": s.lr},
        out=s.out / "runs" / f"{name} {kind}".replace(" ", "_"),
    )  # fmt: skip


def attack(s: Settings, source: Sweep, xs: Array, labels: Array) -> Numpy:
    """Make the examples that are to transfer, `[sources, M, ...]`."""
    apply = network(s, SOURCE).apply

    def work(state: PyTree, data: tuple[Array, Array]) -> Array:
        def one(pair: tuple[Array, Array]) -> Array:
            loss = objectives.cross_entropy(partial(apply, state.params), pair[1])
            settings = {"eps": s.eps, "step_size": 2.5 * s.eps / s.attack_steps, "steps": s.attack_steps}
            return pgd(loss, pair[0], jax.random.key(0), norm=norms.l2, random_start=False, **settings).last

        return jax.lax.map(one, data, batch_size=200)

    return source.map(work, (xs, labels))


def construct(s: Settings, source: Sweep, xs: Array, labels: Array) -> tuple[Array, Array]:
    """Make D_det of every source: images `[sources, N, ...]` and labels y + 1."""
    apply = network(s, SOURCE).apply

    def work(state: PyTree, data: tuple[Array, Array]) -> tuple[Array, Array]:
        def one(pair: tuple[Array, Array]) -> tuple[Array, Array]:
            target = features.relabel_next(pair[1], CLASSES)
            settings = {"eps": s.eps_made, "step_size": 2.5 * s.eps_made / s.attack_steps, "steps": s.attack_steps}
            key = keys.stream(state.key, "noise")
            return features.construct(partial(apply, state.params), pair[0], target, key, **settings).x, target

        return jax.lax.map(one, data, batch_size=200)

    made = source.map(work, (xs, labels))
    return jnp.asarray(made[0]), jnp.asarray(made[1])


def look(s: Settings, name: str, done: Sweep, groups: Array) -> tuple[Numpy, Numpy]:
    """Give the classes `[S, G, M]` of groups of images `[G, M, ...]`, and the first's representations `[S, M, P]`."""
    net = network(s, name)

    def work(state: PyTree, groups: Array) -> tuple[Array, Array]:
        def said(xs: Array) -> Array:
            return jax.lax.map(lambda x: jnp.argmax(net.apply(state.params, x)), xs, batch_size=500)

        represent = lambda x: net.apply(state.params, x, represent=True)  # noqa: E731
        return jax.lax.map(said, groups), jax.lax.map(represent, groups[0], batch_size=500)

    classes, represented = done.map(work, groups)
    return classes, represented


def compare(s: Settings, said: dict[str, Numpy], represented: dict[str, Numpy], labels: Numpy) -> dict[str, list]:
    """Make a row for each pair of a source and another model: transfer rate and alignment.

    The rate is over test images that both models have right and the source's example fools the source with.
    """
    align = jax.jit(linear_cka)
    rows: dict[str, list] = {name: [] for name in ("source", "architecture", "seed", "transfer", "cka", "tried")}
    for i in range(s.seeds):
        own = said[SOURCE][i]
        for name in ARCHITECTURES:
            for j in range(s.seeds):
                if (name, j) == (SOURCE, i):
                    continue
                other = said[name][j]
                tried = (own[0] == labels) & (other[0] == labels) & (own[1 + i] != labels)
                fooled = (other[1 + i] != labels)[tried]
                cka = align(represented[SOURCE][i], represented[name][j])
                found = (i, name, j, fooled.mean() if tried.any() else np.nan, float(cka), int(tried.sum()))
                for column, value in zip(rows, found, strict=True):
                    rows[column].append(value)
    return rows


def correlations(s: Settings, rows: dict[str, list], learnt: dict[str, Numpy]) -> dict[str, Numpy]:
    """Give a rank correlation for each source: of transfer with alignment over models, with D_det over architectures.

    learnt: architecture -> `[sources]`, clean accuracy of its student of D_det.
    """
    columns = {name: np.array(values) for name, values in rows.items()}
    found: dict[str, list] = {"alignment": [], "learnt": []}
    for i in range(s.seeds):
        mine = columns["source"] == i
        found["alignment"].append(spearman(columns["cka"][mine], columns["transfer"][mine]).estimate)
        means = [columns["transfer"][mine & (columns["architecture"] == name)].mean() for name in ARCHITECTURES]
        found["learnt"].append(spearman([learnt[name][i] for name in ARCHITECTURES], means).estimate)
    return {name: np.array(values, float) for name, values in found.items()}


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    common = {
        "unit": "source models",
        "direction": Direction.GREATER,
        "delta": 0.2,
        "source": "Ilyas et al. 2019, Adversarial Examples Are Not Bugs, They Are Features, section 3.3",
        "scope": f"{s.data}, {len(ARCHITECTURES)} architectures, sources: {SOURCE}; L2 {s.eps:g}, D_det {s.eps_made:g}",
    }
    return {
        "learnt": Claim(
            name="what_learns_the_features_is_fooled_by_them",
            statement="Architectures that learn more from D_det are fooled more often by the source's examples.",
            estimand="Spearman correlation over architectures of D_det's clean accuracy with the transfer rate",
            published="increasing (figure 3, five architectures)",
            **common,
        ),
        "alignment": Claim(
            name="models_alike_share_adversarial_examples",
            statement="Adversarial examples transfer more often between models whose representations are more alike.",
            estimand="Spearman correlation over models of centred kernel alignment with the transfer rate",
            published=None,
            primary=False,
            **common,
        ),
    }


def judge(s: Settings, found: dict[str, Numpy]) -> list[Finding]:
    """Give each mean correlation its interval over sources; sources where it is undefined are left out and counted."""
    findings = []
    for name, claim in claims(s).items():
        fine = np.isfinite(found[name])
        note = "" if fine.all() else f"left out: {(~fine).sum()} sources with constant values"
        findings.append(finding(claim, student(found[name], mask=fine), note=note))
    return findings


def pictures(rows: dict[str, list], learnt: dict[str, Numpy]) -> list[records.Picture]:
    """Draw transfer against alignment, and against what was learnt from D_det."""
    columns = {name: np.array(values) for name, values in rows.items()}
    of = {name: columns["architecture"] == name for name in ARCHITECTURES}
    sources = range(len(next(iter(learnt.values()))))
    means = {
        name: np.array([columns["transfer"][mask & (columns["source"] == i)].mean() for i in sources])
        for name, mask in of.items()
    }
    return [
        records.Picture(
            "learnt",
            figures.scatter(
                learnt, means, title="Transfer against what an architecture learns from D_det",
                xlabel="clean accuracy of its student of D_det", ylabel="transfer rate",
            ),
            "One point a source and architecture; the rate is the mean over its models.",
            "Scatter of transfer rate against clean accuracy after training on D_det, by architecture.",
        ),
        records.Picture(
            "alignment",
            figures.scatter(
                {name: columns["cka"][mask] for name, mask in of.items()},
                {name: columns["transfer"][mask] for name, mask in of.items()},
                title="Transfer against likeness of representations",
                xlabel="centred kernel alignment with the source", ylabel="transfer rate",
            ),
            "One point a pair of models.",
            "Scatter of transfer rate against centred kernel alignment, by architecture.",
        ),
    ]  # fmt: skip


def run(s: Settings) -> None:
    """Train, attack, compare, judge, and write the record."""
    if s.part != "1/1":
        raise ValueError(f"want part 1/1: this experiment compares all models, got part={s.part}")
    work = experiment.begin(
        s, PRESETS, small=s.data == "digits",
        title="Transfer and shared features",
        question="Do adversarial examples transfer to the models that learn the same features?",
    )  # fmt: skip
    claims(s)
    split = images.by_name(s.data)
    data = jnp.asarray(split.train.images[: s.images]), jnp.asarray(split.train.labels[: s.images])
    xs, labels = jnp.asarray(split.test.images[: s.tested]), jnp.asarray(split.test.labels[: s.tested])
    models = {name: train(s, name, "images", data) for name in ARCHITECTURES}
    made = construct(s, models[SOURCE], *data)
    students = {name: train(s, name, "D_det", made) for name in ARCHITECTURES}
    groups = jnp.concatenate([xs[None], jnp.asarray(attack(s, models[SOURCE], xs, labels))])
    seen = {name: look(s, name, done, groups) for name, done in models.items()}
    truth = np.asarray(labels)
    said = {name: pair[0] for name, pair in seen.items()}
    rows = compare(s, said, {name: pair[1] for name, pair in seen.items()}, truth)
    learnt = {name: (look(s, name, done, xs[None])[0][:, 0] == truth).mean(1) for name, done in students.items()}
    diverged = {
        f"{name}, {kind}: {run}": step
        for kind, sweeps in (("images", models), ("D_det", students))
        for name, done in sweeps.items() for run, step in done.diverged.items()
    }  # fmt: skip
    at = list(zip(rows["architecture"], rows["source"], strict=True))
    work.write(
        judge(s, correlations(s, rows, learnt)),
        pictures=pictures(rows, learnt),
        rows=rows | {"learnt": [float(learnt[name][i]) for name, i in at]},
        diverged=diverged,
    )


PRESETS = {
    "quick": Settings(),
    "full": Settings(
        seeds=10, data="fashion-mnist", images=60_000, tested=5000, eps=1.0, eps_made=4.0, attack_steps=100,
        steps=10_000, batch=128, lr=1e-3,
    ),
}  # fmt: skip

if __name__ == "__main__":
    cli.main(run, PRESETS)
