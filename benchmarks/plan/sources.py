"""The code that a method is made of, as a digest: what tells a record of older code of the same revision."""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path

import methods

SHARED = frozenset({"contract", "errors"})
"""Modules of ``methods/`` that describe and compute nothing."""


@functools.cache
def digest(method: str) -> str:
    """Sixteen hexadecimal digits over the module of a method and what it imports of ``methods/``.

    Comments and docstrings are left out.  Empty for a method that has no module.
    """
    if not _path(method).is_file():
        return ""
    found = hashlib.sha256()
    for name in sorted(_imported(method)):
        found.update(f"{name}\0{_code(_path(name))}\0".encode())
    return found.hexdigest()[:16]


def _path(name: str) -> Path:
    return Path(methods.__path__[0]) / f"{name}.py"


def _code(path: Path) -> str:
    """A module's syntax tree: what is the same for other comments and line breaks; docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not _is_text(one)] or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a text alone, as docstrings are."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imported(method: str) -> set[str]:
    found, todo = {method}, [method]
    while todo:
        for name in _imports(_path(todo.pop())) - found - SHARED:
            found.add(name)
            todo.append(name)
    return found


def _imports(path: Path) -> set[str]:
    """Modules of ``methods/`` that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "methods":
                names |= {alias.name for alias in node.names}
            elif node.module.startswith("methods."):
                names.add(node.module.partition(".")[2])
        elif isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("methods.")}
    return {name for name in names if (path.parent / f"{name}.py").is_file()}
