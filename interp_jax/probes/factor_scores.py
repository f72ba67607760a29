"""What linear probes read of several factors at once, where a factor is written as one number or more."""

import chex
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike
from interp_jax.linear import fits, ridge


def factor_r2(acts: Array, codes: Array, owner: Array, *, alpha: ArrayLike = 1.0) -> Array:
    """Give the R2 of ridge probes on the second half of the rows, fitted to the first: `[F]`, the mean over its codes.

    Activations are centred, and brought to unit mean square by ONE number, so that alpha, the rows' worth of the
    penalty, means the same for every layer; a layer in which nothing varies scores about 0. NaN for a code that does
    not vary in the second half.

    Args:
        acts: `[N, D]`, rows in random order, N even.
        codes: `[N, C]`, numbers that say what the factors are (`data.dsprites.code`).
        owner: `[C, F]`, 1 where a code is a factor's and 0 elsewhere.
        alpha: the penalty, above zero, for units may be dead.
    """
    chex.assert_rank([acts, codes, owner], 2)
    chex.assert_equal_shape_prefix([acts, codes], 1)
    checks.positive(alpha=alpha)
    if len(acts) % 2:
        raise ValueError(f"want an even number of rows, to halve, got {len(acts)}")
    half = len(acts) // 2
    centred = acts - jnp.mean(acts[:half], 0, keepdims=True)
    size = jnp.sqrt(jnp.mean(centred[:half] ** 2))
    x = centred / jnp.where(size > 0, size, 1)
    fit = ridge.fit(x[:half], codes[:half], alpha, method=ridge.gram)
    return fits.r2(fits.predict(fit, x[half:]), codes[half:]) @ owner / jnp.sum(owner, 0)
