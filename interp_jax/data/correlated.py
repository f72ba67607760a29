"""Many binary concepts that go together, of which noisy inputs tell something: where it matters which one is known.

    world = correlated.world(jax.random.key(0), concepts=10, inputs=12)
    data = concept_sets.draw(correlated.generator(world), key, 1000)

In the manner of the synthetic set of Vandenhirtz et al. (2024, appendix): normal z with covariance `W W' + diag(u)`,
concepts `1[z > 0]`, the label a threshold of a weighted sum of concepts, inputs a random network of z plus noise. In
their code it has 100 concepts, rank 10 and 1,500 inputs through 5 units; here all are free, and z has variance 1.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.core import checks
from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array, ArrayLike, Key
from interp_jax.data.concept_sets import ConceptSet, Generator


class World(NamedTuple):
    """loadings: `[k, r]` and own: `[k]`: z is `loadings a + own b` for normal a, b. weights: `[k]`, of the label.

    first: `[h, k]` and second: `[D, h]`, the network. noise: `[]`, its deviation beside inputs of variance about 1.
    """

    loadings: Array
    own: Array
    weights: Array
    first: Array
    second: Array
    noise: ArrayLike


def world(
    key: Key, *, concepts: int = 10, inputs: int = 12, rank: int = 2, hidden: int = 32, noise: ArrayLike = 0.5
) -> World:
    """Draw how concepts, inputs and labels come about.

    Args:
        key: of all weights.
        concepts: k.
        inputs: numbers in an example.
        rank: r, of what concepts share; the fewer, the more they go together.
        hidden: units of the network.
        noise: deviation of the inputs' noise; may be traced.
    """
    checks.whole(1, concepts=concepts, inputs=inputs, rank=rank, hidden=hidden)
    checks.not_negative(noise=noise)
    parts = jax.random.split(key, 5)
    loadings, spread = jax.random.normal(parts[0], (concepts, rank)), jax.random.uniform(parts[1], (concepts,))
    size = jnp.sqrt((loadings**2).sum(1) + spread)
    return World(
        loadings / size[:, None],
        jnp.sqrt(spread) / size,
        jax.random.uniform(parts[2], (concepts,)),
        jax.random.normal(parts[3], (hidden, concepts)) / concepts**0.5,
        jax.random.normal(parts[4], (inputs, hidden)) * (2 / hidden) ** 0.5,
        noise,
    )


def generator(found: World) -> Generator:
    """Make the generator of one example. The label is 1 where the weighted sum is above half the sum of weights.

    Concepts are fair coins and the distribution is symmetric, so that is the median.
    """
    chex.assert_equal_shape([found.own, found.weights])

    def example(key: Key) -> ConceptSet:
        shared, own, noise = jax.random.split(key, 3)
        z = matmul(found.loadings, jax.random.normal(shared, found.loadings.shape[1:]))
        z = z + found.own * jax.random.normal(own, found.own.shape)
        concepts = (z > 0).astype(jnp.float32)
        clean = matmul(found.second, jax.nn.relu(matmul(found.first, z)))
        inputs = clean + found.noise * jax.random.normal(noise, clean.shape)
        label = (2 * concepts - 1) @ found.weights > 0
        return ConceptSet(inputs, concepts, label.astype(jnp.int32))

    return example
