"""What `probe_space` and `probe_time` share: claims about tables of scores, their figures and rows.

A table maps (division, features, quantity) to a `probes.coordinates_scores.Tally`, sums over countries or decades.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from interp_jax.core.bootstrap import FEWEST
from interp_jax.core.correlation import rank_correlations
from interp_jax.core.intervals import Interval, student
from interp_jax.core.types import Numpy
from interp_jax.probes import coordinates_scores as scores
from interp_jax.probes import coordinates_study as study
from interp_jax.report import cells, contrasts, figures, tables
from interp_jax.report.claims import Claim, Finding, finding
from interp_jax.report.contrasts import Stated
from interp_jax.report.records import Picture

Cell = tuple[str, str, str]
"""Division, features, quantity."""
Table = dict[Cell, scores.Tally]
Ranks = Mapping[Cell, Numpy]
"""Rank correlations by split, `[S]`, which are no sums."""
Found = Mapping[str, Any]
"""What `coordinates_study.one_split` gives, `[S, ...]`."""


def claims(stated: Mapping[str, Stated], *, source: str, unit: str, scope: str, primary: str) -> dict[str, Claim]:
    """State what is tested; quantities are cells of the table."""
    return contrasts.claims(
        stated, source=source, unit=unit, scope=scope, primary=primary, delta=0.02,
        published="a control that the paper lacks",
    )  # fmt: skip


def of_nets(true: Numpy, found: Found, cluster: Numpy, count: int) -> Table:
    """Score the net, and ridge on the same rows; nothing without a net. true: `[N, leads]`."""
    if "net" not in found:
        return {}
    rows, net = found["net"]
    linear = found["predictions"]["layers"][:, 0, :, : true.shape[1]].astype(np.float64)
    table: Table = {}
    for name, values in (("net", net), ("linear", np.take_along_axis(linear, rows[:, :, None], 1))):
        own = np.full(linear.shape, np.nan)
        np.put_along_axis(own, rows[:, :, None], values, 1)
        table["random", "layers", name] = scores.r2(true, own, cluster, count)
    return table


def of_insides(true: Numpy, block: Numpy, found: Found, cluster: Numpy, count: int) -> Table:
    """Score what is told of targets `[N, leads]` about the means of their blocks, whole blocks held out."""
    about = study.about(jnp.asarray(true, jnp.float32), jnp.asarray(block), int(block.max()) + 1)
    return {
        ("block", name, "inside"): scores.r2(np.asarray(about, np.float64), told.astype(np.float64), cluster, count)
        for name, told in found["inside"].items()
    }


def orders(found: Found, targets: Mapping[str, tuple[int, Numpy]]) -> Ranks:
    """Give Spearman's correlations, by division, features and quantity; 0 where all predictions are the same.

    targets: of each quantity which of the targets it is, and the numbers `[N]` to be in order.
    """
    return {
        (division, name, quantity): np.array([
            rank_correlations(each[:, at : at + 1], true[:, None])[0, 0] if np.ptp(each[:, at]) else 0.0
            for each in both[:, i]
        ])
        for name, both in found["predictions"].items()
        for i, division in enumerate(study.DIVISIONS)
        for quantity, (at, true) in targets.items()
    }  # fmt: skip


def judge(
    claims: Mapping[str, Claim], stated: Mapping[str, Stated], table: Table, notes: Mapping[str, str]
) -> list[Finding]:
    """Give each claim its interval over clusters; the primary one at the levels that a page may need."""
    findings = []
    for name, claim in claims.items():
        each = stated[name]
        if each.more not in table or not (isinstance(each.less, float) or each.less in table):
            findings.append(finding(claim, None, note="not measured with these settings"))
            continue
        more, less = table[each.more], each.less if isinstance(each.less, float) else table[each.less]
        if more.clusters < FEWEST:
            findings.append(finding(claim, None, note=f"{more.clusters} {claim.unit}, fewer than {FEWEST}"))
            continue

        def at(level: float, more: scores.Tally = more, less: scores.Tally | float = less) -> Interval:
            return scores.interval(more, less, level=level)

        low = less if isinstance(less, float) else less.value
        note = "; ".join(filter(None, (f"{more.value:.3f} against {low:.3f}", notes.get(name, ""))))
        findings.append(finding(claim, at if claim.primary else at(0.95), note=note))
    return findings


def chosen(found: Found, name: str, division: int = 0) -> str:
    """List the candidates that folds have chosen, with how often, as "last 6 (7 times)"."""
    depth = found["layers"].shape[-1] // len(study.POOLS)
    which, times = np.unique(np.asarray(found["chosen"][name])[:, division], return_counts=True)
    words = [f"{study.POOLS[i // depth]} {i % depth}" for i in which]
    return ", ".join(f"{each} ({n} times)" for each, n in zip(words, times, strict=True))


def pseudo(cell: Cell, table: Table, ranks: Ranks) -> Numpy:
    """Give what a printed table averages: a tally's pseudo-values, or the mean of ranks alone."""
    return table[cell].pseudo if cell in table else ranks[cell].mean()[None]


