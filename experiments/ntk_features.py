"""Do the top eigenspaces of a network's tangent kernel hold the features that it has learnt, in superposition too?

    python experiments/ntk_features.py quick     about two minutes on two CPU cores: the paper's models, 8 seeds
    python experiments/ntk_features.py full      an accelerator: 30 seeds, longer training, more examples

Lin (2025) takes the empirical tangent kernel (eNTK) of toy models of superposition: n = 50 sparse features of
importance 0.8^i, m hidden units, sparsity S, with (m, S) = (10, 0.3), (10, 0.9), (40, 0.9). Its spectrum is said to
have cliffs, and the eigenspaces above them to be the features, with much superposition (the second) and with little.

What a subspace of the functions on N fresh examples holds of feature i is the share `|P x_i|^2 / |x_i|^2` of the
feature's centred values. Subspaces of R dimensions each: the first eigenvectors of the centred trace kernel; those of
the untrained network's; principal components of the hidden units (never more than m dimensions), of the outputs, and of
the inputs, which know nothing of the network. A random subspace has R / (N - 1). R is the number of features that the
network represents, `|W_i| > 1/2`, or m. Means are over represented features; a replicate is a seed, of the initial
weights, the training data and the examples at once.

The paper's cliffs are in the spectrum of the whole kernel `[N K, N K]` ("flattened"); ours is the largest ratio of
successive eigenvalues from the third to the n-th, of that kernel and of the trace kernel, both centred over examples
for each output. What the paper leaves open is decided so: Adam, 5,000 steps of 256 examples, examples for the kernel
drawn as in training, the kernel of outputs as they are (not times their importance).

Two things in the kernel's formula help to read what is found. It is the mean over outputs k, of those that are open for
both examples, of `h . h' + 1 + |W_k|^2 x . x' + (h . W_k) x'_k + (h' . W_k) x_k`. The output of a feature that is not
represented is its mean, always open, and has the first two terms only: the more of them, the nearer the first m
eigenvectors are the hidden principal components, and the cliff of the trace kernel is at m, whatever is represented.
The third term is the Gram matrix of the inputs, which holds every feature, learnt or not: where 45 of 50 are
represented, 45 dimensions of it hold nine tenths of them.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from interp_jax.core import checks, keys
from interp_jax.core.intervals import paired, student
from interp_jax.core.types import Array, Key, Numpy, PyTree
from interp_jax.data import toys as data
from interp_jax.models.nets import Net, functional
from interp_jax.models.toys import Superposition
from interp_jax.ntk import comparison, kernels, operators, spectra
from interp_jax.report import experiment, figures, records
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli
from interp_jax.train import table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.train.trainer import Trainer, TrainState, trainer

Values = Any
"""An array: of JAX where it is measured, of numpy with a first axis of seeds where it is judged."""
LIN = "Lin 2025, Feature Identification via the Empirical NTK, arXiv 2510.00468"
SUBSPACES = ("eNTK", "eNTK untrained", "hidden PCA", "output PCA", "input PCA", "eNTK of W", "eNTK of b")
SHOWN = SUBSPACES[:5]


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 8
    """How many seeds, each a network in every regime."""
    features: int = 50
    """How many features, n."""
    hidden: tuple[int, ...] = (10, 10, 40)
    """Hidden units of each regime, m."""
    sparsity: tuple[float, ...] = (0.3, 0.9, 0.9)
    """Of each regime, the probability that a feature is zero."""
    decay: float = 0.8
    """Feature i has the importance decay^i."""
    steps: int = 5000
    """Training steps."""
    batch: int = 256
    """Examples a step."""
    lr: float = 3e-3
    """Adam's learning rate."""
    examples: int = 400
    """Examples that kernels and components are taken over, N."""
    flattened: int = 150
    """How many of them the flattened kernel is taken over."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(2, features=self.features)
        checks.whole(1, steps=self.steps, batch=self.batch)
        checks.positive(lr=self.lr)
        checks.between(0, 1, decay=self.decay)
        if not self.hidden or len(self.hidden) != len(self.sparsity):
            raise ValueError(
                f"want one sparsity for each hidden width, got hidden={self.hidden}, sparsity={self.sparsity}"
            )
        if not all(0 <= sparsity < 1 for sparsity in self.sparsity):
            raise ValueError(f"want 0 <= sparsity < 1, got sparsity={self.sparsity}")
        if len(set(self.regimes)) < len(self.hidden):
            raise ValueError(f"want regimes that differ, got {self.regimes}")
        if not 1 <= min(self.hidden) <= max(self.hidden) < self.features:
            raise ValueError(f"want 1 <= hidden < {self.features} features, got hidden={self.hidden}")
        if not self.features + 1 < self.flattened <= self.examples:
            raise ValueError(
                f"want features + 1 < flattened <= examples, got features={self.features}, flattened={self.flattened}, "
                f"examples={self.examples}"
            )

    @property
    def regimes(self) -> tuple[tuple[int, float], ...]:
        """Give hidden width and sparsity of each regime."""
        return tuple(zip(self.hidden, self.sparsity, strict=True))

    @property
    def packed(self) -> int:
        """Tell which regime has most superposition: the sparsest, then the narrowest."""
        return max(range(len(self.hidden)), key=lambda r: (self.sparsity[r], -self.hidden[r]))


def network(s: Settings, hidden: int) -> Net:
    """Make the model of one hidden width."""
    return functional(Superposition(hidden), jnp.zeros(s.features))


def draw(s: Settings, key: Key, sparsity: float, count: int) -> Array:
    """Draw examples `[count, n]`."""
    one = partial(data.sparse_features, size=s.features, density=1 - sparsity)
    return jax.vmap(one)(jax.random.split(key, count))


def training(s: Settings, net: Net, sparsity: float) -> Trainer:
    """Minimise `sum_i importance_i (x_i - x'_i)^2` on fresh examples (Elhage et al. 2022, section 2)."""

    def loss(params: PyTree, batch: tuple[Array, Array], key: Key) -> tuple[Array, dict]:
        xs, importance = batch
        errors = (jax.vmap(net.apply, (None, 0))(params, xs) - xs) ** 2
        return jnp.mean(errors @ importance), {}

    def batch(importance: Array, key: Key, t: Array) -> tuple[Array, Array]:
        return draw(s, keys.at(key, t), sparsity, s.batch), importance

    return trainer(net.init, loss, batch, optax.adam(s.lr))


class Looked(NamedTuple):
    """What is measured of one network, n features.

    norms: `|W_i|`, `[n]`. shares: subspace -> `[n, n]`, row R - 1 of R dimensions, column i of feature i. place: the
    cliff of the trace kernel and of the flattened one, `[2]`. depths: the ratio at each place from 1 to n, `[2, n]`.
    residual: how far an eigenvalue of the flattened kernel may be off, over the largest.
    """

    norms: Values
    shares: dict[str, Values]
    place: Values
    depths: Values
    residual: Values


def measure(s: Settings, net: Net, sparsity: float, state: TrainState, given: PyTree) -> Looked:
    """Measure one trained network on examples of its own."""
    xs = draw(s, keys.stream(state.key, "examples"), sparsity, s.examples)
    trained, untrained = state.params, net.init(keys.stream(state.key, "init"))
    hidden = jax.vmap(lambda x: net.apply(trained, x, represent=True))(xs)
    outputs = jax.vmap(net.apply, (None, 0))(trained, xs)
    whole = top(s, net, trained, xs, "weight", "bias")
    spaces = {
        "eNTK": whole,
        "eNTK untrained": top(s, net, untrained, xs, "weight", "bias"),
        "eNTK of W": top(s, net, trained, xs, "weight"),
        "eNTK of b": top(s, net, trained, xs, "bias"),
    }
    activations = {"hidden PCA": hidden, "output PCA": outputs, "input PCA": xs}
    spaces |= {name: comparison.components(rows, s.features) for name, rows in activations.items()}
    features = xs - jnp.mean(xs, 0, keepdims=True)
    flat = flattened(s, net, trained, xs[: s.flattened], keys.stream(state.key, "lanczos"))
    values = jnp.stack([whole.values[: s.features + 1], flat.values])
    return Looked(
        norms=jnp.linalg.norm(trained["weight"], axis=0),
        shares={name: comparison.captured_by_first(space.vectors, features) for name, space in spaces.items()},
        place=jax.vmap(lambda each: comparison.cliff(each, 3, s.features).place)(values),
        depths=values[:, :-1] / values[:, 1:],
        residual=jnp.max(flat.residuals) / flat.values[0],
    )


def top(s: Settings, net: Net, params: PyTree, xs: Array, *parts: str) -> comparison.Space:
    """Give the top of the centred trace kernel of some parts of the parameters; those of all parts sum to the whole."""
    some = {part: params[part] for part in parts}
    kernel = kernels.trace(lambda own, x: net.apply(params | own, x), some, xs)
    return comparison.eigenspace(comparison.centre(kernel), s.features)


def flattened(s: Settings, net: Net, params: PyTree, xs: Array, key: Key) -> spectra.Top:
    """Find the top of the kernel `[N K, N K]`, centred over examples for each output, without forming it."""
    whole = operators.operator(net.apply, params, xs)

    def centred(vector: Array) -> Array:
        rows = vector.reshape(len(xs), -1)
        return (rows - jnp.mean(rows, 0, keepdims=True)).reshape(-1)

    both = whole._replace(matvec=lambda vector: centred(whole.matvec(centred(vector))))
    return spectra.top(both, key, s.features + 1, steps=5, block=2 * (s.features + 1))


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run. A claim's name ends in m and 100 S of its regime."""
    greater, compared = (
        Direction.GREATER,
        "not compared on this model; aligned better than activations in a language model",
    )
    top = "share of represented features in the eNTK's top R less that in "
    kinds = {
        "recovered": (greater, 0.1, "The top of the eNTK holds the features that a network represents",
            top + "the untrained network's, R their number", "aligned, no number"),
        "beats_hidden": (greater, 0.05, "The top of the eNTK holds more of the features than hidden activations do",
            top + "R (of which there are m) hidden principal components, R their number", compared),
        "cliff": (Direction.EQUIVALENT, 1.0, "The flattened eNTK has a cliff at the number of features represented",
            "place of the cliff less the number of features represented", "cliffs, in a figure"),
        "beats_hidden_at_m": (greater, 0.05, "With m dimensions too the eNTK holds more of the features",
            top + "the hidden principal components, R = m", compared),
        "beats_outputs": (greater, 0.05, "The top of the eNTK holds more of the features than output activations do",
            top + "R principal components of the outputs, R their number", compared),
    }  # fmt: skip
    wanted = [("recovered", s.packed)] + [(kind, r) for kind in list(kinds)[:3] for r in range(len(s.hidden))]
    stated = {}
    for kind, regime in dict.fromkeys([*wanted, ("beats_hidden_at_m", s.packed), ("beats_outputs", s.packed)]):
        direction, delta, statement, estimand, published = kinds[kind]
        m, sparsity = s.regimes[regime]
        name = f"{kind}_{m}_{round(100 * sparsity)}"
        stated[name] = Claim(
            name=name, statement=f"{statement} (m = {m}, S = {sparsity:g}).", source=LIN, estimand=estimand,
            unit="seeds", delta=delta, direction=direction, published=published, primary=not stated,
            scope=f"{s.features} features, m = {m}, sparsity {sparsity:g}, {s.examples} examples, {s.steps} steps",
        )  # fmt: skip
    return stated


