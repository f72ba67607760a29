"""Do probes and tangent kernels see in a network that hardly trained how well it will do, beyond what its loss says?

    python experiments/probe_seeds.py quick     three to four minutes on two CPU cores: 512 seeds of two tasks
    python experiments/probe_seeds.py full      an accelerator: 2,048 seeds of wider networks

A seed draws the initial weights and the order of batches of a small network on dSprites; the training sample is the
same for all. Two tasks: is the sprite a square, and the parity of three halves (large, right, low). The final score is
accuracy on test images. At four times a network is looked at: its losses, and accuracy on held-out images; linear
probes of every factor and the label in every hidden layer; the centred alignment of its empirical tangent kernel
(eNTK), over training images, with the kernel of every factor and the label; and sizes of its gradient and kernel.
Ridge regression forecasts the score of seeds that it was not fitted to. The question is how much more it explains by
what is inside than by losses and accuracy alone, which before training know nearly nothing.

Two measurements say what a null result means. The score's reliability, from halves of the test images. And twins, that
share all up to one of these times and draw other batches from there: the correlation of their scores is the share of
variance that is decided by then, the most that anything could explain. Intervals are over blocks of seeds, with all
fits made anew without each (`linear.crossfit`). As a control probes and alignments are dealt to other seeds.

A first run had 96 twins, no look half-way, which was added to show that forecasts see a signal where there is one, and
one penalty for all predictors, which for noise beside a good forecast costs more than any gain that is asked about.
Tasks and network were chosen by spread and reliability of the final score alone, over 64 seeds from 10,000 on, none of
which are reported: of 22 settings (7 tasks, widths of 4 to 16, depths of 1 to 3) these two have the largest spread of
those wider than 4, where some networks learn little or nothing; squares, of the larger spread, are the primary task.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from interp_jax.core import checks, keys
from interp_jax.core.bootstrap import jackknife
from interp_jax.core.correlation import spearman
from interp_jax.core.forecasts import agreement, explained, gain, lead, reliability, singles
from interp_jax.core.intervals import Interval, student
from interp_jax.core.types import Array, Key, Numpy, PyTree
from interp_jax.data import dsprites, dsprites_tasks
from interp_jax.data.dsprites_tasks import Rows
from interp_jax.data.streams import uniform_indices
from interp_jax.linear import crossfit
from interp_jax.linear.crossfit import Compared
from interp_jax.models.nets import MLP, Net, functional, mlp_layers
from interp_jax.ntk import comparison, kernels
from interp_jax.probes.factor_scores import factor_r2
from interp_jax.report import experiment, figures, records
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli
from interp_jax.runs.profile import Profile
from interp_jax.train import models, table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.train.trainer import Kept, Trainer, snapshots_at, trainer

TASKS = ("square", "parity")
TIMES = ("start", "1%", "10%", "50%")
FACTORS = ("shape", "scale", "orientation", "x", "y", "label")
OUTSIDE = ("training loss", "held-out loss", "held-out accuracy")
SIZES = ("gradient", "kernel", "effective rank")
LABEL = "eNTK: label"
PIXELS, FOLDS, ROUNDS, BLOCKS = 16, 5, 10, 16
SETS = {
    "loss": ("outside",), "loss, probes": ("outside", "probes"), "loss, alignments": ("outside", "alignments"),
    "loss, both": ("outside", "probes", "alignments"), "all": ("outside", "probes", "alignments", "sizes"),
    "dealt": ("outside", "probes", "alignments"),
}  # fmt: skip
"""Which predictors a forecast has; in "dealt" those of the inside are another seed's."""


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 512
    """How many seeds, each a network for either task."""
    twins: int = 128
    """How many of them have a twin that departs at each of these times."""
    width: int = 8
    """Units of each hidden layer."""
    depth: int = 3
    """Hidden layers."""
    examples: int = 1000
    """Training images, the same for all seeds."""
    steps: int = 500
    """Training steps; 1% of them is a whole number."""
    batch: int = 32
    """Images a step."""
    lr: float = 1e-2
    """Adam's learning rate."""
    held: int = 4096
    """Held-out images of early losses; probes are fitted to one half and scored on the other."""
    test: int = 16_384
    """Test images of the final score."""
    kernel: int = 128
    """Training images that tangent kernels are taken over."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(20, seeds=self.seeds)
        checks.whole(2, twins=self.twins, kernel=self.kernel)
        checks.whole(1, width=self.width, depth=self.depth, batch=self.batch, steps=self.steps)
        checks.positive(lr=self.lr)
        if self.steps % 100:
            raise ValueError(f"want steps a multiple of 100, so that 1% is a whole number, got steps={self.steps}")
        if self.twins > self.seeds or self.kernel > self.examples:
            raise ValueError(
                f"want twins <= seeds and kernel <= examples, got twins={self.twins}, kernel={self.kernel}"
            )
        if self.held % 2 or self.test % 2 or min(self.held, self.test) < 2:
            raise ValueError(f"want even numbers of held-out and test images, got held={self.held}, test={self.test}")

    @property
    def times(self) -> tuple[int, ...]:
        """Give the steps before which a network is looked at."""
        return 0, self.steps // 100, self.steps // 10, self.steps // 2


def network(s: Settings) -> Net:
    """Make the model, of two logits."""
    return functional(MLP((s.width,) * s.depth + (2,)), jnp.zeros((PIXELS, PIXELS, 1)))


def losses(net: Net, params: PyTree, xs: Array, labels: Array) -> tuple[Array, Array]:
    """Give each image's cross-entropy and whether it is right, `[N]` both."""
    logits = jax.vmap(net.apply, (None, 0))(params, xs)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels), logits.argmax(1) == labels


