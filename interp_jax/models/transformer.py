"""Transformers as plain functions of stacked parameters: encoders and decoders, with taps and edits at every layer.

One program serves BERT (Devlin et al. 2019), GPT-2 (Radford et al. 2019) and Llama (Touvron et al. 2023), whose
configurations and weights are read by `bert`, `gpt2` and `llama`. With x the residual stream of ONE text, `[T, D]`,

    x <- x + attention(norm(x));  x <- x + mlp(norm(x))        GPT-2, Llama: norms come before
    x <- norm(x + attention(x));  x <- norm(x + mlp(x))        BERT: norms come after

The layers are one `lax.scan`, so compile time does not grow with depth. `forward` returns every residual state and what
each half of each layer adds; what the caller does not use, XLA does not keep. Edits are functions at named sites, so
steering, erasure, ablation and patching compose:

    edits = Edits(state=at(3, lambda x: x + alpha * direction[None]))
    trace = forward(config, params, text, edits=edits)            # trace.states: [L + 1, T, D]

`functools.partial(forward, config)` is an `apply(params, x)` as elsewhere in the library. The caller vmaps over texts:
kernels are not batched then, so that a vmapped dense layer is one matrix product.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import keys
from interp_jax.core.types import Array, ArrayLike, Key, Numpy, PyTree
from interp_jax.data.text import Text

Edit = Callable[[Array, Array], Array]
"""`(layer, value) -> value` at a site; layer is an int32 scalar, traced."""


class Norm(NamedTuple):
    """scale: `[D]`. bias: `[D]`, None without."""

    scale: Array
    bias: Array | None = None


class Dense(NamedTuple):
    """kernel: `[n, m]`, for `x @ kernel + bias`. bias: `[m]`, None without."""

    kernel: Array
    bias: Array | None = None


class Layer(NamedTuple):
    """One layer; in `Params` all of them, stacked along a leading axis.

    qkv: `[D, (heads + 2 groups) size]`: queries, keys and values side by side, head after head. out: `[heads size, D]`.
    up: `[D, hidden]`, or gate and up side by side, `[D, 2 hidden]`. down: `[hidden, D]`.
    """

    attention_norm: Norm
    qkv: Dense
    out: Dense
    mlp_norm: Norm
    up: Dense
    down: Dense


class Params(NamedTuple):
    """tokens: `[V, D]`. positions: `[window, D]`, kinds: `[K, D]`, None without. first, last: norms of states 0 and L.

    head: `[V, D]`; None where the embedding of the tokens serves, or there is none.
    """

    tokens: Array
    positions: Array | None
    kinds: Array | None
    first: Norm | None
    layers: Layer
    last: Norm | None
    head: Array | None


class Trace(NamedTuple):
    """What happened to one text; rows at padded places mean nothing.

    states: `[L + 1, T, D]`: the residual stream before the first layer and after each; before the last norm, where
        there is one (transformers' `hidden_states[-1]` comes after it). final: `[T, D]`, after it.
    heads: `[L, T, heads, size]`: each head's mix of values.
    attention, mlp: `[L, T, D]`: what each half of a layer adds, before the norm that follows in BERT.
    """

    states: Array
    final: Array
    heads: Array
    attention: Array
    mlp: Array


def keep(layer: Array, value: Array) -> Array:
    """Change nothing."""
    return value


class Edits(NamedTuple):
    """What to change on the way, by the field of `Trace`; `layer` is the index into that field, which shows the change.

    So `state` is asked at 0 .. L, the others at 0 .. L - 1.
    """

    state: Edit = keep
    heads: Edit = keep
    attention: Edit = keep
    mlp: Edit = keep


def at(layer: int | Array, change: Callable[[Array], Array]) -> Edit:
    """Make the edit that applies `change` at one layer; the number of the layer may be traced."""
    return lambda number, value: jax.lax.cond(number == layer, change, lambda same: same, value)


def by_layer(change: Callable[[PyTree, Array], Array], values: PyTree) -> Edit:
    """Make the edit `change(values[layer], value)`: an eraser a layer, say, stacked along the leading axis."""
    return lambda number, value: change(jax.tree.map(lambda leaf: leaf[number], values), value)


def compose(*edits: Edit) -> Edit:
    """Do one edit after another, the first one first.

    >>> compose(at(1, lambda x: x + 1), at(1, lambda x: 2 * x))(jnp.asarray(1), jnp.ones(2))
    Array([4., 4.], dtype=float32)
    """

    def edit(layer: Array, value: Array) -> Array:
        for each in edits:
            value = each(layer, value)
        return value

    return edit


@dataclasses.dataclass(frozen=True)
class Rope:
    """Rotary positions (Su et al. 2021). theta: the base. stretch: places a radian, `[size / 2]`, to longer ones."""

    theta: float = 10_000.0
    stretch: Callable[[Numpy], Numpy] | None = None


def layer_norm(norm: Norm, x: Array, epsilon: float) -> Array:
    """`(x - mean) / sqrt(variance + epsilon) * scale + bias` along the last axis, in float32 at least."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    centred = wide - wide.mean(-1, keepdims=True)
    unit = centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + epsilon)
    return _affine(norm, unit.astype(x.dtype))