def held(looked: Looked, name: str, dimensions: Numpy) -> Numpy:
    """Average the share over represented features, `[seeds]`. dimensions: R of each seed."""
    represented = looked.norms > 0.5
    shares = looked.shares[name][np.arange(len(dimensions)), dimensions - 1]
    return np.where(represented, shares, 0).sum(1) / represented.sum(1)


def judge(s: Settings, found: list[Looked], fine: Numpy) -> list[Finding]:
    """Give each claim its interval over seeds. found: of each regime, `[seeds, ...]`. fine: `[regimes, seeds]`."""
    stated, findings = claims(s), []
    for name, claim in stated.items():
        kind, m, sparsity = name.rsplit("_", 2)
        regime = [(str(h), str(round(100 * p))) for h, p in s.regimes].index((m, sparsity))
        looked, mask = found[regime], fine[regime]
        many = (looked.norms > 0.5).sum(1)
        counted = mask & (many > 0)
        dimensions = np.full_like(many, s.hidden[regime]) if kind.endswith("_at_m") else np.maximum(many, 1)
        if kind == "cliff":
            interval = student(looked.place[:, 1] - many.astype(float), mask=counted)
            places = (
                f"{looked.place[:, 0][counted].mean():.1f} of the trace kernel, {many[counted].mean():.1f} features"
            )
            note = f"mean place {looked.place[:, 1][counted].mean():.1f}; {places} represented"
        else:
            other = {"recovered": "eNTK untrained", "beats_outputs": "output PCA"}.get(kind, "hidden PCA")
            ours, theirs = (held(looked, each, dimensions) for each in ("eNTK", other))
            interval = paired(ours, theirs, mask=counted)
            null = dimensions[counted].mean() / (s.examples - 1)
            note = f"{ours[counted].mean():.3f} against {theirs[counted].mean():.3f}; a random subspace {null:.3f}"
        lost = "" if counted.all() else f"; left out: {(~counted).sum()} seeds that diverged or represent nothing"
        findings.append(finding(claim, interval, note=note + lost))
    return findings


