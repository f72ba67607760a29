"""A small net for images of one object in two parts, between which a layer can be put (`models.batched.between`)."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from interp_jax.core.types import Array
from interp_jax.models.nets import Conv, Dense


class Before(nn.Module):
    """Convolutions of stride 2, 2, 1, 2 with four channels: `[H, W, c] -> [H / 8, W / 8, channels[-1]]`.

    All but the last are normalised over places, each channel of an image by itself (instance normalisation): without,
    nets of 12 to 24 channels tell where a sprite of dSprites is and do not begin to tell its shape in 1,200 steps.
    """

    channels: Sequence[int]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Give features before any ReLU, each of a whole sprite."""
        for features, stride in zip(self.channels[:-1], (2, 2, 1), strict=True):
            normal = nn.LayerNorm(reduction_axes=(0, 1), feature_axes=-1)
            x = nn.relu(normal(Conv(features, stride + 2, stride)(x)))
        return Conv(self.channels[-1], 4, 2)(x)


class After(nn.Module):
    """Means along rows and along columns, and one dense layer: `[h, w, D] -> [classes]`, affine in each channel's map.

    What is in the mean over places can be told, and where it is.
    """

    classes: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Give logits."""
        means = [x.mean(axis).reshape(-1) for axis in (0, 1)]
        return Dense(self.classes)(2 * jnp.concatenate(means))
