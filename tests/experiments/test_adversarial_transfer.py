"""The experiment at a size of seconds, from its command line, and its comparisons on values with known answers."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments import adversarial_transfer as experiment
from interp_jax.data import images
from interp_jax.report import records
from interp_jax.runs import cli
from tests import processes

SCRIPT = processes.ROOT / "experiments" / "adversarial_transfer.py"
TINY = [
    *("quick", "--seeds", "2", "--images", "40", "--tested", "30", "--attack-steps", "3", "--steps", "20"),
    *("--batch", "8"),
]


@pytest.mark.slow
def test_the_record_is_whole(tmp_path):
    processes.run(SCRIPT, *TINY, "--out", tmp_path)
    record = records.read(tmp_path / "adversarial_transfer" / "quick")
    assert record.manifest["finished"]
    assert len(record.rows["source"]) == 2 * (2 * len(experiment.ARCHITECTURES) - 1)
    assert [found.claim.primary for found in record.findings].count(True) == 1
    assert ((record.rows["cka"] >= 0) & (record.rows["cka"] <= 1 + 1e-6)).all()


@pytest.mark.parametrize("data", ["digits", "fashion-mnist", "cifar-10"])
def test_every_architecture_takes_every_data_set(data):
    s = dataclasses.replace(experiment.PRESETS["quick"], data=data)
    for name in experiment.ARCHITECTURES:
        net = experiment.network(s, name)
        params = jax.eval_shape(net.init, jax.random.key(0))
        x = jax.ShapeDtypeStruct(images.SHAPE[data], np.float32)
        assert jax.eval_shape(net.apply, params, x).shape == (experiment.CLASSES,)


def test_the_rate_is_over_images_that_both_have_right_and_that_fool_the_source():
    s = dataclasses.replace(experiment.PRESETS["quick"], seeds=2)
    labels = np.array([0, 1, 2, 3, 4])
    right = np.stack([labels] * 3)  # clean, source 0's examples, source 1's examples
    said = {name: np.stack([right, right]) for name in experiment.ARCHITECTURES}
    said = {name: values.copy() for name, values in said.items()}
    said[experiment.SOURCE][0, 1] = [9, 9, 9, 9, 4]  # source 0 is fooled by its own but the last
    said["CNN"][1, 0] = [0, 1, 2, 9, 4]  # has the fourth wrong
    said["CNN"][1, 1] = [9, 1, 2, 9, 9]  # falls to the first, and to two that do not count
    represented = {name: np.random.default_rng(0).normal(size=(2, 5, 3)) for name in experiment.ARCHITECTURES}
    rows = experiment.compare(s, said, represented, labels)
    pairs = list(zip(rows["source"], rows["architecture"], rows["seed"], strict=True))
    assert (0, experiment.SOURCE, 0) not in pairs
    at = pairs.index((0, "CNN", 1))
    assert rows["tried"][at] == 3
    assert rows["transfer"][at] == pytest.approx(1 / 3)
    assert np.isnan(rows["transfer"][pairs.index((1, "CNN", 1))])
    assert rows["cka"][pairs.index((0, "CNN", 0))] == pytest.approx(1, rel=1e-5)


def test_each_claim_is_judged_on_the_correlation_that_it_names():
    s = dataclasses.replace(experiment.PRESETS["quick"], seeds=3)
    names = list(experiment.ARCHITECTURES)
    rows = {column: [] for column in ("source", "architecture", "transfer", "cka")}
    for source in range(3):
        for rank, name in enumerate(names):
            for column, value in zip(rows, (source, name, 0.1 * rank, -rank + 0.01 * source), strict=True):
                rows[column].append(value)
    learnt = {name: np.array([0.1, 0.2, 0.3]) + rank for rank, name in enumerate(names)}
    found = experiment.correlations(s, rows, learnt)
    np.testing.assert_allclose(found["learnt"], 1)
    np.testing.assert_allclose(found["alignment"], -1)
    judged = {each.claim.name: each.intervals[0].estimate for each in experiment.judge(s, found)}
    assert judged["what_learns_the_features_is_fooled_by_them"] == pytest.approx(1)
    assert judged["models_alike_share_adversarial_examples"] == pytest.approx(-1)
    found["learnt"][0] = np.nan
    assert experiment.judge(s, found)[0].note == "left out: 1 sources with constant values"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["quick", "--seeds", "1"], 2, "want an integer seeds >= 2, got seeds=1"),
        (["quick", "--part", "1/2"], 1, "want part 1/1"),
    ],
)
def test_a_wrong_command_says_what_to_do_in_one_line(words, code, says, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        cli.main(experiment.run, experiment.PRESETS, words, "adversarial_transfer")
    said = capsys.readouterr().err
    assert end.value.code == code
    assert says in said
    assert len(said.strip().splitlines()) == 1
