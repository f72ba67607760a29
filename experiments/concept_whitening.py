"""Do the axes of a whitened layer say what concepts they were turned to, at no cost to the task?

    python experiments/concept_whitening.py quick     some three minutes on two CPU cores: 6 seeds, 32 x 32 pixels
    python experiments/concept_whitening.py full      the published 64 x 64 pixels, a wider net, longer; an accelerator

Chen, Bei and Rudin (2020) put concept whitening in the place of a batch normalisation and find that the axes tell
concepts apart, that concepts are apart in the layer, and that accuracy does not suffer. Here the concepts are the three
shapes of dSprites, which are exact, and a part of the task: its label is the shape and the half of the picture that it
lies in. With `--task scale` it is the size, which is seen only by a net that knows the shape (a small square covers as
much as a large heart), though no label says it; with `--task place` the quarter, for which shapes do not matter.

An axis is scored by the area under the ROC curve of its activation, of the concept's images against all others, on new
images. Beside it stand: the same whitened features with axes at random; axes turned to examples of random shapes; the
best axis of the same net without whitening, and with batch normalisation, each chosen (with its sign) on other images;
and a linear probe of all axes of the plain net, which is the paper's rival, a concept activation vector.

Three shapes of which every image has one cannot all have axes of their own: the means of whitened features lie in a
plane, 120 degrees apart, and axes are at right angles, so each is given a third of a direction that tells nothing. For
the same reason their cosines are -1/2 in any layer that is centred, so batch normalisation does as well there.
By "max" and "pooled max", the released default, axes had areas of .5 to .7 in a trial where a probe had .9: what the
places that excite an axis most have in common (here lies a sprite) is more than what tells shapes apart, and all axes
turn to it. The mean over places, the task, the sizes and the length of training were chosen in trials of two seeds.

Rivals must have learnt the task too. With nothing to normalise the other layers, whitened nets had an accuracy of .97
after 1,200 steps and plain nets .58: they told the half of the picture and no shape, at any of three learning rates. As
in the paper's nets all layers are normalised therefore, here each image's by itself. And the axes must be read as the
net reads them. Where it took the strongest places along rows and columns into two dense layers, accuracy was .98, axes
read by their means had .82 (.86 to .92 a probe), no more after 2,400 steps, and by the maximum .73. So the net is now
told means along rows and columns, and is linear after the layer; the length was set by two seeds, which had .95.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from interp_jax.concepts import whitening
from interp_jax.concepts.metrics.separability import separability
from interp_jax.concepts.whitening import Activation, Statistics, Whitening
from interp_jax.core import checks, keys
from interp_jax.core.ranking import roc_auc_one_versus_rest
from interp_jax.core.types import Array, ArrayLike, Key, Numpy, PyTree
from interp_jax.data import dsprites, factors
from interp_jax.linear import fits, logistic
from interp_jax.models.batched import between
from interp_jax.models.nets import Net, functional
from interp_jax.models.strided import After, Before
from interp_jax.report import contrasts, experiment, figures, records
from interp_jax.report.claims import Claim, Direction, Finding
from interp_jax.report.contrasts import Stated
from interp_jax.runs import cli
from interp_jax.train import table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.train.trainer import Trainer, trainer

PAPER = "Chen, Bei and Rudin 2020, Concept Whitening for Interpretable Image Recognition"
CONCEPTS = len(dsprites.SHAPES)
ARMS = {
    "whitened": "whitened, axes turned to concepts", "shuffled": "whitened, turned to random examples",
    "normalised": "batch normalisation", "plain": "nothing in its place",
}  # fmt: skip
ACTIVATIONS: dict[str, Activation] = {
    "mean": whitening.mean, "max": whitening.maximum, "positive mean": whitening.positive_mean,
    "pooled max": whitening.pooled_max,
}  # fmt: skip
SHOWN = 8  # images that excite an axis most, in the figure


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 6
    """How many networks of each kind."""
    task: Literal["shape and side", "scale", "place"] = "shape and side"
    """What the networks are trained to tell."""
    size: int = 32
    """Pixels a side."""
    scales: int = 3
    """How many of the six sizes of sprites, the largest."""
    channels: tuple[int, int, int, int] = (12, 24, 24, 24)
    """Channels of the convolutions before the layer; the last are its axes."""
    activation: Literal["mean", "max", "positive mean", "pooled max"] = "mean"
    """How an axis' map is read."""
    steps: int = 1200
    """Training steps."""
    chunk: int = 400
    """Steps in a unit of work."""
    batch: int = 32
    """Images a step, and of each concept an alignment."""
    lr: float = 4e-3
    """Adam's learning rate, which falls to zero along a cosine."""
    every: int = 10
    """Steps between alignments; 30 in the paper, whose training was longer."""
    images: int = 1500
    """Images that are scored, and as many others on which axes are chosen and probes fitted; the same for all runs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, steps=self.steps, chunk=self.chunk, every=self.every, batch=self.batch)
        checks.whole(100, images=self.images)
        checks.positive(lr=self.lr)
        if self.size % 16 or self.size < 16:
            raise ValueError(f"want size a multiple of 16, got size={self.size}")
        if not 1 <= self.scales <= dsprites.FACTOR_SIZES[1]:
            raise ValueError(f"want 1 <= scales <= {dsprites.FACTOR_SIZES[1]}, got scales={self.scales}")
        if min(self.channels) < 1 or self.channels[-1] < CONCEPTS:
            raise ValueError(f"want channels of at least {CONCEPTS} axes at the layer, got channels={self.channels}")


class Parts(NamedTuple):
    """The net in its two parts, and the layer that may stand between."""

    before: Net
    layer: Whitening
    after: Net


class Scored(NamedTuple):
    """Images `[N, size, size, 1]`, their factors `[N, 5]` and labels `[N]`."""

    images: Array
    factors: Array
    labels: Array


def parts(s: Settings, *, decorrelate: bool = True) -> Parts:
    """Make the net of these settings."""
    side, axes = s.size // 8, s.channels[-1]
    classes = {"shape and side": 2 * CONCEPTS, "scale": s.scales, "place": 4}[s.task]
    before = functional(Before(s.channels), jnp.zeros((s.size, s.size, 1)))
    after = functional(After(classes), jnp.zeros((side, side, axes)))
    return Parts(before, Whitening(axes, CONCEPTS, ACTIVATIONS[s.activation], decorrelate=decorrelate), after)


def label(s: Settings, row: Array) -> Array:
    """Give the class of one combination of factors `[5]`."""
    right, low = ((row[i] >= dsprites.FACTOR_SIZES[i] // 2).astype(jnp.int32) for i in (3, 4))
    return {
        "shape and side": 2 * row[0] + right,
        "scale": row[1] - dsprites.FACTOR_SIZES[1] + s.scales,
        "place": 2 * low + right,
    }[s.task]


def sample(s: Settings, key: Key, n: int) -> Array:
    """Draw `n` combinations of factors, `[n, 5]`, of the largest sizes."""
    rows = factors.sample_factors(key, (CONCEPTS, s.scales, *dsprites.FACTOR_SIZES[2:]), n)
    return rows.at[:, 1].add(dsprites.FACTOR_SIZES[1] - s.scales)


def draw(s: Settings, key: Key, n: int) -> Scored:
    """Draw images with their labels."""
    rows = sample(s, key, n)
    return Scored(factors.images(dsprites.data(s.size), rows), rows, jax.vmap(partial(label, s))(rows))


def examples(s: Settings, key: Key, shuffled: ArrayLike) -> Array:
    """Draw images of each shape, `[3, batch, size, size, 1]`, or of random shapes in its stead if shuffled is 1."""

    def of(key: Key, shape: Array) -> Array:
        rows = sample(s, key, s.batch)
        fixed = rows.at[:, 0].set(shape)
        return factors.images(dsprites.data(s.size), jnp.where(jnp.asarray(shuffled) > 0, rows, fixed))

    return jax.vmap(of)(jax.random.split(key, CONCEPTS), jnp.arange(CONCEPTS))


def make(s: Settings, arm: str, *, shuffled: ArrayLike = 0) -> Trainer:
    """Make the Trainer of one kind; all kinds begin with the same weights and see the same batches."""
    net = parts(s, decorrelate=arm != "normalised")
    optimizer = optax.adam(optax.cosine_decay_schedule(s.lr, s.steps))

    def batch(data: PyTree, key: Key, t: Array) -> tuple[Array, Array]:
        drawn = draw(s, keys.at(key, t), s.batch)
        return drawn.images, drawn.labels

    def loss(logits: Array, labels: Array) -> tuple[Array, dict[str, Array]]:
        value = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return value, {"accuracy": jnp.mean(jnp.argmax(logits, 1) == labels, dtype=value.dtype)}

    def shown(data: PyTree, key: Key, t: Array) -> Array:
        return examples(s, keys.at(key, t), shuffled)

    if arm != "plain":
        every = None if arm == "normalised" else s.every
        return whitening.trainer(*net, loss, batch, shown, optimizer, every=every)

    def whole(params: PyTree, examples: tuple[Array, Array], key: Key) -> tuple[Array, dict[str, Array]]:
        one = lambda x: net.after.apply(params["after"], net.before.apply(params["before"], x))  # noqa: E731
        return loss(jax.vmap(one)(examples[0]), examples[1])

    return trainer(lambda key: between(*net).init(key)[0], whole, batch, optimizer)


def measure(s: Settings, arm: str, state: PyTree, data: tuple[Scored, Scored]) -> dict[str, Array]:
    """Score one net: accuracy `[]`, areas under the ROC curve `[3]` of axes, random axes, the best and a probe.

    data: images to choose and fit on, and images to score. alike: mean ratio of cosines between concepts to those
    within, `[]`. top: `[3, SHOWN]`, which of the scored images excite the first axes most.
    """
    net = parts(s, decorrelate=arm != "normalised")
    stats = net.layer.init() if arm == "plain" else state.stats
    noise = jax.random.orthogonal(keys.stream(state.key, "axes"), s.channels[-1])
    (first, chosen_of), (features, classes) = (_features(net, state, each) for each in data)
    areas = _areas(_activations(net, stats, first), chosen_of)
    best = jnp.argmax(jnp.abs(areas - 0.5), 0)
    sign = jnp.sign(jnp.take_along_axis(areas, best[None], 0)[0] - 0.5)
    scored = _activations(net, stats, features)
    turned = _activations(net, stats._replace(rotation=noise), features)
    others, white = (net.layer.apply_batch((), stats, each, training=False)[0] for each in (first, features))
    fit = logistic.fit(others.mean((1, 2)), jax.nn.one_hot(chosen_of, CONCEPTS), 1.0)
    points = white.mean((1, 2))
    logits = jax.lax.map(lambda y: net.after.apply(state.params["after"], y), white, batch_size=250)
    return {
        "accuracy": jnp.mean(jnp.argmax(logits, 1) == data[1].labels, dtype=jnp.float32),
        "axis": roc_auc_one_versus_rest(scored[:, :CONCEPTS], classes),
        "random": roc_auc_one_versus_rest(turned[:, :CONCEPTS], classes),
        "best": roc_auc_one_versus_rest(scored[:, best] * sign[None], classes),
        "probe": roc_auc_one_versus_rest(fits.predict(fit, points), classes),
        "alike": 1 - separability(points, jax.nn.one_hot(classes, CONCEPTS)),
        "top": jax.lax.top_k(scored[:, :CONCEPTS].T, SHOWN)[1],
    }


def _features(net: Parts, state: PyTree, scored: Scored) -> tuple[Array, Array]:
    """Give the layer's features `[N, h, w, D]`, and which shape each image shows, `[N]`."""
    before = lambda x: net.before.apply(state.params["before"], x)  # noqa: E731
    return jax.lax.map(before, scored.images, batch_size=250), scored.factors[:, 0]


