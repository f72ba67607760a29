"""What a sweep will take on this device, from a short calibration of its own program."""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks
from interp_jax.core.types import PyTree
from interp_jax.train import groups, meshes, program
from interp_jax.train.program import Make, Shape
from interp_jax.train.table import Run


class Cost(NamedTuple):
    """seconds: of a step of one run. flops, bytes: that XLA counts in it, once for each loop. width: runs in a group.

    memory: bytes on one device, of a group at its peak. compiled: seconds spent on compiling.
    """

    seconds: float
    flops: float
    bytes: float
    width: int
    memory: int
    compiled: float


def calibrate(make: Make, runs: list[Run], data: PyTree, *, steps: int = 20, precision: str = "highest") -> Cost:
    """Train as many runs as fit side by side for `2 steps`, and time the second half.

    make, data: as of `sweep`. runs: of the whole table, whose number decides the width of a group. steps: timed; 1 for
    runs of one step.
    """
    checks.whole(1, steps=steps)
    lanes = meshes.over_runs()
    placed = meshes.place(lanes, data)
    devices = lanes.devices.size
    cpu = lanes.devices.flat[0].platform == "cpu"
    names, limit = list(runs[0].hyperparameters), meshes.memory(lanes)
    width = groups.even_width(len(runs), len(runs) + devices, devices)
    while True:
        shape = Shape(width, 1 if cpu else width // devices, 2 * steps, steps, precision)
        built = program.build(make, names, placed, shape, lanes)
        if built.bytes <= limit or width == devices:
            break
        width = groups.even_width(len(runs), max(int(width * limit / built.bytes), devices), devices)
    chosen = [runs[i % len(runs)] for i in range(width)]
    hypers = {name: jnp.array([run.hyperparameters[name] for run in chosen], jnp.float32) for name in names}
    placed_hypers = meshes.place(lanes, hypers, meshes.by_run(lanes))
    seeds = meshes.place(lanes, jnp.array([run.seed for run in chosen], jnp.uint32), meshes.by_run(lanes))
    group = built.begin(placed_hypers, seeds)
    group = jax.block_until_ready(built.advance(group, placed_hypers, placed, jnp.int32(0)))
    began = time.perf_counter()
    jax.block_until_ready(built.advance(group, placed_hypers, placed, jnp.int32(1)))
    seconds = (time.perf_counter() - began) / (steps * width)
    flops, bytes_ = _counted(make, runs[0], data)
    return Cost(seconds, flops, bytes_, width, built.bytes, built.seconds)


def _counted(make: Make, run: Run, data: PyTree) -> tuple[float, float]:
    """Ask XLA for the operations and the bytes of one step of one run."""
    trainer = make(**{name: jnp.float32(value) for name, value in run.hyperparameters.items()})
    state = jax.eval_shape(trainer.init, jax.random.key(0))
    compiled = jax.jit(lambda state, data: trainer.step(state, data, jnp.int32(0))).lower(state, data).compile()
    counted = compiled.cost_analysis() or {}
    return float(counted.get("flops", np.nan)), float(counted.get("bytes accessed", np.nan))
