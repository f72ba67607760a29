"""Index streams without state: which example comes when, so a restart at any step replays.

Both streams cost work in proportion to the batch, whatever the size of the data.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key, PyTree

_ROUNDS = 24


def uniform_indices(key: Key, t: ArrayLike, n: int, batch: int) -> Array:
    """Draw step t's `[batch]` int32 indices below `n`, uniform, with replacement (the disentanglement study's way).

    >>> key = jax.random.key(0)
    >>> uniform_indices(key, 3, 10, 4).shape
    (4,)
    """
    checks.whole(1, n=n, batch=batch)
    return jax.random.randint(keys.at(key, t), (batch,), 0, n)


def batches(size: int) -> Callable[[PyTree, Key, ArrayLike], PyTree]:
    """Make `batch(data, key, t)` for `train.trainer`: the same random rows of every array, drawn as `uniform_indices`.

    >>> xs, labels = batches(2)((jnp.zeros((9, 3)), jnp.arange(9)), jax.random.key(0), 0)
    >>> xs.shape, labels.shape
    ((2, 3), (2,))
    """
    checks.whole(1, size=size)

    def batch(data: PyTree, key: Key, t: ArrayLike) -> PyTree:
        rows = uniform_indices(key, t, len(jax.tree.leaves(data)[0]), size)
        return jax.tree.map(lambda leaf: leaf[rows], data)

    return batch


def epoch_indices(key: Key, t: ArrayLike, n: int, batch: int) -> Array:
    """Give the `[batch]` int32 indices of step `t`, without replacement: every index below `n` once an epoch.

    The stream is one random permutation after another, an epoch's from `keys.at(key, epoch)`; a batch may end one
    epoch and begin the next, so no example is dropped. The permutation is computed where it is asked for
    (`permuted`), never as a whole.

    >>> draw = jax.jit(lambda t: epoch_indices(jax.random.key(0), t, n=6, batch=6))
    >>> sorted(draw(0).tolist())
    [0, 1, 2, 3, 4, 5]
    """
    checks.whole(1, n=n, batch=batch)
    if (n + 1) * batch >= 2**31:
        raise ValueError(f"want (n + 1) * batch < 2**31, got {n=}, {batch=}")
    step = jnp.asarray(t, jnp.int32)
    # Position t * batch + i, kept below 2^31: n steps are exactly `batch` epochs.
    place = (step % n) * batch + jnp.arange(batch, dtype=jnp.int32)
    first, behind = place[0] // n, place // n - place[0] // n
    epochs = (step // n) * batch + first + jnp.arange(batch // n + 2, dtype=jnp.int32)
    rounds = jax.vmap(lambda epoch: _rounds(keys.at(key, epoch), n))(epochs)
    return jax.vmap(lambda i, late: _shuffled(i, rounds[late], n))(place % n, behind)


def permuted(key: Key, i: ArrayLike, n: int) -> Array:
    """Give element `i` `[]` of the key's random permutation of `0 .. n - 1`, without making the others.

    Swap-or-not (Hoang, Morris and Rogaway 2012): round r pairs x with `pivot_r - x` mod n, and a keyed coin of the pair
    decides whether the two change places. Each round is a permutation of exactly n things. An element is moved to a
    uniform place with probability 1/2 a round; 24 rounds leave no trace that millions of draws would show. Not for
    cryptography: the coins come from a 32-bit mixing function.
    """
    checks.whole(1, n=n)
    chex.assert_shape(jnp.asarray(i), ())
    return _shuffled(jnp.asarray(i, jnp.int32), _rounds(key, n), n)


def split(key: Key, n: int, held_out: int) -> tuple[Array, Array]:
    """Split `0 .. n - 1` at random into `[n - held_out]` for training and `[held_out]` for testing, both int32.

    >>> train, test = split(jax.random.key(0), 10, 3)
    >>> sorted([*train.tolist(), *test.tolist()])
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    checks.whole(0, n=n, held_out=held_out)
    if held_out > n:
        raise ValueError(f"want held_out <= n, got {held_out=}, {n=}")
    order = jax.random.permutation(key, n).astype(jnp.int32)
    return order[held_out:], order[:held_out]


def _mix(x: Array) -> Array:
    """Mix 32 bits (the murmur3 finaliser)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def _rounds(key: Key, n: int) -> Array:
    """Draw a pivot below `n` and a salt for each round, uint32 `[_ROUNDS, 2]`."""
    return jax.random.bits(key, (_ROUNDS, 2)) % jnp.array([[n, 2**32 - 1]], jnp.uint32)


def _shuffled(i: Array, rounds: Array, n: int) -> Array:
    def swap_or_not(x: Array, round: Array) -> tuple[Array, None]:
        pivot, salt = round[0].astype(jnp.int32), round[1]
        other = jnp.where(x > pivot, pivot - x + n, pivot - x)
        coin = _mix(jnp.maximum(x, other).astype(jnp.uint32) ^ salt) >> 31
        return jnp.where(coin == 1, other, x), None

    # Unrolled: on a GPU one kernel instead of one a round. Behind a barrier: XLA would write the rounds anew into
    # whatever reads the rows, and each names the one before three times, so that compiling doubles a round (jax 0.12).
    moved = jax.lax.scan(swap_or_not, i, rounds, unroll=True)[0]
    return jax.lax.optimization_barrier(moved)
