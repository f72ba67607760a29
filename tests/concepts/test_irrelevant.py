import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from interp_jax.concepts import bottleneck, irrelevant, whitening
from interp_jax.models.nets import Dense, LeakyMLP, functional

N, HELD = 60, 20


def linear(inputs, outputs):
    return functional(Dense(outputs), jnp.zeros(inputs))


MODEL = bottleneck.bottleneck(functional(LeakyMLP((8, 2)), jnp.zeros(3)), linear(2, 1), 2)


@pytest.fixture(scope="module")
def data():
    """Inputs, labels, which examples are of the task, and concepts."""
    rng = np.random.default_rng(0)
    return (
        jnp.asarray(rng.standard_normal((N, 3)), jnp.float32), jnp.asarray(rng.integers(0, 2, N), jnp.int32),
        jnp.asarray(rng.integers(0, 2, N), jnp.float32), jnp.asarray(rng.integers(0, 2, (N, 2)), jnp.float32),
    )  # fmt: skip


def split(data, cell):
    """Order by the run's seed; only the first `known` concepts are taught."""
    rows = irrelevant.order(jax.random.key(1), cell["seed"], N)
    inputs, labels, counts, concepts = (leaf[rows] for leaf in data)
    taught = jnp.where(jnp.broadcast_to(jnp.arange(2)[None] < cell["known"], (N, 2)), concepts, jnp.nan)
    return irrelevant.Part(inputs, labels, concepts, taught, *irrelevant.sides(counts, HELD))


def cell(seed=1, known=2):
    return {"seed": jnp.float32(seed), "known": jnp.float32(known)}


@pytest.fixture(scope="module")
def trained():
    """Give the params after one epoch."""

    @jax.jit
    def run(data, cell, task=1.0):
        trainer = irrelevant.training(MODEL, split, cell, lr=1e-2, task=task, held_out=HELD, batch=20)
        return trainer.step(trainer.init(jax.random.key(0)), data, 0)[0].state.params

    return run


@pytest.fixture(scope="module")
def whitened():
    @jax.jit
    def run(data, cell):
        parts = functional(LeakyMLP((8, 4)), jnp.zeros(3)), whitening.Whitening(4, 2, whitening.mean), linear(4, 1)
        trainer = irrelevant.whitened_training(*parts, optax.sgd(0.1), split, cell, held_out=HELD, batch=10)
        found = trainer.step(trainer.init(jax.random.key(0)), data, 7)[0].state  # steps 28 to 31, axes are aligned
        return found.params, found.stats

    return run


def same(a, b):
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def test_an_order_is_a_permutation_of_its_seeds_own():
    found = np.stack([irrelevant.order(jax.random.key(0), jnp.float32(seed), 9) for seed in range(4)])
    np.testing.assert_array_equal(np.sort(found, 1), np.tile(np.arange(9), (4, 1)))
    assert len(np.unique(found, axis=0)) == 4


def test_sides_divide_the_task(data):
    fitted, tested = irrelevant.sides(data[2], HELD)
    np.testing.assert_array_equal(fitted + tested, data[2])
    assert not fitted[-HELD:].any()
    assert not tested[:-HELD].any()


@pytest.mark.parametrize("which", ["trained", "whitened"])
def test_no_example_for_testing_is_seen(data, which, request):
    run = request.getfixturevalue(which)
    test = irrelevant.order(jax.random.key(1), 1, N)[-HELD:]
    inputs, labels, counts, concepts = data
    spoilt = (
        inputs.at[test].set(jnp.nan), labels.at[test].set(1 - labels[test]), counts.at[test].set(1 - counts[test]),
        concepts.at[test].set(jnp.nan),
    )  # fmt: skip
    found = run(spoilt, cell())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert same(run(data, cell()), found)


def test_what_is_not_taught_and_what_is_not_the_task_teach_nothing(data, trained):
    inputs, labels, counts, concepts = data
    first = trained(data, cell(known=1))
    other = inputs, labels, counts, concepts.at[:, 1].set(1 - concepts[:, 1])
    assert same(first, trained(other, cell(known=1)))
    assert not same(first, trained(other, cell(known=2)))
    outside = jnp.where(counts > 0, labels, 1 - labels)
    assert same(first, trained((inputs, outside, counts, concepts), cell(known=1)))
    blind = trained(data, cell(), 0.0)
    assert same(blind, trained((inputs, 1 - labels, counts, concepts), cell(), 0.0))


