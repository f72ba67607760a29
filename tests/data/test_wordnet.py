"""Small files that are written as wndb(5WN) says, every way they may be damaged, and the real ones where they are."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from interp_jax.data import images, wordnet

ROOT = Path(__file__).parents[2]
LICENCE = "  1 This software and database is being provided to you, the LICENSEE  \n"


def laid(rows):
    """Lay out synsets `(lexicographer, kind, words, [(symbol, number of the synset, kind)], frames, gloss)` as a file.

    Offsets have eight digits whatever they are, so the places are known before they are filled in.
    """

    def line(row, places):
        lexicographer, kind, words, pointers, frames, gloss = row
        said = " ".join(f"{word} 0" for word in words)
        to = "".join(f"{symbol} {places[number]:08d} {of} 0000 " for symbol, number, of in pointers)
        return f"{lexicographer:02d} {kind} {len(words):02x} {said} {len(pointers):03d} {to}{frames}| {gloss}  \n"

    sizes = [9 + len(line(row, [0] * len(rows)).encode()) for row in rows]
    places = [len(LICENCE) + sum(sizes[:i]) for i in range(len(rows))]
    return LICENCE + "".join(f"{at:08d} {line(row, places)}" for at, row in zip(places, rows, strict=True))


def person(gloss, *words, of=0, lexicographer=18, symbol="@i"):
    return lexicographer, "n", words, [(symbol, of, "n")], "", gloss


POET = (18, "n", ("poet", "bard"), [], "", 'a writer of poems; "the poets sang"')
PAINTER = (18, "n", ("painter",), [], "", 'an artist who paints; "painters paint"; "his work" (since 1900)')


@pytest.fixture
def write(tmp_path):
    """Give a function that writes a part's file and gives the folder."""

    def of(part="noun", *rows):
        (tmp_path / f"data.{part}").write_text(laid(rows))
        return tmp_path

    return of


def test_a_synset_has_what_its_line_says(write):
    folder = write(
        "verb",
        (29, "v", ("breathe", "take_a_breath"), [("~", 1, "v"), ("+", 0, "n")], "02 + 02 00 + 08 00 ", "draw air"),
        (29, "v", ("yawn",), [("@", 0, "v")], "", "gape | or not"),
    )
    first, second = wordnet.synsets("verb", folder)
    assert first.words == ("breathe", "take a breath")
    assert first.pointers == (("~", second.offset, "v"), ("+", first.offset, "n"))
    assert (first.offset, first.lexicographer, first.kind, first.gloss) == (len(LICENCE), 29, "v", "draw air")
    assert second.gloss == "gape | or not"
    folder = write("adj", (0, "s", ("galore(ip)", "afloat(p)"), [], "", "in abundance"))
    assert wordnet.synsets("adj", folder)[0].words == ("galore", "afloat")


