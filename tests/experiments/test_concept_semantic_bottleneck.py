"""Its claims and report from made-up nets; and (slow: nine programs are compiled) all of it from its command line."""

import dataclasses
import re

import jax
import numpy as np
import pytest

from experiments import concept_semantic_bottleneck as experiment
from interp_jax.data import scenes
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.runs import cli

TINY = {
    "seeds": 2, "pixels": 8, "channels": (2, 3, 3), "after": (2, 3), "scenes": 16, "epochs": 1, "batch": 8,
    "tested": 50, "edits": 80, "rows": 50,
}  # fmt: skip
S = dataclasses.replace(experiment.Settings(), **TINY)
TAUGHT = ("sequential", "hard", "joint", "logits", "no stripes", "untaught")


def words(**settings):
    pairs = [(f"--{name.replace('_', '-')}", value) for name, value in settings.items()]
    return [str(word) for name, value in pairs for word in (name, *(value if isinstance(value, tuple) else (value,)))]


def call(root, **settings):
    cli.main(experiment.run, experiment.PRESETS, ["quick", *words(**settings), "--out", str(root)], "semantic")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    call(folder, **TINY)
    return folder


@pytest.fixture(scope="module")
def record(root):
    return records.read(root / "semantic" / "quick")


@pytest.mark.slow
def test_the_record_is_whole(record):
    assert record.manifest["diverged"] == []
    assert [found.claim.name for found in record.findings] == [*experiment.STATED]
    assert [found.claim.name for found in record.findings if found.claim.primary] == ["edits_are_followed"]
    assert [each.name for each in record.pictures] == [
        "edits", "kinds", "accuracy", "tells", "inspectability", "maps"
    ]  # fmt: skip
    rows = record.rows
    assert set(rows["net"]) == set(experiment.ARMS)
    for what in ("accuracy", "area", "nats", "told"):
        asked = (rows["quantity"] == what) & ((what != "told") | (rows["net"] != "logits"))  # 16 scenes have no levels
        assert np.isfinite(rows["value"][asked]).all()
    begins = [rows["value"][rows["quantity"] == f"auc before {name}"] for name in scenes.CONCEPTS]
    np.testing.assert_array_equal(*(np.array([each[i : i + 2] for each in begins]) for i in (0, 2)))  # as it began


@pytest.mark.slow
def test_a_second_call_changes_no_number(root, record):
    call(root, **TINY)
    again = records.read(root / "semantic" / "quick")
    for name, column in record.rows.items():
        np.testing.assert_array_equal(column, again.rows[name])


def made(seeds=10, **changes):
    """What is measured of nets of which all that is claimed holds. changes: "net what" -> mean."""
    rng = np.random.default_rng(0)
    noisy = lambda mean, *shape: mean + 1e-3 * rng.standard_normal((seeds, *shape))  # noqa: E731
    means = {
        "accuracy": 0.95, "told": 0.97, "follows": 0.97, "wrong": 0.3, "stays": 0.98, "agreement": 0.9, "area": 0.7,
        "nats": 0.02, "impurity": 0.1, "asked": 300.0, "least auc": 0.99, "mean iou": 0.8, "agreement before": 0.1,
        "area before": 0.1,
    }  # fmt: skip
    own = {
        "joint nats": 0.1, "no stripes nats": 0.4, "joint follows": 0.93, "logits follows": 0.94, "hard follows": 0.995,
        "plain area": 0.1, "untaught area": 0.1, "no stripes accuracy": 0.8,
    }  # fmt: skip
    found = {arm: {what: noisy(mean) for what, mean in means.items()} for arm in (*TAUGHT, "plain")}
    for place, mean in (own | changes).items():
        arm, what = next((arm, place.removeprefix(arm + " ")) for arm in found if place.startswith(arm + " "))
        found[arm][what] = noisy(mean)
    for arm in found:
        found[arm] |= {"by kind": noisy(0.97, 5), "maps": np.clip(noisy(0.5, 2, 4, 4, 5), 0, 1)}
        found[arm] |= {what: noisy(0.9, 5) for what in ("auc", "iou")}
    found["no stripes"]["ceiling"] = np.full(seeds, 0.62)
    return found


def test_claims_find_what_was_put_in():
    verdicts = {each.claim.name: judge(each).verdict for each in experiment.judge(S, made())}
    assert set(verdicts.values()) == {Verdict.SUPPORTED}, verdicts
    changes = {"sequential follows": 0.85, "joint told": 0.9, "no stripes accuracy": 0.6}
    worse = {each.claim.name: judge(each).verdict for each in experiment.judge(S, made(**changes))}
    changed = {name for name, verdict in worse.items() if verdict is Verdict.CONTRADICTED}
    assert changed == {
        "edits_are_followed", "training_in_turn_follows_more", "truth_does_no_harm_after_joint_training",
        "a_missing_concept_is_not_missed",
    }  # fmt: skip


def test_notes_say_what_stands_beside_a_number():
    found = made()
    found["joint"]["follows"][4] = np.nan
    notes = {each.claim.name: each for each in experiment.judge(S, found)}
    assert re.search(r"; stripes 0\.97\d, shade 0\.97\d, shape", notes["edits_are_followed"].note)
    assert re.search(r"changes asked: in turn 300\.\d", notes["edits_are_followed"].note)
    lost = notes["edits_are_followed_after_joint_training"]
    assert lost.note.endswith("left out: 1 seeds that diverged or are undefined")
    assert lost.intervals[0].n == 9
    assert notes["edits_are_followed"].intervals[0].n == 10


def test_the_report_shows_what_was_found():
    found = made(seeds=2)
    data = jax.jit(lambda: experiment.draw(S))()
    assert data.scored.concepts.shape == (50, 4, 4, 5)
    names = [each.name for each in experiment.pictures(found, data)]
    assert names == ["edits", "kinds", "accuracy", "tells", "inspectability", "maps"]
    drawn, said = experiment.maps(found, data)
    assert drawn.shape == (2 * 3 * 6, 16, 16)
    assert said[:6] == ["truth", *scenes.CONCEPTS]
    np.testing.assert_array_equal(drawn[1][::4, ::4], data.scored.concepts[0, :, :, 0])
    table = experiment.columns(S, found)
    place = list(zip(table["net"], table["quantity"], table["seed"], strict=True)).index(("joint", "by kind shape", 1))
    assert table["value"][place] == found["joint"]["by kind"][1, 2]
    assert "maps" not in {what.split(" ")[0] for what in table["quantity"]}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"pixels": 10}, "want cells of whole blocks"),
        ({"rows": 900}, "want at most a place for each cell"),
        ({"scenes": 4}, "want at least one batch of scenes, got scenes=4, batch=8"),
        ({"lr": -1.0}, "want lr > 0"),
        ({"tested": 10}, "want an integer tested >= 50"),
    ],
)
def test_wrong_settings_are_named(tmp_path, wrong, said, capsys):
    with pytest.raises(SystemExit) as end:
        call(tmp_path, **(TINY | wrong))
    assert end.value.code != 0
    assert re.search(said, capsys.readouterr().err)
