from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.core import information as info
from tests.oracles import information as oracle

ksg = jax.jit(jax.vmap(info.ksg))
ross = jax.jit(jax.vmap(info.ross))
kozachenko_leonenko = jax.jit(jax.vmap(info.kozachenko_leonenko))
entropy = jax.jit(info.entropy)
pairwise = jax.jit(info.pairwise_mutual_information, static_argnames="sizes")


@partial(jax.jit, static_argnames="sizes")
def mutual_information(a, b, sizes):
    return info.mutual_information(info.joint_counts(a, b, sizes=sizes))


def standard_error(values):
    return np.std(values, ddof=1) / np.sqrt(len(values))


def rotated(rng, dims):
    factor = rng.normal(size=(dims, dims))
    return factor @ factor.T + 0.1 * np.eye(dims)


def test_entropy_of_known_distributions():
    np.testing.assert_allclose(entropy(np.full(4, 3.0)), np.log(4), rtol=1e-6)
    np.testing.assert_allclose(entropy(np.array([4.0, 0.0, 0.0, 0.0])), 0.0, atol=1e-7)
    np.testing.assert_allclose(entropy(np.array([2.0, 1.0, 1.0, 0.0])), 1.5 * np.log(2), rtol=1e-6)
    mended = jax.jit(info.miller_madow)(np.array([2.0, 1.0, 1.0, 0.0]))
    np.testing.assert_allclose(mended, 1.5 * np.log(2) + 2 / 8, rtol=1e-6)
    assert np.isnan(entropy(np.zeros(4)))


def test_xor_is_seen_by_the_pair_only():
    a, b = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    y = a ^ b
    alone = mutual_information(a, y, (2, 2))
    together = mutual_information(2 * a + b, y, (4, 2))
    np.testing.assert_allclose([alone, together], [0.0, np.log(2)], atol=1e-6)


def test_bias_of_plug_in_and_miller_madow():
    """To first order plug-in entropy is (K - 1) / 2N low, mutual information (A - 1)(B - 1) / 2N high."""
    n, repeats, a, b = 100, 4000, 5, 4
    rng = np.random.default_rng(0)
    joint = jnp.asarray(rng.multinomial(n, np.full(a * b, 1 / (a * b)), repeats).reshape(repeats, a, b), jnp.float32)
    plain = np.asarray(jax.jit(jax.vmap(info.mutual_information))(joint), float)
    mended = jax.jit(jax.vmap(lambda c: info.mutual_information(c, estimator=info.miller_madow)))(joint)
    mended = np.asarray(mended, float)
    expected = (a - 1) * (b - 1) / (2 * n)
    assert abs(plain.mean() - expected) < 0.1 * expected
    assert abs(mended.mean()) < 0.1 * expected
    entropies = np.asarray(jax.jit(jax.vmap(info.entropy))(np.sum(joint, axis=2)), float)
    assert abs(np.log(a) - entropies.mean() - (a - 1) / (2 * n)) < 4 * standard_error(entropies) + 1e-3


@pytest.mark.parametrize("bins", [1, 2, 20])
def test_discretise_is_the_peer_s(bins):
    rng = np.random.default_rng(bins)
    cut = jax.jit(lambda x: info.discretise(x, bins=bins))
    for x in (
        rng.normal(size=500),
        rng.exponential(size=500) - 3,
        rng.integers(0, 7, 500),
        np.arange(500) / 20,  # many values sit on the edges
        1e-3 * rng.normal(size=500) + 5,
        np.full(500, 0.3),
    ):
        x = x.astype(np.float32)
        np.testing.assert_array_equal(cut(x), oracle.discretise(x, bins))


def test_discretise_of_what_is_not_finite_ends_in_nan():
    x = jnp.array([0.0, jnp.nan, 1.0, jnp.inf])
    labels = jax.jit(info.discretise)(x)
    assert labels.tolist() == [-1] * 4
    assert np.isnan(mutual_information(labels, np.arange(4), (20, 4)))
    with pytest.raises(ValueError, match="want an integer bins >= 1, got bins=0"):
        info.discretise(x, bins=0)


def test_pairwise_mutual_information_by_pairs_and_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(3)
    a = rng.integers(0, 6, (300, 3))
    b = np.stack([a[:, 0] % 2, rng.integers(0, 4, 300)], axis=1)
    found = pairwise(a, b, sizes=(6, 4))
    pairs = [[oracle.mutual_information(a[:, i], b[:, j]) for j in range(2)] for i in range(3)]
    peer = [[metrics.mutual_info_score(b[:, j], a[:, i]) for j in range(2)] for i in range(3)]
    np.testing.assert_allclose(found, pairs, atol=2e-6)
    np.testing.assert_allclose(found, peer, atol=2e-6)
    one = mutual_information(a[:, 0], b[:, 0], (6, 4))
    np.testing.assert_allclose(found[0, 0], one, atol=1e-6)