def training(s: Settings, net: Net, given: Rows, task: Array, departs: Array) -> Trainer:
    """Train for a task; from step `departs` on batches come from a stream of their own, which makes a twin."""

    def batch(given: Rows, key: Key, t: Array) -> tuple[Array, Array]:
        own = keys.at(key, (t >= departs).astype(jnp.int32))
        chosen = uniform_indices(own, t, s.examples, s.batch)
        return given.xs[chosen], given.labels[task.astype(jnp.int32), chosen]

    def loss(params: PyTree, batch: tuple[Array, Array], key: Key) -> tuple[Array, dict]:
        return losses(net, params, *batch)[0].mean(), {}

    inner = trainer(net.init, loss, batch, optax.adam(s.lr))
    return snapshots_at(inner, lambda state, _: state.params, given, s.times)


def table_of_runs(s: Settings) -> list[table.Run]:
    """List the runs: every seed and task, and the twins, by the step at which they depart."""
    whole = table.grid({"task": range(len(TASKS)), "departs": [s.steps]}, s.seeds)
    return whole + table.grid({"task": range(len(TASKS)), "departs": s.times}, s.twins)


class Looked(NamedTuple):
    """What one network shows at one time. outside, sizes: `[3]`. probes: `[depth, F]`. alignments: `[F]`."""

    outside: Any
    probes: Any
    alignments: Any
    sizes: Any


def look(s: Settings, net: Net, params: PyTree, task: Array, train: Rows, held: Rows) -> Looked:
    """Look at a network once."""
    owner = jax.nn.one_hot(jnp.array([*dsprites.CODED, len(FACTORS) - 1]), len(FACTORS))
    with_label = [jnp.concatenate([rows.codes, rows.labels[task][:, None]], 1) for rows in (train, held)]

    def mean_loss(params: PyTree) -> Array:
        return losses(net, params, train.xs, train.labels[task])[0].mean()

    training_loss, gradient = jax.value_and_grad(mean_loss)(params)
    lost, right = losses(net, params, held.xs, held.labels[task])
    acts = jax.vmap(mlp_layers, (None, 0))(params, held.xs)
    difference = lambda params, x: jnp.diff(net.apply(params, x))  # noqa: E731, all that the loss sees
    kernel = kernels.trace(difference, params, train.xs[: s.kernel])
    sizes = jnp.log(jnp.stack([optax.tree.norm(gradient), jnp.trace(kernel)]) + 1e-12)
    rank = comparison.effective_rank(jnp.linalg.eigvalsh(comparison.centre(kernel)))
    return Looked(
        jnp.stack([training_loss, lost.mean(), right.mean()]),
        jnp.stack([factor_r2(each, with_label[1], owner) for each in acts]),
        comparison.code_alignments(kernel, with_label[0][: s.kernel], owner),
        jnp.append(sizes, rank),
    )


