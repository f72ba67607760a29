from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.adversarial import gaussian, norms
from interp_jax.adversarial.pgd import pgd
from tests.oracles import gaussian as oracle

SIZE = 3


def moments(seed=0, size=SIZE):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, size))
    return rng.normal(size=size), root @ root.T + 0.4 * np.eye(size)


def model(seed=0, size=SIZE, dtype=jnp.float32):
    mean, covariance = moments(seed, size)
    return gaussian.Gaussian(jnp.asarray(mean, dtype), jnp.asarray(covariance, dtype))


def points(n=6, seed=3):
    rng = np.random.default_rng(seed)
    return 2 * rng.normal(size=(n, SIZE)), rng.choice([-1.0, 1.0], size=n)


def batched(function, *args):
    xs, ys = points()
    return jax.jit(jax.vmap(function, (None, 0, 0) + (None,) * len(args)))(
        model(), jnp.asarray(xs, jnp.float32), jnp.asarray(ys, jnp.float32), *args
    )


def test_likelihood_is_that_of_scipy():
    want = [oracle.negative_log_likelihood(*moments(), x, y) for x, y in zip(*points(), strict=True)]
    np.testing.assert_allclose(batched(gaussian.negative_log_likelihood), want, rtol=1e-5)


def test_penalised_maximum_is_that_of_a_search():
    lam = 1.5 / np.linalg.eigvalsh(moments()[1]).min()
    want = [oracle.penalised(*moments(), x, y, lam) for x, y in zip(*points(), strict=True)]
    np.testing.assert_allclose(batched(gaussian.penalised_loss, lam), [w[0] for w in want], rtol=1e-5)
    np.testing.assert_allclose(batched(gaussian.penalised_step, lam), [w[1] for w in want], rtol=1e-3, atol=2e-4)


def test_constrained_maximum_is_that_of_a_search_and_of_an_attack():
    def maxima(model, x, y, eps):
        objective = partial(gaussian.negative_log_likelihood, model, y=y)
        key = jax.random.key(0)
        found = pgd(objective, x, key, eps=eps, step_size=0.3 * eps, steps=60, norm=norms.l2, bounds=None)
        loss = gaussian.constrained_loss(model, x, y, eps)
        return loss, gaussian.constrained_step(model, x, y, eps), found.objective

    sizes = np.array([0.05, 3.0], np.float32)
    losses, steps, attacked = batched(jax.vmap(maxima, (None, None, None, 0)), sizes)
    for i, (x, y) in enumerate(zip(*points(), strict=True)):
        for j, eps in enumerate(sizes):
            loss, step = oracle.constrained(*moments(), x, y, eps)
            np.testing.assert_allclose(losses[i, j], loss, rtol=2e-5)
            np.testing.assert_allclose(steps[i, j], step, atol=2e-3 * eps)
            np.testing.assert_allclose(attacked[i, j], loss, rtol=1e-3)
    assert (attacked <= losses * (1 + 1e-5)).all()


def test_constrained_step_fills_the_ball_where_the_example_says_nothing():
    flat = gaussian.Gaussian(jnp.zeros(2), jnp.diag(jnp.array([1.0, 4.0])))
    step = jax.jit(partial(gaussian.constrained_step, flat, y=1.0))
    np.testing.assert_allclose(jnp.abs(step(jnp.zeros(2), eps=0.5)), [0.5, 0.0], atol=1e-6)
    # no part along the narrow axis: d_2 = z_2 a_2 / (a_1 - a_2) = 0.6 / 3, the rest along the first
    half = step(jnp.array([0.0, 0.6]), eps=0.5)
    np.testing.assert_allclose(jnp.abs(half), [np.sqrt(0.25 - 0.04), 0.2], rtol=1e-5)
    np.testing.assert_allclose(step(jnp.array([0.0, 0.6]), eps=0.1), [0.0, 0.1], atol=1e-6)
    np.testing.assert_array_equal(step(jnp.ones(2), eps=0.0), 0.0)


