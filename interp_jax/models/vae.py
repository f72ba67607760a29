"""Encoders and decoders of variational autoencoders: an MLP, and the convolutions of Locatello et al. (2019)."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from interp_jax.core import checks, keys
from interp_jax.core.types import Array, Key, PyTree
from interp_jax.models import convolution
from interp_jax.models.nets import MLP, Conv, Convolve, Dense, functional


class VAE(NamedTuple):
    """Three functions of one example.

    init: `key -> params`. encode: `(params, x [H, W, C]) -> (mean [D], log_var [D])`. decode: `(params, z [D]) ->
    logits [H, W, C]`.
    """

    init: Callable[[Key], PyTree]
    encode: Callable[[PyTree, Array], tuple[Array, Array]]
    decode: Callable[[PyTree, Array], Array]

    def apply(self, params: PyTree, x: Array) -> Array:
        """Reconstruct one example from the mean of its code: logits `[H, W, C]`."""
        return self.decode(params, self.encode(params, x)[0])


def mlp(
    shape: tuple[int, int, int],
    *,
    hidden: Sequence[int] = (256, 256),
    latents: int = 10,
    param_dtype: jnp.dtype = jnp.float32,
    dtype: jnp.dtype | None = None,
) -> VAE:
    """Make a VAE of dense layers with ReLU: `hidden` widths to the code, and in reverse from it. shape: of an image."""
    checks.whole(1, latents=latents)
    kinds = {"param_dtype": param_dtype, "dtype": dtype}
    encoder, decoder = MLP((*hidden, 2 * latents), **kinds), MLP((*reversed(hidden), math.prod(shape)), **kinds)
    return _join(encoder, decoder, shape, latents, param_dtype)


def conv(
    shape: tuple[int, int, int] = (64, 64, 1),
    *,
    latents: int = 10,
    convolve: tuple[Convolve, Convolve] = (convolution.conv, convolution.conv_transpose),
    param_dtype: jnp.dtype = jnp.float32,
    dtype: jnp.dtype | None = None,
) -> VAE:
    """Make the study's network (Locatello et al. 2019; disentanglement_lib's conv_encoder and deconv_decoder).

    Encoder: convolutions 4x4, 4x4, 2x2, 2x2 of stride 2 to 32, 32, 64, 64 channels, then 256 units. Decoder: 256 and
    1024 units, transposed convolutions 4x4 of stride 2 to 64, 32, 32 and C channels. ReLU, SAME, Glorot uniform
    kernels, zero biases. 690,517 parameters at `(64, 64, 1)` and 10 latents.

    Args:
        shape: of an image; height and width multiples of 16.
        latents: D.
        convolve: the convolution and its transpose, ours by default.
        param_dtype: of the parameters.
        dtype: of the arithmetic; that of its inputs if None. Codes and logits come in `param_dtype`.
    """
    checks.whole(1, latents=latents)
    if shape[0] % 16 or shape[1] % 16:
        raise ValueError(f"want an image whose sides are multiples of 16, got {shape=}")
    kinds = {"param_dtype": param_dtype, "dtype": dtype}
    encoder, decoder = _Encoder(latents, convolve[0], **kinds), _Decoder(shape, convolve[1], **kinds)
    return _join(encoder, decoder, shape, latents, param_dtype)


class _Encoder(nn.Module):
    latents: int
    convolve: Convolve
    param_dtype: jnp.dtype
    dtype: jnp.dtype | None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kinds = {"param_dtype": self.param_dtype, "dtype": self.dtype}
        for features, size in ((32, 4), (32, 4), (64, 2), (64, 2)):
            x = nn.relu(Conv(features, size, 2, convolve=self.convolve, **kinds)(x))
        x = nn.relu(Dense(256, **kinds)(x.reshape(-1)))
        # Two heads: one of twice the width would be drawn with another Glorot range.
        return jnp.concatenate([Dense(self.latents, **kinds)(x), Dense(self.latents, **kinds)(x)])


class _Decoder(nn.Module):
    shape: tuple[int, int, int]
    convolve: Convolve
    param_dtype: jnp.dtype
    dtype: jnp.dtype | None

    @nn.compact
    def __call__(self, z: Array) -> Array:
        kinds = {"param_dtype": self.param_dtype, "dtype": self.dtype}
        height, width, channels = self.shape
        z = nn.relu(Dense(256, **kinds)(z))
        z = nn.relu(Dense(height * width // 4, **kinds)(z)).reshape(height // 16, width // 16, 64)
        for features in (64, 32, 32):
            z = nn.relu(Conv(features, 4, 2, convolve=self.convolve, **kinds)(z))
        return Conv(channels, 4, 2, convolve=self.convolve, **kinds)(z)


def _join(
    encoder: nn.Module, decoder: nn.Module, shape: tuple[int, int, int], latents: int, output_dtype: jnp.dtype
) -> VAE:
    """Make the functions of an encoder to `[2 D]` and a decoder; what a loss sums is never in bfloat16."""
    outward, back = functional(encoder, jnp.zeros(shape)), functional(decoder, jnp.zeros(latents))

    def init(key: Key) -> PyTree:
        return {
            "encoder": outward.init(keys.stream(key, "encoder")),
            "decoder": back.init(keys.stream(key, "decoder")),
        }

    def encode(params: PyTree, x: Array) -> tuple[Array, Array]:
        code = outward.apply(params["encoder"], x).astype(output_dtype)
        return code[:latents], code[latents:]

    def decode(params: PyTree, z: Array) -> Array:
        return back.apply(params["decoder"], z).astype(output_dtype).reshape(shape)

    return VAE(init, encode, decode)
