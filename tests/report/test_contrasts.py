"""Claims of more minus less: what is stated reaches the claim, intervals are paired, masks and numbers count."""

import numpy as np
import pytest

from interp_jax.core.intervals import student
from interp_jax.report.claims import Direction, Verdict, judge
from interp_jax.report.contrasts import Stated, claims
from interp_jax.report.contrasts import judge as contrast

STATED = {
    "beats": Stated("A beats B.", "A minus B", "a", "b"),
    "half": Stated("B is one half.", "B minus 1/2", "b", 0.5, 0.1, Direction.EQUIVALENT, "1/2", "Elsewhere"),
}
VALUES = {"a": np.array([0.9, 0.8, 0.95, np.nan]), "b": np.array([0.5, 0.45, 0.52, 0.5])}
MASK = np.isfinite(VALUES["a"])


def found(**how):
    stated = claims(STATED, source="Paper", scope=lambda name: f"scope of {name}", primary="beats", unit="nets")
    return {each.claim.name: each for each in contrast(stated, STATED, VALUES, {"half": ["as it is"]}, **how)}


def test_claims_say_what_was_stated():
    beats, half = (each.claim for each in found(mask=MASK).values())
    assert (beats.source, half.source) == ("Paper", "Elsewhere")
    assert (beats.primary, half.primary) == (True, False)
    assert (beats.published, half.published) == ("not measured", "1/2")
    assert (beats.scope, beats.unit, beats.delta) == ("scope of beats", "nets", 0.05)


def test_intervals_are_of_differences_of_the_replicates_that_count():
    each = found(mask=MASK)
    want = student((VALUES["a"] - VALUES["b"])[:3])
    assert each["beats"].intervals[0].low == pytest.approx(want.low)
    assert each["half"].intervals[0].estimate == pytest.approx((VALUES["b"][:3] - 0.5).mean())
    assert {name: judge(one).verdict for name, one in each.items()} == {
        "beats": Verdict.SUPPORTED, "half": Verdict.SUPPORTED,
    }  # fmt: skip


def test_notes_begin_with_the_means():
    each = found(mask=MASK, digits=2)
    assert each["beats"].note == "0.88 against 0.49; left out: 1 nets that diverged or are undefined"
    assert each["half"].note == "0.49 against 0.50; as it is; left out: 1 nets that diverged or are undefined"


def test_what_is_not_defined_is_left_out_of_its_own_claim_alone():
    each = found()
    assert [each[name].intervals[0].n for name in ("beats", "half")] == [3, 4]
    assert "left out: 1 nets" in each["beats"].note
    assert "left out" not in each["half"].note


def test_nothing_to_compare_is_not_tested():
    each = found(mask=np.zeros(4, bool))
    assert {judge(one).verdict for one in each.values()} == {Verdict.NOT_TESTED}


def test_what_is_allowed_is_added():
    stated = {"near": Stated("A is hardly below B.", "A minus B, plus the point allowed", ("x", 1), ("x", 2), 0.0,
                             allowed=0.01)}  # fmt: skip
    values = {("x", 1): np.array([0.5, 0.52]), ("x", 2): np.array([0.5, 0.52])}
    claim = claims(stated, source="Paper", scope="all", primary="near", published=None)
    (one,) = contrast(claim, stated, values)
    assert one.intervals[0].estimate == pytest.approx(0.01)
    assert one.claim.published is None
