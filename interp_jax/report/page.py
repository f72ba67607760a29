"""One HTML file that shows every claim, its verdict and what it rests on: `results/index.html`.

It needs no network and no other file: figures and styles are inlined, and there is no script. What is broken is named
on the page and in the exit status, never left out.

    python -m interp_jax.report                                             # results, experiments/results
    python -m interp_jax.report DIR experiments/results --out DIR/page.html
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from interp_jax.report import files, words
from interp_jax.report.claims import Verdict
from interp_jax.report.html import Child, Markup, tag
from interp_jax.report.results import Result, load
from interp_jax.report.sections import experiment
from interp_jax.report.style import CSS
from interp_jax.report.summary import summary
from interp_jax.runs import provenance

TITLE = "Published claims, tested over seeds"
MEANINGS = {
    Verdict.SUPPORTED: "the whole interval lies where the claim says, beyond the smallest effect that matters",
    Verdict.CONTRADICTED: "the whole interval lies where an effect of the size that matters is excluded",
    Verdict.INCONCLUSIVE: "the interval allows either",
    Verdict.NOT_TESTED: "the claim needs a larger run than this one",
}


class Page(NamedTuple):
    """path: the file written. problems: one line a result that could not be shown, each naming its file."""

    path: Path
    problems: list[str]


def build(
    results: str | os.PathLike[str],
    committed: str | os.PathLike[str] | None,
    out: str | os.PathLike[str],
    *,
    expected: Mapping[str, Sequence[str]] | None = None,
    now: str | None = None,
) -> Page:
    """Write the page of all results under `results` (this machine's) and `committed` (the repository's).

    Args:
        results: folder of `<experiment>/<preset>/`, see `records`; missing means that nothing was run here.
        committed: the same for longer runs, shown beside the fresh ones; None or a missing folder means none.
        out: the HTML file.
        expected: experiment name to the presets that it offers, so that what never ran is named.
        now: the time to print, ISO 8601; the present by default.

    Returns:
        The file, and a line for every folder that is damaged. The page is written with the others all the same.
    """
    problems: list[str] = []
    experiments = load(Path(results), None if committed is None else Path(committed), problems)
    text = _document(experiments, expected or {}, problems, now or provenance.now())
    return Page(files.replace(out, text.encode("utf-8")), problems)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the page from the command line; give 1 for a damaged result, 2 for a wrong command.

    Every script beside `experiments/results` is an experiment with these presets: one without any result is named.
    """
    parser = argparse.ArgumentParser(prog="python -m interp_jax.report", description="Build the page of results.")
    parser.add_argument("results", nargs="?", default="results", help="folder of this machine's results")
    parser.add_argument("committed", nargs="?", default="experiments/results", help="folder of committed results")
    parser.add_argument("--out", help="the HTML file; index.html in the folder of results by default")
    given = parser.parse_args(arguments)
    scripts = Path(given.committed).absolute().parent
    expected = {
        path.stem: ("quick", "full") for path in sorted(scripts.glob("[a-z]*.py")) if scripts.name == "experiments"
    }
    try:
        out = given.out or Path(given.results) / "index.html"
        page = build(given.results, given.committed, out, expected=expected)
    except OSError as error:
        sys.stderr.write(f"cannot write the page: {error}\n")
        return 1
    for problem in page.problems:
        sys.stderr.write(f"problem: {problem}\n")
    sys.stdout.write(f"{page.path}\n")
    return 1 if page.problems else 0


def _document(
    experiments: Mapping[str, Sequence[Result]],
    expected: Mapping[str, Sequence[str]],
    problems: Sequence[str],
    now: str,
) -> str:
    sections = [experiment(name, found, expected.get(name, ())) for name, found in experiments.items()]
    body = tag(
        "body",
        tag("a", "Skip to the claims", href="#claims", class_="skip"),
        _header(experiments, now),
        tag(
            "main",
            _problems(problems),
            _absent(experiments, expected),
            tag("h2", "All claims", id="claims"),
            _legend(),
            summary(experiments),
            sections,
        ),
        tag("footer", tag("p", "Made by interp_jax. Build it again: ", tag("code", "bash scripts/reproduce"))),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"interp_jax: {TITLE}"),
        tag("style", Markup(CSS)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _header(experiments: Mapping[str, Sequence[Result]], now: str) -> Markup:
    counted = [result for found in experiments.values() for result in found]
    verdicts = Counter(judged.verdict for result in counted for judged in result.judgements)
    versions = provenance.versions()
    shown = ", ".join(f"{name} {versions[name]}" for name in ("interp_jax", "jax", "python") if name in versions)
    counts = [tag("li", words.badge(v), f" {verdicts[v]}") for v in words.MARKS if verdicts[v]]
    links = [tag("a", name.replace("_", " "), href=f"#{name}") for name in experiments]
    between: list[Child] = [[", " if i else None, link] for i, link in enumerate(links)]
    return tag(
        "header",
        tag("p", "interp_jax", class_="eyebrow"),
        tag("h1", TITLE),
        tag("p", f"Built {words.moment(now)} with {shown}.", class_="quiet small"),
        tag("ul", counts, class_="count", aria_label="Verdicts on this page, counted over runs") if counts else None,
        tag("nav", "Experiments: ", between, aria_label="Experiments", class_="small") if len(links) > 1 else None,
    )


def _legend() -> Markup:
    entries = [[tag("dt", words.badge(verdict)), tag("dd", meaning)] for verdict, meaning in MEANINGS.items()]
    more = (
        "Each claim has its rule and its smallest effect that matters, stated before the run. An interval is over "
        "replicates (mostly seeds). In the small drawings the upright line is zero and the shaded part is smaller than "
        "the smallest effect that matters. Primary claims share an error rate: over those of this machine, and over "
        "those committed, the chance of any wrong verdict is at most 5% (Holm), so that some are decided on an "
        "interval wider than the one shown first. Secondary claims are judged each alone."
    )
    return tag(
        "details", tag("summary", "How to read the verdicts"), tag("p", more), tag("dl", entries), class_="small"
    )


def _problems(problems: Sequence[str]) -> Child:
    if not problems:
        return None
    many = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    say = ": what is named here is damaged, unfinished or no result. Run the experiment again, or move the folder away."
    lines = tag("ul", [tag("li", tag("code", problem)) for problem in problems])
    return tag("div", tag("b", many), say, lines, class_="banner broken", role="alert")


def _absent(experiments: Mapping[str, Sequence[Result]], expected: Mapping[str, Sequence[str]]) -> Child:
    """Name experiments that should be here and are not, and say so if this machine has no result at all."""
    missing = ", ".join(name for name in expected if name not in experiments)
    lines = [f"No result, neither of this machine nor committed: {missing}."] if missing else []
    if not any(not result.committed for found in experiments.values() for result in found):
        lines.insert(0, "This machine has no results yet.")
    return tag("div", [tag("p", line) for line in lines], class_="banner") if lines else None
