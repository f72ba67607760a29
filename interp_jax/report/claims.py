"""Published claims, and verdicts on them by a rule that is stated before the run.

An experiment states a `Claim`, runs, attaches an interval (`finding`) and writes `claims.json` (`to_json`). The page
reads the findings of all experiments and judges them together (`judge_page`).

The rule, with the smallest effect that matters `delta` and the 95% interval [low, high] of the estimand:

    direction     supported                         contradicted
    greater       low > delta                       high < delta
    less          high < -delta                     low > -delta
    equivalent    -delta < low and high < delta     low > delta or high < -delta

and inconclusive otherwise. A directional claim is contradicted by an interval in the other direction, inside +-delta,
or across both: in each case an effect of the size that matters is excluded. So a true effect of zero is often, and
rightly, called "contradicted" where delta is large against the noise. A null claim is supported by an equivalence test
(two one-sided tests at 2.5% each, on the interval that is shown), never by a failure to see a difference.

What is bounded is the wrong decision, "supported" where the claim is false (a directional effect of at most delta) or
"contradicted" where it is true:

- one claim, judged alone: at most 2.5%, reached at an effect of exactly delta. With delta = 0 a true zero has either
  verdict in 5% (2.5% each).
- a page: at most 5% that any primary claim on it gets a wrong verdict. Primary claims are judged by Holm's step-down:
  with k claims undecided, each is judged on its interval at level 1 - 0.05 / k; those that are decided leave, until
  none is. At a true null (delta = 0) every verdict counts as wrong in this bound (Holm 1979); for claims off the null
  it bounds wrong directions too when the estimates are independent (Shaffer 1980), as separate experiments' are.
- secondary claims are judged alone, and say so.

These rates are those of the interval: they hold for Student intervals of normal replicates, and as far as the tables in
`interp_jax.core.intervals` and `bootstrap` show for others. Measured in tests/report/test_claims.py.
"""

import dataclasses
import enum
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from interp_jax.core.intervals import Interval, at_level

RUNGS = 32
FORMAT = 1


class Direction(enum.StrEnum):
    """What a claim says of its estimand: above delta, below -delta, or within +-delta."""

    GREATER = "greater"
    LESS = "less"
    EQUIVALENT = "equivalent"


