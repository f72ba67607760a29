"""Are adversarial examples features? Data sets that hold only robust, or only non-robust, features.

    python experiments/adversarial_features.py quick     about two minutes on two CPU cores: digits, 5 teachers, an MLP
    python experiments/adversarial_features.py medium    about an hour there: Fashion-MNIST (scripts/data), 5 teachers
    python experiments/adversarial_features.py full      60,000 images and a residual network, for an accelerator

Ilyas et al. (2019), sections 3.1 and 3.2: a student trained on D_R (images whose representation in a ROBUST model is
that of x) is robust without adversarial training, one trained on D_NR (the same in a standard model) is not; a student
trained on images that only seem, to a standard model, to be of the class they are labelled with (D_rand, D_det)
generalises to clean images. Published replications range from 10% to 84% for D_rand, with the learning rate: so every
student is trained with a grid of learning rates, and all of them count. The unit of replication is the teacher.

The controls stand beside each number (see `interp_jax.adversarial.features`): noise of the same norm, a meaningless
stamp of the same norm, the hit rate of the attack, accuracy on the class after the true one.
"""

import dataclasses
import sys
from functools import partial
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from interp_jax.adversarial import features, norms, objectives, training
from interp_jax.adversarial.pgd import pgd
from interp_jax.core import checks, keys
from interp_jax.core.intervals import paired, student
from interp_jax.core.types import Array, Key, Numpy, PyTree
from interp_jax.data import images, streams
from interp_jax.models.classifiers import ResNet, WongKolter
from interp_jax.models.nets import MLP, Net, functional
from interp_jax.report import experiment, figures, records
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli
from interp_jax.runs.chain import Steps
from interp_jax.runs.driver import drive
from interp_jax.runs.profile import Profile
from interp_jax.runs.store import open_store
from interp_jax.train import table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.train.trainer import Trainer, trainer

