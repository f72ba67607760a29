from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.adversarial import norms, objectives
from interp_jax.adversarial.universal import universal
from tests.adversarial import nets

PREDICT = partial(nets.mlp, nets.weights())
SLOPE = jnp.array([0.5, -2.0, 0.0, 1.0])


def linear(label):
    return lambda x: jnp.where(label == 0, 1.0, 0.5) * jnp.sum(SLOPE * x)


def test_one_perturbation_fools_more_than_noise_and_stays_in_the_ball(key):
    xs = nets.examples(48)
    labels = jnp.argmax(jax.vmap(PREDICT)(xs), -1)
    broken = labels.at[3].set(9)
    make = partial(objectives.cross_entropy, PREDICT)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def grid(labels, radii, low):
        def one(eps):
            return universal(
                make, xs, labels, key, eps=eps, step_size=eps / 5, steps=40, batch_size=16, bounds=(low, 1.0)
            )

        return jax.vmap(one)(radii)

    radii = jnp.array([0.0, 0.1, 0.2, -1.0])
    found = grid(labels, radii, 0.0)
    np.testing.assert_allclose(jnp.abs(found.d[:3]).max((1, 2, 3)), radii[:3], rtol=1e-6)
    rates = found.fooled.mean(1)
    assert rates[0] == 0
    assert rates[1] < rates[2]
    signs = 0.2 * jax.random.rademacher(key, (50, 1, *xs.shape[1:]), jnp.float32)
    moved = jnp.clip(xs[None] + signs, 0.0, 1.0)
    by_noise = (jnp.argmax(jax.jit(jax.vmap(jax.vmap(PREDICT)))(moved), -1) != labels[None]).mean(1)
    assert rates[2] > by_noise.max()
    by_hand = jax.vmap(PREDICT)(jnp.clip(xs + found.d[2][None], 0, 1))
    np.testing.assert_array_equal(found.fooled[2], jnp.argmax(by_hand, -1) != labels)
    assert np.isnan(found.objective[3]).all()  # no such radius
    assert not found.fooled[3].any()

    spoilt = grid(broken, radii, 0.0)
    assert np.isnan(spoilt.objective[2, 3])
    assert not spoilt.fooled[2, 3]
    assert spoilt.fooled[2].mean() > 0.8 * rates[2]  # the others still lead
    assert np.isfinite(spoilt.d).all()
    assert np.isnan(grid(labels, radii, 0.5).objective).all()  # examples outside the bounds


@pytest.mark.parametrize(("norm", "best"), [(norms.l2, 0.1 * 5.25**0.5), (norms.l1, 0.2)])
def test_on_linear_objectives_eps_times_the_dual_norm_is_reached(norm, best, key):
    xs, labels = jnp.full((5, 4), 0.5), jnp.array([0, 1, 0, 1, 1])
    settings = {"eps": 0.1, "step_size": 0.05, "steps": 4, "batch_size": 2, "norm": norm}
    found = jax.jit(lambda xs: universal(linear, xs, labels, key, **settings))(xs)
    gains = found.objective - jax.vmap(lambda x, y: linear(y)(x))(xs, labels)
    np.testing.assert_allclose(gains, best * jnp.where(labels == 0, 1.0, 0.5), rtol=1e-5)


def test_capped_examples_do_not_lead(key):
    def make(label):
        return lambda x: jnp.where(label == 0, 10.0 * x[0], x[1])

    xs, labels = jnp.full((2, 2), 0.5), jnp.array([0, 1])
    settings = {"eps": 0.1, "step_size": 0.1, "steps": 8, "batch_size": 8, "norm": norms.l2, "cap": 4.0}
    found = jax.jit(lambda xs: universal(make, xs, labels, key, **settings))(xs)
    np.testing.assert_allclose(found.d, [0.0, 0.1], atol=1e-6)
    np.testing.assert_allclose(found.curve.max(), 4.0, atol=3.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps": -0.1}, "want eps >= 0, got eps=-0.1"),
        ({"steps": 0}, "want an integer steps >= 1, got steps=0"),
        ({"batch_size": 0}, "want an integer batch_size >= 1"),
        ({"step_size": -1.0}, "want step_size >= 0"),
        ({"bounds": (0.6, 1.0)}, "want 0.6 <= x <= 1.0"),
    ],
)
def test_bad_values_are_named(changes, message, key):
    settings = {"eps": 0.1, "step_size": 0.1, "steps": 2, "batch_size": 2} | changes
    with pytest.raises(ValueError, match=message):
        universal(linear, jnp.full((3, 4), 0.5), jnp.zeros(3, int), key, **settings)
