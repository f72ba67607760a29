import itertools
import json

import numpy as np
import pytest

from interp_jax.data import text

VOCABULARY = ["[UNK]", "[CLS]", "[SEP]", "lagos", "porto", "##s"]
TOKENIZER = {
    "version": "1.0", "truncation": {"max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
    "padding": {"strategy": {"Fixed": 4}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                "pad_type_id": 0, "pad_token": "[UNK]"},
    "added_tokens": [], "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]}, "decoder": None,
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
              "max_input_chars_per_word": 100, "vocab": {word: i for i, word in enumerate(VOCABULARY)}},
}  # fmt: skip


def test_a_tokenizer_neither_cuts_nor_pads(tmp_path):
    pytest.importorskip("tokenizers")
    (tmp_path / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    found = text.tokenizer(tmp_path)
    assert text.encode(found, ["Lagos", "portos x lagos porto"], 8) == [[1, 3, 2], [1, 4, 5, 0, 3, 4, 2]]
    with pytest.raises(ValueError, match="want texts of 1 to 6 tokens, the model's window, got 7 in text 1"):
        text.encode(found, ["Lagos", "portos x lagos porto"], 6)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer.json: not a sound tokeniser"):
        text.tokenizer(tmp_path)


def test_the_tokens_of_a_word(tmp_path):
    pytest.importorskip("tokenizers")
    (tmp_path / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    found = text.tokenizer(tmp_path)
    both = ["Lagos", "portos x lagos porto"]
    rows, inside = text.located(found, both, [0, 0], [5, 6], 8)
    assert rows == text.encode(found, both, 8)
    assert inside == [[False, True, False], [False, True, True, False, False, False, False]]
    assert text.located(found, both[1:], [9], [14], 8)[1] == [[False] * 4 + [True] + [False] * 2]
    with pytest.raises(ValueError, match="want a token between the characters named, got none in text 1"):
        text.located(found, both, [0, 8], [5, 9], 8)


def test_no_tokenizer(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no tokenizer.json in"):
        text.tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"pip install 'interp_jax\[language\]'"):
        text.tokenizer(tmp_path)


def test_padding():
    found = text.pad([[5, 6], [7], [8, 9, 10]], 3)
    assert found.ids.tolist() == [[5, 6, 0], [7, 0, 0], [8, 9, 10]]
    assert found.mask.sum(1).tolist() == [2, 1, 3]
    assert found.ids.dtype == np.int32
    assert text.pad([], 3).ids.shape == (0, 3)
    with pytest.raises(ValueError, match="want texts of at most 2 tokens, got 3 in text 2"):
        text.pad([[5, 6], [7], [8, 9, 10]], 2)


def waste(lengths, tops):
    return sum(min(top for top in tops if top >= n) - n for n in lengths)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_buckets_waste_least(seed, count):
    lengths = np.random.default_rng(seed).geometric(0.2, 40).tolist()
    found = text.buckets(lengths, count)
    distinct = sorted(set(lengths))
    assert len(found) <= count
    assert set(found) <= set(distinct)
    size = min(count, len(distinct))
    best = min(waste(lengths, (*tops, distinct[-1])) for tops in itertools.combinations(distinct, size - 1))
    assert waste(lengths, found) == best


@pytest.mark.parametrize("lengths", [[], [0, 1], [-3]])
def test_bad_lengths(lengths):
    with pytest.raises(ValueError, match="want lengths >= 1, at least one"):
        text.buckets(lengths, 2)
    with pytest.raises(ValueError, match="count >= 1"):
        text.buckets([1], 0)