def trained(s: Settings, config: dict, train: Rows) -> Sweep:
    """Train all seeds, tasks and twins in one sweep; rerunning resumes."""
    return sweep(
        lambda task, departs: training(s, network(s), train, task, departs), table_of_runs(s), train, steps=s.steps,
        chunk=s.steps // 5, config=config, out=s.out / "runs" / "networks", **s.driver(),
    )  # fmt: skip


def looked_at(s: Settings, config: dict, done: Sweep, train: Rows, held: Rows) -> Looked:
    """Look at the course of every seed, twins left out: `[tasks, seeds, times, ...]`; stored, and resumes."""
    net, runs = network(s), [run for run in done.runs if run.hyperparameters["departs"] == s.steps]
    tasks = jnp.array([int(run.hyperparameters["task"]) for run in runs])

    def measure(key: Key, given: PyTree, model: Array) -> Looked:
        courses, (tasks, train, held) = given
        task = tasks[model.astype(jnp.int32)]
        return jax.lax.map(lambda params: look(s, net, params, task, train, held), models.pick(courses, model))

    found = models.measured(
        measure, {"networks": done}, [("networks", run) for run in runs], (tasks, train, held),
        config=config | {"seeds": s.seeds}, out=s.out / "runs" / f"looked-{s.seeds}", take=lambda kept: kept.taken,
        width=128 * jax.device_count(), profile=Profile(s.profile),
    )  # fmt: skip
    return jax.tree.map(lambda leaf: np.stack([leaf[np.asarray(tasks) == i] for i in range(len(TASKS))]), found)


def scored(s: Settings, done: Sweep, test: Rows) -> tuple[Numpy, Numpy]:
    """Give final accuracies on halves of the test images `[tasks, seeds, 2]`, and twins' `[tasks, twins, times]`."""
    net, tasks = network(s), range(len(TASKS))

    def both(kept: Kept, test: Rows) -> Array:
        right = jnp.stack([losses(net, kept.state.params, test.xs, labels)[1] for labels in test.labels])
        return right.reshape(len(TASKS), 2, -1).mean(2)

    found = done.map(both, test).astype(np.float64)
    at = {(r.hyperparameters["task"], r.hyperparameters["departs"], r.seed): i for i, r in enumerate(done.runs)}

    def halves(task: int, departs: int, seeds: int) -> Numpy:
        return found[[at[task, departs, seed] for seed in range(seeds)], task]

    own = np.stack([halves(task, s.steps, s.seeds) for task in tasks])
    return own, np.array([np.stack([halves(i, t, s.twins).mean(1) for t in s.times], 1) for i in tasks])


class Told(NamedTuple):
    """One task's seeds that count, `n` of them: what is known early, what comes, and what is foretold.

    seeds, final: `[n]`. values: `[times, n, D]`. halves: `[n, 2]`, accuracies on halves of the test images. pairs:
    `[twins, times, 2]`, final ones of seed and twin. forecasts: at each time.
    """

    seeds: Numpy
    final: Numpy
    values: Numpy
    halves: Numpy
    pairs: Numpy
    forecasts: list[Compared]


def predictors(s: Settings) -> dict[str, str]:
    """Name the predictors in order, each with its kind."""
    probes = [f"layer {layer + 1}: {factor}" for layer in range(s.depth) for factor in FACTORS]
    names = {"outside": OUTSIDE, "probes": probes, "alignments": [f"eNTK: {factor}" for factor in FACTORS]}
    return {name: kind for kind, some in (names | {"sizes": SIZES}).items() for name in some}


