"""``make torture``: a plan killed at random moments, every operation killed at every moment, every fault and bad input.

    python -m tests.torture [--kills N] [--data FOLDER] [--seed N]

A kill is SIGKILL to the process that runs the plan; its workers then end by themselves.  Nothing finished may be lost,
and what comes out in the end must be what an undisturbed run gives.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

from benchmarks.machine import host
from datasets import registry, store
from datasets.store import Location
from tests.benchmarks.test_executor import finished, start

FAULTS = {
    "kills at every moment": ("tests/benchmarks/test_crash_points.py",),
    "faults": (
        *(
            "tests/benchmarks/test_executor.py",
            "tests/benchmarks/test_activations.py",
            "tests/benchmarks/test_records.py",
        ),
        *("tests/datasets/test_data_faults.py", "tests/benchmarks/test_transfer_cells.py"),
        "tests/benchmarks/test_cluster.py",
    ),
    "malformed inputs and fuzzing": (
        *("tests/benchmarks/test_fuzz.py", "tests/datasets/test_data_decoders.py", "tests/datasets/test_photos.py"),
        *("tests/datasets/test_folders.py", "tests/datasets/test_office_layouts.py"),
        *("tests/benchmarks/test_command_line.py", "tests/report/test_records.py", "tests/report/test_commands.py"),
    ),
}
"""What is counted -> the tests that inflict it."""


def random_kills(location: Location, wanted: int, seed: int) -> tuple[int, int, int]:
    """Kills a plan of two jobs at random moments until it has been killed so often.

    Returns:
        Kills, plans that then came to their end, and cells that were lost or differ from the undisturbed run.
    """
    moments, kills, plans, lost = random.Random(seed), 0, 0, 0
    jobs = min(2, host.cores())
    with tempfile.TemporaryDirectory() as folder, tqdm(total=wanted, unit="kill", disable=None) as bar:
        reference, longest = _undisturbed(location, Path(folder) / "reference", jobs)
        while kills < wanted:
            runs = Path(folder) / str(plans)
            kept: Mapping[str, Any] = {}
            while True:
                process = start(location, runs, jobs=jobs)
                deadline = time.monotonic() + moments.uniform(0, longest)
                while kills < wanted and time.monotonic() < deadline and process.poll() is None:
                    time.sleep(0.02)
                if kills == wanted:
                    process.wait()
                if process.poll() is not None:
                    break
                process.kill()
                process.communicate()
                kills += 1
                bar.update()
                lost += len(kept.keys() - finished(runs).keys())
                kept = finished(runs)
            plans += 1
            found = finished(runs)
            lost += sum(found.get(cell) != record for cell, record in reference.items())
    return kills, plans, lost


def _undisturbed(location: Location, runs: Path, jobs: int) -> tuple[dict[str, Any], float]:
    """The records of the plan, and how long it takes."""
    begin = time.monotonic()
    output, _ = start(location, runs, jobs=jobs).communicate()
    records = finished(runs)
    if not records:
        sys.exit(f"the plan does not even run undisturbed:\n{output}")
    return records, time.monotonic() - begin


def inflicted(files: tuple[str, ...], data: Path) -> tuple[int, int]:
    """Runs tests in full; how many there were, and how many of them failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            "auto",
            "--dist",
            "loadfile",
            f"--junitxml={report}",
            *files,
        ]
        environment = {**os.environ, "TORTURE": "1", "DATA_ROOT": str(data)}
        subprocess.run(command, cwd=host.ROOT, env=environment, check=False)
        counts = next(ElementTree.parse(report).getroot().iter("testsuite")).attrib
    ran = int(counts["tests"]) - int(counts["skipped"])
    return ran, int(counts["failures"]) + int(counts["errors"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.torture")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DATA_ROOT", host.ROOT / "data")))
    options = parser.parse_args()
    location = Location(options.data, os.environ.get("DATA_MIRROR") or None)
    for domain in registry.suite("digits-mini").domains.values():
        store.prepare(domain, location)
    kills, plans, lost = random_kills(location, options.kills, options.seed)
    rows = [["SIGKILL at random moments", kills, f"{plans} plans completed", lost]]
    for what, files in FAULTS.items():
        count, failed = inflicted(files, options.data)
        rows.append([what, count, "tests", failed])
    print(tabulate(rows, headers=["", "inflicted", "", "lost or wrong"]))
    sys.exit(any(row[-1] for row in rows))


if __name__ == "__main__":
    main()