SETS = (
    "D", "D_R", "D_NR", "D_rand", "D_rand noise", "D_rand stamp", "D_det", "D_det noise", "D_other", "D_other stamp",
)  # fmt: skip
TEACHERS = ("standard", "robust")
CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings; all radii and steps are L2, pixels in [0, 1]."""

    seeds: int = 5
    """How many teachers of each kind."""
    students: int = 1
    """Students of each teacher, data set and learning rate."""
    data: Literal["digits", "fashion-mnist", "cifar-10"] = "digits"
    """Which images."""
    model: Literal["mlp", "cnn", "resnet"] = "mlp"
    """Teachers and students: an MLP, the Wong-Kolter network, a ResNet-18 of width 16."""
    images: int = 1200
    """Training images: for the teachers, and made for each data set."""
    tested: int = 597
    """Test images."""
    attacked: int = 300
    """Test images that are attacked for robust accuracy."""
    eps: float = 0.5
    """Radius of robust accuracy, and of the robust teachers' training."""
    eps_made: float = 1.5
    """Radius of the attacks that make D_rand, D_det and D_other."""
    made_steps: int = 50
    """Steps of those attacks, each 2.5 eps / steps long."""
    invert_steps: int = 200
    """Steps of the inversions that make D_R and D_NR."""
    invert_size: float = 0.1
    """Length of an inversion's step."""
    teacher_steps: int = 1500
    """Training steps of teachers."""
    steps: int = 1000
    """Training steps of students."""
    batch: int = 64
    """Images a step."""
    lrs: tuple[float, ...] = (1e-3, 3e-3)
    """Students' learning rates (Adam); teachers have the first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = ("students", "images", "tested", "attacked", "made_steps", "invert_steps", "teacher_steps", "steps")
        checks.whole(1, **{name: getattr(self, name) for name in (*counts, "batch")})
        checks.positive(eps=self.eps, eps_made=self.eps_made, invert_size=self.invert_size)
        checks.whole(2, seeds=self.seeds)
        if not self.lrs or min(self.lrs) <= 0 or len(set(self.lrs)) < len(self.lrs):
            raise ValueError(f"want different learning rates above zero, got lrs={self.lrs}")


class Data(NamedTuple):
    """xs: `[N, H, W, C]`. labels: `[N]`."""

    xs: Array
    labels: Array


class Sets(NamedTuple):
    """What was made, for T teachers and the K data sets of SETS.

    xs: `[T, K, N, H, W, C]`. labels: `[T, K, N]`, those to train with. hit: `[T, K]`, how often the teacher sees the
    target. size: `[T, K]`, the mean L2 distance to the image that the example was made from. error: `[T, K]`, of
    inversions, relative; NaN for other sets.
    """

    xs: Numpy
    labels: Numpy
    hit: Numpy
    size: Numpy
    error: Numpy


def network(s: Settings) -> Net:
    """Give the model of these settings."""
    modules: dict[str, nn.Module] = {"mlp": MLP((256, 64, CLASSES)), "cnn": WongKolter(), "resnet": ResNet(width=16)}
    return functional(modules[s.model], jnp.zeros(images.SHAPE[s.data]))


def teach(s: Settings, kind: str, data: Data) -> Sweep:
    """Train the teachers of one kind, all seeds."""
    net = network(s)
    perturb = training.by_pgd(eps=s.eps, step_size=s.eps / 3, steps=7, norm=norms.l2)
    loss = training.standard(net.apply) if kind == "standard" else training.adversarial(net.apply, perturb)

    def make(lr: Array) -> Trainer:
        return trainer(net.init, loss, streams.batches(s.batch), optax.adam(lr))

    return sweep(
        make, table.grid({"lr": s.lrs[:1]}, s.seeds), tuple(data), steps=s.teacher_steps, chunk=_chunk(s.teacher_steps),
        config={"kind": kind, "data": s.data, "model": s.model, "eps": s.eps, "batch": s.batch},
        out=s.out / "runs" / f"teachers_{kind}", profile=Profile(s.profile),
    )  # fmt: skip


def _chunk(steps: int) -> int:
    """Give the largest divisor of `steps` up to 500."""
    return max(d for d in range(1, min(steps, 500) + 1) if steps % d == 0)


def inversions(s: Settings, params: PyTree, data: Data, key: Key) -> dict[str, Array]:
    """Make D_R (of a robust teacher) or D_NR (of a standard one)."""
    net = network(s)
    represent = partial(net.apply, params, represent=True)

    def one(i: Array) -> dict[str, Array]:
        start = data.xs[features.other(keys.stream(key, "start"), i, s.images)]
        found, distance = features.imitate(represent, data.xs[i], start, steps=s.invert_steps, step_size=s.invert_size)
        hit = jnp.argmax(net.apply(params, found.x)) == data.labels[i]
        return {"xs": found.x, "labels": data.labels[i], "hit": hit, "size": distance, "error": found.error}

    return jax.lax.map(one, jnp.arange(s.images), batch_size=250)


def attacks(s: Settings, params: PyTree, data: Data, key: Key) -> dict[str, dict[str, Array]]:
    """Make D_rand, D_det and D_other of a standard teacher, and their controls."""
    predict = partial(network(s).apply, params)
    shape = data.xs.shape[1:]
    marks = features.patterns(keys.stream(key, "stamp"), CLASSES, shape)

    def one(i: Array) -> dict[str, dict[str, Array]]:
        x, label, key_ = data.xs[i], data.labels[i], keys.at(keys.stream(key, "made"), i)
        targets = {
            "D_rand": features.relabel_random(keys.stream(key_, "random"), CLASSES),
            "D_det": features.relabel_next(label, CLASSES),
            "D_other": features.relabel_other(keys.stream(key_, "other"), label, CLASSES),
        }
        found = {}
        for name, target in targets.items():
            made = features.construct(
                predict, x, target, keys.stream(key_, name),
                eps=s.eps_made, step_size=2.5 * s.eps_made / s.made_steps, steps=s.made_steps,
            )  # fmt: skip
            shared = {"labels": target, "error": jnp.full((), jnp.nan)}
            stamped = features.stamp(x, marks[target], size=jnp.where(target == label, 0.0, made.size))
            found[name] = shared | {"xs": made.x, "hit": made.hit, "size": made.size}
            found[f"{name} noise"] = shared | {"xs": made.noise, "hit": made.noise_hit, "size": made.noise_size}
            found[f"{name} stamp"] = shared | {
                "xs": stamped, "hit": jnp.argmax(predict(stamped)) == target, "size": norms.l2.size(stamped - x),
            }  # fmt: skip
        return {name: each for name, each in found.items() if name in SETS}

    return jax.lax.map(one, jnp.arange(s.images), batch_size=250)


def make_sets(s: Settings, teachers: dict[str, Sweep], data: Data) -> Sets:
    """Make every data set of every teacher: one unit of work, kept in a store of its own."""

    def work() -> Sets:
        def standard(state: PyTree, data: Data) -> dict[str, dict[str, Array]]:
            key = keys.stream(state.key, "sets")
            return attacks(s, state.params, data, key) | {"D_NR": inversions(s, state.params, data, key)}

        def robust(state: PyTree, data: Data) -> dict[str, Array]:
            return inversions(s, state.params, data, keys.stream(state.key, "sets"))

        made = teachers["standard"].map(standard, data) | {"D_R": teachers["robust"].map(robust, data)}
        first = next(iter(made.values()))
        whole = np.ones((s.seeds, s.images), np.float32)
        made["D"] = {
            "xs": np.broadcast_to(np.asarray(data.xs), first["xs"].shape), "hit": whole, "size": 0 * whole,
            "labels": np.broadcast_to(np.asarray(data.labels), whole.shape), "error": np.nan * whole,
        }  # fmt: skip
        stacked = {name: np.stack([made[key][name] for key in SETS], 1) for name in first}
        means = {name: stacked[name].astype(np.float32).mean(2) for name in ("hit", "size", "error")}
        return Sets(stacked["xs"].astype(np.float32), stacked["labels"].astype(np.int32), **means)

    shape = (s.seeds, len(SETS), s.images)
    like = Sets(
        *(np.zeros(shape + data.xs.shape[1:], np.float32), np.zeros(shape, np.int32)),
        *(np.zeros(shape[:2], np.float32) for _ in range(3)),
    )
    names = ("data", "model", "images", "eps", "eps_made", "made_steps", "invert_steps", "invert_size", "teacher_steps")
    config = {name: getattr(s, name) for name in (*names, "batch", "seeds")} | {"lr": s.lrs[0], "sets": list(SETS)}
    ends: list[Sets] = []
    chain = Steps("sets", 1, lambda: like, lambda state, index: work(), like=lambda: like)
    drive([chain], open_store(s.out / "runs" / "sets", config), finish=lambda chain, state: ends.append(state))
    return ends[0]


def study(s: Settings, made: Sets) -> Sweep:
    """Train every student: teachers x data sets x learning rates x students, in one table."""
    net = network(s)

    def make(teacher: Array, set: Array, lr: Array) -> Trainer:
        # Students of different teachers share no chance, those of one teacher share it across data sets and rates.
        def init(key: Key) -> PyTree:
            return net.init(keys.at(key, teacher.astype(jnp.int32)))

        def batch(data: PyTree, key: Key, t: Array) -> tuple[Array, Array]:
            key = keys.at(key, teacher.astype(jnp.int32))
            rows = streams.uniform_indices(key, t, s.images, s.batch)
            at = teacher.astype(jnp.int32), set.astype(jnp.int32), rows
            return data.xs[at], data.labels[at]

        return trainer(init, training.standard(net.apply), batch, optax.adam(lr))

    grid = {"teacher": range(s.seeds), "set": range(len(SETS)), "lr": s.lrs}
    return sweep(
        make, table.grid(grid, s.students), made, steps=s.steps, chunk=_chunk(s.steps),
        config={"model": s.model, "batch": s.batch}, out=s.out / "runs" / "students",
        **s.driver(),
    )  # fmt: skip


def measure(s: Settings, done: Sweep, test: Data) -> dict[str, Numpy]:
    """Measure every model of a sweep on clean test images: columns `[R]`."""
    net = network(s)

    def work(state: PyTree, test: Data) -> dict[str, Array]:
        predict = partial(net.apply, state.params)
        said = jax.lax.map(lambda x: jnp.argmax(predict(x)), test.xs, batch_size=500)
        seen = features.score(said, test.labels, CLASSES)

        def stands(pair: tuple[Array, Array]) -> Array:
            loss = objectives.cross_entropy(predict, pair[1])
            found = pgd(
                loss, pair[0], jax.random.key(0), eps=s.eps, step_size=s.eps / 5, steps=20, norm=norms.l2,
                random_start=False,
            )  # fmt: skip
            return (jnp.argmax(predict(pair[0])) == pair[1]) & ~found.fooled

        few = test.xs[: s.attacked], test.labels[: s.attacked]
        robust = jax.lax.map(stands, few, batch_size=250)
        return {"clean": seen.correct.mean(), "following": seen.following.mean(), "robust": robust.mean()}

    return done.map(work, test)


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    rates = ", ".join(f"{lr:g}" for lr in s.lrs)
    common = {
        "unit": "teachers",
        "direction": Direction.GREATER,
        "scope": f"{s.data}, {s.images} images, {s.model}, L2 {s.eps:g} (robust), {s.eps_made:g} (made), means over "
        f"students with learning rates {rates}",
    }
    source = "Ilyas et al. 2019, Adversarial Examples Are Not Bugs, They Are Features, section 3."
    return {
        "D_R - D_NR": Claim(
            name="robust_features_teach_robustness",
            statement="Students of D_R are more robust than students of D_NR, trained alike on clean labels.",
            source=source + "1", estimand="robust accuracy of students of D_R minus of D_NR", delta=0.02,
            published="48.2% against 0.8% (CIFAR-10, L2 0.25)", **common,
        ),
        "D_R - D": Claim(
            name="robust_features_beat_the_images_themselves",
            statement="Students of D_R are more robust than students of the images themselves.",
            source=source + "1", estimand="robust accuracy of students of D_R minus of D", delta=0.02, primary=False,
            published="48.2% against 4.5% (CIFAR-10, L2 0.25)", **common,
        ),
        "D_rand - D_rand stamp": Claim(
            name="random_labels_teach_more_than_a_stamp",
            statement="Students of D_rand classify clean images better than students of a meaningless stamp do.",
            source=source + "2", estimand="clean accuracy of students of D_rand minus of its stamp", delta=0.02,
            primary=False, published="63.3%; the stamp is not reported", **common,
        ),
        "D_det - D_det noise": Claim(
            name="wrong_labels_teach",
            statement="Students of D_det, where every label is wrong, classify clean images better than of its noise.",
            source=source + "2", estimand="clean accuracy of students of D_det minus of its noise", delta=0.02,
            primary=False, published="43.7%", **common,
        ),
        "D_other - D_other stamp": Claim(
            name="other_labels_teach_more_than_a_stamp",
            statement="The same as D_rand with the true class left out, where a stamp can leak no true label.",
            source=source + "2, our variant", estimand="clean accuracy of students of D_other minus of its stamp",
            delta=0.02, primary=False, published=None, **common,
        ),
    }  # fmt: skip


def judge(s: Settings, found: dict[str, Numpy], finite: Numpy) -> list[Finding]:
    """Compare means over a teacher's students, paired by the teacher; columns and mask are `[teachers, sets, ...]`."""
    column = {"D_R - D_NR": "robust", "D_R - D": "robust"}
    findings = []
    for pair, claim in claims(s).items():
        a, b = (SETS.index(name) for name in pair.split(" - "))
        values = found[column.get(pair, "clean")].reshape(s.seeds, len(SETS), -1)
        fine = finite.reshape(values.shape)[:, [a, b]].all((1, 2))
        note = "" if fine.all() else f"left out: {(~fine).sum()} teachers with a student that diverged"
        findings.append(finding(claim, paired(values[:, a].mean(1), values[:, b].mean(1), mask=fine), note=note))
    return findings


