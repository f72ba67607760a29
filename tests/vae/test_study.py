"""Six methods from one strength each: what they fix beside it, by their own terms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.data import streams
from interp_jax.models import discriminator, vae
from interp_jax.vae import study

MODEL = vae.mlp((4, 4, 1), hidden=(8,), latents=3)
IMAGES = jax.random.bernoulli(jax.random.key(0), 0.5, (20, 4, 4, 1)).astype(jnp.float32)


def given(**changes):
    return study.Training(MODEL, streams.batches(6), discriminator.mlp(3, hidden=(8, 8)), steps=30)._replace(**changes)


@pytest.fixture(scope="module")
def first():
    """The metrics of the first step, by method, strength [2] and scale [2]: one program a method."""

    def metrics(name, state, strength, scale):
        return study.method(name, given(scale=scale))(strength).step(state, IMAGES, 15)[1]

    seen = {}
    for name in study.STRENGTHS:
        state = study.method(name, given())(2.0).init(jax.random.key(1))
        over = jax.vmap(jax.vmap(partial(metrics, name, state), (None, 0)), (0, None))
        seen[name] = jax.jit(over)(jnp.array([2.0, 4.0]), jnp.array([1.0, 16.0]))
    return seen


def test_scale_weighs_the_reconstruction_alone(first):
    for name, seen in first.items():
        gained = seen["loss"][:, 1] - seen["loss"][:, 0]
        np.testing.assert_allclose(gained, 15 * seen["reconstruction"][:, 0], rtol=1e-4, err_msg=name)
        np.testing.assert_allclose(seen["reconstruction"][:, 1], 16 * seen["reconstruction"][:, 0], rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "penalty"),
    [
        ("beta_vae", lambda seen, c: c * seen["kl"]),
        ("annealed_vae", lambda seen, c: 1000 * abs(seen["kl"] - c)),  # at step 15 of 30 the capacity is reached
        ("factor_vae", lambda seen, c: seen["kl"] + c * seen["total_correlation"]),
        ("dip_vae_i", lambda seen, c: seen["kl"] + c * seen["off_diagonal"] + 10 * c * seen["diagonal"]),
        ("dip_vae_ii", lambda seen, c: seen["kl"] + c * (seen["off_diagonal"] + seen["diagonal"])),
        ("beta_tc_vae", lambda seen, c: seen["kl"] + (c - 1) * seen["total_correlation"]),
    ],
)
def test_loss_is_reconstruction_and_penalty_of_the_strength(first, name, penalty):
    for i, strength in enumerate((2.0, 4.0)):
        seen = {key: float(values[i, 0]) for key, values in first[name].items()}
        np.testing.assert_allclose(seen["loss"], seen["reconstruction"] + penalty(seen, strength), rtol=1e-4)


def test_the_methods_begin_at_the_same_weights_and_the_capacity_grows(first):
    params = [study.method(name, given())(2.0).init(jax.random.key(1)).params for name in study.STRENGTHS]
    for other in params[1:]:
        jax.tree.map(np.testing.assert_array_equal, params[0], other)
    annealed = study.method("annealed_vae", given())(5.0)
    state = annealed.init(jax.random.key(1))
    seen = jax.jit(jax.vmap(lambda t: annealed.step(state, IMAGES, t)[1]["capacity"]))(jnp.array([0, 5, 10, 29]))
    np.testing.assert_allclose(seen, [0, 2.5, 5, 5], rtol=1e-6)


def test_unknown_methods_and_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"want a method among \['beta_vae', .*got 'gan'"):
        study.method("gan", given())
    with pytest.raises(ValueError, match="scale"):
        study.method("beta_vae", given(scale=0.0))
