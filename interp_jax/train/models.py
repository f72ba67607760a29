"""Measuring the trained models of several sweeps in one more sweep, of one step, that resumes as training does."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core.types import Array, PyTree
from interp_jax.runs.profile import Profile
from interp_jax.train import table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.train.table import Run
from interp_jax.train.trainer import measurement

Measure = Callable[[Array, tuple[PyTree, PyTree], Array], PyTree]
"""`(key, (params of all models, data), model) -> what is measured`; `pick` takes one model's params."""


def measured(
    measure: Measure,
    trained: Mapping[str, Sweep],
    models: Sequence[tuple[str, Run]],
    data: PyTree,
    *,
    config: dict,
    out: str | Path,
    take: Callable[[PyTree], PyTree] = lambda state: state.params,
    width: int | None = None,
    profile: Profile | None = None,
) -> PyTree:
    """Measure models of one shape, by the name of their sweep and their run: `[M, ...]` in the order of `models`.

    Args:
        measure: as `Measure`; the key is that of the model's seed. What is NaN counts as diverged, and is kept.
        trained: sweeps, by name.
        models: which, and in what order.
        data: what every measurement is given beside the params.
        config: what defines the measurement, see `sweep`: what is measured, and of which models.
        out: the folder of the store; another configuration, or other params, are refused.
        take: what is measured of a sweep's final state; the params, of states of `train.trainer`.
        width: models measured in one unit of work, which is what a kill can cost.
        profile: a trace of a few units.
    """
    params = {name: done.map(lambda state, _: take(state)) for name, done in trained.items()}
    at = {(name, run.id): i for name, done in trained.items() for i, run in enumerate(done.runs)}
    each = [jax.tree.map(lambda leaf, i=at[name, run.id]: leaf[i], params[name]) for name, run in models]
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *each)
    given = (stacked, data)
    done = sweep(
        measurement(measure, given),
        [table.run({"model": i}, run.seed) for i, (_, run) in enumerate(models)],
        given, steps=1, chunk=1, config=config, out=out, width=width, profile=profile,
    )  # fmt: skip
    return found(done)


def by_seed(
    find: Callable[[Array, PyTree], PyTree],
    seeds: int,
    data: PyTree,
    *,
    config: dict,
    out: str | Path,
    **driver: Any,
) -> Sweep:
    """Compute `find(key, data)` of each seed once and store it; `found` gives it. driver: as `sweep`'s.

    What later measurements are given must not be computed again: its last bits may differ, with the threads of LAPACK,
    and a sweep refuses other data.
    """
    return sweep(
        measurement(find, data), table.grid({}, seeds), data, steps=1, chunk=1, config=config, out=out,
        width=jax.device_count(), **driver,
    )  # fmt: skip


def found(done: Sweep) -> PyTree:
    """Give what a sweep of measurements found, `[runs, ...]` in numpy; NaN, too, which counts as diverged."""
    return done.map(lambda state, _: state.found)


def pick(params: PyTree, model: Array) -> PyTree:
    """Take one model's params of all `[M, ...]`. model: its number, a scalar, as a sweep gives hyperparameters."""
    return jax.tree.map(lambda leaf: leaf[model.astype(jnp.int32)], params)
