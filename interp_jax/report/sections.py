"""One section of the page: an experiment with its claims, figures, and what was and was not run."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from interp_jax.report import summary, words
from interp_jax.report.claims import Verdict
from interp_jax.report.html import Child, Markup, Row, compare, tag
from interp_jax.report.results import Result


def experiment(name: str, results: Sequence[Result], expected: Sequence[str] = ()) -> Markup:
    """Make the section of one experiment; `expected` are presets that it offers besides those its manifests name."""
    first = results[0].record.manifest
    columns = [_column(result) for result in results]
    return tag(
        "section",
        tag("h2", _title(name, results), id=f"{name}-title"),
        tag("p", first["question"], class_="question") if first.get("question") else None,
        [_banner(result) for result in results],
        tag("h3", "Claims"),
        [summary.table(name, i, joined, columns) for i, joined in enumerate(summary.tested(results))]
        or tag("p", "None was judged."),
        _figures(results),
        tag("h3", "What was run"),
        compare(f"Runs of {name}", columns, _runs(results), class_="runs"),
        tag("h3", "What was not run"),
        _not_run(results, expected),
        class_="experiment",
        id=name,
        aria_labelledby=f"{name}-title",
    )


def _title(name: str, results: Sequence[Result]) -> str:
    titles = [result.record.manifest.get("title") for result in results]
    return next((title for title in titles if title), name.replace("_", " "))


def _column(result: Result) -> Markup:
    """Head the column of one run."""
    device = f" ({result.record.manifest['device']})" if result.committed else ""
    return tag("span", f"{result.place}, {result.preset}{device}")


def _banner(result: Result) -> Child:
    """Warn of a small problem, and of a run that has not ended."""
    who = f"{result.place.capitalize()}, {result.preset}: "
    if not result.record.manifest["finished"]:
        return tag("p", tag("b", who), "not finished. Run the same command again to go on.", class_="banner")
    if not result.small:
        return None
    say = "a small problem. Its verdicts hold for that problem only: see the scope of each claim."
    return tag("p", tag("b", who), say, class_="banner")


def _figures(results: Sequence[Result]) -> Child:
    """Show the figures in the order of their first appearance, those of one name side by side."""
    names = list(dict.fromkeys(picture.name for result in results for picture in result.record.pictures))
    if not names:
        return None
    groups = [[(r, p) for r in results for p in r.record.pictures if p.name == name] for name in names]
    alone = [_figure(*group[0]) for group in groups if len(group) == 1]
    pairs = [tag("div", [_figure(*one) for one in group], class_="figures") for group in groups if len(group) > 1]
    return [tag("h3", "Figures"), pairs, tag("div", alone, class_="figures") if alone else None]


def _figure(result: Result, picture: Any) -> Markup:
    wide, high = (int.from_bytes(picture.image[at : at + 4], "big") for at in (16, 20))
    data = base64.b64encode(picture.image).decode()
    image = tag("img", src=f"data:image/png;base64,{data}", alt=picture.alt, width=wide // 2, height=high // 2)
    label = tag("span", f"{result.place}, {result.preset}", class_="label")
    return tag("figure", image, tag("figcaption", label, picture.caption))


def _runs(results: Sequence[Result]) -> list[Row]:
    manifests = [result.record.manifest for result in results]

    def cells(show: Any) -> list[Child]:
        return [show(manifest) for manifest in manifests]

    return [
        Row("Device", cells(lambda m: m["device"]), merge=True),
        Row("Time taken", cells(lambda m: words.duration(m["wall_seconds"]))),
        Row("Started", cells(lambda m: words.moment(m["started"]))),
        Row("Ended", cells(lambda m: words.moment(m["ended"]) if m["finished"] else "not finished")),
        Row("Seeds", cells(lambda m: _seeds(m["seeds"]))),
        Row("Diverged runs", cells(lambda m: _listed(m["diverged"]))),
        Row("Table", [_table(result) for result in results]),
        Row("Settings", cells(lambda m: _details("show", m["config"]))),
        Row("Versions", cells(lambda m: _details(_versions(m["versions"]), m["versions"])), merge=True),
        Row("Git revision", cells(lambda m: tag("code", m["git_revision"] or words.NONE)), merge=True),
    ]


def _table(result: Result) -> str:
    rows = result.record.rows
    if rows is None:
        return "none written"
    return f"rows.parquet: {len(next(iter(rows.values()))):,} rows, {len(rows)} columns, digest verified"


def _seeds(seeds: Sequence[Any]) -> str:
    """Write 0, 1, ..., 7 as '8 (0 to 7)'."""
    if not seeds:
        return "none"
    whole = all(isinstance(seed, int) for seed in seeds) and sorted(seeds) == list(range(min(seeds), max(seeds) + 1))
    shown = f"{min(seeds)} to {max(seeds)}" if whole and len(seeds) > 2 else ", ".join(map(str, seeds))
    return f"{len(seeds)} ({shown})"


def _listed(runs: Sequence[Any]) -> Child:
    """List diverged runs; more than eight fold away, none is dropped."""
    if not runs:
        return "none"
    entries = tag("ul", [tag("li", _phrase(run)) for run in runs])
    head = f"{len(runs)}, left out of every mean:"
    return [head, entries] if len(runs) <= 8 else tag("details", tag("summary", head), entries)


def _phrase(value: Any) -> str:
    """Write a JSON value in a line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_phrase(item)}" for key, item in value.items())
    return ", ".join(map(_phrase, value)) if isinstance(value, list) else str(value)


def _versions(versions: Mapping[str, Any]) -> str:
    return f"jax {versions['jax']}" if "jax" in versions else "show"


def _details(head: str, values: Mapping[str, Any]) -> Child:
    if not values:
        return words.NONE
    entries = [[tag("dt", key), tag("dd", _phrase(value))] for key, value in values.items()]
    return tag("details", tag("summary", head), tag("dl", entries))


def _not_run(results: Sequence[Result], expected: Sequence[str]) -> Markup:
    """List presets without a result here, what the experiment says it left out, and claims that were not tested."""
    offered = [preset for result in results for preset in result.record.manifest.get("presets") or ()]
    presets = dict.fromkeys([*expected, *offered, *(result.preset for result in results)])
    fresh = {result.preset for result in results if not result.committed}
    committed = {result.preset for result in results if result.committed}
    lines: list[Child] = []
    for preset in presets:
        if preset not in fresh:
            beside = "the committed result is shown" if preset in committed else "there is no committed result either"
            lines.append([tag("b", preset), f" was not run on this machine; {beside}."])
    for result in results:
        who = f"{result.place}, {result.preset}: "
        lines += [[tag("b", who), _phrase(left)] for left in result.record.manifest.get("not_run") or ()]
        untested = [judged.claim for judged in result.judgements if judged.verdict is Verdict.NOT_TESTED]
        lines += [[tag("b", who), f"not tested at this size: {claim.statement}"] for claim in untested]
    if not lines:
        return tag("p", "Nothing: every preset has a result of this machine, and every claim was tested.")
    return tag("ul", [tag("li", line) for line in lines])
