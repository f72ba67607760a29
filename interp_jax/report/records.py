"""The folder of one experiment and preset, `results/<experiment>/<preset>/`: written whole, verified when it is read.

    manifest.json   what was run, on what, for how long, with which seeds (`MANIFEST` lists the fields)
    claims.json     claims and what was found (`interp_jax.report.claims`); the page judges them together
    rows.parquet    the tidy table (`interp_jax.report.tables`)
    figures.json    name, caption and alternative text of every figures/<name>.png
    digests.json    SHA-256 of all of these, written last: a folder without it was never finished

`events.jsonl` and the store of the runs may lie beside them; they have checksums of their own and are not read here.

JSON has no NaN. A number that is not finite is written as null, and the object around it gains a field `undefined` that
names it: `{"estimate": null, "undefined": {"estimate": "nan"}}`.
"""

import dataclasses
import enum
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from interp_jax.report import figures, files, tables
from interp_jax.report.claims import Finding, from_json, judge, to_json
from interp_jax.runs import seal

_NUMBER = (int, float, type(None))
_WORDS = (str, type(None))
MANIFEST: dict[str, tuple[type, ...]] = {
    "experiment": (str,),
    "preset": (str,),
    "config": (dict,),
    "versions": (dict,),
    "device": (str,),
    "wall_seconds": _NUMBER,
    "git_revision": _WORDS,
    "started": (str,),
    "ended": _WORDS,
    "finished": (bool,),
    "seeds": (list,),
    "diverged": (list,),
}
"""The required fields, with their types."""
OPTIONAL: dict[str, tuple[type, ...]] = {
    "title": _WORDS,
    "question": _WORDS,
    "command": _WORDS,
    "presets": (list, type(None)),
    "not_run": (list, type(None)),
    "small": (bool, type(None)),
}
"""title, question: what the page says above the claims. presets: all that the experiment offers. not_run: what was left
out at this size, in words. small: whether the page warns that the problem is a small one ('quick' always is)."""


class RecordError(ValueError):
    """A result folder, or a file in it, is damaged or not what it should be; the message begins with its path."""


class Picture(NamedTuple):
    """name: letters, digits, - and _. image: a figure, or the bytes of a PNG. caption and alt: plain text."""

    name: str
    image: Figure | bytes
    caption: str
    alt: str


class Record(NamedTuple):
    """What one folder holds. rows: columns `[N]`, or None if the experiment wrote no table."""

    folder: Path
    manifest: dict[str, Any]
    findings: list[Finding]
    pictures: list[Picture]
    rows: tables.Table | None


def write(
    folder: str | os.PathLike[str],
    *,
    manifest: Mapping[str, Any],
    findings: Sequence[Finding] = (),
    pictures: Sequence[Picture] = (),
    rows: Mapping[str, object] | None = None,
) -> Path:
    """Write what an experiment found, each file whole or not at all, the digests last.

    Everything is checked, encoded and written to a hidden folder before the first file is touched, so that a full disk
    costs nothing. A kill amid the renaming leaves a folder that `read` refuses (no digests.json) and `write` mends.

    Args:
        folder: `results/<experiment>/<preset>`; the last two parts must be those of the manifest.
        manifest: see `MANIFEST`.
        findings: the claims with what was found, see `claims.finding`.
        pictures: the figures.
        rows: columns `[N]` of the tidy table.

    Raises:
        ValueError: a field is missing or of the wrong type; it is named.
        OSError: the folder cannot be written; older files stay as they were.
    """
    folder = Path(folder)
    manifest = plain(manifest)
    _check_manifest(manifest, folder, folder / "manifest.json")
    _check_findings(findings, folder / "claims.json")
    notes = [{"name": p.name, "caption": p.caption, "alt": p.alt} for p in pictures]
    _check_notes(notes, folder / "figures.json")
    content = {"manifest.json": _json(manifest), "figures.json": _json(notes)}
    content["claims.json"] = to_json(findings).encode()
    for picture in pictures:
        image = picture.image if isinstance(picture.image, bytes) else figures.png(picture.image)
        content[f"figures/{picture.name}.png"] = image
    if rows is not None:
        content["rows.parquet"] = tables.encode(rows)
    _place(folder, content)
    return folder


