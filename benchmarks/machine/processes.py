"""Several processes: workers that train one cell each, and ranks that train one cell together.

Workers are forked from a server that has already imported what cells need, so a worker starts at once: importing
PyTorch takes each new process seconds.

Ranks are data parallelism by ``torch.distributed``: ``torchrun --nproc-per-node 4 -m benchmarks reproduce ...`` starts
them, one per GPU.  Each takes its share of every batch and averages its gradient with the others'
(``DistributedDataParallel``); all go through the same cells in the same order.  One of them, the leader, writes; the
others write nothing.  A process started alone is its own leader, and nothing here has any effect.

The average of the shares' losses is the loss of the batch if that is a mean over examples.  Whatever is computed over
the batch as a whole, BatchNorm's statistics or a discrepancy between domains, is computed over each share instead.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.machine.errors import UserError
from methods.contract import Batch, Losses, Method


def size() -> int:
    """Number of processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Whether this process writes and reports for all."""
    return rank() == 0


def join(device: str) -> None:
    """Connect to the other processes, once; all but the leader stop printing."""
    if size() == 1 or distributed.is_initialized():
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    if not is_main():
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  # for the lifetime of the process


def barrier() -> None:
    """Wait until all processes arrive here."""
    if size() > 1:
        distributed.barrier()


def broadcast(value: bool) -> bool:
    """The leader's value."""
    if size() == 1:
        return value
    said = [value]
    distributed.broadcast_object_list(said)
    return said[0]


def mean(values: Mapping[str, float]) -> dict[str, float]:
    """The means over all processes."""
    if size() == 1:
        return dict(values)
    told: list[Any] = [None] * size()
    distributed.all_gather_object(told, dict(values))
    return {name: sum(one[name] for one in told) / size() for name in values}


def main_only(context: AbstractContextManager[Any]) -> AbstractContextManager[Any]:
    """A context that only the leader enters."""
    return context if is_main() else contextlib.nullcontext()


def stream() -> tuple[int, ...]:
    """Added to a random stream's name where processes must not draw the same."""
    return (rank(),) if size() > 1 else ()


def share(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """This process's part of a batch."""
    return indices[rank() :: size()]


class _Step(nn.Module):
    """A method's step as the forward pass that ``DistributedDataParallel`` watches."""

    def __init__(self, method: Method, model: nn.Module) -> None:
        super().__init__()
        self.method, self.model = method, model

    def forward(self, batch: Batch) -> Losses:
        assert self.method.step is not None
        return self.method.step(self.model, batch)


def step_of(method: Method, model: nn.Module, batch: int) -> nn.Module | None:
    """The method's step with gradients averaged over all processes; None if there is only one.

    Args:
        batch: images per step; each process takes the same number of them.

    Raises:
        UserError: the batch cannot be divided equally, or the method takes more than one step per batch.
    """
    if size() == 1:
        return None
    more = (method.phases, method.second_step, method.epoch_step, method.before_epoch, method.begin)
    if method.step is None or any(part is not None for part in more):
        raise UserError("several processes can only train methods with one step per batch; start one process.")
    if batch % size():
        raise UserError(f"{size()} processes cannot share batches of {batch} images equally; start another number.")
    return DistributedDataParallel(_Step(method, model))


# ----------------------------------------------------------------------------------------------------- workers

T = TypeVar("T")

PRELOADED = ["benchmarks.executors.execute", "sklearn.linear_model"]
"""What the server imports (by name, since this package is below the first): what runs cells, and what the two-sample
test imports on its first call, which would cost every worker two seconds."""

LostWorkerError = BrokenProcessPool
"""A worker was killed from outside; the others have been stopped."""


def results(call: Callable[..., T], tasks: Iterable[tuple[Any, ...]], jobs: int) -> Generator[T]:
    """The results of a call, one for each tuple of arguments, as they become available.

    A single job runs in this process, one task after another; with several, each runs in a worker.  Any error ends all
    workers at once; so does closing the generator.

    Raises:
        LostWorkerError: a worker was killed from outside.
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
    """Leave interrupts to the parent, and exit when it has died: nobody would receive this process's results."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
