"""Settings chosen without target labels, by one rule for all methods.

For each data set, backbone and track, with a tenth of the source held out, the suite's rule
(``benchmarks.records.rules``) picks a value from a committed grid.  ``results/choices.csv`` keeps every value of the
grid with the means over the tasks of everything that any of the rules looks at, the rule used, the value's mean rank
(``criterion``), and which value was chosen.

A weight means something different to each variant (another estimate, other kernels or layers), so each variant has its
own choice.  A variant without one uses that of the full method.
"""

from __future__ import annotations

import dataclasses
import functools
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import host
from benchmarks.machine.errors import UserError
from benchmarks.records import files, schema
from benchmarks.records.store import Spec
from methods.contract import Method, Row

HOLDOUT = 0.1
PREFERRED = "office31"
"""Data set whose choices are preferred where others have none."""


def path() -> Path:
    """The committed file."""
    return host.ROOT / "results" / "choices.csv"


def read() -> list[dict[str, str]]:
    """All rows of the committed file; none if there is no file.

    Raises:
        UserError: the file is damaged.
    """
    try:
        state = path().stat()
    except OSError:
        return []
    return list(_read(path(), state.st_ino, state.st_mtime_ns, state.st_size))


@functools.lru_cache(maxsize=1)
def _read(where: Path, *_state: int) -> list[dict[str, str]]:
    """The rows of a file in a given state; a plan asks for them hundreds of times."""
    rows = []
    for line, row in files.numbered_rows(where, schema.CHOICES):
        try:
            float(row["value"])
        except ValueError:
            raise UserError(f"{where}, line {line}: the value {row['value']!r} is not a number.") from None
        rows.append(row)
    return rows


def resolve(row: Row, method: Method, config: Any, spec: Spec, given: Collection[str] = ()) -> tuple[Any, str | None]:
    """A row's configuration with its chosen fields filled in, and a note if no choice has been made.

    Args:
        given: fields that the user sets, which nothing is said about.
    """
    name, notes = row.method, []
    for field in [one for one in method.chosen if one not in given] if row.variant not in method.fixed else ():
        found = {
            one["variant"]: one for one in read() if one["chosen"] == "1" and _where(one) == (name, field, *_at(spec))
        }
        best = found.get(row.variant) or found.get("default")
        if best:
            config = dataclasses.replace(config, **{field: float(best["value"])})
        else:
            dataset = shlex.quote(spec.dataset)
            notes.append(
                f"no {field} has been chosen for {name} on {spec.dataset} ({spec.backbone}, {spec.track}), so the "
                f"module's default {getattr(config, field)} is used; `python -m benchmarks choose {name} --dataset "
                f"{dataset} --backbone {spec.backbone} --track {spec.track}` chooses one without target labels."
            )
    return config, " ".join(notes) or None


def elsewhere(name: str, method: Method, spec: Spec) -> dict[str, tuple[float, str]]:
    """Field -> value and data set of the full method's first committed choice with the same backbone and track."""
    found: dict[str, tuple[float, str]] = {}
    for row in read():
        place = (row["method"], row["variant"], row["backbone"], row["track"])
        same = place == (name, "default", spec.backbone, spec.track)
        if same and row["chosen"] == "1" and row["parameter"] in method.chosen:
            best = found.get(row["parameter"])
            if best is None or row["dataset"] == PREFERRED:
                found[row["parameter"]] = (float(row["value"]), row["dataset"])
    return found


def _where(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[column] for column in ("method", "parameter", "dataset", "backbone", "track"))


def _at(spec: Spec) -> tuple[str, ...]:
    return (spec.dataset, spec.backbone, spec.track)


def _key(row: dict[str, str]) -> tuple[str, ...]:
    return (*_where(row), row["variant"])


def write(new: Sequence[dict[str, str]]) -> None:
    """Replace earlier rows of a choice by new ones.

    Raises:
        UserError: the earlier choice was made on more tasks, or the file cannot be written.
    """
    keys = {_key(row) for row in new}
    earlier = {task for row in read() if _key(row) in keys for task in row["tasks"].split()}
    tasks = {task for row in new for task in row["tasks"].split()}
    if tasks < earlier:
        raise UserError(
            f"{path()} holds a choice made on {len(earlier)} tasks ({', '.join(sorted(earlier))}), which one made on "
            f"{len(tasks)} of them does not replace; name them all."
        )
    rows = [row for row in read() if _key(row) not in keys] + list(new)
    rows.sort(key=lambda row: (_key(row), float(row["value"])))
    files.write_csv(path(), schema.CHOICES, rows)
