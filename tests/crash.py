"""Killing an operation at every moment at which it tells the file system something, one after the other."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CALLS = ("replace", "rename", "unlink", "remove", "mkdir", "rmdir", "fsync", "open")
"""Functions of ``os`` that change what another process sees, or are about to."""


def moments(operation: Callable[[], object], folder: Path, *, every: int = 1) -> Iterator[int]:
    """Starts an operation again and again from the same state of a folder, killed before its first call, its second ...

    After each kill the folder is as the killed process left it, and the number of the call is yielded; then the
    folder's first state comes back.  Ends where the operation does.

    Args:
        operation: what is killed, in a process of its own that has everything of this one.
        folder: the only place that it changes.
        every: which of the moments are tried.
    """
    kept = folder.with_name(f"{folder.name}.kept")
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(folder, kept)
    number = 1
    while killed(operation, number):
        yield number
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        number += every


def killed(operation: Callable[[], object], number: int) -> bool:
    """Whether an operation in a process of its own was killed before its ``number``-th call of the file system."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _die_at(number)
            operation()
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        assert os.WTERMSIG(ended) == signal.SIGKILL, "it died of something else"
        return True
    assert os.WEXITSTATUS(ended) == 0, "it failed of itself"
    return False


def _die_at(number: int) -> None:
    left = number

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return wrapped

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


def tree(folder: Path, *, without: tuple[str, ...] = ()) -> dict[str, str]:
    """Path -> digest of every file of a folder, but for those whose path has one of the words in it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = {path: str(path.relative_to(folder)) for path in files}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path, name in names.items()
        if not any(word in name for word in without)
    }
