"""Does testing with concept vectors tell what a network uses from what is merely there?

    python experiments/probe_tcav.py quick     two to three minutes on two CPU cores: 24 small nets
    python experiments/probe_tcav.py full      100 wider nets, 500 runs

Kim et al. (2018), Interpretability Beyond Feature Attribution: TCAV. They score a concept by the share of a class's
examples whose logit rises along its vector, over runs with different random sets, and compare these with runs of random
concepts by a t-test; networks were GoogLeNet and Inception, concepts collections of photographs, and what the networks
used was not known.

Here it is. Images are digits with marks in the border; a net tells four classes by two of the marks. Other marks are
there and mean nothing, one goes along with a used mark in training, an attribute goes along with it everywhere and is
never drawn, and concepts without any meaning are dealt at random. Each image is rendered with and without each mark, so
that it is known how often a mark changes the decision.

Tests: labels of concepts dealt anew (`probes.tcav`, exact for what activations do not tell, and max-T over concepts),
and the paper's t-test. Controls: untrained nets, logits less their mean (what all share decides nothing), a second
layer, vectors relative to a rival. A seed is a net, with images of its own for vectors, scores and tests. Sizes and
deltas were chosen in trials of six seeds. The mean slope is tested by dealt labels, the share of signs by the t-test.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from interp_jax.core import checks, keys
from interp_jax.core.types import Array, Key, Numpy, PyTree
from interp_jax.data import images, planted
from interp_jax.models import nets
from interp_jax.probes import tcav_study as study
from interp_jax.probes.tcav_study import CLASSES, KINDS, SIDE, How, Images
from interp_jax.report import contrasts, experiment, figures, records
from interp_jax.report.claims import Claim, Direction, Finding
from interp_jax.report.contrasts import Stated
from interp_jax.runs import cli
from interp_jax.train import table
from interp_jax.train.sweep import sweep
from interp_jax.train.trainer import Trainer, trainer

PAPER = (
    "Kim et al. 2018, Interpretability Beyond Feature Attribution: Quantitative Testing with Concept Activation Vectors"
)
LEVEL = 0.05
FEW = (10, 30)
"""Runs of the t-test, besides all."""
WORDS = {"used": "used", "hidden": "hidden proxy", "companion": "companion", "unused": "unused", "absent": "dealt"}
"""Kinds of concepts, as figures call them."""
KEY = (
    "A hidden proxy goes along with a used mark and is never drawn; a companion is a mark that did so in training "
    "only; unused marks are drawn; dealt concepts have no meaning."
)


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 24
    """How many networks."""
    hidden: tuple[int, int] = (32, 16)
    """Widths of the network; concepts are tested after the first, and after the second."""
    steps: int = 800
    """Training steps."""
    chunk: int = 400
    """Steps in a unit of work."""
    batch: int = 64
    """Images a step, drawn afresh."""
    lr: float = 3e-3
    """Adam's learning rate, which falls to zero along a cosine."""
    pool: int = 400
    """Images to fit vectors to."""
    examples: int = 50
    """Of a class, to score on; of a concept, in the paper's runs."""
    permutations: int = 199
    """Of concept labels."""
    runs: int = 100
    """Random sets of the paper's test; each test is done twice, on sets of its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(2, seeds=self.seeds)
        checks.whole(1, steps=self.steps, chunk=self.chunk, batch=self.batch)
        checks.whole(10, examples=self.examples)
        checks.whole(19, permutations=self.permutations)
        checks.whole(max(FEW) + 1, runs=self.runs)
        checks.whole(6 * self.examples, pool=self.pool)
        checks.positive(lr=self.lr)
        if len(self.hidden) != 2 or min(self.hidden) < 2:
            raise ValueError(f"want two widths of at least 2, got hidden={self.hidden}")


def load() -> Array:
    """Load digits within a dark border."""
    return planted.framed(jnp.asarray(images.digits().images), SIDE)


def parts(s: Settings) -> dict[str, nets.Net]:
    """Make the network's parts."""
    first, second = (
        nets.functional(nets.MLP((width, 1)), jnp.zeros(shape))
        for width, shape in zip(s.hidden, ((SIDE, SIDE, 3), (s.hidden[0],)), strict=True)
    )
    last = nets.functional(nets.MLP((CLASSES,)), jnp.zeros(s.hidden[1]))
    return {"first": first, "second": second, "last": last}


