"""Its claims, tables and rows; and (slow: ten programs are compiled) the whole experiment from its command line."""

import dataclasses
import re

import numpy as np
import pytest

from experiments import concept_tradeoff as experiment
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.runs import cli

ZEROS = {"xor": 0.51, "trig": 0.6, "dot": 0.48, "toy": 0.5}
TINY = {"seeds": 2, "data": "xor", "size": 2, "hidden": 4, "epochs": 1, "batch": 1050, "fresh": 2000, "steps": 2}


def call(root, **settings):
    words = [str(word) for name, value in settings.items() for word in (f"--{name}", value)]
    cli.main(experiment.run, experiment.PRESETS, ["quick", *words, "--out", str(root)], "concept_tradeoff")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    call(folder, **TINY)
    return folder


@pytest.fixture(scope="module")
def record(root):
    return records.read(root / "concept_tradeoff" / "quick")


@pytest.mark.slow
def test_every_model_has_one_row(record):
    rows = record.rows
    models = list(zip(rows["data"], rows["model"], rows["seed"], strict=True))
    assert models == [("xor", model, seed) for model in experiment.MODELS for seed in (0, 1)]
    assert set(rows["class_0"]) == {308 / 600}
    for name in experiment.COLUMNS:
        assert np.isfinite(rows[name]).all(), name
    by = {(model, seed): i for i, (_, model, seed) in enumerate(models)}
    for seed in (0, 1):  # both learn concepts alone, from the same weights, by the same batches
        pair = [rows["concepts"][by[model, seed]] for model in ("sequential", "independent")]
        assert pair[0] == pytest.approx(pair[1], abs=1e-3)
    assert rows["cas"][by["cbm_sigmoid", 0]] == rows["cas_alone"][by["cbm_sigmoid", 0]]
    assert rows["cas"][by["cem", 0]] != rows["cas_alone"][by["cem", 0]]


@pytest.mark.slow
def test_the_record_is_whole(record):
    assert [found.claim.name for found in record.findings] == [*experiment.STATED]
    assert [found.claim.name for found in record.findings if found.claim.primary] == ["cem_reaches_the_black_box"]
    tested = {found.claim.name for found in record.findings if found.intervals}
    assert tested == {name for name, each in experiment.STATED.items() if "xor" in each.sets}
    assert [picture.name for picture in record.pictures] == ["plane", *experiment.CAPTIONS]
    assert record.manifest["diverged"] == []


@pytest.mark.slow
def test_a_second_call_changes_no_number(root, record):
    call(root, **TINY)
    again = records.read(root / "concept_tradeoff" / "quick")
    for name, column in record.rows.items():
        np.testing.assert_array_equal(column, again.rows[name])


def made(seeds=10):
    """What the papers say, with a little noise."""
    rng = np.random.default_rng(0)
    task = {"cbm_hard": 0.5, "cbm_sigmoid": 0.55, "cbm_logit": 0.97, "sequential": 0.4, "independent": 0.4}
    found = {}
    for data in ZEROS:
        found[data] = {}
        for model in experiment.MODELS:
            mean = {
                "task": task.get(model, 0.99), "task_test": task.get(model, 0.99), "task_half": ZEROS[data],
                "concepts": 0.95 if model == "cbm_sigmoid" else 0.99, "cas": 0.7 if "hybrid" in model else 0.98,
                "cas_alone": 0.99, "leakage": 0.0 if model == "cbm_hard" else 0.3, "impurity": 0.1,
            }  # fmt: skip
            found[data][model] = {name: at + 0.002 * rng.standard_normal(seeds) for name, at in mean.items()}
    return found


def verdicts(found, s=experiment.PRESETS["quick"]):
    return {each.claim.name: judge(each).verdict for each in experiment.judge(s, found, ZEROS)}


def test_claims_find_what_was_put_in():
    assert set(verdicts(made()).values()) == {Verdict.SUPPORTED}


