"""What goes wrong with data, as told to the user."""

from __future__ import annotations

import errno
from pathlib import Path


class DataError(Exception):
    """Data are not available, or not what they should be.

    The message is one sentence that says what is wrong and what to do; command lines print it and nothing else.
    """


class UnavailableError(Exception):
    """A source lacks a file or cannot be reached, so the next source may be tried.

    Never leaves this package: it becomes a ``DataError`` when no source is left.
    """


def is_disk_full(error: OSError) -> bool:
    """Whether an operating system error means that no space, or no quota, is left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def disk_full(folder: Path, what: str, missing: float | None) -> DataError:
    """The error for a full disk.

    Args:
        folder: where it was to be written.
        what: what was to be written.
        missing: bytes that are missing; None if unknown.
    """
    amount = "more space than is left" if missing is None else f"a further {missing / 1e6:.1f} MB"
    return DataError(
        f"the disk of {folder} is full, {what} needs {amount}: free some space or choose another data folder."
    )
