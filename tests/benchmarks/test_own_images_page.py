"""Every command of OWN-IMAGES.md, as make passes it on, on small images and a network of a few weights."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from benchmarks.machine import host
from report import __main__ as report
from tests.benchmarks.own_images import QUICK, tiny, write
from tests.benchmarks.test_command_line import call


def commands(text: str) -> list[str]:
    """The commands of a page: its indented lines that begin with one."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    return [line for line in lines if line.startswith(("make ", "python "))]


def said_by_make(command: str) -> list[list[str]]:
    """Module and arguments of the Python commands that make would run."""
    if command.startswith("python -m "):
        return [shlex.split(command)[2:]]
    words = [*shlex.split(command), "-n", "VENV=/nowhere"]
    done = subprocess.run(words, cwd=host.ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.replace("\\\n", " ").splitlines()
    parts = [part.partition("<")[0] for line in lines for part in re.split(r";|&&|\|", line)]
    return [
        shlex.split(part.partition(" -m ")[2]) for part in parts if " -m benchmarks" in part or " -m report" in part
    ]


def test_every_command_of_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = commands((host.ROOT / "OWN-IMAGES.md").read_text())
    assert len(found) == 7
    said = [(command, words) for command in found for words in said_by_make(command)]
    assert len(said) == 10
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "shots", {"studio": True, "phone": False}, count=4)
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    with tiny(tmp_path / "data"):
        for command, (module, *arguments) in said:
            if "CELL" in command:
                cells = sorted((tmp_path / "runs" / "kept").glob("*/network.pt"))
                arguments = [argument.replace("runs/kept/CELL", str(cells[0])) for argument in arguments]
            if module == "report":
                monkeypatch.setattr("sys.argv", ["report", *arguments])
                report.main(standalone_mode=False)
                assert "Methods" in (text := capsys.readouterr().out) or "images of your own" in text
                continue
            if arguments[0] in ("compare", "reproduce"):
                arguments += ["--backbone", "tiny", "--set", QUICK, "--jobs", "1"]
            if arguments[0] == "compare":
                arguments += ["--methods", "dan ddc"]
            status, output, error = call(capsys, monkeypatch, *arguments)
            assert status == 0, (command, output, error)
    assert (tmp_path / "phone.json").is_file()
