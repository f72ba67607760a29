import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from interp_jax.adversarial import norms
from tests.oracles import attacks as oracle

WIDE = 40  # shorter vectors are padded with zeros, which no projection moves, so that one program serves all
CONVEX = {"linf": norms.linf, "l2": norms.l2, "l1": norms.l1}
ALL = CONVEX | {"l0": norms.l0}
PROJECT = {name: jax.jit(norm.project) for name, norm in ALL.items()}
WITHIN = {name: jax.jit(norm.within) for name, norm in ALL.items()}
MANY = pytest.mark.parametrize("examples", [60, pytest.param(1500, marks=pytest.mark.slow)])
NO_BOX = np.full(WIDE, -np.inf, np.float32), np.full(WIDE, np.inf, np.float32)

shares = st.integers(-1000, 1000).map(lambda thousandths: thousandths / 1000)
powers = st.integers(-600, 0).map(lambda hundredths: 10 ** (hundredths / 100))
magnitudes = st.integers(-600, 600).map(lambda hundredths: 10 ** (hundredths / 100))
ties = st.sampled_from([0.0, 1.0, -1.0, 0.5, -2.0])
near = st.builds(lambda share, sign: sign * (1 + 1e-4 * share), shares, st.sampled_from([-1.0, 1.0]))
wild = st.builds(lambda size, sign: sign * size, magnitudes, st.sampled_from([-1.0, 1.0]))
rooms = st.one_of(st.sampled_from([0.0, 0.5, 1.0, np.inf]), shares.map(lambda share: 2 * abs(share)))


def padded(values, fill=0.0):
    return np.float32(np.pad(values, (0, WIDE - len(values)), constant_values=fill))


@st.composite
def vectors(draw, n):
    """Entries that differ, tie, nearly tie, or are of one scale each."""
    kind = draw(st.sampled_from([shares, ties, near, wild, st.one_of(shares, ties)]))
    return draw(st.just(1.0) if kind is wild else magnitudes) * np.array(draw(st.lists(kind, min_size=n, max_size=n)))


@st.composite
def boxes(draw, scale, n):
    """Room below and above 0, of a point's scale or another."""
    scale, kind = draw(st.one_of(st.just(scale), magnitudes)), draw(st.sampled_from([rooms, rooms, st.just(np.inf)]))
    room = np.array(draw(st.lists(kind, min_size=2 * n, max_size=2 * n)))
    room = np.where(room > 0, room * max(scale, 1e-6), 0.0)
    return -room[:n], room[n:]


@st.composite
def problems(draw):
    """Two points, a radius from 0 to more than is needed, and a box: float32 `v, other, low, high [WIDE]` and eps."""
    n = draw(st.integers(1, WIDE))
    v, other = padded(draw(vectors(n))), padded(draw(vectors(n)))
    low, high = map(padded, draw(boxes(np.abs(v).max(), n)))
    size = oracle.SIZES[draw(st.sampled_from(list(CONVEX)))](np.float64(v))
    eps = draw(st.one_of(st.just(0.0), magnitudes, shares.map(lambda share: 1.5 * abs(share) * size), powers))
    return v, other, low, high, np.float32(eps)


def over(strategy, examples, check):
    settings(max_examples=examples, deadline=None, derandomize=True, database=None)(given(strategy)(check))()


def close(found, wanted, scale, tolerance=1e-6):
    np.testing.assert_allclose(np.float64(found), wanted, rtol=0, atol=tolerance * max(scale, 1e-37))


@pytest.mark.parametrize("name", ["l2", "l1"])
def test_the_oracle_solves_its_problem_as_a_general_solver_does(name):
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 5):
        v, eps = 3 * rng.normal(size=n), rng.uniform(0.1, 3)
        low, high = -rng.uniform(0, 1.5, size=n), rng.uniform(0, 1.5, size=n) * (rng.random(n) > 0.2)
        wanted = oracle.nearest_by_solver(name, v, eps, low, high)
        np.testing.assert_allclose(oracle.nearest(name, v, eps, low, high), wanted, atol=1e-7)