class Verdict(enum.StrEnum):
    """What the run says of a claim."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    INCONCLUSIVE = "inconclusive"
    NOT_TESTED = "not tested at this size"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """A published claim, stated before the run.

    Attributes:
        name: a short identifier, unique on a page.
        statement: the claim in one sentence.
        source: paper, section, year.
        estimand: the quantity, with its units.
        unit: the replication unit, in the plural ("seeds", "countries").
        delta: the smallest effect that matters, in the units of the estimand; 0 for any effect at all.
        direction: what the claim says of the estimand.
        scope: which data, models and sizes the verdict is about.
        published: the number or words of the source; None if it gives none.
        primary: whether the page's error rate is spent on it; a script has one primary claim.
    """

    name: str
    statement: str
    source: str
    estimand: str
    unit: str
    delta: float
    direction: Direction
    scope: str
    published: str | float | None = None
    primary: bool = True

    def __post_init__(self) -> None:
        for field in ("name", "statement", "source", "estimand", "unit", "scope"):
            text = getattr(self, field)
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"want a text for {field} of a claim, got {text!r}")
        object.__setattr__(self, "direction", Direction(self.direction))
        if isinstance(self.delta, bool) or not (isinstance(self.delta, int | float) and 0 <= self.delta < math.inf):
            raise ValueError(f"claim {self.name!r}: want 0 <= delta < inf, got {self.delta!r}")
        if self.direction is Direction.EQUIVALENT and self.delta == 0:
            raise ValueError(f"claim {self.name!r}: no data can show an effect of exactly zero; want delta > 0")
        if not isinstance(self.primary, bool):
            raise ValueError(f"claim {self.name!r}: want primary True or False, got {self.primary!r}")


@dataclasses.dataclass(frozen=True)
class Finding:
    """A claim and what the run found.

    intervals: empty if the claim was not tested; one Student interval; or, for an interval that cannot be moved to
    another level (bootstrap, correlation), itself and its kin at levels `1 - (1 - level) / k`, k = 1, 2, ..., for Holm.
    note: why it was not tested, what is unusual.
    """

    claim: Claim
    intervals: tuple[Interval, ...]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Judgement:
    """A verdict, the interval at the nominal level (shown), the one it was decided on, and the reason in words."""

    claim: Claim
    verdict: Verdict
    interval: Interval | None
    decided_on: Interval | None
    reason: str


def rule(claim: Claim, level: float = 0.95) -> str:
    """Print the claim's rule in words.

    >>> claim = Claim(name="c", statement="s", source="p", estimand="gap", unit="seeds", delta=0.1,
    ...               direction=Direction.GREATER, scope="digits")
    >>> print(rule(claim))
    supported if the 95% interval of the gap over seeds lies above 0.1; contradicted if it lies below 0.1;
    inconclusive otherwise
    """
    delta = f"{claim.delta:g}"
    lower = f"{-claim.delta:g}" if claim.delta else "0"
    regions = {
        Direction.GREATER: (f"lies above {delta}", f"lies below {delta}"),
        Direction.LESS: (f"lies below {lower}", f"lies above {lower}"),
        Direction.EQUIVALENT: (f"lies inside {lower} to {delta}", f"lies wholly outside {lower} to {delta}"),
    }
    supported, contradicted = regions[claim.direction]
    head = f"supported if the {_percent(level)} interval of the {claim.estimand} over {claim.unit} {supported}"
    return f"{head}; contradicted if it {contradicted}; inconclusive otherwise"


def finding(
    claim: Claim, interval: Interval | Callable[[float], Interval] | None, *, level: float = 0.95, note: str = ""
) -> Finding:
    """Attach what was found to a claim.

    interval: a Student interval of one number; a function of the level, for other intervals (of the same data and the
    same seed, so that they nest); None if the claim was not tested at this size. Fewer than two replicates are kept
    and count as not tested.

    Raises ValueError, by the name of the claim, for an estimate that is not defined.

    >>> from interp_jax.core.intervals import student
    >>> claim = Claim(name="c", statement="s", source="p", estimand="gap", unit="seeds", delta=0.1,
    ...               direction=Direction.GREATER, scope="digits")
    >>> str(judge(finding(claim, student([0.8, 1.1, 0.9]))).verdict)
    'supported'
    """
    if interval is None:
        return Finding(claim, (), note)
    levels = [1 - (1 - level) / k for k in range(1, RUNGS + 1)]
    intervals = [interval] if isinstance(interval, Interval) else [interval(each) for each in levels]
    return _checked(Finding(claim, tuple(_plain(claim, each) for each in intervals), note))


def judge(found: Finding, level: float = 0.95) -> Judgement:
    """Judge one claim alone, by its rule on the interval at `level` (no adjustment for other claims)."""
    if not _tested(found):
        return _not_tested(found)
    return _judgement(found, level, 1, "")


def judge_page(findings: Sequence[Finding], level: float = 0.95) -> list[Judgement]:
    """Judge the claims of a page, in their order: the primary ones by Holm's step-down, the others each alone.

    Primary claims that were not tested do not count among those that are adjusted for.

    Raises ValueError for two claims of one name.
    """
    names = [found.claim.name for found in findings]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"claims need names of their own on a page, got twice: {', '.join(map(repr, twice))}")
    steps = _holm({i: f for i, f in enumerate(findings) if f.claim.primary and _tested(f)}, level)
    judgements = []
    for i, found in enumerate(findings):
        if not _tested(found):
            judgements.append(_not_tested(found))
        elif i in steps:
            judgements.append(_judgement(found, level, steps[i], f", Holm's level with {steps[i]} primary claims open"))
        else:
            judgements.append(_judgement(found, level, 1, ", a secondary claim, not adjusted for the others"))
    return judgements


def decide(claim: Claim, low: float, high: float) -> Verdict:
    """Apply the claim's rule to an interval.

    >>> claim = Claim(name="c", statement="s", source="p", estimand="gap", unit="seeds", delta=0.1,
    ...               direction=Direction.EQUIVALENT, scope="digits")
    >>> [str(decide(claim, *bounds)) for bounds in ((-0.05, 0.09), (0.2, 0.3), (0.05, 0.3))]
    ['supported', 'contradicted', 'inconclusive']
    """
    delta = claim.delta
    supported, contradicted = {
        Direction.GREATER: (low > delta, high < delta),
        Direction.LESS: (high < -delta, low > -delta),
        Direction.EQUIVALENT: (-delta < low and high < delta, low > delta or high < -delta),
    }[claim.direction]
    return Verdict.SUPPORTED if supported else Verdict.CONTRADICTED if contradicted else Verdict.INCONCLUSIVE


def to_json(findings: Sequence[Finding]) -> str:
    """Write findings as strict JSON (NaN becomes null); `from_json` gives them back equal."""
    rows = [
        {
            "claim": dataclasses.asdict(found.claim),
            "intervals": [{k: _strict(v) for k, v in each._asdict().items()} for each in found.intervals],
            "note": found.note,
        }
        for found in findings
    ]
    return json.dumps({"format": FORMAT, "findings": rows}, indent=2, allow_nan=False)


def from_json(text: str) -> list[Finding]:
    """Read what `to_json` wrote.

    Raises ValueError for anything else, saying what is wrong.
    """
    try:
        page = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"claims are not JSON: {error}") from None
    if not isinstance(page, dict) or page.get("format") != FORMAT or not isinstance(page.get("findings"), list):
        raise ValueError(
            f"want claims of format {FORMAT} with a list of findings; the file is damaged or of another version"
        )
    findings = []
    for i, row in enumerate(page["findings"]):
        try:
            claim = Claim(**row["claim"])
            intervals = tuple(_plain(claim, Interval(**each)) for each in row["intervals"])
            findings.append(_checked(Finding(claim, intervals, str(row["note"]))))
        except (KeyError, TypeError) as error:
            raise ValueError(f"finding {i} of the claims is damaged: {error}") from None
    return findings


def _holm(tested: dict[int, Finding], level: float) -> dict[int, int]:
    """Give for each claim how many were open when it was decided, or when nothing more was."""
    steps, remaining = {}, dict(tested)
    while remaining:
        k = len(remaining)
        verdicts = {i: decide(f.claim, *_bounds(f, level, k)) for i, f in remaining.items()}
        decided = [i for i, verdict in verdicts.items() if verdict is not Verdict.INCONCLUSIVE] or list(remaining)
        for i in decided:
            steps[i] = k
            del remaining[i]
    return steps


def _bounds(found: Finding, level: float, k: int) -> tuple[float, float]:
    interval = _at(found, level, k)
    return interval.low, interval.high


def _at(found: Finding, level: float, k: int) -> Interval:
    """Give the finding's interval at level `1 - (1 - level) / k`."""
    wanted = 1 - (1 - level) / k
    for interval in found.intervals:
        if math.isclose(interval.level, wanted, abs_tol=1e-12):
            return interval
    if not math.isnan(found.intervals[0].df):
        return _plain(found.claim, at_level(found.intervals[0], wanted))
    raise ValueError(
        f"claim {found.claim.name!r}: no interval at level {wanted:.6g}; give `finding` a function of the level"
    )


