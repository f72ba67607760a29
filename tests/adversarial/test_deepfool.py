import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.adversarial import norms
from interp_jax.adversarial.deepfool import deepfool
from tests.adversarial import minimal_cases as cases

OVERSHOOT = 1e-3


def make(name):
    def attack(predict, objective, x, label, key, bounds):
        return deepfool(predict, x, label, steps=20, overshoot=OVERSHOOT, norm=cases.NORMS[name], bounds=bounds)

    return cases.program(attack)


@pytest.mark.parametrize(
    "name", [pytest.param("l1", marks=pytest.mark.slow), "l2", pytest.param("linf", marks=pytest.mark.slow)]
)
def test_outcomes_on_a_linear_model_and_on_an_mlp(name):
    run, size = make(name), cases.NORMS[name].size
    for bounds in (cases.WIDE, cases.TIGHT):
        found = run("straight", bounds)
        cases.check_sound(found, "straight", bounds, size)
        ratio = found.size[cases.SOUND] / cases.smallest(name, bounds)
        assert (ratio < 1 + OVERSHOOT + 1e-4).all()
        assert (ratio > 1 - 1e-4 + (OVERSHOOT if bounds == cases.WIDE else 0.0)).all()  # bounds may cut the overshoot
    found = run("mlp", cases.TIGHT)
    cases.check_sound(found, "mlp", cases.TIGHT, size)
    ratio = found.size[cases.SOUND] / cases.EXACT[name]
    assert (ratio > 1 - 1e-4).all()
    assert np.median(ratio) < 1.05
    assert ratio.max() < 1.5
    cases.check_degenerate(run)


def test_a_tie_at_the_clean_example_is_left():
    found = jax.jit(lambda x: deepfool(lambda x: jnp.stack([x.sum(), 1.0]), x, 0, steps=3))(jnp.full(2, 0.5))
    assert found.fooled
    assert 0 < found.size < 1e-5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "want an integer steps >= 1, got steps=0"),
        ({"candidates": 0}, "want an integer candidates >= 1"),
        ({"overshoot": -0.1}, "want overshoot >= 0"),
        ({"bounds": (1.0, 0.0)}, "want bounds \\(low, high\\) with low < high"),
        ({"bounds": (0.6, 1.0)}, "want 0.6 <= x <= 1.0"),
        ({"norm": norms.l0}, "want a norm with a dual"),
    ],
)
def test_bad_values_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        deepfool(lambda x: jnp.stack([x.sum(), 1.5]), jnp.full(2, 0.5), 0, **({"steps": 2} | changes))
