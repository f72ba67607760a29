"""Do checks for masked gradients tell a defence that breaks the attack from one that resists the adversary?

    python experiments/adversarial_evaluation.py quick     about two minutes on two CPU cores: digits, 8 seeds
    python experiments/adversarial_evaluation.py medium    about 8 minutes there: 40 seeds
    python experiments/adversarial_evaluation.py full      Fashion-MNIST and the Wong-Kolter network, for an accelerator

Athalye et al. (2018) broke most of the defences of one conference: their gradients were masked. Carlini et al. (2019)
give checks. Here each seed trains a standard and an adversarially trained network, and four wrappers mask the standard
one's gradients: logits so large that the loss saturates, a quantised input, noise drawn anew for each input, and a
ripple that shatters the gradient. Thresholds of the checks are set on half of the seeds and three of the mechanisms
and tried on the other half and the fourth mechanism, in rotation.
"""

import dataclasses
import sys
from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from interp_jax.adversarial import masking, objectives, training
from interp_jax.adversarial.pgd import pgd
from interp_jax.core import checks, keys
from interp_jax.core.intervals import Interval, proportion
from interp_jax.core.types import Apply, Array, Key, Numpy, PyTree
from interp_jax.data import images, streams
from interp_jax.models.classifiers import WongKolter
from interp_jax.models.nets import MLP, Net, functional
from interp_jax.report import experiment, figures, records
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli
from interp_jax.train import table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.train.trainer import Trainer, trainer

Examples = tuple[Array, Array]  # images [N, H, W, C] and labels [N]


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 8
    """How many seeds, each of two trained networks."""
    data: Literal["digits", "fashion-mnist", "cifar-10"] = "digits"
    """Which images."""
    eps: float = 0.1
    """Radius (Linf) of the attacks and of adversarial training, pixels in [0, 1]."""
    steps: int = 1500
    """Training steps."""
    chunk: int = 500
    """Steps in a unit of work."""
    batch: int = 64
    """Images a step."""
    lr: float = 3e-3
    """Adam's learning rate."""
    images: int = 200
    """Test images on which models are attacked."""
    queries: int = 200
    """Queries of Square in the checks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, steps=self.steps, chunk=self.chunk, batch=self.batch, images=self.images, queries=self.queries)
        checks.whole(2, seeds=self.seeds)
        checks.positive(lr=self.lr, eps=self.eps)


def network(s: Settings) -> Net:
    """Give the model of these settings."""
    module = MLP((128, 10)) if s.data == "digits" else WongKolter()
    return functional(module, jnp.zeros(images.SHAPE[s.data]))


def train(s: Settings, kind: str, data: Examples) -> Sweep:
    """Train the networks of one kind, all seeds."""
    net = network(s)
    perturb = training.by_pgd(eps=s.eps, step_size=s.eps / 3, steps=7)
    loss = training.standard(net.apply) if kind == SOUND[0] else training.adversarial(net.apply, perturb)

    def make(lr: Array) -> Trainer:
        return trainer(net.init, loss, streams.batches(s.batch), optax.adam(lr))

    return sweep(
        make, table.grid({"lr": [s.lr]}, s.seeds), data, steps=s.steps, chunk=s.chunk,
        config={"kind": kind, "data": s.data, "eps": s.eps, "batch": s.batch},
        out=s.out / "runs" / kind.replace(" ", "_"), **s.driver(),
    )  # fmt: skip


def saturated(apply: Apply, params: PyTree, x: Array) -> Array:
    """Scale the logits until the loss of a rightly classified example rounds to zero, and its gradient with it."""
    return 300.0 * apply(params, x)


def quantised(apply: Apply, params: PyTree, x: Array) -> Array:
    """Round the input to 17 levels: no change of an attack's size has a derivative."""
    return apply(params, jnp.round(16.0 * x) / 16.0)


def stochastic(apply: Apply, params: PyTree, x: Array) -> Array:
    """Add noise whose key is a hash of the input's bits: fresh at every point, so gradients of one point mislead."""
    bits = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(x).reshape(-1), jnp.uint32)
    odd = 2 * jnp.arange(bits.size, dtype=jnp.uint32) + 1
    key = jax.random.fold_in(jax.random.key(0), jnp.sum(bits * odd * jnp.uint32(0x9E3779B1), dtype=jnp.uint32))
    return apply(params, x + 0.1 * jax.random.normal(key, x.shape, x.dtype))


