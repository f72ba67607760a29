"""A run small enough to compile in a second, with noise, Adam and two metrics."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from interp_jax.data import streams
from interp_jax.train.trainer import trainer

TRACES = []


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 4)).astype(np.float32)
    return {"x": jnp.asarray(x), "y": jnp.asarray(x @ rng.normal(size=(4, 3)).astype(np.float32))}


def init(key):
    return {"w": jax.random.normal(key, (4, 3)), "b": jnp.zeros(3)}


def loss(params, batch, key):
    TRACES.append(1)
    x = batch["x"] + 0.01 * jax.random.normal(key, batch["x"].shape)
    error = jnp.mean((x @ params["w"] + params["b"][None] - batch["y"]) ** 2)
    return error, {"mse": error}


def batch(data, key, t):
    rows = streams.uniform_indices(key, t, len(data["x"]), 16)
    return jax.tree.map(lambda leaf: leaf[rows], data)


def make(lr):
    """Learning rates above 1e30 diverge at once: a run for the mask."""
    return trainer(init, loss, batch, optax.chain(optax.scale_by_adam(), optax.scale_by_learning_rate(lr)))
