"""What a small machine can do: a kernel larger than its memory on disk, and a ridge solve that forms no kernel.

    .venv/bin/python scripts/benchmarks/ntk_scale.py store   # trace kernel of 20,000 images, 1.6 GB, to disk
    .venv/bin/python scripts/benchmarks/ntk_scale.py ridge   # 10,000 images, 10 classes: 100,000 unknowns
    .venv/bin/python scripts/benchmarks/ntk_scale.py memory  # what `ntk.plan` says beside what the process takes

Images are Fashion-MNIST (`sh scripts/data fashion-mnist` fetches it), the net is 784-64-10 at its first weights. Each
writes `results/ntk_scale_*.json`: seconds, the highest resident memory of the process, and how it was checked.
"""

import argparse
import ctypes
import gc
import json
import resource
import tempfile
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from accelerators import accelerator
from harness import device_name
from ntk_models import CASES

from interp_jax.core.types import Array, PyTree
from interp_jax.data import images
from interp_jax.models.nets import MLP, functional
from interp_jax.ntk import kernels, operators, plan, solvers, stored

NET = functional(MLP((64, 10)), jnp.zeros((28, 28, 1)))
RIDGE, TOLERANCE, RANK = 0.1, 1e-4, 200
"""The ridge in units of the mean of the kernel's diagonal; the residual asked for; the preconditioner's rank."""


def store(count: int, tile: int, folder: Path) -> dict:
    """Store a trace kernel; compare a corner of it with the kernel in memory."""
    params, xs = NET.init(jax.random.key(0)), images.by_name("fashion-mnist").train.images[:count]
    started = time.perf_counter()
    found = stored.gram_to_store(NET.apply, params, xs, folder / "kernel", tile=tile)
    seconds, peak = time.perf_counter() - started, resident()
    assert found is not None
    last = xs[-50:]
    want = jax.jit(partial(kernels.trace, NET.apply))(params, last)
    apart = np.abs(found.rows(count - 50, count)[:, -50:] - want).max() / np.abs(want).max()
    return {"count": count, "tile": tile, "seconds": seconds, "peak_bytes": peak, "apart": float(apart)}


def ridge(count: int, batch: int) -> dict:
    """Fit one-hot labels by kernel ridge regression; check the solver where the dense solve can be had too."""
    params, train = NET.init(jax.random.key(0)), images.by_name("fashion-mnist").train
    test = images.by_name("fashion-mnist").test
    few = 200
    kernel = jax.jit(partial(kernels.empirical, NET.apply))(params, jnp.asarray(train.images[:few]))
    matrix = np.asarray(operators.flatten(kernel), np.float64)
    shift = RIDGE * matrix.diagonal().mean()
    targets = np.eye(10, dtype=np.float32)[train.labels]
    want = np.linalg.solve(matrix + shift * np.eye(len(matrix)), targets[:few].ravel())
    small = solve(params, jnp.asarray(train.images[:few]), jnp.asarray(targets[:few].ravel()), shift, few)
    started = time.perf_counter()
    found = solve(params, jnp.asarray(train.images[:count]), jnp.asarray(targets[:count].ravel()), shift, batch)
    found = jax.block_until_ready(found)
    seconds, peak = time.perf_counter() - started, resident()

    @jax.jit
    def predict(xs: Array, x: Array) -> Array:
        cross = operators.operator(NET.apply, params, xs, jnp.asarray(train.images[:count]), batch_size=batch)
        return (cross @ x).reshape(-1, 10).argmax(1)

    accuracy = np.mean(np.asarray(predict(jnp.asarray(test.images[:2000]), found.x)) == test.labels[:2000])
    return {
        "count": count, "unknowns": found.x.size, "ridge": float(shift), "seconds": seconds, "peak_bytes": peak,
        "iterations": int(found.iterations), "residual": float(found.residual), "converged": bool(found.converged),
        "test_accuracy": float(accuracy), "small_unknowns": few * 10, "small_iterations": int(small.iterations),
        "small_apart": float(np.linalg.norm(small.x - want) / np.linalg.norm(want)),
    }  # fmt: skip


@partial(jax.jit, static_argnums=4)
def solve(params: PyTree, xs: Array, b: Array, shift: Array, batch: int) -> solvers.Solution:
    """Solve with the preconditioner of a sketch; the kernel is never formed."""
    kernel = operators.operator(NET.apply, params, xs, batch_size=batch)
    sketch = solvers.nystrom(kernel, jax.random.key(1), RANK)
    return solvers.conjugate_gradients(
        kernel, b, ridge=shift, precondition=sketch.inverse(shift), tolerance=TOLERANCE, steps=2000
    )


def memory() -> dict:
    """Compare the bytes of `plan` with the growth of the process in a second run (Linux; the first loads code too)."""
    found = {}
    for name, count in (("fcn", 500), ("cnn", 64), ("resnet", 32), ("transformer", 16)):
        case = CASES[name](count)
        apply = lambda params, x, case=case: case.apply(params, x[None])[0]  # noqa: E731
        params, xs = jax.tree.map(jnp.asarray, case.params), jnp.asarray(case.xs)
        planned = plan.plan(apply, params, xs).bytes
        compiled = jax.jit(partial(kernels.empirical, apply)).lower(params, xs).compile()
        jax.block_until_ready(compiled(params, xs))
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
        before = status("VmRSS")
        jax.block_until_ready(compiled(params, xs))
        grown = status("VmHWM") - before + sum(leaf.nbytes for leaf in jax.tree.leaves((params, xs)))
        found[f"{name}_{count}"] = {"planned_bytes": planned, "measured_bytes": grown, "ratio": grown / planned}
    return found


def status(field: str) -> int:
    """Read a field of this process's status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def resident() -> int:
    """Give the highest resident memory so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["store", "ridge", "memory"])
    parser.add_argument("--count", type=int, help="images (default: 20000, 10000)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="(default: %(default)s)")
    options = parser.parse_args()
    if options.what == "store":
        with tempfile.TemporaryDirectory() as folder:
            found = store(options.count or 20_000, 1000, Path(folder))
    elif options.what == "memory":
        found = memory()
    else:
        found = ridge(options.count or 10_000, 1000)
    device = accelerator() or device_name()
    found = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "device": device, "jax": jax.__version__, **found}
    text = json.dumps(found, indent=1)
    slug = "".join(c if c.isalnum() else "-" for c in device.lower()).strip("-")
    (options.out / f"ntk_scale_{options.what}--{slug}.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
