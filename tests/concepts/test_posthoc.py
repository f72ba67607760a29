"""Post-hoc bottlenecks against NumPy: projections, heads, Adam by hand, interventions, pruning."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.concepts import interventions, posthoc
from interp_jax.concepts import model as models
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.linear import cav
from tests.oracles import elastic_logistic as oracle

N, D, K, C = 60, 5, 3, 3


def backbone(params, x):
    return jnp.tanh(x @ params)


@pytest.fixture(scope="module")
def fitted():
    """A frozen layer, three concepts, labels that depend on them and on one thing more."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 4)).astype(np.float32)
    frozen = rng.normal(size=(4, D)).astype(np.float32)
    z = np.tanh(x @ frozen)
    concepts = (z[:, :K] + 0.2 * rng.normal(size=(N, K)) > 0).astype(np.float32)
    labels = (concepts[:, 0] + (z[:, 3] > 0)).astype(np.int32)

    @jax.jit
    def run(z, concepts, labels):
        fit = jax.vmap(lambda y: cav.fit(z, y, method=cav.difference_of_means), 1)
        bank = fit(concepts)
        params = posthoc.fit(frozen, bank, z, jax.nn.one_hot(labels, C), alpha=0.02)
        return params, posthoc.fit_residual(params, z, labels, jax.random.key(0), epochs=15, batch=N, penalty=0.1)

    params, hybrid = run(z, concepts, labels)
    data = ConceptSet(jnp.asarray(x), jnp.asarray(concepts), jnp.asarray(labels))
    return params, hybrid, data, np.float64(z)


def margins(bank, z):
    """`(v . z + b) / |v|` of the difference of means, from its definition."""
    return z @ np.float64(bank.direction).T + np.float64(bank.offset)


def test_it_decides_from_the_projections(fitted):
    params, _, data, z = fitted
    bank = params["encoder"]["bank"]
    c = np.asarray(data.concepts)
    for k in range(K):
        one, other = z[c[:, k] == 1].mean(0), z[c[:, k] == 0].mean(0)
        v, b = one - other, -((one - other) @ (one + other)) / 2
        np.testing.assert_allclose(margins(bank, z)[:, k], (z @ v + b) / np.linalg.norm(v), atol=1e-5)
    model = posthoc.bottleneck(backbone, K)
    found = jax.vmap(lambda x: models.apply(model, params, x))(data.inputs)
    told = margins(bank, z)
    weight, bias = (np.float64(params["head"]["concepts"][name]) for name in ("weight", "bias"))
    np.testing.assert_allclose(found.values, told, atol=1e-5)
    np.testing.assert_allclose(found.concepts, 1 / (1 + np.exp(-told)), atol=1e-5)
    np.testing.assert_allclose(found.task, told @ weight + bias, atol=1e-4)
    best = oracle.fit(told, np.eye(C)[np.asarray(data.labels)], 0.02, 0.99, np.ones(N), True)
    values = [
        oracle.objective(told, np.eye(C)[np.asarray(data.labels)], 0.02, 0.99, np.ones(N), w, b, True)[0]
        for w, b in ((weight, bias), best)
    ]
    assert abs(values[0] - values[1]) < 1e-5


def test_the_residual_is_adam_by_hand(fitted):
    params, hybrid, data, z = fitted
    fixed = margins(params["encoder"]["bank"], z) @ np.float64(params["head"]["concepts"]["weight"])
    fixed = fixed + np.float64(params["head"]["concepts"]["bias"])
    y = np.eye(C)[np.asarray(data.labels)]
    point, first, second = np.zeros((D + 1, C)), 0.0, 0.0
    design = np.hstack([z, np.ones((N, 1))])
    for t in range(1, 16):
        logits = fixed + design @ point
        p = np.exp(logits - logits.max(1, keepdims=True))
        slope = design.T @ (p / p.sum(1, keepdims=True) - y) / N
        slope[:D] += 0.1 * 2 * point[:D] / (D * C)
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        point = point - 0.01 * first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(hybrid["head"]["residual"]["weight"], point[:D], atol=2e-4)
    # at the bottleneck's minimum the bias has no slope, and Adam makes steps of what rounding leaves of it
    np.testing.assert_allclose(hybrid["head"]["residual"]["bias"], point[D], atol=2e-3)
    jax.tree.map(np.testing.assert_array_equal, hybrid["encoder"], params["encoder"])
    jax.tree.map(np.testing.assert_array_equal, hybrid["head"]["concepts"], params["head"]["concepts"])
    both = posthoc.bottleneck(backbone, K, hybrid=True)
    found = jax.vmap(lambda x: models.apply(both, hybrid, x).task)(data.inputs)
    np.testing.assert_allclose(found, fixed + design @ point, atol=5e-3)


def test_interventions_set_margins_to_means(fitted):
    params, _, data, z = fitted
    bank = params["encoder"]["bank"]
    model = posthoc.with_means(posthoc.bottleneck(backbone, K), bank)
    masks = np.array([[False] * 3, [True, False, False], [True] * 3])
    found = interventions.accuracies(model, params, data, masks)
    c, told = np.asarray(data.concepts), margins(bank, z)
    low, high = ([told[c[:, k] == side, k].mean() for k in range(K)] for side in (0, 1))
    weight, bias = (np.float64(params["head"]["concepts"][name]) for name in ("weight", "bias"))
    for mask, share in zip(masks, found, strict=True):
        values = np.where(mask, np.where(c == 1, high, low), told)
        want = ((values @ weight + bias).argmax(1) == np.asarray(data.labels)).mean()
        np.testing.assert_allclose(share, want, atol=1e-6)


def test_pruning_takes_a_concept_out(fitted):
    params, _, data, _ = fitted
    model = posthoc.bottleneck(backbone, K)
    less = posthoc.pruned(params, jnp.array([True, False, False]))
    given = interventions.on([0], jnp.array([9.0, 0, 0]))
    same = [models.apply(model, less, data.inputs[0], told).task for told in (None, given)]
    np.testing.assert_array_equal(*same)
    other = [models.apply(model, params, data.inputs[0], told).task for told in (None, given)]
    assert (other[0] != other[1]).any()


def test_what_is_fitted_is_not_drawn(fitted):
    with pytest.raises(ValueError, match=r"posthoc\.fit"):
        posthoc.bottleneck(backbone, K).init(jax.random.key(0))
    with pytest.raises(ValueError, match="concepts=0"):
        posthoc.bottleneck(backbone, 0)
    params, _, data, z = fitted
    with pytest.raises(ValueError, match="lr"):
        posthoc.fit_residual(params, jnp.asarray(z, jnp.float32), data.labels, jax.random.key(0), lr=-1.0)
