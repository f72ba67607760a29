"""Concepts that can be had of any small picture without annotators: how its ink lies.

21 measures of a grey image, such as its ink, slant, symmetry, holes; a concept says that a measure is above its median
over the training images (holes: that there is one). They are exact, real images have them, and classes differ in them.
Functions of labelled images run on the host.
"""

import numpy as np
from scipy import ndimage

from interp_jax.core.types import Numpy


def measures(images: Numpy) -> dict[str, Numpy]:
    """Give each measure of images `[N, H, W]` or `[N, H, W, C]` (their mean over channels): `[N]` float64 by name.

    Places are from -1 to 1, to the right and down; shares are of the ink. An image without ink has zeros.
    """
    p = np.asarray(images, np.float64)
    p = p.mean(-1) if p.ndim == 4 else p
    if p.ndim != 3:
        raise ValueError(f"want images [N, H, W] or [N, H, W, C], got shape {np.shape(images)}")
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in p.shape[1:]), indexing="ij")
    total = p.sum((1, 2))
    m = p / np.where(total > 0, total, 1)[:, None, None]
    mean = lambda f: (m * f).sum((1, 2))  # noqa: E731
    cx, cy = mean(x), mean(y)
    split = np.abs(m - m[:, :, ::-1]).sum((1, 2)), np.abs(m - m[:, ::-1]).sum((1, 2))
    turned = np.abs(m - m[:, ::-1, ::-1]).sum((1, 2))
    inside = p > 0.25 * p.max((1, 2), keepdims=True)
    row, column = inside[:, p.shape[1] // 2], inside[:, :, p.shape[2] // 2]
    return {
        "much ink": p.mean((1, 2)),
        "wide": np.sqrt(np.maximum(mean(x**2) - cx**2, 0)),
        "high": np.sqrt(np.maximum(mean(y**2) - cy**2, 0)),
        "slanted": -(mean(x * y) - cx * cy),
        "left": mean(x < 0),
        "top": mean(y < 0),
        "middle column": mean(np.abs(x) < 1 / 3),
        "middle row": mean(np.abs(y) < 1 / 3),
        "centre": mean(x**2 + y**2 < 0.2),
        "upper left": mean((x < 0) & (y < 0)),
        "upper right": mean((x > 0) & (y < 0)),
        "lower left": mean((x < 0) & (y > 0)),
        "lower right": mean((x > 0) & (y > 0)),
        "horizontal edges": np.abs(np.diff(m, axis=1)).sum((1, 2)),
        "vertical edges": np.abs(np.diff(m, axis=2)).sum((1, 2)),
        "left like right": 1 - split[0] / 2,
        "top like bottom": 1 - split[1] / 2,
        "same upside down": 1 - turned / 2,
        "strokes in the middle row": (np.diff(row.astype(int), axis=1) == 1).sum(1) + row[:, 0],
        "strokes in the middle column": (np.diff(column.astype(int), axis=1) == 1).sum(1) + column[:, 0],
        "hole": np.array([holes(each) for each in inside], float),
    }


def holes(ink: Numpy) -> int:
    """Count the holes of a shape `[H, W]` bool: parts of the rest that do not touch the border (4 neighbours).

    >>> holes(np.pad(np.pad([[False]], 1, constant_values=True), 1))
    1
    """
    return int(ndimage.label(np.pad(~ink, 1, constant_values=True))[1] - 1)


NAMES = tuple(measures(np.zeros((1, 8, 8))))
"""Of the measures, and of the concepts, in order."""


def cuts(images: Numpy) -> Numpy:
    """Give where concepts begin, `[21]`: medians over these images, for holes 1/2."""
    found = np.array([np.median(value) for value in measures(images).values()])
    found[NAMES.index("hole")] = 0.5
    return found


def concepts(images: Numpy, above: Numpy) -> Numpy:
    """Give the concepts of images, `[N, 21]` float32 of 0 and 1: measures above `cuts` of the training images."""
    return (np.stack([*measures(images).values()], 1) > above).astype(np.float32)
