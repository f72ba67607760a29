"""What a calibration says, against what is known of a step."""

import jax
import jax.numpy as jnp

from interp_jax.train import cost, table
from interp_jax.train.trainer import Trainer


def make(scale):
    def step(state, data, t):
        return state @ data * scale, {"size": jnp.abs(state).max()}

    return Trainer(lambda key: jax.random.normal(key, (64, 64)) / 64, step)


def test_a_step_of_one_product_costs_its_operations():
    runs = table.grid({"scale": [0.5, 1.0]}, 3)
    found = cost.calibrate(make, runs, jnp.eye(64), steps=4)
    product = 2 * 64**3
    assert product <= found.flops < 1.2 * product
    assert found.bytes >= 3 * 64 * 64 * 4
    assert found.memory >= found.width * 64 * 64 * 4
    assert found.width >= len(runs)  # all of them fit, rounded up to the devices
    assert 0 < found.seconds < 10
    assert found.compiled > 0
