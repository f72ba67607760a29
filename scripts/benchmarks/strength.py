"""Compare the strength of our attacks with that of peers, per example, on the same networks, budgets and images.

    sh scripts/peers attacks                        the peers' environment, once
    sh scripts/strength digits                      three networks, Linf and L2, nine attacks
    sh scripts/strength fashion-mnist --model mlp   the ensemble on all 10,000 test images; also --model cnn

Networks are trained here, by a sweep; their weights go to PyTorch as npz, and both frameworks must give the same logits
on all test images before anything is compared. Each attack on each network is a unit whose file is written when it is
done: rerun the same command to resume. The result is one JSON file with every cell, its differences paired by example,
and means over seeds with Student's interval. A network's seed is that of the attacks on it as well.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import jax
import numpy as np

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

import strength_jax as ours  # noqa: E402
import strength_nets as nets  # noqa: E402
import strength_report as report  # noqa: E402
import strength_units as units  # noqa: E402
from harness import device_name  # noqa: E402
from strength_nets import Network, Setting  # noqa: E402
from strength_units import Unit  # noqa: E402

from interp_jax.core import checks  # noqa: E402
from interp_jax.data import images  # noqa: E402
from interp_jax.runs import cache, provenance  # noqa: E402

AGREE = 1e-4
"""How far the logits of both frameworks may differ."""
FASHION = {"data": "fashion-mnist", "balls": (("linf", 0.1),), "attacks": ("standard",), "batch": 128, "lr": 1e-3}
SETTINGS = {
    "digits": Setting(
        data="digits",
        networks=(
            Network("mlp", "mlp", None),
            Network("mlp-linf-0.1", "mlp", ("linf", 0.1)),
            Network("cnn-l2-0.75", "cnn", ("l2", 0.75)),
        ),
        balls=(("linf", 0.05), ("linf", 0.1), ("l2", 0.5), ("l2", 1.0)),
        attacks=tuple(report.PEERS), rows=597, steps=1500, chunk=500, batch=64, lr=3e-3,
    ),
    "fashion-mnist-mlp": Setting(
        **FASHION, networks=(Network("mlp-linf-0.1", "mlp", ("linf", 0.1)),), rows=2500, steps=5000, chunk=500
    ),
    "fashion-mnist-cnn": Setting(
        **FASHION, networks=(Network("wong-kolter-linf-0.1", "wong-kolter", ("linf", 0.1)),),
        rows=2500, steps=5000, chunk=250,
    ),
}  # fmt: skip


class Peers:
    """The peers' process: it answers one line at a time."""

    def __init__(self, data: Path, threads: int) -> None:
        python = ROOT / ".peers/attacks/bin/python"
        if not python.exists():
            sys.exit("strength: the peers need an environment of their own: run  sh scripts/peers attacks")
        self.process = subprocess.Popen(
            [python, HERE / "strength_torch.py", data, str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(HERE), "OMP_WAIT_POLICY": "PASSIVE"},  # no spinning beside others
        )  # fmt: skip
        self.versions = self.answer()["versions"]

    def answer(self) -> dict:
        """Read what the process says next."""
        line = self.process.stdout.readline()  # pyrefly: ignore
        if not line:
            sys.exit(f"strength: the peers' process stopped with exit code {self.process.wait()}")
        return json.loads(line)

    def ask(self, **job: object) -> None:
        """Let the process do one thing."""
        self.process.stdin.write(json.dumps(job) + "\n")  # pyrefly: ignore
        self.process.stdin.flush()  # pyrefly: ignore
        self.answer()


def claim(out: Path, setting: Setting, count: int) -> list[str]:
    """Take the folder for one setting, or refuse another's; which attacks and balls are tried may change.

    Gives the revisions of this code that have worked in the folder.
    """
    kept = {name: value for name, value in setting._asdict().items() if name not in ("attacks", "balls")}
    wanted, revision = json.loads(json.dumps({**kept, "images": count})), provenance.revision()
    path = out / "setting.json"
    found = json.loads(path.read_text()) if path.exists() else {"setting": wanted, "revisions": []}
    if found["setting"] != wanted:
        sys.exit(f"strength: {out} belongs to another setting; give --out another folder")
    revisions = [*found["revisions"], *({revision} - {None, *found["revisions"]})]
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"setting": wanted, "revisions": revisions}) + "\n")
    return revisions


