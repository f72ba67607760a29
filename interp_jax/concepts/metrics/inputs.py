"""What goes into a metric: representations and concepts of the same examples, and which rows are for scoring."""

import chex
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.linalg import add_row
from interp_jax.core.types import Array


def checked(representations: Array, concepts: Array) -> tuple[Array, Array]:
    """Give representations as `[N, k', m]`, and a bool `[]`: all finite, and every concept 0 or 1.

    representations: `[N, k']` or `[N, k', m]`. concepts: `[N, k]`. Raises ValueError for concepts outside [0, 1] where
    they are known, and for none of them; under `jit` only the flag tells, and the metrics turn it into NaN. So do
    labels that are missing (NaN) or between 0 and 1: give the rows, or the concepts, that are known.
    """
    chex.assert_rank([representations, concepts], [{2, 3}, 2])
    chex.assert_equal_shape_prefix([representations, concepts], 1)
    if 0 in representations.shape or 0 in concepts.shape:
        raise ValueError(f"want at least one row and one concept, got {representations.shape} and {concepts.shape}")
    checks.entries(0, 1, concepts=concepts)
    representations = jnp.asarray(representations, jnp.result_type(representations, jnp.float32))
    if representations.ndim == 2:
        representations = representations[:, :, None]
    valid = jnp.all(jnp.isfinite(representations)) & jnp.all((concepts == 0) | (concepts == 1))
    return representations, valid


def paired(representations: Array, concepts: Array) -> None:
    """Raise ValueError unless there is one representation for each concept."""
    if representations.shape[1] != concepts.shape[1]:
        raise ValueError(
            f"want a representation for each concept, got {representations.shape[1]} for {concepts.shape[1]}"
        )


def held_out(n: int, folds: int) -> Array:
    """Tell which of n rows are scored and not fitted, `[n]` bool: every `folds`-th, so that sorted rows do no harm."""
    checks.whole(2, folds=folds)
    if n < 2 * folds:
        raise ValueError(f"want at least {2 * folds} rows for {folds=}, got {n}")
    return jnp.arange(n) % folds == folds - 1


def standardised(x: Array, weights: Array) -> Array:
    """Give `x [N, D]` about its mean over rows of weight 1, in its deviations there; columns constant there are 0.

    weights: `[N]`, 0 or 1.
    """
    inside = jnp.broadcast_to((weights > 0)[:, None], x.shape)
    varies = jnp.max(x, 0, where=inside, initial=-jnp.inf) > jnp.min(x, 0, where=inside, initial=jnp.inf)
    x = add_row(x, -jnp.mean(x, 0, where=inside))
    x = add_row(x, -jnp.mean(x, 0, where=inside))
    spread = jnp.sqrt(jnp.mean(x**2, 0, where=inside))
    return x * jnp.broadcast_to(jnp.where(varies, 1 / jnp.where(varies, spread, 1), 0), x.shape)


def varying(concepts: Array) -> Array:
    """Tell which columns of `[N, k]` are not constant, a bool `[k]`."""
    return jnp.max(concepts, 0) > jnp.min(concepts, 0)
