"""Results sent in from others' machines: shown apart from the suite's own, never mixed with them.

``results/contributed/NAME/`` has the same form as ``results/``.  Every cell must come with the specification that it is
the hash of, and the versions it was computed with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.machine.errors import UserError
from benchmarks.records.store import Spec, read_specs
from methods.contract import Experiment, Paper
from report import build, leaderboard, records
from report.leaderboard import Board

FOLDER = "contributed"
SAID = ("method", "dataset", "protocol", "task", "split", "seed", "backbone", "track")
"""Columns of a table that the specification of a cell has as well."""


@dataclass(frozen=True)
class Contribution:
    """What one contributor has sent in."""

    name: str
    boards: list[Board]
    cells: int
    made: str
    """Devices, versions of PyTorch and commits, in words."""
    frames: list[pd.DataFrame]


def found(papers: Mapping[str, Paper], results: Path) -> list[Contribution]:
    """Every contribution, checked.

    Raises:
        UserError: a malformed file, a folder of no paper, a cell without its specification or with another one's hash.
    """
    folders = sorted(path for path in (results / FOLDER).glob("*") if path.is_dir())
    return [_contribution(folder, papers, results) for folder in folders]


def _contribution(folder: Path, papers: Mapping[str, Paper], results: Path) -> Contribution:
    loaded: list[tuple[str, Experiment, pd.DataFrame]] = []
    for path in sorted(folder.glob("*/*.csv")):
        paper = papers.get(path.parent.name)
        experiment = next((one for one in paper.experiments if one.name == path.stem), None) if paper else None
        if experiment is None:
            raise UserError(f"{path} belongs to no experiment of the suite; send it in with the module that has it.")
        frame = build.load(path.parent.name, experiment, None, folder).frame
        _check(path, frame)
        loaded.append((path.parent.name, experiment, frame))
    frames = [frame for _, _, frame in loaded]
    whole = pd.concat(frames) if frames else pd.DataFrame(columns=["cell", "device", "torch", "commit"])
    made = "; ".join(
        f"{noun} {', '.join(sorted(map(str, whole[column].unique())))}"
        for noun, column in (("device", "device"), ("torch", "torch"), ("commit", "commit"))
    )
    boards = leaderboard.boards(papers, loaded, results)
    return Contribution(folder.name, boards, whole["cell"].nunique(), made, frames)


def _check(path: Path, frame: pd.DataFrame) -> None:
    """Checks that every cell of a table has its specification, is named by its hash, and is what it says."""
    beside = path.parent / "specs" / f"{path.stem}.json"
    known = read_specs(beside)
    for cell in map(str, frame["cell"].unique()):
        if cell not in known:
            raise UserError(f"{path}: cell {cell} has no specification in {beside}; export it where it was run.")
        try:
            computed = Spec(**known[cell]["spec"]).hash
        except TypeError as error:
            raise UserError(f"{beside}: the specification of cell {cell} has other fields ({error}).") from error
        if computed != cell:
            raise UserError(f"{beside}: the specification of cell {cell} has the hash {computed}: it was changed.")
    for cell, *values in records.plain(frame[["cell", *SAID]].drop_duplicates(), ["cell", *SAID]):
        for name, value in zip(SAID, values, strict=True):
            if str(value) != str(known[cell]["spec"][name]):
                raise UserError(f"{path}: {name} of cell {cell} is {value!r}, unlike in its specification.")
