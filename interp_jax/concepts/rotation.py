"""Rotation of axes towards concepts, by steps on the manifold of orthogonal matrices (Wen and Yin 2013).

Concept whitening (Chen, Bei and Rudin 2020, section 3.3) wants axes r_1 .. r_k, orthonormal rows of R, that make

    F(R) = <G, R> = sum_j g_j . r_j

small, where -g_j is the mean of concept j's examples (or of the places that its activation is made of). One step goes
along the Cayley curve of A = G R' - R G',

    Y(tau) = (I + tau/2 A)^-1 (I - tau/2 A) R,

which stays orthogonal, with a tau that satisfies the conditions of Armijo and Wolfe.

Only the first k rows of G are not zero, so A acts on r = min(2k, D) dimensions: the axes 1 .. k and where B, the other
columns of G R', points. In an orthonormal basis P of those, with B = L Q' (k x k and k x D-k),

    a = [[K, L], [-L', 0]],    K = (G R')_k - (G R')_k',    Y = R + P ((I + tau/2 a)^-1 (I - tau/2 a) - I) P' R,

and each try of the search is a solve of size r, where the released code inverts D x D matrices twice. It is exact, no
approximation.

For fixed G the best axes have a closed form, the polar factor of -G (orthogonal Procrustes); steps go part of the way,
since G changes with the net, and with R for activations that choose places.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array, ArrayLike


class Info(NamedTuple):
    """What a step did. tau: its length. decrease: `F(R) - F(Y)`. slope: `dF/dtau` at 0, `-|A|^2 / 2`.

    tries: of the search. accepted: whether a tau was found; if not, R stays (tau is 0).
    """

    tau: Array
    decrease: Array
    slope: Array
    tries: Array
    accepted: Array


class _Plane(NamedTuple):
    """The dimensions that a step moves. basis: `[D, r]`. skew: a, `[r, r]`. gradient: of F with respect to q, there."""

    basis: Array
    skew: Array
    gradient: Array


def init(axes: int, *, dtype: jnp.dtype = jnp.float32) -> Array:
    """Give the rotation that leaves all axes as they are, `[axes, axes]`."""
    checks.whole(1, axes=axes)
    return jnp.eye(axes, dtype=dtype)


def step(
    rotation: Array,
    gradient: Array,
    *,
    start: ArrayLike = 1000.0,
    longest: ArrayLike = 1e8,
    armijo: ArrayLike = 1e-4,
    wolfe: ArrayLike = 0.9,
    tries: int = 100,
) -> tuple[Array, Info]:
    """Turn the rotation once, so that `<gradient, rotation>` falls.

    Defaults are those of the released code (which takes two steps at an alignment, and 500 tries: bisection of float32
    has no more than some 60). Where the search fails, as it does by rounding once the rows are as good as they get,
    that code takes the last tau it tried; here the rotation stays.

    Rounding errors add up from step to step: after 1,000 updates of two steps in float32, `|R R' - I|` had entries of
    2e-5 (6 axes, 2 gradients) and 3e-4 (32 axes, 20 gradients). So each step ends with one iteration of Newton and
    Schulz towards the nearest orthogonal matrix, which squares the error: 1e-7 in both.

    Args:
        rotation: `[D, D]`, rows are axes.
        gradient: `[k, D]`, of the first k rows; the others' are zero.
        start: the first tau.
        longest: the upper end of the search.
        armijo: the share of the first slope that F must fall by.
        wolfe: the share of the first slope that the slope must have fallen to.
        tries: of the search at most.

    Raises:
        ValueError: for more gradients than axes.

    >>> rotation, info = step(init(3), jnp.array([[0.0, -1.0, 0.0]]))
    >>> bool(rotation[0, 1] > 0), bool(info.accepted)
    (True, True)
    """
    _check(rotation, gradient)
    checks.whole(1, tries=tries)
    plane = _plane(rotation, gradient)
    slope = -0.5 * jnp.sum(plane.skew * plane.skew)
    found = _search(plane, slope, start, longest, armijo, wolfe, tries)
    tau, fall, change = (jnp.where(found.accepted, each, 0) for each in (found.tau, found.fall, found.change))
    moved = rotation + matmul(plane.basis, matmul(change, matmul(plane.basis.T, rotation)))
    return orthonormalize(moved), Info(tau, -fall, slope, found.tries, found.accepted)


def orthonormalize(rotation: Array) -> Array:
    """Take one step of Newton and Schulz to the nearest orthogonal matrix: `R (3 I - R' R) / 2`, for R nearly so."""
    return 1.5 * rotation - 0.5 * matmul(rotation, matmul(rotation.T, rotation))


def _plane(rotation: Array, gradient: Array) -> _Plane:
    """Find the dimensions that the step moves, and A and G R' there."""
    k, d = gradient.shape
    turned = matmul(gradient, rotation.T)
    own, rest = turned[:, :k], turned[:, k:]
    axes = jnp.eye(d, k, dtype=rotation.dtype)
    if d > 2 * k:
        others, short = jnp.linalg.qr(rest.T)
        rest = short.T
    else:
        others = jnp.eye(d - k, dtype=rotation.dtype)
    basis = jnp.concatenate([axes, jnp.concatenate([jnp.zeros((k, others.shape[1]), rotation.dtype), others])], 1)
    small = jnp.pad(jnp.concatenate([own, rest], 1), ((0, basis.shape[1] - k), (0, 0)))
    return _Plane(basis, small - small.T, small)


