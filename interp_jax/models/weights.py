"""What readers of published checkpoints share: facts of config.json, and tensors taken by name and shape.

Both are strict, because a model that differs a little gives numbers that look right: a fact that we do not implement is
refused, a tensor that is missing, of another shape or left over as well.
"""

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core.types import Array, Numpy
from interp_jax.models.transformer import Dense, Norm


def gelu(x: Array) -> Array:
    """Give `x (1 + erf(x / sqrt(2))) / 2` (Hendrycks and Gimpel 2016), as the reference implementations compute it.

    `jax.nn.gelu` has erfc in its place, which keeps the digits of values of 1e-6 and smaller, far below zero, and takes
    twice the time.
    """
    return x * (0.5 + 0.5 * jax.lax.erf(x * 0.5**0.5))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": gelu,
    "gelu_new": partial(jax.nn.gelu, approximate=True),
    "gelu_pytorch_tanh": partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
}
"""By the names of config.json."""


class Facts:
    """The values of a config.json; each way to ask names what is wrong."""

    def __init__(self, values: Mapping[str, object], where: str = "config.json") -> None:
        self.values, self.where = values, where

    def size(self, name: str, default: int | None = None) -> int:
        """Give a whole number of at least 1; the default stands for a missing value and for null."""
        value = default if self.values.get(name) is None else self.values[name]
        if type(value) is not int or not 1 <= value < 2**31:
            raise ValueError(f"{self.where}: want a whole number {name} >= 1, got {value!r}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """Give a number above zero."""
        value = default if self.values.get(name) is None else self.values[name]
        if type(value) not in (int, float) or not 0 < float(str(value)) < math.inf:
            raise ValueError(f"{self.where}: want a number {name} > 0, got {value!r}")
        return float(str(value))

    def flag(self, name: str, default: bool) -> bool:
        """Give true or false."""
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise ValueError(f"{self.where}: want {name} true or false, got {value!r}")
        return value

    def activation(self, name: str) -> Callable[[Array], Array]:
        """Give an activation by its name."""
        value = self.values.get(name)
        if not (isinstance(value, str) and value in ACTIVATIONS):
            raise ValueError(f"{self.where}: want {name} among {', '.join(ACTIVATIONS)}, got {value!r}")
        return ACTIVATIONS[value]

    def only(self, **allowed: object) -> None:
        """Refuse values other than these; a missing one passes."""
        for name, value in allowed.items():
            if self.values.get(name, value) != value:
                raise ValueError(
                    f"{self.where}: want {name} {value!r}, the only one implemented, got {self.values[name]!r}"
                )


def facts(folder: str | os.PathLike) -> Facts:
    """Read the config.json of a folder.

    Raises:
        FileNotFoundError: no such file.
        ValueError: what is no JSON object.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"no config.json in {folder}")
    try:
        with open(path, "rb") as file:
            values = json.loads(file.read(2**20).decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a sound config.json: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: want a JSON object, got {type(values).__name__}")
    return Facts(values, str(path))


class Weights:
    """Takes tensors out of a checkpoint, by names with or without `prefix`, and knows what was not taken.

    Methods whose name has `{}` in it stack the tensors of all layers.
    """

    def __init__(self, tensors: Mapping[str, Numpy], prefix: str, layers: int, dtype: jax.typing.DTypeLike) -> None:
        self.rest = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        self.layers, self.dtype = layers, jnp.dtype(dtype)

    def has(self, name: str) -> bool:
        """Say whether a tensor is there, in the first layer if the name has `{}`."""
        return name.format(0) in self.rest

    def array(self, name: str, *shape: int) -> Array:
        """Take one tensor, or those of all layers, `[L, ...]`.

        Raises:
            ValueError: one is missing, has another shape or is no floating point.
        """
        if "{}" not in name:
            return jnp.asarray(self._take(name, shape).astype(self.dtype))
        found = [self._take(name.format(i), shape) for i in range(self.layers)]
        return jnp.asarray(np.stack(found, dtype=self.dtype, casting="unsafe"))

    def dense(self, names: list[str], n: int, sizes: list[int], *, transposed: bool = True) -> Dense:
        """Take kernels, `[m, n]` there (`[n, m]` unless transposed), and biases, if any, and lay them side by side."""
        kernels, biases = [], []
        for name, m in zip(names, sizes, strict=True):
            kernel = self.array(f"{name}.weight", *((m, n) if transposed else (n, m)))
            kernels.append(jnp.swapaxes(kernel, -1, -2) if transposed else kernel)
            biases += [self.array(f"{name}.bias", m)] if self.has(f"{name}.bias") else []
        if len(biases) not in (0, len(names)):
            raise ValueError(f"want a bias with each of {', '.join(names)} or with none, got {len(biases)}")
        return Dense(jnp.concatenate(kernels, -1), jnp.concatenate(biases, -1) if biases else None)

    def norm(self, name: str, size: int, *, bias: bool = True) -> Norm:
        """Take a norm's scale and bias, called weight and bias or, in old files, gamma and beta."""
        scale, shift = ("gamma", "beta") if self.has(f"{name}.gamma") else ("weight", "bias")
        return Norm(self.array(f"{name}.{scale}", size), self.array(f"{name}.{shift}", size) if bias else None)

    def end(self, *ignored: str) -> None:
        """Refuse tensors that were not taken, unless their names match one of these patterns.

        Raises:
            ValueError: a model with parts that we do not know is another model.
        """
        left = [name for name in self.rest if not any(re.fullmatch(pattern, name) for pattern in ignored)]
        if left:
            raise ValueError(f"want no tensors beside the model's, got {len(left)} more, such as {left[:3]}")

    def _take(self, name: str, shape: tuple[int, ...]) -> Numpy:
        if name not in self.rest:
            raise ValueError(f"want a tensor {name}, got {len(self.rest)} others, such as {[*self.rest][:3]}")
        found = self.rest.pop(name)
        if found.shape != shape or not jnp.issubdtype(found.dtype, jnp.floating):
            raise ValueError(f"want {name} floating, of shape {shape}, got {found.dtype} of {found.shape}")
        return found
