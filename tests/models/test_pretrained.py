"""Models from files against numpy forwards from the papers; MiniLM against PyTorch, where its states are there."""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from interp_jax.data import text
from interp_jax.models import pretrained, safetensors, transformer, weights
from tests.models import languages
from tests.oracles import transformer as oracle

ROWS = [[5], [7, 0, 39, 7, 12], [*range(1, languages.WINDOW + 1)]]


def run(lm, rows, length=languages.WINDOW):
    def one(params, each):
        trace = lm.apply(params, each)
        scores = transformer.logits(lm.config, params, trace.final) if lm.config.causal else trace.final
        return trace.states, scores

    return jax.jit(jax.vmap(one, (None, 0)))(lm.params, text.pad(rows, length))


@pytest.mark.parametrize("name", languages.CONFIGS)
def test_every_state_and_the_logits_are_those_of_the_papers(tmp_path, name):
    config = languages.CONFIGS[name]
    lm = pretrained.load(languages.save(tmp_path / "model", config))
    states, scores = run(lm, ROWS)
    for i, row in enumerate(ROWS):
        want = getattr(oracle, config["model_type"])(config, languages.tensors(config), np.asarray(row))
        want, logits = want if isinstance(want, tuple) else (want, want[-1])
        np.testing.assert_allclose(states[i, :, : len(row)], want, rtol=1e-5, atol=2e-5)
        np.testing.assert_allclose(scores[i, : len(row)], logits, rtol=1e-5, atol=3e-5)


def test_float64_agrees_with_the_papers_to_rounding(tmp_path):
    config = languages.LLAMA3
    with jax.enable_x64(True):
        lm = pretrained.load(languages.save(tmp_path / "model", config), jnp.float64)
        states = jax.jit(lm.apply)(lm.params, text.Text(np.asarray(ROWS[2]), np.ones(12, bool))).states
    np.testing.assert_allclose(
        states, oracle.llama(config, languages.tensors(config), ROWS[2])[0], rtol=1e-10, atol=1e-10
    )


OLD = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
ASIDE = {"bert": ["pooler.dense.bias", "cls.predictions.bias"], "gpt2": ["h.0.attn.bias", "lm_head.weight"]}


@pytest.mark.parametrize(("name", "prefix", "old"), [("bert", "bert.", OLD), ("gpt2", "transformer.", {})])
def test_names_of_other_files_of_the_family(tmp_path, name, prefix, old):
    config = languages.CONFIGS[name]
    want = pretrained.load(languages.save(tmp_path / "one", config))
    folder, other = languages.save(tmp_path / "other", config), {}
    for key, tensor in languages.tensors(config).items():
        end = next((end for end in old if key.endswith(end)), "")
        other[prefix + key.removesuffix(end) + old.get(end, "")] = tensor
    safetensors.write(folder / "model.safetensors", other | {prefix + key: np.ones(3) for key in ASIDE[name]})
    jax.tree.map(np.testing.assert_array_equal, pretrained.load(folder).params, want.params)


