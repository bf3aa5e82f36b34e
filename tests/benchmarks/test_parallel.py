"""Two processes that train one network together, on the CPU."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch

from benchmarks.machine import processes
from benchmarks.records.store import Store
from datasets.store import Location
from methods import contract
from tests.benchmarks import shared_plan
from tests.datasets.office_helpers import image_file, write_tree
from tests.forked import Child

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
    """The study's records and networks by so many processes, with what ``torchrun`` sets for them."""
    runs = tmp_path / f"runs-{processes}"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    children = [
        Child(
            lambda: shared_plan.run(Location(tmp_path / "data"), folder, Store(runs)),
            tmp_path / f"output-{processes}-{rank}",
            {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(processes)
    ]
    assert [child.wait() for child in children] == [0] * processes, [child.output.read_text() for child in children]
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
