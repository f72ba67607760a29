"""Shares of variance that were put in are found again, from a study's record on disk."""

import numpy as np
import pytest

from experiments import vae_seed_or_objective as experiment
from interp_jax.core.intervals import student
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from tests.experiments import studies

SCORES = ("mig", "sap")


def table(seeds, *, method, strength, seed):
    """Rows of 6 methods of 6 strengths, with effects of these standard deviations."""
    rng = np.random.default_rng(0)
    effect = method * rng.standard_normal((2, 6, 1, 1)) + strength * rng.standard_normal((2, 6, 6, 1))
    y = effect + seed * rng.standard_normal((2, 6, 6, seeds))
    return studies.design(seeds) | {name: y[i].ravel() for i, name in enumerate(SCORES)}


def call(root, *words):
    studies.call(experiment, root, "--scores", *SCORES, *words)
    return records.read(root / "vae_seed_or_objective" / "quick")


def test_shares_that_were_put_in_are_found(tmp_path):
    """Seeds make nearly all the variance; then methods do."""
    for name, sizes, verdict in (
        ("seeds", {"method": 0.1, "strength": 0.1, "seed": 1.0}, Verdict.SUPPORTED),
        ("methods", {"method": 1.0, "strength": 0.1, "seed": 0.1}, Verdict.CONTRADICTED),
    ):
        studies.write(tmp_path / name, table(10, **sizes), 10)
        record = call(tmp_path / name)
        assert judge(record.findings[0]).verdict == verdict
        assert record.findings[0].claim.primary
        assert record.manifest["seeds"] == [*range(10)]
        assert len(record.rows["value"]) == 2 * 3 * 10
        shares = [record.rows["value"][record.rows["part"] == part].mean() for part in experiment.PARTS]
        total = np.square([*sizes.values()])
        np.testing.assert_allclose(shares, total / total.sum(), atol=0.1)


def test_seeds_with_an_undefined_model_are_left_out_and_named(tmp_path):
    rows = table(5, method=1.0, strength=1.0, seed=1.0)
    rows["mig"][3], rows["diverged_at"][9] = np.nan, 100  # seeds 3 and 4
    studies.write(tmp_path, rows, 5)
    record = call(tmp_path)
    assert {found.intervals[0].n for found in record.findings} == {3}
    assert "left out: seeds [3, 4]" in record.findings[0].note


def test_without_a_study_it_says_what_to_run(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        call(tmp_path)
    assert end.value.code == 1
    assert "run experiments/vae_study.py quick" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        call(tmp_path, "--scores", "beauty")
    assert "got 'beauty'" in capsys.readouterr().err


def simulated(parts, strengths, seeds, number):
    """Rows of 6 methods with `number` scores, whose components are exactly `parts` but for the noise of the seeds."""
    method, strength, seed = parts
    rng = np.random.default_rng(0)
    of_cell = rng.standard_normal((number, 6, strengths))
    of_cell -= of_cell.mean(2, keepdims=True)
    of_cell *= np.sqrt(strength / of_cell.var(2, ddof=1).mean(1))[:, None, None]
    of_method = rng.standard_normal((number, 6, 1))
    of_method *= np.sqrt((method + strength / strengths) / of_method.var(1, ddof=1))[:, None]
    y = (of_method + of_cell)[..., None] + np.sqrt(seed) * rng.standard_normal((number, 6, strengths, seeds))
    place = dict(zip(("method", "strength", "seed"), np.indices(y.shape[1:]).reshape(3, -1), strict=True))
    return place | {f"score {i}": one.ravel() for i, one in enumerate(y)}


@pytest.mark.slow
@pytest.mark.parametrize(("strengths", "seeds"), [(6, 5), (6, 10), (2, 8)])
@pytest.mark.parametrize("parts", [(0.3, 0.3, 0.4), (0.05, 0.5, 0.45), (0.0, 0.3, 0.7)])
def test_intervals_of_shares_cover(parts, strengths, seeds):
    """A thousand scores, each with its interval: standard error .7 points."""
    rows = simulated(parts, strengths, seeds, 1000)
    found = student(experiment.values(rows, tuple(f"score {i}" for i in range(1000))))
    covered = 100 * ((found.low <= parts) & (found.high >= parts)).mean(0)
    assert np.all((covered > 92.5) & (covered < 99))
