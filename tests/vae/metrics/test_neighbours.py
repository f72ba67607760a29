import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.core.information import ross
from interp_jax.vae.metrics import neighbours as metrics
from tests.oracles import disentanglement as oracle
from tests.oracles import information as info
from tests.vae.metrics import codes as make

SIZES = (4, 4)
FACTORS = make.factors(400, SIZES)
RNG = np.random.default_rng(0)
CLEAN = (FACTORS + 0.01 * RNG.normal(size=FACTORS.shape)).astype(np.float32)
NOISY = (FACTORS + 0.6 * RNG.normal(size=FACTORS.shape)).astype(np.float32)
DEAD = np.full((400, 1), 0.3, np.float32)
information = jax.jit(lambda codes: metrics.neighbour_information(codes, FACTORS, SIZES, k=5))
whole = jax.jit(lambda codes: metrics.infomec(codes, FACTORS, SIZES, k=5))


def test_information_is_the_cores_estimate_pair_by_pair():
    found = information(np.concatenate([NOISY, DEAD], 1))
    estimate = jax.jit(lambda x, y: ross(x, y, k=5))
    for d, f in np.ndindex(2, 2):
        want = estimate(NOISY[:, d : d + 1], FACTORS[:, f]) / info.entropy(FACTORS[:, f])
        np.testing.assert_allclose(found[d, f], want, atol=2e-5)
    np.testing.assert_array_equal(found[2], 0)


def test_small_classes_and_labels_seen_once_are_the_oracles():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=60).astype(np.float32), rng.integers(0, 12, 60)
    y[7] = 14
    order = np.argsort(x)
    estimate = jax.jit(lambda x, y: metrics.ross_sorted(x, y, 16, k=5))
    np.testing.assert_allclose(estimate(x[order], y[order]), info.ross(x[:, None], y, 5), atol=1e-5)
    np.testing.assert_allclose(estimate(1e3 + x[order], y[order]), info.ross(1e3 + x[:, None], y, 5), atol=1e-4)


def test_ties_are_not_taken_for_information():
    assert jnp.isnan(information(np.concatenate([FACTORS.astype(np.float32), DEAD], 1))[:2]).all()


def test_discrete_latents_are_counted():
    found = jax.jit(lambda codes: metrics.discrete_information(codes, FACTORS, 4, SIZES))(FACTORS[:, ::-1])
    cross = info.mutual_information(FACTORS[:, 0], FACTORS[:, 1])
    want = [[cross / info.entropy(FACTORS[:, 0]), 1], [1, cross / info.entropy(FACTORS[:, 1])]]
    np.testing.assert_allclose(found, want, atol=1e-5)


def test_perfect_codes_and_what_spoils_them():
    clean = whole(np.concatenate([CLEAN, DEAD], 1))
    assert min(clean.infom, clean.infoc) > 0.95
    assert clean.infoe > 0.85
    np.testing.assert_array_equal(clean.active, [True, True, False])
    noise = make.random(FACTORS, 3)
    double = whole(np.concatenate([CLEAN, CLEAN[:, :1] + 1e-3 * noise[:, :1]], 1))
    assert double.infom > 0.95
    assert double.infoc < 0.7
    random = whole(noise)
    assert abs(random.infoe) < 0.05
    turned = whole(np.concatenate([CLEAN @ np.array([[1, 1], [1, -1]], np.float32), DEAD], 1))
    assert turned.infom < 0.7
    np.testing.assert_allclose(turned.infoe, clean.infoe, atol=0.02)


def test_scores_agree_with_the_oracle():
    found = whole(np.concatenate([NOISY, DEAD], 1))
    kept = np.maximum(np.float64(found.information[:2]), 0)
    np.testing.assert_allclose(found.infom, oracle.infom(kept), atol=1e-5)
    np.testing.assert_allclose(found.infoc, oracle.infom(kept.T), atol=1e-5)
    half = slice(200), slice(200, None)
    x, y = np.float64(NOISY), FACTORS
    want = [oracle.infoe(x[half[0]], y[half[0], f], x[half[1]], y[half[1], f], 4, 1e-2) for f in range(2)]
    np.testing.assert_allclose(found.infoe, np.mean(want), atol=2e-3)


@pytest.mark.slow
def test_in_sample_explicitness_flatters_noise():
    noise = make.random(FACTORS, 30)
    fair, peers = (jax.jit(lambda c, s=s: metrics.infoe(c, FACTORS, SIZES, in_sample=s))(noise) for s in (False, True))
    assert peers > 0.1
    assert fair < 0


def test_one_active_latent_is_undefined():
    one = whole(np.concatenate([CLEAN[:, :1], DEAD, 1e-3 * CLEAN[:, 1:]], 1))
    np.testing.assert_array_equal(one.active, [True, False, False])
    assert jnp.isnan(one.infoc)
    assert one.infom > 0.95
    none = whole(np.repeat(DEAD, 3, 1))
    assert jnp.isnan(none.infom)
    assert jnp.isnan(none.infoc)
    assert abs(none.infoe) < 0.05


def test_one_class_and_bad_values():
    assert jnp.isnan(metrics.infom(jnp.ones((3, 1)), jnp.ones(3, bool)))
    broken = np.concatenate([CLEAN, DEAD], 1)
    broken[0, 0] = np.nan
    assert jnp.isnan(whole(broken).infoe)
    assert jnp.isnan(information(broken)).all()
    with pytest.raises(ValueError, match="rows to score"):
        metrics.infoe(CLEAN, FACTORS, SIZES, train=400)