def _activations(net: Parts, stats: Statistics, features: Array) -> Array:
    """Read all axes, `[N, D]`."""
    return jax.lax.map(partial(net.layer.activations, stats), features, batch_size=250)


def _areas(scores: Array, classes: Array) -> Array:
    """Give the area under the ROC curve of each score `[N, D]` for each concept: `[D, 3]`."""
    each = lambda score: jnp.tile(score[:, None], (1, CONCEPTS))  # noqa: E731
    return jax.vmap(lambda score: roc_auc_one_versus_rest(each(score), classes), 1)(scores)


AREA = "area under the ROC curve of the concepts' axes"
STATED = {
    "axes_tell_concepts": Stated(
        "The axes of a whitened layer tell the concepts that they were turned to.", f"{AREA}, mean of three, less 1/2",
        ("whitened", "axis"), 0.5, 0.45, published="they do (no number read)",
    ),
    "accuracy_is_not_less_than_the_plain_nets": Stated(
        "A whitened net loses less than a point of accuracy against one without.",
        "accuracy, whitened minus plain net, plus the point allowed", ("whitened", "accuracy"), ("plain", "accuracy"),
        0.0, published="no loss (no number read)", allowed=0.01,
    ),
    "accuracy_is_not_less_than_the_normalised_nets": Stated(
        "A whitened net loses less than a point of accuracy against a batch-normalised one.",
        "accuracy, whitened minus normalised net, plus the point allowed", ("whitened", "accuracy"),
        ("normalised", "accuracy"), 0.0, published="no loss (no number read)", allowed=0.01,
    ),
    "turning_matters": Stated(
        "Axes at random in the same whitened features tell less.", f"{AREA}, turned minus random axes",
        ("whitened", "axis"), ("whitened", "random"), 0.1,
    ),
    "concepts_matter": Stated(
        "Axes turned to examples of random shapes tell less.",
        f"{AREA}, turned to concepts minus turned to random examples", ("whitened", "axis"), ("shuffled", "axis"), 0.1,
    ),
    "better_than_the_best_axes_of_a_plain_net": Stated(
        "No single axis of a plain net tells a concept as well.", f"{AREA}, minus the best axes of the plain net",
        ("whitened", "axis"), ("plain", "best"), 0.02, published="better (no number read)",
    ),
    "better_than_the_best_axes_under_batch_normalisation": Stated(
        "No single axis of a batch-normalised net tells a concept as well.",
        f"{AREA}, minus the best axes of the normalised net", ("whitened", "axis"), ("normalised", "best"), 0.02,
        published="better (no number read)",
    ),
    "better_than_a_probe": Stated(
        "An axis tells a concept better than a linear probe of a plain net does.",
        f"{AREA}, minus a logistic probe of all axes of the plain net", ("whitened", "axis"), ("plain", "probe"), 0.01,
        published="better than activation vectors (no number read)",
    ),
    "concepts_are_apart": Stated(
        "Concepts are further apart in a whitened layer than under batch normalisation.",
        "mean ratio of cosines between concepts to those within, whitened minus normalised net", ("whitened", "alike"),
        ("normalised", "alike"), 0.1, Direction.LESS, published="nearly at right angles (no number read)",
    ),
}  # fmt: skip


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    scope = (
        f"dSprites of {s.size} x {s.size} pixels, the {s.scales} largest sizes, task {s.task}, {s.channels[-1]} axes, "
        f"activation {s.activation}, {s.steps:,} steps of {s.batch} images"
    )
    return contrasts.claims(STATED, source=PAPER, scope=scope, primary="axes_tell_concepts", published=None)


