"""The whole experiment at a size of seconds, from its command line; its features against numpy; its claims."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import ntk_robust_features as experiment
from interp_jax.core import keys
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.runs import cli
from interp_jax.train.trainer import Kept, TrainState

TINY = {
    "seeds": 2, "images": 32, "tested": 12, "attack_steps": 2, "features": (0, 1, 2, 3, 4, 5, 25), "steps": 20,
    "kernels": 10, "examples": 4, "batch": 8,
}  # fmt: skip


def words(**settings):
    pairs = [(f"--{name.replace('_', '-')}", value) for name, value in settings.items()]
    return [str(word) for name, value in pairs for word in (name, *(value if isinstance(value, tuple) else (value,)))]


def call(root, **settings):
    cli.main(experiment.run, experiment.PRESETS, ["quick", *words(**settings), "--out", str(root)], "robust")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    call(folder, **TINY)
    return folder


@pytest.fixture(scope="module")
def record(root):
    return records.read(root / "robust" / "quick")


def test_the_record_is_whole(record):
    assert record.manifest["diverged"] == []
    assert [found.claim.name for found in record.findings] == [*experiment.claims(experiment.Settings())]
    assert [found.claim.name for found in record.findings if found.claim.primary] == ["robust_features_are_at_the_top"]
    assert {found.intervals[0].n for found in record.findings} == {2}
    assert [picture.name for picture in record.pictures] == ["features", "first", "looks", "velocity"]
    rows = record.rows
    assert {len(column) for column in rows.values()} == {2 * (3 * (7 + 8) + 2 * (10 + 4 * 11 + 2))}
    assert np.isfinite(rows["value"]).all()


def test_an_attack_never_helps_and_the_end_of_the_course_is_its_last_step(record):
    rows = record.rows

    def values(what, quantity):
        mine = (rows["what"] == what) & (rows["quantity"] == quantity)
        return rows["value"][mine], rows["at"][mine]

    for what in ("feature", "first"):
        assert (values(what, "robust")[0] <= values(what, "clean")[0]).all()
    for kind in experiment.KINDS:
        assert values(kind, "angle")[1].tolist() == [*range(0, 21, 2)] * 2
        assert values(kind, "clean")[1].tolist() == [20, 20]
    np.testing.assert_array_equal(
        values("standard", "top_mass")[0][::11], values("adversarial", "top_mass")[0][::11]
    )  # they begin at the same weights


def test_a_second_call_changes_no_number(root, record):
    call(root, **TINY)
    again = records.read(root / "robust" / "quick")
    for name, column in record.rows.items():
        np.testing.assert_array_equal(column, again.rows[name])


def arc_cosine(x1, x2):
    """The kernel of one hidden layer, in numpy from Cho and Saul's formulas: weight variance 2, bias variance .01."""
    d = x1.shape[1]
    first = 2 * x1 @ x2.T / d + 0.01
    size = np.sqrt(np.outer(2 * (x1**2).sum(1) / d + 0.01, 2 * (x2**2).sum(1) / d + 0.01))
    angle = np.arccos(np.clip(first / size, -1, 1))
    second = size * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi + 0.01
    return second + first * (np.pi - angle) / np.pi


def test_features_equal_those_of_numpy_in_float64():
    """Accuracies as they are, and under one step along the sign of a gradient by differences."""
    s = dataclasses.replace(experiment.Settings(), **TINY, eps=0.1)
    data, key = experiment.Pair.load(s), jax.random.key(5)
    found = jax.jit(lambda key, data: experiment.features(s, key, data))(key, data)
    rows = np.asarray(jax.random.permutation(keys.stream(key, "images"), len(data.y)))[:44]
    xs, y = np.asarray(data.xs, np.float64)[rows], np.asarray(data.y, np.float64)[rows]
    base, tests, truth = xs[:32], xs[32:], y[32:]
    values, vectors = np.linalg.eigh(arc_cosine(base, base))
    values, vectors = values[::-1], vectors[:, ::-1]
    terms = vectors * (vectors.T @ y[:32] / values)[None]
    weights = [terms[:, i] for i in s.features] + [terms[:, : i + 1].sum(1) for i in s.features] + [terms.sum(1)]
    for weight, seen in zip(weights, np.concatenate([found["feature"], found["first"]]), strict=True):
        margin = lambda x, weight=weight: truth * (arc_cosine(x, base) @ weight)  # noqa: E731
        slopes = [(margin(tests + 1e-5 * e) - margin(tests - 1e-5 * e)) / 2e-5 for e in np.eye(64)]
        moved = np.clip(tests - 0.1 * np.sign(np.round(np.stack(slopes, 1), 7)), 0, 1)
        np.testing.assert_allclose(seen[0], (margin(tests) > 0).mean(), atol=1e-6)
        np.testing.assert_allclose(seen[1], (margin(moved) > 0).mean(), atol=1.01 / 12)  # one image at the boundary
    whole = np.linalg.solve(arc_cosine(base, base), y[:32])
    np.testing.assert_allclose(found["first"][-1, 0], (truth * (arc_cosine(tests, base) @ whole) > 0).mean(), atol=1e-6)


