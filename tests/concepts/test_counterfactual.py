"""Conceptual counterfactuals against the procedure in float64, and against the minimum by a general solver."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.concepts import counterfactual
from interp_jax.linear import cav
from tests.oracles import counterfactual as oracle

N, D, K, C = 30, 6, 5, 3
MANY = 8


def head(params, x):
    return x @ params["weight"] + params["bias"]


@pytest.fixture(scope="module")
def problem():
    """A linear head, a bank of random directions with margins from 30 examples, and embeddings with labels."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, D)).astype(np.float32)
    directions = rng.normal(size=(K, D)).astype(np.float32)
    y = (x @ directions.T + 0.5 * rng.normal(size=(N, K)) > 0).astype(np.float32)
    bank = jax.jit(jax.vmap(cav.along, (0, None, 1)))(directions, x, y)
    params = {"weight": rng.normal(size=(D, C)).astype(np.float32), "bias": np.float32([0.3, -0.2, 0.0])}
    return params, bank, rng.normal(size=(MANY, D)).astype(np.float32), rng.integers(0, C, MANY)


def margins(bank):
    """What the oracle wants of a bank."""
    numbers = (
        bank.direction,
        bank.offset,
        np.minimum(bank.positive.low, bank.negative.low),
        np.maximum(bank.positive.high, bank.negative.high),
        bank.positive.mean,
        bank.negative.mean,
    )
    return [np.float64(each) for each in numbers]


def exact(problem, i, enough="mean"):
    """A problem of the oracle: weight, bias, moves, x, label, bounds."""
    params, bank, xs, labels = problem
    told = margins(bank)
    x = np.float64(xs[i])
    bounds = oracle.limits(*told, x, enough)
    moves = told[3][:, None] * told[0]
    return np.float64(params["weight"]), np.float64(params["bias"]), moves, x, labels[i], bounds


@pytest.fixture(scope="module")
def explained(problem):
    """Explanations of all examples in four settings by three programs: strengths are traced."""
    params, bank, xs, labels = problem

    def run(enough, stopping, steps):
        def one(x, y, settings):
            return counterfactual.explain(
                head, params, bank, x, y, enough=enough, stopping=stopping, steps=steps, **settings
            )

        return jax.jit(jax.vmap(chex.assert_max_traces(one, n=3), (0, 0, None)))

    short = run(counterfactual.means, False, 100)
    settings = {"alpha": 0.1, "beta": 0.01, "lr": 0.01, "momentum": 0.9}
    return {
        "mean": short(xs, labels, settings),
        "smooth": short(xs, labels, settings | {"alpha": 0.0, "lr": 0.02}),
        "zero": run(counterfactual.zeros, True, 100)(xs, labels, settings),
        "long": run(counterfactual.means, True, 6000)(xs, labels, settings | {"lr": 0.005}),
    }


def test_limits_are_the_papers_in_both_modes(problem):
    _, bank, xs, _ = problem
    for name, enough in (("mean", counterfactual.means), ("zero", counterfactual.zeros)):
        low, high = jax.jit(jax.vmap(lambda x, enough=enough: counterfactual.limits(bank, x, enough)))(xs)
        for i in range(MANY):
            want = exact(problem, i, name)[-1]
            np.testing.assert_allclose(low[i], want[0], atol=1e-5)
            np.testing.assert_allclose(high[i], want[1], atol=1e-5)
        assert (high == 0).any()
        assert (high > 0).any()
        assert (low < 0).any()


def test_the_procedure_is_the_authors(problem, explained):
    """A weight about 0 flips the sign of its subgradient, at a step that rounding decides: 0.002 a flip by alpha."""
    settings = {"mean": {}, "smooth": {"alpha": 0.0, "lr": 0.02}, "zero": {"stop": True}}
    for name, changed in settings.items():
        for i in range(MANY):
            told = exact(problem, i, "zero" if name == "zero" else "mean")
            want = oracle.descend(*told, **changed)
            found = jax.tree.map(lambda leaf, i=i, name=name: np.asarray(leaf[i]), explained[name])
            close = 2e-4 if name == "smooth" else 5e-3
            np.testing.assert_allclose(found.weights, want, atol=close)
            weight, bias, moves, x, label, _ = told
            logits = (x + want @ moves) @ weight + bias
            np.testing.assert_allclose(found.logits, logits, atol=10 * close)
            np.testing.assert_allclose(found.embedding, x + want @ moves, atol=5 * close)
            assert found.valid == (logits.argmax() == label)
            assert found.right == ((x @ weight + bias).argmax() == label)
            alpha = changed.get("alpha", 0.1)
            value = oracle.objective(want, *told[:-1], alpha, 0.01)[0]
            np.testing.assert_allclose(found.loss, value, rtol=1e-3, atol=1e-4)