def test_theorem_2_is_the_minimum_that_direct_searches_find():
    lams = np.array([100.0, 2.0])
    with jax.enable_x64(True):
        truth, start = model(size=2, dtype=jnp.float64), gaussian.Gaussian(jnp.zeros(2), 2 * jnp.eye(2))
        found = jax.jit(jax.vmap(partial(gaussian.minimise, steps=60), (None, 0, None)))(truth, lams, start)
        closed = jax.jit(jax.vmap(gaussian.robust_maximum_likelihood, (None, 0)))(truth, lams)
        assert closed.covariance.dtype == found.model.mean.dtype == jnp.float64
        np.testing.assert_allclose(found.model.covariance, closed.covariance, rtol=1e-9)
        np.testing.assert_allclose(found.model.mean, closed.mean, rtol=1e-9)
        eps = jnp.sqrt(jax.vmap(gaussian.mean_square_step, (0, None, 0))(closed, truth, lams))
        roots = jax.jit(jax.vmap(gaussian.robust_multiplier, (0, None)))(eps, truth)
        np.testing.assert_allclose(roots, lams, rtol=1e-12)
        roots = jax.jit(jax.vmap(gaussian.multiplier, (0, 0, None)))(eps, closed, truth)
        np.testing.assert_allclose(roots, lams, rtol=1e-12)
        found, closed = jax.tree.map(np.asarray, (found, closed))
    fit = jax.jit(gaussian.robust_maximum_likelihood)
    for i, lam in enumerate(lams):
        mean, covariance = oracle.robust_fit(*moments(size=2), lam)
        np.testing.assert_allclose(closed.covariance[i], covariance, rtol=1e-4, atol=1e-5)
        want = oracle.expected_penalised(mean, covariance, *moments(size=2), lam)
        np.testing.assert_allclose(found.loss[i], want, rtol=1e-8)
        assert found.loss[i] <= want + 1e-12
        single = fit(model(size=2), lam)
        np.testing.assert_allclose(single.covariance, closed.covariance[i], rtol=2e-6)


def test_expected_loss_is_the_mean_over_a_sample_with_its_moments(key):
    truth, lam, expected = model(), 20.0, jax.jit(gaussian.expected_loss)
    xs, ys = jax.jit(jax.vmap(partial(gaussian.draw, truth)))(jax.random.split(key, 500))
    fitted = jax.jit(gaussian.maximum_likelihood)(xs, ys)
    candidate = model(1)
    each = jax.jit(jax.vmap(gaussian.penalised_loss, (None, 0, 0, None)))(candidate, xs, ys, lam)
    np.testing.assert_allclose(expected(candidate, fitted, lam), each.mean(), rtol=1e-5)
    mean, covariance = moments(1)
    want = oracle.expected_penalised(mean, covariance, *moments(), lam)
    np.testing.assert_allclose(expected(candidate, truth, lam), want, rtol=1e-5)
    standard_error = np.std(each, ddof=1) / np.sqrt(500)
    assert abs(each.mean() - want) < 4 * standard_error


def test_draws_have_the_moments(key):
    truth, n = model(), 20_000
    xs, ys = jax.jit(jax.vmap(partial(gaussian.draw, truth)))(jax.random.split(key, n))
    assert abs(ys.mean()) < 4 / np.sqrt(n)
    fitted = gaussian.maximum_likelihood(xs, ys)
    mean, covariance = moments()
    diagonal = np.diag(covariance)
    assert (np.abs(fitted.mean - mean) < 4 * np.sqrt(diagonal / n)).all()
    spread = np.sqrt((np.outer(diagonal, diagonal) + covariance**2) / n)
    assert (np.abs(fitted.covariance - covariance) < 4.5 * spread).all()


@pytest.mark.parametrize("seed", range(3))
def test_theorem_1_is_the_sampled_increase_with_a_half(seed):
    _, covariance = moments(seed)
    lam = 3 / np.linalg.eigvalsh(covariance).min()
    found = gaussian.vulnerability(jnp.asarray(covariance, jnp.float32), lam)
    mean, error = oracle.sampled_increase(covariance, lam, 100_000, seed)
    assert abs(found - mean) < 4 * error
    moved = np.eye(SIZE) + np.linalg.inv(lam * covariance - np.eye(SIZE))
    printed = np.trace(moved @ moved) - SIZE
    np.testing.assert_allclose(
        gaussian.vulnerability_as_printed(jnp.asarray(covariance, jnp.float32), lam), printed, rtol=1e-4
    )
    np.testing.assert_allclose(found, printed / 2, rtol=1e-4)


def test_theorem_3_is_the_least_cosine_over_means():
    np.testing.assert_allclose(gaussian.worst_alignment(jnp.diag(jnp.array([1.0, 100.0]))), 0.198020, atol=1e-6)
    _, covariance = moments()
    narrow = jnp.asarray(covariance, jnp.float32)
    least = gaussian.worst_alignment(narrow)
    np.testing.assert_allclose(least, oracle.least_cosine(covariance), rtol=1e-5)
    np.testing.assert_allclose(
        gaussian.alignment(gaussian.Gaussian(gaussian.worst_mean(narrow), narrow)), least, rtol=1e-4
    )
    alignments = [
        gaussian.worst_alignment(gaussian.robust_maximum_likelihood(model(), lam).covariance) for lam in (9, 1)
    ]
    assert least < alignments[0] < alignments[1] < 1


