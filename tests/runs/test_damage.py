"""Flip bits of, cut, delete every file of a store: what comes back is what was committed, and damage is named."""

import re
import shutil

import jax
import numpy as np
import pytest

from interp_jax.runs import events
from interp_jax.runs.errors import StoreError
from interp_jax.runs.store import open_store
from tests.runs import toy

# orbax leaves coroutines behind when a read fails; those that outlive our sweep are no news
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def states():
    return {units: toy.after(0, units) for units in (1, 2)}


@pytest.fixture(scope="module")
def master(tmp_path_factory, states):
    """A store whose chain 0 has units 1 and 2 on disk."""
    root = tmp_path_factory.mktemp("damage") / "store"
    store = open_store(root, toy.CONFIG)
    for units, state in states.items():
        store.commit(toy.chain(), units, state)
    store.events.log("commit", chain="group-0", units=2, loss=0.25)
    return root


def files(root):
    return sorted(path for path in root.rglob("*") if path.is_file())


def flip(path, draw):
    data = bytearray(path.read_bytes())
    if data:
        data[draw.integers(len(data))] ^= 1 << int(draw.integers(8))
    path.write_bytes(data)


def cut(path, draw):
    path.write_bytes(path.read_bytes()[: draw.integers(max(path.stat().st_size, 1))])


def delete(path, draw):
    path.unlink()


def verdict(root, path, states):
    """Open the damaged store; check all that comes back; say what was noticed."""
    log = events.read(root / "events.jsonl") if (root / "events.jsonl").exists() else None
    if path.name == "manifest.json":
        with pytest.raises(StoreError, match=r"manifest\.json"):
            open_store(root, toy.CONFIG)
        return "refused"
    store = open_store(root, toy.CONFIG)
    if path.name == "chain.json":
        with pytest.raises(StoreError, match=r"chain\.json is missing or damaged"):
            store.chains()
    else:
        assert store.chains() == {"group-0": {"runs": ["run-0"]}}
    found = store.latest(toy.chain())
    assert found is not None
    assert toy.same(found[1], states[found[0]]), f"wrong values from {path}"
    if path.name == "events.jsonl":
        assert log is None or log.damaged or len(log.records) <= 2
    if found[0] == 2:
        assert all("chain.json" in text for text in store.problems)
        return "harmless"
    assert "units/2" in str(path)
    assert re.search(r"chain group-0: unit 2 in .*(leaf [a-z]|units/2/(state|record))", store.problems[0]), (
        store.problems
    )
    assert "\n" not in store.problems[0]
    return "named"


def strike(root, master, path, act, draw, states):
    if root.exists():
        shutil.rmtree(root)
    shutil.copytree(master, root)
    target = root / path.relative_to(master)
    act(target, draw)
    return verdict(root, target, states)


def sample(master, count, draw):
    """Draw files so that each one is struck, and those that a restore of the newest unit reads most."""
    everything, read = files(master), ("units/2/state/d/", "units/2/state/manifest", "2/state/_METADATA", "2/record/m")
    used = [path for path in everything if any(word in str(path) for word in read)]
    return everything + [used[draw.integers(len(used))] for _ in range(count - len(everything))]


@pytest.mark.parametrize("act", [flip, cut, delete])
def test_damage_to_some_files(master, states, tmp_path, act):
    draw = np.random.default_rng(0)
    units2 = [path for path in files(master) if "units/1" not in str(path)]
    for path in draw.permutation(np.asarray(units2, object))[:7]:
        strike(tmp_path / "store", master, path, act, draw, states)


def test_every_file_of_a_value_is_watched(master, states, tmp_path):
    """A flip in the middle of each large data file of the newest unit is noticed and named."""
    draw = np.random.default_rng(1)
    large = [path for path in files(master) if "units/2" in str(path) and "state/d/" in str(path)]
    assert large
    for path in large:
        seen = {strike(tmp_path / "store", master, path, flip, draw, states) for _ in range(4)}
        assert "named" in seen


@pytest.mark.slow
@pytest.mark.parametrize(("act", "count"), [(flip, 200), (cut, 80), (delete, 0)])
def test_damage_to_every_file(master, states, tmp_path, act, count):
    draw = np.random.default_rng(2)
    tally = {}
    for path in sample(master, count, draw):
        outcome = strike(tmp_path / "store", master, path, act, draw, states)
        tally[outcome] = tally.get(outcome, 0) + 1
    print(act.__name__, tally)  # noqa: T201
    assert tally["named"] >= 4


@pytest.mark.slow
def test_damage_to_both_units_starts_again(master, states, tmp_path):
    draw = np.random.default_rng(3)
    root = tmp_path / "store"
    for _ in range(20):
        if root.exists():
            shutil.rmtree(root)
        shutil.copytree(master, root)
        for step in (1, 2):
            for path in files(root / f"chains/group-0/units/{step}"):
                flip(path, draw)
        store = open_store(root, toy.CONFIG)
        found = store.latest(toy.chain())
        assert found is None or toy.same(found[1], states[found[0]])
        store.commit(toy.chain(), 1, states[1])
        assert toy.same(jax.device_get(store.latest(toy.chain())[1]["w"]), jax.device_get(states[1]["w"]))
