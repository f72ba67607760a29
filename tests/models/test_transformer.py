"""What holds for any weights: taps add up, edits act where they say, padding and later tokens do not matter."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.data import text
from interp_jax.data.text import Text
from interp_jax.models import bert, gpt2, llama, pretrained, transformer, weights
from interp_jax.models.transformer import Edits, at, by_layer, compose
from tests.models import languages

GPT2 = gpt2.config(weights.Facts(languages.GPT2))
BERT = bert.config(weights.Facts(languages.BERT))
LLAMA = llama.config(weights.Facts(languages.LLAMA))
T = 8


def close(got, want, **options):
    np.testing.assert_allclose(got, want, **({"rtol": 2e-5, "atol": 2e-6} | options))


@pytest.fixture(scope="module")
def models():
    """`name -> (params, jitted forward)`; edits come as functions of an argument, so that all tests share a program."""
    key = jax.random.key(1)

    def made(config):
        return transformer.init(key, config, scale=0.3), jax.jit(
            lambda params, x: transformer.forward(config, params, x)
        )

    return {"gpt2": made(GPT2), "bert": made(BERT), "llama": made(LLAMA)}


def line(ids, length=T, left=False):
    padded = text.pad([ids], length)
    if left:
        padded = jax.tree.map(lambda leaf: np.roll(leaf, length - len(ids), 1), padded)
    return jax.tree.map(lambda leaf: leaf[0], padded)


@pytest.mark.parametrize("name", ["gpt2", "bert", "llama"])
def test_padding_on_either_side_changes_nothing(models, name):
    params, run = models[name]
    whole, short = [3, 1, 4, 1, 5, 9, 2, 6], [3, 1, 4, 1, 5]
    want, got, left = run(params, line(whole)), run(params, line(short)), run(params, line(short, left=True))
    close(got.final[:5], left.final[3:])
    if name != "bert":  # later tokens do not matter either
        close(got.states[:, :5], want.states[:, :5])
        close(got.attention[:, :5], want.attention[:, :5])
    else:
        assert np.abs(got.states[1:, :5] - want.states[1:, :5]).max() > 0.01


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_decoder_adds_what_the_taps_say(models, name):
    params, run = models[name]
    trace = run(params, line([3, 1, 4, 1, 5, 9, 2, 6]))
    close(trace.states[1:], trace.states[:-1] + trace.attention + trace.mlp)
    mixed = jnp.einsum("lte,led->ltd", trace.heads.reshape(languages.L, T, -1), params.layers.out.kernel)
    bias = params.layers.out.bias
    close(trace.attention, mixed if bias is None else mixed + bias[:, None], atol=1e-5)
    norm = GPT2.norm if name == "gpt2" else LLAMA.norm
    close(trace.final, norm(params.last, trace.states[-1], GPT2.epsilon))


def test_an_encoder_normalises_what_it_adds(models):
    params, run = models["bert"]
    trace = run(params, line([3, 1, 4, 1, 5, 9, 2, 6]))
    for i in range(languages.L):
        one, other = (
            jax.tree.map(lambda leaf, i=i: leaf[i], norm)
            for norm in (params.layers.attention_norm, params.layers.mlp_norm)
        )
        middle = transformer.layer_norm(one, trace.states[i] + trace.attention[i], BERT.epsilon)
        close(trace.states[i + 1], transformer.layer_norm(other, middle + trace.mlp[i], BERT.epsilon), atol=1e-5)
    assert np.array_equal(trace.final, trace.states[-1])


def test_kinds_of_tokens(models):
    params, run = models["bert"]
    plain = line([3, 1, 4])
    zeros, ones = (run(params, plain._replace(kinds=np.full(T, n, np.int32))) for n in (0, 1))
    close(zeros.final, run(params, plain).final)
    assert np.abs(ones.final - zeros.final).max() > 0.1


@pytest.mark.parametrize("name", ["gpt2", "bert", "llama"])
def test_texts_are_vmapped(models, name):
    params, run = models[name]
    config = {"gpt2": GPT2, "bert": BERT, "llama": LLAMA}[name]
    batch = text.pad([[1, 2, 3], [4], [5, 6, 7, 8, 9]], T)
    both = jax.jit(jax.vmap(lambda params, x: transformer.forward(config, params, x), (None, 0)))
    many = both(params, batch)
    for i in range(3):
        one = run(params, jax.tree.map(lambda leaf, i=i: leaf[i], batch))
        jax.tree.map(lambda got, want, i=i: close(got[i], want, atol=2e-5), many, one)
    text_of = str(jax.make_jaxpr(both)(params, batch))
    assert text_of.count("dimension_numbers=(([2], [0]), ([], []))") == 4  # qkv, out, up, down: one product each


@pytest.mark.parametrize("site", Edits._fields)
def test_an_edit_acts_at_its_site_and_layer_and_nowhere_before(models, site):
    params, run = models["gpt2"]
    x = line([3, 1, 4, 1, 5, 9, 2, 6])
    tap = "states" if site == "state" else site
    plain = run(params, x)
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def change(layer, amount):
        edits = Edits(**{site: at(layer, lambda value: value.at[2, ..., 0].add(amount))})
        return transformer.forward(GPT2, params, x, edits=edits)

    for layer in (0, 2):
        found = change(layer, 1.0)
        # the state that a layer begins with does not show what is changed inside
        before = layer if site == "state" else layer + 1
        assert np.array_equal(found.states[:before], plain.states[:before])
        want = getattr(plain, tap)[layer].at[2, ..., 0].add(1.0)
        close(getattr(found, tap)[layer], want)
        assert np.array_equal(found.states[:, :2], plain.states[:, :2])  # causal: the past does not know
        assert np.abs(found.final[3:] - plain.final[3:]).max() > 1e-3 or layer == 2
    assert np.array_equal(change(1, 0.0).final, plain.final)


def test_patching_a_whole_state_gives_the_other_texts_end(models):
    params, run = models["gpt2"]
    one, other = line([3, 1, 4, 1, 5, 9, 2, 6]), line([2, 7, 1, 8, 2, 8, 1, 8])
    source = run(params, other)
    patched = jax.jit(lambda states: transformer.forward(
        GPT2, params, one, edits=Edits(state=at(1, lambda x: states[1]))
    ))(source.states)  # fmt: skip
    close(patched.final, source.final)
    assert np.array_equal(patched.states[0], run(params, one).states[0])


def test_edits_compose_and_differ_by_layer(models):
    params, run = models["gpt2"]
    x = line([3, 1, 4, 1, 5, 9, 2, 6])
    directions = jax.random.normal(jax.random.key(0), (languages.L + 1, languages.D))
    directions = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)

    def erase(direction, value):
        return value - jnp.outer(value @ direction, direction)

    @jax.jit
    def change(directions):
        edits = Edits(
            state=compose(by_layer(erase, directions), at(2, lambda value: 3 + value)), mlp=lambda i, value: 0 * value
        )
        return transformer.forward(GPT2, params, x, edits=edits)

    found = change(directions)
    along = jnp.einsum("ltd,ld->lt", found.states, directions)
    close(along[jnp.array([0, 1, 3])], jnp.zeros((3, T)), atol=1e-5)
    close(along[2], jnp.full(T, 3 * directions[2].sum()), rtol=1e-4, atol=1e-5)
    assert not found.mlp.any()
    assert np.abs(found.final - run(params, x).final).max() > 0.1


def test_the_gradient_through_an_edit_is_that_of_the_state(models):
    """The derivative of the end by a vector added at layer 1, by central differences in float64."""
    with jax.enable_x64(True):
        config = dataclasses.replace(GPT2, layers=2)
        params = jax.tree.map(
            lambda leaf: leaf.astype(jnp.float64), transformer.init(jax.random.key(1), config, scale=0.3)
        )
        x = line([3, 1, 4])
        probe = jnp.asarray(np.random.default_rng(0).standard_normal((T, languages.D)))

        @jax.jit
        def end(vector):
            edits = Edits(state=at(1, lambda value: value + vector[None]))
            return (transformer.forward(config, params, x, edits=edits).final * probe)[:3].sum()

        vector, step = jnp.zeros(languages.D), 1e-5
        along = jnp.asarray(np.random.default_rng(1).standard_normal(languages.D))
        want = (end(vector + step * along) - end(vector - step * along)) / (2 * step)
        np.testing.assert_allclose(jax.jit(jax.grad(end))(vector) @ along, want, rtol=1e-7)


def test_a_token_beyond_the_vocabulary_is_nan(models):
    params, run = models["gpt2"]
    for wrong in (languages.V, -1):
        found = run(params, line([3, 1, wrong, 1]))
        assert np.isfinite(found.states[0, :2]).all()
        assert np.isnan(found.states[0, 2]).all()
        assert np.isnan(found.final).all()


def test_bad_input(models):
    params, _ = models["gpt2"]
    with pytest.raises(ValueError, match="want at most 12 tokens, the model's window, got 13"):
        transformer.forward(GPT2, params, line([1], 13))
    with pytest.raises(AssertionError):
        transformer.forward(GPT2, params, Text(np.ones((2, 3), np.int32), np.ones((2, 3), bool)))
    with pytest.raises(ValueError, match="want a decoder for next-token logits, got an encoder"):
        transformer.logits(BERT, models["bert"][0], jnp.ones((3, languages.D)))


@pytest.mark.parametrize("name", languages.CONFIGS)
def test_a_fresh_model_has_the_shapes_of_a_loaded_one(tmp_path, name):
    lm = pretrained.load(languages.save(tmp_path / "model", languages.CONFIGS[name]))
    want = lm.params
    if name == "llama3":  # it has biases for the attention only
        want = want._replace(
            layers=want.layers._replace(
                up=want.layers.up._replace(bias=jnp.ones((languages.L, 2 * languages.F))),
                down=want.layers.down._replace(bias=jnp.ones((languages.L, languages.D))),
            )
        )
    fresh = transformer.init(jax.random.key(0), lm.config)
    chex.assert_trees_all_equal_shapes_and_dtypes(fresh, want)
    np.testing.assert_allclose(fresh.layers.up.kernel.std(), 0.02, rtol=0.1)


def test_poolings():
    states = jnp.arange(2 * 5 * 3.0).reshape(2, 5, 3)
    for mask in ([1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [0, 0, 0, 1, 0]):
        mask = np.asarray(mask, bool)
        where = np.flatnonzero(mask)
        close(transformer.mean(states, mask), states[:, where].mean(1))
        close(transformer.last(states, mask), states[:, where[-1]])
        close(transformer.first(states, mask), states[:, where[0]])
    assert np.isnan(transformer.mean(states, np.zeros(5, bool))).all()


def test_what_is_not_used_is_not_kept():
    """Where only the last state is asked for, the states and taps of 64 layers take no memory."""
    config = dataclasses.replace(GPT2, layers=64, window=64)
    params = jax.eval_shape(lambda: transformer.init(jax.random.key(0), config))
    x = Text(jax.ShapeDtypeStruct((64,), jnp.int32), jax.ShapeDtypeStruct((64,), bool))

    def memory(of):
        program = jax.jit(lambda params, x: of(transformer.forward(config, params, x))).lower(params, x).compile()
        return program.memory_analysis().temp_size_in_bytes

    one = 64 * 64 * languages.D * 4
    assert memory(lambda trace: sum(leaf.std() for leaf in trace)) - memory(lambda trace: trace.final.std()) > 3 * one
