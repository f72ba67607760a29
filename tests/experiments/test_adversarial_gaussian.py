"""The whole experiment at a size of seconds, from its command line; its measures against oracles; its claims."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import adversarial_gaussian as experiment
from interp_jax.adversarial.gaussian import Gaussian
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.runs import cli
from tests import processes
from tests.oracles import gaussian as oracle

SCRIPT = processes.ROOT / "experiments" / "adversarial_gaussian.py"
TINY = [
    *("quick", "--seeds", "3", "--dims", "3", "--condition", "10", "--samples", "50", "2000", "--means", "20"),
    *("--lams", "1", "10", "--margins", "3", "--conditions", "3", "10", "--radii", "0.3", "1", "--steps", "60"),
]
QUANTITIES = {"aligned", "attained", "least", "bound"}


def call(*words):
    cli.main(experiment.run, experiment.PRESETS, [str(word) for word in words], "adversarial_gaussian")


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    call(*TINY, "--out", root)
    return records.read(root / "adversarial_gaussian" / "quick")


def column(record, quantity):
    rows = record.rows
    return rows["value"][rows["quantity"] == quantity].reshape(3, -1)


def test_the_record_is_whole(record):
    assert record.manifest["finished"]
    assert record.manifest["diverged"] == []
    assert [found.claim.primary for found in record.findings].count(True) == 1
    assert {found.intervals[0].n for found in record.findings} == {3}
    names = {picture.name for picture in record.pictures}
    assert names == {"closed_form", "excess", "condition", "radius", "ellipses"}
    seen = set(record.rows["quantity"])
    assert seen >= QUANTITIES | {f"robust_{name}" for name in QUANTITIES} | {"sampled_50", "difference", "rise"}
    assert set(record.rows["at"][record.rows["quantity"] == "robust_least"]) == {0.0, 0.3, 1.0}
    assert np.isfinite(record.rows["value"]).all()


def test_the_theorems_hold_in_the_record(record):
    assert (column(record, "difference") < 1e-4).all()
    assert (column(record, "sampled_2000") < column(record, "ordinary")).all()
    np.testing.assert_allclose(column(record, "rise"), column(record, "rise_closed"), rtol=0.2)
    np.testing.assert_allclose(column(record, "rise_printed"), 2 * column(record, "rise_closed"), rtol=1e-5)
    k = np.array([3.0, 10.0])
    for name in ("attained", "least", "bound"):
        np.testing.assert_allclose(column(record, name), np.tile(2 * np.sqrt(k) / (1 + k), (3, 1)), rtol=1e-4)
        assert (np.diff(column(record, f"robust_{name}")) > 0).all()
    assert (np.diff(column(record, "robust_aligned")) > 0).all()
    assert (column(record, "aligned") > column(record, "bound")).all()


def test_a_covariance_has_its_condition_number_and_mean_variance_one(key):
    frame = experiment.Frame.draw(key, 4)
    values = np.linalg.eigvalsh(np.asarray(frame.covariance(50.0), np.float64))
    np.testing.assert_allclose(values[-1] / values[0], 50.0, rtol=1e-4)
    np.testing.assert_allclose(values.mean(), 1.0, rtol=1e-5)


def test_the_attack_and_the_descent_end_where_general_purpose_optimisers_do():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    mean, covariance, x = rng.normal(size=3), root @ root.T + 0.3 * np.eye(3), rng.normal(size=3)
    lam = 1.5 / np.linalg.eigvalsh(covariance).min()
    model = Gaussian(jnp.asarray(mean, jnp.float32), jnp.asarray(covariance, jnp.float32))

    @jax.jit
    def both(model, x, starts):
        y = jnp.float32(-1)
        return experiment.attack(model, x, y, jnp.float32(lam)), experiment.least_alignment(model.covariance, starts)

    moved, least = both(model, jnp.asarray(x, jnp.float32), jax.random.normal(jax.random.key(0), (4, 3)))
    np.testing.assert_allclose(moved - x, oracle.penalised(mean, covariance, x, -1, lam)[1], atol=1e-3)
    np.testing.assert_allclose(least, oracle.least_cosine(covariance), atol=1e-5)


def test_distance_is_in_units_of_the_closed_form():
    closed = Gaussian(jnp.zeros(2), jnp.diag(jnp.array([4.0, 0.01])))
    wider = closed._replace(covariance=1.1 * closed.covariance)
    moved = closed._replace(mean=jnp.array([2.0, 0.1]))
    np.testing.assert_allclose(experiment.distance(wider, closed), 0.1 / np.sqrt(2), rtol=1e-5)
    np.testing.assert_allclose(experiment.distance(moved, closed), np.sqrt(2) / 2, rtol=1e-6)


def synthetic(seeds=4):
    """Measures with known answers: settings, and columns `[seeds, ...]`."""
    s = dataclasses.replace(
        experiment.PRESETS["quick"], seeds=seeds, lams=(1.0, 10.0), samples=(10, 1000), margins=(2.0, 4.0),
        conditions=(10.0, 1000.0), radii=(0.1, 1.0),
    )  # fmt: skip
    rows = {
        "rise": [3.3, 1.1],
        "rise_closed": [3.0, 1.0],
        "rise_printed": [6.0, 2.0],
        "difference": [1e-6, 3e-6],
        "ordinary": [1.0, 1.0],
        "sampled": [[1.0, 0.01], [10.0, 0.1]],
        "aligned": [0.9, 0.5],
        "attained": [0.500, 0.197],
        "least": [0.498, 0.201],
        "bound": [0.5, 0.2],
        "robust_aligned": [0.5, 0.6, 0.9],
        "robust_attained": [0.2, 0.3, 0.8],
        "robust_least": [0.2, 0.25, 0.785],
        "robust_bound": [0.2, 0.25, 0.8],
    }
    return s, {name: np.stack([np.array(row)] * seeds) for name, row in rows.items()}


WANT = {
    "closed_form": (3e-6, Verdict.SUPPORTED),
    "samples_approach_it": (-0.5, Verdict.CONTRADICTED),
    "excess": (0.1, Verdict.CONTRADICTED),
    "printed_form_is_double": (0.05, Verdict.CONTRADICTED),
    "condition": (-0.2, Verdict.SUPPORTED),
    "bound_is_attained": (0.05, Verdict.CONTRADICTED),
    "bound_holds": (-0.015, Verdict.CONTRADICTED),
    "robust_worst_case": (0.3175, Verdict.SUPPORTED),
    "robust_random_means": (0.25, Verdict.SUPPORTED),
}


def test_each_claim_is_judged_on_the_quantity_that_it_names():
    s, found = synthetic()
    findings = experiment.judge(s, found, np.ones(4, bool))
    assert {f.claim.name: f.intervals[0].estimate for f in findings} == pytest.approx(
        {name: estimate for name, (estimate, _) in WANT.items()}
    )
    assert {f.claim.name: judge(f).verdict for f in findings} == {name: verdict for name, (_, verdict) in WANT.items()}


def test_undefined_seeds_are_left_out_and_counted():
    s, found = synthetic()
    found["difference"][1] = np.nan
    found["sampled"][1, 0, 0] = np.nan
    findings = experiment.judge(s, found, np.array([True, False, True, True]))
    assert {f.intervals[0].n for f in findings} == {3}
    assert {f.note for f in findings} == {"left out: 1 seeds with undefined measures"}
    assert findings[0].intervals[0].estimate == pytest.approx(3e-6)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["quick", "--sedes", "3"], 2, "--sedes"),
        (["huge"], 2, "huge"),
        (["quick", "--seeds", "0"], 2, "want an integer seeds >= 1, got seeds=0"),
        (["quick", "--dims", "1"], 2, "want an integer dims >= 2, got dims=1"),
        (["quick", "--steps", "0"], 2, "want an integer steps >= 1, got steps=0"),
        (["quick", "--part", "3/2"], 2, "want part as I/N"),
        (["quick", "--lams", "0", "1"], 2, "want lams above 0, got lams=(0.0, 1.0)"),
        (["quick", "--margins", "1"], 2, "want margins above 1.25"),
        (["quick", "--condition", "1"], 2, "want condition above 1, got condition=1.0"),
        (["quick", "--samples", "5", "50"], 2, "want samples above 5"),
        (["quick", "--conditions", "9", "9"], 2, "want two or more different conditions, for a slope"),
        (["quick", "--radii", "nan"], 2, "want radii above 0"),
        (["quick", "--out", "/proc/nowhere"], 1, "/proc/nowhere"),
    ],
)
def test_a_wrong_command_says_what_to_do_in_one_line(words, code, says, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        call(*words)
    said = capsys.readouterr().err
    assert end.value.code == code, said
    assert says in said
    assert len(said.strip().splitlines()) == 1, said


@pytest.mark.slow
def test_parts_join_and_give_what_one_run_gives(record, tmp_path):
    for part in ("1/3", "2/3", "3/3"):
        assert "run without --part" in processes.run(SCRIPT, *TINY, "--part", part, "--out", tmp_path).stdout
    processes.run(SCRIPT, *TINY, "--out", tmp_path)
    joined = records.read(tmp_path / "adversarial_gaussian" / "quick")
    assert "run without --part" not in str(joined.manifest)
    np.testing.assert_allclose(joined.rows["value"], record.rows["value"], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_descent_that_ends_on_a_slope_is_no_minimum(tmp_path):
    processes.run(SCRIPT, *TINY[:-1], "2", "--out", tmp_path)
    record = records.read(tmp_path / "adversarial_gaussian" / "quick")
    assert record.manifest["diverged"] == ["seed=0", "seed=1", "seed=2"]
    assert np.isnan(column(record, "difference")).all(0).any()
    assert {judge(found).verdict for found in record.findings} == {Verdict.NOT_TESTED}
