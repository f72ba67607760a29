"""Data sets made of independent factors: what a generator provides, and how to draw from one.

A generator is a `FactorSet`: the factors' names and numbers of classes, the image's shape, and `render(factors,
key)`, which draws ONE image. Everything here works for any of them. Class vectors are `[F]` int32; their row-major
number (the last factor runs fastest) is the `index`, as in the published dSprites and Shapes3D files.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class FactorSet:
    """A data set that is a function of independent factors.

    names: of the factors, `F` of them. sizes: the number of classes of each. shape: `(H, W, C)` of an image, values
    in [0, 1]. render: `render(factors [F] int, key=None) -> [H, W, C]` float32, one image. What is random in an image
    and no factor (a colour, noise, a background) comes from the key; a set without such nuisance ignores it.
    """

    names: tuple[str, ...]
    sizes: Sizes
    shape: tuple[int, int, int]
    render: Callable[..., Array]


def count(sizes: Sizes) -> int:
    """Count the combinations of factors.

    >>> count((3, 6, 40, 32, 32))
    737280
    """
    return math.prod(sizes)


def index(sizes: Sizes, factors: ArrayLike) -> Array:
    """Number one combination `[F]` of factors, row-major. Gives int32 `[]`, -1 where a factor is out of range.

    >>> int(index((3, 6, 40, 32, 32), jnp.array([1, 0, 0, 0, 2])))
    245762
    """
    classes, valid = checked(sizes, factors)
    return jnp.where(valid, jnp.sum(classes * _strides(sizes)), -1)


def factors(sizes: Sizes, index: ArrayLike) -> Array:
    """Give the combination `[F]` int32 with this number `[]`, the inverse of `index`; all -1 if out of range.

    >>> factors((3, 6, 40, 32, 32), 245762).tolist()
    [1, 0, 0, 0, 2]
    """
    number = jnp.asarray(index, jnp.int32)
    chex.assert_rank(number, 0)
    if checks.concrete(index) is not None and not 0 <= int(index) < count(sizes):  # pyrefly: ignore
        raise ValueError(f"want 0 <= index < {count(sizes)}, got index={int(index)}")  # pyrefly: ignore
    classes = (number // _strides(sizes)) % jnp.array(sizes, jnp.int32)
    return jnp.where((number >= 0) & (number < count(sizes)), classes, -1)


def checked(sizes: Sizes, factors: ArrayLike, names: tuple[str, ...] | None = None) -> tuple[Array, Array]:
    """Give the factors as int32 `[F]`, and whether all are in range, a bool `[]`.

    Raises ValueError for concrete factors out of range, by name; under `jit` and `vmap` only the flag tells.
    """
    classes = jnp.asarray(factors)
    chex.assert_shape(classes, (len(sizes),))
    chex.assert_type(classes, int)
    values = checks.concrete(factors)
    for i, size in enumerate(sizes if values is not None else ()):
        if not 0 <= values[i] < size:  # pyrefly: ignore
            name = names[i] if names else f"factors[{i}]"
            raise ValueError(f"want 0 <= {name} < {size}, got {name}={int(values[i])}")  # pyrefly: ignore
    return classes.astype(jnp.int32), jnp.all((classes >= 0) & (classes < jnp.array(sizes)))


def sample_factors(key: Key, sizes: Sizes, n: int) -> Array:
    """Draw `n` combinations, uniform and independent, with replacement. Gives `[n, F]` int32."""
    checks.whole(0, n=n)
    return jax.random.randint(key, (n, len(sizes)), 0, jnp.array(sizes, jnp.int32)[None, :])


def sample_fixed(key: Key, sizes: Sizes, n: int, which: ArrayLike, value: ArrayLike | None = None) -> Array:
    """Draw `n` combinations that share factor `which`; the others vary. Gives `[n, F]` int32.

    which: a factor's position `[]`, or several `[K]`; may be traced, so a metric can draw the factor too.
    value: the shared class, of the shape of `which`; drawn uniformly if None (Kim and Mnih 2018, the FactorVAE score).
    """
    held = _position(sizes, which)
    drawn = sample_factors(key, sizes, n)
    shared = drawn[0][held] if value is None else jnp.asarray(value, jnp.int32)
    chex.assert_equal_shape([held, shared])
    return drawn.at[:, held].set(jnp.broadcast_to(shared, (n, *held.shape)))


def sample_pairs(key: Key, sizes: Sizes, n: int, which: ArrayLike) -> tuple[Array, Array]:
    """Draw `n` pairs of combinations; the two of a pair agree in factor `which`, whose class differs from pair to pair.

    This is the batch of the BetaVAE score (Higgins et al. 2017). which: as in `sample_fixed`. Gives two `[n, F]` int32.
    """
    held = _position(sizes, which)
    first = sample_factors(keys.stream(key, "first"), sizes, n)
    second = sample_factors(keys.stream(key, "second"), sizes, n)
    return first, second.at[:, held].set(first[:, held])


def sample_changes(key: Key, sizes: Sizes, n: int, changes: ArrayLike | None = None) -> tuple[Array, Array, Array]:
    """Draw `n` pairs that share all factors but some: weak supervision (Locatello et al. 2020).

    changes: how many factors are drawn again in the second of a pair, `[]` or `[n]`, at least 1 and fewer than F; of
    each pair a number of its own, uniform from 1 to F - 1, if None. A factor drawn again may fall on its old class.
    Gives two `[n, F]` int32 and which factors were drawn again, `[n, F]` booleans.
    """
    width = len(sizes)
    if width < 2:
        raise ValueError(f"want at least 2 factors, for some to change and some to stay, got {sizes=}")
    if changes is None:
        changes = jax.random.randint(keys.stream(key, "changes"), (n,), 1, width)
    checks.entries(1, width - 1, changes=changes)
    first = sample_factors(keys.stream(key, "first"), sizes, n)
    second = sample_factors(keys.stream(key, "second"), sizes, n)
    order = jax.vmap(lambda k: jax.random.permutation(k, width))(jax.random.split(keys.stream(key, "which"), n))
    again = order < jnp.broadcast_to(jnp.asarray(changes, jnp.int32), (n,))[:, None]
    return first, jnp.where(again, second, first), again


def images(data: FactorSet, factors: ArrayLike, key: Key | None = None) -> Array:
    """Render many combinations `[N, F]` -> `[N, H, W, C]`; image i draws its nuisance from `keys.at(key, i)`."""
    rows = jnp.asarray(factors)
    chex.assert_shape(rows, (None, len(data.sizes)))
    if key is None:
        return jax.vmap(lambda row: data.render(row))(rows)
    each = jax.vmap(lambda i: keys.at(key, i))(jnp.arange(rows.shape[0]))
    return jax.vmap(data.render)(rows, each)


def sample_images(data: FactorSet, key: Key, n: int) -> tuple[Array, Array]:
    """Draw `n` images `[n, H, W, C]` and their factors `[n, F]`, with replacement: the study's infinite stream."""
    drawn = sample_factors(keys.stream(key, "factors"), data.sizes, n)
    return images(data, drawn, keys.stream(key, "nuisance")), drawn


def need_key(key: Key | None, what: str) -> Key:
    """Give the key, or say that this generator has nuisance and needs one."""
    if key is None:
        raise ValueError(f"{what} draws its nuisance from a key: render(factors, key)")
    return key


def _strides(sizes: Sizes) -> Array:
    if count(sizes) >= 2**31:
        raise ValueError(f"want fewer than 2**31 combinations, got sizes={sizes}")
    return jnp.array([math.prod(sizes[i + 1 :]) for i in range(len(sizes))], jnp.int32)


def _position(sizes: Sizes, which: ArrayLike) -> Array:
    values = checks.concrete(which)
    if values is not None and not np.all((values >= 0) & (values < len(sizes))):
        raise ValueError(f"want 0 <= which < {len(sizes)}, got which={values.tolist()}")
    return jnp.asarray(which, jnp.int32)
