"""Several processes: workers that train a cell each, and ranks that train one cell together.

Workers are forked from a server that has imported what cells need, so that a worker is there at once: importing PyTorch
takes each new process seconds.

Ranks are data parallelism by ``torch.distributed``: ``torchrun --nproc-per-node 4 -m benchmarks reproduce ...`` starts
them, one per GPU.  Each takes its share of every batch and averages its gradient with the others'
(``DistributedDataParallel``); all go through the same cells in the same order.  One of them, the leader, writes;
nothing is written by the others.  Started alone, a process is its own leader and nothing here does anything.

The average of the shares' losses is the loss of the batch where that is a mean over examples.  What is computed over
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
    """Whether this process writes and speaks for all."""
    return rank() == 0


def join(device: str) -> None:
    """Meet the other processes, once; those that do not lead fall silent."""
    if size() == 1 or distributed.is_initialized():
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    if not is_main():
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  # for as long as the process lives


def barrier() -> None:
    """Go on when all have come here."""
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
    """A context that the leader alone enters."""
    return context if is_main() else contextlib.nullcontext()


def stream() -> tuple[int, ...]:
    """What a random stream's name has in addition where processes must not draw alike."""
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
    """The method's step with gradients averaged over all processes; None where there is but one.

    Args:
        batch: images of a step; each process takes as many of them.

    Raises:
        UserError: the batch cannot be shared out, or the method does more than one step on a batch.
    """
    if size() == 1:
        return None
    more = (method.phases, method.second_step, method.epoch_step, method.before_epoch, method.begin)
    if method.step is None or any(part is not None for part in more):
        raise UserError("several processes train only what learns by one step on each batch; start one process.")
    if batch % size():
        raise UserError(f"{size()} processes cannot share batches of {batch} images equally; start another number.")
    return DistributedDataParallel(_Step(method, model))


# ----------------------------------------------------------------------------------------------------- workers

T = TypeVar("T")

PRELOADED = ["benchmarks.executors.execute", "sklearn.linear_model"]
"""What the server imports, by name as this module is below the first: what runs cells, and what the test of two samples
imports on its first call, which would cost every worker two seconds."""

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
