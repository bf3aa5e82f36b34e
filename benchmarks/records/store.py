"""Cells on disk: the spec that identifies a cell, its record, and the store of both.

The spec holds everything that determines a cell's numbers on one machine, except package versions: the record keeps
these, and ``constraints.txt`` fixes them.  If you change them, start a new runs folder.

The store has one atomic file per cell, named by the hash of its spec.

Layout under the runs folder::

    cells/<hash>.json         finished cells
    failed/<hash>.json        cells that ended in an error, with it
    checkpoints/<hash>.pt     unfinished cells that take long
    models/<hash>.pt          trained networks that other cells start from, or whose features are mapped
    maps/<hash>.csv           maps of their features
    kept/<hash>/              networks for use, with their predictions (``benchmarks.cell.kept``)
    locks/<hash>.lock         held by the process that runs a cell
    tables/<paper>/<experiment>.csv   the finished cells as tidy tables

The specs of committed cells, so that a number's origin is known without the records.

``results/<paper>/specs/<experiment>.json`` holds a list whose first entry is the data, which cells refer to by number,
each a mapping of roles to digests; its further entries are groups of cells that share all of their spec except task,
split, seed, data and the networks they start from::

    {"spec": {...}, "versions": {...}, "cells": {hash: [task, split, seed, number of the data, needs]}}
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from benchmarks.machine.errors import UserError
from benchmarks.records import schema
from benchmarks.records.files import write_atomically

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from methods.contract import Recipe

HARNESS_REVISION = 1
"""Raised by hand when a change to the harness or a backbone alters numbers, so that no old record passes for new."""


LAST = "last"
"""``Spec.looks`` of a training of which only the end matters."""

RENAMED: Mapping[str, str] = MappingProxyType({"semi-supervised-random": "semi-supervised"})
"""Protocol -> the name that its first cells have in their hashes.  The digest of its splits distinguishes it from the
protocol that has that name now."""


@dataclass(frozen=True)
class Spec:
    """One cell.  Paper, experiment and variant are not part of it, so experiments share cells.

    The variant and the swept setting are in it through the resolved ``config``.
    """

    method: str
    config: dict[str, Any]
    """Every field of the method's configuration, resolved."""
    recipe: dict[str, Any]
    """The fields of ``methods.contract.Recipe`` (``benchmarks.cell.training.fields``)."""
    dataset: str
    task: str
    """``source:target``; subsets are named as such."""
    protocol: str
    split: int
    seed: int
    holdout: float
    """Share of the source held out, for choosing a setting or an evaluation; 0 for results."""
    backbone: str
    track: str
    batchnorm: str
    device: str
    """``cpu`` or ``cuda``."""
    precision: str
    """``fp32`` or ``bf16`` (autocast)."""
    threads: int
    data: dict[str, str]
    """Role (source, target, test) -> digest of the decoded images and labels; ``splits`` -> digest of the protocol's
    split; ``weights`` -> digest of the pretrained weights."""
    revision: str
    """Revisions of harness and method."""
    cut: str = ""
    """Cut of a pretrained trunk: what comes before is fixed and cached, what comes after is trained."""
    views: int = 0
    """Augmented views of each training image cached at the cut; 0: only the centre crop."""
    statistics: str = ""
    """BatchNorm statistics of a frozen trunk: ``source``, or ``own`` (each domain's); empty: ImageNet's."""
    needs: dict[str, str] = field(default_factory=dict)
    """Name -> hash of the cell whose trained network this one starts from."""
    processes: int = 1
    """Number of processes that share the batches (``benchmarks.machine.processes``)."""
    looks: str = ""
    """When the held-out source is evaluated: empty, after every epoch, for rules that choose an epoch; ``LAST``, only
    at the end, for those that choose a setting."""
    joint_mmd: bool = False
    """Whether the joint MMD of bottleneck and softmax between the domains is measured after training."""

    @cached_property
    def hash(self) -> str:
        """Sixteen hexadecimal digits of the SHA-256 of the canonical JSON form.

        Fields that have a default above are left out at that default, so that a field added later does not change the
        identity of older cells.
        """
        named = replace(self, protocol=RENAMED[self.protocol]) if self.protocol in RENAMED else self
        return digest(named, added=[one.name for one in fields(self) if _default(one) is not MISSING])


