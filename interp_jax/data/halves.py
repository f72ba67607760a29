"""Two-class concepts on a lattice of factors, fair coins by design: is the class of a factor in its upper half?

Whatever the number of classes, each concept is true of half the images drawn, and two of them are independent, or as
correlated as one likes: the halves are drawn first, and then a class within each. So chance is 1/2; and what a probe
took from a second concept that went along in its lessons is seen where the two are independent.
"""

import chex
import jax
import jax.numpy as jnp

from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key
from interp_jax.data.factors import Sizes


def upper(sizes: Sizes, factors: Array) -> Array:
    """Tell which classes `[..., F]` lie in the upper half of their factor; the middle one of an odd number does not.

    >>> upper((3, 4), jnp.array([1, 2])).tolist()
    [False, True]
    """
    return factors >= jnp.broadcast_to(_middle(sizes), factors.shape)


def draw(key: Key, sizes: Sizes, n: int, pair: ArrayLike | None = None, *, correlation: ArrayLike = 0.0) -> Array:
    """Draw `n` combinations `[n, F]` int32 whose halves are fair coins; the halves of one pair of factors correlate.

    Args:
        key: of the draw; with the same key and another correlation, all halves but the second of the pair stay.
        sizes: the number of classes of each factor; within a half all classes are as likely.
        n: how many.
        pair: `[2]` int, two different factors; may be traced. None: all are independent.
        correlation: of the two halves, from -1 to 1: they agree with probability `(1 + correlation) / 2`.

    Raises:
        ValueError: a factor of one class, which has no halves; a pair or correlation known to be out of range.
    """
    checks.whole(0, n=n)
    if min(sizes) < 2:
        raise ValueError(f"want factors of 2 classes or more, which have halves, got {sizes=}")
    halves = jax.random.bernoulli(keys.stream(key, "halves"), 0.5, (n, len(sizes)))
    if pair is not None:
        checks.entries(0, len(sizes) - 1, pair=pair)
        checks.between(-1, 1, correlation=correlation)
        one, other = _two(pair)
        agree = jax.random.uniform(keys.stream(key, "agree"), (n,)) < (1 + correlation) / 2
        halves = halves.at[:, other].set(agree == halves[:, one])
    middle, top = (jnp.broadcast_to(each, halves.shape) for each in (_middle(sizes), jnp.array(sizes)))
    low, high = jnp.where(halves, middle, 0), jnp.where(halves, top, middle)
    return jax.random.randint(keys.stream(key, "classes"), halves.shape, low, high)


def _middle(sizes: Sizes) -> Array:
    return (jnp.array(sizes, jnp.int32) + 1) // 2


def _two(pair: ArrayLike) -> tuple[Array, Array]:
    known = checks.concrete(pair)
    if known is not None and len({*known.tolist()}) < 2:
        raise ValueError(f"want a pair of two different factors, got {known.tolist()}")
    places = jnp.asarray(pair, jnp.int32)
    chex.assert_shape(places, (2,))
    return places[0], places[1]