def _try(plane: _Plane, tau: Array) -> tuple[Array, Array, Array]:
    """Give `q - I` of a tau, `F(Y) - F(R)` and `dF/dtau` there."""
    eye = jnp.eye(plane.skew.shape[0], dtype=plane.skew.dtype)
    inverse = jnp.linalg.inv(eye + tau / 2 * plane.skew)
    change = -tau * matmul(inverse, plane.skew)
    slope = -jnp.sum(plane.gradient * matmul(matmul(inverse, plane.skew), inverse))
    return change, jnp.sum(plane.gradient * change), slope


class _Search(NamedTuple):
    """low, high: between which tau is sought. tau: the next to try. change, fall: of the last try, see `_try`."""

    low: Array
    high: Array
    tau: Array
    change: Array
    fall: Array
    tries: Array
    accepted: Array


def _search(
    plane: _Plane, slope: Array, start: ArrayLike, longest: ArrayLike, armijo: ArrayLike, wolfe: ArrayLike, tries: int
) -> _Search:
    """Bisect for a tau with `F` low enough (else shorter) and `dF/dtau` risen enough (else longer)."""
    dtype = plane.skew.dtype

    def bisect(at: _Search) -> _Search:
        change, fall, there = _try(plane, at.tau)
        far = ~(fall <= armijo * at.tau * slope)
        near = ~far & (there < wolfe * slope)
        low, high = jnp.where(near, at.tau, at.low), jnp.where(far, at.tau, at.high)
        tau = jnp.where(far | near, (low + high) / 2, at.tau)
        return _Search(low, high, tau, change, fall, at.tries + 1, ~(far | near))

    low, high, tau = (jnp.asarray(value, dtype) for value in (0, longest, start))
    first = _Search(low, high, tau, jnp.zeros_like(plane.skew), low, jnp.int32(0), jnp.bool_(False))
    return jax.lax.while_loop(lambda at: ~at.accepted & (at.tries < tries), bisect, first)


def _check(rotation: Array, gradient: Array) -> None:
    chex.assert_rank([rotation, gradient], 2)
    d = rotation.shape[0]
    chex.assert_shape(rotation, (d, d))
    chex.assert_shape(gradient, (None, d))
    if not 1 <= gradient.shape[0] <= d:
        raise ValueError(f"want a gradient of at least one row and at most the {d} axes, got {gradient.shape[0]} rows")
