"""The event log: one JSON record a line, appended and flushed, each with a checksum; and sinks for metrics.

A process that is killed leaves at most one torn line, which readers skip and count; the next writer starts a line of
its own. The checksum makes a flipped bit in a logged number visible.
"""

import json
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol


class Sink(Protocol):
    """Where metrics go besides the log."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the metrics of one step."""
        ...


class Log(NamedTuple):
    """records: dicts with `time` (seconds since 1970), `kind`, fields. damaged: numbers, from 1, of lines not read."""

    records: list[dict]
    damaged: list[int]


class Events:
    """An append-only log. With `path=None` (other processes than the first) it keeps nothing.

    >>> Events(None).log("start", chain="a")
    """

    def __init__(self, path: Path | None, sinks: tuple[Sink, ...] = ()) -> None:
        self.path, self.sinks = path, sinks

    def log(self, kind: str, **fields: Any) -> None:
        """Append one record; a full disk must not stop what is logged, so an OSError here is swallowed."""
        if self.path is None:
            return
        body = _body({"time": round(time.time(), 3), "kind": kind} | fields)
        line = f'{body[:-1]}, "crc": {zlib.crc32(body.encode())}}}\n'
        try:
            with open(self.path, "a+b") as file:
                if file.tell() and (file.seek(-1, 2), file.read(1))[1] != b"\n":
                    line = "\n" + line
                file.write(line.encode())
        except OSError:
            pass

    def metrics(self, chain: str, step: int, metrics: Mapping[str, float]) -> None:
        """Append the metrics of a step, and hand them to the sinks, named by the log's folder and the chain."""
        if self.path is None:
            return
        self.log("metrics", chain=chain, step=step, **metrics)
        named = {f"{self.path.parent.name}/{chain}/{name}": value for name, value in metrics.items()}
        for sink in self.sinks:
            sink.log(step, named)


def read(path: Path) -> Log:
    """Read a log; torn or damaged lines are skipped and listed.

    A record is a promise about its own line only: after a kill, units are redone and logged again.
    """
    records, damaged = [], []
    for number, line in enumerate(Path(path).read_bytes().split(b"\n"), 1):
        if not line:
            continue
        try:
            record = json.loads(line)
            crc = record.pop("crc")
            if crc != zlib.crc32(_body(record).encode()):
                raise ValueError("crc")
            records.append(record)
        except (ValueError, KeyError, TypeError, AttributeError):
            damaged.append(number)
    return Log(records, damaged)


def worked(folder: Path) -> float:
    """Give the seconds that programs have worked on a store, by its logs: each from its `open` to its last record."""
    total = 0.0
    for path in Path(folder).rglob("events*.jsonl"):
        last = float("inf")
        for record in read(path).records:
            total += 0.0 if record["kind"] == "open" else max(record["time"] - last, 0.0)
            last = record["time"]
    return total


def _body(record: dict) -> str:
    return json.dumps(record, default=lambda value: value.item() if hasattr(value, "item") else str(value))


def tensorboard(folder: Path) -> Sink:
    """Make a sink that writes TensorBoard files.

    Raises:
        ImportError: tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter  # pyrefly: ignore
    except ImportError:
        raise ImportError("the TensorBoard sink needs tensorboardX: pip install tensorboardX") from None

    class TensorBoard:
        writer = SummaryWriter(str(folder))

        def log(self, step: int, metrics: Mapping[str, float]) -> None:
            for name, value in metrics.items():
                self.writer.add_scalar(name, value, step)
            self.writer.flush()

    return TensorBoard()


def wandb(project: str, **settings: Any) -> Sink:
    """Make a sink that sends metrics to Weights & Biases; `settings` go to `wandb.init`.

    The step is sent as a metric, for the client refuses steps that fall, as they do where one chain follows another.

    Raises:
        ImportError: wandb is not installed.
    """
    try:
        import wandb as client  # pyrefly: ignore
    except ImportError:
        raise ImportError("the W&B sink needs wandb: pip install wandb") from None

    class WandB:
        run = client.init(project=project, **settings)

        def log(self, step: int, metrics: Mapping[str, float]) -> None:
            self.run.log({"step": step, **metrics})

    return WandB()
