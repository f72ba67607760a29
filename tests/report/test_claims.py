import dataclasses
import json

import numpy as np
import pytest

from interp_jax.core.bootstrap import bootstrap
from interp_jax.core.correlation import spearman
from interp_jax.core.intervals import at_level, student
from interp_jax.report.claims import (
    Claim,
    Direction,
    Verdict,
    decide,
    finding,
    from_json,
    judge,
    judge_page,
    rule,
    to_json,
)

SUPPORTED, CONTRADICTED, INCONCLUSIVE, NOT_TESTED = Verdict


def claim(name="gap", delta=0.1, direction=Direction.GREATER, **fields):
    return Claim(
        name=name, statement="Probes beat chance.", source="A 2019, table 2", estimand="accuracy gap", unit="seeds",
        delta=delta, direction=direction, scope="digits, 200 images", **fields,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("direction", "low", "high", "verdict"),
    [
        ("greater", 0.11, 0.2, SUPPORTED),
        ("greater", 0.1, 0.2, INCONCLUSIVE),
        ("greater", -0.05, 0.09, CONTRADICTED),  # inside
        ("greater", -0.5, -0.2, CONTRADICTED),  # the other direction
        ("greater", -0.5, 0.05, CONTRADICTED),  # across both
        ("greater", -0.5, 0.5, INCONCLUSIVE),
        ("less", -0.2, -0.11, SUPPORTED),
        ("less", -0.09, 0.05, CONTRADICTED),
        ("less", 0.2, 0.3, CONTRADICTED),
        ("less", -0.2, 0.0, INCONCLUSIVE),
        ("equivalent", -0.09, 0.09, SUPPORTED),
        ("equivalent", 0.11, 0.3, CONTRADICTED),
        ("equivalent", -0.3, -0.11, CONTRADICTED),
        ("equivalent", 0.05, 0.3, INCONCLUSIVE),
        ("equivalent", -0.3, 0.3, INCONCLUSIVE),
    ],
)
def test_rule_on_fixed_intervals(direction, low, high, verdict):
    assert decide(claim(direction=direction), low, high) is verdict


def test_less_mirrors_greater():
    rng = np.random.default_rng(0)
    for low, width in rng.normal(0, 0.3, (200, 2)):
        high = low + abs(width)
        assert decide(claim(direction="greater"), low, high) is decide(claim(direction="less"), -high, -low)


def test_rule_in_words_names_every_number():
    words = rule(claim(delta=0.25, direction="equivalent"), 0.99)
    assert "99%" in words
    assert "-0.25 to 0.25" in words
    assert "accuracy gap over seeds" in words
    assert "-0" not in rule(claim(delta=0, direction="less"))


def test_claims_without_a_rule_are_refused():
    with pytest.raises(ValueError, match=r"'gap': want 0 <= delta < inf, got -1"):
        claim(delta=-1)
    with pytest.raises(ValueError, match=r"'gap': no data can show an effect of exactly zero"):
        claim(delta=0, direction="equivalent")
    with pytest.raises(ValueError, match="'sideways' is not a valid Direction"):
        claim(direction="sideways")
    with pytest.raises(ValueError, match="want a text for name"):
        claim(name=" ")
    with pytest.raises(dataclasses.FrozenInstanceError):
        claim().delta = 2  # pyrefly: ignore


def test_not_tested_is_said_and_undefined_is_refused_by_name():
    judgement = judge(finding(claim(), None, note="needs the 64-pixel set"))
    assert (judgement.verdict, judgement.reason) == (NOT_TESTED, "needs the 64-pixel set")
    judgement = judge(finding(claim(), student([1.0])))
    assert judgement.verdict is NOT_TESTED
    assert "two seeds at least, got 1" in judgement.reason
    undefined = student([1.0, 2.0, 3.0])._replace(estimate=np.nan)
    with pytest.raises(ValueError, match="claim 'gap': accuracy gap is not defined"):
        finding(claim(), undefined)
    with pytest.raises(ValueError, match="claim 'gap': want the interval of one number"):
        finding(claim(), student(np.ones((5, 2))))


