from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.adversarial import norms, objectives
from interp_jax.adversarial.held import along, held, holding, leaving, sides
from interp_jax.adversarial.pgd import noise, pgd
from tests.adversarial import nets
from tests.oracles import held as oracle

D, M, N = 20, 3, 40
KEY = jax.random.key(0)
BALLS = {"linf": (norms.linf, 0.5, 0.91), "l2": (norms.l2, 1.0, 0.995)}
PREDICT = partial(nets.mlp, nets.weights())


def problems(seed=1):
    """Linear objectives against which margins work, `[N, D]`, `[N, M, D]` and `[N, M]`."""
    rng = np.random.default_rng(seed)
    w, a = rng.normal(size=(N, D)), rng.normal(size=(N, M, D))
    return w, a - 0.8 * w[:, None] * rng.uniform(size=(N, M, 1)), rng.uniform(0.05, 1, size=(N, M))


@partial(jax.jit, static_argnums=0)
@partial(jax.vmap, in_axes=(None, 0, 0, 0, None))
def linear(name, w, a, b, scale):
    """Attack linear functions, the objective and the margins at some scales; x is 0 in a box of -.3 to .4."""
    norm, eps, _ = BALLS[name]
    return held(
        lambda x: scale[0] * jnp.sum(w * x), lambda x: scale[1] * (jnp.sum(a * x[None], 1) + b), jnp.zeros(D), KEY,
        eps=eps, step_size=0.3 * eps, steps=40, norm=norm, bounds=(-0.3, 0.4), random_start=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", BALLS)
def test_on_linear_functions_it_reaches_what_a_solver_finds(name):
    norm, eps, enough = BALLS[name]
    w, a, b = problems()
    found = linear(name, *(jnp.float32(v) for v in (w, a, b)), jnp.ones(2))
    assert found.x.min() >= jnp.float32(-0.3)
    assert found.x.max() <= jnp.float32(0.4)
    x = np.asarray(found.x, float)
    assert (np.einsum("nmd,nd->nm", a, x) + b > 0).all()
    assert (jax.vmap(norm.size)(found.x) <= eps * (1 + 1e-6)).all()
    box = np.full(D, -0.3), np.full(D, 0.4)
    best = np.array([getattr(oracle, name)(*each, eps, *box) for each in zip(w, a, b, strict=True)])
    reached = np.einsum("nd,nd->n", w, x) / best
    assert reached.max() < 1 + 1e-5
    assert np.median(reached) > enough, np.median(reached)
    np.testing.assert_allclose(found.objective, np.einsum("nd,nd->n", w, x), rtol=1e-4)


@pytest.mark.parametrize("name", BALLS)
def test_scales_of_objective_and_margins_do_not_matter(name):
    given = [jnp.float32(v) for v in problems()]
    one, other = (linear(name, *given, jnp.array(scale)) for scale in ([1.0, 1.0], [64.0, 0.25]))
    np.testing.assert_allclose(one.x, other.x, atol=1e-5)


def test_the_nearest_step_that_holds_is_the_solvers():
    rng = np.random.default_rng(0)
    wanted, slopes, margins = rng.normal(size=(30, 5)), rng.normal(size=(30, 3, 5)), rng.normal(size=(30, 3))
    found = jax.jit(jax.vmap(along))(*(jnp.float32(v) for v in (wanted, slopes, margins)))
    best = np.stack([oracle.nearest(*each) for each in zip(wanted, slopes, margins, strict=True)])
    far = np.abs(np.asarray(found) - best).max(1)
    assert np.median(far) < 1e-4
    assert np.mean(far < 1e-2) > 0.8  # the rest is what SWEEPS rounds leave of near parallel margins
    held_by_none = along(jnp.ones(2), jnp.zeros((1, 2)), jnp.array([-1.0]))
    np.testing.assert_array_equal(held_by_none, 1)  # a margin without a slope cannot be mended


@jax.jit
@partial(jax.vmap, in_axes=(0, 0, None))
def both(x, label, eps):
    """An attack on a net that holds the sign of two linear concepts, one that holds nothing, and the reverse."""
    concepts = lambda x: jnp.stack([x[:, : x.shape[1] // 2].sum() - 9, x.sum() - 18])  # noqa: E731
    margins = sides(concepts, x)
    flip = objectives.margin(PREDICT, label)
    sizes = {"eps": eps, "step_size": 0.3 * eps, "steps": 20, "norm": norms.l2}
    kept = held(flip, margins, x, KEY, **sizes)
    free = held(flip, lambda x: jnp.ones(1), x, KEY, **sizes)
    plain = pgd(flip, x, KEY, **sizes)
    back = held(leaving(margins), lambda x: -flip(x).value[None], x, KEY, **sizes)
    drawn = noise(holding(flip, margins), x, KEY, eps=eps, draws=5, norm=norms.l2)
    return kept, free, plain, back, drawn, jnp.all(margins(kept.x) > 0), jnp.any(margins(back.x) < 0)


def batch():
    xs = nets.examples(16)
    return xs, jnp.argmax(jax.vmap(PREDICT)(xs), -1)


def test_what_is_found_holds_and_is_judged_as_it_is():
    xs, labels = batch()
    kept, free, plain, back, drawn, holds, moved = both(xs, labels, jnp.float32(0.5))
    assert holds.all()
    said = jax.vmap(lambda x: jnp.argmax(PREDICT(x)))
    np.testing.assert_array_equal(kept.fooled, said(kept.x) != labels)
    np.testing.assert_array_equal(back.fooled, moved)
    assert (said(back.x) == labels).all()
    assert 0 < kept.fooled.sum() <= free.fooled.sum()  # to hold something is no help
    assert (kept.objective <= free.objective + 1e-4).all()
    assert free.fooled.sum() >= plain.fooled.sum() - 1  # without margins it is as strong as PGD
    assert drawn.fooled.sum() <= kept.fooled.sum()
    assert (kept.objective[~kept.fooled] >= drawn.objective[~kept.fooled] - 1e-4).all()


def test_a_radius_of_zero_finds_x_and_a_wrong_one_nothing():
    xs, labels = batch()
    kept = both(xs, labels, jnp.float32(0))[0]
    np.testing.assert_array_equal(kept.x, xs)
    assert not kept.fooled.any()
    wrong = both(xs, labels, jnp.float32(jnp.nan))[0]
    assert not wrong.fooled.any()
    assert np.isnan(wrong.objective).all()


def test_where_nothing_holds_nothing_is_found():
    sizes = {"eps": 0.1, "step_size": 0.05, "steps": 5}
    found = held(lambda x: x.sum(), lambda x: -jnp.ones(2), jnp.full(3, 0.5), KEY, **sizes)
    assert not found.fooled
    assert np.isnan(found.objective)
    assert np.isnan(found.curve).all()
    on_edge = sides(lambda x: x, jnp.array([0.0, 1.0]))
    np.testing.assert_array_equal(on_edge(jnp.array([0.0, 1.0])) > 0, [False, True])


def test_it_finds_its_way_back_where_it_starts_outside():
    sizes = {"eps": 1.0, "step_size": 0.2, "steps": 20, "norm": norms.l2, "bounds": None, "random_start": False}
    found = held(lambda x: x[1], lambda x: x[:1] - 0.3, jnp.zeros(2), KEY, **sizes)
    assert found.x[0] > 0.3
    assert 0.88 < found.x[1] <= 0.91**0.5  # where x does not hold, no iterate can be pulled back towards it


@chex.assert_max_traces(n=1)
def _radius(eps):
    return held(lambda x: x.sum(), lambda x: 1 - x, jnp.zeros(2), KEY, eps=eps, step_size=eps / 4, steps=3).objective


def test_radii_are_one_program():
    np.testing.assert_allclose(jax.jit(jax.vmap(_radius))(jnp.array([0.1, 0.2])), [0.2, 0.4], rtol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "said"), [({"eps": -1.0}, "eps"), ({"steps": 0}, "steps"), ({"step_size": -0.1}, "step_size")]
)
def test_wrong_settings_are_named(wrong, said):
    sizes = {"eps": 0.1, "step_size": 0.05, "steps": 5} | wrong
    with pytest.raises(ValueError, match=said):
        held(lambda x: x.sum(), lambda x: x, jnp.full(3, 0.5), KEY, **sizes)
