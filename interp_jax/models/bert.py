"""BERT's configuration and weights (Devlin et al. 2019), as `transformers` stores them; MiniLM is one.

The pooler and the heads of its training tasks are left aside.
"""

import jax
import jax.numpy as jnp

from interp_jax.core.types import Numpy
from interp_jax.models.transformer import Config, Layer, Params
from interp_jax.models.weights import Facts, Weights

_LAYER = "encoder.layer.{}."
_IGNORED = (r"embeddings\.position_ids", r"pooler\..*", r"cls\..*", r"classifier\..*")


def config(facts: Facts) -> Config:
    """Read config.json.

    Raises:
        ValueError: a value that is missing, no number or not implemented, by name.
    """
    facts.only(position_embedding_type="absolute", is_decoder=False, add_cross_attention=False)
    width, heads = facts.size("hidden_size"), facts.size("num_attention_heads")
    if width % heads:
        raise ValueError(f"{facts.where}: want hidden_size a multiple of num_attention_heads, got {width} and {heads}")
    return Config(
        vocabulary=facts.size("vocab_size"),
        window=facts.size("max_position_embeddings"),
        width=width,
        layers=facts.size("num_hidden_layers"),
        heads=heads,
        groups=heads,
        size=width // heads,
        hidden=facts.size("intermediate_size"),
        activation=facts.activation("hidden_act"),
        epsilon=facts.number("layer_norm_eps", 1e-12),
        after=True,
        causal=False,
        kinds=facts.size("type_vocab_size", 2),
    )


def params(config: Config, tensors: dict[str, Numpy], dtype: jax.typing.DTypeLike = jnp.float32) -> Params:
    """Take the parameters out of a checkpoint.

    Raises:
        ValueError: a tensor that is missing, of another shape, or unknown, by name.
    """
    found, d = Weights(tensors, "bert.", config.layers, dtype), config.width
    attention = _LAYER + "attention."
    stack = Layer(
        attention_norm=found.norm(attention + "output.LayerNorm", d),
        qkv=found.dense([f"{attention}self.{name}" for name in ("query", "key", "value")], d, [d] * 3),
        out=found.dense([attention + "output.dense"], d, [d]),
        mlp_norm=found.norm(_LAYER + "output.LayerNorm", d),
        up=found.dense([_LAYER + "intermediate.dense"], d, [config.hidden]),
        down=found.dense([_LAYER + "output.dense"], config.hidden, [d]),
    )
    made = Params(
        tokens=found.array("embeddings.word_embeddings.weight", config.vocabulary, d),
        positions=found.array("embeddings.position_embeddings.weight", config.window, d),
        kinds=found.array("embeddings.token_type_embeddings.weight", config.kinds, d),
        first=found.norm("embeddings.LayerNorm", d),
        layers=stack,
        last=None,
        head=None,
    )
    found.end(*_IGNORED)
    return made
