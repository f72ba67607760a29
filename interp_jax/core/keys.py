"""Streams of randomness with names, so that a run can be replayed and one source of chance varied alone."""

import hashlib

import jax

from interp_jax.core.types import ArrayLike, Key


def stream(key: Key, name: str) -> Key:
    """Make the independent stream called `name` of a run's key.

    The name enters as 64 bits of its SHA-256, in two folds, so that no stream meets `fold_in(key, small integer)`.
    The randomness of step `t` is `at(stream(key, name), t)`: a restart at any step replays it.

    >>> import jax
    >>> batch = stream(jax.random.key(0), "batch")
    >>> bool((jax.random.key_data(batch) == jax.random.key_data(stream(jax.random.key(0), "noise"))).all())
    False
    """
    digest = hashlib.sha256(name.encode()).digest()
    high, low = int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:8], "big")
    return jax.random.fold_in(jax.random.fold_in(key, high), low)


def at(key: Key, t: ArrayLike) -> Key:
    """Give the key of step `t` of a stream. Do not also `split` that stream: `split(key, n)[i]` is this very key."""
    return jax.random.fold_in(key, t)
