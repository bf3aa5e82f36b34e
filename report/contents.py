"""What is in ``results/``: every file, what it took, and the command that reproduces it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from methods.contract import Experiment, Paper
from report import records
from report.build import in_order
from report.records import Group

HEADER = (
    "| file | what it shows | data, protocol | network | tasks | seeds | cells | hours | PyTorch | commits |",
    "|---|---|---|---|---:|---:|---:|---:|---|---|",
)
INTRODUCTION = """# What is here, and what makes it again

Written by `make paper-tables` from the files themselves. To run a line again beside its committed numbers, fill in the
command below its paper's table: EXPERIMENT is the file's name, the other values stand on the line. The web pages
(`make report`) show the whole command beside every table. `python -m benchmarks rerun CELL` runs one cell.

Hours are the summed run times of the cells, each on one thread; decoding and cached activations come on top. A cell in
several tables is counted in each of them.
"""


def contents(papers: Mapping[str, Paper], results: Path) -> str:
    """The text of ``CONTENTS.md``; the same results give the same bytes.

    Raises:
        UserError: a malformed file.
    """
    parts = [INTRODUCTION]
    for name, paper in papers.items():
        lines = [line for experiment in paper.experiments for line in _lines(name, experiment, results)]
        parts.append(f"## {name}: {paper.title}{' (a comparator)' if paper.comparator else ''}\n")
        if lines:
            parts.append("\n".join((*HEADER, *lines)) + "\n")
        absent = [one.name for one in paper.experiments if not records.files(name, one.name, None, results)]
        if absent:
            parts.append(f"Not run yet: {', '.join(absent)}.\n")
        parts.append(f"    make reproduce-{name} EXPERIMENT=... DATASET=... TRACK=... BACKBONE=... SEEDS=...\n")
    return "\n".join(parts)


def _lines(name: str, experiment: Experiment, results: Path) -> Iterator[str]:
    """One line of the table for every group in a file's rows."""
    paths = records.files(name, experiment.name, None, results)
    if not paths:
        return
    frame = records.load(paths).drop_duplicates("cell")
    for group in in_order(experiment, records.groups(frame)):
        rows = records.of_group(frame, group)
        yield f"| {' | '.join(_fields(name, experiment, group, rows))} |"


def _fields(name: str, experiment: Experiment, group: Group, rows: pd.DataFrame) -> list[str]:
    network = f"{group.backbone}, {group.track}"
    return [
        f"[{experiment.name}.csv]({name}/{experiment.name}.csv)",
        experiment.title.replace("|", "/"),
        f"{group.dataset}, {group.protocol}",
        network,
        str(rows["task"].nunique()),
        str(rows[["split", "seed"]].drop_duplicates().shape[0]),
        str(len(rows)),
        f"{rows['seconds'].astype(float).sum() / 3600:.2f}",
        ", ".join(sorted(rows["torch"].unique())),
        ", ".join(sorted(rows["commit"].unique())),
    ]
