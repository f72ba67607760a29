"""Nets that need the batch in training: `apply_batch(params, stats, xs) -> (ys, stats)`, and `freeze` for one example.

Statistics never sit in params, or the optimiser and the tangent kernel would differentiate them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

from interp_jax.core import keys
from interp_jax.core.types import Apply, Array, Key, PyTree
from interp_jax.models.nets import Net

ApplyBatch = Callable[..., tuple[Any, PyTree]]
"""`(params, stats, xs, training=True) -> (ys, stats)`, xs and ys with a leading axis of examples.

In training the batch's own statistics are used and the running ones brought forward; otherwise these are used.
"""


class BatchNet(NamedTuple):
    """init: `key -> (params, stats)`. apply_batch: see `ApplyBatch`."""

    init: Callable[[Key], tuple[PyTree, PyTree]]
    apply_batch: ApplyBatch


class Layer(Protocol):
    """A layer without params, such as `concepts.whitening.Whitening`."""

    def init(self) -> PyTree:
        """Give the first statistics."""
        ...

    def apply_batch(self, params: PyTree, stats: PyTree, xs: Array, *, training: bool = True) -> tuple[Array, PyTree]:
        """See `ApplyBatch`."""
        ...


def freeze(apply_batch: ApplyBatch, stats: PyTree) -> Apply:
    """Give `apply(params, x)` of ONE example, with the running statistics as they are.

    >>> import jax.numpy as jnp
    >>> centred = lambda params, stats, xs, training=True: (xs - (xs.mean() if training else stats), stats)
    >>> freeze(centred, jnp.float32(1))((), jnp.ones(3)).tolist()
    [0.0, 0.0, 0.0]
    """

    def apply(params: PyTree, x: PyTree) -> Any:
        ys, _ = apply_batch(params, stats, jax.tree.map(lambda leaf: leaf[None], x), training=False)
        return jax.tree.map(lambda leaf: leaf[0], ys)

    return apply


def between(before: Net, layer: Layer, after: Net) -> BatchNet:
    """Put a layer between two nets of one example; params are `{"before": ..., "after": ...}`."""

    def init(key: Key) -> tuple[PyTree, PyTree]:
        params = {name: net.init(keys.stream(key, name)) for name, net in (("before", before), ("after", after))}
        return params, layer.init()

    def apply_batch(params: PyTree, stats: PyTree, xs: Array, *, training: bool = True) -> tuple[Any, PyTree]:
        features = jax.vmap(before.apply, (None, 0))(params["before"], xs)
        ys, stats = layer.apply_batch((), stats, features, training=training)
        return jax.vmap(after.apply, (None, 0))(params["after"], ys), stats

    return BatchNet(init, apply_batch)
