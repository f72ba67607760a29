"""Do the features that the eigenvectors of a tangent kernel are grow fragile down its spectrum?

    python experiments/ntk_robust_features.py quick     two minutes on two CPU cores: digits, 8 seeds
    python experiments/ntk_robust_features.py medium    half an hour there: Fashion-MNIST (scripts/data)
    python experiments/ntk_robust_features.py full      the paper's CIFAR-10 (scripts/data), for an accelerator

Tsilivis and Kempe (2022) take kernel regression apart into a feature for each eigenvector of the training kernel
(`ntk.eigenfeatures`). Section 3: those of the largest eigenvalues resist an adversary, those below do not, though they
tell classes apart. Here for the infinitely wide ReLU network on two classes; a seed draws the training and the test
images. The first feature is left out of what is claimed: it says the same of every image, and is robust for that.

Section 5: under adversarial training the tangent kernel falls into the lazy regime much earlier than in standard
training, and gathers more of its mass in its top eigenspaces. Here a network on all classes is trained in both ways
from the same weights on the same batches; its whole kernel on some test images is taken along the way. Kernels stop
where training does: a network that fits its images has no gradient left, while an adversary leaves one. Whether the
claims hold may hang on that more than on the adversary, so how well each fits is noted beside them.
"""

import dataclasses
from functools import partial
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from interp_jax.adversarial import objectives, training
from interp_jax.adversarial.attack import Attack
from interp_jax.adversarial.objectives import Predict
from interp_jax.adversarial.pgd import fgsm, pgd
from interp_jax.core import checks, keys
from interp_jax.core.intervals import student
from interp_jax.core.types import Array, Key, Numpy
from interp_jax.data import images, streams
from interp_jax.models.classifiers import WongKolter
from interp_jax.models.nets import MLP, Net, functional
from interp_jax.ntk import comparison, eigenfeatures, infinite, kernels, predictions
from interp_jax.report import experiment, figures, records
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli
from interp_jax.train import table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.train.trainer import Kept, Trainer, measurement, snapshots, trainer

PAPER = "Tsilivis and Kempe 2022, What Can the Neural Tangent Kernel Tell Us About Adversarial Robustness?"
NETS: dict[str, nn.Module] = {"mlp": MLP((128, 128, 10)), "cnn": WongKolter()}
KINDS = ("standard", "adversarial")
TOP, BELOW = range(1, 6), 25
"""Features whose robustness is compared: these, and those from BELOW on."""
TOP_MASS = 20
"""Eigenvalues whose share of the kernel is taken."""


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings; eps is Linf, pixels in [0, 1]."""

    seeds: int = 8
    """How many draws of images, and how many networks of each kind."""
    data: Literal["digits", "fashion-mnist", "cifar-10"] = "digits"
    """Which images."""
    classes: tuple[int, int] = (3, 8)
    """The two classes of the kernel's features."""
    images: int = 240
    """Training images of the two classes."""
    tested: int = 100
    """Test images of the two classes, which are attacked."""
    eps: float = 0.15
    """Radius of the adversary, also in training."""
    attack_steps: int = 10
    """Steps of projected gradient ascent."""
    features: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 60, 100, 150)
    """Which features are attacked, 0 that of the largest eigenvalue; and up to which together."""
    network: Literal["mlp", "cnn"] = "mlp"
    """Which network is trained."""
    steps: int = 1000
    """Training steps."""
    batch: int = 64
    """Images a step."""
    lr: float = 0.1
    """Learning rate of gradient descent."""
    kernels: int = 20
    """How many kernels are taken before the last, evenly in time."""
    examples: int = 40
    """Test images that a kernel is taken on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, images=self.images, tested=self.tested, attack_steps=self.attack_steps, batch=self.batch)
        checks.whole(10, kernels=self.kernels)
        checks.whole(4, examples=self.examples)
        checks.positive(eps=self.eps, lr=self.lr)
        if self.steps < 1 or self.steps % self.kernels:
            raise ValueError(f"want steps a multiple of kernels={self.kernels}, got steps={self.steps}")
        if not (set(TOP) <= set(self.features) and BELOW <= max(self.features) < self.images):
            raise ValueError(
                f"want features with {TOP.start} to {TOP.stop - 1}, one from {BELOW} on, and all below "
                f"images={self.images}, got features={self.features}"
            )


class Pair(NamedTuple):
    """The images of two classes. xs: `[P, D]`. y: `[P]`, -1 or 1."""

    xs: Array
    y: Array

    @classmethod
    def load(cls, s: Settings) -> "Pair":
        """Take all images of both classes, of the training and the test part."""
        found = images.two_classes(images.by_name(s.data), s.classes)
        count = len(found.labels)
        if count < s.images + s.tested:
            raise ValueError(
                f"want images + tested of at most {count}, the images of classes {s.classes}, got "
                f"images={s.images}, tested={s.tested}"
            )
        return cls(jnp.asarray(found.images.reshape(count, -1)), jnp.asarray(found.labels, jnp.float32))


def kernel(x1: Array, x2: Array) -> Array:
    """Give the kernel of one infinitely wide hidden layer, weight variance 2, bias variance .01: the paper's."""
    return infinite.relu_mlp(x1, x2, layers=1, weight=2.0, bias=0.01).ntk


