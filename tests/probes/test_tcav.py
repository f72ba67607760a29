import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.core.types import Array
from interp_jax.linear import cav
from interp_jax.probes import tcav

D = 12


def head(params: Array, x: Array) -> Array:
    return jnp.stack([params @ x + 0.1 * jnp.sum(x**2), -params @ x])


def made(seed: int, strength: float, n: int = 150, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Make activations in which concept i moves feature i."""
    rng = np.random.default_rng(seed)
    concepts = rng.random((n, k)) < [0.5, 0.3, 0.2, 0.5][:k]
    x = rng.normal(size=(n, D))
    x[:, :k] += strength * concepts
    return x.astype(np.float32), concepts.astype(np.float32)


run = jax.jit(lambda slopes, x, c, key: tcav.scores(slopes, x, c, key, permutations=199))
signs = jax.jit(
    lambda slopes, x, c, key: tcav.scores(slopes, x, c, key, permutations=199, statistic=tcav.share_positive)
)


def slopes(params: Array, seed: int) -> Array:
    acts = jnp.asarray(np.random.default_rng(seed).normal(size=(60, D)), jnp.float32)
    return tcav.gradients(head, params, acts, 0)


def test_gradients_are_those_of_the_closed_form() -> None:
    params = jnp.arange(D, dtype=jnp.float32)
    acts = jnp.asarray(np.random.default_rng(0).normal(size=(5, D)), jnp.float32)
    np.testing.assert_allclose(tcav.gradients(head, params, acts, 0), params[None] + 0.2 * acts, rtol=1e-5)


def test_a_used_concept_is_found_and_an_unused_one_is_not() -> None:
    params = jnp.zeros(D).at[0].set(1.0).at[1].set(-1.0)
    x, concepts = made(0, 3.0)
    found = run(slopes(params, 1), x, concepts, jax.random.key(0))
    tests = tcav.significance(found)
    assert found.observed[0] > 0.5
    assert found.observed[1] < -0.5
    assert (tests.adjusted[:2] <= 0.01).all()
    assert (tests.p[2:] > 0.05).all()
    along = np.asarray(slopes(params, 1)) @ np.asarray(found.directions).T
    np.testing.assert_allclose(
        found.observed, along.mean(0) / np.linalg.norm(slopes(params, 1), axis=1).mean(), rtol=1e-4
    )


def test_vectors_are_those_of_discriminants() -> None:
    x, concepts = made(3, 1.0)
    found, other = (jax.jit(fit)(x, concepts) for fit in (tcav.least_squares(5.0), tcav.each_by(cav.discriminant, 5.0)))
    np.testing.assert_allclose(found, other, atol=1e-5)


@pytest.mark.parametrize("score", [run, signs])
def test_concepts_that_are_not_in_the_activations_are_found_as_often_as_stated(score: object) -> None:
    params = jnp.asarray(np.random.default_rng(5).normal(size=D), jnp.float32)
    moved = slopes(params, 2)
    every = [made(100 + seed, 0.0) for seed in range(200)]
    keys = jax.random.split(jax.random.key(1), 200)
    found = jax.lax.map(lambda parts: score(moved, *parts), (*map(jnp.stack, zip(*every, strict=True)), keys))
    tests = [tcav.significance(jax.tree.map(lambda leaf, i=i: leaf[i], found)) for i in range(200)]
    alone = np.mean([test.p <= 0.1 for test in tests])
    any_of_them = np.mean([test.adjusted.min() <= 0.1 for test in tests])
    assert alone < 0.1 + 3 * np.sqrt(0.09 / 800)
    assert any_of_them < 0.1 + 3 * np.sqrt(0.09 / 200)
    if score is run:  # without ties the level is met, not only kept
        assert alone > 0.1 - 3 * np.sqrt(0.09 / 800)


def test_what_has_no_vector_is_named() -> None:
    x, concepts = made(0, 1.0)
    concepts[:, 2] = 1
    found = run(slopes(jnp.ones(D), 1), x, concepts, jax.random.key(0))
    assert np.isnan(found.observed[2])
    with pytest.raises(
        ValueError, match=r"want concepts that show in some examples and not in all, got none for \[2\]"
    ):
        tcav.significance(found)
    assert np.isnan(tcav.share_positive(jnp.ones((3, 2)), jnp.full((1, 2), jnp.nan))).all()
