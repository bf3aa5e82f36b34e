"""Equations in plain text as MathML, by hand."""

from __future__ import annotations

import importlib

import pytest

from methods.contract import papers
from report import mathml, prose
from tests.report.markup import parse


def inner(text: str) -> str:
    """What stands in the only formula of a line, without its row."""
    found = mathml.typeset(text)
    assert found is not None
    return found.partition("<mrow>")[2].rpartition("</mrow>")[0]


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("x_i = 1", "<msub><mi>x</mi><mrow><mi>i</mi></mrow></msub><mo>=</mo><mn>1</mn>"),
        ("d_k^2", "<msubsup><mi>d</mi><mrow><mi>k</mi></mrow><mrow><mn>2</mn></mrow></msubsup>"),
        ("s_{2i-1}", "<msub><mi>s</mi><mrow><mn>2</mn><mi>i</mi><mo>\N{MINUS SIGN}</mo><mn>1</mn></mrow></msub>"),
        ("sum_i a", "<munder><mo>∑</mo><mrow><mi>i</mi></mrow></munder><mi>a</mi>"),
        ("beta' = 0", "<msup><mi>β</mi><mrow><mo>\N{PRIME}</mo></mrow></msup><mo>=</mo><mn>0</mn>"),
        ("sqrt(a) = b", "<msqrt><mi>a</mi></msqrt><mo>=</mo><mi>b</mi>"),
        ("a <- b_1", "<mi>a</mi><mo>←</mo><msub><mi>b</mi><mrow><mn>1</mn></mrow></msub>"),
        ("a <= b_1", "<mi>a</mi><mo>≤</mo><msub><mi>b</mi><mrow><mn>1</mn></mrow></msub>"),
    ],
)
def test_by_hand(text: str, made: str) -> None:
    assert inner(text) == made


def test_words_are_text_and_lines_with_open_parentheses_are_one() -> None:
    assert "<mtext>\N{NO-BREAK SPACE}subject\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}</mtext>" in inner(
        "a subject to b = 1"
    )
    assert str(mathml.typeset("a = (b\n     + c)\nd = 1")).count("<math") == 2
    assert mathml.typeset("BnB    copied from baseB, frozen") is None
    assert mathml.typeset("a_{b = 1") is None, "what cannot be read stays as it is"
    assert 'alttext="a &lt; b_1"' in str(mathml.typeset("a < b_1"))


def test_every_equation_of_the_suite_is_set() -> None:
    for name in papers():
        for block in prose.blocks(importlib.import_module(f"methods.{name}").__doc__ or ""):
            if block.kind == "equation" and mathml.is_formula(block.text):
                found = mathml.typeset(block.text)
                assert found, (name, block.text)
                assert not {"_", "^"} & set(parse(str(found)).text), (name, block.text)
