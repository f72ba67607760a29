"""The whole experiment at a size of seconds, from its command line, as a stranger would use it."""

import dataclasses
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import vae_mean_vs_sampled as experiment
from interp_jax.data import dsprites, packed, streams
from interp_jax.report import records
from interp_jax.runs import cli
from interp_jax.train.trainer import trainer
from interp_jax.vae import objectives, study
from tests import processes

SCRIPT = processes.ROOT / "experiments" / "vae_mean_vs_sampled.py"
TINY = [
    *("quick", "--seeds", "2", "--strengths", "2", "--steps", "30", "--chunk", "10", "--discriminator", "8"),
    *("--images", "300", "--hidden", "8", "--size", "8", "--batch", "16", "--methods"),
]
SOME = ("beta_vae", "factor_vae")  # of one player and of two; all six in a slow test
QUICK = experiment.PRESETS["quick"]


def call(*words, check=True, **extra):
    return processes.run(SCRIPT, *words, check=check, **extra)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    call(*TINY, *SOME, "--out", root)
    return records.read(root / "vae_mean_vs_sampled" / "quick")


def test_the_record_is_whole(record):
    assert record.manifest["finished"]
    assert len(set(record.rows["run"])) == 8
    assert sorted(zip(record.rows["method"], record.rows["strength"], record.rows["seed"], strict=True)) == [
        (name, strength, seed)
        for name, ends in (("beta_vae", (1, 16)), ("factor_vae", (10, 100)))
        for strength in ends
        for seed in (0, 1)
    ]
    assert [found.claim.name for found in record.findings if found.claim.primary] == ["mean_does_not_follow"]
    tested = {found.claim.name for found in record.findings if found.intervals}
    assert tested >= {"sampled_falls", "mean_rises_factor_vae", "passive_latents_raise_the_mean_factor_vae"}
    assert not any("dip" in name or "annealed" in name for name in tested)
    drawn = {"total_correlation", "traversals_beta_vae_1", "traversals_beta_vae_16", "traversals_factor_vae_100"}
    assert {picture.name for picture in record.pictures} >= drawn


def test_every_number_is_defined(record):
    for name in ("tc_mean", "tc_sampled", "tc_mean_active", "tc_sampled_active", "kl", "reconstruction"):
        assert np.isfinite(record.rows[name]).all(), name
        assert (record.rows[name] >= -1e-9).all(), name
    assert (record.rows["tc_sampled"] <= record.rows["tc_mean"] + 1e-9).all()
    factor = np.asarray(record.rows["method"]) == "factor_vae"
    np.testing.assert_array_equal(np.isfinite(record.rows["discriminator_accuracy"]), factor)
    # Nats of 8 x 8 pixels, whatever the loss weighs them by: log 2 a pixel at the start.
    assert (record.rows["reconstruction"] < 64 * np.log(2) + 1).all()


def test_a_kill_in_the_second_sweep_costs_nothing(record, tmp_path):
    command = [sys.executable, SCRIPT, *TINY, *SOME, "--out", str(tmp_path)]
    child = subprocess.Popen(command, env=processes.environment(), stderr=subprocess.PIPE, text=True)
    log = tmp_path / "vae_mean_vs_sampled" / "quick" / "runs" / "factor_vae" / "events.jsonl"
    deadline = time.monotonic() + 200
    while not (log.exists() and '"metrics"' in log.read_text()):
        assert time.monotonic() < deadline
        assert child.poll() is None, child.stderr.read()
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    call(*TINY, *SOME, "--out", tmp_path)
    again = records.read(tmp_path / "vae_mean_vs_sampled" / "quick")
    for name, values in record.rows.items():
        np.testing.assert_array_equal(again.rows[name], values, err_msg=name)


@pytest.mark.slow
def test_all_six_methods_are_tested_in_one_run(tmp_path):
    call(*TINY, *experiment.METHODS, "--out", tmp_path)
    record = records.read(tmp_path / "vae_mean_vs_sampled" / "quick")
    assert len(record.rows["run"]) == 24
    assert all(found.intervals for found in record.findings)
    assert {"traversals_annealed_vae_5", "traversals_dip_vae_i_50"} <= {picture.name for picture in record.pictures}


def synthetic(s, method, **slopes):
    """Columns `[R]` that rise by these slopes in the logarithm of the strength, towards more regularisation."""
    x = np.log(experiment.strengths(s, method)) * (-1 if method == "annealed_vae" else 1)
    names = ("tc_mean", "tc_sampled", "tc_mean_active", "tc_mean_informative")
    lost = np.arange(x.size * s.seeds) == 1
    estimate = {"tc_discriminator": np.where(lost, 0.0, 50.0) if method == "factor_vae" else np.full(lost.size, np.nan)}
    return {name: np.tile(20 + slopes.get(name, 0.0) * x, s.seeds) for name in names} | estimate


def judged(s, found, fine=None):
    sound = {name: np.ones(s.seeds * s.strengths, bool) for name in found}
    return {f.claim.name: f for f in experiment.judge(s, found, sound | (fine or {}))}


