"""The arm's scene in float64 by another method: distances marched along each ray, rotation matrices, normals by steps.

Nothing is intersected in closed form. Of a convex solid the distance used is the greatest of the distances to its
planes and cones, which is never more than the true one and zero on its surface.
"""

import numpy as np

OBJECT = np.array([
    [0.95, 0.95, 0.95], [0.1, 0.75, 0.15], [0.9, 0.1, 0.1], [0.15, 0.25, 0.95], [0.5, 0.25, 0.08], [0.6, 0.6, 0.1],
])  # fmt: skip
BACKGROUND = np.array([[0.5, 0.3, 0.65], [0.25, 0.6, 0.45], [0.98, 0.6, 0.5]])
TABLE, METAL = np.array([0.75, 0.75, 0.72]), np.array([0.35, 0.37, 0.42])
LAMP = np.array([-2.2, -3.6, 5.5])


def taper(across, z, base, tip, radius):
    """A solid that narrows from its radius at height `base` to nothing at `tip`; across: distance from its axis."""
    slope = radius / (tip - base)
    return np.maximum((across - slope * (tip - z)) / np.hypot(1, slope), base - z)


def solid(p, shape):
    x, y, z = np.moveaxis(p, -1, 0)
    around = np.hypot(x, y)
    if shape == 0:
        return taper(around, z, -0.8, 1.2, 1.0)
    if shape == 1:
        return np.abs(p).max(-1) - 0.82
    if shape == 2:
        return np.maximum(around - np.sqrt(0.72), np.abs(z) - 0.9)
    if shape == 3:
        corners = np.radians(np.arange(0, 360, 60))
        sides = x[..., None] * np.cos(corners) + y[..., None] * np.sin(corners)
        return np.maximum(sides.max(-1) - 0.8, np.abs(z) - 0.9)
    if shape == 4:
        return taper(np.maximum(abs(x), abs(y)), z, -0.8, 1.2, 0.95)
    return np.linalg.norm(p, axis=-1) - 1


def segment(p, a, b):
    share = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    return np.linalg.norm(p - a - share[..., None] * (b - a), axis=-1)


def turned(degrees, axis):
    """The rotation by so many degrees about axis 0 (x) or 2 (z), by the right hand."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]] if axis == 0 else [[c, -s, 0], [s, c, 0], [0, 0, 1]])


class Scene:
    """Joints from rotations: at rest the arm points along -y, the forearm level."""

    def __init__(self, factors):
        self.colour, self.shape, size, self.camera, self.background, turn, rise = factors
        self.scale = (0.24, 0.36)[size]
        swing = turned(np.linspace(-90, 90, 40)[turn], 2)
        # The forearm rises about the axis to its side: for an arm along -y a rise is a turn about -x.
        self.forearm = swing @ turned(-np.linspace(-50, 50, 40)[rise], 0)
        ahead = self.forearm @ [0, -1, 0]
        self.foot, self.shoulder = np.zeros(3), np.array([0, 0, 0.7])
        self.elbow = swing @ [0, -0.45, 1.3]
        self.wrist = self.elbow + 0.75 * ahead
        self.centre = self.elbow + (0.75 + 0.8 * self.scale) * ahead
        # The object's own z runs along the forearm, its y up.
        self.axes = np.stack([self.forearm @ [1, 0, 0], self.forearm @ [0, 0, 1], ahead])

    def distances(self, p):
        """`[..., 3]` to the table, the arm, the object."""
        table = np.maximum(np.abs(p[..., 2]) - 1e-9, np.hypot(p[..., 0], p[..., 1]) - 2.3)
        links = ((self.foot, self.shoulder), (self.shoulder, self.elbow), (self.elbow, self.wrist))
        arm = np.min([segment(p, *ends) for ends in links], 0) - 0.13
        own = self.scale * solid((p - self.centre) @ self.axes.T / self.scale, self.shape)
        return np.stack([table, arm, own], -1)

    def shadow(self, p):
        thrown = [LAMP + (q - LAMP) * LAMP[2] / (LAMP[2] - q[2]) for q in (self.shoulder, self.elbow, self.wrist)]
        own = LAMP + (self.centre - LAMP) * LAMP[2] / (LAMP[2] - self.centre[2])
        arm = np.minimum(segment(p, *thrown[:2]), segment(p, *thrown[1:]))
        beside = np.linalg.norm(p - own, axis=-1)
        return (1 - 0.45 * np.exp(-((beside / self.scale / 1.1) ** 2))) * (1 - 0.35 * np.exp(-((arm / 0.169) ** 2)))


def rays(height, size):
    camera = np.array([0, -4.6, height])
    ahead = np.array([0, 0, 0.85]) - camera
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, [0, 0, 1])
    right /= np.linalg.norm(right)
    at = 0.48 * (2 * (np.arange(size) + 0.5) / size - 1)
    d = ahead + at[None, :, None] * right - at[:, None, None] * np.cross(right, ahead)
    return camera, d / np.linalg.norm(d, axis=-1, keepdims=True)


def render(factors, size):
    """Colour of each ray `[size, size, 3]`, and what it met (0 table, 1 arm, 2 object, 3 nothing)."""
    scene = Scene(factors)
    camera, d = rays((3.6, 2.4, 1.2)[scene.camera], size)
    d = d.reshape(-1, 3)
    t, going = np.zeros(len(d)), np.arange(len(d))
    for _ in range(250):
        step = scene.distances(camera + t[going, None] * d[going]).min(-1)
        t[going] += step
        going = going[(step > 1e-10) & (t[going] < 12)]
    p = camera + t[:, None] * d
    thing, h = scene.distances(p).argmin(-1), 1e-6
    normal = np.stack(
        [(scene.distances(p + h * e).min(-1) - scene.distances(p - h * e).min(-1)) / (2 * h) for e in np.eye(3)], -1
    )
    normal = np.where((thing == 0)[:, None], [0, 0, 1.0], normal / np.linalg.norm(normal, axis=-1, keepdims=True))
    lamp = (LAMP - p) / np.linalg.norm(LAMP - p, axis=-1, keepdims=True)
    light = 0.35 + 0.65 * np.maximum((normal * lamp).sum(-1), 0)
    light *= np.where(thing == 0, scene.shadow(p), 1)
    image = light[:, None] * np.stack([TABLE, METAL, OBJECT[scene.colour]])[thing]
    missed = t >= 12
    image[missed] = BACKGROUND[scene.background]
    return image.reshape(size, size, 3), np.where(missed, 3, thing).reshape(size, size)
