"""Training against NumPy: gradients, Adam and the plateau by hand; which part learns what; runs as an axis."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from interp_jax.concepts import losses, study, training
from interp_jax.concepts.bottleneck import HARD, SIGMOID, bottleneck
from interp_jax.concepts.training import Patience, Plateau, Recipe
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.models.nets import Net
from interp_jax.runs.progress import Quiet
from interp_jax.train import table
from interp_jax.train.sweep import sweep
from tests.oracles import concepts as oracle

N, D, K = 22, 4, 3


def linear(inputs, outputs, scale=0.5):
    return Net(
        lambda key: scale * jax.random.normal(key, (outputs, inputs)),
        lambda params, x: params @ x,
    )


def make(kind=SIGMOID, extra=0):
    return bottleneck(linear(D, K + extra), linear(K + extra, 1), K, kind=kind, extra=extra)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, D)).astype(np.float32)
    concepts = (x @ rng.normal(size=(D, K)) > 0).astype(np.float32)
    return ConceptSet(jnp.asarray(x), jnp.asarray(concepts), jnp.asarray((concepts.sum(1) > 1).astype(np.int32)))


def follow(trainer, data, epochs, key=None):
    """The states of a run after each epoch, and its metrics."""
    state, step, found = jax.jit(trainer.init)(jax.random.key(0) if key is None else key), jax.jit(trainer.step), []
    for t in range(epochs):
        state, metrics = step(state, data, jnp.int32(t))
        found.append((state, metrics))
    return found


def simulate(data, weight, head, epochs, size, lr, update):
    """Epochs of float64 batches in the data's own order: `update(weight, head, x, c, y) -> gradients, losses`."""
    x, c, y = (np.asarray(leaf, np.float64) for leaf in data)
    adams, trace = (oracle.Adam(weight.shape), oracle.Adam(head.shape)), []
    for _ in range(epochs):
        seen = []
        for first in range(0, len(x), size):
            rows = slice(first, first + size)
            one, two, *value = update(weight, head, x[rows], c[rows], y[rows])
            weight = weight - lr * adams[0].direction(one)
            head = head - lr * adams[1].direction(two)
            seen.append(value)
        trace.append(np.mean(seen, 0))
    return weight, head, np.array(trace)


def begun(model):
    params = model.init(Recipe().stream(jax.random.key(0), "init"))
    return np.asarray(params["encoder"], np.float64), np.asarray(params["head"], np.float64)[0]


