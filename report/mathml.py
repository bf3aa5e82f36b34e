"""The equations of docstrings, written as plain text, as MathML, which every browser renders without a library.

A line is a formula; two or more spaces separate formulas on one line.  ``x_i^2`` and ``x_{2i-1}`` have indices and
powers, ``sum_{i = 1..n}`` and ``min_theta`` have them below, Greek letters and functions go by their names, and other
words are text.  Text that is not a formula gives ``None``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from markupsafe import Markup, escape

_SMALL = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "eta", "theta", "kappa", "lambda", "mu", "nu", "xi", "pi", "rho"),
    *("sigma", "tau", "phi", "psi", "omega"),
)
_LARGE = ("Theta", "Delta", "Sigma", "Phi", "Omega")


def _letter(name: str) -> str:
    kind = "CAPITAL" if name in _LARGE else "SMALL"
    return unicodedata.lookup(f"GREEK {kind} LETTER {name.upper().replace('LAMBDA', 'LAMDA')}")


GREEK = {name: _letter(name) for name in (*_SMALL, *_LARGE)}
BELOW = {"sum": "∑", "prod": "∏", "min": "min", "max": "max", "argmin": "arg min", "argmax": "arg max"}
"""Operators with their index below, and how they are written."""
PRIME = "\N{PRIME}"
SIGNS = {
    "<-": "←",
    "<=": "≤",
    ">=": "≥",
    "!=": "≠",
    "->": "→",
    "...": "…",
    "..": "…",
    "-": "\N{MINUS SIGN}",
    "*": "·",
    "'": PRIME,
}
TEXT = {"of", "to", "is", "in", "on", "as", "or", "if", "by", "at", "its", "and", "the", "with", "for", "over"}
FUNCTIONS = {
    "exp",
    "log",
    "softmax",
    "mean",
    "var",
    "tr",
    "erf",
    "eps",
    "conf",
    "soft",
    "repr",
    "relu",
    "MMD",
    "MSD",
    "diag",
    "sign",
}
"""Names of several letters that are not words of text."""
TOKEN = re.compile(r"\s+|[A-Za-z]+|\d+(?:\.\d+)?(?:e-?\d+)?|<-|<=|>=|!=|->|\.\.\.|\.\.|.")
SPACE = "\N{NO-BREAK SPACE}"
"""Others are removed at the ends of text in formulas."""
FENCES = set("()[]{}|")
"""Symbols that keep their size, whatever is between them."""
CLOSING = {"{": "}", "(": ")"}


class _Reader:
    """Reads the tokens of one formula from left to right."""

    def __init__(self, text: str) -> None:
        self.tokens = TOKEN.findall(text)
        self.place = 0

    def peek(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def next(self) -> str:
        self.place += 1
        return str(self.tokens[self.place - 1])

    def row(self, until: str = "") -> str:
        """Everything up to a token, which is consumed as well, or to the end."""
        parts: list[str] = []
        while self.place < len(self.tokens):
            if until and self.peek() == until:
                self.next()
                return "".join(parts)
            parts.append(self.scripted())
        if until:
            raise ValueError(f"{until} is missing")
        return "".join(parts)

    def scripted(self) -> str:
        """An atom with its index and its power."""
        word = self.peek()
        base = self.atom()
        low = high = ""
        while self.peek() in ("_", "^", "'") and base:
            sign = self.next()
            if sign == "'":
                high += f"<mo>{PRIME}</mo>"
            elif sign == "_":
                low += self.argument()
            else:
                high += self.argument()
        if not (low or high):
            return base
        names = ("munder", "mover", "munderover") if word in BELOW else ("msub", "msup", "msubsup")
        name = names[2] if low and high else names[0] if low else names[1]
        return f"<{name}>{base}{''.join(f'<mrow>{part}</mrow>' for part in (low, high) if part)}</{name}>"

    def argument(self) -> str:
        """A subscript or superscript: a group in braces or parentheses, or one token."""
        first = self.peek()
        if first == "{":
            self.next()
            return self.row("}")
        if first == "(":
            self.next()
            return f'<mo stretchy="false">(</mo>{self.row(")")}<mo stretchy="false">)</mo>'
        return self.atom(name=True)

    def atom(self, *, name: bool = False) -> str:
        """One token; as a ``name`` a word of several letters is not text."""
        token = self.next()
        if token.isspace():
            return ""
        if token == "sqrt" and self.peek() == "(":
            self.next()
            return f"<msqrt>{self.row(')')}</msqrt>"
        if token in GREEK:
            return f"<mi>{GREEK[token]}</mi>"
        if token in BELOW:
            return f"<mo>{BELOW[token]}</mo>"
        if token.isalpha():
            plain = token in TEXT or (len(token) > 2 and token not in FUNCTIONS)
            if plain and not name:
                return f"<mtext>{SPACE}{self.words(token)}{SPACE}</mtext>"
            apart = '<mspace width=".17em"/>' if token in FUNCTIONS and not name and self.peek().isspace() else ""
            return f"<mi>{escape(token)}</mi>{apart}"
        if token[0].isdigit():
            return f"<mn>{token}</mn>"
        small = ' stretchy="false"' if token in FENCES else ""
        return f"<mo{small}>{escape(SIGNS.get(token, token))}</mo>"

    def words(self, first: str) -> str:
        """A word of text and those following it."""
        found = [first]
        while self.place + 1 < len(self.tokens) and self.peek().isspace() and self.tokens[self.place + 1] in TEXT:
            self.next()
            found.append(self.next())
        return SPACE.join(found)


INLINE = re.compile(rf"(?<![\w.])(?:[A-Za-z]|{'|'.join(GREEK)})(?:[_^](?:{{[^{{}}]*}}|[A-Za-z0-9]+))+'?(?!\w)")
"""A letter with an index or a power, in a sentence."""


def within(text: str) -> str:
    """Typesets the letters with an index or a power in a sentence, given as HTML; everything else is unchanged."""
    return INLINE.sub(lambda found: f"<math><mrow>{_Reader(found[0]).row()}</mrow></math>", text)


def is_formula(text: str) -> bool:
    """Whether it contains signs of a formula."""
    return re.search(r"[=^_]", text) is not None


def typeset(text: str) -> Markup | None:
    """The lines of an equation, each a ``math`` element with the plain text as its alternative; None if it is none."""
    if not is_formula(text):
        return None
    try:
        return Markup("\n".join(_line(line) for line in _joined(text)))
    except ValueError:
        return None


def _joined(text: str) -> Iterator[str]:
    """The lines, with any that leave a parenthesis open joined to the next."""
    whole = ""
    for line in text.splitlines():
        whole = f"{whole} {line.strip()}" if whole else line.strip()
        if whole and all(whole.count(opening) <= whole.count(closing) for opening, closing in CLOSING.items()):
            yield whole
            whole = ""
    if whole:
        yield whole


def _line(text: str) -> str:
    parts = [_Reader(part).row() for part in re.split(r"\s{2,}", text)]
    inner = '<mspace width="1.5em"/>'.join(f"<mrow>{part}</mrow>" for part in parts)
    return f'<math display="block" alttext="{escape(text)}">{inner}</math>'
