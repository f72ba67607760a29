from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.adversarial import norms, objectives
from interp_jax.adversarial.attack import Attack, Best, finish, guarded, region, strongest, value_and_gradient
from interp_jax.adversarial.objectives import Scored
from interp_jax.adversarial.pgd import fgsm, pgd
from tests.adversarial import nets
from tests.oracles import attacks as oracle

BALLS = {"linf": (norms.linf, 0.1), "l2": (norms.l2, 0.5), "l1": (norms.l1, 2.0), "l0": (norms.l0, 3.0)}
WEIGHTS = nets.weights()


def best_of(values, flags):
    """Fooled first, then the largest; the first of equals; what is not finite is no candidate."""
    found = [i for i in range(len(values)) if np.isfinite(values[i])]
    return max(found, key=lambda i: (flags[i], values[i], -i)) if found else None


def test_the_best_of_any_sequence_is_kept():
    """Against a plain maximum over 200 random sequences with ties, NaN and infinities."""
    rng, x = np.random.default_rng(0), jnp.float32(-1)

    @jax.jit
    @jax.vmap
    def run(values, flags):
        def keep(best, seen):
            i, value, flag = seen
            return best.keep(i, Scored(value, flag)), None

        places = jnp.arange(6, dtype=values.dtype)
        return jax.lax.scan(keep, Best.none(x), (places, values, flags))[0]

    values = rng.choice(np.float32([-1, 0, 0, 1, 2, np.nan, np.inf, -np.inf]), size=(200, 6))
    flags = rng.random((200, 6)) < 0.3
    found = run(values, flags)
    for row in range(200):
        wanted = best_of(values[row], flags[row])
        if wanted is None:
            assert (found.x[row], found.value[row], found.fooled[row]) == (-1, -np.inf, False)
        else:
            assert found.x[row] == wanted
            assert found.value[row] == values[row, wanted]
            assert found.fooled[row] == flags[row, wanted]


@pytest.mark.parametrize("name", BALLS)
def test_points_of_a_region_lie_in_ball_and_bounds(name):
    """x at, near and far from its bounds; perturbations far too large; draws."""
    norm, eps = BALLS[name]
    x = jnp.clip(1.5 * nets.examples(20, side=3) - 0.25, 0, 1)
    d = jnp.asarray(np.random.default_rng(2).normal(size=x.shape) * 10, x.dtype)

    @jax.jit
    @jax.vmap
    def both(x, d, key):
        where = region(x, eps, norm, (0.0, 1.0))
        inside = where.confine(d), where.draw(key)
        return inside, [where.point(each) for each in inside], where.sound()

    perturbations, points, sound = both(x, d, jax.random.split(jax.random.key(0), 20))
    assert sound.all()
    for moved, point in zip(perturbations, points, strict=True):
        for start, change, there in zip(x, moved, point, strict=True):
            assert oracle.SIZES[name](np.float64(change).ravel()) <= eps * (1 + 1e-6)
            rounding = 6e-8 * x.size / len(x)  # of x + d, an entry each
            if name != "l0":
                assert oracle.SIZES[name](np.float64(there).ravel() - np.float64(start).ravel()) <= eps + rounding
            assert there.min() >= 0
            assert there.max() <= 1
    assert not jnp.allclose(perturbations[1], 0)


def test_bounds_may_be_arrays_or_absent():
    x, high = jnp.array([0.5, 0.2]), jnp.array([0.6, 1.0])
    some = region(x, 0.3, norms.linf, (jnp.zeros(2), high))
    np.testing.assert_allclose(some.point(some.confine(jnp.ones(2))), [0.6, 0.5], rtol=1e-6)
    free = region(x, 3.0, norms.linf, None)
    np.testing.assert_allclose(free.point(free.confine(jnp.array([9.0, -9.0]))), [3.5, -2.8], rtol=1e-6)


@pytest.mark.parametrize(
    ("eps", "bounds", "message"),
    [
        (-1.0, (0.0, 1.0), "want eps >= 0, got eps=-1.0"),
        (float("nan"), (0.0, 1.0), "want eps >= 0, got eps=nan"),
        (0.1, (1.0, 0.0), "want bounds .* low < high"),
        (0.1, (0.5, 0.5), "want bounds .* low < high"),
        (0.1, (float("nan"), 1.0), "want bounds .* low < high"),
        (0.1, (0.6, 1.0), "want 0.6 <= x <= 1.0, got entries from 0.25 to 0.75"),
        (0.1, (jnp.zeros(2), jnp.array([1.0, 0.7])), "want .* x <= .*, got entries from 0.25 to 0.75"),
    ],
)
def test_bad_regions_are_named(eps, bounds, message):
    with pytest.raises(ValueError, match=message):
        region(jnp.array([0.25, 0.75]), eps, norms.l2, bounds)


def test_integers_are_no_examples():
    with pytest.raises(AssertionError, match="type"):
        region(jnp.arange(3), 0.1, norms.l2, None)


def test_what_tracing_hides_makes_the_objective_nan_and_fools_nobody():
    @jax.jit
    def seen(x, eps, value):
        where = region(x, eps, norms.l2, (0.0, 1.0))
        return guarded(lambda x: Scored(value + 0 * x.sum(), jnp.bool_(True)), where)(x), where.sound()

    half = jnp.full(3, 0.5)
    cases = [(half, -0.1, 1.0), (half, jnp.nan, 1.0), (2 * half + 0.1, 0.1, 1.0), (half * jnp.nan, 0.1, 1.0)]
    for x, eps, value in cases:
        (found, fooled), sound = seen(x, eps, value)
        assert jnp.isnan(found)
        assert not fooled
        assert not sound
    for value in (jnp.nan, jnp.inf, -jnp.inf):
        (found, fooled), sound = seen(half, 0.1, value)
        assert not jnp.isfinite(found)
        assert not fooled
        assert sound
    assert seen(half, 0.0, 1.0)[0] == (1.0, True)


