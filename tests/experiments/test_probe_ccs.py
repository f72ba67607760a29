"""The experiment at a size of seconds with a small random model, and that claims find what was put in."""

import dataclasses

import numpy as np
import pytest

from experiments import probe_ccs as experiment
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.runs import cli
from tests.models.languages import small

TINY = ["quick", "--seeds", "2", "--things", "1", "--restarts", "2", "--epochs", "5"]
QUICK = experiment.PRESETS["quick"]


def call(*words):
    cli.main(experiment.run, experiment.PRESETS, [str(word) for word in words], "probe_ccs")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "language", small)
        call(*TINY, "--out", folder)
        first = records.read(folder / "probe_ccs" / "quick").rows
        call(*TINY, "--out", folder)
    return folder, first


@pytest.mark.slow
def test_rows_figures_and_a_second_call(root):
    folder, first = root
    record = records.read(folder / "probe_ccs" / "quick")
    for name, column in first.items():
        np.testing.assert_array_equal(record.rows[name], column, err_msg=name)
    assert set(record.rows["task"]) == set(experiment.TASKS)
    assert np.isfinite(record.rows["value"]).all()
    for name in (*experiment.METHODS, "null", "planted_other", "restart_loss"):
        assert name in set(record.rows["quantity"]), name
    assert {each.name for each in record.pictures} == {"methods", "layers", "restarts", "planted", "words"}
    assert [each.claim.name for each in record.findings if each.claim.primary] == ["sentiment_beats_random"]


def made(seeds=8, noise=0.005):
    """Made-up numbers: CCS finds sentiment and no capitals, a word beats truth, restarts are alike."""
    rng = np.random.default_rng(0)
    level = {
        "ccs": 0.9, "crc": 0.9, "bss": 0.9, "relaxed": 0.9, "vinc": 0.9, "broken": 0.6, "untrained": 0.5,
        "random": 0.55,
        "told": 0.97, "transductive": 0.9, "peer": 0.95, "distracted_truth": 0.5, "distracted_other": 0.9, "null": 0.5,
        "null_folded": 0.6, "degenerate": 0.0,
    }  # fmt: skip
    found = {}
    for task in experiment.TASKS:
        own = level if task == "sentiment" else level | {"ccs": 0.5, "random": 0.5, "broken": 0.5}
        numbers = {name: value + noise * rng.standard_normal(seeds) for name, value in own.items()}
        wide = {"restart_accuracy": own["ccs"], "restart_loss": 0.1, "planted_truth": 0.5, "planted_other": 0.9}
        numbers |= {name: value + noise * rng.standard_normal((seeds, 5)) for name, value in wide.items()}
        numbers |= {f"layers_{name}": 0.7 + noise * rng.standard_normal((seeds, 7)) for name in ("ccs", "told")}
        numbers["by_group"] = np.where(rng.random((seeds, 12)) < 0.4, 0.8 + noise * rng.standard_normal(12), -1)
        found[task] = numbers
    return found


def test_claims_find_what_was_put_in():
    s = dataclasses.replace(QUICK, seeds=8)
    found = {each.claim.name: each for each in experiment.judge(s, made())}
    verdicts = {name: judge(each).verdict for name, each in found.items()}
    contradicted = {name for name, verdict in verdicts.items() if verdict is Verdict.CONTRADICTED}
    assert contradicted == {
        "capitals_beats_random", "capitals_beats_untrained", "capitals_needs_pairs", "lowest_loss_picks",
        "restarts_differ", "test_statistics_help",
    }  # fmt: skip
    assert set(verdicts.values()) == {Verdict.SUPPORTED, Verdict.CONTRADICTED}
    assert "over 12 groups" in found["sentiment_beats_random"].note
    assert "0.950" in found["choosing_on_the_test_flatters"].note
    rows = experiment.rows_of(s, made())
    assert len(rows["value"]) == len(rows["task"]) > 100


@pytest.mark.parametrize("words", [["--restarts", "1"], ["--seeds", "1"], ["--lr", "0"], ["--things", "0"]])
def test_settings_are_checked(words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.read(experiment.PRESETS, ["quick", *words], "probe_ccs")
    assert end.value.code == 2
    assert words[0][2:] in capsys.readouterr().err
