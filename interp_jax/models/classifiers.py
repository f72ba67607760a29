"""Classifiers of small images that robustness is measured on: the Wong-Kolter network and a residual network.

Each gives logits for ONE image; `represent=True` gives the penultimate layer, from which the logits are linear.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from interp_jax.core.types import Array
from interp_jax.models import convolution
from interp_jax.models.nets import Conv, Convolve, Dense


class WongKolter(nn.Module):
    """The convolutional network of Wong and Kolter (2018) for 28 x 28 images, 166,406 parameters at one channel.

    4 x 4 convolutions of stride 2 to 16 and 32 channels with a zero on each side, a dense layer of 100, ReLU between.
    """

    classes: int = 10
    channels: Sequence[int] = (16, 32)
    hidden: int = 100
    convolve: Convolve = convolution.conv
    param_dtype: jnp.dtype = jnp.float32
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, represent: bool = False) -> Array:
        """Give logits `[classes]`, or the representation `[hidden]`."""
        kinds = {"param_dtype": self.param_dtype, "dtype": self.dtype}
        for features in self.channels:
            conv = Conv(features, 4, 2, padding=((1, 1), (1, 1)), convolve=self.convolve, **kinds)
            x = nn.relu(conv(x))
        x = nn.relu(Dense(self.hidden, **kinds)(x.reshape(-1)))
        return x if represent else Dense(self.classes, **kinds)(x)


class Residual(nn.Module):
    """A basic block (He et al. 2016, figure 5, left): two 3 x 3 convolutions beside the input."""

    features: int
    stride: int = 1
    groups: int = 8
    convolve: Convolve = convolution.conv
    param_dtype: jnp.dtype = jnp.float32
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Give `[H / stride, W / stride, features]`."""
        kinds = {"param_dtype": self.param_dtype, "dtype": self.dtype}

        def conv(x: Array, size: int, stride: int) -> Array:
            y = Conv(self.features, size, stride, convolve=self.convolve, **kinds)(x)
            return nn.GroupNorm(self.groups, reduction_axes=(0, 1, 2), **kinds)(y)

        y = conv(nn.relu(conv(x, 3, self.stride)), 3, 1)
        beside = x if x.shape == y.shape else conv(x, 1, self.stride)
        return nn.relu(y + beside)


class ResNet(nn.Module):
    """A ResNet-18 for images of 28 or 32 pixels: a 3 x 3 stem, four stages of two basic blocks, the mean over places.

    Differs from He et al. (2016) in its stem, as all versions for CIFAR do, and in normalising over groups of channels
    of one image (Wu and He 2018) instead of over the batch: a model stays a function of one example. width: channels of
    the first stage, 64 in the original (11.2 million parameters).
    """

    classes: int = 10
    width: int = 64
    blocks: Sequence[int] = (2, 2, 2, 2)
    groups: int = 8
    convolve: Convolve = convolution.conv
    param_dtype: jnp.dtype = jnp.float32
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, represent: bool = False) -> Array:
        """Give logits `[classes]`, or the representation `[8 width]`."""
        kinds = {"param_dtype": self.param_dtype, "dtype": self.dtype}
        x = Conv(self.width, 3, convolve=self.convolve, **kinds)(x)
        x = nn.relu(nn.GroupNorm(self.groups, reduction_axes=(0, 1, 2), **kinds)(x))
        for stage, blocks in enumerate(self.blocks):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                x = Residual(self.width * 2**stage, stride, self.groups, self.convolve, **kinds)(x)
        x = x.mean((0, 1))
        return x if represent else Dense(self.classes, **kinds)(x)
