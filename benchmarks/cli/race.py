"""Timing contestants against each other: round robin, in CPU seconds, with the observed noise."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

QUARTILES = (25.0, 50.0, 75.0)
LEAST = 0.02
"""Minimum CPU seconds of one measurement: faster calls are repeated."""


@dataclass(frozen=True)
class Race:
    """Measurements of several contestants in the same rounds."""

    topic: str
    size: str
    times: dict[str, NDArray[np.float64]]
    """Contestant -> seconds per call in each round, (rounds,)."""
    wall: bool = False
    """Whether these are wall-clock seconds, used where other processes do the work."""
    memory: Mapping[str, float] = field(default_factory=dict)
    """Contestant -> peak megabytes of its process, if measured."""

    def seconds(self, name: str) -> tuple[float, float]:
        """Median over the rounds, and half the interquartile range."""
        return _middle(self.times[name])

    def ratio(self, over: str, under: str) -> tuple[float, float]:
        """As ``seconds``, for the ratio of two contestants within a round."""
        return _middle(self.times[over] / self.times[under])


def _middle(values: NDArray[np.float64]) -> tuple[float, float]:
    low, median, high = np.percentile(values, QUARTILES)
    return float(median), float(high - low) / 2


def race(
    topic: str, size: str, contestants: Mapping[str, Callable[[], object]], *, rounds: int, wall: bool = False
) -> Race:
    """Run contestants in turn.

    Args:
        topic: what the race is about.
        size: description of the task's size.
        contestants: name -> one call of it; each is called once first, so that setup is not timed.
        rounds: how often each is measured.
        wall: measure wall-clock time, with a single call per round.
    """
    clock = time.perf_counter if wall else time.process_time
    calls = {}
    for name, call in contestants.items():
        call()
        calls[name] = 1
        if not wall:
            start = clock()
            call()
            calls[name] = max(1, round(LEAST / max(clock() - start, 1e-6)))
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            start = clock()
            for _ in range(calls[name]):
                call()
            times[name].append((clock() - start) / calls[name])
    return Race(topic, size, {name: np.array(found) for name, found in times.items()}, wall)
