import numpy as np
import pytest

from interp_jax.core.intervals import student
from interp_jax.report import claims, words

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("value", "places", "shown"),
    [
        (0.0, None, "0"), (-2, None, f"{MINUS}2"), (1234567, None, "1,234,567"), (0.123456, None, "0.1235"),
        (1.5e-7, 3, f"1.5e{MINUS}07"), (3.2e9, None, "3.2e+09"), (-0.3121, 2, f"{MINUS}0.31"), (12.0, 1, "12.0"),
        (None, 2, words.NONE),
    ],
)  # fmt: skip
def test_numbers(value, places, shown):
    assert words.number(value, places) == shown


def judged(values, **changes):
    claim = claims.Claim(**{
        "name": "c", "statement": "s", "source": "p", "estimand": "gap", "unit": "seeds", "delta": 0.1,
        "direction": "greater", "scope": "digits",
    } | changes)  # fmt: skip
    return claims.judge(claims.finding(claim, None if values is None else student(values)))


def test_estimate_has_the_digits_of_its_interval():
    found = judged(np.asarray([0.81, 0.92, 0.88, 0.95])).interval
    assert (words.estimate(found), words.bounds(found)) == ("0.890", "[0.794, 0.986]")
    assert words.bounds(judged([1.0, 1.0]).interval) == "[1.0000, 1.0000]"
    assert words.estimate(judged([1.0]).interval) == words.bounds(judged(None).interval) == words.NONE


def test_bar_lies_where_the_interval_does():
    assert words.bar(judged(None)) is None
    assert words.bar(judged([1.0])) is None
    drawn = words.bar(judged([0.0, 1.0, 2.0]))  # mean 1, half width 2.484
    reach = 1.12 * (1 + 2.484)
    assert f'cx="{100 + 100 / reach:.2f}"' in drawn
    assert f'x1="{100 + 100 * (1 - 2.484) / reach:.2f}"' in drawn
    assert 'class="delta"' in drawn
    assert 'class="delta"' not in words.bar(judged([0.0, 1.0, 2.0], delta=0.0))
    assert words.bar(judged([0.0, 0.0], delta=0.0)).count("100.00") >= 3


def test_times():
    assert words.moment("2026-11-21T10:00:00+00:00") == "21 November 2026, 10:00 UTC"
    assert (words.moment("yesterday"), words.moment(None)) == ("yesterday", words.NONE)
    assert (words.duration(59.96), words.duration(60), words.duration(None)) == ("60.0 s", "1 min 0 s", words.NONE)
