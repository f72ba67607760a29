"""The hinge with an L2 penalty as a quadratic program, by a primal-dual interior-point method.

    minimise alpha / 2 |w|^2 + sum_n c_n slack_n    subject to    s_n x_n w + slack_n - margin_n = 1,    slack, margin
    >= 0

with multipliers `a` of the margins and `c - a` of the slacks (Mehrotra 1992; Ferris and Munson 2002 for support vector
machines). One step solves `(alpha I + x.T diag(theta) x) dw = r`. In float32 theta runs over 1e12, so its factor comes
from a QR of `[sqrt(theta) x; sqrt(alpha) I]`, whose condition number is the root, and the solution is corrected once.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array


class Point(NamedTuple):
    """weight: `[R]`, the last entry the level. slack, margin, a, left: `[N]`, all above zero; `left = c - a`."""

    weight: Array
    slack: Array
    margin: Array
    a: Array
    left: Array


class Found(NamedTuple):
    """The best point: weight `[R]`, its relative duality gap and the number of steps taken."""

    weight: Array
    gap: Array
    steps: Array


def minimise(x: Array, sign: Array, cost: Array, alpha: Array, steps: int, tol: float) -> Found:
    """Minimise the penalised hinge. x: `[N, R]`, the last column the level's; a row of zeros counts for nothing.

    sign: `[N]`, -1 or 1. cost: `[N]`, above zero. alpha: `[]`, above zero.
    """
    signed = sign[:, None] * x
    penalty = jnp.full(x.shape[1], alpha).at[-1].set(0)
    one = jnp.ones_like(cost)
    start = Point(jnp.zeros_like(x[0]), one, one, cost / 2, cost / 2)

    def step(carry: tuple[Point, Found, Array]) -> tuple[Point, Found, Array]:
        point, best, _ = carry
        point = advance(point, signed, penalty)
        gap = relative_gap(point, signed, cost, penalty)
        better = gap < best.gap
        weight = jnp.where(better, point.weight, best.weight)
        # once under tol, go on to where rounding stops it; what is no number ends it, and the best stands
        done = ~jnp.isfinite(gap) | ((best.gap < tol) & (gap > best.gap / 2))
        return point, Found(weight, jnp.where(better, gap, best.gap), best.steps + 1), done

    def unfinished(carry: tuple[Point, Found, Array]) -> Array:
        return ~carry[2] & (carry[1].steps < steps)

    found = Found(start.weight, jnp.full((), jnp.inf, x.dtype), jnp.int32(0))
    return jax.lax.while_loop(unfinished, step, (start, found, jnp.bool_(False)))[1]


def relative_gap(point: Point, signed: Array, cost: Array, penalty: Array) -> Array:
    """Give (primal - dual) / primal, as a sum of terms that are not negative, so that nothing cancels.

    With `r` what is left of `alpha w = x.T (s a)`: `sum (c - a) slack + a margin + |r|^2 / (2 alpha)`, and for the
    level, whose multiplier equation should hold exactly, `|level sum s a|`.
    """
    weight, excess = point.weight, matmul(signed, point.weight) - 1
    slack, margin = jax.nn.relu(-excess), jax.nn.relu(excess)
    real = (signed != 0).any(1)
    rest = penalty * weight - matmul(point.a, signed)
    stationarity = 0.5 * jnp.sum(rest[:-1] ** 2) / penalty[0] + jnp.abs(rest[-1] * weight[-1])
    gap = jnp.sum(jnp.where(real, point.left * slack + point.a * margin, 0)) + stationarity
    return gap / (jnp.sum(jnp.where(real, cost * slack, 0)) + 0.5 * jnp.sum(penalty * weight**2))


def advance(point: Point, signed: Array, penalty: Array) -> Point:
    """Take one predictor-corrector step, .99 of the way to the boundary at most."""
    weight, slack, margin, a, left = point
    theta = 1 / (slack / left + margin / a)
    tall = jnp.concatenate([jnp.sqrt(theta)[:, None] * signed, jnp.diag(jnp.sqrt(penalty))])
    factor = jnp.linalg.qr(tall, mode="r")
    infeasible = 1 - (matmul(signed, weight) + slack - margin)

    def solve(right: Array) -> Array:
        half = jax.scipy.linalg.solve_triangular(factor, right, trans=1)
        return jax.scipy.linalg.solve_triangular(factor, half)

    def direction(product_margin: Array, product_slack: Array) -> Point:
        rho = infeasible - (product_slack / left - slack) + (product_margin / a - margin)
        right = matmul(a + theta * rho, signed) - penalty * weight
        d_weight = solve(right)
        d_weight += solve(right - matmul(theta * matmul(signed, d_weight), signed) - penalty * d_weight)
        d_a = theta * (rho - matmul(signed, d_weight))
        d_slack = (product_slack + slack * d_a) / left - slack
        d_margin = (product_margin - margin * d_a) / a - margin
        return Point(d_weight, d_slack, d_margin, d_a, -d_a)

    mean = (jnp.mean(a * margin) + jnp.mean(left * slack)) / 2
    zero = jnp.zeros_like(a)
    guess = direction(zero, zero)
    ahead = _move(point, guess, reach(point, guess))
    left_over = (jnp.mean(ahead.a * ahead.margin) + jnp.mean(ahead.left * ahead.slack)) / 2
    target = mean * (left_over / mean) ** 3
    move = direction(target - guess.a * guess.margin, target - guess.left * guess.slack)
    return _move(point, move, 0.99 * reach(point, move))


def reach(point: Point, move: Point) -> Array:
    """Give the largest step, up to 1 / .99, that keeps slacks, margins and multipliers from turning negative."""
    value, change = jnp.stack(point[1:]), jnp.stack(move[1:])
    fraction = jnp.where(change < 0, -value / jnp.where(change < 0, change, -1), jnp.inf)
    return jnp.minimum(jnp.min(fraction), 1 / 0.99)


def _move(point: Point, move: Point, size: Array) -> Point:
    return jax.tree.map(lambda value, d: value + size * d, point, move)
