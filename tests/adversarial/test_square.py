from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.adversarial import norms, objectives
from interp_jax.adversarial import square as module
from interp_jax.adversarial.pgd import noise
from interp_jax.adversarial.square import halvings, square
from tests.adversarial import nets
from tests.oracles import square as oracle

PREDICT = partial(nets.mlp, nets.weights())
BALLS = {"linf": (norms.linf, 0.1), "l2": (norms.l2, 0.8)}
XS = nets.examples(16)
LABELS = jnp.argmax(jax.vmap(PREDICT)(XS), -1)
KEYS = jax.random.split(jax.random.key(4), 16)
STEPS = 60


@partial(jax.jit, static_argnums=0)
def run(name):
    norm, eps = BALLS[name]
    settings = {"eps": eps, "norm": norm}

    def one(x, y, k):
        objective = objectives.margin(PREDICT, y)
        return square(objective, x, k, steps=STEPS, **settings), noise(objective, x, k, draws=STEPS + 1, **settings)

    return jax.vmap(one)(XS, LABELS, KEYS)


@pytest.mark.parametrize("name", BALLS)
def test_it_stays_in_ball_and_box_and_only_rises(name):
    found, (norm, eps) = run(name)[0], BALLS[name]
    assert (jax.vmap(norm.size)(found.x - XS) <= eps * (1 + 1e-6)).all()
    assert found.x.min() >= 0
    assert found.x.max() <= 1
    assert (jnp.diff(found.curve, axis=1) >= 0).all()
    np.testing.assert_array_equal(found.last, found.x)
    np.testing.assert_allclose(found.objective, found.curve[:, -1])
    np.testing.assert_array_equal(found.flat, 0)


@pytest.mark.parametrize("name", BALLS)
def test_it_beats_noise_of_as_many_queries(name):
    found, by_luck = run(name)
    gain = np.asarray(found.objective - by_luck.objective)
    assert gain.mean() > 3 * gain.std(ddof=1) / len(gain) ** 0.5, gain


def test_the_share_of_pixels_follows_the_papers_iterations():
    full = halvings(10000)
    changes = np.flatnonzero(np.diff(full))
    np.testing.assert_array_equal(changes, [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000])
    np.testing.assert_array_equal(np.diff(full)[changes], 1)
    np.testing.assert_array_equal(halvings(1000), full[::10])
    assert halvings(1).tolist() == [0]


@jax.jit
@partial(jax.vmap, in_axes=(0, None, None))
def start_and_proposal(key, eps, fraction):
    """A proposal is kept by an objective or by its negative: together they show both points."""
    slope = jax.random.normal(jax.random.key(9), (7, 9, 2))
    x = jnp.full((7, 9, 2), 0.5)

    def one(sign):
        return square(lambda x: sign * jnp.sum(slope * x), x, key, eps=eps, steps=1, fraction=fraction)

    found = jax.vmap(one)(jnp.array([1.0, -1.0]))
    kept = found.curve[:, 1] > found.curve[:, 0]
    first = jnp.where(kept[0], found.x[1], found.x[0]) - x
    second = jnp.where(kept[0], found.x[0], found.x[1]) - x
    return first, second, kept


def test_linf_begins_with_random_stripes_and_moves_one_square():
    ks = jax.random.split(jax.random.key(0), 400)
    first, second, kept = start_and_proposal(ks, 0.25, 0.15)
    assert (kept.sum(1) <= 1).all()
    np.testing.assert_allclose(jnp.abs(first), 0.25, rtol=1e-6)
    np.testing.assert_array_equal(first, jnp.broadcast_to(first[:, :1], first.shape))
    signs = np.sign(np.asarray(first[:, 0])).reshape(400, -1)
    assert abs(signs.mean()) < 4 / signs.size**0.5
    across = signs.T @ signs / 400
    assert np.abs(across - np.eye(18)).max() < 4.5 / 400**0.5
    moved = np.asarray(kept.any(1))
    assert moved.mean() > 0.6  # two channels by two signs, each stripe differs with one half
    changed = np.asarray(jnp.abs(second - first) > 1e-6).any(-1)[moved]
    np.testing.assert_allclose(np.abs(np.asarray(second)), 0.25, rtol=1e-6)
    rows, columns = changed.any(2), changed.any(1)
    assert (rows.sum(1) == 3).all()  # sqrt(0.15 * 63) = 3.07
    assert (columns.sum(1) <= 3).all()
    tops = rows.argmax(1)
    counts = np.bincount(tops, minlength=5)
    assert counts.shape == (5,)
    np.testing.assert_allclose(counts, moved.sum() / 5, atol=4 * (moved.sum() * 0.16) ** 0.5)
    assert columns[:, -1].any()