def test_packed_files_and_the_users_folder(write, tmp_path, monkeypatch):
    plain = write("noun", POET) / "data.noun"
    place = tmp_path / "wordnet"
    place.mkdir()
    (place / "data.noun.gz").write_bytes(gzip.compress(plain.read_bytes()))
    monkeypatch.setenv("INTERP_JAX_DATA", str(tmp_path))
    assert wordnet.synsets("noun") == wordnet.synsets("noun", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no data\.verb\[\.gz\] .*bash scripts/data wordnet"):
        wordnet.synsets("verb")
    with pytest.raises(ValueError, match="want a part of speech among noun, verb, adj, adv, got 'n'"):
        wordnet.synsets("n")


@pytest.mark.parametrize(("old", "new", "message"), [
    ("bard 0", "bards 0", r"data\.noun: line 3: names the place 00000147 and stands at 00000148"),
    ("poet 0 bard 0", "poet 0 bard", "line 2: want 2 words, each with a number"),
    (" n 02 ", " n 03 ", "line 2: want 3 words, each with a number"),
    (" n 02 ", " n 01 ", "line 2: want the count of pointers after 1 words, got 'bard'"),
    (" 001 @i", " 002 @i", "line 3: want 2 pointers of four fields"),
    (" 18 n 02", " 18 v 02", "line 2: want a kind among n, got 'v'"),
    (" | a writer", " a writer", "line 2: no gloss"),
    (" 18 n 02", " zz n 02", "line 2: invalid literal"),
    ("@i 00000072", "@i 00000074", "line 3: points to a synset at 00000074, which is not there"),
    ("sang", "s\xffng", "line 2: 'utf-8' codec"),
])  # fmt: skip
def test_damage_is_named_by_line(write, old, new, message):
    folder = write("noun", POET, person("a poet (1809-1865)", "Ode"))
    whole = (folder / "data.noun").read_text()
    assert whole.count(old) == 1
    (folder / "data.noun").write_bytes(whole.replace(old, new).encode("latin-1"))
    with pytest.raises(ValueError, match=message):
        wordnet.synsets("noun", folder)


def test_a_file_that_is_cut_off_is_found(write):
    folder = write("noun", (18, "n", ("poet",), [("~i", 1, "n")], "", "a writer"), person("(1809-1865)", "Ode"))
    whole = (folder / "data.noun").read_text().splitlines(keepends=True)
    (folder / "data.noun").write_text("".join(whole[:2]))
    with pytest.raises(ValueError, match=r"line 2: points to a synset .* not there"):
        wordnet.synsets("noun", folder)
    (folder / "data.noun").write_text(whole[0])
    with pytest.raises(ValueError, match="want at least one synset"):
        wordnet.synsets("noun", folder)


def test_years_of_birth(write):
    folder = write(
        "noun", POET, PAINTER,
        person("of the Iliad; crossed the sea (in 1830) (1809-1865)", "Zed", "Abel_Zed", "A._Zed"),
        person("one (1930-)", "Living", of=1), person("(born 1923)", "Shorn"), person("(born in 1947)", "Born"),
        person("(born in the United States in 1956)", "Far Away".replace(" ", "_")),
        person("(9-79)", "Vespasian"),
        # None of these tells a year for sure.
        person("(circa 1400-1455)", "Circa"), person("(1400?-1455)", "Asked"), person("(44-10 BC)", "Before"),
        person("(540-489)", "Falling"), person("(1618-1857)", "Ancient"), person("(died in 1500)", "Dead"),
        person("(1800-1850) (1801-1850)", "Twice"), person("(15th century)", "Vague"),
        person("(1782-1858)", "Two"), person("(1889-1975)", "Two", of=1),
        # Nor are these people.
        person("(1914-1918)", "War", lexicographer=4), person("a poet (1900-1950)", "Kind", symbol="@"),
    )  # fmt: skip
    found = wordnet.births(folder)
    born = {"Abel Zed": 1809, "Living": 1930, "Shorn": 1923, "Born": 1947, "Far Away": 1956, "Vespasian": 9}
    assert dict(zip(found.names, found.years.tolist(), strict=True)) == born
    assert [*found.names] == sorted(found.names)
    assert found.kinds == ("painter", "poet")
    assert found.kinds[found.kind[found.names.index("Living")]] == "painter"


def test_one_person_of_two_synsets_stands_once(write):
    folder = write("noun", POET, person("(1809-1865)", "Zed"), person("(1809-1865)", "Zed"))
    assert wordnet.births(folder).names == ("Zed",)
    with pytest.raises(ValueError, match="want people with a year of birth"):
        wordnet.births(write("noun", POET))


def test_examples_have_one_word_of_a_known_part_of_speech(write):
    write(
        "noun",
        (18, "n", ("poet", "bard"), [], "", 'writes; "the Poets sang all night"; "a bard and poet"; "no such word"'),
        (6, "n", ("box",), [], "", 'holds "a thing" or two; "two boxes full"'),
        (6, "n", ("run",), [], "", '"a long run"; "they run"'),
        (6, "n", ("New_York",), [], "", '"in New York"'),
    )  # fmt: skip
    write("verb", (30, "v", ("run", "respire"), [], "", '"they run"; "he was respiring"; "a run run"'))
    write("adj", (0, "s", ("large(a)",), [], "", 'more; "a larger house"- Homer; "an enlarged one"'))
    folder = write("adv", (2, "r", ("fast",), [], "", 'how; "ran fast"; "faster still"'))
    found = wordnet.examples(folder)
    rows = zip(found.texts, found.start, found.stop, found.part, found.word, strict=True)
    read = {(text, text[a:b], wordnet.PARTS[part], found.words[word]) for text, a, b, part, word in rows}
    assert read == {
        ("the Poets sang all night", "Poets", "noun", "poets"), ("two boxes full", "boxes", "noun", "boxes"),
        ("a long run", "run", "noun", "run"), ("he was respiring", "respiring", "verb", "respiring"),
        ("a larger house", "larger", "adj", "larger"), ("ran fast", "fast", "adv", "fast"),
    }  # fmt: skip
    assert [*found.texts] == sorted(found.texts)
    write("verb", (30, "v", ("run",), [], "", "run"))
    write("noun", POET[:5] + ("a poet",))
    for part, kind in (("adj", "a"), ("adv", "r")):
        write(part, (0, kind, ("word",), [], "", "what is said"))
    with pytest.raises(ValueError, match="want glosses that quote examples"):
        wordnet.examples(folder)


def real():
    there = all((images.find("wordnet") / f"data.{part}").is_file() for part in wordnet.PARTS)
    return pytest.mark.skipif(not there, reason="run scripts/data wordnet first")


@real()
@pytest.mark.slow
def test_the_real_people():
    """Counts are those of versions 3.0 and 3.1; years from an encyclopedia."""
    found = wordnet.births()
    assert len(found.names) == 2976
    assert (found.years > 1400).sum() == 2823
    known = dict(zip(found.names, found.years.tolist(), strict=True))
    assert (known["President Abraham Lincoln"], known["Rudolf Nureyev"], known["Ludwig Boltzmann"]) == (
        1809,
        1938,
        1844,
    )
    assert np.isin([found.kinds.index(name) for name in ("poet", "physicist")], found.kind).all()


@real()
@pytest.mark.slow
def test_the_real_examples():
    found = wordnet.examples()
    assert 40_000 < len(found.texts) < 42_000
    assert (np.bincount(found.part) > [9_000, 9_000, 17_000, 3_500]).all()
    at = found.texts.index("The patient is respiring")
    assert (found.texts[at][found.start[at] : found.stop[at]], found.part[at]) == ("respiring", 1)
    kinds = {}
    for word, part in zip(found.word.tolist(), found.part.tolist(), strict=True):
        kinds.setdefault(word, set()).add(part)
    assert sum(len(each) > 1 for each in kinds.values()) > 1_500


def script(*arguments):
    environment = os.environ | {"INTERP_JAX_PYTHON": sys.executable, "JAX_PLATFORMS": "cpu"}
    command = ["sh", str(ROOT / "scripts" / "data"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_the_script_copies_files_that_read_well(write, tmp_path):
    for part, kind in zip(wordnet.PARTS, "nvar", strict=True):
        folder = write(part, (0, kind, ("word",), [], "", "what is said"))
    target = tmp_path / "target"
    done = script("wordnet", "--from", folder, "--to", target)
    assert (done.returncode, done.stdout) == (0, f"data: wordnet is in {target}, and reads well\n")
    assert sorted(path.name for path in target.iterdir()) == sorted(f"data.{part}" for part in wordnet.PARTS)
    damaged = target / "data.adv"
    damaged.write_text("00000001" + damaged.read_text()[8:])
    done = script("wordnet", "--from", target, "--to", tmp_path / "third")
    assert done.returncode == 1
    assert "data.adv: line 1: " in done.stderr
    assert not (tmp_path / "third").exists()
