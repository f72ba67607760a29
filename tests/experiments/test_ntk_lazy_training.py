"""The whole experiment at a size of seconds, from its command line; its measures against explicit loops; its claims."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import ntk_lazy_training as experiment
from interp_jax.core import keys
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.runs import cli
from interp_jax.train.trainer import TrainState

TINY = ["quick", "--seeds", "3", "--widths", "8", "32", "--images", "6", "--steps", "10"]


def call(*words):
    cli.main(experiment.run, experiment.PRESETS, [str(word) for word in words], "ntk_lazy_training")


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    call(*TINY, "--out", root)
    return records.read(root / "ntk_lazy_training" / "quick")


def test_the_record_is_whole(record):
    assert record.manifest["finished"]
    assert record.manifest["diverged"] == []
    assert [found.claim.name for found in record.findings] == [*experiment.claims(experiment.Settings())]
    assert {found.intervals[0].n for found in record.findings} == {3}
    assert [picture.name for picture in record.pictures] == ["slopes"]
    rows = record.rows
    assert len(rows["value"]) == 4 * 3 * 2
    assert np.isfinite(rows["value"]).all()
    assert (rows["value"] > 0).all()


def test_measures_equal_explicit_loops():
    """Kernels by jacrev; the linearised network by as many steps of gradient descent, one after the other."""
    s = dataclasses.replace(experiment.Settings(), images=5, steps=30, layers=1)
    data = experiment.Data.load(s)
    np.testing.assert_allclose(jnp.sum(data.xs**2, 1), 64, rtol=1e-5)
    net, rate = experiment.network(s, 16, 64), experiment.learning_rate(s, data)
    key = jax.random.key(3)
    trainer = experiment.training(net, rate)
    state = trainer.init(key)
    for t in range(s.steps):
        state, _ = jax.jit(trainer.step)(state, data, t)
    found = jax.jit(lambda state, data: experiment.measure(s, net, rate, state, data))(state, data)

    def jacobian(params):
        whole = jax.jacrev(lambda params: jax.vmap(net.apply, (None, 0))(params, data.xs)[:, 0])(params)
        return np.concatenate([np.asarray(leaf, np.float64).reshape(10, -1) for leaf in jax.tree.leaves(whole)], 1)

    first = net.init(keys.stream(key, "init"))
    j, end = jacobian(first), jacobian(state.params)
    f = np.asarray(jax.vmap(net.apply, (None, 0))(first, data.xs)[:, 0], np.float64)
    moved, y = np.zeros(j.shape[1]), np.asarray(data.y, np.float64)
    for _ in range(s.steps):
        moved -= rate * j[:5].T @ (f[:5] + j[:5] @ moved - y) / 5
    after = np.asarray(jax.vmap(net.apply, (None, 0))(state.params, data.xs)[:, 0], np.float64)
    linear = f + j @ moved
    np.testing.assert_allclose(found["nonlinearity"], np.sqrt(np.mean((after[5:] - linear[5:]) ** 2)), rtol=1e-3)
    start, end = j @ j.T, end @ end.T
    np.testing.assert_allclose(found["change"], np.linalg.norm(end - start) / np.linalg.norm(start), rtol=1e-3)
    np.testing.assert_allclose(found["loss"], np.mean((after[:5] - y) ** 2) / 2, rtol=1e-4)
    assert isinstance(state, TrainState)


def test_claims_find_the_powers_that_were_put_in():
    s = dataclasses.replace(experiment.Settings(), widths=(10, 100, 1000), seeds=6)
    noise = np.exp(0.01 * np.random.default_rng(0).standard_normal((3, 6, 3)))
    powers = dict(zip(experiment.QUANTITIES, (-0.5, -1.0, -0.3), strict=True))
    found = {name: np.array(s.widths) ** power * noise[i] for i, (name, power) in enumerate(powers.items())}
    findings = experiment.judge(s, found, np.ones(6, bool))
    verdicts = {each.claim.name: judge(each).verdict for each in findings}
    assert verdicts["fluctuation"] == verdicts["change"] == verdicts["change_is_bounded"] == Verdict.SUPPORTED
    assert verdicts["nonlinearity_is_bounded"] != Verdict.SUPPORTED
    assert verdicts["nonlinearity"] != Verdict.SUPPORTED


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--widths", "8"], "two or more different widths"),
        (["--rate", "2"], "rate"),
        (["--data", "cifar"], "data"),
        (["--classes", "3", "33"], "want two different classes that occur"),
        (["--classes", "3", "3"], "want two different classes that occur"),
        (["--images", "5000"], "want at most 178 images"),
    ],
)
def test_bad_settings_are_refused_at_once(words, match, tmp_path, capsys):
    with pytest.raises(SystemExit):
        call("quick", *words, "--out", tmp_path)
    assert match in capsys.readouterr().err