def rms_norm(norm: Norm, x: Array, epsilon: float) -> Array:
    """`x / sqrt(mean(x^2) + epsilon) * scale` (Zhang and Sennrich 2019), in float32 at least."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    unit = wide * jax.lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + epsilon)
    return _affine(norm, unit.astype(x.dtype))


def _affine(norm: Norm, unit: Array) -> Array:
    scaled = unit * norm.scale[None]
    return scaled if norm.bias is None else scaled + norm.bias[None]


@dataclasses.dataclass(frozen=True)
class Config:
    """What a transformer is beside its parameters.

    groups: heads of keys and values, each shared by `heads / groups` queries (Ainslie et al. 2023). size: of a head.
    after: norms come after each half (BERT). gated: `activation(gate) * up` (Shazeer 2020). rope: None for learned
    positions. tied: whether the embedding of the tokens is also the head.
    """

    vocabulary: int
    window: int
    width: int
    layers: int
    heads: int
    groups: int
    size: int
    hidden: int
    activation: Callable[[Array], Array]
    norm: Callable[[Norm, Array, float], Array] = layer_norm
    epsilon: float = 1e-5
    after: bool = False
    causal: bool = True
    gated: bool = False
    rope: Rope | None = None
    tied: bool = True
    kinds: int = 0
    biases: bool = True


def forward(config: Config, params: Params, text: Text, *, edits: Edits = Edits()) -> Trace:  # noqa: B008
    """Run one text through the model.

    A token that is not in the vocabulary makes NaN of its place and, from the first layer on, of the whole text.

    Raises:
        ValueError: a text longer than the model's window.
    """
    chex.assert_rank([text.ids, text.mask], 1)
    chex.assert_equal_shape([text.ids, text.mask])
    if text.ids.shape[0] > config.window:
        raise ValueError(f"want at most {config.window} tokens, the model's window, got {text.ids.shape[0]}")
    mask = jnp.asarray(text.mask, bool)
    places = jnp.maximum(jnp.cumsum(mask) - 1, 0)  # counts tokens, so that padding may come first
    start = edits.state(jnp.asarray(0), embed(config, params, text, places))
    seen = jnp.tril(jnp.ones((mask.size, mask.size), bool)) & mask[None] if config.causal else mask[None]

    def step(x: Array, numbered: tuple[Array, Layer]) -> tuple[Array, tuple[Array, ...]]:
        return block(config, numbered[1], x, places, seen, edits, numbered[0])

    _, (states, heads, attention, mlp) = jax.lax.scan(step, start, (jnp.arange(config.layers), params.layers))
    states = jnp.concatenate([start[None], states])
    final = states[-1] if params.last is None else config.norm(params.last, states[-1], config.epsilon)
    return Trace(states, final, heads, attention, mlp)


def logits(config: Config, params: Params, final: Array) -> Array:
    """Give the next-token logits after each token, `[T, V]`, from `Trace.final`.

    Raises:
        ValueError: a model that does not predict the next token.
    """
    if not config.causal:
        raise ValueError("want a decoder for next-token logits, got an encoder")
    return final @ (params.tokens if params.head is None else params.head).T


def embed(config: Config, params: Params, text: Text, places: Array) -> Array:
    """Give state 0: the embeddings of tokens, positions (unless rotary) and kinds added, and their norm, in BERT."""
    x = _rows(params.tokens, text.ids)
    if params.positions is not None:
        x = x + _rows(params.positions, places)
    if params.kinds is not None:
        x = x + (params.kinds[:1] if text.kinds is None else _rows(params.kinds, text.kinds))
    return x if params.first is None else config.norm(params.first, x, config.epsilon)


def block(
    config: Config, layer: Layer, x: Array, places: Array, seen: Array, edits: Edits, number: Array
) -> tuple[Array, tuple[Array, ...]]:
    """Apply layer `number` to x; give the next state, and it again with `(heads, attention, mlp)`.

    places: `[T]`, the position of each token. seen: `[T, T]` or `[1, T]`, whether a row attends to a column.
    """

    def normed(norm: Norm, value: Array) -> Array:
        return config.norm(norm, value, config.epsilon)

    heads = mix(config, layer.qkv, x if config.after else normed(layer.attention_norm, x), places, seen)
    heads = edits.heads(number, heads)
    attention = edits.attention(number, dense(layer.out, heads.reshape(x.shape[0], -1)))
    x = normed(layer.attention_norm, x + attention) if config.after else x + attention
    mlp = edits.mlp(number, feed(config, layer, x if config.after else normed(layer.mlp_norm, x)))
    x = normed(layer.mlp_norm, x + mlp) if config.after else x + mlp
    x = edits.state(number + 1, x)
    return x, (x, heads, attention, mlp)


def mix(config: Config, qkv: Dense, x: Array, places: Array, seen: Array) -> Array:
    """Let each head mix values by the softmax of `q k / sqrt(size)` (Vaswani et al. 2017, eq. 1): `[T, heads, size]`.

    A row that sees nothing mixes all evenly.
    """
    heads, groups, size = config.heads, config.groups, config.size
    q, k, v = jnp.split(dense(qkv, x).reshape(x.shape[0], -1, size), [heads, heads + groups], axis=1)
    if config.rope is not None:
        q, k = rotate(config.rope, q, places), rotate(config.rope, k, places)
    q = q.reshape(-1, groups, heads // groups, size) * size**-0.5
    scores = jnp.einsum("tgrk,sgk->grts", q, k)
    scores = scores.astype(jnp.promote_types(x.dtype, jnp.float32))
    scores = jnp.where(seen[None, None], scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores, -1).astype(x.dtype)
    return jnp.einsum("grts,sgk->tgrk", weights, v).reshape(-1, heads, size)


def feed(config: Config, layer: Layer, x: Array) -> Array:
    """Apply the feed-forward half of a layer."""
    up = dense(layer.up, x)
    if config.gated:
        gate, up = jnp.split(up, 2, axis=-1)
        return dense(layer.down, config.activation(gate) * up)
    return dense(layer.down, config.activation(up))


def dense(layer: Dense, x: Array) -> Array:
    """`x @ kernel + bias`."""
    y = x @ layer.kernel
    return y if layer.bias is None else y + layer.bias[None]


def rotate(rope: Rope, x: Array, places: Array) -> Array:
    """Rotate each pair (i, i + size / 2) of `[T, heads, size]` by `place / theta^(2 i / size)` radians.

    The halves are paired, as in Llama's published weights for `transformers`; the paper pairs neighbours, which is the
    same up to the order of a head's rows.
    """
    half = x.shape[-1] // 2
    waves = rope.theta ** (np.arange(half) / half)
    waves = jnp.asarray(waves if rope.stretch is None else rope.stretch(waves), jnp.promote_types(x.dtype, jnp.float32))
    angles = places.astype(waves.dtype)[:, None, None] / waves[None, None]
    cosine, sine = jnp.cos(angles).astype(x.dtype), jnp.sin(angles).astype(x.dtype)
    one, other = x[..., :half], x[..., half:]
    return jnp.concatenate([one * cosine - other * sine, other * cosine + one * sine], -1)


def mean(states: Array, mask: Array) -> Array:
    """Pool `[..., T, D]` to `[..., D]`: the mean over tokens; NaN for a text of none."""
    weights = mask.astype(states.dtype)
    return jnp.einsum("...td,t->...d", states, weights) / weights.sum()


def last(states: Array, mask: Array) -> Array:
    """Pool `[..., T, D]` to `[..., D]`: the last token."""
    return jnp.take(states, mask.shape[0] - 1 - jnp.argmax(mask[::-1]), axis=-2)


def first(states: Array, mask: Array) -> Array:
    """Pool `[..., T, D]` to `[..., D]`: the first token, BERT's `[CLS]`."""
    return jnp.take(states, jnp.argmax(mask), axis=-2)


