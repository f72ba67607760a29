"""The whole experiment at a size of seconds, from its command line; its claims on scores that are made up."""

import dataclasses
import re

import numpy as np
import pytest

from experiments import concept_debugging as experiment
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.runs import cli

TINY = {
    "seeds": 2, "side": 12, "hidden": (8, 6), "strengths": (0.1, 1.0), "steps": 40, "chunk": 20, "batch": 16,
    "examples": 8, "draws": 1, "errors": 6, "steps_each": 5,
}  # fmt: skip
S = dataclasses.replace(experiment.Settings(), **TINY)


def call(root, **settings):
    pairs = [(f"--{name.replace('_', '-')}", value) for name, value in settings.items()]
    words = [str(word) for name, value in pairs for word in (name, *(value if isinstance(value, tuple) else (value,)))]
    cli.main(experiment.run, experiment.PRESETS, ["quick", *words, "--out", str(root)], "debugging")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.mktemp("results")
    call(folder, **TINY)
    return folder


def test_the_record_is_whole_and_a_second_call_changes_no_number(root):
    record = records.read(root / "debugging" / "quick")
    assert [found.claim.name for found in record.findings] == [*experiment.STATED]
    assert [found.claim.name for found in record.findings if found.claim.primary] == ["planted_concept_is_named"]
    assert [picture.name for picture in record.pictures] == ["ranks", "strength", "scores", "attributes"]
    rows = record.rows
    assert list(rows["strength"]) == [0.1, 0.1, 1.0, 1.0]
    assert list(rows["attribute"][:2]) == list(rows["attribute"][2:])  # a seed's, whatever the strength
    assert list(rows["label"][:2]) == list(rows["label"][2:])
    assert (rows["accuracy"][:2] != rows["accuracy"][2:]).any()
    assert {found.claim.scope for found in record.findings} == {experiment.claims(S)["removal_is_named"].scope}
    call(root, **TINY)
    again = records.read(root / "debugging" / "quick")
    for name, column in rows.items():
        np.testing.assert_array_equal(column, again.rows[name])


def made_up(rng, **changes):
    """Scores of 8 seeds in which all that is claimed holds, but that cheaper scores do as well."""
    means = {
        "top_own": 0.98, "ahead": 0.97, "decoy": 0.4, "top_all": 0.05, "top_shuffled": 0.05, "top_learnt": 0.1,
        "valid": 0.97, "top_taken": 0.96, "top_slope": 0.98, "top_alone": 0.98,
    } | changes  # fmt: skip
    return {name: mean + 1e-3 * rng.standard_normal((2, 8)) for name, mean in means.items()}


def test_claims_find_what_was_put_in():
    s, fine = dataclasses.replace(S, seeds=8), np.ones((2, 8), bool)
    found = {f.claim.name: f for f in experiment.judge(s, made_up(np.random.default_rng(0)), fine)}
    verdicts = {name: judge(each).verdict for name, each in found.items()}
    cheaper = {"better_than_one_gradient", "better_than_one_concept_at_a_time"}
    assert all(verdict is Verdict.CONTRADICTED for name, verdict in verdicts.items() if name in cheaper)
    assert all(verdict is Verdict.SUPPORTED for name, verdict in verdicts.items() if name not in cheaper)
    scores = made_up(np.random.default_rng(1), top_own=0.5)
    scores["top_own"][1, 3] = np.nan  # a seed whose net made no such mistake
    low = experiment.judge(s, scores, fine)[0]
    assert judge(low).verdict is Verdict.CONTRADICTED
    assert low.intervals[0].n == 7
    assert "left out: 1 seeds" in low.note
    guilty = made_up(np.random.default_rng(2), top_all=0.5)
    named = {f.claim.name: judge(f).verdict for f in experiment.judge(s, guilty, fine)}
    assert named["innocent_nets_are_cleared"] is Verdict.CONTRADICTED


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 45}, "multiple of chunk"),
        ({"side": 8}, "side >= 12"),
        ({"strengths": (0.2, 1.0)}, "rising strengths from rate=0.1"),
        ({"layer": 3}, "want a layer of 1 to 2"),
    ],
)
def test_wrong_settings_are_named(tmp_path, wrong, said, capsys):
    with pytest.raises(SystemExit) as end:
        call(tmp_path, **(TINY | wrong))
    assert end.value.code != 0
    assert re.search(said, capsys.readouterr().err)