def told(s: Settings, looked: Looked, halves: Numpy, twins: Numpy) -> dict[str, Told]:
    """Forecast the final scores of each task's seeds, leaving out those where something is not finite."""
    kinds = np.array([*predictors(s).values()])
    keep = {name: np.isin(kinds, some).astype(np.float32) for name, some in SETS.items()}
    dealt, found = {"dealt": keep["dealt"] * (kinds != "outside")}, {}
    for i, task in enumerate(TASKS):
        parts = [np.moveaxis(part[i], 1, 0) for part in looked]
        values = np.concatenate([part.reshape(*part.shape[:2], -1) for part in parts], 2).astype(np.float64)
        fine, final = np.isfinite(values).all((0, 2)) & np.isfinite(halves[i]).all(1), halves[i].mean(1)
        both = np.stack([np.repeat(final[: s.twins, None], len(TIMES), 1), twins[i]], 2)[fine[: s.twins]]
        key = keys.stream(jax.random.key(0), task)
        foretold = [
            crossfit.compare(each[fine], final[fine], keep, keys.at(key, t), folds=FOLDS, rounds=ROUNDS, dealt=dealt,
                added=kinds != "outside", blocks=BLOCKS)
            for t, each in enumerate(values)
        ]  # fmt: skip
        found[task] = Told(np.flatnonzero(fine), final[fine], values[:, fine], halves[i, fine], both, foretold)
    return found


class Stated(NamedTuple):
    """A claim: what it says, its estimand in words, what computes its interval, of which tasks, and the rule."""

    says: str
    estimand: str
    find: Any
    tasks: tuple[str, ...] = TASKS
    delta: float = 0.05
    direction: Direction = Direction.GREATER


def leading(s: Settings, t: Told) -> Interval:
    """Compare the alignment with the label at 1% with the best other predictor of the inside."""
    inside = [i for i, kind in enumerate(predictors(s).values()) if kind in ("probes", "alignments")]
    inside.sort(key=lambda i: i != [*predictors(s)].index(LABEL))
    return student(lead(t.values[1][:, inside], t.final))


