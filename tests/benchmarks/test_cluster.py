"""Cells on a Ray cluster, whose machines are all here; a machine that is lost; what travels between them."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.executors import execute
from benchmarks.machine import host
from benchmarks.machine.errors import UserError
from benchmarks.networks import activations
from benchmarks.plan import plan
from benchmarks.plan.plan import Cell, Options
from benchmarks.records.store import Store, canonical, recipe_values
from datasets import store
from datasets.store import Location
from tests.benchmarks import small_plan, tiny_backbone
from tests.benchmarks.test_executor import alive, finished, wait_for

ray = pytest.importorskip("ray")
cluster = pytest.importorskip("benchmarks.executors.cluster")
Cluster = pytest.importorskip("ray.cluster_utils").Cluster

NOWHERE = Location(Path("/nowhere/data"))
"""A data folder that no other machine sees."""


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A machine of two cores that keeps what it copies in a folder of the test's; two of one core if there is time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", "/tmp")  # the names of its sockets must be short
        patch.setenv("RAY_worker_niceness", "0")  # not behind the tests that run beside these
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("machines")))
        patch.setattr(tempfile, "tempdir", None)
        patch.setenv("RAY_health_check_period_ms", "500")
        patch.setenv("RAY_health_check_failure_threshold", "4")
        count = 2 if os.environ.get("TORTURE") else 1
        started = Cluster(initialize_head=True, head_node_args={"num_cpus": 2 // count, "include_dashboard": False})
        for _ in range(count - 1):
            started.add_node(num_cpus=1)
        started.wait_for_nodes()
        try:
            with cluster.joined(started.address, 2):
                yield started
        finally:
            started.shutdown()


def started(location: Location) -> Cell:
    """A short cell of AdaBN, which brings the network that it starts from, and no support vector machine."""
    options = Options(experiments=("digits",), datasets=("digits-mini",), tasks=("optdigits:mfeat",), seeds=1)
    made = plan.make("adabn", options, location).cells
    return next(short(cell) for cell in made if cell.needs and not cell.spec.config["coral"])


@pytest.fixture(scope="module")
def alone(few_digits: Location, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """What this process alone makes of the cells."""
    store = Store(tmp_path_factory.mktemp("alone"))
    cells = [*small_plan.cells(few_digits), started(few_digits)]
    assert not execute.run(cells, execute.Local(few_digits, store, 1), expected={}).failed
    return store


@pytest.fixture(scope="module")
def reference(alone: Store) -> dict[str, dict[str, Any]]:
    """Its records."""
    return finished(alone.root)


def workers(location: Location, runs: Path, **share: Any) -> Any:
    """The cluster, none of whose machines sees the data folder."""
    made = cluster.Cluster(location, Store(runs), cluster.Share(1, **share), None)
    made.seen = NOWHERE
    return made


def short(cell: Cell) -> Cell:
    """A cell of few steps, as are those that it starts from."""
    needs = {name: short(need) for name, need in cell.needs.items()}
    spec = dataclasses.replace(
        cell.spec,
        recipe=recipe_values(small_plan.RECIPE),
        needs={name: need.spec.hash for name, need in needs.items()},
    )
    return dataclasses.replace(cell, spec=spec, needs=needs)


def test_a_cluster_leaves_the_records_of_one_process(
    machines: Any, few_digits: Location, alone: Store, reference: dict[str, Any], tmp_path: Path
) -> None:
    there, here = workers(few_digits, tmp_path), Store(tmp_path)
    assert there.jobs == 2
    late = started(few_digits)
    (need,) = late.needs.values()
    summary = execute.run([*small_plan.cells(few_digits)[:2], late], there, expected={})
    assert (len(summary.done), summary.failed) == (4, [])
    assert {cell: reference[cell] for cell in here.cells()} == finished(tmp_path)
    assert here.model_path(need.spec.hash).is_file(), "its network came along"
    copied = {path.name for path in (cluster.place() / "data" / "prepared").iterdir()}
    assert copied == {"optdigits", "mfeat"}
    assert list((cluster.place() / "cells").glob("*[!.lock]")) == [], "what a cell left has gone to the store"
    # What is done is not run again, and its network serves cells that come later.
    here.forget(late.spec.hash)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}
    assert not execute.run([late], workers(few_digits, tmp_path), expected={}).failed
    assert finished(tmp_path)[late.spec.hash] == reference[late.spec.hash]
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_a_machine_that_leaves_is_counted_and_its_cells_are_tried_again(
    machines: Any,
    few_digits: Location,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = workers(few_digits, tmp_path)
    asked: dict[str, Any] = {}
    with monkeypatch.context() as patch:
        patch.setattr(ray, "remote", lambda _function: SimpleNamespace(options=asked.update))
        there._task(cluster.run_here, 2)
    assert asked["max_retries"] == execute.ATTEMPTS - 1, "so often Ray runs it again elsewhere"
    before = cluster._alive() | {"another"}
    assert there._count(before) == cluster._alive()
    assert f"1 of {len(before)} machines left the cluster; their cells run again" in capsys.readouterr().out
    monkeypatch.setattr(cluster, "_nodes", list)
    with pytest.raises(UserError, match="what was finished is kept, and the same command resumes from here"):
        there._count(before)


@pytest.mark.skipif(not os.environ.get("TORTURE"), reason="a machine is started and lost: make torture")
def test_the_cells_of_a_lost_machine_run_again_elsewhere(
    machines: Any,
    few_digits: Location,
    reference: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    doomed = machines.add_node(num_cpus=2)
    machines.wait_for_nodes()
    there = workers(few_digits, tmp_path)
    assert there.jobs == 4
    ended = there.outcomes(small_plan.cells(few_digits))
    outcomes = [next(ended)]  # from now on all four places are taken
    machines.remove_node(doomed, allow_graceful=False)
    outcomes += ended
    assert [outcome.error for outcome in outcomes] == [""] * 4
    assert finished(tmp_path).items() <= reference.items()
    assert "1 of 3 machines left the cluster" in capsys.readouterr().out


def test_a_failing_cell_is_recorded_and_stops_no_other(
    machines: Any, few_digits: Location, reference: dict[str, Any], tmp_path: Path
) -> None:
    cells = small_plan.cells(few_digits, poisoned=True)[:3]
    summary = execute.run(cells, workers(few_digits, tmp_path), expected={})
    assert [outcome.cell for outcome in summary.failed] == [cells[1].spec.hash]
    assert "became" in str(Store(tmp_path).failure(cells[1].spec.hash))
    assert len(finished(tmp_path)) == 2
    assert finished(tmp_path).items() <= reference.items()


def test_what_no_machine_offers_is_said(machines: Any, few_digits: Location, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no machine of the cluster offers what a cell takes \(1 CPU, 0\.5 GPU\)"):
        workers(few_digits, tmp_path, gpus=0.5)
    with pytest.raises(UserError, match=r"1 CPU, 0 GPU and 1e\+06 GB of memory"):
        workers(few_digits, tmp_path, memory=1e6)


def test_another_version_of_a_package_is_an_error_of_the_cell(
    machines: Any, few_digits: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers of other versions do not get among those of this one; another processor may."""
    there = {**host.versions(), "numpy": "0.1", "instructions": "none"}
    monkeypatch.setattr(host, "versions", lambda: there)
    (failed,) = execute.run(small_plan.cells(few_digits)[:1], workers(few_digits, tmp_path), expected={}).failed
    assert failed.error.endswith("install the same packages on all machines.")
    assert "numpy" in failed.error
    assert "torch" not in failed.error


