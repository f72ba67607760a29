"""The line search and the minimiser on problems whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.linear.smooth import line_search, minimise


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_line_search_finds_a_slope_small_enough_from_any_scale(scale):
    """softplus(a - t) + .01 t: flat curvature on the far side, so that Newton alone would run away."""
    start = 30 * scale

    def height(t):
        return jax.nn.softplus((start - t) / scale) + 0.01 * t / scale

    t = jax.jit(lambda: line_search(height))()
    slope = jax.grad(height)
    assert abs(slope(t)) <= 0.5 * abs(slope(0.0))
    assert height(t) < height(0.0)


def test_line_search_takes_the_whole_step_of_a_quadratic_and_none_uphill():
    assert line_search(lambda t: (t - 1) ** 2) == 1
    assert line_search(lambda t: (t + 1) ** 2) == 0
    assert line_search(lambda t: jnp.nan * t) == 0


def test_minimise_solves_a_quadratic_and_reports_where_it_stopped():
    scale = jnp.asarray(np.geomspace(1, 30, 8), jnp.float32)
    target = jnp.asarray(np.random.default_rng(0).normal(size=8), jnp.float32)

    def run(steps):
        value = lambda image: 1 + 0.5 * jnp.sum((image - scale * target) ** 2)  # noqa: E731
        return minimise(value, lambda point: scale * point, jnp.zeros(8), steps=steps, tol=1e-4)

    full, short = jax.jit(run, static_argnums=0)(100), jax.jit(run, static_argnums=0)(2)
    np.testing.assert_allclose(full.point, target, rtol=0, atol=1e-4)
    assert full.gap < 1e-4
    assert short.steps == 2
    assert short.gap > 1e-4


def test_a_value_that_runs_to_zero_is_not_a_minimum():
    found = jax.jit(lambda: minimise(lambda z: jnp.exp(-z), lambda point: point, jnp.zeros(()), steps=200, tol=1e-4))()
    assert not found.gap < 1e-4
