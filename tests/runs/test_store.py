import json
import os
import stat

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.runs import checkpoint, events, seal
from interp_jax.runs.chain import Steps, abstract
from interp_jax.runs.errors import CheckpointError, SaveError, StoreError
from interp_jax.runs.store import open_store
from tests.runs import toy


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store", toy.CONFIG)


@pytest.fixture
def filled(store):
    """A store whose chain 0 has units 1 and 2 on disk."""
    for units in (1, 2):
        store.commit(toy.chain(), units, toy.after(0, units))
    return store


def test_state_comes_back_bit_for_bit(filled):
    units, state = open_store(filled.root, toy.CONFIG).latest(toy.chain())
    assert units == 2
    assert toy.same(state, toy.after(0, 2))


def test_other_leaves_come_back_too(store):
    state = {
        "number": 3,
        "yes": True,
        "f": 2.5,
        "host": np.arange(3.0),
        "deep": [(None, np.int64(7) * np.ones((), int))],
    }
    chain = Steps("c", 1, lambda: state, lambda s, i: s, like=lambda: state)
    store.commit(chain, 1, state)
    _, back = store.latest(chain)
    assert jax.tree.structure(back) == jax.tree.structure(state)
    assert [type(x) for x in jax.tree.leaves(back)] == [type(x) for x in jax.tree.leaves(state)]
    np.testing.assert_array_equal(back["host"], state["host"])
    assert back["host"].dtype == np.float64
    assert (back["number"], back["yes"], back["f"]) == (3, True, 2.5)
    empty = Steps("e", 1, lambda: {"none": None}, lambda s, i: s)
    store.commit(empty, 1, {"none": None})
    assert store.latest(empty) == (1, {"none": None})


def test_two_newest_are_kept_and_described(filled):
    filled.commit(toy.chain(), 3, toy.after(0, 3))
    assert checkpoint.steps(filled.root / "chains/group-0/units") == [2, 3]
    assert filled.chains() == {"group-0": {"runs": ["run-0"]}}
    assert filled.progress() == {"group-0": (3, toy.UNITS)}
    assert filled.latest(toy.chain(seed=1)) is None


def test_other_configuration_is_refused_by_its_first_difference(store):
    other = {"lr": 0.1, "model": {"width": 8, "name": "toy"}, "new": [1]}
    with pytest.raises(
        StoreError, match=r"model.width: 4 there, 8 here; new: nothing there, \[1\] here.*another folder"
    ):
        open_store(store.root, other)
    with pytest.raises(StoreError, match=r"lr: 0.1 there, nothing here; model"):
        open_store(store.root, {})
    with pytest.raises(ValueError, match="want JSON values"):
        open_store(store.root, {"lr": float("nan")})


def test_number_and_flag_differ(tmp_path):
    open_store(tmp_path, {"a": 1})
    for value in (1.0, True, "1"):
        with pytest.raises(StoreError, match="a: 1 there"):
            open_store(tmp_path, {"a": value})


def test_foreign_and_unwritable_folders_are_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StoreError, match=r"holds other files \(thesis.tex\).*empty folder"):
        open_store(tmp_path, {})
    with pytest.raises(StoreError, match="want a folder of a file system, got gs://"):
        open_store("gs://bucket/run", {})
    for path in (tmp_path / "thesis.tex", tmp_path / "thesis.tex" / "below", "/proc/interp_jax"):
        with pytest.raises(StoreError, match=r"cannot write in .*: give a folder that can be written"):
            open_store(path, {})


@pytest.mark.skipif(os.geteuid() == 0, reason="permission bits do not bind root")
def test_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(StoreError, match="cannot write"):
        open_store(tmp_path, {})


def test_damaged_manifest_is_named(store):
    path = store.root / "manifest.json"
    good = path.read_bytes()
    for bad in (b"", good[:-9], good.replace(b"0.1", b"0.2", 1), b"[]", b"{}", b"\xff" + good):
        path.write_bytes(bad)
        with pytest.raises(StoreError, match=r"manifest.json is missing or damaged"):
            open_store(store.root, toy.CONFIG)
    later = {key: value for key, value in json.loads(good).items() if key != "seal"} | {"format": 2}
    seal.write(path, later)
    with pytest.raises(StoreError, match="has format 2, this version reads 1"):
        open_store(store.root, toy.CONFIG)


def test_other_versions_warn(store):
    path = store.root / "manifest.json"
    record = {key: value for key, value in seal.read(path).items() if key != "seal"}
    seal.write(path, record | {"versions": record["versions"] | {"jax": "0.4.1"}})
    open_store(store.root, toy.CONFIG)
    assert "jax: '0.4.1' there" in events.read(store.root / "events.jsonl").records[-1]["text"]


