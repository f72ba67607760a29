"""Cayley steps against dense float64 matrices, the closed form of the best axes, and 1,000 updates of float32."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.concepts import rotation
from tests.oracles import whitening as oracle

STEP = jax.jit(rotation.step)


def orthogonal(rng, d):
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


@pytest.mark.parametrize(("d", "k"), [(8, 2), (5, 4), (3, 3)])
def test_a_step_is_the_papers_in_all_dimensions(d, k):
    """tau, the fall and the rotation, where the search starts too long (1000), too short, and where it fits."""
    rng = np.random.default_rng(d)
    r, g = orthogonal(rng, d), rng.normal(size=(k, d))
    whole = np.vstack([g, np.zeros((d - k, d))])
    for start in (1000.0, 1e-3, 0.3):
        tau, ended = oracle.search(r, whole, start)
        moved, info = STEP(r.astype(np.float32), g.astype(np.float32), start=start)
        assert ended
        assert bool(info.accepted)
        np.testing.assert_allclose(info.tau, tau, rtol=1e-6)
        want = oracle.cayley(r, whole, tau)
        np.testing.assert_allclose(moved, want, atol=5e-5)
        np.testing.assert_allclose(info.decrease, np.sum(whole * (r - want)), rtol=1e-4)
        a = whole @ r.T - r @ whole.T
        np.testing.assert_allclose(info.slope, -0.5 * np.sum(a**2), rtol=1e-5)


def test_a_traced_strength_compiles_once():
    rng = np.random.default_rng(0)
    r, g = (jnp.asarray(a, jnp.float32) for a in (orthogonal(rng, 8), rng.normal(size=(2, 8))))
    step = jax.jit(chex.assert_max_traces(lambda start: rotation.step(r, g, start=start)[1].tau, n=1))
    assert len({float(step(start)) for start in (1e-3, 0.3)}) == 2


def test_steps_end_at_the_best_axes_and_stay():
    rng = np.random.default_rng(1)
    g = rng.normal(size=(3, 8)).astype(np.float32)
    best = oracle.nearest_rotation(-np.float64(g))
    many = jax.jit(lambda r: jax.lax.scan(lambda r, _: rotation.step(r, jnp.asarray(g)), r, length=60))
    moved, info = many(rotation.init(8))
    np.testing.assert_allclose(moved[:3], best, atol=2e-3)
    np.testing.assert_allclose(np.sum(moved[:3] * g), np.sum(best * g), rtol=1e-5)
    assert (np.asarray(info.decrease) >= 0).all()
    assert bool(info.accepted[0])


def test_a_gradient_along_the_axes_moves_nothing():
    moved, info = STEP(rotation.init(8), -jnp.eye(2, 8))
    np.testing.assert_array_equal(moved, np.eye(8))
    assert float(info.decrease) == 0
    assert bool(jnp.isnan(STEP(rotation.init(8), jnp.full((2, 8), jnp.nan))[0]).any())


@pytest.mark.parametrize("keep", [True, False])
def test_a_thousand_updates_stay_orthogonal(keep, monkeypatch):
    if not keep:
        monkeypatch.setattr(rotation, "orthonormalize", lambda r: r)

    def update(r, t):
        g = jax.random.normal(jax.random.fold_in(jax.random.key(0), t), (2, 6))
        for _ in range(2):
            r, info = rotation.step(r, g)
        return r, info.accepted

    r, accepted = jax.jit(lambda: jax.lax.scan(update, rotation.init(6), jnp.arange(1000)))()
    r = np.asarray(r, np.float64)
    error = np.abs(r @ r.T - np.eye(6)).max()
    assert np.asarray(accepted).all()
    assert error < 1e-6 if keep else error > 1e-5  # what orthonormalize is for


def test_together_equals_one_by_one():
    rng = np.random.default_rng(2)
    r = np.stack([orthogonal(rng, 8), np.eye(8)]).astype(np.float32)
    g = rng.normal(size=(2, 2, 8)).astype(np.float32) * np.array([1, 100], np.float32)[:, None, None]
    moved, info = jax.vmap(STEP)(r, g)
    for i in range(2):
        alone, one = STEP(r[i], g[i])
        np.testing.assert_allclose(moved[i], alone, atol=2e-6)
        assert float(info.tau[i]) == float(one.tau)


@pytest.mark.parametrize(
    ("shapes", "says"),
    [(((4, 4), (5, 4)), "at most the 4 axes, got 5 rows"), (((4, 4), (0, 4)), "at least one row")],
)
def test_more_gradients_than_axes_is_refused(shapes, says):
    with pytest.raises(ValueError, match=says):
        rotation.step(*map(jnp.zeros, shapes))
