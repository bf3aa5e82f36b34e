"""Running cells on a Ray cluster: many machines, one store.

A machine of the cluster needs only the suite's packages and Ray: the code travels with the job, and the data that a
cell reads are copied to a machine when its first cell needs them, unless it sees the same data folder under the same
path.  All files of a cell come back to the store of the machine that started the run, and trained networks go from
there to the cells that start from them.  If a machine is lost, Ray restarts its cells on the others; if only a cell's
process died, it resumes from its checkpoint.

https://docs.ray.io/en/latest/ray-core/fault-tolerance.html
"""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tqdm import tqdm

from benchmarks.cell import loading
from benchmarks.executors import execute
from benchmarks.executors.execute import Outcome
from benchmarks.machine import host
from benchmarks.machine.errors import UserError
from benchmarks.networks import activations, pretrained, weights
from benchmarks.networks.activations import Key
from benchmarks.networks.backbones import choice_of
from benchmarks.plan.plan import Cell
from benchmarks.records.store import Archive, Store
from datasets import fetch, locks, store
from datasets.errors import DataError
from datasets.store import Location

SECONDS = 5.0
"""How often the machines of the cluster are counted while no cell ends."""
CODE = ("benchmarks", "datasets", "methods")
"""The packages that travel with the job."""


@dataclass(frozen=True)
class Share:
    """What one cell takes of a machine."""

    cpus: int
    gpus: float = 0.0
    """Below 1, several cells share a GPU."""
    memory: float = 0.0
    """GB; 0: not counted."""

    @property
    def resources(self) -> dict[str, float]:
        """As Ray counts them."""
        named = {"CPU": float(self.cpus), "GPU": self.gpus, "memory": self.memory * 1e9}
        return {name: amount for name, amount in named.items() if amount}

    def __str__(self) -> str:
        memory = f" and {self.memory:g} GB of memory" if self.memory else ""
        return f"{self.cpus} CPU, {self.gpus:g} GPU{memory}"

    def fitting(self) -> int:
        """How many cells the present machines can run at once."""
        return sum(
            int(min(node["Resources"].get(name, 0.0) / amount for name, amount in self.resources.items()))
            for node in _nodes()
        )


