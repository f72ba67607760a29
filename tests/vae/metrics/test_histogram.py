import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.core.information import miller_madow
from interp_jax.vae.metrics import histogram as metrics
from tests.oracles import disentanglement as oracle
from tests.oracles import information as info
from tests.vae.metrics import codes as make

FACTORS = make.factors()
CLEAN = make.perfect(FACTORS)
NOISE = make.random(FACTORS, 3)
ROTATED = make.noisy(FACTORS, 0.1) @ make.rotation()


@jax.jit
def every(codes, factors):
    found = metrics.histogram_information(codes, factors, make.SIZES)
    return found, metrics.mutual_information_gap(found), metrics.modularity(found.matrix)


mig = jax.jit(lambda codes, factors: metrics.mig(codes, factors, make.SIZES))
pairwise = jax.jit(metrics.mean_pairwise_information)
modularity = jax.jit(metrics.modularity)


@pytest.mark.parametrize(
    "codes", [CLEAN, ROTATED, make.noisy(FACTORS), NOISE, np.tanh(ROTATED) ** 3]
)  # no value sits on an edge of a bin
def test_all_agree_with_the_oracle(codes):
    found, gap, modular = every(codes, FACTORS)
    want = oracle.mutual_informations(codes, FACTORS, 20)
    np.testing.assert_allclose(found.matrix, want, atol=2e-4)
    np.testing.assert_allclose(found.entropy, [info.entropy(y) for y in FACTORS.T], rtol=1e-5)
    np.testing.assert_allclose(gap.score, oracle.mig(codes, FACTORS, 20), atol=2e-4)
    np.testing.assert_allclose(modular.each, oracle.modularity(want), atol=5e-4)
    np.testing.assert_allclose(pairwise(codes), oracle.mean_pairwise_information(codes, 20), atol=5e-4)
    np.testing.assert_allclose(mig(codes, FACTORS).score, gap.score, atol=1e-6)


def test_perfect_codes():
    _, gap, modular = every(CLEAN, FACTORS)
    assert gap.score > 0.99
    assert modular.score > 0.999
    np.testing.assert_array_equal(gap.latent, [0, 1, 2])
    np.testing.assert_array_equal(modular.factor, [0, 1, 2])


def test_random_and_rotated_codes_score_little():
    assert every(NOISE, FACTORS)[1].score < 0.02
    assert every(ROTATED, FACTORS)[1].score < 0.4


def test_permutation_sign_scale_and_shift_change_nothing():
    codes = make.noisy(FACTORS)
    swapped = codes[:, [2, 0, 1]] * np.array([-4.0, 0.5, 2.0], np.float32)
    (first, gap, modular), (second, other_gap, other_modular) = every(codes, FACTORS), every(swapped, FACTORS)
    # the bins of a negated latent are closed on the other side: a point on an edge may move
    np.testing.assert_allclose(first.matrix[jnp.array([2, 0, 1])], second.matrix, atol=2e-3)
    np.testing.assert_allclose(gap.score, other_gap.score, atol=2e-3)
    np.testing.assert_allclose(modular.score, other_modular.score, atol=2e-3)


def test_a_duplicated_latent_leaves_no_gap():
    codes = np.concatenate([CLEAN, CLEAN[:, :1]], 1)
    _, gap, modular = every(codes, FACTORS)
    assert gap.each[0] == 0
    assert (gap.each[1:] > 0.99).all()
    assert modular.score > 0.999
    h = info.entropy(FACTORS[:, 0])
    np.testing.assert_allclose(pairwise(codes), h / 6, atol=2e-3)


def test_dead_latents_have_exactly_no_information():
    codes = np.concatenate([CLEAN, np.full((make.N, 2), 0.1, np.float32)], 1)
    found, gap, modular = every(codes, FACTORS)
    np.testing.assert_array_equal(found.matrix[3:], 0)
    assert gap.score > 0.99
    np.testing.assert_array_equal(modular.each[3:], 0)
    np.testing.assert_allclose(modular.score, 0.6, atol=1e-3)
    kept = modularity(found.matrix, active=jnp.arange(5) < 3)
    assert kept.score > 0.999
    assert jnp.isnan(modularity(found.matrix, dead=jnp.nan).score)
    assert jnp.isnan(modularity(found.matrix, active=jnp.zeros(5, bool)).score)
    dead = every(np.ones((make.N, 3), np.float32), FACTORS)
    assert dead[1].score == 0
    assert dead[2].score == 0
    assert pairwise(np.ones((make.N, 3), np.float32)) == 0


def test_noise_latents_pull_modularity_down():
    """Two perfect latents and three of noise: .856 in the peer, for the noise has the bias of the estimate."""
    factors = make.factors(10_000, (10, 10), seed=5)
    codes = np.concatenate([factors.astype(np.float32), make.random(factors, 3)], 1)
    found = jax.jit(lambda c, f: metrics.histogram_information(c, f, (10, 10)))(codes, factors)
    assert 0.3 < modularity(found.matrix).score < 0.9
    assert modularity(found.matrix, active=jnp.arange(5) < 2).score > 0.999


def test_a_constant_factor_is_undefined_by_name():
    flat = FACTORS.copy()
    flat[:, 1] = 2
    found, gap, modular = every(CLEAN, flat)
    np.testing.assert_array_equal(found.matrix[:, 1], 0)
    assert jnp.isnan(gap.score)
    np.testing.assert_array_equal(jnp.isnan(gap.each), [False, True, False])
    assert jnp.isfinite(modular.score)


def test_bad_values_are_named_or_nan():
    broken = CLEAN.copy()
    broken[7, 1] = np.nan
    found, gap, modular = every(broken, FACTORS)
    assert jnp.isnan(found.matrix).all()
    assert jnp.isnan(gap.score)
    assert jnp.isnan(modular.score)
    assert jnp.isnan(pairwise(broken))
    wrong = FACTORS.copy()
    wrong[0, 0] = 4
    assert jnp.isnan(every(CLEAN, wrong)[1].score)
    with pytest.raises(ValueError, match="classes of factors"):
        metrics.mig(CLEAN, wrong, make.SIZES)
    with pytest.raises(ValueError, match="size for each of 3"):
        metrics.mig(CLEAN, FACTORS, (4, 3))
    with pytest.raises(ValueError, match="2 latents"):
        metrics.mig(CLEAN[:, :1], FACTORS, make.SIZES)
    assert jnp.isnan(modularity(jnp.ones((3, 1))).score)


def test_miller_madow_takes_the_bias_of_noise_out():
    mended = jax.jit(lambda c, f: metrics.histogram_information(c, f, make.SIZES, estimator=miller_madow).matrix)
    matrix = mended(NOISE, FACTORS)
    assert abs(matrix.mean()) < every(NOISE, FACTORS)[0].matrix.mean() / 5


def test_models_are_an_axis():
    stack = np.stack([CLEAN, NOISE, ROTATED])
    both = jax.jit(jax.vmap(every, (0, None)))(stack, FACTORS)
    for i, codes in enumerate(stack):
        chex.assert_trees_all_close(
            jax.tree.map(lambda a, i=i: a[i], both), every(codes, FACTORS), rtol=1e-3, atol=1e-5
        )
