"""How far the representations of different concepts point in different directions (Chen et al. 2020, section 4.3)."""

import chex
import jax.numpy as jnp

from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array


def similarity_matrix(representations: Array, concepts: Array) -> Array:
    """Give the mean cosines `[k, k]` of examples of concept i with examples of concept j, over what they have within.

    `|d_ij| / sqrt(|d_ii d_jj|)`, d the mean cosine over pairs (an example with itself too, as in the peer).
    representations: `[N, m]`, one for all concepts (a layer). concepts: `[N, k]`, 1 for the examples that stand for a
    concept. 1 on the diagonal, 0 for concepts at right angles. NaN for a concept without examples, or whose examples
    have no mean direction; a representation of zeros points nowhere, which is NaN too.

    (The peer's matrix without the ratio is overwritten by its diagonal, and the sum is over unnormed examples there.)

    >>> similarity_matrix(jnp.array([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]]), jnp.array([[1, 0], [1, 0], [0, 1]])).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    chex.assert_rank([representations, concepts], 2)
    chex.assert_equal_shape_prefix([representations, concepts], 1)
    length = jnp.sqrt(jnp.sum(representations**2, 1, keepdims=True))
    direction = representations / jnp.broadcast_to(length, representations.shape)
    members = concepts.astype(direction.dtype)
    share = members / jnp.sum(members, 0, keepdims=True)
    # the mean over pairs of products is the product of means
    mean = matmul(share.T, direction)
    inner = matmul(mean, mean.T)
    within = jnp.sqrt(jnp.sum(mean**2, 1))
    return jnp.abs(inner) / (within[:, None] * within[None, :])


def separability(representations: Array, concepts: Array) -> Array:
    """Give one less the mean of `similarity_matrix` over pairs of concepts, `[]`: 1 at right angles, 0 where alike."""
    matrix = similarity_matrix(representations, concepts)
    count = matrix.shape[0]
    if count < 2:
        raise ValueError(f"want at least 2 concepts, for a pair, got {count}")
    return 1 - jnp.sum(jnp.where(jnp.eye(count, dtype=bool), 0, matrix)) / (count * (count - 1))
