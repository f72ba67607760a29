"""The probes at a size of seconds, from their command line: controls with known answers, and claims on made-up ones."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from experiments import vae_probes as experiment
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.vae.metrics import axes
from tests.experiments import studies

TINY = [
    "--seeds", "3", "--methods", "beta_vae", "ada_gvae", "--strengths", "0", "3", "--latents", "6", "--hidden", "8",
    "--steps", "20", "--chunk", "10", "--batch", "8", "--points", "1000", "--labels", "10", "30", "100",
    "--draws", "1", "--rotations", "1", "--exam", "100",
]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    studies.call(experiment, folder, *TINY)
    return folder


@pytest.fixture(scope="module")
def record(root):
    return records.read(root / "vae_probes" / "quick")


def mean(rows, codes, view, probe, labels=100, along=0.0, column="accuracy"):
    own = (rows["codes"] == codes) & (rows["view"] == view) & (rows["probe"] == probe)
    return rows[column][own & (rows["labels"] == labels) & (rows["correlation"] == along)].mean()


@pytest.mark.slow
def test_every_code_has_its_rows(record):
    rows = record.rows
    cells = set(zip(rows["codes"], rows["strength"], rows["seed"], strict=True))
    names = [
        ("beta_vae", 1),
        ("beta_vae", 6),
        ("ada_gvae", 1),
        ("untrained", 0),
        ("pca", 0),
        ("factors", 0),
        ("pixels", 0),
    ]
    assert cells == {(name, strength, seed) for name, strength in names for seed in range(3)}
    probes = ["best 2", "best 3", "best 5", "dense", "single", "sparse"]
    assert sorted(set(rows["probe"])) == probes
    assert sorted(set(rows["probe"][rows["codes"] == "pixels"])) == ["dense", "single"]
    assert set(rows["concept"]) == {"shape", "scale", "position x", "position y"}  # a square turned is a square
    each = 3 * 3 * 2 * 4  # seeds, numbers of labels, with a cue and without, concepts
    assert len(rows["seed"]) == each * (6 * 3 * len(probes) + 2)
    learned = np.isin(rows["codes"], ["beta_vae", "ada_gvae"])
    np.testing.assert_array_equal(np.isfinite(rows["reconstruction"]), learned)
    assert np.isfinite(rows["accuracy"]).all()
    assert [found.claim.name for found in record.findings if found.claim.primary] == ["axes_of_vaes_save_labels"]
    assert [picture.name for picture in record.pictures] == ["labels", "codes", "latents", "cues"]
    settings, shared = ({field.name for field in dataclasses.fields(kind)}
                        for kind in (experiment.Settings, experiment.cli.Settings))  # fmt: skip
    assert set(record.manifest["config"]) == (settings - shared) | {"seeds"}


@pytest.mark.slow
def test_controls_have_the_answers_that_are_known(record):
    """A perfect code is read by one latent; ridge does not see rotations; shuffled labels teach nothing."""
    rows = record.rows
    assert mean(rows, "factors", "own axes", "single") > 0.97
    assert mean(rows, "factors", "rotated", "single") < 0.9
    assert mean(rows, "factors", "own axes", "single", along=0.9, column="follows_cue") < 0.1
    assert rows["dci"][rows["codes"] == "factors"].min() > 0.9
    for codes in ("beta_vae", "ada_gvae", "untrained", "pca", "factors"):
        own, turned = (mean(rows, codes, view, "dense") for view in ("own axes", "rotated"))
        np.testing.assert_allclose(own, turned, atol=0.003)  # 4 concepts x 3 seeds x 100 images
        assert abs(mean(rows, codes, "labels shuffled", "dense") - 0.5) < 0.1
    assert mean(rows, "pixels", "own axes", "dense") > 0.6
    check = next(found for found in record.findings if found.claim.name == "dense_probes_see_no_axes")
    assert abs(check.intervals[0].estimate) < 0.003


@pytest.mark.slow
def test_a_second_call_changes_no_number(root, record):
    studies.call(experiment, root, *TINY)
    again = records.read(root / "vae_probes" / "quick").rows
    for name, column in record.rows.items():
        np.testing.assert_array_equal(column, again[name], err_msg=name)


def made(s, gains):
    """What probes found, made up. gains: by (probe, codes) what own axes add to .7; and single latents follow cues."""
    rng = np.random.default_rng(0)
    shape = (len(s.cells()), s.seeds, 2, 3, len(s.labels), 2, 4)
    read = {}
    for probe in ("dense", "sparse", "single", "best 2", "best 3", "best 5"):
        values = 0.7 + 0.001 * rng.standard_normal(shape)
        values[:, :, :, :2] -= values[:, :, :, :2].mean(3, keepdims=True) - 0.7 if probe == "dense" else 0
        for codes in ("vaes", "pairs", "factors"):
            values[experiment.chosen(s, codes), :, 0, 0] += gains.get((probe, codes), 0)
            values[experiment.chosen(s, codes), :, 1, 0] -= gains.get((f"{probe} follows", codes), 0)
        read[probe] = values
    scores = {name: rng.standard_normal(shape[:2]) for name in ("dci", "mig", "reconstruction")}
    seen = {probe: read[probe][:1, :, :, :1] for probe in ("dense", "single")}
    return experiment.Taught(list(range(s.seeds)), read, seen, scores)


def test_claims_find_what_was_put_in():
    s = experiment.Settings()
    gains = {("sparse", "vaes"): 0.03, ("single", "pairs"): 0.1, ("single follows", "vaes"): 0.2,
             ("sparse", "factors"): 0.2}  # fmt: skip
    found = experiment.judge(s, made(s, gains))
    verdicts = {each.claim.name: judge(each).verdict for each in found}
    supported = {name for name, verdict in verdicts.items() if verdict == Verdict.SUPPORTED}
    assert supported == {
        "axes_of_vaes_save_labels", "axes_of_pairs_are_concepts", "axes_of_vaes_resist_cues",
        "dense_probes_see_no_axes",
    }  # fmt: skip
    assert set(verdicts.values()) == {Verdict.SUPPORTED, Verdict.CONTRADICTED}
    assert "of the factors themselves 0.900 against 0.700" in found[0].note


def test_what_a_run_lacks_is_not_tested():
    s = dataclasses.replace(experiment.Settings(), methods=("beta_vae",))
    t = made(s, {})
    kept = [0, 2, 3, 4, 5]
    left = experiment.Taught(
        kept, *({name: values[:, kept] for name, values in part.items()} for part in (t.read, t.seen, t.scores))
    )
    found = {each.claim.name: each for each in experiment.judge(s, left)}
    assert judge(found["axes_of_pairs_save_labels"]).verdict == Verdict.NOT_TESTED
    assert "no such codes" in found["sparse_beats_dense"].note
    assert found["axes_of_vaes_save_labels"].intervals[0].n == 5
    assert "left out: 1 seeds" in found["axes_of_vaes_save_labels"].note


def test_a_seed_that_diverged_leaves_before_penalties_are_chosen():
    s = dataclasses.replace(experiment.Settings(), methods=("beta_vae",), strengths=(0,), seeds=4)
    rng = np.random.default_rng(0)
    shape = (4, 4, 2, 3, 4, experiment.design(s).parts()["sparse"][-1] + 1, 2, 4)
    found = {"probes": rng.uniform(size=shape), "pixels": rng.uniform(size=(1, 4, 2, 1, 4, 8, 2, 4))}
    found |= {name: np.ones((4, 4)) for name in ("dci", "mig", "reconstruction")}
    found["dci"][0, 1] = np.nan  # a code that says nothing
    t = experiment.taught(s, found, {})
    assert t.seeds == [0, 2, 3]
    assert np.isfinite(t.read["sparse"]).all()
    own = {name: values[:, [0, 2, 3]] for name, values in found.items()}
    np.testing.assert_array_equal(t.read["dense"], axes.choose(experiment.design(s), own["probes"])["dense"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--methods", "beta_vae", "gan"], "got 'gan'"),
        (["--methods", "beta_vae", "beta_vae"], "want different methods"),
        (["--strengths", "6"], "places from 0 to 5"),
        (["--labels", "30", "10"], "rising numbers of labels"),
        (["--few", "1000"], "got few=1000"),
        (["--latents", "4"], "want latents >= 5"),
        (["--correlation", "1.5"], "correlation"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, capsys, words, said):
    with pytest.raises(SystemExit):
        studies.call(experiment, tmp_path, *words)
    assert said in capsys.readouterr().err