def test_an_address_that_is_none_is_said() -> None:
    with pytest.raises(UserError, match="an address for Ray clients"), cluster.joined("ray://head:10001", 1):
        pass


def test_activations_are_computed_there_and_kept_here(
    office: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Ray: what a machine is asked for, its copies, and what it sends back."""
    monkeypatch.setattr(cluster, "place", lambda: tmp_path / "machine")
    monkeypatch.setattr(ray, "get", lambda content: content)
    side = tiny_backbone.TINY.side
    store.prepare("dslr", office, side=side)
    read: list[str] = []

    def remote(name: str) -> bytes:
        read.append(name)
        return (office.root / name).read_bytes()

    files = SimpleNamespace(read=SimpleNamespace(remote=remote))
    with tiny_backbone.installed(office):
        key = activations.key_of("tiny", "dslr", "pool", office, views=1, precision="fp32", device="cpu")
        prepared = cluster._sealed(store.folder("dslr", office, side), office)
        wanted = [prepared, cluster._weights("tiny", office)]
        content = cluster.extract(key, wanted, NOWHERE, files)
        assert len(read) == 5, "images, labels, names, metadata and weights"
        assert cluster.extract(key, wanted, NOWHERE, files) == content
        assert len(read) == 5, "a machine keeps its copies"
        home = Location(tmp_path / "home")
        (home.root / "prepared").parent.mkdir(parents=True)
        (home.root / "prepared").symlink_to(office.root / "prepared")
        activations.adopt(key, home, content)
        assert activations.is_complete(key, home)
        assert np.array_equal(activations.load(key, home), activations.load(key, office))
        assert cluster.extract(key, wanted, office, files) is None, "a machine that sees the data folder works in it"
    changed = dataclasses.replace(prepared, seal=b"prepared again")
    assert not changed.is_in(tmp_path / "machine" / "data")


def test_a_parcel_does_not_replace_a_record(few_digits: Location, reference: dict[str, Any], tmp_path: Path) -> None:
    cell = small_plan.cells(few_digits)[0]
    first, second = Store(tmp_path / "first"), Store(tmp_path / "second")
    first.write_failure(cell.spec, "it failed", "")
    second.accept(cell.spec.hash, first.archive(cell.spec.hash))
    assert second.failure(cell.spec.hash) == "it failed"
    execute.run_one(cell, few_digits, first, "one", kept=True)
    second.accept(cell.spec.hash, first.archive(cell.spec.hash))
    assert second.failure(cell.spec.hash) is None
    assert second.read(cell.spec.hash) == first.read(cell.spec.hash)
    assert second.model_path(cell.spec.hash).read_bytes() == first.model_path(cell.spec.hash).read_bytes()
    other = canonical(dataclasses.asdict(dataclasses.replace(first.read(cell.spec.hash), commit="two"))).encode()
    second.accept(cell.spec.hash, {f"cells/{cell.spec.hash}.json": other})
    assert second.read(cell.spec.hash).commit == "one"


def test_an_interrupt_ends_the_cells(
    machines: Any, few_digits: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_given: Any, **_named: Any) -> Any:
        raise KeyboardInterrupt

    cancelled: list[Any] = []
    real = ray.cancel
    monkeypatch.setattr(ray, "cancel", lambda task, **how: cancelled.append(task) or real(task, **how))
    monkeypatch.setattr(ray, "wait", interrupted)
    summary = execute.run(small_plan.cells(few_digits), workers(few_digits, tmp_path), expected={})
    assert (summary.interrupted, summary.done, summary.failed) == (True, [], [])
    assert len(cancelled) == 2, "both that were under way"


@pytest.mark.skipif(not os.environ.get("TORTURE"), reason="a whole cluster from the command line: make torture")
def test_an_interrupt_leaves_nothing_running(few_digits: Location, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "run", "dan", "--dataset", "digits-mini", "--seeds", "1"]
    where = ["--data", str(few_digits.root), "--runs", str(tmp_path / "runs"), "--executor", "ray"]
    process = subprocess.Popen(
        [*command, *where],
        cwd=host.ROOT,
        env={**os.environ, "RAY_worker_niceness": "0", "RAY_TMPDIR": "/tmp", "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    group = os.getpgid(process.pid)
    under_way = tmp_path / f"transfer-benchmarks-{cluster.getpass.getuser()}" / "cells"
    wait_for(lambda: under_way.is_dir() and any(under_way.iterdir()))
    started = below(process.pid)
    assert len(started) > 3, "among them the parts of Ray and the processes of the cells"
    os.killpg(group, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert "the same command resumes from here" in output
    wait_for(lambda: not (alive(group) or started & running().keys()))


def running() -> dict[int, int]:
    """Process -> its parent, of all that are no zombies."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listing.splitlines()]
    return {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}


def below(root: int) -> set[int]:
    """A process's children and theirs."""
    parents = running()
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {root}
