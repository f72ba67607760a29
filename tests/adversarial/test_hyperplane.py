import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_jax.adversarial import norms
from interp_jax.adversarial.hyperplane import reach
from tests.oracles import minimal as oracle

N = 7
NORMS = {"l1": norms.l1, "l2": norms.l2, "linf": norms.linf}
RUN = {name: jax.jit(lambda *arrays, norm=norm: reach(*arrays, norm=norm)) for name, norm in NORMS.items()}
WEIGHT = np.array([2.0, -1.0, 0.5, 0.0, 3.0, -0.25, 1.0], np.float32)
SLOPES = st.one_of(st.just(0.0), st.floats(0.01, 10), st.floats(-10, -0.01))
ROOM = st.one_of(st.just(0.0), st.floats(0.01, 3))


@pytest.mark.parametrize("name", NORMS)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(SLOPES, min_size=N, max_size=N),
    st.lists(ROOM, min_size=N, max_size=N),
    st.lists(ROOM, min_size=N, max_size=N),
    st.floats(-1.2, 1.2),
)
def test_the_step_is_the_smallest_in_the_box_that_reaches_the_plane(name, weight, low, high, share):
    weight, low, high = np.float32(weight), -np.float32(low), np.float32(high)
    most = np.where(weight > 0, high, low) if share > 0 else np.where(weight > 0, low, high)
    amount = np.float32(abs(share) * (weight @ most))
    d = np.float64(RUN[name](weight, amount, low, high))
    assert (d >= low).all()
    assert (d <= high).all()
    scale = np.abs(weight) @ np.maximum(high, -low) + 1e-30
    if abs(share) > 1:
        np.testing.assert_array_equal(d[weight != 0], most[weight != 0])
        return
    np.testing.assert_allclose(weight @ d, amount, atol=2e-6 * scale)
    best = oracle.onto_plane(weight, amount, low, high, name)
    if best is not None:  # at a share of 1 rounding decides whether the plane is reached
        np.testing.assert_allclose(oracle.size(d, name), oracle.size(best, name), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NORMS)
def test_without_bounds_the_size_is_the_distance_over_the_dual_norm(name):
    for amount in (1.7, -1.7, 0.0):
        d = RUN[name](WEIGHT, amount, np.full(N, -np.inf, np.float32), np.full(N, np.inf, np.float32))
        np.testing.assert_allclose(oracle.size(d, name), abs(amount) / NORMS[name].dual(WEIGHT), rtol=1e-6)
        np.testing.assert_allclose(WEIGHT @ d, amount, rtol=1e-6)


@pytest.mark.parametrize("name", NORMS)
def test_the_scale_of_the_weight_does_not_matter_and_no_weight_gives_no_step(name):
    low, high = np.full(N, -0.3, np.float32), np.full(N, 0.2, np.float32)
    d = RUN[name](WEIGHT, 1.0, low, high)
    for scale in (2.0**-100, 2.0**100):
        np.testing.assert_allclose(RUN[name](scale * WEIGHT, scale, low, high), d, rtol=1e-6)
    np.testing.assert_array_equal(RUN[name](0 * WEIGHT, 1.0, low, high), np.zeros(N))


def test_many_breakpoints_far_apart_are_passed():
    n = 60
    room = jnp.float32(2.0) ** jnp.arange(-n // 2, n // 2)
    amount = 0.9 * room.sum()
    d = RUN["linf"](jnp.ones(n), amount, -room, room)
    np.testing.assert_allclose(d.sum(), amount, rtol=1e-5)
    assert ((d == room) | (d == d.max())).all()


def test_other_norms_are_refused():
    with pytest.raises(ValueError, match="want norm l1, l2 or linf"):
        reach(WEIGHT, 1.0, -jnp.ones(N), jnp.ones(N), norm=norms.l0)


def test_what_a_large_weight_leaves_to_a_small_one_is_not_rounded():
    """All room is needed, and every number here is one of float32."""
    weight, low, high = np.float32([-10, 0.015625]), np.float32([0, -2]), np.float32([1, 0])
    for name in ("linf", "l2"):
        np.testing.assert_allclose(RUN[name](weight, np.float32(-10.03125), low, high), [1, -2], rtol=1e-6)


@pytest.mark.parametrize("name", NORMS)
def test_an_undefined_amount_gives_no_plausible_step(name):
    low, high = np.full(N, -0.3, np.float32), np.full(N, 0.2, np.float32)
    assert np.isnan(RUN[name](WEIGHT, np.float32(np.nan), low, high)[WEIGHT != 0]).any()
