"""Gradients under a random projection: features whose inner products are the kernel on average (Park et al. 2023)."""

import jax
import jax.numpy as jnp

from interp_jax.core import checks, keys
from interp_jax.core.types import Apply, Array, Key, PyTree
from interp_jax.ntk.trees import floating


def project(apply: Apply, params: PyTree, x: PyTree, key: Key, size: int) -> Array:
    """Project the Jacobian of one example: `phi [K, size]`, `phi_k(x) . phi_l(y)` being unbiased for the kernel.

    Row d of `phi sqrt(size)` is the jvp along a standard normal direction (Johnson and Lindenstrauss 1984), drawn anew
    from `keys.at(key, d)` wherever it is wanted, so a projection of any number of parameters takes no memory. The
    variance of an inner product is `(|J_k|^2 |J_l|^2 + (J_k . J_l)^2) / size`. The same key belongs to both examples.

    >>> apply = lambda params, x: params["w"] @ x
    >>> project(apply, {"w": jnp.ones((2, 3))}, jnp.ones(3), jax.random.key(0), 5).shape
    (2, 5)
    """
    checks.whole(1, size=size)
    values, rebuild = floating(params)

    def along(d: Array) -> Array:
        own = keys.at(key, d)
        tangents = [jax.random.normal(keys.at(own, i), value.shape, value.dtype) for i, value in enumerate(values)]
        return jax.jvp(lambda values: apply(rebuild(values), x), (values,), (tangents,))[1]

    with jax.default_matmul_precision("highest"):
        found = jax.lax.map(along, jnp.arange(size))
    return found.T / size**0.5
