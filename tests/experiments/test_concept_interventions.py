"""Its claims, rows and report; its policies and levels; and (slow: many programs) the whole from its command line."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import concept_interventions as experiment
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.runs import cli
from interp_jax.train.trainer import Held

TINY = {
    "seeds": 2, "sets": ("trig",), "concepts": 3, "size": 2, "hidden": 4, "examples": 40, "fresh": 20, "epochs": 1,
    "batch": 20, "samples": 2, "steps": 2,
}  # fmt: skip
SMALL = dataclasses.replace(experiment.Settings(), **TINY)


def words(**settings):
    pairs = [(f"--{name.replace('_', '-')}", value) for name, value in settings.items()]
    return [str(word) for name, value in pairs for word in (name, *(value if isinstance(value, tuple) else (value,)))]


def call(root, **settings):
    cli.main(experiment.run, experiment.PRESETS, ["quick", *words(**settings), "--out", str(root)], "told")


def made(seeds=10, known=4):
    """Accuracies as the papers would have them: [seeds, known]."""
    rng = np.random.default_rng(0)
    rise = np.linspace(0, 1, known)

    def curve(begin, end):
        return begin + (end - begin) * rise + 0.002 * rng.standard_normal((seeds, known))

    found = {}
    for name, family in SMALL.cells():
        for model in experiment.FAMILIES[family]:
            up = {"intcem": 0.95, "stochastic": 0.95, "autoregressive": 0.95}.get(model, 0.85)
            end = {"hybrid_sigmoid": 0.7, "cbm_logit": 0.5}.get(model, up)
            found[name, model] = {"concepts": np.full((seeds, 1), 0.8)} | {
                f"random {e}": curve(0.7, end if e == "truth" else 0.4) for e in experiment.EXPERTS
            }
            for i, which in enumerate(("uncertainty", "learned", "fixed", "coop", "own", "greedy")):
                if name == "many":
                    found[name, model][f"{which} truth"] = found[name, model]["random truth"] + 0.02 * (i + 1)
    return found


def test_claims_find_what_was_put_in():
    found = made()
    assert {judge(each).verdict for each in experiment.judge(SMALL, found)} == {Verdict.SUPPORTED}
    found["many", "intcem"] = found["many", "cem"]
    found["trig", "cbm_logit"]["random truth"] = found["trig", "hybrid_sigmoid"]["random truth"]
    verdicts = {each.claim.name: judge(each).verdict for each in experiment.judge(SMALL, found)}
    for name in ("intcem_beats_cem", "logits_collapse"):
        assert verdicts.pop(name) == Verdict.CONTRADICTED
    assert set(verdicts.values()) == {Verdict.SUPPORTED}


def test_a_seed_that_diverged_is_left_out_and_counted():
    found = made()
    found["many", "cem"]["random truth"][3] = np.nan
    judged = {each.claim.name: each for each in experiment.judge(SMALL, found)}
    assert (judged["cem_improves"].intervals[0].n, judged["cem_improves"].note) == (
        9,
        "left out: 1 seeds that diverged",
    )
    assert judged["hybrid_ignores"].intervals[0].n == 10


def test_the_report_shows_what_was_found():
    found = made()
    table = experiment.rows(found)
    assert len({len(column) for column in table.values()}) == 1
    at = list(zip(*(table[name] for name in ("set", "model", "policy", "expert", "seed", "known")), strict=True))
    place = at.index(("many", "cem", "coop", "truth", 7, 2))
    assert table["value"][place] == found["many", "cem"]["coop truth"][7, 2]
    assert table["value"][at.index(("trig", "cem", "concepts", "", 0, 0))] == 0.8
    pictures = experiment.pictures(SMALL, found)
    assert [picture.name for picture in pictures] == ["few", "many", "policies"]


def test_every_seed_has_training_examples_of_its_own():
    data = experiment.load(SMALL, "trig")
    first, again, other = (experiment.taught(SMALL, data, {"seed": jnp.float32(i)}) for i in (0, 0, 1))
    np.testing.assert_array_equal(first.inputs, again.inputs)
    assert not np.array_equal(first.inputs, other.inputs)
    assert len(np.unique(np.asarray(first.inputs), axis=0)) == 40
    assert (len(data.train.labels), len(data.validation.labels), len(data.test.labels)) == (120, 10, 20)


def test_only_logits_are_told_percentiles():
    """Fuzzy and hard bottlenecks are told 0 and 1; the same params, told as logits, decide otherwise."""
    data = experiment.load(SMALL, "trig")
    model, _ = experiment.models(SMALL, "trig", "scalar", jnp.float32(0))
    params = model.init(jax.random.key(0))
    state = type("State", (), {"params": params})

    @jax.jit
    def told(kind):
        held = Held(state, {"kind": kind, "seed": jnp.float32(0)})
        return experiment.measure(SMALL, "trig", "scalar", held, data)

    found = [told(jnp.float32(kind)) for kind in range(3)]
    for expert in experiment.EXPERTS:
        assert found[0][f"random {expert}"][-1] == found[2][f"random {expert}"][-1]  # all are known: 0 or 1 in both
    train = experiment.taught(SMALL, data, {"seed": jnp.float32(0)})
    logits = jax.vmap(lambda x: model.encode(params, x).logits)(train.inputs)
    low, high = np.percentile(np.asarray(logits, float), [5, 95], axis=0)
    said = np.where(np.asarray(data.test.concepts) > 0.5, high, low)
    head = params["head"]
    task = said @ np.asarray(head["kernel"], float)[:, 0] + np.asarray(head["bias"], float)[0]
    want = ((task > 0) == (np.asarray(data.test.labels) == 1)).mean()
    np.testing.assert_allclose(found[1]["random truth"][-1], want, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sets": ("many",)}, "want names among"),
        ({"sets": ("xor",)}, "want trig, with scalar and hybrid"),
        ({"small": ("scalar", "boxes")}, "got 'boxes'"),
        ({"samples": 1}, "want an integer samples >= 2"),
        ({"lr": 0.0}, "want lr > 0"),
    ],
)
def test_wrong_settings_are_named(tmp_path, wrong, said, capsys):
    with pytest.raises(SystemExit) as end:
        call(tmp_path, **(TINY | wrong))
    assert end.value.code != 0
    assert re.search(said, capsys.readouterr().err)


@pytest.mark.slow
def test_the_whole_record_and_that_a_second_call_changes_no_number(tmp_path):
    call(tmp_path, **TINY)
    record = records.read(tmp_path / "told" / "quick")
    assert record.manifest["diverged"] == []
    assert [found.claim.name for found in record.findings] == [*experiment.claims(SMALL)]
    assert [found.claim.name for found in record.findings if found.claim.primary] == ["cem_improves"]
    assert {found.intervals[0].n for found in record.findings} == {2}
    rows = record.rows or {}
    assert np.isfinite(rows["value"]).all()
    assert ((rows["value"] >= 0) & (rows["value"] <= 1)).all()
    own = {name: set(rows["policy"][rows["model"] == name]) for name in ("intcem", "cem", "stochastic")}
    assert own["intcem"] == {*experiment.ASKING, "concepts"}
    assert own["cem"] == own["intcem"] - {"own"}
    assert own["stochastic"] == {"random", "uncertainty", "concepts"}
    call(tmp_path, **TINY)
    again = records.read(tmp_path / "told" / "quick").rows or {}
    for name, column in rows.items():
        np.testing.assert_array_equal(column, again[name])
