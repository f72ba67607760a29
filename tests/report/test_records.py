import errno
import json
import os
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.report import files, records
from tests.report import example


def folder_of(folders):
    return folders[0] / example.NAME / "quick"


def test_round_trip(folders):
    record = records.read(folder_of(folders))
    assert record.manifest == example.manifest(8, True)
    assert record.findings == example.findings(8, True)
    assert record.pictures == example.pictures(8)
    assert record.rows is not None
    for name, column in example.rows(8).items():
        np.testing.assert_array_equal(record.rows[name], column)


def test_writing_again_replaces_all_and_leaves_no_old_figure(folders):
    folder = folder_of(folders)
    (folder / "events.jsonl").write_text("{}\n")
    records.write(folder, manifest=example.manifest(2, True), pictures=example.pictures(8)[:1])
    record = records.read(folder)
    assert (record.findings, record.rows, len(record.pictures)) == ([], None, 1)
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert names == [
        "claims.json", "digests.json", "events.jsonl", "figures.json", "figures/total_correlation.png", "manifest.json",
    ]  # fmt: skip


def test_a_full_disk_loses_nothing(folders, monkeypatch):
    folder, calls = folder_of(folders), []

    def full(path, data):
        calls.append(path)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return path

    monkeypatch.setattr(files, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        example.write(folders[0], seeds=8, git_revision="another")
    assert records.read(folder).manifest["git_revision"] == example.manifest(8, True)["git_revision"]
    assert not list(folder.glob(".new-*"))


def test_a_kill_amid_the_renaming_is_seen_and_mended(folders, monkeypatch):
    folder = folder_of(folders)
    replace = os.replace

    def killed(source, target):
        if str(target).endswith("claims.json") and ".new-" not in str(target):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        example.write(folders[0], seeds=8)
    monkeypatch.undo()
    with pytest.raises(records.RecordError, match=r"digests\.json: missing; the folder was not finished"):
        records.read(folder)
    example.write(folders[0], seeds=8)
    assert records.read(folder).manifest["finished"]


def check_damage(folder, flips, seed):
    """Flip bits in every file, cut and delete each; all of it must be refused by name, or change nothing."""
    truth = records.read(folder)
    random = np.random.default_rng(seed)
    names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
    assert len(names) == 8
    for name in names:
        data = (folder / name).read_bytes()
        damages = [data[:-1], data[: len(data) // 2], b"", None]
        for _ in range(flips):
            broken = bytearray(data)
            broken[random.integers(len(data))] ^= 1 << random.integers(8)
            damages.append(bytes(broken))
        for damage in damages:
            (folder / name).unlink() if damage is None else (folder / name).write_bytes(damage)
            refuses(folder, name, truth)
        (folder / name).write_bytes(data)
    records.read(folder)


def refuses(folder, name, truth):
    """See that the error names the file. White space in digests.json is the one thing that may change unseen."""
    try:
        found = records.read(folder)
    except records.RecordError as error:
        message = str(error)
    else:
        assert name == "digests.json"
        assert found[1:4] == truth[1:4]
        return
    assert message.startswith(str(folder))
    assert name in message or name == "digests.json"


def test_flipped_bits_cuts_and_deletions_are_refused(folders):
    check_damage(folder_of(folders), 10, 0)


@pytest.mark.slow
def test_many_flipped_bits_are_refused(folders):
    check_damage(folder_of(folders), 500, 1)


def reseal(folder, name, text):
    """Write a file with a digest that fits, as a hand or another version might."""
    (folder / name).write_text(text)
    listed = json.loads((folder / "digests.json").read_text())["files"]
    records.seal.write(folder / "digests.json", {"files": listed | {name: files.digest(text.encode())}})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("manifest.json", "{", "not valid JSON"),
        ("manifest.json", '{"a": NaN}', "NaN is not JSON"),
        ("manifest.json", "[" * 100000, "not valid JSON"),
        ("manifest.json", "[]", "want an object"),
        ("manifest.json", "{}", "no field 'experiment'"),
        ("claims.json", "{}", "want claims of format"),
        ("claims.json", "x", "claims are not JSON"),
        ("figures.json", "{}", "want a list of figures"),
        ("figures.json", '[{"name": "../x", "caption": "", "alt": "a"}]', "letters, digits"),
        ("figures.json", '[{"name": "x", "caption": "", "alt": " "}]', "empty alt"),
        ("figures.json", '[{"name": "x", "caption": "", "alt": "a"}]', r"x\.png: missing"),
        ("rows.parquet", "PAR1", r"rows\.parquet: damaged table"),
    ],
)
def test_what_is_intact_but_wrong_is_refused(folders, name, text, message):
    folder = folder_of(folders)
    reseal(folder, name, text)
    with pytest.raises(records.RecordError, match=message) as caught:
        records.read(folder)
    assert str(caught.value).startswith(str(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"finished": 1}, "want finished as bool"),
        ({"wall_seconds": True}, "want wall_seconds as int or float or null"),
        ({"seeds": None}, "want seeds as list"),
        ({"experiment": "other"}, "but the folder is"),
        ({"preset": "a b"}, "letters, digits"),
    ],
)
def test_a_wrong_manifest_is_refused_before_anything_is_written(tmp_path, change, message):
    folder = tmp_path / example.NAME / "quick"
    with pytest.raises(records.RecordError, match=message):
        records.write(folder, manifest=example.manifest(8, True) | change)
    assert not folder.exists()


