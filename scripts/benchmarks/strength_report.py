"""Pair the outcomes of both sides, example by example, and sum them up over seeds."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import strength_units as units
from strength_units import Outcome, Unit

from interp_jax.core import intervals

OURS = "ours"
PEERS = {
    "pgd": ("torchattacks", "foolbox"),
    "pgd-plain": ("torchattacks", "foolbox"),
    "pgd-targeted": ("torchattacks", "foolbox"),
    **dict.fromkeys(("apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square", "standard"), ("autoattack",)),
}
"""Which peers have an attack."""
CELL = ("net", "norm", "eps", "attack", "side")
MEMBERS = ("apgd-ce", "apgd-t", "fab-t", "square")
"""The attacks of the ensemble."""


def whole(folder: Path, blocks: Iterable[Unit]) -> Outcome | None:
    """Join a cell's outcomes on all blocks of images; None while one is missing."""
    paths = [unit.path(folder) for unit in blocks]
    if not all(path.exists() for path in paths):
        return None
    found = [units.read(path) for path in paths]
    joined = (np.concatenate([getattr(each, name) for each in found]) for name in ("margin", "size"))
    return Outcome(*joined, sum(each.seconds for each in found))


def pair(ours: Outcome, peer: Outcome, correct: np.ndarray, eps: float) -> dict:
    """Compare two outcomes on the same images. correct: `[N]`, those that the clean network has right.

    Accuracies in per cent of all images; only_ours, only_peer: images that fall to one side alone; close: images whose
    fate float rounding may have decided; beyond: what did not count because it lay outside the ball.
    """
    stands = [correct & ~each.fooled(eps) for each in (ours, peer)]
    accuracy = [100 * float(each.mean()) for each in stands]
    close = [(np.abs(each.margin) < 1e-4) & correct for each in (ours, peer)]
    beyond = [int(((each.margin > 0) & correct & ~each.fooled(eps)).sum()) for each in (ours, peer)]
    return {
        "ours": round(accuracy[0], 4),
        "peer": round(accuracy[1], 4),
        "difference": round(accuracy[0] - accuracy[1], 4),
        "only_ours": int((stands[1] & ~stands[0]).sum()),
        "only_peer": int((stands[0] & ~stands[1]).sum()),
        "close": [int(each.sum()) for each in close],
        "beyond": beyond,
        "seconds": [round(each.seconds, 1) for each in (ours, peer)],
    }


def summarise(rows: list[dict], cell: tuple[str, ...] = CELL) -> list[dict]:
    """Give the mean difference over seeds with Student's 95% interval, for each cell; None with one seed only.

    cell: the columns that make one. Where it has several rows of a seed their mean counts, and only seeds whose rows
    are all there.
    """
    groups: dict[tuple, dict[int, list[dict]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in cell), {}).setdefault(row["seed"], []).append(row)
    found = []
    for place, by_seed in groups.items():
        most = max(map(len, by_seed.values()))
        seeds = [some for some in by_seed.values() if len(some) == most]
        every = [row for some in seeds for row in some]
        over = intervals.student([_mean(some, "difference") for some in seeds])
        found.append(
            dict(zip(cell, place, strict=True))
            | {"seeds": len(seeds), "ours": round(_mean(every, "ours"), 4), "peer": round(_mean(every, "peer"), 4)}
            | {"difference": round(float(over.estimate), 4)}
            | {"interval": [round(float(end), 4) for end in (over.low, over.high)] if over.valid else None}
            | {"largest": max(row["difference"] for row in every)}
            | {"only_ours": sum(row["only_ours"] for row in every), "only_peer": sum(row["only_peer"] for row in every)}
        )
    return found


def _mean(rows: list[dict], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def above(ensemble: Outcome, members: Iterable[Outcome], correct: np.ndarray, eps: float) -> int:
    """Count images that stand against the ensemble and fall to one of its members alone."""
    fallen = np.zeros_like(correct)
    for member in members:
        fallen |= member.fooled(eps)
    return int((correct & ~ensemble.fooled(eps) & fallen).sum())


def table(summary: list[dict]) -> str:
    """Write the summary for a terminal."""
    lines = [f"{'network':22}{'ball':12}{'attack':14}{'peer':14}{'ours':>7}{'peer':>7}  difference (points)"]
    for row in summary:
        ends = "" if row["interval"] is None else " [{:+.2f}, {:+.2f}]".format(*row["interval"])
        ball = f"{row['norm']} {row['eps']:g}" if "eps" in row else ""
        lines.append(
            f"{row.get('net', 'all'):22}{ball:12}{row['attack']:14}{row['side']:14}{row['ours']:7.2f}{row['peer']:7.2f}"
            f"  {row['difference']:+.3f}{ends}  only ours {row['only_ours']}, only peer {row['only_peer']}"
        )
    return "\n".join(lines)
