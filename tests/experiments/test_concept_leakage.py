"""Its data, claims and report; and (slow: ten programs are compiled) the whole experiment from its command line."""

import dataclasses
import re

import numpy as np
import pytest

from experiments import concept_leakage as experiment
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.runs import cli

pytest.importorskip("sklearn")

TINY = {
    "seeds": 2, "tested": 200, "hidden": 8, "extra": 2, "axes": 4, "numbers": (1, 3), "each": 40, "epochs": 1,
    "batch": 400, "readout": 1,
}  # fmt: skip


def words(**settings):
    pairs = [(f"--{name.replace('_', '-')}", value) for name, value in settings.items()]
    return [str(word) for name, value in pairs for word in (name, *(value if isinstance(value, tuple) else (value,)))]


def call(root, **settings):
    cli.main(experiment.run, experiment.PRESETS, ["quick", *words(**settings), "--out", str(root)], "leakage")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    call(folder, **TINY)
    return folder


@pytest.fixture(scope="module")
def record(root):
    return records.read(root / "leakage" / "quick")


@pytest.mark.slow
def test_the_record_is_whole(record):
    assert record.manifest["diverged"] == []
    assert [found.claim.name for found in record.findings] == [*experiment.claims(experiment.Settings())]
    assert [found.claim.name for found in record.findings if found.claim.primary] == ["soft_concepts_tell_the_label"]
    assert {found.intervals[0].n for found in record.findings} == {2}
    assert [picture.name for picture in record.pictures] == ["models", "controls", "random", "impurity"]
    rows = record.rows
    cells = ["sequential", "constant", "shuffled", "joint", "hybrid", "embedding", "whitened", "random"]
    assert list(dict.fromkeys(rows["cell"])) == cells
    assert np.isfinite(rows["value"]).all()
    accuracy = rows["value"][rows["quantity"] == "accuracy"]
    assert ((accuracy >= 0) & (accuracy <= 1)).all()


@pytest.mark.slow
def test_controls_do_not_depend_on_how_the_bottleneck_was_trained(record):
    rows = record.rows

    def values(cell, readout, quantity="accuracy"):
        mine = (rows["cell"] == cell) & (rows["quantity"] == quantity) & (rows["readout"] == readout)
        return rows["value"][mine]

    for readout in ("untrained", "components"):
        for cell in ("constant", "shuffled", "joint"):
            np.testing.assert_array_equal(values("sequential", readout), values(cell, readout))
    both = [[values(cell, "logit", quantity) for quantity in ("impurity", "nats")] for cell in ("sequential", "joint")]
    assert not np.array_equal(*both)  # accuracies of so short a training can be the same


@pytest.mark.slow
def test_a_second_call_changes_no_number(root, record):
    call(root, **TINY)
    again = records.read(root / "leakage" / "quick")
    for name, column in record.rows.items():
        np.testing.assert_array_equal(column, again.rows[name])


def made(seeds=20):
    """Accuracies as the paper would have them, plus what is asked for."""
    rng = np.random.default_rng(0)
    noisy = lambda mean, *shape: mean + 0.01 * rng.standard_normal((seeds, *shape))  # noqa: E731
    cell = lambda: {  # noqa: E731
        "accuracy soft": noisy(0.65), "accuracy logit": noisy(0.75), "accuracy hard": noisy(0.5),
        "concepts hard": noisy(0.98), "impurity soft": noisy(0.4), "impurity hard": noisy(0.1),
    }  # fmt: skip
    found = {
        name: cell() for name in ("sequential", "constant", "shuffled", "joint", "hybrid", "embedding", "whitened")
    }
    found["sequential"] |= {"accuracy untrained": noisy(0.55), "accuracy components": noisy(0.55)}
    found["shuffled"] |= {"accuracy soft": noisy(0.55), "accuracy logit": noisy(0.55)}
    found["joint"]["accuracy soft"] = noisy(0.8)
    found["embedding"] |= {"accuracy embedding": noisy(0.9), "impurity embedding": noisy(0.6)}
    grows = np.array([0.5, 0.6, 0.7])
    del found["whitened"]["concepts hard"]
    found["random"] = {
        "accuracy hard": noisy(grows, 3), "accuracy soft": noisy(grows + 0.1, 3), "accuracy truth": noisy(grows, 3)
    }  # fmt: skip
    return found


def test_the_report_shows_what_was_found():
    s, found = dataclasses.replace(experiment.Settings(), numbers=(1, 2, 4)), made()
    table = experiment.rows(s, found)
    assert {len(column) for column in table.values()} == {20 * (7 * 6 - 1 + 4 + 3 * 3)}
    mine = [
        table["value"][i]
        for i in range(len(table["value"]))
        if (table["cell"][i], table["readout"][i], table["seed"][i], table["concepts"][i]) == ("random", "soft", 7, 4)
    ]
    assert mine == [found["random"]["accuracy soft"][7, 2]]
    pictures = experiment.pictures(s, found)
    assert [picture.name for picture in pictures] == ["models", "controls", "random", "impurity"]


def test_claims_find_what_was_put_in():
    s, found = experiment.Settings(), made()
    assert {judge(each).verdict for each in experiment.judge(s, found)} == {Verdict.SUPPORTED}
    found["sequential"]["accuracy soft"] = found["sequential"]["accuracy hard"] + 0
    verdicts = {each.claim.name: judge(each).verdict for each in experiment.judge(s, found)}
    assert verdicts["soft_concepts_tell_the_label"] == Verdict.CONTRADICTED
    assert verdicts["soft_beats_principal_components"] == Verdict.CONTRADICTED


def test_notes_say_what_a_number_hides():
    notes = {each.claim.name: each.note for each in experiment.judge(experiment.Settings(), made())}
    assert notes["whitening_does_not_remove_it"] == "the net is trained on the task, as the joint bottleneck is"
    assert notes["hard_concepts_tell_nothing"].startswith("exactly 1/2 in 0 seeds")
    assert re.match(r"logits, .* one: 0\.2[45]\d; concepts right \(seq", notes["soft_concepts_tell_the_label"])
    assert re.fullmatch(r"least of any number: 0\.(09|10)\d", notes["soft_random_concepts_tell_more"])
    assert re.fullmatch(r"the fewest true ones: -?0\.00\d above 1/2", notes["few_random_concepts_tell_nothing"])


def test_a_seed_that_diverged_is_left_out_and_counted():
    found = made()
    found["hybrid"]["accuracy soft"][3] = np.nan
    judged = {each.claim.name: each for each in experiment.judge(experiment.Settings(), found)}
    lost = judged["extra_capacity_does_not_remove_it"]
    assert lost.intervals[0].n == 19
    assert lost.note.startswith("concepts right (hybrid): 98")
    assert lost.note.endswith("%; left out: 1 seeds that diverged or are undefined")
    assert judged["embeddings_leak"].intervals[0].n == 20


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"batch": 4}, "want batches larger than axes=4, got batch=4"),
        ({"numbers": (3, 1)}, "want two or more rising numbers of random concepts"),
        ({"tested": 900}, "want tested of at most half of the 1797 images, got tested=900"),
        ({"axes": 1}, "want an integer axes >= 2"),
        ({"lr": -1.0}, "want lr > 0"),
    ],
)
def test_wrong_settings_are_named(tmp_path, wrong, said, capsys):
    with pytest.raises(SystemExit) as end:
        call(tmp_path, **(TINY | wrong))
    assert end.value.code != 0
    assert re.search(said, capsys.readouterr().err)