def test_neighbour_estimates_equal_brute_force():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(110, 2)).astype(np.float32)
    y = (x[:, :1] + rng.normal(size=(110, 1))).astype(np.float32)
    labels = rng.integers(0, 4, 110) + (x[:, 0] > 0)
    labels[:2] = [90, 91]  # seen once
    labels[2:5] = 95  # fewer than k + 1
    for k, block in ((3, 32), (1, 256)):  # 110 is no multiple of a block, and less than one
        kind = {"k": k, "block": block}
        np.testing.assert_allclose(jax.jit(partial(info.ksg, **kind))(x, y), oracle.ksg(x, y, k), atol=5e-5)
        np.testing.assert_allclose(jax.jit(partial(info.ross, **kind))(x, labels), oracle.ross(x, labels, k), atol=5e-5)
        own = jax.jit(partial(info.kozachenko_leonenko, **kind))(x)
        np.testing.assert_allclose(own, oracle.kozachenko_leonenko(x, k), atol=5e-5)


def test_neighbour_estimates_of_tied_and_mixed_values_equal_brute_force():
    rng = np.random.default_rng(20)
    soft = rng.normal(size=(3, 110, 1))
    x = np.stack([soft[0] > 0, np.clip(soft[1], -0.3, 0.7), np.round(soft[2])]).astype(np.float32)
    y = (soft + 0.5 * rng.normal(size=(3, 110, 1))).astype(np.float32)
    y[0] = y[0] > 0
    labels = (y[..., 0] > 0).astype(np.int32)
    labels[1, 0] = 9  # seen once, and tied in x
    pair = jax.jit(jax.vmap(partial(info.ksg, k=3, block=32)))
    np.testing.assert_allclose(pair(x, y), [oracle.ksg(*each, 3) for each in zip(x, y, strict=True)], atol=5e-5)
    one = jax.jit(jax.vmap(partial(info.ross, k=3, block=32)))
    expected = [oracle.ross(*each, 3) for each in zip(x, labels, strict=True)]
    np.testing.assert_allclose(one(x, labels), expected, atol=5e-5)


def test_neighbour_estimates_of_discrete_values():
    """The plug-in estimate less its bias to first order; 0 for a constant; alike however it is coded."""
    rng = np.random.default_rng(21)
    x = rng.integers(0, 2, (40, 300, 1)).astype(np.float32)
    labels = np.where(rng.random((40, 300)) < 0.7, x[..., 0], rng.integers(0, 3, (40, 300))).astype(np.int32)
    joint = np.stack([np.histogram2d(a[:, 0], b, (2, 3))[0] for a, b in zip(x, labels, strict=True)])
    plain = np.asarray(jax.jit(jax.vmap(info.mutual_information))(joint.astype(np.float32)), float)
    found = np.asarray(ross(x, labels), float)
    np.testing.assert_allclose(found, plain - 2 / 600, atol=2e-4)
    np.testing.assert_allclose(ksg(x, labels[..., None].astype(np.float32)), found, atol=2e-6)
    np.testing.assert_array_equal(ross(5 - 10 * x, labels), found.astype(np.float32))
    null = np.asarray(ross(x, rng.integers(0, 3, (40, 300))), float)
    assert abs(null.mean()) < 4 * standard_error(null)  # the plug-in estimate is .0033 high
    constant = np.ones_like(x)
    np.testing.assert_allclose(ross(constant, labels), 0, atol=2e-6)
    np.testing.assert_allclose(ross(np.clip(rng.normal(size=x.shape), -0.3, 1), 0 * labels), 0, atol=2e-6)
    np.testing.assert_allclose(ksg(constant, rng.normal(size=x.shape).astype(np.float32)), 0, atol=2e-6)


def test_neighbour_estimates_of_a_saturated_variable():
    """Half of the values are one number, the others continuous: I = I(hard part) + I(soft part) / 2."""
    rng = np.random.default_rng(22)
    hard = rng.random((40, 300, 1)) < 0.5
    z = rng.normal(size=hard.shape)
    x = np.where(hard, 5.0, z).astype(np.float32)
    y = np.where(hard, 5.0, 0.8 * z + 0.6 * rng.normal(size=z.shape)).astype(np.float32)
    found = np.asarray(ksg(x, y), float)
    assert abs(found.mean() - (np.log(2) - 0.25 * np.log1p(-0.64))) < 4 * standard_error(found) + 0.01
    labels = (hard[..., 0] | (z[..., 0] > 0)).astype(np.int32)  # 3/4 and 1/4, known from x
    found = np.asarray(ross(x, labels), float)
    assert abs(found.mean() + 0.75 * np.log(0.75) + 0.25 * np.log(0.25)) < 4 * standard_error(found) + 0.01


