"""What goes into a metric: codes, the factors of the same examples, and how many classes each factor has."""

import chex
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks
from interp_jax.core.types import Array
from interp_jax.data.factors import Sizes


def checked(codes: Array, factors: Array, sizes: Sizes) -> Array:
    """Check codes `[N, D]` against factors `[N, F]`, and give a bool `[]`: finite, and every class in `[0, size)`.

    Raises ValueError for classes out of range where they are known; under `jit` only the flag tells, and the metrics
    turn it into NaN.
    """
    chex.assert_rank([codes, factors], 2)
    chex.assert_equal_shape_prefix([codes, factors], 1)
    chex.assert_type(factors, int)
    chex.assert_type(codes, float)
    if len(sizes) != factors.shape[1]:
        raise ValueError(f"want a size for each of {factors.shape[1]} factors, got {sizes=}")
    for i, size in enumerate(sizes):
        checks.whole(1, **{f"sizes[{i}]": size})
    known = checks.concrete(factors)
    if known is not None and not np.all((known >= 0) & (known < np.array(sizes))):
        raise ValueError(f"want classes of factors in [0, size) for {sizes=}, got {known.min(0)} to {known.max(0)}")
    limits = jnp.broadcast_to(jnp.array(sizes), factors.shape)
    return jnp.all(jnp.isfinite(codes)) & jnp.all((factors >= 0) & (factors < limits))


def vary(codes: Array) -> Array:
    """Tell which of the dimensions of codes `[N, D]` are not constant, a bool `[D]`."""
    return jnp.max(codes, 0) > jnp.min(codes, 0)