@pytest.mark.parametrize(
    ("data", "model", "column", "value", "overturned"),
    [
        ("dot", "cem", "task", 0.8, {"cem_reaches_the_black_box"}),
        ("trig", "hybrid_sigmoid", "task", 0.8, {"hybrid_reaches_the_black_box"}),
        ("xor", "cbm_hard", "task_half", 0.6, {"rows_are_the_share_of_class_0"}),
        ("toy", "cem", "concepts", 0.8, {"cem_learns_concepts"}),
        ("xor", "hybrid_sigmoid", "cas_alone", 0.5, {"probabilities_align_alike"}),
        ("toy", "independent", "task", 0.9, {"sequential_is_like_independent"}),
    ],
)
def test_one_cell_overturns_its_claim_and_no_other(data, model, column, value, overturned):
    found = made()
    found[data][model][column] = found[data][model][column] * 0 + value
    assert {name for name, verdict in verdicts(found).items() if verdict == Verdict.CONTRADICTED} == overturned


def test_a_seed_that_diverged_is_left_out_and_counted():
    found = made()
    found["dot"]["cem"] = {
        name: np.where(np.arange(10) == 3, np.nan, each) for name, each in found["dot"]["cem"].items()
    }
    judged = {each.claim.name: each for each in experiment.judge(experiment.PRESETS["quick"], found, ZEROS)}
    assert judged["cem_reaches_the_black_box"].intervals[0].n == 9
    assert judged["cem_reaches_the_black_box"].note.endswith("; left out: 1 seeds that diverged or are undefined")
    assert judged["hybrid_reaches_the_black_box"].intervals[0].n == 10


def test_notes_tell_data_sets_apart_and_thresholds():
    notes = {each.claim.name: each.note for each in experiment.judge(experiment.PRESETS["quick"], made(), ZEROS)}
    assert re.fullmatch(r"XOR -0\.44\d, Dot -0\.4[34]\d", notes["fuzzy_fails"])
    shares = notes["rows_are_the_share_of_class_0"]
    assert re.fullmatch(r"XOR .*, Dot .*; at the right threshold they score XOR 0\.52\d, Dot 0\.52\d", shares)


def test_the_report_shows_what_was_found():
    s, found = experiment.PRESETS["quick"], made()
    found["xor"]["cem"]["cas"][:] = np.nan  # a cell of a table that is undefined is a dash
    table = experiment.rows(s, found, ZEROS, {"dot cem 4": 7})
    assert {len(column) for column in table.values()} == {4 * 9 * 10}
    at = [i for i, row in enumerate(zip(table["data"], table["model"], table["seed"], strict=True))
          if row == ("dot", "cem", 4)]  # fmt: skip
    assert [table["diverged_at"][i] for i in at] == [7]
    assert [table["leakage"][i] for i in at] == [found["dot"]["cem"]["leakage"][4]]
    assert [picture.name for picture in experiment.pictures(s, found, ZEROS)] == ["plane", *experiment.CAPTIONS]


def test_what_is_not_in_a_run_is_not_tested():
    s = dataclasses.replace(experiment.PRESETS["quick"], data=("toy",))
    found = {"toy": made()["toy"]}
    names = {name for name, verdict in verdicts(found, s).items() if verdict != Verdict.NOT_TESTED}
    assert names == {"cem_learns_concepts", "joint_beats_sequential", "sequential_is_like_independent"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"fresh": 100}, "want an integer fresh >= 2000"),
        ({"size": 1}, "want an integer size >= 2"),
        ({"lr": -1.0}, "want lr > 0"),
        ({"data": "mnist"}, "data"),
        ({"seeds": 0}, "want an integer seeds >= 1"),
    ],
)
def test_wrong_settings_are_named(tmp_path, wrong, said, capsys):
    with pytest.raises(SystemExit) as end:
        call(tmp_path, **(TINY | wrong))
    assert end.value.code == 2
    assert re.search(said, capsys.readouterr().err)
