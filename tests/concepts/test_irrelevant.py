import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from interp_jax.concepts import bottleneck, irrelevant, whitening
from interp_jax.concepts.irrelevant import Cell, Examples
from interp_jax.models.nets import Dense, LeakyMLP, functional

N, HELD = 60, 20


def linear(inputs, outputs):
    return functional(Dense(outputs), jnp.zeros(inputs))


MODEL = bottleneck.bottleneck(functional(LeakyMLP((8, 2)), jnp.zeros(3)), linear(2, 1), 2)


@pytest.fixture(scope="module")
def data():
    """Two seeds, two variants of the labels; the third concept column does not exist."""
    rng = np.random.default_rng(0)
    concepts = rng.integers(0, 2, (2, 2, N, 2)).astype(np.float32)
    return Examples(
        jnp.asarray(rng.standard_normal((N, 3)), jnp.float32), jnp.asarray(rng.integers(0, 2, N), jnp.int32),
        jnp.asarray(rng.integers(0, 2, N), jnp.float32), jnp.asarray(concepts),
        irrelevant.orders(jax.random.key(1), 2, N),
    )  # fmt: skip


def cell(seed=1, variant=0, known=2, task=1):
    return Cell(*map(jnp.float32, (seed, variant, known, task)))


@pytest.fixture(scope="module")
def trained():
    """Give the params after one epoch."""

    @jax.jit
    def run(data, cell):
        trainer = irrelevant.training(MODEL, cell, lr=1e-2, held_out=HELD, batch=20)
        return trainer.step(trainer.init(jax.random.key(0)), data, 0)[0].state.params

    return run


@pytest.fixture(scope="module")
def whitened():
    @jax.jit
    def run(data, cell):
        parts = functional(LeakyMLP((8, 4)), jnp.zeros(3)), whitening.Whitening(4, 2, whitening.mean), linear(4, 1)
        trainer = irrelevant.whitened_training(*parts, optax.sgd(0.1), cell, held_out=HELD, batch=10)
        state = trainer.init(jax.random.key(0))
        found = trainer.step(state, data, 29)[0].state  # the axes are aligned after this step
        return found.params, found.stats

    return run


def same(a, b):
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def test_orders_are_permutations_of_their_own_that_more_seeds_do_not_change():
    few, many = (np.asarray(irrelevant.orders(jax.random.key(0), seeds, 9)) for seeds in (2, 4))
    np.testing.assert_array_equal(np.sort(many, 1), np.tile(np.arange(9), (4, 1)))
    np.testing.assert_array_equal(few, many[:2])
    assert len(np.unique(many, axis=0)) == 4


def test_labels_are_dealt_out_among_training_examples_alone(data):
    before, order = np.asarray(data.concepts[0, 0]), np.asarray(data.orders[0])
    after = np.asarray(irrelevant.dealt(jax.random.key(0), before, order, HELD))
    train, test = order[:-HELD], order[-HELD:]
    np.testing.assert_array_equal(after[test], before[test])
    assert sorted(after[train].tolist()) == sorted(before[train].tolist())
    assert not np.array_equal(after[train], before[train])


@pytest.mark.parametrize("which", ["trained", "whitened"])
def test_no_example_for_testing_is_seen(data, which, request):
    run = request.getfixturevalue(which)
    test = data.orders[1][-HELD:]
    spoilt = data._replace(
        inputs=data.inputs.at[test].set(jnp.nan), labels=data.labels.at[test].set(1 - data.labels[test]),
        concepts=data.concepts.at[0, 1, test].set(jnp.nan),
    )  # fmt: skip
    found = run(spoilt, cell())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found) if leaf.dtype == jnp.float32)
    assert same(run(data, cell()), found)


def test_what_is_not_known_and_what_is_not_the_task_teach_nothing(data, trained):
    first = trained(data, cell(known=1))
    other = data._replace(concepts=data.concepts.at[..., 1].set(1 - data.concepts[..., 1]))
    assert same(first, trained(other, cell(known=1)))
    assert not same(first, trained(other, cell(known=2)))
    labels = jnp.where(data.counts > 0, data.labels, 1 - data.labels)
    assert same(first, trained(data._replace(labels=labels), cell(known=1)))
    blind = trained(data, cell(task=0))
    assert same(blind, trained(data._replace(labels=1 - data.labels), cell(task=0)))