def identity(value: DataclassInstance, added: Collection[str]) -> dict[str, Any]:
    """The fields of a data class of plain values, for a digest.

    Args:
        value: of the data class.
        added: fields that came later; left out at their default, so that they do not change the identity of anything
            older.
    """
    defaults = {one.name: _default(one) for one in fields(value) if one.name in added}
    plain = {one.name: getattr(value, one.name) for one in fields(value)}
    return {name: value for name, value in plain.items() if name not in defaults or value != defaults[name]}


def digest(value: DataclassInstance, added: Collection[str]) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of the canonical JSON form of ``identity``."""
    return hashlib.sha256(canonical(identity(value, added)).encode()).hexdigest()[:16]


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain values, for a spec."""
    return identity(recipe, added=("by_size", "milestones", "warmup", "cosine", "nesterov"))


def _default(one: Field[Any]) -> Any:
    """A field's default value; ``MISSING`` if it has none."""
    return one.default if one.default_factory is MISSING else one.default_factory()


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def revision(method_revision: int) -> str:
    """The ``revision`` field of a spec."""
    return f"harness {HARNESS_REVISION}, method {method_revision}"


# ------------------------------------------------------------------------------------------- what a cell leaves

Archive = Mapping[str, bytes]
"""Files of a cell: path below the root of a store -> content, the record or the failure note last."""

UNSTABLE_FIELDS = ("seconds", "commit", "time")
"""Fields in which two runs of the same cell may differ; all others are identical on the same machine."""


@dataclass
class Record:
    """What one finished cell leaves behind."""

    cell: str
    """The hash of ``spec``."""
    spec: dict[str, Any]
    values: list[dict[str, Any]]
    """Rows ``{"selection": ..., "metric": ..., "value": ...}``; accuracies in percent."""
    n_test: int
    history: list[dict[str, float]]
    """One entry per epoch: step, mean unweighted loss terms, target entropy in nats, test accuracy in percent."""
    diagnostics: dict[str, float] = field(default_factory=dict)
    """Measures of the trained model reported by its method."""
    examples: dict[str, int] = field(default_factory=dict)
    """Number of labelled ``source`` examples, unlabelled ``target`` ones, and ``labelled_target`` ones; for the
    labelled ones also the number in the smallest class (``source_least``, ``labelled_target_least``)."""
    source: str = ""
    """Digest of the method's code (``benchmarks.machine.host``); empty in records older than this field."""
    matrices: dict[str, list[list[float]]] = field(default_factory=dict)
    """Matrices over the classes, rows first; see ``methods.contract.Method.matrices``."""
    device: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    commit: str = ""
    time: str = ""
    """When it ended, UTC, ISO 8601."""

    def value(self, metric: str, selection: str = "last") -> float:
        """The value of one metric under one selection rule; KeyError if there is none."""
        for row in self.values:
            if (row["metric"], row["selection"]) == (metric, selection):
                return float(row["value"])
        raise KeyError(f"{metric} ({selection})")

    def find(self, metric: str, selection: str = "last") -> float | None:
        """The same, or None if there is none."""
        try:
            return self.value(metric, selection)
        except KeyError:
            return None


