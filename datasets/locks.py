"""Locks between processes that prepare the same thing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def held(path: Path, doing: str) -> Iterator[None]:
    """Hold a lock; prints a notice if it has to wait for another process.

    Args:
        path: the lock's file.
        doing: what the other process does, for the notice: ``another process <doing>, waiting for it``.

    Raises:
        OSError: the file cannot be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=2)
    except Timeout:
        print(f"note: another process {doing}, waiting for it.", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
