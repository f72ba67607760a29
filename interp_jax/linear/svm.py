"""Linear support vector machines: the squared hinge by L-BFGS, the hinge by an interior-point method.

The objective is a sum over rows, and alpha is one over the C of scikit-learn, liblinear and libsvm:

    sum_n weights_n max(0, 1 - s_n output_n)^power + alpha / 2 |weight|^2,        s = 2 y - 1

`fit(x, y, 1 / C, penalise_intercept=True)` is `LinearSVC(C)` and `fit_hinge(x, y, 1 / C)` is `SVC(kernel="linear", C)`.
liblinear treats the intercept as the weight of one more feature, the constant `intercept_scaling = 1`, and penalises
it: its fit depends on where the origin of the features is. That is offered for what was published with it; the default
leaves the intercept free.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from interp_jax.core.checks import not_negative, positive, whole
from interp_jax.core.linalg import centre_rows, matmul, reduce_columns
from interp_jax.core.types import Array, ArrayLike
from interp_jax.linear import interior
from interp_jax.linear.fits import LinearFit, Rows, prepare, seal
from interp_jax.linear.smooth import fit_loss


def fit(
    x: Array,
    y: Array,
    alpha: ArrayLike,
    *,
    weights: Array | None = None,
    penalise_intercept: bool = False,
    steps: int = 200,
    tol: float = 1e-5,
) -> LinearFit:
    """Fit the margin of one label with the squared hinge.

    x: `[N, D]`. y: `[N]`, 0 or 1, else the fit is NaN. alpha: `[]`. weights: `[N]`, not negative; zero deletes the row.

    `gap` is |gradient| over the value of the mean objective, in coordinates of curvature at most one; `converged` is
    `gap < tol`. It is False where the loss runs to zero: for one class only, and for separable classes at alpha = 0.
    Largest error of a margin against float64 over nine small problems: 5e-6; with a penalised intercept and features
    1e4 away from zero, 3e-4.
    """
    not_negative(alpha=alpha)
    positive(tol=tol)
    whole(1, steps=steps)
    rows = _signs(x, y, alpha, weights)
    width = rows.x.shape[1]
    if penalise_intercept:
        rows = rows._replace(x=jnp.concatenate([rows.x, jnp.ones_like(rows.x[:, :1])], 1))

    def loss(outputs: Array, sign: Array) -> Array:
        return jnp.sum(jax.nn.relu(1 - sign * outputs) ** 2, 0)

    alpha, start = jnp.asarray(alpha, rows.x.dtype), jnp.zeros_like(rows.y[0])
    centred = not penalise_intercept
    found = fit_loss(loss, rows, alpha, curvature=2.0, start=start, centred=centred, steps=steps, tol=tol)
    if penalise_intercept:
        found = found._replace(weight=found.weight[:width], level=found.weight[width], centre=found.centre[:width])
    return seal(found, rows.valid)


def _signs(x: Array, y: Array, alpha: ArrayLike, weights: Array | None) -> Rows:
    chex.assert_rank([y, alpha], [1, 0])
    rows = prepare(x, y, alpha, weights)
    label = (rows.y == 0) | (rows.y == 1) | (rows.weights == 0)[:, None]
    return rows._replace(y=jnp.where(rows.y == 1, 1.0, -1.0).astype(rows.x.dtype), valid=rows.valid & label.all())


def one_versus_rest(
    fit: Callable[..., LinearFit], x: Array, y: Array, alpha: ArrayLike, *, weights: Array | None = None
) -> LinearFit:
    """Fit each of K labels against the others with a fit of one label, and stack the columns: `weight [D, K]`.

    y: `[N, K]`, one-hot (`jax.nn.one_hot(classes, K)`). weights: `[N]`, or `[N, K]` for weights of its own in each
    problem. The class is the argmax of `predict`. `converged` asks it of all K; `steps` and `gap` are the largest.

    liblinear's `class_weight` enters in the class's own problem only: `weights = 1 + y * (balanced(classes, K)[:, None]
    - 1)`.
    """
    chex.assert_rank(y, 2)
    weights = jnp.ones(y.shape[0], jnp.result_type(x, jnp.float32)) if weights is None else weights
    weights = weights if weights.ndim == 2 else jnp.broadcast_to(weights[:, None], y.shape)
    found = jax.vmap(lambda label, share: fit(x, label, alpha, weights=share), (1, 1))(y, weights)
    weight, centre = found.weight[:, :, 0].T, found.centre[0]
    moved = matmul((centre[None] - found.centre)[:, None], found.weight)[:, 0, 0]
    return LinearFit(
        weight, found.level[:, 0] + moved, centre, found.converged.all(), found.steps.max(), found.gap.max()
    )


def balanced(classes: Array, count: int, *, weights: Array | None = None) -> Array:
    """Give the weights `[N]` under which all classes weigh the same: `N / (count N_class)`, times `weights`.

    classes: `[N]`, integers below `count`. With a class that does not occur, `count` still counts it, unlike
    scikit-learn.
    """
    whole(1, count=count)
    chex.assert_rank(classes, 1)
    weights = jnp.ones(len(classes)) if weights is None else weights
    members = jax.nn.one_hot(classes, count, dtype=weights.dtype)
    size = matmul(members, matmul(weights, members))
    return jnp.where(weights > 0, weights * jnp.sum(weights) / (count * jnp.where(size > 0, size, 1)), 0)


def fit_hinge(
    x: Array, y: Array, alpha: ArrayLike, *, weights: Array | None = None, steps: int = 50, tol: float = 1e-5
) -> LinearFit:
    """Fit the margin of one label with the plain hinge and a free intercept.

    x: `[N, D]`. y: `[N]`, 0 or 1, else the fit is NaN. alpha: `[]`, above zero. weights: `[N]`, not negative; zero
    deletes the row.

    A primal-dual interior point: some 10 to 25 steps whatever the scale of the features or alpha, each a QR of `[N,
    min(N, D)]`. (libsvm moves a pair of dual variables a step: on 300 rows whose features differ in scale by 30, at C =
    1, over 50,000 steps.) `gap` is the relative duality gap, a bound on the distance of the objective from its minimum;
    `converged` is `gap < tol`, but the search goes on to where rounding stops it, typically 1e-7 in float32. One class
    alone is not converged: weight 0. Largest error of a margin against float64: 1e-5, or 8e-4 where features differ in
    scale by 1e6.

    >>> x = jnp.array([[-2.0], [-1.0], [1.0], [3.0]])
    >>> found = jax.jit(fit_hinge)(x, jnp.array([0, 0, 1, 1]), 0.1)
    >>> found.converged.item(), round(found.weight.item(), 3)
    (True, 1.0)
    """
    positive(alpha=alpha, tol=tol)
    whole(1, steps=steps)
    rows = _signs(x, y, alpha, weights)
    alpha = jnp.asarray(alpha, rows.x.dtype)
    valid = rows.valid & (alpha > 0)
    sign, present = rows.y[:, 0], rows.weights > 0
    both = ((sign > 0) & present).any() & ((sign < 0) & present).any()
    x, centre, rest = centre_rows(rows.x, jnp.ones_like(rows.weights))
    short, basis = reduce_columns(x)
    design = jnp.where(present[:, None], jnp.concatenate([short, jnp.ones_like(short[:, :1])], 1), 0)
    found = interior.minimise(design, sign, jnp.where(present, rows.weights, 1), jnp.where(valid, alpha, 1), steps, tol)
    weight = jnp.where(both, matmul(basis, found.weight[:-1]), 0)
    level = jnp.where(both, found.weight[-1] - matmul(rest, weight), jnp.sign(matmul(rows.weights, sign)))
    converged = both & (found.gap < tol)
    return seal(LinearFit(weight[:, None], level[None], centre, converged, found.steps, found.gap), valid)