def _judgement(found: Finding, level: float, k: int, how: str) -> Judgement:
    shown, used = _at(found, level, 1), _at(found, level, k)
    verdict = decide(found.claim, used.low, used.high)
    reason = (
        f"estimate {used.estimate:.4g}, {_percent(used.level)} interval {used.low:.4g} to {used.high:.4g} "
        f"(n = {used.n} {found.claim.unit}{how}); {rule(found.claim, used.level)}"
    )
    if used.constant:
        reason += (
            "; all replicates are equal, so the interval has no width: no spread was seen, which does not show none"
        )
    return Judgement(found.claim, verdict, shown, used, "; ".join(filter(None, (reason, found.note))))


def _tested(found: Finding) -> bool:
    return bool(found.intervals) and bool(found.intervals[0].valid)


def _not_tested(found: Finding) -> Judgement:
    interval = found.intervals[0] if found.intervals else None
    few = "" if interval is None else f"an interval needs two {found.claim.unit} at least, got {interval.n}"
    reason = "; ".join(filter(None, (few, found.note))) or "this run does not measure it"
    return Judgement(found.claim, Verdict.NOT_TESTED, interval, None, reason)


def _plain(claim: Claim, interval: Interval) -> Interval:
    """Give an interval of plain Python numbers; None (JSON's NaN) becomes NaN."""
    if any(np.ndim(value) for value in interval):
        raise ValueError(f"claim {claim.name!r}: want the interval of one number, got shapes; pick one")
    values = [math.nan if v is None else v.item() if isinstance(v, np.generic) else v for v in interval]
    if not all(isinstance(v, int | float) for v in values):
        raise ValueError(f"claim {claim.name!r}: want an interval of numbers, got {interval}")
    return Interval(*values)


def _checked(found: Finding) -> Finding:
    """Refuse by name what is not defined although there were replicates enough."""
    for interval in found.intervals:
        numbers = (interval.estimate, interval.low, interval.high)
        if interval.n >= 2 and not (interval.valid and all(math.isfinite(v) for v in numbers)):
            raise ValueError(f"claim {found.claim.name!r}: {found.claim.estimand} is not defined, got {interval}")
    return found


def _strict(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _percent(level: float) -> str:
    return f"{100 * level:.4g}%"
