import json

import numpy as np
import pytest

from interp_jax.runs import events


def test_lines_round_trip(tmp_path):
    log = events.Events(tmp_path / "events.jsonl")
    log.log("begin", chain="a", value=np.float32(0.5), shape=(1, 2))
    log.metrics("a", 3, {"loss": float("nan")})
    one, two = events.read(log.path).records
    assert one["kind"] == "begin"
    assert one["value"] == 0.5
    assert one["shape"] == [1, 2]
    assert two["step"] == 3
    assert np.isnan(two["loss"])
    assert all("crc" in json.loads(line) for line in log.path.read_text().splitlines())


def test_torn_last_line_is_skipped_and_left_behind(tmp_path):
    path = tmp_path / "events.jsonl"
    events.Events(path).log("one")
    whole = path.read_bytes()
    for cut in range(1, len(whole)):
        path.write_bytes(whole + whole[:cut])
        assert len(events.read(path).records) == 1 + (cut == len(whole) - 1)
        events.Events(path).log("two")
        assert events.read(path).records[-1]["kind"] == "two"


def test_a_flipped_bit_of_a_line_is_seen(tmp_path):
    path = tmp_path / "events.jsonl"
    events.Events(path).log("one", loss=0.125)
    events.Events(path).log("two", loss=0.5)
    good = events.read(path).records
    whole = path.read_bytes()
    for position in range(len(whole)):
        flipped = bytes([whole[position] ^ 1 << position % 8])
        path.write_bytes(whole[:position] + flipped + whole[position + 1 :])
        log = events.read(path)
        assert all(record in good for record in log.records)
        assert log.damaged or log.records == good


def test_sinks_get_metrics_and_missing_ones_say_so(tmp_path, monkeypatch):
    class Sink:
        got = []  # noqa: RUF012

        def log(self, step, metrics):
            self.got.append((step, dict(metrics)))

    events.Events(tmp_path / "nets" / "events.jsonl", (Sink(),)).metrics("a", 1, {"loss": 2.0})
    assert Sink.got == [(1, {"nets/a/loss": 2.0})]
    for name, make in (("tensorboardX", events.tensorboard), ("wandb", events.wandb)):
        monkeypatch.setitem(__import__("sys").modules, name, None)
        with pytest.raises(ImportError, match=f"pip install {name}"):
            make(tmp_path)


def test_full_disk_does_not_stop_the_run():
    events.Events("/proc/nowhere/events.jsonl").log("lost")


def test_time_worked_is_summed_over_programs_and_parts(tmp_path, monkeypatch):
    (tmp_path / "part").mkdir()
    clock = iter([10.0, 13.0, 100.0, 104.5, 200.0, 201.0])
    monkeypatch.setattr(events.time, "time", lambda: next(clock))
    log = events.Events(tmp_path / "events.jsonl")
    for kind in ("open", "commit", "open", "commit"):
        log.log(kind)
    for kind in ("open", "commit"):
        events.Events(tmp_path / "part" / "events-1-of-2.jsonl").log(kind)
    assert events.worked(tmp_path) == 3.0 + 4.5 + 1.0
    assert events.worked(tmp_path / "nowhere") == 0.0
