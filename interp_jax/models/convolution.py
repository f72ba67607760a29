"""Convolutions of one image as matrix products, which stay fast alone, batched over kernels, and inside a scan.

Each is zeros, slices, reshapes and ONE `dot_general` whose right side is the rearranged kernel, so jvp, vjp and jvp of
vjp are those of JAX, and a reader of the jaxpr finds every kernel in one product. Under `vmap` over images the batch
joins the rows of that product; under `vmap` over kernels (seeds) it becomes one batched product.

What happens to an image (the lowering is chosen by static shapes alone):

1. A stride that divides the kernel moves into the channels: 2 x 2 pixels become one place with 4 C channels, and a
   4 x 4 kernel of stride 2 becomes a 2 x 2 kernel of stride 1. The transpose leaves `s s O` channels, which are spread.
2. A kernel of `h w` places needs `h w` shifted copies. They are made of the narrower side: of the input before the
   product, or of the product if `O < C`.

Measured on XLA's CPU backend (jax 0.10.2, two cores), a training step of the study's VAE (`models.vae.conv`, batch 64)
in a scan: 15.2 seed-steps a second at 8 seeds, 1.3 times PyTorch eager in its faster layout and 60 times the vmapped
`jax.lax` convolutions. On one core 95 of its 149 ms are products, at 60 to 75 of 76 GFLOP/s; the rest is memory.
What carries it, in ms of value and gradient of a 4 x 4 layer of stride 2 between 32 channels, at 32 x 32 pixels:

- shifts of the narrower side, 27, where 16 strided slices take 55;
- `split` and `concatenate` where indexing and `transpose` would do, 24 instead of 31: their derivatives are each other,
  those of slices are sums of padded arrays;
- kernels as `[features, inputs]`, 24 instead of 27: the gradient leaves the product as it is, and not transposed, which
  XLA folds into a slower product.

A 3 x 3 kernel of stride 2 stays with 9 strided slices: completed with zeros to 4 x 4 it took 1.1 to 1.8 times as long.

On a GPU or TPU `jax.lax.conv_general_dilated` may win where kernels are not batched: `conv` and `conv_transpose` are
the one place to choose by platform.
"""

import functools
import itertools
import operator
from collections.abc import Sequence

import chex
import jax.numpy as jnp
from jax import lax

from interp_jax.core.checks import whole
from interp_jax.core.types import Array

Pair = tuple[int, int]
Padding = str | Sequence[Pair]