def features(s: Settings, key: Key, data: Pair) -> dict[str, Array]:
    """Measure one draw: accuracies of each feature and of the first features together, and weighted images.

    "feature", "first": `[F, 3]`, accuracy of the sign on test images as they are, under one step, under all steps; NaN
    for a feature whose eigenvalue is within rounding of zero. "first" has the whole kernel as one more row.
    """
    rows = jax.random.permutation(keys.stream(key, "images"), len(data.y))[: s.images + s.tested]
    xs, y = data.xs[rows], data.y[rows]
    base, targets = xs[: s.images], y[: s.images]
    spectrum = predictions.decompose(kernel(base, base))
    attacked = jax.random.split(keys.stream(key, "attack"), s.tested)

    def accuracies(bounds: tuple[Array, Array]) -> Array:
        weights = eigenfeatures.group(spectrum, targets, *bounds)
        right = jax.vmap(partial(outcome, s, weights, base))(xs[s.images :], y[s.images :], attacked)
        return jnp.where(jnp.any(weights != 0), right.mean(0), jnp.nan)

    at, count = jnp.array(s.features), len(s.features)
    starts = jnp.concatenate([at, jnp.zeros(count + 1, at.dtype)])
    right = jax.lax.map(accuracies, (starts, jnp.concatenate([at + 1, at + 1, jnp.array([s.images])])))
    weighted = eigenfeatures.loadings(spectrum, targets)[:, at].T @ base
    return {"feature": right[:count], "first": right[count:], "images": weighted}


def outcome(s: Settings, weights: Array, base: Array, x: Array, y: Array, key: Key) -> Array:
    """Tell whether the sign of `k(x, X) weights` is right, `[3]`: at x, under one step, and under all steps."""
    margin = lambda x: y * (kernel(x[None], base) @ weights)[0]  # noqa: E731
    against = lambda x: jnp.negative(margin(x))  # noqa: E731
    step = 2.5 * s.eps / s.attack_steps
    found: list[Attack] = [
        fgsm(against, x, eps=s.eps),
        pgd(against, x, key, eps=s.eps, step_size=step, steps=s.attack_steps),
    ]
    clean = margin(x)
    return jnp.stack([clean, -found[0].last_objective, jnp.minimum(clean, -found[1].objective)]) > 0


def network(s: Settings) -> Net:
    """Make the network that is trained."""
    return functional(NETS[s.network], jnp.zeros(images.SHAPE[s.data]))


def train(s: Settings, kind: str, data: tuple[Array, Array], config: dict) -> Sweep:
    """Train the networks of a kind, and keep their params before steps 0, steps / kernels, ..."""
    net = network(s)
    adversary = training.by_pgd(eps=s.eps, step_size=2.5 * s.eps / s.attack_steps, steps=s.attack_steps)
    loss = training.standard(net.apply) if kind == "standard" else training.adversarial(net.apply, adversary)
    every = s.steps // s.kernels

    def make() -> Trainer:
        inner = trainer(net.init, loss, streams.batches(s.batch), optax.sgd(s.lr))
        return snapshots(inner, lambda state, data: state.params, data, every=every, count=s.kernels)

    return sweep(
        make, table.grid({}, s.seeds), data, steps=s.steps, chunk=every, config=config | {"kind": kind},
        out=s.out / "runs" / kind, **s.driver(),
    )  # fmt: skip


