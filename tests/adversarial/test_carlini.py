import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.adversarial import norms
from interp_jax.adversarial.carlini import Weight, carlini_wagner, ead, elastic, shrink
from tests.adversarial import minimal_cases as cases


def check(run, norm, close, mlp):
    """Compare with the exact sizes: within `close` on the linear model, `mlp` (median, largest) times on the MLP."""
    size = cases.NORMS[norm].size
    for targeted in (False, True):
        found = run("straight", cases.TIGHT, targeted)
        cases.check_sound(found, "straight", cases.TIGHT, size, targeted)
        best = cases.smallest(norm, cases.TIGHT, targeted)
        reachable = np.isfinite(best)
        np.testing.assert_array_equal(found.fooled[cases.SOUND], reachable)
        ratio = (np.asarray(found.size)[cases.SOUND] / best)[reachable]
        assert (ratio > 1 - 2e-4).all(), ratio
        assert (ratio < 1 + close).all(), ratio
    found = run("mlp", cases.TIGHT)
    cases.check_sound(found, "mlp", cases.TIGHT, size)
    ratio = found.size[cases.SOUND] / cases.EXACT[norm]
    assert (ratio > 1 - 1e-4).all()
    assert np.median(ratio) < mlp[0]
    assert ratio.max() < mlp[1]
    cases.check_degenerate(run)


def test_carlini_wagner_on_a_linear_model_and_on_an_mlp():
    def attack(predict, objective, x, label, key, bounds):
        return carlini_wagner(objective, x, steps=200, bounds=bounds)

    check(cases.program(attack), "l2", 0.01, (1.02, 1.1))


def test_ead_on_a_linear_model_and_on_an_mlp():
    def attack(predict, objective, x, label, key, bounds):
        return ead(objective, x, steps=200, beta=0.1, bounds=bounds)

    check(cases.program(attack), "l1", 0.03, (1.05, 1.5))


def test_without_bounds_the_variable_is_x_and_a_confidence_is_kept():
    slope = jnp.array([3.0, 4.0])

    def one(confidence, weight, rate):
        settings = {"confidence": confidence, "weight": weight, "learning_rate": rate, "bounds": None}
        return carlini_wagner(lambda x: slope @ x - 6.0, jnp.zeros(2), steps=200, searches=8, **settings)

    found = jax.jit(jax.vmap(one, (0, None, None)))(jnp.array([0.0, 4.0, 9.0]), 0.1, 0.02)
    np.testing.assert_allclose(found.size, [1.2, 2.0, 3.0], rtol=0.02)
    assert (found.x @ slope - 6.0 >= jnp.array([0.0, 4.0, 9.0]) - 1e-5).all()


def test_examples_at_a_bound_move_sooner_from_farther_inside():
    def one(inside):
        return carlini_wagner(lambda x: x.sum() - 1.0, jnp.zeros(4), steps=200, searches=7, inside=inside)

    found = jax.jit(jax.vmap(one))(jnp.array([0.999999, 0.999]))
    assert found.size[1] < 0.505  # 0.5 is the smallest
    assert not found.size[0] < 0.6


def test_the_weight_goes_up_tenfold_until_it_is_enough_then_is_halved_in():
    weight, tried = Weight(jnp.float32(0), jnp.float32(jnp.inf), jnp.float32(0.1)), []
    for _ in range(7):
        tried.append(float(weight.at))
        weight = weight.narrow(weight.at > 6.0)
    np.testing.assert_allclose(tried, [0.1, 1.0, 10.0, 5.5, 7.75, 6.625, 6.0625], rtol=1e-6)


def test_shrinkage_and_the_elastic_rule():
    x = jnp.array([0.5, 0.5, 0.5, 0.9, 0.1])
    z = jnp.array([0.55, 0.8, 0.1, 1.5, 0.1])
    np.testing.assert_allclose(shrink(z, x, 0.1, 0.0, 1.0), [0.5, 0.7, 0.2, 1.0, 0.1], rtol=1e-6)
    np.testing.assert_allclose(elastic(0.5)(jnp.array([1.0, -2.0])), 6.5)


def test_the_rule_decides_what_is_smallest():
    def margin(x):
        return 2 * x[0] + x[1] - 1.0

    options = {"steps": 50, "searches": 5, "weight": 0.1, "beta": 0.01, "accelerated": False}
    rules = norms.l1.size, elastic(0.01)
    by_rule = jax.jit(lambda x: [ead(margin, x, rule=rule, **options) for rule in rules])(jnp.full(2, 0.2))
    assert norms.l1.size(by_rule[0].x - 0.2) <= norms.l1.size(by_rule[1].x - 0.2) + 1e-6
    np.testing.assert_allclose(by_rule[1].size, elastic(0.01)(by_rule[1].x - 0.2), rtol=1e-5)


@pytest.mark.parametrize(
    ("attack", "changes", "message"),
    [
        (carlini_wagner, {"steps": 0}, "want an integer steps >= 1, got steps=0"),
        (carlini_wagner, {"searches": 0}, "want an integer searches >= 1"),
        (carlini_wagner, {"weight": 0.0}, "want weight > 0"),
        (carlini_wagner, {"learning_rate": -1.0}, "want learning_rate > 0"),
        (carlini_wagner, {"confidence": -1.0}, "want confidence >= 0"),
        (carlini_wagner, {"inside": 1.5}, "want 0 <= inside <= 1"),
        (carlini_wagner, {"bounds": (0.6, 1.0)}, "want 0.6 <= x <= 1.0"),
        (ead, {"beta": -1.0}, "want beta >= 0"),
        (ead, {"steps": 0}, "want an integer steps >= 1"),
    ],
)
def test_bad_values_are_named(attack, changes, message):
    with pytest.raises(ValueError, match=message):
        attack(lambda x: x.sum() - 1.5, jnp.full(2, 0.5), **({"steps": 2} | changes))
