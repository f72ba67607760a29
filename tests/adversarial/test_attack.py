import jax.numpy as jnp
import pytest

from interp_jax.adversarial.attack import Attack, strongest


@pytest.mark.parametrize(
    ("objective", "fooled", "chosen"),
    [
        ([1.0, 3.0, 2.0], [False, False, False], 1),
        ([1.0, 3.0, 2.0], [True, False, True], 2),
        ([jnp.nan, -3.0, jnp.nan], [False, False, False], 1),
        ([-5.0, jnp.nan, 9.0], [True, False, False], 0),
    ],
)
def test_the_strongest_outcome_is_fooled_first_and_never_nan_by_choice(objective, fooled, chosen):
    places = jnp.arange(3)
    value, flags = jnp.array(objective), jnp.array(fooled)
    found = strongest(Attack(places, value, flags, places, value, value[:, None], value))
    assert found.x == chosen
    assert found.fooled == fooled[chosen]