@MANY
@pytest.mark.parametrize("name", CONVEX)
def test_points_of_ball_and_box_are_nearest(name, examples):
    def check(problem):
        v, _, low, high, eps = problem
        found = np.asarray(WITHIN[name](v, eps, low, high))
        wanted = oracle.nearest(name, v, eps, low, high)
        close(found, wanted, max(np.abs(v).max(), eps))
        assert (low <= found).all()  # exactly
        assert (found <= high).all()
        assert oracle.SIZES[name](np.float64(found)) <= eps * (1 + 1e-6)
        close(WITHIN[name](found, eps, low, high), found, np.abs(found).max())
        clipped = np.clip(v, low, high)
        if oracle.SIZES[name](np.float64(clipped)) < eps * (1 - 1e-6):
            np.testing.assert_array_equal(found, clipped)

    over(problems(), examples, check)


@MANY
@pytest.mark.parametrize("name", CONVEX)
def test_points_of_the_ball_are_nearest_to_digits_of_their_own(name, examples):
    def check(problem):
        v, _, _, _, eps = problem
        found = np.asarray(PROJECT[name](v, eps))
        wanted = oracle.nearest(name, v, eps)
        close(found, wanted, np.abs(wanted).max())  # not of v's size, which may be 1e12 times that
        assert oracle.SIZES[name](np.float64(found)) <= eps * (1 + 1e-6)
        close(PROJECT[name](found, eps), found, np.abs(found).max())
        close(WITHIN[name](v, eps, *NO_BOX), wanted, np.abs(wanted).max())

    over(problems(), examples, check)


@MANY
@pytest.mark.parametrize("name", CONVEX)
def test_projections_bring_no_two_points_further_apart(name, examples):
    def check(problem):
        v, other, low, high, eps = problem
        scale = max(np.abs(v).max(), np.abs(other).max(), eps)
        for project in (lambda d: PROJECT[name](d, eps), lambda d: WITHIN[name](d, eps, low, high)):
            apart = np.linalg.norm(np.float64(project(v)) - np.float64(project(other)))
            assert apart <= np.linalg.norm(np.float64(v) - np.float64(other)) + 1e-6 * scale

    over(problems(), examples, check)


def test_where_the_box_holds_back_larger_entries_the_l1_ball_still_holds():
    """A multiplier of half the largest entry, a radius below its rounding; and one far below it."""
    v = padded([1e3, -600.0, 600.0, 1e-3, 2e-3])
    high = padded([0.0, 1.0, 1.0, 1.0, 1.0])
    for eps in (1e-9, 1e-6, 1e-3, 1.0):
        found = WITHIN["l1"](v, np.float32(eps), -high, high)
        assert np.abs(found).sum() <= eps * (1 + 1e-6)
    high = padded([0.0, 0.0, 0.0, 1.0, 1.0])
    np.testing.assert_allclose(WITHIN["l1"](v, np.float32(2e-3), -high, high)[3:5], [5e-4, 1.5e-3], rtol=1e-6)


def test_the_l1_ball_is_not_reached_by_rescaling_nor_ball_and_box_one_after_the_other():
    v, high, one = padded([3.0, 1.0]), padded([0.25, 1.0, 1.0]), np.float32(1)
    np.testing.assert_allclose(PROJECT["l1"](v, one)[:2], [1, 0], atol=1e-6)
    np.testing.assert_allclose(WITHIN["l1"](v, one, -high, high)[:2], [0.25, 0.75], atol=1e-6)
    np.testing.assert_allclose(WITHIN["l2"](v, one, -high, high)[:2], [0.25, 0.9375**0.5], atol=1e-6)


