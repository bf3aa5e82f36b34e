"""Several processes that train one cell together: data parallelism by ``torch.distributed``.

``torchrun --nproc-per-node 4 -m benchmarks reproduce ...`` starts them, one per GPU.  Each takes its share of every
batch and averages its gradient with the others' (``DistributedDataParallel``); all go through the same cells in the
same order.  One of them, the leader, writes; nothing is written by the others.  Started alone, a process is its own
leader and nothing here does anything.

The average of the shares' losses is the loss of the batch where that is a mean over examples.  What is computed over
the batch as a whole, BatchNorm's statistics or a discrepancy between domains, is computed over each share instead.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

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
