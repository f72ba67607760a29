"""Store the kernel of a small net in processes of their own: on many devices, and until a chosen death.

`python -m tests.ntk.storing ROOT SPEC MESH` stores on a mesh such as 2x4, "1x1" for none; it prints the SHA-256 of the
kernel's bytes. `work` is what `tests.runs.server` runs in a child.
"""

import hashlib
import os
import resource
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.ntk import kernels, stored
from interp_jax.runs import arrays, distributed, progress

COUNT, TILE = 22, 4
TILES, WRITES = 21, 36  # the upper triangle of 6 x 6 blocks; off the diagonal a tile is written twice
MODES = ("before", "inside", "after")


def apply(params, x):
    return jnp.tanh(x @ params["w"] + params["b"]) @ params["v"]


def problem():
    rng = np.random.default_rng(0)
    shapes = {"w": (5, 16), "b": (16,), "v": (16, 2)}
    params = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return apply, params, rng.standard_normal((COUNT, 5)).astype(np.float32)


def store(root, mesh=None, **options):
    """Store the whole kernel, committed tile by tile."""
    return stored.gram_to_store(
        *problem(), root, kernel=kernels.empirical, tile=TILE, mesh=mesh, every_seconds=0, progress=progress.Quiet(),
        **options,
    )  # fmt: skip


def fingerprint(found):
    return hashlib.sha256(found.array.read([(0, n) for n in found.array.shape]).tobytes()).hexdigest()


def work(order):
    """Store in `order["root"]`; die at write number `order["write"]`: before it, inside it, after it."""
    write, seen = arrays.StoredArray.write, []

    def deadly(self, *args, **options):
        seen.append(1)
        now = len(seen) == order.get("write", 0)
        if now and order["mode"] == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if now and order["mode"] == "inside":
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (order["bytes"], resource.RLIM_INFINITY))
        write(self, *args, **options)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)

    arrays.StoredArray.write = deadly
    return {"kernel": fingerprint(store(order["root"])), "writes": len(seen)}


def main(root, spec, mesh):
    distributed.initialize(spec)
    shape = tuple(map(int, mesh.split("x")))
    auto = (jax.sharding.AxisType.Auto,) * 2
    made = None if shape == (1, 1) else jax.make_mesh(shape, ("rows", "columns"), axis_types=auto)
    sys.stdout.write(fingerprint(store(root, made)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