def pictures(s: Settings, found: dict[str, Numpy], test: Data, made: Sets) -> list[records.Picture]:
    """Draw accuracies of students by data set, and one image of each set."""
    shape = (s.seeds, len(SETS), len(s.lrs), s.students)

    def by_set(column: str) -> dict[str, dict[str, Numpy]]:
        values = found[column].reshape(shape).mean(3)
        return {name: {f"lr {lr:g}": values[:, k, j] for j, lr in enumerate(s.lrs)} for k, name in enumerate(SETS)}

    shown = np.asarray(made.xs)[0, :, :6].reshape(-1, *test.xs.shape[1:])
    return [
        records.Picture(
            "robust",
            figures.groups(by_set("robust"), title="Robust accuracy of students", ylabel="robust accuracy"),
            f"On test images, L2 {s.eps:g}, 20 steps; one dot a teacher.",
            "Dots of students' robust accuracy for each data set.",
        ),
        records.Picture(
            "clean",
            figures.groups(by_set("clean"), title="Clean accuracy of students", ylabel="clean accuracy"),
            "On clean test images; noise and stamp are the controls of what stands before them.",
            "Dots of students' clean accuracy for each data set.",
        ),
        records.Picture(
            "following",
            figures.groups(
                by_set("following"), title="How often students say the class after the true one", ylabel="share"
            ),
            "Near one for the noise of D_det: there the image is intact and the label is y + 1.",
            "Dots of the share of test images called y + 1 for each data set.",
        ),
        records.Picture(
            "images",
            figures.grid(shown, title="Six images of each data set, first teacher", columns=6, labels=_labels()),
            "From top to bottom: " + ", ".join(SETS) + ".",
            "A grid of images, one row a data set.",
        ),
    ]