def read(folder: str | os.PathLike[str]) -> Record:
    """Read a folder that `write` wrote.

    Raises:
        RecordError: something is missing, damaged, or belongs to another experiment; the file is named.
    """
    folder = Path(folder)
    content = _verified(folder)
    manifest = _parse(content, folder, "manifest.json")
    notes = _parse(content, folder, "figures.json")
    _check_manifest(manifest, folder, folder / "manifest.json")
    _check_notes(notes, folder / "figures.json")
    findings = _findings(content, folder / "claims.json")
    pictures = []
    for note in notes:
        name = f"figures/{note['name']}.png"
        if name not in content:
            raise RecordError(f"{folder / name}: missing, though figures.json names it")
        pictures.append(Picture(note["name"], content[name], note["caption"], note["alt"]))
    rows = None
    if "rows.parquet" in content:
        try:
            rows = tables.decode(content["rows.parquet"], folder / "rows.parquet")
        except ValueError as error:
            raise RecordError(str(error)) from error
    return Record(folder, manifest, findings, pictures, rows)


def beside(folder: str | os.PathLike[str], experiment: str) -> Record:
    """Read the record of another experiment in the same results: of `results/<own>/<preset>`, `<experiment>/<preset>`.

    Raises:
        ValueError: it is not there yet; the line says what to run.
        RecordError: it is damaged.
    """
    own = Path(folder)
    wanted = own.parents[1] / experiment / own.name
    if not (wanted / "manifest.json").is_file():
        raise ValueError(f"no record in {wanted}: run experiments/{experiment}.py {own.name} with this --out first")
    return read(wanted)


def find(results: str | os.PathLike[str]) -> list[Path]:
    """List the folders `results/<experiment>/<preset>`, sorted; an experiment's folder with none is listed itself.

    Files, and folders whose name begins with a dot, are not results. A folder that is missing has none.
    """
    results = Path(results)
    if not results.is_dir():
        return []
    found = []
    for experiment in _folders(results):
        found += _folders(experiment) or [experiment]
    return found


def plain(value: object, where: str = "") -> Any:
    """Turn mappings, named tuples, dataclasses, numpy and jax numbers into what JSON can say; name what is undefined.

    >>> plain({"estimate": float("nan"), "n": np.int64(8)})
    {'estimate': None, 'n': 8, 'undefined': {'estimate': 'nan'}}
    """
    bad: dict[str, str] = {}
    done = _plain(value, where, "", bad)
    if bad:
        raise ValueError(
            f"want undefined numbers inside an object with named fields, got {where or 'a bare list'}: {bad}"
        )
    return done


def _plain(value: object, where: str, field: str, bad: dict[str, str]) -> Any:
    """Convert one value; `bad` collects undefined numbers of the nearest object, by field."""
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or isinstance(value, str | bool):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {entry.name: getattr(value, entry.name) for entry in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        value = value._asdict()  # pyrefly: ignore
    if isinstance(value, Mapping):
        return _object(value, where)
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]", f"{field}[{i}]", bad) for i, item in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "__array__"):
        return _plain(np.asarray(value).tolist(), where, field, bad)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            bad[field] = str(value)
            return None
        return float(value)
    raise ValueError(f"want JSON values, got {type(value).__name__} at {where or 'the top'}")


