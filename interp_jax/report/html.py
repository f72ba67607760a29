"""HTML that is balanced and escaped by construction: elements are made by `tag`, and only `tag` makes `Markup`.

>>> tag("p", "1 < 2 ", tag("b", "yes"), class_="note")
'<p class="note">1 &lt; 2 <b>yes</b></p>'
"""

import html
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

_VOID = frozenset({"img", "meta", "br", "hr"})
_UNSPEAKABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child: TypeAlias = "Markup | str | int | float | Iterable[Child] | None"


def tag(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """Make one element. Text is escaped, None is nothing, a list is its parts.

    A trailing underscore in an attribute's name is dropped and inner ones become hyphens (`class_`, `aria_label`); True
    gives a bare attribute, None and False none.
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    words = "".join(_attribute(key, value) for key, value in given.items() if value is not None and value is not False)
    if name in _VOID:
        return Markup(f"<{name}{words}>")
    return Markup(f"<{name}{words}>{join(children)}</{name}>")


def join(children: Child) -> Markup:
    """Give the HTML of one or many children."""
    if children is None:
        return Markup()
    if isinstance(children, Markup):
        return children
    if isinstance(children, str | int | float):
        return Markup(escape(str(children)))
    return Markup("".join(join(child) for child in children))


def escape(words: str) -> str:
    """Escape text, and replace what HTML or UTF-8 cannot hold (control characters, lone surrogates) by U+FFFD."""
    return html.escape(_UNSPEAKABLE.sub("\ufffd", words))


class Row(NamedTuple):
    """One property of the things compared. merge: whether equal cells become one wide cell."""

    name: str
    cells: Sequence[Child]
    merge: bool = False


def compare(caption: Child, columns: Sequence[Child], rows: Iterable[Row | None], *, class_: str = "") -> Markup:
    """Make a table with one column a thing compared and one row a property; a row that is None is skipped.

    The roles repeat what the elements say, since a narrow screen lays rows out as cards, which would take them away.
    """
    corner = tag("td", role="cell", class_="corner")
    head = [tag("th", column, scope="col", role="columnheader") for column in columns]
    labels = [_text(column) for column in columns]
    body = [_row(row, labels) for row in rows if row is not None]
    size = "many" if len(columns) > 2 else "two" if len(columns) == 2 else "one"
    return tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", corner, head, role="row"), role="rowgroup"),
        tag("tbody", body, role="rowgroup"),
        class_=f"compare {size} {class_}".strip(),
        role="table",
    )


def _row(row: Row, labels: Sequence[str]) -> Markup:
    cells = [join(cell) for cell in row.cells]
    if row.merge and len(set(cells)) == 1:
        body = [tag("td", cells[0], role="cell", colspan=len(cells), class_="same")]
    else:
        body = [tag("td", c, role="cell", data_label=label) for c, label in zip(cells, labels, strict=True)]
    return tag("tr", tag("th", row.name, scope="row", role="rowheader"), body, role="row")


def _text(child: Child) -> str:
    """Give the words of some HTML."""
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", join(child))).split())


def _attribute(key: str, value: object) -> str:
    return f" {key}" if value is True else f' {key}="{escape(str(value))}"'
