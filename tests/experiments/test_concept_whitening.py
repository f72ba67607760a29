"""The whole experiment at a size of seconds, from its command line; its scores against numpy; its claims."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import concept_whitening as experiment
from interp_jax.data import dsprites
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.runs import cli

TINY = {
    "seeds": 2, "size": 16, "channels": (4, 4, 4, 6), "steps": 20, "chunk": 10, "every": 5, "batch": 8, "images": 120,
}  # fmt: skip
S = dataclasses.replace(experiment.Settings(), **TINY)


def words(**settings):
    pairs = [(f"--{name.replace('_', '-')}", value) for name, value in settings.items()]
    return [str(word) for name, value in pairs for word in (name, *(value if isinstance(value, tuple) else (value,)))]


def call(root, **settings):
    cli.main(experiment.run, experiment.PRESETS, ["quick", *words(**settings), "--out", str(root)], "whitening")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    call(folder, **TINY)
    return folder


@pytest.fixture(scope="module")
def record(root):
    return records.read(root / "whitening" / "quick")


def test_the_record_is_whole(record):
    assert record.manifest["diverged"] == []
    assert [found.claim.name for found in record.findings] == [*experiment.STATED]
    assert [found.claim.name for found in record.findings if found.claim.primary] == ["axes_tell_concepts"]
    assert {found.intervals[0].n for found in record.findings} == {2}
    assert [picture.name for picture in record.pictures] == ["areas", "accuracy", "top"]
    assert list(record.rows["net"]) == [net for net in experiment.ARMS for _ in range(2)]
    for name, column in record.rows.items():
        if name != "net":
            assert np.isfinite(column).all(), name


def test_kinds_that_differ_in_training_only_begin_alike_and_then_differ(record):
    rows = record.rows
    nets = np.asarray(rows["net"])
    for what in ("axis_square", "accuracy"):
        assert len({tuple(rows[what][nets == net]) for net in ("whitened", "normalised", "plain")}) == 3
    assert (rows["axis_square"][nets == "whitened"] != rows["axis_square"][nets == "shuffled"]).any()
    begin = [experiment.make(S, net).init(jax.random.key(0)).params for net in ("whitened", "normalised", "plain")]
    for other in begin[1:]:
        jax.tree.map(np.testing.assert_array_equal, begin[0], other)


def test_a_second_call_changes_no_number(root, record):
    call(root, **TINY)
    again = records.read(root / "whitening" / "quick")
    for name, column in record.rows.items():
        np.testing.assert_array_equal(column, again.rows[name])


def test_labels_and_examples_are_those_of_the_factors():
    s = dataclasses.replace(S, size=32, batch=64)
    drawn = jax.jit(lambda key: experiment.draw(s, key, 200))(jax.random.key(0))
    rows = np.asarray(drawn.factors)
    assert set(rows[:, 1]) == {3, 4, 5}
    np.testing.assert_array_equal(drawn.labels, 2 * rows[:, 0] + (rows[:, 3] >= 16))
    np.testing.assert_array_equal(drawn.images[7, :, :, 0], dsprites.render(jnp.asarray(rows[7]), size=32))
    column = (np.asarray(drawn.images[..., 0]) * np.arange(32)).sum((1, 2)) / drawn.images.sum((1, 2, 3))
    np.testing.assert_allclose(column, 15.5 + 16 * (rows[:, 3] / 31 - 0.5), atol=1.2)  # the half that it lies in
    for task, label in (("scale", rows[:, 1] - 3), ("place", (rows[:, 3] >= 16) + 2 * (rows[:, 4] >= 16))):
        other = dataclasses.replace(s, task=task)
        np.testing.assert_array_equal([experiment.label(other, row) for row in drawn.factors[:9]], label[:9])
    shown, mixed = jax.jit(jax.vmap(lambda mixed: experiment.examples(s, jax.random.key(1), mixed)))(jnp.arange(2.0))
    assert shown.shape == mixed.shape == (3, 64, 32, 32, 1)
    areas = np.asarray(shown.sum((2, 3, 4))).mean(1), np.asarray(mixed.sum((2, 3, 4))).mean(1)
    assert areas[0][0] > 1.15 * areas[0][1]  # a square covers more than an ellipse
    assert np.ptp(areas[1]) < 0.15 * areas[1].mean()


def areas(scores, classes):
    """The share of pairs in order, by comparing all."""
    pairs = [np.subtract.outer(score[classes == j], score[classes != j]) for j, score in enumerate(scores.T)]
    return [(pair > 0).mean() + 0.5 * (pair == 0).mean() for pair in pairs]


def test_scores_equal_numpys_on_a_net_by_hand():
    """At its first weights, with statistics that are made up; the mean over places makes everything linear."""
    s = dataclasses.replace(S, activation="mean")
    state = jax.jit(lambda: experiment.make(s, "whitened").init(jax.random.key(3)))()
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(6, 6))
    stats = state.stats._replace(
        covariance=jnp.asarray(spread @ spread.T + np.eye(6), jnp.float32),
        mean=jnp.asarray(rng.normal(size=6), jnp.float32),
        rotation=jnp.asarray(np.linalg.qr(rng.normal(size=(6, 6)))[0], jnp.float32),
    )
    state = state._replace(stats=stats)
    data = jax.jit(lambda: tuple(experiment.draw(s, jax.random.key(i), 120) for i in range(2)))()
    found = jax.jit(lambda state, data: experiment.measure(s, "whitened", state, data))(state, data)
    net = experiment.parts(s)

    def read(images):
        features = np.float64(jax.vmap(lambda x: net.before.apply(state.params["before"], x))(images)).mean((1, 2))
        values, vectors = np.linalg.eigh(np.float64(stats.covariance))
        root = (vectors / np.sqrt(values)) @ vectors.T
        return (features - np.float64(stats.mean)) @ root @ np.float64(stats.rotation).T

    (first, second), (chosen, classes) = ([f(each) for each in data] for f in (
        lambda each: read(each.images), lambda each: np.asarray(each.factors[:, 0])
    ))  # fmt: skip
    np.testing.assert_allclose(found["axis"], areas(second[:, :3], classes), atol=2e-3)
    table = np.array([areas(np.tile(column[:, None], 3), chosen) for column in first.T])
    best = np.abs(table - 0.5).argmax(0)
    signs = np.sign(table[best, range(3)] - 0.5)
    np.testing.assert_allclose(found["best"], areas(second[:, best] * signs, classes), atol=2e-3)
    unit = second / np.linalg.norm(second, axis=1, keepdims=True)
    cosine = np.array([[(unit[classes == i] @ unit[classes == j].T).mean() for i in range(3)] for j in range(3)])
    ratio = np.abs(cosine) / np.sqrt(np.outer(np.diag(cosine), np.diag(cosine)))
    np.testing.assert_allclose(found["alike"], (ratio.sum() - 3) / 6, atol=1e-3)
    tops = [second[top, j] for j, top in enumerate(np.asarray(found["top"]))]
    np.testing.assert_allclose(tops, -np.sort(-second[:, :3].T, 1)[:, :8], atol=1e-4)


def synthetic(rng, **changes):
    """What `measure` gives of four kinds of 6 seeds, where all that is claimed holds."""
    areas = {"axis": 0.98, "random": 0.5, "best": 0.8, "probe": 0.94}
    scalars = {"accuracy": 0.97, "alike": 0.5}
    kinds = {"whitened": {}, "shuffled": {"axis": 0.5}, "normalised": {"alike": 0.8}, "plain": {"alike": 0.9}}
    noise = lambda *shape: 1e-3 * rng.standard_normal(shape)  # noqa: E731
    return {
        net: {name: value + noise(6, 3) for name, value in (areas | own | changes).items() if name in areas}
        | {name: value + noise(6) for name, value in (scalars | own).items() if name in scalars}
        for net, own in kinds.items()
    }


def test_claims_find_what_was_put_in():
    s = dataclasses.replace(S, seeds=6)
    found = synthetic(np.random.default_rng(0))
    verdicts = {f.claim.name: judge(f).verdict for f in experiment.judge(s, found, np.ones(6, bool))}
    assert set(verdicts.values()) == {Verdict.SUPPORTED}, verdicts
    found["whitened"]["axis"][2] = np.nan  # a net that diverged is left out of every claim, and said
    lost = experiment.judge(s, found, np.arange(6) != 2)
    assert {f.intervals[0].n for f in lost} == {5}
    assert "left out: 1 seeds that diverged" in lost[0].note
    found = synthetic(np.random.default_rng(2))
    found["whitened"]["accuracy"] -= 0.02
    assert judge(experiment.judge(s, found, np.ones(6, bool))[1]).verdict is Verdict.CONTRADICTED
    found["whitened"]["accuracy"] += 0.3  # better is no loss
    gain = experiment.judge(s, found, np.ones(6, bool))[1]
    assert judge(gain).verdict is Verdict.SUPPORTED
    assert gain.note == "1.250 against 0.970; whitened 1.250; normalised 0.970; plain 0.970"
    low = experiment.judge(s, synthetic(np.random.default_rng(1), axis=0.9), np.ones(6, bool))
    assert judge(low[0]).verdict is Verdict.CONTRADICTED


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 15}, "multiple of chunk"),
        ({"size": 20}, "want size a multiple of 16, got size=20"),
        ({"scales": 7}, "want 1 <= scales <= 6, got scales=7"),
        ({"channels": (4, 4, 4, 2)}, "at least 3 axes at the layer"),
        ({"task": "colour"}, "colour"),
        ({"size": 16, "activation": "pooled max"}, "at least 3 x 3 places"),
    ],
)
def test_wrong_settings_are_named(tmp_path, wrong, said, capsys):
    with pytest.raises(SystemExit) as end:
        call(tmp_path, **(TINY | wrong))
    assert end.value.code != 0
    assert re.search(said, capsys.readouterr().err)
