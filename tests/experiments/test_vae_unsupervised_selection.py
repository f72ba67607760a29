"""A score without labels that knows the truth is found to choose, and one that does not is not."""

import numpy as np
import pytest

from experiments import vae_unsupervised_selection as experiment
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from tests.experiments import studies

SCORES = experiment.Settings().scores
SMALLER = {
    "reconstruction", "total_correlation", "total_correlation_sampled", "wasserstein", "mean_pairwise_information",
}  # fmt: skip
"""Scores of which less is better: an error and four dependences; of elbo, kl and udr more is."""


def table(knows, seeds=20):
    """Rows in which the choosers named know the models' quality, by their own sign, and methods differ by a shift."""
    rng = np.random.default_rng(1)
    rows = studies.design(seeds)
    count = len(rows["seed"])
    quality = rng.standard_normal(count)
    rows |= {name: quality + 0.3 * rng.standard_normal(count) for name in SCORES}
    shift = 100 * np.unique(rows["method"], return_inverse=True)[1]  # no chooser is to live on this
    for name in experiment.CHOOSERS:
        rows[name] = (-1 if name in SMALLER else 1) * (quality if name in knows else rng.standard_normal(count)) + shift
    return rows


def test_choosers_that_know_are_told_from_those_that_do_not(tmp_path):
    studies.write(tmp_path, table({"udr", "reconstruction"}), 20)
    studies.call(experiment, tmp_path)
    record = records.read(tmp_path / "vae_unsupervised_selection" / "quick")
    verdicts = {found.claim.name: judge(found).verdict for found in record.findings}
    assert verdicts.pop("udr_chooses") == Verdict.SUPPORTED
    assert verdicts.pop("reconstruction_does_not_choose") == Verdict.CONTRADICTED
    assert set(verdicts.values()) == {Verdict.SUPPORTED}  # within .2 of none
    assert [found.claim.name for found in record.findings if found.claim.primary] == ["elbo_does_not_choose"]
    assert len(record.rows["value"]) == 20 * len(SCORES) * len(experiment.CHOOSERS)


def test_every_chooser_is_turned_so_that_larger_is_better():
    rows = table(set(experiment.CHOOSERS))
    assert (experiment.correlations(rows, SCORES).mean((0, 2)) > 0.8).all()


def test_it_says_what_to_run_first(tmp_path, capsys):
    with pytest.raises(SystemExit):
        studies.call(experiment, tmp_path)
    assert "run experiments/vae_study.py quick" in capsys.readouterr().err
