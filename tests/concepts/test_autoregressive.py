"""Autoregressive bottlenecks against the enumeration of all their walks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.concepts import model as models
from interp_jax.concepts import training
from interp_jax.concepts.autoregressive import autoregressive, resample
from interp_jax.concepts.model import Given
from interp_jax.concepts.training import Recipe
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.models.nets import Dense, functional
from tests.concepts.test_model import linear
from tests.oracles import concepts as losses
from tests.oracles import stochastic as oracle

K, H, S = 3, 2, 4000
X = np.array([0.7, -0.4])
LATE = Given(jnp.array([False, False, True]), jnp.array([0.0, 0.0, 1.0]))
EARLY = Given(jnp.array([True, False, False]), jnp.array([1.0, 0.0, 0.0]))


def dense(inputs):
    return functional(Dense(1), jnp.zeros(inputs))


@pytest.fixture(scope="module")
def both():
    """The same networks with samples and without; one program for all interventions."""
    nets = (linear(2, H), linear(H + K, 1), linear(K, 1), K)
    sampled, single = autoregressive(*nets, samples=S), autoregressive(*nets)
    params = sampled.init(jax.random.key(3))
    params["encoder"]["predictors"] = 2 * params["encoder"]["predictors"]

    @jax.jit
    def run(given, key):
        found = []
        for made in (sampled, single):
            encoded = made.encode(params, jnp.asarray(X, jnp.float32))
            out = models.decide(made, params, encoded, given, key)
            found.append((encoded, out, models.beliefs(made, params, encoded, given, key)))
        return found

    return params, sampled, single, run


def predictor(params):
    units = np.asarray(params["encoder"]["features"], float) @ X
    weights = np.asarray(params["encoder"]["predictors"], float)[:, 0]

    def logit(i, earlier):
        return weights[i, :H] @ units + weights[i, H : H + i] @ np.asarray(earlier)

    return logit


@pytest.mark.parametrize("given", [models.nothing(K), LATE, EARLY], ids=["nothing", "late", "early"])
def test_walks_have_the_probabilities_of_their_enumeration(both, given):
    """What is said of a concept moves later ones by their predictors, earlier ones by Bayes' rule."""
    params, _, _, run = both
    mask, said = np.asarray(given.mask), np.asarray(given.concepts)
    every, weights = oracle.walks(predictor(params), K, mask, said)
    _, free = oracle.walks(predictor(params), K, np.zeros(K, bool), said)
    (_, out, p), _ = run(given, jax.random.key(0))
    want = weights @ every
    agree = free[np.all(every[:, mask] == said[mask], axis=1)].sum()
    error = 0.5 / (S * agree) ** 0.5  # walks that agree with what is said carry the weight
    np.testing.assert_allclose(out.values.mean(0), want, atol=4.5 * error)
    np.testing.assert_allclose(p, want, atol=4.5 * error)
    task = weights @ oracle.sigmoid(every @ np.asarray(params["head"][0], float))
    np.testing.assert_allclose(oracle.sigmoid(out.task[0]), task, atol=4.5 * error)
    assert set(np.unique(out.values)) <= {0.0, 1.0}


@pytest.mark.parametrize("given", [models.nothing(K), LATE, EARLY], ids=["nothing", "late", "early"])
def test_without_samples_each_concept_is_the_likelier_value_after_those_before(both, given):
    params, _, _, run = both
    logit, told, logits = predictor(params), [], []
    for i in range(K):
        logits.append(logit(i, told))
        told.append(float(given.concepts[i]) if given.mask[i] else float(logits[i] > 0))
    _, (encoded, out, p) = run(given, jax.random.key(0))
    np.testing.assert_array_equal(out.values, told)
    np.testing.assert_allclose(p, np.where(given.mask, given.concepts, oracle.sigmoid(logits)), rtol=1e-4)
    np.testing.assert_allclose(out.task[0], np.asarray(params["head"][0], float) @ told, rtol=1e-4)
    if not given.mask.any():
        np.testing.assert_allclose(encoded.logits, logits, rtol=1e-4)


