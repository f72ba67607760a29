"""GPT-2's configuration and weights (Radford et al. 2019), as `transformers` stores them."""

import jax
import jax.numpy as jnp

from interp_jax.core.types import Numpy
from interp_jax.models.transformer import Config, Layer, Params
from interp_jax.models.weights import Facts, Weights

_IGNORED = (r"h\.\d+\.attn\.(masked_)?bias",)
"""Masks, not parameters."""


def config(facts: Facts) -> Config:
    """Read config.json.

    Raises:
        ValueError: a value that is missing, no number or not implemented, by name.
    """
    facts.only(scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)
    width, heads = facts.size("n_embd"), facts.size("n_head")
    if width % heads:
        raise ValueError(f"{facts.where}: want n_embd a multiple of n_head, got {width} and {heads}")
    return Config(
        vocabulary=facts.size("vocab_size"),
        window=facts.size("n_positions"),
        width=width,
        layers=facts.size("n_layer"),
        heads=heads,
        groups=heads,
        size=width // heads,
        hidden=facts.size("n_inner", 4 * width),
        activation=facts.activation("activation_function"),
        epsilon=facts.number("layer_norm_epsilon", 1e-5),
        tied=facts.flag("tie_word_embeddings", True),
    )


def params(config: Config, tensors: dict[str, Numpy], dtype: jax.typing.DTypeLike = jnp.float32) -> Params:
    """Take the parameters out of a checkpoint; its kernels are `[in, out]` already.

    Raises:
        ValueError: a tensor that is missing, of another shape, or unknown, by name.
    """
    found, d = Weights(tensors, "transformer.", config.layers, dtype), config.width
    stack = Layer(
        attention_norm=found.norm("h.{}.ln_1", d),
        qkv=found.dense(["h.{}.attn.c_attn"], d, [3 * d], transposed=False),
        out=found.dense(["h.{}.attn.c_proj"], d, [d], transposed=False),
        mlp_norm=found.norm("h.{}.ln_2", d),
        up=found.dense(["h.{}.mlp.c_fc"], d, [config.hidden], transposed=False),
        down=found.dense(["h.{}.mlp.c_proj"], config.hidden, [d], transposed=False),
    )
    made = Params(
        tokens=found.array("wte.weight", config.vocabulary, d),
        positions=found.array("wpe.weight", config.window, d),
        kinds=None,
        first=None,
        layers=stack,
        last=found.norm("ln_f", d),
        head=None if config.tied else found.array("lm_head.weight", config.vocabulary, d),
    )
    found.end(*_IGNORED, *([r"lm_head\.weight"] if config.tied else []))
    return made