def test_digests_cannot_lead_out_of_the_folder(folders):
    folder = folder_of(folders)
    records.seal.write(folder / "digests.json", {"files": {"../../secret.json": "0" * 64}})
    with pytest.raises(records.RecordError, match="no file of a result"):
        records.read(folder)


def test_two_claims_of_one_name_are_refused(tmp_path):
    twice = example.findings(8, True)[:1] * 2
    with pytest.raises(records.RecordError, match="each claim once"):
        records.write(tmp_path / example.NAME / "quick", manifest=example.manifest(8, True), findings=twice)


def test_undefined_numbers_become_null_and_are_named(tmp_path):
    config = {"alpha": float("nan"), "grid": [1.0, float("inf")], "inner": {"x": np.float32("-inf")}}
    folder = tmp_path / example.NAME / "quick"
    records.write(folder, manifest=example.manifest(8, True, config=config))
    assert records.read(folder).manifest["config"] == {
        "alpha": None, "grid": [1.0, None], "inner": {"x": None, "undefined": {"x": "-inf"}},
        "undefined": {"alpha": "nan", "grid[1]": "inf"},
    }  # fmt: skip
    again = records.read(folder).manifest
    assert records.plain(again) == again


def test_plain_takes_what_experiments_have():
    assert records.plain({"a": jnp.arange(2), "b": np.bool_(True), "c": example.BETAS[:2], "d": (1, None)}) == {
        "a": [0, 1], "b": True, "c": [1.0, 2.0], "d": [1, None],
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"got set at a\.b\[0\]"):
        records.plain({"a": {"b": [{1}]}})
    with pytest.raises(ValueError, match="names as keys"):
        records.plain({1: 2})
    with pytest.raises(ValueError, match="bare list"):
        records.plain([float("nan")])


def test_find_lists_folders_and_experiments_without_any(folders):
    results, _ = folders
    (results / "empty").mkdir()
    (results / ".cache" / "x").mkdir(parents=True)
    (results / "index.html").write_text("")
    assert records.find(results) == [results / "empty", folder_of(folders)]
    assert records.find(results / "nothing") == []
    shutil.rmtree(results)
    assert records.find(results) == []


def test_another_experiments_record_is_read_from_beside(folders):
    beside = records.beside(folders[0] / "reader" / "quick", example.NAME)
    assert beside.manifest["experiment"] == example.NAME
    with pytest.raises(
        ValueError, match=rf"no record in .*full: run experiments/{example.NAME}.py full with this --out"
    ):
        records.beside(folders[0] / "reader" / "full", example.NAME)