def init(key: Key, config: Config, *, scale: float = 0.02) -> Params:
    """Draw a fresh model: kernels and embeddings normal with deviation `scale`, biases zero, scales one.

    As BERT and GPT-2 begin, but for GPT-2's smaller `out` and `down`. The net of random weights stands beside a probe's
    score as a control.
    """
    d, f = config.width, config.hidden

    def normal(name: str, *shape: int) -> Array:
        return scale * jax.random.normal(keys.stream(key, name), shape)

    def layers(name: str, n: int, m: int) -> Dense:
        bias = jnp.zeros((config.layers, m)) if config.biases else None
        return Dense(normal(name, config.layers, n, m), bias)

    def norm(*axes: int) -> Norm:
        return Norm(jnp.ones((*axes, d)), jnp.zeros((*axes, d)) if config.norm is layer_norm else None)

    own = config.heads * config.size
    stack = Layer(
        norm(config.layers),
        layers("qkv", d, own + 2 * config.groups * config.size),
        layers("out", own, d),
        norm(config.layers),
        layers("up", d, 2 * f if config.gated else f),
        layers("down", f, d),
    )
    return Params(
        tokens=normal("tokens", config.vocabulary, d),
        positions=None if config.rope else normal("positions", config.window, d),
        kinds=normal("kinds", config.kinds, d) if config.kinds else None,
        first=norm() if config.after else None,
        layers=stack,
        last=None if config.after else norm(),
        head=None if config.tied else normal("head", config.vocabulary, d),
    )


def _rows(table: Array, places: ArrayLike) -> Array:
    """Look rows up; NaN beyond the table, on either side."""
    return table.at[jnp.asarray(places)].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
