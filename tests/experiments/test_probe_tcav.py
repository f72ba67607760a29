"""The experiment at a size of seconds, and that claims find what was put in."""

import dataclasses

import numpy as np
import pytest

from experiments import probe_tcav as experiment
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.runs import cli

QUICK = experiment.PRESETS["quick"]
TINY = [
    "quick", "--seeds", "2", "--hidden", "8", "6", "--steps", "20", "--chunk", "20", "--pool", "80", "--examples", "12",
    "--permutations", "19", "--runs", "31",
]  # fmt: skip


def call(*words):
    cli.main(experiment.run, experiment.PRESETS, [str(word) for word in words], "probe_tcav")


@pytest.mark.slow
def test_rows_figures_and_a_second_call(tmp_path):
    pytest.importorskip("sklearn")
    call(*TINY, "--out", tmp_path)
    first = records.read(tmp_path / "probe_tcav" / "quick")
    call(*TINY, "--out", tmp_path)
    again = records.read(tmp_path / "probe_tcav" / "quick")
    for name, column in first.rows.items():
        np.testing.assert_array_equal(again.rows[name], column, err_msg=name)
        assert np.isfinite(column).all(), name
        if name not in ("seed",):
            assert min(column) >= 0, name
            assert max(column) <= 1, name
    assert {each.name for each in first.pictures} == {"rates", "runs", "repeats", "use", "signs"}
    assert [each.claim.name for each in first.findings if each.claim.primary] == ["tells_used_from_unused"]


def made(seeds=24, noise=0.01):
    """Made-up numbers: dealt labels tell use, and the t-test rejects what is absent at its level."""
    rng = np.random.default_rng(0)
    level = {
        "first used": 0.95, "first unused": 0.03, "first absent": 0.05, "first any absent": 0.05,
        "first companion": 0.04, "first hidden": 0.9, "untrained used": 0.4, "relative used": 0.9,
        "relative unused": 0.05, "turned unused": 0.4, "turned used": 0.0, "t used all": 0.9, "t absent all": 0.05,
        "t unused all": 0.05, "t absent 10": 0.05, "extreme": 0.2, "disagree unused 30": 0.2,
        "disagree unused all": 0.0,
    }  # fmt: skip
    for name in ("t", "first", "second", "untrained", "centred"):
        for kind in experiment.WORDS:
            level.setdefault(f"{name} {kind}{' all' if name == 't' else ''}", 0.1)
    for kind in experiment.WORDS:
        for number in (*experiment.FEW, "all"):
            level.setdefault(f"t {kind} {number}", 0.1)
            level.setdefault(f"disagree {kind} {number}", 0.1)
        level.setdefault(f"turned {kind}", 0.1)
        level.setdefault(f"flips {kind}", 0.1)
    level["accuracy"] = 1.0
    return {name: value + noise * rng.standard_normal(seeds) for name, value in level.items()}


def test_claims_find_what_was_put_in():
    s = dataclasses.replace(QUICK, seeds=24)
    fine = np.arange(24) > 0
    own = made()
    own["first used"][0] = np.nan  # a net that diverged
    found = {each.claim.name: each for each in experiment.judge(s, own, fine)}
    verdicts = {name: judge(each).verdict for name, each in found.items()}
    contradicted = {name for name, verdict in verdicts.items() if verdict is Verdict.CONTRADICTED}
    assert contradicted == {
        "untrained_nets_pass", "t_test_finds_what_is_absent", "t_test_finds_unused", "more_runs_find_more",
        "random_scores_pile_up",
    }  # fmt: skip
    assert set(verdicts.values()) == {Verdict.SUPPORTED, Verdict.CONTRADICTED}
    assert "left out: 1 seeds" in found["used_are_found"].note
    assert len(experiment.pictures(s, made())) == 5


@pytest.mark.parametrize(
    "words", [["--runs", "30"], ["--seeds", "1"], ["--hidden", "1", "4"], ["--pool", "100"], ["--permutations", "5"]]
)
def test_settings_are_checked(words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.read(experiment.PRESETS, ["quick", *words], "probe_tcav")
    assert end.value.code == 2
    assert words[0][2:] in capsys.readouterr().err
