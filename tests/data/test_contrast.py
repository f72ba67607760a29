"""Contrast pairs: balance, alignment, what distractors may tell, and files that are not what they should be."""

import collections
import json

import jax
import numpy as np
import pytest

from interp_jax.data import contrast, facts

KEY = jax.random.key(0)


@pytest.mark.parametrize("make", [contrast.sentiment, contrast.capitals])
def test_sets_are_balanced_aligned_and_repeatable(make):
    pairs = make(KEY)
    count = len(pairs.labels)
    assert len(pairs.statements) == len(pairs.groups) == count
    assert pairs.labels.mean() == 0.5
    assert set(pairs.groups.tolist()) == set(range(len(pairs.names)))
    assert {len(wordings) for wordings in pairs.statements} == {3}
    for wordings in pairs.statements:
        for first, second in wordings:
            own, other = first.split(". ")[0], second.split(". ")[0]
            assert own == other
            assert first != second
    assert make(KEY).statements == pairs.statements
    assert make(jax.random.key(1)).statements != pairs.statements
    assert len(set(contrast.texts(pairs))) == 6 * count  # no pair is there twice


def test_an_adjective_is_a_group_of_one_label():
    pairs = contrast.sentiment(KEY, things=2, words=3)
    assert len(pairs.labels) == 12
    for name, words in (("superb", 1), ("awful", 0)):
        rows = pairs.groups == pairs.names.index(name)
        assert (pairs.labels[rows] == words).all()
        assert all(f"was {name}." in pairs.statements[i][0][0] for i in np.flatnonzero(rows))
    assert not set(contrast.GOOD) & set(contrast.BAD)
    assert len(set(contrast.GOOD)) == len(set(contrast.BAD)) == len(contrast.GOOD) == len(contrast.BAD)


def test_no_city_and_no_country_tells_truth_on_its_own():
    pairs = contrast.capitals(KEY)
    truth = dict(facts.CAPITALS)
    assert len(truth) == len(facts.CAPITALS) == len(set(truth.values()))
    assert truth["France"] == "Paris"
    assert max(len(word) for pair in facts.CAPITALS for word in pair) < 20  # names, no sentences
    counts = collections.Counter()
    for wordings, label, group in zip(pairs.statements, pairs.labels, pairs.groups, strict=True):
        city, country = wordings[0][0].removesuffix(". This statement is true.").split(" is the capital of ")
        assert (truth[country] == city) == bool(label)
        assert country in pairs.names[group].split(", ")
        counts[city, label] += 1
        counts[country, label] += 1
        counts[city, "group", int(group)] += 1
    assert all(counts[name, 1] == counts[name, 0] == 1 for name, label, *_ in counts if label in (0, 1))
    assert all(number == 2 for name, number in counts.items() if "group" in name)  # both in one set


def test_values_are_arranged_as_texts_are_listed():
    pairs = contrast.sentiment(KEY, things=2, words=2)
    texts = np.array(contrast.texts(pairs))
    found = contrast.arranged(pairs, texts)
    assert found.shape == (8, 3, 2)
    assert found[5, 2, 1] == pairs.statements[5][2][1]
    with pytest.raises(ValueError, match="want 48 values"):
        contrast.arranged(pairs, texts[1:])


@pytest.mark.parametrize("before", [False, True])
def test_a_distractor_is_in_both_statements_and_tells_nothing(before):
    pairs = contrast.capitals(KEY)
    found, which = contrast.distract(pairs, jax.random.key(3), words=("Banana.", "Shed."), before=before)
    assert abs(np.corrcoef(which, pairs.labels)[0, 1]) < 0.1
    for label in (0, 1):
        for group in range(len(pairs.names)):
            cell = which[(pairs.labels == label) & (pairs.groups == group)]
            assert abs(cell.sum() - len(cell) / 2) <= 0.5
    for wordings, old, one in zip(found.statements, pairs.statements, which, strict=True):
        word = "Banana." if one else "Shed."
        for both, was in zip(wordings, old, strict=True):
            assert both == tuple(f"{word} {side}" if before else f"{side} {word}" for side in was)
    np.testing.assert_array_equal(found.labels, pairs.labels)


def lines(path, *rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def row(positive="It is so: yes.", negative="It is so: no.", label=1, **more):
    return {"positive": positive, "negative": negative, "label": label, **more}


def test_files_are_read(tmp_path):
    two = ["Yes: a", "True: a"], ["No: a", "False: a"]
    path = lines(tmp_path / "a.jsonl", row(*two, group="a"), "", row(*two, label=0, group="b"), row(*two, group="a"))
    found = contrast.read(path)
    assert found.names == ("a", "b")
    assert found.labels.tolist() == [1, 0, 1]
    assert found.groups.tolist() == [0, 1, 0]
    assert found.statements[0] == (("Yes: a", "No: a"), ("True: a", "False: a"))
    alone = contrast.read(lines(tmp_path / "b.jsonl", row(), row("Zürich: ja.", "Zürich: nein.")))
    assert len(alone.names) == 2
    assert alone.statements[1] == (("Zürich: ja.", "Zürich: nein."),)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (row(["a", "b"], ["c"]), "aligned, got 2 and 1"),
        (row(["a", "b"], ["c", "d"]), "want 1 paraphrases as in the first, got 2"),
        (row("a", "a"), "differs from its statement"),
        (row(label=2), "want label 0 or 1, got 2"),
        (row(label=None), "want label 0 or 1"),
        (row(""), "none empty"),
        (row(3), "texts"),
        (row([]), "none empty"),
        ({"text": "a", "label": 1}, "positive, negative and label"),
        ([1, 2], "positive, negative and label"),
        ("{", "line 2"),
        ("[" * 100_000, "line 2"),
    ],
)
def test_lines_that_are_not_pairs_are_named(tmp_path, bad, words):
    path = lines(tmp_path / "a.jsonl", row(), bad)
    with pytest.raises(ValueError, match=words) as error:
        contrast.read(path)
    assert "line 2" in str(error.value)


def test_a_file_of_one_pair_or_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="two pairs or more"):
        contrast.read(lines(tmp_path / "a.jsonl", row()))
    with pytest.raises(FileNotFoundError):
        contrast.read(tmp_path / "b.jsonl")


@pytest.mark.parametrize("settings", [{"things": 0}, {"things": 9}, {"words": 31}])
def test_sizes_out_of_range_are_named(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        contrast.sentiment(KEY, **settings)
