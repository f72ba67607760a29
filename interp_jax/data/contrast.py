"""Contrast pairs: a statement and its negation in several paraphrases, from templates or a file; distractors.

    pairs = sentiment(jax.random.key(0))
    rows = text.encode(tokenizer, texts(pairs), window)         # N x V x 2 texts, in that order
    states = arranged(pairs, collect(features, params, rows)["mean"])   # [N, V, 2, L + 1, D]

Template sets are small, and name what each pair hangs on (an adjective, a set of countries) as its group, so that a
split by groups tests on words that were not trained on. Both statements of a pair differ in their last words only.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from interp_jax.core import checks
from interp_jax.core.types import Key, Numpy
from interp_jax.data import facts

Wordings = tuple[tuple[str, str], ...]
"""Of one pair: a statement and its negation, in each of V paraphrases."""


class Contrast(NamedTuple):
    """N pairs in V paraphrases.

    statements: N wordings. labels: `[N]` int32, 1 where the first statement is right, 0 where its negation is. groups:
    `[N]` int32, indices into names: what is held out together.
    """

    statements: tuple[Wordings, ...]
    labels: Numpy
    groups: Numpy
    names: tuple[str, ...]


GOOD = (
    "superb", "wonderful", "delightful", "brilliant", "charming", "excellent", "magnificent", "thrilling", "moving",
    "fantastic", "gripping", "lovely", "splendid", "marvellous", "impressive", "enjoyable", "amazing", "perfect",
    "beautiful", "memorable", "refreshing", "inspiring", "outstanding", "fascinating", "terrific", "elegant",
    "captivating", "hilarious", "touching", "great",
)  # fmt: skip
BAD = (
    "awful", "dreadful", "boring", "terrible", "horrible", "tedious", "disappointing", "dull", "pathetic", "clumsy",
    "atrocious", "miserable", "annoying", "unbearable", "mediocre", "pointless", "ridiculous", "disgusting", "lousy",
    "shoddy", "tiresome", "appalling", "forgettable", "stale", "wretched", "ugly", "unpleasant", "sloppy",
    "insulting", "bad",
)  # fmt: skip
THINGS = ("film", "book", "play", "hotel", "meal", "concert", "show", "restaurant")
ENDINGS = (
    ("The reviewer {}.", ("liked it", "disliked it")),
    ("The sentiment of this review is {}.", ("positive", "negative")),
    ("Would the writer recommend it? {}.", ("Yes", "No")),
)
CLAIMED = (
    ("This statement is {}.", ("true", "false")),
    ("Is that right? {}.", ("Yes", "No")),
    ("What was just said is {}.", ("correct", "wrong")),
)


def sentiment(key: Key, *, things: int = len(THINGS), words: int = len(GOOD)) -> Contrast:
    """Make reviews of one adjective each; the first statement says that the review is favourable.

    N = 2 words things pairs in three paraphrases, in a random order; groups are the adjectives. things, words: how many
    of `THINGS`, and of `GOOD` and `BAD` each, are taken, from the first.

    >>> pairs = sentiment(jax.random.key(0), things=1, words=1)
    >>> pairs.names, sorted(pairs.statements[i][1][0] for i in range(2))[1]
    (('superb', 'awful'), 'The film was superb. The sentiment of this review is positive.')
    """
    _at_most(things=(things, len(THINGS)), words=(words, len(GOOD)))
    names = [name for both in zip(GOOD[:words], BAD[:words], strict=True) for name in both]
    rows = [
        (_ended(f"The {thing} was {name}.", ENDINGS), int(number % 2 == 0), number)
        for number, name in enumerate(names)
        for thing in THINGS[:things]
    ]
    return _shuffled(rows, names, key)


def capitals(key: Key, *, together: int = 4) -> Contrast:
    """Make statements on capitals, half of them wrong; the first statement of a pair says that it is true.

    Countries are dealt into sets of `together` (the rest are left out), which are the groups. Each country has its own
    capital once and another of its set once, and each city stands in as many true statements as false ones, so that no
    city, and no country, tells truth on its own, in a set that is held out or not.

    >>> pairs = capitals(jax.random.key(0))
    >>> pairs.labels.mean(), len(pairs.labels) == 2 * 4 * len(pairs.names)
    (np.float64(0.5), True)
    """
    checks.whole(2, together=together)
    table = facts.CAPITALS
    _at_most(together=(together, len(table)))
    order = np.asarray(jax.random.permutation(jax.random.fold_in(key, 0), len(table)))
    sets = order[: len(table) // together * together].reshape(-1, together)
    rows = []
    for number, members in enumerate(sets):
        for place, one in enumerate(members):
            country = table[one][0]
            for right, city in ((1, table[one][1]), (0, table[members[(place + 1) % together]][1])):
                rows.append((_ended(f"{city} is the capital of {country}.", CLAIMED), right, number))
    return _shuffled(rows, [", ".join(table[one][0] for one in members) for members in sets], key)


def texts(pairs: Contrast) -> list[str]:
    """List all texts: pair after pair, paraphrase after paraphrase, the statement before its negation."""
    return [side for wordings in pairs.statements for both in wordings for side in both]


def arranged(pairs: Contrast, values: Any) -> Any:
    """Arrange values of `texts`, `[N V 2, ...]`, by pair, paraphrase and side: `[N, V, 2, ...]`."""
    count = len(pairs.statements), len(pairs.statements[0]), 2
    if len(values) != np.prod(count):
        raise ValueError(f"want {np.prod(count)} values, one a text, got {len(values)}")
    return values.reshape(*count, *values.shape[1:])


def distract(
    pairs: Contrast, key: Key, *, words: tuple[str, str] = ("Banana.", "Shed."), before: bool = False
) -> tuple[Contrast, Numpy]:
    """Add one of two irrelevant sentences to both statements of each pair, and say which: `[N]` int32, 1 for the first.

    Half the pairs of each group and label have each, up to an odd one, so that it tells nothing of truth (Farquhar et
    al. 2023, section 4: a random word, or somebody's opinion, at the end or before). It is as consistent a feature of
    pairs as truth is.
    """
    draws = np.asarray(jax.random.uniform(key, (len(pairs.labels),)))
    which = np.zeros(len(pairs.labels), np.int32)
    flips = iter(np.asarray(jax.random.bernoulli(jax.random.fold_in(key, 1), 0.5, (2 * len(pairs.names),))))
    for group in range(len(pairs.names)):
        for label in (0, 1):
            cell = np.flatnonzero((pairs.groups == group) & (pairs.labels == label))
            half = (len(cell) + int(next(flips))) // 2  # an odd one falls either way
            which[cell[np.argsort(draws[cell])[:half]]] = 1
    statements = tuple(
        tuple(tuple(f"{words[1 - w]} {side}" if before else f"{side} {words[1 - w]}" for side in both) for both in row)
        for row, w in zip(pairs.statements, which, strict=True)
    )
    return pairs._replace(statements=statements), which  # pyrefly: ignore


def read(path: str | os.PathLike) -> Contrast:
    """Read pairs from a file of JSON lines: one object a pair, UTF-8.

        {"positive": "... true.", "negative": "... false.", "label": 1, "group": "Chad"}

    positive, negative: a text, or a list of paraphrases, as many in both and in all lines. label: 1 if the positive
    statement is right, 0 if the negative is. group: optional, a name; without, each pair is a group of its own.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is no such object, or is not aligned, by its number.
    """
    rows: list[tuple[Wordings, int, Any]] = []
    for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), 1):
        if line.strip():
            try:
                rows.append(_parsed(line, number))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
            if len(rows[-1][0]) != len(rows[0][0]):
                raise ValueError(
                    f"{path}, line {number}: want {len(rows[0][0])} paraphrases as in the first, got {len(rows[-1][0])}"
                )
    if len(rows) < 2:
        raise ValueError(f"{path}: want two pairs or more, got {len(rows)}")
    names = list(dict.fromkeys(name for *_, name in rows))
    places = {name: i for i, name in enumerate(names)}
    return _made([(wordings, label, places[name]) for wordings, label, name in rows], names)


def _parsed(line: str, number: int) -> tuple[Wordings, int, str]:
    found = json.loads(line)
    if not isinstance(found, dict) or not {"positive", "negative", "label"} <= found.keys():
        raise ValueError("want an object with positive, negative and label")
    sides = [[found[name]] if isinstance(found[name], str) else found[name] for name in ("positive", "negative")]
    for side in sides:
        if not isinstance(side, list) or not side or not all(isinstance(each, str) and each.strip() for each in side):
            raise ValueError("want positive and negative as texts, or lists of texts, none empty")
    if len(sides[0]) != len(sides[1]):
        raise ValueError(f"want statements and negations aligned, got {len(sides[0])} and {len(sides[1])} paraphrases")
    if same := [each for each, other in zip(*sides, strict=True) if each == other]:
        raise ValueError(f"want a negation that differs from its statement, got {same[0][:80]!r} twice")
    if found["label"] not in (0, 1) or isinstance(found["label"], float):
        raise ValueError(f"want label 0 or 1, got {found['label']!r}")
    return tuple(zip(*sides, strict=True)), int(found["label"]), str(found.get("group", f"line {number}"))


def _ended(begin: str, endings: Sequence[tuple[str, tuple[str, str]]]) -> Wordings:
    return tuple((f"{begin} {end.format(first)}", f"{begin} {end.format(second)}") for end, (first, second) in endings)


def _shuffled(rows: list[tuple[Wordings, int, int]], names: Sequence[str], key: Key) -> Contrast:
    order = np.asarray(jax.random.permutation(jax.random.fold_in(key, 1), len(rows)))
    return _made([rows[i] for i in order], names)


def _made(rows: Sequence[tuple[Wordings, int, int]], names: Sequence[str]) -> Contrast:
    labels, groups = (np.array([row[i] for row in rows], np.int32) for i in (1, 2))
    return Contrast(tuple(row[0] for row in rows), labels, groups, tuple(names))


def _at_most(**named: tuple[int, int]) -> None:
    for name, (value, most) in named.items():
        checks.whole(1, **{name: value})
        if value > most:
            raise ValueError(f"want {name} <= {most}, got {name}={value}")
