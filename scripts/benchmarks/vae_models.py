"""The small models of `experiments/vae_study.py quick`, for benchmarks: dSprites of 16 x 16 pixels, an MLP."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from interp_jax.core import keys
from interp_jax.core.types import Array, Key, PyTree
from interp_jax.data import dsprites, packed
from interp_jax.data import factors as sets
from interp_jax.models import discriminator, vae
from interp_jax.train import table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.vae import study


class Setting(NamedTuple):
    """What the study's quick preset has, but for `conv`: the study's convolutions in place of the MLP."""

    size: int = 16
    hidden: int = 64
    steps: int = 3000
    chunk: int = 1000
    batch: int = 64
    lr: float = 2e-3
    conv: bool = False


def bits(setting: Setting) -> Array:
    """Pack all images."""
    return jax.jit(lambda: packed.pack(dsprites.data(setting.size)))()


def training(setting: Setting, dtype: Any = None) -> study.Training:
    """Give what all methods share. dtype: of the arithmetic, float32 if None."""
    shape = (setting.size, setting.size, 1)

    def batch(data: Array, key: Key, t: Array) -> Array:
        """Draw images uniformly, with replacement."""
        rows = jax.random.randint(keys.at(key, t), (setting.batch,), 0, data.shape[0])
        return jax.vmap(lambda i: packed.lookup(data, i, shape))(rows)

    hidden = (setting.hidden, setting.hidden)
    model = vae.conv(shape, dtype=dtype) if setting.conv else vae.mlp(shape, hidden=hidden, dtype=dtype)
    opponent = discriminator.mlp(10, hidden=hidden, dtype=dtype)
    return study.Training(model, batch, opponent, setting.steps, setting.lr, (64 / setting.size) ** 2)


def train(
    setting: Setting, method: str, strengths: tuple[float, ...], seeds: int, data: Array, out: Path, dtype: Any = None
) -> Sweep:
    """Train a method's strengths and seeds; resumes in `out`."""
    runs = table.grid({"strength": [*strengths]}, seeds)
    config = {**setting._asdict(), "method": method, "dtype": jnp.dtype(dtype or jnp.float32).name}
    return sweep(
        study.method(method, training(setting, dtype)), runs, data, steps=setting.steps, chunk=setting.chunk,
        config=config, out=out,
    )  # fmt: skip


def codes(model: vae.VAE, params: PyTree, data: Array, factors: Array, shape: tuple[int, int, int]) -> Array:
    """Give the means of codes `[N, D]` of the images with these factors `[N, F]`."""
    sizes = dsprites.FACTOR_SIZES

    def one(classes: Array) -> Array:
        return model.encode(params, packed.lookup(data, sets.index(sizes, classes), shape))[0]

    return jax.vmap(one)(factors)
