"""Policies against loops in NumPy, closed forms on additive models, and orders that cannot be beaten."""

import dataclasses
import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from interp_jax.concepts import interventions, policies
from interp_jax.concepts.bottleneck import bottleneck
from interp_jax.concepts.model import Given
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.models.nets import Net
from tests.concepts.test_model import linear
from tests.oracles import policies as oracle

K, N, GROUPS = 5, 60, ((1, 3, 4),)
HOW = {
    "uniform": policies.uniform(),
    "uncertainty": policies.uncertainty(),
    "coop": policies.coop(1.0, 2.0),
    "fixed": policies.fixed(jnp.array([2, 0, 1])),
    "greedy": policies.greedy(),
}


def table(classes, seed=0):
    """Examples with a group, and a bottleneck of random weights."""
    rng = np.random.default_rng(seed)
    concepts = rng.integers(0, 2, (N, K)).astype(np.float32)
    concepts[:, list(GROUPS[0])] = np.eye(3, dtype=np.float32)[rng.integers(0, 3, N)]
    data = ConceptSet(
        jnp.asarray(rng.normal(size=(N, 4)), jnp.float32),
        jnp.asarray(concepts),
        jnp.asarray(rng.integers(0, max(classes, 2), N), jnp.int32),
    )
    return bottleneck(linear(4, K), linear(K, classes), K, groups=GROUPS), data


@pytest.fixture(scope="module", params=[1, 3], ids=["binary", "classes"])
def asked(request):
    """What all policies ask for, of three runs, in one program."""
    model, data = table(request.param)
    params = jax.vmap(model.init)(jax.random.split(jax.random.key(1), 3))

    @jax.jit
    @partial(jax.vmap, in_axes=(0, None))
    def every(params, data):
        return {
            name: (policies.orders(policy, model, params, data), policies.masks(policy, model, params, data))
            for name, policy in HOW.items()
        }

    return model, data, params, every


def asks(asked):
    """The masks of all policies, `[runs, U + 1, N, k]`."""
    _, data, params, every = asked
    return {name: np.asarray(masks) for name, (_, masks) in every(params, data).items()}


def run(params, seed):
    return jax.tree.map(lambda leaf: np.asarray(leaf[seed], np.float64), params)


def test_masks_grow_by_one_unit_at_a_time_and_groups_stay_together(asked):
    for masks in asks(asked).values():
        assert masks.shape == (3, 4, N, K)
        assert not masks[:, 0].any()
        assert masks[:, -1].all()
        assert (masks[:, 1:] >= masks[:, :-1]).all()
        gained = (masks[:, 1:] & ~masks[:, :-1]).sum(-1)
        assert set(np.unique(gained)) == {1, 3}
        for i in GROUPS[0]:
            np.testing.assert_array_equal(masks[..., i], masks[..., GROUPS[0][0]])


def test_the_greedy_oracle_is_that_of_a_loop(asked):
    _, data, params, _ = asked
    one, found = run(params, 1), asks(asked)
    for n in range(12):
        logits = one["encoder"] @ np.asarray(data.inputs[n], np.float64)
        order = oracle.greedy_order(
            logits, one["head"], GROUPS, np.asarray(data.concepts[n], np.float64), int(data.labels[n])
        )
        want = interventions.nested(jnp.array(order), interventions.units(K, GROUPS))
        np.testing.assert_array_equal(found["greedy"][1, :, n], want)


def test_no_policy_beats_the_oracle_after_one_question(asked):
    """Mean log probability of the label, which is what the oracle raises; more questions may turn it round."""
    _, data, params, _ = asked
    found = asks(asked)

    def likely(masks, seed):
        one, total = run(params, seed), 0.0
        for n in range(N):
            logits = one["encoder"] @ np.asarray(data.inputs[n], np.float64)
            p = oracle.beliefs(logits, GROUPS, masks[n], np.asarray(data.concepts[n], np.float64))
            total += np.log(oracle.classes(one["head"], p)[int(data.labels[n])])
        return total / N

    for seed in range(3):
        best = likely(found["greedy"][seed, 1], seed)
        for name in HOW:
            assert likely(found[name][seed, 1], seed) <= best + 1e-5, name


def test_coop_is_its_formula(asked):
    """At every stage of an example: entropy, influence and costs, by a loop over units and answers."""
    model, data, params, _ = asked
    found = asks(asked)
    costs, one = np.array([0.3, 0.1, 0.0]), run(params, 0)
    single = jax.tree.map(lambda leaf: leaf[0], params)
    policy = policies.coop(0.7, 1.3, 0.5, costs)

    @jax.jit
    def score(x, mask, said):
        view = policies.View(model, single, model.encode(single, x), Given(mask, said), jax.random.key(0))
        return policy.score(view, jax.random.key(0))

    for n, mask in itertools.product(range(5), found["fixed"][0, :3, 0]):
        said = np.asarray(data.concepts[n], np.float64)
        logits = one["encoder"] @ np.asarray(data.inputs[n], np.float64)
        want = oracle.coop(logits, one["head"], GROUPS, mask, said, (0.7, 1.3, 0.5), costs)
        np.testing.assert_allclose(score(data.inputs[n], mask, data.concepts[n]), want, rtol=2e-4, atol=1e-5)


