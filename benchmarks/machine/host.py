"""What makes numbers reproducible on this machine: threads, kernels and allocator, random streams, versions and code.

Random streams are named: the draws of one part of a cell never depend on those of another.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import joblib
import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

import methods
from benchmarks.machine.errors import UserError

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to be deterministic

ROOT = Path(__file__).resolve().parent.parent.parent
"""The checkout."""


def cores() -> int:
    """Processor cores that this process may use (affinity and container limits included)."""
    return int(joblib.cpu_count())


def check_device(device: str, precision: str) -> None:
    """Checks that this machine can compute on ``device``.

    Raises:
        UserError: it cannot.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("this machine has no CUDA device that PyTorch can use; choose --device cpu.")
    if device == "cuda" and precision == "bf16" and not torch.cuda.is_bf16_supported():
        raise UserError("this GPU does not compute in bfloat16; choose --precision fp32.")


def device_name(device: str) -> str:
    """Value of the ``device`` column of the results: the kind of device."""
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


@functools.cache
def tune_allocator() -> None:
    """Let glibc keep freed memory instead of returning it to the kernel after every layer.

    Activations are allocated and freed at each step; by default each large one is mapped, zeroed page by page and
    unmapped again, which costs up to half of the time on a CPU.  Changes no numbers; does nothing elsewhere.
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
    # Not ``use_deterministic_algorithms``, which sets the same and then imports a compiler: two seconds.
    torch.set_deterministic_debug_mode("warn")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a guard against bugs that costs 4 % of a step
    torch.backends.cudnn.benchmark = False
    try:
        with threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)
        torch.set_deterministic_debug_mode("default")


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that determine numbers, and ``instructions``: the processor's vector unit.

    Under a different one, ``AVX2`` or ``AVX512``, sums are computed in another order.
    """
    packages = ("torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn", "pillow")
    own = {"python": platform.python_version(), "instructions": torch.backends.cpu.get_cpu_capability()}
    return own | {name: metadata.version(name) for name in packages}


@functools.cache
def commit() -> str:
    """The checkout's commit, twelve digits, with ``+`` if the code differs from it; ``unknown`` outside git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        differs = git("status", "--porcelain", "--", "benchmarks", "datasets", "methods")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if differs else "")


def seed_of(seed: int, *name: str | int) -> int:
    """A 63-bit seed for the stream ``name`` of a cell's seed; independent for different names."""
    text = ":".join(str(part) for part in (seed, *name))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seed_torch(device: str, seed: int, *name: str | int) -> None:
    """Set torch's global random state, on the CPU and the device, to the beginning of a stream.

    ``torch.manual_seed`` would set it for every kind of device, and for unused ones it keeps a formatted stack trace at
    each call: as much time as a fifth of a step on cached activations, and memory that is never freed.
    """
    number = seed_of(seed, *name)
    torch.default_generator.manual_seed(number)
    if device == "cuda":
        torch.cuda.manual_seed_all(number)


class Batches:
    """Endless stream of mini-batch indices: shuffled passes over a domain, one after another.

    The batch of a step depends only on (seed, name, step), so training resumes at any step without stored state.  A
    batch may span two passes, and a domain may be smaller than a batch.

    Args:
        n: number of examples, at least 1.
        size: examples per batch.
        seed: the cell's seed.
        name: the stream's name, such as "source".
    """

    def __init__(self, n: int, size: int, seed: int, name: str) -> None:
        self.n, self.size, self.seed, self.name = n, size, seed, name
        self._passes: dict[int, NDArray[np.int64]] = {}

    def __call__(self, step: int) -> NDArray[np.int64]:
        """Indices of the examples of ``step`` (from 0), int64, (size,)."""
        start, stop = step * self.size, (step + 1) * self.size
        parts = []
        while start < stop:
            number, offset = divmod(start, self.n)
            part = self._pass(number)[offset : offset + stop - start]
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _pass(self, number: int) -> NDArray[np.int64]:
        if number not in self._passes:
            generator = np.random.default_rng(seed_of(self.seed, self.name, number))
            # At most two passes are ever needed at once.
            self._passes = {k: v for k, v in self._passes.items() if k == number - 1}
            self._passes[number] = generator.permutation(self.n)
        return self._passes[number]


DESCRIBING = frozenset({"contract", "errors"})
"""Modules of ``methods/`` that describe and compute nothing."""


@functools.cache
def code_digest(method: str) -> str:
    """Sixteen hexadecimal digits over a method's module and what it imports from ``methods/``.

    Comments and docstrings are left out.  Empty for a method without a module.
    """
    if not _path(method).is_file():
        return ""
    found = hashlib.sha256()
    for name in sorted(_imported(method)):
        found.update(f"{name}\0{_code(_path(name))}\0".encode())
    return found.hexdigest()[:16]


def _path(name: str) -> Path:
    return Path(methods.__path__[0]) / f"{name}.py"


def _code(path: Path) -> str:
    """A module's syntax tree without docstrings; unaffected by comments and line breaks."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not _is_text(one)] or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is only a string, as docstrings are."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imported(method: str) -> set[str]:
    found, todo = {method}, [method]
    while todo:
        for name in _imports(_path(todo.pop())) - found - DESCRIBING:
            found.add(name)
            todo.append(name)
    return found


def _imports(path: Path) -> set[str]:
    """Modules of ``methods/`` that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "methods":
                names |= {alias.name for alias in node.names}
            elif node.module.startswith("methods."):
                names.add(node.module.partition(".")[2])
        elif isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("methods.")}
    return {name for name in names if (path.parent / f"{name}.py").is_file()}