def test_half_precision_and_several_files(tmp_path):
    config = languages.LLAMA
    folder, tensors = languages.save(tmp_path / "model", config), languages.tensors(config)
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    for i in range(2):
        part = {name: tensors[name].astype(jnp.bfloat16) for name in names[i::2]}
        safetensors.write(folder / f"{i}.safetensors", part)
    places = {name: f"{i % 2}.safetensors" for i, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    found = pretrained.load(folder).params.layers.down.kernel
    want = tensors["model.layers.1.mlp.down_proj.weight"].astype(jnp.bfloat16).astype(np.float32).T
    np.testing.assert_array_equal(found[1], want)
    states, _ = run(pretrained.load(folder, jnp.bfloat16), ROWS)
    assert states.dtype == jnp.bfloat16
    want = oracle.llama(config, tensors, np.asarray(ROWS[2]))[0]
    assert np.corrcoef(np.asarray(states, np.float64)[2].ravel(), want.ravel())[0, 1] > 0.999


def test_newer_files_name_rotary_positions_otherwise(tmp_path):
    config = languages.LLAMA3
    scaling = config["rope_scaling"] | {"rope_theta": config["rope_theta"]}
    newer = {key: each for key, each in config.items() if not key.startswith("rope")} | {"rope_parameters": scaling}
    want = pretrained.load(languages.save(tmp_path / "one", config)).config
    assert pretrained.load(languages.save(tmp_path / "newer", newer)).config == want
    assert hash(want) == hash(pretrained.load(tmp_path / "one").config)


@pytest.mark.parametrize(("name", "changes", "message"), [
    ("bert", {"model_type": "t5"}, "want model_type among bert, gpt2, llama, got 't5'"),
    ("bert", {"model_type": ["bert"]}, "want model_type among"),
    ("bert", {"hidden_act": "mish"}, "want hidden_act among gelu"),
    ("bert", {"position_embedding_type": "relative_key"}, "want position_embedding_type 'absolute', the only one"),
    ("bert", {"num_attention_heads": 3}, "want hidden_size a multiple of num_attention_heads, got 16 and 3"),
    ("bert", {"num_hidden_layers": 0}, "want a whole number num_hidden_layers >= 1, got 0"),
    ("bert", {"num_hidden_layers": True}, "want a whole number num_hidden_layers"),
    ("bert", {"num_hidden_layers": 2**31 - 1}, "want a tensor encoder.layer.3.attention.output.LayerNorm.weight"),
    ("bert", {"num_hidden_layers": 2}, "want no tensors beside the model's, got 16 more"),
    ("bert", {"vocab_size": None}, "want a whole number vocab_size >= 1, got None"),
    ("bert", {"vocab_size": 41}, r"want embeddings.word_embeddings.weight floating, of shape \(41, 16\), got float32"),
    ("bert", {"layer_norm_eps": -1}, "want a number layer_norm_eps > 0"),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "want scale_attn_by_inverse_layer_idx False"),
    ("gpt2", {"tie_word_embeddings": False}, "want a tensor lm_head.weight"),
    ("gpt2", {"tie_word_embeddings": 1}, "want tie_word_embeddings true or false"),
    ("llama", {"num_key_value_heads": 3}, "want heads a multiple of groups=3"),
    ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 2}}, "want rope_type among default, linear, llama3"),
    ("llama", {"rope_scaling": {"type": "linear"}}, "want a number factor > 0, got None"),
    ("llama", {"rope_scaling": [2]}, "want rope_parameters by name"),
])  # fmt: skip
def test_another_model_is_refused(tmp_path, name, changes, message):
    folder = languages.save(tmp_path / "model", languages.CONFIGS[name])
    (folder / "config.json").write_text(json.dumps(languages.CONFIGS[name] | changes))
    with pytest.raises(ValueError, match=message) as error:
        pretrained.load(folder)
    assert str(folder) in str(error.value)


def test_tensors_that_we_do_not_know_are_refused(tmp_path):
    folder = languages.save(
        tmp_path / "model", languages.LLAMA, **{"model.layers.0.self_attn.q_norm.weight": np.ones(6)}
    )
    with pytest.raises(ValueError, match=r"got 1 more, such as \['layers.0.self_attn.q_norm.weight'\]"):
        pretrained.load(folder)
    folder = languages.save(tmp_path / "ints", languages.GPT2, **{"ln_f.bias": np.ones(16, np.int8)})
    with pytest.raises(ValueError, match=r"want ln_f.bias floating, of shape \(16,\), got int8"):
        pretrained.load(folder)
    biases = {f"model.layers.{i}.self_attn.k_proj.bias": np.ones(12) for i in range(languages.L)}
    folder = languages.save(tmp_path / "bias", languages.LLAMA, **biases)
    with pytest.raises(ValueError, match=r"want a bias with each of .* or with none, got 1"):
        pretrained.load(folder)


