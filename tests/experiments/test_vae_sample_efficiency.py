"""Outcomes that go with disentanglement are told from those that go with reconstruction, and models from references."""

import dataclasses

import numpy as np
import pytest

from experiments import vae_probes
from experiments import vae_sample_efficiency as efficiency
from interp_jax.report import experiment, records
from interp_jax.report.claims import Verdict, judge
from tests.experiments import studies

SEEDS, CELLS = 20, 6


def rows():
    """Rows in which DCI and reconstruction are related; single latents live on DCI, dense probes on reconstruction."""
    rng = np.random.default_rng(0)
    found = []
    for cell, seed in np.ndindex(CELLS, SEEDS):
        reconstruction = rng.standard_normal()
        dci = 0.7 * reconstruction + rng.standard_normal()
        few = 0.7 + 0.02 * reconstruction + 0.01 * rng.standard_normal()
        single = 0.7 + 0.03 * dci + 0.01 * rng.standard_normal()
        model = {"codes": f"m{cell}", "strength": 1.0, "seed": seed, "dci": dci, "mig": -dci}
        for view, probe, labels, along, concept in np.ndindex(2, 3, 2, 2, 2):
            accuracy = {0: few, 1: few + 0.02 * dci, 2: single}[probe] if labels == 0 or probe == 2 else 0.9
            found.append(
                model | {
                    "reconstruction": reconstruction, "view": ("own axes", "rotated")[view],
                    "probe": ("dense", "sparse", "single")[probe], "labels": (30, 100)[labels],
                    "correlation": 0.9 * along, "concept": "ab"[concept],
                    "accuracy": 0.5 if view or along else accuracy + 0.01 * rng.standard_normal(),
                    "follows_cue": rng.standard_normal(),
                }
            )  # fmt: skip
    untrained = [row | {"codes": "untrained", "reconstruction": np.nan} for row in found[:48]]
    return {name: np.array([row[name] for row in found + untrained]) for name in found[0]}


def write(root, table):
    s = dataclasses.replace(vae_probes.Settings(), seeds=SEEDS, labels=(30, 100), out=root / "vae_probes" / "quick")
    begun = experiment.begin(s, vae_probes.PRESETS, title="Probes", question="?", small=True)
    begun.write([], pictures=[], rows=table, diverged={})


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    write(root, rows())
    studies.call(efficiency, root)
    return records.read(root / "vae_sample_efficiency" / "quick")


def test_what_reconstruction_explains_is_not_counted_to_disentanglement(record):
    verdicts = {found.claim.name: judge(found).verdict for found in record.findings}
    assert verdicts == {
        "disentanglement_saves_no_labels": Verdict.SUPPORTED,
        "disentanglement_saves_a_sparse_probe_labels": Verdict.SUPPORTED,
        "disentanglement_makes_concepts": Verdict.SUPPORTED,
        "disentanglement_resists_cues": Verdict.CONTRADICTED,
    }
    plain = float(record.findings[0].note.split()[-1])
    assert plain > 0.3  # without reconstruction it would look as if it were
    assert [found.claim.name for found in record.findings if found.claim.primary] == ["disentanglement_saves_no_labels"]


def test_rows_are_models_on_their_own_axes(record):
    assert len(record.rows["dci"]) == SEEDS * CELLS
    assert "untrained" not in record.rows["codes"]
    table = rows()
    one = (table["codes"] == "m1") & (table["seed"] == 3) & (table["view"] == "own axes") & (table["correlation"] == 0)
    mean = {labels: table["accuracy"][one & (table["probe"] == "sparse") & (table["labels"] == labels)].mean()
            for labels in (30, 100)}  # fmt: skip
    row = (record.rows["codes"] == "m1") & (record.rows["seed"] == 3)
    np.testing.assert_allclose(record.rows["sparse_efficiency"][row], mean[30] / mean[100])
    np.testing.assert_allclose(record.rows["sparse"][row], mean[100])


def test_a_partial_correlation_is_that_of_residuals():
    rng = np.random.default_rng(1)
    columns = rng.standard_normal((50, 3)) @ rng.standard_normal((3, 3))
    ranks = np.argsort(np.argsort(columns, 0), 0).astype(float)
    design = np.stack([np.ones(50), ranks[:, 2]], 1)
    rest = ranks[:, :2] - design @ np.linalg.lstsq(design, ranks[:, :2], rcond=None)[0]
    found = efficiency.partial_correlation(columns)
    np.testing.assert_allclose(found, np.corrcoef(rest.T)[0, 1], atol=1e-10)
    assert np.isnan(efficiency.partial_correlation(np.stack([columns[:, 0], columns[:, 1], columns[:, 1]], 1)))


def test_outcomes_that_are_all_alike_are_not_tested(tmp_path):
    table = rows()
    table["follows_cue"][:] = 0.0
    write(tmp_path, table)
    studies.call(efficiency, tmp_path)
    record = records.read(tmp_path / "vae_sample_efficiency" / "quick")
    assert {found.claim.name: judge(found).verdict for found in record.findings}[
        "disentanglement_resists_cues"
    ] == Verdict.NOT_TESTED


def test_it_says_what_to_run_first(tmp_path, capsys):
    with pytest.raises(SystemExit):
        studies.call(efficiency, tmp_path)
    assert "run experiments/vae_probes.py quick" in capsys.readouterr().err
