"""Run the sides of a benchmark in interleaved rounds and write rates, and ratios with intervals, as JSON.

Each side is a process of its own that stays alive and waits while the others work. In each round every side works once,
in an order drawn anew; a ratio is taken within the round, so that what the machine does meanwhile cancels.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from scipy import stats

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

from sides import BENCHMARKS, Side  # noqa: E402


class Worker:
    """A side's process."""

    def __init__(self, side: Side) -> None:
        python = ROOT / (f".peers/{side.peer}/bin/python" if side.peer else ".venv/bin/python")
        if not python.exists():
            sys.exit(f"bench: side '{side.name}' needs a peer's environment: run  sh scripts/peers {side.peer}")
        environment = os.environ | {"PYTHONPATH": f"{ROOT}:{HERE}"}
        self.process = subprocess.Popen(
            [python, HERE / side.script, *map(str, side.arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.name, self.facts = side.name, self.answer()

    def answer(self) -> dict:
        """Read what the process says next."""
        line = self.process.stdout.readline()  # pyrefly: ignore
        if not line:
            sys.exit(f"bench: side '{self.name}' stopped with exit code {self.process.wait()}")
        return json.loads(line)

    def round(self) -> dict:
        """Let the process do one round of work."""
        self.process.stdin.write("go\n")  # pyrefly: ignore
        self.process.stdin.flush()  # pyrefly: ignore
        return self.answer()

    def close(self) -> None:
        """End the process by closing its input."""
        self.process.stdin.close()  # pyrefly: ignore
        self.process.wait()


def median_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """Give the median and the order statistics that cover it with at least `level` (the extremes when too few)."""
    ordered = np.sort(values)
    rank = int(stats.binom.ppf((1 - level) / 2, len(ordered), 0.5))
    low = max(rank - 1, 0)
    return float(np.median(ordered)), float(ordered[low]), float(ordered[-1 - low])


def device_name() -> str:
    """Name the processor as the system does."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
    return f"{names[0] if names else platform.processor()}, {len(os.sched_getaffinity(0))} cores"


def measure(name: str, sides: list[Side], rounds: int) -> dict:
    """Run one benchmark: `rounds` interleaved rounds of all its sides."""
    workers = [Worker(side) for side in sides]
    answers: dict[str, list[dict]] = {worker.name: [] for worker in workers}
    order = random.Random(0)
    for number in range(rounds):
        for worker in order.sample(workers, len(workers)):
            answers[worker.name].append(worker.round())
        print(f"{name}: round {number + 1} of {rounds}", file=sys.stderr)
    for worker in workers:
        worker.close()
    rates = {side: np.array([a["amount"] / a["seconds"] for a in got]) for side, got in answers.items()}
    first = sides[0].name
    pairs = {f"{first} / {other}": median_interval(rates[first] / rates[other]) for other in rates if other != first}
    return {
        "benchmark": name,
        "unit": f"{sides[0].unit} a second",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": next((w.facts["device"] for w in workers if w.facts.get("device")), device_name()),
        "host": device_name(),
        "rounds": rounds,
        "sides": {
            worker.name: worker.facts
            | {"median_rate": float(np.median(rates[worker.name])), "rates": rates[worker.name].round(3).tolist()}
            | {"peak_bytes": max(a["peak_bytes"] for a in answers[worker.name])}
            for worker in workers
        },
        "ratios": {pair: dict(zip(("median", "low", "high"), found, strict=True)) for pair, found in pairs.items()},
    }


def main() -> None:
    """Read the command line, measure, print a short table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=[*BENCHMARKS, "all"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--without", nargs="*", default=[], metavar="SIDE", help="sides to leave out (a missing peer)")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the JSON (default: %(default)s)")
    options = parser.parse_args()
    if options.rounds < 3:
        parser.error(f"want --rounds >= 3, got {options.rounds}")
    for name in BENCHMARKS if options.benchmark == "all" else [options.benchmark]:
        sides = [side for side in BENCHMARKS[name] if side.name not in options.without]
        found = measure(name, sides, options.rounds)
        for side, facts in found["sides"].items():
            peak = facts["peak_bytes"] / 1e6
            print(f"{name:20} {side:24} {facts['median_rate']:12.2f} {found['unit']}, peak {peak:.0f} MB")
        for pair, ratio in found["ratios"].items():
            print(f"{name:20} {pair:40} {ratio['median']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]")
        options.out.mkdir(parents=True, exist_ok=True)
        slug = "".join(c if c.isalnum() else "-" for c in found["device"].lower()).strip("-")
        (options.out / f"{name}--{slug}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
