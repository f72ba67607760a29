"""The patches that a convolution multiplies with its kernel, by slices alone."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from interp_jax.core.types import Array


def extract(x: Array, params: Mapping[str, Any], window: Sequence[int]) -> Array:
    """Give `[batch, *places, groups, *window, channels / groups]` of a `conv_general_dilated`.

    params: of its equation. window: the kernel's size along each spatial axis. `lax.conv_general_dilated_patches` does
    the same by a convolution with an identity, which costs as much as the layer itself.
    """
    batch, channel, *places = params["dimension_numbers"].lhs_spec
    x = x.transpose(batch, *places, channel)
    edges = [
        (low, high, dilation - 1)
        for (low, high), dilation in zip(params["padding"], params["lhs_dilation"], strict=True)
    ]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
    strides, dilations = params["window_strides"], params["rhs_dilation"]
    counts = [
        (n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zip(x.shape[1:-1], window, dilations, strides, strict=True)
    ]

    def seen(offset: Sequence[int]) -> Array:
        low = [o * d for o, d in zip(offset, dilations, strict=True)]
        high = [a + (n - 1) * s + 1 for a, n, s in zip(low, counts, strides, strict=True)]
        return lax.slice(x, (0, *low, 0), (x.shape[0], *high, x.shape[-1]), (1, *strides, 1))

    parts = [seen(offset) for offset in itertools.product(*map(range, window))]
    groups = params["feature_group_count"]
    found = jnp.stack(parts, -2).reshape(x.shape[0], *counts, *window, groups, x.shape[-1] // groups)
    return jnp.moveaxis(found, -2, 1 + len(counts))