def cells(setting: Setting, seeds: int) -> Iterator[tuple[Network, int, str, str, float]]:
    """Give (network, seed, attack, norm, eps), seeds outermost, so that an unfinished run has whole seeds."""
    for seed in range(seeds):
        for network in setting.networks:
            for norm, eps in setting.balls:
                for attack in setting.attacks:
                    yield network, seed, attack, norm, eps


def blocks(setting: Setting, side: str, cell: tuple[Network, int, str, str, float], count: int) -> list[Unit]:
    """Give the units of one side in a cell, one for each block of images."""
    network, seed, attack, norm, eps = cell
    starts = range(0, count, setting.rows)
    ends = [min(start + setting.rows, count) for start in starts]
    spans = zip(starts, ends, strict=True)
    return [Unit(side, network.name, seed, attack, norm, eps, *span) for span in spans]


def evaluate(setting: Setting, seeds: int, test: images.Labelled, out: Path, peers: Peers) -> None:
    """Do every unit that is not there yet."""
    networks = {network.name: network for network in setting.networks}
    every = [
        unit
        for cell in cells(setting, seeds)
        for side in (report.OURS, *report.PEERS[cell[2]])
        for unit in blocks(setting, side, cell, len(test.labels))
    ]
    left = [unit for unit in every if not unit.path(out).exists()]
    print(f"strength: {len(left)} of {len(every)} units left", file=sys.stderr)
    started = time.perf_counter()
    for number, unit in enumerate(left, len(every) - len(left) + 1):
        network, weights = networks[unit.net], _weights(out, unit.net, unit.seed)
        if unit.side == report.OURS:
            params = nets.nested(weights)

            def attack(unit: Unit = unit, network: Network = network, params: dict = params) -> tuple:
                return ours.attack(setting, network, unit, params, test)

            units.work(unit.path(out), attack)
        else:
            peers.ask(
                **unit._asdict(), architecture=network.architecture, weights=str(weights), to=str(unit.path(out)),
                steps=ours.PGD_STEPS, step_size=ours.step_size(unit.eps),
            )  # fmt: skip
        found, elapsed = units.read(unit.path(out)), time.perf_counter() - started
        print(
            f"[{number}/{len(every)}] {unit.net} seed {unit.seed} {unit.norm} {unit.eps:g} {unit.attack} "
            f"{unit.start}-{unit.stop} {unit.side}: {100 * (1 - found.fooled(unit.eps).mean()):.2f}% not fooled, "
            f"{found.seconds:.1f} s ({elapsed / 60:.1f} min in all)",
            file=sys.stderr, flush=True,
        )  # fmt: skip


def _weights(out: Path, network: str, seed: int) -> Path:
    return out / "weights" / f"{network}--seed-{seed}.npz"


def agreement(setting: Setting, seeds: int, test: images.Labelled, out: Path, peers: Peers) -> tuple[dict, dict]:
    """Compare both frameworks' logits on all test images: the largest difference, and what is right, by network.

    Raises:
        SystemExit: a network whose logits differ by more than AGREE.
    """
    differences, correct = {}, {}
    for network in setting.networks:
        for seed in range(seeds):
            weights, path = _weights(out, network.name, seed), out / "logits.npy"
            peers.ask(architecture=network.architecture, weights=str(weights), logits=str(path))
            mine = ours.logits(setting, network, nets.nested(weights), test)
            theirs = np.load(path, allow_pickle=False)
            apart = float(np.abs(mine - theirs).max())
            if not apart <= AGREE:
                sys.exit(f"strength: logits of {network.name} seed {seed} differ by {apart:.1e}, more than {AGREE:g}")
            differences[f"{network.name} seed {seed}"] = float(f"{apart:.1e}")
            correct[network.name, seed] = mine.argmax(1) == test.labels
    return differences, correct


