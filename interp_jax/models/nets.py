"""Layers and networks in flax.linen, for ONE example; `functional` turns a module into two functions of params."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from interp_jax.core.types import Array, Key, PyTree
from interp_jax.models import convolution

Initializer = jax.nn.initializers.Initializer
Convolve = Callable[..., Array]
GLOROT = nn.initializers.glorot_uniform()


class Net(NamedTuple):
    """init: `key -> params`. apply: `(params, x) -> y`, for one example; keywords go to the module."""

    init: Callable[[Key], PyTree]
    apply: Callable[..., Any]


def functional(module: nn.Module, *example: jax.typing.ArrayLike | jax.ShapeDtypeStruct) -> Net:
    """Turn a linen module into functions. example: arguments of its `__call__`; only shapes and dtypes matter.

    >>> net = functional(MLP((8, 3)), jnp.zeros(5))
    >>> net.apply(net.init(jax.random.key(0)), jnp.ones(5)).shape
    (3,)
    """

    def init(key: Key) -> PyTree:
        return module.init(key, *[jnp.zeros(jnp.shape(x), jnp.result_type(x)) for x in example])["params"]

    return Net(init, lambda params, *x, **options: module.apply({"params": params}, *x, **options))


class Dense(nn.Dense):
    """`x @ kernel + bias`, kernels Glorot uniform, biases zero."""

    kernel_init: Initializer = GLOROT


class UniformDense(nn.Module):
    """`x @ kernel + bias`, both uniform in -+1 / sqrt(n) for n inputs: how `torch.nn.Linear` begins."""

    features: int
    param_dtype: jnp.dtype = jnp.float32
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Give `[..., features]`."""

        def uniform(key: Key, shape: Sequence[int], dtype: jnp.dtype) -> Array:
            return jax.random.uniform(key, shape, dtype, -1.0, 1.0) / x.shape[-1] ** 0.5

        kernel = self.param("kernel", uniform, (x.shape[-1], self.features), self.param_dtype)
        bias = self.param("bias", uniform, (self.features,), self.param_dtype)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        # On a CPU the gradient of a product with a vector is 4 to 8 times as fast as that with a matrix of one column.
        y = (x @ kernel[:, 0])[..., None] if self.features == 1 else x @ kernel
        return y + bias.reshape((1,) * (x.ndim - 1) + (-1,))


class Conv(nn.Module):
    """A convolution (or its transpose) of one image `[H, W, C]`, kernel `[h, w, C, features]`, with bias.

    convolve: `models.convolution.conv`, `conv_transpose`, or any function of their signature.
    """

    features: int
    size: int
    stride: int = 1
    padding: convolution.Padding = "SAME"
    convolve: Convolve = convolution.conv
    param_dtype: jnp.dtype = jnp.float32
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Give `[H', W', features]`."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", GLOROT, shape, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), self.param_dtype)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        return self.convolve(x, kernel, stride=self.stride, padding=self.padding) + bias[None, None]


class MLP(nn.Module):
    """Dense layers of these widths, ReLU between them. An input of any shape is flattened.

    `represent=True` gives the layer before the last, after its ReLU.
    """

    widths: Sequence[int]
    param_dtype: jnp.dtype = jnp.float32
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, represent: bool = False) -> Array:
        """Give `[widths[-1]]`, or the representation `[widths[-2]]`."""
        kinds = {"param_dtype": self.param_dtype, "dtype": self.dtype}
        x = x.reshape(-1)
        for width in self.widths[:-1]:
            x = nn.relu(Dense(width, **kinds)(x))
        return x if represent else Dense(self.widths[-1], **kinds)(x)


def mlp_layers(params: PyTree, x: Array) -> list[Array]:
    """Give every hidden layer of an `MLP` for one example, after its ReLU; the last is what `represent=True` gives."""
    layers, x = [], x.reshape(-1)
    for i in range(len(params) - 1):
        x = nn.relu(x @ params[f"Dense_{i}"]["kernel"] + params[f"Dense_{i}"]["bias"])
        layers.append(x)
    return layers


class LeakyMLP(nn.Module):
    """Dense layers of these widths, leaky ReLU of slope `slope` below zero between them. dense: the kind of layer."""

    widths: Sequence[int]
    slope: float = 0.01
    dense: Callable[..., nn.Module] = Dense
    param_dtype: jnp.dtype = jnp.float32
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Give `[widths[-1]]`."""
        kinds = {"param_dtype": self.param_dtype, "dtype": self.dtype}
        x = x.reshape(-1)
        for width in self.widths[:-1]:
            x = nn.leaky_relu(self.dense(width, **kinds)(x), self.slope)
        return self.dense(self.widths[-1], **kinds)(x)


class NTKDense(nn.Module):
    """`sqrt(weight / n) x @ kernel + sqrt(bias) b` for n inputs, kernel and b standard normal: NTK parameterisation.

    The gradient with respect to the kernel carries that factor too, so that one learning rate fits every width (Jacot
    et al. 2018).
    """

    features: int
    weight: float = 2.0
    bias: float = 0.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Give `[features]`."""
        normal = nn.initializers.normal(1.0)
        y = (self.weight / x.size) ** 0.5 * (x @ self.param("kernel", normal, (x.size, self.features)))
        return y + self.bias**0.5 * self.param("bias", normal, (self.features,)) if self.bias else y


class NTKMLP(nn.Module):
    """An MLP in NTK parameterisation; infinitely wide, it has the kernels of `ntk.infinite.relu_mlp`.

    weight, bias: the variances of every layer's weights, times its inputs, and biases; no biases if 0.
    """

    widths: Sequence[int]
    weight: float = 2.0
    bias: float = 0.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Give `[widths[-1]]`."""
        x = x.reshape(-1)
        for width in self.widths[:-1]:
            x = nn.relu(NTKDense(width, self.weight, self.bias)(x))
        return NTKDense(self.widths[-1], self.weight, self.bias)(x)


class CNN(nn.Module):
    """A small classifier: 3 x 3 convolutions of stride 2 to `channels`, ReLU, the mean over places, a dense layer."""

    classes: int
    channels: Sequence[int] = (32, 64)
    convolve: Convolve = convolution.conv
    param_dtype: jnp.dtype = jnp.float32
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, represent: bool = False) -> Array:
        """Give logits `[classes]`, or the representation `[channels[-1]]`."""
        kinds = {"param_dtype": self.param_dtype, "dtype": self.dtype}
        for features in self.channels:
            x = nn.relu(Conv(features, 3, 2, convolve=self.convolve, **kinds)(x))
        x = x.mean((0, 1))
        return x if represent else Dense(self.classes, **kinds)(x)
