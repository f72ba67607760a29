"""Does a conceptual counterfactual name the spurious concept that a network's mistakes come from?

    python experiments/concept_debugging.py quick     some three minutes on two CPU cores: digits, 10 seeds
    python experiments/concept_debugging.py full      Fashion-MNIST, a convolutional net, 20 seeds; an accelerator

Abid, Yuksekgonul and Zou (2022) train classifiers of pictures in which one class always shows with one concept (dogs
with snow), and ask of the test pictures of that class without it, those that are misclassified, what concept there
should have been more of. The spurious one is among the first three in over 90% of them, they report.

Here 60 attributes, exact ones (`data.planted`: marks along the border, tints, stripes), are laid over real images; each
shows in a tenth of all images. One of them, chosen by the seed, shows in most images of one class, also chosen by the
seed, and so rarely elsewhere that it is no more frequent than the other 59: these are decoys, as often there, and not
spurious. All 60 are learnt as concept activation vectors from 50 + 50 images in a hidden layer of the trained net, and
each mistake is explained by all of them. In chance order the planted one is among the first three of 60 in 5%.

Beside it: nets in which nothing was planted, whose mistakes must not be laid at its door; vectors fitted to shuffled
labels; and cheaper scores of the same vectors: the slope of the loss along each (one gradient), the gain by each alone,
and how well each was learnt, which knows nothing of the mistake. The mistakes explained first are those of images of
the class that lack the attribute (it should be added); then, which the paper leaves out, those of other classes that
have it and are taken for the class (it should be removed). Test images are seen with several draws of attributes.

Sizes, the layer and deltas were chosen in trials of three seeds, with support vectors, which named the planted concept
in .86 to 1 of mistakes. Vectors of a discriminant, used here, cost a hundredth.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from interp_jax.concepts import debugging
from interp_jax.concepts.debugging import FIRST, Data, Setup
from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike, Numpy, PyTree
from interp_jax.data import images, planted
from interp_jax.linear import cav, svm
from interp_jax.models.nets import MLP, Conv, Dense, functional
from interp_jax.report import contrasts, experiment, figures, records
from interp_jax.report.claims import Claim, Direction, Finding
from interp_jax.report.contrasts import Stated
from interp_jax.runs import cli
from interp_jax.train import table
from interp_jax.train.sweep import sweep
from interp_jax.train.trainer import Trainer

PAPER = "Abid, Yuksekgonul and Zou 2022, Meaningfully Debugging Model Mistakes using Conceptual Counterfactuals"
CLASSES = 10
CHANCE = FIRST / planted.COUNT
RANKS = np.array([1, 2, 3, 5, 10, 20, 40, planted.COUNT])  # that are drawn
METHODS = {"discriminant": cav.discriminant, "svm": svm.fit_hinge, "means": cav.difference_of_means}


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 10
    """How many networks of each strength; each has an attribute and a class of its own."""
    data: Literal["digits", "fashion-mnist", "mnist"] = "digits"
    """Which images."""
    side: int = 24
    """Pixels a side, with the border that marks lie on."""
    network: Literal["mlp", "cnn"] = "mlp"
    """The network: an MLP, or two convolutions of stride 2 before its layers."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of its hidden layers."""
    layer: int = 1
    """The layer whose activations are explained, from 1; what follows is the head."""
    strengths: tuple[float, ...] = (0.1, 0.5, 0.95)
    """Shares of the class' images that show the attribute; the first is the rate, so nothing is planted."""
    rate: float = 0.1
    """The share of all images that show an attribute."""
    steps: int = 500
    """Training steps."""
    chunk: int = 250
    """Steps in a unit of work."""
    batch: int = 64
    """Images a step."""
    lr: float = 2e-3
    """Adam's learning rate, which falls to zero along a cosine."""
    examples: int = 50
    """Images with a concept, and as many without, that its vector is fitted to; as many others score it."""
    method: Literal["discriminant", "svm", "means"] = "discriminant"
    """How vectors are fitted: Fisher's discriminant with a ridge, the paper's machine (slow), difference of means."""
    alpha: float = 10.0
    """Of the fit: the ridge, or of the machine 1 / C."""
    draws: int = 5
    """How often each test image is seen, with other attributes each time."""
    errors: int = 48
    """The most mistakes of a kind that are explained in a run."""
    steps_each: int = 100
    """Steps of one explanation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, steps=self.steps, chunk=self.chunk, batch=self.batch, draws=self.draws, errors=self.errors)
        checks.whole(1, steps_each=self.steps_each)
        checks.whole(5, examples=self.examples)
        checks.whole(12, side=self.side)
        checks.positive(lr=self.lr, alpha=self.alpha)
        if not self.hidden or min(self.hidden) < 1 or not 1 <= self.layer <= len(self.hidden):
            raise ValueError(f"want a layer of 1 to {len(self.hidden)} of hidden={self.hidden}, got {self.layer}")
        rising = sorted(set(self.strengths)) == [*self.strengths] and len(self.strengths) > 1
        if not rising or self.strengths[0] != self.rate or not 0 < self.rate < self.strengths[-1] <= 1:
            raise ValueError(f"want rising strengths from rate={self.rate} to at most 1, got {self.strengths}")


class Trunk(nn.Module):
    """What comes before the layer, itself included: convolutions of these channels, dense layers of these widths."""

    channels: Sequence[int]
    widths: Sequence[int]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Give the layer's activations, after its ReLU."""
        for features in self.channels:
            x = nn.relu(Conv(features, 4, 2)(x))
        x = x.reshape(-1)
        for width in self.widths:
            x = nn.relu(Dense(width)(x))
        return x


