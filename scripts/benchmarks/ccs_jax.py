"""Our side of the CCS benchmark: restarts of linear probes on the pairs of several layers, as one program.

.venv/bin/python scripts/benchmarks/ccs_jax.py --floor     # the arithmetic of a round, and how fast it could be
"""

import argparse
import json
import platform
import time

import jax
import jax.numpy as jnp
from accelerators import accelerator
from worker import serve

from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array
from interp_jax.probes import ccs
from interp_jax.runs import cache


def fastest(rows: int, width: int, columns: int) -> float:
    """Measure the rate of a product `[rows, width] x [width, columns]` on this device, in GFLOP/s, best of several."""
    a, b = jnp.ones((rows, width)), jnp.ones((width, columns))
    multiply = jax.jit(matmul)
    jax.block_until_ready(multiply(a, b))
    seconds = []
    for _ in range(20):
        begun = time.perf_counter()
        jax.block_until_ready(multiply(a, b))
        seconds.append(time.perf_counter() - begun)
    return 2 * rows * width * columns / min(seconds) / 1e9


def main() -> None:
    """Serve rounds of training all probes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=7)
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--epochs", type=int, default=200, help="of a round (default: %(default)s)")
    parser.add_argument("--over", choices=["vmap", "map"], default="map", help="how layers go (default: %(default)s)")
    parser.add_argument("--floor", action="store_true")
    options = parser.parse_args()
    cache.enable()
    probes = options.layers * options.restarts
    gflop = 8 * probes * options.epochs * options.pairs * options.width / 1e9  # forward and back, both statements
    work = {"gflop": gflop, "probe_epochs": probes * options.epochs}
    if options.floor:
        rate = fastest(2 * options.pairs, options.width, 1024)
        print(json.dumps(work | {"gflops_of_a_wide_product": rate, "seconds_at_that_rate": gflop / rate}))
        return
    pairs = jax.random.normal(jax.random.key(0), (options.layers, options.pairs, 2, options.width))
    keys = jax.random.split(jax.random.key(1), options.restarts)

    def of_layer(pairs: Array) -> Array:
        return jax.vmap(lambda key: ccs.fit(pairs, key, steps=options.epochs).loss)(keys)

    train = jax.jit(jax.vmap(of_layer) if options.over == "vmap" else lambda pairs: jax.lax.map(of_layer, pairs))

    def round_() -> int:
        jax.block_until_ready(train(pairs))
        return probes * options.epochs

    facts = {"versions": {"jax": jax.__version__, "python": platform.python_version()}, "floor": work}
    serve(lambda: (round_, facts | {"device": accelerator()}))


if __name__ == "__main__":
    main()