def test_influence_of_a_concept_on_a_head_that_is_told_it_alone():
    """P(y | c) = sigmoid(w c): E|P(c) - P(p)| in closed form, zero for a concept the head does not see."""
    model = bottleneck(linear(2, 2), linear(2, 1), 2)
    params = {"encoder": jnp.array([[1.0, 0.0], [0.0, 1.0]]), "head": jnp.array([[3.0, 0.0]])}
    view = policies.View(model, params, model.encode(params, jnp.array([0.5, 0.2])), model_nothing(), jax.random.key(0))
    p = oracle.sigmoid(0.5)
    now, high, low = oracle.sigmoid(3 * p), oracle.sigmoid(3.0), 0.5
    want = p * abs(high - now) + (1 - p) * abs(low - now)
    np.testing.assert_allclose(policies.influence(view), np.array([want, 0.0]), rtol=1e-5, atol=1e-7)


def model_nothing():
    return Given(jnp.zeros(2, bool), jnp.zeros(2))


def test_uncertainty_goes_by_the_distance_from_one_half():
    model = bottleneck(linear(3, 3), linear(3, 1), 3)
    params = {"encoder": jnp.diag(jnp.array([1.0, 1.0, 1.0])), "head": jnp.ones((1, 3))}
    data = ConceptSet(jnp.array([[3.0, -0.1, -1.0], [0.2, 5.0, 0.1]]), jnp.zeros((2, 3)), jnp.zeros(2, jnp.int32))
    found = policies.orders(policies.uncertainty(), model, params, data)
    assert found.tolist() == [[1, 2, 0], [2, 0, 1]]


def test_random_orders_are_uniform():
    model, data = table(1)
    params = model.init(jax.random.key(0))
    found = jax.jit(
        lambda keys: jax.lax.map(lambda k: policies.orders(policies.uniform(), model, params, data, key=k), keys)
    )(jax.random.split(jax.random.key(3), 20))
    counts = np.array([(found == unit).mean((0, 1)) for unit in range(3)])
    error = (2 / 9 / (20 * N)) ** 0.5
    assert np.all(np.abs(counts - 1 / 3) < 4.5 * error)
    pairs = {tuple(order) for order in np.asarray(found).reshape(-1, 3).tolist()}
    assert len(pairs) == 6


def test_the_best_fixed_order_of_an_additive_model_is_by_weight():
    """Labels of a logistic sum of fair concepts, predictions that are all 1/2: a larger weight tells more of them."""
    weights, rng = np.array([1.0, 4.0, 0.25, 2.0]), np.random.default_rng(0)
    concepts = rng.integers(0, 2, (3000, 4)).astype(np.float32)
    labels = (rng.random(3000) < oracle.sigmoid((concepts - 0.5) @ weights)).astype(np.int32)
    data = ConceptSet(jnp.zeros((3000, 1)), jnp.asarray(concepts), jnp.asarray(labels))
    head = Net(lambda key: jnp.asarray(weights, jnp.float32), lambda w, values: (w @ (values - 0.5))[None])
    model = bottleneck(Net(lambda key: jnp.zeros(4), lambda w, x: w + 0 * x[0]), head, 4)
    params = model.init(jax.random.key(0))
    best, greedy = jax.jit(
        lambda: (policies.best_order(model, params, data), policies.orders(policies.greedy(), model, params, data))
    )()
    assert best.tolist() == np.argsort(-weights).tolist()
    helps = (2 * labels[:, None] - 1) * (concepts - 0.5) * weights[None]  # what each adds to the label's logit
    np.testing.assert_array_equal(greedy, np.argsort(-helps, axis=1))


def test_a_curve_is_the_accuracy_under_the_masks(asked):
    model, data, params, _ = asked
    single, masks = jax.tree.map(lambda leaf: leaf[2], params), asks(asked)["uncertainty"][2]
    found, want = jax.jit(
        lambda: (
            policies.curve(HOW["uncertainty"], model, single, data),
            interventions.accuracies(model, single, data, masks),
        )
    )()
    np.testing.assert_allclose(found, want, atol=1e-6)


