"""A module's docstring as paragraphs, equations and lists."""

from __future__ import annotations

import inspect
import re
from typing import Literal, NamedTuple

from markupsafe import Markup, escape

from report import mathml


class Block(NamedTuple):
    """A piece of a docstring."""

    kind: Literal["p", "equation", "list"]
    text: str = ""
    items: tuple[str, ...] = ()


def blocks(text: str) -> list[Block]:
    """The pieces of a docstring, without its first line, which names the paper.

    Pieces are separated by empty lines.  Four leading spaces make an equation, a star a list whose items continue with
    two.
    """
    found: list[Block] = []
    for part in re.split(r"\n[ ]*\n", inspect.cleandoc(text))[1:]:
        lines = part.splitlines()
        if all(line.startswith("    ") for line in lines):
            equation = "\n".join(line[4:] for line in lines)
            if found and found[-1].kind == "equation":
                found[-1] = Block("equation", f"{found[-1].text}\n\n{equation}")
            else:
                found.append(Block("equation", equation))
        elif lines[0].startswith("* "):
            items = re.split(r"\n\* ", "\n" + part)[1:]
            found.append(Block("list", items=tuple(" ".join(item.split()) for item in items)))
        else:
            found.append(Block("p", " ".join(part.split())))
    return found


def inline(text: str) -> Markup:
    """Text as HTML, with code in double backquotes and emphasis in stars marked, and indices typeset."""
    parts = re.split(r"(``.+?``)", str(escape(text)))
    typeset = [part if part.startswith("``") else mathml.within(part) for part in parts]
    marked = re.sub(r"``(.+?)``", r"<code>\1</code>", "".join(typeset))
    return Markup(re.sub(r"(?<!\w)\*(\w[^*]*[\w.:])\*(?!\w)", r"<em>\1</em>", marked))
