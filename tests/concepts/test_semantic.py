"""Semantic bottlenecks: maps and losses against numpy, the least change of a map, edits, and the shared interface."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from interp_jax.concepts import bottleneck, interventions, losses, semantic, training
from interp_jax.concepts import model as models
from interp_jax.concepts.bottleneck import HARD, LOGIT, SIGMOID, STRAIGHT_THROUGH
from interp_jax.concepts.model import Given, Levels
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.models.nets import Net
from tests.oracles import semantic as oracle

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (3, 4, 3)).astype(np.float32)
X = jnp.asarray(LOGITS)
WEIGHT = RNG.normal(size=(2, 36)).astype(np.float32)


def given_maps(concepts=3):
    """An encoder whose params are added to its input, which are the logits."""
    return Net(lambda key: jnp.zeros((3, 4, concepts)), lambda params, x: x + params)


def linear():
    return Net(lambda key: jnp.asarray(WEIGHT), lambda params, maps: params @ maps.reshape(-1))


def make(kind=SIGMOID, **options):
    return semantic.semantic(given_maps(), linear(), 3, kind=kind, **options)


TELL = {
    "sigmoid": (SIGMOID, oracle.sigmoid), "logit": (LOGIT, lambda z: z),
    "hard": (HARD, lambda z: z > 0), "straight": (STRAIGHT_THROUGH, lambda z: z > 0),
}  # fmt: skip


@pytest.mark.parametrize("name", TELL)
def test_the_head_is_told_each_place_and_values_are_the_largest(name, key):
    kind, tell = TELL[name]
    made = make(kind)
    found = models.apply(made, made.init(key), X)
    want = tell(np.float64(LOGITS))
    np.testing.assert_allclose(found.values, want.max((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(found.concepts, oracle.sigmoid(LOGITS.max((0, 1))), rtol=1e-5)
    np.testing.assert_allclose(found.task, WEIGHT @ want.reshape(-1), rtol=1e-4)


def test_groups_are_softmaxes_at_places(key):
    made = make(groups=[(0, 2)])
    encoded = made.encode(made.init(key), X)
    for i in range(3):
        for j in range(4):
            both = oracle.softmax(np.float64(LOGITS[i, j, [0, 2]]))
            np.testing.assert_allclose(encoded.rest[i, j, [0, 2]], both, rtol=1e-4)
    np.testing.assert_allclose(made.predict(None, encoded, None), np.asarray(encoded.rest).max((0, 1)), rtol=1e-5)
    assert made.groups == ()  # an image can hold both


@pytest.mark.parametrize("group", [(), (0, 2)])
def test_the_loss_is_of_known_places(group, key):
    masks = RNG.random((3, 4, 3)).astype(np.float32)
    if group:
        masks[..., 2] = 1 - masks[..., 0]
    masks[0, 1, 1] = masks[2, 3, 0] = np.nan
    made = make(groups=[group] if group else ())

    def loss(params):
        encoded = made.encode({"encoder": params}, X)
        return losses.mean(made.likelihood(params, encoded, jnp.asarray(masks), key))

    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.zeros((3, 4, 3)))
    np.testing.assert_allclose(value, oracle.dense_loss(np.float64(LOGITS), np.float64(masks), group), rtol=1e-5)
    if not group:
        np.testing.assert_allclose(gradient, oracle.dense_gradient(np.float64(LOGITS), masks), atol=1e-6)


def test_a_map_told_its_own_strongest_stays_and_so_does_its_gradient():
    """Exactly: no intervention is no change, of values and of the gradient, with ties too."""
    tied = jnp.concatenate([X, jnp.ones((3, 4, 1))], 2)
    whole = lambda maps: semantic.lifted(maps, semantic.strongest(maps))  # noqa: E731
    np.testing.assert_array_equal(whole(tied), tied)
    weight = jnp.asarray(RNG.normal(size=tied.shape), jnp.float32)
    np.testing.assert_array_equal(jax.grad(lambda maps: (weight * whole(maps)).sum())(tied), weight)


@pytest.mark.parametrize("value", [-1.0, 0.5, 4.0])
def test_a_map_told_a_value_is_the_nearest_with_that_largest(value):
    found = np.asarray(semantic.lifted(X, jnp.full(3, value)))
    np.testing.assert_allclose(found.max((0, 1)), value)
    for i in range(3):
        own, new = LOGITS[..., i], found[..., i]
        moved = np.abs(new - own)
        if own.max() > value:
            np.testing.assert_allclose(moved, np.maximum(own - value, 0), atol=1e-6)
        else:  # only the strongest place is raised
            assert (moved > 0).sum() == 1
            assert moved.argmax() == own.argmax()


def test_concepts_that_are_not_known_are_told_as_zero_and_not_learnt(key):
    made = make(known=[True, False, True])
    params = made.init(key)
    encoded = made.encode(params, X)
    assert not np.any(encoded.rest[..., 1])
    told = models.decide(made, params, encoded, Given(jnp.array([False, True, False]), jnp.ones(3)))
    np.testing.assert_array_equal(told.task, models.decide(made, params, encoded).task)
    terms = made.likelihood(params, encoded, jnp.ones((3, 4, 3)), key)
    assert terms.weight.sum() == 24


def test_edits_say_what_they_are_asked_to_at_the_models_levels(key):
    made = models.with_levels(make(LOGIT), Levels(jnp.array([-1.0, -2.0, -3.0]), jnp.array([1.0, 4.0, 5.0])))
    params = made.init(key)
    encoded = made.encode(params, X)
    region = jnp.zeros((3, 4)).at[1].set(1.0).at[2, 0].set(0.25)
    found = np.asarray(semantic.edited(made, encoded.rest, semantic.within(region, 1, 3, 1.0)))
    want = LOGITS.copy()
    want[1, :, 1] = 4
    want[2, 0, 1] = 0.75 * want[2, 0, 1] + 0.25 * 4
    np.testing.assert_allclose(found, want, rtol=1e-5)
    gone = semantic.edited(made, encoded.rest, semantic.everywhere((3, 4, 3), 2, 0.0))
    np.testing.assert_allclose(gone[..., 2], -3, rtol=1e-6)
    np.testing.assert_array_equal(gone[..., :2], X[..., :2])
    output = semantic.decide_maps(made, params, encoded, semantic.within(region, 1, 3, 1.0))
    np.testing.assert_allclose(output.task, WEIGHT @ want.reshape(-1), rtol=1e-4)
    np.testing.assert_array_equal(
        semantic.decide_maps(made, params, encoded).task, models.decide(made, params, encoded).task
    )


def test_an_edit_towards_masks_is_where_they_differ_and_are_known():
    before = jnp.asarray(RNG.integers(0, 2, (3, 4, 3)), jnp.float32)
    after = before.at[0, 0, 0].add(0.5 - before[0, 0, 0]).at[1, 1, 1].set(jnp.nan)
    edit = semantic.towards(after, before)
    assert edit.weight.sum() == 1
    assert edit.weight[0, 0, 0] == 1
    found = semantic.edited(make(), X, semantic.towards(after))
    want = np.where(np.isnan(after), LOGITS, after)
    np.testing.assert_allclose(found, want, rtol=1e-6)
    other = semantic.misplaced(edit, 2)
    assert other.weight[0, 0, 2] == 1
    assert other.weight.sum() == 1
    assert other.concepts[0, 0, 2] == 0.5


def test_levels_are_medians_of_places():
    logits, masks = RNG.normal(size=(5, 2, 3, 2)), RNG.choice([0.0, 1.0, np.nan], (5, 2, 3, 2))
    masks[..., 1] = 0
    found = semantic.levels(jnp.asarray(logits, jnp.float32), jnp.asarray(masks, jnp.float32))
    np.testing.assert_allclose(found.high[0], np.median(logits[..., 0][masks[..., 0] == 1]), rtol=1e-5)
    np.testing.assert_allclose(found.low[0], np.median(logits[..., 0][masks[..., 0] == 0]), rtol=1e-5)
    assert np.isnan(found.high[1])


def test_interventions_on_images_and_training_work_as_on_any_concept_model(key):
    """A head that counts places, so that taking a concept away everywhere takes its vote."""
    inputs = jnp.asarray(RNG.normal(0, 2, (24, 3, 4, 3)), jnp.float32)
    masks = (inputs > 2.5).astype(jnp.float32)
    data = ConceptSet(inputs, masks, jax.vmap(semantic.presence)(masks)[:, 0].astype(jnp.int32))
    made = make()
    made = dataclasses.replace(made, head=lambda params, values, rest: values[:1] * 2 - 1 + 0 * params["head"][:1, 0])
    images = semantic.at_images(data)
    params = made.init(key)
    curve = interventions.curve(made, params, images)
    assert curve.shape == (4,)
    np.testing.assert_allclose(curve[-1], 1.0)  # told the truth
    assert curve[0] < 1
    taught = make()
    recipe = training.Recipe(batch=8, direction=optax.scale_by_adam())
    for trainer, moves in ((training.joint(taught, recipe, lr=0.1), True), (training.sequential(taught, recipe, lr=0.1, epochs=0), False)):  # noqa: E501  # fmt: skip
        state = trainer.init(key)
        after, seen = jax.jit(trainer.step)(state, data, 0)
        assert np.any(after.params["encoder"] != state.params["encoder"]) == moves
        assert np.any(after.params["head"] != state.params["head"])
        assert np.isfinite(seen["concept_loss"])


def test_presence_is_told_only_where_it_is_known():
    masks = jnp.array([[[0.2, 0.8, jnp.nan, jnp.nan]], [[0.4, 0.0, 0.9, 0.1]]])
    np.testing.assert_array_equal(semantic.presence(masks), [0, 1, 1, np.nan])


def test_iou_counts_places():
    said, truth = RNG.random((50, 2)) > 0.5, (RNG.random((50, 2)) > 0.3).astype(np.float32)
    truth[:7, 0] = np.nan
    known = ~np.isnan(truth)
    want = [(said[:, i] & (truth[:, i] > 0.5)).sum() / ((said[:, i] | (truth[:, i] > 0.5)) & known[:, i]).sum() for i in (0, 1)]  # noqa: E501  # fmt: skip
    np.testing.assert_allclose(semantic.iou(jnp.asarray(said), jnp.asarray(truth)), want, rtol=1e-6)


def test_inspectability_tries_every_threshold():
    masks, other = ((RNG.random((60, 2)) < (0.3, 0.6)).astype(float) for _ in range(2))
    noise = lambda shape: RNG.normal(0, 0.7, shape)  # noqa: E731
    values = [np.column_stack([m[:, 0], m[:, 1], 0 * m[:, 0]]) + noise((60, 3)) for m in (masks, other)]
    values = [np.round(each, 1) for each in values]  # ties
    arrays = [jnp.asarray(each, jnp.float32) for each in (values[0], masks, values[1], other)]
    found = jax.jit(semantic.inspectability)(*arrays)
    scores, area = oracle.inspectability(values[0], masks, values[1], other)
    np.testing.assert_allclose(found.each, scores, rtol=1e-5)
    np.testing.assert_allclose(found.area, area, atol=1e-4)
    perfect = semantic.inspectability(arrays[1], arrays[1], arrays[3], arrays[3])
    np.testing.assert_array_equal(perfect.concept, [0, 1])
    assert perfect.area == 1
    shares = jnp.asarray(RNG.integers(0, 5, (60, 2)) / 4, jnp.float32)  # a half is absent, in fitting and in scoring
    assert semantic.inspectability(shares, shares, shares, shares).area == 1
    constant = semantic.inspectability(jnp.zeros((60, 1)), arrays[1], jnp.zeros((60, 1)), arrays[3])
    assert constant.area == 0


def test_stacked_features_of_all_depths_are_side_by_side(key):
    net = semantic.stacked((8, 8, 2), (3, 4, 5), (2, 2, 1))
    params = net.init(key)
    x = jnp.asarray(RNG.normal(size=(8, 8, 2)), jnp.float32)
    found = net.apply(params, x)
    assert found.shape == (2, 2, 12)
    first = np.maximum(
        np.asarray(
            jax.lax.conv_general_dilated(
                x[None], params[0]["kernel"], (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        )[0],
        0,
    )
    want = first.reshape(2, 2, 2, 2, 3).mean((1, 3))
    np.testing.assert_allclose(found[..., :3], want, atol=1e-5)


def test_a_counter_sums_over_cells(key):
    net = semantic.counter((4, 4, 2), (3, 5), 2, cell=2)
    params = net.init(key)
    apart = jnp.zeros((8, 8, 2)).at[1, 1].set(1.0)
    twice = apart.at[1, 5].set(1.0)
    big = semantic.counter((8, 8, 2), (3, 5), 2, cell=4)
    params = big.init(key)
    none, one, two = (np.asarray(big.apply(params, each)) for each in (0 * apart, apart, twice))
    np.testing.assert_allclose(two - one, one - none, rtol=1e-4, atol=1e-6)
    assert net.apply(net.init(key), jnp.zeros((4, 4, 2))).shape == (2,)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: make().encode({"encoder": 0.0}, jnp.zeros((3, 4, 2))), "want an encoder with maps"),
        (lambda: semantic.semantic(given_maps(), linear(), 0), "want an integer concepts >= 1"),
        (lambda: make(groups=[(0, 1), (1, 2)]), "do not overlap"),
        (lambda: make(groups=[(0, 3)]), "among 0 .. 2"),
        (lambda: semantic.everywhere((3, 4, 3), 3, 0.0), "want a concept among 0 .. 2, got 3"),
        (lambda: semantic.within(jnp.full((3, 4), 2.0), 0, 3, 0.0), "want 0 <= region <= 1"),
        (lambda: semantic.within(jnp.ones((3, 4)), 0, 3, 2.0), "want 0 <= value <= 1"),
        (lambda: semantic.towards(jnp.full((3, 4, 3), -1.0)), "want 0 <= after <= 1"),
        (lambda: interventions.on([3], jnp.zeros(3)), "want concepts among 0 .. 2"),
        (lambda: semantic.stacked((8, 8, 1), (), ()), "want a stride for each"),
        (lambda: semantic.stacked((6, 6, 1), (2, 2), (2, 2)), "multiples of the strides"),
    ],
)
def test_what_cannot_be_is_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        wrong()


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        (np.zeros((2, 3, 4, 2)), "want masks"),
        (np.zeros((2, 3)), "want masks"),
        (np.full((2, 3, 4, 3), 1.5), "want masks in"),
        (np.full((2, 3, 4, 3), np.nan), None),
    ],
)
def test_masks_are_checked(masks, said, key):
    data = ConceptSet(jnp.zeros((2, 3, 4, 3)), jnp.asarray(masks), jnp.zeros(2, jnp.int32))
    if said is None:
        semantic.check(data, 3)
        return
    with pytest.raises(ValueError, match=said):
        semantic.check(data, 3)


def test_masks_of_another_shape_are_named(key):
    made = make()
    with pytest.raises(ValueError, match="want masks of the maps' shape"):
        made.likelihood({}, made.encode(made.init(key), X), jnp.zeros((2, 4, 3)), key)


def test_a_sweep_over_kinds_is_one_program(key):
    kinds = [SIGMOID, LOGIT, HARD]

    @jax.jit
    @jax.vmap
    def run(which):
        made = make(bottleneck.one_of(kinds, which))
        return models.apply(made, made.init(key), X).task

    for found, kind in zip(run(jnp.arange(3)), kinds, strict=True):
        made = make(kind)
        np.testing.assert_allclose(found, models.apply(made, made.init(key), X).task, rtol=1e-5)
