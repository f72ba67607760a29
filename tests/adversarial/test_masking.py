from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.adversarial import masking, norms
from interp_jax.adversarial.masking import Symptoms
from tests.adversarial import nets

PREDICT = partial(nets.mlp, nets.weights(hidden=32))
XS = nets.examples(24)
LABELS = jnp.argmax(jax.vmap(PREDICT)(XS), -1)


def found(predict, key, **options):
    def one(x, label, key):
        return masking.symptoms(predict, x, label, key, **({"eps": 0.15, "steps": 12, "queries": 60} | options))

    return jax.jit(jax.vmap(one))(XS, LABELS, jax.random.split(key, len(XS)))


def test_a_sound_model_shows_nothing(key):
    means = masking.average(found(PREDICT, key, other=PREDICT), jnp.ones(len(XS), bool))
    for name in ("flat", "loss", "one_step", "noise", "black_box", "transfer", "unbounded"):
        assert getattr(means, name) <= 1 / 24, name
    assert means.rough < 0.1
    assert masking.verdict(means) == ()


@pytest.mark.parametrize(
    ("mask", "eps", "shows"),
    [
        (lambda x: PREDICT(jnp.round(8 * x) / 8), 0.15, {"flat", "black_box"}),
        (lambda x: PREDICT(x + 0.01 * jnp.sin(1000 * x)), 0.15, {"rough", "black_box"}),
        (lambda x: 1e6 * PREDICT(x), 0.05, {"loss"}),
    ],
    ids=["quantised", "shattered", "saturated"],
)
def test_masks_are_exposed(mask, eps, shows, key):
    means = masking.average(found(mask, key, eps=eps), jnp.ones(len(XS), bool))
    assert shows <= set(masking.verdict(means)), means


def test_the_gradient_of_a_linear_model_predicts_its_margin(key):
    weight = jax.random.normal(key, (36, 2))
    linear = lambda x: x.reshape(-1) @ weight  # noqa: E731
    labels = jnp.argmax(jax.vmap(linear)(XS), -1)
    checks = jax.jit(jax.vmap(partial(masking.symptoms, linear, eps=0.05, steps=8, queries=20, norm=norms.l2)))
    seen = checks(XS, labels, jax.random.split(key, len(XS)))
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
