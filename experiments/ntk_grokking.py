"""Do the tangent kernel's top eigenspaces turn into Fourier features when a network groks modular addition?

    python experiments/ntk_grokking.py quick     about two minutes on two CPU cores: p = 19, 8 seeds
    python experiments/ntk_grokking.py full      an accelerator: p = 59, 30 seeds

Lin (2025) trains one hidden layer on (a + b) mod p and finds that top eigenspaces of its empirical tangent kernel
(eNTK) are the Fourier features that the network computes with, and that alignment rises fastest about when it groks.

The families of features on all p^2 pairs are the waves of every frequency of a, of b, of a + b and of a - b, p - 1
dimensions each. What a subspace holds of a family is the mean share `|P f|^2 / |f|^2`; of a random one R / (p^2 - 1).
Subspaces have R = 2 (p - 1) dimensions: the first eigenvectors of the centred trace kernel over all pairs, of each
layer's kernel, of the untrained network's, and principal components of the hidden units.

Two of them are known beforehand, and the claims are read against that. Before training a wide network's kernel depends
only on whether a = a' and b = b', so its top eigenspace of 2 (p - 1) dimensions is that of all functions of a plus
functions of b: the waves of a and of b, all of them, with nothing learnt. And the trace kernel of the last, linear,
layer is the Gram matrix of the hidden units: its eigenvectors are their principal components.

Alignment is the share of the family of a + b. Its steepest rise is the middle of the steepest interval between
measurements; grokking begins where the accuracy on unseen pairs first crosses one half, interpolated. The rule, stated
before the run: their ratio is within a factor of 1.5. A seed that never reaches 95% is left out, counted and named.

What the paper leaves open is decided so (on seeds of key 5000, none of which are reported): squares for activations and
squared error on one-hot targets (Gromov 2023), full batches, AdamW, weight decay 0.5. All of 8 seeds grok so, the test
accuracy crossing one half at 800 to 1,400 steps when training accuracy is 1 at 50; with ReLU one in eight reached one
half within 4,000 steps of weight decay 1.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from interp_jax.core import checks, keys
from interp_jax.core.correlation import spearman
from interp_jax.core.intervals import paired, student
from interp_jax.core.types import Array, Key, Numpy, PyTree
from interp_jax.data import toys as data
from interp_jax.models.nets import Net, functional
from interp_jax.models.toys import ModularMLP
from interp_jax.ntk import comparison, kernels
from interp_jax.report import experiment, figures, records
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli
from interp_jax.train import table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.train.trainer import Kept, Trainer, TrainState, snapshots, trainer

Values = Any
"""An array: of JAX where it is measured, of numpy with a first axis of seeds where it is judged."""
LIN = "Lin 2025, Feature Identification via the Empirical NTK, arXiv 2510.00468"
FAMILIES = ("a", "b", "a + b", "a - b")
SUBSPACES = ("eNTK", "eNTK untrained", "eNTK of layer 1", "eNTK of layer 2", "hidden PCA")
GROKKED = 0.95


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 8
    """How many seeds, each a network and a choice of training pairs."""
    modulus: int = 19
    """p."""
    width: int = 128
    """Hidden units."""
    share: float = 0.6
    """Share of the p^2 pairs that is trained on."""
    weight_decay: float = 0.5
    """AdamW's."""
    lr: float = 3e-3
    """AdamW's learning rate."""
    steps: int = 3000
    """Training steps."""
    every: int = 50
    """Steps between measurements."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(5, modulus=self.modulus)
        checks.whole(1, width=self.width, steps=self.steps, every=self.every)
        checks.positive(lr=self.lr)
        checks.not_negative(weight_decay=self.weight_decay)
        if self.modulus % 2 == 0:
            raise ValueError(f"want an odd modulus, whose frequencies all have a cosine and a sine, got {self.modulus}")
        if not 1 <= round(self.share * self.modulus**2) < self.modulus**2:
            raise ValueError(f"want 0 < share < 1, with pairs on both sides, got share={self.share}")
        if self.steps % self.every or self.steps < 2 * self.every:
            raise ValueError(
                f"want steps a multiple of every, twice at least, got steps={self.steps}, every={self.every}"
            )

    @property
    def dimensions(self) -> int:
        """Give R, the number of dimensions of functions of a plus functions of b, without the constant."""
        return 2 * (self.modulus - 1)


class Pairs(NamedTuple):
    """The whole table. pairs: `[M, 2]`. sums: `[M]`. waves: `[M, 4 (p - 1)]`, the families side by side."""

    pairs: Array
    sums: Array
    waves: Array

    @classmethod
    def load(cls, s: Settings) -> "Pairs":
        """Make all pairs and their features."""
        every, one = data.modular_addition(s.modulus), data.waves(s.modulus)
        a, b = every.pairs.T
        waves = np.concatenate([one[of % s.modulus] for of in (a, b, a + b, a - b)], 1)
        return cls(jnp.asarray(every.pairs), jnp.asarray(every.sums), jnp.asarray(waves, jnp.float32))


class Seen(NamedTuple):
    """What is measured during training, after 0, every, 2 every, ... steps. The first axis is time where T is written.

    accuracy: of training pairs and of the others, `[T, 2]`. shares: of the families in the eNTK and in the hidden
    principal components, `[T, 2, 4]`.
    """

    accuracy: Values
    shares: Values


def network(s: Settings) -> Net:
    """Make the model."""
    return functional(ModularMLP(s.modulus, s.width), jnp.zeros(2, jnp.int32))


def split(s: Settings, key: Key) -> tuple[Array, Array]:
    """Choose a run's training pairs: indices of those and of the others. key: of the stream `batch`."""
    order = jax.random.permutation(key, s.modulus**2)
    size = round(s.share * s.modulus**2)
    return order[:size], order[size:]