def test_objectives_must_be_scalars():
    with pytest.raises(AssertionError, match="rank"):
        guarded(lambda x: x, region(jnp.ones(2), 0.1, norms.l2, None))(jnp.ones(2))


@pytest.mark.parametrize(
    ("function", "wanted", "flat"),
    [
        (lambda x: jnp.sum(x**2), [2.0, 0.0], False),
        (lambda x: jnp.sqrt(x[1]) + 3 * x[0], [3.0, 0.0], True),  # the second derivative is infinite
        (lambda x: jnp.floor(x[0]), [0.0, 0.0], True),
        (lambda x: jnp.log(x[1] - 1.0) + x[0], [1.0, -1.0], False),  # the value is NaN and its gradient is not
    ],
)
def test_gradients_that_are_not_finite_are_zero_and_flat(function, wanted, flat):
    seen, gradient, found = value_and_gradient(objectives.scored(function), jnp.array([1.0, 0.0]))
    np.testing.assert_array_equal(gradient, wanted)
    assert found == flat
    np.testing.assert_equal(float(seen.value), float(function(jnp.array([1.0, 0.0]))))


def test_an_outcome_says_what_was_never_found():
    x, curve = jnp.ones(2), jnp.array([jnp.nan, jnp.nan, jnp.nan])
    never = finish(Best.none(x), x, curve, jnp.array([True, False]))
    np.testing.assert_array_equal(never.x, x)
    assert jnp.isnan(never.objective)
    assert not never.fooled
    assert never.flat == 0.5
    best = Best(2 * x, jnp.float32(3), jnp.bool_(True))
    found = finish(best, x, jnp.array([1.0, 3.0, 2.0]), jnp.array([False, False]))
    chex.assert_trees_all_equal(found, Attack(2 * x, 3.0, True, x, 2.0, jnp.array([1.0, 3.0, 2.0]), 0.0))


@pytest.mark.parametrize(
    ("objective", "fooled", "chosen"),
    [
        ([1.0, 3.0, 2.0], [False, False, False], 1),
        ([1.0, 3.0, 2.0], [True, False, True], 2),
        ([jnp.nan, -3.0, jnp.nan], [False, False, False], 1),
        ([-5.0, jnp.nan, 9.0], [True, False, False], 0),
    ],
)
def test_the_strongest_outcome_is_fooled_first_and_never_nan_by_choice(objective, fooled, chosen):
    places = jnp.arange(3)
    value, flags = jnp.array(objective), jnp.array(fooled)
    found = strongest(Attack(places, value, flags, places, value, value[:, None], value))
    assert found.x == chosen
    assert found.fooled == fooled[chosen]


MAKERS = {
    "ce": lambda predict, y, t: objectives.cross_entropy(predict, y),
    "target_ce": lambda predict, y, t: objectives.target_cross_entropy(predict, t),
    "dlr": lambda predict, y, t: objectives.dlr(predict, y),
    "target_dlr": objectives.target_dlr,
}
CASES = [
    ("linf", "ce", 0.0),
    ("linf", "target_ce", 0.0),
    ("l2", "ce", 0.0),
    ("l2", "target_ce", 0.0),
    pytest.param("linf", "dlr", 0.9, marks=pytest.mark.slow),
    pytest.param("l2", "target_dlr", 0.9, marks=pytest.mark.slow),
    pytest.param("l1", "ce", 0.0, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "loss", "momentum"), CASES)
def test_ascent_on_a_fixed_net_is_the_oracles(name, loss, momentum):
    """Ten steps of PGD and one of FGSM from x, in float32, against float64 with gradients by hand: values to 1e-4.

    Half of the entries lie on a bound or near one; pixels are not compared, as signs of nearly zero gradients may flip.
    """
    norm, eps = BALLS[name]
    predict = partial(nets.mlp, WEIGHTS)
    xs = jnp.clip(1.8 * nets.examples(6) - 0.4, 0, 1)
    labels = jnp.argmax(jax.vmap(predict)(xs), -1)
    targets = (labels + 1 + jnp.arange(6) % (nets.CLASSES - 1)) % nets.CLASSES

    @jax.jit
    @jax.vmap
    def run(x, label, target):
        objective, settings = MAKERS[loss](predict, label, target), {"eps": eps, "norm": norm}
        step = {"step_size": eps / 4, "steps": 10, "random_start": False, "momentum": momentum}
        return pgd(objective, x, jax.random.key(0), **settings, **step), fgsm(objective, x, **settings)

    found, one_step = run(xs, labels, targets)
    for i in range(len(xs)):
        case = WEIGHTS, xs[i], loss, int(labels[i]), int(targets[i])
        settings = {"norm": name, "eps": eps, "bounds": (0.0, 1.0)}
        curve, flags, best = oracle.pgd(*case, **settings, step_size=eps / 4, steps=10, momentum=momentum)
        np.testing.assert_allclose(found.curve[i], curve, atol=1e-4)
        np.testing.assert_allclose(found.objective[i], best, atol=1e-4)
        np.testing.assert_allclose(found.last_objective[i], curve[-1], atol=1e-4)
        assert found.fooled[i] == flags.any()
        np.testing.assert_allclose(one_step.objective[i], oracle.fgsm(*case, **settings), atol=1e-4)
    assert found.fooled.any()