def test_multipliers_spend_the_budget_and_give_its_worst_case():
    truth, candidate = model(size=2), model(4, size=2)

    def budget(eps):
        lam = gaussian.robust_multiplier(eps, truth)
        best, fixed = gaussian.robust_maximum_likelihood(truth, lam), gaussian.multiplier(eps, candidate, truth)
        spent = gaussian.mean_square_step(best, truth, lam), gaussian.mean_square_step(candidate, truth, fixed)
        bound = gaussian.expected_loss(candidate, truth, fixed) + fixed * eps**2 / 2
        return spent, bound, gaussian.expected_loss(best, truth, lam) + lam * eps**2 / 2

    sizes = np.array([0.02, 0.7, 20.0], np.float32)
    spent, bound, least = jax.jit(jax.vmap(budget))(sizes)
    for square in spent:
        np.testing.assert_allclose(square, sizes**2, rtol=1e-4)
    want = [oracle.worst_linear_adversary(*moments(4, size=2), *moments(size=2), eps) for eps in sizes]
    np.testing.assert_allclose(bound, want, rtol=1e-4)
    assert (least < bound).all()


def test_multipliers_are_differentiable_and_fall_with_the_budget():
    truth = model()
    for root in (lambda e: gaussian.robust_multiplier(e, truth), lambda e: gaussian.multiplier(e, truth, truth)):
        with_slope = jax.jit(jax.vmap(jax.value_and_grad(root)))
        value, slope = with_slope(jnp.array([0.495, 0.5, 0.505]))
        np.testing.assert_allclose(slope[1], (value[2] - value[0]) / 0.01, rtol=2e-3)
        assert slope[1] < 0


def test_accuracy_of_a_separator_is_the_share_of_examples_it_holds(key):
    truth, eps, n = model(), 0.4, 20_000
    weight = gaussian.separator(truth)
    np.testing.assert_allclose(weight, np.linalg.solve(*moments()[::-1]), rtol=1e-4)
    xs, ys = jax.jit(jax.vmap(partial(gaussian.draw, truth)))(jax.random.split(key, n))
    for norm in (norms.l2, norms.linf):
        held = np.mean(ys * (xs @ weight) > eps * norm.dual(weight))
        chance = gaussian.accuracy(weight, truth, eps=eps, norm=norm)
        assert abs(held - chance) < 4 * np.sqrt(chance * (1 - chance) / n)


def test_no_number_where_there_is_no_maximum():
    truth, x = model(), jnp.ones(SIZE)
    low = 0.9 / np.linalg.eigvalsh(moments()[1]).min()

    @jax.jit
    def undefined(truth, lam, eps):
        indefinite = truth._replace(covariance=truth.covariance - 5 * jnp.eye(SIZE))
        return (
            gaussian.vulnerability(truth.covariance, lam),
            gaussian.penalised_loss(truth, x, 1.0, lam),
            gaussian.expected_loss(truth, truth, lam),
            gaussian.penalised_step(truth, x, 1.0, lam),
            gaussian.mean_square_step(truth, truth, lam),
            gaussian.negative_log_likelihood(indefinite, x, 1.0),
            gaussian.worst_alignment(indefinite.covariance),
            gaussian.constrained_step(truth, x, 1.0, eps),
            gaussian.robust_multiplier(eps, truth),
            gaussian.multiplier(eps, truth, truth),
            gaussian.robust_maximum_likelihood(truth, eps).covariance,
        )

    for found in undefined(truth, low, -1.0):
        assert jnp.isnan(found).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: gaussian.robust_maximum_likelihood(g, 0.0), "want lam > 0, got lam=0.0"),
        (lambda g: gaussian.robust_multiplier(-1.0, g), "want eps > 0, got eps=-1.0"),
        (lambda g: gaussian.constrained_step(g, g.mean, 1.0, -1.0), "want eps >= 0, got eps=-1.0"),
        (lambda g: gaussian.accuracy(g.mean, g, norm=norms.l0), "want a norm with a dual, got l0"),
        (lambda g: gaussian.minimise(g, 5.0, g, steps=0), "want an integer steps >= 1"),
    ],
)
def test_bad_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(model())


def test_one_compilation_for_a_grid_of_lam():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def grid(lams):
        return jax.vmap(lambda lam: gaussian.robust_maximum_likelihood(model(), lam).covariance)(lams)

    wide = [np.linalg.eigvalsh(grid(jnp.array([4.0, 2.0]) * scale)) for scale in (1.0, 2.0)]
    assert (wide[0][1] > wide[0][0]).all()
    assert (wide[0][0] > wide[1][0]).all()
