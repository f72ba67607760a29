import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from interp_jax.core import keys
from interp_jax.train.trainer import measurement, snapshots, snapshots_at, trainer
from tests.train import toy


def quadratic(params, batch, key):
    return jnp.sum((params - batch) ** 2), {"distance": jnp.abs(params - batch).sum()}


def test_step_is_gradient_descent_in_closed_form():
    descent = trainer(lambda key: jnp.array([4.0]), quadratic, lambda data, key, t: data, optax.sgd(0.1))
    state, data = descent.init(jax.random.key(0)), jnp.array([1.0])
    for t in range(5):
        state, metrics = descent.step(state, data, t)
    np.testing.assert_allclose(state.params - 1.0, [3.0 * 0.8**5], rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"], (3.0 * 0.8**4) ** 2, rtol=1e-6)
    np.testing.assert_allclose(metrics["distance"], 3.0 * 0.8**4, rtol=1e-6)


def test_randomness_of_a_step_depends_on_the_key_and_the_step_alone(key):
    seen = trainer(lambda key: jnp.zeros(()), lambda p, b, k: (b * p, {"batch": b}), toy_uniform, optax.sgd(0.0))
    state = seen.init(key)
    first = seen.step(state, None, 3)[1]["batch"]
    later = seen.step(seen.step(state, None, 0)[0], None, 3)[1]["batch"]
    assert first == later == toy_uniform(None, keys.stream(key, "batch"), 3)
    assert first != seen.step(state, None, 4)[1]["batch"]


def test_start_batch_and_loss_have_streams_of_their_own(key):
    def draws(params, batch, key):
        return params, {"init": params, "batch": batch, "loss's": jax.random.uniform(key)}

    seen = trainer(jax.random.uniform, draws, toy_uniform, optax.sgd(0.0))
    state = seen.init(key)
    found = [float(value) for t in (0, 1) for value in seen.step(state, None, t)[1].values()]
    assert len(set(found)) == 5  # the start once, batch and noise at two steps


def toy_uniform(data, key, t):
    return jax.random.uniform(keys.at(key, t))


def test_a_stream_can_be_held_while_the_seed_varies():
    def make(**fixed):
        return trainer(toy.init, toy.loss, toy.batch, optax.sgd(0.1), streams=fixed)

    def starts(maker):
        return [maker.init(jax.random.key(seed)).params["w"] for seed in (0, 1)]

    free, held = starts(make()), starts(make(init=jax.random.key(9)))
    assert not np.array_equal(*free)
    np.testing.assert_array_equal(*held)


def test_unknown_stream_is_named():
    with pytest.raises(ValueError, match="want streams among init, batch and loss, got \\['noise'\\]"):
        trainer(toy.init, toy.loss, toy.batch, optax.sgd(0.1), streams={"noise": jax.random.key(0)})


def test_snapshots_are_of_the_states_before_the_steps(key):
    """They hold what the run alone passes through, and later ones stay zero."""
    inner = trainer(toy.init, toy.loss, toy.batch, optax.sgd(0.1))
    both = snapshots(inner, lambda state, data: state.params, toy.data(), every=2, count=4)
    alone, kept = inner.init(key), both.init(key)
    passed = []
    for t in range(5):
        passed.append(alone.params["w"])
        alone, kept = inner.step(alone, toy.data(), t)[0], both.step(kept, toy.data(), t)[0]
    np.testing.assert_array_equal(kept.taken["w"], np.stack([*passed[::2], np.zeros_like(passed[0])]))
    np.testing.assert_array_equal(kept.state.params["w"], alone.params["w"])


def test_a_measurement_is_a_run_of_one_step(key):
    """Its result is that of the function, traced once for all the sweep's programs."""
    traces = []

    def measure(key, data):
        traces.append(1)
        return {"sum": jax.random.uniform(key) + data.sum()}

    made = measurement(measure, jnp.ones(3))()
    before = made.init(key)
    after, metrics = made.step(before, jnp.ones(3), 0)
    made.step(before, jnp.ones(3), 0)
    assert (float(before.found["sum"]), metrics, len(traces)) == (0, {}, 1)
    assert float(after.found["sum"]) == float(jax.random.uniform(key) + 3)


def test_snapshots_at_uneven_times_are_those_of_an_even_course(key):
    inner = trainer(toy.init, toy.loss, toy.batch, optax.sgd(0.1))
    take = lambda state, data: state.params  # noqa: E731
    even = snapshots(inner, take, toy.data(), every=1, count=5)
    some = snapshots_at(inner, take, toy.data(), (0, 1, 4, 9))
    all_, few = even.init(key), some.init(key)
    for t in range(5):
        all_, few = even.step(all_, toy.data(), t)[0], some.step(few, toy.data(), t)[0]
    np.testing.assert_array_equal(few.taken["w"][:3], all_.taken["w"][np.array([0, 1, 4])])
    np.testing.assert_array_equal(few.taken["w"][3], 0)


@pytest.mark.parametrize("times", [(), (3, 3), (4, 2), (-1, 2)])
def test_times_of_snapshots_increase(times):
    inner = trainer(toy.init, toy.loss, toy.batch, optax.sgd(0.1))
    with pytest.raises(ValueError, match="increasing order"):
        snapshots_at(inner, lambda state, data: state.params, toy.data(), times)
