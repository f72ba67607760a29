"""The whole experiment at a size of seconds, from its command line, as a stranger would use it."""

import dataclasses
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from experiments import vae_mean_vs_sampled as experiment
from interp_jax.report import records
from interp_jax.runs import cli
from interp_jax.train import table
from tests import processes

SCRIPT = processes.ROOT / "experiments" / "vae_mean_vs_sampled.py"
TINY = [
    *("quick", "--seeds", "2", "--betas", "1", "4", "16", "--steps", "30", "--chunk", "10"),
    *("--images", "300", "--hidden", "8", "--size", "8", "--batch", "16"),
]


def call(*words, check=True, **extra):
    return processes.run(SCRIPT, *words, check=check, **extra)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    call(*TINY, "--out", root)
    return records.read(root / "vae_mean_vs_sampled" / "quick")


def test_the_record_is_whole(record):
    assert record.manifest["finished"]
    assert len(record.rows["run"]) == 6
    assert {found.claim.name for found in record.findings} >= {"mean_does_not_follow", "sampled_falls"}
    assert [found.claim.primary for found in record.findings].count(True) == 1
    assert {picture.name for picture in record.pictures} >= {"total_correlation", "traversals_beta_1"}


def test_every_number_is_defined(record):
    for name in ("tc_mean", "tc_sampled", "tc_mean_active", "tc_sampled_active", "kl", "reconstruction"):
        assert np.isfinite(record.rows[name]).all(), name
        assert (record.rows[name] >= -1e-9).all(), name
    assert (record.rows["tc_sampled"] <= record.rows["tc_mean"] + 1e-9).all()


def test_a_kill_half_way_costs_nothing(record, tmp_path):
    command = [sys.executable, SCRIPT, *TINY, "--out", str(tmp_path)]
    child = subprocess.Popen(command, env=processes.environment(), stderr=subprocess.PIPE, text=True)
    log = tmp_path / "vae_mean_vs_sampled" / "quick" / "runs" / "events.jsonl"
    deadline = time.monotonic() + 200
    while not (log.exists() and '"metrics"' in log.read_text()):
        assert time.monotonic() < deadline
        assert child.poll() is None, child.stderr.read()
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    call(*TINY, "--out", tmp_path)
    again = records.read(tmp_path / "vae_mean_vs_sampled" / "quick")
    for name, values in record.rows.items():
        np.testing.assert_array_equal(again.rows[name], values, err_msg=name)


def test_seeds_that_diverged_or_are_undefined_are_left_out_and_counted():
    s = dataclasses.replace(experiment.PRESETS["quick"], seeds=4, betas=(1.0, np.e))
    runs = table.grid({"beta": s.betas}, s.seeds)
    mean = np.array([[1.0, 2.0], [1.0, 2.2], [1.0, np.nan], [1.0, 50.0]]).ravel()
    flat = np.ones(8)
    found = {"tc_mean": mean, "tc_sampled": flat, "tc_mean_active": flat, "tc_sampled_active": flat}
    findings = experiment.judge(s, runs, found, {runs[7].id: 1000})
    rises = next(f for f in findings if f.claim.name == "mean_rises")
    assert rises.note == "left out: 1 seeds that diverged, 1 undefined"
    np.testing.assert_allclose(rises.intervals[0].estimate, 1.1)
    assert {f.intervals[0].n for f in findings} == {2}


def test_each_claim_is_judged_on_the_slope_that_it_names():
    s = dataclasses.replace(experiment.PRESETS["quick"], seeds=2, betas=(1.0, np.e, np.e**3))
    slopes = {"tc_mean": 0.5, "tc_sampled": -0.25, "tc_mean_active": 2.0, "tc_sampled_active": 9.0}
    found = {name: np.tile(3 + b * np.array([0.0, 1.0, 3.0]), s.seeds) for name, b in slopes.items()}
    findings = experiment.judge(s, table.grid({"beta": s.betas}, s.seeds), found, {})
    got = {f.claim.name: f.intervals[0].estimate for f in findings}
    want = {"mean_does_not_follow": 0.75, "sampled_falls": -0.25, "mean_rises": 0.5, "mean_rises_on_active_latents": 2}
    assert got == pytest.approx(want)


def test_covariances_are_those_of_draws():
    rng = np.random.default_rng(0)
    mean, log_var = rng.normal(size=(2, 4000, 3)) @ rng.normal(size=(3, 3)), rng.normal(size=(2, 4000, 3)) - 1
    of_mean, of_sample = experiment.covariances(mean, log_var)
    draws = mean[:, None] + np.sqrt(np.exp(log_var))[:, None] * rng.normal(size=(2, 200, 4000, 3))
    for run in range(2):
        np.testing.assert_allclose(of_mean[run], np.cov(mean[run].T))
        np.testing.assert_allclose(of_sample[run], np.cov(draws[run].reshape(-1, 3).T), atol=0.02)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["quick", "--sedes", "3"], 2, "--sedes"),
        (["huge"], 2, "huge"),
        (["quick", "--seeds", "0"], 2, "want an integer seeds >= 1, got seeds=0"),
        (["quick", "--steps", "-5"], 2, "want an integer steps >= 1, got steps=-5"),
        (["quick", "--part", "3/2"], 2, "want part as I/N"),
        (["quick", "--betas", "4"], 2, "want two or more different betas"),
        (["quick", "--betas", "0", "4"], 2, "want two or more different betas above zero"),
        (["quick", "--steps", "7", "--chunk", "3"], 1, "want steps to be a multiple of chunk"),
        (["quick", "--out", "/proc/nowhere"], 1, "/proc/nowhere"),
    ],
)
def test_a_wrong_command_says_what_to_do_in_one_line(words, code, says, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        cli.main(experiment.run, experiment.PRESETS, words, "vae_mean_vs_sampled")
    said = capsys.readouterr().err
    assert end.value.code == code, said
    assert says in said
    assert len(said.strip().splitlines()) == 1, said
