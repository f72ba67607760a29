"""Llama's configuration and weights (Touvron et al. 2023), as `transformers` stores them; many decoders follow it.

Of the ways to stretch rotary positions to longer windows, `linear` (Chen et al. 2023) and `llama3` are implemented.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core.types import Numpy
from interp_jax.models.transformer import Config, Layer, Params, Rope, rms_norm
from interp_jax.models.weights import Facts, Weights

_IGNORED = (r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq",)


@dataclasses.dataclass(frozen=True)
class Linear:
    """Every wavelength `factor` times as long (Chen et al. 2023, eq. 3)."""

    factor: float

    def __call__(self, waves: Numpy) -> Numpy:
        """Stretch places a radian."""
        return self.factor * waves


@dataclasses.dataclass(frozen=True)
class ByParts:
    """Long waves `factor` times as long, short ones as they are, frequencies mixed between (Llama 3.1).

    A wave of n turns in the `original` window is long if n < low and short if n > high.
    """

    factor: float
    low: float
    high: float
    original: float

    def __call__(self, waves: Numpy) -> Numpy:
        """Stretch places a radian."""
        turns = self.original / (2 * np.pi * waves)
        short = np.clip((turns - self.low) / (self.high - self.low), 0, 1)
        return 1 / (short / waves + (1 - short) / (self.factor * waves))


def rope(facts: Facts) -> Rope:
    """Read the rotary positions, from `rope_parameters` or, in older files, `rope_theta` and `rope_scaling`."""
    values = facts.values.get("rope_parameters") or facts.values.get("rope_scaling") or {}
    if not isinstance(values, dict):
        raise ValueError(f"{facts.where}: want rope_parameters by name, got {values!r}")
    inner = Facts(values, facts.where)
    theta = inner.number("rope_theta", facts.number("rope_theta", 10_000.0))
    kind = values.get("rope_type", values.get("type", "default"))
    if kind == "default":
        return Rope(theta)
    if kind == "linear":
        return Rope(theta, Linear(inner.number("factor")))
    if kind == "llama3":
        low, high = inner.number("low_freq_factor"), inner.number("high_freq_factor")
        if not low < high:
            raise ValueError(f"{facts.where}: want low_freq_factor < high_freq_factor, got {low} and {high}")
        original = inner.number("original_max_position_embeddings")
        return Rope(theta, ByParts(inner.number("factor"), low, high, original))
    raise ValueError(f"{facts.where}: want rope_type among default, linear, llama3, got {kind!r}")


def config(facts: Facts) -> Config:
    """Read config.json.

    Raises:
        ValueError: a value that is missing, no number or not implemented, by name.
    """
    width, heads = facts.size("hidden_size"), facts.size("num_attention_heads")
    groups, size = facts.size("num_key_value_heads", heads), facts.size("head_dim", max(width // heads, 1))
    if heads % groups or size % 2:
        raise ValueError(f"{facts.where}: want heads a multiple of {groups=}, of an even size, got {heads=}, {size=}")
    return Config(
        vocabulary=facts.size("vocab_size"),
        window=facts.size("max_position_embeddings", 2048),
        width=width,
        layers=facts.size("num_hidden_layers"),
        heads=heads,
        groups=groups,
        size=size,
        hidden=facts.size("intermediate_size"),
        activation=facts.activation("hidden_act"),
        norm=rms_norm,
        epsilon=facts.number("rms_norm_eps", 1e-6),
        gated=True,
        rope=rope(facts),
        tied=facts.flag("tie_word_embeddings", False),
        biases=facts.flag("attention_bias", False) or facts.flag("mlp_bias", False),
    )


def params(config: Config, tensors: dict[str, Numpy], dtype: jax.typing.DTypeLike = jnp.float32) -> Params:
    """Take the parameters out of a checkpoint.

    Raises:
        ValueError: a tensor that is missing, of another shape, or unknown, by name.
    """
    found, d, f = Weights(tensors, "model.", config.layers, dtype), config.width, config.hidden
    own, shared = config.heads * config.size, config.groups * config.size
    attention, mlp = "layers.{}.self_attn.", "layers.{}.mlp."
    stack = Layer(
        attention_norm=found.norm("layers.{}.input_layernorm", d, bias=False),
        qkv=found.dense([f"{attention}{name}_proj" for name in "qkv"], d, [own, shared, shared]),
        out=found.dense([attention + "o_proj"], own, [d]),
        mlp_norm=found.norm("layers.{}.post_attention_layernorm", d, bias=False),
        up=found.dense([mlp + "gate_proj", mlp + "up_proj"], d, [f, f]),
        down=found.dense([mlp + "down_proj"], f, [d]),
    )
    made = Params(
        tokens=found.array("embed_tokens.weight", config.vocabulary, d),
        positions=None,
        kinds=None,
        first=None,
        layers=stack,
        last=found.norm("norm", d, bias=False),
        head=None if config.tied else found.array("lm_head.weight", config.vocabulary, d),
    )
    found.end(*_IGNORED, *([r"lm_head\.weight"] if config.tied else []))
    return made