def stated(s: Settings) -> dict[str, Stated]:
    """List the kinds of claims; the task's name goes before."""
    r2 = "cross-fitted R2 of the final accuracy over seeds by losses, accuracy, probes and alignments"
    beyond, main = r2 + " minus that by losses and accuracy, ", TASKS[:1]
    says = "see how well a network will do, beyond"

    def gained(time: int, more: str = "loss, both", less: str = "loss") -> Any:
        return lambda t: t.forecasts[time].interval(gain, more, less)

    return {
        "inside_at_start": Stated(f"Before training probes and alignments of the eNTK {says} losses.", beyond +
            "before training", gained(0)),
        "inside_at_1": Stated(f"After 1% of training probes and alignments of the eNTK {says} losses.", beyond +
            "after 1%", gained(1)),
        "inside_at_10": Stated(f"After 10% of training probes and alignments of the eNTK {says} losses.", beyond +
            "after 10%", gained(2), main),
        "loss_at_1": Stated("Losses and accuracy after 1% of training foretell the final accuracy.", "cross-fitted R2 "
            "of the final accuracy over seeds by losses and accuracy after 1%",
            lambda t: t.forecasts[1].interval(explained, "loss")),
        "loss_at_half": Stated("A check: losses and accuracy half-way foretell the final accuracy.", "cross-fitted R2 "
            "of the final accuracy over seeds by losses and accuracy after 50%",
            lambda t: t.forecasts[3].interval(explained, "loss")),
        "alignments_beyond_probes": Stated("After 1% alignments add to what losses and probes foretell.", r2 +
            " minus that without alignments, after 1%", gained(1, "loss, both", "loss, probes"), main),
        "label_alignment_leads": Stated("After 1% the eNTK's alignment with the label foretells more than any other "
            "probe or alignment does alone.", "size of the rank correlation with the final accuracy minus that of the "
            "strongest other, chosen on the other half of the seeds", partial(leading, s), main, 0.0),
        "reliable": Stated("The final accuracy ranks seeds reliably.", "reliability over seeds (Spearman-Brown, halves "
            "of the test images)", lambda t: jackknife(reliability, t.halves), TASKS, 0.8),
        "decided_at_start": Stated("The initial weights decide part of the final accuracy.", "correlation of the "
            "accuracies of twins with the same initial weights and other batches",
            lambda t: jackknife(agreement, t.pairs[:, 0])),
        "decided_at_1": Stated("Part of the final accuracy is decided by 1% of training.", "correlation of the "
            "accuracies of twins that part after 1%", lambda t: jackknife(agreement, t.pairs[:, 1])),
        "others_tell_nothing": Stated("Probes and alignments of another seed tell nothing.", beyond + "after 1%, with "
            "probes and alignments of another seed", gained(1, "dealt"), main, 0.05, Direction.EQUIVALENT),
    }  # fmt: skip


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    scope = f"dSprites of {PIXELS} x {PIXELS} pixels, {s.examples:,} training images, the same for all seeds; "
    scope += f"{s.depth} hidden layers of {s.width}, {s.steps:,} steps"
    return {
        f"{task}_{name}": Claim(
            name=f"{task}_{name}", statement=f"{each.says[:-1]} ({task}).", source="a question of our own",
            estimand=each.estimand, unit="seeds", delta=each.delta, direction=each.direction, scope=scope,
            published="not measured", primary=(task, name) == (TASKS[0], "inside_at_1"),
        )
        for task in TASKS for name, each in stated(s).items() if task in each.tasks
    }  # fmt: skip


def note_of(s: Settings, t: Told, name: str) -> str:
    """Say what stands beside a claim."""
    if name.startswith("inside_at"):
        time = list(stated(s)).index(name)
        of = t.forecasts[time]
        rank = spearman(of.mean["loss, both"], t.final)
        r2 = ", ".join(f"{each} {explained(of.table(each)):.3f}" for each in SETS)
        return f"R2 by {r2}; rank correlation of forecast and score {rank.estimate:.2f} ({rank.low:.2f} to " \
            f"{rank.high:.2f}); decided by then {agreement(t.pairs[:, time]):.2f}"  # fmt: skip
    if name == "label_alignment_leads":
        names, found = [*predictors(s)], singles(t.values[1], t.final, seed=0)
        best = int(np.abs(found.correlations).argmax())
        return f"its rank correlation {found.correlations[names.index(LABEL)]:.2f}; of {len(names)} predictors " \
            f"{(found.tests.adjusted < 0.05).sum()} correlate (max-T, 5%), most of all {names[best]}, " \
            f"{found.correlations[best]:.2f}"  # fmt: skip
    if name == "reliable":
        return f"accuracy {t.final.mean():.3f}, standard deviation over seeds {t.final.std(ddof=1):.4f}"
    return ""


def judge(s: Settings, found: Mapping[str, Told]) -> list[Finding]:
    """Give each claim its interval over seeds."""
    findings, kinds = [], stated(s)
    for name, claim in claims(s).items():
        task, kind = name.split("_", 1)
        t, lost = found[task], s.seeds - len(found[task].seeds)
        notes = [note_of(s, t, kind), f"left out: {lost} seeds with numbers that are not finite" if lost else ""]
        findings.append(finding(claim, kinds[kind].find(t), note="; ".join(filter(None, notes))))
    return findings


