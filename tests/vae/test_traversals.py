import jax.numpy as jnp
import numpy as np

from interp_jax.vae import traversals


def test_only_one_latent_moves_at_a_time():
    code, values = jnp.array([0.3, -0.7, 0.1]), jnp.array([-2.0, 0.0, 2.0])
    seen = traversals.traverse(lambda params, z: z, None, code, values)
    logits = np.log(seen / (1 - seen))
    assert seen.shape == (3, 3, 3)
    for k in range(3):
        for i, value in enumerate(values):
            want = np.asarray(code).copy()
            want[k] = value
            np.testing.assert_allclose(logits[k, i], want, atol=1e-5)
