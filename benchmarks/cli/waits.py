"""What a user waits for, in wall-clock time and memory: whole commands in separate processes, each timed once.

Prepared data and weights are used; if some are missing, a race says so and is left out.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.cli.race import Race
from benchmarks.machine import host
from benchmarks.machine.errors import UserError
from benchmarks.networks import backbones, weights
from datasets import registry, store
from datasets.store import Location

OURS = "this suite"
TABLE_SEEDS = 5
WARMING = "amazon:webcam webcam:dslr"
"""Two tasks that need the activations of all domains of Office-31."""


@dataclass(frozen=True)
class Waited:
    """A finished command."""

    seconds: float
    megabytes: float
    """Peak memory of the largest of its processes."""


LAUNCHER = """
import resource, subprocess, sys, time
start = time.perf_counter()
status = subprocess.call(sys.argv[2:])
seconds = time.perf_counter() - start
memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
open(sys.argv[1], "w").write(f"{seconds} {memory}")
sys.exit(status)
"""
"""Starts a command from a small process: one started from here would be charged with the memory used here."""


def wait_for(arguments: Sequence[str]) -> Waited:
    """Run Python with these arguments in the checkout, and wait.

    Raises:
        UserError: its exit status is not 0.
    """
    with tempfile.TemporaryDirectory() as folder:
        noted = Path(folder, "noted")
        command = [sys.executable, "-S", "-c", LAUNCHER, str(noted), sys.executable, *arguments]
        ended = subprocess.run(
            command, cwd=host.ROOT, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL
        )
        if ended.returncode:
            said = f"{ended.stdout}{ended.stderr}".strip() or "it said nothing"
            words = f"`python {' '.join(arguments)}` ended with {ended.returncode}"
            raise UserError(f"{words}: {said.splitlines()[-1]}")
        seconds, memory = map(float, noted.read_text().split())
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return Waited(seconds, memory * unit / 1e6)


def waited(topic: str, size: str, runs: Mapping[str, Callable[[], Waited]]) -> Race:
    """A race whose contestants run once, one after another."""
    found = {name: call() for name, call in runs.items()}
    return Race(
        topic,
        size,
        {name: np.array([one.seconds]) for name, one in found.items()},
        wall=True,
        memory={name: one.megabytes for name, one in found.items()},
    )


def _benchmarks(*arguments: str, location: Location, runs: Path) -> Waited:
    mirror = ["--mirror", location.mirror] if location.mirror else []
    return wait_for(["-m", "benchmarks", *arguments, "--data", str(location.root), "--runs", str(runs), *mirror])


def require_office(location: Location) -> None:
    """Checks that Office-31 is prepared for the usual trunk and the trunk's weights are available.

    Raises:
        UserError, DataError: they are not.
    """
    weights.path("lite0", location)
    side = backbones.backbone("lite0").side
    domains = registry.suite("office31").domains.values()
    if absent := [domain for domain in domains if not store.is_prepared(domain, location, side=side)]:
        raise UserError(f"{', '.join(absent)} of office31: not prepared; `make data DATASET=office31` does it.")


def table(location: Location) -> Iterator[Race]:
    """A table of Office-31 with one method, six tasks and five seeds, its activations already computed."""
    require_office(location)
    with tempfile.TemporaryDirectory() as folder:

        def compared(runs: str, method: str, *more: str) -> Waited:
            wanted = ("compare", "--dataset", "office31", "--methods", method, *more)
            return _benchmarks(*wanted, location=location, runs=Path(folder, runs))

        compared("warming", "source_only", "--seeds", "1", "--tasks", WARMING)
        calls = {
            name: functools.partial(compared, name, name, "--seeds", str(TABLE_SEEDS))
            for name in ("source_only", "dan")
        }
        yield waited("table", f"{TABLE_SEEDS} seeds", calls)


def compare(location: Location) -> Iterator[Race]:
    """Every method on Office-31, one seed, its activations already computed."""
    require_office(location)
    with tempfile.TemporaryDirectory() as folder:
        wanted = ("compare", "--dataset", "office31", "--seeds", "1")
        warming = (*wanted, "--methods", "source_only", "--tasks", WARMING)
        _benchmarks(*warming, location=location, runs=Path(folder, "warming"))
        runs = Path(folder, "runs")
        yield waited("compare", "1 seed", {OURS: lambda: _benchmarks(*wanted, location=location, runs=runs)})


def first(location: Location) -> Iterator[Race]:
    """DAN's table on digits starting from only the installed packages: data, training, tables."""
    with tempfile.TemporaryDirectory() as folder:
        nothing = Location(Path(folder, "data"), location.mirror)
        call = {OURS: lambda: _benchmarks("reproduce", "dan", location=nothing, runs=Path(folder, "runs"))}
        yield waited("first", "reproduce dan", call)


def commands(location: Location, rounds: int) -> Iterator[Race]:
    """Commands that train nothing."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("plan", "status"):
            found = [_benchmarks(name, "dan", location=location, runs=Path(folder)) for _ in range(max(3, rounds // 3))]
            times = {OURS: np.array([one.seconds for one in found])}
            yield Race("start", f"{name} dan", times, wall=True, memory={OURS: max(one.megabytes for one in found)})


def memory_of(call: str) -> float:
    """Peak megabytes of a new process that makes a call of ``benchmarks.cli.speed``."""
    return wait_for(["-c", f"from benchmarks.cli import speed; speed.{call}"]).megabytes
