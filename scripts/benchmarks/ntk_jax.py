"""A side of the kernel benchmarks: ours, `jax.jacrev` and a contraction, or neural-tangents, a whole kernel at a time.

It runs in our environment and in that of the peer, so it imports of either only what its method needs.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from accelerators import accelerator
from ntk_models import CASES, Case
from worker import serve

Kernel = Callable[[Any, Any], jax.Array]
ROUND = 0.5
"""Seconds of a round, or one kernel if that takes longer."""


def structured(case: Case) -> Kernel:
    """Ours, of one example at a time."""
    from interp_jax.ntk import kernels

    return lambda params, xs: kernels.empirical(lambda params, x: case.apply(params, x[None])[0], params, xs)


def contraction(case: Case) -> Kernel:
    """What one writes without a library: each example's Jacobian, contracted leaf by leaf."""

    def kernel(params: Any, xs: jax.Array) -> jax.Array:
        one = jax.jacrev(lambda params, x: case.apply(params, x[None])[0])
        jacobians = jax.vmap(one, (None, 0))(params, xs)
        leaves = [j.reshape(*j.shape[:2], -1) for j in jax.tree_util.tree_leaves(jacobians)]
        return sum(jnp.einsum("nkp,mlp->nmkl", j, j) for j in leaves)

    return kernel


def peer(implementation: int) -> Callable[[Case], Kernel]:
    """neural-tangents: 1 Jacobian contraction, 2 products with vectors, 3 structured derivatives."""

    def make(case: Case) -> Kernel:
        import neural_tangents as nt  # pyrefly: ignore

        kernel = nt.empirical_ntk_fn(
            lambda params, xs: case.apply(params, xs), trace_axes=(), vmap_axes=0, implementation=implementation
        )
        return lambda params, xs: kernel(xs, None, params)

    return make


METHODS = {
    "ours": structured, "jacrev": contraction,
    "nt1": peer(1), "nt2": peer(2), "nt3": peer(3),
}  # fmt: skip


def main() -> None:
    """Serve rounds of kernels of N examples with themselves, as many as take about ROUND."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=CASES)
    parser.add_argument("count", type=int)
    parser.add_argument("method", choices=METHODS)
    options = parser.parse_args()

    def make() -> tuple[Callable[[], int], dict]:
        case = CASES[options.model](options.count)
        params, xs = jax.tree_util.tree_map(jnp.asarray, case.params), jnp.asarray(case.xs)
        started = time.perf_counter()
        compiled = jax.jit(METHODS[options.method](case)).lower(params, xs).compile()
        compile_seconds = time.perf_counter() - started
        found = np.asarray(compiled(params, xs))
        started = time.perf_counter()
        jax.block_until_ready(compiled(params, xs))
        times = max(1, int(ROUND / (time.perf_counter() - started)))
        facts = {
            "versions": {"jax": jax.__version__}, "device": accelerator(), "compile_seconds": compile_seconds,
            "corner": found[0, -1].ravel()[:4].tolist(), "norm": float(np.linalg.norm(found)),
        }  # fmt: skip

        def work() -> int:
            for _ in range(times):
                jax.block_until_ready(compiled(params, xs))
            return times

        return work, facts

    serve(make)


if __name__ == "__main__":
    main()
