"""The study at a size of seconds, from its command line: its rows, its claims, its plan, and what a kill costs."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import vae_study as experiment
from interp_jax.core.information import gaussian_total_correlation
from interp_jax.data import dsprites, named
from interp_jax.data import factors as sets
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.runs import cli
from interp_jax.train import table

TINY = [
    "quick", "--seeds", "2", "--methods", "beta_vae", "dip_vae_i", "--strengths", "0", "3", "--latents", "4",
    "--hidden", "8", "--steps", "20", "--chunk", "10", "--batch", "8", "--points", "200", "--labels", "100",
    "--scores", "total_correlation", "dci", "downstream",
]  # fmt: skip
ROOT = Path(experiment.__file__).parents[1]


def call(*words):
    cli.main(experiment.run, experiment.PRESETS, [str(word) for word in words], "vae_study")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    call(*TINY, "--out", folder)
    return folder


@pytest.fixture(scope="module")
def record(root):
    return records.read(root / "vae_study" / "quick")


def test_every_model_has_one_row_with_what_reruns_it(record):
    rows = record.rows
    models = set(zip(rows["method"], rows["strength"], rows["seed"], strict=True))
    assert models == {
        (method, strength, seed)
        for method, strengths in (("beta_vae", (1, 6)), ("dip_vae_i", (1, 10)))
        for strength in strengths for seed in (0, 1)
    }  # fmt: skip
    assert len(rows["mig"]) == 8
    for name in ("mig", "mig_sampled", "downstream_100", "elbo", "reconstruction", "udr"):
        assert np.isfinite(rows[name]).all(), name
    np.testing.assert_allclose(rows["elbo"], -(rows["reconstruction"] + rows["kl"]), rtol=1e-5)
    assert [found.claim.name for found in record.findings if found.claim.primary] == ["beta_vae_disentangles_more"]
    assert [picture.name for picture in record.pictures] == [
        "mig",
        "dci",
        "total_correlation",
        "reconstructions",
        "traversals",
    ]
    assert "sap" not in rows  # not asked for
    settings = {field.name for field in dataclasses.fields(experiment.Settings)} - {
        field.name for field in dataclasses.fields(cli.Settings)
    }
    assert set(record.manifest["config"]) == settings | {"seeds"}


def test_a_model_trained_alone_has_the_codes_that_its_row_is_of(record):
    """The encoder of one model, run here on images drawn here: KL and total correlation of its row."""
    s = dataclasses.replace(
        experiment.Settings(), seeds=2, methods=("beta_vae",), strengths=(0, 3), latents=4, hidden=8, steps=20,
        chunk=10, batch=8, points=200, labels=(100,), scores=("total_correlation",),
    )  # fmt: skip
    images = named.load(s.data, s.size)
    done = experiment.train(s, "beta_vae", images, {})
    params = done.state(table.run({"strength": 6.0}, 1)).params
    model = experiment.given(s, images).model
    drawn = sets.sample_factors(jax.random.key(3), dsprites.FACTOR_SIZES, 4000)
    pictures = jax.jit(jax.vmap(lambda f: dsprites.render(f, size=16)[..., None]))(drawn)
    mean, log_var = (np.asarray(each, np.float64) for each in jax.vmap(model.encode, (None, 0))(params, pictures))
    kl = 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var).sum(1)
    row = next(i for i in range(8) if (record.rows["strength"][i], record.rows["seed"][i]) == (6.0, 1)
               and record.rows["method"][i] == "beta_vae")  # fmt: skip
    error = 5 * kl.std() / np.sqrt(len(kl))
    assert abs(record.rows["kl"][row] - kl.mean()) < error + 1e-4
    correlated = gaussian_total_correlation(np.cov(mean, rowvar=False))
    np.testing.assert_allclose(record.rows["total_correlation"][row], correlated, rtol=0.3)  # of 200 points


def test_a_second_call_changes_no_number(root, record):
    call(*TINY, "--out", root)
    again = records.read(root / "vae_study" / "quick").rows
    for name, column in record.rows.items():
        np.testing.assert_array_equal(column, again[name], err_msg=name)


def test_claims_find_what_was_put_in():
    s = dataclasses.replace(experiment.Settings(), methods=("beta_vae", "factor_vae", "dip_vae_i"), seeds=6)
    level = {"beta_vae": (0.1, 0.3), "factor_vae": (0.05, 0.1), "dip_vae_i": (0.1, 0.0)}  # factor_vae: as plain
    noise = 0.001 * np.random.default_rng(0).standard_normal((3, 2, 6))
    mig = np.array([level[name] for name in s.methods])[:, :, None] + noise
    rows = {"mig": mig.ravel(), "diverged_at": np.full(36, -1)}
    verdicts = [judge(found).verdict for found in experiment.judge(s, rows)]
    assert verdicts == [Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.CONTRADICTED]
    rows["diverged_at"] = np.where(np.arange(36) == 1, 10, -1)  # the plain VAE of seed 1
    lost = experiment.judge(s, rows)
    assert {found.intervals[0].n for found in lost} == {5}
    assert "left out: 1 seeds" in lost[0].note
    rows["diverged_at"] = np.where(np.arange(36) >= 24, 10, -1)  # all of dip_vae_i
    lost = experiment.judge(s, rows)
    assert [found.intervals[0].n if found.intervals else 0 for found in lost] == [6, 6, 0]
    assert "no seed to compare" in lost[2].note


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--methods", "beta_vae", "gan"], "got 'gan'"),
        (["--methods", "factor_vae"], "with beta_vae among them"),
        (["--strengths", "1", "2"], "want two or more rising places, from 0"),
        (["--points", "5"], "points"),
        (["--scores", "beauty"], "got 'beauty'"),
    ],
)
def test_wrong_settings_are_named(tmp_path, capsys, words, said):
    with pytest.raises(SystemExit):
        call("quick", *words, "--out", tmp_path)
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_kills_cost_and_double_no_row(root, record, tmp_path):
    """SIGKILL at times spread over training and scoring; the end is the same table."""
    command = [sys.executable, ROOT / "experiments" / "vae_study.py", *TINY, "--out", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    for seconds in (8, 15, 25, 40):
        running = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        running.send_signal(signal.SIGKILL)
        running.wait()
    subprocess.run(command, env=environment, check=True, timeout=900, stderr=subprocess.DEVNULL)
    found = records.read(tmp_path / "vae_study" / "quick").rows
    assert list(found["method"]) == list(record.rows["method"])
    for name in ("mig", "dci", "kl", "total_correlation_sampled"):
        np.testing.assert_allclose(found[name], record.rows[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_the_plan_counts_every_method_and_the_scores(tmp_path, capsys):
    call(*TINY, "--plan", "--out", tmp_path)
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["beta_vae", "dip_vae_i", "scores", "together"]
    assert all("4 models x 20 steps" in line for line in said[:2])
    assert "8 models" in said[2]
    assert not (tmp_path / "vae_study" / "quick" / "manifest.json").exists()
    assert jnp.isfinite(float(said[3].split()[1]))
