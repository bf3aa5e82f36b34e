"""Every command that a page names: make knows it, its options are understood, and what it asks for can be planned."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from benchmarks.cli.main import group
from benchmarks.machine import host
from report.__main__ import main as report
from tests.benchmarks.test_command_line import call
from tests.benchmarks.test_own_images_page import said_by_make

PAGES = sorted(
    path
    for folder in (".", "datasets", "results")
    for path in (host.ROOT / folder).glob("*.md")
    if path.name not in ("CLAIMS.md", "TUNING.md")
)
PLACEHOLDERS = {"PAPER": "dan", "NAME": "lab", "newcomer": "dan"}
"""What a page says -> what a reader might put there."""
PLANNED = ("EXPERIMENT", "DATASET", "TASKS", "SEEDS", "TRACK", "BACKBONE")
GROUPS = {"benchmarks": group, "report": report}


def commands(text: str) -> set[str]:
    """Those that begin with ``make`` or ``python -m``: indented lines up to what is said of them, and quoted words."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    lines += re.findall(r"`([^`]+)`", text)
    found = {
        re.split(r"\s{2,}|\s#", line)[0]
        for line in lines
        if re.match(r"make [a-z]|python -m (benchmarks|report) ", line)
    }
    return {one for one in found if not re.search(r"-$|\.\.\.|<", one)}


def named(command: str) -> str:
    for word, value in PLACEHOLDERS.items():
        command = command.replace(word, value)
    return command


DOCUMENTED = sorted({named(one) for path in PAGES for one in commands(path.read_text(encoding="utf-8"))})


def understood(module: str, arguments: list[str]) -> None:
    """Raises what click raises where an option or a value means nothing."""
    context = click.Context(GROUPS[module])
    command = GROUPS[module].get_command(context, arguments[0])
    assert command is not None, arguments
    command.make_context(arguments[0], arguments[1:], parent=context)


def test_pages_name_commands() -> None:
    assert len(DOCUMENTED) > 40
    assert commands("`make x` and `a make`\n    make data D=1      fetch\n    make test # all\n`make choose-`") == {
        "make x",
        "make data D=1",
        "make test",
    }


@pytest.mark.parametrize("command", DOCUMENTED)
def test_a_documented_command(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, *arguments in said_by_make(command):
        if len(arguments) > 1:
            understood(module, arguments)
    words = shlex.split(command)
    verb, _, name = words[1].partition("-")
    given = dict(word.split("=", 1) for word in words[2:]) if verb == "reproduce" else {}
    if verb == "reproduce" and not given.get("DATASET", "").startswith("folder:"):
        options = [part for key in PLANNED if key in given for part in (f"--{key.lower()}", given[key])]
        status, out, err = call(
            capsys, monkeypatch, "plan", name, *options, "--data", tmp_path / "data", "--runs", tmp_path / "runs"
        )
        complaints = [line for line in err.splitlines() if "only as a subset" not in line]  # so in a mirror
        assert (status, complaints) == (0, []), command
        assert "0 cells" not in out or "not prepared" in out
