"""Transformers in numpy, float64, from the papers: one text without padding, one head and one layer at a time.

BERT: Devlin et al. 2019 on Vaswani et al. 2017. GPT-2: Radford et al. 2019. Llama: Touvron et al. 2023 with rotary
positions (Su et al. 2021, eq. 15, as a product of complex numbers) and grouped queries (Ainslie et al. 2023). Tensors
come under the names of published checkpoints, `[out, in]` but for GPT-2.
"""

import math

import numpy as np
from scipy.special import erf


def gelu(x):
    return x * (1 + erf(x / math.sqrt(2))) / 2


def gelu_tanh(x):
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def swish(x):
    return x / (1 + np.exp(-x))


def layer_norm(x, scale, bias, epsilon):
    return np.stack([(row - row.mean()) / math.sqrt(row.var() + epsilon) * scale + bias for row in x])


def rms_norm(x, scale, epsilon):
    return np.stack([row / math.sqrt((row**2).mean() + epsilon) * scale for row in x])


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def attention(q, k, v, causal):
    """One head: row i mixes the values of the rows that it sees."""
    rows = []
    for i in range(len(q)):
        top = i + 1 if causal else len(q)
        weights = softmax(np.array([q[i] @ k[j] for j in range(top)]) / math.sqrt(q.shape[1]))
        rows.append(sum(w * v[j] for j, w in enumerate(weights)))
    return np.stack(rows)


def heads(q, k, v, count, causal, groups=None):
    """Cut into heads of one size; query head h uses the keys and values of head h // (count / groups)."""
    size, share = q.shape[1] // count, count // (groups or count)
    cut = lambda x, h: x[:, h * size : (h + 1) * size]  # noqa: E731
    mixed = [attention(cut(q, h), cut(k, h // share), cut(v, h // share), causal) for h in range(count)]
    return np.concatenate(mixed, 1)


def double(tensors):
    return {name: np.asarray(tensor, np.float64) for name, tensor in tensors.items()}


def bert(config, tensors, ids):
    """Give the states `[L + 1, T, D]`."""
    w, n = double(tensors), len(ids)
    linear = lambda x, name: x @ w[name + ".weight"].T + w[name + ".bias"]  # noqa: E731

    def norm(x, name):
        return layer_norm(x, w[name + ".weight"], w[name + ".bias"], config["layer_norm_eps"])

    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][:n]
    states = [norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")]
    for i in range(config["num_hidden_layers"]):
        x, at = states[-1], f"encoder.layer.{i}."
        q, k, v = (linear(x, f"{at}attention.self.{name}") for name in ("query", "key", "value"))
        mixed = linear(heads(q, k, v, config["num_attention_heads"], False), at + "attention.output.dense")
        x = norm(x + mixed, at + "attention.output.LayerNorm")
        fed = linear(gelu(linear(x, at + "intermediate.dense")), at + "output.dense")
        states.append(norm(x + fed, at + "output.LayerNorm"))
    return np.stack(states)


def gpt2(config, tensors, ids):
    """Give the states `[L + 1, T, D]`, before the last norm, and the logits `[T, V]`."""
    w, n = double(tensors), len(ids)
    linear = lambda x, name: x @ w[name + ".weight"] + w[name + ".bias"]  # noqa: E731

    def norm(x, name):
        return layer_norm(x, w[name + ".weight"], w[name + ".bias"], config["layer_norm_epsilon"])

    states = [w["wte.weight"][ids] + w["wpe.weight"][:n]]
    for i in range(config["n_layer"]):
        q, k, v = np.split(linear(norm(states[-1], f"h.{i}.ln_1"), f"h.{i}.attn.c_attn"), 3, axis=1)
        x = states[-1] + linear(heads(q, k, v, config["n_head"], True), f"h.{i}.attn.c_proj")
        fed = gelu_tanh(linear(norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc"))
        states.append(x + linear(fed, f"h.{i}.mlp.c_proj"))
    return np.stack(states), norm(states[-1], "ln_f") @ w["wte.weight"].T


def frequencies(config, half):
    """Radians a place, of each pair; Llama 3.1 slows the slow ones, see its reference code."""
    scaling, found = config.get("rope_scaling") or {"rope_type": "default"}, []
    for i in range(half):
        f = config["rope_theta"] ** (-i / half)
        if scaling["rope_type"] == "linear":
            f /= scaling["factor"]
        if scaling["rope_type"] == "llama3":
            wavelength, old = 2 * math.pi / f, scaling["original_max_position_embeddings"]
            low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
            if wavelength > old / low:
                f /= scaling["factor"]
            elif wavelength > old / high:
                smooth = (old / wavelength - low) / (high - low)
                f = (1 - smooth) * f / scaling["factor"] + smooth * f
        found.append(f)
    return np.array(found)


def rotated(config, x, count):
    """Turn each head of `[T, count size]`: halves are real and imaginary parts, place m turns by m f."""
    size = x.shape[1] // count
    f = frequencies(config, size // 2)
    turned = []
    for h in range(count):
        one, other = np.split(x[:, h * size : (h + 1) * size], 2, axis=1)
        z = (one + 1j * other) * np.exp(1j * np.arange(len(x))[:, None] * f)
        turned += [z.real, z.imag]
    return np.concatenate(turned, 1)


def llama(config, tensors, ids):
    """Give the states `[L + 1, T, D]`, before the last norm, and the logits `[T, V]`."""
    w, count, groups = double(tensors), config["num_attention_heads"], config["num_key_value_heads"]

    def linear(x, name):
        return x @ w[name + ".weight"].T + w.get(name + ".bias", 0)

    norm = lambda x, name: rms_norm(x, w[name + ".weight"], config["rms_norm_eps"])  # noqa: E731
    states = [w["model.embed_tokens.weight"][ids]]
    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}."
        x = norm(states[-1], at + "input_layernorm")
        q, k, v = (linear(x, f"{at}self_attn.{name}_proj") for name in "qkv")
        mixed = heads(rotated(config, q, count), rotated(config, k, groups), v, count, True, groups)
        x = states[-1] + linear(mixed, at + "self_attn.o_proj")
        y = norm(x, at + "post_attention_layernorm")
        fed = swish(linear(y, at + "mlp.gate_proj")) * linear(y, at + "mlp.up_proj")
        states.append(x + linear(fed, at + "mlp.down_proj"))
    head = "model.embed_tokens" if config["tie_word_embeddings"] else "lm_head"
    return np.stack(states), norm(states[-1], "model.norm") @ w[head + ".weight"].T
