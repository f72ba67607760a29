"""Programs that die: by SIGKILL at a chosen file operation, inside a write, by SIGTERM, on a full disk."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from interp_jax.runs import checkpoint, digest, merge
from tests.runs import toy

ORDER = {"chains": 2, "width": 64}
SAVE = 33  # file operations of one unit: bookkeeping, orbax's save, removal of the oldest, the log


@pytest.fixture(scope="module")
def finals():
    """What the plain loop gives, without a store."""
    return {f"group-{s}": digest.fingerprint(toy.after(s, toy.UNITS, 64 * (s + 1))) for s in range(2)}


def committed(root):
    return [max(checkpoint.steps(Path(root) / "chains" / f"group-{s}" / "units"), default=0) for s in range(2)]


def done(root):
    """List, for each chain, the units in the order in which they were done, redone ones again."""
    path = Path(f"{root}.ledger")
    pairs = [tuple(map(int, row.split())) for row in path.read_text().splitlines()] if path.exists() else []
    return [[index for width, index in pairs if width == 16 * (s + 1)] for s in range(2)]


def live(server, root, **order):
    """Run one life; check that it began at what was committed, and that at most one unit had been lost."""
    before, kept = done(root), committed(root)
    answer = server.run(root, **ORDER, **order)
    for old, new, units in zip(before, done(root), kept, strict=True):
        assert max(old, default=-1) + 1 - units in (0, 1)
        assert len(new) == len(old) or new[len(old)] == units
        assert new[len(old) :] == list(range(units, units + len(new) - len(old)))
    assert all(now >= then for now, then in zip(committed(root), kept, strict=True))
    return answer


def finish(server, root, finals):
    answer = live(server, root)
    assert answer["code"] == 0, answer
    assert answer["finals"] == finals
    assert not [path for path in root.rglob("*") if "tmp" in path.name or ".old" in path.name]


def test_kills_in_three_phases(server, finals, tmp_path):
    root = tmp_path / "store"
    # inside the first save; while the second life restores; between the rename of a unit and the removal of the oldest
    for unit, event in ((1, 17), (0, 9), (3, SAVE - 2)):
        assert live(server, root, unit=unit, event=event)["code"] == -9
    finish(server, root, finals)


def test_sigterm_saves_and_leaves(server, finals, tmp_path):
    root = tmp_path / "store"
    assert live(server, root, unit=2, event=12, signal="SIGTERM")["code"] == 143
    assert committed(root) == [2, 0]
    finish(server, root, finals)
    assert done(root) == [[0, 1, 2, 3]] * 2  # nothing was done twice


def test_disk_full(server, tmp_path):
    root = tmp_path / "store"
    answer = server.run(root, chains=1, width=4096, unit=2, bytes=1000, die=False)
    assert answer["code"] == 1
    assert answer["error"].startswith("SaveError: cannot save unit 2")
    assert "File too large. Units up to 1 are kept" in answer["error"]
    assert "\n" not in answer["error"]
    assert [path.name for path in (root / "chains/group-0/units").iterdir()] == ["1"]
    answer = server.run(root, chains=1, width=4096)
    assert answer["finals"] == {"group-0": digest.fingerprint(toy.after(0, toy.UNITS, 4096))}


@pytest.mark.slow
@pytest.mark.parametrize("room", [0, 8, 40, 120, 200])
def test_disk_really_full(server, tmp_path, room):
    """A file system of 1 MiB with `room` KiB left; needs the right to mount."""
    root = tmp_path / "disk" / "store"
    root.parent.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(root.parent)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount")
    try:
        ballast = root.parent / "ballast"
        ballast.write_bytes(bytes(1024 * (1024 - room)))
        answer = server.run(root, ledger=str(tmp_path / "ledger"), chains=1, width=4096)
        assert answer["code"] == 1
        assert "No space left on device" in answer["error"]
        assert answer["error"].startswith("StoreError" if room < 8 else "SaveError"), answer["error"]
        assert "\n" not in answer["error"]
        assert not list(root.rglob("*tmp*"))
        ballast.unlink()
        answer = server.run(root, ledger=str(tmp_path / "ledger"), chains=1, width=4096)
        assert answer["finals"] == {"group-0": digest.fingerprint(toy.after(0, toy.UNITS, 4096))}
    finally:
        subprocess.run(["umount", str(root.parent)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_forty_kills(server, finals, tmp_path, seed):
    draw, root, died = np.random.default_rng(seed), tmp_path / "store", 0
    while died < 5:
        unit = int(draw.integers(0, 4))
        answer = live(server, root, unit=unit, event=int(draw.integers(1, SAVE + 1 if unit else 20)))
        if answer["code"] == 0:  # all was done before its turn came: begin a new store
            assert answer["finals"] == finals
            root = root.with_name(f"{root.name}+")
        else:
            assert answer["code"] == -9
            died += 1
    finish(server, root, finals)


@pytest.mark.slow
@pytest.mark.parametrize("event", range(1, SAVE + 1))
def test_kill_at_every_operation_of_a_save(server, finals, tmp_path, event):
    root = tmp_path / "store"
    assert live(server, root, unit=3, event=event)["code"] == -9
    finish(server, root, finals)


@pytest.mark.slow
@pytest.mark.parametrize("bytes_", [0, 1, 100, 300, 1000, 5000, 12000])
def test_killed_by_the_kernel_inside_a_write(server, tmp_path, bytes_):
    root = tmp_path / "store"
    assert server.run(root, chains=1, width=4096, unit=2, bytes=bytes_, die=True)["code"] == -25
    assert server.run(root, chains=1, width=4096)["finals"] == {
        "group-0": digest.fingerprint(toy.after(0, toy.UNITS, 4096))
    }


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_sigterm_at_any_time(server, finals, tmp_path, seed):
    draw, root = np.random.default_rng(seed), tmp_path / "store"
    for _ in range(3):
        unit = int(draw.integers(0, 3))
        code = live(server, root, unit=unit, event=int(draw.integers(5, 20)), signal="SIGTERM")["code"]
        assert code in (0, 143, -15)  # the last: before the driver, while the store is opened
    finish(server, root, finals)
    assert done(root) == [[0, 1, 2, 3]] * 2


@pytest.mark.slow
def test_parts_killed_and_merged(server, finals, tmp_path):
    parts = [tmp_path / "one", tmp_path / "two"]
    for i, root in enumerate(parts, 1):
        for unit, event in ((2, 20), (0, 12), (1, 30)):
            assert server.run(root, **ORDER, part=f"{i}/2", unit=unit, event=event)["code"] == -9
        assert server.run(root, **ORDER, part=f"{i}/2")["code"] == 0
    assert merge.merge(parts, tmp_path / "all") == ["group-0", "group-1"]
    answer = server.run(tmp_path / "all", **ORDER)
    assert answer["finals"] == finals
    assert done(tmp_path / "all") == [[], []]
