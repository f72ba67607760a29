"""One dimension sorted, whole and within the classes of a factor: what several metrics look up instead of looking over.

In one dimension a nearest neighbour, a quantile of a class, or the sum over all points beyond a threshold is found by
bisection in sorted values, in `log N` steps instead of N. Sorting 10,000 integers takes half a millisecond on a CPU.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from interp_jax.core.types import Array


class Groups(NamedTuple):
    """Points in the order of (class, value). values: `[N]`. classes: `[N]`. start, size: `[K]`, of each class."""

    values: Array
    classes: Array
    start: Array
    size: Array


def group(values: Array, classes: Array, count: int) -> Groups:
    """Group sorted points by their class, the order of values kept.

    values: `[N]`, rising. classes: `[N]`, int in `[0, count)`, of the same points.
    """
    n = values.shape[0]
    if n * count >= 2**31:
        raise ValueError(f"want fewer than 2**31 points times classes, got {n} x {count}")
    packed = jnp.sort(classes * n + jnp.arange(n, dtype=jnp.int32))
    size = jnp.sum(jax.nn.one_hot(classes, count, dtype=jnp.int32), 0)
    return Groups(values[packed % n], packed // n, jnp.cumsum(size) - size, size)


def running(values: Array) -> Array:
    """Give the sums of the first i rows, `[N + 1, ...]`: `running[b] - running[a]` sums the rows in `[a, b)`."""
    return jnp.concatenate([jnp.zeros_like(values[:1]), jnp.cumsum(values, 0)])
