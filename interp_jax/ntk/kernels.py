"""Empirical neural tangent kernels: inner products of Jacobians between examples.

    Theta[n, m, k, l] = sum over parameters p of  d f_k(x_n) / d p  *  d f_l(x_m) / d p

`empirical` gives all of it; `trace`, `diagonal` and `pseudo` what is left when outputs are averaged, paired or summed,
without ever forming the whole; `by_layer` one kernel for each part of the parameters. All take `apply(params, x)` of
ONE example and arrays of examples, are pure, and expect the caller's `jit`.

Axis order and the mean of `trace` are those of neural-tangents (whose `trace_axes` divides by K).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.linalg import matmul
from interp_jax.core.types import Apply, Array, PyTree
from interp_jax.ntk import blocks
from interp_jax.ntk.methods import Method, Problem, Reduce, structured
from interp_jax.ntk.trees import count, example_of, floating, output_of

Layers = Callable[[tuple], str]
"""The name of the part that a parameter belongs to, from its path in the tree (see `jax.tree_util`)."""


def empirical(
    apply: Apply, params: PyTree, x1: PyTree, x2: PyTree = None, *, method: Method = structured,
    batch_size: int | None = None,
) -> Array:  # fmt: skip
    """Compute the whole kernel.

    >>> apply = lambda params, x: params["w"] @ x
    >>> empirical(apply, {"w": jnp.ones((2, 3))}, jnp.eye(3)[:2]).shape
    (2, 2, 2, 2)

    Args:
        apply: `(params, x) -> [K]`, for one example.
        params: any tree; integer leaves are constants.
        x1: N1 examples: an array `[N1, ...]` or a tree of such, integers allowed.
        x2: N2 examples; x1 if None, and then half of the kernel is computed and mirrored, bit for bit.
        method: `methods.structured`, `methods.jacobian` or `methods.vector_products`.
        batch_size: examples whose factors are held at once on each side; chosen for about `blocks.MEMORY` bytes if
            None. The kernel does not depend on it but for rounding.

    Returns:
        `[N1, N2, K, K]`.

    Raises:
        ValueError: parameters without a float, an output that is no vector of floats, no examples, x1 and x2 of
            different shapes, or entries that are not finite (where they are known).
    """
    return _kernel(apply, params, x1, x2, "full", method, batch_size)


def trace(
    apply: Apply, params: PyTree, x1: PyTree, x2: PyTree = None, *, method: Method = structured,
    batch_size: int | None = None,
) -> Array:  # fmt: skip
    """Compute `mean_k Theta[n, m, k, k]`, the mean over outputs: `[N1, N2]`. Arguments of `empirical`."""
    return _kernel(apply, params, x1, x2, "trace", method, batch_size)


def diagonal(
    apply: Apply, params: PyTree, x1: PyTree, x2: PyTree = None, *, method: Method = structured,
    batch_size: int | None = None,
) -> Array:  # fmt: skip
    """Compute `Theta[n, m, k, k]`, each output with itself: `[N1, N2, K]`. Arguments of `empirical`."""
    return _kernel(apply, params, x1, x2, "diagonal", method, batch_size)


def pseudo(
    apply: Apply, params: PyTree, x1: PyTree, x2: PyTree = None, *, method: Method = structured,
    batch_size: int | None = None,
) -> Array:  # fmt: skip
    """Compute the pseudo-NTK, the kernel of the one output `sum_k f_k / sqrt(K)`: `[N1, N2]` (Mohamadi et al. 2023).

    It is `sum_kl Theta[n, m, k, l] / K`, at a K-th of the cotangents. Arguments of `empirical`.
    """
    return _kernel(apply, params, x1, x2, "pseudo", method, batch_size)


def by_layer(
    apply: Apply, params: PyTree, x1: PyTree, x2: PyTree = None, *, layers: Layers | None = None,
    method: Method = structured, batch_size: int | None = None,
) -> dict[str, Array]:  # fmt: skip
    """Compute a whole kernel for each part of the parameters; they sum to `empirical`.

    layers: names the part of a parameter from its path; the first key of the path if None. The rest as `empirical`.
    """
    return _parts(apply, params, x1, x2, "full", method, batch_size, layers or _first_key)


def nngp(apply: Apply, params: PyTree, x1: PyTree, x2: PyTree = None) -> Array:
    """Compute the conjugate kernel, `mean_k f_k(x_n) f_k(x_m)`: `[N1, N2]`; of features, if `apply` gives features."""
    with jax.default_matmul_precision("highest"):
        outputs = [jax.vmap(apply, (None, 0))(params, x) for x in (x1, x1 if x2 is None else x2)]
    return matmul(outputs[0], outputs[1].T) / outputs[0].shape[1]


def _kernel(
    apply: Apply, params: PyTree, x1: PyTree, x2: PyTree, reduce: str, method: Method, batch_size: int | None
) -> Array:
    return _parts(apply, params, x1, x2, reduce, method, batch_size, lambda path: "all")["all"]


def _parts(
    apply: Apply, params: PyTree, x1: PyTree, x2: PyTree, reduce: str, method: Method, batch_size: int | None,
    layers: Layers,
) -> dict[str, Array]:  # fmt: skip
    problem = state(apply, params, x1, x2, reduce, layers)
    if batch_size is not None:
        checks.whole(1, batch_size=batch_size)
    with jax.default_matmul_precision("highest"):
        return blocks.gram(method(problem), x1, x2, problem, batch_size)


def state(apply: Apply, params: PyTree, x1: PyTree, x2: PyTree, reduce: str, layers: Layers) -> Problem:
    """Check the arguments of a kernel and put them together."""
    counts = [count(x, name) for x, name in ((x1, "x1"), (x1 if x2 is None else x2, "x2"))]
    example, other = example_of(x1), example_of(x1 if x2 is None else x2)
    if jax.tree.flatten(example) != jax.tree.flatten(other):
        raise ValueError(f"want x1 and x2 of one form, got examples {example} and {other}")
    floating(params)
    paths, _ = jax.tree.flatten_with_path(params)
    output = output_of(apply, params, example)
    basis = jnp.eye(output.shape[0], dtype=output.dtype)
    if reduce == "pseudo":
        basis = jnp.full((1, output.shape[0]), output.shape[0] ** -0.5, output.dtype)
    names = tuple(layers(path) for path, _ in paths)
    kinds: dict[str, Reduce] = {"full": "full", "diagonal": "diagonal"}
    return Problem(apply, params, example, basis, kinds.get(reduce, "trace"), max(counts), names)


def _first_key(path: tuple) -> str:
    key = path[0]
    return str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key))))
