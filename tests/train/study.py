"""The study's convolutional VAE as a run: 690,517 parameters, batches of 16 images."""

import jax.numpy as jnp
import numpy as np
import optax

from interp_jax.data import streams
from interp_jax.models import vae
from interp_jax.train.trainer import trainer
from interp_jax.vae import objectives

NET = vae.conv()


def data():
    return jnp.asarray(np.random.default_rng(0).random((64, 64, 64, 1)) < 0.1, jnp.float32)


def batch(data, key, t):
    return data[streams.uniform_indices(key, t, len(data), 16)]


def make(beta):
    return trainer(NET.init, objectives.beta_vae(NET.encode, NET.decode, beta), batch, optax.adam(1e-4))