def conv(x: Array, kernel: Array, *, stride: int | Pair = 1, padding: Padding = "SAME") -> Array:
    """Correlate an image with a kernel: `y[i, j] = sum_ab x[s i + a - low, s j + b - low] kernel[a, b]`.

    Equals `jax.lax.conv_general_dilated` with NHWC, HWIO, NHWC (and the convolutions of TensorFlow and, with SAME's
    zeros given explicitly, of PyTorch) to float32 rounding.

    >>> conv(jnp.ones((64, 64, 3)), jnp.ones((4, 4, 3, 32)), stride=2).shape
    (32, 32, 32)

    Args:
        x: one image, `[H, W, C]`.
        kernel: `[h, w, C, O]`.
        stride: s, one number or one an axis.
        padding: "SAME" (`ceil(H / s)` places), "VALID", or zeros `((top, bottom), (left, right))`; negative ones crop.

    Returns:
        `[H', W', O]`.

    Raises:
        ValueError: shapes that do not fit each other, a stride below one, an unknown padding.
    """
    strides = _check(x, kernel, stride)
    size, shape = kernel.shape[:2], x.shape[:2]
    pads = [_zeros(*axis) for axis in zip(shape, size, strides, _each(padding), strict=True)]
    spans = [n + low + high - k for n, k, (low, high) in zip(shape, size, pads, strict=True)]
    if min(spans) < 0:
        raise ValueError(f"want a kernel within the padded image, got x {x.shape}, kernel {kernel.shape}, {padding=}")
    used = [span // s * s + k for span, s, k in zip(spans, strides, size, strict=True)]
    x = _fit(x, [low for low, _ in pads], used)
    if size[0] % strides[0] == 0 and size[1] % strides[1] == 0:
        x, kernel, strides = _space_to_depth(x, strides), _depth_in(kernel, strides), (1, 1)
    return _correlate(x, kernel, strides)


def conv_transpose(x: Array, kernel: Array, *, stride: int | Pair = 1, padding: Padding = "SAME") -> Array:
    """Spread an image through a kernel: `y[s i + a - low, s j + b - low] += x[i, j] kernel[a, b]`.

    The adjoint of `conv` with the kernel's last two axes exchanged, and the convention of TensorFlow and PyTorch:
    their weights need a transposition of axes and no flip. `jax.lax.conv_transpose` (and flax's `ConvTranspose`) by
    default correlates with the kernel flipped: `conv_transpose(x, k)` equals `lax.conv_transpose(x, k[::-1, ::-1])`.

    >>> conv_transpose(jnp.ones((4, 4, 64)), jnp.ones((4, 4, 64, 32)), stride=2).shape
    (8, 8, 32)

    Args:
        x: one image, `[H, W, C]`.
        kernel: `[h, w, C, O]`. Where the stride does not divide it, zeros complete it.
        stride: s, one number or one an axis.
        padding: "SAME" (`s H` places), "VALID" (all that the kernels reach, at least `s H`), or pairs: as in
            `jax.lax.conv_transpose`, zeros around the dilated image, of which `h - 1` keep all that the kernels reach
            (PyTorch's `padding=p` is `(h - 1 - p, h - 1 - p)`).

    Returns:
        `[H', W', O]`.

    Raises:
        ValueError: shapes that do not fit each other, a stride below one, an unknown padding.
    """
    strides = _check(x, kernel, stride)
    size, shape = kernel.shape[:2], x.shape[:2]
    kept = [_kept(*axis) for axis in zip(shape, size, strides, _each(padding), strict=True)]
    if min(n for _, n in kept) < 1:
        raise ValueError(f"want a padding that keeps at least one place, got x {x.shape}, {kernel.shape=}, {padding=}")
    whole_blocks = [-(-k // s) * s for k, s in zip(size, strides, strict=True)]
    kernel = _depth_out(_fit(kernel, (0, 0), whole_blocks), strides)
    reach = [t - 1 for t in kernel.shape[:2]]
    x = _fit(x, reach, [n + 2 * r for n, r in zip(shape, reach, strict=True)])
    y = _depth_to_space(_correlate(x, kernel, (1, 1), flip=True), strides)
    return _fit(y, [-start for start, _ in kept], [n for _, n in kept])


def _correlate(x: Array, kernel: Array, strides: Pair, *, flip: bool = False) -> Array:
    """Correlate without zeros, or (flip) convolve, in one product."""
    h, w, channels, features = kernel.shape
    corners = list(itertools.product(range(h), range(w)))[:: -1 if flip else 1]
    spans = [(n - k) // s * s + 1 for n, k, s in zip(x.shape[:2], (h, w), strides, strict=True)]

    def seen(z: Array, i: int, j: int) -> Array:
        return lax.slice(z, (i, j, 0), (i + spans[0], j + spans[1], z.shape[2]), (*strides, 1))

    if h * w > 1 and strides == (1, 1) and features < channels:
        products = _times(x, kernel.transpose(0, 1, 3, 2).reshape(h * w * features, channels))
        parts = jnp.split(products, h * w, axis=2)
        return functools.reduce(operator.add, [seen(z, *at) for z, at in zip(parts, corners, strict=True)])
    patches = jnp.concatenate([seen(x, *at) for at in corners], axis=2)
    return _times(patches, kernel.transpose(3, 0, 1, 2).reshape(features, h * w * channels))


def _times(x: Array, rows: Array) -> Array:
    """Multiply the channels of `[H, W, C]` with every row of `[O, C]`."""
    return lax.dot_general(x, rows, (((2,), (1,)), ((), ())))


def _space_to_depth(x: Array, strides: Pair) -> Array:
    """Move blocks into channels: `[H, W, C]` to `[H / s, W / s, s s C]`."""
    (height, width, channels), (sh, sw) = x.shape, strides
    lines = x.reshape(height // sh, sh, width // sw, sw * channels)
    return jnp.concatenate([lines[:, p] for p in range(sh)], axis=2)


def _depth_to_space(x: Array, strides: Pair) -> Array:
    """Spread channels over blocks: `[H, W, s s O]` to `[s H, s W, O]`."""
    (height, width, depth), (sh, sw) = x.shape, strides
    return jnp.stack(jnp.split(x, sh, axis=2), axis=1).reshape(height * sh, width * sw, depth // (sh * sw))


def _depth_in(kernel: Array, strides: Pair) -> Array:
    """Move blocks into the input channels: `[h, w, C, O]` to `[h / s, w / s, s s C, O]`."""
    (h, w, channels, features), (sh, sw) = kernel.shape, strides
    split = kernel.reshape(h // sh, sh, w // sw, sw, channels, features)
    return split.transpose(0, 2, 1, 3, 4, 5).reshape(h // sh, w // sw, sh * sw * channels, features)


def _depth_out(kernel: Array, strides: Pair) -> Array:
    """Move blocks into the output channels: `[h, w, C, O]` to `[h / s, w / s, C, s s O]`."""
    (h, w, channels, features), (sh, sw) = kernel.shape, strides
    split = kernel.reshape(h // sh, sh, w // sw, sw, channels, features)
    return split.transpose(0, 2, 4, 1, 3, 5).reshape(h // sh, w // sw, channels, sh * sw * features)


def _fit(x: Array, low: Sequence[int], size: Sequence[int]) -> Array:
    """Add zeros to (or crop) the two leading axes: `low` places before, `size` in all."""
    edges = [(a, n - m - a, 0) for a, n, m in zip(low, size, x.shape[:2], strict=True)]
    if not any(map(any, edges)):
        return x
    return lax.pad(x, jnp.zeros((), x.dtype), edges + [(0, 0, 0)] * (x.ndim - 2))


def _zeros(n: int, k: int, s: int, padding: str | Pair) -> Pair:
    """Count the zeros before and after an axis of `n` places."""
    if isinstance(padding, str):
        total = max((-(-n // s) - 1) * s + k - n, 0) if padding == "SAME" else 0
        return total // 2, total - total // 2
    return padding


def _kept(n: int, k: int, s: int, padding: str | Pair) -> Pair:
    """Give the start and number of the places kept, of the `(n - 1) s + k` that the kernels reach."""
    if isinstance(padding, str):
        excess = max(k - s, 0)
        return (excess // 2, n * s) if padding == "SAME" else (0, n * s + excess)
    before, after = padding
    return k - 1 - before, (n - 1) * s + 2 - k + before + after


def _check(x: Array, kernel: Array, stride: int | Pair) -> Pair:
    """Check the shapes; give the stride of each axis."""
    chex.assert_rank([x, kernel], [3, 4])
    if x.shape[2] != kernel.shape[2]:
        raise ValueError(f"want x [H, W, C] and kernel [h, w, C, O] of one C, got {x.shape} and {kernel.shape}")
    rows, columns = (stride, stride) if isinstance(stride, int) else stride
    whole(1, stride=rows)
    whole(1, stride=columns)
    return rows, columns


def _each(padding: Padding) -> Sequence[str | Pair]:
    """Give the padding of each axis."""
    if padding in ("SAME", "VALID"):
        return padding, padding
    if isinstance(padding, str) or [isinstance(pair, Sequence) and len(pair) for pair in padding] != [2, 2]:
        raise ValueError(f"want padding 'SAME', 'VALID' or ((top, bottom), (left, right)), got {padding!r}")
    return [(int(low), int(high)) for low, high in padding]
