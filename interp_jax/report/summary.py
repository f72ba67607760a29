"""Claims on the page: the summary of all, and the table of one with a column for every run that tested it."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from interp_jax.report import words
from interp_jax.report.claims import Claim, Judgement, Verdict, rule
from interp_jax.report.html import Child, Markup, Row, compare, tag
from interp_jax.report.results import Result

LEVEL = 0.95
NAMES = ("Claim", "Published", "This machine", "Committed")


class Tested(NamedTuple):
    """A claim, as its first result states it, and how each result judged it; None where a result lacks it."""

    claim: Claim
    by: list[tuple[Result, Judgement | None]]


def tested(results: Sequence[Result]) -> list[Tested]:
    """Join the claims of several results by name; primary ones first, else in the order in which they are stated."""
    found: dict[str, Claim] = {}
    for result in results:
        for judged in result.judgements:
            found.setdefault(judged.claim.name, judged.claim)
    ordered = sorted(found.values(), key=lambda claim: not claim.primary)
    return [Tested(claim, [(result, result.judged(claim.name)) for result in results]) for claim in ordered]


def summary(experiments: Mapping[str, Sequence[Result]]) -> Child:
    """Make the table of all claims: one line a claim, whoever tested it."""
    lines = [_line(name, i, claim) for name, found in experiments.items() for i, claim in enumerate(tested(found))]
    if not lines:
        return tag("p", "There is no claim to show.", class_="quiet")
    head = [tag("th", name, scope="col", role="columnheader") for name in NAMES]
    interval = f"{words.percent(LEVEL)} interval"
    caption = f"Every claim on this page, with the verdict, the estimate and the {interval} of each run that tested it"
    return tag(
        "table",
        tag("caption", caption, class_="quiet small"),
        tag("thead", tag("tr", head, role="row"), role="rowgroup"),
        tag("tbody", lines, role="rowgroup"),
        class_="summary",
        role="table",
    )


def table(name: str, i: int, joined: Tested, columns: Sequence[Child]) -> Markup:
    """Make the table of claim `i` of an experiment: one column a run, one row a fact."""
    judgements = [judged for _, judged in joined.by]

    def row(title: str, show: Callable[[Judgement], Child], *, merge: bool = False) -> Row | None:
        """Make a row, or none where no run has anything to say."""
        cells = [_absent() if judged is None else show(judged) for judged in judgements]
        said = [cell for cell, judged in zip(cells, judgements, strict=True) if judged is not None]
        return None if all(cell == words.NONE for cell in said) else Row(title, cells, merge)

    rows = [
        row("Published", lambda judged: _published(judged.claim), merge=True),
        row("Source", lambda judged: judged.claim.source, merge=True),
        row("Verdict", lambda judged: words.badge(judged.verdict)),
        row("Our estimate", _estimate),
        row(f"{words.percent(LEVEL)} interval", _interval),
        row("Decided on", _decided, merge=True),
        row("Replicates", _replicates, merge=True),
        row("What is estimated", lambda judged: judged.claim.estimand, merge=True),
        row("Smallest effect that matters", lambda judged: words.number(judged.claim.delta), merge=True),
        row("Rule, stated before the run", lambda judged: rule(judged.claim), merge=True),
        row("Scope", lambda judged: judged.claim.scope, merge=True),
        _notes(joined),
    ]
    caption = [_primary(joined.claim), tag("span", joined.claim.statement)]
    return tag("div", compare(caption, columns, rows), id=f"{name}-claim-{i}")


def _line(name: str, i: int, joined: Tested) -> Markup:
    cells = []
    for label, committed in zip(NAMES[2:], (False, True), strict=True):
        mine = [_short(r, judged) for r, judged in joined.by if judged is not None and r.committed is committed]
        cells.append(tag("td", mine or tag("span", "no result", class_="quiet"), role="cell", data_label=label))
    link = tag("a", joined.claim.statement, href=f"#{name}-claim-{i}")
    return tag(
        "tr",
        tag("td", _primary(joined.claim), link, " ", tag("span", name, class_="quiet small"), role="cell"),
        tag("td", _published(joined.claim), role="cell", data_label="Published", class_="published"),
        cells,
        role="row",
    )


def _short(result: Result, judged: Judgement) -> Markup:
    parts: list[Child] = [tag("span", result.preset, class_="label"), words.badge(judged.verdict)]
    if judged.verdict is not Verdict.NOT_TESTED:
        numbers = f"{words.estimate(judged.interval)} {words.bounds(judged.interval)}"
        parts += [" ", tag("span", numbers, class_="value")]
    return tag("div", parts, class_="one")


def _estimate(judged: Judgement) -> Child:
    shown = words.estimate(judged.interval)
    return shown if shown == words.NONE else tag("span", shown, class_="value big")


def _interval(judged: Judgement) -> Child:
    found = judged.interval
    if found is None or not found.valid:
        return words.NONE
    return [tag("span", words.bounds(found), class_="value"), words.bar(judged)]


def _decided(judged: Judgement) -> Child:
    """Say which interval the verdict rests on: a wider one where several primary claims share the error rate."""
    used, shown = judged.decided_on, judged.interval
    if used is None or shown is None:
        return words.NONE
    if not judged.claim.primary:
        return "this interval; a secondary claim, not adjusted for the others"
    if used.level == shown.level:
        return words.NONE
    open_ = round((1 - shown.level) / (1 - used.level))
    return f"{words.percent(used.level)}: {words.bounds(used)} (Holm's level with {open_} primary claims open)"


def _replicates(judged: Judgement) -> str:
    return words.NONE if judged.interval is None else f"{int(judged.interval.n):,} {judged.claim.unit}"


def _notes(joined: Tested) -> Row | None:
    """Say what each run noted, why it did not test a claim, and whether it states the claim in other words."""
    cells = [_note(result, judged, joined) for result, judged in joined.by]
    return Row("Note", [cell or words.NONE for cell in cells], merge=True) if any(cells) else None


def _note(result: Result, judged: Judgement | None, joined: Tested) -> str:
    if judged is None:
        return ""
    untested = judged.verdict is Verdict.NOT_TESTED
    notes = [judged.reason if untested else result.note(judged.claim.name)]
    if judged.interval is not None and judged.interval.constant:
        notes.append("all replicates are equal: no spread was seen, which does not show that there is none")
    if judged.claim.statement != joined.claim.statement:
        notes.append(f"this run states the claim as: {judged.claim.statement}")
    return "; ".join(filter(None, notes))


def _published(claim: Claim) -> str:
    if claim.published is None:
        return "no number given"
    return claim.published if isinstance(claim.published, str) else words.number(claim.published)


def _primary(claim: Claim) -> Child:
    return tag("span", "primary", class_="label") if claim.primary else None


def _absent() -> Markup:
    return tag("span", "not among its claims", class_="quiet")
