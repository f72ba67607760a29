"""IntCEM: a rehearsal against NumPy, its horizon, where its gradients go, and what its policy learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.concepts import embedding, intcem, losses, policies
from interp_jax.concepts import model as models
from interp_jax.concepts.intcem import Rehearsal
from interp_jax.concepts.training import Recipe
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.models.nets import Dense, functional
from tests.concepts.test_model import linear
from tests.oracles import intcem as oracle

K, M, GROUPS, UNITS, LONGEST = 4, 3, ((1, 3),), 3, 4


def make(classes, groups=GROUPS, policy=None):
    policy = linear(K * M + K, UNITS) if policy is None else policy
    nets = (linear(2, 5), linear(5, 2 * K * M), linear(2 * M, 1), linear(K * M, classes))
    return intcem.intcem(*nets, policy, K, groups=groups), policy


@pytest.fixture(scope="module", params=[1, 3], ids=["binary", "classes"])
def one(request):
    model, policy = make(request.param)
    params = model.init(jax.random.key(0))

    def loss(params, x, concepts, label, start, count, noise):
        found = intcem.rehearse(
            model, policy, params, model.encode(params, x), concepts, label, start, count, noise, discount=1.1,
            task_loss=losses.task_loss(),
        )  # fmt: skip
        return found.task, found

    return model, params, jax.jit(jax.value_and_grad(loss, has_aux=True)), jax.jit(model.encode)


def drawn(seed, classes):
    rng = np.random.default_rng(seed)
    concepts = rng.integers(0, 2, K).astype(float)
    concepts[[1, 3]] = np.eye(2)[rng.integers(2)]
    start = rng.random(UNITS) < 0.3
    return (
        rng.normal(size=2),
        concepts,
        int(rng.integers(classes)),
        start,
        1 + seed % 4,
        rng.gumbel(size=(LONGEST, UNITS)),
    )


def test_a_rehearsal_is_that_of_a_loop(one):
    """Policy loss and discounted task loss, for any start and number of interventions."""
    _, params, run, encode = one
    head, policy = (np.asarray(params["head"][part], float) for part in ("task", "policy"))
    for seed in range(8):
        x, concepts, label, start, count, noise = drawn(seed, max(len(head), 2))
        (_, found), _ = run(
            params, *(jnp.asarray(each, jnp.float32) for each in (x, concepts)), label, start, count,
            jnp.asarray(noise, jnp.float32),
        )  # fmt: skip
        encoded = encode(params, jnp.asarray(x, jnp.float32))
        logits, embeddings = (np.asarray(each, float) for each in (encoded.logits, encoded.rest))
        asked, task, _ = oracle.rehearse(
            logits, embeddings, head, policy, GROUPS, concepts, label, start, count, noise, 1.1
        )
        np.testing.assert_allclose(found.asked, asked, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found.task, task, rtol=1e-3, atol=1e-5)


def test_the_task_trains_the_policy_through_the_picks(one):
    """With one pick of many; none where nothing is picked, or all is known."""
    _, params, run, _ = one
    x, concepts, label, _, _, noise = drawn(0, 2)
    given = [jnp.asarray(each, jnp.float32) for each in (x, concepts)]
    for start, count, flows in (
        (np.zeros(3, bool), 1, True),
        (np.zeros(3, bool), 0, False),
        (np.ones(3, bool), 2, False),
    ):
        _, gradient = run(params, *given, label, start, count, jnp.asarray(noise, jnp.float32))
        assert np.any(gradient["head"]["policy"]) == flows
        assert np.all(np.isfinite(gradient["encoder"]["backbone"]))


def test_a_unit_without_labels_is_never_asked_for(one):
    _, params, run, _ = one
    x, concepts, label, _, _, noise = drawn(1, 2)
    full, missing = jnp.asarray(concepts, jnp.float32), jnp.asarray(concepts, jnp.float32).at[3].set(jnp.nan)
    rest = (label, np.zeros(3, bool), 3, jnp.asarray(noise, jnp.float32))
    (_, found), gradient = run(params, jnp.asarray(x, jnp.float32), missing, *rest)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((found, gradient)))
    (_, other), _ = run(params, jnp.asarray(x, jnp.float32), full, *rest)
    assert abs(float(found.task - other.task)) > 1e-6


def test_the_horizon_grows_as_the_paper_says():
    steps = np.array([0, 81, 82, 219, 220, 221, 10_000])
    want = np.floor(np.minimum(6, 2 * 1.005 ** steps.astype(float)))
    np.testing.assert_array_equal(jax.vmap(lambda t: intcem.horizon(Rehearsal(), t))(jnp.asarray(steps)), want)


def test_it_is_a_cem_with_a_policy_beside_it():
    model, _ = make(1)
    params = model.init(jax.random.key(0))
    plain = embedding.cem(linear(2, 5), linear(5, 2 * K * M), linear(2 * M, 1), linear(K * M, 1), K, groups=GROUPS)
    same = params | {"head": params["head"]["task"]}
    for found, want in zip(
        models.apply(model, params, jnp.ones(2)), models.apply(plain, same, jnp.ones(2)), strict=True
    ):
        np.testing.assert_array_equal(found, want)


def test_training_teaches_the_policy_what_to_ask_for():
    """The label is a concept that the input does not show; the other three are shown. Ask for the first one first."""
    rng = np.random.default_rng(0)
    concepts = rng.integers(0, 2, (400, K)).astype(np.float32)
    x = np.stack([2 * concepts[:, 1] - 1 + 2 * (2 * concepts[:, 2] - 1), 2 * concepts[:, 3] - 1], 1)
    data = ConceptSet(jnp.asarray(x), jnp.asarray(concepts), jnp.asarray(concepts[:, 0], jnp.int32))
    model, policy = make(1, (), functional(Dense(K), jnp.zeros(K * M + K)))
    recipe = Recipe(batch=100)
    run = intcem.trainer(model, policy, recipe, lr=0.03, rehearsal=Rehearsal(longest=2))

    @jax.jit
    @jax.vmap
    def fit(key):
        state, seen = jax.lax.scan(lambda s, t: run.step(s, data, t), run.init(key), jnp.arange(50))
        order = policies.orders(intcem.asking(policy), model, state.params, data)
        return seen, (order[:, 0] == 0).mean(), policies.curve(intcem.asking(policy), model, state.params, data)

    seen, first, curve = fit(jax.random.split(jax.random.key(0), 3))
    assert set(seen) == {"loss", "concept_loss", "task_loss", "policy_loss"}
    assert np.all(seen["policy_loss"][:, -1] < seen["policy_loss"][:, 0])
    assert np.all(first > 0.6)  # 1/4 by chance
    assert np.all(curve[:, 1] > curve[:, 0] + 0.2)
    assert np.all(curve[:, 0] < 0.65)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"longest": 0}, "want an integer longest >= 1"), ({"discount": 0.0}, "want discount > 0"),
     ({"probability": 2.0}, "want 0 <= probability <= 1"), ({"weight": -1.0}, "want weight >= 0")],
)  # fmt: skip
def test_bad_numbers_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        Rehearsal(**options)
