"""The models of the kernel benchmarks, for a batch of inputs, in functions that old and new JAX know.

Parameters and inputs come from NumPy's generator, so that every side has the same ones.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Params = dict[str, Any]


class Case(NamedTuple):
    """A model and its inputs. apply: `(params, xs [N, ...]) -> [N, K]`. xs: `[N, ...]`."""

    apply: Callable[[Params, Any], jax.Array]
    params: Params
    xs: np.ndarray


class Draw:
    """Weights of a scale that keeps activations of size one."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def weight(self, *shape: int, fan_in: int | None = None) -> np.ndarray:
        """Draw weights of variance 2 / fan-in, by default the product of all axes but the last."""
        scale = (2 / (fan_in or int(np.prod(shape[:-1])))) ** 0.5
        return (scale * self.rng.standard_normal(shape)).astype(np.float32)

    def input(self, *shape: int) -> np.ndarray:
        """Draw standard normal numbers."""
        return self.rng.standard_normal(shape).astype(np.float32)


def fcn(count: int) -> Case:
    """784-512-512-10, ReLU."""
    draw, sizes = Draw(), (784, 512, 512, 10)
    params = {}
    for i in range(3):
        params |= {f"w{i}": draw.weight(*sizes[i : i + 2]), f"b{i}": 0.1 * draw.input(sizes[i + 1])}

    def apply(params: Params, xs: jax.Array) -> jax.Array:
        h = jax.nn.relu(xs @ params["w0"] + params["b0"])
        h = jax.nn.relu(h @ params["w1"] + params["b1"])
        return h @ params["w2"] + params["b2"]

    return Case(apply, params, draw.input(count, 784))


def convolve(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Convolve `[N, H, W, C]` with `[h, w, C, D]`, padded to keep the size."""
    return lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def cnn(count: int) -> Case:
    """28 x 28 images, three 3 x 3 convolutions of 64 channels, ReLU, the mean over places, a dense layer."""
    draw, channels = Draw(), (1, 64, 64, 64)
    params = {}
    for i in range(3):
        params |= {f"w{i}": draw.weight(3, 3, *channels[i : i + 2]), f"b{i}": 0.1 * draw.input(64)}
    params |= {"w": draw.weight(64, 10), "b": 0.1 * draw.input(10)}

    def apply(params: Params, xs: jax.Array) -> jax.Array:
        for i in range(3):
            xs = jax.nn.relu(convolve(xs, params[f"w{i}"]) + params[f"b{i}"])
        return xs.mean((1, 2)) @ params["w"] + params["b"]

    return Case(apply, params, draw.input(count, 28, 28, 1))


def normalise(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    """Normalise over the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * scale + bias


def resnet(count: int) -> Case:
    """32 x 32 x 3 images, a convolution to 16, residual blocks of 16, 32, 64 channels with layer norm, strides 1, 2, 2.

    The mean over places and a dense layer follow.
    """
    draw, widths = Draw(), (16, 16, 32, 64)
    params = {"first": draw.weight(3, 3, 3, 16)}
    for i, (before, width) in enumerate(pairwise(widths)):
        params[f"block{i}"] = {
            "scale1": 1 + 0.1 * draw.input(before), "bias1": 0.1 * draw.input(before),
            "w1": draw.weight(3, 3, before, width),
            "scale2": 1 + 0.1 * draw.input(width), "bias2": 0.1 * draw.input(width),
            "w2": draw.weight(3, 3, width, width), "skip": draw.weight(1, 1, before, width),
        }  # fmt: skip
    params |= {"w": draw.weight(64, 10), "b": 0.1 * draw.input(10)}

    def block(params: Params, xs: jax.Array, stride: int) -> jax.Array:
        h = jax.nn.relu(normalise(xs, params["scale1"], params["bias1"]))
        y = jax.nn.relu(normalise(convolve(h, params["w1"], stride), params["scale2"], params["bias2"]))
        return convolve(h, params["skip"], stride) + convolve(y, params["w2"])

    def apply(params: Params, xs: jax.Array) -> jax.Array:
        xs = convolve(xs, params["first"])
        for i, stride in enumerate((1, 2, 2)):
            xs = block(params[f"block{i}"], xs, stride)
        return jax.nn.relu(xs).mean((1, 2)) @ params["w"] + params["b"]

    return Case(apply, params, draw.input(count, 32, 32, 3))


def transformer(count: int) -> Case:
    """32 tokens of a vocabulary of 32,000, width 128, 2 pre-norm layers of 4 heads; the embedding is the head as well.

    The outputs are the logits of 10 answers behind the last token.
    """
    draw, width, heads, length, words, answers = Draw(), 128, 4, 32, 32_000, 10
    params = {"embedding": draw.weight(words, width, fan_in=8), "position": 0.3 * draw.input(length, width)}
    for i in range(2):
        params[f"layer{i}"] = {
            **{name: draw.weight(width, heads, width // heads, fan_in=width) for name in ("q", "k", "v")},
            "o": draw.weight(heads, width // heads, width, fan_in=width),
            "w1": draw.weight(width, 4 * width), "b1": 0.1 * draw.input(4 * width),
            "w2": draw.weight(4 * width, width), "b2": 0.1 * draw.input(width),
            "scale1": 1 + 0.1 * draw.input(width), "bias1": 0.1 * draw.input(width),
            "scale2": 1 + 0.1 * draw.input(width), "bias2": 0.1 * draw.input(width),
        }  # fmt: skip

    def attend(params: Params, x: jax.Array) -> jax.Array:
        q, k, v = (jnp.einsum("ntc,chd->nthd", x, params[name]) for name in ("q", "k", "v"))
        weights = jax.nn.softmax(jnp.einsum("nthd,nshd->nhts", q, k) / (width // heads) ** 0.5)
        return jnp.einsum("nthd,hdc->ntc", jnp.einsum("nhts,nshd->nthd", weights, v), params["o"])

    def apply(params: Params, xs: jax.Array) -> jax.Array:
        x = params["embedding"][xs] + params["position"]
        for i in range(2):
            layer = params[f"layer{i}"]
            x = x + attend(layer, normalise(x, layer["scale1"], layer["bias1"]))
            h = jax.nn.relu(normalise(x, layer["scale2"], layer["bias2"]) @ layer["w1"] + layer["b1"])
            x = x + h @ layer["w2"] + layer["b2"]
        return (x[:, -1] @ params["embedding"].T)[:, :answers]

    return Case(apply, params, draw.rng.integers(0, words, (count, length)).astype(np.int32))


CASES = {"fcn": fcn, "cnn": cnn, "resnet": resnet, "transformer": transformer}