def network(s: Settings) -> study.Net:
    """Make the network as functions of all its params."""
    each = parts(s)
    return study.Net(
        lambda params, x: each["first"].apply(params["first"], x, represent=True),
        lambda params, x: each["second"].apply(params["second"], x, represent=True),
        lambda params, x: each["last"].apply(params["last"], x),
    )


def begin(s: Settings, key: Key) -> PyTree:
    """Draw first params."""
    return {name: net.init(keys.stream(key, name)) for name, net in parts(s).items()}


def make(s: Settings) -> Trainer:
    """Make the Trainer of one network."""
    net = network(s)

    def batch(digits: Array, key: Key, t: Array) -> Images:
        draws = jax.random.split(keys.at(key, t), s.batch)
        return jax.vmap(lambda k: study.draw(k, digits, training=True))(draws)

    def loss(params: PyTree, some: Images, key: Key) -> tuple[Array, dict[str, Array]]:
        logits = jax.vmap(lambda x: net.last(params, net.second(params, net.first(params, x))))(some.pixels)
        value = optax.softmax_cross_entropy_with_integer_labels(logits, some.labels).mean()
        return value, {"accuracy": jnp.mean(jnp.argmax(logits, 1) == some.labels, dtype=value.dtype)}

    return trainer(partial(begin, s), loss, batch, optax.adam(optax.cosine_decay_schedule(s.lr, s.steps)))


def measure(s: Settings, state: PyTree, digits: Array) -> dict[str, PyTree]:
    """Measure one network."""
    how = How(s.pool, s.examples, s.permutations, s.runs)
    fresh = begin(s, keys.stream(state.key, "fresh"))
    return study.one_net(how, network(s), state.params, fresh, keys.stream(state.key, "measure"), digits)


def rates(found: Mapping[str, PyTree]) -> dict[str, Numpy]:
    """Give what claims are made of, `[seeds]` each: how often concepts of a kind are called significant, and more."""
    own: dict[str, Numpy] = {"accuracy": found["accuracy"]}
    for name, scores in found["scores"].items():
        p, adjusted = study.p_values(scores)
        for kind in WORDS:
            own[f"{name} {kind}"] = (p[:, :, study.named(kind)] <= LEVEL).mean((1, 2))
        own[f"{name} any absent"] = (adjusted[:, :, study.named("absent")] <= LEVEL).any(2).mean(1)
    signs = [np.sign(found["scores"][layer].observed) for layer in ("first", "second")]
    for kind in WORDS:
        own[f"turned {kind}"] = (signs[0] != signs[1])[:, :, study.named(kind)].mean((1, 2))
    relative, _ = study.p_values(found["relative"])
    known = np.array(["used" in (KINDS[a], KINDS[b]) for a, b in study.PAIRS])
    for name, which in (("used", known), ("unused", ~known)):
        own[f"relative {name}"] = (relative[:, which] <= LEVEL).mean((1, 2, 3))
    for kind in ("used", "unused", "companion"):
        drawn = [i for i in study.named(kind) if i < len(study.ATTRIBUTES)]
        own[f"flips {kind}"] = found["flips"][:, drawn].mean(1)
    far = np.abs(found["random_runs"] - 0.5)
    own["extreme"] = (far > 0.4).mean((1, 2))
    return own | by_runs(found)


def by_runs(found: Mapping[str, PyTree]) -> dict[str, Numpy]:
    """Give how often the t-test rejects, by kind and number of runs, and how often two repeats of it disagree."""
    concept, random = found["concept_runs"], found["random_runs"][:, None]
    most = concept.shape[-1] // 2
    own = {}
    for count in (*FEW, most):
        twice = [
            study.t_tests(concept[..., at : at + count], random[..., at : at + count]) <= LEVEL for at in (0, most)
        ]
        number = "all" if count == most else count
        for kind in WORDS:
            places = study.named(kind)
            own[f"t {kind} {number}"] = twice[0][:, places].mean((1, 2))
            own[f"disagree {kind} {number}"] = (twice[0] != twice[1])[:, places].mean((1, 2))
    return own