def pictures(s: Settings, found: list[Looked]) -> list[records.Picture]:
    """Draw the shares by regime, by dimensions and by feature, and the cliffs."""
    packed = found[s.packed]
    m, sparsity = s.regimes[s.packed]
    where = f"(m = {m}, S = {sparsity:g})"
    counts = np.unique(np.linspace(1, s.features, 10).astype(int))
    fives = np.array_split(np.arange(s.features), min(10, s.features))
    rank = np.array([(looked.norms > 0.5).sum(1) for looked in found])
    bars = {
        f"m = {h}, S = {p:g}": {name: held(looked, name, np.maximum(many, 1)) for name in SHOWN}
        for (h, p), looked, many in zip(s.regimes, found, rank, strict=True)
    }
    by_r = {name: np.stack([held(packed, name, np.full(s.seeds, r)) for r in counts], 1) for name in SHOWN}
    at = np.arange(s.seeds), np.maximum(rank[s.packed], 1) - 1
    by_i = {name: np.stack([packed.shares[name][at][:, five].mean(1) for five in fives], 1) for name in SHOWN[:4]}
    offsets = np.arange(-9, 4)
    depths = {
        f"m = {h}, S = {p:g}": around(looked.depths[:, 1], many, offsets)
        for (h, p), looked, many in zip(s.regimes, found, rank, strict=True)
    }
    share = "share of a feature"
    return [
        records.Picture(
            "regimes", figures.groups(bars, title="Share of represented features in a subspace", ylabel=share),
            "As many dimensions as features are represented (hidden units give at most m).",
            "Shares of features held by five subspaces in each regime.",
        ),
        records.Picture(
            "dimensions",
            figures.against_strength(counts, by_r, title=f"Share against dimensions {where}", log=False,
                xlabel="dimensions of the subspace, R", ylabel=share),
            f"Mean over represented features. A random subspace has R / {s.examples - 1}.",
            "Rising lines of the share against the number of dimensions; hidden units stop at m.",
        ),
        records.Picture(
            "features",
            figures.against_strength(np.array([five[-1] + 1 for five in fives]), by_i, log=False,
                title=f"Share by feature {where}", ylabel=share,
                xlabel="feature, from the most important, in groups up to this one"),
            "As many dimensions as features are represented.",
            "Lines of the share by feature index, high for the represented features and low for the rest.",
        ),
        records.Picture(
            "cliffs",
            figures.against_strength(offsets, depths, log=False, title="Where the flattened eNTK's spectrum falls",
                xlabel="place less the number of features represented", ylabel="ratio of successive eigenvalues"),
            "A cliff at the number of features is a peak at 0; at the number of hidden units it is one at m less it.",
            "Ratios of successive eigenvalues around the number of represented features, a line a regime.",
        ),
    ]  # fmt: skip


