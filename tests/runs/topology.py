"""Drive a sharded toy chain: `python -m tests.runs.topology ROOT SPEC UNITS [SIGNAL]`; the last line printed is JSON.

All arithmetic is exact, so that every topology must give the same bits. With SIGNAL the last process tells itself to
stop in that unit.
"""

import json
import os
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.runs import digest, distributed, progress
from interp_jax.runs.chain import Steps
from interp_jax.runs.driver import drive
from interp_jax.runs.errors import StoreError
from interp_jax.runs.store import open_store

RUNS, UNITS = 8, 4


def chain(devices, step=None):
    """A chain whose run axis is sharded over `devices`."""
    mesh = jax.make_mesh((len(devices),), ("runs",), devices=devices, axis_types=(jax.sharding.AxisType.Auto,))
    by_run = jax.sharding.NamedSharding(mesh, jax.P("runs"))
    everywhere = jax.sharding.NamedSharding(mesh, jax.P())
    columns = jax.sharding.NamedSharding(mesh, jax.P(None, "runs"))

    def begin():
        return {
            "w": jnp.arange(RUNS * 6, dtype=jnp.float32).reshape(RUNS, 6),
            "across": jnp.arange(3 * RUNS, dtype=jnp.int8).reshape(3, RUNS),
            "key": jax.vmap(jax.random.key)(jnp.arange(RUNS)),
            "step": jnp.zeros((), jnp.int32),
            "none": None,
            "empty": jnp.zeros((0, 2)),
        }

    def update(state, index):
        fold = jax.vmap(jax.random.fold_in, (0, None))
        w = state["w"] * 2 + index
        return state | {
            "w": w,
            "across": state["across"] + 1,
            "step": state["step"] + 1,
            "key": fold(state["key"], index),
        }

    where = {"w": by_run, "across": columns, "key": by_run, "step": everywhere, "none": None, "empty": everywhere}
    start = jax.jit(begin, out_shardings=where)
    advance = jax.jit(update, out_shardings=where)

    def like():
        placed = lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)  # noqa: E731
        return jax.tree.map(placed, jax.eval_shape(begin), where)

    def unit(state, index):
        return advance(state, np.int32(index)) if step is None else step(advance, state, index)

    return Steps("sharded", UNITS, start, unit, like=like)


def main(root, spec, units, at=None):
    distributed.initialize(spec)
    last = jax.process_index() == jax.process_count() - 1

    def step(advance, state, index):
        if at is not None and index == int(at) and last:
            os.kill(os.getpid(), signal.SIGTERM)
        return advance(state, np.int32(index))

    try:
        store, made = open_store(root, {}), chain(jax.devices(), step)
    except StoreError as error:
        sys.stdout.write(json.dumps({"error": f"StoreError: {error}"}) + "\n")
        return
    answer = {"devices": jax.device_count(), "read": {}}
    for count in (1, 4, 8) if jax.process_count() == 1 else ():
        done, state = store.latest(chain(jax.devices()[:count]))
        answer["read"][count] = [done, digest.fingerprints(state)]
    seen = []

    def observe(_, done, state):
        seen.append((done, digest.fingerprints(state)))

    code = 0
    try:
        drive([made], store, every_seconds=0, progress=progress.Quiet(), observe=observe,
              stop=lambda: len(seen) == int(units))  # fmt: skip
    except SystemExit as end:
        code = end.code
    sys.stdout.write(json.dumps(answer | {"seen": seen, "problems": store.problems}) + "\n")
    sys.stdout.flush()
    sys.exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
