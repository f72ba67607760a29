"""Its claims and report; and (slow: seven programs are compiled) the whole experiment from its command line."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import concept_robustness as experiment
from interp_jax.concepts.views import View
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.runs import cli

pytest.importorskip("sklearn")

TINY = {
    "seeds": 2, "tested": 300, "attacked": 100, "hidden": 16, "head": 8, "size": 2, "axes": 6, "steps": 60, "batch": 20,
    "lr": 0.01, "inner": 2, "attack_steps": 4, "draws": 2,
}  # fmt: skip
QUANTITIES = ("any", "held", "moved", "noise", "chance", "held_0", "held_1", "task", "concepts", "leakage", "told")


def call(root, **settings):
    words = [str(word) for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]
    cli.main(experiment.run, experiment.PRESETS, ["quick", *words, "--out", str(root)], "robustness")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    call(folder, **TINY)
    return folder


@pytest.mark.slow
def test_the_record_is_whole(root):
    record = records.read(root / "robustness" / "quick")
    assert record.manifest["diverged"] == []
    s = experiment.Settings()
    assert [found.claim.name for found in record.findings] == [*experiment.claims(s)]
    assert [found.claim.name for found in record.findings if found.claim.primary] == [next(iter(experiment.PARTIAL))]
    untested = [found.claim.name for found in record.findings if not found.intervals]
    assert untested == [*experiment.PARTIAL]  # of two seeds
    rows = record.rows
    assert len(rows["seed"]) == 2 * 2 * len(experiment.KINDS)
    for name in QUANTITIES:
        assert np.isfinite(rows[name]).all()
    rates = np.stack([rows[name] for name in (*experiment.ATTACKS, "chance")])
    assert ((rates >= 0) & (rates <= 1)).all()
    assert (rows["held"][rows["kind"] == "hard"] == 0).all()
    assert (rows["chance"] <= rows["any"]).all()


@pytest.mark.slow
def test_a_second_call_changes_no_number(root):
    before = records.read(root / "robustness" / "quick").rows
    call(root, **TINY)
    after = records.read(root / "robustness" / "quick").rows
    for name, column in before.items():
        np.testing.assert_array_equal(column, after[name])


@pytest.mark.slow
def test_a_success_is_what_it_is_called():
    """A task and a concept that read one pixel each: what an attack can do is known."""
    s = experiment.Settings(eps=0.2, attack_steps=10, draws=4)

    def view(x):
        scores = jnp.stack([x[0] - 0.5, x[1] - 0.5, x[1] - 0.5])
        return View(scores, jnp.stack([0.5 - x[0], x[2] - 0.5]), scores)

    points = jnp.array([[0.4, 0.9, 0.4], [0.6, 0.9, 0.55], [0.05, 0.9, 0.05], [0.4, 0.45, 0.1], [0.4, 0.9, 0.7]])
    labels = jnp.array([0, 0, 0, 0, 0])
    one = jax.jit(jax.vmap(lambda *each: experiment.attacks(s, view, *each)))
    right, found = one(points, labels, jax.random.split(jax.random.key(0), 5))
    # 1: the pixel of the task alone suffices. 2, 5: wrong already. 3: out of reach. 4: as far, but a concept is near
    np.testing.assert_array_equal(right, [True, False, True, True, False])
    np.testing.assert_array_equal(found["any"], [True, True, False, False, True])
    np.testing.assert_array_equal(found["held"], [True, True, False, False, True])
    assert found["moved"][0]
    assert found["moved"][3]
    assert not found["moved"][2]
    assert not found["noise"][2:4].any()


def made(seeds=20, slope=0.0):
    """Rates and leakages within cells, and what all claims say between them; slope: of rates on leakage."""
    rng = np.random.default_rng(0)
    found = {}
    for i, (kind, training) in enumerate(experiment.cells_of(experiment.KINDS)):
        noise = lambda mean: mean + 0.01 * rng.standard_normal(seeds)  # noqa: E731
        own = {name: noise(0.5) for name in QUANTITIES}
        less = 0.2 * (training == "adversarial")
        own |= {"task": noise(0.9), "leakage": noise(0.5 - less - 0.01 * i), "noise": noise(0.05)}
        own["held"] = noise(0.6 - less - 0.01 * i) + slope * (own["leakage"] - own["leakage"].mean()) + own["task"]
        own["any"] = noise(0.8)
        own["held_0"] = own["held"]
        own["told"] = own["leakage"]
        if kind == "hard":
            own["held"], own["leakage"] = np.zeros(seeds), 0.1 * own["leakage"]
        found[kind, training] = own
    return found


def verdicts(found):
    return {each.claim.name: judge(each).verdict for each in experiment.judge(experiment.Settings(), found)}


def test_claims_find_what_was_put_in():
    assert set(verdicts(made(slope=3.0)).values()) == {Verdict.SUPPORTED}
    none = verdicts(made())
    assert none["leakage_predicts_flips_beyond_accuracy"] == Verdict.CONTRADICTED
    assert none["adversarial_training_lowers_flips_hybrid"] == Verdict.SUPPORTED
    against = verdicts(made(slope=-3.0))
    assert {against[name] for name in experiment.PARTIAL} == {Verdict.CONTRADICTED}
    found = made()
    found["hard", "standard"]["held"][3] = 0.2
    assert verdicts(found)["nothing_flips_through_hard_concepts"] != Verdict.SUPPORTED


def test_accuracy_is_taken_off():
    found = made()
    for cell in experiment.cells_of(experiment.SOFT):  # leakage says of rates what accuracy says of them
        found[cell]["leakage"] = found[cell]["task"] + 0.002 * np.random.default_rng(1).standard_normal(20)
    said = {each.claim.name: each.intervals[0].estimate for each in experiment.judge(experiment.Settings(), found)}
    assert said["leakage_predicts_flips"] > 0.4
    assert abs(said["leakage_predicts_flips_beyond_accuracy"]) < 0.25


def test_a_seed_that_diverged_is_left_out_of_all_and_counted():
    found = made(slope=3.0)
    found["hybrid", "standard"]["held"][3] = np.nan
    judged = experiment.judge(experiment.Settings(), found)
    assert {each.intervals[0].n for each in judged} == {19}
    assert all(each.note.endswith("left out: 1 seeds with a run that diverged or is undefined") for each in judged)
    found["hybrid", "standard"]["held"][:] = np.nan
    assert not any(each.intervals for each in experiment.judge(experiment.Settings(), found))


def test_the_report_shows_what_was_found():
    s, found = experiment.Settings(), made()
    table = experiment.rows(s, found)
    assert {len(column) for column in table.values()} == {20 * 2 * len(experiment.KINDS)}
    mine = (table["kind"] == "hybrid") & (table["training"] == "adversarial") & (table["seed"] == 7)
    assert table["held"][mine].tolist() == [found["hybrid", "adversarial"]["held"][7]]
    names = [picture.name for picture in experiment.pictures(found)]
    assert names == ["attacks-standard", "attacks-adversarial", "leakage", "association"]
    notes = {each.claim.name: each.note for each in experiment.judge(s, found)}
    assert notes["nothing_flips_through_hard_concepts"] == "largest rate of any network: 0"
    assert re.search(r"hybrid -?0\.\d\d.*halves of the images", notes["leakage_predicts_flips"])
    assert notes["adversarial_training_lowers_leakage_whitened"].startswith("accuracy of digits 0.9")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"batch": 4}, "want batches larger than axes=6, got batch=4"),
        ({"tested": 80, "attacked": 40}, "want an integer tested >= 90"),
        ({"tested": 1000}, "want tested of at most half of the 1797 images, got tested=1000"),
        ({"axes": 2}, "want an integer axes >= 3"),
        ({"eps": -1.0}, "want eps > 0"),
        ({"data": "faces"}, "faces"),
    ],
)
def test_wrong_settings_are_named(tmp_path, wrong, said, capsys):
    with pytest.raises(SystemExit) as end:
        call(tmp_path, **(TINY | wrong))
    assert end.value.code != 0
    assert re.search(said, capsys.readouterr().err)