def shattered(apply: Apply, params: PyTree, x: Array) -> Array:
    """Add a ripple, small in value and large in slope: the gradient's sign is that of the ripple."""
    return apply(params, x + 0.01 * jnp.sin(1000.0 * x))


MECHANISMS = {"saturated": saturated, "quantised": quantised, "stochastic": stochastic, "shattered": shattered}
SOUND = ("standard", "adversarial")  # as the networks were trained


def examine(s: Settings, apply: Apply, params: PyTree, test: Examples, key: Key) -> dict[str, Array]:
    """Measure one model: clean and PGD accuracy, and every check, averages over the test images."""
    predict = partial(apply, params)

    def one(x: Array, label: Array, i: Array) -> tuple[Array, Array, masking.Symptoms]:
        key_ = keys.at(key, i)
        right = jnp.argmax(predict(x)) == label
        found = masking.symptoms(predict, x, label, key_, eps=s.eps, queries=s.queries)
        loss = objectives.cross_entropy(predict, label)
        attacked = pgd(loss, x, keys.stream(key_, "accuracy"), eps=s.eps, step_size=s.eps / 5, steps=40)
        return right, right & ~attacked.fooled, found

    right, stands, found = jax.vmap(one)(*test, jnp.arange(s.images))
    return {"clean": right.mean(), "pgd": stands.mean(), **masking.average(found, right)._asdict()}


def measure(s: Settings, trained: dict[str, Sweep], test: Examples) -> dict[str, dict[str, Numpy]]:
    """Measure all models: kind -> column -> `[seeds]`."""
    apply = network(s).apply
    kinds = {name: (apply, name) for name in SOUND}
    kinds |= {name: (partial(mask, apply), SOUND[0]) for name, mask in MECHANISMS.items()}
    found = {}
    for kind, (model, source) in kinds.items():

        def work(state: PyTree, test: Examples, model: Apply = model) -> dict[str, Array]:
            return examine(s, model, state.params, test, keys.stream(state.key, "examine"))

        found[kind] = trained[source].map(work, test)
        print(f"examined: {kind}", file=sys.stderr)
    return found


def flagged(s: Settings, found: dict[str, dict[str, Numpy]]) -> dict[str, Numpy]:
    """Tell which models the checks flag, kind -> `[seeds]`; sound ones: the share over the four sets of thresholds.

    Thresholds are set on one half of the seeds and tried on the other; those that try a mechanism never saw it.
    """
    symptoms = {
        kind: masking.Symptoms(*(jnp.asarray(columns[name]) for name in masking.Symptoms._fields))
        for kind, columns in found.items()
    }
    flags = {kind: np.zeros(s.seeds) for kind in found}
    for half in (0, 1):
        chosen = np.arange(s.seeds) % 2 == half
        known = {kind: jax.tree.map(lambda v, chosen=chosen: v[~chosen], each) for kind, each in symptoms.items()}
        sound = jax.tree.map(lambda *v: jnp.concatenate(v), *(known[kind] for kind in SOUND))
        for held_out in MECHANISMS:
            others = {kind: known[kind] for kind in MECHANISMS if kind != held_out}
            thresholds = masking.calibrate(sound, others, floor=1 / s.images)
            for kind, share in ((held_out, 1.0), *((kind, 0.25) for kind in SOUND)):
                for seed in np.flatnonzero(chosen):
                    one = jax.tree.map(lambda v, seed=seed: v[seed], symptoms[kind])
                    flags[kind][seed] += share * bool(masking.verdict(one, thresholds))
    return flags


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    source = "Athalye et al. 2018, section 4; Carlini et al. 2019, section 4; the rates are this library's own"
    scope = f"{s.data}, Linf {s.eps:g}, thresholds set on other seeds and on the three other mechanisms"
    common = {"source": source, "unit": "models", "delta": 0.0, "scope": scope}
    stated = {
        "masked": Claim(
            name="masked_models_are_flagged",
            statement="The checks flag models with masked gradients, by a mechanism that set no threshold.",
            estimand="share of masked models flagged, minus 0.95",
            direction=Direction.GREATER,
            published="at least 95%",
            **common,
        ),
        "sound": Claim(
            name="sound_models_are_not_flagged",
            statement="The checks flag few models whose gradients are sound, adversarially trained ones included.",
            estimand="share of sound models flagged, minus 0.05",
            direction=Direction.LESS,
            published="at most 5%",
            primary=False,
            **common,
        ),
    }
    for name in MECHANISMS:
        stated[name] = Claim(
            name=f"{name}_models_are_flagged",
            statement=f"The checks flag models with {name} gradients.",
            estimand="share flagged, minus 0.95",
            direction=Direction.GREATER,
            published="at least 95%",
            primary=False,
            **common,
        )
    return stated


