"""Worker processes of this machine.

They are forked from a server that has imported what cells need, so that a worker is there at once: importing PyTorch
takes each new process seconds.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

T = TypeVar("T")

PRELOADED = ["benchmarks.cell.runner"]
"""What the server imports, by name: this module is below it."""

LostWorkerError = BrokenProcessPool
"""A worker was ended from outside, and the others with it."""


def results(call: Callable[..., T], tasks: Iterable[tuple[Any, ...]], jobs: int) -> Generator[T]:
    """The results of a call, one for each tuple of arguments, as they come.

    One job runs in this process, one task after the other; of several, each in a worker.  Whatever goes wrong ends all
    workers at once; so does closing the generator.

    Raises:
        LostWorkerError: a worker was ended from outside.
    """
    if jobs == 1:
        for task in tasks:
            yield call(*task)
        return
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, mp_context=_context(), initializer=_settle)
    try:
        for future in as_completed([pool.submit(call, *task) for task in tasks]):
            yield future.result()
    except BaseException:
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _context() -> BaseContext:
    """Windows has no server to fork from."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _settle() -> None:
    """Leave interrupts to the parent, and end when it has died: nobody would hear of this process's results."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
