"""The experiment at a size of seconds, from its command line, and its judgements on values with known answers."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments import adversarial_evaluation as experiment
from interp_jax.adversarial.masking import Symptoms
from interp_jax.data import images
from interp_jax.report import records
from interp_jax.runs import cli
from tests import processes

SCRIPT = processes.ROOT / "experiments" / "adversarial_evaluation.py"
TINY = ["quick", "--seeds", "2", "--steps", "40", "--chunk", "20", "--images", "12", "--queries", "5"]


@pytest.mark.slow
def test_the_record_is_whole(tmp_path):
    processes.run(SCRIPT, *TINY, "--out", tmp_path)
    record = records.read(tmp_path / "adversarial_evaluation" / "quick")
    assert record.manifest["finished"]
    kinds = [*experiment.SOUND, *experiment.MECHANISMS]
    assert list(dict.fromkeys(record.rows["kind"])) == kinds
    assert len(record.rows["seed"]) == 2 * len(kinds)
    assert [found.claim.primary for found in record.findings].count(True) == 1
    for column in ("clean", "pgd", "rough", "black_box"):
        assert (record.rows[column] >= 0).all()
        assert (record.rows[column] <= 1).all()


@pytest.mark.parametrize("data", ["digits", "fashion-mnist", "cifar-10"])
def test_the_model_takes_every_data_set(data):
    net = experiment.network(dataclasses.replace(experiment.PRESETS["quick"], data=data))
    params = jax.eval_shape(net.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct(images.SHAPE[data], np.float32)
    assert jax.eval_shape(net.apply, params, x).shape == (10,)


def made(seeds=6):
    """Checks of sound models near zero; of each masked kind one or two checks far from it, seed 1 of one not."""
    rng, found = np.random.default_rng(0), {}
    for kind in (*experiment.SOUND, *experiment.MECHANISMS):
        found[kind] = {name: 0.004 * rng.random(seeds) for name in Symptoms._fields}
    found["saturated"]["flat"][:] = found["quantised"]["flat"][:] = 0.8
    found["stochastic"]["rough"][:] = found["shattered"]["rough"][:] = 0.7
    found["shattered"]["rough"][1] = 0.0
    return found


def test_models_are_flagged_by_mechanisms_and_seeds_that_set_no_threshold():
    s = dataclasses.replace(experiment.PRESETS["quick"], seeds=6)
    flags = experiment.flagged(s, made())
    for kind in experiment.SOUND:
        assert not flags[kind].any()
    for kind in ("saturated", "quantised", "stochastic"):
        np.testing.assert_array_equal(flags[kind], 1)
    np.testing.assert_array_equal(flags["shattered"], [1, 0, 1, 1, 1, 1])
    alone = made()
    for kind in ("stochastic", "quantised", "saturated"):
        for column in alone[kind].values():
            column[:] = 0.001
    assert not experiment.flagged(s, alone)["shattered"].any(), "no other mechanism moves its check"


def test_each_claim_is_judged_on_the_share_that_it_names():
    s = dataclasses.replace(experiment.PRESETS["quick"], seeds=10)
    flags = {kind: np.zeros(10) for kind in experiment.SOUND} | {kind: np.ones(10) for kind in experiment.MECHANISMS}
    flags["standard"][0], flags["shattered"][:5] = 0.25, 0
    got = {found.claim.name: found.intervals[0] for found in experiment.judge(s, flags)}
    assert got["masked_models_are_flagged"].estimate == pytest.approx(35 / 40 - 0.95)
    assert got["sound_models_are_not_flagged"].estimate == pytest.approx(1 / 20 - 0.05)
    assert got["shattered_models_are_flagged"].estimate == pytest.approx(0.5 - 0.95)
    assert got["saturated_models_are_flagged"].low == pytest.approx(
        0.025**0.1 - 0.95
    )  # Clopper and Pearson at 10 of 10


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["quick", "--seeds", "1"], "want an integer seeds >= 2, got seeds=1"),
        (["quick", "--eps", "-1"], "want eps > 0, got eps=-1.0"),
        (["quick", "--data", "cifar"], "cifar"),
    ],
)
def test_a_wrong_command_says_what_to_do_in_one_line(words, says, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        cli.main(experiment.run, experiment.PRESETS, words, "adversarial_evaluation")
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert says in said
    assert len(said.strip().splitlines()) == 1
