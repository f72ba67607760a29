import gc
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

from interp_jax.runs import cache

cache.enable()
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="module", autouse=True)
def _frozen():
    """Keep what modules leave behind, compiled programs mostly, out of collections, which then take seconds each."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def key():
    return jax.random.key(0)