def test_another_chain_of_the_name_is_refused(filled):
    with pytest.raises(StoreError, match=r"another chain of this name \(length: 4 there, 9 here\)"):
        filled.latest(toy.chain(units=9))
    other = Steps("group-0", toy.UNITS, toy.begin, toy.update, {"runs": ["other"]})
    with pytest.raises(StoreError, match=r"describe\.runs"):
        filled.commit(other, 3, toy.after(0, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"w": s["w"].astype(jnp.float16)}, r"w is float32 \[4, 16\] there and float16 \[4, 16\] here"),
        (lambda s: s | {"rows": jnp.zeros(3)}, r"rows is float32 \[4\] there and float32 \[3\] here"),
        (lambda s: s | {"more": jnp.zeros(3)}, "more is nothing there"),
        (lambda s: {k: v for k, v in s.items() if k != "half"}, "half is bfloat16 .* and nothing here"),
    ],
)
def test_another_program_is_refused_not_fallen_back_from(filled, change, message):
    chain = Steps("group-0", toy.UNITS, lambda: change(toy.begin()), toy.update, {"runs": ["run-0"]})
    with pytest.raises(StoreError, match=message):
        filled.latest(chain)
    assert not filled.problems


def test_restoring_without_target_verifies_too(filled):
    flat = checkpoint.read(filled.root / "chains/group-0/units", 2, None)
    want = toy.after(0, 2)
    assert set(flat) == {"w", "half", "key", "count", "flags/0", "flags/1", "rows", "empty"}
    np.testing.assert_array_equal(flat["w"], want["w"])
    np.testing.assert_array_equal(jax.random.key_data(flat["key"]), jax.random.key_data(want["key"]))


def test_bad_units_names_and_lengths_are_refused(store):
    with pytest.raises(ValueError, match="want 1 <= units <= 4"):
        store.commit(toy.chain(), 5, toy.begin())
    for name in ("", "a/b", "..", ".a", "a b", "x" * 101):
        with pytest.raises(ValueError, match="want a chain name"):
            store.latest(Steps(name, 1, toy.begin, toy.update))


def test_a_leaf_that_cannot_be_saved_is_named(store):
    chain = Steps("c", 1, dict, toy.update)
    with pytest.raises(ValueError, match="object at a/b"):
        store.commit(chain, 1, {"a": {"b": object()}})


def test_folder_that_vanishes_while_saving(filled):
    units = filled.root / "chains/group-0/units"
    checkpoint.shutil.rmtree(units)
    units.touch()
    with pytest.raises(SaveError, match="cannot write in"):
        filled.commit(toy.chain(), 3, toy.after(0, 3))


def test_a_chain_is_claimed_once(store):
    with store.claim("a"), pytest.raises(StoreError, match="another program is at work"), store.claim("a"):
        pass
    with store.claim("a"):
        pass


def test_fall_back_sets_the_bad_unit_aside(filled):
    units = filled.root / "chains/group-0/units"
    (units / "2/record/metadata").write_text("{}")
    assert filled.latest(toy.chain())[0] == 1
    assert "unit 2" in filled.problems[0]
    assert checkpoint.steps(units) == [1, 2]  # reading removes nothing
    filled.commit(toy.chain(), 2, toy.after(0, 2))
    filled.commit(toy.chain(), 3, toy.after(0, 3))
    assert checkpoint.steps(units) == [2, 3]
    assert [path.name for path in (filled.root / "chains/group-0/damaged").iterdir()] == ["2"]
    assert toy.same(filled.latest(toy.chain())[1], toy.after(0, 3))


def test_nothing_sound_means_start_again(filled):
    for step in (1, 2):
        (filled.root / f"chains/group-0/units/{step}/record/metadata").unlink()
    assert filled.latest(toy.chain()) is None
    assert "starts again" in filled.problems[-1]


def test_no_room_on_the_device_is_not_damage(filled, monkeypatch):
    def fail(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr(checkpoint, "_arrays", fail)
    with pytest.raises(jax.errors.JaxRuntimeError):
        filled.latest(toy.chain())
    assert not filled.problems


def test_error_names_the_chain_for_direct_readers(filled):
    root = filled.root / "chains/group-0/units"
    with pytest.raises(CheckpointError, match=r"unit 7 in .*group-0"):
        checkpoint.read(root, 7, abstract(toy.begin()))
