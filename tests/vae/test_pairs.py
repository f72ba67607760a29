import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.core import keys
from interp_jax.data.named import Couples
from interp_jax.models import vae
from interp_jax.vae import objectives, pairs, weak

SHAPE, LATENTS, FACTORS = (4, 4, 1), 3, 2
NET = vae.mlp(SHAPE, hidden=(5,), latents=LATENTS)
PARAMS = jax.tree.map(lambda leaf: 3 * leaf, NET.init(jax.random.key(0)))
RNG = np.random.default_rng(0)
COUPLES = Couples(
    *(jnp.asarray(RNG.integers(0, 2, (6, *SHAPE)), jnp.float32) for _ in range(2)),
    jnp.array([[True, False], [False, True], [True, True], [False, False], [True, False], [False, True]]),
)
GIVEN = pairs.Training(NET, LATENTS, lambda data, key, t: COUPLES, lr=0.1, scale=16.0)


@pytest.fixture(scope="module")
def found():
    """Every method's terms, in one program."""
    every = lambda params, couples: {  # noqa: E731
        name: pairs.terms(name, params, couples, jax.random.key(1), GIVEN) for name in pairs.METHODS
    }
    return jax.jit(every)(PARAMS, COUPLES)


def test_methods_share_what_they_are_told(found):
    assert found["beta_vae"]["shared"] == 0
    np.testing.assert_allclose(found["gvae"]["shared"], LATENTS - COUPLES.differ.sum(1).mean(), rtol=1e-6)
    np.testing.assert_allclose(found["labelled_gvae"]["shared"], LATENTS - COUPLES.differ.sum(1).mean(), rtol=1e-6)
    inferred = LATENTS - pairs.set_apart(NET.encode, PARAMS, COUPLES).mean()
    for name in ("ada_gvae", "ada_ml_vae", "ada_ml_vae_geometric"):
        np.testing.assert_allclose(found[name]["shared"], inferred, rtol=1e-6)


def test_which_latents_are_shared_is_told_in_the_order_of_factors():
    told = pairs.told("labelled_gvae", COUPLES, LATENTS).known
    np.testing.assert_array_equal(told[:, :FACTORS], ~np.asarray(COUPLES.differ))
    assert told[:, FACTORS:].all()
    np.testing.assert_array_equal(pairs.told("gvae", COUPLES, LATENTS).known, [1, 1, 2, 0, 1, 1])
    with pytest.raises(ValueError, match="want a latent for each of 2 factors, got latents=1"):
        pairs.told("labelled_gvae", COUPLES, 1)


def test_without_sharing_it_is_the_beta_vae_of_both_images(found):
    alone = jax.jit(objectives.beta_vae(NET.encode, NET.decode, 1.0))
    streams = [keys.stream(jax.random.key(1), name) for name in ("first", "second")]
    both = [alone(PARAMS, images, key)[1] for images, key in zip(COUPLES[:2], streams, strict=True)]
    for term in ("reconstruction", "kl", "elbo"):
        np.testing.assert_allclose(found["beta_vae"][term], np.mean([each[term] for each in both]), rtol=1e-5)


def test_the_three_averages_differ_where_something_is_shared(found):
    kl = [float(found[name]["kl"]) for name in ("ada_gvae", "ada_ml_vae", "ada_ml_vae_geometric")]
    assert len(set(kl)) == 3


def test_latents_set_apart_are_counted_as_by_hand():
    mean, log_var = jax.vmap(NET.encode, (None, 0))(PARAMS, COUPLES.first)
    other, log_other = jax.vmap(NET.encode, (None, 0))(PARAMS, COUPLES.second)
    mean, log_var, other, log_other = (np.asarray(each, float) for each in (mean, log_var, other, log_other))
    divergence = 0.5 * (np.exp(log_var - log_other) + (mean - other) ** 2 / np.exp(log_other) - 1 + log_other - log_var)
    middle = (divergence.min(1) + divergence.max(1)) / 2
    np.testing.assert_array_equal(pairs.set_apart(NET.encode, PARAMS, COUPLES), (divergence >= middle[:, None]).sum(1))


def test_a_step_lowers_the_scaled_loss_for_any_beta_in_one_program():
    def two_steps(beta):
        descent = pairs.method("ada_gvae", GIVEN)(beta)
        state = descent.init(jax.random.key(0))
        first, metrics = descent.step(state, None, 0)
        last = jax.lax.fori_loop(1, 60, lambda t, state: descent.step(state, None, t)[0], first)
        return metrics, descent.step(last, None, 60)[1]

    first, last = jax.jit(jax.vmap(two_steps))(jnp.array([0.0, 8.0]))
    np.testing.assert_allclose(first["loss"], first["reconstruction"] + np.array([0, 8]) * first["kl"], rtol=1e-5)
    assert (last["loss"] < first["loss"]).all()
    assert last["kl"][1] < last["kl"][0]
    assert (first["reconstruction"] > 16 * 5).all()  # of 16 pixels, each log 2 at the start, and scaled


def test_an_unknown_method_is_named():
    with pytest.raises(ValueError, match="got 'gan'"):
        pairs.method("gan", GIVEN)


def test_choices_are_those_of_the_table():
    assert pairs.METHODS["ada_ml_vae"].average is weak.product
    assert pairs.METHODS["ada_ml_vae_geometric"].average is weak.geometric


def test_held_out_pairs_are_those_drawn_and_every_method_is_evaluated_on_them():
    draw = lambda t: jax.tree.map(lambda leaf: jnp.roll(leaf, t, 0)[:4], COUPLES)  # noqa: E731
    names, key = ("beta_vae", "gvae"), jax.random.key(3)
    held = jax.jit(lambda: pairs.held_out(names, PARAMS, draw, 3, key, GIVEN))()
    for k, name in enumerate(names):
        alone = jax.jit(lambda t, name=name: pairs.terms(name, PARAMS, draw(t), keys.at(key, t), GIVEN))
        for term in ("reconstruction", "shared"):
            want = np.mean([alone(t)[term] for t in range(3)])
            np.testing.assert_allclose(held.terms[term][k], want, rtol=1e-5)
    np.testing.assert_array_equal(held.differ, np.concatenate([draw(t).differ.sum(1) for t in range(3)]))
    assert held.set_apart.shape == (12,)


def test_the_number_found_leaves_out_pairs_that_do_not_differ():
    held = pairs.HeldOut({}, jnp.array([1, 2, 2, 3, 0]), jnp.array([1, 1, 2, 1, 0]))
    found = pairs.number_found(held, 4)
    assert found.right == 0.5
    assert found.constant == 0.75
    np.testing.assert_array_equal(found.found, [2, 2, np.nan])