def load(s: Settings) -> Data:
    """Load the images and draw the attributes."""
    split = images.by_name(s.data)
    train, test = ((planted.framed(jnp.asarray(each.images), s.side), jnp.asarray(each.labels)) for each in split)
    return Data(train, test, jnp.asarray(planted.pictures(s.side)))


def setup(s: Settings) -> Setup:
    """Make the net in two parts, up to the layer and from there, and what it is measured by."""
    channels = (16, 32) if s.network == "cnn" else ()
    trunk = functional(Trunk(channels, s.hidden[: s.layer]), jnp.zeros((s.side, s.side, 3)))
    head = functional(MLP((*s.hidden[s.layer :], CLASSES)), jnp.zeros(s.hidden[s.layer - 1]))
    return Setup(trunk, head, CLASSES, s.rate, s.examples, METHODS[s.method], s.alpha, s.draws, s.errors, s.steps_each)


def make(s: Settings, *, strength: ArrayLike) -> Trainer:
    """Make the Trainer of one strength."""
    optimizer = optax.adam(optax.cosine_decay_schedule(s.lr, s.steps))
    return debugging.training(setup(s), optimizer, batch=s.batch, strength=strength)


TOP = "share of mistakes in which the planted concept is among the first 3 of 60"
STATED = {
    "planted_concept_is_named": Stated(
        "A counterfactual names the planted concept among the first three of 60.", TOP, "top_own", 0.0, 0.9,
        published="over 0.9 of misclassified test examples",
    ),
    "before_the_decoys": Stated(
        "The planted concept is ranked before concepts that are as often there.",
        "share of decoys ranked behind the planted concept, less 1/2", "ahead", 0.5, 0.4,
    ),
    "more_than_any_decoy": Stated(
        "The planted concept is named more often than the decoy that is named most.",
        f"{TOP}, minus that of the decoy named most in the same net", "top_own", "decoy", 0.3,
    ),
    "innocent_nets_are_cleared": Stated(
        "Mistakes of a net in which nothing was planted name the concept as often as any.",
        f"{TOP}, less the 0.05 of chance, over all mistakes of nets without a planted concept", "innocent top_all",
        CHANCE, 0.1, Direction.EQUIVALENT,
    ),
    "vectors_must_be_learnt": Stated(
        "Vectors of shuffled labels do not name it.", f"{TOP}, minus that by vectors fitted to shuffled labels",
        "top_own", "top_shuffled", 0.5,
    ),
    "not_for_being_learnt_best": Stated(
        "It is not merely the concept that was learnt best.",
        f"{TOP}, minus that by the held-out accuracy of the vectors", "top_own", "top_learnt", 0.3,
    ),
    "counterfactuals_are_right": Stated(
        "The counterfactual is classified rightly.", "share of mistakes whose counterfactual is given the label",
        "valid", 0.0, 0.9,
    ),
    "removal_is_named": Stated(
        "Images of other classes, taken for the class for the attribute, are explained by too much of it.",
        f"{TOP} that there should be less of, over images of other classes that have it", "top_taken", 0.0, 0.9,
    ),
    "better_than_one_gradient": Stated(
        "The optimisation names it more often than the slope of the loss at the start.",
        f"{TOP}, minus that by the slope along each vector", "top_own", "top_slope", 0.02,
    ),
    "better_than_one_concept_at_a_time": Stated(
        "Concepts together name it more often than each alone.", f"{TOP}, minus that by the gain of each concept alone",
        "top_own", "top_alone", 0.02,
    ),
}  # fmt: skip
"""Of nets with the strongest correlation; innocent: of those without one."""


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    scope = (
        f"{s.data} with 60 attributes at rate {s.rate:g}, one in {s.strengths[-1]:g} of a class, {s.network} of widths "
        f"{s.hidden}, layer {s.layer}, {s.steps:,} steps of {s.batch} images"
    )
    return contrasts.claims(STATED, source=PAPER, scope=scope, primary="planted_concept_is_named", published=None)


