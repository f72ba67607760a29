"""Minimum description length: what a probe saves in sending labels, its learning included (Voita and Titov 2020).

    ends = block_ends(len(y))                                        # .1, .2, .4 ... 50, 100% of the examples
    code = online(probe, x, y, key, ends=ends, classes=12)           # bits
    code.compression                                                 # of labels of equal length

Accuracy does not tell a representation that shows a property plainly from one that a probe has to learn by heart. The
online code does: labels are sent in blocks, each with the probabilities of a probe fitted to the blocks before it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key
from interp_jax.probes.controls import Probe

SHARES = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)
"""Where the paper's blocks end (appendix A.1)."""


class Code(NamedTuple):
    """Lengths in bits.

    total: `[]`. blocks: `[S]`, of each block; the first is sent with equal lengths. uniform: `[]`, of all with equal
    lengths. compression: `[]`, uniform over total: 1 for what tells nothing.
    """

    total: Array
    blocks: Array
    uniform: Array
    compression: Array


def block_ends(n: int, shares: Sequence[float] = SHARES) -> tuple[int, ...]:
    """Give the numbers of examples at which blocks end; blocks that would be empty are left out.

    >>> block_ends(1000)
    (1, 2, 4, 8, 16, 32, 62, 125, 250, 500, 1000)
    """
    checks.whole(1, n=n)
    if not shares or any(not 0 < share <= 1 for share in shares) or sorted(shares) != [*shares] or shares[-1] != 1:
        raise ValueError(f"want shares in (0, 1] that rise to 1, got {[*shares]}")
    ends = sorted({int(share * n) for share in shares} - {0})
    return tuple(ends)


def online(
    probe: Probe, x: Array, y: Array, key: Key, *, ends: Sequence[int], classes: int, prior: ArrayLike = 0.5
) -> Code:
    """Give the online (prequential) code of labels (section 3.2, eq. 6).

        L = n_1 log2 C - sum_i log2 p_i(y of block i + 1 | x of block i + 1)

    A class that no block before has shown gets probability 0 from a probe, and its first label would cost infinitely
    many bits. So p is `(n q + prior) / (n + C prior)`, with q the probe's and n the examples it was fitted to: a proper
    code, whose excess vanishes with n; 1/2 is Krichevsky and Trofimov's. The paper does not say what it does; its code
    lets networks give every class something.

    Args:
        probe: as `controls.softmax(classes)`.
        x: `[N, D]`.
        y: `[N]`, 0 .. classes - 1.
        key: of the order in which examples are sent; average over several.
        ends: of the blocks, `block_ends(N)`.
        classes: C.
        prior: above 0, in examples.
    """
    checks.whole(2, classes=classes)
    checks.positive(prior=prior)
    chex.assert_rank([x, y], [2, 1])
    chex.assert_equal_shape_prefix([x, y], 1)
    ends = tuple(ends)
    if not ends or ends[0] < 1 or sorted(set(ends)) != [*ends] or ends[-1] != len(y):
        raise ValueError(f"want ends that rise from at least 1 to {len(y)} examples, got {[*ends]}")
    order = jax.random.permutation(keys.stream(key, "order of transmission"), len(y))
    x, y = x[order], y[order]
    place = jnp.arange(len(y))
    uniform = jnp.log2(classes)

    def block(edges: tuple[Array, Array]) -> Array:
        start, end = edges
        logits = probe(x, y, (place < start).astype(x.dtype), x)
        chex.assert_shape(logits, (len(y), classes))
        share = jnp.take_along_axis(jax.nn.softmax(logits, 1), y[:, None], 1, mode="fill", fill_value=jnp.nan)[:, 0]
        bits = -jnp.log2((start * share + prior) / (start + classes * prior))
        return jnp.sum(jnp.where((place >= start) & (place < end), bits, 0))

    edges = (jnp.array(ends[:-1], jnp.int32), jnp.array(ends[1:], jnp.int32))
    rest = jax.lax.map(block, edges) if len(ends) > 1 else jnp.zeros(0)
    blocks = jnp.concatenate([jnp.atleast_1d(ends[0] * uniform), rest])
    total = jnp.sum(blocks)
    return Code(total, blocks, len(y) * uniform, len(y) * uniform / total)
