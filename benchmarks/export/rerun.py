"""Committed cells run again, and their values beside the committed ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.export import tables
from benchmarks.machine import host
from benchmarks.machine.errors import UserError
from benchmarks.plan import plan
from benchmarks.plan.plan import Cell, Options, Plan
from benchmarks.records import provenance
from benchmarks.records.spec import Spec
from benchmarks.records.store import Store
from datasets.store import Location


@dataclass(frozen=True)
class Committed:
    """A cell of the committed tables."""

    paper: str
    experiment: str
    cell: str
    spec: Spec
    rows: tuple[dict[str, str], ...]
    """Of the experiment's table; at least one."""

    @property
    def options(self) -> Options:
        """What plans it."""
        spec = self.spec
        return Options(
            experiments=(self.experiment,),
            datasets=(spec.dataset,),
            tasks=(spec.task,),
            seeds=max(spec.split, spec.seed) + 1,
            track=spec.track,
            backbone=spec.backbone,
            batchnorm=spec.batchnorm,
            cut=spec.cut or None,
            views=spec.views,
            statistics=spec.statistics or "imagenet",
            device=spec.device,
            precision=spec.precision,
            threads=spec.threads,
        )


@dataclass(frozen=True)
class Difference:
    """One value of a cell, as committed and as it comes out here."""

    metric: str
    selection: str
    old: str
    new: str

    @property
    def size(self) -> float:
        """New less old, in the metric's unit; 0 where the two are written alike, infinite where one is missing."""
        if self.old == self.new:
            return 0.0
        return float(self.new) - float(self.old) if self.old and self.new else float("inf")


def find(cells: Sequence[str]) -> list[Committed]:
    """The committed cells of these hashes, or of their beginnings, in the order asked for.

    A cell that stands in several tables is found in the first one.

    Raises:
        UserError: no committed cell has such a hash, or several have.
    """
    known: dict[str, Committed] = {}
    for path in sorted((host.ROOT / "results").glob("*/specs/*.json")):
        paper, experiment = path.parent.parent.name, path.stem
        rows: dict[str, list[dict[str, str]]] = {}
        for row in tables.read(tables.committed_path(paper, experiment)):
            rows.setdefault(row["cell"], []).append(row)
        for cell, origin in provenance.read(path).items():
            if cell in rows:
                known.setdefault(cell, Committed(paper, experiment, cell, Spec(**origin["spec"]), tuple(rows[cell])))
    return [known[_only(wanted, known)] for wanted in dict.fromkeys(cells)]


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
        UserError: it cannot be planned, because the data are not here or because it would be another cell today.
    """
    whole = plan.make(committed.paper, committed.options, location)
    same = [cell for cell in whole.cells if cell.spec.hash == committed.cell]
    if not same:
        if whole.missing:
            raise UserError(f"cell {committed.cell} cannot be made again: {whole.missing[0]}")
        raise UserError(
            f"cell {committed.cell} would be another one today ({_changed(committed, whole.cells)}); "
            f"the commit {committed.rows[0]['commit']} makes it."
        )
    (cell,) = same
    uses = [use for use in cell.uses if use.experiment == committed.experiment][:1]
    return Plan([dataclasses.replace(cell, uses=uses)])


def _changed(committed: Committed, cells: Sequence[Cell]) -> str:
    """Which fields of the spec differ from those of the planned cell that is nearest to it."""
    then = dataclasses.asdict(committed.spec)
    todays = [dataclasses.asdict(cell.spec) for cell in cells]
    nearest = min(([name for name in then if today[name] != then[name]] for today in todays), key=len, default=[])
    return f"its {', '.join(nearest)} changed" if nearest else "its experiment no longer has it"


def compare(committed: Committed, again: Plan, store: Store) -> list[Difference]:
    """The committed values of a cell beside those of its new record, in the order of the table."""
    old = {(row["metric"], row["selection"]): row["value"] for row in committed.rows}
    new = {(row["metric"], row["selection"]): row["value"] for row in tables.rows_of(again, store)}
    return [Difference(*key, old.get(key, ""), new.get(key, "")) for key in sorted(old | new)]
