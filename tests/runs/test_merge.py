import shutil

import jax.numpy as jnp
import pytest

from interp_jax.runs import checkpoint, merge, progress
from interp_jax.runs.chain import Steps
from interp_jax.runs.driver import drive
from interp_jax.runs.errors import CheckpointError, StoreError
from interp_jax.runs.parts import Part
from interp_jax.runs.store import open_store
from tests.runs import toy

CHAINS = [toy.chain(seed, units=2) for seed in range(3)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two parts, done apart."""
    folder = tmp_path_factory.mktemp("parts")
    for i in (1, 2):
        part = Part(i, 2)
        store = open_store(folder / str(i), toy.CONFIG, part=part)
        drive(CHAINS, store, part=part, every_seconds=0, progress=progress.Quiet())
    return folder


@pytest.fixture
def parts(made, tmp_path):
    shutil.copytree(made, tmp_path / "parts")
    return [tmp_path / "parts" / str(i) for i in (1, 2)]


def check(root):
    """Drive the merged store: nothing is left to do, and the states are those of the plain loop."""
    store, seen = open_store(root, toy.CONFIG), []
    drive(
        CHAINS, store, finish=lambda c, s: seen.append(toy.same(s, toy.after(int(c.name[-1]), 2))),
        observe=lambda *_: pytest.fail("a unit was redone"), progress=progress.Quiet(),
    )  # fmt: skip
    assert seen == [True] * 3


def test_parts_join_once(parts, tmp_path):
    assert merge.merge(parts, tmp_path / "all") == ["group-0", "group-1", "group-2"]
    check(tmp_path / "all")
    before = sorted(tmp_path.joinpath("all").rglob("*"))
    assert merge.merge(parts, tmp_path / "all") == []
    assert sorted(tmp_path.joinpath("all").rglob("*")) == before


def test_into_one_of_the_parts(parts):
    assert merge.merge(parts, parts[0]) == ["group-1", "group-2"]
    check(parts[0])


def test_the_further_one_is_kept(parts, tmp_path):
    shutil.copytree(parts[1], tmp_path / "old")
    checkpoint.remove(tmp_path / "old/chains/group-2/units", 2)
    merge.merge([tmp_path / "old", *parts], tmp_path / "all")
    check(tmp_path / "all")


def test_an_interrupted_merge_goes_on(parts, tmp_path):
    merge.merge(parts[:1], tmp_path / "all")
    stage = tmp_path / "all/chains/group-1/merging/2"
    shutil.copytree(parts[1] / "chains/group-1/units/2/record", stage / "record")
    merge.merge(parts, tmp_path / "all")
    assert not stage.parent.exists()
    check(tmp_path / "all")


def test_damage_is_not_merged(parts, tmp_path):
    units = parts[1] / "chains/group-2/units"
    (units / "2/record/metadata").write_text("{}")
    merge.merge(parts, tmp_path / "all")
    assert checkpoint.steps(tmp_path / "all/chains/group-2/units") == [1]
    (units / "1/record/metadata").write_text("{}")
    with pytest.raises(CheckpointError, match=r"group-2: no sound unit among \[1, 2\]"):
        merge.merge(parts, tmp_path / "more")


def test_damaged_target_is_repaired(parts, tmp_path):
    merge.merge(parts, tmp_path / "all")
    (tmp_path / "all/chains/group-0/units/2/record/metadata").write_text("{}")
    assert merge.merge(parts, tmp_path / "all") == ["group-0"]
    check(tmp_path / "all")


def test_other_configurations_and_chains_are_refused(parts, tmp_path):
    open_store(tmp_path / "other", toy.CONFIG | {"lr": 1.0})
    for stores, into in (([parts[0], tmp_path / "other"], tmp_path / "all"), (parts, tmp_path / "other")):
        with pytest.raises(StoreError, match=r"different configurations \(lr: "):
            merge.merge(stores, into)
    with pytest.raises(StoreError, match=r"manifest.json is missing"):
        merge.merge([tmp_path / "none"], tmp_path / "all")
    assert not (tmp_path / "all").exists()
    store = open_store(tmp_path / "odd", toy.CONFIG)
    store.commit(Steps("group-0", 9, lambda: jnp.zeros(2), lambda s, i: s), 1, jnp.zeros(2))
    with pytest.raises(StoreError, match=r"different chains of one name \(describe.runs"):
        merge.merge(parts, tmp_path / "odd")


def test_command_line(parts, tmp_path, capsys):
    assert merge.main([str(tmp_path / "all"), *map(str, parts)]) == 0
    assert capsys.readouterr().out == '["group-0", "group-1", "group-2"]\n'
    assert merge.main([str(tmp_path / "all")]) == 2
    assert merge.main([str(tmp_path / "x"), str(tmp_path / "none")]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("usage: ")
    assert said[1].startswith("merge: error: ")
    assert len(said) == 2