def judge(s: Settings, scores: Mapping[str, Numpy], fine: Numpy) -> list[Finding]:
    """Give each claim its interval over seeds. scores: `[strengths, seeds]` by name. fine: alike, False if diverged.

    A seed without such a mistake is left out, and said.
    """
    known = {name: np.where(fine, each, np.nan) for name, each in scores.items()}
    values = {name: each[-1] for name, each in known.items()}
    values |= {f"innocent {name}": each[0] for name, each in known.items()}
    return contrasts.judge(claims(s), STATED, values)


def pictures(
    s: Settings, scores: Mapping[str, Numpy], found: Mapping[str, PyTree], data: Data
) -> list[records.Picture]:
    """Draw ranks of the planted concept and of decoys, shares against strength and by score, and some images."""
    strongest = ("top_own", "top_slope", "top_alone", "top_learnt", "top_shuffled", "decoy")
    titles = ("counterfactual", "slope", "each alone", "accuracy of vector", "shuffled labels", "decoy named most")
    shares = {title: {"share": scores[name][-1]} for name, title in zip(strongest, titles, strict=True)}
    kinds = {"lacking it": "top_own", "taken for the class": "top_taken", "all without it": "top_all"}
    series = {name: np.asarray(scores[what]).T for name, what in kinds.items()}
    planted_rank, decoy_rank = _distribution(s, found)
    shown = planted.pictures(s.side)[[0, 14, 29, 43, *range(48, 60)]]
    base = np.broadcast_to(np.asarray(data.test[0][0]), shown.shape[1:])
    return [
        records.Picture(
            "ranks",
            figures.against_strength(
                RANKS, {"planted": planted_rank, "decoys, mean": decoy_rank}, title="Rank of the planted concept",
                xlabel="rank among 60 concepts", ylabel="share ranked so or better",
            ),
            "Cumulative distribution of the rank by weight, over mistakes of the class' images that lack the attribute "
            "in nets with the strongest correlation. In chance order both lines would be the diagonal.",
            "The planted concept's line is high from the first rank on; that of decoys rises evenly.",
        ),
        records.Picture(
            "strength",
            figures.against_strength(
                np.array(s.strengths), series, title="Mistakes that name the planted concept",
                xlabel="share of the class' images that show the attribute", ylabel="share of mistakes, first 3 of 60",
                log=False,
            ),
            "By how strongly the attribute was planted; at the left not at all. Three kinds of mistakes.",
            "Lines that rise from near 0.05 with the strength of the planted correlation.",
        ),
        records.Picture(
            "scores", figures.groups(shares, title="Who names it", ylabel="share of mistakes, first 3 of 60"),
            "Share of mistakes in which the planted concept is among the first three, by what ranks the concepts; at "
            "the right the decoy that counterfactuals name most.",
            "Six groups of dots, one for each way of ranking concepts.",
        ),
        records.Picture(
            "attributes", figures.grid(base + (1 - base) * shown, title="Attributes on a test image"),
            "One mark of each kind, and the twelve attributes that lie over all of the image.",
            "Sixteen copies of one image, each with another attribute.",
        ),
    ]  # fmt: skip