def of_permutations() -> dict[str, Stated]:
    """List the claims on tests by dealt labels; rates are over concepts of a kind and classes, at p <= .05."""
    equal = Direction.EQUIVALENT
    return {
        "tells_used_from_unused": Stated("By dealt labels, used concepts are significant and marks that are drawn and "
            "not used are not.", "rate of used concepts minus that of unused ones", "first used", "first unused", 0.5),
        "used_are_found": Stated("Used concepts are significant.", "rate of used concepts", "first used", 0.0, 0.8),
        "unused_are_not": Stated("Marks that are drawn and not used are significant no more often than one in ten.",
            "rate of unused concepts", "first unused", 0.0, 0.1, equal),
        "absent_at_the_level": Stated("Concepts dealt at random are significant as often as stated.",
            "rate of concepts dealt at random minus .05", "first absent", LEVEL, 0.03, equal, "5%"),
        "any_absent_at_the_level": Stated("Adjusted for all concepts by max-T, any of those dealt at random is "
            "significant in a class as rarely as stated.", "rate minus .05", "first any absent", LEVEL, 0.05, equal,
            "5% (the peer corrects by Bonferroni, by choice)"),
        "companions_are_not": Stated("A mark that went along with a used one in training, tested where it does not, is "
            "not significant, as the net does not use it.", "rate of the companion", "first companion", 0.0, 0.1,
            equal),
        "unused_but_correlated_is_found": Stated("An attribute that goes along with a used mark, and is never "
            "drawn, is significant: no proof of use.", "rate of the hidden attribute", "first hidden", 0.0, 0.5),
        "untrained_nets_pass": Stated("In nets that were not trained, what trained ones use is seldom significant.",
            "rate of used concepts in untrained nets", "untrained used", 0.0, 0.1, equal),
        "relative_vectors_tell": Stated("Relative vectors of a used and an unused mark are significant, of two unused "
            "ones not.", "rate, pairs with a used mark minus pairs without", "relative used", "relative unused", 0.5),
        "signs_of_unused_turn": Stated("From one layer to the next the sign of an unused concept's slope turns over.",
            "share of unused concepts and classes with opposite signs", "turned unused", 0.0, 0.2),
        "signs_of_used_stay": Stated("That of a used concept does not.", "share of used concepts and classes with "
            "opposite signs", "turned used", 0.0, 0.05, equal),
    }  # fmt: skip


def of_t_tests(s: Settings) -> dict[str, Stated]:
    """List the claims on the paper's test."""
    equal = Direction.EQUIVALENT
    return {
        "t_test_finds_used": Stated("The paper's t-test finds used concepts.", "rate of used concepts", "t used all",
            0.0, 0.8, published="significant concepts are plausible ones"),
        "t_test_finds_what_is_absent": Stated("It rejects concepts dealt at random far more often than its level, as "
            "runs share their examples.", "rate of concepts dealt at random minus .05", "t absent all", LEVEL, 0.1,
            published="5% (p < .05, two-sided)"),
        "t_test_finds_unused": Stated("It calls unused marks significant more often than dealt labels do.",
            "rate of unused concepts, t-test minus dealt labels", "t unused all", "first unused", 0.1),
        "more_runs_find_more": Stated("With more runs it rejects what is absent more often.",
            f"rate of concepts dealt at random, {s.runs} runs minus {FEW[0]}", "t absent all", f"t absent {FEW[0]}",
            0.1, published="500 runs are advised"),
        "random_scores_pile_up": Stated("TCAV scores of random concepts are near 0 or 1, not about one half.",
            "share of random scores further than .4 from .5, minus .2 (of uniform ones)", "extreme", 0.2, 0.1),
        "few_runs_disagree": Stated(f"Two repeats of {FEW[1]} runs disagree on whether an unused concept is "
            "significant.", "share of unused concepts and classes with two verdicts", f"disagree unused {FEW[1]}",
            0.0, 0.05, published="inconsistent at 50 to 100 runs (an issue of the peer's)"),
        "all_runs_agree": Stated(f"Two repeats of {s.runs} runs agree.", "share of unused concepts and classes with "
            "two verdicts", "disagree unused all", 0.0, 0.05, equal, "some 500 runs are needed (same issue)"),
    }  # fmt: skip


def stated(s: Settings) -> dict[str, Stated]:
    """List the claims."""
    return of_permutations() | of_t_tests(s)


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    scope = (
        f"MLPs of widths {s.hidden} on digits with marks, after the first layer; {s.pool} images for vectors, "
        f"{s.examples} to score a class, {s.permutations} permutations, {s.runs} runs"
    )
    return contrasts.claims(stated(s), source=PAPER, scope=scope, primary="tells_used_from_unused")


