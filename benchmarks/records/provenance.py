"""The specs of committed cells, so that a number's origin is known where the records are not at hand.

``results/<paper>/specs/<experiment>.json`` holds a list whose first entry is the data that cells name by number, each a
mapping of roles to digests, and whose further ones are groups of cells that share all of their spec but task, split,
seed, data and the networks they start from::

    {"spec": {...}, "versions": {...}, "cells": {hash: [task, split, seed, number of the data, needs]}}
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from benchmarks.machine.errors import UserError
from benchmarks.records.files import write_atomically
from benchmarks.records.spec import canonical
from benchmarks.records.store import Store

OWN = ("task", "split", "seed", "data", "needs")
"""What each cell of a group has for itself."""


def export(path: Path, cells: Collection[str], store: Store) -> None:
    """Keep what is known of some cells, from their records or from the file itself; forgets all others.

    Raises:
        UserError: a record or the file is damaged, or the file cannot be written.
    """
    known = read(path)
    for cell in cells:
        if store.has(cell):
            record = store.read(cell)
            known[cell] = {"spec": record.spec, "versions": record.versions}
    data: list[dict[str, str]] = []
    groups: dict[str, dict[str, Any]] = {}
    for cell in sorted(set(cells) & known.keys()):
        spec, versions = known[cell]["spec"], known[cell]["versions"]
        shared = {name: value for name, value in spec.items() if name not in OWN}
        if spec["data"] not in data:
            data.append(spec["data"])
        group = groups.setdefault(canonical([shared, versions]), {"spec": shared, "versions": versions, "cells": {}})
        place = [spec["task"], spec["split"], spec["seed"], data.index(spec["data"])]
        group["cells"][cell] = [*place, spec["needs"]] if spec.get("needs") else place
    lines = [canonical(data), *(canonical(groups[key]) for key in sorted(groups))]
    write_atomically(path, "[\n" + ",\n".join(lines) + "\n]\n")


def read(path: Path) -> dict[str, dict[str, Any]]:
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