def around(depths: Numpy, counts: Numpy, offsets: Numpy) -> Numpy:
    """Give the ratios `[seeds, offsets]` at places counted from each seed's own; NaN beyond what was computed."""
    places = counts[:, None] + offsets - 1
    inside = (places >= 0) & (places < depths.shape[1])
    return np.where(inside, np.take_along_axis(depths, np.clip(places, 0, depths.shape[1] - 1), 1), np.nan)


def table_of(s: Settings, found: list[Looked]) -> dict[str, Numpy]:
    """Give the tidy table: one row a regime, subspace, seed and feature."""
    columns: dict[str, list] = {}
    for (m, sparsity), looked in zip(s.regimes, found, strict=True):
        names, seeds, features = np.meshgrid(SUBSPACES, np.arange(s.seeds), np.arange(s.features), indexing="ij")
        many = np.maximum((looked.norms > 0.5).sum(1), 1)
        stacked = np.stack([looked.shares[name] for name in SUBSPACES])
        here = {
            "hidden": np.full(names.shape, m),
            "sparsity": np.full(names.shape, sparsity),
            "subspace": names,
            "seed": seeds,
            "feature": features,
            "norm": looked.norms[seeds, features],
            "represented": many[seeds],
            "share": stacked[:, np.arange(s.seeds), many - 1],
            "share_at_m": stacked[:, :, m - 1],
            "cliff_trace": looked.place[seeds, 0],
            "cliff_flattened": looked.place[seeds, 1],
            "residual": looked.residual[seeds],
        }
        for name, column in here.items():
            columns.setdefault(name, []).append(column.ravel())
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def trained(s: Settings, regime: tuple[int, float], config: dict) -> Sweep:
    """Train all seeds of one regime; rerunning resumes."""
    hidden, sparsity = regime
    chunk = next(n for n in range(min(s.steps, 500), 0, -1) if s.steps % n == 0)
    importance = s.decay ** jnp.arange(s.features, dtype=jnp.float32)
    return sweep(
        lambda: training(s, network(s, hidden), sparsity), table.grid({}, s.seeds), importance, steps=s.steps,
        chunk=chunk, config=config | {"hidden": hidden, "sparsity": sparsity},
        out=s.out / "runs" / f"{hidden}-{sparsity:g}", **s.driver(),
    )  # fmt: skip