def gather(setting: Setting, seeds: int, correct: dict, out: Path) -> tuple[list[dict], dict[str, int]]:
    """Pair all cells that both sides have done; count, by cell, images on which a member beat the ensemble."""
    rows, beaten = [], {}
    for cell in cells(setting, seeds):
        network, seed, attack, norm, eps = cell
        right = correct[network.name, seed]
        ours_ = report.whole(out, blocks(setting, report.OURS, cell, len(right)))
        if ours_ is None:
            continue
        place = {"net": network.name, "seed": seed, "norm": norm, "eps": eps, "attack": attack}
        for side in report.PEERS[attack]:
            theirs = report.whole(out, blocks(setting, side, cell, len(right)))
            if theirs is not None:
                rows.append(place | {"side": side} | report.pair(ours_, theirs, right, eps))
        if attack == "standard":
            alone = [(network, seed, member, norm, eps) for member in report.MEMBERS]
            found = [report.whole(out, blocks(setting, report.OURS, other, len(right))) for other in alone]
            known = [each for each in found if each is not None]
            if known:
                name = f"{network.name} seed {seed} {norm} {eps:g}"
                beaten[name] = report.above(ours_, known, right, eps)
    return rows, beaten


def write(path: Path, name: str, setting: Setting, facts: dict, rows: list[dict], beaten: dict[str, int]) -> None:
    """Write the JSON: a row a line, so that changes can be read. rows: their values, in the order of columns."""
    head = {
        "comparison": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device_name(),
        **facts,
        "setting": setting._asdict() | {"networks": [network._asdict() for network in setting.networks]},
        "pgd": {"steps": ours.PGD_STEPS, "step_size": "2.5 eps / steps"},
        "beaten_by_a_member": {"images": sum(beaten.values()), "cells": len(beaten)},
        "by_attack": report.summarise(rows, ("attack", "side")),
        "by_cell": report.summarise(rows),
        "columns": ", ".join(rows[0]),
        "rows": [list(row.values()) for row in rows],
    }
    lines = []
    for key, value in head.items():
        if isinstance(value, list):
            body = ",\n  ".join(json.dumps(each) for each in value)
            lines.append(f" {json.dumps(key)}: [\n  {body}\n ]")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main() -> None:
    """Read the command line, train, evaluate, pair, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", choices=["digits", "fashion-mnist"])
    parser.add_argument("--model", choices=["mlp", "cnn"], default="mlp", help="of fashion-mnist; cnn: Wong and Kolter")
    parser.add_argument("--seeds", type=int, default=5, help="of networks and attacks (default: %(default)s)")
    parser.add_argument("--images", type=int, help="only the first so many test images, for a trial")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="folder of the units (default: results/strength/SETTING)")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the JSON")
    parser.add_argument("--report", action="store_true", help="do no unit: report on those that are done")
    options = parser.parse_args()
    checks.whole(1, seeds=options.seeds, threads=options.threads)
    name = options.setting if options.setting == "digits" else f"fashion-mnist-{options.model}"
    setting, out = SETTINGS[name], options.out or ROOT / "results" / "strength" / name
    cache.enable()
    data = images.by_name(setting.data)
    test = images.Labelled(*(array[: options.images] for array in data.test))
    revisions = claim(out, setting, len(test.labels))
    for network in setting.networks:
        nets.weights(setting, network, options.seeds, data, out)
    units.write(out / "images.npz", images=test.images, labels=test.labels)
    peers = Peers(out / "images.npz", options.threads)
    apart, correct = agreement(setting, options.seeds, test, out, peers)
    if not options.report:
        evaluate(setting, options.seeds, test, out, peers)
    rows, beaten = gather(setting, options.seeds, correct, out)
    if not rows:
        sys.exit("strength: no unit is done on both sides")
    versions = {"jax": jax.__version__, "interp_jax": metadata.version("interp_jax")} | peers.versions
    clean = {f"{net} seed {seed}": round(100 * float(right.mean()), 2) for (net, seed), right in correct.items()}
    facts = {
        "git_revisions": revisions,
        "versions": versions,
        "images": len(test.labels),
        "clean": clean,
        "logits_differ_by": apart,
    }
    slug = "".join(c if c.isalnum() else "-" for c in device_name().lower()).strip("-")
    write(options.results / f"strength-{name}--{slug}.json", name, setting, facts, rows, beaten)
    print(report.table(report.summarise(rows) + report.summarise(rows, ("attack", "side"))))
    print(f"images that stand against our ensemble and fall to a member alone: {sum(beaten.values())}")


if __name__ == "__main__":
    main()
