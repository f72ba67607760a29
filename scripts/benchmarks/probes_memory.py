"""Ridge by folds over 2 million rows of 1,024 activations on disk, and the memory it takes.

    .venv/bin/python scripts/benchmarks/probes_memory.py --work DIR     # writes 4.1 GB of float16 there, and removes it

Activations have a decaying spectrum and some large directions, as those of networks have; they are made and written
block by block by a process of its own, so that the highest resident memory is that of the fit alone. Checked against
float64 moments of a part of the rows, taken by numpy afterwards. Writes `results/probes_memory--*.json`.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from harness import device_name

from interp_jax.core.types import Numpy
from interp_jax.linear import paths, streaming
from interp_jax.runs import provenance

TARGETS, FOLDS = 2, 5
ALPHAS = np.geomspace(1e-2, 1e3, 20)
"""In units of the mean eigenvalue of the features' moments."""


def write(path: Path, rows: int, dims: int, block: int) -> None:
    """Write rows `[x, y]` of float16 one after the other, without a header."""
    rng = np.random.default_rng(0)
    mix = np.linalg.qr(rng.standard_normal((dims, dims)))[0] * np.arange(1, dims + 1) ** -0.5
    mix[:, :3] *= 20
    mix = (mix @ np.linalg.qr(rng.standard_normal((dims, dims)))[0]).astype(np.float32)
    true = rng.standard_normal((dims, TARGETS)).astype(np.float32)
    with path.open("wb") as file:
        for at in range(0, rows, block):
            z = rng.standard_normal((min(block, rows - at), dims), np.float32)
            y = z @ true / dims**0.5 + rng.standard_normal((len(z), TARGETS), np.float32)
            np.concatenate([z @ mix + 0.5, y], 1).astype(np.float16).tofile(file)


def read(path: Path, dims: int, block: int, rows: int | None = None) -> Iterator[tuple[Numpy, Numpy, Numpy]]:
    """Read blocks of x, y and folds: row i is in fold `i * 2654435761 mod 2^32 mod 5`."""
    width, at = dims + TARGETS, 0
    with path.open("rb") as file:
        while (block := min(block, (rows or sys.maxsize) - at)) > 0:
            flat = np.fromfile(file, np.float16, block * width)
            if not flat.size:
                return
            both = flat.reshape(-1, width)
            folds = np.arange(at, at + len(both), dtype=np.uint64) * 2654435761 % 2**32 % FOLDS
            yield both[:, :dims], both[:, dims:], folds.astype(np.int32)
            at += len(both)


def sample(path: Path, rows: int, dims: int, count: int) -> Numpy:
    """Read `count` rows at equal distances."""
    width, found = dims + TARGETS, []
    with path.open("rb") as file:
        for i in np.linspace(0, rows - 1, count).astype(int):
            file.seek(int(i) * width * 2)
            found.append(np.fromfile(file, np.float16, width))
    return np.stack(found).astype(np.float32)


def fit(path: Path, rows: int, dims: int, block: int, chunk: int) -> paths.Path:
    """Fit the path from disk."""
    few = jnp.asarray(sample(path, rows, dims, 4096))
    frame = jax.jit(streaming.make_frame)(few[:, :dims], few[:, dims:])
    parts = streaming.gather(read(path, dims, block, rows), frame, FOLDS, chunk=chunk)
    scale = jnp.sum(jnp.trace(parts.square, axis1=1, axis2=2)) / dims
    find = jax.jit(paths.from_moments)
    return jax.block_until_ready(find(parts, frame, scale * jnp.asarray(ALPHAS, jnp.float32)))


def check(path: Path, rows: int, dims: int, block: int) -> dict:
    """Hold the path of the first rows against float64: predictions in standard deviations, held-out errors."""
    found = fit(path, rows, dims, block, 8192)
    x, y, fold = (np.concatenate(parts) for parts in zip(*read(path, dims, block, rows), strict=True))
    x, y = x.astype(np.float64), y.astype(np.float64)
    apart, off = 0.0, 0.0
    for out in range(FOLDS):
        kept = fold != out
        middle, level = x[kept].mean(0), y[kept].mean(0)
        values, axes = np.linalg.eigh((x[kept] - middle).T @ (x[kept] - middle))
        cross = axes.T @ ((x[kept] - middle).T @ (y[kept] - level))
        for i, alpha in enumerate(np.asarray(found.alphas, np.float64)):
            guess = (x[~kept] - middle) @ (axes @ (cross / (values + alpha)[:, None])) + level
            off = max(off, np.abs(found.errors[i, out] / ((guess - y[~kept]) ** 2).mean(0) - 1).max())
            for k in np.flatnonzero(np.asarray(found.alpha) == found.alphas[i]):
                one = jax.tree.map(lambda leaf, out=out: np.asarray(leaf[out], np.float64), found.without)
                ours = (x[~kept] - one.centre) @ one.weight[:, k] + one.level[k]
                apart = max(apart, np.abs(ours - guess[:, k]).max() / guess[:, k].std())
    return {"rows": rows, "predictions_apart_in_sd": float(apart), "errors_apart_relative": float(off)}


def main() -> None:
    """Write the file, fit, check, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--dims", type=int, default=1024)
    parser.add_argument("--block", type=int, default=8192)
    parser.add_argument("--only", choices=["write"], help="used by the script itself")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="(default: %(default)s)")
    options = parser.parse_args()
    size = options.rows, options.dims, options.block
    options.work.mkdir(parents=True, exist_ok=True)
    path = options.work / "activations.f16"
    if options.only:
        write(path, *size)
        return
    subprocess.run([sys.executable, __file__, *sys.argv[1:], "--only", "write"], check=True)
    try:
        started = time.perf_counter()
        found = fit(path, *size, 8192)
        seconds, cpu = time.perf_counter() - started, time.process_time()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        row = {
            "date": provenance.now(), "device": device_name(), "versions": provenance.versions(),
            "rows": options.rows, "dims": options.dims, "folds": FOLDS, "penalties": len(ALPHAS), "targets": TARGETS,
            "file_bytes": path.stat().st_size, "seconds": seconds, "cpu_seconds": cpu, "peak_bytes": peak,
            "peak_gib": peak / 2**30, "r2": np.max(found.r2, 0).round(5).tolist(),
            "converged": bool(found.fit.converged & found.without.converged.all()),
        }  # fmt: skip
        row["check"] = check(path, min(40_000, options.rows), options.dims, options.block)
    finally:
        path.unlink()
    slug = "".join(c if c.isalnum() else "-" for c in device_name().lower()).strip("-")
    (options.out / f"probes_memory--{slug}.json").write_text(json.dumps(row, indent=1) + "\n")
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
