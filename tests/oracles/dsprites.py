"""dSprites as a drawing program makes it: outlines in float64, moved into place, filled by the even-odd rule."""

import numpy as np


def square():
    return 9.598 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)


def ellipse():
    t = 2 * np.pi * np.arange(50) / 50
    return np.stack([12.791 * np.cos(t), 7.223 * np.sin(t)], 1)


def heart(points=4000):
    t = 2 * np.pi * np.arange(points) / points
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([0.59966 * x, -0.66218 * y - 1.4369], 1)


OUTLINES = (square(), ellipse(), heart())


def outline(factors):
    """Corners of a sprite in pixel-index coordinates of the 64 x 64 picture."""
    shape, scale, orientation, x, y = factors
    angle = np.linspace(0, 2 * np.pi, 40)[orientation]
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = 15.5 + 32 * np.linspace(0, 1, 32)[[x, y]]
    return np.linspace(0.5, 1, 6)[scale] * OUTLINES[shape] @ turn.T + centre


def fill(corners, size=64):
    """Even-odd fill: a pixel is white if an odd number of edges cross its row to the right of its centre."""
    centres = (np.arange(size) + 0.5) * 64 / size - 0.5
    x0, y0 = corners.T
    x1, y1 = np.roll(corners, -1, 0).T
    crosses = (y0 > centres[:, None]) != (y1 > centres[:, None])
    image = np.zeros((size, size), int)
    for row in np.flatnonzero(crosses.any(1)):
        e = crosses[row]
        at = x0[e] + (centres[row] - y0[e]) / (y1[e] - y0[e]) * (x1[e] - x0[e])
        image[row] = (at[None, :] > centres[:, None]).sum(1) % 2
    return image


def render(factors, size=64):
    return fill(outline(factors), size)
