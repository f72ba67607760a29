"""Units of the strength comparison: what one attack did to some images of one network, as files written at once.

Only numpy and the standard library, so that it runs in a peer's environment as well as in ours.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

TOLERANCE = 1e-5
"""How far beyond eps a perturbation may reach, for rounding."""


class Unit(NamedTuple):
    """One attack by one side on the images `start` to `stop` of one network.

    side: "ours" or a peer. seed: of the network, and of the attack. norm: "linf" or "l2".
    """

    side: str
    net: str
    seed: int
    attack: str
    norm: str
    eps: float
    start: int
    stop: int

    def path(self, folder: Path) -> Path:
        """Give the unit's file."""
        name = f"{self.net}--seed-{self.seed}--{self.norm}-{self.eps:g}--{self.attack}--{self.start}-{self.stop}.npz"
        return folder / "units" / self.side / name


class Outcome(NamedTuple):
    """What came of it.

    margin: `[N]`, at the images given back, the largest other logit less the label's (towards a target: the target's
    less the largest other), so positive where the attack has what it wants. size: `[N]`, of their perturbations.
    seconds: of the attack, compilation included.
    """

    margin: np.ndarray
    size: np.ndarray
    seconds: float

    def fooled(self, eps: float) -> np.ndarray:
        """Tell where the attack succeeded inside the ball."""
        return (self.margin > 0) & (self.size <= eps + TOLERANCE)


def write(path: Path, **arrays: np.ndarray | float) -> None:
    """Write arrays as npz so that the file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read(path: Path) -> Outcome:
    """Read a unit's file."""
    with np.load(path, allow_pickle=False) as found:
        return Outcome(found["margin"], found["size"], float(found["seconds"]))


def work(path: Path, attack: Callable[[], tuple[np.ndarray, np.ndarray]]) -> None:
    """Do a unit, `attack() -> (margin, size)`, and write it."""
    started = time.perf_counter()
    margin, size = attack()
    write(path, margin=margin, size=size, seconds=time.perf_counter() - started)


def sizes(d: np.ndarray, norm: str) -> np.ndarray:
    """Give the norms of perturbations `[N, ...]`, in float64."""
    flat = np.asarray(d, np.float64).reshape(len(d), -1)
    return np.abs(flat).max(1) if norm == "linf" else np.sqrt((flat**2).sum(1))