def test_ksg_of_a_variable_with_itself_tells_the_sample_size_alone():
    special = pytest.importorskip("scipy.special")
    x = np.random.default_rng(23).standard_cauchy((2, 300, 1)).astype(np.float32)
    np.testing.assert_allclose(ksg(x, x), special.digamma(300) - special.digamma(3), atol=1e-5)


def test_neighbour_estimates_near_scikit_learn():
    """scikit-learn standardises, adds noise of 1e-10 and cuts at zero; with standardised x the rest must agree."""
    selection = pytest.importorskip("sklearn.feature_selection")
    rng = np.random.default_rng(5)
    x = rng.normal(size=(300, 2))
    x[:, 1] += x[:, 0]
    x = x / x.std(0)
    labels = (x[:, 0] + 0.5 * rng.normal(size=300) > 0).astype(int)
    peer = selection.mutual_info_regression(x[:, :1], x[:, 1], n_neighbors=3, random_state=0)
    pair = np.tile(x.astype(np.float32), (2, 1, 1))
    np.testing.assert_allclose(ksg(pair[..., :1], pair[..., 1:])[0], peer[0], atol=2e-3)
    peer = selection.mutual_info_classif(x, labels, n_neighbors=3, random_state=0)
    own = ross(np.stack([x[:, :1], x[:, 1:]]).astype(np.float32), np.stack([labels, labels]))
    np.testing.assert_allclose(own, peer, atol=2e-3)


def test_ksg_on_gaussians_over_draws():
    """Closed form -log(1 - rho^2) / 2; no growth with the dimension of independent noise (a peer adds log D)."""
    rng = np.random.default_rng(6)
    repeats, n = 40, 300
    for rho in (0.0, 0.6, 0.9):
        x = rng.normal(size=(repeats, n, 1))
        y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=x.shape)
        found = np.asarray(ksg(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)), float)
        assert abs(found.mean() + 0.5 * np.log1p(-(rho**2))) < 4 * standard_error(found) + 0.01
    wide = np.asarray(ksg(*jnp.asarray(rng.normal(size=(2, repeats, n, 16)), jnp.float32)), float)
    assert abs(wide.mean()) < 4 * standard_error(wide) + 0.03  # log 16 is 2.77


def test_entropy_of_gaussians_and_labels_over_draws():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(40, 300, 2)).astype(np.float32)
    found = np.asarray(kozachenko_leonenko(x), float)
    assert abs(found.mean() - info.gaussian_entropy(np.eye(2))) < 4 * standard_error(found) + 0.05
    labels = rng.integers(0, 3, (40, 300))
    independent = np.asarray(ross(x, labels), float)
    assert abs(independent.mean()) < 4 * standard_error(independent) + 0.01
    apart = np.asarray(ross(x + 20 * labels[..., None].astype(np.float32), labels), float)
    assert abs(apart.mean() - np.log(3)) < 0.02


def test_neighbour_estimates_refuse_or_flag():
    x = jnp.zeros((3, 1))
    with pytest.raises(ValueError, match="want more than k=3 samples, got 3"):
        info.ksg(x, x)
    with pytest.raises(ValueError, match="want an integer k >= 1, got k=0"):
        info.ross(x, jnp.zeros(3, int), k=0)
    spoiled = np.random.default_rng(8).normal(size=(2, 300, 2)).astype(np.float32)
    spoiled[0, 3] = np.nan
    labels = np.tile(np.arange(300), (2, 1))
    assert np.isnan(ksg(spoiled, spoiled[..., :1])).tolist() == [True, False]
    assert np.isnan(kozachenko_leonenko(spoiled)).tolist() == [True, False]
    assert np.isnan(ross(spoiled, labels)).all()  # every label seen once
    assert np.isnan(ross(spoiled, labels % 2)).tolist() == [True, False]


def test_total_correlation_closed_form_and_chain():
    for rho in (0.0, 0.5, -0.99):
        covariance = np.array([[9.0, 3 * rho], [3 * rho, 1.0]])
        np.testing.assert_allclose(info.gaussian_total_correlation(covariance), -0.5 * np.log1p(-(rho**2)), atol=1e-12)
    rng = np.random.default_rng(9)
    covariances = np.stack([rotated(rng, 6) for _ in range(5)])
    chain = [oracle.total_correlation_by_chain(c) for c in covariances]
    np.testing.assert_allclose(info.gaussian_total_correlation(covariances), chain, rtol=1e-9)
    single = jax.jit(jax.vmap(info.gaussian_total_correlation))(jnp.asarray(covariances, jnp.float32))
    np.testing.assert_allclose(single, chain, rtol=2e-4)
    scale = np.exp(rng.normal(size=6) * 3)
    scaled = covariances * scale[:, None] * scale
    np.testing.assert_allclose(info.gaussian_total_correlation(scaled), chain, rtol=1e-9)
    turn = rng.permutation(6)
    np.testing.assert_allclose(info.gaussian_total_correlation(covariances[:, turn][:, :, turn]), chain, rtol=1e-9)


