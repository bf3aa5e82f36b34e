"""What differs between two result trees: files, cells, values, means of lines, verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from benchmarks.machine.errors import UserError
from methods.contract import Paper
from report import ledger, records
from report.records import COMMITTED, IDENTITY
from report.runs import entries, runs_of

OTHERS = ("speed", "compare")
"""Folders whose files are not in the form of papers' results."""
PLACE = [*IDENTITY]
"""Columns that identify a value within a file."""


def compare(old: Path, new: Path, papers: Mapping[str, Paper]) -> list[str]:
    """The differences in words, file by file; empty if the trees hold the same results.

    Raises:
        UserError: a folder does not exist, or a malformed file.
    """
    for folder in (old, new):
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder of results.")
    names = sorted({path.relative_to(folder) for folder in (old, new) for path in folder.glob("*/*.csv")})
    names = [name for name in names if name.parent.name not in OTHERS]
    lines = []
    for name in names:
        before, after = (folder / name for folder in (old, new))
        if not before.is_file() or not after.is_file():
            side = "new" if after.is_file() else "gone"
            cells = records.read(after if after.is_file() else before)["cell"].nunique()
            lines.append(f"{name}: {side}, {cells} cells")
            continue
        lines += _of_file(name, records.read(before), records.read(after), papers)
    return lines + _verdicts(old, new, papers)


def _of_file(name: Path, before: pd.DataFrame, after: pd.DataFrame, papers: Mapping[str, Paper]) -> list[str]:
    old, new = (frame.set_index(PLACE)[["value", "cell"]] for frame in (before, after))
    both = pd.concat([old.add_suffix("_old"), new.add_suffix("_new")], axis=1, join="inner")
    moved = both[both["value_old"] != both["value_new"]]
    added, gone = new.index.difference(old.index), old.index.difference(new.index)
    remade = both[both["cell_old"] != both["cell_new"]]["cell_new"].nunique()
    parts = [
        f"{len(added)} values new" if len(added) else "",
        f"{len(gone)} gone" if len(gone) else "",
        f"{len(moved)} of {len(both)} changed" if len(moved) else "",
        f"{remade} cells of another specification" if remade else "",
    ]
    if not any(parts):
        return []
    lines = [f"{name}: {', '.join(part for part in parts if part)}"]
    if len(moved):
        accuracy = moved[moved.index.get_level_values("metric") == "accuracy"]
        if len(accuracy):
            gap = (accuracy["value_new"] - accuracy["value_old"]).abs()
            lines.append(f"  largest change of an accuracy {gap.max():.2f} points, {_where(gap.idxmax())}")
    return lines + _means(name, before, after, papers)


def _where(place: object) -> str:
    assert isinstance(place, tuple)
    named = dict(zip(PLACE, map(str, place), strict=True))
    return ", ".join(
        f"{named[key]}" for key in ("method", "variant", "setting", "task", "split", "seed", "selection") if named[key]
    )


def _means(name: Path, before: pd.DataFrame, after: pd.DataFrame, papers: Mapping[str, Paper]) -> list[str]:
    """Lines of the tables whose mean accuracy has changed."""
    paper = papers.get(name.parent.name)
    experiment = next((one for one in paper.experiments if one.name == name.stem), None) if paper else None
    if experiment is None:
        return []
    lines = []
    frames = [frame.assign(origin=COMMITTED, first=0, planned=0) for frame in (before, after)]
    groups = dict.fromkeys(group for frame in frames for group in records.groups(frame))
    for group in groups:
        sides = [runs_of(frame, group) for frame in frames]
        if not all(sides):
            continue
        old, new = (side[0] for side in sides)
        for entry in entries(experiment, [old, new]):
            first, second = old.mean(entry), new.mean(entry)
            if first and second and f"{first.mean:.2f}" != f"{second.mean:.2f}":
                lines.append(
                    f"  {entry.label} on {', '.join(group)}: {first.mean:.2f} (n = {first.n}) -> {second.mean:.2f} "
                    f"(n = {second.n}), {second.mean - first.mean:+.2f}"
                )
    return lines


def _verdicts(old: Path, new: Path, papers: Mapping[str, Paper]) -> list[str]:
    """Claims whose verdicts have changed."""
    before: dict[tuple[str, str], list[str]] = {}
    after: dict[tuple[str, str], list[str]] = {}
    for folder, found in ((old, before), (new, after)):
        for row in ledger.ledger(papers, folder):
            found.setdefault((row.paper, row.claim), []).append(row.verdict)
    return [
        f"claim {paper} {claim}: {', '.join(before[paper, claim])} -> {', '.join(verdicts)}"
        for (paper, claim), verdicts in after.items()
        if before.get((paper, claim)) != verdicts
    ]
