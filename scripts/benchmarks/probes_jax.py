"""Our side of the probes benchmark: 7 layers x 20 penalties x 5 folds x 2 targets of ridge in one call.

    .venv/bin/python scripts/benchmarks/probes_jax.py --check     # against float64 by scikit-learn's side, one layer

The floor is one product of the rows with themselves a layer, of which half is needed, `N D^2` operations: no way that
goes through moments does less. It is timed here as `gram`, a plain matrix product of twice that.
"""

import argparse
import json
import platform
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import probes_data as data
from accelerators import accelerator
from probes_sklearn import shared_grams
from worker import serve

from interp_jax.core.linalg import matmul
from interp_jax.linear import paths
from interp_jax.runs import cache


def fits(vmapped: bool) -> paths.Path:
    """Give the program of all layers at once."""
    one = partial(paths.k_fold, folds=data.FOLDS)
    if vmapped:
        return jax.jit(jax.vmap(one, (0, None, None, None)))
    return jax.jit(lambda xs, *rest: jax.lax.map(lambda x: one(x, *rest), xs))


def gram_seconds(xs: jax.Array) -> float:
    """Time the products of each layer's rows with themselves, best of five."""
    product = jax.jit(lambda xs: jax.lax.map(lambda x: matmul(x.T, x), xs))
    jax.block_until_ready(product(xs))
    best = np.inf
    for _ in range(5):
        started = time.perf_counter()
        jax.block_until_ready(product(xs))
        best = min(best, time.perf_counter() - started)
    return best


def main() -> None:
    """Serve rounds of all fits, in units of ridge fits; or compare one layer with float64."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vmap", action="store_true", help="layers side by side, and not one after another")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    cache.enable()
    xs, y, assigned = data.layers()
    given = jax.tree.map(jnp.asarray, (xs, y, data.ALPHAS, assigned))
    call = fits(options.vmap)
    if options.check:
        found = jax.tree.map(lambda leaf: np.asarray(leaf[0]), call(*given))
        want = shared_grams(xs[0].astype(np.float64), y.astype(np.float64), data.ALPHAS.astype(np.float64), assigned)
        apart = float(np.abs(found.errors / want - 1).max())
        print(json.dumps({"errors_apart_relative": apart, "converged": bool(found.fit.converged)}))
        return

    def work() -> int:
        jax.block_until_ready(call(*given))
        return data.LAYERS * len(data.ALPHAS) * data.FOLDS

    facts = {"versions": {"jax": jax.__version__, "python": platform.python_version()}, "device": accelerator()}
    operations = data.LAYERS * 2 * data.ROWS * data.DIMS**2
    serve(lambda: (work, facts | {"gram_seconds": gram_seconds(given[0]), "gram_operations": operations}))


if __name__ == "__main__":
    main()