def test_total_correlation_of_active_dimensions():
    rng = np.random.default_rng(10)
    covariance = rotated(rng, 5)
    covariance[:, 2] = covariance[2] = 0.0  # passive and constant
    active = np.array([True, True, False, False, True])
    kept = covariance[np.ix_(active, active)]
    np.testing.assert_allclose(
        info.gaussian_total_correlation(covariance, active), info.gaussian_total_correlation(kept), rtol=1e-12
    )
    assert info.gaussian_total_correlation(covariance, np.zeros(5, bool)) == 0
    assert np.isnan(info.gaussian_total_correlation(covariance))
    both = jax.jit(jax.vmap(info.gaussian_total_correlation))(
        jnp.asarray([covariance, covariance], jnp.float32), jnp.asarray([active, np.ones(5, bool)])
    )
    np.testing.assert_allclose(both, [info.gaussian_total_correlation(kept), np.nan], rtol=1e-4)


def test_total_correlation_singular_and_undefined():
    rng = np.random.default_rng(11)
    z = rng.normal(size=(500, 3))
    twice = np.cov(np.column_stack([z, z[:, 0] - 2 * z[:, 1]]), rowvar=False)
    assert info.gaussian_total_correlation(twice) == np.inf
    assert info.gaussian_total_correlation(jnp.asarray(twice, jnp.float32)) == np.inf
    near = np.cov(np.column_stack([z, z[:, 0] + 1e-4 * rng.normal(size=500)]), rowvar=False)
    assert 8 < info.gaussian_total_correlation(near) < 11  # -log(1e-4) and a little
    assert info.gaussian_total_correlation(near, tolerance=1e-6) == np.inf
    assert np.isnan(info.gaussian_total_correlation(np.full((2, 2), np.nan)))
    assert info.gaussian_total_correlation(np.array([[2.0]])) == 0


def test_total_correlation_bias_over_draws():
    """The excess over the truth is that of the Wishart determinant, whatever the true covariance."""
    rng = np.random.default_rng(12)
    covariance = rotated(rng, 4)
    for truth in (np.eye(4), covariance):
        x = rng.multivariate_normal(np.zeros(4), truth, (4000, 30))
        x = x - x.mean(1, keepdims=True)
        found = info.gaussian_total_correlation(np.swapaxes(x, 1, 2) @ x / 29)
        excess = found - info.gaussian_total_correlation(truth)
        assert abs(excess.mean() - info.total_correlation_bias(30, 4)) < 4 * standard_error(excess)
    np.testing.assert_allclose(info.total_correlation_bias(10_000, 10), 90 / 40_000, rtol=2e-3)
    assert np.isnan(info.total_correlation_bias([4, 5], 4)).tolist() == [True, False]


def test_gaussian_entropy_and_kl():
    rng = np.random.default_rng(13)
    a, b = rotated(rng, 3), rotated(rng, 3)
    mean, other = rng.normal(size=(2, 3))
    stats = pytest.importorskip("scipy.stats")
    np.testing.assert_allclose(info.gaussian_entropy(a), stats.multivariate_normal(mean, a).entropy(), rtol=1e-12)
    x = rng.multivariate_normal(mean, a, 20_000)
    ratios = stats.multivariate_normal(mean, a).logpdf(x) - stats.multivariate_normal(other, b).logpdf(x)
    assert abs(info.gaussian_kl(mean, a, other, b) - ratios.mean()) < 4 * standard_error(ratios)
    np.testing.assert_allclose(info.gaussian_kl(mean, a, mean, a), 0.0, atol=1e-12)
    np.testing.assert_allclose(  # Watanabe's total correlation as the peer computes it
        info.gaussian_kl(mean, a, mean, np.diag(np.diag(a))), info.gaussian_total_correlation(a), rtol=1e-10
    )
    assert info.gaussian_entropy(np.ones((2, 2))) == -np.inf
    assert np.isnan(info.gaussian_entropy(-np.eye(1)))


def test_standard_normal_kl_is_the_general_one_and_exact_near_zero():
    rng = np.random.default_rng(14)
    mean, log_variance = rng.normal(size=(2, 5))
    whole = info.gaussian_kl(mean, np.diag(np.exp(log_variance)), np.zeros(5), np.eye(5))
    np.testing.assert_allclose(jnp.sum(info.standard_normal_kl(mean, log_variance)), whole, rtol=1e-5)
    small = info.standard_normal_kl(jnp.zeros(()), jnp.asarray(1e-3, jnp.float32))
    np.testing.assert_allclose(small, 2.50083e-7, rtol=2e-3)  # 1 + x - e^x would leave 20% of rounding here