@contextlib.contextmanager
def joined(address: str | None, cores: int) -> Iterator[None]:
    """Join a cluster, or start one of this machine only, which ends with the context.

    Args:
        address: ``host:port`` of the cluster's head, or ``auto`` on one of its machines; None for this machine only.
        cores: what this machine offers if it is alone.

    Raises:
        UserError: there is no such cluster, or its version of Ray or Python differs.
    """
    if address and "://" in address:
        raise UserError(f"{address} is an address for Ray clients: start on a machine of the cluster, with host:port.")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    alone: dict[str, Any] = {"num_cpus": cores, "include_dashboard": False}
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"py_modules": [str(host.ROOT / name) for name in CODE]},
            **({} if address else alone),
        )
    except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise UserError(f"the Ray cluster at {address or 'this machine'} cannot be joined: {_line(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class Piece:
    """Files that a cell reads, all in one folder below the data folder."""

    folder: str
    files: tuple[str, ...]
    seal: bytes
    """Content of the last file if it describes the others, otherwise empty."""

    def is_in(self, root: Path) -> bool:
        """Whether a data folder has it; content is checked on use."""
        paths = [root / self.folder / name for name in self.files]
        return all(path.is_file() for path in paths) and (not self.seal or paths[-1].read_bytes() == self.seal)


def pieces(cell: Cell, location: Location) -> list[Piece]:
    """What a cell reads from the data folder.

    Raises:
        DataError: its data are not prepared.
    """
    side = choice_of(cell.spec).backbone.side
    folders = [store.folder(domain, location, side) for domain in dict.fromkeys(cell.task.domains)]
    if cell.spec.cut:
        keys = [loading.activation_key(cell.spec, cell.task, domain, location) for domain in cell.task.domains]
        folders += [activations.folder(key, location) for key in dict.fromkeys(keys)]
    found = [_sealed(folder, location) for folder in folders]
    return [*found, *([_weights(cell.spec.backbone, location)] if loading.trains_trunk(cell.spec) else [])]


def _sealed(folder: Path, location: Location) -> Piece:
    meta = folder / activations.META
    names = sorted(path.name for path in folder.iterdir() if path != meta)
    return Piece(str(folder.relative_to(location.root)), (*names, meta.name), meta.read_bytes())


def _weights(backbone: str, location: Location) -> Piece:
    path = weights.path(backbone, location)
    return Piece(str(path.parent.relative_to(location.root)), (path.name,), b"")


class Files:
    """Reads files of the machine that started the run."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()


def place() -> Path:
    """The folder of this suite on a machine of the cluster; TMPDIR moves it."""
    return Path(tempfile.gettempdir()) / f"transfer-benchmarks-{getpass.getuser()}"


def arranged(wanted: Sequence[Piece], location: Location, files: Any) -> Location:
    """A data folder on this machine that has all pieces.

    Args:
        wanted: what is needed.
        location: where they are on the machine that started the run.
        files: the actor ``Files`` there.

    Raises:
        UserError: they cannot be stored here.
    """
    if all(piece.is_in(location.root) for piece in wanted):
        return Location(location.root)
    here = Location(place() / "data")
    for piece in wanted:
        target = here.root / piece.folder
        try:
            with locks.held(here.root / "locks" / f"{target.name}.copy.lock", f"copies {piece.folder}"):
                for name in () if piece.is_in(here.root) else piece.files:
                    fetch.write_whole(target / name, ray.get(files.read.remote(f"{piece.folder}/{name}")))
        except OSError as error:
            raise UserError(f"cannot copy {piece.folder} to {target}: {error.strerror or error}.") from error
    return here


def run_here(
    cell: Cell,
    kept: bool,
    commit: str,
    versions: Mapping[str, str],
    wanted: Sequence[Piece],
    location: Location,
    files: Any,
    *needed: Archive,
) -> tuple[Outcome, Archive]:
    """Run a cell on this machine of the cluster; returns how it ended, and all files that it leaves.

    Args:
        cell, kept, commit: as for ``execute.run_one``.
        versions: of the packages on the machine that started the run.
        wanted, location, files: as for ``arranged``.
        needed: files of the cells whose networks this one starts from, in the order of ``cell.needs``.
    """
    spec = cell.spec
    own = Store(place() / "cells" / spec.hash)
    with locks.held(own.root.with_suffix(".lock"), f"runs {cell.label}"):
        for path in own.root.iterdir() if own.root.is_dir() else ():
            if path.name != own.checkpoint_path("").parent.name:  # left by a process that died here
                shutil.rmtree(path)
        try:
            _check_versions(versions)
            there = arranged(wanted, location, files)
            for need, archive in zip(cell.needs.values(), needed, strict=True):
                own.accept(need.spec.hash, archive)
        except (UserError, DataError) as error:
            own.write_failure(spec, str(error), "")
            outcome = Outcome(spec.hash, cell.label, None, 0.0, str(error))
        else:
            outcome = execute.run_one(cell, there, own, commit, kept)
        archive = own.archive(spec.hash)
        shutil.rmtree(own.root)
    return outcome, archive


def _check_versions(wanted: Mapping[str, str]) -> None:
    """Checks that this machine has the wanted package versions; another processor is fine."""
    here = host.versions()
    other = [f"{name} {here[name]}" for name in wanted if name != "instructions" and here.get(name) != wanted[name]]
    if other:
        raise UserError(f"{os.uname().nodename} has {', '.join(other)}: install the same packages on all machines.")


def extract(key: Key, wanted: Sequence[Piece], location: Location, files: Any) -> dict[str, bytes] | None:
    """Compute activations on this machine of the cluster; None if they are already in place."""
    there = arranged(wanted, location, files)
    activations.ensure([key], there, jobs=1)
    if there.root == location.root:
        return None
    return {path.name: path.read_bytes() for path in activations.folder(key, there).iterdir()}


class Cluster:
    """The machines of a Ray cluster that this process has joined."""

    def __init__(self, location: Location, store: Store, share: Share, jobs: int | None) -> None:
        """Raises UserError if no machine of the cluster can run a cell."""
        fitting = share.fitting()
        if not fitting:
            raise UserError(f"no machine of the cluster offers what a cell takes ({share}).")
        self.location, self.store, self.share = Location(location.root.absolute()), store, share
        self.jobs = min(jobs or fitting, fitting)
        self.seen = self.location
        """Where a machine may see the data folder itself."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._files = ray.remote(Files).options(num_cpus=0, scheduling_strategy=here).remote(self.location.root)

    def ensure(self, keys: Sequence[Key]) -> None:
        missing = [key for key in dict.fromkeys(keys) if not activations.is_complete(key, self.location)]
        task = self._task(extract, 1)
        under_way: dict[Any, Key] = {}
        for key in missing:
            side = pretrained.KNOWN[key.backbone].side
            domains = dict.fromkeys([key.domain, *([] if key.statistics == "imagenet" else key.statistics.split()[:1])])
            wanted = [_sealed(store.folder(domain, self.location, side), self.location) for domain in domains]
            wanted.append(_weights(key.backbone, self.location))
            under_way[task.remote(key, wanted, self.seen, self._files)] = key
        while under_way:
            (ready,), _ = ray.wait(list(under_way), num_returns=1)
            key = under_way.pop(ready)
            try:
                files = ray.get(ready)
            except RayTaskError as error:
                raise error.cause if isinstance(error.cause, (UserError, DataError)) else error from None
            except RayError as error:
                raise UserError(f"the activations of {key.domain} cannot be computed: {_line(error)}") from error
            if files is not None:
                activations.adopt(key, self.location, files)

    def outcomes(self, cells: Sequence[Cell]) -> Generator[Outcome]:
        kept = execute.needed(cells)
        waiting = deque(cells)
        under_way: dict[Any, tuple[Cell, Any]] = {}
        archives: dict[str, Any] = {}
        nodes = _alive()
        try:
            while waiting or under_way:
                while waiting and len(under_way) < self.jobs:
                    cell = waiting.popleft()
                    if self._has(cell, cell.spec.hash in kept):
                        yield execute.outcome_of(cell, self.store.read(cell.spec.hash))
                        continue
                    outcome, archive = self._start(cell, cell.spec.hash in kept, archives)
                    under_way[outcome] = cell, archive
                ready, _ = ray.wait(list(under_way), num_returns=1, timeout=SECONDS) if under_way else ([], [])
                nodes = self._count(nodes)
                for outcome in ready:
                    cell, archive = under_way.pop(outcome)
                    yield self._received(cell, outcome, archive)
        except (KeyboardInterrupt, GeneratorExit):
            for outcome in under_way:
                ray.cancel(outcome, force=True)
            raise

    def _has(self, cell: Cell, kept: bool) -> bool:
        """Whether a cell is completely done."""
        return execute.is_done(cell, self.store) and (not kept or self.store.model_path(cell.spec.hash).is_file())

    def _start(self, cell: Cell, kept: bool, archives: dict[str, Any]) -> tuple[Any, Any]:
        """References of the future outcome and archive; ``archives`` has those of the cells that others start from."""
        for need in cell.needs.values():
            if need.spec.hash not in archives:  # finished before this run
                archives[need.spec.hash] = ray.put(self.store.archive(need.spec.hash))
        needed = [archives[need.spec.hash] for need in cell.needs.values()]
        wanted = pieces(cell, self.location)
        outcome, archive = self._task(run_here, 2).remote(
            cell, kept, host.commit(), host.versions(), wanted, self.seen, self._files, *needed
        )
        if kept:
            archives[cell.spec.hash] = archive
        return outcome, archive

    def _task(self, function: Callable[..., Any], returns: int) -> Any:
        """A function as Ray starts it: where there is room, and again if a process or a machine dies."""
        share = self.share
        return ray.remote(function).options(
            num_cpus=share.cpus,
            num_gpus=share.gpus,
            memory=share.memory * 1e9 or None,
            max_retries=execute.ATTEMPTS - 1,
            num_returns=returns,
        )

    def _received(self, cell: Cell, outcome: Any, archive: Any) -> Outcome:
        """How a cell ended; its files are then in the store."""
        spec = cell.spec
        try:
            said, files = ray.get([outcome, archive])
            self.store.accept(spec.hash, files)
        except RayTaskError as error:  # a bug of the suite, not of a method
            self.store.write_failure(spec, _line(error), str(error))
            return Outcome(spec.hash, cell.label, None, 0.0, _line(error))
        except RayError:
            return execute.lost(cell, self.store)
        except UserError as error:
            return Outcome(spec.hash, cell.label, None, said.seconds, str(error))
        ended: Outcome = said
        return ended

    def _count(self, before: frozenset[str]) -> frozenset[str]:
        """The machines present now.

        Raises:
            UserError: none of them can run a cell.
        """
        now = _alive()
        if gone := len(before - now):
            tqdm.write(f"{gone} of {len(before)} machines left the cluster; their cells run again on the others.")
        if before != now and not self.share.fitting():
            raise UserError(
                f"no machine is left in the cluster that offers what a cell takes ({self.share}); what was finished "
                "is kept, and the same command resumes from here."
            )
        return now


def _alive() -> frozenset[str]:
    return frozenset(node["NodeID"] for node in _nodes())


def _nodes() -> list[dict[str, Any]]:
    """The machines present."""
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _line(error: BaseException) -> str:
    """The last line of an error that Ray passes on with its traceback."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
