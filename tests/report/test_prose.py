"""Docstrings as paragraphs, equations and lists."""

from __future__ import annotations

import pytest

from report.prose import Block, blocks, inline

DOCSTRING = """Paper (Author; 2020.)

A first paragraph
of two lines:

    a = b

    c = d

* one item
  that goes on
* another
"""


def test_a_docstring_falls_into_its_pieces_without_its_first_line() -> None:
    assert blocks(DOCSTRING) == [
        Block("p", "A first paragraph of two lines:"),
        Block("equation", "a = b\n\nc = d"),
        Block("list", items=("one item that goes on", "another")),
    ]


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("``weight`` of *width*", "<code>weight</code> of <em>width</em>"),
        ("*Domain confusion.*  A classifier", "<em>Domain confusion.</em>  A classifier"),
        ("*Remembered, not checked:* gamma", "<em>Remembered, not checked:</em> gamma"),
        ("2 * 3 * 4 and a*b*c", "2 * 3 * 4 and a*b*c"),
        ("x < y", "x &lt; y"),
    ],
)
def test_code_and_stars_are_marked(text: str, html: str) -> None:
    assert str(inline(text)) == html
