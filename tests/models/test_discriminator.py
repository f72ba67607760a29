import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.models import discriminator
from tests.oracles import vae as oracle


def test_the_study_s_size():
    shapes = jax.eval_shape(discriminator.mlp(10).init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 5_018_002


def test_one_hidden_layer_by_hand():
    rng = np.random.default_rng(0)
    weights = {"a": rng.normal(size=(4, 3)), "b": rng.normal(size=4), "c": rng.normal(size=(2, 4)), "d": np.ones(2)}
    params = {
        "Dense_0": {"kernel": jnp.asarray(weights["a"].T), "bias": jnp.asarray(weights["b"])},
        "Dense_1": {"kernel": jnp.asarray(weights["c"].T), "bias": jnp.asarray(weights["d"])},
    }
    z = rng.normal(size=3)
    found = discriminator.mlp(3, hidden=(4,)).apply(params, jnp.asarray(z))
    np.testing.assert_allclose(found, oracle.leaky(weights, z), rtol=1e-5)
