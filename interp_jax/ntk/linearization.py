"""A model's Taylor expansion in its parameters: what it would be if training were lazy."""

import math

import jax

from interp_jax.core import checks
from interp_jax.core.types import Apply, PyTree


def linearize(apply: Apply, params: PyTree) -> Apply:
    """Give the model linear in its parameters, `f(p0, x) + J(p0, x) (p - p0)` (Lee et al. 2019, eq. 5).

    >>> import jax.numpy as jnp
    >>> lazy = linearize(lambda p, x: p**3 * x, jnp.float32(1))
    >>> lazy(jnp.float32(2), jnp.float32(10)).item()
    40.0
    """
    return taylor(apply, params, 1)


def taylor(apply: Apply, params: PyTree, degree: int) -> Apply:
    """Give the Taylor polynomial of a model in its parameters, by `degree` nested jvps.

    >>> import jax.numpy as jnp
    >>> cubic = taylor(lambda p, x: p**3 * x, jnp.float32(1), 3)
    >>> cubic(jnp.float32(2), jnp.float32(10)).item()
    80.0
    """
    checks.whole(0, degree=degree)

    def expanded(moved: PyTree, x: PyTree) -> PyTree:
        step = jax.tree.map(lambda new, old: new - old, moved, params)

        def derivative(order: int, at: PyTree) -> PyTree:
            """Give the derivative of this order along the step."""
            if order == 0:
                return apply(at, x)
            return jax.jvp(lambda at: derivative(order - 1, at), (at,), (step,))[1]

        terms = [derivative(order, params) for order in range(degree + 1)]
        scaled = [jax.tree.map(lambda a, k=k: a / math.factorial(k), term) for k, term in enumerate(terms)]
        return jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), *scaled)

    return expanded
