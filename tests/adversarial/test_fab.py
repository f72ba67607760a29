from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.adversarial import norms
from interp_jax.adversarial.fab import fab, fab_t
from interp_jax.adversarial.minimal import smallest
from tests.adversarial import minimal_cases as cases
from tests.adversarial import nets
from tests.oracles import minimal as oracle

WEIGHT = jnp.array([[1.0, -0.5, 0.2], [-1.0, 0.3, 2.0], [0.4, 0.0, -0.6], [0.0, 1.5, 1.0]])
BIAS = jnp.array([2.0, 0.5, 0.0])


def logits(x):
    return x @ WEIGHT + BIAS


def make(name):
    def attack(predict, objective, x, label, key, bounds):
        return fab(predict, x, label, key, eps=0.5, steps=30, norm=cases.NORMS[name], bounds=bounds)

    return cases.program(attack)


@pytest.mark.parametrize(
    "name", [pytest.param("l1", marks=pytest.mark.slow), pytest.param("l2", marks=pytest.mark.slow), "linf"]
)
def test_outcomes_on_a_linear_model_and_on_an_mlp(name):
    run, size = make(name), cases.NORMS[name].size
    for bounds, close in (
        (cases.WIDE, 2.2e-4),
        (cases.TIGHT, 2e-3),
    ):  # BEYOND; the bias of the mix wears off step by step
        found = run("straight", bounds)
        cases.check_sound(found, "straight", bounds, size)
        np.testing.assert_allclose(found.size[cases.SOUND], cases.smallest(name, bounds), rtol=close)
    found = run("mlp", cases.TIGHT)
    cases.check_sound(found, "mlp", cases.TIGHT, size)
    ratio = found.size[cases.SOUND] / cases.EXACT[name]
    assert (ratio > 1 - 1e-4).all()
    assert np.median(ratio) < 1.02
    assert ratio.max() < 1.5
    cases.check_degenerate(run)


def test_outcomes_lie_so_far_beyond_the_boundary_that_another_program_is_fooled():
    xs = nets.examples(64, seed=3)
    labels = np.array([np.argmax(oracle.logits(cases.MLP, x)) for x in xs])

    @jax.jit
    @jax.vmap
    def run(x, label):
        return fab(partial(nets.mlp, cases.MLP), x, label, jax.random.key(0), eps=0.5, steps=20)

    found = run(xs, jnp.asarray(labels))
    assert found.fooled.all()
    exact = np.array([oracle.logits(cases.MLP, np.float64(x)) for x in found.x])
    assert (exact.argmax(1) != labels).all()


def test_targets_radii_and_restarts_in_one_program():
    x, targets, radii = jnp.full(4, 0.5), jnp.array([1, 2, 0, 7]), jnp.array([0.05, 0.3, -1.0])

    @jax.jit
    @chex.assert_max_traces(n=1)
    def grid(x, targets, radii):
        def one(target, eps):
            return fab(
                logits, x, 0, jax.random.key(1), eps=eps, steps=10, restarts=3, target=target, bounds=(-4.0, 4.0)
            )

        return jax.vmap(lambda target: jax.vmap(lambda eps: one(target, eps))(radii))(targets)

    for shift in (0.0, 0.1):
        found = grid(x + shift, targets, radii)
        assert found.curve.shape == (4, 3, 32)
        for i in (0, 1):
            gap = logits(x + shift)[0] - logits(x + shift)[i + 1]
            distance = gap / np.abs(WEIGHT[:, 0] - WEIGHT[:, i + 1]).sum()
            np.testing.assert_array_less(found.size[i, :2], 1.0005 * distance)
        np.testing.assert_array_equal(found.fooled[2], False)  # the label itself: nowhere to go
        assert np.isnan(found.size[3]).all()  # no such class
        assert np.isnan(found.size[:, 2]).all()  # no such radius
        best = smallest(jax.tree.map(lambda leaf: leaf[:, 0], found))
        assert best.size == np.nanmin(found.size[:, 0])


def test_towards_the_likeliest_targets_an_example_falls_beyond_its_distance():
    x, radii = jnp.full(4, 0.5), jnp.linspace(0.0, 0.8, 17)
    gap, slope = logits(x)[1:] - logits(x)[0], np.abs(WEIGHT[:, 1:] - WEIGHT[:, :1]).sum(0)

    @jax.jit
    @jax.vmap
    def run(eps):
        return fab_t(logits, x, 0, jax.random.key(0), eps=eps, targets=2, steps=8, bounds=(-4.0, 4.0))

    found = run(radii)
    np.testing.assert_array_equal(found.fooled, radii > np.min(-gap / slope))
    assert (jnp.abs(found.x - x[None]).max(1) <= radii + 1e-6).all()
    assert (found.objective[found.fooled] > 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps": -0.1}, "want eps >= 0, got eps=-0.1"),
        ({"steps": 0}, "want an integer steps >= 1, got steps=0"),
        ({"restarts": 0}, "want an integer restarts >= 1"),
        ({"search": -1}, "want an integer search >= 0"),
        ({"bias": 1.1}, "want 0 <= bias <= 1"),
        ({"backward": -0.1}, "want 0 <= backward <= 1"),
        ({"extrapolation": 0.9}, "want 1 <= extrapolation <= 2"),
        ({"bounds": (0.6, 1.0)}, "want 0.6 <= x <= 1.0"),
        ({"norm": norms.l0}, "want a norm with a dual"),
    ],
)
def test_bad_values_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        fab(logits, jnp.full(4, 0.5), 0, jax.random.key(0), **({"eps": 0.1, "steps": 2} | changes))
