"""Linear systems in a kernel that is known by its products only: conjugate gradients, preconditioned by Nystrom.

Why not lineax: its conjugate gradients trace the operator three times, and ours holds the gradient of a network.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

from interp_jax.core import checks
from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array, ArrayLike, Key
from interp_jax.ntk.operators import Operator, add_ridge

Precondition = Callable[[Array], Array]
"""An approximate inverse, `[M, C] -> [M, C]`."""


class Solution(NamedTuple):
    """What was found. x: `[M]` or `[M, C]`. residual: `|b - A x| / |b|` of each column. iterations: steps taken.

    converged: whether every residual came below the tolerance; if not, x is the last iterate.
    """

    x: Array
    residual: Array
    iterations: Array
    converged: Array


class Nystrom(NamedTuple):
    """An approximation from below, `A ~ vectors diag(values) vectors'`: values `[R]`, descending; vectors `[M, R]`."""

    values: Array
    vectors: Array

    def inverse(self, ridge: ArrayLike) -> Precondition:
        """Give the preconditioner of `A + ridge` (Frangella, Tropp and Udell 2023, eq. 5.3)."""
        scale = (self.values[-1] + ridge) / (self.values + ridge) - 1

        def precondition(b: Array) -> Array:
            inside = matmul(self.vectors.T, b)
            return b + matmul(self.vectors, jnp.expand_dims(scale, range(1, b.ndim)) * inside)

        return precondition


def nystrom(operator: Operator, key: Key, rank: int) -> Nystrom:
    """Sketch a positive semidefinite map by `rank` products (Frangella, Tropp and Udell 2023, algorithm 2.1).

    >>> import jax.numpy as jnp
    >>> from interp_jax.ntk.operators import dense
    >>> nystrom(dense(jnp.diag(jnp.array([4.0, 1.0, 0.0, 0.0]))), jax.random.key(0), 2).values.round(3).tolist()
    [4.0, 1.0]
    """
    checks.whole(1, rank=rank)
    if rank > operator.rows:
        raise ValueError(f"want rank <= {operator.rows}, the size of the kernel, got {rank=}")
    sketch = jnp.linalg.qr(jax.random.normal(key, (operator.columns, rank), operator.dtype))[0]
    image = operator @ sketch
    shift = jnp.finfo(operator.dtype).eps * jnp.linalg.norm(image) * operator.rows**0.5
    image = image + shift * sketch
    inner = matmul(sketch.T, image)
    factor = jnp.linalg.cholesky((inner + inner.T) / 2)
    half = jax.scipy.linalg.solve_triangular(factor, image.T, lower=True).T
    vectors, values, _ = jnp.linalg.svd(half, full_matrices=False)
    return Nystrom(jnp.maximum(values**2 - shift, 0), vectors)


class _State(NamedTuple):
    """Of one run of conjugate gradients. gap: `residual . precondition(residual)`, of each column."""

    x: Array
    residual: Array
    direction: Array
    gap: Array
    iterations: Array


class _Runs(NamedTuple):
    """Of several. residual: of x, not of the recurrence. gained: whether the last run brought x much nearer."""

    x: Array
    residual: Array
    iterations: Array
    gained: Array


def _advance(ridged: Operator, precondition: Precondition, state: _State) -> _State:
    """Take one step of conjugate gradients; a column that is solved stands still."""
    image = ridged @ state.direction
    curvature = jnp.sum(state.direction * image, 0, keepdims=True)
    length = jnp.where(curvature > 0, state.gap / jnp.where(curvature > 0, curvature, 1), 0)
    x, residual = state.x + length * state.direction, state.residual - length * image
    turned = precondition(residual)
    gap = jnp.sum(residual * turned, 0, keepdims=True)
    direction = turned + jnp.where(state.gap > 0, gap / jnp.where(state.gap > 0, state.gap, 1), 0) * state.direction
    return _State(x, residual, direction, gap, state.iterations + 1)


def conjugate_gradients(
    operator: Operator,
    b: Array,
    *,
    ridge: ArrayLike = 0.0,
    precondition: Precondition = lambda b: b,
    tolerance: ArrayLike = 1e-5,
    steps: int = 1000,
) -> Solution:
    """Solve `(A + ridge) x = b` for a positive semidefinite A (Hestenes and Stiefel 1952).

    Columns of b are solved together, each with its own step lengths, in the same products. The residual of the
    recurrence drifts from that of x: at the end it is computed anew, and where it is still above the tolerance, a new
    run begins from x, as long as the last one halved it. That ends where rounding does, near
    `|A| |x| / |b|` times the unit roundoff.

    Args:
        operator: A.
        b: `[M]` or `[M, C]`.
        ridge: added to A's diagonal.
        precondition: an approximate inverse of `A + ridge`, symmetric and positive: `Nystrom.inverse(ridge)`.
        tolerance: of `|b - A x| / |b|`.
        steps: at most so many products.
    """
    checks.whole(1, steps=steps)
    checks.positive(tolerance=tolerance)
    chex.assert_axis_dimension(b, 0, operator.rows)
    ridged = add_ridge(operator, ridge)
    columns = b.reshape(operator.rows, -1)
    size = jnp.linalg.norm(columns, axis=0, keepdims=True)
    unit = jnp.where(size > 0, size, 1)

    def worst(residual: Array) -> Array:
        return jnp.max(jnp.linalg.norm(residual, axis=0, keepdims=True) / unit)

    def going(state: _State) -> Array:
        return (state.iterations < steps) & (worst(state.residual) > tolerance / 2)

    def run(runs: _Runs) -> _Runs:
        turned = precondition(runs.residual)
        gap = jnp.sum(runs.residual * turned, 0, keepdims=True)
        step = partial(_advance, ridged, precondition)
        end = lax.while_loop(going, step, _State(runs.x, runs.residual, turned, gap, runs.iterations))
        residual = columns - (ridged @ end.x)
        return _Runs(end.x, residual, end.iterations, worst(residual) <= worst(runs.residual) / 2)

    def again(runs: _Runs) -> Array:
        return runs.gained & (worst(runs.residual) > tolerance) & (runs.iterations < steps)

    start = _Runs(jnp.zeros_like(columns), columns, jnp.zeros((), jnp.int32), jnp.bool_(True))
    end = lax.while_loop(again, run, start)
    residual = jnp.linalg.norm(end.residual, axis=0, keepdims=True) / unit
    converged = jnp.all(residual <= tolerance)
    return Solution(end.x.reshape(b.shape), residual.reshape(b.shape[1:]), end.iterations, converged)
