"""Gaussian logits and embeddings against float64: conditioning, confidence regions, losses, samples."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.concepts import interventions, losses, stochastic, training
from interp_jax.concepts import model as models
from interp_jax.concepts.model import Given
from interp_jax.concepts.training import Recipe
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.models.nets import Net
from tests.concepts.test_model import linear
from tests.oracles import stochastic as oracle

K, S = 4, 4000
FREE = Given(jnp.zeros(K, bool), jnp.zeros(K))
SAID = Given(jnp.array([False, True, False, True]), jnp.array([0.0, 1.0, 0.0, 0.0]))


@pytest.fixture(scope="module")
def gauss():
    """A mean and a covariance with strong correlations."""
    rng = np.random.default_rng(0)
    lower = np.tril(rng.normal(size=(K, K))) + np.diag(np.full(K, 0.5))
    lower[np.diag_indices(K)] = np.abs(lower.diagonal())
    return rng.normal(size=K), lower, lower @ lower.T


def narrow(*values) -> Any:
    return tuple(jnp.asarray(value, jnp.float32) for value in values)


@pytest.mark.parametrize("mask", [[0, 1, 0, 0], [1, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]])
def test_conditioning_is_the_textbooks(gauss, mask):
    mean, _, covariance = gauss
    mask, target = np.array(mask, bool), np.array([1.0, -2.0, 0.5, 3.0])
    found, spread = stochastic.conditional(
        narrow(mean)[0], narrow(covariance)[0], jnp.asarray(mask), jnp.asarray(target)
    )
    np.testing.assert_allclose(np.asarray(found)[mask], target[mask])
    assert not np.asarray(spread)[mask].any()
    if not mask.all():
        want, inverse = oracle.conditional(mean, covariance, mask, target)
        np.testing.assert_allclose(np.asarray(found)[~mask], want, rtol=2e-3, atol=1e-4)
        np.testing.assert_allclose(np.asarray(spread)[np.ix_(~mask, ~mask)], inverse, rtol=2e-3, atol=1e-3)


def test_conditioned_samples_have_the_conditional_moments(gauss):
    mean, lower, covariance = gauss
    mask, target = np.array([False, True, False, True]), np.array([0.0, 1.5, 0.0, -1.0])
    drawn = stochastic.gaussian(narrow(mean)[0], narrow(lower)[0], jax.random.key(0), 20_000)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.15)
    found = np.asarray(stochastic.condition(drawn, narrow(covariance)[0], jnp.asarray(mask), jnp.asarray(target)))
    np.testing.assert_allclose(found[:, mask], np.broadcast_to(target[mask], (20_000, 2)))
    want, inverse = oracle.conditional(mean, covariance, mask, target)
    error = np.sqrt(np.diag(inverse) / 20_000)
    assert np.all(np.abs(found[:, ~mask].mean(0) - want) < 4.5 * error + 1e-3)
    np.testing.assert_allclose(np.cov(found[:, ~mask].T), inverse, rtol=0.1, atol=0.02)


def test_of_two_concepts_that_always_go_together_one_sets_the_other():
    """L = (1, 0; 1, 0): what is said of the first IS the second, and said of both it is still defined."""
    lower = jnp.array([[1.0, 0.0], [1.0, 1e-6]])
    drawn = stochastic.gaussian(jnp.array([0.3, -0.2]), lower, jax.random.key(0), 50)
    for mask in ([True, False], [True, True]):
        found = stochastic.condition(drawn, lower @ lower.T, jnp.array(mask), jnp.array([4.0, 3.5]))
        np.testing.assert_allclose(found, np.broadcast_to([4.0, 3.5], (50, 2)), atol=1e-4)


def test_the_region_of_one_concept_is_its_interval(gauss):
    mean, _, covariance = gauss
    tell = stochastic.confidence_region(K, level=0.9)
    for said, side in ((1.0, 1), (0.0, -1)):
        found = tell(narrow(mean)[0], narrow(covariance)[0], jnp.arange(K) == 2, jnp.full(K, said))
        np.testing.assert_allclose(found[2], mean[2] + side * 1.6448536 * covariance[2, 2] ** 0.5, rtol=1e-4)


def test_the_region_of_several_is_nearly_as_good_as_slsqp_and_never_outside(gauss):
    mean, _, covariance = gauss
    gaps = []
    tell = jax.jit(stochastic.confidence_region(K, level=0.99))
    for seed in range(12):
        rng = np.random.default_rng(seed)
        mask, said = np.zeros(K, bool), rng.integers(0, 2, K).astype(float)
        mask[rng.permutation(K)[: 2 + seed % 3]] = True
        found = np.asarray(tell(*narrow(mean, covariance), jnp.asarray(mask), jnp.asarray(said, jnp.float32)), float)
        best, _ = oracle.confidence_region(mean, covariance, mask, said, 0.99)
        side = np.where(said > 0.5, 1, -1)[mask]
        loss = np.logaddexp(0, -side * found[mask]).sum()
        gaps.append(loss - best)
        move = found[mask] - mean[mask]
        assert np.all(side * move >= 0)
        size = move @ np.linalg.inv(covariance[np.ix_(mask, mask)]) @ move
        np.testing.assert_allclose(size, oracle.stats.chi2.ppf(0.99, mask.sum()), rtol=5e-3)
    assert np.median(gaps) < 1e-3
    assert np.sort(gaps)[-2] < 0.02  # one of twelve is nearly singular


def test_percentiles_are_the_logits_of_their_probabilities():
    found = stochastic.percentiles()(jnp.zeros(2), jnp.eye(2), jnp.ones(2, bool), jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(found, np.log([0.05 / 0.95, 0.95 / 0.05]), rtol=1e-5)


def test_losses_are_their_formulas(gauss):
    mean, lower, _ = gauss
    logits = mean[None] + np.random.default_rng(1).normal(size=(7, K))
    truth = np.array([1.0, np.nan, 0.0, 1.0])
    found = stochastic.joint_loss(*narrow(logits, truth))
    np.testing.assert_allclose(found.loss[0], oracle.joint_loss(logits, truth), rtol=1e-5)
    assert found.weight.tolist() == [1.0]
    missing = stochastic.joint_loss(jnp.asarray(logits, jnp.float32), jnp.full(K, jnp.nan))
    assert (missing.loss.tolist(), missing.weight.tolist()) == ([0.0], [0.0])
    assert np.isnan(stochastic.joint_loss(jnp.zeros((2, 1)), jnp.array([1.5])).loss[0])
    penalty = stochastic.precision_penalty(*narrow(lower))
    np.testing.assert_allclose(penalty, oracle.precision_penalty(lower), rtol=1e-3)


def test_a_factor_is_filled_by_rows():
    raw = np.arange(6.0) - 2
    found = stochastic.factor(jnp.asarray(raw, jnp.float32), 3)
    soft = np.log1p(np.exp(raw)) + 1e-6
    want = [[soft[0], 0, 0], [raw[1], soft[2], 0], [raw[3], raw[4], soft[5]]]
    np.testing.assert_allclose(found, want, rtol=1e-5)
    with pytest.raises(ValueError, match="want 6 numbers for a covariance of 3 concepts"):
        stochastic.factor(jnp.zeros(5), 3)


def test_the_mean_of_classes_is_that_of_probabilities():
    tasks = np.random.default_rng(0).normal(size=(5, 3)) * 4
    e = np.exp(tasks)
    want = (e / e.sum(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(jnp.exp(stochastic.mean_classes(*narrow(tasks))), want, rtol=1e-5)
    one = oracle.sigmoid(stochastic.mean_classes(*narrow(tasks[:, :1])))
    np.testing.assert_allclose(one, oracle.sigmoid(tasks[:, :1]).mean(0), rtol=1e-5)


@pytest.fixture(scope="module", params=[False, True], ids=["global", "amortised"])
def unsure(request):
    spread = linear(3, K * (K + 1) // 2) if request.param else None
    made = stochastic.stochastic(linear(2, 3), linear(3, K), linear(K, 1), K, spread=spread, samples=S)
    params = made.init(jax.random.key(1))
    params["encoder"]["spread"] = jax.tree.map(
        lambda w: w + jax.random.normal(jax.random.key(2), w.shape), params["encoder"]["spread"]
    )

    @jax.jit
    def run(params, given, key):
        encoded = made.encode(params, jnp.array([0.5, -1.0]))
        return (
            encoded, models.decide(made, params, encoded, given, key),
            models.beliefs(made, params, encoded, given, key),
        )  # fmt: skip

    return made, params, run


def test_its_samples_are_the_models(unsure):
    """Means of Bernoulli draws and of the task, against other samples in float64; what is said is told as it is."""
    _, params, run = unsure
    encoded, free, p = run(params, FREE, jax.random.key(3))
    mean, lower = np.asarray(encoded.logits, float), np.asarray(encoded.hidden, float)
    rng = np.random.default_rng(0)
    drawn = mean + rng.normal(size=(40_000, K)) @ lower.T
    want = oracle.sigmoid(drawn).mean(0)
    error = 0.5 * (1 / S + 1 / 40_000) ** 0.5
    for found in (free.concepts, free.values.mean(0), p):
        assert np.all(np.abs(found - want) < 4.5 * error)
    assert set(np.unique(free.values)) == {0.0, 1.0}
    hard = rng.random(drawn.shape) < oracle.sigmoid(drawn)
    task = oracle.sigmoid(hard @ np.asarray(params["head"][0], float)).mean()
    assert abs(oracle.sigmoid(free.task[0]) - task) < 4.5 * error
    _, told, after = run(params, SAID, jax.random.key(3))
    np.testing.assert_array_equal(told.values[:, [1, 3]], np.broadcast_to([1.0, 0.0], (S, 2)))
    np.testing.assert_array_equal(after[jnp.array([1, 3])], [1.0, 0.0])
    np.testing.assert_array_equal(told.concepts, free.concepts)


def test_an_intervention_moves_the_others_as_their_conditional_says(unsure):
    _, params, run = unsure
    encoded, _, after = run(params, SAID, jax.random.key(4))
    mean, lower = np.asarray(encoded.logits, float), np.asarray(encoded.hidden, float)
    mask, covariance = np.asarray(SAID.mask), lower @ lower.T
    _, target = oracle.confidence_region(mean, covariance, mask, np.asarray(SAID.concepts), 0.99)
    full = np.zeros(K)
    full[mask] = target
    centre, spread = oracle.conditional(mean, covariance, mask, full)
    drawn = np.random.default_rng(0).multivariate_normal(centre, spread, 40_000)
    assert np.all(np.abs(np.asarray(after)[~mask] - oracle.sigmoid(drawn).mean(0)) < 0.03)


def test_relaxed_draws_have_the_gradient_of_the_relaxation():
    """Its mean over draws is close to that of the probability where the temperature is small against the noise."""
    draws = jax.random.split(jax.random.key(0), 4000)
    slope = jax.jit(jax.vmap(jax.value_and_grad(lambda z, key: stochastic.relaxed(z[None], key, 0.1)[0]), (None, 0)))
    values, gradients = slope(jnp.float32(0.4), draws)
    p = oracle.sigmoid(0.4)
    assert abs(values.mean() - p) < 4.5 * 0.5 / 4000**0.5
    assert abs(gradients.mean() - p * (1 - p)) < 4.5 * gradients.std() / 4000**0.5 + 0.01


@pytest.fixture(scope="module")
def correlated():
    """Two concepts that are one, of which the input shows little; the label is the second."""
    rng = np.random.default_rng(0)
    c = rng.integers(0, 2, 1000)
    x = rng.normal(size=(1000, 2)) + 0.3 * (2 * c[:, None] - 1)
    return ConceptSet(narrow(x)[0], narrow(np.stack([c, c], 1))[0], jnp.asarray(c, jnp.int32))


def test_training_learns_that_concepts_go_together(correlated):
    """Told the first concept, the label (the second) is known; not so without the covariance."""
    second = Net(lambda key: jnp.zeros(2), lambda w, c: (w[0] * c[1] + w[1])[None])
    made = stochastic.stochastic(linear(2, 4), linear(4, 2), second, 2, samples=20, precision=0.0)
    trainer = training.joint(made, Recipe(batch=100), lr=0.03)
    masks = np.array([[False, False], [True, False]])

    @jax.jit
    @jax.vmap
    def fit(key):
        state = trainer.init(key)
        state, seen = jax.lax.scan(lambda state, t: trainer.step(state, correlated, t), state, jnp.arange(25))
        alone = state.params | {"encoder": state.params["encoder"] | {"spread": jnp.array([1.0, 0.0, 1.0])}}
        curves = [interventions.accuracies(made, p, correlated, masks) for p in (state.params, alone)]
        return *curves, seen["concept_loss"], interventions.concept_accuracy(made, state.params, correlated)

    found, alone, loss, right = fit(jax.random.split(jax.random.key(0), 3))
    assert np.all(loss[:, -1] < loss[:, 0] - 0.2)
    assert np.all(found[:, 1] > 0.95)
    assert np.all(found[:, 0] < 0.8)
    assert np.all(alone[:, 1] < 0.85)
    assert np.all((right > 0.5) & (right < 0.8))


@pytest.fixture(scope="module")
def embedded():
    made = stochastic.probabilistic(
        linear(2, 3), linear(3, 2 * K), linear(3, 2 * K), linear(K, 2), K, size=2, samples=S, beta=0.1
    )
    return made, made.init(jax.random.key(0))


def test_embeddings_match_by_distance(embedded):
    """Probabilities, their use by the head, and the loss with its KL divergence, in float64 from other samples."""
    made, params = embedded
    x, truth = np.array([0.5, -1.0]), np.array([1.0, 0.0, np.nan, 1.0])

    @jax.jit
    def run(params, given, key):
        encoded = made.encode(params, jnp.asarray(x, jnp.float32))
        out = models.decide(made, params, encoded, given, key)
        return encoded, out, losses.Terms(*made.likelihood(params, encoded, jnp.asarray(truth, jnp.float32), key))

    encoded, out, terms = run(params, SAID, jax.random.key(1))
    parts = jax.tree.map(lambda leaf: np.asarray(leaf, float), params["encoder"])
    units = parts["backbone"] @ x
    centre = (parts["mean"] @ units).reshape(K, 2)
    centre /= np.linalg.norm(centre, axis=1, keepdims=True)
    log_var = (parts["spread"] @ units).reshape(K, 2)
    anchors = parts["anchors"] / np.linalg.norm(parts["anchors"], axis=2, keepdims=True)
    z = centre + np.exp(log_var / 2) * np.random.default_rng(0).normal(size=(40_000, K, 2))
    near = [np.linalg.norm(z - anchor, axis=2) for anchor in anchors]
    p = oracle.sigmoid(5.0 * (near[1] - near[0]))
    error = 0.5 * (1 / S + 1 / 40_000) ** 0.5
    assert np.all(np.abs(out.concepts - p.mean(0)) < 4.5 * error)
    told = np.where(SAID.mask, SAID.concepts, p)
    e = np.exp(told @ np.asarray(params["head"], float).T)
    assert np.all(np.abs(np.exp(out.task) - (e / e.sum(1, keepdims=True)).mean(0)) < 4.5 * error)
    kl = 0.5 * (centre**2 + np.exp(log_var) - 1 - log_var).sum(1)
    want = -np.log(np.where(truth > 0.5, p.mean(0), 1 - p.mean(0))) + 0.1 * kl
    known = ~np.isnan(truth)
    np.testing.assert_allclose(np.asarray(terms.loss)[known], want[known], atol=0.05)
    assert terms.loss[2] == terms.weight[2] == 0
    np.testing.assert_allclose(stochastic.variance(encoded), np.exp(log_var.mean(1)), rtol=1e-4)


def test_a_model_that_samples_wants_a_key(embedded, unsure):
    for made, params, *_ in (embedded, unsure):
        with pytest.raises(ValueError, match="want a key for a model that samples its concepts"):
            models.apply(made, params, jnp.ones(2))


def test_bad_values_are_named():
    with pytest.raises(ValueError, match="want an integer samples >= 1"):
        stochastic.stochastic(linear(2, 3), linear(3, 2), linear(2, 1), 2, samples=0)
    with pytest.raises(ValueError, match="want 0 < level < 1, got level=99"):
        stochastic.confidence_region(2, level=99)
    with pytest.raises(ValueError, match="want 0 <= true <= 1"):
        stochastic.percentiles(0.05, 95.0)
    wide = stochastic.probabilistic(linear(2, 3), linear(3, 5), linear(3, 6), linear(2, 1), 2, size=3)
    with pytest.raises(ValueError, match="want 6 outputs of mean and spread"):
        models.apply(wide, wide.init(jax.random.key(0)), jnp.ones(2), key=jax.random.key(0))
