"""Convolutions of one image as matrix products, which stay fast alone, batched over kernels, and inside a scan."""

import itertools
from collections.abc import Sequence

import chex
import jax.numpy as jnp
from jax import lax

from interp_jax.core.checks import whole
from interp_jax.core.types import Array

Padding = str | Sequence[tuple[int, int]]
Pair = tuple[int, int]


def conv(x: Array, kernel: Array, *, stride: int | Pair = 1, padding: Padding = "SAME") -> Array:
    """Correlate an image with a kernel: `y[i, j] = sum_ab x[s i + a - low, s j + b - low] kernel[a, b]`."""
    _check(x, kernel)
    strides, size = _pair(stride), kernel.shape[:2]
    pads = [_around(n, k, s, p) for n, k, s, p in zip(x.shape[:2], size, strides, _each(padding), strict=True)]
    out = [(n + sum(p) - k) // s + 1 for n, k, s, p in zip(x.shape[:2], size, strides, pads, strict=True)]
    x = _fit(x, [low for low, _ in pads], [(n - 1) * s + k for n, s, k in zip(out, strides, size, strict=True)])
    if size[0] % strides[0] == 0 and size[1] % strides[1] == 0:
        x, kernel, strides = _space_to_depth(x, strides), _blocks(kernel, strides), (1, 1)
    return _windows(x, kernel, strides)


def conv_transpose(x: Array, kernel: Array, *, stride: int | Pair = 1, padding: Padding = "SAME") -> Array:
    """Spread an image through a kernel: `y[s i + a - low, s j + b - low] += x[i, j] kernel[a, b]`."""
    _check(x, kernel)
    strides, size = _pair(stride), kernel.shape[:2]
    crops = [_inside(n, k, s, p) for n, k, s, p in zip(x.shape[:2], size, strides, _each(padding), strict=True)]
    kernel = _fit(kernel, [0, 0], [-(-k // s) * s for k, s in zip(size, strides, strict=True)])
    kernel = _phases(kernel, strides)
    reach = [t - 1 for t in kernel.shape[:2]]
    x = _fit(x, reach, [n + 2 * r for n, r in zip(x.shape[:2], reach, strict=True)])
    y = _depth_to_space(_windows(x, kernel, (1, 1), reverse=True), strides)
    return _fit(y, [-low for low, _ in crops], [n for _, n in crops])


def _windows(x: Array, kernel: Array, strides: Pair, *, reverse: bool = False) -> Array:
    """Correlate without padding, by one product."""
    (h, w, channels, features), (sh, sw) = kernel.shape, strides
    rows, columns = (x.shape[0] - h) // sh + 1, (x.shape[1] - w) // sw + 1
    corners = list(itertools.product(range(h), range(w)))[:: -1 if reverse else 1]

    def window(z: Array, i: int, j: int) -> Array:
        return lax.slice(z, (i, j, 0), (i + (rows - 1) * sh + 1, j + (columns - 1) * sw + 1, z.shape[2]), (sh, sw, 1))

    if h * w > 1 and strides == (1, 1) and features < channels:
        products = _product(x, kernel.transpose(0, 1, 3, 2).reshape(-1, channels))
        parts = zip(jnp.split(products, h * w, axis=-1), corners, strict=True)
        return sum((window(part, *corner) for part, corner in parts), start=jnp.zeros((), x.dtype))
    patches = jnp.concatenate([window(x, *corner) for corner in corners], axis=-1)
    return _product(patches, kernel.transpose(3, 0, 1, 2).reshape(features, -1))


def _product(x: Array, rows: Array) -> Array:
    return lax.dot_general(x, rows, (((2,), (1,)), ((), ())))


def _space_to_depth(x: Array, strides: Pair) -> Array:
    (height, width, channels), (sh, sw) = x.shape, strides
    lines = x.reshape(height // sh, sh, width // sw, sw * channels)
    return jnp.concatenate([lines[:, p] for p in range(sh)], axis=-1)


def _depth_to_space(x: Array, strides: Pair) -> Array:
    (height, width, depth), (sh, sw) = x.shape, strides
    return jnp.stack(jnp.split(x, sh, axis=-1), axis=1).reshape(height * sh, width * sw, depth // (sh * sw))


def _blocks(kernel: Array, strides: Pair) -> Array:
    (h, w, channels, features), (sh, sw) = kernel.shape, strides
    split = kernel.reshape(h // sh, sh, w // sw, sw, channels, features)
    return split.transpose(0, 2, 1, 3, 4, 5).reshape(h // sh, w // sw, sh * sw * channels, features)


def _phases(kernel: Array, strides: Pair) -> Array:
    (h, w, channels, features), (sh, sw) = kernel.shape, strides
    split = kernel.reshape(h // sh, sh, w // sw, sw, channels, features)
    return split.transpose(0, 2, 4, 1, 3, 5).reshape(h // sh, w // sw, channels, sh * sw * features)


def _fit(x: Array, low: Sequence[int], size: Sequence[int]) -> Array:
    """Pad with zeros or crop the two leading axes so that they start at `-low` and have `size` places."""
    edges = [(a, n - m - a, 0) for a, n, m in zip(low, size, x.shape[:2], strict=True)]
    return lax.pad(x, jnp.zeros((), x.dtype), edges + [(0, 0, 0)] * (x.ndim - 2)) if any(map(any, edges)) else x


def _around(n: int, k: int, s: int, padding: str | Pair) -> Pair:
    """Zeros before and after an axis of `n` places."""
    if padding == "SAME":
        total = max((-(-n // s) - 1) * s + k - n, 0)
        return total // 2, total - total // 2
    return (0, 0) if padding == "VALID" else padding


def _inside(n: int, k: int, s: int, padding: str | Pair) -> Pair:
    """Places cut before, and places kept, of the `(n - 1) s + k` places that the kernels reach."""
    if padding == "SAME":
        return max(k - s, 0) // 2, n * s
    if padding == "VALID":
        return 0, n * s + max(k - s, 0)
    before, after = padding
    return k - 1 - before, (n - 1) * s + 1 + before + after - k + 1


def _pair(value: int | Pair) -> Pair:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    whole(1, stride=pair[0]), whole(1, stride=pair[1])
    return pair


def _each(padding: Padding) -> Sequence[str | Pair]:
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise ValueError(f"want padding 'SAME', 'VALID' or two pairs of whole numbers, got {padding!r}")
        return [padding, padding]
    return [(int(a), int(b)) for a, b in padding]


def _check(x: Array, kernel: Array) -> None:
    chex.assert_rank([x, kernel], [3, 4])
    if x.shape[2] != kernel.shape[2]:
        raise ValueError(f"want x [H, W, C] and kernel [h, w, C, O] of one C, got {x.shape} and {kernel.shape}")
