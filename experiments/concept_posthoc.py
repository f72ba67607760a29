"""What do the concepts of a post-hoc bottleneck contribute: accuracy, and edits that do what they say?

    python experiments/concept_posthoc.py quick     some three minutes on two CPU cores: 8 seeds, digits and rooms
    python experiments/concept_posthoc.py full      Fashion-MNIST too, wider nets, support vectors; an accelerator

Yuksekgonul, Wang and Zou (2023) put a sparse linear head on the projections of a frozen network's embedding onto
concept vectors. The bottleneck (PCBM) loses some accuracy, and a linear residual on the embedding (PCBM-h) wins it
back.

Two kinds of images. Real ones, whose concepts can be had without annotators: 21 measures of how the ink lies
(`data.strokes`). Rooms like Shapes3D's, ray-cast, with 43 concepts (each hue of floor, wall and object; sizes, shapes
and turns in bands), of which the 12 classes are a function. Each concept's vector is fitted to 50 + 50 images.

What the paper leaves out are the controls. k random directions are a random projection of the embedding, from which a
linear head may read the class as well as from k concepts, unless k is small; vectors of shuffled labels likewise. And a
hybrid without a bottleneck is a linear readout of the embedding: is the accuracy of PCBM-h that of its residual? What
only named concepts can have is that an edit does what it says. Of rooms the truth of that is known: one factor is
changed, the image rendered anew, and where that changes the network's decision, the bottleneck told the factor's new
concepts (margins set to the means of their examples) should come to the same decision. Random directions are told in
the same way: by the means of the same examples.

Sizes and deltas were chosen in trials of two seeds.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from interp_jax.concepts import interventions, posthoc, posthoc_study
from interp_jax.concepts.posthoc_study import BANKS, Data
from interp_jax.core import checks, keys
from interp_jax.core.intervals import student
from interp_jax.core.types import Array, Key, Numpy, PyTree
from interp_jax.data import factor_concepts, factors, images, shapes3d, streams, strokes
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.linear import cav, elastic_logistic, svm
from interp_jax.models.nets import MLP, Net, functional
from interp_jax.report import experiment, figures, records
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli
from interp_jax.train import table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.train.trainer import Trainer, trainer

PAPER = "Yuksekgonul, Wang and Zou 2023, Post-hoc Concept Bottleneck Models"
ROOM = "room"
BANDS = (10, 10, 10, 4, 4, 5)  # of the room's factors: concepts of each
METHODS = {"discriminant": cav.discriminant, "svm": svm.fit_hinge}


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 8
    """How many networks of each data set."""
    data: tuple[Literal["digits", "fashion-mnist", "mnist", "room"], ...] = ("digits", "room")
    """Which images."""
    size: int = 16
    """Pixels a side of rooms."""
    rooms: int = 3000
    """Rooms for training; a third as many for testing."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the network; the last is the embedding."""
    steps: int = 1500
    """Training steps."""
    chunk: int = 500
    """Steps in a unit of work."""
    batch: int = 64
    """Images a step."""
    lr: float = 3e-3
    """Adam's learning rate, which falls to zero along a cosine."""
    examples: int = 50
    """Images with a concept, and as many without, that its vector is fitted to."""
    method: Literal["discriminant", "svm"] = "discriminant"
    """How vectors are fitted: by Fisher's discriminant with a ridge, or the paper's support vector machine (slow)."""
    ridge: float = 10.0
    """Of that fit: the ridge, or of the machine 1 / C."""
    alpha: float = 1e-3
    """Of the head's elastic net, nearly all of it L1."""
    counts: tuple[int, ...] = (4, 8, 16)
    """How many concepts a bottleneck has, besides all; drawn at random, alike for all kinds of vectors."""
    epochs: int = 10
    """Of the residual's training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, steps=self.steps, chunk=self.chunk, batch=self.batch, epochs=self.epochs, size=self.size)
        checks.whole(100, rooms=self.rooms)
        checks.whole(5, examples=self.examples)
        checks.positive(lr=self.lr, alpha=self.alpha, ridge=self.ridge)
        if not self.data or len(set(self.data)) < len(self.data):
            raise ValueError(f"want different data sets, at least one, got data={self.data}")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"want widths of at least 1, got hidden={self.hidden}")
        if not self.counts or [*self.counts] != sorted(set(self.counts)) or not self.counts[0] >= 1:
            raise ValueError(f"want rising counts of concepts, got counts={self.counts}")


def room_concepts(rows: Array) -> Array:
    """Give the 43 concepts of rooms, factors `[N, 6]`: which band of classes each factor lies in, one-hot."""
    sizes = shapes3d.FACTOR_SIZES
    each = [jax.nn.one_hot(rows[:, f] * bands // sizes[f], bands) for f, bands in enumerate(BANDS)]
    return jnp.concatenate(each, 1)


def rooms(s: Settings, key: Key) -> Data:
    """Draw rooms, and of those for testing such as differ in one factor, chosen at random."""
    source, rules = shapes3d.data(s.size), factor_concepts.ROOM
    owner = jnp.array([f for f, bands in enumerate(BANDS) for _ in range(bands)])

    def show(rows: Array) -> ConceptSet:
        pixels = jax.lax.map(source.render, rows, batch_size=100)
        labels = jax.vmap(lambda row: rules.label(factor_concepts.concepts(rules, row)))(rows)
        return ConceptSet(pixels, room_concepts(rows), labels.astype(jnp.int32))

    train = factors.sample_factors(keys.stream(key, "train"), source.sizes, s.rooms)
    test, other, again = factors.sample_changes(keys.stream(key, "test"), source.sizes, s.rooms // 3, 1)
    return Data(show(train), show(test), show(other), again[:, owner])


def load(s: Settings, name: str) -> Data:
    """Load real images with the concepts of their ink, or draw rooms; the same for all runs."""
    if name == ROOM:
        return jax.jit(partial(rooms, s))(jax.random.key(2023))
    split = images.by_name(name)
    above = strokes.cuts(split.train.images)
    train, test = (
        ConceptSet(
            jnp.asarray(each.images), jnp.asarray(strokes.concepts(each.images, above)), jnp.asarray(each.labels)
        )
        for each in split
    )
    return Data(train, test, test, jnp.zeros(test.concepts.shape, bool))


def classes(name: str) -> int:
    """Count the classes of a data set."""
    return 12 if name == ROOM else 10


def parts(s: Settings, name: str) -> tuple[Net, Net]:
    """Make the network in two parts: up to the embedding, and its linear head."""
    shape = (s.size, s.size, 3) if name == ROOM else images.SHAPE[name]
    whole = functional(MLP((*s.hidden, 1)), jnp.zeros(shape))
    trunk = Net(whole.init, partial(whole.apply, represent=True))
    return trunk, functional(MLP((classes(name),)), jnp.zeros(s.hidden[-1]))


def make(s: Settings, name: str) -> Trainer:
    """Make the Trainer of the network that is explained."""
    trunk, head = parts(s, name)

    def begin(key: Key) -> PyTree:
        return {part: net.init(keys.stream(key, part)) for part, net in (("trunk", trunk), ("head", head))}

    def batch(data: Data, key: Key, t: Array) -> ConceptSet:
        return streams.batches(s.batch)(data.train, key, t)

    def loss(params: PyTree, some: ConceptSet, key: Key) -> tuple[Array, dict[str, Array]]:
        logits = jax.vmap(lambda x: head.apply(params["head"], trunk.apply(params["trunk"], x)))(some.inputs)
        value = optax.softmax_cross_entropy_with_integer_labels(logits, some.labels).mean()
        return value, {"accuracy": jnp.mean(jnp.argmax(logits, 1) == some.labels, dtype=value.dtype)}

    return trainer(begin, loss, batch, optax.adam(optax.cosine_decay_schedule(s.lr, s.steps)))


def measure(s: Settings, name: str, state: PyTree, data: Data) -> dict[str, Array]:
    """Score one network and its bottlenecks on test images: numbers by name, curves by number of concepts."""
    trunk, head = parts(s, name)
    embed = lambda xs: jax.lax.map(lambda x: trunk.apply(state.params["trunk"], x), xs, batch_size=256)  # noqa: E731
    decided = lambda z: jax.vmap(lambda z: head.apply(state.params["head"], z))(z).argmax(1)  # noqa: E731
    z, tested, changed = (embed(each.inputs) for each in (data.train, data.test, data.changed))
    k, key = data.train.concepts.shape[1], keys.stream(state.key, "banks")
    every = posthoc_study.banks(
        z, data.train.concepts, key, examples=s.examples, method=METHODS[s.method], alpha=s.ridge
    )
    order = jax.random.permutation(keys.stream(state.key, "order"), k)
    sizes = [*[min(count, k) for count in s.counts], k]
    cells = [(bank, m) for bank in ("named", "random") for m in sizes] + [("shuffled", k)]
    stack = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *[posthoc_study.part_of(every[b], 1.0 * (order < m)) for b, m in cells]
    )
    targets = jax.nn.one_hot(data.train.labels, classes(name))
    heads = jax.lax.map(
        lambda bank: elastic_logistic.fit_softmax(
            cav.margins(bank, z), targets, s.alpha, l1_ratio=0.99, steps=8000, tol=1e-4
        ),
        stack,
    )
    fitted = jax.vmap(partial(posthoc.assembled, ()))(stack, heads)
    right = lambda params: jnp.mean(posthoc_study.decisions(params, tested) == data.test.labels)  # noqa: E731
    curve = jax.vmap(right)(fitted)
    pick = lambda at: jax.tree.map(lambda leaf: leaf[at], fitted)  # noqa: E731
    whole = {bank: pick(cells.index((bank, k))) for bank in BANKS}
    own_key = keys.stream(state.key, "residual")
    residual = lambda params: posthoc.fit_residual(  # noqa: E731
        params, z, data.train.labels, own_key, epochs=s.epochs, batch=s.batch
    )
    empty = jax.tree.map(jnp.zeros_like, whole["named"]["head"])
    hybrids = {"named": residual(whole["named"]), "random": residual(whole["random"])}
    hybrids["empty"] = residual(whole["named"] | {"head": empty})
    known = jax.vmap(lambda m: jnp.argsort(jnp.argsort(order)) < m)(jnp.array([0, *sizes]))
    told = {
        bank: interventions.accuracies(
            posthoc.with_means(posthoc_study.model(k), every[bank]),
            whole[bank],
            data.test._replace(inputs=tested),
            known,
        )
        for bank in ("named", "random")
    }
    own = jax.vmap(lambda vector, y: cav.accuracy(vector, tested, y))(every["named"], data.test.concepts.T)
    return {
        "original": jnp.mean(decided(tested) == data.test.labels),
        **{f"curve_{bank}": curve[i * len(sizes) : (i + 1) * len(sizes)] for i, bank in enumerate(("named", "random"))},
        "shuffled": curve[-1], "learnt": jnp.nanmean(own), "active": jnp.mean(heads.weight[len(sizes) - 1] != 0),
        "converged": jnp.mean(1.0 * heads.converged),
        **{f"hybrid_{bank}": right(params) for bank, params in hybrids.items()},
        **{f"told_{bank}": values for bank, values in told.items()},
        **posthoc_study.edits(data, whole, every, tested, decided(tested), decided(changed)),
    }  # fmt: skip


class Stated(NamedTuple):
    """A claim on a quantity of one data set, less another; a curve's is at all concepts, or at the place that is given.

    only: the kind of data that can show it, None for any.
    """

    direction: Direction
    delta: float
    statement: str
    what: str
    against: str
    estimand: str
    published: str | None = None
    place: int = -1
    only: str | None = None


STATED = {
    "hybrid_recovers_accuracy": Stated(
        Direction.EQUIVALENT, 0.02, "A hybrid (PCBM-h) is as accurate as the network.",
        "hybrid_named", "original", "accuracy, hybrid minus network", "CIFAR-10 .871 against .888 (not re-read)",
    ),
    "bottleneck_costs_little": Stated(
        Direction.EQUIVALENT, 0.05, "A bottleneck of named concepts is about as accurate as the network.",
        "curve_named", "original", "accuracy, bottleneck minus network", "CIFAR-10 .777 against .888 (not re-read)",
    ),
    "names_matter": Stated(
        Direction.GREATER, 0.02, "All named concepts tell the class better than as many random directions.",
        "curve_named", "curve_random", "accuracy, named minus random bottleneck, all concepts",
    ),
    "names_matter_when_few": Stated(
        Direction.GREATER, 0.02, "Eight named concepts tell the class better than eight random directions.",
        "curve_named", "curve_random", "accuracy, named minus random bottleneck, at the second count", place=1,
    ),
    "vectors_must_be_learnt": Stated(
        Direction.GREATER, 0.02, "Vectors of concepts tell the class better than vectors of shuffled labels.",
        "curve_named", "shuffled", "accuracy, named bottleneck minus that of vectors of shuffled labels",
    ),
    "a_hybrid_needs_its_concepts": Stated(
        Direction.GREATER, 0.01, "A hybrid is more accurate than its residual alone.",
        "hybrid_named", "hybrid_empty", "accuracy, hybrid minus a residual trained without a bottleneck",
    ),
    "telling_concepts_helps": Stated(
        Direction.GREATER, 0.01, "Told the true concepts, a bottleneck is more accurate.",
        "told_named", "told_none", "accuracy, all concepts told minus none",
    ),
    "edits_do_what_they_say": Stated(
        Direction.GREATER, 0.3, "Told the concepts of what was changed, a bottleneck decides as the network does of "
        "the changed image.", "edit_named", "none_named",
        "share decided as the network decides the changed image, where it changes its mind, minus that without edits",
        only=ROOM,
    ),
    "random_edits_do_not": Stated(
        Direction.GREATER, 0.2, "Edits of named concepts do so more often than those of random directions.",
        "edit_named", "edit_random", "the same share, named minus random directions", only=ROOM,
    ),
}  # fmt: skip


def claims(s: Settings) -> dict[tuple[str, str], Claim]:
    """State what is tested, before the run, by claim and data set; the first claim of the first data set is primary."""
    net = f"an MLP of widths {s.hidden}, {s.steps:,} steps of {s.batch} images, vectors by {s.method}"
    return {
        (each, name): Claim(
            name=f"{each}_{name.replace('-', '_')}", statement=f"{stated.statement} ({name})", source=PAPER,
            estimand=stated.estimand, unit="seeds", delta=stated.delta, direction=stated.direction,
            scope=f"{name}, {net}", published=stated.published,
            primary=(each, name) == ("hybrid_recovers_accuracy", s.data[0]),
        )
        for name in s.data for each, stated in STATED.items() if stated.only in (None, name)
    }  # fmt: skip


def judge(s: Settings, found: Mapping[str, Mapping[str, Numpy]], fine: Mapping[str, Numpy]) -> list[Finding]:
    """Give each claim its interval over seeds. found: data set -> what `measure` gave, `[S, ...]`."""
    findings = []
    for (each, name), claim in claims(s).items():
        stated, own = STATED[each], found[name]
        both = (own[stated.what], own[stated.against])
        one, other = (values if values.ndim == 1 else values[:, stated.place] for values in both)
        there = fine[name] & np.isfinite(one - other)
        note = f"{one[there].mean():.3f} against {other[there].mean():.3f}" if there.any() else ""
        note += "" if there.all() else f"; left out: {(~there).sum()} seeds that diverged or are undefined"
        findings.append(finding(claim, student(one - other, mask=there) if there.any() else None, note=note))
    return findings


def pictures(s: Settings, found: Mapping[str, Mapping[str, Numpy]]) -> list[records.Picture]:
    """Draw accuracy against the number of concepts, accuracies of all kinds, and what edits do."""
    drawn = []
    for name, own in found.items():
        k = len(_columns(name))
        sizes = np.array([*[min(count, k) for count in s.counts], k])
        curves = {"named": own["curve_named"], "random": own["curve_random"]}
        curves["network"] = np.repeat(own["original"][:, None], len(sizes), 1)
        drawn.append(
            records.Picture(
                f"concepts-{name}",
                figures.against_strength(
                    sizes, curves, title=f"Accuracy by number of concepts: {name}", xlabel="concepts",
                    ylabel="accuracy on test images",
                ),
                "Sparse linear heads on that many margins, of named concepts and of random directions.",
                "Two rising lines below the network's.",
            )
        )  # fmt: skip
    kinds = {
        "network": "original", "named": "curve_named", "random": "curve_random", "shuffled": "shuffled",
        "named, told": "told_named", "hybrid": "hybrid_named", "residual alone": "hybrid_empty",
    }  # fmt: skip
    last = lambda values: values if values.ndim == 1 else values[:, -1]  # noqa: E731
    bars = {kind: {name: last(own[what]) for name, own in found.items()} for kind, what in kinds.items()}
    drawn.append(
        records.Picture(
            "kinds", figures.groups(bars, title="What a bottleneck costs", ylabel="accuracy on test images"),
            "The network; bottlenecks of all named concepts, of random directions, of vectors of shuffled labels, and "
            "told the truth; hybrids with and without a bottleneck.", "Seven groups of dots.",
        )
    )  # fmt: skip
    if ROOM in found:
        own = found[ROOM]
        titles = {"edited": "edit", "not edited": "none", "edited, unmoved": "still"}
        shares = {title: {bank: own[f"{what}_{bank}"] for bank in BANKS[:2]} for title, what in titles.items()}
        drawn.append(
            records.Picture(
                "edits", figures.groups(shares, title="Do edits do what they say?", ylabel="share of images"),
                "Left: of rooms where the network changes its mind when a factor is changed, those of which a "
                "bottleneck, told so, decides the same; middle: without telling it; right: of the others, those of "
                "which it keeps its decision.",
                "Three groups of dots for named concepts and random directions.",
            )
        )  # fmt: skip
    return drawn


def _columns(name: str) -> list[str]:
    """Name the concepts of a data set."""
    if name != ROOM:
        return [*strokes.NAMES]
    return [f"{factor} {i}" for factor, bands in zip(shapes3d.FACTOR_NAMES, BANDS, strict=True) for i in range(bands)]


def tidy(s: Settings, found: Mapping[str, Mapping[str, Numpy]]) -> dict[str, Any]:
    """Give the tidy table, one row a network."""
    kept: dict[str, Any] = {"data": np.repeat(list(found), s.seeds), "seed": np.tile(np.arange(s.seeds), len(found))}
    for what, values in next(iter(found.values())).items():
        for place in range(1 if values.ndim == 1 else values.shape[1]):
            column = what if values.ndim == 1 else f"{what}_{place}"
            kept[column] = np.concatenate([v[what].reshape(s.seeds, -1)[:, place] for v in found.values()])
    return kept


def run(s: Settings) -> None:
    """Train networks, fit bottlenecks to them, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=set(s.data) <= {"digits", ROOM},
        title="Post-hoc concept bottlenecks",
        question="What do the concepts of a post-hoc bottleneck contribute: accuracy, and edits that do what they say?",
    )  # fmt: skip
    claims(s)
    trained: dict[str, Sweep] = {
        name: sweep(
            partial(make, s, name), table.grid({}, s.seeds), load(s, name), steps=s.steps, chunk=s.chunk,
            config=work.config | {"set": name}, out=s.out / "runs" / name, **s.driver(),
        )
        for name in s.data
    }  # fmt: skip
    if work.waits(sum(len(done.runs) for done in trained.values()), len(s.data) * s.seeds):
        return
    found = {name: done.map(partial(measure, s, name)) for name, done in trained.items()}
    for own in found.values():
        own["told_none"] = own["told_named"][:, 0]
    fine = {name: np.array([run.id not in done.diverged for run in done.runs]) for name, done in trained.items()}
    diverged = {f"{name}: {run}": at for name, done in trained.items() for run, at in done.diverged.items()}
    work.write(judge(s, found, fine), pictures=pictures(s, found), rows=tidy(s, found), diverged=diverged)


PRESETS = {
    "quick": Settings(),
    "full": Settings(
        seeds=20, data=("fashion-mnist", ROOM), size=32, rooms=30_000, hidden=(512, 256), steps=20_000, chunk=1000,
        batch=128, lr=1e-3, method="svm", alpha=2e-4, counts=(2, 4, 8, 12, 16),
    ),
}  # fmt: skip

if __name__ == "__main__":
    cli.main(run, PRESETS)