def dynamics(s: Settings, state: Kept, data: tuple[Array, Array]) -> dict[str, Array]:
    """Measure the course of one network's kernel, and its accuracies; data: test images and labels.

    velocity: `[T]`, distance from each kernel to the next. radius, angle: `[T + 1]`, from the first. top_mass,
    effective_rank: `[T + 1]`. clean, robust: scalars.
    """
    net, (xs, labels) = network(s), data
    some = xs[: s.examples]
    course = jax.tree.map(lambda taken, last: jnp.append(taken, last[None], 0), state.taken, state.state.params)
    taken = jax.lax.map(lambda params: comparison.matrix(kernels.empirical(net.apply, params, some)), course)
    values = jax.lax.map(jnp.linalg.eigvalsh, taken)
    radius, angle = comparison.polar(taken)
    predict = partial(net.apply, state.state.params)
    return {
        "velocity": comparison.velocity(taken, jnp.arange(len(taken), dtype=taken.dtype)),
        "radius": radius,
        "angle": angle,
        "top_mass": jax.vmap(lambda v: comparison.top_mass(v, TOP_MASS))(values),
        "effective_rank": jax.vmap(comparison.effective_rank)(values),
        "clean": jnp.mean(jnp.argmax(jax.vmap(predict)(xs), 1) == labels),
        "robust": 1 - jnp.mean(jax.vmap(partial(fooled, s, predict))(xs, labels)),
    }


def fooled(s: Settings, predict: Predict, x: Array, label: Array) -> Array:
    """Tell whether an attack of ten times the steps from the image itself misleads a network."""
    settings = {"eps": s.eps, "step_size": 2.5 * s.eps / (10 * s.attack_steps), "steps": 10 * s.attack_steps}
    return pgd(objectives.margin(predict, label), x, jax.random.key(0), random_start=False, **settings).fooled


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    more, less = Direction.GREATER, Direction.LESS
    pair = f"{s.data} {s.classes}, {s.images} training images, Linf {s.eps:g}, one infinitely wide hidden layer"
    nets = f"{s.data}, {s.network}, {s.steps} steps of descent, Linf {s.eps:g}, kernels on {s.examples} images"
    stated = {
        "robust_features_are_at_the_top": (more, 0.1, pair, "Features of the largest eigenvalues are robust, those "
            "below are not.", f"mean robust accuracy of features 1 to 5 minus that of those from {BELOW} on",
            "about .4 (CIFAR-10, airplane and automobile: .33 to .49 against 0 to .07)"),
        "what_is_right_stays_right_at_the_top": (more, 0.1, pair, "Of the images that a feature tells rightly, more "
            "stay right under attack at the top than below.",
            f"robust over clean accuracy, mean of features 1 to 5 minus that of those from {BELOW} on",
            "about .6 (.49/.68, .47/.54, .44/.61, .33/.49, .33/.56 against .07/.51, 0, 0)"),
        "the_whole_kernel_is_fragile": (more, 0.3, pair, "Kernel regression with all features is accurate and not "
            "robust.", "clean minus robust accuracy of the whole kernel", ".81 - .02"),
        "the_first_ten_are_more_robust": (more, 0.05, pair, "The first ten features together are more robust than the "
            "whole kernel.", "robust accuracy of features 0 to 10 minus that of all", None),
        "adversarial_training_is_lazy_earlier": (more, 0.05, nets, "Under adversarial training the kernel makes more "
            "of its way at the start of training, and is lazy earlier.", "share of the kernel's way in the first "
            "fifth of training, adversarial minus standard", "much earlier into the lazy regime (section 5)"),
        "adversarial_kernels_turn_less_in_the_end": (less, 0.1, nets, "Late in training the kernel turns less in "
            "adversarial than in standard training.", "log of the ratio of its way in the last half, adversarial to "
            "standard", "the kernel hardly turns after the first epochs (section 5)"),
        "adversarial_kernels_are_steeper": (more, 0.01, nets, "The kernel after adversarial training has more of its "
            "mass in its top eigenspaces.", f"share of the sum of squares in the largest {TOP_MASS} eigenvalues, "
            "adversarial minus standard", "a much stronger bias to the top eigenspaces (section 5)"),
    }  # fmt: skip
    return {
        name: Claim(
            name=name, statement=statement, source=PAPER, estimand=estimand, unit="seeds", delta=delta,
            direction=direction, scope=scope, published=published, primary=name == "robust_features_are_at_the_top",
        )
        for name, (direction, delta, scope, statement, estimand, published) in stated.items()
    }  # fmt: skip


