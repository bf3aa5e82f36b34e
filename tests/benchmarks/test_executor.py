"""Running a plan: in parallel, killed, interrupted, with a failing cell; the records are the same."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.executors import execute
from benchmarks.machine import host, processes
from benchmarks.machine.errors import UserError
from benchmarks.records.store import UNSTABLE_FIELDS, Store
from datasets.store import Location
from tests.benchmarks.small_plan import cells, run
from tests.forked import Child


def start(location: Location, runs: Path, *, jobs: int) -> subprocess.Popen[str]:
    """The plan in processes of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.small_plan", str(location.root), str(runs), str(jobs)],
        cwd=host.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell that starts the tests in the background has them ignore interrupts, and they hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def finished(runs: Path) -> dict[str, dict[str, Any]]:
    """Hash -> the fields in which two runs must agree, of every finished cell."""
    return {
        record.cell: {k: v for k, v in dataclasses.asdict(record).items() if k not in UNSTABLE_FIELDS}
        for record in map(Store(runs).read, Store(runs).cells())
    }


@pytest.fixture(scope="module")
def reference(few_digits: Location, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The records of the plan run one cell after another, undisturbed."""
    runs = tmp_path_factory.mktemp("reference")
    assert run(few_digits, runs) == 0
    records = finished(runs)
    assert len(records) == 4
    return records


several = pytest.mark.skipif(host.cores() < 2, reason="one core runs the cells in the process itself")


@several
def test_killed_and_started_again_it_ends_with_the_same_records(
    few_digits: Location, reference: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """The workers of a killed run stop by themselves; `make torture` kills a hundred times, at random moments."""
    process = start(few_digits, tmp_path, jobs=2)
    wait_for(lambda: len(finished(tmp_path)) >= 1)
    kept, group = finished(tmp_path), os.getpgid(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()  # not for the end of its output, which workers that went on would keep open
    wait_for(lambda: not alive(group))
    assert kept.items() <= finished(tmp_path).items(), "a finished cell was lost"
    assert run(few_digits, tmp_path, jobs=2) == 0
    assert finished(tmp_path) == reference
    assert not multiprocessing.active_children()


def test_an_interrupt_ends_the_run_cleanly(
    few_digits: Location,
    reference: dict[str, dict[str, Any]],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """As a terminal does for Ctrl-C, which reaches the workers and then this process."""

    def interrupt() -> None:
        wait_for(lambda: len(finished(tmp_path)) >= 1)
        for worker in multiprocessing.active_children():
            os.kill(worker.pid or 0, signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have the tests ignore it
    interrupter = threading.Thread(target=interrupt)
    try:
        interrupter.start()
        assert run(few_digits, tmp_path, jobs=min(2, host.cores())) == 130
        interrupter.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert 1 <= len(finished(tmp_path)) < 4
    assert finished(tmp_path).items() <= reference.items()
    assert not multiprocessing.active_children()
    output = capfd.readouterr()
    assert "Traceback" not in output.out + output.err


@several
def test_workers_leave_interrupts_to_the_run() -> None:
    assert list(processes.results(signal.getsignal, [(signal.SIGINT,)], 2)) == [signal.SIG_IGN]


def test_a_failing_cell_is_recorded_and_stops_no_other(
    few_digits: Location, reference: dict[str, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(few_digits, tmp_path, poisoned=True) == 1
    output = capsys.readouterr().out
    good = finished(tmp_path)
    assert len(good) == 3
    assert good.items() <= reference.items()
    bad = cells(few_digits, poisoned=True)[1]
    error = Store(tmp_path).failure(bad.spec.hash)
    assert error is not None
    assert "became" in error
    assert f"{bad.label}: FAILED: {error}" in output
    assert "[4/4]" in output, "without a terminal there is a plain line per cell"


def test_two_runs_at_once_share_the_work(
    few_digits: Location, reference: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [Child(lambda: run(few_digits, tmp_path), tmp_path / f"output-{number}") for number in range(2)]
    assert [child.wait() for child in both] == [0, 0]
    assert finished(tmp_path) == reference

    def again(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a cell that another run had finished was run again")

    monkeypatch.setattr("benchmarks.cell.training.run_cell", again)
    cell = cells(few_digits)[0]
    outcome = execute.run_one(cell, few_digits, Store(tmp_path), "test")
    assert outcome.error == ""
    record = Store(tmp_path).read(cell.spec.hash)
    assert outcome.accuracy == record.value("accuracy")
    choosing = dataclasses.replace(cell, spec=dataclasses.replace(cell.spec, holdout=0.1))
    assert execute.outcome_of(choosing, record).accuracy is None, "nobody chooses a setting by target labels"


@several
def test_a_killed_worker_costs_nothing(
    few_digits: Location, reference: dict[str, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def kill_one() -> None:
        wait_for(lambda: len(finished(tmp_path)) >= 1)
        os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    assert run(few_digits, tmp_path, jobs=2) == 0
    killer.join()
    assert "A worker process was killed from outside; continuing." in capsys.readouterr().out
    assert finished(tmp_path) == reference


def test_more_threads_than_cores_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "cores", lambda: 4)
    assert execute.jobs_for(None, 1) == 4
    assert execute.jobs_for(None, 3) == 1
    assert execute.jobs_for(None, 1, "cuda") == 1
    assert execute.jobs_for(2, 2) == 2
    with pytest.raises(UserError, match="3 jobs of 2 threads need 6 cores and this machine offers 4"):
        execute.jobs_for(3, 2)
    with pytest.raises(UserError, match="1 job of 5 threads needs 5 cores and this machine offers 4"):
        execute.jobs_for(None, 5)


def test_durations_read_well() -> None:
    assert [execute.duration(s) for s in (5, 89, 100, 3600, 7260)] == ["5 s", "89 s", "2 min", "60 min", "2 h 1 min"]


def wait_for(condition: Any, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def alive(group: int) -> bool:
    """Whether a process of this group still runs; zombies do not count."""
    listing = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listing.splitlines()]
    return any(int(pgid) == group and not state.startswith("Z") for pgid, state in rows)
