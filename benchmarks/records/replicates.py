"""How many replicates the rows of a table have: fixed by the spread of a first stage, recorded, then run.

``results/replicates.csv`` has a row for every table that ``make decide-PAPER`` was run for.  The report computes it
from committed results, the harness runs what it asks for, and the report's intervals use the spread of the first stage
(``report.statistics``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine.errors import UserError
from benchmarks.records import files, schema


@dataclass(frozen=True)
class Replicates:
    """A row of the file: a table, and how many replicates all of its lines should have."""

    paper: str
    experiment: str
    dataset: str
    protocol: str
    backbone: str
    track: str
    first: int
    """Replicates of the first stage."""
    most: int | None = None
    """Maximum to run; None, like all that follows, until the first stage is complete."""
    claim: str = ""
    """The claim that asks for the most, as named in the ledger."""
    spread: float | None = None
    """Standard deviation of its effect over the first stage, mean over tasks."""
    delta: float | None = None
    """The maximum half-width of its interval, in the same unit."""
    planned: int | None = None
    """Total number of replicates."""

    @property
    def table(self) -> tuple[str, ...]:
        """What it is about: unique among the rows."""
        return self.paper, self.experiment, self.dataset, self.protocol, self.backbone, self.track


def path(results: Path) -> Path:
    """Where it is in a folder of results."""
    return results / "replicates.csv"


def read(results: Path) -> list[Replicates]:
    """All rows; none if there is no file.

    Raises:
        UserError: it is damaged; the message names file and line.
    """
    place = path(results)
    rows = files.numbered_rows(place, schema.REPLICATES) if place.is_file() else ()
    return [_parsed(fields, place, line) for line, fields in rows]


def _parsed(fields: dict[str, str], place: Path, line: int) -> Replicates:
    try:
        numbers = {
            **{name: int(fields[name]) if fields[name] else None for name in ("first", "most", "planned")},
            **{name: float(fields[name]) if fields[name] else None for name in ("spread", "delta")},
        }
        if not numbers["first"]:
            raise ValueError("first is empty")
    except ValueError as error:
        raise UserError(f"{place}, line {line}: {error}.") from error
    return Replicates(**{**fields, **numbers})  # type: ignore[arg-type]


def write(results: Path, rows: Iterable[Replicates]) -> None:
    """Replace the file, in the order of its tables.

    Raises:
        UserError: it cannot be written.
    """
    files.write_csv(path(results), schema.REPLICATES, map(_fields, sorted(rows, key=lambda row: row.table)))


def _fields(row: Replicates) -> dict[str, str]:
    values = dataclasses.asdict(row)
    return {
        name: "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
        for name, value in values.items()
    }


def of_experiment(results: Path, paper: str, experiment: str) -> dict[tuple[str, ...], tuple[int, int]]:
    """Data set, protocol, backbone and track -> replicates of the first stage and in total, if fixed."""
    rows = [row for row in read(results) if (row.paper, row.experiment) == (paper, experiment)]
    return {row.table[2:]: (row.first, row.planned) for row in rows if row.planned}