def _object(value: Mapping[Any, Any], where: str) -> dict[str, Any]:
    done, bad = {}, dict(value.get("undefined") or {})
    for key, item in value.items():
        if not isinstance(key, str):
            raise ValueError(f"want names as keys, got {key!r} at {where or 'the top'}")
        if key != "undefined":
            done[key] = _plain(item, f"{where}.{key}" if where else key, key, bad)
    return done | ({"undefined": bad} if bad else {})


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _parse(content: Mapping[str, bytes], folder: Path, name: str) -> Any:
    if name not in content:
        raise RecordError(f"{folder / name}: missing")

    def constant(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    try:
        return json.loads(content[name].decode(), parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{folder / name}: not valid JSON ({error})") from error


def _verified(folder: Path) -> dict[str, bytes]:
    """Read every file that digests.json names and compare."""
    if not (folder / "manifest.json").is_file():
        raise RecordError(
            f"{folder}: no manifest.json; not the folder of a result, or the run ended before it was written"
        )
    if not (folder / "digests.json").is_file():
        raise RecordError(f"{folder / 'digests.json'}: missing; the folder was not finished, run the experiment again")
    try:
        listed = seal.read(folder / "digests.json")["files"]
    except (ValueError, KeyError) as error:
        raise RecordError(f"{folder / 'digests.json'}: damaged ({error})") from error
    content = {}
    for name, digest in listed.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]+\.(json|parquet)|figures/[A-Za-z0-9_-]+\.png", name):
            raise RecordError(f"{folder / 'digests.json'}: names {name!r}, which is no file of a result")
        try:
            content[name] = (folder / name).read_bytes()
        except OSError as error:
            raise RecordError(f"{folder / name}: cannot be read ({error.strerror})") from error
        if files.digest(content[name]) != digest:
            raise RecordError(f"{folder / name}: damaged (not the bytes that digests.json promises)")
    return content


def _place(folder: Path, content: Mapping[str, bytes]) -> None:
    """Write files to a hidden folder, then rename them into place with no digests there meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(".new-*"):
        shutil.rmtree(old, ignore_errors=True)  # what a kill left
    try:
        listed = set(seal.read(folder / "digests.json")["files"])
    except (ValueError, KeyError):
        listed = set()
    staged = Path(tempfile.mkdtemp(dir=folder, prefix=".new-"))
    try:
        for name, data in content.items():
            files.replace(staged / name, data)
        seal.write(staged / "digests.json", {"files": {name: files.digest(data) for name, data in content.items()}})
        (folder / "figures").mkdir(exist_ok=True)
        (folder / "digests.json").unlink(missing_ok=True)
        for name in listed - set(content):
            if re.fullmatch(r"rows\.parquet|figures/[A-Za-z0-9_-]+\.png", name):
                (folder / name).unlink(missing_ok=True)
        for name in [*content, "digests.json"]:
            os.replace(staged / name, folder / name)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _check_manifest(manifest: Any, folder: Path, path: Path) -> None:
    _check_fields(manifest, MANIFEST, OPTIONAL, path, "")
    place = Path(os.path.abspath(folder))
    for field, name in (("experiment", place.parent.name), ("preset", place.name)):
        if not re.fullmatch(r"[A-Za-z0-9_-]+", manifest[field]):
            raise RecordError(f"{path}: want {field} of letters, digits, - and _, got {manifest[field]!r}")
        if manifest[field] != name:
            raise RecordError(f"{path}: {field} is {manifest[field]!r}, but the folder is {name!r}'s")


def _findings(content: Mapping[str, bytes], path: Path) -> list[Finding]:
    if path.name not in content:
        raise RecordError(f"{path}: missing")
    try:
        findings = from_json(content[path.name].decode())
    except ValueError as error:
        raise RecordError(f"{path}: {error}") from error
    _check_findings(findings, path)
    return findings


def _check_findings(findings: Sequence[Finding], path: Path) -> None:
    """See to it that every claim has a name of its own and can at least be judged alone."""
    names = [found.claim.name for found in findings]
    if len(set(names)) < len(names):
        raise RecordError(f"{path}: want each claim once, got {names}")
    try:
        for found in findings:
            judge(found)
    except ValueError as error:
        raise RecordError(f"{path}: {error}") from error


def _check_notes(notes: Any, path: Path) -> None:
    if not isinstance(notes, list):
        raise RecordError(f"{path}: want a list of figures, got {type(notes).__name__}")
    for i, note in enumerate(notes):
        _check_fields(note, {"name": (str,), "caption": (str,), "alt": (str,)}, {}, path, f"figure {i}: ")
        if not re.fullmatch(r"[A-Za-z0-9_-]+", note["name"]):
            raise RecordError(f"{path}: want figure names of letters, digits, - and _, got {note['name']!r}")
        if not note["alt"].strip():
            raise RecordError(f"{path}: want words that say what figure {note['name']!r} shows, got an empty alt")
    names = [note["name"] for note in notes]
    if len(set(names)) < len(names):
        raise RecordError(f"{path}: want each figure once, got {names}")


def _check_fields(
    value: Any,
    required: Mapping[str, tuple[type, ...]],
    optional: Mapping[str, tuple[type, ...]],
    path: Path,
    where: str,
) -> None:
    if not isinstance(value, dict):
        raise RecordError(f"{path}: {where}want an object, got {type(value).__name__}")
    for field, kinds in {**required, **optional}.items():
        if field in value:
            if not _is(value[field], kinds):
                want = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
                raise RecordError(f"{path}: {where}want {field} as {want}, got {value[field]!r}")
        elif field in required:
            raise RecordError(f"{path}: {where}no field {field!r}")


def _is(value: object, kinds: tuple[type, ...]) -> bool:
    """Compare types as JSON knows them: true is no number."""
    return isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds)


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__")))