@dataclass(frozen=True)
class Store:
    """The records under one runs folder."""

    root: Path

    def record_path(self, cell: str) -> Path:
        return self.root / "cells" / f"{cell}.json"

    def failure_path(self, cell: str) -> Path:
        return self.root / "failed" / f"{cell}.json"

    def checkpoint_path(self, cell: str) -> Path:
        return self.root / "checkpoints" / f"{cell}.pt"

    def model_path(self, cell: str) -> Path:
        return self.root / "models" / f"{cell}.pt"

    def tsne_path(self, cell: str) -> Path:
        return self.root / "maps" / f"{cell}.csv"

    def kept_path(self, cell: str) -> Path:
        return self.root / "kept" / cell

    def has_kept(self, cell: str) -> bool:
        """Whether the cell's predictions are kept, and its network if it has one."""
        return (self.kept_path(cell) / schema.PREDICTIONS_FILE).is_file()

    def lock(self, cell: str) -> FileLock:
        """To be held while running a cell: a second run on the same folder waits and then finds the record.

        Raises:
            UserError: the folder cannot be written.
        """
        path = self.root / "locks" / f"{cell}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write {path.parent}: {error.strerror or error}; choose --runs.") from error
        return FileLock(path)

    def table_path(self, paper: str, experiment: str) -> Path:
        return self.root / "tables" / paper / f"{experiment}.csv"

    def has(self, cell: str) -> bool:
        """Whether the cell is finished.

        Raises:
            UserError: the folder cannot be read.
        """
        try:
            self.record_path(cell).stat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _unusable(self.root, error) from error
        return True

    def check_writable(self) -> None:
        """Checks that records can be written.

        Raises:
            UserError: they cannot.
        """
        probe = self.root / "cells" / f".probe.{os.getpid()}"
        write_atomically(probe, "")
        probe.unlink()

    def tidy(self) -> None:
        """Delete the checkpoints of finished cells, left by runs killed right after writing a record."""
        for path in (self.root / "checkpoints").glob("[0-9a-f]*.pt"):
            if self.has(path.stem):
                path.unlink(missing_ok=True)

    def read(self, cell: str) -> Record:
        """The record of a finished cell.

        Raises:
            UserError: the file is not a record.
        """
        path = self.record_path(cell)
        try:
            content = json.loads(path.read_text())
            if "counts" in content:  # the field's former name
                content["diagnostics"] = content.pop("counts")
            record = Record(**content)
            if Spec(**record.spec).hash != cell or record.cell != cell:
                raise ValueError("it is not the record of the cell it is named after")
            if not [float(row["value"]) for row in record.values if row["metric"] and row["selection"]]:
                raise ValueError("it holds no value")
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path} is not a readable record ({error}); delete it and run again.") from error
        return record

    def cells(self) -> list[str]:
        """Hashes of all finished cells, sorted."""
        return sorted(path.stem for path in (self.root / "cells").glob("[0-9a-f]*.json"))

    def newest(self, most: int) -> list[str]:
        """Hashes of the most recently finished cells, the latest first."""
        times = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self.root / "cells") as found:
            times = [(one.stat().st_mtime_ns, one.name) for one in found if re.fullmatch(r"[0-9a-f]+\.json", one.name)]
        return [name.removesuffix(".json") for _, name in sorted(times, reverse=True)[:most]]

    def write(self, record: Record) -> None:
        """Save a finished cell; forgets an earlier failure and the checkpoint."""
        write_atomically(self.record_path(record.cell), json.dumps(asdict(record), indent=1, allow_nan=False))
        self.failure_path(record.cell).unlink(missing_ok=True)
        self.checkpoint_path(record.cell).unlink(missing_ok=True)

    def archive(self, cell: str) -> Archive:
        """All files of an ended cell, to be sent to another store: path below the root -> content.

        Raises:
            UserError: a file cannot be read.
        """
        ended = self.record_path(cell) if self.has(cell) else self.failure_path(cell)
        kept = sorted(self.kept_path(cell).glob("[!.]*"))
        paths = (self.model_path(cell), self.tsne_path(cell), *kept, ended)
        try:
            return {str(path.relative_to(self.root)): path.read_bytes() for path in paths if path.is_file()}
        except OSError as error:
            raise _unusable(self.root, error) from error

    def accept(self, cell: str, archive: Archive) -> None:
        """Save what another store sent for a cell; an existing record is not replaced.

        Raises:
            UserError: it cannot be written.
        """
        stands = self.has(cell)
        for name, content in archive.items():  # the record last: a cell that has it has everything else
            if not (stands and self.root / name in (self.record_path(cell), self.failure_path(cell))):
                write_atomically(self.root / name, content)
        if self.has(cell):
            self.failure_path(cell).unlink(missing_ok=True)
            self.checkpoint_path(cell).unlink(missing_ok=True)

    def forget(self, cell: str) -> None:
        """Delete the record of a cell and everything else it left, so that it is run again.

        Raises:
            UserError: it cannot be deleted.
        """
        left = (self.model_path(cell), self.tsne_path(cell), self.checkpoint_path(cell), self.failure_path(cell))
        try:
            for path in (self.record_path(cell), *left, *self.kept_path(cell).glob("*")):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise _unusable(self.root, error) from error

    def write_failure(self, spec: Spec, error: str, detail: str) -> None:
        """Note that a cell ended in an error; ``detail`` is the traceback of a programming error, or empty."""
        text = json.dumps({"cell": spec.hash, "spec": asdict(spec), "error": error, "detail": detail}, indent=1)
        write_atomically(self.failure_path(spec.hash), text)

    def failure(self, cell: str) -> str | None:
        """The error that a cell ended in, or None."""
        path = self.failure_path(cell)
        try:
            failure: Mapping[str, str] = json.loads(path.read_text())
            return failure["error"]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(self.root, error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is not a readable failure note ({error}); delete it and run again.") from error


def _unusable(root: Path, error: OSError) -> UserError:
    return UserError(f"{root} cannot be used as the folder of records ({error.strerror or error}); choose --runs.")


OF_EACH = ("task", "split", "seed", "data", "needs")
"""What differs between the cells of a group."""


def export_specs(path: Path, cells: Collection[str], made: Collection[str], store: Store) -> None:
    """Save what is known of some cells, from their records or from the file itself; forgets all others.

    Args:
        path: the file.
        cells: those of the table beside it.
        made: those whose rows were written from this store's records.  Another may have a record here too, of another
            run on another machine: what the file says of it stays.
        store: where the records are.

    Raises:
        UserError: a record or the file is damaged, or the file cannot be written.
    """
    known = read_specs(path)
    for cell in cells:
        if (cell in made or cell not in known) and store.has(cell):
            record = store.read(cell)
            known[cell] = {"spec": record.spec, "versions": record.versions}
    data: list[dict[str, str]] = []
    groups: dict[str, dict[str, Any]] = {}
    for cell in sorted(set(cells) & known.keys()):
        spec, versions = known[cell]["spec"], known[cell]["versions"]
        shared = {name: value for name, value in spec.items() if name not in OF_EACH}
        if spec["data"] not in data:
            data.append(spec["data"])
        group = groups.setdefault(canonical([shared, versions]), {"spec": shared, "versions": versions, "cells": {}})
        place = [spec["task"], spec["split"], spec["seed"], data.index(spec["data"])]
        group["cells"][cell] = [*place, spec["needs"]] if spec.get("needs") else place
    lines = [canonical(data), *(canonical(groups[key]) for key in sorted(groups))]
    write_atomically(path, "[\n" + ",\n".join(lines) + "\n]\n")


def read_specs(path: Path) -> dict[str, dict[str, Any]]:
    """Hash -> spec and versions of the cells of a file; nothing if there is none.

    Raises:
        UserError: the file is damaged.
    """
    if not path.exists():
        return {}
    try:
        data, *groups = json.loads(path.read_text())
        return {
            cell: {"spec": _spec(group["spec"], place, data), "versions": group["versions"]}
            for group in groups
            for cell, place in group["cells"].items()
        }
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise UserError(f"{path} cannot be read ({error}); restore it.") from error


def _spec(shared: dict[str, Any], place: list[Any], data: list[dict[str, str]]) -> dict[str, Any]:
    task, split, seed, number, *needs = place
    spec = {**shared, "task": task, "split": split, "seed": seed, "data": data[number]}
    return {**spec, "needs": needs[0]} if needs else spec
