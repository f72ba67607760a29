import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.vae.metrics import robustness as metrics
from tests.oracles import disentanglement as oracle
from tests.oracles import information as info
from tests.vae.metrics import codes as make

FACTORS = make.factors(800)
CODES = np.concatenate([make.noisy(FACTORS), np.full((800, 1), 9.0)], 1).astype(np.float32)
irs = jax.jit(lambda codes, q=0.99, undefined=jnp.nan: metrics.irs(
    codes, FACTORS, make.SIZES, quantile=q, undefined=undefined))  # fmt: skip


@pytest.mark.parametrize("quantile", [0.5, 0.99, 1.0])
def test_agrees_with_the_oracle(quantile):
    found = irs(CODES, quantile)
    matrix, score = oracle.irs(CODES, FACTORS, quantile)
    np.testing.assert_allclose(found.matrix, matrix, atol=1e-5)
    np.testing.assert_allclose(found.score, score, atol=1e-5)
    assert jnp.isnan(found.each[3])


def test_known_codes():
    clean = np.concatenate([make.perfect(FACTORS), make.perfect(FACTORS)[:, :1]], 1)
    np.testing.assert_allclose(irs(clean).score, 1, atol=1e-5)
    np.testing.assert_array_equal(irs(clean).factor, [0, 1, 2, 0])
    assert 0.1 < irs(make.random(FACTORS)).score < 0.4
    spread = np.concatenate([make.standard(FACTORS) @ make.rotation(), clean[:, 3:]], 1)
    assert irs(spread).score < 0.6


def test_sign_shift_permutation_and_scale_change_nothing():
    found, other = irs(CODES), irs(7 - 4 * CODES[:, ::-1])
    np.testing.assert_allclose(found.score, other.score, atol=1e-5)
    np.testing.assert_allclose(found.matrix, other.matrix[::-1], atol=1e-4)


def test_dead_codes_are_undefined_unless_told():
    assert jnp.isnan(irs(np.full_like(CODES, 0.1)).score)
    assert irs(np.full_like(CODES, 0.1), 0.99, 0.0).score == 0
    broken = CODES.copy()
    broken[0, 0] = np.nan
    assert jnp.isnan(irs(broken).score)


def test_the_peers_bins_throw_classes_together():
    factors = make.factors(800, (40, 3))
    codes = np.stack([factors[:, 0] * 1.0, factors[:, 1]], 1).astype(np.float32)
    ours = jax.jit(lambda c: metrics.irs(c, factors, (40, 3)))(codes)
    theirs = jax.jit(lambda c: metrics.irs(c, factors, (40, 3), bins=20))(codes)
    np.testing.assert_allclose(ours.score, 1, atol=1e-5)
    groups = np.stack([info.discretise(y.astype(float), 20) for y in factors.T], 1)
    np.testing.assert_allclose(theirs.score, oracle.irs(codes, groups, 0.99)[1], atol=1e-5)
    assert theirs.score < 0.99
