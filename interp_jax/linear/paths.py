"""Ridge over a grid of penalties, each judged on rows it was not fitted to: folds, groups left out, or single rows.

    path = jax.jit(paths.k_fold, static_argnames="folds")(x, y, alphas, assigned, folds=5)
    path.fit, path.alpha                            # refitted to all rows, with each target's own penalty
    path.errors                                     # [A, F, K], on the rows that were held out

One pass over the rows gives the moments of every fold (`streaming`); all that comes after costs the same for ten
thousand rows as for ten million. One factorisation, of all rows, serves all folds: it preconditions conjugate
gradients, which take few steps from it to the fit without one fold. The intercept is never penalised, and alpha is
scikit-learn's, a penalty on a sum over rows (`ridge`).

Layers and seeds are `vmap`.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks
from interp_jax.core.linalg import add_row, centre_rows, compress_rows, eigh, matmul, reduce_columns, svd
from interp_jax.core.types import Array, Key, Numpy
from interp_jax.linear import streaming
from interp_jax.linear.fits import LinearFit, seal
from interp_jax.linear.ridge import Moments, join

Linear = Callable[[Array], Array]


class Path(NamedTuple):
    """Ridge chosen by held-out error.

    fit: of all rows, `weight [D, K]`, each target at its own penalty. without: the fits without each fold at that
    penalty, stacked, `weight [F, D, K]`. alpha: `[K]`, what was chosen of `alphas [A]`. errors: `[A, F, K]`, mean
    squared error on the fold's rows. r2: `[A, K]`, of all held-out predictions together; NaN for a constant target.
    """

    fit: LinearFit
    without: LinearFit
    alpha: Array
    alphas: Array
    errors: Array
    r2: Array


class LeaveOneOut(NamedTuple):
    """Ridge chosen by leaving out one row at a time.

    fit, alpha, alphas: as in `Path`. errors: `[A, K]`, mean squared. r2: `[A, K]`; NaN for a constant target.
    predictions: `[N, K]`, of each row by the fit without it, at the chosen penalty (which has seen the row);
    NaN for rows of no weight.
    """

    fit: LinearFit
    alpha: Array
    alphas: Array
    errors: Array
    r2: Array
    predictions: Array


def folds(groups: Numpy, count: int, key: Key) -> Numpy:
    """Deal groups into folds of about equal numbers of rows, on the host: `assigned [N]`, 0 to count - 1.

    groups: `[N]`, any labels: rows of a group stay together. `np.arange(N)` lets every row be its own. Groups go in
    order of size, equal ones in an order drawn from the key, each to the fold with the fewest rows.

    >>> folds(np.array(["a", "a", "b", "c"]), 2, jax.random.key(0)).tolist() in ([0, 0, 1, 1], [1, 1, 0, 0])
    True
    """
    groups = np.asarray(groups)
    chex.assert_rank(groups, 1)
    checks.whole(2, count=count)
    _, which, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < count:
        raise ValueError(f"want at least as many groups as folds, got {len(sizes)} groups for count={count}")
    order = np.asarray(jax.random.permutation(key, len(sizes)))
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold, load = np.zeros(len(sizes), np.int32), np.zeros(count, np.int64)
    for group in order:
        fold[group] = np.argmin(load)
        load[fold[group]] += sizes[group]
    return fold[which]


def k_fold(
    x: Array,
    y: Array,
    alphas: Array,
    assigned: Array,
    *,
    folds: int,
    weights: Array | None = None,
    shared: bool = False,
    rank: int | None = None,
) -> Path:
    """Fit ridge at every penalty without each fold in turn, judge it there, and refit the best to all rows.

    `converged` is False where the precision cannot hold the features at the chosen penalty. In float32 the penalty can
    be .01 of the mean eigenvalue of `x.T @ x` (centred) and above whatever the features. Largest error of a held-out
    prediction, in standard deviations of predictions, against float64, at D = 384, N = 20,000 and condition number 1e6
    (25 in the third row):

    | singular values | .001 | .01 | .1 | .01, plain Gram |
    |---|---|---|---|---|
    | geometric | flagged | 1e-5 | 3e-6 | 2e-5 |
    | one of 1, half .005, half 1e-6 | 5e-5 | 6e-6 | 7e-5 | 6e-4 |
    | 64 of 1, the rest .04 | 1e-4 | 6e-5 | 3e-6 | 9e-5 |
    | 1, 1/2, 1/3, ... | 3e-5 | 1e-5 | 4e-6 | 4e-4 |

    Below that, `leave_one_out` or `ridge.fit` with `method=ridge.svd`, or float64, which agrees with float64 fits of
    every training set by itself to 1e-8.

    scikit-learn's grid search averages folds' errors; here `r2`, by which the penalty is chosen, counts each row once.

    Args:
        x: `[N, D]`.
        y: `[N]` or `[N, K]`.
        alphas: `[A]`, above zero.
        assigned: `[N]`, the fold of each row, 0 to folds - 1 (`folds`); the groups' own numbers leave out one group
            at a time.
        folds: how many.
        weights: `[N]`, not negative, of rows in fits and errors alike; zero deletes a row, which may then hold NaN.
        shared: choose one penalty for all targets, by the mean of their r2.
        rank: of the frame, see `streaming.make_frame`.
    """
    x, y, weights = _rows(x, y, alphas, weights)
    chex.assert_rank([alphas, assigned], 1)
    chex.assert_equal_shape_prefix([x, assigned], 1)
    checks.entries(0, folds - 1, assigned=assigned)
    x, basis = reduce_columns(x)
    frame = streaming.make_frame(x, y, weights=weights, rank=rank)
    sums = streaming.add_mixed(streaming.empty(frame, folds), frame, x, y, assigned, weights=weights)
    parts = streaming.fold_moments(sums)
    path = from_moments(parts, frame, jnp.asarray(alphas, x.dtype), shared=shared)
    return path._replace(fit=_widen(path.fit, basis), without=jax.vmap(_widen, (0, None))(path.without, basis))


def leave_one_out(
    x: Array, y: Array, alphas: Array, *, weights: Array | None = None, shared: bool = False
) -> LeaveOneOut:
    """Fit ridge at every penalty and predict each row without it, in closed form (Allen 1974): `y - e / (1 - h)`.

    h is the row's leverage, what its own target contributes to its own prediction. The rest is as in `k_fold`, but for
    the factorisation, singular values of the rows, which keeps float32 to smaller penalties. A group of rows is left
    out by `k_fold` with a fold a group.
    """
    x, y, weights = _rows(x, y, alphas, weights)
    weights = jnp.ones(len(x), x.dtype) if weights is None else weights
    valid = jnp.isfinite(weights).all() & jnp.isfinite(x).all() & jnp.isfinite(y).all()
    x, y, weights = (jnp.where(valid, leaf, 1) for leaf in (x, y, weights))
    alphas, total = jnp.asarray(alphas, x.dtype), jnp.sum(weights)
    x, centre, rest = centre_rows(x, weights)
    y, level, more = centre_rows(y, weights)
    turned, basis, coefficients, free = _leverages(x, y, weights, alphas)
    fitted = matmul(turned, coefficients.reshape(turned.shape[1], -1)).reshape(len(x), len(alphas), -1)
    residual = y[:, None, :] - fitted
    out = residual / jnp.maximum(free, jnp.finfo(x.dtype).tiny)[:, :, None]
    lost = jnp.einsum("n,nak->ak", weights, out**2, precision="highest")
    r2 = _r2(lost, matmul(weights, y**2), total, level)
    best = _choose(r2, alphas, shared)
    weight = matmul(basis, jnp.take_along_axis(coefficients, best[None, None], 1)[:, 0])
    zero = jnp.zeros((), x.dtype)
    fit = LinearFit(weight, level + (more - matmul(rest, weight)), centre, valid, jnp.int32(0), zero)
    chosen = jnp.take_along_axis(out, best[None, None], 1)[:, 0]
    predictions = jnp.where((weights > 0)[:, None], add_row(y - chosen, level), jnp.nan)
    nan = jnp.where(valid, 0, jnp.nan)
    return LeaveOneOut(seal(fit, valid), alphas[best], alphas, lost / total + nan, r2 + nan, predictions + nan)


def _leverages(x: Array, y: Array, weights: Array, alphas: Array) -> tuple[Array, Array, Array, Array]:
    """Give rows along their singular vectors `[N, R]`, these `[D, R]`, fits `[R, A, K]`, and 1 - leverage `[N, A]`."""
    rows, dims = x.shape
    root = jnp.sqrt(weights)[:, None]
    short = compress_rows(jnp.concatenate([root * x, root * y], 1)) if rows > dims else root * x
    left, values, right = svd(short[:, :dims])
    cross = values[:, None] * matmul(left.T, short[:, dims:] if rows > dims else root * y)
    share = 1 / (values[:, None] ** 2 + alphas[None])
    turned = matmul(x, right.T)
    own = (weights / jnp.sum(weights))[:, None]
    if rows > dims:
        free = 1 - own - matmul((root * turned) ** 2, share)
    else:  # without that difference, which would cancel: all of a row is in the others' span
        free = matmul(left**2, alphas[None] * share) - own
    return turned, right.T, cross[:, None, :] * share[:, :, None], free


def _rows(x: Array, y: Array, alphas: Array, weights: Array | None) -> tuple[Array, Array, Array | None]:
    chex.assert_rank(x, 2)
    chex.assert_rank(y, {1, 2})
    chex.assert_equal_shape_prefix([x, y], 1)
    known = checks.concrete(alphas)
    if known is not None and not (known.size and np.all((known > 0) & np.isfinite(known))):
        raise ValueError(f"want alphas > 0 and finite, got {known}")
    _finite(weights, x=x, y=y)
    dtype = jnp.result_type(x, jnp.float32)
    x, y = jnp.asarray(x, dtype), jnp.reshape(jnp.asarray(y, dtype), (len(x), -1))
    if weights is None:
        return x, y, None
    weights = jnp.asarray(weights, dtype)
    chex.assert_shape(weights, (len(x),))
    keep = (weights != 0)[:, None]
    return jnp.where(keep, x, 0), jnp.where(keep, y, 0), jnp.where(weights >= 0, weights, jnp.nan)


def _finite(weights: Array | None, **named: Array) -> None:
    """Raise ValueError where an array that is known now holds NaN or infinity in a row that counts."""
    heavy = None if weights is None else checks.concrete(weights)
    for name, value in named.items():
        known = checks.concrete(value)
        if known is None or (weights is not None and heavy is None):
            continue
        bad = ~np.isfinite(known.reshape(len(known), -1)).all(1) & (True if heavy is None else heavy != 0)
        if bad.any():
            raise ValueError(f"want finite {name}, got NaN or infinity in {bad.sum()} rows, the first {np.argmax(bad)}")


def _widen(fit: LinearFit, basis: Array) -> LinearFit:
    if basis.shape[0] == basis.shape[1]:
        return fit
    return fit._replace(weight=matmul(basis, fit.weight), centre=matmul(basis, fit.centre))


class Known(NamedTuple):
    """What all rows say about the rows without one fold, whose eigenvectors are nearly the same.

    values `[D]`, axes `[D, D]`: of the moments of all rows. total: `[]`, their weight. rest: `[]`, the largest
    eigenvalue among axes that the frame does not keep apart: roundings of it are what the precision loses.
    """

    values: Array
    axes: Array
    total: Array
    rest: Array


def _know(whole: Moments, rank: int) -> Known:
    values, axes = eigh(whole.square)
    apart = (jnp.arange(len(values)) < rank)[:, None]
    inner = jnp.where(apart | apart.T, 0, whole.square)

    def power(_: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
        image = matmul(inner, state[0])
        size = jnp.linalg.norm(image)
        return image / jnp.where(size > 0, size, 1), size

    first = jnp.sqrt(jnp.diag(inner))
    size = jnp.linalg.norm(first)
    rest = jax.lax.fori_loop(0, 8, power, (first / jnp.where(size > 0, size, 1), size))[1]
    return Known(jnp.maximum(values, 0), axes, whole.total, rest)


def from_moments(parts: Moments, frame: streaming.Frame, alphas: Array, *, shared: bool = False) -> Path:
    """Find the path from the moments of each fold in a frame (`streaming.fold_moments`); for `shared` see `k_fold`."""
    whole, training = leave_out(parts)
    known = _know(whole, frame.left.shape[1])
    sets = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), training, whole)
    weight, fine = jax.vmap(lambda stats: _solve(stats, alphas, known))(sets)
    lost = jax.vmap(_error)(parts, training, weight[:-1])
    r2 = _r2(jnp.sum(lost, 0), whole.spread, whole.total, frame.level)
    best = _choose(r2, alphas, shared)
    chosen = jnp.stack([weight[:, i, :, k] for k, i in enumerate(best)], -1)
    fit = jax.vmap(lambda *each: _finish(frame, *each))(sets, chosen, fine[:, best].all(1))
    return Path(
        fit=jax.tree.map(lambda leaf: leaf[-1], fit),
        without=jax.tree.map(lambda leaf: leaf[:-1], fit),
        alpha=alphas[best],
        alphas=alphas,
        errors=jnp.moveaxis(lost / jnp.where(parts.total > 0, parts.total, jnp.nan)[:, None, None], 0, 1),
        r2=r2,
    )


def _r2(lost: Array, spread: Array, total: Array, level: Array) -> Array:
    """Give 1 - lost / spread, `[A, K]`; NaN where the spread is rounding only."""
    noise = 4 * jnp.finfo(lost.dtype).eps * jnp.abs(level)
    varies = spread > total * noise**2
    return jnp.where(varies[None], 1 - lost / jnp.where(varies, spread, 1)[None], jnp.nan)


def _choose(r2: Array, alphas: Array, shared: bool) -> Array:
    """Give the index of the best penalty for each target, `[K]`; of the largest where nothing can be told."""
    known = ~jnp.isnan(r2)
    score = jnp.where(known, r2, 0)
    if shared:
        score = jnp.broadcast_to(jnp.sum(score, 1, keepdims=True), r2.shape)
        known = jnp.broadcast_to(known.any(1, keepdims=True), r2.shape)
    return jnp.argmax(jnp.where(known, score, alphas[:, None]), 0)


def leave_out(parts: Moments) -> tuple[Moments, Moments]:
    """Give the moments of all parts, and stacked those of all but each: by sums from both ends, so none cancels."""

    def add(so_far: Moments, part: Moments) -> tuple[Moments, Moments]:
        return join(so_far, part), so_far

    none = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), parts)
    whole, before = jax.lax.scan(add, none, parts)
    after = jax.lax.scan(add, none, parts, reverse=True)[1]
    return whole, jax.vmap(join)(before, after)


def _solve(stats: Moments, alphas: Array, known: Known) -> tuple[Array, Array]:
    """Give weights `[A, D, K]` for turned rows, and whether they are to be trusted, `[A]`."""
    dims, targets = stats.cross.shape
    eps = jnp.finfo(stats.square.dtype).eps
    share = stats.total / known.total
    shift = jnp.repeat(alphas, targets)[None]
    inverse = 1 / (share * known.values[:, None] + shift)

    def precondition(b: Array) -> Array:
        return matmul(known.axes, inverse * matmul(known.axes.T, b))

    def apply(u: Array) -> Array:
        return matmul(stats.square, u) + shift * u

    found, left = _conjugate_gradients(apply, precondition, jnp.tile(stats.cross, (1, len(alphas))))
    lowest = share * jnp.maximum(known.values[0] - 4 * eps * known.values[-1], 0)
    fine = (lowest + alphas >= 1e3 * eps * known.rest) & (left.reshape(-1, targets) < 1e3 * eps).all(1)
    return jnp.moveaxis(found.reshape(dims, len(alphas), targets), 0, 1), fine


class _State(NamedTuple):
    x: Array
    residual: Array
    direction: Array
    size: Array
    step: Array


def _conjugate_gradients(apply: Linear, precondition: Linear, b: Array, *, steps: int = 200) -> tuple[Array, Array]:
    """Solve for each column of `b [D, M]`, to rounding; give also what is left, over what there was, `[M]`.

    Sizes are `residual' P residual`, with P near the inverse: the squared error of outputs and penalty together.
    """
    eps = jnp.finfo(b.dtype).eps

    def dot(a: Array, b: Array) -> Array:
        return jnp.sum(a * b, 0)

    start = precondition(b)
    whole = dot(b, start)

    def unfinished(state: _State) -> Array:
        return (state.size > (10 * eps) ** 2 * whole).any() & (state.step < steps)

    def step(state: _State) -> _State:
        image = apply(state.direction)
        along = dot(state.direction, image)
        length = jnp.where(along > 0, state.size / jnp.where(along > 0, along, 1), 0)
        x = state.x + length[None] * state.direction
        residual = state.residual - length[None] * image
        better = precondition(residual)
        size = dot(residual, better)
        turn = jnp.where(state.size > 0, size / jnp.where(state.size > 0, state.size, 1), 0)
        return _State(x, residual, better + turn[None] * state.direction, size, state.step + 1)

    residual = b - apply(start)
    better = precondition(residual)
    first = _State(start, residual, better, dot(residual, better), jnp.int32(0))
    last = jax.lax.while_loop(unfinished, step, first)
    residual = b - apply(last.x)
    return last.x, jnp.sqrt(dot(residual, precondition(residual)) / jnp.where(whole > 0, whole, 1))


def _error(held: Moments, training: Moments, weight: Array) -> Array:
    """Give summed squared errors `[A, K]` on held-out rows of fits `weight [A, D, K]` to the training rows."""
    flat = jnp.reshape(jnp.moveaxis(weight, 0, 1), (weight.shape[1], -1))
    within = jnp.reshape(jnp.sum(flat * matmul(held.square, flat), 0), (weight.shape[0], -1))
    shared = jnp.einsum("adk,dk->ak", weight, held.cross, precision="highest")
    moved = jnp.reshape(matmul(held.centre - training.centre, flat), within.shape)
    offset = moved + (training.level - held.level)[None]
    return jnp.maximum(within - 2 * shared + held.spread[None], 0) + held.total * offset**2


def _finish(frame: streaming.Frame, stats: Moments, weight: Array, fine: Array) -> LinearFit:
    level = frame.level + stats.level - matmul(stats.centre, weight)
    zero = jnp.zeros((), weight.dtype)
    fit = LinearFit(streaming.turn_back(frame, weight), level, frame.origin, fine, jnp.int32(0), zero)
    return seal(fit, jnp.isfinite(stats.square).all() & jnp.isfinite(stats.cross).all())