def test_squares_shrink_by_the_schedule_from_the_first_proposal_on():
    """An objective that never rises keeps the beginning, so that each proposal shows its square."""
    seen, steps = [], 100

    def constant(x):
        jax.debug.callback(seen.append, x, ordered=True)
        return 0.0 * x[0, 0, 0]

    search = jax.jit(lambda x: square(constant, x, jax.random.key(0), eps=0.25, steps=steps))
    jax.block_until_ready(search(jnp.full((12, 12, 6), 0.5)))
    jax.effects_barrier()
    first, *others = map(np.asarray, seen)
    assert len(others) == steps
    heights = np.array([(np.abs(other - first) > 1e-6).any((1, 2)).sum() for other in others])
    halved = np.array([sum(10000 * t // steps > mark for mark in module.HALVINGS) for t in range(steps)])
    sides = np.maximum(np.round(np.sqrt(0.8 * 144 / 2.0**halved)), 1)
    assert (heights <= sides).all()
    assert (heights == sides).mean() > 0.9


def test_equation_2_gives_the_bumps():
    shape = (11, 12, 1)

    @jax.jit
    @jax.vmap
    def draw(side, corner):
        rows, columns = module._grid(shape, corner)
        return module._peaks(rows, columns, side), module._peaks(columns, rows, side)

    sides, corners = jnp.array([1, 2, 3, 5, 6, 9]), jnp.array([[10, 11], [9, 3], [4, 5], [2, 1], [3, 6], [0, 2]])
    for side, (row, column), *found in zip(sides, corners, *draw(sides, corners), strict=True):
        for drawn, wanted in zip(found, (oracle.pair(int(side)), oracle.pair(int(side)).T), strict=True):
            expected = np.zeros(shape[:2])
            expected[row : row + side, column : column + side] = wanted
            np.testing.assert_allclose(drawn[..., 0], expected, atol=1e-6)


def region_of(x, eps):
    return module.region(x, eps, norms.l2, None)


def test_l2_begins_with_signed_bumps_in_tiles_of_a_fifth():
    x = jnp.full((16, 17, 3), 0.5)
    drawn = np.asarray(jax.jit(lambda key: module._tiles(region_of(x, 2.0), key))(jax.random.key(3)))
    np.testing.assert_allclose(np.linalg.norm(drawn), 2.0, rtol=1e-5)
    assert (drawn[-1] == 0).all()  # 16 = 5 * 3 + 1, 17 = 1 + 5 * 3 + 1
    assert (drawn[:, [0, -1]] == 0).all()
    shapes = [oracle.pair(3), oracle.pair(3).T]
    seen = set()
    for i in range(25):
        row, column = 3 * (i // 5), 1 + 3 * (i % 5)
        tile = drawn[row : row + 3, column : column + 3] * 75**0.5 / 2
        likeness = np.stack([(tile * shape[..., None]).sum((0, 1)) for shape in shapes])
        turn = int(np.abs(likeness).sum(1).argmax())
        np.testing.assert_allclose(np.abs(likeness[turn]), 1, rtol=1e-4)
        seen |= {(turn, *np.sign(likeness[turn]))}
    assert len(seen) > 6


@jax.jit
@partial(jax.vmap, in_axes=(0, None, None))
def propose(key, start, eps):
    return module._square_l2(region_of(jnp.zeros((9, 10, 2)), eps), key, start, jnp.float32(0.1))


def test_an_l2_proposal_uses_the_whole_radius_and_empties_the_second_square():
    start = 0.1 * jax.random.normal(jax.random.key(1), (9, 10, 2))
    moved = np.asarray(propose(jax.random.split(jax.random.key(2), 60), start, 3.0))
    np.testing.assert_allclose(np.linalg.norm(moved.reshape(60, -1), axis=1), 3.0, rtol=1e-5)
    kept = np.isclose(moved, start, atol=1e-7).all(-1)
    emptied = (moved == 0).all(-1)
    written = ~kept & ~emptied
    assert (written.sum((1, 2)) == 9).all()  # sqrt(0.1 * 90) = 3
    assert (emptied.sum((1, 2)) == 9).any()
    outside = (np.where(emptied[..., None] | written[..., None], 0, start) ** 2).sum((1, 2))
    inside = (np.where(written[..., None], moved, 0) ** 2).sum((1, 2))
    total = (np.asarray(start) ** 2).sum((0, 1))
    np.testing.assert_allclose(inside + outside, np.tile(total + (9 - total.sum()) / 2, (60, 1)), rtol=1e-4)


def test_l2_proposals_from_nothing_are_signed_bumps_in_both_positions():
    positions = [oracle.pair(3), oracle.pair(3).T]
    seen = set()
    for moved in np.asarray(propose(jax.random.split(jax.random.key(6), 60), jnp.zeros((9, 10, 2)), 1.0)):
        row, column = np.argwhere(np.abs(moved).sum(-1) > 0).min(0)
        patch = moved[row : row + 3, column : column + 3] * 2**0.5
        likeness = np.stack([(patch * position[..., None]).sum((0, 1)) for position in positions])
        turn = int(np.abs(likeness).sum(1).argmax())
        np.testing.assert_allclose(np.abs(likeness[turn]), 1, rtol=1e-4)
        seen |= {(turn, *np.sign(likeness[turn]))}
    assert len(seen) == 8


def test_no_gradient_is_asked_for():
    @jax.custom_jvp
    def steps(x):
        return jnp.round(16 * x).sum()

    @steps.defjvp
    def fail(primals, tangents):
        raise AssertionError("differentiated")

    x = jnp.full((4, 4, 1), 0.5)
    found = jax.jit(partial(square, steps, eps=0.25, steps=30))(x, jax.random.key(0))
    assert found.objective > steps(x)
    jax.eval_shape(partial(square, steps, eps=0.25, steps=30, norm=norms.l2), x, jax.random.key(0))

    def products(f, *args):
        return str(jax.make_jaxpr(f)(*args)).count("dot_general")

    label, once = LABELS[0], products(PREDICT, XS[0])
    whole = products(lambda x: square(objectives.margin(PREDICT, label), x, jax.random.key(0), eps=0.1, steps=9), XS[0])
    assert whole == once == 2  # the model, forward, once in the program


def test_one_trace_for_a_grid_of_eps_fractions_and_keys():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def grid(epsilons, fraction):
        def one(x, y, k, eps):
            return square(objectives.margin(PREDICT, y), x, k, eps=eps, steps=20, fraction=fraction).objective

        over_eps = jax.vmap(one, (None, None, None, 0))
        return jax.vmap(over_eps, (0, 0, 0, None))(XS, LABELS, KEYS, epsilons)

    first, second = grid(jnp.linspace(0, 0.1, 3), 0.8), grid(jnp.linspace(0, 0.3, 3), 0.3)
    np.testing.assert_allclose(first[:, 0], second[:, 0])
    assert (jnp.diff(second.mean(0)) > 0).all()


def test_a_fooled_image_is_kept_before_a_larger_value():
    def odd(x):
        return objectives.Scored(x[0, 0, 0], x[0, 0, 0] < 0.5)

    found = jax.jit(lambda: square(odd, jnp.full((3, 3, 1), 0.5), jax.random.key(0), eps=0.2, steps=40))()
    assert found.fooled
    np.testing.assert_allclose(found.x[0, 0, 0], 0.3, rtol=1e-6)


def test_undefined_objectives_and_values_hidden_by_tracing_give_nan():
    @jax.jit
    @jax.vmap
    def go(level, eps, scale):
        x = jnp.full((3, 3, 1), level)
        return square(lambda x: jnp.log(scale * x).sum(), x, jax.random.key(0), eps=eps, steps=3)

    found = go(jnp.array([0.5, 0.5, 1.5, 0.5]), jnp.array([0.1, -1.0, 0.1, jnp.nan]), jnp.array([-1.0, 1, 1, 1]))
    assert jnp.isnan(found.objective).all()
    assert jnp.isnan(found.curve).all()
    assert not found.fooled.any()
    chex.assert_tree_all_finite(found.x)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps": -0.1}, "want eps >= 0, got eps=-0.1"),
        ({"steps": 0}, "want an integer steps >= 1, got steps=0"),
        ({"fraction": 0.0}, "want fraction > 0"),
        ({"fraction": 1.5}, "want 0 <= fraction <= 1"),
        ({"norm": norms.l1}, "want norm linf or l2"),
        ({"bounds": (0.6, 1.0)}, "want 0.6 <= x <= 1.0"),
    ],
)
def test_bad_values_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        square(jnp.sum, jnp.full((4, 4, 1), 0.5), jax.random.key(0), **({"eps": 0.1, "steps": 3} | changes))


def test_only_images_have_squares():
    with pytest.raises(AssertionError, match="rank"):
        square(jnp.sum, jnp.full(4, 0.5), jax.random.key(0), eps=0.1, steps=3)