@MANY
def test_l0_keeps_the_entries_whose_loss_would_cost_most(examples):
    """Over every support of six places; ties make points differ, so distances are compared."""
    project, within = jax.jit(norms.l0.project), jax.jit(norms.l0.within)

    def check(case):
        v, (low, high), eps = case
        v, low, high = np.float32(v), np.float32(low), np.float32(high)
        for found, box in ((project(v, eps), ()), (within(v, eps, low, high), (low, high))):
            assert jnp.count_nonzero(found) <= eps
            wanted = oracle.sparse_distance(v, eps, *np.float64(box)) if box else oracle.sparse_distance(v, eps)
            reached = ((np.float64(v) - np.float64(found)) ** 2).sum()
            np.testing.assert_allclose(reached, wanted, rtol=1e-6, atol=1e-6 * (np.float64(v) ** 2).max() + 1e-37)
        np.testing.assert_array_equal(project(project(v, eps), eps), project(v, eps))
        assert (within(v, eps, low, high) >= low).all()
        assert (within(v, eps, low, high) <= high).all()

    counts = st.sampled_from([0.0, 1.0, 2.0, 2.5, 5.0, 6.0, 9.0])
    over(st.tuples(vectors(6), boxes(1.0, 6), counts), examples, check)


def test_l0_weighs_far_points_by_what_the_box_leaves_of_them():
    v, high = jnp.array([1e6, 1e6 + 1]), jnp.array([1e-3, 2e-3])  # squares of either are equal in float32
    np.testing.assert_allclose(norms.l0.within(v, 1.0, -high, high), [0, 2e-3])


def test_hard_thresholding_may_expand_distances():
    """L0 balls are not convex; it is stated, and no property of the others is claimed."""
    a, b = jnp.array([1.0, 0.99]), jnp.array([0.99, 1.0])
    assert jnp.linalg.norm(norms.l0.project(a, 1.0) - norms.l0.project(b, 1.0)) > 10 * jnp.linalg.norm(a - b)
    assert norms.l0.dual is None


