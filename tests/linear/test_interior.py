"""The interior-point method's own measure: the gap bounds the distance from the minimum at any point."""

import jax.numpy as jnp
import numpy as np

from interp_jax.linear.interior import Point, reach, relative_gap
from tests.oracles import linear as oracle


def test_the_relative_gap_bounds_the_distance_from_the_minimum():
    rng = np.random.default_rng(0)
    x, y, alpha, weights = rng.normal(size=(30, 3)), rng.integers(0, 2, 30), 0.5, rng.uniform(0.5, 2, 30)
    weight, bias = oracle.hinge(x, y, alpha, weights)
    least = oracle.hinge_objective(x, y, alpha, weights, weight[:, 0], bias[0])
    signed = jnp.asarray((2 * y - 1)[:, None] * np.hstack([x, np.ones((30, 1))]), jnp.float32)
    penalty = jnp.asarray([alpha] * 3 + [0], jnp.float32)
    for scale in (0, 0.1, 1):
        near = np.append(weight[:, 0], bias) + scale * rng.normal(size=4)
        # multipliers that obey sum s a = 0, as the bound wants
        a = weights * 0.5
        a[y == 1] *= a[y == 0].sum() / a[y == 1].sum()
        a, one = a / max(1, (a / weights).max()), np.ones(30)
        point = Point(*(jnp.asarray(v, jnp.float32) for v in (near, one, one, a, weights - a)))
        value = oracle.hinge_objective(x, y, alpha, weights, near[:3], near[3])
        assert relative_gap(point, signed, jnp.asarray(weights, jnp.float32), penalty) >= (value - least) / value - 1e-5


def test_reach_stops_at_the_nearest_boundary():
    one = jnp.ones(2)
    point, move = Point(one, one, 2 * one, one, one), Point(one, -one, -8 * one, one, 0 * one)
    np.testing.assert_allclose(reach(point, move), 0.25)
    np.testing.assert_allclose(reach(point, Point(*([one] * 5))), 1 / 0.99, rtol=1e-6)