def each_seed(values: Numpy) -> Numpy:
    """Give a quantity of each seed, `[S]`: the mean of its concepts if it has several."""
    return values.reshape(len(values), -1).mean(1)


def judge(s: Settings, found: Mapping[str, Mapping[str, Numpy]], fine: Numpy) -> list[Finding]:
    """Give each claim its interval over seeds. fine: `[S]`, False where a net of any kind diverged."""

    def of(what: str, *nets: str) -> list[str]:
        return [f"{net} {found[net][what][fine].mean():.3f}" for net in nets]

    trained = of("accuracy", "whitened", "normalised", "plain")
    notes = {
        "axes_tell_concepts": ["least shape {:.3f}".format(found["whitened"]["axis"][fine].mean(0).min())],
        "accuracy_is_not_less_than_the_plain_nets": trained,
        "accuracy_is_not_less_than_the_normalised_nets": trained,
        "concepts_are_apart": [
            *of("alike", "plain"),
            "one half is what three concepts have, of which each image has one, in any layer that is centred",
        ],
        "better_than_a_probe": ["probe: " + "; ".join(of("probe", "whitened", "normalised", "plain"))],
    }
    values = {(net, what): each_seed(each) for net, own in found.items() for what, each in own.items()}
    return contrasts.judge(claims(s), STATED, values, notes, mask=fine)