@pytest.mark.parametrize("name", ALL)
def test_shapes_are_the_examples_own(name):
    norm, v = ALL[name], np.float32(np.random.default_rng(0).normal(size=6))
    low, high = -np.abs(v[::-1]), np.abs(v[::-1])

    @jax.jit
    def together(v, low, high):
        return norm.project(v, 1.0), norm.within(v, 1.0, low, high), norm.ascend(v)

    flat = together(v, low, high)
    found = together(*(each.reshape(3, 1, 2) for each in (v, low, high)))
    chex.assert_tree_shape_prefix(found, (3, 1, 2))
    for each, wanted in zip(found, flat, strict=True):
        np.testing.assert_allclose(np.ravel(each), wanted, rtol=1e-6)
    np.testing.assert_allclose(norm.size(v), oracle.SIZES[name](np.float64(v)), rtol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_a_perturbation_keeps_its_type(name):
    v, eps = jax.ShapeDtypeStruct((3,), jnp.bfloat16), jax.ShapeDtypeStruct((), jnp.bfloat16)
    norm = ALL[name]
    shapes = [jax.eval_shape(norm.project, v, eps), jax.eval_shape(norm.within, v, eps, v, v)]
    shapes += [jax.eval_shape(function, v) for function in (norm.size, norm.ascend, norm.dual) if function]
    assert {each.dtype for each in shapes} == {jnp.dtype(jnp.bfloat16)}


def test_a_grid_of_radii_is_one_program():
    v = jnp.arange(1.0, 6.0)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def many(grid):
        return {name: jax.vmap(lambda eps, f=norm.within: f(v, eps, -v / 2, v))(grid) for name, norm in ALL.items()}

    for top in (1.0, 5.0):
        grid = np.linspace(0, top, 4, dtype=np.float32)
        found = many(grid)
        for name in CONVEX:
            singles = [oracle.nearest(name, v, eps, -v / 2, v) for eps in grid]
            np.testing.assert_allclose(found[name], singles, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal((found["l0"] != 0).sum(1), np.floor(grid))


def vertices(name, n):
    """The extreme points of the unit ball."""
    if name == "linf":
        return np.array(list(itertools.product([-1.0, 1.0], repeat=n)))
    return np.concatenate([np.eye(n), -np.eye(n)])


@MANY
@pytest.mark.parametrize("name", CONVEX)
def test_ascend_attains_the_dual_norm_and_nothing_in_the_ball_exceeds_it(name, examples):
    norm = CONVEX[name]
    together = jax.jit(lambda g: (norm.dual(g), norm.ascend(g), norm.size(norm.ascend(g)), norm.size(g)))

    def check(g):
        g = np.float32(g)
        dual, direction, length, size = (np.float64(found) for found in together(g))
        wanted = oracle.SIZES["l2"](np.float64(g))  # by Cauchy and Schwarz, with equality along g
        if name != "l2":
            wanted = (vertices(name, 6) @ np.float64(g)).max()
        np.testing.assert_allclose(dual, wanted, rtol=1e-6)
        np.testing.assert_allclose(dual, oracle.SIZES[oracle.DUAL[name]](np.float64(g)), rtol=1e-6)
        np.testing.assert_allclose(size, oracle.SIZES[name](np.float64(g)), rtol=1e-6)
        np.testing.assert_allclose(np.float64(g) @ direction, wanted, rtol=1e-6)
        np.testing.assert_allclose(direction, oracle.ascend(name, g), atol=1e-6)
        if name == "linf" or not g.any():
            assert length == g.any()
        np.testing.assert_allclose(length, float(g.any()), rtol=1e-6)

    over(vectors(6), examples, check)


@pytest.mark.parametrize("name", ALL)
def test_zeros_give_no_nan_nor_do_their_derivatives(name):
    norm, zero, some = ALL[name], jnp.zeros(4), jnp.array([1.0, 0.0, -2.0, 0.5])
    infinite, none = jnp.full(4, jnp.inf), jnp.zeros(4)
    functions = [norm.size, lambda v: norm.ascend(v).sum()] + ([norm.dual] if norm.dual else [])
    for v in (zero, some):
        chex.assert_tree_all_finite([jax.value_and_grad(function)(v) for function in functions])
    both = jax.jit(jax.value_and_grad(lambda v, *rest: norm.within(v, *rest).sum(), (0, 1, 2, 3)))
    ball = jax.jit(jax.value_and_grad(lambda v, eps: norm.project(v, eps).sum(), (0, 1)))
    for v, eps in itertools.product((zero, some), (0.0, 0.5, 9.0)):
        chex.assert_tree_all_finite(ball(v, eps))
        for room in (infinite, none):
            chex.assert_tree_all_finite(both(v, eps, -room, room))
    np.testing.assert_array_equal(norm.within(some, 0.0, -(some**2), some**2), zero)
    np.testing.assert_array_equal(norm.ascend(zero), zero)


@pytest.mark.parametrize("name", CONVEX)
def test_inside_the_ball_a_projection_is_the_identity_and_so_is_its_derivative(name):
    for function in (CONVEX[name].project, partial(CONVEX[name].within, low=-jnp.ones(3), high=jnp.ones(3))):
        both = jax.jit(lambda v, f=function: (f(v, eps=1.0), jax.jacobian(lambda d: f(d, eps=1.0))(v)))
        for v in (jnp.zeros(3), jnp.array([0.1, 0.0, -0.2])):
            same, derivative = both(v)
            np.testing.assert_array_equal(same, v)
            np.testing.assert_array_equal(derivative, np.eye(3))


@pytest.mark.parametrize("name", CONVEX)
def test_derivatives_are_those_of_the_oracle_forwards_and_backwards(name):
    """Central differences in float64 at points that are not kinks; by v, radius and box."""
    rng, n, h = np.random.default_rng(1), 7, 1e-6
    push = jax.jit(lambda point, change: jax.jvp(CONVEX[name].within, point, change))
    pull = jax.jit(lambda point, back: jax.vjp(CONVEX[name].within, *point)[1](back))
    for share in (0.3, 0.7, 5.0):
        v = rng.normal(size=n)
        point = v, share * oracle.SIZES[name](v), -rng.uniform(0.1, 2, size=n), rng.uniform(0.1, 2, size=n)
        change = tuple(rng.normal(size=np.shape(part)) for part in point)
        ahead, behind = (
            oracle.nearest(name, *(part + way * move for part, move in zip(point, change, strict=True)))
            for way in (h, -h)
        )
        single, moves = ([jnp.asarray(part, jnp.float32) for part in parts] for parts in (point, change))
        tangent = push(tuple(single), tuple(moves))[1]
        np.testing.assert_allclose(tangent, (ahead - behind) / (2 * h), rtol=1e-4, atol=1e-5)
        back = np.float32(rng.normal(size=n))
        pulled = sum(jnp.sum(part * move) for part, move in zip(pull(single, back), moves, strict=True))
        np.testing.assert_allclose(pulled, back @ tangent, rtol=1e-4, atol=1e-5)


def marginal(name, n):
    """The law of one coordinate of a uniform point of the unit ball."""
    if name == "linf":
        return stats.uniform(-1, 2).cdf
    if name == "l2":  # its square is Beta(1/2, (n + 1) / 2)
        return lambda t: 0.5 + 0.5 * np.sign(t) * stats.beta(0.5, (n + 1) / 2).cdf(t**2)
    return lambda t: 0.5 + 0.5 * np.sign(t) * stats.beta(1, n).cdf(np.abs(t))


@pytest.mark.parametrize("shape", [(3,), (2, 2), (2, 1, 3)])
@pytest.mark.parametrize("name", CONVEX)
def test_draws_are_uniform_in_the_ball(name, shape):
    """Kolmogorov-Smirnov tests of 4,000 draws: (size / eps)^n is uniform, and each signed coordinate has its law.

    Fixed keys; 51 tests in all at 1e-4 each, so uniform draws would fail some of them with probability below .006.
    """
    draws, n, eps = 4000, int(np.prod(shape)), 0.3
    sample = jax.jit(jax.vmap(lambda key: CONVEX[name].sample(key, shape, jnp.float32(eps))))
    d = np.float64(sample(jax.random.split(jax.random.key(7), draws))).reshape(draws, n) / eps
    sizes = np.array([oracle.SIZES[name](row) for row in d])
    assert sizes.max() <= 1 + 1e-6
    assert stats.kstest(sizes**n, "uniform").pvalue > 1e-4
    for column in d.T:
        assert stats.kstest(column, marginal(name, n)).pvalue > 1e-4
    products = np.corrcoef(d.T)[np.triu_indices(n, 1)]  # of coordinates, whose signs are independent
    assert np.abs(products).max() < 5 / np.sqrt(draws)


def test_sparse_draws_choose_places_and_sizes_uniformly():
    """6,000 draws of 2 of 5 places (2.5 are two); tests at 1e-4 each, with a fixed key."""
    sample = jax.jit(jax.vmap(lambda key: norms.l0.sample(key, (5,), jnp.float32(2.5))))
    d = np.asarray(sample(jax.random.split(jax.random.key(7), 6000)))
    assert ((d != 0).sum(1) == 2).all()
    pairs = [tuple(np.flatnonzero(row)) for row in d]
    counts = [pairs.count(pair) for pair in itertools.combinations(range(5), 2)]
    assert stats.chisquare(counts).pvalue > 1e-4
    assert stats.kstest(d[d != 0], stats.uniform(-1, 2).cdf).pvalue > 1e-4


@pytest.mark.parametrize("name", ALL)
def test_a_radius_of_zero_draws_zero(name, key):
    np.testing.assert_array_equal(ALL[name].sample(key, (3,), jnp.float32(0)), np.zeros(3))