def test_joint_training_is_adam_on_the_sum_of_the_losses_with_a_short_last_batch(data):
    model, recipe = make(), Recipe(batch=8, shuffled=False)
    trainer = training.joint(model, recipe, lr=0.05, concept_weight=2.0, task_weight=0.5)
    found = follow(trainer, data, 4)
    weight, head, trace = simulate(
        data, *begun(model), 4, 8, 0.05, lambda *state: oracle.bottleneck_gradient(*state, 2.0, 0.5)
    )
    params = found[-1][0].params
    np.testing.assert_allclose(params["encoder"], weight, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(params["head"][0], head, rtol=1e-4, atol=1e-5)
    for t, (_, metrics) in enumerate(found):
        np.testing.assert_allclose(
            [metrics["concept_loss"], metrics["task_loss"], metrics["loss"]],
            [*trace[t], 2 * trace[t, 0] + 0.5 * trace[t, 1]],
            rtol=1e-4,
        )


def test_gradients_agree_with_float64_to_1e_6(data):
    model = make()
    params = model.init(jax.random.key(1))
    recipe = Recipe(batch=N, shuffled=False, direction=optax.identity())
    trainer = training.joint(model, recipe, lr=1.0)
    state = trainer.init(jax.random.key(0))._replace(params=params)
    moved = jax.jit(trainer.step)(state, data, 0)[0].params
    wide = [np.asarray(leaf, np.float64) for leaf in data]
    weight, head = np.asarray(params["encoder"], np.float64), np.asarray(params["head"], np.float64)[0]
    one, two, *_ = oracle.bottleneck_gradient(weight, head, *wide)
    np.testing.assert_allclose(params["encoder"] - moved["encoder"], one, atol=1e-6)
    np.testing.assert_allclose((params["head"] - moved["head"])[0], two, atol=1e-6)


def test_independent_training_is_two_trainings_on_true_labels(data):
    model, recipe = make(), Recipe(batch=8, shuffled=False)
    found = follow(training.independent(model, recipe, lr=0.05), data, 3)
    weight, head, _ = simulate(
        data, *begun(model), 3, 8, 0.05,
        lambda weight, head, x, c, y: oracle.bottleneck_gradient(weight, head, x, c, y, told=c),
    )  # fmt: skip
    np.testing.assert_allclose(found[-1][0].params["encoder"], weight, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[-1][0].params["head"][0], head, rtol=1e-4, atol=1e-5)


def test_independent_training_refuses_units_beside_the_concepts(data):
    with pytest.raises(ValueError, match="want a model that tells its head concepts alone"):
        follow(training.independent(make(extra=2), Recipe(), lr=0.1), data, 1)


def test_sequential_training_holds_first_the_head_and_then_the_encoder(data):
    model, recipe = make(), Recipe(batch=8, shuffled=False)
    trainer = training.sequential(model, recipe, lr=0.05, epochs=2)
    start = trainer.init(jax.random.key(0)).params
    found = [state.params for state, _ in follow(trainer, data, 4)]
    np.testing.assert_array_equal(found[1]["head"], start["head"])
    np.testing.assert_array_equal(found[3]["encoder"], found[1]["encoder"])
    weight, head, _ = simulate(
        data, *begun(model), 2, 8, 0.05,
        lambda weight, head, x, c, y: oracle.bottleneck_gradient(weight, head, x, c, y, task_weight=0.0),
    )  # fmt: skip
    np.testing.assert_allclose(found[1]["encoder"], weight, rtol=1e-4, atol=1e-5)

    def second(weight, head, x, c, y):
        grown = oracle.bottleneck_gradient(weight, head, x, c, y, told=oracle.sigmoid(x @ weight.T))
        return np.zeros_like(weight), *grown[1:]

    _, head, _ = simulate(data, weight, head, 2, 8, 0.05, second)
    np.testing.assert_allclose(found[3]["head"][0], head, rtol=1e-4, atol=1e-5)


def test_hard_concepts_learn_nothing_from_the_task(data):
    recipe = Recipe(batch=8, shuffled=False)
    with_task, without = (
        follow(training.joint(make(HARD), recipe, lr=0.05, task_weight=w), data, 1)[-1][0].params for w in (1.0, 0.0)
    )
    np.testing.assert_array_equal(with_task["encoder"], without["encoder"])


def test_the_plateau_is_pytorchs_rule():
    """Values with long plateaus, equal values, small gains, NaN; the rate stops falling at steps below 1e-8."""
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [np.linspace(1, 0.5, 20), np.full(15, 0.5), 0.5 - 1e-6 * np.arange(30), [np.nan] * 12]
        + [rng.uniform(0.4, 0.6, 40), np.full(200, 0.7)]
    ).astype(np.float32)
    patience = Patience()

    def step(state, value):
        state = training.reduce_on_plateau(state, value, patience)
        return state, state.rate

    fresh = Plateau(jnp.float32(0.01), jnp.float32(jnp.finfo(jnp.float32).max), jnp.int32(0))
    _, rates = jax.jit(lambda values: jax.lax.scan(step, fresh, values))(values)
    want = oracle.plateau(values.astype(np.float64), 0.01)
    np.testing.assert_allclose(rates, want, rtol=1e-5)
    assert want.min() < 2e-8


def test_training_watches_the_last_batch_of_each_epoch(data):
    """An epoch's mean loss falls for long while the last batch's does not: the rate follows the last batch."""
    model = make()
    patience = Patience(epochs=0)
    recipe = Recipe(batch=8, shuffled=False, patience=patience, direction=optax.identity())
    trainer = training.joint(model, recipe, lr=20.0)
    found = follow(trainer, data, 12)
    last, params = [], trainer.init(jax.random.key(0)).params
    one, head = np.asarray(params["encoder"], np.float64), np.asarray(params["head"], np.float64)[0]
    x, c, y = (np.asarray(leaf, np.float64) for leaf in data)
    rate = 20.0
    for _ in range(12):
        for first in (0, 8, 16):
            rows = slice(first, first + 8)
            g, h, *value = oracle.bottleneck_gradient(one, head, x[rows], c[rows], y[rows])
            one, head = one - rate * g, head - rate * h
        last.append(sum(value))
        rate = oracle.plateau(last, 20.0, patience=0)[-1]
    rates = [float(state.plateaus["encoder"].rate) for state, _ in found]
    np.testing.assert_allclose(rates, oracle.plateau(last, 20.0, patience=0), rtol=1e-5)
    assert len(set(rates)) > 1


