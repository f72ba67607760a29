import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.probes import space

rng = np.random.default_rng(0)
PLACES = np.stack([np.degrees(np.arcsin(rng.uniform(-1, 1, 300))), rng.uniform(-180, 180, 300)], 1).astype(np.float32)


def test_vectors_and_degrees_are_each_others_inverse() -> None:
    vectors = space.sphere(PLACES[:, 0], PLACES[:, 1])
    np.testing.assert_allclose(jnp.sum(vectors**2, 1), 1, rtol=1e-5)
    np.testing.assert_allclose(space.degrees(3 * vectors), PLACES, atol=1e-2)


def test_distances_are_arcs_between_vectors() -> None:
    vectors = np.asarray(space.sphere(PLACES[:, 0], PLACES[:, 1]), float)
    arcs = 6371.0088 * np.arccos(np.clip((vectors[:150] * vectors[150:]).sum(1), -1, 1))
    np.testing.assert_allclose(space.haversine(PLACES[:150], PLACES[150:]), arcs, rtol=1e-3, atol=2)
    assert float(space.haversine(jnp.array([0.0, 179.5]), jnp.array([0.0, -179.5]))) == pytest.approx(111.2, abs=0.1)
    assert float(space.haversine(jnp.array([90.0, 10.0]), jnp.array([90.0, -100.0]))) == pytest.approx(0, abs=1)


def test_proximity_errors_are_the_loops() -> None:
    true = np.asarray(space.sphere(PLACES[:60, 0], PLACES[:60, 1]))
    found = true + 0.5 * rng.normal(size=true.shape).astype(np.float32)
    want = [
        np.mean([np.linalg.norm(true[i] - found[j]) < np.linalg.norm(true[i] - found[i]) for j in range(60) if j != i])
        for i in range(60)
    ]
    np.testing.assert_allclose(jax.jit(space.proximity_error)(found, true), want, atol=1e-6)
    np.testing.assert_allclose(space.proximity_error(found, true, block=7), want, atol=1e-6)
    assert float(space.proximity_error(true, true).max()) == 0
    dealt = space.proximity_error(rng.permutation(true), true)
    assert float(dealt.mean()) == pytest.approx(0.5, abs=0.1)
    holed = np.where(np.arange(60)[:, None] == 3, np.nan, found)
    assert np.isnan(space.proximity_error(holed, true)).nonzero()[0].tolist() == [3]


def test_within_is_zero_for_group_means_and_one_for_the_truth() -> None:
    group = rng.integers(0, 9, 300)
    means = np.stack([PLACES[group == g].mean(0) for g in range(9)])[group]
    run = jax.jit(lambda p, y: space.within(p, y, group, count=12))
    np.testing.assert_allclose(run(means, PLACES), 0, atol=1e-4)
    np.testing.assert_allclose(run(PLACES, PLACES), 1, atol=1e-5)
    np.testing.assert_allclose(run(PLACES + 40 * group[:, None].astype(np.float32), PLACES), 1, atol=1e-4)
    half = means + 0.5 * (PLACES - means)
    np.testing.assert_allclose(run(half, PLACES), 0.75, atol=1e-3)
    alone = space.within(PLACES[:5], PLACES[:5], jnp.arange(5), count=5)
    assert np.isnan(alone).all()
