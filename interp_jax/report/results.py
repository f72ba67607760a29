"""What a page is made of: the records of this machine and the committed ones, with their claims judged together."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from interp_jax.report import claims, records
from interp_jax.report.claims import Finding, Judgement
from interp_jax.report.records import Record


class Result(NamedTuple):
    """A record, whether it came with the repository, and its claims judged among those beside it."""

    record: Record
    committed: bool
    judgements: list[Judgement]

    @property
    def place(self) -> str:
        """Say whose result it is."""
        return "committed" if self.committed else "this machine"

    @property
    def preset(self) -> str:
        """Give the preset, a size of the problem."""
        return self.record.manifest["preset"]

    @property
    def small(self) -> bool:
        """Say whether the problem is a small one, whose verdict does not carry to the paper's setting."""
        return self.record.manifest.get("small") or self.preset == "quick"

    def judged(self, name: str) -> Judgement | None:
        """Give the judgement of the claim of that name."""
        return next((judged for judged in self.judgements if judged.claim.name == name), None)

    def note(self, name: str) -> str:
        """Give what the experiment noted on the claim of that name: seeds left out, why it was not tested."""
        return next((found.note for found in self.record.findings if found.claim.name == name), "")


def load(fresh: Path, committed: Path | None, problems: list[str]) -> dict[str, list[Result]]:
    """Read and judge all results: experiment to its results, this machine's first, small problems first.

    A folder that cannot be read becomes a line in `problems`. This machine's claims are one family for Holm's
    adjustment and the committed ones another, so that a run of the reader's weakens nothing that is committed.
    """
    found = _judged(_read(fresh, problems), False, problems)
    if committed is not None:
        found += _judged(_read(committed, problems), True, problems)
    experiments: dict[str, list[Result]] = {}
    for result in sorted(found, key=_order):
        experiments.setdefault(result.record.manifest["experiment"], []).append(result)
    return experiments


def _read(folder: Path, problems: list[str]) -> list[Record]:
    found = []
    for path in records.find(folder):
        try:
            found.append(records.read(path))
        except (ValueError, OSError) as error:
            problems.append(str(error))
    return found


def _judged(found: Sequence[Record], committed: bool, problems: list[str]) -> list[Result]:
    family = [_qualified(record, finding) for record in found for finding in record.findings]
    try:
        judgements = claims.judge_page(family)
    except ValueError as error:  # an interval that cannot be moved to Holm's level
        problems.append(f"claims are judged each alone, without adjustment: {error}")
        judgements = [claims.judge(finding) for finding in family]
    rest = iter(judgements)
    results = []
    for record in found:
        own = [dataclasses.replace(next(rest), claim=finding.claim) for finding in record.findings]
        results.append(Result(record, committed, own))
    return results


def _qualified(record: Record, finding: Finding) -> Finding:
    """Give a claim a name of its own among those of other experiments and presets."""
    name = f"{record.manifest['experiment']}/{record.manifest['preset']}/{finding.claim.name}"
    return dataclasses.replace(finding, claim=dataclasses.replace(finding.claim, name=name))


def _order(result: Result) -> tuple[str, bool, bool, str]:
    return result.record.manifest["experiment"], result.committed, not result.small, result.preset
