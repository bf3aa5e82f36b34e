"""A small invented paper and results files for it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from methods.contract import Claim, Experiment, Paper, Recipe, Row
from report.published import COLUMNS as PUBLISHED_COLUMNS
from report.records import COLUMNS

RECIPE = Recipe(steps=10, epoch=5, rate=0.01)
BASE = Row("source_only", label="source only")
FULL = Row("dan", label="DAN")
SINGLE = Row("dan", "single_kernel", "DAN_SK")
MAIN = Experiment(
    "digits",
    "accuracy on digits",
    rows=(BASE, FULL),
    recipes={"digits-mini": RECIPE, "digits": RECIPE},
    baseline=BASE,
    seeds=3,
    default=True,
    published=("Table1",),
)
ABLATIONS = Experiment("ablations", "parts left out", (BASE, FULL, SINGLE), {"digits-mini": RECIPE}, BASE, seeds=2)
SWEEP = Experiment(
    "sensitivity",
    "accuracy against lambda",
    (BASE, FULL),
    {"digits-mini": RECIPE},
    BASE,
    sweep={"lam": (0.1, 1.0, 10.0)},
)
PAPER = Paper(
    title="Adaptation of Things",
    authors="A. Author",
    venue="Venue",
    year=2015,
    link="https://example.org",
    experiments=(MAIN, ABLATIONS, SWEEP),
    claims=(
        Claim("gain", "DAN beats source only.", "digits", FULL, BASE),
        Claim("kernels", "Several kernels beat one.", "ablations", FULL, SINGLE),
    ),
    published_rows={"source only": "CNN", "DAN": "DAN"},
    key="dan",
)
DEFAULTS = {
    "paper": "dan",
    "experiment": "digits",
    "variant": "default",
    "dataset": "digits-mini",
    "protocol": "full",
    "split": "0",
    "seed": "0",
    "backbone": "lenet",
    "track": "finetune",
    "setting": "",
    "selection": "last",
    "metric": "accuracy",
    "n_test": "1000",
    "seconds": "1.5",
    "device": "cpu",
    "torch": "2.14.1",
    "commit": "0123abc",
    "cell": "c0ffee",
}
VALUES = {
    ("source_only", "mnist:optdigits"): (80.0, 81.0, 82.0),
    ("source_only", "optdigits:mnist"): (60.0, 60.0, 60.0),
    ("dan", "mnist:optdigits"): (84.0, 84.0, 84.0),
    ("dan", "optdigits:mnist"): (62.0, 65.0, 62.0),
}
"""(method, task) -> accuracy of seeds 0, 1, 2.

Differences by seed: (4, 3, 2) and (2, 5, 2); their means over tasks: 3, 4, 2; mean 3, standard error 1 / sqrt(3).
"""


def rows(values: Mapping[tuple[str, str], Iterable[float]] = VALUES, **fields: str) -> list[dict[str, str]]:
    """One row per (method, task) and seed; ``fields`` replace the defaults."""
    return [
        DEFAULTS | {"method": method, "task": task, "seed": str(seed), "value": str(value)} | fields
        for (method, task), numbers in values.items()
        for seed, value in enumerate(numbers)
    ]


def write(path: Path, lines: Iterable[Mapping[str, str]]) -> Path:
    """A results file."""
    return _write(path, COLUMNS, lines)


def write_published(path: Path, lines: Iterable[tuple[str, ...]], dataset: str = "Office-31") -> Path:
    """A ``published.csv`` of table ``Table1``; a line is method, task, accuracy, spread, provenance."""
    names = ("method", "task", "accuracy", "spread", "provenance")
    common = {"paper": "dan", "run_by": "", "table": "Table1", "backbone": "AlexNet", "dataset": dataset, "source": "s"}
    return _write(path, PUBLISHED_COLUMNS, (common | dict(zip(names, line, strict=True)) for line in lines))


def _write(path: Path, columns: tuple[str, ...], lines: Iterable[Mapping[str, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return path
