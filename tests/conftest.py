import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

from interp_jax.runs import cache

cache.enable()
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def key():
    return jax.random.key(0)