def test_the_loss_is_told_the_true_concepts_before(both):
    params, sampled, _, _ = both
    logit = predictor(params)
    encoded = sampled.encode(params, jnp.asarray(X, jnp.float32))
    truth = np.array([1.0, 0.0, 1.0])
    logits = np.array([logit(i, truth[:i]) for i in range(K)])
    found = sampled.likelihood(params, encoded, jnp.asarray(truth, jnp.float32), jax.random.key(0))
    np.testing.assert_allclose(found[0], losses.binary_losses(logits, truth), rtol=1e-4)
    own = float(logit(0, []) > 0)  # what follows a missing label is told the model's decision
    logits = np.array([0.0, logit(1, [own]), logit(2, [own, 0.0])])
    loss, weight = sampled.likelihood(params, encoded, jnp.array([jnp.nan, 0.0, 1.0]), jax.random.key(0))
    np.testing.assert_allclose(loss[1:], losses.binary_losses(logits, truth)[1:], rtol=1e-4)
    assert weight.tolist() == [0.0, 1.0, 1.0]


def test_resampling_is_by_weight_and_keeps_equal_weights_apart():
    keys = jax.random.split(jax.random.key(0), 300)
    np.testing.assert_array_equal(jax.vmap(lambda k: resample(jnp.zeros(8), k))(keys), np.tile(np.arange(8), (300, 1)))
    weights = np.array([0.5, 0.3, 0.15, 0.05])
    drawn = np.asarray(jax.vmap(lambda k: resample(jnp.log(jnp.asarray(weights, jnp.float32)), k))(keys))
    counts = np.array([(drawn == i).sum(1) for i in range(4)])
    assert np.all((counts >= np.floor(4 * weights)[:, None]) & (counts <= np.ceil(4 * weights)[:, None]))
    assert np.all(np.abs(counts.mean(1) - 4 * weights) < 4.5 * 0.5 / 300**0.5)


def test_training_learns_a_concept_that_only_another_shows():
    """c_2 = c_1 and x shows neither well: told c_1 the model knows c_2, and told c_2 it knows c_1."""
    rng = np.random.default_rng(0)
    c = rng.integers(0, 2, 600)
    data = ConceptSet(
        jnp.asarray(rng.normal(size=(600, 2)) + 0.3 * (2 * c[:, None] - 1), jnp.float32),
        jnp.asarray(np.stack([c, c], 1), jnp.float32), jnp.asarray(c, jnp.int32),
    )  # fmt: skip
    nets = (linear(2, 2), dense(4), linear(2, 1), 2)
    taught, made = autoregressive(*nets), autoregressive(*nets, samples=50)
    trainer = training.independent(taught, Recipe(batch=100), lr=0.1)

    @jax.jit
    @jax.vmap
    def fit(key):
        state, _ = jax.lax.scan(lambda s, t: trainer.step(s, data, t), trainer.init(key), jnp.arange(20))

        def p(x, mask, c, key):
            return models.beliefs(made, state.params, made.encode(state.params, x), Given(mask, c), key)

        own = jax.random.split(jax.random.key(1), 600)
        masks = jnp.array([[True, False], [False, True]])
        return jax.vmap(lambda m: jax.vmap(p, (0, None, 0, 0))(data.inputs, m, data.concepts, own))(masks)

    first, second = np.moveaxis(fit(jax.random.split(jax.random.key(0), 3)), 1, 0)
    truth = np.broadcast_to(np.asarray(data.concepts), first.shape)
    assert np.all(((first[..., 1] > 0.5) == truth[..., 1]).mean(1) > 0.97)
    assert np.all(((second[..., 0] > 0.5) == truth[..., 0]).mean(1) > 0.9)


def test_samples_want_a_key_and_a_number(both):
    params, sampled, single, _ = both
    with pytest.raises(ValueError, match="want a key for a model that samples"):
        models.apply(sampled, params, jnp.ones(2))
    assert models.apply(single, params, jnp.ones(2)).task.shape == (1,)
    with pytest.raises(ValueError, match="want an integer samples >= 1"):
        autoregressive(linear(2, 2), linear(4, 1), linear(2, 1), 2, samples=0)
