"""The machine: threads, allocator, device and the versions that a record keeps."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import joblib
import torch
from threadpoolctl import threadpool_limits

from benchmarks.machine.errors import UserError

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to be deterministic

ROOT = Path(__file__).resolve().parent.parent.parent
"""The checkout."""


def cores() -> int:
    """Processor cores that this process may use (affinity and container limits included)."""
    return int(joblib.cpu_count())


def check_device(device: str, precision: str) -> None:
    """That this machine can compute on ``device``.

    Raises:
        UserError: it cannot.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("this machine has no CUDA device that PyTorch can use; choose --device cpu.")
    if device == "cuda" and precision == "bf16" and not torch.cuda.is_bf16_supported():
        raise UserError("this GPU does not compute in bfloat16; choose --precision fp32.")


def device_name(device: str) -> str:
    """What the ``device`` column of the results holds: the device's kind."""
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


@functools.cache
def tune_allocator() -> None:
    """Let glibc keep freed memory instead of returning it to the kernel after every layer.

    Activations are allocated and freed at each step; by default each large one is mapped, zeroed page by page
    and unmapped again, which costs up to half of the time on a CPU.  Changes no number.  A no-op elsewhere.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mmap_max, trim_threshold, top_pad = -4, -1, -2  # names of <malloc.h>
    libc = ctypes.CDLL(None)
    libc.mallopt(mmap_max, 0)
    libc.mallopt(trim_threshold, 2**31 - 1)
    libc.mallopt(top_pad, 2**26)


@contextlib.contextmanager
def computing(threads: int) -> Iterator[None]:
    """Fixed thread count for torch, BLAS and OpenMP, deterministic kernels, denormals flushed to zero."""
    tune_allocator()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a guard against bugs that costs 4 % of a step
    torch.backends.cudnn.benchmark = False
    try:
        with threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)
        torch.use_deterministic_algorithms(False)


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide numbers, and ``instructions``: the processor's vector unit.

    Under another one, ``AVX2`` or ``AVX512``, sums are taken in another order.
    """
    packages = ("torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn", "pillow", "quadprog")
    own = {"python": platform.python_version(), "instructions": torch.backends.cpu.get_cpu_capability()}
    return own | {name: metadata.version(name) for name in packages}


@functools.cache
def commit() -> str:
    """The checkout's commit, twelve digits, with ``+`` if code differs from it; ``unknown`` outside git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        differs = git("status", "--porcelain", "--", "benchmarks", "datasets", "methods")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if differs else "")
