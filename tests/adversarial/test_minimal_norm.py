import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.adversarial import norms
from interp_jax.adversarial.minimal_norm import cosine, ddn, fmn
from tests.adversarial import minimal_cases as cases
from tests.adversarial.test_carlini import check


def test_ddn_on_a_linear_model_and_on_an_mlp():
    def attack(predict, objective, x, label, key, bounds):
        return ddn(objective, x, steps=200, bounds=bounds)

    check(cases.program(attack), "l2", 0.02, (1.01, 1.1))


@pytest.mark.parametrize("name", [pytest.param("l1", marks=pytest.mark.slow), "l2", "linf"])
def test_fmn_on_a_linear_model_and_on_an_mlp(name):
    def attack(predict, objective, x, label, key, bounds):
        return fmn(objective, x, steps=200, norm=cases.NORMS[name], bounds=bounds)

    check(cases.program(attack), name, 0.01, (1.01, 1.5 if name == "l1" else 1.1))


def test_fmn_changes_as_few_entries_as_needed_in_l0():
    slope = jnp.array([4.0, 3.0, 1.0, 0.5, 0.25])

    def margin(x):
        return slope @ x - 3.8 - 0.5 * slope.sum()

    found = jax.jit(lambda x: fmn(margin, x, steps=60, norm=norms.l0, bounds=(0.0, 1.0)))(jnp.full(5, 0.5))
    assert found.size == 3  # two entries give (4 + 3) / 2 = 3.5, three give 4
    assert found.fooled
    assert margin(found.x) > 0


def test_the_schedule_falls_from_first_to_last():
    values = cosine(jnp.float32(1.0), jnp.float32(0.01), jnp.array([0.0, 5.0, 10.0]), 10)
    np.testing.assert_allclose(values, [1.0, 0.505, 0.01], rtol=1e-5)


@pytest.mark.parametrize(
    ("attack", "changes", "message"),
    [
        (ddn, {"steps": 0}, "want an integer steps >= 1, got steps=0"),
        (ddn, {"eps": 0.0}, "want eps > 0"),
        (ddn, {"gamma": 1.5}, "want 0 <= gamma <= 1"),
        (ddn, {"bounds": (1.0, 0.0)}, "want bounds \\(low, high\\) with low < high"),
        (fmn, {"step_size": -1.0}, "want step_size > 0"),
        (fmn, {"last_gamma": -1.0}, "want 0 <= last_gamma <= 1"),
        (fmn, {"bounds": (0.6, 1.0)}, "want 0.6 <= x <= 1.0"),
    ],
)
def test_bad_values_are_named(attack, changes, message):
    with pytest.raises(ValueError, match=message):
        attack(lambda x: x.sum() - 1.5, jnp.full(2, 0.5), **({"steps": 2} | changes))
