import pytest

from interp_jax.core.intervals import proportion, student
from interp_jax.report import claims, records, results
from tests.report import example


def finding(name, interval, **changes):
    claim = {
        "name": name, "statement": f"{name} holds.", "source": "p", "estimand": "gap", "unit": "seeds", "delta": 0.1,
        "direction": "greater", "scope": "digits",
    } | changes  # fmt: skip
    return claims.finding(claims.Claim(**claim), interval)


def write(root, experiment, preset, findings):
    manifest = example.manifest(4, True, experiment=experiment, preset=preset)
    return records.write(root / experiment / preset, manifest=manifest, findings=findings)


BARELY = student([0.2, 0.5, 0.3, 0.45, 0.15])  # 95% interval [0.14, 0.50]; 97.5% [0.09, 0.55]


def test_primary_claims_of_this_machine_share_their_error_rate(tmp_path):
    write(tmp_path / "r", "a", "quick", [finding("c", BARELY)])
    write(tmp_path / "c", "a", "full", [finding("c", BARELY)])
    problems = []
    alone = results.load(tmp_path / "r", tmp_path / "c", problems)
    assert [r.judgements[0].verdict for r in alone["a"]] == ["supported", "supported"]
    write(tmp_path / "r", "b", "quick", [finding("c", student([-1.0, 1.0]))])
    both = results.load(tmp_path / "r", tmp_path / "c", problems)
    assert [r.judgements[0].verdict for r in both["a"]] == ["inconclusive", "supported"]
    assert both["a"][0].judgements[0].decided_on.level == pytest.approx(0.975)
    assert both["a"][0].judgements[0].claim.name == "c"
    assert not problems


def test_an_interval_without_other_levels_is_a_problem_and_judged_alone(tmp_path):
    write(tmp_path, "a", "quick", [finding("c", proportion(9, 10))])
    write(tmp_path, "b", "quick", [finding("c", student([-1.0, 1.0]))])
    problems = []
    loaded = results.load(tmp_path, None, problems)
    assert loaded["a"][0].judged("c").verdict == "supported"
    assert len(problems) == 1
    assert "a/quick/c" in problems[0]


def test_order_this_machine_first_small_first(tmp_path):
    for place, preset in (("c", "quick"), ("r", "full"), ("r", "quick"), ("c", "full")):
        write(tmp_path / place, "a", preset, [])
    loaded = results.load(tmp_path / "r", tmp_path / "c", [])
    assert [(r.place, r.preset, r.small) for r in loaded["a"]] == [
        ("this machine", "quick", True), ("this machine", "full", False),
        ("committed", "quick", True), ("committed", "full", False),
    ]  # fmt: skip


def test_a_damaged_folder_is_a_line_and_the_others_are_read(folders):
    fresh, committed = folders
    path = fresh / example.NAME / "quick" / "claims.json"
    path.write_bytes(path.read_bytes()[:-5])
    (fresh / "foreign" / "quick").mkdir(parents=True)
    problems = []
    loaded = results.load(fresh, committed, problems)
    assert [r.place for r in loaded[example.NAME]] == ["committed"]
    assert len(problems) == 2
    assert "foreign" in problems[0]
    assert "no manifest.json" in problems[0]
    assert str(path) in problems[1]