def test_seeds_that_diverged_or_are_undefined_are_left_out_of_their_method_and_counted():
    s = dataclasses.replace(QUICK, seeds=4, strengths=2)
    x, bad = np.log(16), synthetic(s, "beta_vae")
    bad["tc_mean"] = np.array([[1.0, 1 + x], [1.0, 1 + 1.2 * x], [1.0, np.nan], [1.0, 50.0]]).ravel()
    found = judged(s, {"beta_vae": bad, "dip_vae_ii": synthetic(s, "dip_vae_ii")}, {"beta_vae": np.arange(8) != 7})
    assert found["mean_rises"].note == "left out: 1 seeds that diverged, 1 undefined"
    np.testing.assert_allclose(found["mean_rises"].intervals[0].estimate, 1.1)
    assert found["mean_rises"].intervals[0].n == 2
    assert found["mean_rises_dip_vae_ii"].intervals[0].n == 4
    assert not found["mean_rises_factor_vae"].intervals
    assert "not among the methods" in found["mean_rises_factor_vae"].note


@pytest.mark.parametrize("method", experiment.METHODS)
def test_each_claim_is_judged_on_the_slope_that_it_names_towards_more_regularisation(method):
    s = dataclasses.replace(QUICK, seeds=2, strengths=6)
    slopes = {"tc_mean": 0.5, "tc_sampled": -0.25, "tc_mean_active": 2.0, "tc_mean_informative": -1.0}
    found = judged(s, {method: synthetic(s, method, **slopes)})
    got = {name: f.intervals[0].estimate for name, f in found.items() if f.intervals}
    exception, tag = method == "dip_vae_i", "" if method == "beta_vae" else f"_{method}"
    want = {"mean_falls" if exception else "mean_rises": 0.5, "sampled_falls": -0.25}
    if exception:
        want["mean_follows"] = 0.75
    else:
        want |= {"mean_rises_on_active_latents": 2.0, "passive_latents_raise_the_mean": -1.5}
        assert "1.50 (1.50 to 1.50)" in found[f"passive_latents_raise_the_mean{tag}"].note
    if method == "beta_vae":
        want["mean_does_not_follow"] = 0.75
    lost = "in 1 of 12 runs the samples' is a nat or more above the discriminator's estimate"
    assert (lost in found[f"sampled_falls{tag}"].note) == (method == "factor_vae")
    assert got == pytest.approx({name + tag: value for name, value in want.items()})


def test_strengths_are_the_studys_with_both_ends():
    for name, every in study.STRENGTHS.items():
        for many in range(2, 7):
            got = experiment.strengths(dataclasses.replace(QUICK, strengths=many), name)
            assert len(set(got)) == many
            assert {every[0], every[-1]} <= set(got) <= set(every)
    assert experiment.strengths(QUICK, "beta_vae") == (1, 4, 16)
    assert list(experiment.METHODS) == list(study.STRENGTHS) == list(QUICK.methods)


def test_the_weight_of_the_reconstruction_is_the_beta_of_the_size_for_adam():
    """Scaling the whole loss by (64 / size)^2 changes nothing but its value, and Adam's epsilon by so much."""
    s = dataclasses.replace(QUICK, size=8, hidden=8, batch=16)
    net, data = experiment.network(s), packed.pack(dsprites.data(8), 977 * jnp.arange(200))

    def batch(data, key, t):
        rows = streams.uniform_indices(key, t, data.shape[0], s.batch)
        return jax.vmap(lambda i: packed.lookup(data, i, (8, 8, 1)))(rows)

    other = trainer(net.init, objectives.beta_vae(net.encode, net.decode, 4 / 64), batch, optax.adam(s.lr))

    def train(each):
        step = lambda state, t: each.step(state, data, t)  # noqa: E731
        return jax.lax.scan(step, each.init(jax.random.key(0)), jnp.arange(20))

    (ours, seen), (theirs, want) = jax.jit(lambda: (train(experiment.training(s, "beta_vae")(4)), train(other)))()
    np.testing.assert_allclose(seen["loss"], 64 * want["loss"], rtol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), ours.params, theirs.params)


def test_the_committed_records_are_whole():
    for preset in ("quick", "medium"):
        record = records.read(processes.ROOT / "experiments" / "results" / "vae_mean_vs_sampled" / preset)
        assert record.manifest["finished"]
        assert [found.claim.name for found in record.findings if found.claim.primary] == ["mean_does_not_follow"]


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
        (["quick", "--strengths", "1"], 2, "want an integer strengths >= 2, got strengths=1"),
        (["quick", "--strengths", "7"], 2, "want at most 6 strengths"),
        (["quick", "--methods", "beta_vae", "beta_vae"], 2, "want different methods"),
        (["quick", "--methods", "gan"], 2, "gan"),
        (["quick", "--discriminator", "0"], 2, "discriminator[0]"),
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
