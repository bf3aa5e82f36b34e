"""Committed CSV files, read strictly and written atomically."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.errors import UserError
from benchmarks.records import write_atomically


def read(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a file; none if there is no file.

    Raises:
        UserError: it is no text, its columns are not ``columns``, or a row has more or fewer fields.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file, strict=True)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}); restore it.") from error
    if header != list(columns):
        raise UserError(f"{path} must have the columns {','.join(columns)}.")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            raise UserError(f"{path}, row {number}: {len(row)} fields where there should be {len(columns)}.")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def write(path: Path, columns: Sequence[str], rows: Iterable[dict[str, str]]) -> None:
    """Replace a file.

    Raises:
        UserError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())