def table_picture(
    division: str, table: Table, ranks: Ranks, *, features: Mapping[str, str], columns: Mapping[str, str], title: str,
    note: str, caption: str, unit: str,
) -> Picture:  # fmt: skip
    """Print the scores of one division: features by quantity, both with their words."""
    there = [name for name in features if (division, name, next(iter(columns))) in table]
    values = {
        features[name]: {words: pseudo((division, name, key), table, ranks) for key, words in columns.items()}
        for name in there
    }
    under = f"Half the width of 95% intervals (jackknife over {unit}) beneath. "
    drawn = cells.table(values, title=title, note=note, scale=1, digits=2)
    return Picture(f"table_{division}", drawn, under + caption, "A table of scores by set of features.")


def layers_picture(found: Found, *, apart: str, ylabel: str) -> Picture:
    """Draw the R2 of every layer. apart: what is held out together."""
    by = _few(found["layers"])
    by = by.reshape(len(by), len(study.DIVISIONS), len(study.POOLS), -1)
    series = {
        f"{where}, {pool}": by[:, at, i]
        for at, where in enumerate(("rows", apart))
        for i, pool in enumerate(study.POOLS)
    }
    drawn = figures.against_strength(
        np.arange(by.shape[-1]), series, title="Layer by layer", xlabel="layer", ylabel=ylabel, log=False
    )
    caption = f"States averaged over the name's tokens or at the last; rows or {apart} held out. {_divisions(found)}"
    return Picture("layers", drawn, caption, "Lines against layers.")


def _few(values: Numpy) -> Numpy:
    """Average two divisions, whose interval would say nothing."""
    return values if len(values) > 2 else values.mean(0, keepdims=True)


def _divisions(found: Found) -> str:
    count = len(found["layers"])
    return "Seeds are divisions." if count > 2 else f"The mean of all divisions: {count}."


def axes_picture(found: Found, dims: Sequence[int], *, ylabel: str) -> Picture:
    """Draw the R2 of probes that see a few axes."""
    series = {kind: _few(found["curve"])[:, i] for i, kind in enumerate(("principal axes", "random axes"))}
    drawn = figures.against_strength(
        np.asarray(dims), series, title="How many axes a probe needs", xlabel="axes shown to the probe", ylabel=ylabel
    )
    caption = (
        "The layer that inner folds chose, on its first principal axes or as many random ones; one fold of the rows "
        f"dealt at random is scored. {_divisions(found)}"
    )
    return Picture("axes", drawn, caption, "Lines against numbers of axes.")


def rows_of(table: Table, ranks: Ranks, found: Found, dims: Sequence[int]) -> tables.Table:
    """Give the tidy table: by division, features, quantity, seed and place the value.

    place: a layer (all of one pool, then of the other), a number of axes, or 0. Seed -1 is the mean over seeds; its
    interval over clusters (jackknife) is in the quantities that end in _low and _high.
    """
    rows: list[tuple] = []
    for (division, name, quantity), tally in table.items():
        rows += [(division, name, quantity, seed, 0, float(v)) for seed, v in enumerate(tally.by_split)]
        around = student(tally.pseudo)
        ends = {"": tally.value, "_low": around.low, "_high": around.high}
        rows += [(division, name, quantity + end, -1, 0, float(v)) for end, v in ends.items()]
    for (division, name, quantity), values in ranks.items():
        rows += [(division, name, quantity, seed, 0, float(v)) for seed, v in enumerate(values)]
    for at, division in enumerate(study.DIVISIONS):
        for seed, layers in enumerate(found["layers"][:, at]):
            rows += [(division, "layers", "r2_layer", seed, place, float(v)) for place, v in enumerate(layers)]
    for seed, kinds in enumerate(found.get("curve", ())):
        rows += [
            ("random", "layers", f"r2_{kind}_axes", seed, count, float(v))
            for kind, own in zip(("principal", "random"), kinds, strict=True)
            for count, v in zip(dims, own, strict=True)
        ]
    return tables.from_cells(("division", "features", "quantity", "seed", "place", "value"), rows)
