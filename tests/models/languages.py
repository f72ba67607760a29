"""Small language models of random weights, written as their users have them: config.json and safetensors."""

import json

import jax
import numpy as np

from interp_jax.models import safetensors, transformer
from interp_jax.models.pretrained import Language
from interp_jax.models.transformer import Config

D, F, L, V, WINDOW = 16, 24, 3, 40, 12
BERT = {
    "model_type": "bert", "hidden_size": D, "num_attention_heads": 4, "num_hidden_layers": L, "intermediate_size": F,
    "vocab_size": V, "max_position_embeddings": WINDOW, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}  # fmt: skip
GPT2 = {
    "model_type": "gpt2", "n_embd": D, "n_head": 4, "n_layer": L, "n_inner": None, "vocab_size": V,
    "n_positions": WINDOW, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new",
}  # fmt: skip
LLAMA = {
    "model_type": "llama", "hidden_size": D, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6,
    "num_hidden_layers": L, "intermediate_size": F, "vocab_size": V, "max_position_embeddings": WINDOW,
    "rms_norm_eps": 1e-5, "hidden_act": "silu", "rope_theta": 50.0, "tie_word_embeddings": False,
}  # fmt: skip
LLAMA3 = LLAMA | {
    "tie_word_embeddings": True, "attention_bias": True,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 2.5,
                     "original_max_position_embeddings": 40},
}  # fmt: skip
CONFIGS = {"bert": BERT, "gpt2": GPT2, "llama": LLAMA, "llama3": LLAMA3}


def small():
    """A model of two layers, and a tokeniser that numbers letters: what `pretrained.language` gives."""
    config = Config(
        vocabulary=256, window=128, width=8, layers=2, heads=2, groups=2, size=4, hidden=8, activation=jax.nn.gelu,
        epsilon=1e-6, after=True, causal=False, kinds=2,
    )  # fmt: skip
    lm = Language(config, transformer.init(jax.random.key(1), config))
    return lm, lambda texts: [[ord(letter) % 256 for letter in one][-40:] for one in texts]


def shapes(config):
    """Names and shapes of a checkpoint's tensors."""
    kind, found = config["model_type"], {}

    def add(name, *shape, bias=None):
        found[name + ".weight"] = shape
        if bias:
            found[name + ".bias"] = (bias,)

    if kind == "bert":
        for name, n in (("word", V), ("position", WINDOW), ("token_type", 2)):
            add(f"embeddings.{name}_embeddings", n, D)
        add("embeddings.LayerNorm", D, bias=D)
        for i in range(L):
            at = f"encoder.layer.{i}."
            for name in ("self.query", "self.key", "self.value", "output.dense"):
                add(f"{at}attention.{name}", D, D, bias=D)
            add(at + "attention.output.LayerNorm", D, bias=D)
            add(at + "intermediate.dense", F, D, bias=F)
            add(at + "output.dense", D, F, bias=D)
            add(at + "output.LayerNorm", D, bias=D)
    elif kind == "gpt2":
        add("wte", V, D)
        add("wpe", WINDOW, D)
        for i in range(L):
            for name, n, m in (("attn.c_attn", D, 3 * D), ("attn.c_proj", D, D), ("mlp.c_fc", D, 4 * D),
                               ("mlp.c_proj", 4 * D, D)):  # fmt: skip
                add(f"h.{i}.{name}", n, m, bias=m)
            add(f"h.{i}.ln_1", D, bias=D)
            add(f"h.{i}.ln_2", D, bias=D)
        add("ln_f", D, bias=D)
    else:
        size, bias = config["head_dim"], config.get("attention_bias", False)
        own, shared = (config[f"num_{name}_heads"] * size for name in ("attention", "key_value"))
        add("model.embed_tokens", V, D)
        for i in range(L):
            at = f"model.layers.{i}."
            for name, m in (("q", own), ("k", shared), ("v", shared)):
                add(f"{at}self_attn.{name}_proj", m, D, bias=bias and m)
            add(at + "self_attn.o_proj", D, own, bias=bias and D)
            for name, m, n in (("gate", F, D), ("up", F, D), ("down", D, F)):
                add(f"{at}mlp.{name}_proj", m, n)
            add(at + "input_layernorm", D)
            add(at + "post_attention_layernorm", D)
        add("model.norm", D)
        if not config["tie_word_embeddings"]:
            add("lm_head", V, D)
    return found


def tensors(config, seed=0):
    """Weights of a size that leaves no part of a layer small beside another; norms near one."""
    draw = np.random.default_rng(seed)

    def make(name, shape):
        unit = draw.standard_normal(shape)
        if len(shape) == 1 and name.endswith("weight"):
            return 1 + 0.3 * unit
        return (0.3 if len(shape) == 1 else 1.5 / shape[-1] ** 0.5) * unit

    return {name: make(name, shape).astype(np.float32) for name, shape in shapes(config).items()}


def save(folder, config, **more):
    """Write a folder; `more` are further tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    safetensors.write(folder / "model.safetensors", tensors(config) | more)
    return folder
