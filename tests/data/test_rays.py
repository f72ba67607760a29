import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.data import rays
from tests.oracles import raycast

RAYS = 400
# A sphere, a cylinder, two cones with their tips at 1.2 and 1, an ellipsoid off the middle; the top of what is wanted.
FORMS = {
    (1.0, 1.0, 0.0, -1.0): 9.0,
    (1.0, 0.0, 0.0, -0.5): 9.0,
    (1.0, -0.25, 0.6, -0.36): 1.2,
    (1.0, -9.0, 18.0, -9.0): 1.0,
    (0.5, 2.0, 1.0, -1.0): 9.0,
}


def some_rays(seed):
    """Origins on a sphere around, directions towards its inside: three arrays each, float32."""
    rng = np.random.default_rng(seed)
    origin = rng.normal(size=(3, RAYS))
    origin *= 6 / np.linalg.norm(origin, axis=0)
    direction = rng.uniform(-1.5, 1.5, (3, RAYS)) - origin
    return tuple(origin.astype(np.float32)), tuple(direction.astype(np.float32))


def inside(form, p):
    around, a, b, c = form
    return around * (p[0] ** 2 + p[1] ** 2) + a * p[2] ** 2 + b * p[2] + c < 0


def test_a_quadric_holds_what_it_says_along_every_ray():
    """Points of the rays, tested one by one against the inequality; of a cone those below the tip."""

    @jax.jit
    def meet(origin, direction, form, top):
        one, other = rays.quadric(origin, direction, form), rays.slab(origin[2], direction[2], -9.0, top)
        return jnp.maximum(one[0], other[0]), jnp.minimum(one[1], other[1])

    t = np.linspace(-0.4, 2.4, 401)[:, None]
    for i, (form, top) in enumerate(FORMS.items()):
        origin, direction = some_rays(i)
        low, high = map(np.asarray, meet(origin, direction, form, top))
        points = [o.astype(float) + t * d.astype(float) for o, d in zip(origin, direction, strict=True)]
        near = np.minimum(np.abs(t - low), np.abs(t - high)) < 1e-3
        wrong = ((inside(form, points) & (points[2] > -9) & (points[2] < top)) != ((low < t) & (t < high))) & ~near
        assert wrong.mean() < 1e-4
        assert (low < high).mean() > 0.2


def test_a_rod_with_balls_is_a_capsule():
    """Where a ray enters is at the radius from the segment, and nothing before is nearer."""
    start, end, radius = (0.3, -0.5, 0.1), (-0.4, 0.6, 0.9), 0.35

    @jax.jit
    def meet(origin, direction):
        axes = tuple(zip(origin, direction, strict=True))
        ends = tuple(jnp.asarray(p) for p in (start, end))
        parts = [rays.rod(origin, direction, tuple(ends[0]), tuple(ends[1]), radius)]
        parts += [rays.first(rays.ball(axes, point, radius)) for point in (start, end)]
        t = jnp.minimum(parts[0], jnp.minimum(*parts[1:]))
        away = rays.from_segment(rays.along(origin, direction, t), tuple(ends[0]), tuple(ends[1]))
        return t, jnp.sqrt(rays.dot(away, away))

    origin, direction = some_rays(9)
    t, away = map(np.asarray, meet(origin, direction))
    hit = np.isfinite(t)
    assert 0.1 < hit.mean() < 0.9
    np.testing.assert_allclose(away[hit], radius, atol=2e-4)
    a, b = np.array(start), np.array(end)
    at = np.linspace(0, 2, 301)[:, None]
    points = np.stack([o + at * d for o, d in zip(origin, direction, strict=True)], -1)
    share = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    distance = np.linalg.norm(points - a - share[..., None] * (b - a), axis=-1)
    assert not (distance < radius - 1e-3)[at < np.where(hit, t, np.inf) - 1e-3].any()


def test_an_empty_intersection_is_never_entered():
    one, two = (jnp.array([0.0, 0.0]), jnp.array([1.0, 3.0])), (jnp.array([2.0, 2.0]), jnp.array([4.0, 4.0]))
    np.testing.assert_array_equal(rays.first(one, two), [np.inf, 2])


def test_hues_are_those_of_the_colour_circle():
    hues = np.linspace(0, 0.9, 10)
    np.testing.assert_allclose(rays.hue_to_rgb(jnp.asarray(hues)), [raycast.hsv(h) for h in hues], atol=1e-6)