def pictures(s: Settings, found: Mapping[str, Told]) -> list[records.Picture]:
    """Draw what forecasts explain, twins, and single predictors."""
    main, kinds, drawn = found[TASKS[0]], np.array([*predictors(s).values()]), []
    for task, t in found.items():
        bars = {
            time: {name: of.pseudo_values(explained, name) for name in SETS}
            for time, of in zip(TIMES, t.forecasts, strict=True)
        }
        shared = ", ".join(f"{agreement(t.pairs[:, i]):.2f}" for i in range(len(TIMES)))
        drawn.append(records.Picture(
            f"explained_{task}", figures.groups(bars, ylabel="cross-fitted R2 over seeds",
                title=f"What foretells the final accuracy ({task})"),
            f"Dots: pseudo-values of {BLOCKS} blocks. Twins that part at these times share {shared} of variance.",
            "Dots of R2 by time and set of predictors.",
        ))  # fmt: skip
    ends = {f"part at {TIMES[i]}": 100 * (main.pairs[:, i] - main.pairs[:, i].mean()) for i in (0, -1)}
    halves = [np.abs(singles(main.values[1][i::2], main.final[i::2], seed=0).correlations) for i in range(2)]
    unit = "points about the mean"
    return [
        *drawn,
        records.Picture(
            "twins", figures.scatter(*({name: v[:, i] for name, v in ends.items()} for i in range(2)), diagonal=True,
                title=f"Final accuracies of twins ({TASKS[0]})", xlabel=f"one twin ({unit})", ylabel=f"other ({unit})"),
            "Twins share weights and batches until they part.", "Scatter by the time of parting.",
        ),
        records.Picture(
            "singles", figures.scatter(*({kind: half[kinds == kind] for kind in np.unique(kinds)} for half in halves),
                title=f"Single predictors after 1% ({TASKS[0]})", xlabel="size of rank correlation, half of the seeds",
                ylabel="the other half of the seeds", diagonal=True),
            "One point a predictor; what foretells does so in both halves.", "Scatter by kind of predictor.",
        ),
    ]  # fmt: skip


def tidy(s: Settings, found: Mapping[str, Told]) -> dict[str, Numpy]:
    """Give the rows: one for each task, time and seed, with predictors, score and forecasts; twin: NaN without one."""
    rows: list[dict[str, Numpy]] = []
    for task, t in found.items():
        for i, time in enumerate(TIMES):
            twins = np.full(s.seeds, np.nan)
            twins[t.seeds[t.seeds < s.twins]] = t.pairs[:, i, 1]
            n = len(t.seeds)
            own = {"task": np.repeat(task, n), "time": np.repeat(time, n), "seed": t.seeds, "final": t.final}
            own |= {"first_half": t.halves[:, 0], "twin": twins[t.seeds]}
            own |= dict(zip(predictors(s), t.values[i].T, strict=True))
            rows.append(own | {f"forecast by {name}": t.forecasts[i].mean[name] for name in SETS})
    return {name: np.concatenate([each[name] for each in rows]) for name in rows[0]}


def run(s: Settings) -> None:
    """Train, look, forecast, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=s.width < 64,
        title="Early signs of how well a network will do",
        question="Do probes and tangent kernels of a hardly trained network foretell its score, beyond its loss?",
    )  # fmt: skip
    claims(s)
    free = ("seeds", "twins", "held", "test", "kernel")
    config = {name: value for name, value in work.config.items() if name not in free}
    draw = jax.jit(partial(dsprites_tasks.draw, size=PIXELS, tasks=TASKS), static_argnums=1)
    sizes = {"train": s.examples, "held": s.held, "test": s.test}
    train, held, test = (draw(keys.stream(jax.random.key(2026), name), n) for name, n in sizes.items())
    done = trained(s, config, train)
    if work.waits(len(done.runs), len(table_of_runs(s))):
        return
    looked = looked_at(s, config | {"held": s.held, "kernel": s.kernel}, done, train, held)
    found = told(s, looked, *scored(s, done, test))
    work.write(judge(s, found), pictures=pictures(s, found), rows=tidy(s, found), diverged=done.diverged)


PRESETS = {
    "quick": Settings(),
    "full": Settings(seeds=2048, twins=512, width=64, examples=4000, steps=4000, lr=3e-3, kernel=512),
}

if __name__ == "__main__":
    cli.main(run, PRESETS)
