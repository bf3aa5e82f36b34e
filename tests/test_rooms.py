"""The rooms of the suite: imports point one way, and none goes round in a circle."""

from __future__ import annotations

import ast
import functools
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORDER = ("machine", "records", "networks", "plan", "cell", "executors", "export", "cli")
"""The rooms of ``benchmarks``; each imports from those before it only."""
ALLOWED = {
    "datasets": ("datasets",),
    "methods": ("methods",),
    "benchmarks": ("benchmarks", "datasets", "methods"),
    "report": (
        "report",
        "benchmarks.records",
        "benchmarks.machine.errors",
        "datasets.names",
        "methods.contract",
        "methods.errors",
        "methods.recipes",
    ),
}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for top in ALLOWED
    for path in sorted((ROOT / top).rglob("*.py"))
}


def imports(path: Path) -> Iterator[str]:
    """The suite's modules that a file imports, at its top or within a function; not those for type checkers alone."""
    pending: list[ast.AST] = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        pending += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if inner in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


@functools.cache
def graph() -> dict[str, set[str]]:
    """Module -> what it imports of the suite."""
    return {name: {found for found in imports(path) if found in MODULES} for name, path in MODULES.items()}


@pytest.mark.parametrize("top", ALLOWED)
def test_imports_point_one_way(top: str) -> None:
    wrong = [
        f"{name} imports {found}"
        for name, several in graph().items()
        for found in several
        if name.partition(".")[0] == top and not any(f"{found}.".startswith(f"{one}.") for one in ALLOWED[top])
    ]
    assert not wrong


def test_each_room_imports_from_those_below_it() -> None:
    assert {path.parent.name for path in (ROOT / "benchmarks").glob("*/__init__.py")} == set(ORDER)
    for name, several in graph().items():
        parts = name.split(".")
        if parts[0] == "benchmarks" and len(parts) > 2:
            rooms = [found.split(".")[1] for found in several if found.startswith("benchmarks.")]
            above = [room for room in rooms if ORDER.index(room) > ORDER.index(parts[1])]
            assert not above, f"{name} imports from {above}"


def test_no_imports_go_in_a_circle() -> None:
    list(graphlib.TopologicalSorter(graph()).static_order())


def test_a_newcomer_sees_few_doors() -> None:
    """Ten entries at the top of the harness, and each room says what lives there and what does not."""
    shown = [path for path in (ROOT / "benchmarks").iterdir() if path.name != "__pycache__"]
    assert len(shown) <= 10
    for room in ORDER:
        text = ast.get_docstring(ast.parse((ROOT / "benchmarks" / room / "__init__.py").read_text())) or ""
        assert len(text.splitlines()) == 3, f"benchmarks/{room}/__init__.py"
