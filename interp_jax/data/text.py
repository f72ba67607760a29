"""Texts as token ids: reading a tokeniser's file, ids within a model's window, padding, buckets of like length.

rows = encode(tokenizer("folder"), ["Lagos", "Porto Alegre"], window=512)
apply(params, pad(rows, 8))                                    # vmapped over the leading axis
"""

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from interp_jax.core import checks
from interp_jax.core.types import Numpy

_Leaf = Any  # an array: jax's, numpy's, or an abstract one


class Text(NamedTuple):
    """One text of T places. ids: `[T]` int32. mask: `[T]` bool, False where padded. kinds: `[T]` token types, or None.

    Padding may stand on either side; `kinds=None` stands for zeros (only BERT tells the sentences of a pair apart).
    """

    ids: _Leaf
    mask: _Leaf
    kinds: _Leaf | None = None


def tokenizer(folder: str | os.PathLike) -> Any:
    """Read `tokenizer.json` with the package tokenizers (the extra `language`); it neither cuts nor pads.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file.
    """
    path = Path(folder) / "tokenizer.json"
    if not path.is_file():
        raise FileNotFoundError(f"no tokenizer.json in {folder}")
    try:
        package = importlib.import_module("tokenizers")
    except ModuleNotFoundError as error:
        raise ImportError("data.text needs tokenizers: pip install 'interp_jax[language]'") from error
    try:
        found = package.Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises nothing finer
        raise ValueError(f"{path}: not a sound tokeniser: {' '.join(str(error).split())[:200]}") from None
    found.no_truncation()
    found.no_padding()
    return found


def encode(tokenizer: Any, texts: Sequence[str], window: int) -> list[list[int]]:
    """Give the token ids of each text, with the special tokens that the tokeniser adds.

    Raises:
        ValueError: a text of more tokens than the window, or of none, by number.
    """
    rows = [each.ids for each in tokenizer.encode_batch(list(texts))]
    for i, row in enumerate(rows):
        if not 1 <= len(row) <= window:
            raise ValueError(f"want texts of 1 to {window} tokens, the model's window, got {len(row)} in text {i}")
    return rows


def located(
    tokenizer: Any, texts: Sequence[str], start: Sequence[int] | Numpy, stop: Sequence[int] | Numpy, window: int
) -> tuple[list[list[int]], list[list[bool]]]:
    """Give the token ids of each text, as `encode` does, and which tokens hold characters `start` to `stop`.

    Raises:
        ValueError: as `encode`; a text in which no token holds any of them, by number.
    """
    rows = encode(tokenizer, texts, window)
    inside = [
        [begin < last and end > first and begin < end for begin, end in each.offsets]
        for each, first, last in zip(tokenizer.encode_batch(list(texts)), start, stop, strict=True)
    ]
    if lost := [number for number, row in enumerate(inside) if not any(row)]:
        raise ValueError(f"want a token between the characters named, got none in text {lost[0]}")
    return rows, inside


def pad(rows: Sequence[Sequence[int] | Numpy], length: int) -> Text:
    """Stack token ids as a batch of texts, `[N, length]`, padded with zeros at the end.

    >>> pad([[5, 6, 7], [8]], 4).mask.astype(int)
    array([[1, 1, 1, 0],
           [1, 0, 0, 0]])

    Raises:
        ValueError: a text longer than `length`.
    """
    counts = np.asarray([len(row) for row in rows], np.int64)
    if counts.max(initial=0) > length:
        raise ValueError(f"want texts of at most {length} tokens, got {counts.max()} in text {counts.argmax()}")
    ids = np.zeros((len(rows), length), np.int32)
    mask = np.arange(length)[None] < counts[:, None]
    ids[mask] = np.fromiter((token for row in rows for token in row), np.int32, counts.sum())
    return Text(ids, mask)


def buckets(lengths: Sequence[int] | Numpy, count: int) -> list[int]:
    """Choose at most `count` lengths to pad texts to, so that as few places as possible are padding.

    Exactly, by dynamic programming over the distinct lengths.

    >>> buckets([3, 3, 4, 9, 10, 30], 3)
    [4, 10, 30]
    """
    checks.whole(1, count=count)
    if not len(lengths) or min(lengths) < 1:
        raise ValueError(f"want lengths >= 1, at least one, got {list(lengths)[:8]}")
    tops, sizes = np.unique(np.asarray(lengths), return_counts=True)
    below = np.concatenate([[0], np.cumsum(sizes)])
    # best[j]: the least total with the j smallest distinct lengths served; a new bucket tops[j - 1] serves i .. j - 1
    best = np.where(np.arange(len(tops) + 1) == 0, 0.0, np.inf)
    choices = []
    for _ in range(min(count, len(tops))):
        totals = best[:, None] + np.concatenate([[0], tops])[None] * (below[None] - below[:, None])
        totals[np.tril_indices(len(totals), -1)] = np.inf
        choices.append(totals.argmin(0))
        best = totals.min(0)
    found, j = [], len(tops)
    for choice in reversed(choices):
        if j:
            found.append(int(tops[j - 1]))
            j = int(choice[j])
    return sorted(set(found))
