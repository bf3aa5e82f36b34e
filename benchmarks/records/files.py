"""Result files: read strictly, written atomically."""

from __future__ import annotations

import csv
import io
import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.machine.errors import UserError


def numbered_rows(path: Path, columns: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and fields of every row of a CSV file whose header is exactly ``columns``, in any order.

    Raises:
        UserError: the file is unreadable, a column is missing or unknown, or a row has too few or too many fields.
    """
    lines = _lines(path, columns)
    _, header = next(lines)
    return ((number, dict(zip(header, fields, strict=True))) for number, fields in lines)


def read_fields(path: Path, columns: Iterable[str], names: Sequence[str]) -> list[tuple[str, ...]]:
    """Some fields (two or more) of every row of such a file, faster than whole rows; none if there is no file.

    Raises:
        UserError: as ``numbered_rows``.
    """
    if not path.exists():
        return []
    lines = _lines(path, columns)
    _, header = next(lines)
    pick = operator.itemgetter(*(header.index(name) for name in names))
    return [pick(fields) for _, fields in lines]


def _lines(path: Path, columns: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of the header, then of every row."""
    wanted = set(columns)
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.reader(stream, strict=True)
            header = next(reader, [])
            if missing := sorted(wanted - {*header}):
                raise UserError(f"{path}, line 1: missing column {', '.join(missing)}.")
            if unknown := sorted({*header} - wanted):
                raise UserError(f"{path}, line 1: unknown column {', '.join(unknown)}.")
            yield 1, header
            for fields in filter(None, reader):  # an empty line is not a row
                if len(fields) != len(header):
                    raise UserError(f"{path}, line {reader.line_num}: expected {len(wanted)} fields.")
                yield reader.line_num, fields
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a CSV file: {error}; restore it.") from error


def read_csv(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a file; none if there is no file.

    Raises:
        UserError: as ``numbered_rows``.
    """
    return [row for _, row in numbered_rows(path, columns)] if path.exists() else []


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Replace a file.

    Raises:
        UserError: it cannot be written.
    """
    write_atomically(path, csv_text(columns, rows))


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    """Rows as the text of a CSV file; each has exactly these columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part; survives a kill at any moment.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose a folder."
        ) from error