def judge(s: Settings, flags: dict[str, Numpy]) -> list[Finding]:
    """Give each share the binomial's exact interval; a sound model counts if any set of thresholds flags it."""

    def above(kinds: tuple[str, ...], nominal: float) -> Callable[[float], Interval]:
        hits, n = sum(int((flags[kind] > 0).sum()) for kind in kinds), s.seeds * len(kinds)

        def at(level: float) -> Interval:
            found = proportion(hits, n, level)
            moved = {name: getattr(found, name) - nominal for name in ("estimate", "low", "high")}
            return found._replace(**moved)

        return at

    groups = {"masked": (tuple(MECHANISMS), 0.95), "sound": (SOUND, 0.05)}
    groups |= {name: ((name,), 0.95) for name in MECHANISMS}
    return [finding(claim, above(*groups[name])) for name, claim in claims(s).items()]


def pictures(found: dict[str, dict[str, Numpy]]) -> list[records.Picture]:
    """Draw accuracies and the checks of every kind of model."""
    accuracies = {kind: {"clean": columns["clean"], "PGD": columns["pgd"]} for kind, columns in found.items()}
    shown = ("flat", "rough", "loss", "black_box")
    made = {kind: {name: columns[name] for name in shown} for kind, columns in found.items()}
    return [
        records.Picture(
            "accuracy",
            figures.groups(accuracies, title="Accuracy, clean and under PGD", ylabel="accuracy"),
            "What a paper would report: masked models look as robust as the adversarially trained one, or more.",
            "Dots of clean and PGD accuracy for each kind of model.",
        ),
        records.Picture(
            "checks",
            figures.groups(made, title="Four of the checks", ylabel="share or relative error"),
            "Zero gradients (flat), gradients that predict wrongly (rough), falls to another loss or to Square only.",
            "Dots of four checks for each kind of model; sound models lie at zero.",
        ),
    ]


def run(s: Settings) -> None:
    """Train, examine, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=s.data == "digits",
        title="Checks for masked gradients",
        question="Do the checks tell a defence that breaks the attack from one that resists the adversary?",
    )  # fmt: skip
    claims(s)
    data = images.by_name(s.data)
    train_set = jnp.asarray(data.train.images), jnp.asarray(data.train.labels)
    test_set = jnp.asarray(data.test.images[: s.images]), jnp.asarray(data.test.labels[: s.images])
    trained = {kind: train(s, kind, train_set) for kind in SOUND}
    if work.waits(min(len(done.runs) for done in trained.values()), s.seeds):
        return
    found = measure(s, trained, test_set)
    flags = flagged(s, found)
    columns = ["clean", "pgd", *masking.Symptoms._fields]
    rows = {
        "kind": [kind for kind in found for _ in range(s.seeds)],
        "seed": [seed for _ in found for seed in range(s.seeds)],
        "flagged": np.concatenate(list(flags.values())),
        **{
            name: np.concatenate([columns_[name] for columns_ in found.values()])
            for name in columns
            if name != "transfer"
        },
    }
    diverged = {f"{kind}: {name}": t for kind in SOUND for name, t in trained[kind].diverged.items()}
    work.write(judge(s, flags), pictures=pictures(found), rows=rows, diverged=diverged)


PRESETS = {
    "quick": Settings(),
    "medium": Settings(seeds=40),
    "full": Settings(data="fashion-mnist", seeds=30, steps=10_000, chunk=1000, batch=128, lr=1e-3, images=1000),
}

if __name__ == "__main__":
    cli.main(run, PRESETS)
