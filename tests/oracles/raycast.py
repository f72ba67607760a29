"""The Shapes3D-like room in float64 by another method: distances marched along each ray, normals by differences.

Nothing is intersected in closed form here: each solid is a distance function, the light follows from the surface found.
"""

import colorsys

import numpy as np


def cube(p):
    q = np.abs(p - [0, 0, 0.5]) - 0.5
    return np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(-1), 0)


def cylinder(p):
    q = np.stack([np.hypot(p[..., 0], p[..., 1]) - 0.5, np.abs(p[..., 2] - 0.55) - 0.55], -1)
    return np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(-1), 0)


def sphere(p):
    return np.linalg.norm(p - [0, 0, 0.6], axis=-1) - 0.6


def capsule(p):
    axis = np.stack([np.clip(p[..., 0], -0.38, 0.38), 0 * p[..., 1], 0 * p[..., 2] + 0.38], -1)
    return np.linalg.norm(p - axis, axis=-1) - 0.38


def distances(p, shape, scale):
    """Distances `[..., 3]` to floor, walls and object."""
    walls = np.minimum(4 - np.abs(p[..., 0]), 4 - np.abs(p[..., 1]))
    return np.stack([p[..., 2], walls, scale * (cube, cylinder, sphere, capsule)[shape](p / scale)], -1)


def rays(orientation, size):
    """Camera and unit directions `[size, size, 3]` by a look-at frame."""
    angle = np.radians(np.linspace(-30, 30, 15)[orientation])
    camera = np.array([3.7 * np.sin(angle), -3.7 * np.cos(angle), 2.0])
    ahead = np.array([0, 0, 0.75]) - camera
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, [0, 0, 1])
    right /= np.linalg.norm(right)
    at = 0.46 * (2 * (np.arange(size) + 0.5) / size - 1)
    d = ahead + at[None, :, None] * right - at[:, None, None] * np.cross(right, ahead)
    return camera, d / np.linalg.norm(d, axis=-1, keepdims=True)


def render(factors, size):
    """Colour of each ray `[size, size, 3]`, and what it met (0 floor, 1 wall, 2 object)."""
    scale, shape = np.linspace(0.75, 1.25, 8)[factors[3]], factors[4]
    camera, d = rays(factors[5], size)
    t = np.zeros((size, size))
    for _ in range(400):
        t += distances(camera + t[..., None] * d, shape, scale).min(-1)
    p = camera + t[..., None] * d
    near = distances(p, shape, scale)
    thing, h = near.argmin(-1), 1e-6
    normal = np.stack(
        [
            (distances(p + h * e, shape, scale).min(-1) - distances(p - h * e, shape, scale).min(-1)) / (2 * h)
            for e in np.eye(3)
        ],
        -1,
    )
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    lamp = np.array([-1.6, -2.2, 4.2]) - p
    lamp /= np.linalg.norm(lamp, axis=-1, keepdims=True)
    light = 0.35 + 0.65 * np.maximum((normal * lamp).sum(-1), 0)
    beside = p[..., :2] / scale - [0.16, 0.22]
    shadow = 1 - 0.6 * np.exp(-2.2 * (beside**2).sum(-1) - 4 * p[..., 2])
    light *= np.where(thing == 2, 1, shadow)
    return light[..., None] * np.stack([hsv(k / 10) for k in factors[:3]])[thing], thing


def hsv(hue):
    return np.array(colorsys.hsv_to_rgb(hue, 1, 1))
