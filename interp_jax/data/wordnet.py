"""WordNet's database files (Fellbaum 1998): synsets, people with years of birth, examples of words with part of speech.

    people = births()                   # 2,976 people, with the year in their gloss
    people.names, people.years
    used = examples()                   # sentences of one word each whose part of speech is known
    used.texts[0][used.start[0] : used.stop[0]]

Files are data.noun, data.verb, data.adj and data.adv, of version 3.0 or 3.1, as wndb(5WN) describes them: one synset a
line, that begins with its own place in the file. `bash scripts/data wordnet` gets them.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from interp_jax.core.types import Numpy
from interp_jax.data import files, images
from interp_jax.data.dated import Dated, dated

PARTS = ("noun", "verb", "adj", "adv")
"""Parts of speech, in the order of the classes of `examples`."""
PERSON = 18
"""The lexicographer's file of people."""
LONGEST = 115
"""Years that a life may last; a longer one is a slip of the pen, as 1618 to 1857."""
_KINDS = {"noun": "n", "verb": "v", "adj": "as", "adv": "r"}
_YEARS = re.compile(r"\((?:(\d{1,4})-(\d{1,4})?|born (?:in )?(?:[A-Za-z][A-Za-z ]* in )?(\d{3,4}))\)")
_QUOTED = re.compile(r'(?:^|; ?)"([^"]+)"')
_WORD = re.compile(r"[A-Za-z]+(?:[-'][A-Za-z]+)*")
_ENDINGS = {
    "noun": (("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"),
             ("ies", "y")),
    "verb": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}  # fmt: skip
"""WordNet's rules of detachment: what an inflected word may end in, and its lemma."""
_MARKER = re.compile(r"\((?:p|a|ip)\)$")  # where an adjective may stand


class Pointer(NamedTuple):
    """A relation to another synset: its symbol, the synset's place, and of which part of speech (n, v, a, s, r)."""

    symbol: str
    offset: int
    kind: str


class Synset(NamedTuple):
    """A set of synonyms. words: with blanks, first the one most used. kind: n, v, a, s (satellite adjective) or r."""

    offset: int
    lexicographer: int
    kind: str
    words: tuple[str, ...]
    pointers: tuple[Pointer, ...]
    gloss: str


def births(folder: str | os.PathLike | None = None) -> Dated:
    """Read the people whose gloss gives a year of birth: 2,976, in version 3.0 as in 3.1.

    Their kind is what WordNet says they are instances of, first of all, as "poet". People are the noun synsets of the
    lexicographer's file `PERSON` that are an instance of something. A year counts where just one parenthesis of the
    gloss reads "(1809-1865)", "(1930-)", "(born 1923)", "(born in 1947)" or "(born in Japan in 1925)". So years with
    "circa", "?" or "BC" are left out, and lives that do not rise (BC unsaid) or last over `LONGEST` years. The name is
    the longest of the synset's, the first of them; a name that two people with different years share is left out, for
    it is all that a model is told.

    Raises:
        FileNotFoundError, ValueError: as `synsets` does.
    """
    nouns = synsets("noun", folder)
    said = {each.offset: each.words[0] for each in nouns}
    found = defaultdict(set)
    for each in nouns:
        kinds = [to.offset for to in each.pointers if to.symbol == "@i"]
        if each.lexicographer == PERSON and kinds and (year := _birth(each.gloss)) is not None:
            found[max(each.words, key=len)].add((year, said[kinds[0]]))
    kept = {name: (*min(ways), False) for name, ways in found.items() if len({year for year, _ in ways}) == 1}
    if not kept:
        raise ValueError("want people with a year of birth in data.noun, got none")
    return dated(kept)


def _birth(gloss: str) -> int | None:
    found = _YEARS.findall(gloss)
    if len(found) != 1:
        return None
    first, last, born = found[0]
    if born:
        return int(born)
    return int(first) if not last or 0 < int(last) - int(first) <= LONGEST else None


class Examples(NamedTuple):
    """N usage examples of one word each, by text.

    texts: N. start, stop: `[N]` int32, where the word stands, in characters. part: `[N]` int32, its part of speech, of
    `PARTS`. word: `[N]` int32, its place in `words`, which are sorted: types as they stand, in lower case.
    """

    texts: tuple[str, ...]
    start: Numpy
    stop: Numpy
    part: Numpy
    word: Numpy
    words: tuple[str, ...]


