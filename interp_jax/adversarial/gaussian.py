"""The Gaussian model in which robustness has closed forms (Ilyas et al. 2019, section 4).

Labels y are -1 or 1 with equal chance and `x | y ~ N(y mean, covariance)`, so `y x` has that mean and covariance and
all that a fit sees of the data are these two moments. A `Gaussian` is a truth (the moments of `y x`, of a population
or of a sample) or a model of it. `S`, `m` are a model's covariance and mean, `z = x - y m`, and

    NLL(x, y) = 1/2 z' S^-1 z + 1/2 log det(2 pi S)                            the ordinary one, halves included
    penalised = max over d of NLL(x + d, y) - lam / 2 |d|^2                     needs lam > 1 / (least eigenvalue of S)
    constrained = max over |d| <= eps of NLL(x + d, y)

Halves: the paper prints Theorem 1 for the quadratic form without its 1/2 (and a penalty `C |d|^2`), that is twice the
increase of the likelihood above with `lam = C`; the maximiser d is the same. `vulnerability` is of the ordinary
likelihood, `vulnerability_as_printed` twice that. Theorem 2 is the same in both conventions.

lam and eps: a budget on the mean square, `E |d|^2 <= eps^2`, gives the penalised problem exactly (one quadratic
constraint has no duality gap), with lam the root that `multiplier` and `robust_multiplier` find. With a budget on each
example, `|d| <= eps`, every example has a multiplier of its own (`constrained_step`).

All is NaN where lam is too small for a maximum to exist or a covariance is not positive definite. Derivatives with
respect to covariances pass through `eigh` in some functions, and are undefined where two eigenvalues are equal.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from interp_jax.adversarial import norms
from interp_jax.adversarial.norms import Norm
from interp_jax.core import checks, keys
from interp_jax.core.linalg import add_row, matmul
from interp_jax.core.types import Array, ArrayLike, Key

NEWTON, HALVINGS = 30, 60


class Gaussian(NamedTuple):
    """mean: `[D]`. covariance: `[D, D]`, symmetric and positive definite."""

    mean: Array
    covariance: Array


class Descent(NamedTuple):
    """Where a minimisation led: the model, its expected penalised loss, and the size of the gradient there."""

    model: Gaussian
    loss: Array
    gradient: Array


def _door(model: Gaussian) -> None:
    chex.assert_rank([model.mean, model.covariance], [1, 2])
    chex.assert_shape(model.covariance, (model.mean.size, model.mean.size))


def _narrowed(covariance: Array, lam: ArrayLike) -> Array:
    """Give `S - I / lam`: what the best adversary makes of the covariance in the quadratic form."""
    eye = jnp.eye(len(covariance), dtype=covariance.dtype)
    return covariance - eye / jnp.asarray(lam, covariance.dtype)


def _whiten(covariance: Array, z: Array) -> Array:
    """Solve `L w = z`, `L L' = covariance`: `|w|^2 = z' covariance^-1 z`; NaN if it is not positive definite."""
    return jax.scipy.linalg.solve_triangular(jnp.linalg.cholesky(covariance), z, lower=True)


def _volume(covariance: Array) -> Array:
    """Give `1/2 log det(2 pi covariance)`."""
    diagonal = jnp.diagonal(jnp.linalg.cholesky(covariance))
    return jnp.sum(jnp.log(diagonal)) + 0.5 * len(diagonal) * math.log(2 * math.pi)


def draw(truth: Gaussian, key: Key) -> tuple[Array, Array]:
    """Draw one example `x [D]` and its label y, -1 or 1."""
    _door(truth)
    y = jax.random.rademacher(keys.stream(key, "label"), (), truth.mean.dtype)
    noise = jax.random.normal(keys.stream(key, "noise"), truth.mean.shape, truth.mean.dtype)
    return y * truth.mean + matmul(jnp.linalg.cholesky(truth.covariance), noise), y


def maximum_likelihood(xs: Array, ys: Array) -> Gaussian:
    """Fit the ordinary maximum likelihood: the mean and the (1/N) covariance of `y x`. xs: `[N, D]`. ys: `[N]`."""
    chex.assert_rank([xs, ys], [2, 1])
    chex.assert_equal_shape_prefix([xs, ys], 1)
    z = xs * ys.astype(xs.dtype)[:, None]
    mean = jnp.mean(z, 0)
    z = add_row(z, -mean)
    return Gaussian(mean, matmul(z.T, z) / len(z))


def negative_log_likelihood(model: Gaussian, x: Array, y: ArrayLike) -> Array:
    """Give `1/2 z' S^-1 z + 1/2 log det(2 pi S)` of one example in nats.

    >>> model = Gaussian(jnp.ones(2), jnp.eye(2))
    >>> round(negative_log_likelihood(model, jnp.ones(2), 1.0).item(), 4)
    1.8379
    """
    return penalised_loss(model, x, y, jnp.inf)


def penalised_loss(model: Gaussian, x: Array, y: ArrayLike, lam: ArrayLike) -> Array:
    """Give `max over d of NLL(x + d, y) - lam / 2 |d|^2 = 1/2 z' (S - I / lam)^-1 z + 1/2 log det(2 pi S)`.

    x: `[D]`. y: -1 or 1. lam: above the largest eigenvalue of `S^-1`, else NaN; inf for no adversary.
    """
    _door(model)
    chex.assert_equal_shape([x, model.mean])
    checks.positive(lam=lam)
    white = _whiten(_narrowed(model.covariance, lam), x - y * model.mean)
    return 0.5 * jnp.sum(white**2) + _volume(model.covariance)


def penalised_step(model: Gaussian, x: Array, y: ArrayLike, lam: ArrayLike) -> Array:
    """Give the d of the penalised maximum: `(lam S - I)^-1 z` (Ilyas et al. 2019, proof of Theorem 1)."""
    _door(model)
    checks.positive(lam=lam)
    z, narrowed = x - y * model.mean, _narrowed(model.covariance, lam)
    return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(narrowed), True), z) / jnp.asarray(lam, z.dtype)


def constrained_step(model: Gaussian, x: Array, y: ArrayLike, eps: ArrayLike) -> Array:
    """Give the d with `|d| <= eps` of the largest NLL: `(nu S - I)^-1 z`, nu the root of `|d| = eps`.

    The maximum of a convex form lies on the sphere, at `nu >= 1 / (least eigenvalue)` (the secular equation of trust
    regions; Conn, Gould and Toint 2000, chapter 7). Where z has no part along the widest direction of `S^-1` and the
    others do not fill the ball, the rest goes along it; both signs do, and the positive is given. Found in the axes
    of S; eps below zero gives NaN.
    """
    _door(model)
    chex.assert_equal_shape([x, model.mean])
    checks.not_negative(eps=eps)
    values, axes = _axes(model.covariance)
    pull = matmul(axes.T, x - y * model.mean) / values
    gaps = 1 / values[0] - 1 / values
    eps = jnp.where(jnp.asarray(eps, x.dtype) >= 0, jnp.asarray(eps, x.dtype), jnp.nan)
    shift = _secular(pull**2, gaps, eps)
    step = jnp.where(pull == 0, 0.0, pull / jnp.where(pull == 0, 1.0, shift + gaps))
    rest = jnp.sqrt(jnp.maximum(eps**2 - jnp.sum(step**2), 0.0))
    step = step.at[0].add(jnp.where(shift > 0, 0.0, rest))
    return jnp.where(eps == 0, 0.0, matmul(axes, step))


def constrained_loss(model: Gaussian, x: Array, y: ArrayLike, eps: ArrayLike) -> Array:
    """Give `max over |d| <= eps of NLL(x + d, y)`; its derivative is that at the maximiser (Danskin)."""
    step = jax.lax.stop_gradient(constrained_step(model, x, y, eps))
    return negative_log_likelihood(model, x + step, y)


def expected_loss(model: Gaussian, truth: Gaussian, lam: ArrayLike = math.inf) -> Array:
    """Give the mean penalised loss: `1/2 tr((S - I / lam)^-1 M) + 1/2 log det(2 pi S)`.

    `M = S* + (m - m*)(m - m*)'` is the second moment of `z` under the truth. Where the truth holds the moments of a
    sample (`maximum_likelihood`), this is the mean over the sample. lam = inf: the ordinary cross entropy.
    """
    _door(model)
    _door(truth)
    checks.positive(lam=lam)
    narrowed = _narrowed(model.covariance, lam)
    spread = _whiten(narrowed, jnp.linalg.cholesky(truth.covariance))
    miss = _whiten(narrowed, model.mean - truth.mean)
    return 0.5 * (jnp.sum(spread**2) + jnp.sum(miss**2)) + _volume(model.covariance)


def robust_maximum_likelihood(truth: Gaussian, lam: ArrayLike) -> Gaussian:
    """Give the model of least expected penalised loss (Ilyas et al. 2019, Theorem 2).

    `m_r = m*` and `S_r = S*/2 + I / lam + sqrt(S* / lam + S*^2 / 4)`: the solution of `(S - I / lam)^2 = S* S` in each
    axis of S*. It is wider than S*, most so, in proportion, in its narrow directions.

    >>> truth = Gaussian(jnp.ones(2), jnp.diag(jnp.array([1.0, 2.0])))
    >>> robust_maximum_likelihood(truth, 1.0).covariance.diagonal().round(4)
    Array([2.618 , 3.7321], dtype=float32)
    """
    _door(truth)
    checks.positive(lam=lam)
    values, axes = _axes(truth.covariance)
    lam = jnp.asarray(lam, values.dtype)
    wide = values / 2 + 1 / lam + jnp.sqrt(values / lam + values**2 / 4)
    wide = jnp.where(lam > 0, wide, jnp.nan)
    return Gaussian(truth.mean, matmul(axes * wide[None, :], axes.T))


def minimise(truth: Gaussian, lam: ArrayLike, start: Gaussian, *, steps: int = 100) -> Descent:
    """Minimise the expected penalised loss directly, by L-BFGS: the check of Theorem 2 that knows none of it.

    The unknowns are the mean and a triangle L with `S = I / lam + L L'`, so that the adversary's maximum always exists.
    The loss is convex in `(S - I / lam)^-1` at any fixed mean: there is one minimum. start: a model whose covariance
    exceeds `I / lam`, else NaN. lam: inf for ordinary maximum likelihood. On 40 problems (D of 2 and 5, lam from .1 to
    100) S came within 4e-7 of Theorem 2 in float32 and 2e-15 in float64, relative, after 150 steps.
    """
    _door(start)
    checks.whole(1, steps=steps)
    eye = jnp.eye(start.mean.size, dtype=start.mean.dtype)

    def model(point: tuple[Array, Array]) -> Gaussian:
        root = jnp.tril(point[1])
        return Gaussian(point[0], matmul(root, root.T) + eye / jnp.asarray(lam, eye.dtype))

    def loss(point: tuple[Array, Array]) -> Array:
        return expected_loss(model(point), truth, lam)

    solver = optax.lbfgs()
    look = optax.value_and_grad_from_state(loss)

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        point, state = carry
        value, gradient = look(point, state=state)
        move, state = solver.update(gradient, state, point, value=value, grad=gradient, value_fn=loss)
        return (optax.apply_updates(point, move), state), None

    point = start.mean, jnp.linalg.cholesky(_narrowed(start.covariance, lam))
    (point, _), _ = jax.lax.scan(step, (point, solver.init(point)), length=steps)
    value, gradient = jax.value_and_grad(loss)(point)
    return Descent(model(point), value, optax.tree.norm(gradient))


def vulnerability(covariance: Array, lam: ArrayLike) -> Array:
    """Give how much the penalised adversary raises the ordinary NLL of a true model: `1/2 (tr[(I + V)^2] - D)`.

    `V = (lam S - I)^-1`; d = V z. Half of Theorem 1 as printed. The penalty is not subtracted; with it, `1/2 tr V`
    remains. NaN unless `lam > 1 / (least eigenvalue of S)`.

    >>> round(vulnerability(jnp.diag(jnp.array([1.0, 2.0])), 2.0).item(), 4)
    1.8889
    """
    chex.assert_rank(covariance, 2)
    checks.positive(lam=lam)
    excess = jnp.asarray(lam, covariance.dtype) * jnp.linalg.eigvalsh(covariance) - 1
    v = jnp.where(jnp.min(excess) > 0, 1 / excess, jnp.nan)
    return 0.5 * jnp.sum(v * (2 + v))


def vulnerability_as_printed(covariance: Array, lam: ArrayLike) -> Array:
    """Give `tr[(I + (C S - I)^-1)^2] - D` (Ilyas et al. 2019, Theorem 1), C = lam: twice `vulnerability`."""
    return 2 * vulnerability(covariance, lam)


def mean_square_step(model: Gaussian, truth: Gaussian, lam: ArrayLike) -> Array:
    """Give `E |d|^2 = tr[V M V]` of the penalised adversary, `V = (lam S - I)^-1`, M as in `expected_loss`."""
    _door(model)
    _door(truth)
    checks.positive(lam=lam)
    lam = jnp.asarray(lam, model.mean.dtype)
    root = (jnp.linalg.cholesky(_narrowed(model.covariance, lam)), True)
    spread = jax.scipy.linalg.cho_solve(root, jnp.linalg.cholesky(truth.covariance)) / lam
    miss = jax.scipy.linalg.cho_solve(root, model.mean - truth.mean) / lam
    return jnp.sum(spread**2) + jnp.sum(miss**2)


def multiplier(eps: ArrayLike, model: Gaussian, truth: Gaussian) -> Array:
    """Give the lam at which the penalised adversary of a fixed model spends `E |d|^2 = eps^2`.

    It minimises `expected_loss(model, truth, lam) + lam eps^2 / 2`, whose least value is the expected loss under the
    constraint `E |d|^2 <= eps^2`. Unique, falls as eps grows, and stays above `1 / (least eigenvalue of S)`.
    """
    _door(model)
    _door(truth)
    checks.positive(eps=eps)
    values, axes = _axes(model.covariance)
    spread = matmul(axes.T, jnp.linalg.cholesky(truth.covariance))
    second = jnp.sum(spread**2, 1) + matmul(axes.T, model.mean - truth.mean) ** 2
    eps = jnp.asarray(eps, values.dtype)
    shift = _secular(second / values**2, 1 / values[0] - 1 / values, jnp.where(eps > 0, eps, jnp.nan))
    return 1 / values[0] + shift


def robust_multiplier(eps: ArrayLike, truth: Gaussian) -> Array:
    """Give the lam at which `robust_maximum_likelihood` is the answer to the budget `E |d|^2 <= eps^2`.

    In an axis of variance s, `lam S_r - 1 = u = t/2 + sqrt(t + t^2/4)`, `t = lam s`, and the adversary of S_r spends
    `s / u^2`; the root of `sum s / u^2 = eps^2` is unique, since u grows with lam. Brackets: `max(t, sqrt t) <= u <= t
    + sqrt t`.
    """
    _door(truth)
    checks.positive(eps=eps)
    values = _axes(truth.covariance)[0]
    eps = jnp.asarray(eps, values.dtype)
    eps = jnp.where(eps > 0, eps, jnp.nan)

    def excess(log_lam: Array) -> Array:
        t = jnp.exp(log_lam) * values
        u = t / 2 + jnp.sqrt(t + t**2 / 4)
        return jnp.log(jnp.sum(values / u**2)) - 2 * jnp.log(eps)

    low = jnp.minimum(0.25 / eps**2, 0.5 / (eps * jnp.sqrt(values[0])))
    high = jnp.minimum(len(values) / eps**2, jnp.sqrt(jnp.sum(1 / values)) / eps)
    return jnp.exp(_bisect(excess, jnp.log(low), jnp.log(high)))


def separator(model: Gaussian) -> Array:
    """Give `S^-1 m [D]`, the gradient of the log odds over two: `log p(1 | x) / p(-1 | x) = 2 m' S^-1 x`."""
    _door(model)
    return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(model.covariance), True), model.mean)


def accuracy(weight: Array, truth: Gaussian, *, eps: ArrayLike = 0.0, norm: Norm = norms.l2) -> Array:
    """Give the chance that `sign(w'x)` is y and stays so within eps: `Phi((w'm - eps |w|_*) / sqrt(w' S w))`."""
    _door(truth)
    chex.assert_equal_shape([weight, truth.mean])
    checks.not_negative(eps=eps)
    if norm.dual is None:
        raise ValueError("want a norm with a dual, got l0")
    drop = jnp.asarray(eps, weight.dtype) * norm.dual(weight)
    spread = norms.safe_norm(matmul(jnp.linalg.cholesky(truth.covariance).T, weight))
    return jax.scipy.stats.norm.cdf((matmul(weight, truth.mean) - drop) / spread)


def alignment(model: Gaussian) -> Array:
    """Give the cosine between the classifier's gradient `S^-1 m` and the line between the classes, m."""
    weight = separator(model)
    return matmul(weight, model.mean) / (norms.safe_norm(weight) * norms.safe_norm(model.mean))


