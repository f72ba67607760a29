from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.adversarial import masking, norms
from interp_jax.adversarial.masking import Symptoms
from tests.adversarial import nets

PREDICT = partial(nets.mlp, nets.weights(hidden=32))
XS = nets.examples(24)
WEIGHT = jax.random.normal(jax.random.key(1), (36, nets.CLASSES))


class Mask(NamedTuple):
    """What hides a model's gradients; the defaults hide nothing. linear: another model, whose logits are linear."""

    scale: float = 1.0
    levels: float = 0.0
    ripple: float = 0.0
    linear: float = 0.0

    def model(self, x):
        x = x + self.ripple * jnp.sin(1000 * x)
        levels = jnp.where(self.levels > 0, self.levels, 1.0)
        x = jnp.where(self.levels > 0, jnp.round(levels * x) / levels, x)
        return jnp.where(self.linear > 0, x.reshape(-1) @ WEIGHT, self.scale * PREDICT(x))


@jax.jit
def examine(mask, eps, key):
    """Average every check over the images that the model has right: all, for they are labelled so. One program."""

    def one(x, key):
        label = jnp.argmax(mask.model(x))
        return masking.symptoms(mask.model, x, label, key, eps=eps, steps=12, queries=60, other=PREDICT)

    return masking.average(jax.vmap(one)(XS, jax.random.split(key, len(XS))), jnp.ones(len(XS), bool))


def found(mask, key, eps=0.15):
    return examine(Mask(*map(jnp.float32, mask)), jnp.float32(eps), key)


def test_a_sound_model_shows_nothing(key):
    means = found(Mask(), key)
    for name in ("flat", "loss", "one_step", "noise", "black_box", "transfer", "unbounded"):
        assert getattr(means, name) <= 1 / 24, name
    assert means.rough < 0.1
    assert masking.verdict(means) == ()


@pytest.mark.parametrize(
    ("mask", "eps", "shows"),
    [
        (Mask(levels=8.0), 0.15, {"flat", "black_box"}),
        (Mask(ripple=0.01), 0.15, {"rough", "black_box"}),
        (Mask(scale=1e6), 0.05, {"loss"}),
    ],
    ids=["quantised", "shattered", "saturated"],
)
def test_masks_are_exposed(mask, eps, shows, key):
    means = found(mask, key, eps)
    assert shows <= set(masking.verdict(means)), means


def test_the_gradient_of_a_linear_model_predicts_its_margin(key):
    seen = found(Mask(linear=1.0), key, 0.05)
    np.testing.assert_allclose(seen.rough, 0, atol=1e-3)
    np.testing.assert_allclose(seen.flat, 0)


@pytest.mark.slow
def test_in_l2_too_and_without_another_model_nothing_is_said_of_transfer(key):
    checks = partial(masking.symptoms, Mask(linear=1.0).model, eps=0.05, steps=8, queries=20, norm=norms.l2)
    labels = jnp.argmax(jax.vmap(Mask(linear=1.0).model)(XS), -1)
    seen = jax.jit(jax.vmap(checks))(XS, labels, jax.random.split(key, len(XS)))
    np.testing.assert_allclose(seen.rough, 0, atol=1e-3)
    np.testing.assert_allclose(seen.flat, 0)
    assert jnp.isnan(seen.transfer).all()


def test_averages_are_over_what_the_model_has_right():
    each = Symptoms(*(jnp.array([1.0, 0.0, jnp.nan]) for _ in Symptoms._fields))
    assert masking.average(each, jnp.array([True, True, False])).flat == 0.5
    assert jnp.isnan(masking.average(each, jnp.zeros(3, bool)).flat)
    assert jnp.isnan(masking.average(each, jnp.ones(3, bool)).flat)


def test_thresholds_lie_between_the_sound_and_the_masked():
    def models(**columns):
        return Symptoms(*(jnp.asarray(columns.get(name, [0.0, 0.0, 0.0])) for name in Symptoms._fields))

    sound = models(flat=[0.0, 0.0, 0.04], rough=[0.002, 0.0, 0.0])
    masked = {"a": models(flat=[1.0, 1.0, 0.0], climbing=[0.05, 0.05, 0.05]), "b": models(rough=[0.1, 0.4, 0.9])}
    thresholds = masking.calibrate(sound, masked, floor=0.01)
    np.testing.assert_allclose(thresholds.flat, 0.2, rtol=1e-6)
    np.testing.assert_allclose(thresholds.rough, (0.01 * 0.4) ** 0.5, rtol=1e-6)
    assert thresholds.climbing == thresholds.noise == jnp.inf
    worst = Symptoms(0.3, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert masking.verdict(worst, thresholds) == ("flat",)
