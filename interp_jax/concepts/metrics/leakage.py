"""What concept representations carry beyond the concepts, in nats: about each other (ICL) and about the task (CTL).

Scores of Parisini et al. (2025) by nearest neighbours, each `information of the representation - information of the
concept`, both by the same estimator, so that hard concepts that are right leak 0 exactly. The information about the
task given the concepts, which no estimate of one concept at a time can see, is `conditional.conditional_leakage`.

The ratio forms are the paper's, and have defects. `H(z) = I(z, z)` of a continuous variable is infinite, and what
nearest neighbours make of it, `psi(N) - psi(3)`, is the same for every z and grows with N: 5.99 nats at 1,000 rows and
8.29 at 10,000, so interconcept ratios fall with N and change as soon as a soft concept saturates. Cutting at zero turns
noise into leakage. The peer's code counts `N * m` samples in m dimensions, which adds log m to every estimate of an
embedding (independent Gaussian "concepts" of 64 dimensions leak .42), breaks ties by noise of 1e-10 means (none at all
where the mean is 0), and uses Euclidean distances for the task and Chebyshev's for pairs.

Neighbours see less in many dimensions: of .5 nat between a bit and m normals, one direction of which tells it, `ross`
with 1,000 rows finds 1.01 at m = 1 to 4, .98 at 8, .89 at 16 and .56 at 64 (standard error .01; that of one estimate is
.02 nat). Its mean without information was within .003 nat of 0 at each (standard error .0035).
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.concepts.metrics import inputs
from interp_jax.core.information import entropy, ksg, ross
from interp_jax.core.types import Array


class TaskLeakage(NamedTuple):
    """nats: `[]`, mean of each, not cut. ratio: `[]`, the paper's CTL. each, representation, concept: `[k]`, in nats.

    entropy: `[]`, of the labels, in nats.
    """

    nats: Array
    ratio: Array
    each: Array
    representation: Array
    concept: Array
    entropy: Array


class InterconceptLeakage(NamedTuple):
    """nats: `[]`, mean over pairs, not cut. ratio: `[]`, the paper's ICL. own: `[k]`, what that takes for entropies.

    each, representation, concept: `[P]`, in nats, of the P = k (k - 1) / 2 pairs of `np.triu_indices(k, 1)`.
    """

    nats: Array
    ratio: Array
    each: Array
    representation: Array
    concept: Array
    own: Array


def concept_task_leakage(
    representations: Array, concepts: Array, labels: Array, *, classes: int, k: int = 3
) -> TaskLeakage:
    """Give `I(representation; y) - I(concept; y)` of each concept (Parisini et al. 2025, CTL), by `ross`.

    representations: `[N, k]` or `[N, k, m]`, standardised here. concepts: `[N, k]`, 0 or 1. labels: `[N]` int in [0,
    classes). k: neighbours.

    ratio: `mean max(0, I / H(y) - I(concept) / H(y))`; NaN where there is one label. A concept that does not vary has 0
    information of its own, so all of its representation's is leakage. Negative for a representation that says less than
    its concept. Not leakage in the sense of a causal claim: whatever the encoder knows of y counts, also what other
    concepts would have told. O(N^2) for each concept.
    """
    inputs.paired(representations, concepts)
    x, valid = inputs.checked(representations, concepts)
    chex.assert_rank(labels, 1)
    valid &= jnp.all((labels >= 0) & (labels < classes))
    both = jnp.stack([_standard(x), _padded(concepts, x)])
    estimate = jax.lax.map(lambda z: ross(z, labels, k=k), both.reshape(-1, *both.shape[2:]))
    predicted, true = jnp.where(valid, estimate, jnp.nan).reshape(2, -1)
    top = entropy(jnp.sum(jax.nn.one_hot(labels, classes), 0))
    ratio = jnp.mean(jnp.maximum(predicted - true, 0)) / jnp.where(top > 0, top, jnp.nan)
    return TaskLeakage(jnp.mean(predicted - true), ratio, predicted - true, predicted, true, top)


def interconcept_leakage(representations: Array, concepts: Array, *, k: int = 3) -> InterconceptLeakage:
    """Give `I(representation i; representation j) - I(concept i; concept j)` of each pair (ICL), by `ksg`.

    (Parisini et al. 2025.) representations: `[N, k]` or `[N, k, m]`, standardised here; k at least 2. concepts: `[N,
    k]`, 0 or 1. k: neighbours.

    ratio: `mean max(0, I_ij / sqrt(H_i H_j) - I_ij / sqrt(H_i H_j) of the concepts)`, with `I(z, z)` for H(z); the
    module says why not to rely on it. NaN if a concept does not vary (nats are defined there). O(N^2) for each pair.
    """
    inputs.paired(representations, concepts)
    if concepts.shape[1] < 2:
        raise ValueError(f"want at least 2 concepts, for a pair, got {concepts.shape[1]}")
    x, valid = inputs.checked(representations, concepts)
    one, two = np.triu_indices(concepts.shape[1], 1)
    diagonal = np.arange(concepts.shape[1])
    pairs = np.concatenate([one, diagonal]), np.concatenate([two, diagonal])

    def estimate(z: Array) -> tuple[Array, Array]:
        every = jax.lax.map(lambda p: ksg(z[p[0]], z[p[1]], k=k), tuple(map(jnp.asarray, pairs)))
        return jnp.where(valid, every[: len(one)], jnp.nan), every[len(one) :]

    (predicted, own), (true, true_own) = (estimate(z) for z in (_standard(x), _padded(concepts, x)))
    true_own = jnp.where(inputs.varying(concepts), true_own, jnp.nan)
    root, true_root = (jnp.sqrt(h[one] * h[two]) for h in (jnp.where(own > 0, own, jnp.nan), true_own))
    equal = (predicted == true) & (root == true_root)  # or a fused product would leave a rounding
    excess = jnp.where(equal, 0, predicted / root - true / true_root)
    ratio = jnp.mean(jnp.maximum(excess, 0))
    return InterconceptLeakage(jnp.mean(predicted - true), ratio, predicted - true, predicted, true, own)


def _standard(x: Array) -> Array:
    """Give representations `[N, k, m]` as `[k, N, m]`, each unit standardised."""
    n, count, units = x.shape
    flat = inputs.standardised(x.reshape(n, -1), jnp.ones(n, x.dtype))
    return jnp.swapaxes(flat.reshape(n, count, units), 0, 1)


def _padded(concepts: Array, x: Array) -> Array:
    """Give concepts `[N, k]` as `[k, N, m]`, the first unit standardised, the others 0: one program for both."""
    units = x.shape[2]
    first = _standard(concepts.astype(x.dtype)[:, :, None])
    return jnp.concatenate([first, jnp.zeros((*first.shape[:2], units - 1), x.dtype)], 2)