def judge(s: Settings, own: Mapping[str, Numpy], fine: Numpy) -> list[Finding]:
    """Give each claim its interval over networks. own: of `rates`."""

    def mean(name: str) -> str:
        return f"{own[name][fine].mean():.3f}"

    both = {"logits less their mean": "centred", "second layer": "second", "decisions a mark changes": "flips"}
    notes = {
        "tells_used_from_unused": [
            *(f"{words}: {mean(f'{what} used')} against {mean(f'{what} unused')}" for words, what in both.items()),
            f"accuracy of nets {mean('accuracy')}",
        ],
        "companions_are_not": [f"decisions it changes: {mean('flips companion')}"],
    }
    return contrasts.judge(claims(s), stated(s), own, notes, mask=fine)


def pictures(s: Settings, own: Mapping[str, Numpy]) -> list[records.Picture]:
    """Draw how often concepts are called significant, against runs too; decisions changed, signs turned."""
    tests = {"first": "dealt labels", "t": "t-test", "second": "second layer", "untrained": "untrained nets"}
    rate = "rate of p at most .05"
    by_kind = {
        words: {test: own[f"t {kind} all" if name == "t" else f"{name} {kind}"] for name, test in tests.items()}
        for kind, words in WORDS.items()
    }
    counts = np.array([*FEW, s.runs])
    over = {
        quantity: {
            words: np.stack([own[f"{quantity} {kind} {number}"] for number in (*FEW, "all")], 1)
            for kind, words in WORDS.items()
        }
        for quantity in ("t", "disagree")
    }
    marks = {WORDS[kind]: {"decisions": own[f"flips {kind}"]} for kind in ("used", "companion", "unused")}
    turned = {words: {"turned": own[f"turned {kind}"]} for kind, words in WORDS.items()}
    return [
        records.Picture(
            "rates", figures.groups(by_kind, title="Which concepts are called significant", ylabel=rate),
            f"By labels dealt anew, and by the paper's t-test of {s.runs} runs, after the first layer; by dealt labels "
            f"after the second, and in nets that were not trained. The level is .05. {KEY}", "Dots by kind of concept.",
        ),
        records.Picture(
            "runs", figures.against_strength(
                counts, over["t"], title="More runs, more significance", xlabel="random sets (runs)", ylabel=rate
            ),
            f"The paper's t-test, whose runs share the concept's examples. {KEY}", "Rising lines by kind of concept.",
        ),
        records.Picture(
            "repeats", figures.against_strength(
                counts, over["disagree"], title="Do two repeats of the t-test agree?", xlabel="random sets (runs)",
                ylabel="share of verdicts that differ",
            ),
            f"Two repeats with random sets of their own. {KEY}", "Lines by kind of concept.",
        ),
        records.Picture(
            "use", figures.groups(marks, title="What the nets use", ylabel="decisions a mark changes, share"),
            "Test images rendered with and without a mark.", "Dots by kind of mark.",
        ),
        records.Picture(
            "signs", figures.groups(turned, title="Signs between layers", ylabel="opposite signs, share"),
            f"Concepts and classes whose mean slope has opposite signs after the first and the second layer. {KEY}",
            "Dots by kind of concept.",
        ),
    ]  # fmt: skip


def run(s: Settings) -> None:
    """Train networks, test concepts, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=True,
        title="Testing with concept vectors",
        question="Does testing with concept vectors tell what a network uses from what is merely there?",
    )  # fmt: skip
    claims(s)
    done = sweep(
        partial(make, s), table.grid({}, s.seeds), load(), steps=s.steps, chunk=s.chunk, config=work.config,
        out=s.out / "runs" / "nets", **s.driver(),
    )  # fmt: skip
    if work.waits(len(done.runs), s.seeds):
        return
    own = rates(done.map(partial(measure, s)))
    fine = np.array([run.id not in done.diverged for run in done.runs])
    rows = {"seed": np.arange(s.seeds)} | {name.replace(" ", "_"): values for name, values in own.items()}
    work.write(judge(s, own, fine), pictures=pictures(s, own), rows=rows, diverged=done.diverged)


PRESETS = {
    "quick": Settings(),
    "full": Settings(seeds=100, hidden=(128, 64), steps=4000, chunk=1000, pool=2000, examples=100, permutations=999,
                     runs=500),
}  # fmt: skip

if __name__ == "__main__":
    cli.main(run, PRESETS)