def _labels() -> list[str]:
    return [name if column == 0 else " " for name in SETS for column in range(6)]


def run(s: Settings) -> None:
    """Teach, make, study, measure, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=s.data == "digits",
        title="Adversarial examples as features",
        question="Do robust features teach robustness, and non-robust ones generalise?",
    )  # fmt: skip
    claims(s)
    split = images.by_name(s.data)
    data = Data(jnp.asarray(split.train.images[: s.images]), jnp.asarray(split.train.labels[: s.images]))
    test = Data(jnp.asarray(split.test.images[: s.tested]), jnp.asarray(split.test.labels[: s.tested]))
    teachers = {kind: teach(s, kind, data) for kind in TEACHERS}
    made = make_sets(s, teachers, data)
    done = study(s, made)
    if work.waits(len(done.runs), s.seeds * len(SETS) * len(s.lrs) * s.students):
        return
    order = _ordered(s, done)
    found = {name: values[order] for name, values in measure(s, done, test).items()}
    finite = np.array([done.runs[i].id not in done.diverged for i in order])
    taught = {kind: measure(s, teachers[kind], test) for kind in TEACHERS}
    for kind, values in taught.items():
        clean, robust = (student(values[name]) for name in ("clean", "robust"))
        print(f"{kind} teachers: clean {clean.estimate:.3f}, robust {robust.estimate:.3f}", file=sys.stderr)
    tidy = _rows(s, done, order, found, made, taught)
    work.write(judge(s, found, finite), pictures=pictures(s, found, test, made), rows=tidy, diverged=done.diverged)


def _ordered(s: Settings, done: Sweep) -> Numpy:
    """Give the places of the runs in the order teacher, set, learning rate, student."""
    at = [run.hyperparameters for run in done.runs]
    places = [(h["teacher"], h["set"], s.lrs.index(h["lr"]), run.seed) for h, run in zip(at, done.runs, strict=True)]
    return np.array(sorted(range(len(places)), key=places.__getitem__))


def _rows(
    s: Settings, done: Sweep, order: Numpy, found: dict[str, Numpy], made: Sets, taught: dict[str, dict[str, Numpy]]
) -> dict[str, object]:
    """Put students in rows, with the facts of the data they saw and their teachers' accuracies."""
    runs = [done.runs[i] for i in order]
    at = np.array([[int(run.hyperparameters[name]) for name in ("teacher", "set")] for run in runs])
    facts = {name: np.asarray(getattr(made, name))[at[:, 0], at[:, 1]] for name in ("hit", "size", "error")}
    return {
        "teacher": at[:, 0],
        "set": [SETS[k] for k in at[:, 1]],
        "lr": [run.hyperparameters["lr"] for run in runs],
        "student": [run.seed for run in runs],
        "diverged_at": [done.diverged.get(run.id, -1) for run in runs],
        **found,
        **facts,
        **{f"{kind}_teacher_{name}": taught[kind][name][at[:, 0]] for kind in TEACHERS for name in ("clean", "robust")},
    }


PRESETS = {
    "quick": Settings(),
    "medium": Settings(
        seeds=5, data="fashion-mnist", model="cnn", images=8000, tested=2000, attacked=1000, eps=1.0, eps_made=3.0,
        invert_size=0.15, invert_steps=100, teacher_steps=1500, steps=1500, lrs=(1e-3, 3e-3), batch=64,
    ),
    "full": Settings(
        seeds=5, students=3, data="fashion-mnist", model="resnet", images=60_000, tested=10_000, attacked=10_000,
        eps=1.0, eps_made=3.0, made_steps=100, invert_steps=1000, teacher_steps=20_000, steps=20_000,
        lrs=(3e-4, 1e-3, 3e-3, 1e-2), batch=128,
    ),
}  # fmt: skip

if __name__ == "__main__":
    cli.main(run, PRESETS)
