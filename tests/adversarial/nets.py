"""Small fixed models for attacks: a linear one with closed forms, and an MLP with weights from a seed."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

SIDE, CLASSES = 6, 4


def weights(seed=0, hidden=16, classes=CLASSES, side=SIDE):
    """Float64 weights in numpy, for oracles; `mlp` takes the same in float32."""
    rng = np.random.default_rng(seed)
    sizes = (side * side, hidden, classes)
    return [(rng.normal(size=(a, b)) / np.sqrt(a), 0.1 * rng.normal(size=b)) for a, b in itertools.pairwise(sizes)]


def mlp(params, x):
    """Logits of one example `[side, side, 1]` or `[side * side]`."""
    (w1, b1), (w2, b2) = [(jnp.asarray(w, jnp.float32), jnp.asarray(b, jnp.float32)) for w, b in params]
    return jax.nn.relu(x.reshape(-1) @ w1 + b1) @ w2 + b2


def examples(n, seed=1, side=SIDE):
    """Inputs in [0.1, 0.9], `[n, side, side, 1]`."""
    return jnp.asarray(np.random.default_rng(seed).uniform(0.1, 0.9, size=(n, side, side, 1)), jnp.float32)