def run(s: Settings) -> None:
    """Train in every regime, measure, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=s.steps < 20_000,
        title="The tangent kernel's eigenspaces and features in superposition",
        question="Do top eigenspaces of the tangent kernel hold the features that a network represents?",
    )  # fmt: skip
    claims(s)
    config = {name: value for name, value in work.config.items() if name not in ("examples", "flattened")}
    sweeps = [trained(s, regime, config) for regime in s.regimes]
    if work.waits(min(len(done.runs) for done in sweeps), s.seeds):
        return
    found, fine, diverged = [], [], {}
    for (hidden, sparsity), done in zip(s.regimes, sweeps, strict=True):
        looked = done.map(partial(measure, s, network(s, hidden), sparsity))
        found.append(jax.tree.map(lambda leaf: leaf.astype(np.float64), looked))
        fine.append([run.id not in done.diverged for run in done.runs])
        diverged |= {f"m = {hidden}, S = {sparsity:g}: {run}": step for run, step in done.diverged.items()}
    work.write(judge(s, found, np.array(fine)), pictures=pictures(s, found), rows=table_of(s, found), diverged=diverged)


PRESETS = {
    "quick": Settings(),
    "full": Settings(seeds=30, steps=30_000, batch=1024, lr=1e-3, examples=2000, flattened=500),
}

if __name__ == "__main__":
    cli.main(run, PRESETS)