def test_no_spread_is_judged_and_said():
    judgement = judge(finding(claim(), student([0.5, 0.5, 0.5])))
    assert judgement.verdict is SUPPORTED
    assert "all replicates are equal" in judgement.reason


def test_reason_holds_the_numbers():
    interval = student([0.3, 0.35, 0.4, 0.45])
    reason = judge(finding(claim(), interval)).reason
    for number in (interval.estimate, interval.low, interval.high):
        assert f"{number:.4g}" in reason
    assert "n = 4 seeds" in reason


def test_page_is_holm_on_p_values():
    """Verdicts by shrinking intervals are those of Holm's adjusted two-sided p-values at the boundary."""
    from interp_jax.core.intervals import p_value
    from interp_jax.core.multiplicity import holm

    rng = np.random.default_rng(1)
    for _ in range(60):
        intervals = [student(rng.normal(rng.choice([0, 1, 2]), 1, 6)) for _ in range(4)]
        page = judge_page([finding(claim(f"c{i}", 0.3), each) for i, each in enumerate(intervals)])
        adjusted = holm([p_value(each, 0.3) for each in intervals])
        for judgement, p, each in zip(page, adjusted, intervals, strict=True):
            side = SUPPORTED if each.estimate > 0.3 else CONTRADICTED
            assert judgement.verdict is (side if p < 0.05 else INCONCLUSIVE)
            used = judgement.decided_on
            assert judgement.verdict is decide(judgement.claim, used.low, used.high)


def test_page_keeps_order_and_adjusts_only_tested_primary_claims():
    interval = student([0.3, 0.5, 0.6, 0.2])
    only = judge(finding(claim(), interval))
    page = judge_page(
        [
            finding(claim("a", primary=False), interval),
            finding(claim("b"), interval),
            finding(claim("c"), None),
            finding(claim("d"), student([0.05, 0.15, 0.1, 0.3])),
        ]
    )
    assert [j.claim.name for j in page] == list("abcd")
    assert page[2].verdict is NOT_TESTED
    assert "secondary claim" in page[0].reason
    assert page[0].decided_on == only.decided_on
    np.testing.assert_allclose(page[3].decided_on[:3], at_level(page[3].interval, 0.975)[:3])
    with pytest.raises(ValueError, match="got twice: 'a'"):
        judge_page([finding(claim("a"), None)] * 2)


def test_intervals_of_other_kinds_bring_their_levels():
    rng = np.random.default_rng(2)
    x = rng.normal(1, 1, 30)
    y = x + rng.normal(0, 1, 30)
    found = finding(claim("rank"), lambda level: spearman(x, y, level))
    means = finding(claim("mean"), lambda level: bootstrap(lambda d: d.mean(1), x, seed=0, level=level, batched=True))
    page = judge_page([found, means])
    assert page[0].verdict is SUPPORTED
    alone = finding(claim("rank"), spearman(x, y))
    assert judge(alone).verdict is SUPPORTED
    with pytest.raises(ValueError, match=r"claim 'rank': no interval at level 0\.975"):
        judge_page([alone, means])


def test_json_round_trip_is_exact_and_strict():
    findings = [
        finding(claim("a", published=0.37), student([0.1, 0.3, 0.2])),
        finding(claim("b", direction="less", primary=False), None, note="not at this size"),
        finding(claim("c", published="rises"), student([0.1])),
    ]
    text = to_json(findings)
    json.loads(text, parse_constant=lambda name: pytest.fail(name))
    back = from_json(text)
    assert to_json(back) == text
    assert [f.claim for f in back] == [f.claim for f in findings]
    assert back[0] == findings[0]
    assert [j.verdict for j in judge_page(back)] == [j.verdict for j in judge_page(findings)]