def test_a_shuffled_epoch_takes_every_example_once(data):
    """With plain gradient steps of equal batches a loss linear in the params moves them by the mean over the epoch."""
    total = Recipe(
        batch=11, direction=optax.identity(), concept_loss=lambda logits, c: losses.Terms(logits, jnp.ones(K))
    )
    trainer = training.joint(make(), total, lr=1.0, task_weight=0.0)
    state = trainer.init(jax.random.key(0))
    moved = jax.jit(trainer.step)(state, data, 0)[0]
    want = np.tile(2 * np.asarray(data.inputs, np.float64).mean(0) / K, (K, 1))
    np.testing.assert_allclose(state.params["encoder"] - moved.params["encoder"], want, rtol=1e-4, atol=1e-5)


def test_epochs_differ_in_order_and_a_restart_repeats_them(data):
    trainer = training.joint(make(), Recipe(batch=8), lr=0.05)
    step, state = jax.jit(trainer.step), trainer.init(jax.random.key(0))
    first, again, other = (step(state, data, t)[0].params["encoder"] for t in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-6


def test_streams_hold_one_source_of_chance(data):
    held = Recipe(batch=8, streams={"init": jax.random.key(7)})
    one, two = (training.joint(make(), held, lr=0.1).init(jax.random.key(seed)).params for seed in (0, 1))
    np.testing.assert_array_equal(one["encoder"], two["encoder"])
    with pytest.raises(ValueError, match="want streams among"):
        Recipe(streams={"batch": jax.random.key(0)})


def test_missing_labels_leave_their_concept_alone(data):
    unknown = data._replace(concepts=data.concepts.at[:, 1].set(jnp.nan))
    trainer = training.joint(make(), Recipe(batch=8), lr=0.05, task_weight=0.0)
    start, _ = begun(make())
    moved = follow(trainer, unknown, 1)[-1][0].params["encoder"]
    np.testing.assert_allclose(moved[1], start[1], rtol=1e-7)
    assert np.abs(moved[0] - start[0]).max() > 1e-3


def test_runs_of_a_sweep_are_the_runs_alone(data):
    """Seeds, learning rates and weights in one program; a run by itself agrees."""
    model, recipe = make(), Recipe(batch=8, patience=Patience())

    def factory(lr, concept_weight):
        return training.joint(model, recipe, lr=lr, concept_weight=concept_weight)

    runs = table.grid({"lr": [0.01, 0.1], "concept_weight": [0.5, 2.0]}, seeds=2)
    done = sweep(factory, runs, data, steps=4, chunk=2, progress=Quiet())
    assert not done.diverged
    run = runs[5]
    alone = follow(factory(**run.hyperparameters), data, 4, jax.random.key(run.seed))
    np.testing.assert_allclose(done.state(run).params["encoder"], alone[-1][0].params["encoder"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        done.history["loss"][5], [np.mean([alone[t][1]["loss"] for t in pair]) for pair in ((0, 1), (2, 3))], rtol=1e-4
    )


def test_a_label_outside_the_unit_interval_shows_as_a_run_that_diverged(data):
    wrong = data._replace(concepts=data.concepts.at[3, 1].set(1.5))
    _, metrics = follow(training.joint(make(), Recipe(batch=8), lr=0.05), wrong, 1)[0]
    assert np.isnan(metrics["loss"])


@pytest.mark.parametrize("options", [{"lr": 0.0}, {"lr": 0.1, "concept_weight": -1.0}])
def test_bad_numbers_are_refused(options):
    with pytest.raises(ValueError, match="want"):
        training.joint(make(), Recipe(), **options)
    with pytest.raises(ValueError, match="want an integer batch >= 1"):
        Recipe(batch=0)


def test_the_study_names_its_models():
    with pytest.raises(ValueError, match="want a model among"):
        study.build("cbm", 2, 2)
    for name in study.NAMES:
        model = study.build(name, 2, 2, size=3, hidden=4)
        assert model.concepts == 2
