"""A store written by two processes is read by one with 1, 4 and 8 devices, and the other way round."""

import json
import socket
import subprocess
import sys

import jax
import pytest

from interp_jax.core import hosts
from interp_jax.runs import agree, digest, progress
from interp_jax.runs.driver import drive
from interp_jax.runs.errors import StoreError
from interp_jax.runs.store import open_store
from tests import processes
from tests.runs import topology


def launch(root, count, devices, *words):
    """Run `tests.runs.topology` in `count` processes; give each one's exit code and answer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    specs = [f"127.0.0.1:{port},{count},{i}" for i in range(count)] if count > 1 else ["off"]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.runs.topology", str(root), spec, *map(str, words)], cwd=processes.ROOT,
            env=processes.environment(devices), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for spec in specs
    ]  # fmt: skip
    ended = [(process, *process.communicate(timeout=120)) for process in started]
    for process, out, errors in ended:
        assert out.strip(), f"exit {process.returncode}\n{errors[-3000:]}"
    return [(process.returncode, json.loads(out.splitlines()[-1])) for process, out, _ in ended]


def expected(units):
    """Give the fingerprints on one device, by the plain loop."""
    made = topology.chain(jax.devices())
    state = made.start()
    for index in range(units):
        state = made.advance(state, index)
    return digest.fingerprints(state)


def test_two_processes_and_1_4_8_devices(tmp_path):
    root = tmp_path / "store"
    # one of two processes is told to stop in its second unit: both leave, with that unit committed
    for code, answer in launch(root, 2, 2, 9, 1):
        assert code == 143
        assert answer["seen"] == [[1, expected(1)], [2, expected(2)]]
    [(code, answer)] = launch(root, 1, 8, 1)
    assert code == 0
    assert answer["devices"] == 8
    assert answer["read"] == {str(count): [2, expected(2)] for count in (1, 4, 8)}
    assert answer["seen"] == [[3, expected(3)]]
    done, state = open_store(root, {}).latest(topology.chain(jax.devices()))
    assert (done, digest.fingerprints(state)) == (3, expected(3))


@pytest.mark.slow
def test_two_processes_agree_on_the_unit_to_fall_back_to(tmp_path):
    root = tmp_path / "store"
    store, made = open_store(root, {}), topology.chain(jax.devices())
    drive([made], store, every_seconds=0, progress=progress.Quiet())
    for path in (root / "chains/sharded/units/4/state/d").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    for code, answer in launch(root, 2, 4, 9):
        assert code == 0
        assert answer["seen"] == [[4, expected(4)]]
        assert "unit 4" in answer["problems"][0]


def test_agreement_of_one_is_free():
    assert agree.first(lambda: "text") == "text"
    assert agree.share("text") == "text"
    assert hosts.trouble("") == ""
    with pytest.raises(StoreError, match="no"):
        agree.first(fail)


def fail():
    raise StoreError("no")


@pytest.mark.slow
def test_what_process_0_cannot_open_no_process_opens(tmp_path):
    (tmp_path / "thesis.tex").touch()
    ended = launch(tmp_path, 2, 1, 1)
    assert [answer["error"][:10] for _, answer in ended] == ["StoreError"] * 2
    assert all("thesis.tex" in answer["error"] for _, answer in ended)