def test_a_cell_names_its_seed_and_its_labels(data, trained):
    runs = [trained(data, cell(seed=seed, variant=variant)) for seed in (0, 1) for variant in (0, 1)]
    assert not any(same(runs[0], other) for other in runs[1:])


def test_a_part_has_the_examples_in_the_order_of_its_seed(data):
    found = irrelevant.part(data, cell(seed=1, variant=1, known=1), HELD)
    order = np.asarray(data.orders[1])
    np.testing.assert_array_equal(found.inputs, np.asarray(data.inputs)[order])
    np.testing.assert_array_equal(found.concepts[:, 0], np.asarray(data.concepts)[1, 1, order, 0])
    assert not found.concepts[:, 1].any()
    np.testing.assert_array_equal(found.fitted + found.tested, np.asarray(data.counts)[order])
    assert not found.fitted[-HELD:].any()
    assert not found.tested[:-HELD].any()


@pytest.fixture(scope="module")
def large():
    """400 examples, 120 of them for testing, half of all in the task."""
    rng = np.random.default_rng(1)
    label, count = rng.random(400) < 0.7, rng.random(400) < 0.5
    train = np.arange(400) < 280
    return irrelevant.Part(
        jnp.asarray(rng.standard_normal((400, 3)) @ np.diag([3, 2, 1]), jnp.float32), jnp.asarray(label, jnp.int32),
        jnp.asarray(rng.integers(0, 2, (400, 2)), jnp.float32), jnp.asarray(count & train, jnp.float32),
        jnp.asarray(count & ~train, jnp.float32),
    )  # fmt: skip


def test_a_readout_finds_what_is_there_and_no_more(large):
    label = large.labels.astype(jnp.float32)
    noise = jax.random.normal(jax.random.key(2), (400, 2))
    columns = {
        "label": jnp.stack([label, 1 - label], 1), "constant": jnp.ones((400, 2)), "noise": noise,
        "folded": jnp.stack([(2 * label - 1) * jnp.sign(noise[:, 0]), jnp.sign(noise[:, 0])], 1),
        "embedding": jnp.zeros((400, 2, 3)).at[:, 1, 2].set(label),
    }  # fmt: skip
    tell = jax.jit(
        lambda columns: irrelevant.told(jax.random.key(0), columns, large, held_out=120, epochs=40, batch=40)
    )
    found = {name: float(value) for name, value in tell(columns).items()}
    majority = float(irrelevant.majority(large))
    tested = np.asarray(large.tested) > 0
    np.testing.assert_allclose(majority, np.asarray(large.labels)[tested].mean(), rtol=1e-6)
    assert found["label"] == found["folded"] == found["embedding"] == 1  # folded: no linear readout sees it
    np.testing.assert_allclose(found["constant"], majority, rtol=1e-6)
    assert found["noise"] < majority + 0.05


def test_components_are_those_of_the_tasks_training_examples(large):
    found = np.asarray(irrelevant.components(large, 2))
    xs, rows = np.asarray(large.inputs, np.float64), np.asarray(large.fitted) > 0
    centred = xs - xs[rows].mean(0)
    want = centred @ np.linalg.svd(centred[rows])[2][:2].T
    np.testing.assert_allclose(np.abs(found), np.abs(want), rtol=1e-3, atol=1e-3)


def test_concepts_that_are_right_have_no_impurity_and_no_leakage(large):
    soft = large.concepts + 0.3 * (large.labels[:, None] - 0.5)  # which says the label between the lines
    found = jax.jit(lambda columns: irrelevant.beyond(columns, large, held_out=120))(
        {"hard": large.concepts, "soft": soft}
    )
    assert [float(value) for value in found["hard"]] == [0, 0]
    assert found["soft"][1] > 0.1