def pictures(s: Settings, found: Mapping[str, Mapping[str, Numpy]], scored: Scored) -> list[records.Picture]:
    """Draw the areas by kind of net and by concept, accuracies, and what excites the first axes most."""
    read = {"first axes": "axis", "axes at random": "random", "best axes": "best", "linear probe": "probe"}
    areas = {ARMS[arm]: {name: each_seed(each[what]) for name, what in read.items()} for arm, each in found.items()}
    rates = {ARMS[arm]: {"accuracy": each["accuracy"]} for arm, each in found.items()}
    ylabel, top = "area under the ROC curve", found["whitened"]["top"][0]
    return [
        records.Picture(
            "areas", figures.groups(areas, title="How well axes tell shapes", ylabel=ylabel),
            "Area under the ROC curve of each shape against the others on new images, mean of three shapes: the first "
            "three axes, three at random, the best three (chosen on other images), and a linear probe of all.",
            "Four groups, one for each kind of net: the first axes are high where they were turned to concepts.",
        ),
        records.Picture(
            "accuracy", figures.groups(rates, title=f"The task: {s.task}", ylabel="accuracy on new images"),
            "Accuracy at the task, by what stands at the layer.", "Four groups of dots at about the same height.",
        ),
        records.Picture(
            "top",
            figures.grid(
                np.asarray(scored.images)[top.ravel()], title="What excites the axes most, first seed",
                columns=SHOWN, labels=[shape for shape in dsprites.SHAPES for _ in range(SHOWN)],
            ),
            "The images that excite each concept's axis most, of those that are scored; beneath is the axis' concept.",
            "Three rows of sprites: squares, ellipses and hearts, as far as the axes tell them.",
        ),
    ]  # fmt: skip


