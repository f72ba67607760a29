"""What is measured of semantic bottlenecks: on a net that reads true masks, on maps with a code, against counting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.concepts import semantic, semantic_study
from interp_jax.concepts.bottleneck import Kind
from interp_jax.data import concept_sets, scenes
from interp_jax.models.nets import Net

WORLD = scenes.World(cells=2, pixels=8, block=2)


@pytest.fixture(scope="module")
def data():
    draw = jax.jit(lambda key: semantic_study.draw(WORLD, key, pool=10, tested=300, pairs=200))
    return draw(jax.random.key(5))


def seeing(data):
    """The same with true masks for pictures."""
    own = lambda each: each._replace(inputs=each.concepts)  # noqa: E731
    pairs = data.pairs._replace(before=own(data.pairs.before), after=own(data.pairs.after))
    return data._replace(chosen=own(data.chosen), scored=own(data.scored), pairs=pairs)


def reader():
    """A net that is told what it sees, and counts cells where squares are striped or hearts bright."""
    at = {name: i for i, name in enumerate(scenes.CONCEPTS)}

    def head(params, maps):
        cells = maps.reshape(2, 4, 2, 4, 5).max((1, 3)) > 0
        square, heart, striped, bright = (cells[..., at[name]] for name in ("square", "heart", "striped", "bright"))
        count = ((square & striped) | (heart & bright)).sum()
        return -jnp.abs(jnp.arange(5) - count).astype(jnp.float32)

    nothing = lambda key: jnp.zeros(())  # noqa: E731
    told = Kind(lambda logits, groups: logits)
    return semantic.semantic(Net(nothing, lambda params, x: x), Net(nothing, head), 5, kind=told)


@pytest.mark.slow
def test_a_net_that_reads_true_masks_follows_every_edit(data, key):
    made = reader()
    measure = jax.jit(lambda data: semantic_study.measure(made, made.init(key), data, rows=200))
    found = measure(seeing(data))
    for what in ("accuracy", "told", "follows", "stays", "by kind", "agreement"):
        np.testing.assert_allclose(found[what], 1.0, atol=1e-6, err_msg=what)
    assert found["wrong"] < 0.6
    assert found["asked"] == (data.pairs.before.labels != data.pairs.after.labels).sum() > 30
    np.testing.assert_allclose(found["area"], 1.0)
    np.testing.assert_array_equal(found["maps"], data.scored.concepts)


def test_edits_that_are_not_followed_are_counted(data):
    """Logits by hand: the edit does nothing, or always what the new picture does; pictures decided wrongly drop out."""
    pairs = data.pairs
    before, after = np.asarray(pairs.before.labels), np.asarray(pairs.after.labels)
    start, goal = 5 * np.eye(5)[before], 5 * np.eye(5)[after]
    start[:20] = 5 * np.eye(5)[(before[:20] + 1) % 5]  # not known, so not asked
    half = np.where((np.arange(200) % 2 == 0)[:, None], goal, start)
    found = semantic_study.follows(pairs, *map(jnp.asarray, (start, goal, half, start)))
    asked = (before != after) & (np.arange(200) >= 20)
    np.testing.assert_allclose(found["follows"], (asked & (np.arange(200) % 2 == 0)).sum() / asked.sum(), rtol=1e-6)
    assert found["wrong"] == 0
    assert found["stays"] == 1
    assert found["asked"] == asked.sum()
    for kind in range(5):
        own = asked & (pairs.kind == kind)
        np.testing.assert_allclose(found["by kind"][kind], (own & (np.arange(200) % 2 == 0)).sum() / own.sum())


def test_a_code_within_a_map_is_told_in_nats(data):
    """Squares at .8 where they are striped and at 1 where they are not: half a bit of nothing becomes all of it."""
    masks = (np.asarray(data.scored.concepts) > 0.5).astype(np.float32)
    coded = masks.copy()
    coded[..., :3] *= 1 - 0.2 * masks[..., 3:4]
    rng = np.random.default_rng(0)
    noisy = [jnp.asarray(each + 0.02 * rng.standard_normal(each.shape), jnp.float32) for each in (masks, coded)]
    beyond = jax.jit(lambda maps: semantic_study.beyond(maps, jnp.asarray(masks), rows=1200))
    none, all_ = (beyond(each) for each in noisy)
    assert abs(none["nats"]) < 0.02
    assert all_["nats"] > 0.6  # of log 2 = .69
    np.testing.assert_allclose(beyond(jnp.asarray(masks))["impurity"], 0, atol=1e-6)


def test_the_best_guess_without_stripes_is_that_of_a_coin(data):
    """By drawing stripes anew for each scene many times, and guessing half of the squares."""
    rng = np.random.default_rng(0)
    squares = np.asarray(data.scored.concepts)[..., 0].reshape(-1, 2, 4, 2, 4).max((2, 4))
    n = (squares > 0.5).sum((1, 2))
    hits = [(rng.binomial(n, 0.5) == n // 2).mean() for _ in range(400)]
    np.testing.assert_allclose(semantic_study.ceiling(data.scored, WORLD), np.mean(hits), atol=0.01)


def test_kinds_of_one_program_differ_in_what_the_head_is_told(data, key):
    nets = semantic_study.Nets(channels=(2, 3, 3), after=(2, 3), scenes=8, epochs=1, batch=4)
    made = {
        arm: semantic_study.build(nets, WORLD, name, {"kind": kind, "whole": whole})
        for name, cells in semantic_study.CELLS.items()
        for arm, (kind, _, whole) in cells.items()
    }
    x = data.scored.inputs[0]
    params = made["joint"].init(key)
    rest = {arm: made[arm].encode(params, x).rest for arm in made if arm != "plain"}
    np.testing.assert_allclose(rest["joint"], jax.nn.sigmoid(rest["logits"]), rtol=1e-5)
    np.testing.assert_array_equal(rest["hard"], rest["logits"] > 0)
    np.testing.assert_array_equal(rest["no stripes"], rest["joint"].at[..., 3].set(0))
    plain = made["plain"]
    assert plain.encode(plain.init(key), x).rest.shape == (4, 4, 8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["together", "in turn"])
def test_a_step_trains_what_it_should(key, name):
    world = scenes.World(cells=2, pixels=8, block=4)
    pool = jax.jit(lambda key: concept_sets.draw(scenes.generator(world), key, 10))(key)
    nets = semantic_study.Nets(channels=(2, 3, 3), after=(2, 3), scenes=8, epochs=1, batch=4)
    numbers = {what: jnp.float32(value) for what, value in {"kind": 0, "taught": 1, "whole": 1, "seed": 3}.items()}
    made = semantic_study.trainer(nets, world, name, **numbers)
    begin = made.init(key)
    step = jax.jit(made.step)
    first, _ = step(begin, pool, jnp.int32(0))
    moved = lambda part: any(  # noqa: E731
        np.any(a != b) for a, b in zip(*(jax.tree.leaves(s.state.params[part]) for s in (first, begin)), strict=True)
    )
    assert moved("encoder")
    assert moved("head") == (name == "together")
    assert first.cell["seed"] == 3
