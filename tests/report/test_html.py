from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from interp_jax.report.html import Markup, Row, compare, escape, join, tag


class Words(HTMLParser):
    """Collect the text and the attributes that a browser would see."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.text, self.tags, self.values = [], [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, name, attributes):
        self.tags.append(name)
        self.values += [value for _, value in attributes]

    def handle_data(self, data):
        self.text.append(data)


HOSTILE = '<script>alert("1")</script> & \' </p><img src=x onerror=y>'


def test_text_and_attributes_are_escaped():
    seen = Words(tag("p", HOSTILE, title=HOSTILE))
    assert seen.tags == ["p"]
    assert "".join(seen.text) == HOSTILE
    assert seen.values == [HOSTILE]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_text_comes_back_and_makes_no_element(text):
    markup = tag("div", text, data_label=text)
    markup.encode("utf-8")
    seen = Words(markup)
    assert seen.tags == ["div"]
    speakable = [c if c.isprintable() or c in "\t\n" or ord(c) >= 160 else None for c in text]
    if None not in speakable and not any(0xD800 <= ord(c) < 0xE000 or ord(c) in (0xFFFE, 0xFFFF) for c in text):
        assert "".join(seen.text) == text
        assert seen.values == [text]


def test_what_html_cannot_hold_is_replaced():
    assert escape("a\x00b\x1b\ud800\x9f") == "a\ufffdb\ufffd\ufffd\ufffd"
    assert escape("tab\tline\n") == "tab\tline\n"


def test_children_and_attributes():
    assert tag("p", None, ["a", [Markup("<b>"), 1, 2.5]], class_="x", hidden=True, id=None, lang=False) == (
        '<p class="x" hidden>a<b>12.5</p>'
    )
    assert tag("img", alt="", src="x") == '<img alt="" src="x">'
    assert tag("meta", name="viewport", aria_label=0) == '<meta name="viewport" aria-label="0">'
    assert join(["<", Markup("<")]) == "&lt;<"


def test_compare_merges_equal_cells_only_where_told():
    table = compare("c", ["one", "two"], [Row("a", ["x", "x"], merge=True), Row("b", ["x", "x"]), None])
    assert table.count("<tr") == 3
    assert table.count("colspan") == 1
    assert '<td role="cell" colspan="2" class="same">x</td>' in table
    assert table.count('<td role="cell" data-label="one">x</td>') == 1
    labels = compare("c", [tag("span", "A & B"), "two"], [Row("b", ["x", "y"])])
    assert 'data-label="A &amp; B"' in labels
