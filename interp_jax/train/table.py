"""The table of runs that drives the grid, resume, the rows and the report."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from interp_jax.core import checks


class Run(NamedTuple):
    """One training run. hyperparameters: numbers by name, the arguments of the factory that makes its Trainer."""

    id: str
    hyperparameters: dict[str, float]
    seed: int


def run(hyperparameters: Mapping[str, float], seed: int) -> Run:
    """Name one run after what defines it.

    >>> run({"beta": 4, "lr": 1e-4}, 3).id
    'beta=4,lr=0.0001,seed=3'
    """
    named = ",".join(f"{name}={_exact(value)}" for name, value in hyperparameters.items())
    return Run(f"{named},seed={seed}" if named else f"seed={seed}", dict(hyperparameters), seed)


def grid(hyperparameters: Mapping[str, Sequence[float]], seeds: int | Iterable[int]) -> list[Run]:
    """Cross every combination of hyperparameters with every seed, seeds outermost, so that new seeds come last.

    >>> [r.id for r in grid({"beta": [1, 4]}, seeds=2)]
    ['beta=1,seed=0', 'beta=4,seed=0', 'beta=1,seed=1', 'beta=4,seed=1']
    """
    if isinstance(seeds, int):
        checks.whole(1, seeds=seeds)
        seeds = range(seeds)
    values = list(itertools.product(*hyperparameters.values()))
    if not values:
        empty = [name for name, choices in hyperparameters.items() if not choices]
        raise ValueError(f"want at least one value of each hyperparameter, got none of {empty}")
    runs = [run(dict(zip(hyperparameters, value, strict=True)), seed) for seed in seeds for value in values]
    check_unique(runs)
    return runs


def check_unique(runs: Sequence[Run]) -> None:
    """Raise ValueError if there is no run, or two share an id."""
    ids = [r.id for r in runs]
    if not ids:
        raise ValueError("want at least one run, got an empty table")
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise ValueError(f"want runs with different ids, got {twice[:3]} more than once")


def _exact(value: float) -> str:
    """Write a number so that it reads back as itself, and a whole one without its point."""
    return repr(float(value)).removesuffix(".0")