def test_dynamics_equal_explicit_jacobians():
    s = dataclasses.replace(experiment.Settings(), **TINY)
    net, key = experiment.network(s), jax.random.key(0)
    params = [net.init(jax.random.fold_in(key, i)) for i in range(3)]
    state = Kept(TrainState(params[2], None, key), jax.tree.map(lambda *p: jnp.stack(p), *params[:2]))
    xs, labels = jax.random.uniform(key, (6, 8, 8, 1)), jnp.arange(6)
    found = jax.jit(lambda state, data: experiment.dynamics(s, state, data))(state, (xs, labels))

    def kernel(p):
        whole = jax.jacrev(lambda p: jax.vmap(net.apply, (None, 0))(p, xs[:4]))(p)
        flat = np.concatenate([np.asarray(leaf, np.float64).reshape(40, -1) for leaf in jax.tree.leaves(whole)], 1)
        return flat @ flat.T

    taken = [kernel(p) for p in params]
    cosine = lambda a, b: (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())  # noqa: E731
    np.testing.assert_allclose(found["velocity"], [1 - cosine(*taken[:2]), 1 - cosine(*taken[1:])], rtol=1e-3)
    np.testing.assert_allclose(
        found["angle"], [np.arccos(min(cosine(taken[0], k), 1)) for k in taken], rtol=1e-3, atol=1e-6
    )
    spectra = [np.sort(np.linalg.eigvalsh(k) ** 2)[::-1] for k in taken]
    np.testing.assert_allclose(found["top_mass"], [v[:20].sum() / v.sum() for v in spectra], rtol=1e-5)
    logits = np.asarray(jax.vmap(net.apply, (None, 0))(params[2], xs))
    np.testing.assert_allclose(found["clean"], (logits.argmax(1) == np.arange(6)).mean(), rtol=1e-6)


def test_claims_find_what_was_put_in():
    s = dataclasses.replace(experiment.Settings(), seeds=5)
    rng, count = np.random.default_rng(0), len(s.features)
    at = np.array(s.features)
    clean = 0.6 + 0.01 * rng.standard_normal((5, count + 1))
    robust = np.where(np.append(at, 239) <= 10, 0.4, 0.0) + 0.01 * rng.random((5, count + 1))
    accuracies = np.stack([clean, robust, robust], 2)
    slow, quick = 0.9 ** np.arange(20), 0.5 ** np.arange(20)
    courses = {
        kind: {"velocity": way * (1 + 0.01 * rng.random((5, 20))), "top_mass": mass + 0.001 * rng.random((5, 21))}
        for kind, way, mass in (("standard", slow, 0.9), ("adversarial", quick, 0.95))
    }
    drawn = {"feature": accuracies[:, :-1], "first": accuracies}
    drawn["feature"][:, -1] = np.nan  # a feature within rounding of zero is no part of the mean
    found = experiment.estimates(s, drawn, courses)
    verdicts = {f.claim.name: judge(f).verdict for f in experiment.judge(s, found, np.ones(5, bool), "")}
    assert set(verdicts.values()) == {Verdict.SUPPORTED}
    lost = experiment.judge(s, found, np.arange(5) > 0, "fitted")
    assert [f.intervals[0].n for f in lost] == [5, 5, 5, 5, 4, 4, 4]
    assert lost[-1].note == "fitted; left out: 1 seeds with a network that diverged"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 15}, "want steps a multiple of kernels=10, got steps=15"),
        ({"classes": (3, 3)}, "want two different classes"),
        ({"features": (0, 1, 2)}, "want features with 1 to 5"),
        ({"images": 2000}, "want images \\+ tested of at most 357"),
        ({"eps": -0.1}, "eps"),
    ],
)
def test_wrong_settings_are_named(tmp_path, wrong, said, capsys):
    with pytest.raises(SystemExit) as end:
        call(tmp_path, **(TINY | wrong))
    assert end.value.code != 0
    assert re.search(said, capsys.readouterr().err)