def columns(s: Settings, found: Mapping[str, Mapping[str, Numpy]]) -> dict[str, Numpy]:
    """Give the tidy table, one row a net."""
    kept = {"net": np.repeat(list(found), s.seeds), "seed": np.tile(np.arange(s.seeds), len(found))}
    for what in ("accuracy", "alike"):
        kept[what] = np.concatenate([each[what] for each in found.values()])
    for what in ("axis", "random", "best", "probe"):
        for i, shape in enumerate(dsprites.SHAPES):
            kept[f"{what}_{shape}"] = np.concatenate([each[what][:, i] for each in found.values()])
    return kept


def run(s: Settings) -> None:
    """Train nets of each kind, score them, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=s.size < 64,
        title="Concept whitening",
        question="Do the axes of a whitened layer say what concepts they were turned to, at no cost to the task?",
    )  # fmt: skip
    claims(s)
    defines = {key: value for key, value in work.config.items() if key != "images"}
    trained: dict[str, Sweep] = {
        arm: sweep(
            partial(make, s, arm), table.grid({"shuffled": (0, 1)} if arm == "whitened" else {}, s.seeds), (),
            steps=s.steps, chunk=s.chunk, config=defines | {"net": arm}, out=s.out / "runs" / arm,
            **s.driver(),
        )
        for arm in ("whitened", "normalised", "plain")
    }  # fmt: skip
    if work.waits(sum(len(done.runs) for done in trained.values()), len(ARMS) * s.seeds):
        return
    data = jax.jit(lambda: tuple(draw(s, jax.random.key(2020 + i), s.images) for i in range(2)))()
    measured = {arm: done.map(partial(measure, s, arm), data) for arm, done in trained.items()}
    mixed = np.array([run.hyperparameters["shuffled"] == 1 for run in trained["whitened"].runs])
    both = [{what: values[rows] for what, values in measured["whitened"].items()} for rows in (~mixed, mixed)]
    found = dict(zip(ARMS, (*both, measured["normalised"], measured["plain"]), strict=True))
    lost = [run.seed for done in trained.values() for run in done.runs if run.id in done.diverged]
    diverged = {f"{arm}: {run}": at for arm, done in trained.items() for run, at in done.diverged.items()}
    work.write(
        judge(s, found, ~np.isin(np.arange(s.seeds), lost)),
        pictures=pictures(s, found, data[1]),
        rows=columns(s, found),
        diverged=diverged,
    )


PRESETS = {
    "quick": Settings(),
    "full": Settings(
        seeds=20, size=64, scales=6, channels=(32, 64, 64, 64), steps=20_000, chunk=1000, batch=64, lr=1e-3, every=30
    ),
}

if __name__ == "__main__":
    cli.main(run, PRESETS)