def test_damaged_json_is_refused():
    page = json.loads(to_json([finding(claim(), student([0.1, 0.3, 0.2]))]))
    with pytest.raises(ValueError, match="claims are not JSON"):
        from_json(to_json([])[:-2])
    with pytest.raises(ValueError, match="another version"):
        from_json('{"format": 99, "findings": []}')
    with pytest.raises(ValueError, match="another version"):
        from_json("[]")
    for damage, message in (
        (lambda row: row["claim"].pop("unit"), "finding 0 of the claims is damaged"),
        (lambda row: row["claim"].update(extra=1), "finding 0 of the claims is damaged"),
        (lambda row: row["intervals"][0].update(low="0.1"), "claim 'gap': want an interval of numbers"),
        (lambda row: row["intervals"][0].update(low=None), "claim 'gap': accuracy gap is not defined"),
        (lambda row: row.pop("note"), "finding 0 of the claims is damaged"),
    ):
        copy = json.loads(json.dumps(page))
        damage(copy["findings"][0])
        with pytest.raises(ValueError, match=message):
            from_json(json.dumps(copy))


EFFECTS = {
    "true nulls, delta 0": ([0.0, 0.0, 0.0, 0.0], [0.0] * 4, ["greater", "less"] * 2),
    "at the boundary": ([0.5, -0.5, 0.5, 0.5], [0.5] * 4, ["greater", "less", "greater", "equivalent"]),
    "just true": ([0.501, -0.501, 0.501, 0.499], [0.5] * 4, ["greater", "less", "greater", "equivalent"]),
    "zero inside a wide delta": ([0.0] * 4, [1.5] * 4, ["greater", "less"] * 2),
    "two large effects, two boundaries": ([5.0, -5.0, 0.5, -0.5], [0.5] * 4, ["greater", "less"] * 2),
    "moderate effects either side": ([0.9, -0.2, 0.4, 1.0], [0.5] * 4, ["greater", "less", "greater", "equivalent"]),
}


def wrong(verdict, effect, delta, direction):
    """Say whether a verdict is wrong; at delta = 0 and no effect, whether there is one at all."""
    if direction == "less":
        effect, direction = -effect, "greater"
    true = effect > delta if direction == "greater" else abs(effect) < delta
    if delta == 0 and effect == 0:
        return verdict in (SUPPORTED, CONTRADICTED)
    return verdict is (CONTRADICTED if true else SUPPORTED)


def rates(effects, deltas, directions, pages, n=8, seed=0):
    """Give the share of pages with a wrong primary verdict, of wrong verdicts judged alone, and of decisions."""
    rng = np.random.default_rng(seed)
    claims = [claim(f"c{i}", d, w) for i, (d, w) in enumerate(zip(deltas, directions, strict=True))]
    families = alone = decided = 0
    for _ in range(pages):
        x = rng.normal(effects, 1.0, (n, len(effects)))
        found = [finding(c, student(x[:, i])) for i, c in enumerate(claims)]
        facts = list(zip(effects, deltas, directions, strict=True))
        verdicts = [j.verdict for j in judge_page(found)]
        families += any(wrong(v, *fact) for v, fact in zip(verdicts, facts, strict=True))
        alone += sum(wrong(judge(f).verdict, *fact) for f, fact in zip(found, facts, strict=True))
        decided += sum(v is not INCONCLUSIVE for v in verdicts)
    total = pages * len(effects)
    return families / pages, alone / total, decided / total


def check_rates(case, pages):
    effects, deltas, directions = EFFECTS[case]
    family, alone, decided = rates(effects, deltas, directions, pages)
    stated = 0.05 if case == "true nulls, delta 0" else 0.025
    claims = pages * len(effects)
    assert family <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / pages)
    assert alone <= stated + 3 * np.sqrt(stated * (1 - stated) / claims)
    if case == "zero inside a wide delta":
        assert decided > 0.5  # rightly contradicted
    return family, alone, decided


@pytest.mark.parametrize("case", EFFECTS)
def test_wrong_verdicts_are_no_more_frequent_than_stated(case):
    check_rates(case, 200)


@pytest.mark.slow
@pytest.mark.parametrize("case", EFFECTS)
def test_wrong_verdicts_are_no_more_frequent_than_stated_2000_pages(case):
    check_rates(case, 2000)
