import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.core import keys
from interp_jax.vae import objectives, weak
from interp_jax.vae.weak import Pairs, Posterior
from tests.oracles import vae as oracle
from tests.vae import agreement
from tests.vae.agreement import decode, encode

RNG = np.random.default_rng(7)
FIRST = agreement.IMAGES
SECOND = np.random.default_rng(8).integers(0, 2, FIRST.shape).astype(float)
MASKS = {
    "some": np.array([[True, False, True]] * 2 + [[False, True, False]] * (agreement.BATCH - 2)),
    "none": np.zeros((agreement.BATCH, agreement.LATENTS), bool),
}
AVERAGES = {
    "arithmetic": (weak.arithmetic, oracle.arithmetic),
    "product": (weak.product, oracle.product),
    "geometric": (weak.geometric, lambda *each: (oracle.product(*each)[0], 2 * oracle.product(*each)[1])),
}


def noises():
    return jnp.stack([agreement.noise(keys.stream(agreement.KEY, name)) for name in ("first", "second")])


def pair_agrees(loss, want, known=()):
    batch = Pairs(FIRST, SECOND, known)
    agreement.agrees(loss, want, batch, images=(FIRST, SECOND), noise=noises)


def test_ada_gvae_equals_the_oracle():
    pair_agrees(weak.ada_gvae(encode, decode, 4.0), oracle.group(4.0, oracle.arithmetic))


def test_ada_ml_vae_equals_the_oracle():
    pair_agrees(weak.ml_vae(encode, decode, 4.0), oracle.group(4.0, oracle.product))


def test_one_program_for_all_strengths_in_single_precision():
    agreement.agrees_for_each(
        lambda beta: weak.ada_gvae(encode, decode, beta),
        lambda beta: oracle.group(beta, oracle.arithmetic),
        [0.0, 1.0, 16.0],
        Pairs(FIRST, SECOND),
        images=(FIRST, SECOND),
        noise=noises,
    )


def posteriors(shape=3):
    return [Posterior(*jnp.asarray(RNG.normal(size=(2, shape)), jnp.float32)) for _ in range(2)]


@pytest.mark.parametrize("name", AVERAGES)
def test_averages_equal_the_moments(name):
    ours, theirs = AVERAGES[name]
    first, second = posteriors(20)
    found = ours(first, second)
    variance = [np.exp(each.log_var) for each in (first, second)]
    want = [theirs(*each) for each in zip(first.mean, variance[0], second.mean, variance[1], strict=True)]
    np.testing.assert_allclose(found.mean, [m for m, _ in want], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.exp(found.log_var), [v for _, v in want], rtol=1e-5)
    for a, b in zip(found, ours(second, first), strict=True):
        np.testing.assert_array_equal(a, b)


def test_averages_of_a_posterior_with_itself():
    same = posteriors()[0]
    for average, variance in ((weak.arithmetic, 1), (weak.geometric, 1), (weak.product, 0.5)):
        found = average(same, same)
        np.testing.assert_allclose(found.mean, same.mean, rtol=1e-6)
        np.testing.assert_allclose(np.exp(found.log_var), variance * np.exp(same.log_var), rtol=1e-6)


def test_extreme_variances_stay_finite():
    first = Posterior(jnp.ones(2), jnp.array([-200.0, 200.0]))
    second = Posterior(-jnp.ones(2), jnp.array([200.0, -200.0]))
    for average, _ in AVERAGES.values():
        assert np.isfinite(np.stack(average(first, second))).all()
    np.testing.assert_allclose(weak.product(first, second).mean, [1, -1])


def test_divergences_are_gaussian():
    first, second = posteriors()
    values = (first.mean, np.exp(first.log_var), second.mean, np.exp(second.log_var))
    want = [oracle.normal_kl(*each) for each in zip(*values, strict=True)]
    back = [oracle.normal_kl(*each) for each in zip(*values[2:], *values[:2], strict=True)]
    np.testing.assert_allclose(weak.one_way(first, second), want, rtol=1e-4)
    np.testing.assert_allclose(weak.symmetric(first, second), (np.array(want) + back) / 2, rtol=1e-4)
    np.testing.assert_array_equal(weak.symmetric(first, second), weak.symmetric(second, first))


