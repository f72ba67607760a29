"""What a kernel asks of its arguments: parameters with floats, a vector as output, examples of one form."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks
from interp_jax.core.types import Apply, Array, PyTree


def example_of(xs: PyTree) -> PyTree:
    """Give the shapes of one of many examples."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf)[1:], jnp.result_type(leaf)), xs)


def floating(params: PyTree) -> tuple[list[Array], Callable[[list[Array]], PyTree]]:
    """Give the leaves of floats, and what puts such leaves back into the tree; raise ValueError if there are none."""
    leaves, tree = jax.tree.flatten(params)
    at = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]
    if not at:
        raise ValueError(f"want params with at least one array of floats, got {jax.tree.map(jnp.result_type, params)}")

    def rebuild(values: list[Array]) -> PyTree:
        filled = dict(enumerate(leaves)) | dict(zip(at, values, strict=True))
        return jax.tree.unflatten(tree, list(filled.values()))

    return [leaves[i] if hasattr(leaves[i], "dtype") else jnp.asarray(leaves[i]) for i in at], rebuild


def output_of(apply: Apply, params: PyTree, example: PyTree) -> jax.ShapeDtypeStruct:
    """Give the shape and dtype of `apply`'s output; raise ValueError unless it is one vector of floats."""
    output = jax.eval_shape(apply, params, example)
    if not isinstance(output, jax.ShapeDtypeStruct) or output.ndim != 1 or not output.shape[0]:
        raise ValueError(
            f"want apply(params, x) to give one vector [K], got {output}; "
            "an apply that also returns statistics has to be frozen first"
        )
    if not jnp.issubdtype(output.dtype, jnp.floating):
        raise ValueError(f"want apply(params, x) to give floats, got {output.dtype}")
    return output


def count(x: PyTree, name: str) -> int:
    """Count examples; raise ValueError for none, for counts that differ, and for entries known not to be finite."""
    leaves = jax.tree.leaves(x)
    counts = {jnp.shape(leaf)[0] if jnp.ndim(leaf) else 0 for leaf in leaves}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            f"want {name} of one first axis, at least one example, got shapes {[jnp.shape(a) for a in leaves]}"
        )
    for leaf in leaves:
        known = checks.concrete(leaf)
        if known is not None and jnp.issubdtype(known.dtype, jnp.floating) and not np.isfinite(known).all():
            raise ValueError(f"want finite entries of {name}, got {(~np.isfinite(known)).sum()} that are not")
    return counts.pop()
