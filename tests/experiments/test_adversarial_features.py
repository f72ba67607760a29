"""The experiment at a size of seconds, from its command line, and its judgements on values with known answers."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import adversarial_features as experiment
from interp_jax.data import images
from interp_jax.report import records
from interp_jax.runs import cli
from tests import processes
from tests.data import test_cifar

SCRIPT = processes.ROOT / "experiments" / "adversarial_features.py"
TINY = [
    *("quick", "--seeds", "2", "--images", "40", "--tested", "30", "--attacked", "10", "--made-steps", "4"),
    *("--invert-steps", "4", "--teacher-steps", "20", "--steps", "20", "--batch", "8", "--lrs", "0.001", "0.003"),
]


@pytest.mark.slow
def test_the_record_is_whole_and_a_second_run_finds_it_done(tmp_path):
    processes.run(SCRIPT, *TINY, "--out", tmp_path)
    record = records.read(tmp_path / "adversarial_features" / "quick")
    assert record.manifest["finished"]
    assert len(record.rows["set"]) == 2 * len(experiment.SETS) * 2
    assert set(record.rows["set"]) == set(experiment.SETS)
    assert [found.claim.primary for found in record.findings].count(True) == 1
    named = np.array(record.rows["set"])
    np.testing.assert_array_equal(record.rows["hit"][named == "D"], 1)
    np.testing.assert_allclose(
        record.rows["size"][named == "D_det"], record.rows["size"][named == "D_det noise"], rtol=1e-4
    )
    assert np.isfinite(record.rows["error"][named == "D_R"]).all()
    assert "found done" in processes.run(SCRIPT, *TINY, "--out", tmp_path).stderr
    again = records.read(tmp_path / "adversarial_features" / "quick")
    np.testing.assert_array_equal(again.rows["clean"], record.rows["clean"])


def test_colour_images_pass_through_models_and_constructions(tmp_path, monkeypatch):
    """By their shapes only, from CIFAR-10's files; nothing runs."""
    (tmp_path / "cifar-10").mkdir()
    test_cifar.write(tmp_path / "cifar-10", monkeypatch)
    monkeypatch.setenv("INTERP_JAX_DATA", str(tmp_path))
    s = dataclasses.replace(experiment.PRESETS["quick"], data="cifar-10", images=30)
    split = images.by_name(s.data)
    data = experiment.Data(*(jnp.asarray(leaf[: s.images]) for leaf in split.train))
    for model in ("cnn", "resnet", "mlp"):
        net = experiment.network(dataclasses.replace(s, model=model))
        params = jax.eval_shape(net.init, jax.random.key(0))
        assert jax.eval_shape(net.apply, params, data.xs[0]).shape == (experiment.CLASSES,)
    made = jax.eval_shape(partial(experiment.attacks, s), params, data, jax.random.key(0))
    made["D_R"] = jax.eval_shape(partial(experiment.inversions, s), params, data, jax.random.key(0))
    assert {leaf["xs"].shape for leaf in made.values()} == {(30, 32, 32, 3)}
    assert {leaf["hit"].shape for leaf in made.values()} == {(30,)}


def test_each_claim_compares_the_sets_that_it_names_by_teacher():
    s = dataclasses.replace(experiment.PRESETS["quick"], seeds=3, lrs=(0.1, 0.2))
    shape = (3, len(experiment.SETS), 2)
    teacher = np.array([0.0, 0.1, 0.3])[:, None, None]
    place = np.arange(len(experiment.SETS))[None, :, None] ** 2 / 200
    found = {
        "clean": (teacher + place + np.zeros(shape)).ravel(),
        "robust": (teacher - place + np.zeros(shape)).ravel(),
    }
    findings = experiment.judge(s, found, np.ones(np.prod(shape), bool))
    for pair, got in zip(experiment.claims(s), findings, strict=True):
        a, b = (experiment.SETS.index(name) ** 2 / 200 for name in pair.split(" - "))
        sign = -1 if "robust" in got.claim.estimand else 1
        assert got.intervals[0].estimate == pytest.approx(sign * (a - b)), pair


def test_teachers_with_a_student_that_diverged_are_left_out_of_its_claims():
    s = dataclasses.replace(experiment.PRESETS["quick"], seeds=4, lrs=(0.1,))
    shape = (4, len(experiment.SETS), 1)
    values = np.random.default_rng(0).random(shape)
    fine = np.ones(shape, bool)
    fine[2, experiment.SETS.index("D_det")] = False
    findings = experiment.judge(s, {"clean": values.ravel(), "robust": values.ravel()}, fine.ravel())
    by_name = {found.claim.name: found for found in findings}
    assert by_name["wrong_labels_teach"].intervals[0].n == 3
    assert by_name["wrong_labels_teach"].note == "left out: 1 teachers with a student that diverged"
    assert by_name["robust_features_teach_robustness"].intervals[0].n == 4


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["quick", "--seeds", "1"], "want an integer seeds >= 2, got seeds=1"),
        (["quick", "--lrs", "0.1", "0.1"], "want different learning rates above zero"),
        (["quick", "--eps-made", "0"], "want eps_made > 0"),
    ],
)
def test_a_wrong_command_says_what_to_do_in_one_line(words, says, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        cli.main(experiment.run, experiment.PRESETS, words, "adversarial_features")
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert says in said
    assert len(said.strip().splitlines()) == 1
