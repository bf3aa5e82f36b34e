"""Committed cells run again, with their values beside the committed ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.export import tables
from benchmarks.machine import host
from benchmarks.machine.errors import UserError
from benchmarks.plan import comparing, plan
from benchmarks.plan.plan import Plan, Use
from benchmarks.records import files, schema
from benchmarks.records.store import Spec, Store, read_specs
from datasets.store import Location
from methods.contract import Row

COMPARED = ("accuracy", "a_distance")
"""Columns of a comparison that a record names the same way."""
BOUND = 2.0
"""Points by which an accuracy may differ between processors; REPRODUCIBILITY.md gives the measurements."""


@dataclass(frozen=True)
class Committed:
    """A cell of the committed tables."""

    paper: str
    experiment: str
    cell: str
    spec: Spec
    rows: tuple[dict[str, str], ...]
    """Rows of the experiment's table; at least one."""
    instructions: str
    """The vector unit it was computed with; empty if older code did not record it."""


@dataclass(frozen=True)
class Difference:
    """One value of a cell, as committed and as computed here."""

    metric: str
    selection: str
    old: str
    new: str

    @property
    def alone(self) -> bool:
        """Whether one of the two is missing."""
        return not (self.old and self.new)

    @property
    def size(self) -> float:
        """New minus old, in the metric's unit; 0 if the two are written alike, infinite if one is missing."""
        if self.old == self.new:
            return 0.0
        return float("inf") if self.alone else float(self.new) - float(self.old)


def find(cells: Sequence[str]) -> list[Committed]:
    """The committed cells with these hashes, or prefixes of them, in the order given.

    A cell in several tables is found in the first one.

    Raises:
        UserError: no committed cell has such a hash, or several have.
    """
    known = {one.cell: one for one in every()}
    return [known[_only(wanted, known)] for wanted in dict.fromkeys(cells)]


def every(papers: Sequence[str] = ()) -> list[Committed]:
    """All committed cells with a specification, each in the first table that has it.

    Args:
        papers: names of modules; none: all.
    """
    known: dict[str, Committed] = {}
    for path, table in _tables():
        paper, experiment = table.parent.name, table.stem
        if papers and paper not in papers:
            continue
        rows: dict[str, list[dict[str, str]]] = {}
        for row in _compared(table) if paper == comparing.NAME else tables.read(table):
            rows.setdefault(row["cell"], []).append(row)
        for cell, origin in read_specs(path).items():
            if cell in rows:
                its, unit = Spec(**origin["spec"]), origin["versions"].get("instructions", "")
                known.setdefault(cell, Committed(paper, experiment, cell, its, tuple(rows[cell]), unit))
    return list(known.values())


def _tables() -> Iterator[tuple[Path, Path]]:
    """Every committed file of specifications, and its table."""
    results = host.ROOT / "results"
    for path in sorted(results.glob("*/specs/*.json")):
        yield path, tables.committed_path(path.parent.parent.name, path.stem)
    for path in sorted((results / comparing.NAME).glob("*.json")):
        yield path, path.with_suffix(".csv")


def _compared(path: Path) -> list[dict[str, str]]:
    """Each cell's last iterate in a committed comparison, as rows of a table, which do not say where it was run."""
    rows = [row for row in files.read_csv(path, schema.COMPARISON) if not row["error"]]
    known = {"torch": "unknown", "device": "device unknown", "selection": "last"}
    return [{**row, **known, "metric": name, "value": row[name]} for row in rows for name in COMPARED if row[name]]


def _only(wanted: str, known: Iterable[str]) -> str:
    fitting = [cell for cell in known if wanted and cell.startswith(wanted)]
    if not fitting:
        raise UserError(
            f"no committed cell is called {wanted!r}; the column `cell` of the tables in results/ names them."
        )
    if len(fitting) > 1:
        raise UserError(f"{len(fitting)} committed cells begin with {wanted!r}; give more of the name.")
    return fitting[0]


def planned(committed: Committed, location: Location) -> Plan:
    """The plan of one committed cell, with nothing else in it.

    Raises:
        UserError: it would be a different cell today.
        DataError: its data are not prepared.
    """
    cell = plan.today(committed.spec, location)
    row = committed.rows[0]
    if cell.spec.hash != committed.cell:
        changed = [name for name, value in vars(committed.spec).items() if getattr(cell.spec, name) != value]
        raise UserError(
            f"cell {committed.cell} would be another one today (its {', '.join(changed)} changed); "
            f"the commit {row['commit']} makes it."
        )
    use = Use(committed.paper, committed.experiment, Row(row["method"], row["variant"]), row["setting"])
    return Plan([dataclasses.replace(cell, uses=[use])])


@dataclass(frozen=True)
class Outcome:
    """How a cell's committed accuracy compares with the one computed here."""

    committed: Committed
    moved: float
    """Largest difference in accuracy, in points."""
    equal: bool
    """Whether all values agree to the last digit."""
    same_unit: bool
    """Whether both were computed with the same vector unit."""

    @property
    def holds(self) -> bool:
        """Equal, or computed on another unit and within ``BOUND``."""
        return self.equal or (not self.same_unit and self.moved <= BOUND)


def outcome(committed: Committed, again: Plan, store: Store) -> Outcome:
    """Compares the second run of a cell with the first."""
    differences = compare(committed, again, store)
    moved = max((abs(one.size) for one in differences if one.metric == "accuracy"), default=0.0)
    unit = store.read(committed.cell).versions.get("instructions", "")
    return Outcome(committed, moved, not any(one.size for one in differences), unit == committed.instructions)


def compare(committed: Committed, again: Plan, store: Store) -> list[Difference]:
    """The committed values of a cell and those of its new record, in the order of the table."""
    old = {(row["metric"], row["selection"]): row["value"] for row in committed.rows}
    if committed.paper == comparing.NAME:  # it keeps less of a cell than a table does
        values = store.read(committed.cell).values
        found = {(one["metric"], one["selection"]): f"{one['value']:.6g}" for one in values}
        return [Difference(*key, old[key], found.get(key, "")) for key in sorted(old)]
    new = {(row["metric"], row["selection"]): row["value"] for row in tables.rows_of(again, store)}
    return [Difference(*key, old.get(key, ""), new.get(key, "")) for key in sorted(old | new)]