def worst_alignment(covariance: Array) -> Array:
    """Give the least alignment over means: `2 sqrt(k) / (1 + k)`, k the condition number (Kantorovich; Theorem 3).

    Theorem 3 of Ilyas et al. (2019) says that it is larger for S_r than for S*: k is smaller there.

    >>> round(worst_alignment(jnp.diag(jnp.array([1.0, 100.0]))).item(), 6)
    0.19802
    """
    values = _axes(covariance)[0]
    root = jnp.sqrt(values[-1] / values[0])
    return 2 * root / (1 + root**2)


def worst_mean(covariance: Array) -> Array:
    """Give a mean `[D]` of the least alignment: `sqrt(s_1) v_1 + sqrt(s_D) v_D`, from the outermost axes."""
    values, axes = _axes(covariance)
    return jnp.sqrt(values[0]) * axes[:, 0] + jnp.sqrt(values[-1]) * axes[:, -1]


def _axes(covariance: Array) -> tuple[Array, Array]:
    """Give eigenvalues, rising, and axes; NaN if the least is not positive."""
    chex.assert_rank(covariance, 2)
    values, axes = jnp.linalg.eigh(covariance)
    return jnp.where(values[0] > 0, values, jnp.nan), axes


def _secular(weights: Array, gaps: Array, eps: Array) -> Array:
    """Find the `shift >= 0` with `sum weights / (shift + gaps)^2 = eps^2`; 0 where even that sum is below eps^2.

    Newton on `1 / sqrt(sum) - 1 / eps`, increasing and concave: from below the root it rises to it without passing,
    and a last step carries the derivative.
    """
    eps = jnp.where(eps == 0, 1.0, eps)

    def newton(shift: Array, weights: Array) -> Array:
        at = shift + gaps
        terms = jnp.where(weights > 0, weights / jnp.where(weights > 0, at, 1.0) ** 2, weights)
        size = jnp.sqrt(jnp.sum(terms))
        slope = jnp.sum(jnp.where(weights > 0, terms / jnp.where(weights > 0, at, 1.0), 0.0)) / size**2
        return shift + jnp.where(size > 0, (size / eps - 1) / jax.lax.stop_gradient(slope), -shift)

    fixed = jax.lax.stop_gradient(weights)
    start = jnp.maximum(jnp.max(jnp.sqrt(fixed) / eps - gaps), 0.0)
    start = jnp.where(jnp.isnan(eps), eps, start)
    shift = jax.lax.fori_loop(0, NEWTON, lambda _, at: jnp.maximum(newton(at, fixed), start), start)
    return jnp.maximum(newton(jax.lax.stop_gradient(shift), weights), 0.0)


def _bisect(function: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Find the root of a falling function, with one Newton step at the end that carries the derivative."""

    def halve(_: Array, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = 0.5 * (bracket[0] + bracket[1])
        above = function(middle) > 0
        return jnp.where(above, middle, bracket[0]), jnp.where(above, bracket[1], middle)

    low, high = jax.lax.stop_gradient((low, high))
    low, high = jax.lax.fori_loop(0, HALVINGS, halve, (low, high))
    at = jax.lax.stop_gradient(0.5 * (low + high))
    value, slope = jax.value_and_grad(function)(at)
    return at - value / jax.lax.stop_gradient(slope)