def estimates(s: Settings, drawn: dict[str, Numpy], courses: dict[str, dict[str, Numpy]]) -> dict[str, Numpy]:
    """Give the estimand of every claim for each seed; a feature that is within rounding of zero is left out."""
    at, early, late = np.array(s.features), s.kernels // 5, s.kernels // 2
    top, below = np.isin(at, TOP), at >= BELOW
    clean, robust = drawn["feature"][..., 0], drawn["feature"][..., 2]
    kept = np.where(clean > 0, robust / np.where(clean > 0, clean, 1), np.nan)
    whole, ten = drawn["first"][:, -1], drawn["first"][:, np.flatnonzero(at <= 10)[-1]]
    way = {kind: courses[kind]["velocity"] for kind in KINDS}
    share = {kind: v[:, :early].sum(1) / v.sum(1) for kind, v in way.items()}
    end = {kind: np.log(v[:, late:].sum(1)) for kind, v in way.items()}
    return {
        "robust_features_are_at_the_top": robust[:, top].mean(1) - np.nanmean(robust[:, below], 1),
        "what_is_right_stays_right_at_the_top": kept[:, top].mean(1) - np.nanmean(kept[:, below], 1),
        "the_whole_kernel_is_fragile": whole[:, 0] - whole[:, 2],
        "the_first_ten_are_more_robust": ten[:, 2] - whole[:, 2],
        "adversarial_training_is_lazy_earlier": share["adversarial"] - share["standard"],
        "adversarial_kernels_turn_less_in_the_end": end["adversarial"] - end["standard"],
        "adversarial_kernels_are_steeper": np.subtract(*(courses[k]["top_mass"][:, -1] for k in reversed(KINDS))),
    }


def judge(s: Settings, found: dict[str, Numpy], fine: Numpy, fitted: str) -> list[Finding]:
    """Give each claim its interval over seeds. fine: `[seeds]`, False where a network diverged. fitted: a note."""
    findings = []
    for name, claim in claims(s).items():
        nets = "adversarial" in name
        lost = f"; left out: {(~fine).sum()} seeds with a network that diverged" if nets and not fine.all() else ""
        findings.append(
            finding(claim, student(found[name], mask=fine if nets else None), note=fitted + lost if nets else "")
        )
    return findings


