"""Claims that one measured quantity exceeds another, or a number, over replicates: stated, and judged, alike.

stated = {"linear_is_selective": Stated("Linear probes are selective.", "selectivity, linear minus net", "linear",
"net")}
claims(stated, source=PAPER, scope="MiniLM", primary="linear_is_selective")          # before the run
judge(found_claims, stated, {"linear": [...], "net": [...]}, notes={})                # `[seeds]` each
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from interp_jax.core.intervals import student
from interp_jax.core.types import Numpy
from interp_jax.report.claims import Claim, Direction, Finding, finding


class Stated(NamedTuple):
    """A claim: what it says, its estimand in words, and as names of quantities, more minus less (or a number).

    source: None for that of the experiment.
    """

    says: str
    estimand: str
    more: str
    less: str | float
    delta: float = 0.05
    direction: Direction = Direction.GREATER
    published: str = "not measured"
    source: str | None = None


def claims(
    stated: Mapping[str, Stated],
    *,
    source: str,
    scope: str | Callable[[str], str],
    primary: str,
    unit: str = "seeds",
) -> dict[str, Claim]:
    """State what is tested. scope: of all claims, or of each by its name. unit: of replication."""
    return {
        name: Claim(
            name=name, statement=each.says, source=each.source or source, estimand=each.estimand, unit=unit,
            delta=each.delta, direction=each.direction, published=each.published, primary=name == primary,
            scope=scope if isinstance(scope, str) else scope(name),
        )
        for name, each in stated.items()
    }  # fmt: skip


def judge(
    claims: Mapping[str, Claim],
    stated: Mapping[str, Stated],
    values: Mapping[str, Numpy],
    notes: Mapping[str, Sequence[str]],
    *,
    mask: Numpy | None = None,
    digits: int = 3,
) -> list[Finding]:
    """Give each claim Student's interval over replicates.

    values: `[seeds]` by name. notes: more to say of some claims, after the two means. mask: `[seeds]`, replicates that
    count. digits: of the means.
    """
    findings = []
    for name, each in stated.items():
        more = np.asarray(values[each.more])
        less = np.full(more.shape, each.less) if isinstance(each.less, float) else np.asarray(values[each.less])
        kept = slice(None) if mask is None else mask
        means = f"{more[kept].mean():.{digits}f} against {less[kept].mean():.{digits}f}"
        note = "; ".join([means, *notes.get(name, ())])
        findings.append(finding(claims[name], student(more - less, mask=mask), note=note))
    return findings