def _distribution(s: Settings, found: Mapping[str, PyTree]) -> tuple[Numpy, Numpy]:
    """Give the shares of own mistakes with each of RANKS or a better one, planted and decoys: `[seeds, RANKS]`."""
    ranks, at = found["own"]["ranks"], np.asarray(found["attribute"])
    below = np.where(np.isnan(ranks)[..., None], np.nan, ranks[..., None] <= RANKS)
    each = debugging.mean(np.moveaxis(below, 1, -1))  # [seeds, concept, rank]
    own = each[np.arange(len(at)), at]
    return own, (each.sum(1) - own) / (planted.COUNT - 1)


def columns(s: Settings, scores: Mapping[str, Numpy], found: Mapping[str, PyTree]) -> dict[str, Numpy]:
    """Give the tidy table, one row a net."""
    shape = (len(s.strengths), s.seeds)
    strength, seed = np.broadcast_arrays(np.array(s.strengths)[:, None], np.arange(s.seeds)[None])
    plain = ("label", "accuracy", "accuracy_own", "accuracy_with", "taken_share", "converged")
    kept = {"strength": strength, "seed": seed} | {name: np.asarray(found[name]).reshape(shape) for name in plain}
    at = np.asarray(found["attribute"])
    own = found["learnt"][np.arange(len(at)), at]
    kept |= {"learnt": own.reshape(shape), "learnt_mean": found["learnt"].mean(1).reshape(shape), **scores}
    table_ = {name: np.asarray(value).ravel() for name, value in kept.items()}
    return table_ | {"attribute": np.array([planted.NAMES[i] for i in at])}


def run(s: Settings) -> None:
    """Train nets of all strengths, explain their mistakes, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=s.data == "digits",
        title="Debugging by conceptual counterfactuals",
        question="Does a conceptual counterfactual name the spurious concept that a network's mistakes come from?",
    )  # fmt: skip
    claims(s)
    data = load(s)
    trained = sweep(
        partial(make, s), table.grid({"strength": s.strengths}, s.seeds), data, steps=s.steps, chunk=s.chunk,
        config=work.config, out=s.out / "runs" / "nets", **s.driver(),
    )  # fmt: skip
    if work.waits(len(trained.runs), len(s.strengths) * s.seeds):
        return
    order = np.lexsort(([r.seed for r in trained.runs], [r.hyperparameters["strength"] for r in trained.runs]))
    every = trained.map(partial(debugging.measure, setup(s)))
    found = {name: jax.tree.map(lambda leaf: leaf[order], leaf) for name, leaf in every.items()}
    shape = (len(s.strengths), s.seeds)
    scores = {name: value.reshape(shape) for name, value in debugging.scores(found).items()}
    fine = np.array([trained.runs[i].id not in trained.diverged for i in order]).reshape(shape)
    last = jax.tree.map(lambda leaf: leaf[-s.seeds :], found)
    work.write(
        judge(s, scores, fine), pictures=pictures(s, scores, last, data), rows=columns(s, scores, found),
        diverged=trained.diverged,
    )  # fmt: skip


PRESETS = {
    "quick": Settings(),
    "full": Settings(
        seeds=20, data="fashion-mnist", side=28, network="cnn", hidden=(128, 64), steps=10_000, chunk=1000, batch=128,
        lr=1e-3, method="svm", strengths=(0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 1.0), draws=2,
    ),
}  # fmt: skip

if __name__ == "__main__":
    cli.main(run, PRESETS)