def examples(folder: str | os.PathLike | None = None) -> Examples:
    """Read the usage examples quoted in glosses, each with a word whose part of speech is its synset's: 41,187 in 3.1.

    The word is a lemma of the synset, of small letters only, or becomes one by one of the rules of detachment of
    morphy(7WN) for the part of speech ("respiring" of "respire"; irregular forms and doubled consonants are missed). An
    example with two such words, or none, is left out, and so is one that glosses of different parts of speech quote for
    the same word. Many examples of adjectives are phrases of two words.

    Raises:
        FileNotFoundError, ValueError: as `synsets` does.
    """
    found = defaultdict(set)
    for part in PARTS:
        for each in synsets(part, folder):
            lemmas = {word for word in each.words if word.isalpha() and word.islower()}
            for text in _QUOTED.findall(each.gloss):
                places = [place for place in _WORD.finditer(text) if lemmas & _lemmas(place.group().lower(), part)]
                if len(places) == 1:
                    found[text, *places[0].span()].add(part)
    kept = [(*at, PARTS.index(min(parts))) for at, parts in sorted(found.items()) if len(parts) == 1]
    if not kept:
        raise ValueError("want glosses that quote examples, got none")
    types = [text[start:stop].lower() for text, start, stop, _ in kept]
    words = sorted(set(types))
    numbers = {word: number for number, word in enumerate(words)}
    start, stop, part = np.array([row[1:] for row in kept], np.int32).T
    return Examples(
        tuple(row[0] for row in kept), start, stop, part, np.array([numbers[each] for each in types], np.int32),
        tuple(words),
    )  # fmt: skip


def _lemmas(word: str, part: str) -> set[str]:
    """Give what a word may be a form of, itself included."""
    cut = {word[: -len(end)] + instead for end, instead in _ENDINGS[part] if word.endswith(end) and word != end}
    return cut | {word}


def synsets(part: str, folder: str | os.PathLike | None = None) -> list[Synset]:
    """Read all synsets of a part of speech.

    part: of `PARTS`. folder: where `data.noun` and so on lie, plain or gzipped; `images.find("wordnet")` if None.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damage, by line: a line that is not at the place that it names, counts that differ from what
            follows, a pointer to a synset that is not there (as where the end of a file is cut off).
    """
    if part not in PARTS:
        raise ValueError(f"want a part of speech among {', '.join(PARTS)}, got {part!r}")
    place = images.find("wordnet", folder)
    hint = (
        "get it with `bash scripts/data wordnet`, or set INTERP_JAX_DATA to the folder that holds wordnet/, or pass "
        "the folder that holds data.noun, data.verb, data.adj and data.adv"
    )
    with files.opened(files.present(place, f"data.{part}", hint)) as file:
        found = dict(_lines(file.read(), _KINDS[part]))
        places = {each.offset for each in found.values()}
        for number, each in found.items():
            lost = [to.offset for to in each.pointers if to.kind in _KINDS[part] and to.offset not in places]
            if lost:
                raise ValueError(f"line {number}: points to a synset at {lost[0]:08d}, which is not there")
        if not found:
            raise ValueError("want at least one synset, got none")
        return list(found.values())


def _lines(content: bytes, kinds: str) -> Iterator[tuple[int, Synset]]:
    """Give the synsets by number of line; lines that begin with blanks are the licence."""
    place = 0
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip() and not line.startswith(b"  "):
            try:
                found = _synset(line.decode("utf-8"))
                if found.offset != place:
                    raise ValueError(f"names the place {found.offset:08d} and stands at {place:08d}")
                if found.kind not in kinds:
                    raise ValueError(f"want a kind among {', '.join(kinds)}, got {found.kind!r}")
            except (ValueError, IndexError) as error:
                raise ValueError(f"line {number}: {error}") from None
            yield number, found
        place += len(line) + 1


def _synset(line: str) -> Synset:
    """Parse `offset lexicographer kind w_cnt {word id} p_cnt {symbol offset kind source} [frames] | gloss`."""
    if " | " not in line:
        raise ValueError("no gloss")
    head, gloss = line.split(" | ", 1)
    offset, lexicographer, kind, count, *rest = head.split()
    words, rest = rest[: 2 * int(count, 16)], rest[2 * int(count, 16) :]
    if not words or not rest or not all(re.fullmatch("[0-9a-f]", each) for each in words[1::2]):
        raise ValueError(f"want {int(count, 16)} words, each with a number, then the count of pointers")
    if not re.fullmatch(r"\d{3}", rest[0]):
        raise ValueError(f"want the count of pointers after {int(count, 16)} words, got {rest[0]!r}")
    pointers, frames = rest[1 : 1 + 4 * int(rest[0])], rest[1 + 4 * int(rest[0]) :]
    if (
        len(pointers) != 4 * int(rest[0])
        or (frames and kind != "v")
        or (frames and len(frames) != 1 + 3 * int(frames[0]))
    ):
        raise ValueError(f"want {int(rest[0])} pointers of four fields, and frames of verbs only")
    return Synset(
        int(offset), int(lexicographer), kind, tuple(_MARKER.sub("", word).replace("_", " ") for word in words[::2]),
        tuple(Pointer(pointers[i], int(pointers[i + 1]), pointers[i + 2]) for i in range(0, len(pointers), 4)),
        gloss.strip(),
    )  # fmt: skip
