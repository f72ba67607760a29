"""Two-class tasks on dSprites, of one factor or of several, with what a probe is to find: images, labels, codes."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from interp_jax.core.types import Array, Key
from interp_jax.data import dsprites
from interp_jax.data import factors as sets

TASKS: dict[str, Callable[[Array], Array]] = {
    "square": lambda f: f[0] == 0,
    "parity": lambda f: (f[1] >= 3) ^ (f[3] >= 16) ^ (f[4] >= 16),
}
"""By name, `factors [5] -> label`: is it a square; is it an odd number of large, right and low."""


class Rows(NamedTuple):
    """Images of several tasks. xs: `[N, H, W, 1]`. labels: `[tasks, N]` int32. codes: `[N, C]`, `dsprites.code`."""

    xs: Array
    labels: Array
    codes: Array


def draw(key: Key, n: int, *, size: int, tasks: Sequence[str]) -> Rows:
    """Draw `n` images of so many pixels a side, uniform over factors.

    >>> rows = draw(jax.random.key(0), 6, size=8, tasks=("parity",))
    >>> rows.xs.shape, rows.labels.shape, rows.codes.shape
    ((6, 8, 8, 1), (1, 6), (6, 10))
    """
    if unknown := [name for name in tasks if name not in TASKS]:
        raise ValueError(f"want tasks among {[*TASKS]}, got {unknown[0]!r}")
    xs, drawn = sets.sample_images(dsprites.data(size), key, n)
    labels = jnp.stack([jax.vmap(TASKS[name])(drawn) for name in tasks])
    return Rows(xs, labels.astype(jnp.int32), jax.vmap(dsprites.code)(drawn))
