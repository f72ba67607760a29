"""Capture features of texts that a hand can reckon, in processes of their own: on many devices, and until a death.

`python -m tests.runs.capturing ROOT SPEC DEVICES BY_TOKEN WRITE MODE` captures; it dies at write number WRITE (0 for
never), before, inside or after it.
"""

import os
import resource
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.runs import arrays, distributed, progress
from interp_jax.runs.capture import TEXTS, capture

COUNT, GROUP, LAYERS, D = 42, 8, 3, 4
UNITS = 6
MODES = ("before", "inside", "after")


def rows():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 11, n).tolist() for n in rng.integers(1, 13, COUNT)]


def params():
    rng = np.random.default_rng(1)
    return rng.standard_normal((LAYERS, 11, D)).astype(np.float32)


def states(table, text):
    """Layer l of a token is its row of table l, times the mean of the text's row of table 0."""
    found = table[:, text.ids]
    mean = (found[0] * text.mask[:, None]).sum(0) / text.mask.sum()
    return found * mean[None, None]


def pooled(table, text):
    found = states(table, text) * text.mask[None, :, None]
    return {"sum": found.sum(1), "width": found.sum(0).max(1).max()[None]}


def by_token(table, text):
    return {"states": jnp.swapaxes(states(table, text), 0, 1)}


def store(root, *, tokens=False, **options):
    """Capture, committed unit by unit."""
    features = by_token if tokens else pooled
    return capture(features, params(), rows(), root, **{"by_token": tokens, "group": GROUP, "lengths": 3, "tokens": 24,
        "every_seconds": 0, "progress": progress.Quiet()} | options)  # fmt: skip


def want():
    """The states of each text, `[T, LAYERS, D]`, in numpy."""
    table = params()
    return [np.swapaxes(table[:, row] * table[0, row].mean(0), 0, 1) for row in rows()]


def deadly(write, mode):
    """Make `StoredArray.write` die at its `write`-th call."""
    plain, seen = arrays.StoredArray.write, []

    def instead(self, *args, **options):
        seen.append(1)
        now = len(seen) == write
        if now and mode == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if now and mode == "inside":
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20, resource.RLIM_INFINITY))
        plain(self, *args, **options)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)

    arrays.StoredArray.write = instead


def main(root, spec, devices, tokens, write, mode):
    distributed.initialize(spec)
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((int(devices),), (TEXTS,), axis_types=auto) if int(devices) > 1 else None
    deadly(int(write), mode)
    store(root, tokens=tokens == "True", mesh=mesh)


if __name__ == "__main__":
    main(*sys.argv[1:])
