"""Claims that one measured quantity exceeds another, or a number, over replicates: stated, and judged, alike.

stated = {"linear_is_selective": Stated("Linear probes are selective.", "linear minus net", "linear", "net")}
before = claims(stated, source=PAPER, scope="MiniLM", primary="linear_is_selective")
judge(before, stated, {"linear": [0.31, 0.29], "net": [0.05, 0.04]})                    # after the run
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from interp_jax.core.intervals import student
from interp_jax.core.types import Numpy
from interp_jax.report.claims import Claim, Direction, Finding, finding


class Stated(NamedTuple):
    """A claim: what it says, its estimand in words, and as names of quantities, more minus less (or a number).

    delta, published, source: None for those that `claims` gives the others. allowed: added to the difference, a loss
    that does not matter.
    """

    says: str
    estimand: str
    more: Hashable
    less: Hashable | float
    delta: float | None = None
    direction: Direction = Direction.GREATER
    published: str | None = None
    source: str | None = None
    allowed: float = 0.0


def claims(
    stated: Mapping[str, Stated],
    *,
    source: str,
    scope: str | Callable[[str], str],
    primary: str,
    unit: str = "seeds",
    delta: float = 0.05,
    published: str | None = "not measured",
) -> dict[str, Claim]:
    """State what is tested.

    scope: of all claims, or of each by its name. unit: of replication. source, delta, published: of claims that name
    none of their own.
    """
    return {
        name: Claim(
            name=name, statement=each.says, source=each.source or source, estimand=each.estimand, unit=unit,
            delta=delta if each.delta is None else each.delta, direction=each.direction,
            published=each.published or published, primary=name == primary,
            scope=scope if isinstance(scope, str) else scope(name),
        )
        for name, each in stated.items()
    }  # fmt: skip


def judge(
    claims: Mapping[str, Claim],
    stated: Mapping[str, Stated],
    values: Mapping[Any, Numpy],
    notes: Mapping[str, Sequence[str]] | None = None,
    *,
    mask: Numpy | None = None,
    digits: int = 3,
) -> list[Finding]:
    """Give each claim Student's interval over replicates; those whose difference is not finite are left out, and said.

    values: `[seeds]` by name. notes: more to say of some claims, after the two means. mask: `[seeds]`, replicates that
    count. digits: of the means.
    """
    findings = []
    for name, claim in claims.items():
        each = stated[name]
        more = np.asarray(values[each.more], float)
        less = np.full(more.shape, each.less) if isinstance(each.less, float) else np.asarray(values[each.less], float)
        kept = np.isfinite(more - less) & (True if mask is None else mask)
        said = [f"{more[kept].mean():.{digits}f} against {less[kept].mean():.{digits}f}"] if kept.any() else []
        said += (notes or {}).get(name, ())
        if not kept.all():
            said.append(f"left out: {(~kept).sum()} {claim.unit} that diverged or are undefined")
        interval = student(more - less + each.allowed, mask=kept) if kept.any() else None
        findings.append(finding(claim, interval, note="; ".join(said)))
    return findings
