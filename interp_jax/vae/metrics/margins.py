"""Separability of attributes: how well a threshold on one latent tells a factor (SAP; Kumar et al. 2018, section 3).

The study fits liblinear's one-versus-rest machines to every latent alone: 1,130 problems of 10,000 points for 10
latents and dSprites' 113 classes. In one dimension the points within the margin are those beyond a threshold, so in
sorted codes a sum over them is a difference of running sums, and a Newton step costs a bisection instead of a pass.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.ranking import bisect
from interp_jax.core.types import Array, ArrayLike
from interp_jax.data.factors import Sizes
from interp_jax.vae.metrics import inputs, order

HALVINGS = 6  # of a Newton step; the objective is convex and piecewise quadratic, so whole steps are the rule


class Separability(NamedTuple):
    """score: `[]`, mean over factors. each: `[F]`, gap of the two best latents. matrix: `[D, F]`, what each scores."""

    score: Array
    each: Array
    matrix: Array


class Lines(NamedTuple):
    """One-versus-rest margins `weight x + bias` of one latent: `[K]` each, -inf for a class without rows.

    converged: `[]` bool.
    """

    weight: Array
    bias: Array
    converged: Array


def sap(
    codes: Array,
    factors: Array,
    test_codes: Array,
    test_factors: Array,
    sizes: Sizes,
    *,
    alpha: ArrayLike = 100.0,
    steps: int = 50,
) -> Separability:
    """Give the gap in test accuracy of the two latents that tell a factor best, by linear machines on one latent each.

    codes, test_codes: `[N, D]`, `[M, D]`. factors, test_factors: `[N, F]`, `[M, F]` int. alpha: one over the C = .01 of
    the study, whose `LinearSVC(C=.01, class_weight="balanced")` this is, intercept penalised.

    A perfect code does not have 1: a line on one latent tells the lowest and the highest class from the rest, and those
    between badly (.495 was measured for one in the peer). A duplicated latent makes its factor's gap 0. A dead
    latent scores the share of one class, so a dead code has 0. Sign changes nothing; scale and shift do, through the
    penalty. NaN if a code is not finite or a class out of range.
    """
    valid = inputs.checked(codes, factors, sizes) & inputs.checked(test_codes, test_factors, sizes)
    if codes.shape[1] < 2:
        raise ValueError(f"want at least 2 latents, for a gap, got {codes.shape[1]}")
    count = max(sizes)
    two = jnp.array([size == 2 for size in sizes])

    def latent(x: Array, test: Array) -> Array:
        places = jnp.argsort(x)
        fits = jax.vmap(lambda y, two: fit_sorted(x[places], y[places], count, alpha, two, steps=steps), (1, 0))
        lines = fits(factors, two)

        def hits(weight: Array, bias: Array, y: Array) -> Array:
            margins = bias[:, None] + weight[:, None] * jnp.broadcast_to(test, (count, test.shape[0]))
            return jnp.mean(jnp.argmax(margins, 0) == y)

        return jax.vmap(hits, (0, 0, 1))(lines.weight, lines.bias, test_factors)

    # one latent after the other: their running sums do not fit a cache together
    matrix = jax.lax.map(lambda pair: latent(*pair), (codes.T, test_codes.T))
    return gap(jnp.where(valid, matrix, jnp.nan))


def sap_continuous(codes: Array, values: Array) -> Separability:
    """Give the gap in squared correlation of the two latents that a factor depends on most (Kumar et al. 2018).

    codes: `[N, D]`. values: `[N, F]` floats. For factors on a scale. Perfect and linear codes have 1. A dead latent
    has 0 (as in the peer, which says so below a variance of 1e-12); a constant factor is NaN.
    """
    if codes.shape[1] < 2:
        raise ValueError(f"want at least 2 latents, for a gap, got {codes.shape[1]}")
    x, y = (each - jnp.broadcast_to(jnp.mean(each, 0), each.shape) for each in (codes, values))
    x, y = (each / jnp.where((top := jnp.max(jnp.abs(each), 0)) > 0, top, 1)[None] for each in (x, y))
    across = jnp.matmul(x.T, y, precision=jax.lax.Precision.HIGHEST) ** 2
    of_x, of_y = jnp.sum(x**2, 0)[:, None], jnp.sum(y**2, 0)[None]
    varies = inputs.vary(codes)[:, None] & (of_x > 0)
    matrix = jnp.where(varies, across / (jnp.where(varies, of_x, 1) * of_y), 0)
    constant = ~inputs.vary(values)[None] | ~jnp.all(jnp.isfinite(codes))
    return gap(jnp.where(constant, jnp.nan, matrix))


def gap(matrix: Array) -> Separability:
    """Give the mean difference between the two best latents of each factor. matrix: `[D, F]`."""
    top = jax.lax.top_k(matrix.T, 2)[0]
    each = top[:, 0] - top[:, 1]
    return Separability(jnp.mean(each), each, matrix)


def fit_sorted(x: Array, y: Array, count: int, alpha: ArrayLike, two: ArrayLike, *, steps: int = 50) -> Lines:
    """Fit squared hinges of each class against the rest, on one dimension, balanced as liblinear does.

    Minimises `alpha / 2 (weight^2 + bias^2) + sum_n c_n max(0, 1 - s_n (weight x_n + bias))^2` by Newton's method with
    halved steps (Keerthi and DeCoste 2005). c is `N / (classes N_class)` for the class, 1 for the rest; with `two`
    classes it is so on both sides. x: `[N]`, rising. y: `[N]` int in `[0, count)`.
    """
    checks.positive(alpha=alpha)
    n = x.shape[0]
    centre, scale = jnp.mean(x), jnp.std(x)
    scale = jnp.where(scale > 0, scale, 1)
    u = (x - centre) / scale
    groups = order.group(u, y, count)
    every, own = (order.running(jnp.stack([jnp.ones_like(v), v, v**2], 1)) for v in (u, groups.values))
    # weight = a / scale and bias = b - a centre / scale are penalised, in the coordinates in which sums are safe
    off, unit = -centre / scale, jnp.ones_like(scale)
    penalty = jnp.asarray(alpha, u.dtype) * jnp.stack([jnp.stack([scale**-2 + off**2, off]), jnp.stack([off, unit])])
    present = jnp.sum(groups.size > 0)

    def one(start: Array, size: Array) -> tuple[Array, Array]:
        balance = n / (present * jnp.maximum(jnp.stack([size, n - size]), 1))
        other = jnp.where(two, balance[1], 1.0)
        return _newton(u, groups.values, every, own, start, size, balance[0], other, penalty, steps)

    point, converged = jax.vmap(one)(groups.start, groups.size)
    weight = point[:, 0] / scale
    bias = point[:, 1] - weight * centre
    absent = groups.size == 0
    return Lines(jnp.where(absent, 0, weight), jnp.where(absent, -jnp.inf, bias), jnp.all(converged | absent))


def _newton(
    u: Array,
    grouped: Array,
    every: Array,
    own: Array,
    start: Array,
    size: Array,
    weight: Array,
    other: Array,
    penalty: Array,
    steps: int,
) -> tuple[Array, Array]:
    """Minimise one class's objective over `(a, b)`, from zero. weight, other: of a row of the class, of the rest."""
    end = start + size

    def sums(point: Array) -> tuple[Array, Array]:
        """Give the sums `[3]` of 1, u, u^2 over the rows of the class, and of the rest, that are within the margin."""
        a, b = point
        inner = _beyond(grouped, own, start, end, a, b - 1, False)
        outer = _beyond(u, every, jnp.int32(0), jnp.int32(u.shape[0]), a, b + 1, True)
        return weight * inner, other * (outer - _beyond(grouped, own, start, end, a, b + 1, True))

    def height(point: Array, inner: Array, outer: Array) -> Array:
        a, b = point
        loss = [m[0] - 2 * s * (a * m[1] + b * m[0]) + a**2 * m[2] + 2 * a * b * m[1] + b**2 * m[0]
                for s, m in ((1, inner), (-1, outer))]  # fmt: skip
        return 0.5 * point @ penalty @ point + loss[0] + loss[1]

    def step(state: tuple) -> tuple:
        point, inner, outer, _, count = state
        both, odd = inner + outer, inner - outer
        hessian = penalty + 2 * jnp.stack([jnp.stack([both[2], both[1]]), jnp.stack([both[1], both[0]])])
        move = _solve(hessian, 2 * jnp.stack([odd[1], odd[0]])) - point
        trials = jax.vmap(lambda t: point + t * move)(0.5 ** jnp.arange(HALVINGS, dtype=u.dtype))
        seen = jax.vmap(sums)(trials)
        best = jnp.argmin(jax.vmap(height)(trials, *seen))
        done = jnp.max(jnp.abs(move)) <= 1e-4 * (jnp.max(jnp.abs(point)) + 1e-3)
        return trials[best], seen[0][best], seen[1][best], done, count + 1

    def unfinished(state: tuple) -> Array:
        return ~state[3] & (state[4] < steps)

    zero = jnp.zeros(2, u.dtype)
    last = jax.lax.while_loop(unfinished, step, (zero, *sums(zero), jnp.bool_(False), jnp.int32(0)))
    return last[0], last[3]


def _beyond(values: Array, totals: Array, start: Array, end: Array, a: Array, b: Array, above: bool) -> Array:
    """Sum the rows in `[start, end)`, rising in value, where `a value + b` is above (or below) zero."""
    longest = values.shape[0]
    # values below the root come first; where a is not positive they are on the other side
    low = bisect(lambda i: jnp.where(a > 0, a * values[i] + b <= 0, a * values[i] + b > 0), start, end, longest)
    left, right = totals[low] - totals[start], totals[end] - totals[low]
    return jnp.where((a > 0) == above, right, left)


def _solve(matrix: Array, right: Array) -> Array:
    (p, q), (_, r) = matrix
    return jnp.stack([r * right[0] - q * right[1], p * right[1] - q * right[0]]) / (p * r - q**2)
