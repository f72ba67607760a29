"""Numbers, times and claims in words and small drawings, for the page."""

import datetime
import math

from interp_jax.core.intervals import Interval
from interp_jax.report.claims import Judgement, Verdict
from interp_jax.report.html import Child, Markup, tag

NONE = "\N{EN DASH}"
MARKS = {
    Verdict.SUPPORTED: ("\N{CHECK MARK}", "supported"),
    Verdict.CONTRADICTED: ("\N{BALLOT X}", "contradicted"),
    Verdict.INCONCLUSIVE: ("?", "inconclusive"),
    Verdict.NOT_TESTED: (NONE, "untested"),
}


def number(value: float | None, places: int | None = None) -> str:
    r"""Write a number with `places` decimals, or with four significant digits; a true minus sign.

    >>> number(0.31214, 2), number(120000), number(1.5), number(-1) == "\N{MINUS SIGN}1"
    ('0.31', '120,000', '1.5', True)
    """
    if value is None:
        return NONE
    if isinstance(value, int) or (places is None and float(value).is_integer() and abs(value) < 1e6):
        words = f"{int(value):,}"
    elif value and not 1e-4 <= abs(value) < 1e6:
        words = f"{value:.3g}"
    else:
        words = f"{value:.4g}" if places is None else f"{value:,.{places}f}"
    return words.replace("-", "\N{MINUS SIGN}")


def places(low: float, high: float) -> int:
    """Give the decimals that show two significant digits of an interval's half width, at most six.

    >>> places(0.844, 0.944), places(-120.0, 340.0)
    (3, 0)
    """
    half = abs(high - low) / 2
    return min(6, max(0, 1 - math.floor(math.log10(half)))) if half > 0 else 4


def estimate(interval: Interval | None) -> str:
    """Write an estimate to the precision that its interval has."""
    if interval is None or not interval.valid:
        return NONE
    return number(float(interval.estimate), places(interval.low, interval.high))


def bounds(interval: Interval | None) -> str:
    """Write an interval as [low, high]."""
    if interval is None or not interval.valid:
        return NONE
    decimals = places(interval.low, interval.high)
    return f"[{number(float(interval.low), decimals)}, {number(float(interval.high), decimals)}]"


def percent(level: float) -> str:
    """Write a level of coverage.

    >>> percent(0.95), percent(1 - 0.05 / 3)
    ('95%', '98.33%')
    """
    return f"{100 * level:.4g}%"


def duration(seconds: float | None) -> str:
    """Write a time span in its two largest units.

    >>> duration(5.4), duration(112.4), duration(20877), duration(200000)
    ('5.4 s', '1 min 52 s', '5 h 47 min', '2 d 7 h')
    """
    if seconds is None:
        return NONE
    if seconds < 60:
        return f"{seconds:.1f} s"
    for large, small, unit, part in ((86400, 3600, "d", "h"), (3600, 60, "h", "min"), (60, 1, "min", "s")):
        if seconds >= large:
            return f"{int(seconds // large)} {unit} {int(seconds % large // small)} {part}"
    raise AssertionError("seconds is at least 60")


def moment(stamp: str | None) -> str:
    """Write an ISO 8601 time as '21 November 2026, 10:00 UTC'; anything else as it is."""
    if not stamp:
        return NONE
    try:
        time = datetime.datetime.fromisoformat(stamp)
    except ValueError:
        return stamp
    zone = f" {time.tzname()}" if time.tzinfo else ""
    return f"{time.day} {time:%B %Y, %H:%M}{zone}"


def badge(verdict: Verdict) -> Markup:
    """Show a verdict by its word, its mark and its colour."""
    mark, kind = MARKS[verdict]
    return tag("span", tag("span", mark, aria_hidden="true", class_="mark"), " ", str(verdict), class_=f"badge {kind}")


def bar(judged: Judgement) -> Child:
    """Draw the interval against zero and the smallest effect that matters; None without an interval."""
    found, delta = judged.interval, judged.claim.delta
    if found is None or not found.valid:
        return None
    reach = 1.12 * max(abs(found.low), abs(found.high), 1.5 * delta) or 1.0

    def x(value: float) -> str:
        return f"{100 + 100 * value / reach:.2f}"

    words = f"interval {bounds(found)}, zero in the middle"
    words += f", shaded between plus and minus {number(delta)}" if delta else ""
    width = f"{200 * delta / reach:.2f}"
    return tag(
        "svg",
        tag("title", words),
        tag("rect", x=x(-delta), y=1, width=width, height=16, class_="delta") if delta else None,
        tag("line", x1=0, x2=200, y1=9, y2=9, class_="base"),
        tag("line", x1=100, x2=100, y1=1, y2=17, class_="zero"),
        tag("line", x1=x(found.low), x2=x(found.high), y1=9, y2=9, class_="span"),
        tag("circle", cx=x(found.estimate), cy=9, r=3.6, class_="dot"),
        viewBox="0 0 200 18", width=200, height=18, role="img", aria_label=words,
        class_=f"bar {MARKS[judged.verdict][1]}",
    )  # fmt: skip