def test_validity_is_of_the_counterfactual_and_not_of_the_start(explained):
    wrong = ~np.asarray(explained["mean"].right)
    assert wrong.sum() >= 3
    assert np.asarray(explained["mean"].valid)[wrong].mean() > 0.5  # the peer's flag would say: none


def test_many_steps_reach_the_minimum_and_a_hundred_do_not(problem, explained):
    gaps = []
    for i in range(MANY):
        told = exact(problem, i)
        weights, value = oracle.minimum(*told)
        assert np.all(weights >= told[-1][0] - 1e-9)
        assert np.all(weights <= told[-1][1] + 1e-9)
        np.testing.assert_allclose(explained["long"].loss[i], value, atol=2e-3)
        np.testing.assert_allclose(explained["long"].weights[i], weights, atol=0.05)
        gaps.append(explained["mean"].loss[i] - value)
    assert min(gaps) > -1e-4
    assert max(gaps) > 0.01


def test_a_head_that_is_not_linear_and_a_concept_that_is_none(problem):
    params, bank, xs, labels = problem
    nothing = bank._replace(direction=bank.direction.at[1].set(jnp.nan), offset=bank.offset.at[1].set(jnp.nan))
    upside = nothing._replace(positive=nothing.positive._replace(high=nothing.positive.high.at[2].set(-1.0)))
    upside = upside._replace(negative=upside.negative._replace(high=upside.negative.high.at[2].set(-1.0)))

    def curved(params, x):
        return jnp.tanh(head(params, x)) * 3

    found = jax.jit(jax.vmap(lambda x, y: counterfactual.explain(curved, params, upside, x, y, steps=20)))(xs, labels)
    assert np.isfinite(found.weights).all()
    assert (found.weights[:, 1:3] == 0).all()
    assert (found.weights[:, [0, 3, 4]] != 0).any()


def test_rival_scores_are_what_they_say(problem):
    params, bank, xs, labels = problem
    weight, bias, moves, x, label, bounds = exact(problem, 0)

    def entropy(w):
        return oracle.objective(w, weight, bias, moves, x, label, 0.0, 0.0)[0]

    gains = [entropy(np.zeros(K)) - entropy(np.eye(K)[j] * bounds[1][j]) for j in range(K)]
    np.testing.assert_allclose(counterfactual.alone(head, params, bank, xs[0], labels[0]), gains, atol=1e-4)
    slope = -oracle.objective(np.zeros(K), weight, bias, moves, x, label, 0.0, 0.0)[1]
    np.testing.assert_allclose(counterfactual.slopes(head, params, bank, xs[0], labels[0]), slope, atol=1e-4)


def test_ranks_and_sparsity():
    assert counterfactual.ranks(jnp.zeros(5)).tolist() == [3.0] * 5
    assert np.isnan(counterfactual.ranks(jnp.array([jnp.nan, 1.0]))[0])
    assert counterfactual.sparsity(jnp.array([1.0, -0.5, 0.05, 0.0])) == 2
    assert counterfactual.sparsity(jnp.zeros(3)) == 0


def test_bad_values_are_named(problem):
    params, bank, xs, labels = problem
    for wrong in ({"alpha": -1.0}, {"lr": 0.0}, {"steps": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            counterfactual.explain(head, params, bank, xs[0], labels[0], **wrong)


def test_what_is_no_number_or_no_class_is_never_right(problem):
    """NaN's largest entry is its first, and an index out of range is the last: both would be a class."""
    params, bank, xs, _ = problem
    run = jax.jit(lambda x, y: counterfactual.explain(head, params, bank, x, y, steps=2))
    broken, nowhere = run(np.full(D, np.nan, np.float32), 0), run(xs[0], C)
    for found in (broken, nowhere):
        assert np.isnan(found.loss)
        assert not found.right
        assert not found.valid


def test_one_logit_is_of_a_binary_task(problem):
    """As two logits, of which the first is zero."""
    params, bank, xs, _ = problem

    def one(params, x):
        return head(params, x)[:1]

    def two(params, x):
        return jnp.stack([jnp.zeros(()), head(params, x)[0]])

    for label in (0, 1):
        found = [
            jax.jit(lambda x, each=each, y=label: counterfactual.explain(each, params, bank, x, y, steps=5))(xs[0])
            for each in (one, two)
        ]
        np.testing.assert_allclose(found[0].weights, found[1].weights, atol=1e-6)
        assert found[0].right == found[1].right
        assert found[0].valid == found[1].valid