def test_files_that_are_missing_or_damaged(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config.json"):
        pretrained.load(tmp_path)
    for content in ("[]", "{", '{"model_type":' + "[" * 99_999, "\udcff"):
        (tmp_path / "config.json").write_text(content, errors="surrogateescape")
        with pytest.raises(ValueError, match=r"config.json: (not a sound|want a JSON object)"):
            pretrained.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(languages.BERT))
    with pytest.raises(FileNotFoundError, match=r"want model.safetensors or"):
        pretrained.load(tmp_path)


def test_a_model_comes_with_what_encodes_for_it(tmp_path, monkeypatch):
    folder = languages.save(tmp_path / "minilm", languages.CONFIGS["bert"])
    monkeypatch.setattr(text, "tokenizer", lambda place: (place,))
    monkeypatch.setattr(text, "encode", lambda tokenizer, texts, window: (tokenizer[0], len(texts), window))
    monkeypatch.setenv("INTERP_JAX_DATA", str(tmp_path))
    for named in (None, folder):
        lm, encode = pretrained.language(named)
        assert encode(["Lagos", "Oslo"]) == (folder, 2, lm.config.window)


def test_minilm_is_looked_for_where_data_lies(tmp_path, monkeypatch):
    (tmp_path / "minilm").mkdir()
    monkeypatch.setenv("INTERP_JAX_DATA", str(tmp_path))
    assert pretrained.minilm() == tmp_path / "minilm"
    monkeypatch.setenv("INTERP_JAX_DATA", str(tmp_path / "nothing"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"no MiniLM in .*nothing/minilm: pip install"):
        pretrained.minilm()


REFERENCE = Path(os.environ.get("INTERP_JAX_LANGUAGE_REFERENCE", "/nowhere"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "file", sorted(REFERENCE.glob("*.npz")) or [None], ids=lambda file: file.stem if file else "none"
)
def test_states_of_the_reference_implementation(file):
    """Of `scripts/benchmarks/language_torch.py`; transformers gives the last state of a decoder after its norm."""
    if file is None:
        pytest.skip("no states: see scripts/benchmarks/language_torch.py")
    lm = pretrained.load(file.with_suffix(""))
    with np.load(file) as found:
        ids, mask, want = found["ids"], found["mask"].astype(bool), found["states"]
    apply = jax.jit(jax.vmap(lambda params, each: lm.apply(params, each)[:2], (None, 0)))
    for i in range(0, len(ids), 64):
        got, final = apply(lm.params, text.Text(ids[i : i + 64].astype(np.int32), mask[i : i + 64]))
        got = np.asarray(got.at[:, -1].set(final))
        seen = np.broadcast_to(mask[i : i + 64, None], got.shape[:-1])
        # The states of random decoders go up to 50, and an entry's rounding is that of the largest it was summed with.
        scale = 10 if file.stem == "minilm" else max(10, np.abs(want).max())
        np.testing.assert_allclose(got[seen], want[i : i + 64][seen], rtol=0, atol=1e-6 * scale)


@pytest.mark.slow
def test_tokens_are_those_of_the_reference_implementation():
    pytest.importorskip("tokenizers")
    if not (file := REFERENCE / "minilm.npz").exists():
        pytest.skip("no states: see scripts/benchmarks/language_torch.py")
    with np.load(file) as found:
        ids, mask, texts = found["ids"], found["mask"].astype(bool), found["texts"].tolist()
    rows = text.encode(text.tokenizer(file.with_suffix("")), texts, 512)
    assert rows == [row[seen].tolist() for row, seen in zip(ids, mask, strict=True)]


def test_gelu_is_the_normal_distribution_function_times_x():
    x = np.linspace(-9, 9, 2001, dtype=np.float32)
    np.testing.assert_allclose(weights.gelu(jnp.asarray(x)), np.float64(x) * stats.norm.cdf(np.float64(x)), atol=1e-6)