def test_axes_turn_to_the_concepts(data, whitened):
    _, stats = whitened(data, cell())
    turned = np.asarray(stats.rotation)
    assert np.abs(turned - np.eye(4)).max() > 0.1
    np.testing.assert_allclose(turned @ turned.T, np.eye(4), atol=1e-5)


@pytest.fixture(scope="module")
def large():
    """400 examples, 120 of them for testing, half of all in the task."""
    rng = np.random.default_rng(1)
    label, count = rng.random(400) < 0.7, rng.random(400) < 0.5
    train = np.arange(400) < 280
    return irrelevant.Part(
        jnp.asarray(rng.standard_normal((400, 3)) @ np.diag([3, 2, 1]), jnp.float32), jnp.asarray(label, jnp.int32),
        *[jnp.asarray(rng.integers(0, 2, (400, 2)), jnp.float32)] * 2, jnp.asarray(count & train, jnp.float32),
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
    assert found["label"] == found["folded"] == found["embedding"] == 1  # folded: no linear readout sees it
    assert found["constant"] == 0.5
    assert abs(found["noise"] - 0.5) < 0.2


def test_balanced_accuracy_is_the_mean_over_labels(large):
    outputs = np.random.default_rng(3).standard_normal(400)
    tested, label = np.asarray(large.tested) > 0, np.asarray(large.labels)
    want = np.mean([((outputs > 0) == label)[tested & (label == value)].mean() for value in (0, 1)])
    np.testing.assert_allclose(irrelevant.balanced_accuracy(jnp.asarray(outputs), large), want, rtol=1e-6)


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


def test_digits_are_split_as_a_cell_says():
    rng = np.random.default_rng(0)
    data = irrelevant.Digits(jnp.asarray(rng.random((500, 4)), jnp.float32), jnp.tile(jnp.arange(10), 50))
    cells = [{"seed": jnp.float32(1), "variant": jnp.float32(i)} for i in range(3)]
    split = jax.jit(lambda cell: irrelevant.absent(jax.random.key(0), data, cell, shown=(4, 5), held_out=200))
    parts = [split(cell) for cell in cells]
    digits = np.argmax(np.asarray(data.images)[:, 0] == np.asarray(parts[0].inputs)[:, :1], 1) % 10
    truth = np.stack([digits == 4, digits == 5], 1)
    train, test = np.arange(300), np.arange(300, 500)
    for part in parts:
        np.testing.assert_array_equal(part.concepts, truth)
        np.testing.assert_array_equal(part.labels, digits % 2)
        np.testing.assert_array_equal(part.fitted[train], ~truth[train].any(1))
        np.testing.assert_array_equal(part.tested[test], ~truth[test].any(1))
        assert part.fitted.sum() + part.tested.sum() == 400
    real, hidden, dealt = (np.asarray(part.taught) for part in parts)
    np.testing.assert_array_equal(real, truth)
    np.testing.assert_array_equal(np.isnan(hidden).all(1), truth.any(1))
    assert not np.nansum(hidden)
    np.testing.assert_array_equal(dealt[train].sum(0), truth[train].sum(0))
    assert not np.array_equal(dealt[train], truth[train])


def test_random_concepts_are_a_seeds_own_and_hidden_beyond_what_is_known():
    rng = np.random.default_rng(0)
    data = irrelevant.Digits(jnp.asarray(rng.random((90, 8, 8, 1)), jnp.float32), jnp.tile(jnp.array([0, 1, 6]), 30))
    split = jax.jit(lambda seed, known: irrelevant.random(
        jax.random.key(0), data, {"seed": seed, "known": known}, most=3, held_out=30
    ))  # fmt: skip
    one, all_, other = split(0.0, 1.0), split(0.0, 3.0), split(1.0, 3.0)
    np.testing.assert_array_equal(one.concepts[:, 0], all_.concepts[:, 0])
    assert not one.concepts[:, 1:].any()
    assert np.isnan(one.taught[:, 1:]).all()
    np.testing.assert_array_equal(all_.taught, all_.concepts)
    assert set(np.unique(all_.concepts)) == {0, 1}
    assert not np.array_equal(all_.inputs, other.inputs)
    assert (one.fitted.sum(), one.tested.sum()) == (60, 30)
