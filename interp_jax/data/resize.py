"""Shrink pictures by the average over the area of each new pixel, on the host."""

import numpy as np


def area(images: np.ndarray, side: int) -> np.ndarray:
    """Shrink pictures `[N, H, W, C]` of bytes to `[N, side, side, C]`: each new pixel is the mean of what it covers.

    An old pixel that lies in two new ones counts for its share; the mean is rounded to the nearest byte. Nothing rings,
    and no pixel leaves the range of those it covers, which is not so of the Lanczos filter that disentanglement_lib
    shrinks Cars3D and SmallNORB with; the pictures differ near edges.

    >>> area(np.array([0, 100, 200, 30], np.uint8).reshape(1, 2, 2, 1), 1).tolist()
    [[[[82]]]]
    """
    if images.dtype != np.uint8 or images.ndim != 4 or min(images.shape[1:3]) < side:
        raise ValueError(f"want bytes [N, H >= {side}, W >= {side}, C], got {images.dtype} {images.shape}")
    count, height, width, channels = images.shape
    # Each axis in its turn first and all others flat: one large product an axis, not one a picture.
    down = images.transpose(1, 0, 2, 3).reshape(height, -1).astype(np.float32)
    across = (shares(height, side) @ down).reshape(side, count, width, channels).transpose(2, 1, 0, 3)
    small = np.rint(shares(width, side) @ across.reshape(width, -1)).astype(np.uint8)
    return small.reshape(side, count, side, channels).transpose(1, 2, 0, 3)


def shares(old: int, new: int) -> np.ndarray:
    """Give the share `[new, old]` that each old pixel has in each new one along an axis; every row sums to 1."""
    edges = np.arange(new + 1) * (old / new)
    low, high = np.maximum(edges[:-1, None], np.arange(old)), np.minimum(edges[1:, None], np.arange(old) + 1.0)
    return (np.maximum(high - low, 0) * (new / old)).astype(np.float32)
