"""Agreement that was put in is found again, pair by pair."""

import numpy as np
import pytest
from scipy import stats

from experiments import vae_metric_agreement as experiment
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from tests.experiments import studies

SCORES = experiment.Settings().scores


def table(alike, seeds=8):
    """Scores that share a quality of their model, modularity not."""
    rng = np.random.default_rng(0)
    rows = studies.design(seeds)
    quality = rng.standard_normal(len(rows["seed"]))
    own = {name: rng.standard_normal(len(quality)) for name in SCORES}
    return rows | {name: own[name] + alike * quality * (name != experiment.ODD) for name in SCORES}


def test_scores_that_agree_do_and_independent_ones_do_not(tmp_path):
    for name, alike, verdicts in (
        ("alike", 2.0, [Verdict.SUPPORTED, Verdict.SUPPORTED]),
        ("apart", 0.0, [Verdict.CONTRADICTED, Verdict.CONTRADICTED]),
    ):
        rows = table(alike)
        studies.write(tmp_path / name, rows, 8)
        studies.call(experiment, tmp_path / name)
        record = records.read(tmp_path / name / "vae_metric_agreement" / "quick")
        assert [judge(found).verdict for found in record.findings] == verdicts
        pair = (record.rows["one"] == "mig") & (record.rows["other"] == "sap")
        known = stats.spearmanr(rows["mig"], rows["sap"]).statistic
        np.testing.assert_allclose(record.rows["value"][pair].mean(), known, atol=0.02)
        assert len(record.rows["value"]) == 8 * 6 * 6


def test_a_seed_left_out_and_bad_settings_are_named(tmp_path, capsys):
    rows = table(1.0)
    rows["sap"][2] = np.nan
    studies.write(tmp_path, rows, 8)
    studies.call(experiment, tmp_path)
    found = records.read(tmp_path / "vae_metric_agreement" / "quick").findings
    assert (found[0].intervals[0].n, found[0].note[:19]) == (7, "left out: seeds [2]")
    with pytest.raises(SystemExit):
        studies.call(experiment, tmp_path, "--scores", "mig", "sap")
    assert "with modularity among them" in capsys.readouterr().err
    studies.write(tmp_path, {name: column for name, column in rows.items() if name != "dci"}, 8)
    with pytest.raises(SystemExit):
        studies.call(experiment, tmp_path)
    assert "want columns ['dci'] in the table" in capsys.readouterr().err
