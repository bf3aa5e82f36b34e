"""Two processes that train one network together, on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.machine import processes
from benchmarks.records.store import Store
from methods import contract
from tests.datasets.office_helpers import image_file, write_tree

CHECKOUT = Path(__file__).parents[2]
CLASSES = tuple("cat dog gnu jar mug pen".split())


def images(root: Path) -> str:
    """A tree in ILSVRC's layout, train and val."""
    members = {
        f"{part}/{name}/{number}.png": image_file(f"{part} {name} {number}", (40, 32), "PNG")
        for part, count in (("train", 8), ("val", 3))
        for name in CLASSES
        for number in range(count)
    }
    return f"folder:{write_tree(root, members)}"


def trained(processes: int, folder: str, tmp_path: Path) -> Store:
    """The study's records and networks by so many processes."""
    runs = tmp_path / f"runs-{processes}"
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*(start if processes > 1 else [sys.executable]), "-m", "tests.benchmarks.shared_plan"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(tmp_path / "data"), folder, str(runs)],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return Store(runs)


def test_two_processes_train_what_one_trains(tmp_path: Path) -> None:
    """Shares of a batch whose gradients are averaged are the batch: without dropout only rounding differs."""
    folder = images(tmp_path / "images")
    alone, together = trained(1, folder, tmp_path), trained(2, folder, tmp_path)
    first, second = (
        {store.read(cell).spec["config"]["n"]: store.read(cell) for cell in store.cells()}
        for store in (alone, together)
    )
    assert first.keys() == second.keys() == {0, 3}
    for n, record in second.items():
        assert record.spec["processes"] == 2
        assert "processes" not in first[n].spec or first[n].spec["processes"] == 1
        assert record.n_test == first[n].n_test == 9
        assert record.cell != first[n].cell
        for ours, theirs in zip(record.history, first[n].history, strict=True):
            assert ours["classification"] == pytest.approx(theirs["classification"], rel=1e-4)
    weights = [
        torch.load(store.model_path(found[0].cell), weights_only=True)
        for store, found in ((alone, first), (together, second))
    ]
    assert weights[0].keys() == weights[1].keys()
    for name, weight in weights[0].items():
        assert torch.allclose(weight, weights[1][name], rtol=1e-3, atol=1e-6), name


def test_one_process_alone_is_its_own_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert (processes.size(), processes.is_main(), processes.stream()) == (1, True, ())
    assert processes.broadcast(True)
    assert processes.mean({"a": 1.0}) == {"a": 1.0}
    assert processes.step_of(contract.load("yosinski"), torch.nn.Linear(1, 1), 7) is None
