"""Cotangents taken apart: what comes from the head of a model, and what each example masks of it.

Behind a pooled layer the cotangent of output k is often `g[k, place, channel] = a[k, channel] m[place, channel]`: a
comes from the head's weights and is the same for every example, m is the derivative of a ReLU and the same for every
output. `pull` evaluates the jaxpr of a pullback and keeps such products apart, so that a Gram matrix needs neither an
axis for outputs in m nor one for examples in a.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Literal

from interp_jax.core.types import Array
from interp_jax.ntk.structure import INLINED, bind, inner


class Known(NamedTuple):
    """A value that no cotangent had a part in. free: nor had the input. zero: it is zero for certain."""

    value: Any
    free: bool
    zero: bool = False


class Pulled(NamedTuple):
    """A cotangent `[R, ...]` for R outputs: `a * mask`, where a is `[R, ...]` and mask `[...]`, or None for ones.

    free: the input had no part in a; only then is there a mask. constant: axes of `[...]` along which a is constant.
    """

    a: Array
    mask: Array | None = None
    free: bool = False
    constant: frozenset[int] = frozenset()

    def whole(self) -> Array:
        """Give `[R, ...]`."""
        return self.a if self.mask is None else self.a * self.mask[None]

    def masked(self) -> Array:
        """Give the mask, ones if there is none."""
        return jnp.ones(self.a.shape[1:], self.a.dtype) if self.mask is None else self.mask


Value = Known | Pulled
ALIKE = {"neg", "convert_element_type", "copy"}
REARRANGING = {"broadcast_in_dim", "reshape", "transpose", "squeeze", "rev"} | ALIKE


def pull(jaxpr: ClosedJaxpr, known: Sequence[Known], basis: Array) -> list[Value]:
    """Evaluate `jaxpr(*known, cotangent)` for every cotangent in the rows of `basis`, which no input had a part in."""
    return _run(jaxpr, [*known, Pulled(basis, free=True)])


def _run(jaxpr: ClosedJaxpr, args: Sequence[Value]) -> list[Value]:
    found: dict[Any, Value] = {}
    found.update(zip(jaxpr.jaxpr.constvars, [Known(value, True) for value in jaxpr.consts], strict=True))
    found.update(zip(jaxpr.jaxpr.invars, args, strict=True))

    def look(atom: Any) -> Value:
        return Known(atom.val, True, _is_zero(atom.val)) if isinstance(atom, Literal) else found[atom]

    for eqn in jaxpr.jaxpr.eqns:
        found.update(zip(eqn.outvars, _step(eqn, [look(atom) for atom in eqn.invars]), strict=True))
    return [look(atom) for atom in jaxpr.jaxpr.outvars]


def _step(eqn: Any, args: list[Value]) -> Sequence[Value]:
    """Evaluate one equation: once, factor by factor, or for every cotangent."""
    name = eqn.primitive.name
    if name in INLINED:
        return _run(inner(eqn.params), args)
    known = [arg for arg in args if isinstance(arg, Known)]
    pulled = [(i, arg) for i, arg in enumerate(args) if isinstance(arg, Pulled)]
    if not pulled:
        free = all(arg.free for arg in known)
        zero = name in REARRANGING and known[0].zero
        return [Known(value, free, zero) for value in bind(eqn, [arg.value for arg in known])]
    if len(pulled) == 1:
        at, one = pulled[0]
        apart = None
        if name in ("mul", "div") and (name == "mul" or at == 0):
            apart = _scale(eqn, one, at, known[0])
        elif name == "select_n" and len(known) == 2 and at > 0:
            apart = _select(one, at, *known)
        elif name in REARRANGING and not known:
            apart = _rearrange(eqn, one)
        elif name == "conv_general_dilated" and at == 0:
            apart = _convolve(eqn, one, known[0])
        if apart is not None:
            return [apart]
    free = all(arg.free for arg in known) and all(arg.free and arg.mask is None for _, arg in pulled)
    values = [arg.whole() if isinstance(arg, Pulled) else arg.value for arg in args]
    return [Pulled(value, free=free) for value in _each(eqn, values, [i for i, _ in pulled])]


def _scale(eqn: Any, one: Pulled, at: int, other: Known) -> Pulled | None:
    """Multiply or divide: a by what the input has no part in, else the mask."""
    number = jnp.ndim(other.value) == 0
    if other.free and (number or one.mask is None):
        values = [one.a, other.value] if at == 0 else [other.value, one.a]
        (a,) = _each(eqn, values, [at])
        return one._replace(a=a, constant=one.constant if number else frozenset())
    if not one.free:
        return None
    mask = one.masked()
    return one._replace(mask=mask * other.value if eqn.primitive.name == "mul" else mask / other.value)


def _select(one: Pulled, at: int, predicate: Known, other: Known) -> Pulled | None:
    """Choose between a cotangent and zero, place by place."""
    if not (one.free and other.zero) or jnp.ndim(predicate.value) == 0:
        return None
    mask = one.masked()
    cases = (mask, jnp.zeros_like(mask)) if at == 1 else (jnp.zeros_like(mask), mask)
    return one._replace(mask=jax.lax.select_n(predicate.value, *cases))


def _convolve(eqn: Any, one: Pulled, kernel: Known) -> Pulled | None:
    """Convolve the mask alone, with a kernel for every cotangent: `conv(a_k m, W) = conv(m, a_k W)`.

    Where a is constant but for the channels. One convolution to many channels is twice as fast on a CPU as many.
    """
    channel, groups = eqn.params["dimension_numbers"].lhs_spec[1], ("feature_group_count", "batch_group_count")
    everywhere = frozenset(range(one.a.ndim - 1)) - {channel}
    varying = {i for i in everywhere if one.a.shape[1 + i] > 1}
    if one.mask is None or not one.free or not varying <= one.constant or any(eqn.params[g] > 1 for g in groups):
        return None
    features, inputs, *_ = eqn.params["dimension_numbers"].rhs_spec
    rows, shape = one.a.shape[0], kernel.value.shape
    a = one.a.transpose(0, 1 + channel, *(1 + i for i in everywhere))[(..., *(0,) * len(everywhere))]
    a = jnp.expand_dims(a, [1 + i for i in range(len(shape)) if i != inputs])
    folded = jnp.moveaxis(a * kernel.value[None], 0, features)
    folded = folded.reshape(*shape[:features], rows * shape[features], *shape[features + 1 :])
    (y,) = bind(eqn, [one.mask, folded])
    out = eqn.params["dimension_numbers"].out_spec[1]
    y = y.reshape(*y.shape[:out], rows, shape[features], *y.shape[out + 1 :])
    return Pulled(jnp.moveaxis(y, out, 0))


def _rearrange(eqn: Any, one: Pulled) -> Pulled:
    """Rearrange both factors alike."""
    (a,) = _each(eqn, [one.a], [0])
    mask = one.mask if one.mask is None or eqn.primitive.name == "neg" else bind(eqn, [one.mask])[0]
    return Pulled(a, mask, one.free, _constant(eqn, one))


def _constant(eqn: Any, one: Pulled) -> frozenset[int]:
    """Tell along which axes a stays constant under a rearrangement."""
    name, params = eqn.primitive.name, eqn.params
    if name in ALIKE:
        return one.constant
    if name == "broadcast_in_dim":
        places, shape = params["broadcast_dimensions"], params["shape"]
        kept = {place for i, place in enumerate(places) if i not in one.constant and one.a.shape[1 + i] == shape[place]}
        return frozenset(range(len(shape))) - kept
    if name == "transpose":
        return frozenset(i for i, j in enumerate(params["permutation"]) if j in one.constant)
    return frozenset()


def _each(eqn: Any, values: list[Any], over: Sequence[int]) -> list[Array]:
    """Evaluate an equation for every cotangent."""
    axes = [0 if i in over else None for i in range(len(values))]
    return jax.vmap(lambda *args: bind(eqn, args), axes)(*values)


def _is_zero(value: Any) -> bool:
    return not isinstance(value, jax.Array) and jnp.ndim(value) == 0 and bool(value == 0)
