"""The experiment at a size of seconds with a small random model, and that claims find what was put in."""

import dataclasses

import numpy as np
import pytest

from experiments import probe_time as experiment
from interp_jax.data.dated import Dated
from interp_jax.probes import coordinates_scores as scores
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.runs import cli
from tests.models.languages import small

TINY = ["quick", "--seeds", "3", "--letters", "8", "--epochs", "2"]
QUICK = experiment.PRESETS["quick"]


def made(count=240):
    """People whose names say nothing, from 1300 on."""
    rng = np.random.default_rng(0)
    names = tuple("".join(rng.choice(list("abcdefgh"), 5)) + str(i) for i in range(count))
    kind = rng.integers(0, 3, count).astype(np.int32)
    years = rng.integers(1300, 1990, count).astype(np.int32)
    return Dated(names, years, kind, ("general", "poet", "saint"), np.zeros(count, bool))


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setattr(experiment.wordnet, "births", lambda folder: made())
    return experiment.things(QUICK)


def call(*words):
    cli.main(experiment.run, experiment.PRESETS, [str(word) for word in words], "probe_time")


@pytest.mark.slow
def test_rows_figures_and_a_second_call(tmp_path, monkeypatch, known):
    monkeypatch.setattr(experiment, "language", small)
    call(*TINY, "--out", tmp_path)
    first = records.read(tmp_path / "probe_time" / "quick").rows
    call(*TINY, "--out", tmp_path)
    record = records.read(tmp_path / "probe_time" / "quick")
    for name, column in first.items():
        np.testing.assert_array_equal(record.rows[name], column, err_msg=name)
    assert np.isfinite(record.rows["value"]).all()
    assert set(record.rows["features"]) == set(experiment.FEATURES)
    assert {*experiment.COLUMNS, "r2_low", "inside", "net", "r2_layer"} <= set(record.rows["quantity"])
    assert {each.name for each in record.pictures} == {"table_random", "table_block", "layers", "axes"}
    assert [each.claim.name for each in record.findings if each.claim.primary] == ["depth_adds"]
    assert all(each.intervals for each in record.findings)


def test_people_before_the_first_year_are_left_out(known):
    full = made()
    assert known.years.min() >= 1400 > full.years.min()
    at = full.names.index(known.names[7])
    assert (full.years[at], full.kind[at]) == (known.years[7], known.kind[7])
    assert len(known.names) == (full.years >= 1400).sum()
    with pytest.raises(ValueError, match="years since 2100"):
        experiment.things(dataclasses.replace(QUICK, since=2100))
    assert experiment.spans(np.array([1999, 1950, 1400, 1949]), 50).tolist() == [2, 2, 0, 1]


def test_without_wordnet_the_experiment_is_missing_something(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        call(*TINY, "--folder", tmp_path, "--out", tmp_path)
    assert end.value.code == cli.MISSING
    assert "data.noun" in capsys.readouterr().err


def readings(known, seeds=3):
    """Made-up predictions: late layers know more than layer 0, letters less, the century its mean, told ones more."""
    rng = np.random.default_rng(1)
    true = experiment.target(known)
    century = experiment.spans(known.years, 100)
    middle = np.stack([true[century == c].mean(0) for c in range(century.max() + 1)])[century]
    noise = 0.1 * true.std() * rng.normal(size=(seeds, 2, *true.shape))
    level = {"late": 0.5, "layers": 0.5, "early": 0.3, "fresh": 0.1, "spelling": 0.2, "kind": 0.1, "dealt": 0.0}
    predictions = {
        name: true.mean(0) + share * (true - true.mean(0)) + (noise if share else noise / 10)
        for name, share in level.items()
    }
    predictions["region"] = np.broadcast_to(middle, noise.shape)
    for name, share in (("told", 0.3), ("told_spelling", 0.1)):
        predictions[name] = predictions["region"] + share * (true - middle)
    rows = np.tile(np.arange(0, len(true), 3), (seeds, 1))
    return {
        "predictions": predictions,
        "inside": {name: np.zeros((seeds, *true.shape)) for name in ("layers", "spelling")},
        "layers": np.full((seeds, 2, 14), 0.25), "unsure": np.zeros(seeds),
        "chosen": {name: np.ones((seeds, 2, 5), int) for name in ("late", "early")},
        "net": (rows, predictions["layers"][:, 0, ::3] + 0.001),
    }  # fmt: skip


def test_claims_find_what_was_put_in(monkeypatch, known):
    monkeypatch.setattr(scores, "DRAWS", 6_400)
    s = dataclasses.replace(QUICK, seeds=3)
    found = readings(known)
    table = experiment.tallied(s, known, found)
    findings = experiment.judge(s, known, table, found)
    verdicts = {each.claim.name: judge(each).verdict for each in findings}
    want = dict.fromkeys(experiment.stated(s), Verdict.SUPPORTED)
    assert verdicts == want | {"within_new_blocks": Verdict.CONTRADICTED}
    assert "mean 1 (15 times)" in findings[0].note
    assert "0.250 0.250" in findings[0].note
    assert experiment.orders(known, found)["random", "late", "spearman"].min() > 0.9
    error = table["random", "region", "error"].value
    years, century = known.years, experiment.spans(known.years, 100)
    means = np.array([years[century == c].mean() for c in range(century.max() + 1)])
    assert error == pytest.approx(np.abs(years - means[century]).mean())


@pytest.mark.parametrize(
    "words", [["--since", "0"], ["--letters", "0"], ["--epochs", "-1"], ["--told", "10"], ["--block", "7"]]
)
def test_settings_are_checked(words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.read(experiment.PRESETS, ["quick", *words], "probe_time")
    assert end.value.code == 2
    assert words[0][2:] in capsys.readouterr().err