def test_a_policy_is_told_the_truth_only_if_it_is_an_oracle(asked):
    """Other concepts and labels: the first question of all but the oracle is the same."""
    model, data, params, every = asked
    with pytest.raises(ValueError, match="want a policy with oracle=True"):
        policies.orders(
            dataclasses.replace(HOW["greedy"], oracle=False), model, jax.tree.map(lambda p: p[0], params), data
        )
    told, other = (
        every(params, each) for each in (data, data._replace(concepts=data.concepts[::-1], labels=data.labels[::-1]))
    )
    for name, policy in HOW.items():
        same = np.array_equal(told[name][0][..., 0], other[name][0][..., 0])
        assert same != policy.oracle, name


def test_what_is_said_decides_what_comes_next(asked):
    _, data, params, every = asked
    told, other = (every(params, data._replace(concepts=c))["coop"][0] for c in (data.concepts, data.concepts[::-1]))
    np.testing.assert_array_equal(told[..., 0], other[..., 0])
    assert not np.array_equal(told[..., 1], other[..., 1])


def test_an_unknown_concept_may_be_asked_for_and_tells_nothing(asked):
    """Nothing is said: uncertainty asks in the order of its first beliefs, and every unit once."""
    _, data, params, every = asked
    found = every(params, data._replace(concepts=jnp.full_like(data.concepts, jnp.nan)))
    for order, _ in found.values():
        np.testing.assert_array_equal(np.sort(order, -1), np.broadcast_to(np.arange(3), order.shape))
    single = run(params, 0)
    for n in range(10):
        logits = single["encoder"] @ np.asarray(data.inputs[n], np.float64)
        p = oracle.beliefs(logits, GROUPS, np.zeros(K, bool), np.zeros(K))
        np.testing.assert_allclose(
            policies.entropies(jnp.asarray(p, jnp.float32), GROUPS)[found["uncertainty"][0][0, n]],
            np.sort(oracle.entropies(p, GROUPS))[::-1], rtol=1e-4,
        )  # fmt: skip


def test_weights_are_tuned_to_the_best_curve_and_may_be_traced():
    model, data = table(3)
    params = model.init(jax.random.key(2))
    grid = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])

    def make(w):
        return policies.coop(w[0], w[1], w[2], costs=jnp.array([0.2, 0.1, 0.3]))

    chosen, curves, cheap = jax.jit(
        lambda: (
            policies.tuned(make, grid, model, params, data),
            jax.vmap(lambda w: policies.curve(make(w), model, params, data))(grid),
            policies.orders(make(grid[2]), model, params, data),
        )
    )()
    np.testing.assert_array_equal(chosen, grid[int(curves.mean(1).argmax())])
    np.testing.assert_array_equal(cheap, np.tile([1, 0, 2], (N, 1)))


def test_a_clone_learns_what_the_oracle_asks_for():
    """The concept that matters is told by the beliefs: where it is wrong it is to be asked for."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3)).astype(np.float32)
    concepts = (x > 0).astype(np.float32)
    concepts[:, 0] = 1 - concepts[:, 0]  # the model is always wrong about this one, which is the label
    data = ConceptSet(jnp.asarray(x), jnp.asarray(concepts), jnp.asarray(concepts[:, 0], jnp.int32))
    head = Net(lambda key: jnp.array([4.0, 1e-3, -1e-3]), lambda w, values: (w @ (values - 0.5))[None])
    model = bottleneck(Net(lambda key: jnp.eye(3), lambda w, x: w @ x), head, 3)
    params, net = model.init(jax.random.key(0)), linear(6, 3)

    @chex.assert_max_traces(n=1)
    def fit(key):
        return policies.clone(net, model, params, data, key, optimizer=optax.adam(3e-2), steps=150, batch=64)

    weights = jax.jit(jax.vmap(fit))(jax.random.split(jax.random.key(1), 2))
    for seed in range(2):
        policy = policies.learned(net, jax.tree.map(lambda leaf, seed=seed: leaf[seed], weights))
        first = policies.orders(policy, model, params, data)[:, 0]
        assert (first == 0).mean() > 0.95
        assert not policy.oracle


@pytest.mark.parametrize("order", [[0, 0, 1], [1, 2, 3]])
def test_an_order_that_is_none_is_refused(order):
    with pytest.raises(ValueError, match="want an order of all units"):
        policies.fixed(np.array(order))


def test_answers_add_up_and_belong_to_their_unit():
    told, weights = policies.possible(jnp.array([0.2, 0.5, 0.9, 0.1, 0.4]), GROUPS)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    assert told.shape == (3, 3, 5)
    rows = interventions.units(K, GROUPS)
    assert not np.any(np.asarray(told)[~np.broadcast_to(rows[:, None], told.shape)])
    np.testing.assert_allclose(weights[1], [0.5, 0.1, 0.4], rtol=1e-6)