def training(s: Settings, net: Net, given: Pairs) -> Trainer:
    """Minimise squared error on one-hot sums, all training pairs at once, and measure as it goes."""

    def loss(params: PyTree, batch: tuple[Array, Array], key: Key) -> tuple[Array, dict]:
        pairs, sums = batch
        errors = jax.vmap(net.apply, (None, 0))(params, pairs) - jax.nn.one_hot(sums, s.modulus)
        return jnp.mean(jnp.sum(errors**2, 1)), {}

    def batch(given: Pairs, key: Key, t: Array) -> tuple[Array, Array]:
        chosen, _ = split(s, key)
        return given.pairs[chosen], given.sums[chosen]

    optimizer = optax.adamw(s.lr, b2=0.98, weight_decay=s.weight_decay)
    inner = trainer(net.init, loss, batch, optimizer)
    return snapshots(inner, partial(look, s, net), given, every=s.every, count=s.steps // s.every)


def look(s: Settings, net: Net, state: TrainState, given: Pairs) -> Seen:
    """Measure the network once."""
    right = jax.vmap(net.apply, (None, 0))(state.params, given.pairs).argmax(1) == given.sums
    accuracy = jnp.stack([right[part].mean() for part in split(s, keys.stream(state.key, "batch"))])
    spaces = top(s, net, state.params, given), components(s, net, state.params, given)
    return Seen(accuracy, jnp.stack([families(space.vectors, given) for space in spaces]))


def top(s: Settings, net: Net, params: PyTree, given: Pairs, *layers: str) -> comparison.Space:
    """Give the top of the centred trace kernel of some layers over all pairs; those of all layers sum to the whole."""
    some = {layer: params[layer] for layer in layers or params}
    kernel = kernels.trace(lambda own, x: net.apply(params | own, x), some, given.pairs)
    return comparison.eigenspace(comparison.centre(kernel), s.dimensions)


def components(s: Settings, net: Net, params: PyTree, given: Pairs) -> comparison.Space:
    """Give the first R principal components of the hidden units over all pairs."""
    hidden = jax.vmap(lambda pair: net.apply(params, pair, represent=True))(given.pairs)
    return comparison.components(hidden, s.dimensions)


def families(vectors: Array, given: Pairs) -> Array:
    """Give the mean share of each family, `[4]`."""
    return comparison.captured(vectors, given.waves).reshape(4, -1).mean(1)


class Looked(NamedTuple):
    """What is measured of one trained network, and while it trained.

    seen: over time. accuracy: at the end, `[2]`. shares: subspace -> share of every wave, `[4 (p - 1)]`. values: first
    3 R eigenvalues of the centred kernel after training and before, `[2, 3 R]`. place: where their cliffs are, `[2]`.
    """

    seen: Seen
    accuracy: Values
    shares: dict[str, Values]
    values: Values
    place: Values


def measure(s: Settings, net: Net, course: Kept, given: Pairs) -> Looked:
    """Measure a trained network."""
    state = course.state
    untrained = net.init(keys.stream(state.key, "init"))
    spaces = [
        top(s, net, state.params, given),
        top(s, net, untrained, given),
        top(s, net, state.params, given, "Dense_0"),
        top(s, net, state.params, given, "Dense_1"),
        components(s, net, state.params, given),
    ]
    shares = [comparison.captured(space.vectors, given.waves) for space in spaces]
    values = jnp.stack([space.values[: 3 * s.dimensions] for space in spaces[:2]])
    return Looked(
        course.taken, look(s, net, state, given).accuracy, dict(zip(SUBSPACES, shares, strict=True)), values,
        jax.vmap(lambda each: comparison.cliff(each, 3, 2 * s.dimensions).place)(values),
    )  # fmt: skip


def onset(s: Settings, accuracy: Numpy) -> Numpy:
    """Give the step at which `[seeds, T]` first crosses one half, linear between measurements; NaN where never."""
    above = accuracy >= 0.5
    at = np.maximum(above.argmax(1), 1)
    rows = np.arange(len(accuracy))
    low, high = accuracy[rows, at - 1], accuracy[rows, at]
    step = (at - 1 + (0.5 - low) / np.where(high > low, high - low, 1)) * s.every
    return np.where(above.any(1) & ~above[:, 0], step, np.nan)


def steepest(s: Settings, alignment: Numpy) -> Numpy:
    """Give the step in the middle of the interval over which `[seeds, T]` rises most."""
    return (np.diff(alignment, axis=1).argmax(1) + 0.5) * s.every


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    share, greater = f"share in the eNTK's top {s.dimensions} less that in ", Direction.GREATER
    stated = {
        "rise_at_grokking": (Direction.EQUIVALENT, float(np.log10(1.5)), "The alignment of the eNTK's top eigenspace "
            "with the features of a + b rises fastest at the onset of grokking.",
            "log10 of the step of steepest rise over the step of 50% test accuracy", "first derivative peaks near it"),
        "rise_follows_grokking": (greater, 0.0, "Seeds that grok later align later.",
            "rank correlation of the two steps", "not given"),
        "sum_family": (greater, 0.1, "Training puts the waves of a + b into the top of the eNTK.",
            share + "the untrained network's, waves of a + b", "aligned, no number"),
        "input_families": (greater, 0.1, "Training puts the waves of a and of b into the top of the eNTK.",
            share + "the untrained network's, waves of a and of b", "aligned, no number"),
        "beats_hidden": (greater, 0.05, "The top of the eNTK holds more of the waves of a + b than hidden activations.",
            share + "as many hidden principal components, waves of a + b",
            "not compared on this model; aligned better than activations in a language model"),
        "cliff": (Direction.EQUIVALENT, 1.0, "A trained network's eNTK has a cliff after the waves of a and of b.",
            f"place of the cliff less {s.dimensions}", "cliffs, in a figure"),
    }  # fmt: skip
    scope = f"p = {s.modulus}, {s.width} hidden units, {s.share:g} of the pairs, weight decay {s.weight_decay:g}"
    return {
        name: Claim(
            name=name, statement=statement, source=LIN, estimand=estimand, unit="seeds", delta=delta,
            direction=direction, scope=scope, published=published, primary=name == "rise_at_grokking",
        )
        for name, (direction, delta, statement, estimand, published) in stated.items()
    }  # fmt: skip


def grokked(s: Settings, looked: Looked) -> Numpy:
    """Tell which seeds grok: their onset is seen, and they end at 95% or above."""
    return np.isfinite(onset(s, looked.seen.accuracy[:, :, 1])) & (looked.accuracy[:, 1] >= GROKKED)


def judge(s: Settings, looked: Looked, fine: Numpy) -> list[Finding]:
    """Give each claim its interval over seeds. fine: `[seeds]`, False where one diverged."""
    stated = claims(s)
    counted = fine & grokked(s, looked)
    rise, start = steepest(s, looked.seen.shares[:, :, 0, 2]), onset(s, looked.seen.accuracy[:, :, 1])
    of = {name: share.reshape(s.seeds, 4, -1).mean(2) for name, share in looked.shares.items()}
    pairs = {
        "sum_family": (of["eNTK"][:, 2], of["eNTK untrained"][:, 2]),
        "input_families": (of["eNTK"][:, :2].mean(1), of["eNTK untrained"][:, :2].mean(1)),
        "beats_hidden": (of["eNTK"][:, 2], of["hidden PCA"][:, 2]),
    }
    never = [f"seed {i}" for i in np.flatnonzero(fine & ~counted)]
    lost = [f"{len(never)} never grokked ({', '.join(never)})"] if never else []
    lost += [f"{(~fine).sum()} diverged"] if not fine.all() else []
    left = "; left out: " + ", ".join(lost) if lost else ""
    if not counted.any():
        return [finding(claim, None, note=left.removeprefix("; ")) for claim in stated.values()]
    notes = {name: f"{a[counted].mean():.3f} against {b[counted].mean():.3f}" for name, (a, b) in pairs.items()} | {
        "rise_at_grokking": f"mean step {rise[counted].mean():.0f} against {start[counted].mean():.0f}",
        "cliff": "mean place {:.1f}, before training {:.1f}".format(*looked.place[counted].mean(0)),
    }
    x, y = rise[counted], start[counted]
    defined = len(x) > 3 and len(set(x)) > 1 and len(set(y)) > 1
    intervals = {name: paired(a, b, mask=counted) for name, (a, b) in pairs.items()} | {
        "rise_at_grokking": student(np.log10(rise / start), mask=counted),
        "rise_follows_grokking": partial(spearman, x, y) if defined else None,
        "cliff": student(looked.place[:, 0] - s.dimensions, mask=counted),
    }
    notes["rise_follows_grokking"] = "" if defined else "too few seeds with different steps"
    return [finding(claim, intervals[name], note=notes[name] + left) for name, claim in stated.items()]


def pictures(s: Settings, looked: Looked, keep: Numpy) -> list[records.Picture]:
    """Draw the course of training, the families in each subspace, the two times and the spectrum."""
    seen = jax.tree.map(lambda leaf: np.where(keep.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, np.nan), looked.seen)
    shown = np.unique(np.linspace(0, s.steps // s.every - 1, 9).astype(int))
    rise, start = steepest(s, looked.seen.shares[:, :, 0, 2])[keep], onset(s, looked.seen.accuracy[:, :, 1])[keep]
    course = {
        "test accuracy": seen.accuracy[:, shown, 1],
        "a + b in eNTK": seen.shares[:, shown, 0, 2],
        "a + b in hidden PCA": seen.shares[:, shown, 1, 2],
        "a, b in eNTK": seen.shares[:, shown, 0, :2].mean(2),
    }
    bars = {
        f"waves of {family}": {name: looked.shares[name].reshape(s.seeds, 4, -1).mean(2)[keep, i] for name in SUBSPACES}
        for i, family in enumerate(FAMILIES)
    }
    places = np.unique(np.ceil(s.dimensions * np.array([0, 0.25, 0.5, 0.75, 1, 1.2, 1.5, 2, 2.5, 3])).clip(1)).astype(
        int
    )
    ratios = looked.values[:, :, places - 1] / looked.values[:, :, :1]
    falls = np.log10(np.maximum(ratios, 1e-9))
    return [
        records.Picture(
            "course",
            figures.against_strength(shown * s.every, course, title="Alignment while the networks grok", log=False,
                xlabel="training step", ylabel="accuracy, or mean share of a family"),
            f"Subspaces of {s.dimensions} dimensions; a random one has {s.dimensions / (s.modulus**2 - 1):.3f}.",
            "Test accuracy and the share of the waves of a + b rise together; that of a and b falls.",
        ),
        records.Picture(
            "families",
            figures.groups(bars, title="What each subspace holds after training", ylabel="mean share of a family"),
            f"Subspaces of {s.dimensions} dimensions; a random one has {s.dimensions / (s.modulus**2 - 1):.3f}. The "
            "kernel of layer 2 is the Gram matrix of the hidden units.",
            "Shares of four families of waves in five subspaces.",
        ),
        records.Picture(
            "times",
            figures.scatter({"seeds": start}, {"seeds": rise / start}, title="Steepest rise and onset of grokking",
                xlabel="step at which test accuracy crosses one half", ylabel="steepest rise / that step"),
            "One point a seed; alignment rises fastest at the onset where the ratio is 1.",
            "Scatter of the ratio of the step of the steepest rise to the onset of grokking, against the onset.",
        ),
        records.Picture(
            "spectrum",
            figures.against_strength(places, {"trained": falls[:, 0], "untrained": falls[:, 1]}, log=False,
                title="The kernel's spectrum before and after", xlabel="place",
                ylabel="log10 of eigenvalue / first"),
            f"Centred trace kernel over all pairs; functions of a and of b fill {s.dimensions} dimensions.",
            "Falling spectra; the untrained one has a step where the functions of a and of b end.",
        ),
    ]  # fmt: skip


def table_of(s: Settings, looked: Looked) -> dict[str, Numpy]:
    """Give the tidy table: one row a seed and time; the last, of the end, has the shares of every subspace."""
    times = s.steps // s.every
    seeds, at = np.meshgrid(np.arange(s.seeds), np.arange(times + 1), indexing="ij")
    start, rise = onset(s, looked.seen.accuracy[:, :, 1]), steepest(s, looked.seen.shares[:, :, 0, 2])
    accuracy = np.concatenate([looked.seen.accuracy, looked.accuracy[:, None]], 1)
    columns = {
        "seed": seeds, "step": at * s.every, "train_accuracy": accuracy[:, :, 0], "test_accuracy": accuracy[:, :, 1],
        "onset": start[seeds], "steepest": rise[seeds],
        "steepest_accuracy": steepest(s, looked.seen.accuracy[:, :, 1])[seeds], "cliff": looked.place[seeds, 0],
        "cliff_untrained": looked.place[seeds, 1],
    }  # fmt: skip
    for name in SUBSPACES:
        of = looked.shares[name].reshape(s.seeds, 4, -1).mean(2)
        for i, family in enumerate(FAMILIES):
            early = np.full((s.seeds, times), np.nan)
            if name in ("eNTK", "hidden PCA"):
                early = looked.seen.shares[:, :, 0 if name == "eNTK" else 1, i]
            columns[f"{name}: {family}"] = np.concatenate([early, of[:, i : i + 1]], 1)
    return {name: column.ravel() for name, column in columns.items()}


def trained(s: Settings, config: dict) -> Sweep:
    """Train all seeds; rerunning resumes."""
    given, times = Pairs.load(s), s.steps // s.every
    some = next(n for n in range(min(times, 10), 0, -1) if times % n == 0)
    return sweep(
        lambda: training(s, network(s), given), table.grid({}, s.seeds), given, steps=s.steps, chunk=some * s.every,
        config=config, out=s.out / "runs", **s.driver(),
    )  # fmt: skip


def run(s: Settings) -> None:
    """Train, measure, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=s.modulus < 50,
        title="The tangent kernel's eigenspaces and grokking",
        question="Do top eigenspaces of the tangent kernel become Fourier features when a network groks?",
    )  # fmt: skip
    claims(s)
    done = trained(s, work.config)
    if work.waits(len(done.runs), s.seeds):
        return
    looked = jax.tree.map(lambda leaf: leaf.astype(np.float64), done.map(partial(measure, s, network(s))))
    fine = np.array([run.id not in done.diverged for run in done.runs])
    keep = fine & grokked(s, looked)
    work.write(
        judge(s, looked, fine), pictures=pictures(s, looked, keep) if keep.any() else [], rows=table_of(s, looked),
        diverged=done.diverged,
    )  # fmt: skip


PRESETS = {
    "quick": Settings(),
    "full": Settings(seeds=30, modulus=59, width=512, share=0.5, weight_decay=0.5, lr=1e-3, steps=20_000, every=200),
}

if __name__ == "__main__":
    cli.main(run, PRESETS)
