import dataclasses
import re
import shutil
import sys
from html.parser import HTMLParser

import pytest

from interp_jax.core.intervals import student
from interp_jax.report import page, records
from interp_jax.report.style import CSS
from tests.report import example
from tests.report.test_results import finding, write

VOID = {"img", "meta", "br", "hr"}
HOSTILE = '<script>alert("x")</script>&\'"> https://example.org/ \x00\ud800'


class Reader(HTMLParser):
    """Read a page as a browser does: elements must balance; keep links, images, ids, text and tables."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.open, self.text, self.images, self.links, self.ids, self.headings, self.captions = (
            [],
            [],
            [],
            [],
            [],
            [],
            0,
        )
        self.tags, self.addresses, self.attributes = [], [], []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append(tag)
        self.attributes += attributes
        self.addresses += [given[name] for name in ("src", "href", "srcset", "action", "data") if name in given]
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "img":
            self.images.append(given)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def build(folders, **more):
    out = folders[0] / "index.html"
    built = page.build(*folders, out, now="2026-11-21T12:00:00+00:00", **more)
    assert built.path == out
    return Reader(out.read_text("utf-8")), built.problems


@pytest.fixture(scope="module")
def whole(written, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "index.html"
    assert page.build(written / "results", written / "committed", out, now="2026-11-21T12:00:00+00:00").problems == []
    return out.read_text("utf-8")


def test_one_file_without_network_or_script(whole):
    seen = Reader(whole)
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(seen.tags)
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in seen.addresses)
    assert not re.search(r"url\(|@import|https?:", CSS)
    assert not any(name.startswith("on") for name, _ in seen.attributes)
    assert len(whole) < 3e6


def test_structure_for_readers_of_every_kind(whole):
    seen = Reader(whole)
    assert whole.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert all(image["alt"].strip() and image["width"] and image["height"] for image in seen.images)
    assert len(seen.images) == 6
    assert seen.headings[0] == 1
    assert seen.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(seen.headings, seen.headings[1:], strict=False))
    assert seen.tags.count("table") == seen.tags.count("caption") == 1 + 4 + 1
    assert len(set(seen.ids)) == len(seen.ids)
    assert {address[1:] for address in seen.addresses if address.startswith("#")} <= set(seen.ids)
    assert 'class="skip"' in whole
    assert {"header", "main", "footer"} <= set(seen.tags)


def test_the_numbers_of_the_results_are_there(whole, written):
    words = Reader(whole).words
    sampled = records.read(written / "results" / example.NAME / "quick").findings[0].intervals[0]
    minus = "\N{MINUS SIGN}"
    for number in (sampled.estimate, sampled.low, sampled.high):
        assert f"{minus}{-number:.3f}" in words
    for told in (
        "Does the regulariser of a beta-VAE", "Locatello et al. 2019, section 5.1", "decreases (figure only)",
        "8 seeds", "20 seeds", "8 (0 to 7)", "1 min 52 s", "5 h 47 min", "1 x NVIDIA H100 80GB HBM3",
        "1, left out of every mean:", "run beta16-seed7, step 120400", "48 rows, 6 columns", "120 rows",
        "full was not run on this machine; the committed result is shown", "about 1,100 seed-steps",
        "not tested at this size: The order of objectives", "21 November 2026, 12:00 UTC", "6ee5b40c1a2b",
        "supported if the 95% interval of the slope", "This machine, quick: a small problem", "learning_rate 0.0001",
    ):  # fmt: skip
        assert told in words, told
    assert "Committed, full: a small problem" not in words


def test_a_verdict_has_a_word_and_a_mark(whole):
    badges = re.findall(
        r'<span class="badge (\w+)"><span aria-hidden="true" class="mark">(.)</span> ([^<]+)</span>', whole
    )
    assert {(kind, mark) for kind, mark, _ in badges} == {
        ("supported", "\u2713"), ("contradicted", "\u2717"), ("inconclusive", "?"), ("untested", "\u2013"),
    }  # fmt: skip
    assert {word for _, _, word in badges} == {
        "supported", "contradicted", "inconclusive", "not tested at this size",
    }  # fmt: skip


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True])
def test_contrast_is_that_of_wcag_aa(dark):
    schemes = re.findall(r":root \{(.*?)\}", CSS, re.S)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", schemes[1 if dark else 0]))
    pairs = [(text, paper) for text in ("ink", "quiet", "link") for paper in ("paper", "card")]
    pairs += [(name, f"{name}-paper") for name in ("good", "bad", "open", "none")]
    pairs += [(name, "card") for name in ("good", "bad", "open", "none")] + [
        ("ink", "open-paper"),
        ("ink", "bad-paper"),
    ]
    for text, paper in pairs:
        high, low = sorted((luminance(colours[text]), luminance(colours[paper])), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, (text, paper)


def test_hostile_words_stay_words(tmp_path):
    claim = finding("c", None, statement=HOSTILE, source=HOSTILE, scope=HOSTILE, published=HOSTILE, estimand=HOSTILE)
    picture = example.pictures(8)[0]._replace(caption=HOSTILE, alt=HOSTILE)
    manifest = example.manifest(
        4, True, title=HOSTILE, question=HOSTILE, device=HOSTILE, config={HOSTILE: HOSTILE}, not_run=[HOSTILE],
        diverged=[HOSTILE, {HOSTILE: [HOSTILE]}], versions={HOSTILE: HOSTILE}, started=HOSTILE, git_revision=HOSTILE,
        presets=[HOSTILE],
    )  # fmt: skip
    folder = tmp_path / "r" / example.NAME / "quick"
    records.write(folder, manifest=manifest, findings=[claim], pictures=[picture])
    seen, problems = build((tmp_path / "r", tmp_path / "nothing"))
    assert problems == []
    assert "script" not in seen.tags
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in seen.addresses)
    assert seen.words.count('<script>alert("x")</script>') > 12
    assert seen.images[0]["alt"].startswith("<script>")


def test_damaged_results_are_named_and_the_rest_is_shown(folders, capsys):
    fresh, committed = folders
    shutil.copytree(fresh / example.NAME / "quick", fresh / example.NAME / "other")
    path = fresh / example.NAME / "quick" / "rows.parquet"
    path.write_bytes(path.read_bytes()[:100])
    (fresh / "empty").mkdir()
    seen, problems = build(folders)
    assert len(problems) == 3
    for problem in problems:
        assert problem in seen.words
    assert "3 problems : what is named here is damaged" in seen.words
    assert "committed, full" in seen.words
    assert "no result" in seen.words
    assert page.main([str(fresh), str(committed)]) == 1
    told = capsys.readouterr()
    assert told.err.count("problem: ") == 3
    assert told.out.strip().endswith("index.html")


def test_nothing_run_is_said(tmp_path, folders, capsys):
    seen, problems = build((tmp_path / "nothing", tmp_path / "nowhere"), expected={"probe_mdl": ["quick", "full"]})
    assert problems == []
    assert "This machine has no results yet." in seen.words
    assert "No result, neither of this machine nor committed: probe_mdl." in seen.words
    assert "There is no claim to show." in seen.words
    seen, _ = build((tmp_path / "nothing", folders[1]))
    assert "This machine has no results yet." in seen.words
    assert "quick was not run on this machine; there is no committed result either." in seen.words
    assert page.main([str(folders[0]), str(tmp_path / "nowhere")]) == 0
    assert capsys.readouterr().err == ""


def test_scripts_beside_the_committed_results_are_expected(tmp_path, folders, monkeypatch):
    experiments = tmp_path / "experiments"
    experiments.mkdir()
    (experiments / "probe_mdl.py").write_text("")
    (experiments / "_common.py").write_text("")
    folders[1].rename(experiments / "results")
    monkeypatch.chdir(tmp_path)
    assert page.main([]) == 0
    seen = Reader((tmp_path / "results" / "index.html").read_text("utf-8"))
    assert "nor committed: probe_mdl." in seen.words
    assert "_common" not in seen.words


def test_notes_of_tested_claims_are_shown(tmp_path):
    left_out = dataclasses.replace(finding("c", student([1.0, 1.2, 0.9])), note="2 of 8 seeds left out: diverged")
    constant = finding("d", student([0.5, 0.5]))
    write(tmp_path / "r", "a", "quick", [left_out, constant])
    write(tmp_path / "c", "a", "full", [finding("c", student([1.0, 1.2, 0.9]), statement="In other words.")])
    seen, _ = build((tmp_path / "r", tmp_path / "c"))
    assert "2 of 8 seeds left out: diverged" in seen.words
    assert "all replicates are equal" in seen.words
    assert "this run states the claim as: In other words." in seen.words
    assert "not among its claims" in seen.words


def test_expected_presets_that_never_ran_are_named(folders):
    seen, _ = build(folders, expected={example.NAME: ["quick", "huge"]})
    assert "huge was not run on this machine; there is no committed result either." in seen.words


def test_everything_run_is_said(tmp_path):
    write(tmp_path, "a", "quick", [])
    records.write(
        tmp_path / "a" / "quick",
        manifest=example.manifest(4, True, experiment="a", preset="quick", presets=["quick"], not_run=None),
    )
    seen, _ = build((tmp_path, tmp_path / "nothing"))
    assert "Nothing: every preset has a result of this machine" in seen.words
    assert "None was judged." in seen.words


def test_an_unfinished_run_is_said(tmp_path):
    changes = {"finished": False, "ended": None, "wall_seconds": None, "seeds": [3, 5, 9]}
    manifest = example.manifest(4, True) | changes
    records.write(tmp_path / example.NAME / "quick", manifest=manifest)
    seen, problems = build((tmp_path, tmp_path / "nothing"))
    assert problems == []
    assert "This machine, quick: not finished." in seen.words
    assert "3 (3, 5, 9)" in seen.words


def test_two_sizes_here_and_two_committed_stand_in_four_columns(tmp_path):
    for place in ("r", "c"):
        for quick in (True, False):
            example.write(tmp_path / place, quick=quick, seeds=3)
    seen, _ = build((tmp_path / "r", tmp_path / "c"))
    text = (tmp_path / "r" / "index.html").read_text()
    assert text.count("compare many") == 5
    assert len(seen.images) == 12


def test_a_long_list_of_diverged_runs_folds_and_drops_none(tmp_path):
    runs = [f"beta16-seed{i}" for i in range(40)]
    records.write(tmp_path / example.NAME / "quick", manifest=example.manifest(4, True, diverged=runs))
    seen, _ = build((tmp_path, tmp_path / "nothing"))
    assert all(run in seen.words for run in runs)
    assert "40, left out of every mean:" in seen.words


def test_a_wrong_command_is_an_error_in_a_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        page.main(["--nonsense"])
    assert caught.value.code == 2
    (tmp_path / "file").write_text("")
    assert page.main([str(tmp_path), "--out", str(tmp_path / "file" / "index.html")]) == 1
    assert "cannot write the page" in capsys.readouterr().err


def test_the_same_results_make_the_same_page(folders):
    one, two = (build(folders) and (folders[0] / "index.html").read_bytes() for _ in range(2))
    assert one == two
    assert sys.getsizeof(one) > 1e5