def test_the_group_of_a_hand_built_encoder_is_found():
    """Each latent reads one factor; pairs differ in one to three of five, and all ways of choosing agree."""
    rng = np.random.default_rng(0)
    for count in (1, 2, 3):
        factors = rng.uniform(-2, 2, 5)
        other, differ = factors.copy(), rng.choice(5, count, replace=False)
        other[differ] += rng.choice([-1, 1], count) * rng.uniform(2.0, 2.5, count)
        noise = 0.01 * rng.normal(size=(2, 5))
        first, second = (
            Posterior(jnp.asarray(each + n), jnp.full(5, -2.0)) for each, n in zip((factors, other), noise, strict=True)
        )
        want = ~np.isin(np.arange(5), differ)
        for divergence in (weak.one_way, weak.symmetric):
            far = divergence(first, second)
            np.testing.assert_array_equal(weak.adaptive(far), want)
            np.testing.assert_array_equal(weak.changed(far, jnp.array(count)), want)


def test_one_way_choice_depends_on_the_order_and_the_symmetric_one_does_not():
    first = Posterior(jnp.array([0.0, 0.0, 0.0]), jnp.array([0.0, -4.0, 0.0]))
    second = Posterior(jnp.array([0.0, 0.0, 2.0]), jnp.array([0.0, 0.0, 0.0]))

    def shared(divergence, *pair):
        return weak.adaptive(divergence(*pair)).tolist()

    assert shared(weak.one_way, first, second) != shared(weak.one_way, second, first)
    assert shared(weak.symmetric, first, second) == shared(weak.symmetric, second, first)


def test_sharing_all_makes_both_posteriors_agree_and_none_leaves_them():
    first, second = posteriors()
    for average, _ in AVERAGES.values():
        a, b = weak.averaged(first, second, jnp.ones(3, bool), average)
        np.testing.assert_array_equal(np.stack(a), np.stack(b))
        a, b = weak.averaged(first, second, jnp.zeros(3, bool), average)
        np.testing.assert_array_equal(np.stack([*a, *b]), np.stack([*first, *second]))


def test_equal_posteriors_share_nothing_under_the_threshold_and_change_nothing():
    same = posteriors()[0]
    assert not weak.adaptive(weak.one_way(same, same)).any()


def test_with_labels_the_count_is_theirs_and_without_sharing_the_loss_is_the_two_elbos():
    single = [jnp.asarray(each, jnp.float32) for each in (FIRST, SECOND)]
    params = jax.tree.map(jnp.float32, agreement.PARAMS)
    loss = jax.jit(weak.group_vae(encode, decode, 3.0, average=weak.geometric, share=weak.labelled))
    found = {name: loss(params, Pairs(*single, mask), agreement.KEY) for name, mask in MASKS.items()}
    for name, mask in MASKS.items():
        np.testing.assert_allclose(found[name][1]["shared"], mask.sum(1).mean(), rtol=1e-6)

    alone = jax.jit(objectives.beta_vae(encode, decode, 3.0))
    streams = [keys.stream(agreement.KEY, name) for name in ("first", "second")]
    parts = [alone(params, images, key)[0] for images, key in zip(single, streams, strict=True)]
    np.testing.assert_allclose(found["none"][0], np.mean(parts), rtol=1e-6)
    assert found["some"][0] != found["none"][0]


def test_the_number_that_changed_may_differ_by_pair():
    far = RNG.exponential(size=(5, 4))
    shared = jax.vmap(weak.changed)(jnp.asarray(far), jnp.array([0, 1, 2, 3, 4]))
    for k, (row, found) in enumerate(zip(far, shared, strict=True)):
        np.testing.assert_array_equal(found, ~np.isin(np.arange(4), np.argsort(row)[4 - k :]))


def test_negative_beta_is_refused():
    with pytest.raises(ValueError, match="want beta >= 0, got beta=-1"):
        weak.ml_vae(encode, decode, -1)
