"""The whole experiment at a size of seconds, from its command line; its data; its claims on made-up numbers."""

import dataclasses
import itertools
import re

import jax
import numpy as np
import pytest

from experiments import concept_posthoc as experiment
from interp_jax.data import shapes3d
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.runs import cli

TINY = {
    "seeds": 2, "data": ("room",), "size": 8, "rooms": 150, "hidden": (12, 8), "steps": 20, "chunk": 10, "batch": 16,
    "examples": 8, "counts": (2, 5), "epochs": 1,
}  # fmt: skip
S = dataclasses.replace(experiment.Settings(), **TINY)


def call(root, **settings):
    pairs = [(f"--{name.replace('_', '-')}", value) for name, value in settings.items()]
    words = [str(word) for name, value in pairs for word in (name, *(value if isinstance(value, tuple) else (value,)))]
    cli.main(experiment.run, experiment.PRESETS, ["quick", *words, "--out", str(root)], "posthoc")


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    call(folder, **TINY)
    return records.read(folder / "posthoc" / "quick")


def test_the_record_is_whole(record):
    names = [found.claim.name for found in record.findings]
    assert names == [f"{name}_room" for name in experiment.STATED]
    assert [found.claim.name for found in record.findings if found.claim.primary] == names[:1]
    assert [p.name for p in record.pictures] == ["concepts-room", "kinds", "edits"]
    rows = record.rows
    assert list(rows["data"]) == ["room"] * 2
    assert all(0 <= value <= 1 for name in ("original", "hybrid_named", "curve_named_2") for value in rows[name])
    assert (rows["told_named_0"] == rows["curve_named_2"]).all()  # told nothing it is the bottleneck of all concepts
    assert (rows["flips"] > 0).any()


def test_digits_have_the_concepts_of_their_ink():
    pytest.importorskip("sklearn")
    data = experiment.load(S, "digits")
    assert data.train.concepts.shape == (1200, 21)
    assert data.test.inputs.shape == (597, 8, 8, 1)
    assert not data.moved.any()
    both = experiment.claims(dataclasses.replace(S, data=("digits", "room")))
    shared = [name for name, each in experiment.STATED.items() if each.only is None]
    assert [name for name, of in both if of == "digits"] == shared
    assert [key for key, claim in both.items() if claim.primary] == [("hybrid_recovers_accuracy", "digits")]


def test_rooms_have_the_concepts_of_their_factors():
    s = dataclasses.replace(S, rooms=300)
    data = experiment.load(s, "room")
    assert data.train.concepts.shape == (300, 43)
    assert data.test.inputs.shape == (100, 8, 8, 3)
    starts = np.cumsum([0, *experiment.BANDS])
    for low, high in itertools.pairwise(starts):
        assert (np.asarray(data.train.concepts[:, low:high]).sum(1) == 1).all()
    factor = [np.asarray(data.moved[:, low]) for low in starts[:-1]]
    assert (np.sum(factor, 0) == 1).all()
    same = np.asarray(data.test.concepts == data.changed.concepts) | np.asarray(data.moved)
    assert same.all()
    rows = np.array([[3, 9, 0, 7, 2, 14], [0, 0, 0, 0, 0, 0]])
    told = np.asarray(experiment.room_concepts(jax.numpy.asarray(rows)))
    bands = [rows[:, f] * n // shapes3d.FACTOR_SIZES[f] for f, n in enumerate(experiment.BANDS)]
    for low, band in zip(starts, bands, strict=False):
        assert told[[0, 1], low + band].tolist() == [1, 1]
    assert set(np.unique(data.train.labels)) == set(range(12)) == set(range(experiment.classes("room")))


def made_up(rng, **changes):
    """Numbers of 8 seeds of rooms in which all that is claimed holds."""
    means = {
        "hybrid_named": 0.95, "original": 0.95, "hybrid_empty": 0.9, "shuffled": 0.85, "told_none": 0.92,
        "edit_named": 0.9, "none_named": 0.05, "edit_random": 0.1,
    } | changes  # fmt: skip
    found = {name: mean + 1e-3 * rng.standard_normal(8) for name, mean in means.items()}
    curves = {"curve_named": (0.5, 0.8, 0.93), "curve_random": (0.4, 0.6, 0.85), "told_named": (0.92, 0.95, 0.99)}
    return found | {name: np.array(mean) + 1e-3 * rng.standard_normal((8, 3)) for name, mean in curves.items()}


def test_claims_find_what_was_put_in():
    s = dataclasses.replace(S, seeds=8, data=("room",))
    fine = {"room": np.ones(8, bool)}
    found = experiment.judge(s, {"room": made_up(np.random.default_rng(0))}, fine)
    assert {judge(each).verdict for each in found} == {Verdict.SUPPORTED}
    assert re.fullmatch(r"0\.9\d\d against 0\.9\d\d", found[0].note)
    without = made_up(np.random.default_rng(1), edit_named=0.06, original=0.99)
    without["original"][2] = np.nan
    fine["room"][3] = False
    named = {each.claim.name: each for each in experiment.judge(s, {"room": without}, fine)}
    for name in ("edits_do_what_they_say_room", "random_edits_do_not_room", "hybrid_recovers_accuracy_room"):
        assert judge(named[name]).verdict is Verdict.CONTRADICTED
    assert named["hybrid_recovers_accuracy_room"].intervals[0].n == 6
    assert "left out: 2 seeds" in named["hybrid_recovers_accuracy_room"].note


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 15}, "multiple of chunk"),
        ({"counts": (5, 2)}, "want rising counts"),
        ({"data": ("room", "room")}, "want different data sets"),
        ({"rooms": 10}, "rooms >= 100"),
    ],
)
def test_wrong_settings_are_named(tmp_path, wrong, said, capsys):
    with pytest.raises(SystemExit) as end:
        call(tmp_path, **(TINY | wrong))
    assert end.value.code != 0
    assert re.search(said, capsys.readouterr().err)