def pictures(s: Settings, drawn: dict[str, Numpy], courses: dict[str, dict[str, Numpy]]) -> list[records.Picture]:
    """Draw accuracies along the spectrum, of the first features together, what features see, and the dynamics."""
    at, names = np.array(s.features), {"as they are": 0, "attacked": 2}
    spread = [i for i, k in enumerate(s.features) if k in (1, 2, 3, 5, 10, 20, 40, 100)]
    shape = images.SHAPE[s.data]
    looks = drawn["images"][0, spread].reshape(-1, *shape)
    size = np.abs(looks).max((1, 2, 3), keepdims=True)
    epochs = np.arange(s.kernels) * (s.steps // s.kernels)
    return [
        records.Picture(
            "features",
            figures.against_strength(
                at + 1, {name: drawn["feature"][..., i] for name, i in names.items()},
                title="Features down the spectrum", xlabel="place of the eigenvalue, 1 the largest",
                ylabel="accuracy of the feature's sign",
            ),
            "Accuracy of the sign of each eigenvector's feature on test images, as they are and under attack.",
            "Two lines against place: accuracy stays about a half, under attack it falls to zero.",
        ),
        records.Picture(
            "first",
            figures.against_strength(
                np.append(at + 1, s.images), {name: drawn["first"][..., i] for name, i in names.items()},
                title="The first features together", xlabel="how many features, from the largest eigenvalue",
                ylabel="accuracy",
            ),
            "Accuracy of kernel regression that keeps the first features alone; the last point is the whole kernel.",
            "Two lines against the number of features: accuracy rises, under attack it rises and may fall again.",
        ),
        records.Picture(
            "looks",
            figures.grid(
                (looks / (2 * size) + 0.5).squeeze(-1) if shape[-1] == 1 else looks / (2 * size) + 0.5,
                title="Training images weighted by features", columns=4,
                labels=[f"feature {s.features[i]}" for i in spread],
            ),
            "The training images in the weights of a feature, first seed: grey is zero.",
            "Weighted images: smooth shapes for the first features, fine texture for later ones.",
        ),
        records.Picture(
            "velocity",
            figures.against_strength(
                epochs, {f"{kind} training": courses[kind]["velocity"] for kind in KINDS}, log=False,
                title="How fast the kernel turns", xlabel="step", ylabel="distance to the next kernel",
            ),
            "Distance (1 - cosine) of each kernel from the next, all intervals of the same length.",
            "Two falling lines, for standard and adversarial training.",
        ),
    ]  # fmt: skip


def rows(s: Settings, drawn: dict[str, Numpy], courses: dict[str, dict[str, Numpy]]) -> dict[str, Numpy]:
    """Give the tidy table: what was measured ("feature", "first", "standard", ...), of which seed, where, its value.

    at: a feature's place from 0, the last feature of several, or the step of a kernel.
    """
    parts, every = [], s.steps // s.kernels
    for what in ("feature", "first"):
        places = np.append(s.features, s.images - 1)[: drawn[what].shape[1]]
        for i, name in enumerate(("clean", "one_step", "robust")):
            parts.append((what, name, places, drawn[what][..., i]))
    for kind in KINDS:
        for name, values in courses[kind].items():
            values = values.reshape(s.seeds, -1)
            places = np.full(1, s.steps) if values.shape[1] == 1 else np.arange(values.shape[1]) * every
            parts.append((kind, name, places, values))
    sizes = [values.size for *_, values in parts]
    return {
        "what": np.repeat([part[0] for part in parts], sizes),
        "quantity": np.repeat([part[1] for part in parts], sizes),
        "seed": np.concatenate([np.repeat(np.arange(s.seeds), values.shape[1]) for *_, values in parts]),
        "at": np.concatenate([np.tile(places, s.seeds) for _, _, places, _ in parts]),
        "value": np.concatenate([values.ravel() for *_, values in parts]),
    }


def run(s: Settings) -> None:
    """Measure the features, train, measure the kernels, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=s.data == "digits",
        title="Robust features and the spectrum of the tangent kernel",
        question="Do the features that the eigenvectors of a tangent kernel are grow fragile down its spectrum?",
    )  # fmt: skip
    claims(s)
    pair, split = Pair.load(s), images.by_name(s.data)
    measured = sweep(
        measurement(partial(features, s), pair), table.grid({}, s.seeds), pair, steps=1, chunk=1, config=work.config,
        out=s.out / "runs" / "features", **s.driver(),
    )  # fmt: skip
    data = jnp.asarray(split.train.images), jnp.asarray(split.train.labels)
    trained = {kind: train(s, kind, data, work.config) for kind in KINDS}
    if work.waits(min(len(done.runs) for done in (measured, *trained.values())), s.seeds):
        return
    tested = max(s.tested, s.examples)
    test = jnp.asarray(split.test.images[:tested]), jnp.asarray(split.test.labels[:tested])
    drawn = {name: values.astype(np.float64) for name, values in measured.map(lambda state, _: state.found).items()}
    courses = {
        kind: {name: values.astype(np.float64) for name, values in done.map(partial(dynamics, s), test).items()}
        for kind, done in trained.items()
    }
    diverged = {f"{kind}: {run}": t for kind, done in trained.items() for run, t in done.diverged.items()}
    lost = [run.seed for done in trained.values() for run in done.runs if run.id in done.diverged]
    found, fine = estimates(s, drawn, courses), ~np.isin(np.arange(s.seeds), lost)
    ends = [trained[kind].history["robust" if kind == "adversarial" else "clean"][fine, -1].mean() for kind in KINDS]
    fitted = "training images told rightly at the end: {:.1%}, by adversarial training under attack {:.1%}"
    work.write(
        judge(s, found, fine, fitted.format(*ends)),
        pictures=pictures(s, drawn, courses),
        rows=rows(s, drawn, courses),
        diverged=diverged,
    )


PRESETS = {
    "quick": Settings(),
    "medium": Settings(
        seeds=5, data="fashion-mnist", classes=(2, 4), images=2000, tested=500, eps=0.1, network="cnn", steps=4000,
        batch=250, lr=0.01,
    ),
    "full": Settings(
        seeds=10, data="cifar-10", classes=(0, 1), images=2000, tested=1000, eps=8 / 255, network="cnn", steps=40_000,
        batch=250, lr=0.01, kernels=200, examples=250, attack_steps=20,
    ),
}  # fmt: skip

if __name__ == "__main__":
    cli.main(run, PRESETS)
